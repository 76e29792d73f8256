//! Where a browser's call comes from.

use http::{HeaderMap, header};

/// Whether `Origin`, when the browser sends it, names the host that was asked.
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = headers.get(header::HOST).and_then(|it| it.to_str().ok());
    let origin = origin.to_str().ok().and_then(|it| it.split_once("://")).map(|it| it.1);
    origin.is_some() && origin == host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_origin_is_another_origin() {
        let headers = |origin: &str| {
            let mut it = HeaderMap::new();
            it.insert("host", "127.0.0.1:7300".parse().expect("a header"));
            it.insert("origin", origin.parse().expect("a header"));
            it
        };
        assert!(is_same_origin(&headers("http://127.0.0.1:7300")));
        assert!(!is_same_origin(&headers("http://evil.example")));
        assert!(!is_same_origin(&headers("null")));
        assert!(is_same_origin(&HeaderMap::new()));
    }
}
