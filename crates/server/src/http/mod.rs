//! The native API, and how all routes become one router.

pub mod access;
pub mod backup;
pub mod base_path;
pub mod covered;
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
pub mod mount;
pub mod openapi;
pub mod outer;
pub mod packed;
pub mod ready;
pub mod room;
pub mod runs;
pub mod secrets;
pub mod spool;
pub mod system;

use crate::{
    access::{Route, layer, routes::RuleBook},
    app::App,
    ui,
};
use axum::{Router, middleware};
use mount::Mount;
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

/// Method, path and rule of every route, for the test that walks them.
pub fn route_list(mounts: &[Mount]) -> Vec<(::http::Method, String, crate::access::Rule)> {
    all_routes(mounts).map(|it| (it.method, it.path, it.rule)).collect()
}

/// Method and path of every route that tokens of jobs may call, for the test that holds their list.
pub fn routes_for_jobs(mounts: &[Mount]) -> Vec<(::http::Method, String)> {
    all_routes(mounts).filter(|it| it.for_jobs).map(|it| (it.method, it.path)).collect()
}

fn all_routes(mounts: &[Mount]) -> impl Iterator<Item = Route> {
    native_routes().into_iter().chain(mounts.iter().flat_map(Mount::all_routes))
}

/// The whole router, with its layers: the native API and the foreign protocols. Takes the rules of all routes into the
/// app.
pub fn router(app: &Arc<App>, mounts: &[Mount]) -> Router {
    let mut rules = RuleBook::default();
    let mut router = Router::new();
    for route in native_routes() {
        rules.add(&route);
        router = router.route(&route.path, route.handler);
    }
    for mount in mounts {
        rules.add_prefixes(mount);
        for route in mount.all_routes() {
            rules.add_mounted(&route, mount);
            router = router.route(&route.path, route.handler);
        }
    }
    app.set_rules(rules);
    router
        .route_layer(middleware::from_fn_with_state(app.clone(), layer::layer))
        .fallback(ui::page_or_nothing)
        .layer(CatchPanicLayer::custom(outer::panicked))
        .layer(middleware::from_fn_with_state(app.clone(), outer::outer))
        .with_state(app.clone())
}
