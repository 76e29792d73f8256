//! The port byte by byte: what is no clear request is refused, and what is too long is told with its limit.

use crate::kit::{PATIENCE, Server, grpc, http, text};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// Everything that the server answers to some bytes.
fn answer(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address.trim_start_matches("http://")).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream.write_all(bytes).expect("sent");
    let mut all = vec![];
    stream.read_to_end(&mut all).expect("an end, and no reset that overtakes the answer");
    text(&all)
}

/// The statuses of all answers on one connection.
fn statuses(server: &Server, bytes: &str) -> Vec<u16> {
    let said = answer(server, bytes.as_bytes());
    said.split("HTTP/1.1 ").skip(1).filter_map(|it| it.get(..3)?.parse().ok()).collect()
}

#[test]
fn what_is_no_clear_request_is_refused_and_hides_nothing() {
    let server = Server::start();
    // The request that somebody would like to smuggle in.
    let hidden = "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let first = "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    let post = |rest: &str| format!("POST /api/v1/session HTTP/1.1\r\nHost: h\r\n{rest}\r\n");
    assert_eq!(statuses(&server, hidden), [200]);
    assert_eq!(statuses(&server, &(first.repeat(2) + hidden)), [200, 200, 200], "clear requests follow each other");
    let whole = post("Content-Length: 2\r\n") + "{}" + hidden;
    assert_eq!(statuses(&server, &whole), [400, 200], "a body ends where it says");
    let chunked = post("Transfer-Encoding: chunked\r\n");
    assert_eq!(statuses(&server, &(chunked.clone() + "2;x=y\r\n{}\r\n0\r\n\r\n" + hidden)), [400, 200]);
    let heads = [
        ("a line feed behind the request line", "GET /healthz HTTP/1.1\nHost: h\r\n\r\n".to_owned()),
        ("a line feed behind a header", "GET /healthz HTTP/1.1\r\nHost: h\n\r\n".to_owned()),
        ("a line feed alone at the end", "GET /healthz HTTP/1.1\r\nHost: h\r\n\n".to_owned()),
        ("a line feed before the request", format!("\n{hidden}")),
        ("a carriage return in a value", "GET /healthz HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n".to_owned()),
        ("a folded header", "GET /healthz HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n".to_owned()),
        ("a space before the colon", "GET /healthz HTTP/1.1\r\nHost: h\r\nX : a\r\n\r\n".to_owned()),
        ("a header without a colon", "GET /healthz HTTP/1.1\r\nHost: h\r\nX\r\n\r\n".to_owned()),
        ("two hosts", "GET /healthz HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n".to_owned()),
        ("no host", "GET /healthz HTTP/1.1\r\n\r\n".to_owned()),
        ("two spaces", "GET  /healthz HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()),
        ("no version", "GET /healthz\r\n\r\n".to_owned()),
        ("a null byte", "GET /healthz HTTP/1.1\r\nHost: h\r\nX: \0\r\n\r\n".to_owned()),
        ("length and chunks", post("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n" + hidden),
        ("two lengths", post("Content-Length: 2\r\nContent-Length: 2\r\n") + "{}" + hidden),
        ("two other lengths", post("Content-Length: 2\r\nContent-Length: 40\r\n") + "{}" + hidden),
        ("a list of lengths", post("Content-Length: 2, 2\r\n") + "{}" + hidden),
        ("a length with a sign", post("Content-Length: +2\r\n") + "{}" + hidden),
        ("another coding", post("Transfer-Encoding: gzip, chunked\r\n") + "0\r\n\r\n" + hidden),
        ("a coding that looks alike", post("Transfer-Encoding: xchunked\r\n") + "0\r\n\r\n" + hidden),
        ("two codings", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n") + "0\r\n\r\n" + hidden),
        ("chunks of an old client", format!("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}")),
    ];
    for (what, bytes) in heads {
        assert_eq!(statuses(&server, &bytes), [400], "{what}");
        assert_eq!(statuses(&server, &(first.to_owned() + &bytes)), [200, 400], "{what}, as the second request");
    }
    for body in [
        "2\n{}\r\n0\r\n\r\n",
        "2\r\n{}\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "2 \r\n{}\r\n0\r\n\r\n",
        "-2\r\n",
        "2\r\n{}}\r\n0\r\n\r\n",
        "2;\n\r\n{}\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n{}",
        "0\r\nX : y\r\n\r\n",
    ] {
        let said = statuses(&server, &(chunked.clone() + body + hidden));
        assert!(!said.contains(&200), "what hides behind `{}` was answered: {said:?}", body.escape_debug());
    }
    assert_eq!(statuses(&server, hidden), [200], "the server goes on");
}

#[test]
fn a_body_over_its_limit_is_413_with_the_limit_in_every_protocol() {
    let server = Server::start();
    let bearer = format!("Bearer {}", server.token());
    let call = |method: &str, path: &str, kind: &str, bytes: usize| {
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        let reply = http(&server.address, method, path, &headers, &vec![b' '; bytes]).expect("an answer");
        (reply.status, text(&reply.body))
    };
    let json = "application/json";
    let cases = [
        ("POST", "/api/v1/session", json, 16 << 10, "(16 KiB)", "\"kind\":\"invalid\""),
        ("POST", "/api/v1/projects/default/jobs", json, 2 << 20, "(2 MiB)", "\"kind\":\"invalid\""),
        (
            "POST",
            "/p/default/api/2.0/mlflow/runs/create",
            json,
            1 << 20,
            "(1 MiB)",
            "\"error_code\":\"INVALID_PARAMETER_VALUE\"",
        ),
        ("POST", "/p/default/v2/models/none/infer", json, 64 << 20, "(64 MiB)", "{\"error\":"),
        (
            "POST",
            "/api/v1/projects/default/endpoints/none/predict",
            "image/png",
            32 << 20,
            "(32 MiB)",
            "\"kind\":\"invalid\"",
        ),
    ];
    for (method, path, kind, limit, shown, shape) in cases {
        let (status, said) = call(method, path, kind, limit + 1);
        assert_eq!(status, 413, "{path}: {said}");
        assert!(said.contains(shown) && said.replace("\": ", "\":").contains(shape), "{path}: {said}");
        assert_ne!(call(method, path, kind, limit).0, 413, "{path}: a body of exactly its limit");
    }
    // Nobody sends so much in a test: the stated length is enough to refuse.
    let host = server.address.trim_start_matches("http://");
    let made = server
        .call("POST", "/p/default/api/2.0/mlflow/runs/create", Some(&server.token()), b"{\"experiment_id\":\"0\"}")
        .json();
    let place = made["run"]["info"]["artifact_uri"]
        .as_str()
        .expect("a place")
        .trim_start_matches("mlflow-artifacts:/")
        .to_owned();
    for (method, path) in [
        ("POST", "/api/v1/projects/default/datasets/x/versions?format=csv".to_owned()),
        ("POST", "/api/v1/projects/default/uploads".to_owned()),
        ("PUT", format!("/p/default/api/2.0/mlflow-artifacts/artifacts/{place}/x")),
    ] {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {bearer}\r\nConnection: close\r\nContent-Length: 99999999999999\r\n\r\n"
        );
        let said = answer(&server, head.as_bytes());
        assert!(said.starts_with("HTTP/1.1 413") && said.contains("GiB)"), "{path}: {said}");
    }
    let metadata = [("authorization", bearer.clone())];
    let (code, said) =
        grpc(&server.address, "/inference.GRPCInferenceService/ModelInfer", &metadata, &vec![0; (64 << 20) + 1]);
    assert_eq!(code, 8, "RESOURCE_EXHAUSTED: {said}");
    assert!(said.contains("67108864"), "the limit is told: {said}");
}

/// Addresses of the console and of foreign protocols lie side by side below a project: a browser that opens what no
/// protocol answers gets the console, and a program gets the truth, in the shape of the protocol that it speaks.
#[test]
fn browsers_get_the_console_where_nothing_else_answers() {
    let server = Server::start();
    let token = server.token();
    let get = |path: &str, accept: &str| {
        let bearer = format!("Bearer {token}");
        http(&server.address, "GET", path, &[("accept", accept), ("authorization", &bearer)], b"").expect("an answer")
    };
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for path in ["/", "/p/default", "/p/default/", "/p/default/datasets/owner/name/resolve/main/x", "/admin/users"] {
        let page = get(path, browser);
        let is_page = page.status == 200 && page.head.to_lowercase().contains("content-type: text/html");
        // A program built without its console says so.
        assert!(is_page || text(&page.body).contains("without its console"), "{path}: {}", page.head);
        assert!(page.head.to_lowercase().contains("content-security-policy"), "{path}");
    }
    for (path, accept, shape) in [
        ("/p/default/datasets/owner", "*/*", "{\"error\":{\"kind\":\"not_found\""),
        ("/api/v1/nothing", browser, "{\"error\":{\"kind\":\"not_found\""),
        ("/p/default/v2/nothing", browser, "{\"error\":\"there is nothing at this address"),
        ("/api/2.0/mlflow/nothing", browser, "{\"error_code\":\"ENDPOINT_NOT_FOUND\""),
        ("/api/v1/projects/default/runs/api/2.0/mlflow", browser, "{\"error\":{\"kind\":"),
    ] {
        let answer = get(path, accept);
        assert_eq!(
            (answer.status, text(&answer.body).starts_with(shape)),
            (404, true),
            "{path}: {}",
            text(&answer.body)
        );
    }
}
