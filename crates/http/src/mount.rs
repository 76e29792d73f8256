//! A foreign protocol as the server sees it: its routes, how its callers prove who they are, and how it says that a
//! call failed.

use crate::{
    Gate,
    access::{Caller, Route, layer},
};
use async_trait::async_trait;
use axum::response::Response;
use http::request::Parts;
use kaogong_domain::Problem;
use std::sync::Arc;

/// Writes a failed call in a protocol's own shape, and logs it once. Gets the id of the request.
pub type RenderError = fn(&Problem, &str) -> Response;

/// Finds out who is calling.
#[async_trait]
pub trait Authenticate: Send + Sync {
    /// The caller; `None` for one who shows no credential.
    ///
    /// # Errors
    /// `Unauthenticated` when the credential is not good (any more); `Unavailable` when that cannot be looked up.
    async fn identify(&self, gate: &Gate, request: &Parts) -> Result<Option<Caller>, Problem>;
}

/// The usual way: a token as bearer or as the password of basic authentication, or the cookie of a session.
pub struct TokenOrSession;

#[async_trait]
impl Authenticate for TokenOrSession {
    async fn identify(&self, gate: &Gate, request: &Parts) -> Result<Option<Caller>, Problem> {
        layer::identify(gate, request).await
    }
}

/// A foreign protocol.
pub struct Mount<S> {
    /// Its routes at the root.
    pub routes: Vec<Route<S>>,
    /// Whether the same routes are below `/p/{project}` as well, for clients that are given a base path.
    pub is_below_projects: bool,
    /// How its addresses begin. What is not there below one of them fails in the protocol's shape too.
    pub prefixes: &'static [&'static str],
    /// How its callers prove who they are.
    pub authenticate: Arc<dyn Authenticate>,
    /// How it says that a call failed before a handler of its own could.
    pub render_error: RenderError,
}

impl<S: Clone + Send + Sync + 'static> Mount<S> {
    /// A protocol whose callers send a token or a cookie, and whose clients know a project by its base path.
    pub fn new(routes: Vec<Route<S>>, prefixes: &'static [&'static str], render_error: RenderError) -> Self {
        Self { routes, is_below_projects: true, prefixes, authenticate: Arc::new(TokenOrSession), render_error }
    }

    /// All its routes, those below a project among them.
    pub fn all_routes(&self) -> Vec<Route<S>> {
        let below = self.routes.iter().filter(|_| self.is_below_projects).map(Route::below_project);
        below.chain(self.routes.iter().map(Route::undescribed)).collect()
    }
}

/// Whether an address, at the root or below a project, begins like one of a protocol.
pub fn begins_with(path: &str, prefix: &str) -> bool {
    let below = path.strip_prefix("/p/").and_then(|it| it.find('/').map(|at| &it[at..]));
    let is_it = |it: &str| it.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    is_it(path) || below.is_some_and(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_protocol_are_known_with_and_without_a_project() {
        for mine in ["/v2", "/v2/models/x/infer", "/p/vision/v2", "/p/vision/v2/models/v2"] {
            assert!(begins_with(mine, "/v2"), "{mine}");
        }
        for other in ["/", "/v2x", "/p/v2/datasets", "/p/vision/models/v2", "/api/v1/projects/v2/jobs", "/p/v2"] {
            assert!(!begins_with(other, "/v2"), "{other}");
        }
        let artifact = "/api/v1/projects/p/runs/r/artifacts/api/2.0/mlflow/x";
        assert!(!begins_with(artifact, "/api/2.0/mlflow"), "a name that only looks like it");
    }
}
