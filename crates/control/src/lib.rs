//! What the server does without being asked, and what it does it with: the parts in one place, the models in memory, and
//! the loops that close the gap between what is wanted and what is seen.
//!
//! Invariant: no HTTP. Handlers of every protocol get [`Services`]; it never builds a table engine, a model engine or a
//! runner, but is handed them in [`Parts`].

pub mod clock;
pub mod job_specs;
pub mod loops;
pub mod models;
pub mod ready;
pub mod secrets;
pub mod services;
pub mod serving;
pub mod vault;

pub use clock::clock;
pub use services::{Parts, Services};
