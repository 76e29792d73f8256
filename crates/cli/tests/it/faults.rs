//! Bad input and broken machines: a clear message, nothing lost, nothing half-written.

use crate::kit::{Server, cli, http, pictures, png, text, wait_until};
use kaogong_domain::masks::TOKEN_PREFIX;
use kaogong_domain::{Secret, Timestamp, access::Scopes};
use kaogong_store::{Actor, NewTokenRow, Store, StoreUrl};
use kaogong_store::{hash_secret, make_secret};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Output};

fn refused(output: &Output, expected: &str) {
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(!output.status.success(), "it should have been refused: {said}");
    assert!(said.contains(expected), "expected `{expected}` in: {said}");
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn pictures_that_are_none_are_left_out_and_named() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let source = pictures(folder.path(), 5);
    fs::write(source.join("left/empty.png"), b"").expect("a file");
    fs::write(source.join("left/text.png"), b"not a picture").expect("a file");
    let whole = png(8, 8, |_, _| 9);
    fs::write(source.join("left/cut.png"), &whole[..whole.len() / 2]).expect("a file");
    fs::write(source.join("notes.txt"), b"hello").expect("a file");
    server.json(&["datasets", "import", path_text(&source), "--name", "mixed"]);
    let token = server.token();
    let version = server.call("GET", "/api/v1/projects/default/datasets/mixed/versions/1", Some(&token), b"").json();
    assert_eq!(version["items"], 10, "{version}");
    let skipped = version["summary"]["skipped"].to_string();
    for name in ["empty.png", "text.png", "cut.png"] {
        assert!(skipped.contains(name), "{name} is not named in {skipped}");
    }
}

#[test]
fn wrong_sources_are_refused_with_a_reason() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("nowhere");
    refused(&server.cli(&["datasets", "import", path_text(&missing), "--name", "x"]), "nowhere");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    refused(&server.cli(&["datasets", "import", path_text(&empty), "--name", "x"]), "empty");
    let ragged = folder.path().join("ragged.csv");
    fs::write(&ragged, "a,b\n1,2\n3\n").expect("a file");
    refused(&server.cli(&["datasets", "import", path_text(&ragged), "--name", "x"]), "line 3");
    let table = folder.path().join("table.csv");
    fs::write(&table, "a,b\n1,2\n").expect("a file");
    refused(&server.cli(&["datasets", "import", path_text(&table), "--name", "x", "--target", "c"]), "`c`");
    let listed = server.call("GET", "/api/v1/projects/default/datasets/x/versions", Some(&server.token()), b"");
    assert_eq!(listed.status, 404, "nothing of a refused import is visible");
    assert_eq!(server.json(&["datasets", "list"])["total"], 0);
}

#[test]
fn job_files_are_checked_before_anything_runs() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("job.toml");
    let submit = |content: &str| {
        fs::write(&file, content).expect("a file");
        server.cli(&["jobs", "submit", "-f", path_text(&file)])
    };
    refused(&submit("name = "), "job.toml");
    refused(&submit("name = \"x\"\ncommand = [\"true\"]\nnonsense = 1\n"), "nonsense");
    refused(&submit("name = \"x\"\ncommand = []\n"), "command");
    refused(&submit("name = \"x\"\ncommand = [\"true\"]\n[inputs]\nd = \"no-such@1\"\n"), "no-such");
    for output in ["", "./x", "/etc/passwd", "../x"] {
        refused(&submit(&format!("name = \"x\"\ncommand = [\"true\"]\noutputs = [\"{output}\"]\n")), "plain path");
    }
    assert_eq!(server.json(&["jobs", "list"])["total"].as_u64().unwrap_or(0), 0);
}

#[test]
fn a_program_in_the_code_can_be_started() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let (file, script) = (folder.path().join("job.toml"), folder.path().join("src/run.sh"));
    fs::create_dir(folder.path().join("src")).expect("a folder");
    fs::write(&script, "#!/bin/sh\necho it ran\n").expect("a file");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("a program");
    fs::write(&file, "command = [\"sh\", \"-c\", \"./run.sh\"]\ncode = \"src\"\n").expect("a file");
    let output = server.cli(&["jobs", "submit", "-f", path_text(&file), "--wait"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("it ran"), "{}", text(&output.stderr));
}

