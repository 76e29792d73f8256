//! Typed client of the native API, with retries that ride through a server's restart.
//!
//! Invariant: a call is repeated only when a repetition cannot do the thing twice: it was never sent, its
//! method is safe to repeat, or it carries a request key. The program that uses this crate installs the
//! process's rustls provider; nothing here prints.

mod body;
mod call;
mod connection;
mod fault;
mod local_fault;
mod oip;
mod retry;
mod routes;
mod sse;
pub mod tar_in;
pub mod tar_out;

pub use body::{BodySource, ByteSender, FromThread, file_body};
pub use call::Answer;
pub use connection::{Client, Settings, WaitNotice};
pub use fault::{Fault, is_unreachable};
pub use local_fault::LocalFault;
pub use oip::{InferInput, InferOutput};
pub use retry::Patience;
pub use routes::{
    access::Session,
    jobs::{LogEvent, LogFollower},
};
