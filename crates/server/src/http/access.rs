//! Sessions, users, organisations, projects, members and tokens.

mod sessions;
mod tokens;
mod views;

use crate::{Route, passwords};
use axum::{Extension, extract::State, response::Response};
use http::StatusCode;
use kaogong_api::{
    Page,
    access::{
        MeView, MemberView, NewOrganisation, NewProject, NewToken, NewTokenView, NewUser, NewUserView,
        OrganisationView, PasswordChange, ProjectView, RoleChange, SignIn, SignInLink, SignInWithCode, TokenView,
        UserView,
    },
};
use kaogong_control::Services;
use kaogong_domain::{
    ErrorKind, Problem, Secret,
    access::{Permission, Role},
    ids::UserId,
    names::Name,
};
use kaogong_http::{
    access::{Caller, InProject, Rule},
    error::Answer,
    extract::{BodyLimit, Json, Params, created},
};
use kaogong_store::make_secret;
use kaogong_store::{NewUserRow, UserRow};
use sessions::{change_password, make_link, sign_in, sign_in_with_code, sign_out};
use std::{str::FromStr, sync::Arc};
use tokens::{create_token, list_tokens, revoke_token};
use views::{member_view, project_view, user_view};

/// The most bytes that a stranger may send: a name and a password, or a code.
const SIGN_IN_BYTES_MAX: usize = 16 << 10;

/// The routes of this noun.
pub fn routes() -> Vec<Route> {
    let own = Rule::Project(Permission::Own);
    let small = |it: Route| Route { handler: it.handler.layer(Extension(BodyLimit(SIGN_IN_BYTES_MAX))), ..it };
    let mut all = vec![
        small(Route::post("/api/v1/session", Rule::Public, sign_in))
            .doc("session_create", "Sign in with a password; sets the session cookie.")
            .body::<SignIn>()
            .answers::<MeView>(),
        small(Route::post("/api/v1/session/code", Rule::Public, sign_in_with_code))
            .doc("session_create_with_code", "Sign in with the code of a one-time link.")
            .body::<SignInWithCode>()
            .answers::<MeView>(),
        Route::get("/api/v1/session", Rule::SignedIn, me).doc("session_view", "Who is calling.").answers::<MeView>(),
        Route::delete("/api/v1/session", Rule::Public, sign_out)
            .doc("session_delete", "Sign out; takes the session cookie away, whether or not it is still good.")
            .answers_nothing(),
        Route::post("/api/v1/sign-in-links", Rule::SignedIn, make_link)
            .doc("sign_in_link_create", "Make a one-time sign-in link for yourself.")
            .answers::<SignInLink>(),
        Route::get("/api/v1/users", Rule::PlatformAdmin, list_users)
            .doc("user_list", "All users.")
            .answers_page::<UserView>(),
        Route::post("/api/v1/users", Rule::PlatformAdmin, create_user)
            .doc("user_create", "Make a user.")
            .body::<NewUser>()
            .answers::<NewUserView>(),
        Route::delete("/api/v1/users/{user}", Rule::PlatformAdmin, disable_user)
            .doc("user_disable", "Refuse a user from now on; their sessions and tokens end.")
            .answers_nothing(),
        Route::put("/api/v1/users/{user}/password", Rule::SignedIn, change_password)
            .doc("user_set_password", "Change a password: your own, or anybody's as platform administrator.")
            .body::<PasswordChange>()
            .answers_nothing(),
        Route::get("/api/v1/organisations", Rule::SignedIn, list_organisations)
            .doc("organisation_list", "The organisations of the projects that you may see.")
            .answers_page::<OrganisationView>(),
        Route::post("/api/v1/organisations", Rule::PlatformAdmin, create_organisation)
            .doc("organisation_create", "Make an organisation.")
            .body::<NewOrganisation>()
            .answers::<OrganisationView>(),
        Route::get("/api/v1/projects", Rule::SignedIn, list_projects)
            .doc("project_list", "The projects that you may see.")
            .answers_page::<ProjectView>(),
        Route::post("/api/v1/projects", Rule::PlatformAdmin, create_project)
            .doc("project_create", "Make a project; you become its owner.")
            .body::<NewProject>()
            .answers::<ProjectView>(),
        Route::get("/api/v1/projects/{project}", Rule::Project(Permission::Read), view_project)
            .doc("project_view", "One project.")
            .answers::<ProjectView>(),
        Route::get("/api/v1/projects/{project}/members", Rule::Project(Permission::Read), list_members)
            .doc("member_list", "The members of a project.")
            .answers_page::<MemberView>(),
        Route::put("/api/v1/projects/{project}/members/{user}", own, set_member)
            .doc("member_set", "Give somebody a role in the project.")
            .body::<RoleChange>()
            .answers::<MemberView>(),
        Route::delete("/api/v1/projects/{project}/members/{user}", own, remove_member)
            .doc("member_remove", "Take somebody out of the project.")
            .answers_nothing(),
    ];
    all.extend(token_routes());
    all
}

