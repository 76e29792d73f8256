//! The main job, from a folder to answers, also while the server is killed again and again.

use crate::kit::{Server, http, pictures, program, text};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

fn hashes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut rest = vec![folder.to_owned()];
    while let Some(place) = rest.pop() {
        for entry in fs::read_dir(place).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                rest.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below").to_string_lossy().into_owned();
                found.insert(name, fs::read(path).expect("a file"));
            }
        }
    }
    found
}

#[test]
fn an_exported_folder_is_the_imported_one() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let source = pictures(folder.path(), 20);
    fs::write(source.join("left").join("über 图.png"), fs::read(source.join("left/000.png")).expect("a picture"))
        .expect("a file");
    let version = server.json(&["datasets", "import", source.to_str().expect("a path"), "--name", "sides"]);
    assert_eq!(version["items"], 41);
    let out = folder.path().join("out");
    let export = server.cli(&["datasets", "export", "sides@1", out.to_str().expect("a path"), "--format", "images"]);
    assert!(export.status.success(), "{}", text(&export.stderr));
    assert_eq!(hashes(&source), hashes(&out));
}

#[test]
fn a_table_comes_back_byte_for_byte() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("rows.csv");
    let rows: String =
        (0..200).map(|it| format!("{},{},{}\n", it, it % 7, if it % 2 == 0 { "even" } else { "odd" })).collect();
    fs::write(&source, format!("a,b,kind\n{rows}")).expect("a file");
    let version =
        server.json(&["datasets", "import", source.to_str().expect("a path"), "--name", "rows", "--target", "kind"]);
    assert_eq!(version["items"], 200);
    let out = folder.path().join("back.csv");
    let export = server.cli(&["datasets", "export", "rows@1", out.to_str().expect("a path"), "--format", "csv"]);
    assert!(export.status.success(), "{}", text(&export.stderr));
    assert_eq!(fs::read(source).expect("a file"), fs::read(out).expect("a file"));
}

#[test]
fn an_import_tells_what_it_did_and_a_name_may_be_anything() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("rows.csv");
    let rows = "Bericht\nc`x;betrag;betrag;wann\n007;1.234,5;?;31/01/2024\nNA;1,5;x;01/02/2024\n";
    fs::write(&source, rows).expect("a file");
    let arguments = [
        "datasets",
        "import",
        source.to_str().expect("a path"),
        "--name",
        "我的 Data",
        "--skip-lines",
        "1",
        "--nulls",
        "?",
        "--column",
        "c`x=text",
    ];
    let made = server.cli(&arguments);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let told = text(&made.stdout);
    for part in ["c`x", "asked for", "betrag_2", "a second `betrag`", "date", "2 values spelt otherwise"] {
        assert!(told.contains(part), "no {part} in {told}");
    }
    let version = server.json(&["datasets", "show", "我的 Data@1"]);
    let columns = version["summary"]["columns"].as_array().expect("columns");
    let kinds: Vec<_> = columns.iter().map(|it| it["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["text", "number", "text", "date"]);
    assert_eq!(server.json(&["datasets", "list"])["items"][0]["title"], "我的 Data");
    let items = server.json(&["datasets", "items", "我的 Data"]);
    assert_eq!(items["items"][0]["values"]["c`x"], "007", "{items}");
    assert_eq!(items["items"][1]["values"]["c`x"], "NA", "{items}");
    // The short name that addresses have is a name, too.
    let name = version["dataset"].as_str().expect("a name");
    let export = server.cli(&["datasets", "export", name, "-", "--format", "csv"]);
    assert_eq!(text(&export.stdout), rows, "the file as it came");
    server.json(&["datasets", "delete", "我的 Data"]);
    assert_eq!(server.json(&["datasets", "list"])["total"], 0);
}

#[test]
fn a_folder_becomes_a_served_model() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let source = pictures(folder.path(), 40);
    let result = server.json(&["quickstart", source.to_str().expect("a path"), "--name", "sides"]);
    assert!(result["accuracy"].as_f64().expect("a number") >= 0.95, "{result}");
    assert!(result["baseline_accuracy"].as_f64().expect("a number") < 0.8, "two classes of one size: {result}");
    assert_eq!(result["runs"].as_array().map(Vec::len), Some(2), "{result}");
    let picture = fs::read(source.join("left/001.png")).expect("a picture");
    let token = server.token();
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "image/png")];
    let path = "/api/v1/projects/default/endpoints/sides/predict";
    let answer = http(&server.address, "POST", path, &headers, &picture).expect("an answer").json();
    assert_eq!(answer["label"], "left", "{answer}");
    let broken = http(&server.address, "POST", path, &headers, b"no picture").expect("an answer");
    assert_eq!(broken.status, 400, "{}", text(&broken.body));
    // Lineage is there without anybody having said a word about it.
    let runs = server.call("GET", "/api/v1/projects/default/runs", Some(&token), b"").json();
    assert_eq!(runs["items"][0]["datasets"][0], "sides@1", "{runs}");
    assert!(runs["items"][0]["job_id"].is_string(), "{runs}");
    let gone = serde_json::json!({ "run_id": runs["items"][0]["id"] }).to_string();
    let deleted = server.call("POST", "/p/default/api/2.0/mlflow/runs/delete", Some(&token), gone.as_bytes());
    assert_eq!(deleted.status, 200, "{}", text(&deleted.body));
    let left = server.call("GET", "/api/v1/projects/default/runs", Some(&token), b"").json();
    assert_eq!(left["total"], 1, "deleted runs are not shown: {left}");
}

