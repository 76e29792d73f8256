//! What a job holds and tells: its token is good for its own things alone, and nobody finds a secret in what it leaves.

use crate::{
    access::{cookie_of, filled},
    faults::{ended, submit},
    kit::{Reply, Server, grpc, http, pictures, text, wait_until},
};
use kaogong_http::access::Rule;
use kaogong_server::{
    http::{route_list, routes_for_jobs},
    protocols::mounts,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::Path};

const SECRET: &str = "correct horse battery";

/// A job that has told its token to this test, through a file, and goes on until it is told to end.
struct Running<'a> {
    server: &'a Server,
    id: String,
    token: String,
    folder: tempfile::TempDir,
}

impl<'a> Running<'a> {
    fn start(server: &'a Server, script: &str, more: Value) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().display();
        let script = format!(
            "printf %s \"$KAOGONG_TOKEN\" > {place}/part; mv {place}/part {place}/token; {script}; echo ready; \
             while [ ! -e {place}/go ]; do sleep 0.05; done"
        );
        let mut spec = json!({"name": "talks", "command": ["sh", "-c", script]});
        spec.as_object_mut().expect("a spec").extend(more.as_object().expect("more").clone());
        let id = submit(server, &spec);
        let token = wait_until("the job's token", || fs::read_to_string(folder.path().join("token")).ok());
        Self { server, id, token, folder }
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Reply {
        self.server.call(method, path, Some(&self.token), body.to_string().as_bytes())
    }

    fn mlflow(&self, path: &str, body: &Value) -> Reply {
        self.call("POST", &format!("/p/default/api/2.0/mlflow/{path}"), body)
    }

    fn own_run(&self) -> String {
        let made = self.mlflow("runs/create", &json!({"experiment_id": "0", "start_time": 1}));
        assert_eq!(made.status, 200, "{}", text(&made.body));
        made.json()["run"]["info"]["run_id"].as_str().expect("a run").to_owned()
    }

    fn end(&self) -> Value {
        fs::write(self.folder.path().join("go"), "").expect("a file");
        ended(self.server, &self.id)
    }
}

fn put_secret(server: &Server, name: &str, value: &str) -> Reply {
    let body = json!({"value": value}).to_string();
    server.call("PUT", &format!("/api/v1/projects/default/secrets/{name}"), Some(&server.token()), body.as_bytes())
}

/// A token of a new member with that role.
fn member(server: &Server, role: &str) -> String {
    let admin = server.token();
    let body = format!(r#"{{"name":"{role}","password":"a long password"}}"#);
    assert_eq!(server.call("POST", "/api/v1/users", Some(&admin), body.as_bytes()).status, 201);
    let path = format!("/api/v1/projects/default/members/{role}");
    let set = server.call("PUT", &path, Some(&admin), json!({"role": role}).to_string().as_bytes());
    assert_eq!(set.status, 200, "{}", text(&set.body));
    let signed_in = server.call("POST", "/api/v1/session", None, body.as_bytes());
    let (cookie, guard) = (cookie_of(&signed_in), signed_in.json()["csrf_token"].as_str().expect("a guard").to_owned());
    let headers = [("cookie", cookie.as_str()), ("x-csrf-token", guard.as_str())];
    let ask = br#"{"name":"all","scopes":["admin"]}"#;
    let made = http(&server.address, "POST", "/api/v1/tokens", &headers, ask).expect("an answer");
    made.json()["secret"].as_str().expect("a secret").to_owned()
}

#[test]
fn a_viewer_finds_no_secret_and_no_token_in_what_a_job_tells() {
    let server = Server::start();
    assert_eq!(put_secret(&server, "API_KEY", SECRET).status, 200);
    let viewer = member(&server, "viewer");
    let script = "env; printf '%.9s' \"$API_KEY\"; sleep 0.2; printf '%s\\n' \"$API_KEY\" | cut -c10-; \
        printf '%s' \"$KAOGONG_TOKEN\" | base64 -w0; printf '%s' \"x$API_KEY\" | base64 -w0; \
        printf '%s' \"key: $API_KEY.\" > out.txt; echo \"$EPOCHS epochs\"";
    let env = json!({"API_KEY": {"secret": "API_KEY"}, "HF_TOKEN": "in clear, alas", "EPOCHS": "five"});
    let job = Running::start(&server, script, json!({"env": env, "outputs": ["out.txt"]}));
    let run = job.own_run();
    let told = json!({"run_id": run, "key": "api_key", "value": SECRET});
    assert_eq!(job.mlflow("runs/log-parameter", &told).status, 200);
    let tagged = json!({"run_id": run, "key": "note", "value": format!("used {} as token", job.token)});
    assert_eq!(job.mlflow("runs/set-tag", &tagged).status, 200);
    let path = format!("/p/default/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/env.txt");
    let artifact = server.call("PUT", &path, Some(&job.token), format!("API_KEY={SECRET}\n").as_bytes());
    assert_eq!(artifact.status, 200, "{}", text(&artifact.body));

    let id = job.id.clone();
    let look = |path: &str| {
        let reply = server.call("GET", &format!("/api/v1/projects/default/{path}"), Some(&viewer), b"");
        assert_eq!(reply.status, 200, "{path}: {}", text(&reply.body));
        text(&reply.body)
    };
    wait_until("the log", || look(&format!("jobs/{id}/log")).ends_with("ready\n").then_some(()));
    let log = look(&format!("jobs/{id}/log"));
    assert!(log.contains("API_KEY=***\n") && log.contains("KAOGONG_TOKEN=***\n"), "{log}");
    assert!(log.contains("\n***\n") && log.contains("five epochs"), "{log}");
    let everything = |state: &str| {
        let mut paths: Vec<String> = ["jobs", "overview", "events", "runs"].map(str::to_owned).into();
        paths.extend([format!("jobs/{id}"), format!("jobs/{id}/log"), format!("jobs/{id}/log?length=100&offset=20")]);
        paths.extend([format!("runs/{run}"), format!("runs/{run}/artifacts/env.txt")]);
        if state == "over" {
            paths.extend([format!("jobs/{id}/artifacts/out.txt"), format!("jobs/{id}/log/stream")]);
        }
        for path in paths {
            let shown = look(&path);
            for secret in [SECRET, &job.token, "in clear, alas", "horse"] {
                assert!(!shown.contains(secret), "{path} shows {secret} while the job is {state}: {shown}");
            }
        }
    };
    everything("running");
    assert!(look(&format!("jobs/{id}")).contains(r#""EPOCHS":{"hidden":true}"#), "names are shown");
    let own = server.call("GET", &format!("/api/v1/projects/default/jobs/{id}"), Some(&server.token()), b"").json();
    assert_eq!(own["spec"]["env"]["EPOCHS"], "five", "who may submit sees values");
    assert_eq!(own["spec"]["env"]["API_KEY"], json!({"secret": "API_KEY"}));
    let refused = server.call("GET", "/api/v1/projects/default/secrets", Some(&viewer), b"");
    assert_eq!(refused.status, 403, "{}", text(&refused.body));

    let job_now = job.end();
    assert_eq!(job_now["state"], "succeeded", "{job_now}");
    everything("over");
    assert_eq!(look(&format!("jobs/{id}/artifacts/out.txt")), format!("key: {}.", "*".repeat(SECRET.len())));
    let reason = job_now["attempts"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("secrets in output `out.txt` were replaced"), "{reason}");
    for file in fs::read_dir(server.folder.path()).expect("a folder").flatten() {
        if file.file_name().to_string_lossy().starts_with("kaogong.db") {
            let bytes = fs::read(file.path()).expect("the database");
            assert!(!bytes.windows(SECRET.len()).any(|it| it == SECRET.as_bytes()), "{:?}", file.file_name());
        }
    }
}

/// Things of others in the same project.
struct Others {
    run: String,
    job: String,
}

impl Others {
    fn make(server: &Server, pictures: &Path) -> Self {
        let admin = server.token();
        for name in ["mine", "theirs"] {
            server.json(&["datasets", "import", pictures.to_str().expect("a path"), "--name", name]);
        }
        let made =
            server.call("POST", "/p/default/api/2.0/mlflow/runs/create", Some(&admin), br#"{"experiment_id":"0"}"#);
        let run = made.json()["run"]["info"]["run_id"].as_str().expect("a run").to_owned();
        let job = submit(server, &json!({"name": "other", "command": ["true"]}));
        Self { run, job }
    }
}

/// Every route that is not for jobs refuses the token of one.
fn walk(server: &Server, token: &str) {
    let allowed: BTreeSet<(String, String)> =
        routes_for_jobs(&mounts()).into_iter().map(|it| (it.0.to_string(), it.1)).collect();
    let mut walked = 0;
    for (method, path, rule) in route_list(&mounts()) {
        if rule == Rule::Public || allowed.contains(&(method.to_string(), path.clone())) {
            continue;
        }
        walked += 1;
        if path.starts_with("/inference.") {
            let bearer = [("authorization", format!("Bearer {token}"))];
            assert_eq!(grpc(&server.address, &path, &bearer, &[]).0, 7, "{path}");
            continue;
        }
        let reply = server.call(method.as_str(), &filled(&path, "default"), Some(token), b"{}");
        assert_eq!(reply.status, 403, "{method} {path}: {}", text(&reply.body));
    }
    assert!(walked > 100, "only {walked} routes were walked");
}

#[test]
fn the_token_of_a_job_is_good_for_its_own_things_alone() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let others = Others::make(&server, &pictures(folder.path(), 2));
    let job = Running::start(&server, ":", json!({"inputs": {"data": "mine@1"}}));
    let run = job.own_run();

    walk(&server, &job.token);
    let status = |method: &str, path: &str| job.call(method, path, &json!({})).status;
    let version = |name: &str, rest: &str| format!("/api/v1/projects/default/datasets/{name}/versions/1{rest}");
    assert_eq!(status("GET", &version("mine", "")), 200);
    assert_eq!(status("GET", &version("mine", "/export?format=images")), 200);
    for rest in ["", "/items", "/export?format=images"] {
        assert_eq!(status("GET", &version("theirs", rest)), 403, "{rest}");
    }
    assert_eq!(status("GET", &format!("/api/v1/projects/default/jobs/{}/log", others.job)), 403);

    let artifact = |run: &str| format!("/p/default/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a.txt");
    for (id, expected) in [(&run, 200), (&others.run, 403)] {
        let metric = json!({"run_id": id, "key": "loss", "value": 1, "timestamp": 1});
        let param = json!({"run_id": id, "key": "a", "value": "b"});
        let batch = json!({"run_id": id, "metrics": [metric], "params": [param], "tags": [param]});
        let model = json!({"name": "m", "experiment_id": "0", "source_run_id": id});
        let logged = json!({"run_id": id, "model_json": "{\"artifact_path\":1,\"flavors\":1,\"run_id\":1,\"utc_time_created\":1}"});
        for (path, body) in [
            ("runs/log-metric", metric.clone()),
            ("runs/log-parameter", param.clone()),
            ("runs/set-tag", param.clone()),
            ("runs/delete-tag", json!({"run_id": id, "key": "a"})),
            ("runs/log-batch", batch),
            ("runs/log-model", logged),
            ("runs/log-inputs", json!({"run_id": id})),
            ("runs/outputs", json!({"run_id": id})),
            ("logged-models", model),
            ("runs/update", json!({"run_id": id, "run_name": "renamed"})),
        ] {
            let reply = job.mlflow(path, &body);
            assert_eq!(reply.status, expected, "{path}: {}", text(&reply.body));
        }
        assert_eq!(status("PUT", &artifact(id)), expected);
    }
    assert_eq!(job.mlflow("logged-models", &json!({"name": "m", "experiment_id": "0"})).status, 403, "of no run");

    assert_eq!(job.mlflow("registered-models/create", &json!({"name": "made"})).status, 200);
    for (source, said, expected) in
        [(&run, &run, 200), (&others.run, &others.run, 403), (&others.run, &run, 403), (&run, &others.run, 403)]
    {
        let body = json!({"name": "made", "source": format!("runs:/{source}/a.txt"), "run_id": said});
        let reply = job.mlflow("model-versions/create", &body);
        assert_eq!(reply.status, expected, "from {source}, said {said}: {}", text(&reply.body));
    }
    assert_eq!(job.end()["state"], "succeeded");
    assert_eq!(status("GET", &version("mine", "")), 401, "it ends with the attempt");
}

#[test]
fn a_job_that_asks_for_it_gets_the_rights_of_a_developer_and_no_more() {
    let server = Server::start();
    let job = Running::start(&server, ":", json!({"token": "developer"}));
    let small = json!({"spec": {"name": "small", "command": ["true"]}});
    let submitted = job.call("POST", "/api/v1/projects/default/jobs", &small);
    assert_eq!(submitted.status, 201, "{}", text(&submitted.body));
    for (method, path) in
        [("GET", "/api/v1/users"), ("PUT", "/api/v1/projects/default/secrets/A"), ("POST", "/api/v1/tokens")]
    {
        let reply = job.call(method, path, &json!({"name": "x", "scopes": ["admin"], "value": "a long value"}));
        assert_eq!(reply.status, 403, "{method} {path}: {}", text(&reply.body));
    }
    job.end();
    let refused = server.call("POST", "/api/v1/tokens", Some(&server.token()), br#"{"name":"x","scopes":["job"]}"#);
    assert_eq!(refused.status, 400, "{}", text(&refused.body));
}

#[test]
fn secrets_are_named_and_never_shown() {
    let server = Server::start();
    let admin = server.token();
    let developer = member(&server, "developer");
    for (name, value) in [("A", "tiny1"), ("A", "1234567890"), ("not-a-name", SECRET)] {
        let refused = put_secret(&server, name, value);
        assert_eq!(refused.status, 400, "{}", text(&refused.body));
        assert!(!text(&refused.body).contains(value), "{}", text(&refused.body));
    }
    assert_eq!(put_secret(&server, "API_KEY", SECRET).status, 200);
    let path = "/api/v1/projects/default/secrets";
    let names = server.call("GET", path, Some(&developer), b"");
    assert_eq!(names.json()["items"][0]["name"], "API_KEY");
    assert!(!text(&names.body).contains("horse"), "{}", text(&names.body));
    let set = server.call("PUT", &format!("{path}/API_KEY"), Some(&developer), br#"{"value":"another value"}"#);
    assert_eq!(set.status, 403, "developers use secrets, maintainers set them");
    assert_eq!(server.json(&["access", "secrets", "list"])["items"][0]["name"], "API_KEY");

    let spec =
        |name: &str| json!({"spec": {"name": "x", "command": ["true"], "env": {"A": {"secret": name}}}}).to_string();
    let jobs = "/api/v1/projects/default/jobs";
    let refused = server.call("POST", jobs, Some(&developer), spec("ABSENT").as_bytes());
    assert_eq!(refused.status, 404);
    assert!(text(&refused.body).contains("kaogong access secrets set ABSENT"), "{}", text(&refused.body));
    for name in ["KAOGONG_TOKEN", "MLFLOW_TRACKING_URI", "CUDA_VISIBLE_DEVICES"] {
        let body = json!({"spec": {"name": "x", "command": ["true"], "env": {name: "mine"}}}).to_string();
        let refused = server.call("POST", jobs, Some(&developer), body.as_bytes());
        assert!(refused.status == 400 && text(&refused.body).contains(name), "{}", text(&refused.body));
    }
    server.json(&["access", "secrets", "delete", "API_KEY"]);
    assert_eq!(server.call("GET", path, Some(&admin), b"").json()["total"], 0);
}
