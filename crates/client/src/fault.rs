//! What can go wrong on the way to the server and back.

use kaogong_api::ErrorBody;
use kaogong_domain::{ErrorKind, Problem};

/// A failed call. Kept as the cause of the [`Problem`] that callers see.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No connection, or it broke, for longer than the caller's patience.
    #[error("no answer from {address}: {why}")]
    Unreachable {
        /// The server's address.
        address: String,
        /// What the last try ended with.
        why: String,
    },
    /// The server answered that it will not or cannot.
    #[error("the server answered {status}: {message} (request {request_id})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The server's sentence.
        message: String,
        /// The number to quote.
        request_id: String,
    },
    /// The answer is not what the API describes.
    #[error("{address} answered something else than this program expects: {why}")]
    Strange {
        /// The server's address.
        address: String,
        /// What was wrong.
        why: String,
    },
}

/// Whether a problem means that no server could be reached.
pub fn is_unreachable(problem: &Problem) -> bool {
    let cause = problem.cause.as_ref().and_then(|it| it.downcast_ref::<Fault>());
    matches!(cause, Some(Fault::Unreachable { .. }))
}

/// No server, after all patience.
pub(crate) fn unreachable(address: &str, why: String) -> Problem {
    Problem::unavailable(format!("cannot reach the server at {address}: {why}"))
        .hint("start one with `kaogong up`, or name another with --url or KAOGONG_URL")
        .because(Fault::Unreachable { address: address.to_owned(), why })
}

/// An answer that the API does not describe.
pub(crate) fn strange(address: &str, why: String) -> Problem {
    let text = format!("{address} did not answer as a Kaogong server of this version does: {why}");
    Problem::new(ErrorKind::Unavailable, text)
        .hint("check the address, and that server and command line have the same version")
        .because(Fault::Strange { address: address.to_owned(), why })
}

/// An answer that leads elsewhere.
pub(crate) fn redirected(address: &str, status: u16, target: Option<&str>) -> Problem {
    let target: String = target.unwrap_or("another place").chars().take(200).collect();
    let message = format!("{address} answered with status {status}: it leads to {target}");
    Problem::invalid(message.clone())
        .hint("name the server's own address with --url or KAOGONG_URL; a proxy in front must let calls through")
        .because(Fault::Refused { status, message, request_id: "-".into() })
}

/// Turns an error answer into a problem: the envelope when there is one, else by status.
pub(crate) fn refused(address: &str, status: u16, body: &[u8]) -> Problem {
    let Ok(envelope) = serde_json::from_slice::<ErrorBody>(body) else {
        return plain_refusal(address, status, body);
    };
    let error = envelope.error;
    let kind = ErrorKind::ALL.into_iter().find(|it| it.as_str() == error.kind).unwrap_or_else(|| kind_of(status));
    let mut problem = Problem::new(kind, error.message.clone());
    problem.hint = error.hint.or_else(|| usual_hint(kind, &error.request_id));
    problem.because(Fault::Refused { status, message: error.message, request_id: error.request_id })
}

fn usual_hint(kind: ErrorKind, request_id: &str) -> Option<String> {
    match kind {
        ErrorKind::Unauthenticated => Some("sign in with `kaogong login URL`, or set KAOGONG_TOKEN".into()),
        ErrorKind::Bug => Some(format!("the server's log has the details under request {request_id}")),
        _ => None,
    }
}

/// The Open Inference Protocol answers `{"error": "text"}`; anything else is shown in part.
fn plain_refusal(address: &str, status: u16, body: &[u8]) -> Problem {
    let foreign = serde_json::from_slice::<serde_json::Value>(body).ok();
    let foreign = foreign.as_ref().and_then(|it| it.get("error")).and_then(|it| it.as_str());
    let text = match foreign {
        Some(text) => text.to_owned(),
        None => {
            let part: String = String::from_utf8_lossy(body).chars().filter(|it| !it.is_control()).take(200).collect();
            format!("{address} answered with status {status}: {}", if part.is_empty() { "no text" } else { &part })
        }
    };
    let kind = kind_of(status);
    let mut problem = Problem::new(kind, text.clone());
    problem.hint = usual_hint(kind, "-").filter(|_| kind != ErrorKind::Bug);
    problem.because(Fault::Refused { status, message: text, request_id: "-".into() })
}

fn kind_of(status: u16) -> ErrorKind {
    match status {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        429 => ErrorKind::TooMany,
        502..=504 => ErrorKind::Unavailable,
        400..=499 => ErrorKind::Invalid,
        _ => ErrorKind::Bug,
    }
}

/// The innermost cause, which is the one that says something: `Connection refused (os error 111)`.
pub(crate) fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut at = error;
    while let Some(next) = at.source() {
        at = next;
    }
    at.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_becomes_the_problem() {
        let body =
            br#"{"error":{"kind":"conflict","message":"endpoint `a` exists","hint":"use update","request_id":"r1"}}"#;
        let problem = refused("http://x", 409, body);
        assert_eq!((problem.kind, problem.text.as_str()), (ErrorKind::Conflict, "endpoint `a` exists"));
        assert_eq!(problem.hint.as_deref(), Some("use update"));
        assert!(!is_unreachable(&problem));
    }

    #[test]
    fn a_foreign_error_keeps_its_text_and_a_page_is_cut() {
        assert_eq!(refused("http://x", 400, br#"{"error":"wrong shape"}"#).text, "wrong shape");
        let long = vec![b'<'; 5000];
        assert!(refused("http://x", 502, &long).text.len() < 300);
        assert!(is_unreachable(&unreachable("http://x", "refused".into())));
    }
}
