//! Keeps one command at a time: starts it where it cannot escape, watches its limits, stops all of it.

use super::variables::ATTEMPT_VARIABLE;
use crate::{
    Limits, UsageSample,
    cgroup::Cgroup,
    folder::{self, Folder},
    logfile::Log,
    proc::{self, ProcessRef, Stat, descendants, table},
    stop::Stop,
    usage::Recorder,
};
use kaogong_domain::ids::AttemptId;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process_group, wait};
use std::{
    fs::File,
    io,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, sync_channel},
    },
    time::{Duration, Instant, SystemTime},
};

/// The longest time between two looks at the request to stop and at the memory in use.
const TICK: Duration = Duration::from_millis(200);

/// How often the heartbeat is renewed.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long killing is tried. Only a process stuck in the kernel lives longer.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// How long the last output is waited for when every process of the attempt is gone.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(5);

/// Where the output of a command goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Output {
    /// Into the log as it is.
    Plain,
    /// Into the log with this before each line.
    Prefixed(&'static str),
}

/// Until when a command may run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// A moment that is set already; `None` is never.
    At(Option<Instant>),
    /// That many milliseconds after its start; `None` is for ever.
    AfterStart(Option<u64>),
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct CommandEnd {
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// Set when the supervisor ended it.
    pub(crate) stop: Option<Stop>,
    /// Processes that could not be killed.
    pub(crate) survivors: usize,
}

/// What all commands of one attempt share.
pub(crate) struct Keeper {
    pub(crate) attempt: AttemptId,
    pub(crate) folder: Folder,
    pub(crate) log: Log,
    pub(crate) group: Option<Cgroup>,
    pub(crate) limits: Limits,
    own: u32,
    lock: File,
    usage: Recorder,
    wake: Receiver<()>,
    interrupted: Arc<AtomicBool>,
    heartbeat: Instant,
    memory_looked_at: Instant,
    /// The command being kept, and its status once it has ended.
    main: Option<(u32, Option<WaitStatus>)>,
}

impl Keeper {
    pub(crate) fn new(
        attempt: AttemptId,
        folder: Folder,
        lock: File,
        log: Log,
        group: Option<Cgroup>,
        limits: Limits,
    ) -> io::Result<Self> {
        let (wake, interrupted) = listen()?;
        let usage = Recorder::new(folder.usage());
        let now = Instant::now();
        Ok(Self {
            attempt,
            folder,
            log,
            group,
            limits,
            own: std::process::id(),
            lock,
            usage,
            wake,
            interrupted,
            heartbeat: now,
            memory_looked_at: now,
            main: None,
        })
    }

    /// Runs a command until it and everything that it started is gone. `started` is told the process, and
    /// again once a second until it says that it has written that down.
    ///
    /// # Errors
    /// The command could not be started.
    pub(crate) fn keep(
        &mut self,
        mut command: Command,
        output: Output,
        until: Until,
        started: &mut dyn FnMut(ProcessRef) -> bool,
    ) -> io::Result<CommandEnd> {
        let (reader, writer) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        command.env(ATTEMPT_VARIABLE, self.attempt.to_string()).process_group(0);
        let main = self.spawn(&mut command)?;
        // The pipe ends when the last process of the job lets go of it, so our copy must go now.
        drop(command);
        let (ended, pumped) = sync_channel(1);
        let log = self.log.clone();
        std::thread::spawn(move || {
            match output {
                Output::Plain => log.pump(reader),
                Output::Prefixed(prefix) => log.pump_lines(reader, prefix),
            }
            // Nobody listens any more when the supervisor gave up waiting.
            let _ = ended.send(());
        });
        let stop = self.watch(main, until, started);
        self.sample();
        let survivors = self.kill_rest();
        if pumped.recv_timeout(OUTPUT_PATIENCE).is_err() {
            self.log.note("something outside the job still holds its output; what it may write is not kept");
        }
        let status = self.main.take().and_then(|(_, status)| status);
        let exit_code = status.and_then(WaitStatus::exit_status);
        let signal = status.and_then(WaitStatus::terminating_signal);
        let stop = stop.or_else(|| self.was_killed_for_memory(signal).then_some(Stop::MemoryLimit));
        Ok(CommandEnd { exit_code, signal, stop, survivors })
    }

