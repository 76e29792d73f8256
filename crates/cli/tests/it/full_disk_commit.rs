//! A disk that runs full in the middle of a commit: for every kind of change, and with so little left that the log of the
//! database takes some of its pages and not all.

use crate::{
    full_disk::{fill, free, readiness},
    kit::{Reply, Server, http, text, wait_until},
};
use kaogong_store::{Store, StoreUrl};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::Path,
};

/// Pages of the disk that are left: a commit of a few pages ends after the first of them, the second, and so on.
const PAGES_LEFT: [u64; 9] = [0, 1, 2, 3, 4, 6, 9, 13, 20];
const PAGE_BYTES: u64 = 4096;
/// Changes after which the disk must be full, whatever the database's log had still to spare.
const TRIES_MAX: u32 = 5_000;
const MLFLOW: &str = "/p/default/api/2.0/mlflow";
const ARTIFACTS: &str = "/p/default/api/2.0/mlflow-artifacts/artifacts";
/// Metrics of a batch.
const METRICS: u64 = 60;

/// The kinds of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Batch,
    Param,
    Run,
    Experiment,
    Model,
    Job,
    Artifact,
}

const CHANGES: [Change; 7] =
    [Change::Batch, Change::Param, Change::Run, Change::Experiment, Change::Model, Change::Job, Change::Artifact];

/// A server whose disk is small, and what it acknowledged.
struct Story<'a> {
    server: &'a Server,
    bearer: String,
    run: String,
    /// Where the run's artifacts go.
    place: String,
    /// Runs for parameters, of which one takes a thousand.
    param_runs: RefCell<Vec<String>>,
    next: RefCell<u64>,
    acknowledged: RefCell<BTreeMap<Change, BTreeSet<u64>>>,
    refused: RefCell<BTreeMap<Change, u32>>,
}

impl<'a> Story<'a> {
    fn begin(server: &'a Server) -> Self {
        let mut story = Self {
            server,
            bearer: format!("Bearer {}", server.token()),
            run: String::new(),
            place: String::new(),
            param_runs: RefCell::default(),
            next: RefCell::default(),
            acknowledged: RefCell::default(),
            refused: RefCell::default(),
        };
        (story.run, story.place) = story.new_run();
        story
    }

    /// A run that is no change of the story, and where its artifacts go.
    fn new_run(&self) -> (String, String) {
        let made =
            self.call("POST", &format!("{MLFLOW}/runs/create"), &json!({"experiment_id": "0", "run_name": "own"}));
        let info = made.json()["run"]["info"].clone();
        let place = info["artifact_uri"].as_str().expect("a place").trim_start_matches("mlflow-artifacts:/").to_owned();
        (info["run_id"].as_str().expect("an id").to_owned(), place)
    }

