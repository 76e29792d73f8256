//! What the server promises without being started.

use kaogong_server::{access::Rule, http};
use std::path::Path;

/// The whole list of addresses that strangers may call. A longer list is a design decision.
const PUBLIC: &[&str] = &[
    "POST /api/v1/session",
    "POST /api/v1/session/code",
    "DELETE /api/v1/session",
    "GET /api/v1/openapi.json",
    "GET /healthz",
    "GET /readyz",
    "GET /assets/{file}",
    "GET /favicon.svg",
    "GET /v2/health/live",
    "GET /v2/health/ready",
    "GET /version",
    "GET /health",
    "GET /api/3.0/mlflow/server-info",
    "GET /ajax-api/3.0/mlflow/server-info",
    "POST /inference.GRPCInferenceService/ServerLive",
    "POST /inference.GRPCInferenceService/ServerReady",
];

/// Pages of the console: one static file, whatever the address.
fn is_page(path: &str) -> bool {
    let nouns = ["datasets", "jobs", "runs", "models", "endpoints", "access"];
    let path = if path == "/" { path } else { path.trim_end_matches('/') };
    let rest = path.trim_start_matches("/p/{project}").trim_end_matches("/{*rest}").trim_start_matches('/');
    matches!(path, "/" | "/sign-in" | "/p/{project}") || path.starts_with("/admin") || nouns.contains(&rest)
}

#[test]
fn strangers_reach_only_the_listed_addresses() {
    let mut unlisted = vec![];
    for (method, path, rule) in http::route_list() {
        let plain = path.strip_prefix("/p/{project}").filter(|it| !it.is_empty()).unwrap_or(&path).to_owned();
        let line = format!("{method} {plain}");
        if rule == Rule::Public && !PUBLIC.contains(&line.as_str()) && !is_page(&path) {
            unlisted.push(format!("{method} {path}"));
        }
    }
    assert!(unlisted.is_empty(), "public and not on the list: {unlisted:#?}");
}

#[test]
fn every_route_of_the_native_api_is_described() {
    let silent: Vec<String> = http::native_routes()
        .into_iter()
        .filter(|it| it.path.starts_with("/api/v1/") && it.path != "/api/v1/openapi.json" && it.operation.is_none())
        .map(|it| format!("{} {}", it.method, it.path))
        .collect();
    assert!(silent.is_empty(), "without a description: {silent:#?}");
}

/// `KAOGONG_UPDATE=1` writes the document anew; `make openapi` does that.
#[test]
fn the_committed_description_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi.json");
    let current = http::openapi::document_text();
    if std::env::var_os("KAOGONG_UPDATE").is_some() {
        std::fs::write(&path, current).expect("the file is written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == current, "openapi.json is stale: run `make openapi` and look at the difference");
}
