//! The server's side of the zygote and of workers: starts them, hears of their ends, ends them.

use super::{
    channel::Page,
    control::{About, Ask, Ending, Line, News, Order, Reply},
};
use kaogong_domain::Problem;
use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// What a model may take to be loaded.
const LOAD_MAX: Duration = Duration::from_secs(120);
/// What a session may take to be prepared.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// A worker whose line is closed has ended; its ending is told after this at the latest.
const ENDING_MAX: Duration = Duration::from_secs(5);

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What workers may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Memory of a worker in bytes, beside [`Limits::PER_FILE_BYTE`] times its model's file.
    pub memory_bytes: u64,
}

impl Limits {
    /// Memory for each byte of a model file: the file, the weights read, the weights laid out for the processor, and what
    /// a planner holds beside them.
    pub const PER_FILE_BYTE: u64 = 8;

    /// The memory for a worker that loads this file.
    pub fn for_file(&self, file: &Path) -> u64 {
        // A file that is not there is the engine's to explain.
        let size = file.metadata().map_or(0, |it| it.len());
        size.saturating_mul(Self::PER_FILE_BYTE).saturating_add(self.memory_bytes)
    }
}

/// Starts workers. The zygote is started for the first of them, and again when it is gone.
pub struct Host {
    command: Box<dyn Fn() -> Command + Send + Sync>,
    /// What workers may take.
    pub limits: Limits,
    zygote: Mutex<Option<Arc<Zygote>>>,
    next_id: AtomicU64,
}

/// The zygote of now.
struct Zygote {
    line: Line,
    sending: Mutex<()>,
    workers: Mutex<HashMap<u64, Weak<Worker>>>,
    is_gone: AtomicBool,
    pid: u32,
}

/// A process with one model.
pub(super) struct Worker {
    pub(super) id: u64,
    zygote: Arc<Zygote>,
    line: Line,
    sending: Mutex<()>,
    asking: Mutex<()>,
    pid: AtomicI32,
    pages: Mutex<HashMap<u64, Arc<Page>>>,
    next_channel: AtomicU64,
    /// Calls and openings under way.
    running: AtomicUsize,
    /// The channel for whose call it was ended.
    ended_for: OnceLock<u64>,
    ended: Mutex<Option<Ended>>,
    bell: Condvar,
    on_end: OnEnd,
}

/// Hears of the end of the worker with that number.
type OnEnd = Box<dyn Fn(u64, &Ended) + Send + Sync>;

/// How a worker ended, and what ran in it then.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) how: Ending,
    pub(super) running: usize,
    pub(super) ended_for: Option<u64>,
}

impl Host {
    /// `command` makes the command that becomes a zygote: a process that calls `run_zygote`.
    pub fn new(command: impl Fn() -> Command + Send + Sync + 'static, limits: Limits) -> Arc<Self> {
        let (zygote, next_id) = (Mutex::default(), AtomicU64::new(1));
        Arc::new(Self { command: Box::new(command), limits, zygote, next_id })
    }

    /// The process id of the zygote, when there is one.
    pub fn zygote_pid(&self) -> Option<u32> {
        locked(&self.zygote).as_ref().filter(|it| !it.is_gone.load(Ordering::Acquire)).map(|it| it.pid)
    }

    fn zygote(&self) -> io::Result<Arc<Zygote>> {
        let mut now = locked(&self.zygote);
        if let Some(it) = now.as_ref().filter(|it| !it.is_gone.load(Ordering::Acquire)) {
            return Ok(it.clone());
        }
        let (ours, theirs) = Line::pair()?;
        let mut command = (self.command)();
        let child = command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()?;
        // It holds the other end, whose closing tells that the zygote is gone.
        drop(command);
        let zygote = Arc::new(Zygote {
            line: ours.into(),
            sending: Mutex::default(),
            workers: Mutex::default(),
            is_gone: AtomicBool::new(false),
            pid: child.id(),
        });
        let hearing = zygote.clone();
        std::thread::Builder::new().name("models".into()).spawn(move || hearing.hear(child))?;
        *now = Some(zygote.clone());
        Ok(zygote)
    }

