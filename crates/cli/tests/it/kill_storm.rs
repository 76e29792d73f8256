//! Every kind of writer at once while the server is killed again and again: what was acknowledged is there, once.

use crate::kit::{Reply, Server, http, text, wait_until};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// How often the server is killed.
const KILLS: u32 = 8;
/// The longest time between a start and the next kill, in milliseconds.
const LIFE_MS_MAX: u64 = 1200;
/// The most writes of one writer; jobs are fewer, as each is a process.
const WRITES_MAX: usize = 2000;
const JOBS_MAX: usize = 24;
/// How often one write is tried: a minute and more, though the server is away for seconds only.
const TRIES_MAX: usize = 3000;

/// Somebody who writes the same thing again until it is acknowledged.
#[derive(Clone)]
struct Writer {
    address: String,
    token: String,
    is_over: Arc<AtomicBool>,
}

impl Writer {
    /// Writes number 1, 2, 3 … until told to stop; gives how many were acknowledged.
    fn spawn(&self, most: usize, write: impl Fn(&Self, usize) -> Option<Reply> + Send + 'static) -> JoinHandle<usize> {
        let me = self.clone();
        std::thread::spawn(move || {
            for number in 0..most {
                let mut tries = 0;
                while write(&me, number).is_none() {
                    tries += 1;
                    assert!(tries < TRIES_MAX, "write {number} is not taken");
                    std::thread::park_timeout(Duration::from_millis(20));
                }
                if me.is_over.load(Ordering::SeqCst) {
                    return number + 1;
                }
            }
            most
        })
    }

