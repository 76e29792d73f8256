//! Backups of a server that is at work, and what comes back from them.

use crate::kit::{Server, cli, http, pictures, text, wait_until};
use kaogong_store::{Store, StoreUrl};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

const MODEL: &[u8] = include_bytes!("../../../engines/tests/fixtures/linear.onnx");
const MLFLOW: &str = "/p/default/api/2.0/mlflow";
const ARTIFACTS: &str = "/p/default/api/2.0/mlflow-artifacts/artifacts";

/// What the server said that it has.
#[derive(Default, Clone)]
struct Acknowledged {
    metrics: Vec<u64>,
    /// Versions of the table, with their text.
    tables: BTreeMap<u64, String>,
    models: Vec<u64>,
    artifacts: Vec<u64>,
    /// Jobs that succeeded, with what they said.
    jobs: Vec<(String, String)>,
}

impl Acknowledged {
    fn least(&self) -> usize {
        let all = [self.metrics.len(), self.tables.len(), self.models.len(), self.artifacts.len(), self.jobs.len()];
        all.into_iter().min().unwrap_or(0)
    }
}

/// A server's address and what it takes to call it, for several threads.
struct Caller<'a> {
    address: &'a str,
    bearer: String,
    home: &'a Path,
}

impl Caller<'_> {
    fn of(server: &Server) -> Caller<'_> {
        Caller { address: &server.address, bearer: format!("Bearer {}", server.token()), home: server.folder.path() }
    }

    fn call(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let headers = [("authorization", self.bearer.as_str())];
        let reply = http(self.address, method, path, &headers, body).expect("an answer");
        assert!((200..300).contains(&reply.status), "{method} {path}: {} {}", reply.status, text(&reply.body));
        reply.body
    }

    fn json(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        serde_json::from_slice(&self.call(method, path, body.as_bytes())).expect("JSON")
    }

    fn import(&self, file: &Path, name: &str) -> Value {
        let words = ["datasets", "import", path_text(file), "--name", name, "--output", "json"];
        let output = cli(self.home, &words);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn artifact_bytes(number: u64) -> Vec<u8> {
    let piece = |it: u64| (it.wrapping_mul(number + 77) >> 3).to_le_bytes();
    (0..4000).flat_map(piece).collect()
}

/// A run to log to, and where its artifacts go.
fn new_run(caller: &Caller<'_>) -> (String, String) {
    let made = caller.json("POST", &format!("{MLFLOW}/experiments/create"), &json!({"name": "load"}));
    let made = caller.json("POST", &format!("{MLFLOW}/runs/create"), &json!({"experiment_id": made["experiment_id"]}));
    let info = &made["run"]["info"];
    let place = info["artifact_uri"].as_str().expect("a place").trim_start_matches("mlflow-artifacts:/").to_owned();
    (info["run_id"].as_str().expect("an id").to_owned(), place)
}

/// Writers of five kinds, until they are told to stop.
fn load(caller: &Caller<'_>, run: &(String, String), files: &Path, known: &Mutex<Acknowledged>, stop: &AtomicBool) {
    let (id, place) = run;
    let again = |mut work: Box<dyn FnMut(u64) + '_>| {
        for number in 1.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            work(number);
        }
    };
    let note = |tell: &dyn Fn(&mut Acknowledged)| tell(&mut known.lock().expect("no writer failed"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            again(Box::new(|step| {
                let point = json!({"run_id": id, "key": "loss", "value": step, "timestamp": step, "step": step});
                caller.json("POST", &format!("{MLFLOW}/runs/log-metric"), &point);
                note(&|it| it.metrics.push(step));
            }));
        });
        scope.spawn(|| {
            again(Box::new(|number| {
                let rows: String = (0..number * 50).map(|it| format!("{it},{}\n", it * number)).collect();
                let table = format!("a,b\n{rows}");
                let file = files.join("rows.csv");
                fs::write(&file, &table).expect("a file");
                let made = caller.import(&file, "rows")["number"].as_u64().expect("a number");
                note(&|it| drop(it.tables.insert(made, table.clone())));
            }));
        });
        scope.spawn(|| {
            let file = files.join("linear.onnx");
            fs::write(&file, MODEL).expect("a file");
            again(Box::new(|_| {
                let words = ["models", "register", "line", path_text(&file), "--output", "json"];
                let output = cli(caller.home, &words);
                assert!(output.status.success(), "{}", text(&output.stderr));
                let made: Value = serde_json::from_slice(&output.stdout).expect("JSON");
                note(&|it| it.models.push(made["number"].as_u64().expect("a number")));
            }));
        });
        scope.spawn(|| {
            again(Box::new(|number| {
                caller.call("PUT", &format!("{ARTIFACTS}/{place}/{number}.bin"), &artifact_bytes(number));
                note(&|it| it.artifacts.push(number));
            }));
        });
        scope.spawn(|| {
            again(Box::new(|number| {
                let said = format!("job {number}");
                let spec = json!({"spec": {"name": "speak", "command": ["echo", said]}});
                let job = caller.json("POST", "/api/v1/projects/default/jobs", &spec);
                let job = job["id"].as_str().expect("an id").to_owned();
                wait_until("the job ends", || {
                    let seen = caller.json("GET", &format!("/api/v1/projects/default/jobs/{job}"), &Value::Null);
                    (seen["state"] == "succeeded").then_some(())
                });
                note(&|it| it.jobs.push((job.clone(), said.clone())));
            }));
        });
    });
}

