//! The small process above each attempt: it outlives the server, keeps the log and records the ending.
//!
//! Invariant: an attempt's command is started at most once. The supervisor holds the folder's lock while
//! it lives and writes its state before anything is started; a second supervisor finds the lock held or
//! the state there, and leaves. It never outlives its job, and no process of the job outlives it, unless
//! it is itself killed; then [`crate::Runner::look`] cleans up.

mod keeper;
mod start_problem;
pub(crate) mod variables;

use crate::{
    EnvironmentSpec, Environments, Launch, Termination, TerminationReason, Tools,
    cgroup::{self, Cgroup},
    environments::{EnvironmentError, Held, StepStop, Steps},
    fault::{Fault, OnPath},
    folder::{self, Folder, Order, Phase, State},
    logfile::Log,
    proc::{self, ProcessRef},
    stop::Stop,
};
use kaogong_domain::{Timestamp, masks::Masks};
use keeper::{CommandEnd, Keeper, Output, Until, after};
use rustix::process::{DumpableBehavior, getpid, set_child_subreaper, set_dumpable_behavior, setsid};
use std::{
    io,
    path::Path,
    process::{Command, ExitCode},
    sync::Arc,
    time::Instant,
};

/// The exit code of a supervisor that found the attempt taken.
pub(crate) const ALREADY_TAKEN: u8 = 3;

/// Supervises the attempt whose folder this is, from its start to its end. The process that calls this
/// does nothing else, before or after, as it becomes the parent of whatever the attempt leaves behind.
///
/// Exits with 0 when an ending was recorded, 3 when the attempt was taken already, 1 otherwise; what went
/// wrong is then on standard error.
pub fn run(folder: &Path) -> ExitCode {
    match supervise(Folder::new(folder.to_owned())) {
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            // There is no other place: the log of the attempt may be what failed.
            #[allow(clippy::print_stderr)]
            {
                eprintln!("kaogong supervisor of {}: {}", folder.display(), fault.in_full());
            }
            ExitCode::FAILURE
        }
    }
}

fn supervise(folder: Folder) -> Result<u8, Fault> {
    let root = folder.root().to_owned();
    let leads_session = detach().on("detach the supervisor of", &root)?;
    let Some(lock) = folder.take_lock()? else { return Ok(ALREADY_TAKEN) };
    if folder.state().exists() {
        return Ok(ALREADY_TAKEN);
    }
    let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no launch");
    let order = folder.read_order()?.ok_or_else(missing).on("read", &folder.launch())?;
    let launch = &order.launch;
    folder.create()?;
    folder.reserve_ending()?;
    let masks = masks_of(launch);
    let log = Log::open(&folder.log(), launch.limits.log_bytes_max, masks)?;
    let group = make_group(&order, &log);
    let own = ProcessRef::of(std::process::id()).ok_or_else(|| io::Error::other("/proc is not there"));
    let state = State {
        attempt: launch.attempt,
        boot_id: proc::boot_id().on("read the boot id for", &root)?,
        supervisor: own.on("find the supervisor of", &root)?,
        leads_session,
        cgroup: group.as_ref().map(|it| it.dir().to_owned()),
        phase: Phase::Starting { phase: "starting".into() },
    };
    let limits = launch.limits.clone();
    let keeper = Keeper::new(launch.attempt, folder.clone(), lock, log, group, limits);
    let mut attempt = Attempt { keeper: keeper.on("listen for signals for", &root)?, state, started_at: None };
    folder.write_state(&attempt.state)?;

    let end = attempt.carry_out(&order);
    let ending = attempt.ending(end);
    attempt.keeper.log.finish();
    if let Some(group) = &attempt.keeper.group {
        group.remove();
    }
    // Temporary files are nobody's any more; what cannot be removed goes with the folder.
    let _ = crate::removal::remove_dir(&folder.tmp());
    // An attempt that never came to its command still has its secrets there; whoever sees the ending finds none.
    if let Err(fault) = folder.scrub_order() {
        tracing::warn!(attempt = %attempt.state.attempt, error = %fault.in_full(), "the launch of {} keeps its values", attempt.state.attempt);
    }
    folder.record_ending(&attempt.state, &ending)?;
    Ok(0)
}

