//! The server: HTTP, access control, foreign protocols, reconciling loops and the embedded console.
//!
//! Invariant: the server never builds a table engine, a model engine or a runner; it is handed them in
//! [`app::Parts`]. Every route has a rule, and what has none is refused.

pub mod app;
pub mod http;
pub mod loops;
mod models;
pub mod passwords;
pub mod protocols;
mod secrets;
pub mod serving;
pub mod ui;
pub mod vault;

pub use app::{App, Parts};

/// A route of this server.
pub type Route = kaogong_http::access::Route<std::sync::Arc<App>>;
/// A foreign protocol of this server.
pub type Mount = kaogong_http::Mount<std::sync::Arc<App>>;
