//! MLflow's REST protocol, for the unmodified client of MLflow 2.22 to 3.18: experiments, runs, metrics, registered
//! models, logged models and the artifact proxy.
//!
//! What is not here (traces, webhooks, the AI gateway, evaluation datasets, prompts' optimisation) answers
//! `ENDPOINT_NOT_FOUND`, which the client understands as "this server does not have it".

mod artifacts;
mod ask;
mod call;
mod experiments;
mod filter;
mod limits;
mod logged_models;
mod matching;
mod metrics;
mod models;
mod problem;
mod run_search;
mod runs;
mod sources;
mod versions;
mod wire;

pub use call::model_id_text;
pub use problem::MlflowProblem;
pub use run_search::{parse_run_filter, parse_run_order};
pub use sources::onnx_of_run;

use crate::{Mount, Route};
use axum::{
    handler::Handler,
    response::{IntoResponse, Response},
    routing::{MethodFilter, on},
};
use http::{Method, header};
use kaogong_control::Services;
use kaogong_domain::{Problem, access::Permission};
use kaogong_http::{access::Rule, error::log};
use problem::{Code, Json};
use serde_json::json;
use std::sync::Arc;

/// The version of MLflow whose wire this is; clients compare it.
const VERSION: &str = "3.17.2";

/// One entry of the table: who may, the path below `/api/2.0/mlflow`, the handler.
fn route<H, T>(method: Method, path: &str, permission: Permission, handler: H) -> Route
where
    H: Handler<T, Arc<Services>>,
    T: 'static,
{
    at("/api/2.0/mlflow", method, path, permission, handler)
}

fn at<H, T>(base: &str, method: Method, path: &str, permission: Permission, handler: H) -> Route
where
    H: Handler<T, Arc<Services>>,
    T: 'static,
{
    let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
    Route::new(method, format!("{base}/{path}"), Rule::Project(permission), on(filter, handler))
}

/// Experiments, runs, metrics.
fn tracking() -> Vec<Route> {
    use Permission::{Read, Write};
    vec![
        route(Method::POST, "experiments/create", Write, experiments::create).for_jobs(),
        route(Method::GET, "experiments/get", Read, experiments::get).for_jobs(),
        route(Method::GET, "experiments/get-by-name", Read, experiments::get_by_name).for_jobs(),
        route(Method::GET, "experiments/search", Read, experiments::search).for_jobs(),
        route(Method::POST, "experiments/search", Read, experiments::search).for_jobs(),
        route(Method::POST, "experiments/delete", Write, experiments::delete),
        route(Method::POST, "experiments/restore", Write, experiments::restore),
        route(Method::POST, "experiments/update", Write, experiments::update),
        route(Method::POST, "experiments/set-experiment-tag", Write, experiments::set_tag),
        route(Method::POST, "experiments/delete-experiment-tag", Write, experiments::delete_tag),
        route(Method::POST, "experiments/search-datasets", Read, experiments::search_datasets).for_jobs(),
        route(Method::POST, "runs/create", Write, runs::create).for_jobs(),
        route(Method::POST, "runs/update", Write, runs::update).for_jobs(),
        route(Method::POST, "runs/delete", Write, runs::delete),
        route(Method::POST, "runs/restore", Write, runs::restore),
        route(Method::GET, "runs/get", Read, runs::get).for_jobs(),
        route(Method::POST, "runs/search", Read, run_search::search).for_jobs(),
        route(Method::POST, "runs/log-metric", Write, metrics::log_metric).for_jobs(),
        route(Method::POST, "runs/log-parameter", Write, metrics::log_param).for_jobs(),
        route(Method::POST, "runs/set-tag", Write, metrics::set_tag).for_jobs(),
        route(Method::POST, "runs/delete-tag", Write, metrics::delete_tag).for_jobs(),
        route(Method::POST, "runs/log-batch", Write, metrics::log_batch).for_jobs(),
        route(Method::POST, "runs/log-model", Write, runs::log_model).for_jobs(),
        route(Method::POST, "runs/log-inputs", Write, runs::log_inputs).for_jobs(),
        route(Method::POST, "runs/outputs", Write, runs::log_outputs).for_jobs(),
        route(Method::GET, "metrics/get-history", Read, metrics::history).for_jobs(),
        route(Method::GET, "metrics/get-history-bulk", Read, metrics::history_bulk).for_jobs(),
        route(Method::GET, "metrics/get-history-bulk-interval", Read, metrics::history_bulk).for_jobs(),
        route(Method::GET, "artifacts/list", Read, artifacts::list_of_run).for_jobs(),
    ]
}

