//! A loaded model with its threads: bounded queue, batches of what waits, no waiting for more.
//!
//! A call has its time: who waits in the queue is told when it is over, and a run is ended then.
//!
//! A call of a model in this process that is known to be quick, and whose cost its caller cannot choose, runs on the
//! caller's own thread when a session is free: handing it over and back costs more than the model itself. Everything else
//! goes through the queue to a compute thread. Waking a thread costs more than a small model too, so one that is awake
//! takes what came meanwhile before another is woken: see [`Queue::wants_another`].

mod batch;
mod claim;
mod queue;
mod warm;

use crate::{
    engine::{Loaded, Session},
    histogram::Histogram,
    tensor::Tensor,
};
use claim::{Claim, Place};
use kaogong_domain::{ErrorKind, Problem, endpoints::Batching};
use queue::{Call, Queue};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Calls that may wait for one model.
pub const QUEUE_MAX: usize = 1024;
/// Rows of one batch.
const BATCH_ROWS_MAX: usize = 64;
/// Calls quicker than this run where they arrived, in nanoseconds. Handing over costs 10 to 30 µs; this is
/// also short enough not to hold up the other connections of the thread.
const QUICK_NS: u64 = 100_000;
/// A model slower than this at first gets no spare sessions: it would not become quick.
const SPARE_NS: u64 = 10 * QUICK_NS;
/// Rows of a call that runs where it arrived. What a run takes is known for one row; this bounds how wrong that can be
/// for a model that compares rows with each other.
const QUICK_ROWS_MAX: usize = 16;
/// A call that was left to a thread that is awake waits so long before another is woken.
const LEFT_MAX: Duration = Duration::from_millis(2);
/// A waiting call is given up after this, when the caller names no time.
const WAIT_USUAL: Duration = Duration::from_secs(30);
/// The longest time that a caller may name: the server ends a call after a minute.
pub const WAIT_MAX: Duration = Duration::from_secs(55);
/// What the sessions of one model may take together, in bytes, where each has weights of its own.
const COPIES_BYTES_MAX: u64 = 1 << 30;

/// How many sessions of `session_bytes` each there may be, of `wanted` ones: as many as stay within one GiB together,
/// and one in any case.
pub fn sessions_within(session_bytes: u64, wanted: usize) -> usize {
    let fit = COPIES_BYTES_MAX.checked_div(session_bytes).unwrap_or(u64::MAX);
    usize::try_from(fit).unwrap_or(usize::MAX).min(wanted).max(1)
}

/// Loads nothing and keeps nothing: runs a model as [`Pool::start`] would before it answers. Gives a remark when the model
/// takes nothing that is made up, so that nobody knows yet whether it works.
///
/// # Errors
/// As [`Pool::start`].
pub fn try_out(model: &dyn Loaded) -> Result<Option<String>, Problem> {
    warmed(model, 1, Batching::Auto).map(|it| it.1.remark)
}

/// What a call gets.
#[derive(Debug)]
pub struct Reply {
    /// Outputs, in the model's order.
    pub outputs: Vec<Tensor>,
    /// Microseconds in the queue.
    pub queue_us: u64,
    /// Microseconds in the engine.
    pub compute_us: u64,
}

/// Counters of one model.
#[derive(Default)]
pub struct Counters {
    /// Calls answered.
    pub succeeded: AtomicU64,
    /// Calls refused or failed.
    pub failed: AtomicU64,
    /// Nanoseconds in the queue, all calls.
    pub queue_ns: AtomicU64,
    /// Nanoseconds in the engine, all calls.
    pub compute_ns: AtomicU64,
    /// Runs of the engine; fewer than calls where they were batched.
    pub runs: AtomicU64,
    /// Whole time of calls.
    pub latency: Histogram,
}

struct Shared {
    queue: Mutex<Queue>,
    bell: Condvar,
    /// Sessions for calls that run where they arrive.
    spare: Mutex<Vec<Box<dyn Session>>>,
    model: Arc<dyn Loaded>,
    counters: Counters,
    /// What the engine takes for one row, learned; nanoseconds, smoothed over eight runs.
    row_ns: AtomicU64,
    is_steady: bool,
    can_batch: AtomicBool,
}

