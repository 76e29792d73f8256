//! All routes as one router, with the layers before them.

use crate::{
    Gate, Mount,
    access::{
        Route,
        layer::{self, Layers},
        routes::RuleBook,
    },
    outer,
};
use axum::{Router, handler::Handler, middleware};
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

/// The router of native routes and foreign protocols. `fallback` answers where no route does.
pub fn router<S, H, T>(gate: Arc<Gate>, native: Vec<Route<S>>, mounts: &[Mount<S>], fallback: H, state: S) -> Router
where
    S: Clone + Send + Sync + 'static,
    H: Handler<T, S>,
    T: 'static,
{
    let mut rules = RuleBook::default();
    let mut router = Router::new();
    for route in native {
        rules.add(&route);
        router = router.route(&route.path, route.handler);
    }
    for mount in mounts {
        rules.add_prefixes(mount.prefixes, mount.render_error);
        for route in mount.all_routes() {
            rules.add_mounted(&route, &mount.authenticate, mount.render_error);
            router = router.route(&route.path, route.handler);
        }
    }
    let layers = Arc::new(Layers { gate, rules: Arc::new(rules) });
    router
        .route_layer(middleware::from_fn_with_state(layers.clone(), layer::layer))
        .fallback(fallback)
        .layer(CatchPanicLayer::custom(outer::panicked))
        .layer(middleware::from_fn_with_state(layers, outer::outer))
        .with_state(state)
}
