//! What the server promises without being started.

use kaogong_http::access::Rule;
use kaogong_server::{http, protocols::mounts};
use std::{collections::BTreeSet, path::Path};

/// The whole list of addresses that strangers may call. A longer list is a design decision.
const PUBLIC: &[&str] = &[
    "POST /api/v1/session",
    "POST /api/v1/session/code",
    "DELETE /api/v1/session",
    "GET /api/v1/openapi.json",
    "GET /",
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

#[test]
fn strangers_reach_only_the_listed_addresses() {
    let mut unlisted = vec![];
    for (method, path, rule) in http::route_list(&mounts()) {
        let plain = path.strip_prefix("/p/{project}").filter(|it| !it.is_empty()).unwrap_or(&path).to_owned();
        let line = format!("{method} {plain}");
        if rule == Rule::Public && !PUBLIC.contains(&line.as_str()) {
            unlisted.push(format!("{method} {path}"));
        }
    }
    assert!(unlisted.is_empty(), "public and not on the list: {unlisted:#?}");
}

/// The whole list of addresses that the token of a job may call; what it gets and changes there is its own. A longer list
/// is a design decision. Those of MLflow are below `/ajax-api` as well, and below a project.
const FOR_JOBS: &[&str] = &[
    "GET /api/v1/projects/{project}/datasets/{dataset}/versions/{version}",
    "GET /api/v1/projects/{project}/datasets/{dataset}/versions/{version}/export",
    "GET /api/v1/projects/{project}/datasets/{dataset}/versions/{version}/items",
    "GET /api/v1/projects/{project}/datasets/{dataset}/versions/{version}/items/{item}",
    "GET /api/v1/projects/{project}/datasets/{dataset}/versions/{version}/items/{item}/content",
    "POST /api/2.0/mlflow/experiments/create",
    "GET /api/2.0/mlflow/experiments/get",
    "GET /api/2.0/mlflow/experiments/get-by-name",
    "GET /api/2.0/mlflow/experiments/search",
    "POST /api/2.0/mlflow/experiments/search",
    "POST /api/2.0/mlflow/experiments/search-datasets",
    "POST /api/2.0/mlflow/runs/create",
    "POST /api/2.0/mlflow/runs/update",
    "GET /api/2.0/mlflow/runs/get",
    "POST /api/2.0/mlflow/runs/search",
    "POST /api/2.0/mlflow/runs/log-metric",
    "POST /api/2.0/mlflow/runs/log-parameter",
    "POST /api/2.0/mlflow/runs/set-tag",
    "POST /api/2.0/mlflow/runs/delete-tag",
    "POST /api/2.0/mlflow/runs/log-batch",
    "POST /api/2.0/mlflow/runs/log-model",
    "POST /api/2.0/mlflow/runs/log-inputs",
    "POST /api/2.0/mlflow/runs/outputs",
    "GET /api/2.0/mlflow/metrics/get-history",
    "GET /api/2.0/mlflow/metrics/get-history-bulk",
    "GET /api/2.0/mlflow/metrics/get-history-bulk-interval",
    "GET /api/2.0/mlflow/artifacts/list",
    "POST /api/2.0/mlflow/registered-models/create",
    "GET /api/2.0/mlflow/registered-models/get",
    "GET /api/2.0/mlflow/registered-models/search",
    "GET /api/2.0/mlflow/registered-models/get-latest-versions",
    "POST /api/2.0/mlflow/registered-models/get-latest-versions",
    "GET /api/2.0/mlflow/registered-models/alias",
    "POST /api/2.0/mlflow/model-versions/create",
    "PATCH /api/2.0/mlflow/model-versions/update",
    "GET /api/2.0/mlflow/model-versions/get",
    "GET /api/2.0/mlflow/model-versions/search",
    "GET /api/2.0/mlflow/model-versions/get-download-uri",
    "POST /api/2.0/mlflow/model-versions/set-tag",
    "DELETE /api/2.0/mlflow/model-versions/delete-tag",
    "POST /api/2.0/mlflow/logged-models",
    "POST /api/2.0/mlflow/logged-models/search",
    "GET /api/2.0/mlflow/logged-models/{model_id}",
    "PATCH /api/2.0/mlflow/logged-models/{model_id}",
    "PATCH /api/2.0/mlflow/logged-models/{model_id}/tags",
    "DELETE /api/2.0/mlflow/logged-models/{model_id}/tags/{tag_key}",
    "POST /api/2.0/mlflow/logged-models/{model_id}/params",
    "GET /api/2.0/mlflow/logged-models/{model_id}/artifacts/directories",
    "GET /api/2.0/mlflow-artifacts/artifacts",
    "GET /api/2.0/mlflow-artifacts/artifacts/{*path}",
    "PUT /api/2.0/mlflow-artifacts/artifacts/{*path}",
];

#[test]
fn tokens_of_jobs_reach_only_the_listed_addresses() {
    let mut found = BTreeSet::new();
    for (method, path) in http::routes_for_jobs(&mounts()) {
        let plain = path.strip_prefix("/p/{project}").unwrap_or(&path).replacen("/ajax-api/", "/api/", 1);
        // What MLflow has and this server has not: its client is told so.
        if !plain.ends_with("{*absent}") {
            found.insert(format!("{method} {plain}"));
        }
    }
    let listed: BTreeSet<String> = FOR_JOBS.iter().map(|it| (*it).to_owned()).collect();
    assert_eq!(found, listed);
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
