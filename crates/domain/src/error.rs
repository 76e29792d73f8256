//! The closed list of error kinds, and the error that crosses crate walls.

use std::{fmt, time::Duration};

/// Every failure is one of these; each is mapped once to HTTP, gRPC and exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The caller asked for something that can never work as asked.
    Invalid,
    /// Nobody proved who is calling.
    Unauthenticated,
    /// The caller is known and may not.
    Forbidden,
    /// The thing is not there, or the caller may not learn that it is.
    NotFound,
    /// The thing is in another state than the caller believed.
    Conflict,
    /// A bound was reached; the same call may work later.
    TooMany,
    /// Something this program depends on did not answer.
    Unavailable,
    /// Our fault. The text stays in the log; the caller gets a number to quote.
    Bug,
}

impl ErrorKind {
    /// All kinds, for tests that walk the list.
    pub const ALL: [Self; 8] = [
        Self::Invalid,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::TooMany,
        Self::Unavailable,
        Self::Bug,
    ];

    /// The name used on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooMany => "too_many",
            Self::Unavailable => "unavailable",
            Self::Bug => "bug",
        }
    }

    /// The HTTP status every native route answers with.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooMany => 429,
            Self::Unavailable => 503,
            Self::Bug => 500,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failure as it crosses the walls between crates: what failed on which thing, and what to do next.
///
/// Crates keep their own typed errors inside and turn them into a `Problem` at their edge. The cause is
/// kept for the log and is never part of `text`.
#[derive(Debug)]
pub struct Problem {
    /// One of the closed list.
    pub kind: ErrorKind,
    /// What failed, on which thing. One sentence, lower case, no full stop.
    pub text: String,
    /// What to do next, when there is something to do.
    pub hint: Option<String>,
    /// What lies behind, for the log only.
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// In how many seconds a call may succeed, where that is known.
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// A failure of a given kind.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), hint: None, cause: None, retry_after_s: None }
    }

    /// The caller's input cannot work.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, text)
    }

    /// The thing is not there.
    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, text)
    }

    /// The thing is in another state than the caller believed.
    pub fn conflict(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, text)
    }

    /// Our fault, with the cause for the log.
    pub fn bug(text: impl Into<String>, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::new(ErrorKind::Bug, text).because(cause)
    }

    /// Something we depend on did not answer.
    pub fn unavailable(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, text)
    }

    /// A body over the limit of its call. The text names the limit.
    pub fn too_large(limit_bytes: u64) -> Self {
        let text = format!("the body is larger than this call takes, which is {}", in_words(limit_bytes));
        Self::invalid(text).hint("send less, or in several calls").because(TooLarge { limit_bytes })
    }

    /// Whether a body was over its limit: then the status is another one than that of the kind.
    pub fn is_too_large(&self) -> bool {
        self.cause.as_ref().is_some_and(|it| it.is::<TooLarge>())
    }

    /// The HTTP status of this failure.
    pub fn http_status(&self) -> u16 {
        if self.is_too_large() { 413 } else { self.kind.http_status() }
    }

    /// The chain of causes in one line, for the log.
    pub fn causes(&self) -> String {
        let all = std::iter::successors(std::error::Error::source(self), |it| it.source());
        all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds when a call may succeed, rounded up to seconds.
    #[must_use]
    pub fn retry_in(mut self, time: Duration) -> Self {
        self.retry_after_s = Some(time.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1));
        self
    }

    /// What the header `Retry-After` says: seconds, one where nothing better is known. `None` for failures that another
    /// try does not mend.
    pub fn retry_after(&self) -> Option<u64> {
        matches!(self.kind, ErrorKind::TooMany | ErrorKind::Unavailable).then(|| self.retry_after_s.unwrap_or(1))
    }

    /// Adds what lies behind, for the log.
    #[must_use]
    pub fn because(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }
}

/// Marks a problem as a body over the limit of its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TooLarge {
    limit_bytes: u64,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} bytes", self.limit_bytes)
    }
}

impl std::error::Error for TooLarge {}

fn in_words(bytes: u64) -> String {
    for (size, unit) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{bytes} bytes ({} {unit})", bytes / size);
        }
    }
    format!("{bytes} bytes")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Problem {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|it| it as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_passes_says_when() {
        assert_eq!(Problem::unavailable("x").retry_after(), Some(1));
        assert_eq!(Problem::unavailable("x").retry_in(Duration::from_millis(29_001)).retry_after(), Some(30));
        assert_eq!(Problem::unavailable("x").retry_in(Duration::ZERO).retry_after(), Some(1));
        assert_eq!(Problem::new(ErrorKind::TooMany, "x").retry_after(), Some(1));
        assert_eq!(Problem::invalid("x").retry_in(Duration::from_secs(3)).retry_after(), None);
    }

    #[test]
    fn a_body_over_its_limit_is_told_with_the_limit() {
        let told = Problem::too_large(64 << 20);
        assert_eq!((told.kind, told.http_status()), (ErrorKind::Invalid, 413));
        assert!(told.text.ends_with("67108864 bytes (64 MiB)"), "{}", told.text);
        assert!(Problem::too_large(1000).text.ends_with(" 1000 bytes"));
        assert_eq!(Problem::invalid("x").http_status(), 400);
    }
}