/// Registered models, their versions, logged models.
fn registry() -> Vec<Route> {
    use Permission::{Manage, Read, Write};
    vec![
        route(Method::POST, "registered-models/create", Write, models::create).for_jobs(),
        route(Method::POST, "registered-models/rename", Manage, models::rename),
        route(Method::PATCH, "registered-models/update", Write, models::update),
        route(Method::DELETE, "registered-models/delete", Manage, models::delete),
        route(Method::GET, "registered-models/get", Read, models::get).for_jobs(),
        route(Method::GET, "registered-models/search", Read, models::search).for_jobs(),
        route(Method::GET, "registered-models/get-latest-versions", Read, models::latest_versions).for_jobs(),
        route(Method::POST, "registered-models/get-latest-versions", Read, models::latest_versions).for_jobs(),
        route(Method::POST, "registered-models/set-tag", Write, models::set_tag),
        route(Method::DELETE, "registered-models/delete-tag", Write, models::delete_tag),
        route(Method::POST, "registered-models/alias", Manage, models::set_alias),
        route(Method::DELETE, "registered-models/alias", Manage, models::delete_alias),
        route(Method::GET, "registered-models/alias", Read, models::get_by_alias).for_jobs(),
        // Trying the model is what takes long, and bounds itself.
        route(Method::POST, "model-versions/create", Write, versions::create).unhurried().for_jobs(),
        route(Method::PATCH, "model-versions/update", Write, versions::update).for_jobs(),
        route(Method::POST, "model-versions/transition-stage", Manage, versions::transition),
        route(Method::DELETE, "model-versions/delete", Manage, versions::delete),
        route(Method::GET, "model-versions/get", Read, versions::get).for_jobs(),
        route(Method::GET, "model-versions/search", Read, versions::search).for_jobs(),
        route(Method::GET, "model-versions/get-download-uri", Read, versions::download_uri).for_jobs(),
        route(Method::POST, "model-versions/set-tag", Write, versions::set_tag).for_jobs(),
        route(Method::DELETE, "model-versions/delete-tag", Write, versions::delete_tag).for_jobs(),
        route(Method::POST, "logged-models", Write, logged_models::create).for_jobs(),
        route(Method::POST, "logged-models/search", Read, logged_models::search).for_jobs(),
        route(Method::GET, "logged-models/{model_id}", Read, logged_models::get).for_jobs(),
        route(Method::PATCH, "logged-models/{model_id}", Write, logged_models::finalize).for_jobs(),
        route(Method::DELETE, "logged-models/{model_id}", Write, logged_models::delete),
        route(Method::PATCH, "logged-models/{model_id}/tags", Write, logged_models::set_tags).for_jobs(),
        route(Method::DELETE, "logged-models/{model_id}/tags/{tag_key}", Write, logged_models::delete_tag).for_jobs(),
        route(Method::POST, "logged-models/{model_id}/params", Write, logged_models::log_params).for_jobs(),
        route(Method::GET, "logged-models/{model_id}/artifacts/directories", Read, artifacts::list_of_model).for_jobs(),
    ]
}