    fn send(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        let headers = [("authorization", self.bearer.as_str()), ("content-type", "application/json")];
        http(&self.server.address, method, path, &headers, body).expect("an answer")
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Reply {
        self.send(method, path, body.to_string().as_bytes())
    }

    fn get(&self, path: &str) -> Value {
        let reply = self.send("GET", path, b"");
        assert_eq!(reply.status, 200, "{path}: {}", text(&reply.body));
        reply.json()
    }

    /// Makes one change; whether it was acknowledged.
    fn change(&self, change: Change) -> bool {
        let number = {
            let mut next = self.next.borrow_mut();
            *next += 1;
            *next
        };
        let reply = match change {
            Change::Batch => {
                let point = |it| json!({"key": format!("m{it}"), "value": 0.5, "timestamp": number, "step": number});
                let metrics: Vec<Value> = (0..METRICS).map(point).collect();
                let batch = json!({"run_id": self.run, "metrics": metrics});
                self.call("POST", &format!("{MLFLOW}/runs/log-batch"), &batch)
            }
            Change::Param => {
                // Long, so that each needs pages of its own: what is written over needs none.
                let value = format!("{number:06000}");
                let run = self.param_runs.borrow().last().cloned().expect("a run");
                let param = json!({"run_id": run, "key": format!("p{number}"), "value": value});
                self.call("POST", &format!("{MLFLOW}/runs/log-parameter"), &param)
            }
            Change::Run => {
                let tags = [("half", "one"), ("whole", "two")].map(|(key, value)| json!({"key": key, "value": value}));
                let new = json!({"experiment_id": "0", "run_name": format!("r{number}"), "tags": tags});
                self.call("POST", &format!("{MLFLOW}/runs/create"), &new)
            }
            Change::Experiment => {
                let new = json!({"name": format!("e{number}"), "tags": [{"key": "k", "value": "v"}]});
                self.call("POST", &format!("{MLFLOW}/experiments/create"), &new)
            }
            Change::Model => {
                let new = json!({"name": format!("m{number}")});
                self.call("POST", &format!("{MLFLOW}/registered-models/create"), &new)
            }
            Change::Job => {
                let spec = json!({"spec": {"name": format!("j{number}"), "command": ["true"]}});
                self.call("POST", "/api/v1/projects/default/jobs", &spec)
            }
            Change::Artifact => {
                self.send("PUT", &format!("{ARTIFACTS}/{}/{number}.bin", self.place), &artifact(number))
            }
        };
        match reply.status {
            200..300 => {
                self.acknowledged.borrow_mut().entry(change).or_default().insert(number);
                true
            }
            503 => {
                *self.refused.borrow_mut().entry(change).or_default() += 1;
                false
            }
            other => panic!("{change:?}: {other}: {}", text(&reply.body)),
        }
    }

    fn acknowledged(&self, change: Change) -> BTreeSet<u64> {
        self.acknowledged.borrow().get(&change).cloned().unwrap_or_default()
    }

    /// All pages of a list of MLflow's.
    fn pages(&self, path: &str, body: &Value, list: &str) -> Vec<Value> {
        let (mut all, mut token) = (vec![], String::new());
        loop {
            let mut body = body.clone();
            body["page_token"] = json!(token);
            let page = self.call("POST", path, &body).json();
            all.extend(page[list].as_array().cloned().unwrap_or_default());
            match page["next_page_token"].as_str() {
                Some(it) if !it.is_empty() => it.clone_into(&mut token),
                _ => return all,
            }
        }
    }
}

fn artifact(number: u64) -> Vec<u8> {
    (0..600u64).flat_map(|it| (it * number).to_le_bytes()).collect()
}

/// Takes what is left of a disk but some pages.
fn fill_but(disk: &Path, pages: u64) {
    fill(disk);
    let filler = File::options().write(true).open(disk.join("filler")).expect("the filler");
    let bytes = filler.metadata().expect("its size").len();
    filler.set_len(bytes.saturating_sub(pages * PAGE_BYTES)).expect("pages come free");
}

/// The numbers in names that begin with a letter.
fn numbers<'a>(names: impl IntoIterator<Item = &'a Value>, letter: char) -> BTreeSet<u64> {
    names.into_iter().filter_map(|it| it.as_str()?.strip_prefix(letter)?.parse().ok()).collect()
}

