//! Engines, models and sessions whose work is done by a worker. A model outlives its workers: one that ends is started
//! again, and calls that were not to blame for its end run again.

use super::{
    channel::{Caller, Outcome},
    control::{About, Ending, Order, ToldSpec},
    gate::Gate,
    health::{History, Next, after_end, after_failed_start, is_to_blame},
    host::{Ended, Host, Worker, locked, problem_of},
    stop::Mark,
    wire::tensors_of,
};
use crate::{
    engine::{Engine, Loaded, Session, Stop},
    pool::overdue,
    tensor::{Tensor, TensorSpec},
};
use kaogong_domain::{Problem, endpoints::EngineName};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How long a run has that names no moment: the first runs of a model.
const FIRST_RUN_MAX: Duration = Duration::from_secs(30);
/// An engine that can end a run does so within this; then its process is ended.
const STOP_MAX: Duration = Duration::from_millis(500);
/// No process is ended for a run before this, however short the time of its call: callers who wait for a moment only must
/// not be able to take a slow model away from others.
const RUN_MIN: Duration = Duration::from_secs(10);
const COMPUTED: &str = "computed this call";

/// An engine whose models live in workers.
pub struct RemoteEngine {
    host: Arc<Host>,
    name: EngineName,
    version: String,
}

impl RemoteEngine {
    /// The same engine as `inner`, which workers have by its name.
    pub fn new(host: Arc<Host>, inner: &dyn Engine) -> Self {
        Self { host, name: inner.name(), version: inner.version() }
    }
}

impl Engine for RemoteEngine {
    fn name(&self) -> EngineName {
        self.name
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn load(&self, path: &Path, threads: usize) -> Result<Arc<dyn Loaded>, Problem> {
        Ok(Arc::new(Remote::load(&self.host, self.name, path, threads)?))
    }
}

/// A model in a worker.
pub struct Remote(Arc<Shared>);

struct Shared {
    host: Arc<Host>,
    engine: EngineName,
    path: PathBuf,
    threads: usize,
    about: About,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    state: Mutex<State>,
    bell: Condvar,
    gate: Gate,
    is_aside: AtomicBool,
    /// Calls answered since the last end.
    good: AtomicU64,
    since: Instant,
}

struct State {
    now: Now,
    history: History,
}

enum Now {
    Up(Arc<Worker>),
    Starting,
    Aside { until: Instant, text: String },
}

impl Remote {
    fn load(host: &Arc<Host>, engine: EngineName, path: &Path, threads: usize) -> Result<Self, Problem> {
        // The worker runs in another folder, perhaps.
        let path = std::path::absolute(path).map_err(|it| Problem::invalid("a model has no path").because(it))?;
        let owner: Arc<Mutex<Weak<Shared>>> = Arc::default();
        let (worker, about) = start(host, engine, &path, threads, owner.clone())?;
        let read = |specs: &[ToldSpec]| specs.iter().map(ToldSpec::read).collect::<Option<Vec<_>>>();
        let (Some(inputs), Some(outputs)) = (read(&about.inputs), read(&about.outputs)) else {
            return Err(Problem::unavailable("a model's process names types that there are not"));
        };
        let shared = Arc::new(Shared {
            host: host.clone(),
            engine,
            path,
            threads,
            about,
            inputs,
            outputs,
            state: Mutex::new(State { now: Now::Up(worker.clone()), history: History::default() }),
            bell: Condvar::new(),
            gate: Gate::default(),
            is_aside: AtomicBool::new(false),
            good: AtomicU64::new(0),
            since: Instant::now(),
        });
        *locked(&owner) = Arc::downgrade(&shared);
        shared.see(&worker);
        Ok(Self(shared))
    }
}

impl Loaded for Remote {
    fn inputs(&self) -> &[TensorSpec] {
        &self.0.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.0.outputs
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.0.about.metadata
    }

    fn is_steady(&self) -> bool {
        self.0.about.is_steady
    }

