//! Bad input and broken machines: a clear message, nothing lost, nothing half-written.

use crate::kit::{Server, cli, http, pictures, png, text, wait_until};
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
    assert!(listed.status == 404 || listed.json()["total"] == 0, "nothing of a refused import is visible");
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
    assert_eq!(server.json(&["jobs", "list"])["total"].as_u64().unwrap_or(0), 0);
}

fn submit(server: &Server, spec: &Value) -> String {
    let body = json!({"spec": spec}).to_string();
    let reply = server.call("POST", "/api/v1/projects/default/jobs", Some(&server.token()), body.as_bytes());
    assert_eq!(reply.status, 201, "{}", text(&reply.body));
    reply.json()["id"].as_str().expect("an id").to_owned()
}

fn job(server: &Server, id: &str) -> Value {
    server.call("GET", &format!("/api/v1/projects/default/jobs/{id}"), Some(&server.token()), b"").json()
}

fn ended(server: &Server, id: &str) -> Value {
    wait_until("the job ends", || {
        let it = job(server, id);
        matches!(it["state"].as_str(), Some("succeeded" | "failed" | "cancelled" | "lost")).then_some(it)
    })
}

#[test]
fn a_job_that_forks_and_ignores_being_asked_is_ended() {
    let server = Server::start();
    let script = "trap '' TERM; (trap '' TERM; setsid sh -c 'trap \"\" TERM; while :; do read x < /dev/zero; done') & echo up; while :; do read x < /dev/zero; done";
    let spec = json!({"name": "stubborn", "command": ["sh", "-c", script], "resources": {"grace_s": 1}});
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
        "name": "loud", "command": ["sh", "-c", "head -c 200000000 /dev/zero | tr '\\0' 'x'; echo; exit 3"],
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
