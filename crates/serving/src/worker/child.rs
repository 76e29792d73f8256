//! A worker: one model in one process, bounded from outside.

use super::{
    channel::Callee,
    control::{About, Line, Order, Reply},
    raw::{exit_now, keep_some_memory, leave_faults_alone},
    wire::{ToldProblem, tensors_of},
};
use crate::engine::{Engine, Loaded, Session, Stop};
use kaogong_domain::Problem;
use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setrlimit};
use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

/// The engines that a worker may be asked for.
pub type Engines = Vec<Arc<dyn Engine>>;

/// Free memory that a worker does not give back between two calls: most models compute within it.
const KEPT_BYTES: usize = 16 << 20;

/// Serves the server at the other end of the line until that is closed.
pub(super) fn run(line: Line, engines: Engines, space_bytes: u64, parent: Pid) -> ! {
    let code = match bound(space_bytes, parent) {
        Ok(()) => serve(&line, &engines),
        Err(_) => 3,
    };
    exit_now(code)
}

/// Bounds this process before any of the model's own work runs in it.
fn bound(space_bytes: u64, parent: Pid) -> rustix::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Some(parent) {
        // The zygote went before this process could ask to go with it.
        exit_now(4);
    }
    let limit = Rlimit { current: Some(space_bytes), maximum: Some(space_bytes) };
    setrlimit(Resource::Data, limit)?;
    // Where memory is short all the same, a model goes before the server. Not every system lets it say so.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let _ = rustix::thread::set_name(c"kaogong-model");
    leave_faults_alone();
    keep_some_memory(KEPT_BYTES);
    Ok(())
}

fn serve(line: &Line, engines: &[Arc<dyn Engine>]) -> i32 {
    let mut model: Option<Arc<dyn Loaded>> = None;
    let mut stops: HashMap<u64, Option<Arc<dyn Stop>>> = HashMap::new();
    loop {
        let (order, file) = match line.receive::<Order>() {
            Ok(Some(it)) => it,
            Ok(None) => return 0,
            Err(_) => return 5,
        };
        let reply = match order {
            Order::Load { engine, path, threads } => match load(engines, &engine, &path, threads) {
                Ok(it) => {
                    let about = about(&*it);
                    model = Some(it);
                    Reply::Loaded(Box::new(about))
                }
                Err(problem) => Reply::Failed(ToldProblem::from(&problem)),
            },
            Order::Open { channel } => match open(model.as_ref(), file) {
                Ok(stop) => {
                    stops.insert(channel, stop);
                    Reply::Opened
                }
                Err(problem) => Reply::Failed(ToldProblem::from(&problem)),
            },
            Order::Stop { channel } => {
                if let Some(Some(it)) = stops.get(&channel) {
                    it.stop();
                }
                continue;
            }
            Order::Close { channel } => {
                stops.remove(&channel);
                continue;
            }
        };
        if line.send(&reply, None).is_err() {
            return 0;
        }
    }
}

/// Does work of an engine that may panic.
fn guarded<T>(work: impl FnOnce() -> Result<T, Problem>) -> Result<T, Problem> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Problem::invalid("the engine panicked")))
}

fn load(engines: &[Arc<dyn Engine>], name: &str, path: &Path, threads: usize) -> Result<Arc<dyn Loaded>, Problem> {
    let engine = engines.iter().find(|it| it.name().as_str() == name);
    let engine = engine.ok_or_else(|| Problem::unavailable(format!("a worker has no engine `{name}`")))?;
    guarded(|| engine.load(path, threads))
}

fn about(model: &dyn Loaded) -> About {
    About {
        inputs: model.inputs().iter().map(Into::into).collect(),
        outputs: model.outputs().iter().map(Into::into).collect(),
        metadata: model.metadata().clone(),
        is_steady: model.is_steady(),
        is_row_wise: model.is_row_wise(),
        session_bytes: model.session_bytes(),
    }
}

/// Starts a thread with a session for a channel.
fn open(model: Option<&Arc<dyn Loaded>>, file: Option<OwnedFd>) -> Result<Option<Arc<dyn Stop>>, Problem> {
    let (Some(model), Some(file)) = (model.cloned(), file) else {
        return Err(Problem::unavailable("a worker was asked to run what it has not loaded"));
    };
    let failed = |it: std::io::Error| Problem::unavailable(format!("a worker cannot open a session: {it}"));
    let channel = Callee::new(file).map_err(failed)?;
    let session = guarded(|| model.session())?;
    let stop = session.stopper();
    let thread = std::thread::Builder::new().name("run".into());
    thread.spawn(move || answer_all(&*model, channel, session)).map_err(failed)?;
    Ok(stop)
}

fn answer_all(model: &dyn Loaded, mut channel: Callee, mut session: Box<dyn Session>) {
    while let Some(message) = channel.next() {
        let outcome = message
            .and_then(|it| tensors_of(&it, model.inputs()))
            .map_err(|it| Problem::invalid(format!("a worker cannot read its inputs: {it}")))
            .and_then(|inputs| guarded(|| session.run(&inputs)));
        channel.answer(&outcome);
    }
}