    /// A worker that has loaded a model, and what it says about it. `on_end` is told when it ends, once.
    ///
    /// # Errors
    /// What the engine said; `Invalid` when it crashed or took too long, `Unavailable` when it could not be tried.
    pub(super) fn start(
        &self,
        order: &Order,
        space_bytes: u64,
        on_end: impl Fn(u64, &Ended) + Send + Sync + 'static,
    ) -> Result<(Arc<Worker>, About), Problem> {
        let failed = |it: io::Error| Problem::unavailable("a process for a model cannot be started").because(it);
        let (ours, theirs) = Line::pair().map_err(failed)?;
        let zygote = self.zygote().map_err(failed)?;
        let worker = Arc::new(Worker {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            zygote: zygote.clone(),
            line: ours.into(),
            sending: Mutex::default(),
            asking: Mutex::default(),
            pid: AtomicI32::new(0),
            pages: Mutex::default(),
            next_channel: AtomicU64::new(1),
            running: AtomicUsize::new(0),
            ended_for: OnceLock::new(),
            ended: Mutex::default(),
            bell: Condvar::new(),
            on_end: Box::new(on_end),
        });
        locked(&zygote.workers).insert(worker.id, Arc::downgrade(&worker));
        zygote.tell(&Ask::Start { id: worker.id, space_bytes }, Some(theirs.as_fd())).map_err(failed)?;
        drop(theirs);
        match worker.ask(order, None, LOAD_MAX, "loaded the model")? {
            Reply::Loaded(about) => {
                worker.wait_pid();
                Ok((worker, *about))
            }
            Reply::Failed(told) => Err(told.into()),
            Reply::Opened => Err(Problem::unavailable("a model's process answered something else")),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(it) = locked(&self.zygote).take() {
            let _ = rustix::net::shutdown(&it.line, rustix::net::Shutdown::Both);
        }
    }
}

impl Zygote {
    fn tell(&self, ask: &Ask, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let _turn = locked(&self.sending);
        self.line.send(ask, file)
    }

    /// Hears of workers until the zygote is gone.
    fn hear(&self, mut child: Child) {
        while let Ok(Some((news, _))) = self.line.receive::<News>() {
            let find = |id: u64| locked(&self.workers).get(&id).and_then(Weak::upgrade);
            match news {
                News::Started { id, pid } => {
                    if let Some(it) = find(id) {
                        let ended = locked(&it.ended);
                        it.pid.store(pid, Ordering::Release);
                        drop(ended);
                        it.bell.notify_all();
                    }
                }
                News::Ended { id, how } => {
                    let worker = find(id);
                    locked(&self.workers).remove(&id);
                    if let Some(it) = worker {
                        it.end(how);
                    }
                }
            }
        }
        self.is_gone.store(true, Ordering::Release);
        // One that only closed its line is of no use any more.
        let _ = child.kill();
        let _ = child.wait();
        let left: Vec<_> = locked(&self.workers).drain().collect();
        for worker in left.into_iter().filter_map(|it| it.1.upgrade()) {
            worker.end(Ending::Orphaned);
        }
    }
}

impl Worker {
    /// Its process, once that is known.
    pub(super) fn pid(&self) -> i32 {
        self.pid.load(Ordering::Acquire)
    }