pub(crate) fn submit(server: &Server, spec: &Value) -> String {
    let body = json!({"spec": spec}).to_string();
    let reply = server.call("POST", "/api/v1/projects/default/jobs", Some(&server.token()), body.as_bytes());
    assert_eq!(reply.status, 201, "{}", text(&reply.body));
    reply.json()["id"].as_str().expect("an id").to_owned()
}

fn job(server: &Server, id: &str) -> Value {
    server.call("GET", &format!("/api/v1/projects/default/jobs/{id}"), Some(&server.token()), b"").json()
}

pub(crate) fn ended(server: &Server, id: &str) -> Value {
    wait_until("the job ends", || {
        let it = job(server, id);
        matches!(it["state"].as_str(), Some("succeeded" | "failed" | "cancelled" | "lost")).then_some(it)
    })
}

#[test]
fn a_job_that_forks_and_ignores_being_asked_is_ended() {
    let server = Server::start();
    // Deaf, in a session of its own as well, but not for ever: should the test fail, the machine gets rid of them.
    let deaf = "trap \"\" TERM; for i in $(seq 600); do sleep 0.1; done";
    let script = format!("trap '' TERM; setsid sh -c '{deaf}' & echo up; {deaf}");
    let resources = json!({"grace_s": 1, "time_limit_s": 60});
    let spec = json!({"name": "stubborn", "command": ["sh", "-c", script], "resources": resources});
    let id = submit(&server, &spec);
    wait_until("it runs", || (job(&server, &id)["state"] == "running").then_some(()));
    assert!(server.cli(&["jobs", "cancel", &id]).status.success());
    assert_eq!(ended(&server, &id)["state"], "cancelled");
    let mark = format!("KAOGONG_JOB_ID={id}");
    let left = fs::read_dir("/proc")
        .expect("processes")
        .flatten()
        .filter(|it| fs::read(it.path().join("environ")).is_ok_and(|it| text(&it).contains(&mark)));
    assert_eq!(left.count(), 0, "a process of the job is left");
}

#[test]
fn a_job_that_prints_without_end_keeps_the_beginning() {
    let server = Server::start();
    let spec = json!({
        "name": "loud", "command": ["sh", "-c", "head -c 1000000000 /dev/zero | tr '\\0' 'x'; echo; exit 3"],
        "resources": {"log_bytes_max": 100_000}, "retries": 1,
    });
    let id = submit(&server, &spec);
    let it = ended(&server, &id);
    assert_eq!((&it["state"], &it["exit_code"]), (&json!("failed"), &json!(3)), "{it}");
    assert_eq!(it["attempts"].as_array().map(Vec::len), Some(2), "one retry");
    let log = server.call("GET", &format!("/api/v1/projects/default/jobs/{id}/log"), Some(&server.token()), b"");
    assert!(log.body.len() < 200_000, "{} bytes of log", log.body.len());
    assert!(text(&log.body).contains("log limit"), "the cut is told");
}

#[test]
fn a_live_log_shows_a_retry_from_its_beginning() {
    let server = Server::start();
    let spec = json!({"name": "twice", "command": ["sh", "-c", "echo once more; exit 3"], "retries": 1});
    let id = submit(&server, &spec);
    let path = format!("/api/v1/projects/default/jobs/{id}/log/stream");
    let seen = text(&server.call("GET", &path, Some(&server.token()), b"").body);
    assert!(seen.contains("event: end"), "{seen}");
    assert_eq!(seen.matches("once more").count(), 2, "{seen}");
}