/// A small generator of chance from a seed, so that a failure can be looked at again.
fn chance(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Starts the main job in a process of its own.
fn quickstart(server: &Server, source: &Path, name: &str) -> Child {
    program()
        .args(["quickstart", source.to_str().expect("a path"), "--name", name, "--output", "json"])
        .env("KAOGONG_HOME", server.folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

#[test]
fn twenty_kills_lose_and_double_nothing() {
    let mut server = Server::start();
    let folder = tempfile::tempdir().expect("a folder");
    let source = pictures(folder.path(), 60);
    // The environment is built once before, so that the kills fall on the loop and not on a download.
    server.json(&["quickstart", source.to_str().expect("a path"), "--name", "warm"]);
    let (mut seed, mut kills) = (20_u64, 0);
    let mut names = vec![];
    // A fast machine is through before twenty kills; then it does the same again under another name.
    while kills < 20 {
        let name = format!("sides{}x", names.len());
        let mut running = quickstart(&server, &source, &name);
        names.push(name);
        while kills < 20 && running.try_wait().expect("a state").is_none() {
            std::thread::park_timeout(Duration::from_millis(chance(&mut seed) % 400));
            server.kill();
            kills += 1;
            server.restart();
        }
        let output = running.wait_with_output().expect("an end");
        assert!(output.status.success(), "after {kills} kills:\n{}", text(&output.stderr));
        let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(result["accuracy"].as_f64().expect("a number") >= 0.95, "{result}");
    }
    for name in names {
        made_once(&server, &name);
    }
    assert_eq!(server.stop(), Some(0));
}

/// Everything that the main job makes is there, and nothing twice.
fn made_once(server: &Server, name: &str) {
    let token = server.token();
    let all = |path: &str| server.call("GET", &format!("/api/v1/projects/default/{path}"), Some(&token), b"").json();
    let count = |list: &Value, key: &str| {
        let items = list["items"].as_array().expect("items");
        items.iter().filter(|it| it[key].as_str().is_some_and(|it| it.starts_with(name))).count()
    };
    assert_eq!(all(&format!("datasets/{name}/versions"))["total"], 1, "one import, one version of {name}");
    assert_eq!(count(&all("jobs"), "name"), 2, "two jobs of {name}");
    assert_eq!(count(&all("runs"), "name"), 2, "two runs of {name}");
    let versions = &all(&format!("models/{name}"))["versions"];
    assert_eq!(versions.as_array().map(Vec::len), Some(1), "one registration of {name}");
    assert_eq!(count(&all("endpoints"), "name"), 1, "one endpoint of {name}");
}