/// Everything acknowledged is there, whole, and nothing else is.
fn look(story: &Story<'_>) {
    let steps = |key: String| -> BTreeSet<u64> {
        let path = format!("{MLFLOW}/metrics/get-history?run_id={}&metric_key={key}&max_results=25000", story.run);
        let found = story.get(&path);
        let points = found["metrics"].as_array().cloned().unwrap_or_default();
        points.iter().filter_map(|it| it["step"].as_u64().or_else(|| it["step"].as_str()?.parse().ok())).collect()
    };
    for metric in [0, 1, METRICS / 2, METRICS - 1] {
        assert_eq!(steps(format!("m{metric}")), story.acknowledged(Change::Batch), "metric {metric}");
    }
    let mut params = BTreeSet::new();
    for run in story.param_runs.borrow().iter() {
        let run = story.get(&format!("{MLFLOW}/runs/get?run_id={run}"));
        let found = run["run"]["data"]["params"].as_array().cloned().unwrap_or_default();
        assert!(found.iter().all(|it| it["value"].as_str().is_some_and(|it| it.len() == 6000)), "half a parameter");
        params.extend(numbers(found.iter().map(|it| &it["key"]), 'p'));
    }
    assert_eq!(params, story.acknowledged(Change::Param), "parameters");

    let runs = story.pages(&format!("{MLFLOW}/runs/search"), &json!({"experiment_ids": ["0"]}), "runs");
    let names: Vec<&Value> = runs.iter().map(|it| &it["info"]["run_name"]).collect();
    assert_eq!(numbers(names, 'r'), story.acknowledged(Change::Run), "runs");
    for it in runs.iter().filter(|it| it["info"]["run_name"].as_str().is_some_and(|it| it.starts_with('r'))) {
        let tags = it["data"]["tags"].to_string();
        assert!(tags.contains("half") && tags.contains("whole"), "half a run: {it}");
    }
    let overview = story.get("/api/v1/projects/default/overview");
    assert_eq!(overview["counts"]["runs"], runs.len(), "the counter of runs");

    let experiments =
        story.pages(&format!("{MLFLOW}/experiments/search"), &json!({"max_results": 1000}), "experiments");
    assert_eq!(numbers(experiments.iter().map(|it| &it["name"]), 'e'), story.acknowledged(Change::Experiment));
    let named = experiments.iter().filter(|it| it["name"] != "Default");
    assert!(named.clone().all(|it| it["tags"][0]["key"] == "k"), "half an experiment");
    let models = story.get("/api/v1/projects/default/models");
    let models = models["items"].as_array().expect("models").clone();
    assert_eq!(numbers(models.iter().map(|it| &it["name"]), 'm'), story.acknowledged(Change::Model));

    let listed = story.get(&format!("/api/v1/projects/default/runs/{}/artifacts", story.run));
    let listed = listed["items"].as_array().expect("artifacts").clone();
    let listed: BTreeSet<u64> =
        listed.iter().filter_map(|it| it["path"].as_str()?.strip_suffix(".bin")?.parse().ok()).collect();
    assert_eq!(listed, story.acknowledged(Change::Artifact), "artifacts");
    for it in listed {
        let reply = story.send("GET", &format!("{ARTIFACTS}/{}/{it}.bin", story.place), b"");
        assert!(reply.body == artifact(it), "artifact {it}");
    }
}

/// Every job that was acknowledged is there, and there is no other. That they end is the story of `full_disk`: hundreds
/// of them take long.
fn look_at_jobs(story: &Story<'_>) {
    let (mut names, mut offset) = (vec![], 0);
    loop {
        let page = story.get(&format!("/api/v1/projects/default/jobs?limit=500&offset={offset}"));
        let items = page["items"].as_array().expect("jobs").clone();
        if items.is_empty() {
            break;
        }
        offset += items.len();
        names.extend(items.iter().map(|it| it["name"].clone()));
    }
    assert_eq!(numbers(&names, 'j'), story.acknowledged(Change::Job), "jobs");
}

#[test]
fn a_disk_that_is_full_at_a_commit_leaves_all_or_nothing_of_it() {
    let server = Server::start_on_small_disk(64);
    let disk = server.small_disk();
    let story = Story::begin(&server);
    for change in CHANGES {
        for (round, pages) in PAGES_LEFT.into_iter().enumerate() {
            story.param_runs.borrow_mut().push(story.new_run().0);
            fill_but(&disk, pages);
            let tries = (0..TRIES_MAX).take_while(|_| story.change(change)).count();
            assert!(tries < TRIES_MAX as usize, "{change:?}: the disk was never full");
            if round == 0 {
                wait_until("it says that it is not ready", || (readiness(&server) == 503).then_some(()));
            }
            free(&disk);
            // Whatever connection it gets, and without a moment to recover.
            for again in CHANGES {
                assert!(story.change(again), "{again:?} after {change:?} with {pages} pages left");
            }
            if round == 0 {
                wait_until("it is ready again", || (readiness(&server) == 200).then_some(()));
            }
        }
        assert!(story.refused.borrow()[&change] >= PAGES_LEFT.len() as u32);
    }
    look(&story);
    look_at_jobs(&story);
    // The chain of events is whole, and so is what the database names.
    let place = tempfile::tempdir().expect("a folder");
    let words = |it: &Path| it.to_str().expect("a path in UTF-8").to_owned();
    let (file, folder) = (words(&place.path().join("b.tar.zst")), words(&place.path().join("data")));
    assert_eq!(server.json(&["backup", &file])["missing_count"], 0);
    let restored = server.cli(&["restore", &file, "--data-dir", &folder]);
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    let database = StoreUrl::Sqlite(Path::new(&folder).join("kaogong.db"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = Store::open(&database).await.expect("it opens");
        store.verify_events().await.expect("a whole chain of events");
        store.close().await;
    });
}
