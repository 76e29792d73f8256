//! A loaded model with its threads: bounded queue, batches of what waits, no waiting for more.
//!
//! A call of a model known to be quick runs on the caller's own thread when a session is free: handing it over
//! and back costs more than the model itself. Everything else goes through the queue to a compute thread.

use crate::{
    engine::{Loaded, Session},
    histogram::Histogram,
    tensor::{DataType, Tensor, elements_of},
};
use kaogong_domain::{ErrorKind, Problem};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// Calls that may wait for one model.
pub const QUEUE_MAX: usize = 1024;
/// Rows of one batch.
const BATCH_ROWS_MAX: i64 = 64;
/// Models quicker than this run where the call arrived, in microseconds.
const QUICK_US: u64 = 100;
/// A waiting call is given up after this, when the caller names no time.
const WAIT_MAX: Duration = Duration::from_secs(30);

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

struct Call {
    inputs: Vec<Tensor>,
    since: Instant,
    deadline: Instant,
    reply: oneshot::Sender<Result<Reply, Problem>>,
}

#[derive(Default)]
struct Queue {
    calls: VecDeque<Call>,
    is_closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    bell: Condvar,
    /// Sessions for calls that run where they arrive.
    spare: Mutex<Vec<Box<dyn Session>>>,
    model: Arc<dyn Loaded>,
    counters: Counters,
    /// What the engine takes for one row, learned; microseconds, smoothed over eight calls.
    usual_us: AtomicU64,
    can_batch: bool,
}

