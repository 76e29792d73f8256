//! Problems on their way to the caller: one place maps kinds to statuses and writes the envelope.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kaogong_api::error::{ErrorBody, ErrorView};
use kaogong_domain::{ErrorKind, Problem};
use std::sync::Arc;
use tonic::{Code, Status};

/// The most characters of a gRPC status: it travels in a header, and clients bound those.
const STATUS_CHARS_MAX: usize = 1000;

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

/// Writes a failed call in a protocol's own shape, and logs it once. Gets the id of the request.
pub type RenderError = fn(&Problem, &str) -> Response;

/// Rides in the response until the outermost layer, which knows the request's id, writes the body.
#[derive(Clone)]
pub struct Failed(pub Arc<Problem>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = status_of(&self.0);
        let mut response = status.into_response();
        response.extensions_mut().insert(Failed(Arc::new(self.0)));
        response
    }
}

/// The HTTP status of a failure.
pub fn status_of(problem: &Problem) -> StatusCode {
    StatusCode::from_u16(problem.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// What the caller may read: text and hint. The text of a bug stays in the log.
pub fn words_of(problem: &Problem, request_id: &str) -> (String, Option<String>) {
    match problem.kind {
        ErrorKind::Bug => (
            "something went wrong in the server".to_owned(),
            Some(format!("the server's log has the details under request {request_id}")),
        ),
        _ => (problem.text.clone(), problem.hint.clone()),
    }
}

/// Whether a call is a gRPC call, and so wants its failure as a gRPC status.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let rest = media_type.strip_prefix("application/grpc");
    rest.is_some_and(|it| it.is_empty() || it.starts_with(['+', ';']))
}

/// The gRPC code of a kind.
pub fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::Forbidden => Code::PermissionDenied,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict => Code::FailedPrecondition,
        ErrorKind::TooMany => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Bug => Code::Internal,
    }
}

/// The gRPC status of a failed call, which is logged once.
pub fn status_of_grpc(problem: &Problem, request_id: &str) -> Status {
    log(problem, request_id);
    let (message, hint) = words_of(problem, request_id);
    let message = match hint {
        Some(hint) => format!("{message} ({hint})"),
        None => message,
    };
    let code = if problem.is_too_large() { Code::ResourceExhausted } else { code_of(problem.kind) };
    Status::new(code, message.chars().take(STATUS_CHARS_MAX).collect::<String>())
}

/// A failed gRPC call: headers alone, since a client of the protocol reads no other body.
pub fn render_grpc(problem: &Problem, is_known: bool, request_id: &str) -> Response {
    let status = status_of_grpc(problem, request_id);
    // What no route answers is a call that this server does not speak.
    let is_unspoken = !is_known && problem.kind == ErrorKind::NotFound;
    let status = if is_unspoken { Status::new(Code::Unimplemented, status.message()) } else { status };
    status.into_http()
}

/// Writes the envelope of a failed call and logs it once.
pub fn render(mut response: Response, problem: &Problem, request_id: &str) -> Response {
    log(problem, request_id);
    let (message, hint) = words_of(problem, request_id);
    let body = ErrorBody {
        error: ErrorView { kind: problem.kind.as_str().to_owned(), message, hint, request_id: request_id.to_owned() },
    };
    let bytes = serde_json::to_vec(&body).unwrap_or_default();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    tell_what_next(problem, headers);
    response.map(|_| axum::body::Body::from(bytes))
}

/// Tells programs when to try again, and how to prove who they are.
pub fn tell_what_next(problem: &Problem, headers: &mut HeaderMap) {
    if let Some(seconds) = problem.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if problem.kind == ErrorKind::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"kaogong\""));
    }
}

/// Writes a failed call to the log, once.
pub fn log(problem: &Problem, request_id: &str) {
    let causes = problem.causes();
    match problem.kind {
        ErrorKind::Bug => tracing::error!(request_id, causes, "request {request_id} failed: {}", problem.text),
        ErrorKind::Unavailable => tracing::warn!(request_id, causes, "request {request_id} failed: {}", problem.text),
        _ => tracing::debug!(request_id, causes, "request {request_id} refused: {}", problem.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_calls_are_known_by_their_media_type() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(text));
            is_grpc(&headers)
        };
        assert!(of("application/grpc") && of("application/grpc+proto") && of("application/grpc;x=1"));
        assert!(!of("application/grpc-web") && !of("application/json") && !is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn a_failed_grpc_call_is_headers_alone() {
        let problem = Problem::new(ErrorKind::Unauthenticated, "this call needs a sign-in");
        let response = render_grpc(&problem, true, "req_1");
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers().get("grpc-status").and_then(|it| it.to_str().ok()), Some("16"));
        assert_eq!(response.headers().get("content-type").and_then(|it| it.to_str().ok()), Some("application/grpc"));
        let unknown = render_grpc(&Problem::not_found("nothing here"), false, "req_1");
        assert_eq!(unknown.headers().get("grpc-status").and_then(|it| it.to_str().ok()), Some("12"));
        // A panic is told from outside the layer that knows the call.
        let panicked = render_grpc(&Problem::new(ErrorKind::Bug, "the handler panicked"), false, "req_1");
        assert_eq!(panicked.headers().get("grpc-status").and_then(|it| it.to_str().ok()), Some("13"));
    }

    #[test]
    fn a_bug_keeps_its_text_to_itself() {
        let status = status_of_grpc(&Problem::new(ErrorKind::Bug, "the secret detail"), "req_1");
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("secret") && status.message().contains("req_1"));
        let long = status_of_grpc(&Problem::invalid("é".repeat(5000)), "req_1");
        assert_eq!(long.message().chars().count(), STATUS_CHARS_MAX);
    }
}
