//! A foreign protocol as the server sees it: its routes, how its callers prove who they are, and how it says that a
//! call failed.

use crate::{
    access::{
        Route,
        authenticate::{Authenticate, TokenOrSession},
    },
    error::RenderError,
};
use std::sync::Arc;

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