#[test]
fn a_backup_under_load_holds_all_that_was_acknowledged_before_it() {
    let mut server = Server::start();
    let files = tempfile::tempdir().expect("a folder");
    let source = pictures(files.path(), 10);
    server.json(&["datasets", "import", path_text(&source), "--name", "sides"]);
    let file = files.path().join("all.tar.zst");
    let (known, stop) = (Mutex::new(Acknowledged::default()), AtomicBool::new(false));
    let caller = Caller::of(&server);
    let run = new_run(&caller);
    let before = std::thread::scope(|scope| {
        scope.spawn(|| load(&caller, &run, files.path(), &known, &stop));
        wait_until("all writers are at work", || (known.lock().expect("no writer failed").least() >= 3).then_some(()));
        let before = known.lock().expect("no writer failed").clone();
        let taken = cli(server.folder.path(), &["backup", path_text(&file), "--output", "json"]);
        stop.store(true, Ordering::Relaxed);
        assert!(taken.status.success(), "{}", text(&taken.stderr));
        before
    });
    let events = server.json(&["audit", "--platform", "--noun", "access"]);
    assert!(events.to_string().contains("backup.taken"), "{events}");
    assert_eq!(server.stop(), Some(0));
    let nobody = tempfile::tempdir().expect("a folder");
    let checked = cli(nobody.path(), &["backup", "--verify", path_text(&file), "--output", "json"]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));

    let target = tempfile::tempdir().expect("a folder");
    let again = restore(&file, target.path());
    assert_eq!(again.0, Some(0), "{}", again.1);
    let mut restored = Server::start_on(target);
    look(&Caller::of(&restored), &run, &known.into_inner().expect("no writer failed"), &before);
    let out = files.path().join("pictures-back");
    let export = restored.cli(&["datasets", "export", "sides@1", path_text(&out)]);
    assert!(export.status.success(), "{}", text(&export.stderr));
    // And it goes on: the next import adds to what was restored.
    let caller = Caller::of(&restored);
    assert!(caller.import(&files.path().join("rows.csv"), "rows")["number"].is_u64());
    assert_eq!(restored.stop(), Some(0));
    let database = StoreUrl::Sqlite(restored.folder.path().join("kaogong.db"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = Store::open(&database).await.expect("it opens");
        store.verify_events().await.expect("a whole chain of events");
        store.close().await;
    });
}