/// Bytes, and what answers for the groups that are absent.
fn others() -> Vec<Route> {
    use Permission::{Manage, Read, Write};
    const PROXY: &str = "/api/2.0/mlflow-artifacts";
    let mut all = vec![
        at(PROXY, Method::GET, "artifacts", Read, artifacts::list).for_jobs(),
        at(PROXY, Method::GET, "artifacts/{*path}", Read, artifacts::get).unhurried().for_jobs(),
        at(PROXY, Method::PUT, "artifacts/{*path}", Write, artifacts::put).unhurried().for_jobs(),
        at(PROXY, Method::DELETE, "artifacts/{*path}", Manage, artifacts::delete),
    ];
    let absent = ["/api/2.0/mlflow", "/api/3.0/mlflow", "/api/2.0/mlflow-artifacts"];
    for base in absent {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            all.push(at(base, method, "{*absent}", Read, not_implemented).for_jobs());
        }
    }
    all
}

/// All routes of the protocol, without the project's prefix; those of the API also under `/ajax-api`, where
/// MLflow's web console looks for them.
fn routes() -> Vec<Route> {
    let table = || [tracking(), registry(), others()].into_iter().flatten();
    let mut all: Vec<Route> = table().collect();
    for mut twin in table() {
        twin.path = twin.path.replacen("/api/", "/ajax-api/", 1);
        all.push(twin);
    }
    all.push(Route::get("/version", Rule::Public, version));
    all.push(Route::get("/health", Rule::Public, health));
    all.push(Route::get("/api/3.0/mlflow/server-info", Rule::Public, server_info));
    all.push(Route::get("/ajax-api/3.0/mlflow/server-info", Rule::Public, server_info));
    all
}

async fn version() -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], VERSION).into_response()
}

async fn health() -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "OK").into_response()
}

/// What this server can do, asked by clients before they choose how to transfer artifacts.
async fn server_info() -> Json {
    Json(json!({
        "store_type": "SqlStore",
        "workspaces_enabled": false,
        "artifact_serving_enabled": true,
        "multipart_uploads_enabled": false,
        "multipart_downloads_enabled": false,
        "artifacts_presigned_only": false,
        "presigned_upload_run_id_supported": false,
        "presigned_upload_model_id_supported": false,
        "trace_archival_enabled": false,
        "tracking_auth": true,
    }))
}

async fn not_implemented(uri: http::Uri) -> MlflowProblem {
    let path: String = uri.path().chars().take(200).collect();
    MlflowProblem::new(Code::Endpoint, format!("this server does not have {path}"))
}

/// How addresses of the protocol begin.
const PREFIXES: &[&str] = &[
    "/api/2.0/mlflow",
    "/api/3.0/mlflow",
    "/api/2.0/mlflow-artifacts",
    "/ajax-api/2.0/mlflow",
    "/ajax-api/3.0/mlflow",
    "/ajax-api/2.0/mlflow-artifacts",
];

/// The protocol.
pub fn mount() -> Mount {
    Mount::new(routes(), PREFIXES, render_error)
}

/// A failure that happened before a handler of this protocol (access, limits, time), in its shape.
fn render_error(problem: &Problem, request_id: &str) -> Response {
    log(problem, request_id);
    let mut copy = Problem::new(problem.kind, problem.text.clone());
    copy.hint = problem.hint.clone();
    copy.retry_after_s = problem.retry_after_s;
    MlflowProblem::from(copy).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_names_each_route_once_and_opens_only_three() {
        let routes = routes();
        let mut seen = BTreeSet::new();
        for it in &routes {
            assert!(seen.insert((it.path.clone(), it.method.to_string())), "{} {} is there twice", it.method, it.path);
        }
        let open: BTreeSet<&str> =
            routes.iter().filter(|it| it.rule == Rule::Public).map(|it| it.path.as_str()).collect();
        let expected = ["/version", "/health", "/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info"];
        assert_eq!(open, BTreeSet::from(expected));
    }
}
