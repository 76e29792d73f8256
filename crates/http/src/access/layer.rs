//! The layer: who is calling, which rule the route has, and whether the two fit.

use super::{
    Caller, InProject, Rule,
    caller::not_for_jobs,
    credentials::CSRF_HEADER,
    routes::{Entry, Matched, Pace, RuleBook},
};
use crate::{Gate, body_budget::is_full, error::ApiError, origin::is_same_origin, secret_mask::mask};
use axum::{
    body::{Body, HttpBody, to_bytes},
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, request::Parts};
use kaogong_domain::{
    ErrorKind, Problem,
    access::{Decision, Permission, Role, Standing, decide},
};
use std::{sync::Arc, time::Duration};
use subtle::ConstantTimeEq;

/// The longest body of a refused call that is taken in, and for how long.
const DRAINED_BYTES_MAX: usize = 64 << 10;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);
/// How long a prompt route may take.
const PROMPT_TIME_MAX: Duration = Duration::from_secs(60);

/// What the layers know: who is believed, and which routes there are.
pub struct Layers {
    /// Whom to believe, and how much may come in.
    pub gate: Arc<Gate>,
    /// The routes.
    pub rules: Arc<RuleBook>,
}

/// Decides about every request, then lets it through within the route's time and the memory that is left.
pub async fn layer(State(layers): State<Arc<Layers>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Some(matched) = parts.extensions.get::<MatchedPath>().cloned() else {
        return ApiError(not_here()).into_response();
    };
    let entry = match layers.rules.find(&parts.method, matched.as_str()) {
        Some(entry) => entry.clone(),
        // Deny by default: a route that the rule book does not list is not there.
        None if layers.rules.knows_path(matched.as_str()) => {
            let problem = Problem::invalid(format!("{} is not a method of this address", parts.method));
            return ApiError(problem).into_response();
        }
        None => return ApiError(not_here()).into_response(),
    };
    let mut response = match check(&layers.gate, &mut parts, matched.as_str(), &entry).await {
        Ok(()) => {
            let body = without_secrets(&parts, body);
            run(&layers.gate, &entry, Request::from_parts(parts, body), next).await
        }
        Err(problem) => {
            drain(body).await;
            ApiError(problem).into_response()
        }
    };
    response.extensions_mut().insert(Matched(entry));
    response
}

/// What a job sends is covered before anything reads it.
fn without_secrets(request: &Parts, body: Body) -> Body {
    match request.extensions.get::<Caller>().and_then(|it| it.masks.clone()) {
        Some(masks) => mask(body, masks),
        None => body,
    }
}

/// Takes in a short body that nobody will read. A connection that ends over unread bytes is reset, and the reset can
/// overtake the refusal that it carries.
async fn drain(body: Body) {
    if body.size_hint().exact().is_some_and(|it| (1..=DRAINED_BYTES_MAX as u64).contains(&it)) {
        // Slow or broken off: then the refusal is sent all the same.
        let _ = tokio::time::timeout(DRAIN_TIME_MAX, to_bytes(body, DRAINED_BYTES_MAX)).await;
    }
}