    fn is_row_wise(&self) -> bool {
        self.0.about.is_row_wise
    }

    fn session_bytes(&self) -> u64 {
        self.0.about.session_bytes
    }

    fn session(&self) -> Result<Box<dyn Session>, Problem> {
        let mut session = RemoteSession { shared: self.0.clone(), channel: None, mark: Mutex::default() };
        let worker = self.0.worker(Instant::now() + FIRST_RUN_MAX)?;
        let _begun = worker.begin();
        session.connect(&worker)?;
        Ok(Box::new(session))
    }

    fn process(&self) -> Option<i32> {
        match &locked(&self.0.state).now {
            Now::Up(it) => Some(it.pid()).filter(|it| *it > 0),
            _ => None,
        }
    }

    fn refusal(&self) -> Option<Problem> {
        if !self.0.is_aside.load(Ordering::Acquire) {
            return None;
        }
        let mut state = locked(&self.0.state);
        let Now::Aside { until, text } = &state.now else { return None };
        let left = until.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Some(aside(text, left));
        }
        // The call that comes after the time brings it back, and waits for it.
        self.0.restart(&mut state, Duration::ZERO);
        None
    }
}

fn aside(text: &str, left: Duration) -> Problem {
    Problem::unavailable(text)
        .hint("the model is tried again by itself; `kaogong endpoints update` tries it at once")
        .retry_in(left)
}

/// Starts a worker, which tells the model that `owner` will name of its end.
fn start(
    host: &Host,
    engine: EngineName,
    path: &Path,
    threads: usize,
    owner: Arc<Mutex<Weak<Shared>>>,
) -> Result<(Arc<Worker>, About), Problem> {
    let order = Order::Load { engine: engine.as_str().to_owned(), path: path.to_owned(), threads };
    host.start(&order, host.limits.for_file(path), move |id, ended| {
        let owner = locked(&owner).upgrade();
        if let Some(it) = owner {
            it.lose(id, ended);
        }
    })
}

impl Shared {
    /// Looks whether a worker ended before this model could hear of it.
    fn see(self: &Arc<Self>, worker: &Worker) {
        if let Some(ended) = worker.ended() {
            self.lose(worker.id, &ended);
        }
    }

    /// Decides about the end of the worker with that number. One that is not the current one is nobody's any more.
    fn lose(self: &Arc<Self>, id: u64, ended: &Ended) {
        let mut state = locked(&self.state);
        if !matches!(&state.now, Now::Up(it) if it.id == id) {
            return;
        }
        let good = self.good.swap(0, Ordering::AcqRel);
        let (history, next) = after_end(std::mem::take(&mut state.history), good, self.since.elapsed());
        state.history = history;
        let how = problem_of(&ended.how, "served the model").text;
        tracing::warn!(path = %self.path.display(), running = ended.running, "{how}");
        match next {
            Next::Start(pause) => self.restart(&mut state, pause),
            Next::SetAside(time) => {
                let why = match ended.ended_for {
                    Some(_) => "calls did not end in their time".to_owned(),
                    None => how,
                };
                self.set_aside(&mut state, time, &format!("the model ends its process again and again: {why}"));
            }
        }
    }

    fn set_aside(&self, state: &mut State, time: Duration, why: &str) {
        tracing::warn!(path = %self.path.display(), "a model is set aside for {} s: {why}", time.as_secs());
        let text = format!("{why}; it is set aside for {} seconds", time.as_secs());
        state.now = Now::Aside { until: Instant::now() + time, text };
        self.is_aside.store(true, Ordering::Release);
        self.bell.notify_all();
    }

