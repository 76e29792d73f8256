//! What the port withstands and keeps to itself: large and slow bodies, proxies, old cookies, and who reads what.

use crate::kit::{PATIENCE, Reply, Server, http, pictures, text, wait_until};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

const PASSWORD: &str = "a long password";

fn make_user(server: &Server, name: &str) {
    let body = json!({"name": name, "password": PASSWORD}).to_string();
    let made = server.call("POST", "/api/v1/users", Some(&server.token()), body.as_bytes());
    assert_eq!(made.status, 201, "{}", text(&made.body));
}

fn sign_in(server: &Server, name: &str, password: &str, headers: &[(&str, &str)]) -> Reply {
    let body = json!({"name": name, "password": password}).to_string();
    http(&server.address, "POST", "/api/v1/session", headers, body.as_bytes()).expect("an answer")
}

fn set_cookie(reply: &Reply) -> String {
    let line = reply.head.lines().find(|it| it.to_lowercase().starts_with("set-cookie:")).expect("a cookie");
    line[11..].trim().to_owned()
}

fn session_of(reply: &Reply) -> String {
    set_cookie(reply).split(';').next().expect("a pair").to_owned()
}

#[test]
fn a_stranger_s_body_is_short() {
    let server = Server::start();
    assert_eq!(sign_in(&server, "nobody", &"x".repeat(15 << 10), &[]).status, 401);
    let long = sign_in(&server, "nobody", &"x".repeat(17 << 10), &[]);
    assert_eq!(long.status, 413, "{}", text(&long.body));
    assert!(text(&long.body).contains("larger than this call takes"), "{}", text(&long.body));
}

#[test]
fn slow_uploads_are_bounded_and_stop_nothing_else() {
    let server = Server::start();
    let (token, host) = (server.token(), server.address.trim_start_matches("http://"));
    let path = "/api/v1/projects/default/uploads";
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-length: 9\r\n\r\n");
    let slow = |_| {
        let mut stream = TcpStream::connect(host).expect("a connection");
        stream.write_all(head.as_bytes()).expect("a head");
        stream.write_all(b"1").expect("a first byte");
        stream
    };
    let mut open: Vec<TcpStream> = (0..128).map(slow).collect();
    let upload = || server.call("POST", path, Some(&token), b"whole").status;
    wait_until("all places are taken", || {
        let is_full = upload() == 429;
        // This upload may have had the place that the last of them was refused.
        open.push(slow(0));
        is_full.then_some(())
    });
    assert_eq!(server.call("GET", "/readyz", None, b"").status, 200);
    assert_eq!(server.call("GET", "/api/v1/projects", Some(&token), b"").status, 200);
    drop(open);
    wait_until("a place is free", || (upload() == 201).then_some(()));
}

#[test]
fn behind_a_trusted_proxy_each_client_has_its_own_address() {
    let server = Server::start_with(&["--trusted-proxy", "127.0.0.1", "--trust-loopback"]);
    let from = |client: &'static str| [("x-forwarded-for", client)];
    let status = |headers: &[(&str, &str)]| {
        http(&server.address, "GET", "/api/v1/session", headers, b"").expect("an answer").status
    };
    assert_eq!(status(&[]), 200, "a program at this machine");
    for client in ["203.0.113.7", "127.0.0.1", "nonsense"] {
        assert_eq!(status(&from(client)), 401, "{client} came through the proxy");
    }

    make_user(&server, "mei");
    let wrong = |client: &'static str| sign_in(&server, "mei", "a wrong password", &from(client)).status;
    for _ in 0..10 {
        assert_eq!(wrong("198.51.100.1, 203.0.113.7"), 401);
    }
    assert_eq!(wrong("198.51.100.2, 203.0.113.7"), 429, "what the client wrote itself does not count");
    let right = sign_in(&server, "mei", PASSWORD, &from("203.0.113.8"));
    assert_eq!(right.status, 200, "{}", text(&right.body));
    let log = server.call("GET", "/api/v1/audit?limit=1", Some(&server.token()), b"").json();
    assert_eq!(log["items"][0]["action"], "session.opened", "{log}");
    assert_eq!(log["items"][0]["address"], "203.0.113.8", "{log}");
}

#[test]
fn nobody_chooses_an_address_where_no_proxy_is_trusted() {
    let server = Server::start_with(&["--trust-loopback"]);
    make_user(&server, "mei");
    let opened = sign_in(&server, "mei", PASSWORD, &[("x-forwarded-for", "203.0.113.8")]);
    assert_eq!(opened.status, 200);
    let log = server.call("GET", "/api/v1/audit?limit=1", Some(&server.token()), b"").json();
    assert_eq!(log["items"][0]["address"], "127.0.0.1", "{log}");
    // A proxy that nobody told the server of does not make everybody the administrator.
    let through = http(&server.address, "GET", "/api/v1/session", &[("x-forwarded-for", "203.0.113.8")], b"");
    assert_eq!(through.expect("an answer").status, 401);
}

