//! The path under which a reverse proxy shows the server: `/kaogong` in `https://host/kaogong/p/default`.
//!
//! Calls are taken with the path and without it. So it does not matter whether the proxy takes it away, and programs on
//! this machine that know nothing of a proxy work as before.

use http::{Request, Uri, uri::PathAndQuery};
use kaogong_domain::Problem;
use std::{fmt, str::FromStr, sync::Arc};

/// The longest base path, in characters.
const LENGTH_MAX: usize = 200;
/// Beginnings of the server's own addresses: under one of these, a path with the base and one without look alike.
pub const TAKEN: [&str; 14] = [
    "p",
    "api",
    "ajax-api",
    "v2",
    "assets",
    "admin",
    "sign-in",
    "healthz",
    "readyz",
    "metrics",
    "version",
    "health",
    "favicon.svg",
    "inference.GRPCInferenceService",
];

/// Empty at the root of a host, else with a slash before and none behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasePath(Arc<str>);

impl BasePath {
    /// The text: empty, or `/kaogong`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes the path away from a request that has it.
    pub fn strip<B>(&self, request: &mut Request<B>) {
        if let Some(uri) = self.stripped(request.uri()) {
            *request.uri_mut() = uri;
        }
    }

    fn stripped(&self, uri: &Uri) -> Option<Uri> {
        if self.0.is_empty() {
            return None;
        }
        let rest = uri.path_and_query()?.as_str().strip_prefix(&*self.0)?;
        let inner = match rest.bytes().next() {
            None => "/".to_owned(),
            Some(b'?') => format!("/{rest}"),
            Some(b'/') => rest.to_owned(),
            // `/kaogongs` is another path.
            Some(_) => return None,
        };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::from_str(&inner).ok()?);
        Uri::from_parts(parts).ok()
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BasePath {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let path = text.strip_suffix('/').unwrap_or(text);
        if path.is_empty() {
            return Ok(Self::default());
        }
        let is_plain = |it: &str| {
            let is_letter = |it: u8| it.is_ascii_alphanumeric() || b"-._~".contains(&it);
            !it.is_empty() && it.bytes().all(is_letter) && it.bytes().any(|it| it != b'.')
        };
        let parts = path.strip_prefix('/').map(|it| it.split('/').collect::<Vec<_>>()).unwrap_or_default();
        let first = parts.first().copied().unwrap_or_default();
        if path.len() > LENGTH_MAX || !parts.iter().all(|it| is_plain(it)) || first.is_empty() {
            let shown: String = text.chars().take(LENGTH_MAX).collect();
            return Err(Problem::invalid(format!(
                "`{shown}` is not a path of letters, digits and -._~, such as /kaogong"
            )));
        }
        if TAKEN.contains(&first) {
            return Err(Problem::invalid(format!(
                "`/{first}` is an address of the server itself; choose another path"
            )));
        }
        Ok(Self(path.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(base: &str, uri: &str) -> String {
        let base: BasePath = base.parse().expect("a base path");
        let mut request = Request::builder().uri(uri).body(()).expect("a request");
        base.strip(&mut request);
        request.uri().to_string()
    }

    #[test]
    fn the_path_is_taken_away_where_it_is() {
        for (uri, inner) in [
            ("/kaogong/p/default?x=/kaogong", "/p/default?x=/kaogong"),
            ("/kaogong", "/"),
            ("/kaogong/", "/"),
            ("/kaogong?code=1", "/?code=1"),
            ("/kaogong//p", "//p"),
            ("http://h/kaogong/p/x%2Fy", "http://h/p/x%2Fy"),
        ] {
            assert_eq!(stripped("/kaogong", uri), inner, "{uri}");
        }
        for same in ["/p/default", "/kaogongs/p", "/", "/p/kaogong/", "/Kaogong/p", "*"] {
            assert_eq!(stripped("/kaogong", same), same);
        }
        assert_eq!(stripped("/a/b/", "/a/b/v2"), "/v2");
        assert_eq!(stripped("/a/b", "/a/v2"), "/a/v2");
        assert_eq!(stripped("", "/a"), "/a");
    }

    #[test]
    fn only_plain_paths_that_are_free_are_taken() {
        for good in ["", "/", "/kaogong", "/tools/ml-1.2_x~"] {
            let made: BasePath = good.parse().unwrap_or_else(|it| panic!("{good}: {it}"));
            assert_eq!(made.as_str(), good.trim_end_matches('/'));
        }
        let long = format!("/{}", "x".repeat(LENGTH_MAX));
        for bad in [
            "kaogong", "//", "/a//b", "/..", "/a/../b", "/.", "/a b", "/a?b", "/a#b", "/ü", "/a\"><x", "/p", "/api/x",
            &long,
        ] {
            assert!(bad.parse::<BasePath>().is_err(), "{bad}");
        }
    }
}