fn token_routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/tokens", Rule::SignedIn, list_tokens)
            .doc("token_list", "Your API tokens.")
            .answers_page::<TokenView>(),
        Route::post("/api/v1/tokens", Rule::SignedIn, create_token)
            .doc("token_create", "Make an API token; its secret is shown this once.")
            .body::<NewToken>()
            .answers::<NewTokenView>(),
        Route::delete("/api/v1/tokens/{token}", Rule::SignedIn, revoke_token)
            .doc("token_revoke", "End an API token.")
            .answers_nothing(),
    ]
}

async fn me(State(app): State<Arc<Services>>, caller: Caller) -> Answer<Json<MeView>> {
    Ok(Json(me_of(&app, &caller).await?))
}

async fn me_of(app: &Arc<Services>, caller: &Caller) -> Result<MeView, Problem> {
    let projects = projects_of(app, caller).await?;
    let bound = caller.token.as_ref().and_then(|it| it.project_id);
    let project = match bound {
        Some(id) => projects.iter().find(|it| it.id == id.to_string()).map(|it| it.name.clone()),
        None => projects.iter().find(|it| it.name == "default").or_else(|| projects.first()).map(|it| it.name.clone()),
    };
    Ok(MeView {
        user: user_view(&caller.user),
        project,
        projects,
        csrf_token: caller.csrf.as_deref().map(str::to_owned),
    })
}

async fn projects_of(app: &Services, caller: &Caller) -> Result<Vec<ProjectView>, Problem> {
    let bound = caller.token.as_ref().and_then(|it| it.project_id);
    let rows = if caller.user.is_admin {
        app.store.list_projects().await?.into_iter().map(|it| (it, Some(Role::Owner))).collect()
    } else {
        app.store
            .list_projects_of(caller.user.id)
            .await?
            .into_iter()
            .map(|(it, role)| (it, Some(role)))
            .collect::<Vec<_>>()
    };
    let visible = rows.into_iter().filter(|(it, _)| bound.is_none_or(|id| id == it.id));
    Ok(visible.map(|(it, role)| project_view(&it, role)).collect())
}

async fn list_users(State(app): State<Arc<Services>>) -> Answer<Json<Page<UserView>>> {
    Ok(Json(whole(app.store.list_users().await?.iter().map(user_view).collect())))
}

async fn create_user(State(app): State<Arc<Services>>, caller: Caller, Json(ask): Json<NewUser>) -> Answer<Response> {
    let name = parse::<Name>(&ask.name)?;
    let made = match &ask.password {
        Some(_) => None,
        None => Some(make_secret("")?),
    };
    let password = match (&made, ask.password) {
        (Some(it), _) => it.clone(),
        (None, given) => Secret::new(given.unwrap_or_default()),
    };
    passwords::check_strength(&password)?;
    let row = NewUserRow {
        display_name: ask.display_name.unwrap_or_else(|| name.to_string()),
        name,
        password_hash: Some(passwords::hash(password).await?),
        is_admin: ask.is_admin,
    };
    let user = app.store.create_user(row, &caller.actor(), app.now()).await?;
    Ok(created(NewUserView { user: user_view(&user), password: made.map(|it| it.expose().to_owned()) }))
}

