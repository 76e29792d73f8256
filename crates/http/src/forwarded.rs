//! Who called, when a proxy passed the call on.

use http::{HeaderMap, HeaderName, header};
use std::net::{IpAddr, SocketAddr};

/// Where proxies write for whom they call, the nearest client last.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether a call says that somebody passed it on.
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED_FOR) || headers.contains_key(header::FORWARDED)
}

/// The client behind a proxy that is trusted: the last address of its header. All before it is what the client wrote
/// itself. `None` when the peer is no such proxy, or names nobody.
pub fn client_behind(peer: IpAddr, proxies: &[IpAddr], headers: &HeaderMap) -> Option<IpAddr> {
    if !proxies.iter().any(|it| it.to_canonical() == peer.to_canonical()) {
        return None;
    }
    let last = headers.get_all(FORWARDED_FOR).iter().next_back()?.to_str().ok()?.rsplit(',').next()?.trim();
    // Some proxies add the port.
    last.parse().or_else(|_| last.parse::<SocketAddr>().map(|it| it.ip())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for text in forwarded {
            headers.append(FORWARDED_FOR, text.parse().expect("a header"));
        }
        let proxies = ["127.0.0.1", "10.0.0.9"].map(|it| it.parse().expect("an address"));
        client_behind(peer.parse().expect("an address"), &proxies, &headers).map(|it| it.to_string())
    }

    #[test]
    fn only_the_last_word_of_a_trusted_proxy_counts() {
        assert_eq!(client("127.0.0.1", &["9.9.9.9, 203.0.113.7"]).as_deref(), Some("203.0.113.7"));
        assert_eq!(client("::ffff:10.0.0.9", &["9.9.9.9", "2001:db8::1"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(client("127.0.0.1", &["203.0.113.7:4711"]).as_deref(), Some("203.0.113.7"));
        assert_eq!(client("127.0.0.1", &["[2001:db8::1]:4711"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(client("127.0.0.1", &["unknown"]), None);
        assert_eq!(client("127.0.0.1", &[]), None);
        assert_eq!(client("203.0.113.7", &["9.9.9.9"]), None, "whoever calls directly says nothing about itself");
    }
}