    fn spawn(&mut self, command: &mut Command) -> io::Result<ProcessRef> {
        let child = match &mut self.group {
            Some(group) => group.inside(|| command.spawn()),
            None => command.spawn(),
        };
        let child = match child {
            Ok(child) => child,
            Err(error) => {
                // The child may exist although the way back out of its group failed.
                self.kill_rest();
                return Err(error);
            }
        };
        self.main = Some((child.id(), None));
        // It cannot have vanished: nobody but us reaps it.
        ProcessRef::of(child.id()).ok_or_else(|| io::Error::other("the new process is not in the process table"))
    }

    /// Waits for the end of the command or for a reason to end it; in the latter case everything that
    /// still runs is to be killed now.
    fn watch(&mut self, main: ProcessRef, until: Until, started: &mut dyn FnMut(ProcessRef) -> bool) -> Option<Stop> {
        let mut stopping: Option<(Stop, Instant)> = None;
        let mut recorded = started(main);
        let until = match until {
            Until::At(moment) => moment,
            Until::AfterStart(ms) => ms.and_then(after),
        };
        loop {
            self.reap();
            let over = self.main.is_some_and(|(_, status)| status.is_some());
            match stopping {
                None if over => return None,
                Some((why, _)) if over && !self.group_lives(main.pid) => return Some(why),
                Some((why, kill_at)) if Instant::now() >= kill_at => return Some(why),
                _ => {}
            }
            if stopping.is_none()
                && let Some(why) = self.reason_to_stop(until)
            {
                if why == Stop::MemoryLimit {
                    return Some(why);
                }
                ask_to_end(main.pid);
                stopping = Some((why, after(self.limits.grace_ms).unwrap_or_else(Instant::now)));
            }
            if self.beat() && !recorded {
                recorded = started(main);
            }
            let next = stopping.map(|(_, kill_at)| kill_at).or(until);
            self.wait_for_event(next);
        }
    }

