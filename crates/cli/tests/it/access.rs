//! Who may call what: every route is walked as a stranger, with a dead token, and as a member of another project.

use crate::kit::{Reply, Server, grpc, http, pictures, text};
use kaogong_http::access::Rule;
use kaogong_server::{http::route_list, protocols::mounts};

/// A second user, owner of a project of her own, signed in with a browser.
struct Mallory<'a> {
    server: &'a Server,
    cookie: String,
    csrf: String,
}

impl<'a> Mallory<'a> {
    fn sign_in(server: &'a Server) -> Self {
        let admin = server.token();
        let post = |path: &str, token: &str, body: &str| server.call("POST", path, Some(token), body.as_bytes());
        assert_eq!(post("/api/v1/projects", &admin, r#"{"name":"theirs"}"#).status, 201);
        assert_eq!(post("/api/v1/users", &admin, r#"{"name":"mallory","password":"a long password"}"#).status, 201);
        let set = server.call("PUT", "/api/v1/projects/theirs/members/mallory", Some(&admin), br#"{"role":"owner"}"#);
        assert_eq!(set.status, 200, "{}", text(&set.body));
        let signed_in = post("/api/v1/session", "", r#"{"name":"mallory","password":"a long password"}"#);
        assert_eq!(signed_in.status, 200);
        let cookie = cookie_of(&signed_in);
        let csrf = signed_in.json()["csrf_token"].as_str().expect("a guard").to_owned();
        Self { server, cookie, csrf }
    }

    fn call(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        let headers = [("cookie", self.cookie.as_str()), ("x-csrf-token", self.csrf.as_str())];
        http(&self.server.address, method, path, &headers, body).expect("an answer")
    }
}

pub(crate) fn cookie_of(reply: &Reply) -> String {
    let line = reply.head.lines().find(|it| it.to_lowercase().starts_with("set-cookie:")).expect("a cookie");
    line[11..].split(';').next().expect("a pair").trim().to_owned()
}

/// Any value for each parameter of a path, so that the router matches.
pub(crate) fn filled(path: &str, project: &str) -> String {
    let part = |it: &str| match it {
        "{project}" => project.to_owned(),
        "{job}" => "job_01m86jeqx2wvnx2mca4ezg0sjw".to_owned(),
        "{run}" | "{run_id}" => "run_01m86jeqx2wvnx2mca4ezg0sjw".to_owned(),
        "{item}" => "it_01m86jeqx2wvnx2mca4ezg0sjw".to_owned(),
        "{version}" => "1".to_owned(),
        it if it.starts_with('{') => "digits".to_owned(),
        it => it.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[test]
fn every_route_refuses_strangers_and_dead_tokens() {
    let server = Server::start();
    let mut walked = 0;
    for (method, path, rule) in route_list(&mounts()) {
        let address = filled(&path, "default");
        let stranger = server.call(method.as_str(), &address, None, b"{}").status;
        if rule == Rule::Public {
            assert_ne!(stranger, 401, "{method} {path} is public");
            continue;
        }
        assert_eq!(stranger, 401, "{method} {path} as a stranger");
        let dead = server.call(method.as_str(), &address, Some("kgt_not-a-token"), b"{}").status;
        assert_eq!(dead, 401, "{method} {path} with an unknown token");
        walked += 1;
    }
    assert!(walked > 150, "only {walked} routes were walked");
}

#[test]
fn a_member_of_another_project_learns_nothing() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let pictures = pictures(folder.path(), 4);
    server.json(&["datasets", "import", pictures.to_str().expect("a path"), "--name", "secret-digits"]);
    let mallory = Mallory::sign_in(&server);
    let call = |method: &str, path: &str| mallory.call(method, path, b"{}");

    assert_eq!(call("GET", "/api/v1/projects/theirs/datasets").status, 200, "her own project");
    for (method, path, rule) in route_list(&mounts()) {
        let Rule::Project(_) = rule else { continue };
        if !path.contains("{project}") {
            continue;
        }
        let real = call(method.as_str(), &filled(&path, "default"));
        let made_up = call(method.as_str(), &filled(&path, "no-such-project"));
        assert_eq!(real.status, 404, "{method} {path}: {}", text(&real.body));
        // What exists and what does not must look alike, but for the name that she sent herself.
        assert_eq!(real.status, made_up.status, "{method} {path}");
        assert!(!text(&real.body).contains("secret-digits"), "{method} {path}");
    }
    for path in ["/api/v1/projects", "/api/v1/session", "/api/v1/tokens"] {
        let body = text(&call("GET", path).body);
        assert!(!body.contains(r#""name":"default""#) && !body.contains("secret-digits"), "{path}: {body}");
    }
    for (method, path, rule) in route_list(&mounts()) {
        if rule == Rule::PlatformAdmin {
            assert_eq!(call(method.as_str(), &filled(&path, "default")).status, 403, "{method} {path}");
        }
    }
}

/// Encodes the only field that the calls here need: the model's name, field 1.
fn naming(model: &str) -> Vec<u8> {
    let length = u8::try_from(model.len()).expect("a short name");
    [&[0x0a, length], model.as_bytes()].concat()
}

#[test]
fn every_grpc_call_refuses_strangers_and_members_of_other_projects() {
    const UNIMPLEMENTED: u32 = 12;
    const NOT_FOUND: u32 = 5;
    const UNAUTHENTICATED: u32 = 16;
    let server = Server::start();
    let mallory = Mallory::sign_in(&server);
    let made = mallory.call("POST", "/api/v1/tokens", br#"{"name":"hers","scopes":["infer"]}"#);
    assert_eq!(made.status, 201, "{}", text(&made.body));
    let hers = format!("Bearer {}", made.json()["secret"].as_str().expect("a secret"));
    let in_project = |project: &'static str| vec![("authorization", hers.clone()), ("kaogong-project", project.into())];
    let message = naming("digits");
    let mut walked = 0;
    for (_, path, rule) in route_list(&mounts()).into_iter().filter(|it| it.1.starts_with("/inference.")) {
        walked += 1;
        let status = |metadata: &[(&'static str, String)]| grpc(&server.address, &path, metadata, &message);
        let stranger = status(&[]).0;
        if rule == Rule::Public {
            assert_eq!(stranger, 0, "{path} is public");
            continue;
        }
        assert_eq!(stranger, UNAUTHENTICATED, "{path} as a stranger");
        let dead = [("authorization", "Bearer kgt_not-a-token".to_owned())];
        assert_eq!(status(&dead).0, UNAUTHENTICATED, "{path} with an unknown token");
        let (real, said) = status(&in_project("default"));
        let (made_up, said_of_none) = status(&in_project("no-such-project"));
        assert_eq!((real, made_up), (NOT_FOUND, NOT_FOUND), "{path}: {said}");
        assert_eq!(said.replace("default", "no-such-project"), said_of_none, "{path}");
        assert_ne!(status(&in_project("theirs")).0, UNAUTHENTICATED, "{path} in her own project");
    }
    assert!(walked >= 6, "only {walked} calls were walked");
    let unknown = grpc(&server.address, "/inference.GRPCInferenceService/NoSuchCall", &[], &message);
    assert_eq!(unknown.0, UNIMPLEMENTED);
}

#[test]
fn scopes_expiry_and_revocation_hold() {
    let server = Server::start();
    let admin = server.token();
    let made = server.call(
        "POST",
        "/api/v1/tokens",
        Some(&admin),
        br#"{"name":"look","scopes":["read"],"project":"default"}"#,
    );
    assert_eq!(made.status, 201, "{}", text(&made.body));
    let made = made.json();
    let (secret, id) = (made["secret"].as_str().expect("a secret"), made["token"]["id"].as_str().expect("an id"));
    let status = |method: &str, path: &str| server.call(method, path, Some(secret), b"{}").status;
    assert_eq!(status("GET", "/api/v1/projects/default/datasets"), 200);
    assert_eq!(status("POST", "/api/v1/projects/default/jobs"), 403, "a reading token submits nothing");
    assert_eq!(status("POST", "/api/v1/tokens"), 400, "no body of a token");
    assert_eq!(status("GET", "/api/v1/users"), 403);
    assert_eq!(server.call("DELETE", &format!("/api/v1/tokens/{id}"), Some(&admin), b"").status, 204);
    assert_eq!(status("GET", "/api/v1/projects/default/datasets"), 401, "revoked at once");
}

#[test]
fn another_site_cannot_ride_on_a_session() {
    let server = Server::start();
    let link = server.json(&["open"]).to_string();
    let code = link.split("code=").nth(1).and_then(|it| it.split('"').next()).expect("a code").to_owned();
    let body = format!(r#"{{"code":"{code}"}}"#);
    let foreign = [("origin", "http://evil.example")];
    let refused = http(&server.address, "POST", "/api/v1/session/code", &foreign, body.as_bytes()).expect("an answer");
    assert_eq!(refused.status, 403, "a sign-in from another site");
    let opened = server.call("POST", "/api/v1/session/code", None, body.as_bytes());
    assert_eq!(opened.status, 200, "{}", text(&opened.body));
    assert_eq!(server.call("POST", "/api/v1/session/code", None, body.as_bytes()).status, 401, "a link works once");
    assert!(opened.head.contains("HttpOnly") && opened.head.contains("SameSite=Lax"), "{}", opened.head);
    let cookie = cookie_of(&opened);
    let without_guard = [("cookie", cookie.as_str())];
    let made =
        http(&server.address, "POST", "/api/v1/projects", &without_guard, br#"{"name":"x"}"#).expect("an answer");
    assert_eq!(made.status, 403, "a changing call without the guard");
    let read = http(&server.address, "GET", "/api/v1/session", &without_guard, b"").expect("an answer");
    assert_eq!(read.status, 200);
}