#[test]
fn a_job_outlives_a_killed_server() {
    let mut server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let gate = folder.path().join("gate");
    let script = format!("echo before; while [ ! -e {} ]; do sleep 0.05; done; echo after; exit 7", path_text(&gate));
    let id = submit(&server, &json!({"name": "patient", "command": ["sh", "-c", script]}));
    wait_until("it runs", || (job(&server, &id)["state"] == "running").then_some(()));
    server.kill();
    fs::write(&gate, b"").expect("a file");
    server.restart();
    let it = ended(&server, &id);
    assert_eq!((&it["state"], &it["exit_code"]), (&json!("failed"), &json!(7)), "{it}");
    assert_eq!(it["attempts"].as_array().map(Vec::len), Some(1), "the same attempt went on");
    let log = server.call("GET", &format!("/api/v1/projects/default/jobs/{id}/log"), Some(&server.token()), b"");
    let log = text(&log.body);
    assert!(log.contains("before") && log.contains("after"), "{log}");
}

#[test]
fn outputs_that_are_links_end_the_job_with_words() {
    let server = Server::start();
    let outside = server.folder.path().join("profile.json");
    let script = format!("ln -s {} stolen", path_text(&outside));
    let spec = json!({"name": "thief", "command": ["sh", "-c", script], "outputs": ["stolen"]});
    let it = ended(&server, &submit(&server, &spec));
    assert_eq!(it["state"], "failed", "{it}");
    assert!(it["reason"].as_str().is_some_and(|it| it.contains("`stolen` is a link")), "{it}");
}

