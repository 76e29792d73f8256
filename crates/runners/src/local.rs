//! The local runner: attempts as processes of this machine, each under its own supervisor.
//!
//! Attempts run under the account of the server, apart from each other by folder, process group and
//! control group; that is order, not a wall between people who do not trust each other. A service manager
//! that stops the server must leave the supervisors alone (systemd: `KillMode=process`, and
//! `Delegate=yes` with `DelegateSubgroup=` for limits by control groups).

use crate::{
    AttemptStatus, Capabilities, CpuLimit, Environments, KillScope, LOG_CHUNK_BYTES_MAX, Launch, LogChunk, MemoryLimit,
    Prepared, Runner, Tools, UsageSample,
    cgroup::{self, Cgroup, Level},
    fault::{Fault, OnPath},
    folder::{self, Folder, Order, Phase, State},
    proc::{self, ProcessRef},
    removal,
    supervisor::{
        ALREADY_TAKEN,
        variables::{ATTEMPT_VARIABLE, for_supervisor},
    },
    usage,
};
use async_trait::async_trait;
use kaogong_domain::{ErrorKind, Problem, ids::AttemptId};
use rustix::process::Signal;
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};

/// How long a supervisor may take to take the attempt.
const TAKE_PATIENCE: Duration = Duration::from_secs(20);

/// How long killing what a dead supervisor left is tried in one look.
const SWEEP_PATIENCE: Duration = Duration::from_secs(5);

/// Where the local runner keeps things and what it uses.
#[derive(Debug, Clone)]
pub struct LocalSettings {
    /// One folder per attempt below this; absolute, on a local file system.
    pub jobs_dir: PathBuf,
    /// Python environments and uv's cache below this; absolute.
    pub envs_dir: PathBuf,
    /// Programs of this machine.
    pub tools: Tools,
    /// The program, and its first arguments, that call [`crate::supervisor::run`] with the path given as
    /// the last argument: usually this program and its hidden command.
    pub supervisor_command: Vec<OsString>,
    /// The control group under which attempts get theirs; `None` finds it.
    pub cgroup_parent: Option<PathBuf>,
}

/// Runs attempts on this machine. Cheap to clone; all clones are one runner.
#[derive(Debug, Clone)]
pub struct LocalRunner {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: LocalSettings,
    capabilities: Capabilities,
}

impl LocalRunner {
    /// A runner over a directory; attempts that are in it are adopted as they are.
    ///
    /// # Errors
    /// `Invalid` for settings that cannot work, `Unavailable` when a directory cannot be used.
    pub fn new(settings: LocalSettings) -> Result<Self, Problem> {
        if settings.supervisor_command.is_empty() {
            return Err(Problem::invalid("the local runner has no supervisor command"));
        }
        for dir in [&settings.jobs_dir, &settings.envs_dir] {
            if !dir.is_absolute() {
                return Err(Problem::invalid(format!(
                    "directory {} of the local runner is not absolute",
                    dir.display()
                )));
            }
            folder::private_dir(dir)?;
        }
        removal::clear_leftovers(&settings.jobs_dir)?;
        removal::clear_leftovers(&settings.envs_dir)?;
        let parent = cgroup::parent(settings.cgroup_parent.as_deref());
        let capabilities = capabilities(parent.map_or_else(Level::default, |it| cgroup::probe(&it)), &settings.tools);
        Ok(Self { shared: Arc::new(Shared { settings, capabilities }) })
    }

    /// The Python environments that attempts of this runner share.
    pub fn environments(&self) -> Environments {
        let settings = &self.shared.settings;
        Environments::new(&settings.envs_dir, settings.tools.clone())
    }

