//! Taking away the path under which a reverse proxy shows the server.
//!
//! Calls are taken with the path and without it. So it does not matter whether the proxy takes it away, and programs on
//! this machine that know nothing of a proxy work as before.

use http::{Request, Uri, uri::PathAndQuery};
use kaogong_domain::base_path::BasePath;
use std::str::FromStr;

/// Takes the path away from a request that has it.
pub fn strip<B>(base: &BasePath, request: &mut Request<B>) {
    if let Some(uri) = stripped(base, request.uri()) {
        *request.uri_mut() = uri;
    }
}

fn stripped(base: &BasePath, uri: &Uri) -> Option<Uri> {
    if base.as_str().is_empty() {
        return None;
    }
    let rest = uri.path_and_query()?.as_str().strip_prefix(base.as_str())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn without(base: &str, uri: &str) -> String {
        let base: BasePath = base.parse().expect("a base path");
        let mut request = Request::builder().uri(uri).body(()).expect("a request");
        strip(&base, &mut request);
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
            assert_eq!(without("/kaogong", uri), inner, "{uri}");
        }
        for same in ["/p/default", "/kaogongs/p", "/", "/p/kaogong/", "/Kaogong/p", "*"] {
            assert_eq!(without("/kaogong", same), same);
        }
        assert_eq!(without("/a/b/", "/a/b/v2"), "/v2");
        assert_eq!(without("/a/b", "/a/v2"), "/a/v2");
        assert_eq!(without("", "/a"), "/a");
    }
}
