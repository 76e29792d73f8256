//! A PostgreSQL server that is killed and started again while the program works on it.

use crate::{
    full_disk::readiness,
    kit::{PATIENCE, Reply, Server, http, text, wait_until},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs::File,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};
use tempfile::TempDir;

/// Whom PostgreSQL runs as where this runs as root, which it refuses.
const NOBODY: u32 = 65534;
const MLFLOW: &str = "/p/default/api/2.0/mlflow";
const ARTIFACTS: &str = "/p/default/api/2.0/mlflow-artifacts/artifacts";

/// A PostgreSQL server of this test alone. Unlike the one of `scripts/with-postgres` it makes durable what it
/// acknowledges.
struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    server: Child,
}

/// Where the programs of PostgreSQL's newest version are.
fn programs() -> PathBuf {
    let mut found: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    found.extend(installed.map(|it| it.path().join("bin")));
    let is_whole = |it: &PathBuf| it.join("initdb").is_file() && it.join("postgres").is_file();
    found.into_iter().rfind(is_whole).expect("no initdb and postgres found; run scripts/setup test")
}

/// A command of PostgreSQL, as somebody who is not root, in a folder that this somebody may enter.
fn command(program: &Path, folder: &Path) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

impl Postgres {
    fn start() -> Self {
        // Short, because the path of a socket may have about a hundred bytes.
        let folder = tempfile::Builder::new().prefix("kg-pg").tempdir_in("/tmp").expect("a folder");
        if rustix::process::geteuid().is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("another owner");
        }
        let programs = programs();
        let made = command(&programs.join("initdb"), folder.path())
            .args(["--pgdata=data", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"])
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{}", text(&made.stderr));
        let server = launch(&programs, folder.path());
        Self { folder, programs, server }
    }

    fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.folder.path().to_str().expect("a path").replace('/', "%2F"))
    }

    /// What `pg_ctl stop -m immediate` does: all processes end at once, without a checkpoint.
    fn stop_at_once(&mut self) {
        let id = i32::try_from(self.server.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
        rustix::process::kill_process(id, rustix::process::Signal::QUIT).expect("a signal");
        self.server.wait().expect("an end");
    }

    fn start_again(&mut self) {
        self.server = launch(&self.programs, self.folder.path());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if matches!(self.server.try_wait(), Ok(None)) {
            self.stop_at_once();
        }
    }
}

/// Starts the server, and waits until it lets somebody in.
fn launch(programs: &Path, folder: &Path) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).expect("a log");
    let mut server = command(&programs.join("postgres"), folder)
        .args([
            "-D",
            "data",
            "-c",
            "listen_addresses=",
            "-c",
            "logging_collector=off",
            "-c",
            "shared_buffers=32MB",
            "-k",
        ])
        .arg(folder)
        .stderr(log)
        .spawn()
        .expect("postgres runs");
    let end = Instant::now() + PATIENCE;
    let is_open = || {
        let mut asked = command(&programs.join("pg_isready"), folder);
        asked
            .args(["--quiet", "--username=postgres", "--host"])
            .arg(folder)
            .status()
            .expect("pg_isready runs")
            .success()
    };
    while !is_open() {
        let said = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(server.try_wait().expect("a process").is_none() && Instant::now() < end, "{}", said());
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    server
}

/// What writers were told.
#[derive(Default)]
struct Told {
    next: AtomicU64,
    steps: Mutex<BTreeSet<u64>>,
    runs: Mutex<BTreeSet<String>>,
    jobs: Mutex<BTreeSet<String>>,
    artifacts: Mutex<BTreeSet<u64>>,
    refused: AtomicU64,
    is_over: AtomicBool,
}

impl Told {
    fn least(&self) -> usize {
        let all = [
            self.steps.lock().expect("a list").len(),
            self.runs.lock().expect("a list").len(),
            self.jobs.lock().expect("a list").len(),
            self.artifacts.lock().expect("a list").len(),
        ];
        all.into_iter().min().unwrap_or(0)
    }
}

/// Tells at its end that everything is over.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Caller<'a> {
    address: &'a str,
    bearer: String,
    run: String,
    place: String,
}

