//! Engines in processes of their own: a fault in native code, a run without end or memory without bound ends a worker,
//! never the server.
//!
//! The server starts one *zygote*, a small process with one thread that has the engines' libraries open. For each
//! loaded model the zygote forks a *worker*, which reads the file with the real engine. Each session is one channel
//! between one thread of the server and one thread of the worker: shared memory for the tensors, a futex for the turns.
//! The server trusts nothing that a worker says or writes.

mod channel;
mod child;
mod control;
mod gate;
pub mod health;
mod host;
mod raw;
mod remote;
mod stop;
mod wire;
mod zygote;

pub use child::Engines;
pub use host::{Host, Limits};
pub use raw::give_back_memory;
pub use remote::{Remote, RemoteEngine};
pub use zygote::run as run_zygote;

/// Whether this process has more than one thread, and so must not be copied.
pub fn has_threads() -> bool {
    raw::threads().is_ok_and(|it| it > 1)
}
