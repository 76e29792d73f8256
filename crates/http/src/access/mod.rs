//! Access control: deny by default, in one layer below the router, for HTTP and gRPC alike.
//!
//! Every route is declared with a [`Rule`]; a request whose route has none is refused. The same table is
//! walked by the access test and written into the API description.

pub mod authenticate;
pub mod cache;
pub mod caller;
pub mod credentials;
pub mod layer;
pub mod recheck;
pub mod routes;

pub use caller::{Caller, InProject};
pub use routes::{Route, Rule};