    /// Does blocking work on files away from the threads that serve requests.
    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Shared) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let shared = self.shared.clone();
        let done = tokio::task::spawn_blocking(move || act(&shared)).await;
        done.unwrap_or_else(|error| Err(Problem::bug("work of the local runner broke off", error)))
    }

    fn spawn_supervisor(&self, folder: &Folder) -> Result<Child, Fault> {
        let words = &self.shared.settings.supervisor_command;
        let errors = folder.supervisor_log();
        let stderr = folder::private_file().append(true).create(true).open(&errors).on("open", &errors)?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(folder.root()).current_dir(folder.root());
        command.env_clear().envs(for_supervisor(std::env::vars_os()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).kill_on_drop(false);
        command.spawn().on("start the supervisor of", folder.root())
    }

    /// Waits until a supervisor has taken the attempt.
    async fn wait_until_taken(&self, folder: &Folder, mut child: Child) -> Result<(), Problem> {
        let end = Instant::now() + TAKE_PATIENCE;
        let mut over = false;
        loop {
            // First the exit, then the state: one that did all its work in between is seen as taken.
            let exit = if over { None } else { child.try_wait().on("wait for the supervisor of", folder.root())? };
            if folder.state().exists() {
                break;
            }
            if let Some(status) = exit {
                // Another supervisor has it and will write the state in a moment.
                over = status.code() == Some(i32::from(ALREADY_TAKEN));
                if !over {
                    return Err(not_taken(folder, &format!("ended at once ({status})")));
                }
            }
            if Instant::now() >= end {
                reap_later(child);
                return Err(not_taken(folder, "has not answered"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        reap_later(child);
        Ok(())
    }
}

fn not_taken(folder: &Folder, what: &str) -> Problem {
    let text = format!("supervisor of {} {what}", folder.root().display());
    let said = fs::read_to_string(folder.supervisor_log()).unwrap_or_default();
    let last = said.lines().last().unwrap_or_default().to_owned();
    Problem::unavailable(text).hint("try again; the cause names what it said").because(io::Error::other(last))
}

/// Takes the exit status of a supervisor when it comes, so that no zombie stays.
fn reap_later(mut child: Child) {
    tokio::spawn(async move {
        if let Err(error) = child.wait().await {
            tracing::warn!(%error, "cannot wait for a supervisor");
        }
    });
}

fn capabilities(level: Level, tools: &Tools) -> Capabilities {
    Capabilities {
        memory: if level.memory { MemoryLimit::Cgroup } else { MemoryLimit::Polled },
        cpu: if level.cpu { CpuLimit::Cgroup } else { CpuLimit::Told },
        kill: if level.kill { KillScope::Cgroup } else { KillScope::Descendants },
        environments: tools.uv.is_some(),
    }
}

impl Shared {
    fn folder(&self, attempt: AttemptId) -> Folder {
        Folder::new(self.settings.jobs_dir.join(attempt.to_string()))
    }

    /// The folder of an attempt that was started here.
    fn known(&self, attempt: AttemptId) -> Result<Folder, Problem> {
        let folder = self.folder(attempt);
        if folder.launch().exists() {
            return Ok(folder);
        }
        Err(Problem::not_found(format!("attempt {attempt} is not known to the local runner")))
    }

    /// Writes the launch down; false when the attempt has been taken before.
    fn accept(&self, launch: &Launch) -> Result<bool, Problem> {
        let folder = self.folder(launch.attempt);
        if folder.state().exists() {
            return Ok(false);
        }
        launch.check()?;
        folder.create()?;
        let settings = &self.settings;
        folder.write_order(&Order {
            launch: launch.clone(),
            envs_dir: settings.envs_dir.clone(),
            uv: settings.tools.uv.clone(),
            cgroup_parent: settings.cgroup_parent.clone(),
        })?;
        // A supervisor of an earlier start may have taken it meanwhile. It has its order; these values are in the way.
        if folder.state().exists() {
            scrub(&folder);
            return Ok(false);
        }
        Ok(true)
    }

    fn look(&self, attempt: AttemptId) -> Result<AttemptStatus, Problem> {
        let folder = self.folder(attempt);
        let Some(state) = folder.read_state()? else { return unclaimed(&folder) };
        if !is_over(&state.phase) && !supervisor_lives(&state)? {
            return adopt_dead(&folder, &state);
        }
        Ok(status_of(&folder, state))
    }

    fn cancel(&self, attempt: AttemptId) -> Result<(), Problem> {
        let folder = self.known(attempt)?;
        let state = folder.read_state()?;
        if state.as_ref().is_some_and(|it| is_over(&it.phase)) {
            return Ok(());
        }
        let kept = folder.request_cancel();
        let Some(state) = state else { return withdraw(&folder, kept) };
        // The file is the request; the signal only makes it heard at once. Where the disk is too full for the file,
        // the signal is the request: the attempt then ends as interrupted.
        let heard = supervisor_lives(&state)? && {
            let sent = state.supervisor.signal(Signal::TERM);
            if let Err(error) = &sent {
                tracing::warn!(%attempt, %error, "cannot signal the supervisor of {attempt}; it will see the request");
            }
            sent.is_ok()
        };
        if heard { Ok(()) } else { Ok(kept?) }
    }

    fn log(&self, attempt: AttemptId, offset: u64, max_bytes: u32) -> Result<LogChunk, Problem> {
        let folder = self.known(attempt)?;
        // First the state, then the bytes: what was written before the ending is then surely read.
        let over = matches!(self.look(attempt)?, AttemptStatus::Terminated(_) | AttemptStatus::Lost { .. });
        let path = folder.log();
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(LogChunk { bytes: Vec::new(), next_offset: 0, end: over });
            }
            file => file.on("open", &path)?,
        };
        let len = file.metadata().on("read", &path)?.len();
        let offset = offset.min(len);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(offset)).on("read", &path)?;
        file.take(u64::from(max_bytes.min(LOG_CHUNK_BYTES_MAX))).read_to_end(&mut bytes).on("read", &path)?;
        let next_offset = offset + bytes.len() as u64;
        Ok(LogChunk { bytes, next_offset, end: over && next_offset >= len })
    }

    /// The folder of an attempt, unless something may still run in it.
    fn at_rest(&self, attempt: AttemptId) -> Result<Folder, Problem> {
        if matches!(self.look(attempt)?, AttemptStatus::Starting { .. } | AttemptStatus::Running { .. }) {
            let text = format!("attempt {attempt} may still run");
            return Err(Problem::conflict(text).hint("cancel it first and wait for its end"));
        }
        Ok(self.folder(attempt))
    }

    fn clear(&self, attempt: AttemptId) -> Result<(), Problem> {
        let folder = self.at_rest(attempt)?;
        if !folder.launch().exists() && !folder.state().exists() {
            // Never handed over: there is nothing to tell of it.
            return Ok(removal::remove_dir(folder.root())?);
        }
        Ok(folder.clear()?)
    }

    fn forget(&self, attempt: AttemptId) -> Result<(), Problem> {
        Ok(removal::remove_dir(self.at_rest(attempt)?.root())?)
    }

    fn list(&self) -> Result<Vec<AttemptId>, Problem> {
        let dir = &self.settings.jobs_dir;
        let entries = fs::read_dir(dir).on("read", dir)?;
        let mut found: Vec<AttemptId> =
            entries.flatten().filter_map(|it| it.file_name().to_str()?.parse().ok()).collect();
        found.sort_unstable();
        Ok(found)
    }

    fn list_uncleared(&self) -> Result<Vec<AttemptId>, Problem> {
        Ok(self.list()?.into_iter().filter(|it| self.folder(*it).has_work()).collect())
    }
}

fn is_over(phase: &Phase) -> bool {
    matches!(phase, Phase::Ended(_) | Phase::Lost { .. })
}

fn same_boot(state: &State) -> Result<bool, Fault> {
    Ok(proc::boot_id().on("read", "/proc/sys/kernel/random/boot_id".as_ref())? == state.boot_id)
}

fn supervisor_lives(state: &State) -> Result<bool, Fault> {
    Ok(same_boot(state)? && state.supervisor.is_alive())
}

/// What is seen of an attempt that no supervisor has recorded.
fn unclaimed(folder: &Folder) -> Result<AttemptStatus, Problem> {
    // Looking for the lock makes its file, so only where somebody may hold it.
    if folder.launch().exists() && folder.try_lock()?.is_none() {
        return Ok(AttemptStatus::Starting { phase: "starting the supervisor".into() });
    }
    Ok(AttemptStatus::Unknown)
}

/// Keeps an attempt that no supervisor has recorded from being carried out by one that comes late.
fn withdraw(folder: &Folder, kept: Result<(), Fault>) -> Result<(), Problem> {
    if let Err(fault) = kept {
        // No room for the request; without its order a supervisor starts nothing either.
        tracing::warn!(error = %fault.in_full(), "the order in {} is removed instead", folder.root().display());
        return Ok(fs::remove_file(folder.launch()).on("remove", &folder.launch())?);
    }
    // A supervisor reads its order before it looks for the request, so one that finds no values finds the request.
    scrub(folder);
    Ok(())
}

/// Takes secrets off the disk where that can be done; what was decided stands all the same.
fn scrub(folder: &Folder) {
    if let Err(fault) = folder.scrub_order() {
        tracing::warn!(error = %fault.in_full(), "the launch in {} keeps its values", folder.root().display());
    }
}

fn status_of(folder: &Folder, state: State) -> AttemptStatus {
    match state.phase {
        Phase::Starting { phase } => AttemptStatus::Starting { phase },
        Phase::Running { command, started_at } => {
            let heartbeat_at = folder.heartbeat_at().unwrap_or(started_at);
            AttemptStatus::Running { pid: command.pid, started_at, heartbeat_at }
        }
        Phase::Ended(ending) => AttemptStatus::Terminated(ending),
        Phase::Lost { why } => AttemptStatus::Lost { message: why },
    }
}

/// The supervisor is gone without an ending: kills what it left, then records the loss.
fn adopt_dead(folder: &Folder, state: &State) -> Result<AttemptStatus, Problem> {
    let Some(_lock) = folder.try_lock()? else {
        // Somebody else is at it; the next look tells what came of it.
        return Ok(status_of(folder, state.clone()));
    };
    let Some(mut state) = folder.read_state()? else { return Ok(AttemptStatus::Unknown) };
    if is_over(&state.phase) {
        return Ok(status_of(folder, state));
    }
    let why = if same_boot(&state)? {
        let (found, left) = sweep(&state);
        if left > 0 {
            let text = format!("{left} processes of lost attempt {} cannot be killed", state.attempt);
            return Err(Problem::unavailable(text).hint("look for processes stuck in the kernel (state D)"));
        }
        format!(
            "its supervisor (process {}) ended without a word; {found} processes that it left were killed",
            state.supervisor.pid
        )
    } else {
        "the machine was started anew while it ran".to_owned()
    };
    tracing::warn!(attempt = %state.attempt, "attempt {} is lost: {why}", state.attempt);
    state.phase = Phase::Lost { why };
    folder.write_state(&state)?;
    scrub(folder);
    Ok(status_of(folder, state))
}

/// Kills every process of an attempt without supervisor. Returns how many were found, and how many left.
fn sweep(state: &State) -> (usize, usize) {
    let group = state.cgroup.clone().map(Cgroup::left_behind);
    let mark = format!("{ATTEMPT_VARIABLE}={}", state.attempt);
    let session: Option<ProcessRef> = state.leads_session.then_some(state.supervisor);
    let mut found = std::collections::BTreeSet::new();
    let left = proc::kill_all(SWEEP_PATIENCE, || {
        let left = proc::marked(&mark, session, &group.as_ref().map(Cgroup::members).unwrap_or_default());
        found.extend(left.iter().map(|it| it.pid));
        if let Some(group) = group.as_ref().filter(|it| it.is_populated())
            && let Err(error) = group.kill()
        {
            tracing::warn!(%error, "cannot kill control group {}", group.dir().display());
        }
        left
    });
    if let Some(group) = group {
        group.remove();
    }
    (found.len(), left)
}

#[async_trait]
impl Runner for LocalRunner {
    fn name(&self) -> &str {
        "local"
    }

    fn capabilities(&self) -> Capabilities {
        self.shared.capabilities
    }

    async fn prepare(&self, attempt: AttemptId) -> Result<Prepared, Problem> {
        self.blocking(move |it| {
            let folder = it.folder(attempt);
            folder.create()?;
            Ok(Prepared::new(&folder))
        })
        .await
    }

    async fn start(&self, launch: &Launch) -> Result<(), Problem> {
        let (own, attempt) = (launch.clone(), launch.attempt);
        if !self.blocking(move |it| it.accept(&own)).await? {
            return Ok(());
        }
        let folder = self.shared.folder(attempt);
        let child = self.spawn_supervisor(&folder).map_err(|fault| {
            let text = format!("the supervisor of attempt {attempt} cannot be started");
            Problem::new(ErrorKind::Unavailable, text).hint("run `kaogong doctor`").because(fault)
        })?;
        self.wait_until_taken(&folder, child).await
    }

    async fn look(&self, attempt: AttemptId) -> Result<AttemptStatus, Problem> {
        self.blocking(move |it| it.look(attempt)).await
    }

    async fn cancel(&self, attempt: AttemptId) -> Result<(), Problem> {
        self.blocking(move |it| it.cancel(attempt)).await
    }

    async fn log(&self, attempt: AttemptId, offset: u64, max_bytes: u32) -> Result<LogChunk, Problem> {
        self.blocking(move |it| it.log(attempt, offset, max_bytes)).await
    }

    async fn usage(&self, attempt: AttemptId) -> Result<Vec<UsageSample>, Problem> {
        self.blocking(move |it| Ok(usage::read(&it.known(attempt)?.usage())?)).await
    }

    async fn clear(&self, attempt: AttemptId) -> Result<(), Problem> {
        self.blocking(move |it| it.clear(attempt)).await
    }

    async fn forget(&self, attempt: AttemptId) -> Result<(), Problem> {
        self.blocking(move |it| it.forget(attempt)).await
    }

    async fn list(&self) -> Result<Vec<AttemptId>, Problem> {
        self.blocking(|it| it.list()).await
    }

    async fn list_uncleared(&self) -> Result<Vec<AttemptId>, Problem> {
        self.blocking(|it| it.list_uncleared()).await
    }
}
