//! The outermost layer: request ids, one log line and one metric per request, security headers, error bodies.

use super::error::{Failed, is_grpc, log, render, render_grpc};
use crate::{app::App, protocols::mlflow};
use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderName, HeaderValue, header};
use kaogong_domain::{Problem, ids::EventId};
use std::{sync::Arc, time::Instant};

/// Carries the number to quote.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The console may load from here only, and nobody may frame it.
const CONTENT_POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; \
    connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'";

/// The id of a request, for handlers that want to name it.
#[derive(Clone)]
pub struct RequestId(pub Arc<str>);

/// What the router matched, reported from inside by the access layer.
#[derive(Clone)]
pub struct Matched(pub MatchedPath);

/// Wraps every request.
pub async fn outer(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id: Arc<str> = request_id(&request, &app);
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let is_grpc = is_grpc(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    name_host(&mut request);
    let mut response = next.run(request).await;
    let route = response.extensions().get::<Matched>().map(|it| it.0.as_str().to_owned());
    if let Some(failed) = response.extensions_mut().remove::<Failed>() {
        response = if is_grpc {
            render_grpc(&failed.0, route.is_some(), &id)
        } else if mlflow::is_mine(&path) {
            log(&failed.0, &id);
            mlflow::render(&failed.0)
        } else {
            render(response, &failed.0, &id)
        };
    } else if response.status().is_server_error() && response.headers().get(header::CONTENT_TYPE).is_none() {
        let problem = Problem::unavailable("the call took too long").hint("try again");
        response = render(response, &problem, &id);
    }
    let status = response.status().as_u16();
    let elapsed = began.elapsed();
    record(&method, route.as_deref().unwrap_or("none"), status, elapsed);
    tracing::debug!(request_id = &*id, "{method} {path} answered {status} in {} ms", elapsed.as_millis());
    seal(&mut response, &id);
    response
}

/// HTTP/2 names the host in the request's target; whoever decides by host finds it in one place. A target with a
/// host outranks the header.
fn name_host(request: &mut Request) {
    let named = request.uri().authority().and_then(|it| HeaderValue::from_str(it.as_str()).ok());
    if let Some(host) = named {
        request.headers_mut().insert(header::HOST, host);
    }
}

/// A caller's own id is kept when it is harmless, so that logs of two programs can be joined.
fn request_id(request: &Request, app: &App) -> Arc<str> {
    let harmless = |it: &&str| {
        !it.is_empty() && it.len() <= 64 && it.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let given = request.headers().get(&REQUEST_ID).and_then(|it| it.to_str().ok()).filter(harmless);
    match given {
        Some(text) => text.into(),
        None => EventId::generate(app.now()).to_string().replacen("evt_", "req_", 1).into(),
    }
}

fn record(method: &http::Method, route: &str, status: u16, elapsed: std::time::Duration) {
    let labels = [("method", method.as_str().to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
    metrics::counter!("kaogong_http_requests_total", &labels).increment(1);
    metrics::histogram!("kaogong_http_request_seconds", "route" => route.to_owned()).record(elapsed.as_secs_f64());
}

fn seal(response: &mut Response, id: &str) {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(CONTENT_POLICY));
}