fn restore(file: &Path, folder: &Path) -> (Option<i32>, String) {
    let output = cli(folder, &["restore", path_text(file), "--data-dir", path_text(folder)]);
    (output.status.code(), text(&output.stderr))
}

/// Everything that was acknowledged before the backup is there, and all that is there can be read.
fn look(caller: &Caller<'_>, run: &(String, String), all: &Acknowledged, before: &Acknowledged) {
    let (id, place) = run;
    let path = format!("{MLFLOW}/metrics/get-history?run_id={id}&metric_key=loss&max_results=25000");
    let history = caller.json("GET", &path, &Value::Null);
    let steps: Vec<u64> = history["metrics"]
        .as_array()
        .expect("points")
        .iter()
        .filter_map(|it| it["step"].as_str()?.parse().ok())
        .collect();
    let steps = if steps.is_empty() {
        history["metrics"].as_array().expect("points").iter().filter_map(|it| it["step"].as_u64()).collect()
    } else {
        steps
    };
    assert!(before.metrics.iter().all(|it| steps.contains(it)), "a metric is lost: {steps:?}");

    let rows = "/api/v1/projects/default/datasets/rows/versions";
    let versions = caller.json("GET", &format!("{rows}?limit=500"), &Value::Null);
    let numbers = numbers_of(&versions);
    assert!(before.tables.keys().all(|it| numbers.contains(it)), "a dataset version is lost: {numbers:?}");
    for number in numbers {
        let bytes = caller.call("GET", &format!("{rows}/{number}/export?format=csv"), b"");
        assert!(all.tables.get(&number).is_none_or(|it| it.as_bytes() == bytes), "version {number} differs");
        let parquet = caller.call("GET", &format!("{rows}/{number}/export?format=parquet"), b"");
        assert!(parquet.ends_with(b"PAR1"), "version {number} cannot be read");
    }

    let model = caller.json("GET", "/api/v1/projects/default/models/line", &Value::Null);
    let numbers = numbers_of(&json!({"items": model["versions"]}));
    assert!(before.models.iter().all(|it| numbers.contains(it)), "a model version is lost: {numbers:?} {model}");
    for number in numbers {
        let path = format!("/api/v1/projects/default/models/line/versions/{number}/file");
        assert_eq!(caller.call("GET", &path, b""), MODEL);
    }

    let listed = caller.json("GET", &format!("/api/v1/projects/default/runs/{id}/artifacts"), &Value::Null);
    let listed: Vec<u64> =
        listed["items"].as_array().expect("artifacts").iter().filter_map(number_of_artifact).collect();
    assert!(before.artifacts.iter().all(|it| listed.contains(it)), "an artifact is lost: {listed:?}");
    for number in listed {
        let bytes = caller.call("GET", &format!("{ARTIFACTS}/{place}/{number}.bin"), b"");
        assert_eq!(bytes, artifact_bytes(number), "artifact {number}");
    }

    for (job, said) in &before.jobs {
        let path = format!("/api/v1/projects/default/jobs/{job}");
        assert_eq!(caller.json("GET", &path, &Value::Null)["state"], "succeeded");
        assert_eq!(text(&caller.call("GET", &format!("{path}/log?length=1000"), b"")), format!("{said}\n"));
    }
}

fn numbers_of(page: &Value) -> Vec<u64> {
    page["items"].as_array().expect("versions").iter().filter_map(|it| it["number"].as_u64()).collect()
}

fn number_of_artifact(it: &Value) -> Option<u64> {
    it["path"].as_str()?.strip_suffix(".bin")?.parse().ok()
}

