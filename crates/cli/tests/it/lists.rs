//! Lists come whole, in pages to the last, or with a refusal: nothing is left out in silence.

use crate::kit::{Server, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const MLFLOW: &str = "/p/default/api/2.0/mlflow";

/// A server and a token for it.
struct Caller {
    server: Server,
    token: String,
}

impl Caller {
    fn start() -> Self {
        let server = Server::start();
        let token = server.token();
        Self { server, token }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let reply = self.server.call(method, path, Some(&self.token), body.as_bytes());
        (reply.status, serde_json::from_slice(&reply.body).unwrap_or_else(|_| json!(text(&reply.body))))
    }

    fn post(&self, call: &str, body: &Value) -> Value {
        let (status, answer) = self.ask("POST", &format!("{MLFLOW}/{call}"), body);
        assert_eq!(status, 200, "{call}: {answer}");
        answer
    }

    fn run(&self, started_at: i64) -> String {
        let new = json!({"experiment_id": "0", "run_name": "r", "start_time": started_at});
        self.post("runs/create", &new)["run"]["info"]["run_id"].as_str().expect("an id").to_owned()
    }

    fn log(&self, run: &str, first: u32, last: u32) {
        let point = |it| json!({"key": format!("m{it:04}"), "value": 0.5, "timestamp": 1, "step": 1});
        let metrics: Vec<Value> = (first..last).map(point).collect();
        self.post("runs/log-batch", &json!({"run_id": run, "metrics": metrics}));
    }
}

#[test]
fn all_metrics_of_a_run_are_shown_or_the_bound_is_told() {
    let it = Caller::start();
    let run = it.run(1);
    it.log(&run, 0, 1000);
    let path = format!("/api/v1/projects/default/runs/{run}/metrics");
    let (status, curves) = it.ask("GET", &path, &Value::Null);
    assert_eq!((status, curves.as_array().map(Vec::len)), (200, Some(1000)));
    it.log(&run, 1000, 1001);
    let (status, told) = it.ask("GET", &path, &Value::Null);
    assert!(status == 400 && told.to_string().contains("1001 metrics"), "{told}");
    let keys: Vec<String> = (0..150).map(|it| format!("key=m{it:04}")).collect();
    let (_, curves) = it.ask("GET", &format!("{path}?{}", keys.join("&")), &Value::Null);
    assert_eq!(curves.as_array().map(Vec::len), Some(150));
}

#[test]
fn pages_of_a_search_go_to_the_last_run() {
    let it = Caller::start();
    // Some of the same moment.
    let made: BTreeSet<String> = (0..7).map(|at| it.run(at / 3)).collect();
    let search = |extra: Value| {
        let mut body = json!({"experiment_ids": ["0"], "max_results": 2});
        body.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        it.ask("POST", &format!("{MLFLOW}/runs/search"), &body)
    };
    for order in [json!([]), json!(["attributes.start_time DESC"]), json!(["attributes.run_name ASC"])] {
        let (mut found, mut token, mut pages) = (vec![], String::new(), 0);
        loop {
            let (status, page) = search(json!({"order_by": order, "page_token": token}));
            assert_eq!(status, 200, "{page}");
            let runs = page["runs"].as_array().cloned().unwrap_or_default();
            found.extend(runs.iter().filter_map(|it| it["info"]["run_id"].as_str().map(str::to_owned)));
            pages += 1;
            match page["next_page_token"].as_str() {
                Some(next) if !next.is_empty() => next.clone_into(&mut token),
                _ => break,
            }
        }
        assert_eq!((found.len(), pages), (7, 4), "{order}");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), made, "{order}");
    }
    // A token of a server before this one passes runs over: {"offset": 6}.
    let (_, page) = search(json!({"page_token": "eyJvZmZzZXQiOiA2fQ=="}));
    assert_eq!(page["runs"].as_array().map(Vec::len), Some(1));
    let (_, page) = search(json!({}));
    let (status, told) =
        search(json!({"page_token": page["next_page_token"], "order_by": ["attributes.run_name ASC"]}));
    assert!(status == 400 && told.to_string().contains("another order"), "{told}");
    let many: Vec<String> = (0..21).map(|it| format!("metrics.m{it} DESC")).collect();
    let (status, told) = search(json!({"order_by": many}));
    assert!(status == 400 && told.to_string().contains("at most 20 keys"), "{told}");
}
