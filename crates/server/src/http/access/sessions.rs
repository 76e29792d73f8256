//! Signing in and out, and passwords.

use super::{find_user, me_of, refuse_limited, tokens::no_longer_than};
use crate::passwords;
use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use kaogong_api::access::{PasswordChange, SignIn, SignInLink, SignInWithCode};
use kaogong_control::Services;
use kaogong_domain::{ErrorKind, Problem, Secret, names::Name};
use kaogong_http::{
    access::{Caller, credentials::SESSION_COOKIE, layer::guard_against_forgery},
    error::Answer,
    extract::{Json, Params, Peer},
    origin::is_same_origin,
};
use kaogong_store::{Actor, NewSessionRow, UserRow};
use kaogong_store::{hash_secret, make_secret};
use std::sync::Arc;

/// A browser stays signed in for this long.
const SESSION_MS: i64 = 14 * 24 * 3600 * 1000;
/// A one-time link can be opened for this long.
const LINK_MS: i64 = 24 * 3600 * 1000;
/// Wrong passwords for one name from one network, within the window, before the next is refused unread.
const WRONG_PASSWORDS_MAX: u64 = 10;
/// Wrong passwords for all names from one network. An office behind one address makes some of them, too.
const WRONG_PASSWORDS_OF_NETWORK_MAX: u64 = 300;
/// The window for wrong passwords.
const WRONG_PASSWORDS_WINDOW_MS: i64 = 15 * 60 * 1000;

pub(super) async fn sign_in(
    State(app): State<Arc<Services>>,
    headers: HeaderMap,
    peer: Peer,
    Json(ask): Json<SignIn>,
) -> Answer<Response> {
    refuse_other_origins(&headers)?;
    let user = match ask.name.parse::<Name>() {
        Ok(name) => app.store.find_user_by_name(&name).await?,
        Err(_) => None,
    };
    let hash = user.as_ref().filter(|it| it.disabled_at.is_none()).and_then(|it| it.password_hash.clone());
    let is_right = guess(&app, &ask.name, &peer, Secret::new(ask.password), hash).await?;
    let Some(user) = user.filter(|_| is_right) else {
        return Err(Problem::new(ErrorKind::Unauthenticated, "the name or the password is wrong").into());
    };
    open_session(&app, user, &headers, peer.text()).await
}

/// Tries a password. Wrong ones are counted by name and network, and by network alone, so that neither many guesses
/// at one name nor one guess at many names goes on for long. The place is taken before the count: guesses that
/// start together are counted one behind the other.
async fn guess(
    app: &Services,
    name: &str,
    peer: &Peer,
    password: Secret,
    hash: Option<String>,
) -> Result<bool, Problem> {
    let place = passwords::place().await?;
    let network = peer.network();
    let now = app.now();
    let since = now.plus_ms(-WRONG_PASSWORDS_WINDOW_MS);
    let of_name = app.store.count_wrong_passwords(name, &network, since).await?;
    let of_network = app.store.count_wrong_passwords_of_address(&network, since).await?;
    if of_name >= WRONG_PASSWORDS_MAX || of_network >= WRONG_PASSWORDS_OF_NETWORK_MAX {
        return Err(Problem::new(ErrorKind::TooMany, "too many wrong passwords")
            .hint("wait a quarter of an hour, or sign in with a link from `kaogong open`"));
    }
    let is_right = passwords::verify(place, password, hash).await?;
    if !is_right {
        app.store.note_wrong_password(name, &network, now).await?;
    }
    Ok(is_right)
}

pub(super) async fn sign_in_with_code(
    State(app): State<Arc<Services>>,
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

async fn open_session(app: &Arc<Services>, user: UserRow, headers: &HeaderMap, address: String) -> Answer<Response> {
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
    let caller = Caller::of_session(user, csrf.expose(), &hash_secret(&secret));
    let answer = Json(me_of(app, &caller).await?).into_response();
    Ok(with_cookie(app, answer, headers, secret.expose(), SESSION_MS / 1000))
}

/// Ends the session and takes the cookie away, also one whose session has ended already.
pub(super) async fn sign_out(
    State(app): State<Arc<Services>>,
    headers: HeaderMap,
    caller: Option<Extension<Caller>>,
) -> Answer<Response> {
    if let Some(Extension(caller)) = caller {
        guard_against_forgery(&caller, &Method::DELETE, &headers)?;
        if let Some(hash) = &caller.session_hash {
            app.store.delete_session(hash, &caller.actor(), app.now()).await?;
        }
    }
    Ok(with_cookie(&app, StatusCode::NO_CONTENT.into_response(), &headers, "", 0))
}

/// Sets the session cookie. The server speaks plain HTTP itself; the page's own origin tells whether a browser came
/// through TLS, and then the cookie never goes another way. Under a base path it is for this server alone: others on the
/// host do not get it.
fn with_cookie(app: &Services, mut answer: Response, headers: &HeaderMap, value: &str, max_age_s: i64) -> Response {
    let is_tls = headers.get(header::ORIGIN).is_some_and(|it| it.as_bytes().starts_with(b"https://"));
    let secure = if is_tls { "; Secure" } else { "" };
    let path = Some(app.base_path().as_str()).filter(|it| !it.is_empty()).unwrap_or("/");
    let cookie = format!("{SESSION_COOKIE}={value}; Path={path}; HttpOnly; SameSite=Lax; Max-Age={max_age_s}{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}

pub(super) async fn make_link(State(app): State<Arc<Services>>, caller: Caller) -> Answer<Json<SignInLink>> {
    refuse_limited(&caller, "make a sign-in link")?;
    let secret = make_secret("")?;
    let expires_at = no_longer_than(&caller, app.now().plus_ms(LINK_MS));
    app.store
        .create_sign_in_link(&hash_secret(&secret), caller.user.id, expires_at, &caller.actor(), app.now())
        .await?;
    Ok(Json(SignInLink { path: format!("/sign-in?code={}", secret.expose()), expires_at: expires_at.as_ms() }))
}

pub(super) async fn change_password(
    State(app): State<Arc<Services>>,
    caller: Caller,
    params: Params,
    peer: Peer,
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
        if !guess(&app, user.name.as_str(), &peer, current, user.password_hash.clone()).await? {
            return Err(Problem::new(ErrorKind::Forbidden, "the present password is wrong").into());
        }
    }
    let new = Secret::new(ask.new);
    passwords::check_strength(&new)?;
    app.store.set_password(user.id, passwords::hash(new).await?, &caller.actor(), app.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