    /// One try. `None` when nobody knows whether it was done, or when it must be tried later.
    fn send(&self, method: &str, path: &str, body: &[u8]) -> Option<Reply> {
        let bearer = format!("Bearer {}", self.token);
        let reply = http(&self.address, method, path, &[("authorization", &bearer)], body).ok()?;
        // An answer that was cut off is no acknowledgement.
        let length = reply.head.lines().find_map(|it| it.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        match reply.status {
            200..300 if length.is_none_or(|it: usize| it == reply.body.len()) => Some(reply),
            0 | 200..300 | 429 | 500.. => None,
            status => panic!("{method} {path} was refused with {status}: {}", text(&reply.body)),
        }
    }

    fn mlflow(&self, path: &str, body: &Value) -> Option<Reply> {
        self.send("POST", &format!("/p/default/api/2.0/mlflow/{path}"), body.to_string().as_bytes())
    }
}

fn chance(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// The writers of one storm, and how many of each kind were acknowledged once they are done.
struct Storm {
    run: String,
    acknowledged: BTreeMap<&'static str, usize>,
}

fn start_writers(writer: &Writer, run: &str) -> BTreeMap<&'static str, JoinHandle<usize>> {
    let name = |run: &str| run.to_owned();
    let (metrics, params, tags, artifacts, versions) = (name(run), name(run), name(run), name(run), name(run));
    BTreeMap::from([
        (
            "metrics",
            writer.spawn(WRITES_MAX, move |it, n| {
                it.mlflow(
                    "runs/log-metric",
                    &json!({"run_id": metrics, "key": "m", "value": n, "timestamp": 7, "step": n}),
                )
            }),
        ),
        (
            "params",
            writer.spawn(WRITES_MAX.min(900), move |it, n| {
                it.mlflow(
                    "runs/log-parameter",
                    &json!({"run_id": params, "key": format!("p{n}"), "value": n.to_string()}),
                )
            }),
        ),
        (
            "tags",
            writer.spawn(WRITES_MAX.min(900), move |it, n| {
                it.mlflow("runs/set-tag", &json!({"run_id": tags, "key": format!("t{n}"), "value": n.to_string()}))
            }),
        ),
        (
            "artifacts",
            writer.spawn(WRITES_MAX, move |it, n| {
                let path = format!("/p/default/api/2.0/mlflow-artifacts/artifacts/0/{artifacts}/artifacts/a/{n}.txt");
                it.send("PUT", &path, format!("content {n}").as_bytes())
            }),
        ),
        (
            "model versions",
            writer.spawn(WRITES_MAX, move |it, n| {
                it.mlflow(
                    "model-versions/create",
                    &json!({"name": "m", "source": format!("s3://elsewhere/{n}"), "run_id": versions}),
                )
            }),
        ),
        (
            "dataset versions",
            writer.spawn(WRITES_MAX, move |it, n| {
                let path =
                    format!("/api/v1/projects/default/datasets/rows/versions?format=csv&message=v{n}&request_key=k{n}");
                it.send("POST", &path, format!("a,b\n{n},1\n{n},2\n").as_bytes())
            }),
        ),
        (
            "jobs",
            writer.spawn(JOBS_MAX, move |it, n| {
                let ask =
                    json!({"spec": {"name": format!("job{n}"), "command": ["true"]}, "request_key": format!("j{n}")});
                it.send("POST", "/api/v1/projects/default/jobs", ask.to_string().as_bytes())
            }),
        ),
    ])
}

fn storm(server: &mut Server) -> Storm {
    let is_over = Arc::new(AtomicBool::new(false));
    let writer = Writer { address: server.address.clone(), token: server.token(), is_over };
    let run = writer.mlflow("runs/create", &json!({"experiment_id": "0"})).expect("a run").json();
    let run = run["run"]["info"]["run_id"].as_str().expect("an id").to_owned();
    writer.mlflow("registered-models/create", &json!({"name": "m"})).expect("a model");
    let writers = start_writers(&writer, &run);
    let mut seed = 7_u64;
    for _ in 0..KILLS {
        std::thread::park_timeout(Duration::from_millis(chance(&mut seed) % LIFE_MS_MAX));
        server.kill();
        server.restart();
    }
    writer.is_over.store(true, Ordering::SeqCst);
    let acknowledged = writers.into_iter().map(|(kind, it)| (kind, it.join().expect("the writer ends"))).collect();
    Storm { run, acknowledged }
}

/// How often each text is there.
fn counted(texts: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    texts.for_each(|it| *counts.entry(it).or_default() += 1);
    counts
}

fn strings(list: &Value, key: &str) -> BTreeMap<String, usize> {
    counted(list.as_array().into_iter().flatten().filter_map(|it| it[key].as_str().map(str::to_owned)))
}

/// Each of the acknowledged is there, and once.
fn all_once(kind: &str, found: &BTreeMap<String, usize>, expected: impl Iterator<Item = String>) {
    for name in expected {
        assert_eq!(found.get(&name), Some(&1), "{kind}: {name}");
    }
}

#[test]
fn a_storm_of_kills_loses_and_doubles_nothing() {
    let mut server = Server::start();
    let Storm { run, acknowledged } = storm(&mut server);
    let token = server.token();
    let get = |path: &str| {
        let reply = server.call("GET", path, Some(&token), b"");
        assert_eq!(reply.status, 200, "{path}: {}", text(&reply.body));
        reply.json()
    };
    let count = |kind: &str| acknowledged[kind];

    let history =
        get(&format!("/p/default/api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key=m&max_results=25000"));
    let steps = history["metrics"].as_array().into_iter().flatten();
    let steps = counted(steps.map(|it| it["step"].to_string().trim_matches('"').to_owned()));
    all_once("metrics", &steps, (0..count("metrics")).map(|it| it.to_string()));

    let data = get(&format!("/p/default/api/2.0/mlflow/runs/get?run_id={run}"))["run"]["data"].clone();
    all_once("params", &strings(&data["params"], "key"), (0..count("params")).map(|it| format!("p{it}")));
    all_once("tags", &strings(&data["tags"], "key"), (0..count("tags")).map(|it| format!("t{it}")));

    let files = get(&format!("/p/default/api/2.0/mlflow/artifacts/list?run_id={run}&path=a"));
    let names = (0..count("artifacts")).map(|it| format!("a/{it}.txt"));
    all_once("artifacts", &strings(&files["files"], "path"), names);
    let last = count("artifacts") - 1;
    let path = format!("/p/default/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a/{last}.txt");
    assert_eq!(text(&server.call("GET", &path, Some(&token), b"").body), format!("content {last}"));

    let versions = get("/p/default/api/2.0/mlflow/model-versions/search?filter=name%3D'm'&max_results=10000");
    let sources = strings(&versions["model_versions"], "source");
    all_once("model versions", &sources, (0..count("model versions")).map(|it| format!("s3://elsewhere/{it}")));

    let mut messages = vec![];
    while messages.len() < WRITES_MAX {
        let page = get(&format!("/api/v1/projects/default/datasets/rows/versions?limit=500&offset={}", messages.len()));
        let items = page["items"].as_array().expect("items").clone();
        if items.is_empty() {
            break;
        }
        messages.extend(items);
    }
    let found = strings(&Value::Array(messages), "message");
    all_once("dataset versions", &found, (0..count("dataset versions")).map(|it| format!("v{it}")));

    jobs_ended_once(&server, count("jobs"));
    assert!(acknowledged.values().all(|it| *it > 0), "{acknowledged:?}");
    assert_eq!(server.stop(), Some(0));
}

/// Every job is there once, ran once and ended once.
fn jobs_ended_once(server: &Server, submitted: usize) {
    let get =
        |path: &str| server.call("GET", &format!("/api/v1/projects/default/{path}"), Some(&server.token()), b"").json();
    let jobs = wait_until("all jobs end", || {
        let jobs = get("jobs?limit=500")["items"].as_array().expect("items").clone();
        let is_over = |it: &Value| matches!(it["state"].as_str(), Some("succeeded" | "failed" | "cancelled" | "lost"));
        jobs.iter().all(is_over).then_some(jobs)
    });
    let mut events = vec![];
    let mut before = i64::MAX;
    loop {
        let page = get(&format!("events?noun=jobs&limit=500&before={before}"));
        let items = page["items"].as_array().expect("items").clone();
        let Some(last) = items.last() else { break };
        before = last["seq"].as_i64().expect("a number");
        events.extend(items);
    }
    for job in &jobs {
        assert_eq!(job["state"], "succeeded", "{job}");
        assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{job}");
        let ends = events.iter().filter(|it| it["object_id"] == job["id"] && it["action"] == "job.succeeded").count();
        assert_eq!(ends, 1, "{job} ended {ends} times");
    }
    let names = strings(&Value::Array(jobs), "name");
    all_once("jobs", &names, (0..submitted).map(|it| format!("job{it}")));
}