/// What never reaches the log: the job's own secrets, and those of the machine that it could see.
fn masks_of(launch: &Launch) -> Arc<Masks> {
    let machine = variables::secrets_of_machine(std::env::vars_os());
    Arc::new(Masks::new(launch.masked.iter().chain(&machine).map(String::as_str)))
}

/// Leaves the server's session, becomes the parent of orphans, and closes our own environment, which may
/// hold the keys of a package index, to the job. Returns whether we lead a session.
fn detach() -> io::Result<bool> {
    // Read while our own files in /proc are still ours.
    proc::units();
    let leads_session = match setsid() {
        Ok(_) => true,
        // Only when started by hand as the leader of a group; the session is then shared with others.
        Err(rustix::io::Errno::PERM) => rustix::process::getsid(None).is_ok_and(|it| it == getpid()),
        Err(error) => return Err(error.into()),
    };
    set_child_subreaper(Some(getpid()))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(leads_session)
}

/// A control group where one can be made. Where not, the runner's capabilities have told so.
fn make_group(order: &Order, log: &Log) -> Option<Cgroup> {
    let parent = cgroup::parent(order.cgroup_parent.as_deref())?;
    let group = Cgroup::create(&parent, &format!("kaogong-{}", order.launch.attempt)).ok()?;
    let limits = &order.launch.limits;
    match group.limit(limits.memory_bytes, limits.cpus) {
        Ok(()) => Some(group),
        Err(error) => {
            log.note(&format!("limits cannot be set on control group {}: {error}", group.dir().display()));
            group.remove();
            None
        }
    }
}

/// One attempt on its way.
struct Attempt {
    keeper: Keeper,
    state: State,
    started_at: Option<Timestamp>,
}

/// Why an attempt is over.
enum End {
    Command(CommandEnd),
    NotStarted(String),
    Environment(EnvironmentError),
    Stopped(Stop),
}

impl Attempt {
    fn carry_out(&mut self, order: &Order) -> End {
        // A request may have come before anybody was there to hear it.
        if let Some(stop) = self.keeper.asked_to_stop() {
            return End::Stopped(stop);
        }
        let held = match order.launch.environment.as_ref().map(|it| self.environment(order, it)).transpose() {
            Ok(held) => held,
            Err(EnvironmentError::Stopped(stop)) => return End::Stopped(stop),
            Err(error) => return End::Environment(error),
        };
        self.command(order, held.as_ref()).map_or_else(End::NotStarted, End::Command)
    }

    fn environment(&mut self, order: &Order, spec: &EnvironmentSpec) -> Result<Held, EnvironmentError> {
        self.state.phase = Phase::Starting { phase: "building environment".into() };
        if let Err(fault) = self.keeper.folder.write_state(&self.state) {
            tracing::warn!(attempt = %self.state.attempt, error = %fault.in_full(), "phase of {} is not recorded", self.state.attempt);
        }
        let environments = Environments::new(&order.envs_dir, Tools { uv: order.uv.clone() });
        let until = after(order.launch.limits.environment_ms);
        environments.acquire(spec, &mut BuildSteps { keeper: &mut self.keeper, until })
    }

    fn command(&mut self, order: &Order, held: Option<&Held>) -> Result<CommandEnd, String> {
        let launch = &order.launch;
        if !launch.work_dir.is_dir() {
            return Err(format!("work directory {} is not there", launch.work_dir.display()));
        }
        let Some((program, args)) = launch.command.split_first() else { return Err("there is no command".into()) };
        let folder = self.keeper.folder.clone();
        let environment = held.map(|it| it.dir.as_path());
        let mut command = Command::new(program);
        command.args(args).current_dir(&launch.work_dir).env_clear();
        command.envs(variables::for_job(launch, environment, &folder.tmp(), std::env::vars_os()));

        let (state, started_at) = (&mut self.state, &mut self.started_at);
        let mut scrubbed = None;
        let mut started = |command: ProcessRef| {
            let at = *started_at.get_or_insert_with(folder::now);
            state.phase = Phase::Running { command, started_at: at };
            // The values are in the process now; on the disk they would only be lying about.
            let order = scrubbed.get_or_insert_with(|| Order { launch: launch.without_values(), ..order.clone() });
            let written = folder.write_state(state).and_then(|()| folder.write_order(order));
            if let Err(fault) = &written {
                tracing::warn!(attempt = %state.attempt, error = %fault.in_full(), "start of {} is not recorded yet", state.attempt);
            }
            written.is_ok()
        };
        let until = Until::AfterStart(launch.limits.time_ms);
        let kept = self.keeper.keep(command, Output::Plain, until, &mut started);
        kept.map_err(|error| start_problem::words(&launch.command, &launch.work_dir, &error))
    }