#[test]
fn a_restore_makes_a_new_folder_or_nothing() {
    let server = Server::start();
    let place = tempfile::tempdir().expect("a folder");
    let file = place.path().join("b.tar.zst");
    let taken = server.cli(&["backup", path_text(&file)]);
    assert!(taken.status.success(), "{}", text(&taken.stderr));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600, "a backup is its owner's alone");
    let second = server.cli(&["backup", path_text(&file)]);
    assert_eq!(second.status.code(), Some(2), "an older backup is not written over");

    let (code, said) = restore(&file, server.folder.path());
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is not empty"), "{said}");

    let bytes = fs::read(&file).expect("a file");
    let mut changed = bytes.clone();
    changed[bytes.len() / 2] ^= 1;
    let targets = place.path().join("targets");
    for (name, bad) in [("cut", &bytes[..bytes.len() - 3]), ("changed", &changed[..]), ("none", b"text")] {
        let bad_file = place.path().join(name);
        fs::write(&bad_file, bad).expect("a file");
        let (code, said) = restore(&bad_file, &targets.join("data"));
        assert_eq!(code, Some(1), "{name}: {said}");
        let verified = cli(place.path(), &["backup", "--verify", path_text(&bad_file)]);
        assert_eq!(verified.status.code(), Some(1), "{name}");
        assert_eq!(fs::read_dir(&targets).expect("a folder").count(), 0, "{name} left something");
    }
    let (code, said) = restore(&file, &targets.join("data"));
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = restore(&file, &targets.join("data"));
    assert_eq!(code, Some(2), "{said}");
    let key = |folder: &Path| fs::read(folder.join("secrets.key")).expect("a key");
    assert_eq!(key(&targets.join("data")), key(server.folder.path()), "without its key no secret could be read");
    assert!(!targets.join("data/profile.json").exists(), "a token of the old server is not restored");
}

#[test]
fn what_is_missing_is_named_by_all_three_commands() {
    let server = Server::start();
    let place = tempfile::tempdir().expect("a folder");
    let caller = Caller::of(&server);
    let (_, artifacts) = new_run(&caller);
    for number in [1, 2] {
        caller.call("PUT", &format!("{ARTIFACTS}/{artifacts}/{number}.bin"), &artifact_bytes(number));
    }
    let name = kaogong_data::backup::path_of_blob(&kaogong_data::BlobHash::of(&artifact_bytes(2)).to_string());
    let rows = place.path().join("rows.csv");
    fs::write(&rows, "a,b\n1,2\n").expect("a file");
    caller.import(&rows, "rows");
    let whole = place.path().join("whole.tar.zst");
    assert_eq!(server.json(&["backup", path_text(&whole)])["missing_count"], 0);
    fs::remove_file(server.folder.path().join(&name)).expect("a stored file goes");
    let tables = server.folder.path().join("tables");
    let dataset = fs::read_dir(&tables).expect("a folder").next().expect("a dataset").expect("an entry");
    fs::remove_dir_all(dataset.path()).expect("a dataset's tables go");
    let dataset = format!("tables/{}", dataset.file_name().to_string_lossy());
    let file = place.path().join("b.tar.zst");
    let target = place.path().join("data");
    let restore = ["restore", path_text(&file), "--data-dir", path_text(&target)];
    for words in [&["backup", path_text(&file)][..], &["backup", "--verify", path_text(&file)], &restore] {
        let output = server.cli(words);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains(&name) && said.contains(&dataset) && said.contains(" 2 files"), "{words:?}: {said}");
    }
    assert!(target.join("kaogong.db").is_file() && !target.join("named.txt").exists(), "the rest can be used");
    let again = cli(place.path(), &["backup", "--verify", path_text(&whole)]);
    assert!(again.status.success(), "{}", text(&again.stderr));
}

#[test]
fn only_a_platform_administrator_takes_a_backup() {
    let server = Server::start();
    let token = server.json(&["access", "tokens", "create", "ci", "--scope", "write"]);
    let token = token["token"].as_str().or(token["secret"].as_str()).expect("a token").to_owned();
    assert_eq!(server.call("GET", "/api/v1/system/backup", Some(&token), b"").status, 403);
    assert_eq!(server.call("GET", "/api/v1/system/backup", None, b"").status, 401);
}