    /// Starts a worker on a thread of its own, after a pause. Calls wait meanwhile.
    fn restart(self: &Arc<Self>, state: &mut State, pause: Duration) {
        self.is_aside.store(false, Ordering::Release);
        state.now = Now::Starting;
        let me = Arc::downgrade(self);
        let thread = std::thread::Builder::new().name("model-start".into()).spawn(move || {
            std::thread::sleep(pause);
            // Nobody wants the model any more when it is gone.
            if let Some(it) = me.upgrade() {
                it.start_again();
            }
        });
        if let Err(it) = thread {
            self.fail(state, &Problem::unavailable(format!("no thread can start it again: {it}")));
        }
    }

    fn start_again(self: &Arc<Self>) {
        let owner = Arc::new(Mutex::new(Arc::downgrade(self)));
        let started = start(&self.host, self.engine, &self.path, self.threads, owner);
        let mut state = locked(&self.state);
        match started {
            Ok((worker, about)) if about == self.about => {
                state.now = Now::Up(worker.clone());
                self.bell.notify_all();
                drop(state);
                self.see(&worker);
            }
            Ok(_) => self.fail(&mut state, &Problem::unavailable("the model is another one than before")),
            Err(problem) => self.fail(&mut state, &problem),
        }
    }

    fn fail(&self, state: &mut State, problem: &Problem) {
        let (history, next) = after_failed_start(std::mem::take(&mut state.history));
        state.history = history;
        let (Next::Start(time) | Next::SetAside(time)) = next;
        self.set_aside(state, time, &format!("the model could not be started again: {problem}"));
    }

    /// The worker that runs, waited for until a moment.
    fn worker(&self, until: Instant) -> Result<Arc<Worker>, Problem> {
        let mut state = locked(&self.state);
        loop {
            match &state.now {
                Now::Up(it) => return Ok(it.clone()),
                Now::Aside { until, text } => {
                    return Err(aside(text, until.saturating_duration_since(Instant::now())));
                }
                Now::Starting => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Problem::unavailable("the model's process was not started again in the time of the call")
                    .hint("try again in a moment"));
            }
            state = self.bell.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A channel that a worker knows.
struct Channel {
    caller: Caller,
    number: u64,
    worker: Arc<Worker>,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.worker.close(self.number);
    }
}

/// One thread's way to the model.
struct RemoteSession {
    shared: Arc<Shared>,
    channel: Option<Channel>,
    /// What stops the run that comes next, when somebody may stop it.
    mark: Mutex<Option<Arc<Mark>>>,
}

/// What came of one try.
enum Tried {
    Done(Result<Vec<Tensor>, Problem>),
    /// The worker ended, and not for this call.
    Innocent(Ending),
}

impl Session for RemoteSession {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Problem> {
        self.run_until(inputs, Instant::now() + FIRST_RUN_MAX)
    }

    fn run_until(&mut self, inputs: &[Tensor], until: Instant) -> Result<Vec<Tensor>, Problem> {
        let shared = self.shared.clone();
        let mark = locked(&self.mark).take().unwrap_or_default();
        let mut lost: Option<Ending> = None;
        loop {
            let Some(pass) = shared.gate.enter(lost.is_some(), until) else {
                return Err(match lost {
                    Some(how) => problem_of(&how, "computed other calls, and no time is left to run this one again"),
                    None => overdue(),
                });
            };
            let worker = shared.worker(until)?;
            match self.attempt(&worker, inputs, until, lost.is_some(), &mark) {
                Tried::Done(outcome) => return outcome,
                Tried::Innocent(how) => lost = Some(how),
            }
            drop(pass);
        }
    }

    fn stopper(&self) -> Option<Arc<dyn Stop>> {
        let mark = Arc::<Mark>::default();
        *locked(&self.mark) = Some(mark.clone());
        Some(mark)
    }
}

impl RemoteSession {
    /// Makes a channel to a worker, unless there is one.
    fn connect(&mut self, worker: &Arc<Worker>) -> Result<&mut Channel, Problem> {
        if self.channel.as_ref().is_none_or(|it| it.worker.id != worker.id) {
            self.channel = None;
            let failed = |it: std::io::Error| Problem::unavailable("no memory can be shared with a model").because(it);
            let caller = Caller::new().map_err(failed)?;
            let number = worker.open(caller.file(), caller.page())?;
            self.channel = Some(Channel { caller, number, worker: worker.clone() });
        }
        self.channel.as_mut().ok_or_else(|| Problem::unavailable("no channel to the model"))
    }