impl Caller<'_> {
    fn send(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        let headers = [("authorization", self.bearer.as_str()), ("content-type", "application/json")];
        http(self.address, method, path, &headers, body).expect("an answer")
    }

    /// A change: its answer, or nothing when the database was not there.
    fn change(&self, told: &Told, method: &str, path: &str, body: &[u8]) -> Option<Reply> {
        let reply = self.send(method, path, body);
        match reply.status {
            200..300 => Some(reply),
            503 => {
                told.refused.fetch_add(1, Ordering::Relaxed);
                None
            }
            other => panic!("{path}: {other}: {}", text(&reply.body)),
        }
    }

    fn get(&self, path: &str) -> Value {
        let reply = self.send("GET", path, b"");
        assert_eq!(reply.status, 200, "{path}: {}", text(&reply.body));
        reply.json()
    }

    fn log(&self, told: &Told, number: u64) {
        let point = |key: &str| json!({"key": key, "value": 0.5, "timestamp": number, "step": number});
        let body = json!({"run_id": self.run, "metrics": [point("first"), point("last")]}).to_string();
        if self.change(told, "POST", &format!("{MLFLOW}/runs/log-batch"), body.as_bytes()).is_some() {
            told.steps.lock().expect("a list").insert(number);
        }
    }

    fn begin(&self, told: &Told, number: u64) {
        let body = json!({"experiment_id": "0", "run_name": format!("r{number}")}).to_string();
        if let Some(reply) = self.change(told, "POST", &format!("{MLFLOW}/runs/create"), body.as_bytes()) {
            let id = reply.json()["run"]["info"]["run_id"].as_str().expect("an id").to_owned();
            told.runs.lock().expect("a list").insert(id);
        }
    }

    fn submit(&self, told: &Told, number: u64) {
        let body = json!({"spec": {"name": format!("j{number}"), "command": ["true"]}}).to_string();
        if let Some(reply) = self.change(told, "POST", "/api/v1/projects/default/jobs", body.as_bytes()) {
            told.jobs.lock().expect("a list").insert(reply.json()["id"].as_str().expect("an id").to_owned());
        }
    }

    fn keep(&self, told: &Told, number: u64) {
        let path = format!("{ARTIFACTS}/{}/{number}.txt", self.place);
        if self.change(told, "PUT", &path, number.to_string().as_bytes()).is_some() {
            told.artifacts.lock().expect("a list").insert(number);
        }
    }

    fn steps(&self, key: &str) -> BTreeSet<u64> {
        let path = format!("{MLFLOW}/metrics/get-history?run_id={}&metric_key={key}&max_results=25000", self.run);
        let found = self.get(&path);
        let points = found["metrics"].as_array().cloned().unwrap_or_default();
        points.iter().filter_map(|it| it["step"].as_u64().or_else(|| it["step"].as_str()?.parse().ok())).collect()
    }
}

fn caller(server: &Server) -> Caller<'_> {
    let bearer = format!("Bearer {}", server.token());
    let mut caller = Caller { address: &server.address, bearer, run: String::new(), place: String::new() };
    let made = caller.send("POST", &format!("{MLFLOW}/runs/create"), br#"{"experiment_id": "0"}"#).json();
    let info = &made["run"]["info"];
    let place = info["artifact_uri"].as_str().expect("a place").trim_start_matches("mlflow-artifacts:/").to_owned();
    (caller.run, caller.place) = (info["run_id"].as_str().expect("an id").to_owned(), place);
    caller
}

/// Everything acknowledged is there, and no change is half there.
fn look(caller: &Caller<'_>, told: &Told) {
    let (first, last) = (caller.steps("first"), caller.steps("last"));
    assert_eq!(first, last, "half a batch");
    let lost: Vec<u64> = told.steps.lock().expect("a list").difference(&first).copied().collect();
    assert!(lost.is_empty(), "steps {lost:?} are lost");
    for id in told.runs.lock().expect("a list").iter() {
        caller.get(&format!("{MLFLOW}/runs/get?run_id={id}"));
    }
    for number in told.artifacts.lock().expect("a list").iter() {
        let reply = caller.send("GET", &format!("{ARTIFACTS}/{}/{number}.txt", caller.place), b"");
        assert_eq!(text(&reply.body), number.to_string());
    }
    for id in told.jobs.lock().expect("a list").iter() {
        let ended = wait_until("the job ends", || {
            let it = caller.get(&format!("/api/v1/projects/default/jobs/{id}"));
            let is_over = ["succeeded", "failed", "cancelled", "lost"].iter().any(|state| it["state"] == *state);
            is_over.then_some(it)
        });
        assert_eq!(ended["state"], "succeeded", "{ended}");
    }
}

#[test]
fn a_postgresql_that_is_killed_and_started_again_loses_nothing_acknowledged() {
    let mut database = Postgres::start();
    let server = Server::start_with(&["--database", &database.url()]);
    let (caller, told) = (caller(&server), Told::default());
    std::thread::scope(|scope| {
        // Also when an assertion fails: the scope waits for its threads.
        let _over = Over(&told.is_over);
        let (caller, told) = (&caller, &told);
        for kind in 0..4 {
            scope.spawn(move || {
                while !told.is_over.load(Ordering::Relaxed) {
                    let number = told.next.fetch_add(1, Ordering::Relaxed);
                    match kind {
                        0 => caller.log(told, number),
                        1 => caller.begin(told, number),
                        2 => caller.submit(told, number),
                        _ => caller.keep(told, number),
                    }
                }
            });
        }
        for _ in 0..4 {
            let before = told.least();
            wait_until("all writers are heard", || (told.least() > before + 5).then_some(()));
            let refused = told.refused.load(Ordering::Relaxed);
            database.stop_at_once();
            wait_until("writers are refused", || (told.refused.load(Ordering::Relaxed) > refused + 4).then_some(()));
            wait_until("it says that it is not ready", || (readiness(&server) == 503).then_some(()));
            database.start_again();
            wait_until("it is ready again", || (readiness(&server) == 200).then_some(()));
        }
        let before = told.least();
        wait_until("all writers are heard again", || (told.least() > before + 5).then_some(()));
    });
    look(&caller, &told);
}