    fn ending(&self, end: End) -> Termination {
        let ended_at = folder::now();
        let (mut exit_code, mut signal) = (None, None);
        let (reason, message) = match end {
            End::Command(end) => {
                (exit_code, signal) = (end.exit_code, end.signal);
                let (reason, mut message) = self.describe(&end);
                if end.survivors > 0 {
                    message.push_str(&format!("; {} processes could not be killed", end.survivors));
                }
                (reason, message)
            }
            End::NotStarted(message) => (TerminationReason::StartFailed, message),
            End::Environment(error) => (TerminationReason::EnvironmentFailed, error.to_string()),
            End::Stopped(stop) => self.describe_stop(stop),
        };
        let message = self.keeper.log.cover(&message);
        if reason != TerminationReason::Exited || exit_code != Some(0) {
            self.keeper.log.note(&message);
        }
        Termination { exit_code, signal, reason, message, started_at: self.started_at, ended_at }
    }

    fn describe(&self, end: &CommandEnd) -> (TerminationReason, String) {
        match (end.stop, end.exit_code, end.signal) {
            (Some(stop), ..) => self.describe_stop(stop),
            (None, Some(code), _) => (TerminationReason::Exited, format!("the command exited with code {code}")),
            (None, None, Some(signal)) => {
                let message = format!("the command was ended by signal {signal}{}", signal_name(signal));
                (TerminationReason::Exited, message)
            }
            (None, None, None) => (TerminationReason::Exited, "the command ended and its status is not known".into()),
        }
    }

    fn describe_stop(&self, stop: Stop) -> (TerminationReason, String) {
        let limits = &self.keeper.limits;
        match stop {
            // Interrupted first and cancelled while it was ending is still cancelled.
            Stop::Interrupted if self.keeper.folder.cancel().exists() => self.describe_stop(Stop::Cancelled),
            Stop::Cancelled => (TerminationReason::Cancelled, "cancelled on request".into()),
            Stop::Interrupted => (
                TerminationReason::Interrupted,
                "the supervisor was told to end, as by a shutdown of the machine".into(),
            ),
            Stop::TimeLimit if self.started_at.is_none() => {
                let limit = limits.environment_ms;
                (TerminationReason::TimeLimit, format!("time limit of {limit} ms for the environment reached"))
            }
            Stop::TimeLimit => (
                TerminationReason::TimeLimit,
                format!("time limit of {} ms reached", limits.time_ms.unwrap_or_default()),
            ),
            Stop::MemoryLimit => {
                let by = if self.keeper.polls_memory() { "measured by polling" } else { "enforced by the kernel" };
                let limit = limits.memory_bytes.unwrap_or_default();
                (TerminationReason::MemoryLimit, format!("memory limit of {limit} bytes exceeded ({by})"))
            }
        }
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL; when nobody sent it, the kernel may have run out of memory)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

/// Builds an environment under the attempt's own limits, into its log.
struct BuildSteps<'a> {
    keeper: &'a mut Keeper,
    until: Option<Instant>,
}

impl Steps for BuildSteps<'_> {
    fn run(&mut self, command: Command) -> Result<Option<String>, StepStop> {
        self.keeper.log.clear_tail();
        let kept = self.keeper.keep(command, Output::Prefixed("[environment] "), Until::At(self.until), &mut |_| true);
        let end = kept.map_err(StepStop::NotStarted)?;
        match end.stop {
            Some(stop) => Err(StepStop::Stopped(stop)),
            None if end.exit_code == Some(0) => Ok(None),
            None => Ok(Some(self.keeper.log.tail().trim_end().to_owned())),
        }
    }

    fn pause(&mut self) -> Result<(), Stop> {
        self.keeper.pause(self.until)
    }

    fn note(&mut self, text: &str) {
        self.keeper.log.note(text);
    }
}
