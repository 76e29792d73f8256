//! Sessions, users, organisations, projects, members and tokens.

mod views;

use super::{
    error::Answer,
    extract::{Json, Params, Peer, created},
};
use crate::{
    access::{
        Caller, InProject, Route, Rule,
        credentials::{SESSION_COOKIE, TOKEN_PREFIX, hash_secret, make_secret},
        layer::is_same_origin,
        passwords,
    },
    app::App,
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kaogong_api::{
    Page,
    access::{
        MeView, MemberView, NewOrganisation, NewProject, NewToken, NewTokenView, NewUser, NewUserView,
        OrganisationView, PasswordChange, ProjectView, RoleChange, SignIn, SignInLink, SignInWithCode, TokenView,
        UserView,
    },
};
use kaogong_domain::{
    ErrorKind, Problem, Secret,
    access::{Permission, Role, Scope, Scopes},
    ids::{TokenId, UserId},
    names::Name,
};
use kaogong_store::{Actor, NewSessionRow, NewTokenRow, NewUserRow, UserRow};
use std::{str::FromStr, sync::Arc};
use views::{member_view, project_view, token_view, user_view};

/// A browser stays signed in for this long.
const SESSION_MS: i64 = 14 * 24 * 3600 * 1000;
/// A one-time link can be opened for this long.
const LINK_MS: i64 = 24 * 3600 * 1000;
/// Wrong passwords for one name from one address, within the window, before the next is refused unread.
const WRONG_PASSWORDS_MAX: u64 = 10;
/// The window for wrong passwords.
const WRONG_PASSWORDS_WINDOW_MS: i64 = 15 * 60 * 1000;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// The routes of this noun.
pub fn routes() -> Vec<Route> {
    let own = Rule::Project(Permission::Own);
    vec![
        Route::post("/api/v1/session", Rule::Public, sign_in)
            .doc("session_create", "Sign in with a password; sets the session cookie.")
            .body::<SignIn>()
            .answers::<MeView>(),
        Route::post("/api/v1/session/code", Rule::Public, sign_in_with_code)
            .doc("session_create_with_code", "Sign in with the code of a one-time link.")
            .body::<SignInWithCode>()
            .answers::<MeView>(),
        Route::get("/api/v1/session", Rule::SignedIn, me).doc("session_view", "Who is calling.").answers::<MeView>(),
        Route::delete("/api/v1/session", Rule::SignedIn, sign_out).doc("session_delete", "Sign out.").answers_nothing(),
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

async fn sign_in(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    peer: Peer,
    Json(ask): Json<SignIn>,
) -> Answer<Response> {
    refuse_other_origins(&headers)?;
    let address = peer.text();
    let now = app.now();
    let since = now.plus_ms(-WRONG_PASSWORDS_WINDOW_MS);
    if app.store.count_wrong_passwords(&ask.name, &address, since).await? >= WRONG_PASSWORDS_MAX {
        return Err(Problem::new(ErrorKind::TooMany, "too many wrong passwords for this name")
            .hint("wait a quarter of an hour, or ask an administrator for a sign-in link")
            .into());
    }
    let user = match ask.name.parse::<Name>() {
        Ok(name) => app.store.find_user_by_name(&name).await?,
        Err(_) => None,
    };
    let hash = user.as_ref().filter(|it| it.disabled_at.is_none()).and_then(|it| it.password_hash.clone());
    let is_right = passwords::verify(Secret::new(ask.password), hash).await?;
    let Some(user) = user.filter(|_| is_right) else {
        app.store.note_wrong_password(&ask.name, &address, now).await?;
        return Err(Problem::new(ErrorKind::Unauthenticated, "the name or the password is wrong").into());
    };
    open_session(&app, user, &headers, address).await
}

async fn sign_in_with_code(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    peer: Peer,
    Json(ask): Json<SignInWithCode>,
) -> Answer<Response> {
    refuse_other_origins(&headers)?;
    let address = peer.text();
    let hash = hash_secret(&Secret::new(ask.code));
    let user = app.store.consume_sign_in_link(&hash, app.now()).await?;
    let user = user.filter(|it| it.disabled_at.is_none()).ok_or_else(|| {
        Problem::new(ErrorKind::Unauthenticated, "this link was already used or has expired")
            .hint("`kaogong open` makes a new one")
    })?;
    open_session(&app, user, &headers, address).await
}

/// Another site must not be able to sign a browser in as somebody of its choice.
fn refuse_other_origins(headers: &HeaderMap) -> Result<(), Problem> {
    if is_same_origin(headers) {
        return Ok(());
    }
    Err(Problem::new(ErrorKind::Forbidden, "this sign-in was sent by another site"))
}

async fn open_session(app: &Arc<App>, user: UserRow, headers: &HeaderMap, address: String) -> Answer<Response> {
    let secret = make_secret("")?;
    let csrf = make_secret("")?;
    let now = app.now();
    let agent = headers.get(header::USER_AGENT).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let session = NewSessionRow {
        user_id: user.id,
        hash: hash_secret(&secret),
        csrf: csrf.expose().to_owned(),
        expires_at: now.plus_ms(SESSION_MS),
        address: address.clone(),
        user_agent: agent.chars().take(200).collect(),
    };
    let actor = Actor::user(user.id, Some(address));
    app.store.create_session(session, &actor, now).await?;
    let caller = app.standings().by_session(app, &secret).await?.caller;
    let cookie =
        format!("{SESSION_COOKIE}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}", secret.expose(), SESSION_MS / 1000);
    let mut response = Json(me_of(app, &caller).await?).into_response();
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    Ok(response)
}

async fn sign_out(State(app): State<Arc<App>>, caller: Caller) -> Answer<Response> {
    if let Some(hash) = &caller.session_hash {
        app.store.delete_session(hash, &caller.actor(), app.now()).await?;
        app.standings().forget_all();
    }
    let cookie = format!("{SESSION_COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    Ok(response)
}

async fn me(State(app): State<Arc<App>>, caller: Caller) -> Answer<Json<MeView>> {
    Ok(Json(me_of(&app, &caller).await?))
}

async fn me_of(app: &Arc<App>, caller: &Caller) -> Result<MeView, Problem> {
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

async fn projects_of(app: &App, caller: &Caller) -> Result<Vec<ProjectView>, Problem> {
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

async fn make_link(State(app): State<Arc<App>>, caller: Caller) -> Answer<Json<SignInLink>> {
    if !caller.scopes.is_all() || caller.token.as_ref().is_some_and(|it| it.project_id.is_some()) {
        return Err(Problem::new(ErrorKind::Forbidden, "a limited token cannot make a sign-in link").into());
    }
    let secret = make_secret("")?;
    let expires_at = app.now().plus_ms(LINK_MS);
    app.store
        .create_sign_in_link(&hash_secret(&secret), caller.user.id, expires_at, &caller.actor(), app.now())
        .await?;
    Ok(Json(SignInLink { path: format!("/sign-in?code={}", secret.expose()), expires_at: expires_at.as_ms() }))
}

async fn list_users(State(app): State<Arc<App>>) -> Answer<Json<Page<UserView>>> {
    Ok(Json(whole(app.store.list_users().await?.iter().map(user_view).collect())))
}

async fn create_user(State(app): State<Arc<App>>, caller: Caller, Json(ask): Json<NewUser>) -> Answer<Response> {
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

async fn disable_user(State(app): State<Arc<App>>, caller: Caller, params: Params) -> Answer<StatusCode> {
    let user = find_user(&app, params.text("user")).await?;
    if user.id == caller.user.id {
        return Err(Problem::conflict("you cannot disable yourself").hint("ask another administrator").into());
    }
    app.store.disable_user(user.id, &caller.actor(), app.now()).await?;
    app.standings().forget_all();
    Ok(StatusCode::NO_CONTENT)
}

async fn change_password(
    State(app): State<Arc<App>>,
    caller: Caller,
    params: Params,
    Json(ask): Json<PasswordChange>,
) -> Answer<StatusCode> {
    let text = params.text("user");
    let is_self = text == caller.user.name.as_str() || text == caller.user.id.to_string() || text == "me";
    if !caller.scopes.is_all() || (!is_self && !caller.is_unlimited_admin()) {
        return Err(
            Problem::new(ErrorKind::Forbidden, "only a platform administrator may change another's password").into()
        );
    }
    let user = if is_self { (*caller.user).clone() } else { find_user(&app, text).await? };
    if is_self {
        let current = Secret::new(ask.current.unwrap_or_default());
        if !passwords::verify(current, user.password_hash.clone()).await? {
            return Err(Problem::new(ErrorKind::Forbidden, "the present password is wrong").into());
        }
    }
    let new = Secret::new(ask.new);
    passwords::check_strength(&new)?;
    app.store.set_password(user.id, passwords::hash(new).await?, &caller.actor(), app.now()).await?;
    app.standings().forget_all();
    Ok(StatusCode::NO_CONTENT)
}

async fn list_organisations(State(app): State<Arc<App>>, caller: Caller) -> Answer<Json<Page<OrganisationView>>> {
    let visible = projects_of(&app, &caller).await?;
    let all = app.store.list_organisations().await?;
    let is_all = caller.is_unlimited_admin();
    let seen =
        all.into_iter().filter(|it| is_all || visible.iter().any(|project| project.organisation == it.name.as_str()));
    let views = seen.map(|it| OrganisationView { id: it.id.to_string(), name: it.name.to_string(), title: it.title });
    Ok(Json(whole(views.collect())))
}

async fn create_organisation(
    State(app): State<Arc<App>>,
    caller: Caller,
    Json(ask): Json<NewOrganisation>,
) -> Answer<Response> {
    let name = parse::<Name>(&ask.name)?;
    let title = ask.title.unwrap_or_else(|| name.to_string());
    let it = app.store.create_organisation(&name, &title, &caller.actor(), app.now()).await?;
    Ok(created(OrganisationView { id: it.id.to_string(), name: it.name.to_string(), title: it.title }))
}

async fn list_projects(State(app): State<Arc<App>>, caller: Caller) -> Answer<Json<Page<ProjectView>>> {
    Ok(Json(whole(projects_of(&app, &caller).await?)))
}

async fn create_project(State(app): State<Arc<App>>, caller: Caller, Json(ask): Json<NewProject>) -> Answer<Response> {
    let name = parse::<Name>(&ask.name)?;
    let title = ask.title.unwrap_or_else(|| name.to_string());
    let organisation = parse::<Name>(ask.organisation.as_deref().unwrap_or("default"))?;
    let project =
        app.store.create_project(&organisation, &name, &title, caller.user.id, &caller.actor(), app.now()).await?;
    app.standings().forget_all();
    Ok(created(project_view(&project, Some(Role::Owner))))
}

async fn view_project(inside: InProject) -> Answer<Json<ProjectView>> {
    Ok(Json(project_view(&inside.project, Some(inside.role))))
}

async fn list_members(State(app): State<Arc<App>>, inside: InProject) -> Answer<Json<Page<MemberView>>> {
    let members = app.store.list_members(inside.project.id).await?;
    Ok(Json(whole(members.iter().map(member_view).collect())))
}

async fn set_member(
    State(app): State<Arc<App>>,
    inside: InProject,
    params: Params,
    Json(ask): Json<RoleChange>,
) -> Answer<Json<MemberView>> {
    let role = parse::<Role>(&ask.role)?;
    let user = find_user(&app, params.text("user")).await?;
    let member = app.store.set_member(inside.project.id, user.id, role, &inside.actor(), app.now()).await?;
    app.standings().forget_all();
    Ok(Json(member_view(&member)))
}

async fn remove_member(State(app): State<Arc<App>>, inside: InProject, params: Params) -> Answer<StatusCode> {
    let user = find_user(&app, params.text("user")).await?;
    app.store.remove_member(inside.project.id, user.id, &inside.actor(), app.now()).await?;
    app.standings().forget_all();
    Ok(StatusCode::NO_CONTENT)
}

async fn list_tokens(State(app): State<Arc<App>>, caller: Caller) -> Answer<Json<Page<TokenView>>> {
    let tokens = app.store.list_tokens(caller.user.id, app.now()).await?;
    let projects = app.store.list_projects().await?;
    Ok(Json(whole(tokens.iter().map(|it| token_view(it, &projects)).collect())))
}

async fn create_token(State(app): State<Arc<App>>, caller: Caller, Json(ask): Json<NewToken>) -> Answer<Response> {
    let scopes = Scopes(ask.scopes.iter().map(|it| parse::<Scope>(it)).collect::<Result<_, _>>()?);
    if scopes.0.is_empty() {
        return Err(Problem::invalid("a token needs at least one scope").hint("read, infer, write or admin").into());
    }
    if caller.token.is_some() && !caller.scopes.is_all() {
        return Err(Problem::new(ErrorKind::Forbidden, "a limited token cannot make tokens").into());
    }
    if ask.name.trim().is_empty() || ask.name.len() > 200 {
        return Err(Problem::invalid("a token needs a name of 1 to 200 bytes that says what it is for").into());
    }
    let days = ask.days.unwrap_or(90);
    if !(1..=366).contains(&days) {
        return Err(Problem::invalid("a token lives 1 to 366 days").into());
    }
    let bound = caller.token.as_ref().and_then(|it| it.project_id);
    let wanted = match &ask.project {
        None => None,
        Some(name) => {
            let visible = projects_of(&app, &caller).await?;
            let found = visible.into_iter().find(|it| it.name == *name);
            let found =
                found.ok_or_else(|| Problem::not_found(format!("there is no project `{name}` that you may see")))?;
            Some(found.id.parse().map_err(|it| Problem::bug("a project's id is not one", it))?)
        }
    };
    let secret = make_secret(TOKEN_PREFIX)?;
    let row = NewTokenRow {
        user_id: caller.user.id,
        project_id: wanted.or(bound),
        name: ask.name,
        scopes,
        hash: hash_secret(&secret),
        job_id: None,
        attempt_id: None,
        expires_at: Some(app.now().plus_ms(i64::from(days) * DAY_MS)),
    };
    let token = app.store.create_token(row, &caller.actor(), app.now()).await?;
    let projects = app.store.list_projects().await?;
    Ok(created(NewTokenView { token: token_view(&token, &projects), secret: secret.expose().to_owned() }))
}

async fn revoke_token(State(app): State<Arc<App>>, caller: Caller, params: Params) -> Answer<StatusCode> {
    let id = params.get::<TokenId>("token")?;
    app.store.revoke_token(caller.user.id, id, &caller.actor(), app.now()).await?;
    app.standings().forget_all();
    Ok(StatusCode::NO_CONTENT)
}

async fn find_user(app: &App, text: &str) -> Result<UserRow, Problem> {
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
