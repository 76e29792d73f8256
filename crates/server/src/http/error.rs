//! Problems on their way to the caller: one place maps kinds to statuses and writes the envelope.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use kaogong_api::error::{ErrorBody, ErrorView};
use kaogong_domain::{ErrorKind, Problem};
use std::sync::Arc;

/// What a handler of the native API fails with.
#[derive(Debug)]
pub struct ApiError(pub Problem);

/// What a handler of the native API answers with.
pub type Answer<T> = Result<T, ApiError>;

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

/// Rides in the response until the outermost layer, which knows the request's id, writes the body.
#[derive(Clone)]
pub struct Failed(pub Arc<Problem>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = status_of(self.0.kind);
        let mut response = status.into_response();
        response.extensions_mut().insert(Failed(Arc::new(self.0)));
        response
    }
}

/// The HTTP status of a kind.
pub fn status_of(kind: ErrorKind) -> StatusCode {
    StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Writes the envelope of a failed call and logs it once.
pub fn render(mut response: Response, problem: &Problem, request_id: &str) -> Response {
    log(problem, request_id);
    let (message, hint) = match problem.kind {
        ErrorKind::Bug => (
            "something went wrong in the server".to_owned(),
            Some(format!("the server's log has the details under request {request_id}")),
        ),
        _ => (problem.text.clone(), problem.hint.clone()),
    };
    let body = ErrorBody {
        error: ErrorView { kind: problem.kind.as_str().to_owned(), message, hint, request_id: request_id.to_owned() },
    };
    let bytes = serde_json::to_vec(&body).unwrap_or_default();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match problem.kind {
        ErrorKind::TooMany | ErrorKind::Unavailable => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        ErrorKind::Unauthenticated => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"kaogong\""));
        }
        _ => {}
    }
    response.map(|_| axum::body::Body::from(bytes))
}

/// Writes a failed call to the log, once.
pub fn log(problem: &Problem, request_id: &str) {
    let causes = causes_of(problem);
    match problem.kind {
        ErrorKind::Bug => tracing::error!(request_id, causes, "request {request_id} failed: {}", problem.text),
        ErrorKind::Unavailable => tracing::warn!(request_id, causes, "request {request_id} failed: {}", problem.text),
        _ => tracing::debug!(request_id, causes, "request {request_id} refused: {}", problem.text),
    }
}

/// The chain of causes in one line.
pub fn causes_of(problem: &Problem) -> String {
    let mut text = String::new();
    let mut next = std::error::Error::source(problem);
    while let Some(cause) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
