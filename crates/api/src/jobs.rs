//! Jobs on the wire; the same shape is read from a job file in TOML.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// What to run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// A name for people.
    pub name: String,
    /// Program and arguments; not passed through a shell.
    pub command: Vec<String>,
    /// Variables for the command. Names beginning with `KAOGONG_` or `MLFLOW_` are set by the platform.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The Python environment; without it the command runs with the machine's own programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentSpec>,
    /// Hash of an uploaded tar that is unpacked into the working folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Dataset versions that the job reads, by the name the job uses: `{"digits": "digits@1"}`. Pinned at submission.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
    /// Files below the working folder that are kept as artifacts when the command ends well, as exact paths or folders.
    #[serde(default)]
    pub outputs: Vec<String>,
    /// What it needs and may not exceed.
    #[serde(default)]
    pub resources: Resources,
    /// Attempts after the first one, at most 10.
    #[serde(default)]
    pub retries: u32,
}

/// A Python environment, built once by uv and shared.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentSpec {
    /// Text of a requirements lock: every package pinned, with hashes.
    pub lock: String,
    /// Python version, such as `3.11`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
}

/// What a job needs and may not exceed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Cores.
    pub cpus: f64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Seconds until it is stopped, at most 30 days.
    pub time_limit_s: u64,
    /// Seconds between asking it to stop and ending it.
    pub grace_s: u64,
    /// Bytes of output that are kept.
    pub log_bytes_max: u64,
}

impl Default for Resources {
    fn default() -> Self {
        Self { cpus: 1.0, memory_mib: 2048, time_limit_s: 3600, grace_s: 10, log_bytes_max: 64 << 20 }
    }
}

/// A job to submit.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewJob {
    /// What to run.
    pub spec: JobSpec,
    /// Chosen by the caller; a repeated submission with the same key answers with the job already made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_key: Option<String>,
}

/// A job.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// `job_…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// `queued admitted starting running succeeded failed cancelled lost`
    pub state: String,
    /// Why it is in that state, or what it waits for.
    pub reason: Option<String>,
    /// Exit status of the last attempt.
    pub exit_code: Option<i32>,
    /// Whether somebody asked it to stop.
    pub cancel_asked: bool,
    /// Attempts that may still follow.
    pub retries_left: u32,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970.
    pub started_at: Option<i64>,
    /// Milliseconds since 1970.
    pub ended_at: Option<i64>,
    /// Who submitted it.
    pub created_by: Option<String>,
    /// What was asked for.
    pub spec: JobSpec,
    /// The dataset versions it reads.
    pub inputs: Vec<JobInputView>,
    /// Attempts, oldest first.
    pub attempts: Vec<AttemptView>,
    /// Runs that it logged.
    pub runs: Vec<String>,
}

/// A pinned input.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct JobInputView {
    /// The name the job uses.
    pub alias: String,
    /// The dataset.
    pub dataset: String,
    /// The version.
    pub number: u32,
    /// `dv_…`
    pub version_id: String,
}

/// One attempt.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// `att_…`
    pub id: String,
    /// 1, 2, 3 …
    pub number: u32,
    /// As the job's states.
    pub state: String,
    /// Exit status.
    pub exit_code: Option<i32>,
    /// How it ended.
    pub reason: Option<String>,
    /// Milliseconds since 1970.
    pub started_at: Option<i64>,
    /// Milliseconds since 1970.
    pub ended_at: Option<i64>,
}

/// Which jobs are wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct JobQuery {
    /// Only this state.
    pub state: Option<String>,
    /// Only names that contain this text.
    pub text: Option<String>,
    /// Rows to skip.
    #[serde(default)]
    pub offset: u64,
    /// Rows wanted, at most 500; 100 when absent.
    pub limit: Option<u32>,
}

/// Which part of a log is wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// The attempt's number; the newest when absent.
    pub attempt: Option<u32>,
    /// Byte to begin at.
    #[serde(default)]
    pub offset: u64,
    /// The most bytes of one answer, at most 4 MiB; all that there is when absent.
    pub length: Option<u64>,
}

/// One piece of a log, as an event of the live stream (`event: log`). The stream closes with `event: end`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogPiece {
    /// Byte where this piece begins.
    pub offset: u64,
    /// Byte after its end; the place to go on from.
    pub next_offset: u64,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// What an attempt used, sampled.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UsageView {
    /// Milliseconds since 1970.
    pub at: Vec<i64>,
    /// Processor time used until then, in milliseconds.
    pub cpu_ms: Vec<u64>,
    /// Resident memory then, in bytes.
    pub rss_bytes: Vec<u64>,
}

/// A file kept for a job, a run or an upload.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ArtifactView {
    /// Path below its owner.
    pub path: String,
    /// BLAKE3, hex.
    pub hash: String,
    /// Bytes.
    pub size: u64,
}

/// An uploaded file, known by its hash.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UploadView {
    /// BLAKE3, hex.
    pub hash: String,
    /// Bytes.
    pub size: u64,
}