#[test]
fn an_old_cookie_keeps_nobody_out_and_goes_away() {
    let server = Server::start_with(&["--trust-loopback"]);
    let call = |method: &str, headers: &[(&str, &str)]| {
        http(&server.address, method, "/api/v1/session", headers, b"").expect("an answer")
    };
    let old = ("cookie", "kaogong_session=of-a-server-that-is-gone");
    assert_eq!(call("GET", &[old]).status, 200, "as without a cookie");
    let elsewhere = ("origin", "http://evil.example");
    assert_eq!(call("GET", &[old, elsewhere]).status, 401);
    let cleared = call("DELETE", &[old, elsewhere]);
    assert_eq!(cleared.status, 204);
    assert!(set_cookie(&cleared).contains("Max-Age=0"), "{}", cleared.head);

    make_user(&server, "mei");
    let opened = sign_in(&server, "mei", PASSWORD, &[]);
    let (cookie, body) = (session_of(&opened), opened.json());
    let cookie = ("cookie", cookie.as_str());
    assert_eq!(call("DELETE", &[cookie]).status, 403, "a living session is ended by its own page alone");
    let guard = ("x-csrf-token", body["csrf_token"].as_str().expect("a guard"));
    assert_eq!(call("DELETE", &[cookie, guard]).status, 204);
    assert_eq!(call("GET", &[cookie, elsewhere]).status, 401, "the session is over");
}

#[test]
fn a_cookie_that_came_through_tls_goes_no_other_way() {
    let server = Server::start();
    make_user(&server, "mei");
    let host = server.address.trim_start_matches("http://");
    for (origin, is_secure) in [(format!("https://{host}"), true), (server.address.clone(), false)] {
        let opened = sign_in(&server, "mei", PASSWORD, &[("origin", &origin)]);
        assert_eq!(opened.status, 200, "{}", text(&opened.body));
        assert_eq!(set_cookie(&opened).contains("; Secure"), is_secure, "{origin}");
    }
}

#[test]
fn who_does_not_manage_reads_neither_addresses_nor_changes_of_access() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let pictures = pictures(folder.path(), 4);
    server.json(&["datasets", "import", pictures.to_str().expect("a path"), "--name", "digits"]);
    make_user(&server, "vera");
    let member = "/api/v1/projects/default/members/vera";
    let set = server.call("PUT", member, Some(&server.token()), br#"{"role":"viewer"}"#);
    assert_eq!(set.status, 200, "{}", text(&set.body));
    let session = session_of(&sign_in(&server, "vera", PASSWORD, &[]));

    let events = "/api/v1/projects/default/events";
    let seen = |path: &str| {
        let reply = http(&server.address, "GET", path, &[("cookie", &session)], b"").expect("an answer");
        assert_eq!(reply.status, 200, "{}", text(&reply.body));
        reply.json()
    };
    let is_private = |it: &Value| it["noun"] == "access" || !it["address"].is_null();
    let list = seen(events);
    let items = list["items"].as_array().expect("events");
    assert!(!items.is_empty() && !items.iter().any(is_private), "{list}");
    assert_eq!(list["total"], items.len());
    assert_eq!(seen(&format!("{events}?limit=1"))["items"][0], items[0], "a page is full where there is enough");
    assert_eq!(seen(&format!("{events}?noun=access")), json!({"items": [], "total": 0}));
    let overview = seen("/api/v1/projects/default/overview");
    assert!(!overview["changes"].as_array().expect("changes").iter().any(is_private), "{overview}");
    assert_eq!(overview["changes"].as_array().map(Vec::len), Some(items.len()));

    let host = server.address.trim_start_matches("http://");
    let stream = TcpStream::connect(host).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let ask = format!("GET {events}/stream HTTP/1.1\r\nhost: {host}\r\ncookie: {session}\r\nlast-event-id: 0\r\n\r\n");
    (&stream).write_all(ask.as_bytes()).expect("a call");
    let told: Vec<Value> = BufReader::new(stream)
        .lines()
        .map(|it| it.expect("a line"))
        .filter_map(|it| serde_json::from_str(it.strip_prefix("data: ")?).ok())
        .take(items.len())
        .collect();
    assert!(told.iter().rev().eq(items), "{told:?}");

    let whole = server.call("GET", events, Some(&server.token()), b"").json();
    let whole = whole["items"].as_array().expect("events");
    assert!(whole.iter().any(|it| it["noun"] == "access") && whole.iter().any(|it| it["address"] == "127.0.0.1"));
}

#[test]
fn what_is_the_same_for_everybody_is_sent_compressed() {
    let server = Server::start();
    let ask = |headers: &[(&str, &str)]| {
        http(&server.address, "GET", "/api/v1/openapi.json", headers, b"").expect("an answer")
    };
    let (plain, packed) = (ask(&[]), ask(&[("accept-encoding", "gzip, br")]));
    assert_eq!(plain.json()["info"]["title"], "Kaogong");
    assert!(packed.head.to_lowercase().contains("content-encoding: gzip"), "{}", packed.head);
    assert!(packed.body.starts_with(&[0x1f, 0x8b]) && packed.body.len() < plain.body.len() / 4);
}
