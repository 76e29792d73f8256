//! Starting, stopping, signing in, and what scripts rely on.

use crate::kit::{Server, cli, program, text};

#[test]
fn a_first_start_makes_the_next_command_just_work() {
    let mut server = Server::start();
    let me = server.json(&["access", "projects", "list"]);
    assert!(me.to_string().contains("default"), "{me}");
    let env = server.cli(&["login", "--print-env"]);
    let env = text(&env.stdout);
    for name in [
        "KAOGONG_URL",
        "KAOGONG_TOKEN",
        "MLFLOW_TRACKING_URI",
        "MLFLOW_TRACKING_TOKEN",
        "HF_ENDPOINT",
        "HF_TOKEN",
        "OIP_URL",
        "OIP_TOKEN",
    ] {
        assert!(env.lines().any(|it| it.starts_with(&format!("export {name}="))), "{name} is missing:\n{env}");
    }
    let log = std::fs::read_to_string(server.folder.path().join("server.log")).expect("a log");
    assert!(log.contains("password"), "the password is shown once");
    assert!(!log.contains(&server.token()), "a token was logged");
    assert_eq!(server.stop(), Some(0), "a stop that was asked for is no failure");
    server.restart();
    let again = std::fs::read_to_string(server.folder.path().join("server.log")).expect("a log");
    assert_eq!(again.matches("shown this once").count(), 1, "a second start shows no password");
    assert!(server.cli(&["datasets", "list"]).status.success());
}

#[test]
fn a_second_server_on_the_same_folder_is_refused() {
    let server = Server::start();
    let second = program()
        .args(["up", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(server.folder.path())
        .env("KAOGONG_HOME", server.folder.path())
        .output()
        .expect("a run");
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another server already runs"), "{}", text(&second.stderr));
}

#[test]
fn a_taken_port_and_wrong_settings_are_named() {
    let server = Server::start();
    let other = tempfile::tempdir().expect("a folder");
    let listen = server.address.trim_start_matches("http://").to_owned();
    let run = |arguments: &[&str]| {
        let output =
            cli(other.path(), &[&["up", "--data-dir", other.path().to_str().expect("a path")], arguments].concat());
        (output.status.code(), text(&output.stderr))
    };
    let (code, said) = run(&["--listen", &listen]);
    assert_eq!(code, Some(1));
    assert!(said.contains("another program has this port"), "{said}");
    let (code, said) = run(&["--listen", "nowhere", "--compute-threads", "0"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--listen") && said.contains("--compute-threads"), "all problems at once: {said}");
    assert_eq!(run(&["--no-such-setting"]).0, Some(2));
}

#[test]
fn exit_codes_tell_scripts_what_happened() {
    let home = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let output = program()
            .args(arguments)
            .env("KAOGONG_HOME", home.path())
            .env("KAOGONG_PATIENCE_S", "0")
            .output()
            .expect("a run");
        output.status.code()
    };
    assert_eq!(run(&["--help"]), Some(0));
    assert_eq!(run(&["no-such-noun"]), Some(2));
    assert_eq!(run(&["datasets", "list", "--url", "http://127.0.0.1:9", "--token", "x"]), Some(3));
}

#[test]
fn metrics_and_health_are_there() {
    let server = Server::start();
    assert_eq!(server.call("GET", "/healthz", None, b"").status, 200);
    assert_eq!(server.call("GET", "/readyz", None, b"").status, 200);
    assert_eq!(server.call("GET", "/metrics", None, b"").status, 401);
    let metrics = server.call("GET", "/metrics", Some(&server.token()), b"");
    assert_eq!(metrics.status, 200);
    assert!(text(&metrics.body).contains("kaogong_http_requests_total"));
    assert!(metrics.head.to_lowercase().contains("x-request-id: req_"));
}
