//! Carries out attempts at jobs: the `Runner` trait, and the local runner with its supervisor.
//!
//! Invariant: the server decides what runs; a runner only starts it, watches it, stops it and tells. A
//! runner keeps no state that is not in its own folder or with the site that it speaks to, so a restarted
//! server finds every attempt again by its id. Only Linux is supported.

#[cfg(not(target_os = "linux"))]
compile_error!("kaogong runs jobs on Linux only: its supervisors need /proc, child subreapers and pidfds");

mod cgroup;
mod environments;
mod fault;
mod folder;
mod launch;
mod local;
mod logfile;
mod outputs;
mod prepared;
mod proc;
mod removal;
mod reports;
mod stop;
pub mod supervisor;
#[cfg(feature = "testing")]
pub mod testing;
mod usage;

use async_trait::async_trait;
pub use kaogong_domain::jobs::{AttemptStatus, Termination, TerminationReason};
use kaogong_domain::{Problem, ids::AttemptId};

pub use environments::{EnvironmentInfo, Environments, Tools};
pub use launch::{EnvironmentSpec, Launch, Limits};
pub use local::{LocalRunner, LocalSettings};
pub use outputs::{Output, OutputReader, check_path, find_outputs};
pub use prepared::Prepared;
pub use reports::{Capabilities, CpuLimit, KillScope, LogChunk, MemoryLimit, UsageSample};

/// The most bytes that one call of [`Runner::log`] returns, whatever was asked for.
pub const LOG_CHUNK_BYTES_MAX: u32 = 4 << 20;

/// The files in an attempt's folder that tell of it when it is over.
pub const RECORDS: [&str; 5] = ["launch.json", "state.json", "log", "usage.jsonl", "supervisor.log"];

/// The most usage samples kept for one attempt; older ones are thinned out, evenly, to stay below.
pub const USAGE_SAMPLES_MAX: usize = 2000;

/// A place where attempts run. Every call may be repeated, late and after a restart of the server.
#[async_trait]
pub trait Runner: Send + Sync {
    /// A short name for logs and pages: `local`.
    fn name(&self) -> &str;

    /// Which limits this runner can enforce, and how.
    fn capabilities(&self) -> Capabilities;

    /// Makes the attempt's folder, in which the caller stages the job's files.
    ///
    /// Repeating it returns the same folder.
    ///
    /// # Errors
    /// `Unavailable` when the folder cannot be made.
    async fn prepare(&self, attempt: AttemptId) -> Result<Prepared, Problem>;

    /// Starts an attempt once. Repeating it, at the same moment or years later, starts nothing again.
    ///
    /// Returns when the attempt is in safe hands: from then on [`Runner::look`] never says [`AttemptStatus::Unknown`]
    /// until [`Runner::forget`]. A command that cannot start is an ending, not an error of this call.
    ///
    /// # Errors
    /// `Invalid` when the launch can never work; `Unavailable` when the runner cannot take it now.
    async fn start(&self, launch: &Launch) -> Result<(), Problem>;

    /// What is true of the attempt now. Never changes a running attempt; an attempt whose supervisor died
    /// is cleaned up (what is left of it is killed) and is `Lost` from then on.
    ///
    /// # Errors
    /// `Unavailable` when the state cannot be read.
    async fn look(&self, attempt: AttemptId) -> Result<AttemptStatus, Problem>;

    /// Asks the attempt to stop: the request is kept, the command gets SIGTERM, and after the launch's
    /// grace SIGKILL. Returns at once; [`Runner::look`] tells when it has ended. Cancelling an attempt
    /// that has ended does nothing; one that was handed over and is not seen yet will not run.
    ///
    /// # Errors
    /// `NotFound` when there is no such attempt; `Unavailable` when the request cannot be kept.
    async fn cancel(&self, attempt: AttemptId) -> Result<(), Problem>;

    /// Bytes of the log from `offset`, at most `max_bytes` and at most [`LOG_CHUNK_BYTES_MAX`].
    ///
    /// The log only ever grows, so an offset stays valid. An offset past the end gives no bytes and the
    /// true end as `next_offset`.
    ///
    /// # Errors
    /// `NotFound` when there is no such attempt; `Unavailable` when the log cannot be read.
    async fn log(&self, attempt: AttemptId, offset: u64, max_bytes: u32) -> Result<LogChunk, Problem>;

    /// What the attempt used so far, oldest first, at most [`USAGE_SAMPLES_MAX`] samples.
    ///
    /// # Errors
    /// `NotFound` when there is no such attempt; `Unavailable` when the samples cannot be read.
    async fn usage(&self, attempt: AttemptId) -> Result<Vec<UsageSample>, Problem>;

    /// Removes what an attempt that has ended or never started worked with: its work directory and its temporary
    /// files. What is told of it stays: its ending, its log, its samples. Repeating it does nothing.
    ///
    /// # Errors
    /// `Conflict` while the attempt may still run; `Unavailable` when files cannot be removed.
    async fn clear(&self, attempt: AttemptId) -> Result<(), Problem>;

    /// Removes everything kept about an attempt that has ended or never started. Repeating it does nothing.
    ///
    /// # Errors
    /// `Conflict` while the attempt may still run; `Unavailable` when files cannot be removed.
    async fn forget(&self, attempt: AttemptId) -> Result<(), Problem>;

    /// Every attempt that this runner knows of, oldest first: for adoption after a restart, and to find
    /// what nobody wants any more.
    ///
    /// # Errors
    /// `Unavailable` when the list cannot be read.
    async fn list(&self) -> Result<Vec<AttemptId>, Problem>;

    /// Every attempt whose files to work with are there, oldest first: those that run, and those that
    /// [`Runner::clear`] is still to be called for.
    ///
    /// # Errors
    /// `Unavailable` when the list cannot be read.
    async fn list_uncleared(&self) -> Result<Vec<AttemptId>, Problem>;
}
