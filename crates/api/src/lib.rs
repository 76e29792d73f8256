//! Wire types of the native API, shared by server, client and console (through `openapi.json`).
//!
//! Invariant: nothing here depends on a database, a server or a client. Times are milliseconds since
//! 1970-01-01 UTC, sizes are bytes, ids are prefixed texts such as `job_01hz…`.

pub mod access;
pub mod datasets;
pub mod endpoints;
pub mod error;
pub mod events;
pub mod jobs;
pub mod models;
pub mod paging;
pub mod runs;
pub mod system;

pub use error::ErrorBody;
pub use paging::Page;