async fn run(gate: &Gate, entry: &Entry, request: Request, next: Next) -> Response {
    // Streams and uploads bound themselves.
    if entry.pace == Pace::Unhurried {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let (body, held) = match gate.body_budget_of(entry.rule).admit(body) {
        Ok(admitted) => admitted,
        Err(problem) => return ApiError(problem).into_response(),
    };
    // For work that goes on when the caller is gone: what it works on still takes memory.
    parts.extensions.insert(held.clone());
    let response = tokio::time::timeout(PROMPT_TIME_MAX, next.run(Request::from_parts(parts, body))).await;
    if held.is_refused() {
        return ApiError(is_full()).into_response();
    }
    response.unwrap_or_else(|_| {
        ApiError(Problem::unavailable("the call took longer than a minute").hint("try again")).into_response()
    })
}

/// What is said of an address where nothing is.
pub fn not_here() -> Problem {
    Problem::not_found("there is nothing at this address").hint("the API is described at /api/v1/openapi.json")
}

async fn check(gate: &Gate, request: &mut Parts, path: &str, entry: &Entry) -> Result<(), Problem> {
    let rule = entry.rule;
    let caller = entry.authenticate.identify(gate, request).await;
    if rule == Rule::Public {
        // A stale cookie must not lock anybody out of the sign-in page.
        if let Ok(Some(caller)) = caller {
            request.extensions.insert(caller);
        }
        return Ok(());
    }
    let caller = caller?.ok_or_else(|| {
        Problem::new(ErrorKind::Unauthenticated, "this call needs a sign-in")
            .hint("send `Authorization: Bearer TOKEN`; `kaogong login --print-env` shows yours")
    })?;
    guard_against_forgery(&caller, &request.method, &request.headers)?;
    if caller.job().is_some() && !entry.for_jobs {
        return Err(not_for_jobs("the token of a job does not allow this"));
    }
    match rule {
        Rule::Public | Rule::SignedIn => {}
        Rule::PlatformAdmin if caller.is_unlimited_admin() => {}
        Rule::PlatformAdmin => {
            return Err(Problem::new(ErrorKind::Forbidden, "only a platform administrator may do this"));
        }
        Rule::Project(needed) => {
            let inside = stand(gate, &caller, request, path, needed).await?;
            request.extensions.insert(inside);
        }
    }
    request.extensions.insert(caller);
    Ok(())
}

/// A browser sends its cookie along with calls that other sites make it do, so a changing call must also carry
/// the session's own secret, and must not come from another origin.
pub fn guard_against_forgery(caller: &Caller, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(expected) = &caller.csrf else { return Ok(()) };
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let sent = headers.get(CSRF_HEADER).map(http::HeaderValue::as_bytes).unwrap_or_default();
    if bool::from(sent.ct_eq(expected.as_bytes())) && is_same_origin(headers) {
        return Ok(());
    }
    Err(Problem::new(ErrorKind::Forbidden, "the call does not carry this session's forgery guard")
        .hint("reload the page and try again"))
}

async fn stand(
    gate: &Gate,
    caller: &Caller,
    request: &Parts,
    path: &str,
    needed: Permission,
) -> Result<InProject, Problem> {
    let named = project_in_path(path, request.uri.path())
        .or_else(|| request.headers.get("kaogong-project").and_then(|it| it.to_str().ok()));
    let place = gate.credentials().place(caller, named).await?;
    let hidden = || {
        let name: String = named.unwrap_or("default").chars().take(64).collect();
        Problem::not_found(format!("there is no project `{name}` that you may see"))
    };
    let Some((project, role)) = place else { return Err(hidden()) };
    let standing = Standing {
        role,
        is_platform_admin: caller.user.is_admin,
        scopes: &caller.scopes,
        is_bound_elsewhere: caller.token.as_ref().is_some_and(|it| it.project_id.is_some_and(|id| id != project.id)),
    };
    match decide(&standing, needed) {
        Decision::Allow => {
            let role = if caller.user.is_admin { Role::Owner } else { role.unwrap_or(Role::Viewer) };
            Ok(InProject { project, role, caller: caller.clone() })
        }
        Decision::Hide => Err(hidden()),
        Decision::Forbid => Err(Problem::new(
            ErrorKind::Forbidden,
            format!("your role or token in project `{}` does not allow this", project.name),
        )
        .hint(format!("it needs the permission to {}", words_for(needed)))),
    }
}

fn words_for(permission: Permission) -> &'static str {
    match permission {
        Permission::Read => "read (role viewer, token scope read)",
        Permission::Infer => "call endpoints (role annotator, token scope infer)",
        Permission::Label => "label (role annotator)",
        Permission::Write => "write (role developer, token scope write)",
        Permission::Manage => "manage (role maintainer, token scope admin)",
        Permission::Own => "own (role owner, token scope admin)",
    }
}

/// The text of `{project}` in a path that matched a pattern.
fn project_in_path<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let place = pattern.split('/').position(|it| it == "{project}")?;
    path.split('/').nth(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_read_from_its_place_in_the_path() {
        assert_eq!(project_in_path("/p/{project}/v2/models/{model}", "/p/vision/v2/models/x"), Some("vision"));
        assert_eq!(project_in_path("/v2/models/{model}", "/v2/models/project"), None);
    }
}
