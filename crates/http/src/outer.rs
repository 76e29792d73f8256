//! The outermost layer: request ids, one log line and one metric per request, security headers, error bodies.

use crate::{
    Gate,
    access::{layer::Layers, routes::Matched},
    error::{ApiError, Failed, is_grpc, render, render_grpc},
    forwarded::client_behind,
    meter::Meter,
};
use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, header};
use kaogong_domain::{ErrorKind, Problem, Timestamp, ids::EventId};
use kaogong_store::Watch;
use std::{
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// Carries the number to quote.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The console may load from here only, and nobody may frame it.
const CONTENT_POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; \
    connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'";

/// The id of a request, for handlers that want to name it.
#[derive(Clone)]
pub struct RequestId(pub Arc<str>);

/// Wraps every request.
pub async fn outer(State(layers): State<Arc<Layers>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id: Arc<str> = request_id(&request, &layers.gate);
    let method = request.method().clone();
    let uri = request.uri().clone();
    let is_grpc = is_grpc(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    request.extensions_mut().insert(layers.clone());
    name_host(&mut request);
    name_client(&mut request, &layers.gate);
    let watch = Watch::counting();
    let mut response = watch.around(next.run(request)).await;
    if is_grpc {
        name_limit(&mut response);
    }
    let matched = response.extensions_mut().remove::<Matched>();
    if let Some(failed) = response.extensions_mut().remove::<Failed>() {
        let render_error = match &matched {
            Some(it) => it.0.render_error,
            None => layers.rules.render_error_at(uri.path()),
        };
        response = match render_error {
            _ if is_grpc => render_grpc(&failed.0, matched.is_some(), &id),
            Some(render_error) => render_error(&failed.0, &id),
            None => render(response, &failed.0, &id),
        };
    }
    let status = response.status();
    let elapsed = began.elapsed();
    matched.as_ref().map_or(Meter::of_unmatched(), |it| &it.0.meter).record(status, elapsed, watch.count());
    tracing::debug!(request_id = &*id, "{method} {} answered {status} in {} ms", uri.path(), elapsed.as_millis());
    seal(&mut response, &id);
    response
}

/// A panic is a bug of one call; the connection and everybody else's calls go on. The panic itself is on standard
/// error already.
pub fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    ApiError(Problem::new(ErrorKind::Bug, "the handler panicked")).into_response()
}

/// A message over its limit is `OUT_OF_RANGE` to the library that reads it, and `RESOURCE_EXHAUSTED` to everybody else.
/// No call of ours has a range.
fn name_limit(response: &mut Response) {
    let status = response.headers_mut().get_mut("grpc-status");
    if let Some(status) = status.filter(|it| *it == "11") {
        *status = HeaderValue::from_static("8");
    }
}

/// HTTP/2 names the host in the request's target; whoever decides by host finds it in one place. A target with a
/// host outranks the header.
fn name_host(request: &mut Request) {
    let named = request.uri().authority().and_then(|it| HeaderValue::from_str(it.as_str()).ok());
    if let Some(host) = named {
        request.headers_mut().insert(header::HOST, host);
    }
}

/// Behind a trusted proxy, the client's address takes the place of the proxy's: for the log of changes, for the count
/// of wrong passwords, and for whoever asks whether a call comes from this machine.
fn name_client(request: &mut Request, gate: &Gate) {
    let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() else { return };
    if let Some(client) = client_behind(peer.ip(), gate.trusted_proxies(), request.headers()) {
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(client, 0)));
    }
}

/// A caller's own id is kept when it is harmless, so that logs of two programs can be joined.
fn request_id(request: &Request, gate: &Gate) -> Arc<str> {
    let harmless = |it: &&str| {
        !it.is_empty() && it.len() <= 64 && it.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let given = request.headers().get(&REQUEST_ID).and_then(|it| it.to_str().ok()).filter(harmless);
    match given {
        Some(text) => text.into(),
        None => made_id(gate.now()),
    }
}

/// An id of the usual form. It need not be unguessable, only another one each time: chance of the process and a
/// count, mixed, instead of a call of the operating system for each request.
fn made_id(now: Timestamp) -> Arc<str> {
    static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let low = mixed(SEED.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let chance = u128::from(mixed(*SEED)) << 64 | u128::from(low);
    let text = EventId::from_parts(now, chance).to_string();
    text.replacen("evt_", "req_", 1).into()
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mixed(mut it: u64) -> u64 {
    it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    it ^ (it >> 31)
}

fn seal(response: &mut Response, id: &str) {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    // Only a page has anything to load; an answer of JSON or bytes is opened as nothing else (`nosniff`), but one
    // that a browser shows by itself could.
    let is_data = headers.get(header::CONTENT_TYPE).is_some_and(|it| it == "application/json");
    if !is_data {
        headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(CONTENT_POLICY));
    }
}
