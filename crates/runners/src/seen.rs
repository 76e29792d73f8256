//! What a runner tells about an attempt.

use kaogong_domain::Timestamp;
use serde::{Deserialize, Serialize};

/// What is true of an attempt at the moment of looking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "snake_case")]
pub enum Seen {
    /// Never started here, or forgotten. Starting it is safe.
    Absent,
    /// Taken, and not running yet.
    Starting {
        /// What it is doing, for people: `building environment`.
        phase: String,
    },
    /// The command runs.
    Running {
        /// The process id of the command.
        pid: u32,
        /// When the command started.
        started_at: Timestamp,
        /// When its supervisor last gave a sign of life.
        heartbeat_at: Timestamp,
    },
    /// It is over, and this never changes.
    Ended(Ending),
    /// Its supervisor died without an ending (a crash, a reboot); nothing of it runs any more.
    Lost {
        /// What was found, for people.
        why: String,
    },
}

/// How an attempt ended; recorded exactly once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// The exit code of the command, when it exited by itself.
    pub exit_code: Option<i32>,
    /// The signal that ended the command, when one did.
    pub signal: Option<i32>,
    /// Why it ended.
    pub reason: EndReason,
    /// One or a few lines for people; may be empty after a plain exit.
    pub message: String,
    /// When the command started; `None` when it never did.
    pub started_at: Option<Timestamp>,
    /// When the last process of the attempt was gone.
    pub ended_at: Timestamp,
}

impl Ending {
    /// The command ran to its end and said 0.
    pub fn is_success(&self) -> bool {
        self.reason == EndReason::Exited && self.exit_code == Some(0)
    }
}

/// Why an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The command ended by itself: an exit code, or a signal that the runner did not send.
    Exited,
    /// It reached `time_ms`, or the environment reached `environment_ms`.
    TimeLimit,
    /// It used more than `memory_bytes`.
    MemoryLimit,
    /// Somebody asked to cancel it.
    Cancelled,
    /// The machine or an operator stopped the supervisor; nobody asked to cancel. May be tried again.
    Interrupted,
    /// Its Python environment could not be built.
    EnvironmentFailed,
    /// The command could not be started.
    StartFailed,
}

/// A piece of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// The bytes as the job wrote them; not always whole lines, not always UTF-8.
    pub bytes: Vec<u8>,
    /// Where the next piece begins.
    pub next_offset: u64,
    /// Nothing follows, ever: the attempt has ended and this reaches the end of its log.
    pub end: bool,
}

/// What an attempt used at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageSample {
    /// When it was taken.
    pub at: Timestamp,
    /// Processor time of all its processes since the start, ended ones included, in milliseconds.
    pub cpu_ms: u64,
    /// Resident memory of its living processes, in bytes; memory that they share counts once for each.
    pub rss_bytes: u64,
    /// How many processes are alive.
    pub processes: u32,
}

/// Which limits a runner enforces, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// How `memory_bytes` is enforced.
    pub memory: MemoryLimit,
    /// How `cpus` is enforced.
    pub cpu: CpuLimit,
    /// What stopping an attempt reaches.
    pub kill: KillScope,
    /// Whether Python environments can be built.
    pub environments: bool,
}

/// How a memory limit is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryLimit {
    /// By the kernel (`memory.max` of a cgroup v2): never exceeded.
    Cgroup,
    /// By looking several times a second and killing: may be exceeded for a moment.
    Polled,
    /// Not at all.
    None,
}

/// How a limit on processors is enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CpuLimit {
    /// By the kernel (`cpu.max` of a cgroup v2).
    Cgroup,
    /// Only told to thread pools by variables.
    Told,
}

/// What stopping an attempt reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KillScope {
    /// Every process, at once, by the kernel (`cgroup.kill` of a cgroup v2).
    Cgroup,
    /// Every descendant that the supervisor finds, repeated until none is left.
    Descendants,
}
