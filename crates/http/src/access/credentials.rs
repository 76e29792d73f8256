//! Where a request carries its credential.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, header};
use kaogong_domain::Secret;

/// The browser's session cookie.
pub const SESSION_COOKIE: &str = "kaogong_session";
/// The header that a browser session sends with every changing call.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// What the request carries.
#[derive(Debug)]
pub enum Credential {
    /// An API token.
    Token(Secret),
    /// A browser session.
    Session(Secret),
    /// Nothing.
    None,
}

/// Finds the credential: bearer token, basic password (the token; the user name is ignored, as MLflow clients
/// send both), then the session cookie.
pub fn find(headers: &HeaderMap) -> Credential {
    if let Some(text) = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok()) {
        if let Some(token) = strip_scheme(text, "bearer") {
            return Credential::Token(Secret::new(token));
        }
        if let Some(token) = strip_scheme(text, "basic").and_then(password_of_basic) {
            return Credential::Token(token);
        }
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|it| it.to_str().ok());
    for pair in cookies.flat_map(|it| it.split(';')) {
        if let Some(value) = pair.trim().strip_prefix(SESSION_COOKIE).and_then(|it| it.strip_prefix('=')) {
            return Credential::Session(Secret::new(value));
        }
    }
    Credential::None
}

fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (found, rest) = text.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

fn password_of_basic(encoded: &str) -> Option<Secret> {
    let text = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    text.split_once(':').map(|(_, password)| Secret::new(password))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn carried(name: &'static str, value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).expect("a header"));
        match find(&headers) {
            Credential::Token(it) => Some(format!("token {}", it.expose())),
            Credential::Session(it) => Some(format!("session {}", it.expose())),
            Credential::None => None,
        }
    }

    #[test]
    fn each_way_to_carry_a_credential() {
        assert_eq!(carried("authorization", "Bearer abc").as_deref(), Some("token abc"));
        assert_eq!(carried("authorization", "bearer  abc").as_deref(), Some("token abc"));
        assert_eq!(carried("authorization", "Basic dXNlcjphYmM=").as_deref(), Some("token abc"));
        assert_eq!(carried("cookie", "a=b; kaogong_session=s1").as_deref(), Some("session s1"));
        assert_eq!(carried("cookie", "xkaogong_session=s1"), None);
        assert_eq!(carried("authorization", "Digest x"), None);
    }
}
