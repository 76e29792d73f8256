//! Jobs at the door, and what they leave on the disk.

use crate::{
    faults::{ended, submit},
    kit::{Server, text, wait_until},
};
use serde_json::{Value, json};
use std::{fs, path::PathBuf};

/// Where an attempt works.
fn work(server: &Server, job: &Value, attempt: usize) -> PathBuf {
    let id = job["attempts"][attempt]["id"].as_str().expect("an attempt");
    server.folder.path().join("jobs").join(id).join("work")
}

fn get(server: &Server, job: &Value, rest: &str) -> String {
    let path = format!("/api/v1/projects/default/jobs/{}/{rest}", job["id"].as_str().expect("an id"));
    let reply = server.call("GET", &path, Some(&server.token()), b"");
    assert_eq!(reply.status, 200, "{}", text(&reply.body));
    text(&reply.body)
}

#[test]
fn what_a_job_worked_with_goes_and_what_it_told_stays() {
    let mut server = Server::start();
    let script = "echo told; mkdir -p made/deep; chmod 500 made; echo bytes > model";
    let good = json!({"name": "good", "command": ["sh", "-c", script], "outputs": ["model"]});
    let good = ended(&server, &submit(&server, &good));
    assert_eq!(good["state"], "succeeded", "{good}");
    let bad = json!({"name": "bad", "command": ["sh", "-c", "echo told; exit 3"], "retries": 1});
    let bad = ended(&server, &submit(&server, &bad));
    let gone = |path: PathBuf| wait_until("the folder goes", || (!path.exists()).then_some(()));
    gone(work(&server, &good, 0));
    gone(work(&server, &bad, 0));
    assert!(work(&server, &bad, 1).exists(), "people may look into the last failure");

    // As after a kill between the record of the end and the removal.
    server.kill();
    fs::create_dir_all(work(&server, &good, 0).join("made")).expect("folders");
    server.restart();
    gone(work(&server, &good, 0));
    assert!(work(&server, &bad, 1).exists());
    assert_eq!(get(&server, &good, "log?length=1000"), "told\n");
    assert_eq!(get(&server, &good, "artifacts/model"), "bytes\n");
    assert!(get(&server, &bad, "log?attempt=1&length=1000").starts_with("told\n"));
}

#[test]
fn a_job_that_never_fits_and_a_key_that_is_none_are_refused() {
    let server = Server::start_with(&["--job-cpus", "1.5", "--job-memory-mib", "3000"]);
    let refusal = |body: Value| {
        let body = body.to_string();
        let reply = server.call("POST", "/api/v1/projects/default/jobs", Some(&server.token()), body.as_bytes());
        assert_eq!(reply.status, 400, "{}", text(&reply.body));
        text(&reply.body)
    };
    let spec = |resources: Value| json!({"name": "x", "command": ["true"], "resources": resources});
    let said = refusal(json!({"spec": spec(json!({"cpus": 2}))}));
    assert!(said.contains("have 1.5"), "{said}");
    let said = refusal(json!({"spec": spec(json!({"memory_mib": 3001}))}));
    assert!(said.contains("have 3000 MiB"), "{said}");
    for key in [String::new(), "k".repeat(201)] {
        let said = refusal(json!({"spec": spec(json!({})), "request_key": key}));
        assert!(said.contains("request key"), "{said}");
    }
    assert_eq!(server.json(&["jobs", "list"])["total"], 0);
}
