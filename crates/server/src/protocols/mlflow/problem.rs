//! Failures in MLflow's shape: `{"error_code": …, "message": …}` with the status that its clients expect.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use kaogong_domain::{ErrorKind, Problem};
use serde_json::{Value, json};

/// The words of MLflow's `ErrorCode` that this server answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Invalid,
    /// The body is no message at all.
    BadRequest,
    TooLarge,
    Missing,
    Exists,
    Conflict,
    Endpoint,
    Unauthenticated,
    Forbidden,
    TooMany,
    Unavailable,
    Internal,
}

impl Code {
    fn word(self) -> &'static str {
        match self {
            // The closest word of MLflow's; the status says the rest.
            Self::Invalid | Self::TooLarge => "INVALID_PARAMETER_VALUE",
            Self::BadRequest => "BAD_REQUEST",
            Self::Missing => "RESOURCE_DOES_NOT_EXIST",
            Self::Exists => "RESOURCE_ALREADY_EXISTS",
            Self::Conflict => "RESOURCE_CONFLICT",
            Self::Endpoint => "ENDPOINT_NOT_FOUND",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "PERMISSION_DENIED",
            Self::TooMany => "REQUEST_LIMIT_EXCEEDED",
            Self::Unavailable => "TEMPORARILY_UNAVAILABLE",
            Self::Internal => "INTERNAL_ERROR",
        }
    }

    /// As MLflow's `ERROR_CODE_TO_HTTP_STATUS`.
    fn status(self) -> StatusCode {
        match self {
            Self::Invalid | Self::BadRequest | Self::Exists => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Missing | Self::Endpoint => StatusCode::NOT_FOUND,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// What a handler of this protocol fails with.
#[derive(Debug)]
pub struct MlflowProblem {
    code: Code,
    message: String,
    retry_after_s: Option<u64>,
}

/// What a handler of this protocol answers with.
pub(super) type Told<T> = Result<T, MlflowProblem>;

impl MlflowProblem {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_s: None }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::Invalid, message)
    }

    pub(super) fn missing(message: impl Into<String>) -> Self {
        Self::new(Code::Missing, message)
    }

    /// A conflict that is no name taken twice.
    pub(super) fn conflict(problem: Problem) -> Self {
        let is_conflict = problem.kind == ErrorKind::Conflict;
        let told = Self::from(problem);
        if is_conflict { Self { code: Code::Conflict, ..told } } else { told }
    }

    #[cfg(test)]
    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

impl From<Problem> for MlflowProblem {
    fn from(problem: Problem) -> Self {
        let code = match problem.kind {
            ErrorKind::Invalid if problem.is_too_large() => Code::TooLarge,
            ErrorKind::Invalid => Code::Invalid,
            ErrorKind::Unauthenticated => Code::Unauthenticated,
            ErrorKind::Forbidden => Code::Forbidden,
            ErrorKind::NotFound => Code::Missing,
            ErrorKind::Conflict => Code::Exists,
            ErrorKind::TooMany => Code::TooMany,
            ErrorKind::Unavailable => Code::Unavailable,
            ErrorKind::Bug => Code::Internal,
        };
        if code == Code::Internal {
            let mut causes = vec![];
            let mut next = std::error::Error::source(&problem);
            while let Some(cause) = next {
                causes.push(cause.to_string());
                next = cause.source();
            }
            tracing::error!(causes = causes.join(": "), "an MLflow call failed: {}", problem.text);
            return Self::new(code, "something went wrong in the server; its log has the details");
        }
        let message = match problem.hint {
            Some(hint) => format!("{} ({hint})", problem.text),
            None => problem.text,
        };
        Self { code, message, retry_after_s: problem.retry_after_s }
    }
}

/// For helpers that also serve the native API.
impl From<MlflowProblem> for Problem {
    fn from(it: MlflowProblem) -> Self {
        let kind = match it.code {
            Code::Invalid | Code::BadRequest | Code::TooLarge => ErrorKind::Invalid,
            Code::Missing | Code::Endpoint => ErrorKind::NotFound,
            Code::Exists | Code::Conflict => ErrorKind::Conflict,
            Code::Unauthenticated => ErrorKind::Unauthenticated,
            Code::Forbidden => ErrorKind::Forbidden,
            Code::TooMany => ErrorKind::TooMany,
            Code::Unavailable => ErrorKind::Unavailable,
            Code::Internal => ErrorKind::Bug,
        };
        Self::new(kind, it.message)
    }
}

impl IntoResponse for MlflowProblem {
    fn into_response(self) -> Response {
        let body = json!({"error_code": self.code.word(), "message": self.message});
        let mut response = (self.code.status(), body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self.code {
            Code::TooMany | Code::Unavailable => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after_s.unwrap_or(1)));
            }
            Code::Unauthenticated => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"kaogong\""));
            }
            _ => {}
        }
        response
    }
}

/// A JSON answer.
#[derive(Debug)]
pub(super) struct Json(pub(super) Value);

/// What most handlers answer with.
pub(super) type Reply = Told<Json>;

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0.to_string()).into_response()
    }
}

/// An answer without content.
pub(super) fn done() -> Reply {
    Ok(Json(json!({})))
}
