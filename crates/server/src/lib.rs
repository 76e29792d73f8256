//! The server: HTTP, access control, foreign protocols, reconciling loops and the embedded console.
//!
//! Invariant: the server never builds a table engine, a model engine or a runner; it is handed them in
//! [`app::Parts`]. Every route has a rule, and what has none is refused.

pub mod http;
pub mod passwords;
pub mod protocols;
pub mod ui;

/// A route of this server.
pub type Route = kaogong_http::access::Route<std::sync::Arc<kaogong_control::Services>>;
/// A foreign protocol of this server.
pub type Mount = kaogong_http::Mount<std::sync::Arc<kaogong_control::Services>>;