async fn disable_user(State(app): State<Arc<Services>>, caller: Caller, params: Params) -> Answer<StatusCode> {
    let user = find_user(&app, params.text("user")).await?;
    if user.id == caller.user.id {
        return Err(Problem::conflict("you cannot disable yourself").hint("ask another administrator").into());
    }
    app.store.disable_user(user.id, &caller.actor(), app.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_organisations(State(app): State<Arc<Services>>, caller: Caller) -> Answer<Json<Page<OrganisationView>>> {
    let visible = projects_of(&app, &caller).await?;
    let all = app.store.list_organisations().await?;
    let is_all = caller.is_unlimited_admin();
    let seen =
        all.into_iter().filter(|it| is_all || visible.iter().any(|project| project.organisation == it.name.as_str()));
    let views = seen.map(|it| OrganisationView { id: it.id.to_string(), name: it.name.to_string(), title: it.title });
    Ok(Json(whole(views.collect())))
}

async fn create_organisation(
    State(app): State<Arc<Services>>,
    caller: Caller,
    Json(ask): Json<NewOrganisation>,
) -> Answer<Response> {
    let name = parse::<Name>(&ask.name)?;
    let title = ask.title.unwrap_or_else(|| name.to_string());
    let it = app.store.create_organisation(&name, &title, &caller.actor(), app.now()).await?;
    Ok(created(OrganisationView { id: it.id.to_string(), name: it.name.to_string(), title: it.title }))
}

async fn list_projects(State(app): State<Arc<Services>>, caller: Caller) -> Answer<Json<Page<ProjectView>>> {
    Ok(Json(whole(projects_of(&app, &caller).await?)))
}

async fn create_project(
    State(app): State<Arc<Services>>,
    caller: Caller,
    Json(ask): Json<NewProject>,
) -> Answer<Response> {
    let name = parse::<Name>(&ask.name)?;
    let title = ask.title.unwrap_or_else(|| name.to_string());
    let organisation = parse::<Name>(ask.organisation.as_deref().unwrap_or("default"))?;
    let project =
        app.store.create_project(&organisation, &name, &title, caller.user.id, &caller.actor(), app.now()).await?;
    Ok(created(project_view(&project, Some(Role::Owner))))
}

async fn view_project(inside: InProject) -> Answer<Json<ProjectView>> {
    Ok(Json(project_view(&inside.project, Some(inside.role))))
}

async fn list_members(State(app): State<Arc<Services>>, inside: InProject) -> Answer<Json<Page<MemberView>>> {
    let members = app.store.list_members(inside.project.id).await?;
    Ok(Json(whole(members.iter().map(member_view).collect())))
}

async fn set_member(
    State(app): State<Arc<Services>>,
    inside: InProject,
    params: Params,
    Json(ask): Json<RoleChange>,
) -> Answer<Json<MemberView>> {
    let role = parse::<Role>(&ask.role)?;
    let user = find_user(&app, params.text("user")).await?;
    let member = app.store.set_member(inside.project.id, user.id, role, &inside.actor(), app.now()).await?;
    Ok(Json(member_view(&member)))
}

async fn remove_member(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<StatusCode> {
    let user = find_user(&app, params.text("user")).await?;
    app.store.remove_member(inside.project.id, user.id, &inside.actor(), app.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn refuse_limited(caller: &Caller, what: &str) -> Result<(), Problem> {
    if caller.is_unlimited() {
        return Ok(());
    }
    Err(Problem::new(ErrorKind::Forbidden, format!("a limited token cannot {what}"))
        .hint("use a token with the scope `admin` that is bound to no project, or sign in"))
}

async fn find_user(app: &Services, text: &str) -> Result<UserRow, Problem> {
    let found = match text.parse::<UserId>() {
        Ok(id) => app.store.find_user(id).await?,
        Err(_) => match text.parse::<Name>() {
            Ok(name) => app.store.find_user_by_name(&name).await?,
            Err(_) => None,
        },
    };
    found.ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        Problem::not_found(format!("there is no user `{shown}`"))
    })
}

fn parse<T: FromStr>(text: &str) -> Result<T, Problem>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|it: T::Err| Problem::invalid(it.to_string()))
}

/// A list that is never long enough to be cut.
pub(super) fn whole<T>(items: Vec<T>) -> Page<T> {
    Page { total: items.len() as u64, items }
}
