//! The native API, and how all routes become one router.

pub mod access;
pub mod backup;
pub mod base_path;
pub mod body_budget;
pub mod datasets;
pub mod endpoints;
pub mod error;
pub mod events;
pub mod exports;
pub mod extract;
pub mod forwarded;
pub mod imports;
pub mod jobs;
pub mod meter;
pub mod models;
pub mod openapi;
pub mod outer;
pub mod packed;
pub mod ready;
pub mod runs;
pub mod secret_mask;
pub mod secrets;
pub mod spool;
pub mod system;

use crate::{
    access::{Route, layer, routes::RuleBook},
    app::App,
    protocols,
};
use axum::{Router, middleware, response::IntoResponse};
use kaogong_domain::Problem;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

/// Every route of the native API, of the console and of the server itself.
pub fn native_routes() -> Vec<Route> {
    let parts = [
        system::routes(),
        backup::routes(),
        access::routes(),
        secrets::routes(),
        datasets::routes(),
        imports::routes(),
        exports::routes(),
        jobs::routes(),
        runs::routes(),
        models::routes(),
        endpoints::routes(),
        events::routes(),
    ];
    parts.into_iter().flatten().collect()
}

/// Routes of foreign protocols: at the root, and below a project where clients can be given a base path.
fn foreign_routes() -> Vec<Route> {
    let parts = [protocols::oip::routes(), protocols::mlflow::routes()];
    let at_root: Vec<Route> = parts.into_iter().flatten().collect();
    let below = at_root.iter().map(|it| Route {
        method: it.method.clone(),
        path: format!("/p/{{project}}{}", it.path),
        rule: it.rule,
        pace: it.pace,
        for_jobs: it.for_jobs,
        operation: None,
        schemas: vec![],
        handler: it.handler.clone(),
    });
    let below: Vec<Route> = below.collect();
    // A gRPC client knows no base path, so its calls are at the root alone.
    at_root.into_iter().chain(below).chain(protocols::oip_grpc::routes()).collect()
}

/// Method, path and rule of every route, for the test that walks them.
pub fn route_list() -> Vec<(::http::Method, String, crate::access::Rule)> {
    native_routes().into_iter().chain(foreign_routes()).map(|it| (it.method, it.path, it.rule)).collect()
}

/// Method and path of every route that tokens of jobs may call, for the test that holds their list.
pub fn routes_for_jobs() -> Vec<(::http::Method, String)> {
    let all = native_routes().into_iter().chain(foreign_routes());
    all.filter(|it| it.for_jobs).map(|it| (it.method, it.path)).collect()
}

/// The whole router, with its layers. Takes the rules of all routes into the app.
pub fn router(app: &Arc<App>) -> Router {
    let mut rules = RuleBook::default();
    let mut router = Router::new();
    for route in native_routes().into_iter().chain(foreign_routes()) {
        rules.add(&route);
        router = router.route(&route.path, route.handler);
    }
    app.set_rules(rules);
    let unknown = || async {
        error::ApiError(
            Problem::not_found("there is nothing at this address").hint("the API is described at /api/v1/openapi.json"),
        )
        .into_response()
    };
    router
        .route_layer(middleware::from_fn_with_state(app.clone(), layer::layer))
        .fallback(unknown)
        .layer(CatchPanicLayer::custom(outer::panicked))
        .layer(middleware::from_fn_with_state(app.clone(), outer::outer))
        .with_state(app.clone())
}
