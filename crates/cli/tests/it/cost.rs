//! How many statements the database runs for a call does not follow what the call finds: measured by the server itself.

use crate::kit::{Server, pictures, text};
use serde_json::json;
use std::collections::BTreeMap;

/// More statements than this no call runs, with those that find out who calls.
const CALL_MAX: &str = "24";
/// More than this no page runs once it is known who calls.
const PAGE_MAX: &str = "8";
/// Pages that are made of more: the home page shows jobs, endpoints and changes.
const LARGE_PAGES: [(&str, &str); 1] = [("GET /api/v1/projects/{project}/overview", "12")];

/// Of each route, by method: calls by how many statements they ran at most, as far as they ran any.
fn measured(server: &Server) -> BTreeMap<String, BTreeMap<String, u64>> {
    let all = server.call("GET", "/metrics", Some(&server.token()), b"");
    assert_eq!(all.status, 200, "{}", text(&all.body));
    let mut found: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for line in text(&all.body).lines() {
        let Some((labels, count)) =
            line.strip_prefix("kaogong_http_request_statements_bucket{").and_then(|it| it.split_once("} "))
        else {
            continue;
        };
        let count: u64 = count.trim().parse().expect("a number");
        let labels: BTreeMap<&str, &str> = labels
            .split("\",")
            .filter_map(|it| it.split_once("=\""))
            .map(|(a, b)| (a, b.trim_end_matches('"')))
            .collect();
        let route = format!("{} {}", labels["method"], labels["route"]);
        found.entry(route).or_default().insert(labels["le"].to_owned(), count);
    }
    found
}

/// Twenty of everything; the ids of the experiments and of the runs.
fn fill(server: &Server) -> (Vec<String>, Vec<String>) {
    let token = server.token();
    let folder = tempfile::tempdir().expect("a folder");
    let source = pictures(folder.path(), 4);
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        server.json(&["datasets", "import", source.to_str().expect("a path"), "--name", name]);
    }
    let post = |path: &str, body: serde_json::Value| {
        let reply = server.call("POST", path, Some(&token), body.to_string().as_bytes());
        assert!(reply.status < 300, "{path}: {}", text(&reply.body));
        reply.json()
    };
    let flow = |path: &str, body: serde_json::Value| post(&format!("/p/default/api/2.0/mlflow/{path}"), body);
    let mut runs = vec![];
    let mut experiments = vec!["0".to_owned()];
    for number in 0..20 {
        let made = flow("experiments/create", json!({"name": format!("e{number}")}));
        experiments.push(made["experiment_id"].as_str().expect("an id").to_owned());
        let made = flow(
            "runs/create",
            json!({"experiment_id": "0", "start_time": number, "tags": [{"key": "a", "value": "b"}]}),
        );
        let run = made["run"]["info"]["run_id"].as_str().expect("an id").to_owned();
        let metric = json!({"key": "loss", "value": number, "timestamp": 1, "step": 1});
        let param = |it: u32| json!({"key": format!("p{it}"), "value": "1"});
        let params: Vec<_> = (0..20).map(param).collect();
        flow("runs/log-batch", json!({"run_id": run, "metrics": [metric], "params": params}));
        flow("runs/log-metric", json!({"run_id": run, "key": "loss", "value": 1, "timestamp": 2, "step": 2}));
        flow("runs/set-tag", json!({"run_id": run, "key": "t", "value": "v"}));
        flow("runs/update", json!({"run_id": run, "status": "FINISHED", "end_time": 5}));
        flow("registered-models/create", json!({"name": format!("m{number}")}));
        flow("model-versions/create", json!({"name": format!("m{number}"), "source": format!("runs:/{run}/x")}));
        post(
            "/api/v1/projects/default/jobs",
            json!({"spec": {"name": "j", "command": ["true"], "inputs": {"d": "a@1"}}}),
        );
        runs.push(run);
    }
    (experiments, runs)
}

/// Looks at everything.
fn look(server: &Server, experiments: &[String], runs: &[String]) {
    let token = server.token();
    let flow = |path: &str, body: serde_json::Value| {
        let path = format!("/p/default/api/2.0/mlflow/{path}");
        let reply = server.call("POST", &path, Some(&token), body.to_string().as_bytes());
        assert!(reply.status < 300, "{path}: {}", text(&reply.body));
    };
    flow("runs/search", json!({"experiment_ids": experiments}));
    flow(
        "runs/search",
        json!({"experiment_ids": ["0"], "filter": "metrics.loss > 3 and tags.a = 'b'", "order_by": ["metrics.loss DESC"]}),
    );
    flow("experiments/search", json!({"max_results": 10}));
    flow("experiments/search-datasets", json!({"experiment_ids": experiments}));
    flow("logged-models/search", json!({"experiment_ids": experiments}));
    for path in [
        "overview",
        "events",
        "datasets",
        "datasets/a",
        "datasets/a/versions",
        "datasets/a/versions/1",
        "jobs",
        "runs",
        "runs?filter=metrics.loss%20%3E%203",
        "experiments",
        "models",
        "models/m1",
        "endpoints",
        "members",
    ] {
        let reply = server.call("GET", &format!("/api/v1/projects/default/{path}"), Some(&token), b"");
        assert_eq!(reply.status, 200, "{path}: {}", text(&reply.body));
    }
    for path in [
        format!("runs/get?run_id={}", runs[0]),
        "registered-models/search".to_owned(),
        "model-versions/search?filter=name%3D%27m1%27".to_owned(),
        format!(
            "metrics/get-history-bulk-interval?metric_key=loss&{}",
            runs.iter().map(|it| format!("run_ids={it}")).collect::<Vec<_>>().join("&")
        ),
    ] {
        let reply = server.call("GET", &format!("/p/default/api/2.0/mlflow/{path}"), Some(&token), b"");
        assert_eq!(reply.status, 200, "{path}: {}", text(&reply.body));
    }
    for path in ["/api/v1/audit", "/api/v1/tokens", "/api/v1/users", "/api/v1/projects", "/api/v1/session"] {
        assert_eq!(server.call("GET", path, Some(&token), b"").status, 200, "{path}");
    }
}

#[test]
fn no_call_runs_more_statements_because_it_finds_more() {
    let server = Server::start();
    let (experiments, runs) = fill(&server);
    for _ in 0..2 {
        look(&server, &experiments, &runs);
    }
    let all = measured(&server);
    assert!(all.len() > 35, "{all:?}");
    for (route, calls) in &all {
        assert_eq!(calls["+Inf"], calls[CALL_MAX], "{route} ran more than {CALL_MAX} statements: {calls:?}");
        let large = LARGE_PAGES.iter().find(|it| it.0 == route).map(|it| it.1);
        let most = large.unwrap_or(PAGE_MAX);
        let is_page = route.starts_with("GET ") || route.ends_with("/search");
        assert!(!is_page || calls[most] > 0, "{route} never ran {most} statements or fewer: {calls:?}");
    }
}
