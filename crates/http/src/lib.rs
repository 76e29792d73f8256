//! The port and what stands before every handler: routes with their rules, the access layer, extractors, the error
//! envelope, budgets for bodies, and the listener.
//!
//! Invariant: nothing here knows a dataset, a job, a run, a model or an endpoint. Routes are generic over the state of
//! their handlers; a route without a rule is refused.

pub mod access;
pub mod base_path;
pub mod body_budget;
pub mod error;
pub mod extract;
pub mod forwarded;
pub mod gate;
pub mod listen;
pub mod meter;
pub mod mount;
pub mod origin;
pub mod outer;
pub mod packed;
pub mod router;
pub mod secret_mask;
pub mod spool;

pub use gate::Gate;
pub use mount::Mount;