    /// Waits until its process is known, which may be told after what the process itself says.
    fn wait_pid(&self) {
        let until = Instant::now() + ENDING_MAX;
        let mut ended = locked(&self.ended);
        while self.pid() == 0 && ended.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            ended = self.bell.wait_timeout(ended, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Notes how it ended, and tells all who wait for it. What comes after the first ending changes nothing.
    fn end(&self, how: Ending) {
        let ended =
            Ended { how, running: self.running.load(Ordering::Acquire), ended_for: self.ended_for.get().copied() };
        {
            let mut now = locked(&self.ended);
            if now.is_some() {
                return;
            }
            *now = Some(ended.clone());
        }
        // Before those who wait: they find its successor, not this one.
        (self.on_end)(self.id, &ended);
        locked(&self.pages).values().for_each(|it| it.end());
        self.bell.notify_all();
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<Ended> {
        locked(&self.ended).clone()
    }

    /// How it ended, when it is known to end now.
    pub(super) fn wait_end(&self) -> Ended {
        let until = Instant::now() + ENDING_MAX;
        let mut ended = locked(&self.ended);
        loop {
            if let Some(it) = &*ended {
                return it.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ended { how: Ending::Orphaned, running: 0, ended_for: None };
            }
            ended = self.bell.wait_timeout(ended, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Marks a call or an opening as under way.
    pub(super) fn begin(self: &Arc<Self>) -> Begun {
        self.running.fetch_add(1, Ordering::AcqRel);
        Begun(self.clone())
    }

    fn send(&self, order: &Order, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let _turn = locked(&self.sending);
        self.line.send(order, file)
    }

    fn ask(&self, order: &Order, file: Option<BorrowedFd<'_>>, time: Duration, did: &str) -> Result<Reply, Problem> {
        let _turn = locked(&self.asking);
        let answer = self.line.limit(time).and_then(|()| self.send(order, file)).and_then(|()| self.line.receive());
        match answer {
            Ok(Some((reply, _))) => Ok(reply),
            Err(it) if it.kind() == io::ErrorKind::WouldBlock => {
                self.kill(None);
                let text = format!("the model's process took longer than {} seconds while it {did}", time.as_secs());
                Err(Problem::invalid(text))
            }
            // It wrote what it must not write, or it is gone.
            Err(_) | Ok(None) => {
                self.kill(None);
                Err(problem_of(&self.wait_end().how, did))
            }
        }
    }

    /// A new channel with a session of its own; gives its number.
    pub(super) fn open(&self, file: BorrowedFd<'_>, page: Arc<Page>) -> Result<u64, Problem> {
        let channel = self.next_channel.fetch_add(1, Ordering::Relaxed);
        locked(&self.pages).insert(channel, page);
        match self.ask(&Order::Open { channel }, Some(file), OPEN_MAX, "prepared a session") {
            Ok(Reply::Opened) => Ok(channel),
            other => {
                self.close(channel);
                Err(match other {
                    Err(problem) => problem,
                    Ok(Reply::Failed(told)) => told.into(),
                    Ok(_) => Problem::unavailable("a model's process answered something else"),
                })
            }
        }
    }

    /// Forgets a channel; its session ends.
    pub(super) fn close(&self, channel: u64) {
        if let Some(page) = locked(&self.pages).remove(&channel) {
            page.end();
        }
        let _ = self.send(&Order::Close { channel }, None);
    }

    /// Asks the run on a channel to end.
    pub(super) fn stop(&self, channel: u64) {
        let _ = self.send(&Order::Stop { channel }, None);
    }

    /// Ends the process, for the call on a channel when there is one to blame.
    pub(super) fn kill(&self, channel: Option<u64>) {
        if let Some(channel) = channel {
            let _ = self.ended_for.set(channel);
        }
        let _ = self.zygote.tell(&Ask::Kill { id: self.id }, None);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It ends by itself when its line is closed, unless it is busy.
        if locked(&self.ended).is_none() {
            self.kill(None);
        }
    }
}

/// A call or an opening that is under way.
pub(super) struct Begun(Arc<Worker>);

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The problem of those whose process ended while it did something.
pub(super) fn problem_of(how: &Ending, did: &str) -> Problem {
    let crashed = |text: String| {
        Problem::invalid(text)
            .hint("the server and its other models are not affected; try the other engine, or export the model again")
    };
    match how {
        Ending::Exit(code) => crashed(format!("the model's process ended with exit code {code} while it {did}")),
        // We tell so when we do it; the system does it where memory is short.
        Ending::Signal(9) => Problem::unavailable(format!("the model's process was killed while it {did}"))
            .hint("where memory is short the system does that; try again later"),
        Ending::Signal(6) => crashed(format!(
            "the model's process ended by signal 6 (SIGABRT) while it {did}: it found an error of its own, or may take no \
             more memory"
        )),
        Ending::Signal(signal) => {
            let name = name_of(*signal).map(|it| format!(" ({it})")).unwrap_or_default();
            crashed(format!("the model's process ended by signal {signal}{name} while it {did}"))
        }
        Ending::Orphaned => Problem::unavailable(format!("the model's process ended while it {did}")).hint("try again"),
        Ending::NotStarted(why) => Problem::unavailable(format!("a process for a model cannot be started: {why}"))
            .hint("free memory or processes, and try again"),
    }
}

/// The name of a signal by which native code ends.
fn name_of(signal: i32) -> Option<&'static str> {
    Some(match signal {
        4 => "SIGILL",
        5 => "SIGTRAP",
        7 => "SIGBUS",
        8 => "SIGFPE",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        31 => "SIGSYS",
        _ => return None,
    })
}
