//! API tokens: their owner lists, makes and ends them, with a credential that is not limited itself.

use super::{parse, projects_of, refuse_limited, views::token_view, whole};
use axum::{extract::State, response::Response};
use http::StatusCode;
use kaogong_api::{
    Page,
    access::{NewToken, NewTokenView, TokenView},
};
use kaogong_control::Services;
use kaogong_domain::masks::TOKEN_PREFIX;
use kaogong_domain::{
    ErrorKind, Problem, Timestamp,
    access::{Scope, Scopes},
    ids::{ProjectId, TokenId},
    names::Name,
};
use kaogong_http::{
    access::Caller,
    error::Answer,
    extract::{Json, Params, created},
};
use kaogong_store::{NewTokenRow, TokenRow};
use kaogong_store::{hash_secret, make_secret};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const DAY_MS: i64 = 24 * 3600 * 1000;

pub(super) async fn list_tokens(State(app): State<Arc<Services>>, caller: Caller) -> Answer<Json<Page<TokenView>>> {
    refuse_limited(&caller, "list tokens")?;
    let tokens = app.store.list_tokens(caller.user.id, app.now()).await?;
    let projects = projects_of_tokens(&app, &tokens).await?;
    Ok(Json(whole(tokens.iter().map(|it| token_view(it, &projects)).collect())))
}

/// Names of the projects that tokens are bound to.
async fn projects_of_tokens(app: &Services, tokens: &[TokenRow]) -> Result<BTreeMap<ProjectId, Name>, Problem> {
    let ids: BTreeSet<ProjectId> = tokens.iter().filter_map(|it| it.project_id).collect();
    app.store.project_names(&ids.into_iter().collect::<Vec<_>>()).await
}

pub(super) async fn create_token(
    State(app): State<Arc<Services>>,
    caller: Caller,
    Json(ask): Json<NewToken>,
) -> Answer<Response> {
    let scopes = Scopes(ask.scopes.iter().map(|it| parse::<Scope>(it)).collect::<Result<_, _>>()?);
    if scopes.0.is_empty() {
        return Err(Problem::invalid("a token needs at least one scope").hint("read, infer, write or admin").into());
    }
    if scopes.is_job() {
        return Err(Problem::invalid("only the platform makes tokens of jobs")
            .hint("read, infer, write or admin")
            .into());
    }
    let is_job = caller.token.as_ref().is_some_and(|it| it.job_id.is_some());
    if is_job || !caller.scopes.is_all() {
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
        expires_at: Some(no_longer_than(&caller, app.now().plus_ms(i64::from(days) * DAY_MS))),
        sealed_secrets: None,
    };
    let token = app.store.create_token(row, &caller.actor(), app.now()).await?;
    let projects = projects_of_tokens(&app, std::slice::from_ref(&token)).await?;
    Ok(created(NewTokenView { token: token_view(&token, &projects), secret: secret.expose().to_owned() }))
}

pub(super) async fn revoke_token(
    State(app): State<Arc<Services>>,
    caller: Caller,
    params: Params,
) -> Answer<StatusCode> {
    let id = params.get::<TokenId>("token")?;
    // Whoever holds a limited token may give it up, and nothing else.
    if caller.token.as_ref().is_none_or(|it| it.id != id) {
        refuse_limited(&caller, "end other tokens")?;
    }
    app.store.revoke_token(caller.user.id, id, &caller.actor(), app.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a credential makes does not outlive it.
pub(super) fn no_longer_than(caller: &Caller, wanted: Timestamp) -> Timestamp {
    caller.token.as_ref().and_then(|it| it.expires_at).map_or(wanted, |it| it.min(wanted))
}
