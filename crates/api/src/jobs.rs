//! Jobs on the wire; the same shape is read from a job file in TOML.

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::{collections::BTreeMap, fmt};
use utoipa::{IntoParams, ToSchema};

/// What to run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// A name for people.
    pub name: String,
    /// Program and arguments; not passed through a shell.
    pub command: Vec<String>,
    /// Variables for the command. Those that the platform sets itself are refused, with their name.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
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
    /// What the job's token may do.
    #[serde(default, skip_serializing_if = "JobToken::is_usual")]
    pub token: JobToken,
}

/// The value of a variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum EnvValue {
    /// The value itself. Who may not submit jobs is not shown it.
    Text(String),
    /// The value of a secret of the project when an attempt starts. It is never shown.
    Secret(SecretValue),
    /// A value that the caller may not see; never sent to the server.
    Hidden(HiddenValue),
}

impl EnvValue {
    /// The value, where it stands here.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The secret that holds the value.
    pub fn secret(&self) -> Option<&str> {
        if let Self::Secret(it) = self { Some(&it.secret) } else { None }
    }
}

impl<'de> Deserialize<'de> for EnvValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Says what is expected, which an untagged enum does not.
        struct Seen;

        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            secret: Option<String>,
            hidden: Option<bool>,
        }

        impl<'de> Visitor<'de> for Seen {
            type Value = EnvValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or { secret = \"NAME\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<EnvValue, E> {
                Ok(EnvValue::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EnvValue, A::Error> {
                let fields = Fields::deserialize(MapAccessDeserializer::new(map))?;
                match (fields.secret, fields.hidden) {
                    (Some(secret), None) => Ok(EnvValue::Secret(SecretValue { secret })),
                    (None, Some(true)) => Ok(EnvValue::Hidden(HiddenValue { hidden: true })),
                    _ => Err(de::Error::custom("expected a text or { secret = \"NAME\" }")),
                }
            }
        }

        deserializer.deserialize_any(Seen)
    }
}

/// A value that is kept as a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretValue {
    /// The name of the secret.
    pub secret: String,
}

/// A value that is not shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HiddenValue {
    /// Always true.
    pub hidden: bool,
}

/// What the token of a job may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobToken {
    /// What the job itself needs: read its inputs, log its runs, keep their artifacts, register their models.
    #[default]
    Job,
    /// Everything that a developer does in the project, submitting jobs too.
    Developer,
}

impl JobToken {
    /// Whether this is what a job gets that asks for nothing.
    pub fn is_usual(&self) -> bool {
        *self == Self::Job
    }
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
    /// The oldest runs that it logged, 1,000 at most.
    pub runs: Vec<String>,
    /// Whether it logged more runs than these.
    #[serde(default)]
    pub more_runs: bool,
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
