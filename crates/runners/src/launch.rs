//! What the server hands to a runner: one attempt, complete.

use kaogong_domain::{Problem, ids::AttemptId};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// The longest lock text, in bytes.
const LOCK_BYTES_MAX: usize = 4 << 20;

/// The most bytes of command and environment together; the kernel refuses more anyway.
const WORDS_BYTES_MAX: usize = 1 << 20;

/// The longest grace, in milliseconds: one hour.
const GRACE_MS_MAX: u64 = 3_600_000;

/// One attempt at a job, complete: nothing is looked up later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// Names the attempt everywhere; a second start with the same id starts nothing.
    pub attempt: AttemptId,
    /// Where the command starts, absolute; the caller has staged the job's files there. Usually what
    /// [`crate::Runner::prepare`] returned.
    pub work_dir: PathBuf,
    /// Program and arguments; no shell is put between. A program without `/` is looked for in the
    /// environment's `bin`, then in the server's `PATH`.
    pub command: Vec<String>,
    /// Variables on top of the clean environment that the runner makes. May hold secrets: they are on
    /// disk (mode 0600) only until the command has started, and are never logged.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Texts that never reach the log or an error, in whatever usual form they are written. On disk as long as `env`.
    #[serde(default)]
    pub masked: Vec<String>,
    /// Granted devices: visibility variable (`CUDA_VISIBLE_DEVICES`) to its value (`0,2`). Every known
    /// visibility variable that is not here is set to the empty text, whatever `env` says.
    #[serde(default)]
    pub devices: BTreeMap<String, String>,
    /// Hosts that the command reaches without the machine's proxy. They are added to `NO_PROXY`, unless `env`
    /// says itself what needs no proxy.
    #[serde(default)]
    pub direct_hosts: Vec<String>,
    /// The Python environment to build or reuse; `None` runs the command as it is.
    #[serde(default)]
    pub environment: Option<EnvironmentSpec>,
    /// What the attempt may use.
    #[serde(default)]
    pub limits: Limits,
}

/// A Python environment, fully determined by its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentSpec {
    /// A pip requirements file in which every package is pinned and has its hashes; at most 4 MiB.
    pub lock: String,
    /// The version of Python: `3`, `3.11` or `3.11.9`.
    pub python: String,
}

/// What an attempt may use. `None` means no limit of ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Wall-clock time of the command, in milliseconds, from its start.
    pub time_ms: Option<u64>,
    /// Wall-clock time for building the environment, waiting for another builder included.
    pub environment_ms: u64,
    /// Memory of all processes of the attempt together, in bytes.
    pub memory_bytes: Option<u64>,
    /// The log keeps this many bytes from the beginning; the rest is dropped with a note.
    pub log_bytes_max: u64,
    /// Between SIGTERM and SIGKILL, in milliseconds; at most an hour.
    pub grace_ms: u64,
    /// Processors, as a number of whole ones. Always told to the usual thread pools by variable
    /// (`OMP_NUM_THREADS` and kin); enforced where [`crate::Capabilities::cpu`] says so.
    pub cpus: Option<f64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time_ms: None,
            environment_ms: 30 * 60 * 1000,
            memory_bytes: None,
            log_bytes_max: 64 << 20,
            grace_ms: 10_000,
            cpus: None,
        }
    }
}

impl Launch {
    /// Refuses a launch that can never work.
    ///
    /// # Errors
    /// `Invalid`, naming the first thing that is wrong.
    pub fn check(&self) -> Result<(), Problem> {
        let program = self.command.first().map_or("", String::as_str);
        if program.is_empty() {
            return Err(Problem::invalid(format!("attempt {} has no command", self.attempt)));
        }
        if !self.work_dir.is_absolute() {
            let text =
                format!("work directory {} of attempt {} is not absolute", self.work_dir.display(), self.attempt);
            return Err(Problem::invalid(text));
        }
        let words = self.command.iter().map(String::as_str);
        let pairs = self.env.iter().chain(&self.devices).flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        let (mut bytes, mut nul) = (0, false);
        for text in words.chain(pairs).chain(self.direct_hosts.iter().map(String::as_str)) {
            bytes += text.len() + 1;
            nul |= text.contains('\0');
        }
        if nul {
            return Err(Problem::invalid(format!("command or variables of attempt {} hold a NUL byte", self.attempt)));
        }
        if bytes > WORDS_BYTES_MAX {
            let text = format!("command and variables of attempt {} take {bytes} bytes", self.attempt);
            return Err(
                Problem::invalid(text).hint(format!("stay under {WORDS_BYTES_MAX} bytes; put long texts into files"))
            );
        }
        if let Some(name) = self.env.keys().chain(self.devices.keys()).find(|it| it.is_empty() || it.contains('=')) {
            return Err(Problem::invalid(format!("`{name}` is not the name of a variable")));
        }
        self.limits.check()?;
        self.environment.as_ref().map_or(Ok(()), EnvironmentSpec::check)
    }

    /// This launch without the values of its variables: what stays on disk once the command has started.
    pub(crate) fn without_values(&self) -> Self {
        let mut rest = self.clone();
        rest.env.values_mut().for_each(String::clear);
        rest.masked.clear();
        rest
    }
}

impl Limits {
    fn check(&self) -> Result<(), Problem> {
        if self.time_ms == Some(0) || self.memory_bytes == Some(0) || self.environment_ms == 0 {
            return Err(Problem::invalid("a limit of zero lets nothing run").hint("leave the limit out for no limit"));
        }
        if self.grace_ms > GRACE_MS_MAX {
            let text = format!("a grace of {} ms is too long", self.grace_ms);
            return Err(Problem::invalid(text).hint(format!("at most {GRACE_MS_MAX} ms")));
        }
        match self.cpus {
            Some(cpus) if !(cpus.is_finite() && cpus > 0.0) => {
                Err(Problem::invalid(format!("{cpus} is not a number of processors")))
            }
            _ => Ok(()),
        }
    }
}

impl EnvironmentSpec {
    /// Refuses what is no version of Python or too long a lock.
    ///
    /// # Errors
    /// `Invalid`, naming what is wrong.
    pub fn check(&self) -> Result<(), Problem> {
        let part = |it: &str| !it.is_empty() && it.len() <= 3 && it.bytes().all(|it| it.is_ascii_digit());
        if self.python.split('.').count() > 3 || !self.python.split('.').all(part) {
            let text = format!("`{}` is not a version of Python", self.python.chars().take(40).collect::<String>());
            return Err(Problem::invalid(text).hint("write it like 3.11 or 3.11.9"));
        }
        if self.lock.len() > LOCK_BYTES_MAX {
            let text = format!("the lock has {} bytes, more than {LOCK_BYTES_MAX}", self.lock.len());
            return Err(Problem::invalid(text));
        }
        Ok(())
    }
}
