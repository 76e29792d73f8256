//! The native API, and how all routes become one router.

pub mod access;
pub mod backup;
pub mod datasets;
pub mod endpoints;
pub mod events;
pub mod exports;
pub mod imports;
pub mod jobs;
pub mod models;
pub mod openapi;
pub mod runs;
pub mod secrets;
pub mod system;

use crate::{Mount, Route, ui};
use axum::Router;
use kaogong_control::{Services, secrets::masks_of_token};
use kaogong_http::{Gate, gate::GateSettings};
use std::sync::Arc;

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
pub fn route_list(mounts: &[Mount]) -> Vec<(::http::Method, String, kaogong_http::access::Rule)> {
    all_routes(mounts).map(|it| (it.method, it.path, it.rule)).collect()
}

/// Method and path of every route that tokens of jobs may call, for the test that holds their list.
pub fn routes_for_jobs(mounts: &[Mount]) -> Vec<(::http::Method, String)> {
    all_routes(mounts).filter(|it| it.for_jobs).map(|it| (it.method, it.path)).collect()
}

fn all_routes(mounts: &[Mount]) -> impl Iterator<Item = Route> {
    native_routes().into_iter().chain(mounts.iter().flat_map(Mount::all_routes))
}

/// The gate of a server: whom to believe, and how much may come in.
pub fn gate(app: &Arc<Services>, settings: GateSettings) -> Arc<Gate> {
    let services = app.clone();
    Gate::new(app.store.clone(), Box::new(move |token| masks_of_token(services.vault(), token)), settings)
}

/// The whole router: the native API, the console and the foreign protocols behind the gate.
pub fn router(app: &Arc<Services>, gate: Arc<Gate>, mounts: &[Mount]) -> Router {
    kaogong_http::router::router(gate, native_routes(), mounts, ui::page_or_nothing, app.clone())
}

#[cfg(test)]
mod tests {

    #[test]
    fn no_route_begins_with_a_path_that_could_be_a_base() {
        for (_, path, _) in super::route_list(&crate::protocols::mounts()) {
            let first = path.split('/').nth(1).unwrap_or_default();
            assert!(first.is_empty() || kaogong_domain::base_path::TAKEN.contains(&first), "{path} is not in the list");
        }
    }
}