/// A loaded model with its threads. Dropping it lets queued calls end first.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves a queue as whole as before; going on beats refusing every later call.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Pool {
    /// Starts `threads` compute threads, and runs the model once with zeros to warm it up and to see that it works.
    ///
    /// # Errors
    /// `Invalid` when the model fails on zeros of its own input shapes.
    pub fn start(model: Arc<dyn Loaded>, threads: usize) -> Result<Self, Problem> {
        let threads = threads.clamp(1, 64);
        let mut spare = vec![];
        for _ in 0..threads {
            spare.push(model.session()?);
        }
        let usual_us = warm_up(&*model, &mut spare)?;
        let all = |specs: &[crate::TensorSpec]| !specs.is_empty() && specs.iter().all(crate::TensorSpec::is_batched);
        let can_batch = all(model.inputs()) && all(model.outputs());
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            bell: Condvar::new(),
            spare: Mutex::new(spare),
            counters: Counters::default(),
            usual_us: AtomicU64::new(usual_us),
            can_batch,
            model,
        });
        let mut handles = vec![];
        for number in 0..threads {
            let (shared, session) = (shared.clone(), shared.model.session()?);
            let thread = std::thread::Builder::new().name(format!("compute-{number}"));
            let handle = thread
                .spawn(move || serve(&shared, session))
                .map_err(|it| Problem::unavailable("cannot start a compute thread").because(it))?;
            handles.push(handle);
        }
        Ok(Self { shared, threads: handles })
    }

    /// The model.
    pub fn model(&self) -> &Arc<dyn Loaded> {
        &self.shared.model
    }

    /// Its counters.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Runs the model on inputs in the model's order.
    ///
    /// # Errors
    /// `TooMany` at once when the queue is full; `Unavailable` when the time is over before a thread was free.
    pub async fn infer(&self, inputs: Vec<Tensor>, time: Option<Duration>) -> Result<Reply, Problem> {
        let since = Instant::now();
        let answer = match self.quick_session() {
            Some(session) => self.run_here(session, &inputs, since),
            None => self.run_queued(inputs, since, time).await,
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

    fn quick_session(&self) -> Option<Box<dyn Session>> {
        if self.shared.usual_us.load(Ordering::Relaxed) >= QUICK_US {
            return None;
        }
        locked(&self.shared.spare).pop()
    }

    fn run_here(&self, mut session: Box<dyn Session>, inputs: &[Tensor], since: Instant) -> Result<Reply, Problem> {
        let began = Instant::now();
        let outputs = session.run(inputs);
        let took = began.elapsed();
        locked(&self.shared.spare).push(session);
        self.shared.learn(took, rows_of(inputs));
        let outputs = outputs?;
        Ok(Reply { outputs, queue_us: micros(began - since), compute_us: micros(took) })
    }

    async fn run_queued(&self, inputs: Vec<Tensor>, since: Instant, time: Option<Duration>) -> Result<Reply, Problem> {
        let (reply, answer) = oneshot::channel();
        let deadline = since + time.unwrap_or(WAIT_MAX).min(WAIT_MAX);
        {
            let mut queue = locked(&self.shared.queue);
            if queue.is_closed {
                return Err(Problem::unavailable("the model is being taken down").hint("try again"));
            }
            if queue.calls.len() >= QUEUE_MAX {
                return Err(Problem::new(ErrorKind::TooMany, format!("{QUEUE_MAX} calls wait for this model already"))
                    .hint("send fewer at once, or try again in a moment"));
            }
            queue.calls.push_back(Call { inputs, since, deadline, reply });
        }
        self.shared.bell.notify_one();
        answer.await.unwrap_or_else(|_| Err(Problem::unavailable("the model was taken down during the call")))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        locked(&self.shared.queue).is_closed = true;
        self.shared.bell.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so; there is nothing left to wait for.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn learn(&self, took: Duration, rows: i64) {
        self.counters.runs.fetch_add(1, Ordering::Relaxed);
        self.counters.compute_ns.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
        let us = micros(took) / rows.max(1).unsigned_abs();
        let old = self.usual_us.load(Ordering::Relaxed);
        self.usual_us.store((old * 7 + us) / 8, Ordering::Relaxed);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn rows_of(inputs: &[Tensor]) -> i64 {
    inputs.first().and_then(|it| it.shape.first()).copied().unwrap_or(1).max(1)
}

/// Runs the model on zeros in every spare session; the second run of the first one tells how long a row takes.
fn warm_up(model: &dyn Loaded, sessions: &mut [Box<dyn Session>]) -> Result<u64, Problem> {
    let zeros = model.inputs().iter().map(zeros_of).collect::<Result<Vec<_>, _>>()?;
    let mut usual = 0;
    for session in sessions {
        let failed = |it: Problem| Problem::invalid(format!("the model fails on zeros of its own input shapes: {it}"));
        session.run(&zeros).map_err(failed)?;
        let began = Instant::now();
        session.run(&zeros)?;
        usual = micros(began.elapsed());
    }
    Ok(usual)
}

fn zeros_of(spec: &crate::TensorSpec) -> Result<Tensor, Problem> {
    let shape: Vec<i64> = spec.shape.iter().map(|it| if *it < 0 { 1 } else { *it }).collect();
    let bytes = elements_of(&shape)? * spec.datatype.size().unwrap_or(4);
    Ok(Tensor { name: spec.name.clone(), datatype: spec.datatype, shape, data: vec![0; bytes].into() })
}

fn serve(shared: &Shared, mut session: Box<dyn Session>) {
    while let Some(batch) = take(shared) {
        let now = Instant::now();
        let (live, late): (Vec<Call>, Vec<Call>) =
            batch.into_iter().filter(|it| !it.reply.is_closed()).partition(|it| it.deadline > now);
        for call in late {
            let problem = Problem::unavailable("the call waited longer for a free thread than its time").hint("try again");
            let _ = call.reply.send(Err(problem));
        }
        if !live.is_empty() {
            run_batch(shared, &mut *session, live);
        }
    }
}

/// The next calls that can run together; `None` when the pool is closed and empty.
fn take(shared: &Shared) -> Option<Vec<Call>> {
    let mut queue = locked(&shared.queue);
    loop {
        if let Some(first) = queue.calls.pop_front() {
            let mut rows = rows_of(&first.inputs);
            let mut batch = vec![first];
            while shared.can_batch
                && let Some(next) = queue.calls.front()
                && rows + rows_of(&next.inputs) <= BATCH_ROWS_MAX
                && agree(&batch[0].inputs, &next.inputs)
                && let Some(next) = queue.calls.pop_front()
            {
                rows += rows_of(&next.inputs);
                batch.push(next);
            }
            return Some(batch);
        }
        if queue.is_closed {
            return None;
        }
        queue = shared.bell.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
    }
}

/// Whether two calls differ in nothing but the number of rows.
fn agree(a: &[Tensor], b: &[Tensor]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            a.datatype == b.datatype && a.datatype != DataType::Bytes && a.shape.get(1..) == b.shape.get(1..)
        })
}

fn run_batch(shared: &Shared, session: &mut dyn Session, calls: Vec<Call>) {
    let began = Instant::now();
    let rows: Vec<i64> = calls.iter().map(|it| rows_of(&it.inputs)).collect();
    let outputs = match &calls[..] {
        [only] => session.run(&only.inputs),
        many => session.run(&joined(many, rows.iter().sum())),
    };
    let took = began.elapsed();
    shared.learn(took, rows.iter().sum());
    let mut parts = match outputs {
        Ok(outputs) if calls.len() == 1 => vec![Ok(outputs)],
        Ok(outputs) => split(&outputs, &rows).into_iter().map(Ok).collect(),
        Err(problem) => calls.iter().map(|_| Err(Problem::new(problem.kind, problem.text.clone()))).collect::<Vec<_>>(),
    };
    for call in calls.into_iter().rev() {
        let Some(part) = parts.pop() else { return };
        let reply = part.map(|outputs| Reply {
            outputs,
            queue_us: micros(began - call.since),
            compute_us: micros(took),
        });
        // A caller that went away needs no answer.
        let _ = call.reply.send(reply);
    }
}

fn joined(calls: &[Call], rows: i64) -> Vec<Tensor> {
    let first = &calls[0].inputs;
    (0..first.len())
        .map(|place| {
            let data: Vec<u8> = calls.iter().flat_map(|it| it.inputs[place].data.iter().copied()).collect();
            let mut shape = first[place].shape.clone();
            shape[0] = rows;
            Tensor { name: first[place].name.clone(), datatype: first[place].datatype, shape, data: data.into() }
        })
        .collect()
}

fn split(outputs: &[Tensor], rows: &[i64]) -> Vec<Vec<Tensor>> {
    let total: i64 = rows.iter().sum();
    let mut done = 0;
    rows.iter()
        .map(|count| {
            let part = outputs
                .iter()
                .map(|it| {
                    let row_bytes = it.data.len() / usize::try_from(total.max(1)).unwrap_or(1);
                    let (from, to) = (done as usize * row_bytes, (done + count) as usize * row_bytes);
                    let mut shape = it.shape.clone();
                    if let Some(first) = shape.first_mut() {
                        *first = *count;
                    }
                    Tensor { name: it.name.clone(), datatype: it.datatype, shape, data: it.data.slice(from..to) }
                })
                .collect();
            done += count;
            part
        })
        .collect()
}

#[cfg(test)]
mod tests;