/// A loaded model with its threads. Dropping it waits for nothing: the threads answer what is queued, then end, and the
/// last of them frees the model.
pub struct Pool {
    shared: Arc<Shared>,
    remark: Option<String>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves a queue as whole as before; going on beats refusing every later call.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Pool {
    /// Starts `threads` compute threads, or fewer where the sessions would take too much memory, after the model has run
    /// in each of their sessions, to warm it up and to see that it works.
    ///
    /// # Errors
    /// `Invalid` when the model gives other outputs than it declares.
    pub fn start(model: Arc<dyn Loaded>, threads: usize) -> Result<Self, Problem> {
        Self::start_with(model, threads, Batching::Auto)
    }

    /// The same, with a word about rows of several callers.
    ///
    /// # Errors
    /// As [`Pool::start`].
    pub fn start_with(model: Arc<dyn Loaded>, threads: usize, batching: Batching) -> Result<Self, Problem> {
        let threads = threads.clamp(1, 64);
        let room = sessions_within(model.session_bytes(), 2 * threads);
        let (sessions, found) = warmed(&*model, threads.min(room), batching)?;
        let row_ns = found.row_ns.unwrap_or(SPARE_NS);
        let is_steady = model.is_steady();
        // One whose process computes would hold up the other calls of the thread that serves this one.
        let is_here = model.process().is_none();
        let spares = if is_here && is_steady && row_ns < SPARE_NS { threads.min(room - sessions.len()) } else { 0 };
        let spare = warmed(&*model, spares, batching)?.0;
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::new(sessions.len())),
            bell: Condvar::new(),
            spare: Mutex::new(spare),
            counters: Counters::default(),
            row_ns: AtomicU64::new(row_ns),
            is_steady,
            can_batch: AtomicBool::new(found.can_batch),
            model,
        });
        let pool = Self { shared, remark: found.remark };
        for (number, session) in sessions.into_iter().enumerate() {
            let shared = pool.shared.clone();
            let thread = std::thread::Builder::new().name(format!("compute-{number}"));
            // Not joined: whoever drops the pool may be a thread that serves requests.
            thread
                .spawn(move || serve(&shared, session))
                .map_err(|it| Problem::unavailable("cannot start a compute thread").because(it))?;
        }
        Ok(pool)
    }

    /// The model.
    pub fn model(&self) -> &Arc<dyn Loaded> {
        &self.shared.model
    }

    /// Why the model could not be tried before it answered, when that is so.
    pub fn remark(&self) -> Option<&str> {
        self.remark.as_deref()
    }

    /// Whether rows of several calls share a run.
    pub fn shares_runs(&self) -> bool {
        self.shared.can_batch()
    }

    /// Its counters.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Runs the model on inputs in the model's order.
    ///
    /// # Errors
    /// `TooMany` at once when the queue is full; `Unavailable` when the time is over before the run has begun. No time
    /// means 30 seconds, and more than [`WAIT_MAX`] is that.
    pub async fn infer(&self, inputs: Vec<Tensor>, time: Option<Duration>) -> Result<Reply, Problem> {
        let since = Instant::now();
        let answer = match self.shared.model.refusal() {
            Some(problem) => Err(problem),
            None => match self.quick_session(&inputs) {
                Some(session) => self.run_here(session, &inputs, since, time),
                None => self.run_queued(inputs, since, time).await,
            },
        };
        let counters = &self.shared.counters;
        match &answer {
            Ok(reply) => {
                counters.succeeded.fetch_add(1, Ordering::Relaxed);
                counters.queue_ns.fetch_add(reply.queue_us * 1000, Ordering::Relaxed);
                counters.latency.add(micros(since.elapsed()));
            }
            Err(_) => {
                counters.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        answer
    }

    fn quick_session(&self, inputs: &[Tensor]) -> Option<Box<dyn Session>> {
        // Inputs that do not agree on their rows have a cost that nobody has measured.
        let rows = batch::rows_of(inputs).filter(|it| self.shared.is_steady && *it <= QUICK_ROWS_MAX)?;
        if self.shared.row_ns.load(Ordering::Relaxed).saturating_mul(rows as u64) >= QUICK_NS {
            return None;
        }
        locked(&self.shared.spare).pop()
    }

    fn run_here(
        &self,
        session: Box<dyn Session>,
        inputs: &[Tensor],
        since: Instant,
        time: Option<Duration>,
    ) -> Result<Reply, Problem> {
        let began = Instant::now();
        let mut session = Some(session);
        let until = since + time.unwrap_or(WAIT_MAX).min(WAIT_MAX);
        let outputs = self.shared.run(&mut session, inputs, batch::rows_of(inputs).unwrap_or(1), until);
        let took = began.elapsed();
        locked(&self.shared.spare).extend(session);
        Ok(Reply { outputs: outputs?, queue_us: micros(began - since), compute_us: micros(took) })
    }

    async fn run_queued(&self, inputs: Vec<Tensor>, since: Instant, time: Option<Duration>) -> Result<Reply, Problem> {
        let (reply, answer) = oneshot::channel();
        let deadline = since + time.unwrap_or(WAIT_USUAL).min(WAIT_MAX);
        let until = since + time.unwrap_or(WAIT_MAX).min(WAIT_MAX);
        let claim = Arc::<Claim>::default();
        let rows = batch::rows_of(&inputs);
        let call = Call { inputs, since, deadline, until, rows, claim: claim.clone(), reply };
        let row_ns = self.shared.row_ns.load(Ordering::Relaxed);
        let is_woken = locked(&self.shared.queue).push(call, row_ns)?;
        if is_woken {
            self.shared.bell.notify_one();
        }
        let mut place = Place { shared: &self.shared, claim: &claim, is_over: false };
        let waited = self.answered(answer, is_woken, &claim, deadline, until).await?;
        place.is_over = true;
        waited.unwrap_or_else(|_| Err(Problem::unavailable("the model was taken down during the call")))
    }

    /// The answer to a queued call.
    ///
    /// # Errors
    /// `Unavailable` when its time is over.
    async fn answered(
        &self,
        mut answer: oneshot::Receiver<Result<Reply, Problem>>,
        is_woken: bool,
        claim: &Claim,
        deadline: Instant,
        until: Instant,
    ) -> Result<Result<Result<Reply, Problem>, oneshot::error::RecvError>, Problem> {
        if !is_woken {
            let soon = deadline.min(Instant::now() + LEFT_MAX);
            if let Ok(answer) = tokio::time::timeout_at(soon.into(), &mut answer).await {
                return Ok(answer);
            }
            // Whoever is awake computes something longer than expected.
            if locked(&self.shared.queue).wake() {
                self.shared.bell.notify_one();
            }
        }
        match tokio::time::timeout_at(deadline.into(), &mut answer).await {
            Ok(answer) => Ok(answer),
            Err(_) if claim.take() => Err(late()),
            // When the run is ended; how long that takes is no longer this caller's matter.
            Err(_) => tokio::time::timeout_at(until.into(), &mut answer).await.map_err(|_| overdue()),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        locked(&self.shared.queue).is_closed = true;
        self.shared.bell.notify_all();
    }
}

impl Shared {
    /// Runs the model, learns what it takes, and puts a fresh session in the place of one that panicked.
    fn run(
        &self,
        session: &mut Option<Box<dyn Session>>,
        inputs: &[Tensor],
        rows: usize,
        until: Instant,
    ) -> Result<Vec<Tensor>, Problem> {
        let mut taken = match session.take() {
            Some(session) => session,
            None => self.model.session()?,
        };
        let began = Instant::now();
        let outputs = catch_unwind(AssertUnwindSafe(|| taken.run_until(inputs, until)));
        let took = nanos(began.elapsed());
        self.counters.runs.fetch_add(1, Ordering::Relaxed);
        self.counters.compute_ns.fetch_add(took, Ordering::Relaxed);
        let old = self.row_ns.load(Ordering::Relaxed);
        let row_ns = took / rows.max(1) as u64;
        self.row_ns.store((old.saturating_mul(7).saturating_add(row_ns)) / 8, Ordering::Relaxed);
        let Ok(outputs) = outputs else {
            // What a panic left behind in the session is not used again.
            return Err(Problem::new(ErrorKind::Bug, "the engine panicked during a run"));
        };
        *session = Some(taken);
        outputs
    }

    fn can_batch(&self) -> bool {
        self.can_batch.load(Ordering::Relaxed)
    }
}

fn late() -> Problem {
    Problem::unavailable("the time of the call was over before the model could begin")
        .hint("try again, or allow more time")
}

/// The problem of a call whose run was not done in its time.
pub(crate) fn overdue() -> Problem {
    Problem::unavailable("the model did not finish in the time of the call, and was stopped")
        .hint("send less at once, or allow more time; at most 55 seconds are taken")
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Sessions that have run the model, and what the last of them showed.
fn warmed(
    model: &dyn Loaded,
    count: usize,
    batching: Batching,
) -> Result<(Vec<Box<dyn Session>>, warm::Warm), Problem> {
    let mut sessions = vec![];
    let mut found = warm::Warm::default();
    for _ in 0..count {
        let mut session = model.session()?;
        found = warm::warm_up(model, &mut *session, batching)?;
        sessions.push(session);
    }
    Ok((sessions, found))
}

fn serve(shared: &Shared, session: Box<dyn Session>) {
    let mut session = Some(session);
    while let Some(calls) = take(shared) {
        let now = Instant::now();
        let (live, over): (Vec<Call>, Vec<Call>) =
            calls.into_iter().filter(|it| !it.reply.is_closed()).partition(|it| it.deadline > now);
        for call in over {
            let _ = call.reply.send(Err(late()));
        }
        let live: Vec<Call> = live.into_iter().filter(|it| it.claim.take()).collect();
        if live.len() > 1 {
            run_together(shared, &mut session, live);
        } else {
            run_each(shared, &mut session, live);
        }
    }
}

/// The next calls that can run together; `None` when the pool is closed and empty.
fn take(shared: &Shared) -> Option<Vec<Call>> {
    let mut queue = locked(&shared.queue);
    loop {
        if let Some(calls) = queue.take(shared.can_batch(), shared.row_ns.load(Ordering::Relaxed)) {
            return Some(calls);
        }
        if queue.is_closed {
            return None;
        }
        queue.rest();
        queue = shared.bell.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
        queue.rise();
    }
}

/// One run for all calls. When it fails, or gives other rows than it got, each call runs alone: none may suffer
/// from, or see, what another sent.
fn run_together(shared: &Shared, session: &mut Option<Box<dyn Session>>, calls: Vec<Call>) {
    let began = Instant::now();
    let rows: Vec<usize> = calls.iter().map(|it| it.rows.unwrap_or(1)).collect();
    let total = rows.iter().sum();
    let inputs: Vec<&[Tensor]> = calls.iter().map(|it| it.inputs.as_slice()).collect();
    let until = calls.iter().map(|it| it.until).max().unwrap_or(began);
    let Ok(outputs) = shared.run(session, &batch::join(&inputs, total), total, until) else {
        return run_each(shared, session, calls);
    };
    let Some(parts) = batch::split(&outputs, &rows) else {
        shared.can_batch.store(false, Ordering::Relaxed);
        return run_each(shared, session, calls);
    };
    let compute_us = micros(began.elapsed());
    for (call, outputs) in calls.into_iter().zip(parts) {
        let queue_us = micros(began - call.since);
        // A caller that went away needs no answer.
        let _ = call.reply.send(Ok(Reply { outputs, queue_us, compute_us }));
    }
}

fn run_each(shared: &Shared, session: &mut Option<Box<dyn Session>>, calls: Vec<Call>) {
    for call in calls {
        let began = Instant::now();
        call.claim.begin(session.as_ref().and_then(|it| it.stopper()));
        let outputs = shared.run(session, &call.inputs, call.rows.unwrap_or(1), call.until);
        call.claim.begin(None);
        let (queue_us, compute_us) = (micros(began - call.since), micros(began.elapsed()));
        let _ = call.reply.send(outputs.map(|outputs| Reply { outputs, queue_us, compute_us }));
    }
}

#[cfg(test)]
mod tests;