    fn attempt(&mut self, worker: &Arc<Worker>, inputs: &[Tensor], until: Instant, alone: bool, mark: &Mark) -> Tried {
        let _begun = worker.begin();
        let channel = match self.connect(worker) {
            Ok(it) => it,
            // It ended for another's call while this one was being let in.
            Err(_) if !alone && worker.ended().is_some_and(|it| it.running > 1) => {
                return Tried::Innocent(worker.wait_end().how);
            }
            Err(problem) => return Tried::Done(Err(problem)),
        };
        let number = channel.number;
        let began = Instant::now();
        if !mark.begin(worker.clone(), number) {
            return Tried::Done(Err(nobody_waits()));
        }
        let mut outcome = match channel.caller.call(inputs, until) {
            Ok(it) => it,
            Err(it) => {
                mark.end();
                return Tried::Done(Err(unsent(&it)));
            }
        };
        let is_late = matches!(outcome, Outcome::Overdue);
        if is_late {
            worker.stop(number);
            outcome = channel.caller.wait((until + STOP_MAX).max(began + RUN_MIN));
        }
        let is_stopped = mark.end() || is_late;
        if is_stopped {
            // A stop that arrives late would meet the next run of the channel, so it has none.
            self.channel = None;
        }
        self.judge(worker, number, outcome, alone, is_stopped)
    }

    /// What an outcome says about the call, and about the worker.
    fn judge(&mut self, worker: &Arc<Worker>, number: u64, outcome: Outcome, alone: bool, is_stopped: bool) -> Tried {
        match outcome {
            Outcome::Answer(bytes) => match tensors_of(&bytes, &self.shared.outputs) {
                Ok(tensors) => {
                    self.shared.good.fetch_add(1, Ordering::Relaxed);
                    Tried::Done(Ok(tensors))
                }
                Err(it) => self.give_up(worker, number, &it.to_string()),
            },
            Outcome::Problem(_) if is_stopped => Tried::Done(Err(overdue())),
            Outcome::Problem(problem) => {
                self.shared.good.fetch_add(1, Ordering::Relaxed);
                Tried::Done(Err(problem))
            }
            Outcome::Broken(it) => self.give_up(worker, number, &it.to_string()),
            Outcome::Gone => {
                self.channel = None;
                let ended = worker.wait_end();
                if is_to_blame(&ended, number, alone) {
                    Tried::Done(Err(problem_of(&ended.how, COMPUTED)))
                } else {
                    Tried::Innocent(ended.how)
                }
            }
            Outcome::Overdue => {
                worker.kill(Some(number));
                worker.wait_end();
                Tried::Done(Err(overdue()))
            }
        }
    }

    /// Ends a worker that wrote what no worker writes.
    fn give_up(&mut self, worker: &Arc<Worker>, number: u64, what: &str) -> Tried {
        self.channel = None;
        worker.kill(Some(number));
        worker.wait_end();
        let text = format!("the model's process gave an answer that cannot be read, and was ended: {what}");
        Tried::Done(Err(Problem::invalid(text)))
    }
}

/// The problem of a call whose caller went away before it was computed.
fn nobody_waits() -> Problem {
    Problem::unavailable("the caller of the call is gone")
}

fn unsent(error: &std::io::Error) -> Problem {
    if error.kind() == std::io::ErrorKind::FileTooLarge {
        return Problem::invalid("the inputs of the call are more than 512 MiB").hint("send fewer rows at once");
    }
    Problem::unavailable(format!("the inputs of a call cannot be given to the model: {error}"))
}