#[test]
fn a_job_of_somebody_who_left_does_not_start() {
    let server = Server::start_with(&["--job-cpus", "1"]);
    let admin = server.token();
    let user = br#"{"name":"mallory","password":"a long password"}"#;
    assert_eq!(server.call("POST", "/api/v1/users", Some(&admin), user).status, 201);
    let member = "/api/v1/projects/default/members/mallory";
    assert_eq!(server.call("PUT", member, Some(&admin), br#"{"role":"developer"}"#).status, 200);
    let signed_in = server.call("POST", "/api/v1/session", None, user);
    let cookie = signed_in.head.lines().find_map(|it| it.strip_prefix("set-cookie: ")).expect("a cookie");
    let guard = signed_in.json()["csrf_token"].as_str().expect("a guard").to_owned();
    let headers = [("cookie", cookie.split(';').next().expect("a pair")), ("x-csrf-token", guard.as_str())];

    let gate = server.folder.path().join("gate");
    let script = format!("for i in $(seq 1200); do [ -e {} ] && exit 0; sleep 0.05; done", path_text(&gate));
    let first = submit(&server, &json!({"name": "first", "command": ["sh", "-c", script]}));
    wait_until("it runs", || (job(&server, &first)["state"] == "running").then_some(()));
    let body = json!({"spec": {"name": "second", "command": ["true"]}}).to_string();
    let path = "/api/v1/projects/default/jobs";
    let second = http(&server.address, "POST", path, &headers, body.as_bytes()).expect("an answer");
    assert_eq!(second.status, 201, "{}", text(&second.body));
    assert_eq!(server.call("DELETE", "/api/v1/users/mallory", Some(&admin), b"").status, 204);
    fs::write(&gate, b"").expect("a file");
    let it = ended(&server, second.json()["id"].as_str().expect("an id"));
    assert_eq!(it["state"], "failed", "{it}");
    assert!(it["reason"].as_str().is_some_and(|it| it.contains("may no longer run jobs here")), "{it}");
}

#[test]
fn a_time_limit_ends_a_job() {
    let server = Server::start();
    let spec = json!({"name": "slow", "command": ["sleep", "600"], "resources": {"time_limit_s": 1, "grace_s": 1}});
    let it = ended(&server, &submit(&server, &spec));
    assert_eq!(it["state"], "failed");
    assert!(it["reason"].as_str().is_some_and(|it| it.contains("time limit")), "{it}");
}

#[test]
fn an_upload_cut_in_the_middle_leaves_nothing() {
    let server = Server::start();
    let token = format!("Bearer {}", server.token());
    let headers = [("authorization", token.as_str())];
    let path = "/api/v1/projects/default/datasets/cut/versions?format=images";
    let reply = http(&server.address, "POST", path, &headers, &[7u8; 700]).expect("an answer");
    assert_eq!(reply.status, 400, "{}", text(&reply.body));
    let message = reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("tar"), "{message}");
    let left: Vec<_> = fs::read_dir(server.folder.path().join("tmp")).expect("the folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_file_that_is_no_model_is_not_registered() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("model.onnx");
    fs::write(&file, b"this is no model").expect("a file");
    refused(&server.cli(&["models", "register", "nothing", path_text(&file)]), "model");
    let found = server.call("GET", "/api/v1/projects/default/models/nothing", Some(&server.token()), b"");
    assert_eq!(found.status, 404);
    refused(&server.cli(&["endpoints", "create", "e", "--model", "nothing@1"]), "nothing");
}

#[test]
fn a_wrong_token_says_what_to_do() {
    let server = Server::start();
    let output = cli(server.folder.path(), &["datasets", "list", "--token", "kgt_wrong", "--url", &server.address]);
    refused(&output, "token");
}

#[test]
fn an_expired_token_says_so() {
    let mut server = Server::start();
    assert_eq!(server.stop(), Some(0));
    let secret = token_that_expired(&server.folder.path().join("kaogong.db"));
    server.restart();
    let reply = server.call("GET", "/api/v1/projects/default/datasets", Some(secret.expose()), b"");
    assert_eq!(reply.status, 401);
    assert!(text(&reply.body).contains("expired"), "{}", text(&reply.body));
    refused(&server.cli(&["datasets", "list", "--token", secret.expose()]), "expired");
}

/// A token of the administrator's that ended at the beginning of time.
fn token_that_expired(database: &Path) -> Secret {
    let secret = make_secret(TOKEN_PREFIX).expect("a secret");
    let made = async {
        let store = Store::open(&StoreUrl::Sqlite(database.to_owned())).await.expect("the store");
        let admin = store.first_admin().await.expect("an answer").expect("an administrator");
        let row = NewTokenRow {
            user_id: admin.id,
            project_id: None,
            name: "old".to_owned(),
            scopes: Scopes::all(),
            hash: hash_secret(&secret),
            job_id: None,
            attempt_id: None,
            expires_at: Some(Timestamp(1)),
            sealed_secrets: None,
        };
        store.create_token(row, &Actor::system(), Timestamp(0)).await.expect("a token");
        store.close().await;
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(made);
    secret
}

#[test]
fn a_full_disk_refuses_an_import_and_keeps_what_is_there() {
    let server = Server::start_on_small_disk(128);
    let folder = tempfile::tempdir().expect("a folder");
    let small = pictures(folder.path(), 10);
    server.json(&["datasets", "import", path_text(&small), "--name", "kept"]);
    // The first fits while it is spooled and not when it is stored; the second does not even fit on its way in.
    for (name, count) in [("spooled", 640), ("sent", 900)] {
        let large = folder.path().join(name).join("class");
        fs::create_dir_all(&large).expect("a folder");
        for number in 0..count {
            fs::write(large.join(format!("{number:03}.png")), noise(400, number)).expect("a picture");
        }
        let source = large.parent().expect("a parent");
        refused(&server.cli(&["datasets", "import", path_text(source), "--name", "large"]), "disk");
    }
    let token = server.token();
    let versions = server.call("GET", "/api/v1/projects/default/datasets/large/versions", Some(&token), b"");
    assert_eq!(versions.status, 404, "{}", text(&versions.body));
    server.json(&["datasets", "import", path_text(&small), "--name", "after"]);
    let out = folder.path().join("out");
    let export = server.cli(&["datasets", "export", "kept@1", path_text(&out), "--format", "images"]);
    assert!(export.status.success(), "{}", text(&export.stderr));
}

/// A picture that does not compress.
fn noise(side: u32, seed: u64) -> Vec<u8> {
    let mut state = seed + 1;
    let values: Vec<u8> = (0..side * side)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u8::try_from(state >> 56).unwrap_or(0)
        })
        .collect();
    png(side, side, |x, y| values[(y * side + x) as usize])
}
