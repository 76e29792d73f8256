//! What a runner reports beside the status of an attempt: its log, what it used, and which limits it enforces.

use kaogong_domain::Timestamp;
use serde::{Deserialize, Serialize};

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