    /// Waits until something happened, at most a tick, and not past `next`.
    fn wait_for_event(&self, next: Option<Instant>) {
        let rest = next.map_or(TICK, |it| it.saturating_duration_since(Instant::now()));
        let patience = rest.clamp(Duration::from_millis(1), TICK);
        if self.wake.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected) {
            // The listener died; requests are still seen, as files, one tick late.
            std::thread::sleep(patience);
        }
    }

    /// Whether somebody wants the attempt to end.
    pub(crate) fn asked_to_stop(&self) -> Option<Stop> {
        if self.folder.cancel().exists() {
            return Some(Stop::Cancelled);
        }
        self.interrupted.load(Ordering::SeqCst).then_some(Stop::Interrupted)
    }

    fn reason_to_stop(&mut self, until: Option<Instant>) -> Option<Stop> {
        self.asked_to_stop()
            .or_else(|| until.is_some_and(|it| Instant::now() >= it).then_some(Stop::TimeLimit))
            .or_else(|| self.uses_too_much_memory().then_some(Stop::MemoryLimit))
    }

    /// Waits a tick for something outside this attempt.
    pub(crate) fn pause(&mut self, until: Option<Instant>) -> Result<(), Stop> {
        self.beat();
        self.wait_for_event(until);
        self.reason_to_stop(until).map_or(Ok(()), Err)
    }

    /// Renews the heartbeat and takes a sample when it is time; true when the heartbeat was renewed.
    fn beat(&mut self) -> bool {
        if self.usage.is_due() {
            self.sample();
        }
        if self.heartbeat.elapsed() < HEARTBEAT {
            return false;
        }
        self.heartbeat = Instant::now();
        if let Err(error) = self.lock.set_modified(SystemTime::now()) {
            tracing::warn!(%error, "cannot renew the heartbeat of {}", self.attempt);
        }
        true
    }

    fn family(&self) -> Vec<Stat> {
        descendants(&table(), self.own)
    }

    fn sample(&mut self) {
        let family = self.family();
        let (page, ticks) = proc::units();
        let reaped = Stat::of(self.own).map_or(0, |it| it.child_ticks);
        let used = reaped + family.iter().map(|it| it.ticks).sum::<u64>();
        let of_group = self.group.as_ref().and_then(Cgroup::cpu_ms);
        let living = family.iter().filter(|it| it.alive);
        self.usage.keep(UsageSample {
            at: folder::now(),
            cpu_ms: of_group.unwrap_or(used * 1000 / ticks),
            rss_bytes: living.clone().map(|it| it.rss_pages * page).sum(),
            processes: u32::try_from(living.count()).unwrap_or(u32::MAX),
        });
    }

    /// Whether the memory limit is ours to enforce.
    pub(crate) fn polls_memory(&self) -> bool {
        self.limits.memory_bytes.is_some() && !self.group.as_ref().is_some_and(|it| it.level.memory)
    }

    fn uses_too_much_memory(&mut self) -> bool {
        let Some(limit) = self.limits.memory_bytes.filter(|_| self.polls_memory()) else { return false };
        // A job that makes many short processes wakes us at each end; looking that often would cost more
        // than it finds.
        if self.memory_looked_at.elapsed() < TICK / 2 {
            return false;
        }
        self.memory_looked_at = Instant::now();
        let (page, _) = proc::units();
        let resident = |it: &Stat| it.rss_pages * page;
        let family = self.family();
        if family.iter().map(resident).sum::<u64>() <= limit {
            return false;
        }
        // Forked workers share most of their pages, so the sum above counts them many times. Only now is
        // the exact figure, which costs a walk over the page tables, worth having.
        family.iter().map(|it| proc::proportional_bytes(it.pid).unwrap_or_else(|| resident(it))).sum::<u64>() > limit
    }

    fn was_killed_for_memory(&self, signal: Option<i32>) -> bool {
        let killed = signal == Some(Signal::KILL.as_raw());
        killed && self.group.as_ref().is_some_and(|it| it.memory_kills() > 0)
    }

    fn group_lives(&self, group: u32) -> bool {
        self.family().iter().any(|it| it.alive && it.group == group)
    }

    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some((main, slot)) = &mut self.main
                && i64::from(*main) == i64::from(pid.as_raw_nonzero().get())
            {
                *slot = Some(status);
            }
        }
    }

    /// Kills every descendant, wherever it hides, until none is left. Returns how many could not be killed.
    pub(crate) fn kill_rest(&mut self) -> usize {
        let left = proc::kill_all(KILL_PATIENCE, || {
            if let Some(group) = self.group.as_ref().filter(|it| it.level.kill && it.is_populated())
                && let Err(error) = group.kill()
            {
                tracing::warn!(%error, "cannot kill control group {}", group.dir().display());
            }
            self.reap();
            self.family().into_iter().filter(|it| it.alive).collect()
        });
        self.reap();
        left
    }
}

/// The moment that many milliseconds from now; `None` when it is too far away to matter.
pub(crate) fn after(ms: u64) -> Option<Instant> {
    Instant::now().checked_add(Duration::from_millis(ms))
}

/// SIGTERM to the command's process group; SIGCONT so that a stopped process hears it.
fn ask_to_end(group: u32) {
    let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) else { return };
    for signal in [Signal::TERM, Signal::CONT] {
        // Gone already is what was wanted.
        let _ = kill_process_group(group, signal);
    }
}

/// Wakes the receiver when a child ended or somebody asks us to stop; sets the flag in the latter case.
fn listen() -> io::Result<(Receiver<()>, Arc<AtomicBool>)> {
    use tokio::signal::unix::{SignalKind, signal};
    let (wake, woken) = sync_channel(1);
    let flag = Arc::new(AtomicBool::new(false));
    let interrupted = flag.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    let mut child = signal(SignalKind::child())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    drop(entered);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async move {
            loop {
                tokio::select! {
                    _ = child.recv() => {}
                    _ = terminate.recv() => interrupted.store(true, Ordering::SeqCst),
                    _ = interrupt.recv() => interrupted.store(true, Ordering::SeqCst),
                }
                // Full means that a wake-up is on its way.
                let _ = wake.try_send(());
            }
        });
    })?;
    Ok((woken, flag))
}
