//! `tidy`: the rules of the code base that no compiler checks. Its exception lists only shrink.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Which crate may depend on which; adding a word here is the review conversation.
pub(crate) const EDGES: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("api", &["domain"]),
    ("client", &["api", "domain"]),
    ("store", &["domain"]),
    ("data", &["domain"]),
    ("tables", &["data", "domain"]),
    ("runners", &["domain"]),
    ("serving", &["domain"]),
    ("engines", &["serving", "domain"]),
    ("http", &["store", "data", "api", "domain"]),
    ("control", &["store", "data", "runners", "serving", "api", "domain"]),
    ("server", &["http", "control", "store", "data", "runners", "serving", "api", "domain"]),
    (
        "cli",
        &[
            "server", "http", "control", "client", "tables", "engines", "store", "data", "runners", "serving", "api",
            "domain",
        ],
    ),
];

/// Crates that may name a heavy library.
const OWNERS: &[(&str, &[&str])] = &[
    ("lance", &["tables"]),
    ("datafusion", &["tables"]),
    ("arrow-array", &["tables"]),
    ("parquet", &["tables"]),
    ("tract-onnx", &["engines"]),
    ("ort", &["engines"]),
    ("sqlx", &["store"]),
    ("axum", &["http", "server"]),
    ("tonic", &["http", "server"]),
    ("clap", &["cli"]),
    ("reqwest", &["client"]),
];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Files over the limit, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

/// Every Rust source of the product: `crates/*/src` and `crates/*/tests`.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut found = vec![];
    let mut rest: Vec<PathBuf> = EDGES
        .iter()
        .flat_map(|(name, _)| ["src", "tests", "examples"].map(|it| root.join("crates").join(name).join(it)))
        .collect();
    while let Some(folder) = rest.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                rest.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).expect("a source")));
            }
        }
    }
    found.sort();
    assert!(found.len() > 50, "the walk found only {} sources", found.len());
    found
}

fn manifests() -> BTreeMap<String, String> {
    EDGES
        .iter()
        .map(|(name, _)| {
            let path = root().join("crates").join(name).join("Cargo.toml");
            ((*name).to_owned(), fs::read_to_string(path).expect("a manifest"))
        })
        .collect()
}

/// Names in the `[dependencies]` part of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let part = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let part = part.split("\n[").next().unwrap_or_default();
    part.lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|it| !it.is_empty() && !it.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn crates_depend_only_downwards() {
    let mut problems = vec![];
    for (name, manifest) in manifests() {
        let allowed = EDGES.iter().find(|it| it.0 == name).expect("a known crate").1;
        for dependency in dependencies(&manifest) {
            if let Some(ours) = dependency.strip_prefix("kaogong-")
                && !allowed.contains(&ours)
            {
                problems.push(format!("{name} may not depend on {ours}"));
            }
            if let Some((_, owners)) = OWNERS.iter().find(|it| it.0 == dependency)
                && !owners.contains(&name.as_str())
            {
                problems.push(format!("{name} may not name {dependency}"));
            }
        }
    }
    report(&problems);
}

#[test]
fn there_is_no_crate_beside_the_listed_ones() {
    let mut found: Vec<String> = fs::read_dir(root().join("crates"))
        .expect("crates")
        .map(|it| it.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    let mut listed: Vec<String> = EDGES.iter().map(|it| it.0.to_owned()).collect();
    found.sort();
    listed.sort();
    assert_eq!(found, listed);
    assert!(found.len() <= 15, "at most 15 crates");
}

#[test]
fn every_module_says_what_it_is() {
    let silent = |(name, text): (String, String)| {
        let first = text.lines().find(|it| !it.trim().is_empty()).unwrap_or_default();
        (!first.starts_with("//!")).then_some(format!("{name} does not open with a `//!` sentence"))
    };
    report(&sources().into_iter().filter_map(silent).collect::<Vec<_>>());
}

#[test]
fn files_stay_short() {
    let long = |(name, text): (String, String)| {
        let lines = text.lines().count();
        let is_excused = LONG_FILES.iter().any(|it| it.0 == name);
        (lines > FILE_LINES_MAX && !is_excused)
            .then_some(format!("{name} has {lines} lines, more than {FILE_LINES_MAX}"))
    };
    report(&sources().into_iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn functions_stay_short() {
    let mut problems = vec![];
    for (name, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (place, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let head = line.trim_start();
            let is_function = [
                "fn ",
                "pub fn ",
                "async fn ",
                "pub async fn ",
                "pub(crate) fn ",
                "pub(super) fn ",
                "pub(super) async fn ",
                "pub(crate) async fn ",
            ]
            .iter()
            .any(|it| head.starts_with(it));
            if !is_function || head.ends_with(';') {
                continue;
            }
            let close = format!("{}}}", " ".repeat(indent));
            let end = lines[place..].iter().position(|it| **it == close).unwrap_or(0);
            // Tables of routes are data, one entry after the other.
            let is_table = head.contains("fn routes(");
            if end >= FUNCTION_LINES_MAX && !is_table {
                problems.push(format!("{name}:{}: a function of {} lines", place + 1, end + 1));
            }
        }
    }
    report(&problems);
}

#[test]
fn no_unfinished_or_vague_places() {
    let mut problems = vec![];
    for (name, text) in sources() {
        if name.ends_with("tidy.rs") {
            continue;
        }
        for (place, line) in text.lines().enumerate() {
            if ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("].iter().any(|it| line.contains(it)) {
                problems.push(format!("{name}:{}: {}", place + 1, line.trim()));
            }
        }
        let stem = Path::new(&name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if ["util", "utils", "common", "misc", "helpers"].contains(&stem.as_str()) {
            problems.push(format!("{name}: a name that says nothing"));
        }
    }
    report(&problems);
}

#[test]
fn every_dependency_has_a_reason() {
    let reasons = fs::read_to_string(root().join("docs/decisions/dependencies.md")).expect("the list of reasons");
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace manifest");
    let part = manifest.split("[workspace.dependencies]").nth(1).unwrap_or_default();
    let part = part.split("\n[").next().unwrap_or_default();
    let names = part
        .lines()
        .filter_map(|it| it.split_once(" = "))
        .map(|it| it.0)
        .filter(|it| !it.starts_with('#') && !it.starts_with("kaogong-"));
    let missing = names
        .filter(|it| !reasons.contains(&format!("`{it}`")))
        .map(|it| format!("{it} has no reason in docs/decisions/dependencies.md"));
    report(&missing.collect::<Vec<_>>());
}
