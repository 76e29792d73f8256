//! A disk that runs full while metrics arrive and jobs end, and is freed again: the server says that it is not ready,
//! goes on by itself, and loses nothing that it acknowledged.

use crate::{
    faults::{ended, submit},
    kit::{Server, http, text, wait_until},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// Points of one batch: much, so that the database's log outgrows what it has.
const POINTS: u64 = 400;

/// Takes what is left of a disk.
pub(crate) fn fill(disk: &Path) {
    let mut file = fs::File::create(disk.join("filler")).expect("a file");
    for block in [1 << 20, 1 << 16, 4096] {
        let bytes = vec![7u8; block];
        while file.write_all(&bytes).is_ok() {}
    }
}

pub(crate) fn free(disk: &Path) {
    fs::remove_file(disk.join("filler")).expect("the filler goes");
}

pub(crate) fn readiness(server: &Server) -> u16 {
    server.call("GET", "/readyz", None, b"").status
}

struct Logging {
    run: String,
    next: Mutex<u64>,
    acknowledged: Mutex<BTreeSet<u64>>,
    refused: Mutex<Vec<u16>>,
    is_over: AtomicBool,
}

impl Logging {
    fn new(run: String) -> Self {
        let (next, acknowledged) = (Mutex::new(0), Mutex::default());
        Self { run, next, acknowledged, refused: Mutex::default(), is_over: AtomicBool::new(false) }
    }

    /// Logs a batch of points at one step.
    fn step(&self, address: &str, token: &str) {
        let step = {
            let mut next = self.next.lock().expect("a number");
            *next += 1;
            *next
        };
        let metrics: Vec<Value> = (0..POINTS)
            .map(|it| json!({"key": format!("m{it:04}"), "value": 0.5, "timestamp": step, "step": step}))
            .collect();
        let body = json!({"run_id": self.run, "metrics": metrics}).to_string();
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let path = "/p/default/api/2.0/mlflow/runs/log-batch";
        let reply = http(address, "POST", path, &headers, body.as_bytes()).expect("an answer");
        match reply.status {
            200 => drop(self.acknowledged.lock().expect("a list").insert(step)),
            503 => self.refused.lock().expect("a list").push(reply.status),
            other => panic!("{other}: {}", text(&reply.body)),
        }
    }

    fn acknowledged(&self) -> usize {
        self.acknowledged.lock().expect("a list").len()
    }

    fn refused(&self) -> usize {
        self.refused.lock().expect("a list").len()
    }
}

/// Tells at its end that everything is over.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn new_run(server: &Server, token: &str) -> String {
    let path = "/p/default/api/2.0/mlflow/runs/create";
    let made = server.call("POST", path, Some(token), br#"{"experiment_id": "0", "run_name": "r", "start_time": 1}"#);
    assert_eq!(made.status, 200, "{}", text(&made.body));
    made.json()["run"]["info"]["run_id"].as_str().expect("an id").to_owned()
}

/// The steps at which a metric of the run has a point.
fn steps(server: &Server, token: &str, run: &str, key: &str) -> BTreeSet<u64> {
    let path = format!("/p/default/api/2.0/mlflow/metrics/get-history?run_id={run}&metric_key={key}");
    let found = server.call("GET", &path, Some(token), b"").json();
    let points = found["metrics"].as_array().expect("points");
    points.iter().filter_map(|it| it["step"].as_u64().or_else(|| it["step"].as_str()?.parse().ok())).collect()
}

#[test]
fn a_disk_that_runs_full_is_told_and_nothing_acknowledged_is_lost() {
    let server = Server::start_on_small_disk(96);
    let (disk, token) = (server.small_disk(), server.token());
    let logging = Logging::new(new_run(&server, &token));
    let gates = tempfile::tempdir().expect("a folder");
    std::thread::scope(|scope| {
        // Also when an assertion fails: the scope waits for its threads.
        let _over = Over(&logging.is_over);
        for _ in 0..2 {
            scope.spawn(|| {
                while !logging.is_over.load(Ordering::Relaxed) {
                    logging.step(&server.address, &token);
                }
            });
        }
        for round in 0..3 {
            let gate = gates.path().join(round.to_string());
            let wait = format!("while [ ! -e {} ]; do sleep 0.05; done; exit 3", gate.display());
            let job = submit(&server, &json!({"name": "waits", "command": ["sh", "-c", wait]}));
            let path = format!("/api/v1/projects/default/jobs/{job}");
            wait_until("the job runs", || {
                (server.call("GET", &path, Some(&token), b"").json()["state"] == "running").then_some(())
            });
            let before = (logging.acknowledged(), logging.refused());
            wait_until("metrics arrive", || (logging.acknowledged() > before.0 + 3).then_some(()));
            fill(&disk);
            wait_until("a batch is refused", || (logging.refused() > before.1).then_some(()));
            wait_until("it says that it is not ready", || (readiness(&server) == 503).then_some(()));
            // The job ends while nothing can be written.
            fs::write(&gate, b"").expect("a gate");
            wait_until("more batches are refused", || (logging.refused() > before.1 + 3).then_some(()));
            free(&disk);
            wait_until("it is ready again", || (readiness(&server) == 200).then_some(()));
            let before = logging.acknowledged();
            wait_until("metrics arrive again", || (logging.acknowledged() > before + 3).then_some(()));
            let it = ended(&server, &job);
            assert_eq!((&it["state"], &it["exit_code"]), (&json!("failed"), &json!(3)), "{it}");
        }
    });
    let acknowledged = logging.acknowledged.into_inner().expect("a list");
    for key in ["m0000", "m0399"] {
        let found = steps(&server, &token, &logging.run, key);
        let lost: Vec<&u64> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "{key}: of {} acknowledged steps these are lost: {lost:?}", acknowledged.len());
    }
}
