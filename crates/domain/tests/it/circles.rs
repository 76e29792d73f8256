//! No circle of files: within a crate, modules use each other in one direction, so that each can be read, tested and
//! moved with nothing but what is below it.

use crate::tidy::{EDGES, root};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Circles that are still there, by crate, each as its sorted modules. The list only shrinks.
const KNOWN: &[(&str, &[&str])] = &[
    ("store", &["logged_metrics", "metrics", "runs"]),
    ("store", &["migrate", "open", "snapshot"]),
    ("store", &["sql", "watch"]),
    ("server", &["protocols::mlflow::models", "protocols::mlflow::versions"]),
];

type Graph = BTreeMap<String, BTreeSet<String>>;

fn module_of(file: &Path, src: &Path) -> Option<Vec<String>> {
    let mut parts: Vec<String> = file
        .strip_prefix(src)
        .expect("below src")
        .with_extension("")
        .iter()
        .map(|it| it.to_string_lossy().into_owned())
        .collect();
    match parts.last().map(String::as_str) {
        // The root declares and re-exports; it is below nothing.
        Some("lib" | "main") if parts.len() == 1 => return None,
        Some("mod") => drop(parts.pop()),
        _ => {}
    }
    Some(parts)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut rest) = (vec![], vec![folder.to_owned()]);
    while let Some(folder) = rest.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => rest.push(path),
                false if path.extension().is_some_and(|it| it == "rs") => found.push(path),
                false => {}
            }
        }
    }
    found
}

/// The paths of a use tree: `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`.
fn paths_of(tree: &str, before: &[String]) -> Vec<Vec<String>> {
    let tree = tree.trim();
    if let Some(inner) = tree.strip_prefix('{') {
        let inner = inner.rsplit_once('}').map_or(inner, |it| it.0);
        let (mut depth, mut start, mut found) = (0, 0, vec![]);
        for (at, char) in inner.char_indices().chain([(inner.len(), ',')]) {
            match char {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    let part = inner[start..at].trim();
                    if !part.is_empty() {
                        found.extend(paths_of(part, before));
                    }
                    start = at + 1;
                }
                _ => {}
            }
        }
        return found;
    }
    match tree.split_once("::") {
        Some((first, rest)) => paths_of(rest, &[before, &[first.trim().to_owned()]].concat()),
        None => vec![[before, &[tree.split(" as ").next().unwrap_or(tree).to_owned()]].concat()],
    }
}

/// The paths that a file names from the root of its crate, without its tests.
fn named(text: &str, module: &[String]) -> Vec<Vec<String>> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let mut found = vec![];
    for (begin, start) in [("crate::", vec![]), ("super::", module[..module.len() - 1].to_vec())] {
        for (at, _) in text.match_indices(begin) {
            let (line, rest) = (text[..at].rsplit('\n').next().unwrap_or(""), &text[at + begin.len()..]);
            let is_use = matches!(line.trim(), "use" | "pub use" | "pub(crate) use" | "pub(super) use");
            let is_path = !line.ends_with(|it: char| it.is_alphanumeric() || it == '_' || it == ':');
            if line.trim_start().starts_with("//") || !is_path {
                continue;
            }
            let end = match is_use {
                true => rest.find(';').unwrap_or(rest.len()),
                false => rest.find(|it: char| !(it.is_alphanumeric() || it == '_' || it == ':')).unwrap_or(rest.len()),
            };
            found.extend(paths_of(rest[..end].trim_end_matches(':'), &start));
        }
    }
    found
}

fn graph_of(src: &Path) -> Graph {
    let modules: Vec<(Vec<String>, String)> = files_below(src)
        .into_iter()
        .filter_map(|it| Some((module_of(&it, src)?, fs::read_to_string(&it).expect("a source"))))
        .collect();
    let known: BTreeSet<String> = modules.iter().map(|it| it.0.join("::")).collect();
    let mut graph = Graph::new();
    for (module, text) in &modules {
        let name = module.join("::");
        let used = named(text, module).into_iter().filter_map(|mut path| {
            while !path.is_empty() && !known.contains(&path.join("::")) {
                path.pop();
            }
            Some(path.join("::")).filter(|it| !it.is_empty() && *it != name)
        });
        graph.entry(name.clone()).or_default().extend(used);
    }
    graph
}

fn reached(graph: &Graph, from: &str) -> BTreeSet<String> {
    let (mut seen, mut rest) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(it) = rest.pop() {
        for next in graph.get(&it).into_iter().flatten() {
            if seen.insert(next.clone()) {
                rest.push(next.clone());
            }
        }
    }
    seen
}

/// The circles: sets of modules that all reach each other.
fn circles(graph: &Graph) -> Vec<Vec<String>> {
    let all: BTreeMap<&String, BTreeSet<String>> = graph.keys().map(|it| (it, reached(graph, it))).collect();
    let mut found = BTreeSet::new();
    for (module, reached) in all.iter().filter(|it| it.1.contains(*it.0)) {
        let circle: Vec<String> =
            reached.iter().filter(|it| all.get(it).is_some_and(|back| back.contains(*module))).cloned().collect();
        found.insert(circle);
    }
    found.into_iter().collect()
}

#[test]
fn no_crate_holds_a_circle_of_files() {
    let mut unknown = vec![];
    for (name, _) in EDGES {
        for circle in circles(&graph_of(&root().join("crates").join(name).join("src"))) {
            if !KNOWN.iter().any(|it| it.0 == *name && it.1 == circle) {
                unknown.push(format!("{name}: {}", circle.join(", ")));
            }
        }
    }
    assert!(unknown.is_empty(), "modules that use each other in a circle:\n{}", unknown.join("\n"));
}

#[test]
fn the_known_circles_are_there() {
    for (name, circle) in KNOWN {
        let found = circles(&graph_of(&root().join("crates").join(name).join("src")));
        assert!(found.iter().any(|it| it == circle), "{name}: the circle {circle:?} is gone; take it off the list");
    }
}

#[test]
fn a_circle_is_found() {
    let module = |it: &str| it.split("::").map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        named("use crate::{a::{B, c::d}, e};\n// crate::no::comment\nfn f() { super::g::h() }", &module("x::y")),
        [module("a::B"), module("a::c::d"), module("e"), module("x::g::h")]
    );
    let edge = |from: &str, to: &[&str]| (from.to_owned(), to.iter().map(|it| (*it).to_owned()).collect());
    let graph = Graph::from([edge("a", &["b"]), edge("b", &["c"]), edge("c", &["a"]), edge("d", &["a"])]);
    assert_eq!(circles(&graph), [["a", "b", "c"]]);
}
