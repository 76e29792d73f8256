//! What Kaogong decides: ids, names, states, rules and planners.
//!
//! Invariant: nothing here reads a clock, a file, a socket or an environment variable, and nothing
//! holds a lock. If a rule needs the time, the time is an argument.

pub mod access;
pub mod base_path;
pub mod command_words;
pub mod datasets;
pub mod endpoints;
pub mod error;
pub mod events;
pub mod ids;
pub mod jobs;
pub mod lock_files;
pub mod masks;
pub mod models;
pub mod names;
pub mod protobuf;
pub mod runs;
pub mod secret;
pub mod time;
pub mod variables;

pub use error::{ErrorKind, Problem};
pub use secret::Secret;
pub use time::Timestamp;
