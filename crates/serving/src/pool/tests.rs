//! The pool with an engine that doubles numbers, and does what else it is told.

use super::*;
use crate::tensor::{DataType, TensorSpec};
use std::collections::BTreeMap;

/// Holds runs up while it is closed.
#[derive(Default)]
struct Gate {
    is_closed: Mutex<bool>,
    bell: Condvar,
}

impl Gate {
    /// Closed until what it gives is dropped, also by a test that fails.
    fn close(&self) -> Held<'_> {
        *locked(&self.is_closed) = true;
        Held(self)
    }

    fn pass(&self) {
        let closed = locked(&self.is_closed);
        drop(self.bell.wait_while(closed, |it| *it).expect("nobody panics with the gate"));
    }
}

struct Held<'a>(&'a Gate);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *locked(&self.0.is_closed) = false;
        self.0.bell.notify_all();
    }
}

/// Doubles; waits at the gate before each run that carries a nine, fails on -1 and panics on -2.
struct Doubler {
    inputs: Vec<TensorSpec>,
    /// Adds the sum of all rows to each, as a model does that takes a sequence.
    mixes_rows: bool,
    is_steady: bool,
    session_bytes: u64,
    metadata: BTreeMap<String, String>,
    gate: Arc<Gate>,
    runs: Arc<AtomicU64>,
}

impl Loaded for Doubler {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn is_steady(&self) -> bool {
        self.is_steady
    }

    fn is_row_wise(&self) -> bool {
        // Also when it is not so: a try must find out then.
        true
    }

    fn session_bytes(&self) -> u64 {
        self.session_bytes
    }

    fn session(&self) -> Result<Box<dyn Session>, Problem> {
        Ok(Box::new(Doubling { mixes_rows: self.mixes_rows, gate: self.gate.clone(), runs: self.runs.clone() }))
    }
}

struct Doubling {
    mixes_rows: bool,
    gate: Arc<Gate>,
    runs: Arc<AtomicU64>,
}

impl Session for Doubling {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Problem> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let values = inputs[0].to_f64().expect("numbers");
        if values.contains(&9.0) {
            self.gate.pass();
        }
        if values.contains(&-1.0) {
            return Err(Problem::invalid("minus one cannot be doubled"));
        }
        assert!(!values.contains(&-2.0), "minus two is not expected");
        let sum = if self.mixes_rows { values.iter().sum::<f64>() } else { 0.0 };
        let doubled: Vec<f32> = values.iter().map(|it| (*it * 2.0 + sum) as f32).collect();
        Ok(vec![Tensor::f32("x", inputs[0].shape.clone(), &doubled)])
    }
}

fn pool() -> (Pool, Arc<Gate>, Arc<AtomicU64>) {
    pool_of(false)
}

fn doubler(mixes_rows: bool) -> Doubler {
    let inputs = vec![TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape: vec![-1, 2] }];
    Doubler {
        mixes_rows,
        is_steady: true,
        session_bytes: 0,
        inputs,
        metadata: BTreeMap::new(),
        gate: Arc::default(),
        runs: Arc::default(),
    }
}

fn pool_of(mixes_rows: bool) -> (Pool, Arc<Gate>, Arc<AtomicU64>) {
    let model = doubler(mixes_rows);
    let (gate, runs) = (model.gate.clone(), model.runs.clone());
    let pool = Pool::start(Arc::new(model), 1).expect("a pool");
    runs.store(0, Ordering::SeqCst);
    (pool, gate, runs)
}

fn row(value: f32) -> Vec<Tensor> {
    vec![Tensor::f32("x", vec![1, 2], &[value, value])]
}

/// Makes the model count as slow, so that calls go through the queue.
fn slow(pool: &Pool) {
    pool.shared.row_ns.store(u64::MAX, Ordering::Relaxed);
}

#[tokio::test]
async fn a_quick_model_answers_where_the_call_arrived() {
    let (pool, _, _) = pool();
    pool.shared.row_ns.store(0, Ordering::Relaxed);
    let reply = pool.infer(row(3.0), None).await.expect("a reply");
    assert_eq!(reply.outputs[0].to_f64(), Some(vec![6.0, 6.0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_runs_as_one_batch_and_each_gets_its_own() {
    let (pool, gate, runs) = pool();
    slow(&pool);
    let pool = Arc::new(pool);
    let held = gate.close();
    let first = tokio::spawn({
        let pool = pool.clone();
        async move { pool.infer(row(9.0), None).await }
    });
    while runs.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    let waiting: Vec<_> = (1..=4u8)
        .map(|it| {
            tokio::spawn({
                let pool = pool.clone();
                async move { pool.infer(row(f32::from(it)), None).await }
            })
        })
        .collect();
    while locked(&pool.shared.queue).calls.len() < 4 {
        tokio::task::yield_now().await;
    }
    drop(held);
    first.await.expect("a task").expect("a reply");
    for (place, call) in waiting.into_iter().enumerate() {
        let reply = call.await.expect("a task").expect("a reply");
        let expected = (place + 1) as f64 * 2.0;
        assert_eq!(reply.outputs[0].to_f64(), Some(vec![expected, expected]));
        assert_eq!(reply.outputs[0].shape, [1, 2]);
    }
    // The first call, and one batch of four.
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_at_once_and_a_late_call_is_dropped() {
    let (pool, gate, runs) = pool();
    slow(&pool);
    let pool = Arc::new(pool);
    let held = gate.close();
    let blocker = tokio::spawn({
        let pool = pool.clone();
        async move { pool.infer(row(9.0), None).await }
    });
    while runs.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    // Its time is over before its turn; then it holds no place.
    let late = pool.infer(row(1.0), Some(Duration::ZERO)).await;
    assert_eq!(late.expect_err("too late").kind, ErrorKind::Unavailable);
    assert!(locked(&pool.shared.queue).calls.is_empty());
    let mut callers = vec![];
    {
        let mut queue = locked(&pool.shared.queue);
        while queue.calls.len() < QUEUE_MAX {
            let (reply, caller) = oneshot::channel();
            callers.push(caller);
            let now = Instant::now();
            let claim = Arc::default();
            queue.calls.push_back(Call {
                inputs: row(0.0),
                since: now,
                deadline: now,
                until: now,
                rows: Some(1),
                claim,
                reply,
            });
        }
    }
    assert_eq!(pool.infer(row(1.0), None).await.expect_err("a refusal").kind, ErrorKind::TooMany);
    drop(held);
    blocker.await.expect("a task").expect("a reply");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_hangs_up_takes_its_tensors_out_of_the_queue() {
    let (pool, gate, runs) = pool();
    slow(&pool);
    let pool = Arc::new(pool);
    let held = gate.close();
    let call = |value: f32| {
        let pool = pool.clone();
        tokio::spawn(async move { pool.infer(row(value), None).await })
    };
    let blocker = call(9.0);
    while runs.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    let (gone, stays) = (call(1.0), call(2.0));
    while locked(&pool.shared.queue).calls.len() < 2 {
        tokio::task::yield_now().await;
    }
    gone.abort();
    assert!(gone.await.expect_err("no answer").is_cancelled());
    let left: Vec<_> = locked(&pool.shared.queue).calls.iter().map(|it| it.inputs[0].to_f64()).collect();
    assert_eq!(left, [Some(vec![2.0, 2.0])]);
    drop(held);
    blocker.await.expect("a task").expect("a reply");
    assert_eq!(stays.await.expect("a task").expect("a reply").outputs[0].to_f64(), Some(vec![4.0, 4.0]));
}

#[tokio::test]
async fn a_failure_of_the_engine_reaches_the_caller() {
    let (pool, _, _) = pool();
    slow(&pool);
    let problem = pool.infer(row(-1.0), None).await.expect_err("a failure");
    assert_eq!(problem.kind, ErrorKind::Invalid);
    assert_eq!(pool.counters().failed.load(Ordering::Relaxed), 1);
}

/// A blocker in the engine, the calls waiting behind it, then all their answers.
async fn answers_behind_a_blocker(mixes_rows: bool, values: &[f32]) -> (Vec<Result<Reply, Problem>>, u64) {
    let (pool, gate, runs) = pool_of(mixes_rows);
    slow(&pool);
    let pool = Arc::new(pool);
    let call = |value: f32| {
        let pool = pool.clone();
        tokio::spawn(async move { pool.infer(row(value), None).await })
    };
    let held = gate.close();
    let blocker = call(9.0);
    while runs.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    let mut waiting = vec![];
    for value in values {
        waiting.push(call(*value));
        while locked(&pool.shared.queue).calls.len() < waiting.len() {
            tokio::task::yield_now().await;
        }
    }
    drop(held);
    blocker.await.expect("a task").expect("a reply");
    let mut answers = vec![];
    for task in waiting {
        answers.push(task.await.expect("a task"));
    }
    (answers, runs.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_row_spoils_no_other_call_of_its_batch() {
    for bad in [-1.0, -2.0] {
        let (answers, _) = answers_behind_a_blocker(false, &[1.0, bad, 3.0]).await;
        assert_eq!(answers[0].as_ref().expect("a reply").outputs[0].to_f64(), Some(vec![2.0, 2.0]));
        assert!(answers[1].is_err());
        assert_eq!(answers[2].as_ref().expect("a reply").outputs[0].to_f64(), Some(vec![6.0, 6.0]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_see_each_other_never_share_a_run() {
    let (answers, runs) = answers_behind_a_blocker(true, &[1.0, 2.0]).await;
    assert_eq!(answers[0].as_ref().expect("a reply").outputs[0].to_f64(), Some(vec![4.0, 4.0]));
    assert_eq!(answers[1].as_ref().expect("a reply").outputs[0].to_f64(), Some(vec![8.0, 8.0]));
    assert_eq!(runs, 3);
}

#[tokio::test]
async fn many_rows_of_a_quick_model_do_not_hold_up_the_caller_s_thread() {
    let (pool, _, _) = pool();
    pool.shared.row_ns.store(1000, Ordering::Relaxed);
    assert!(pool.quick_session(&row(1.0)).is_some());
    assert!(pool.quick_session(&[Tensor::f32("x", vec![500, 2], &[1.0; 1000])]).is_none());
}

#[tokio::test]
async fn what_a_caller_can_make_expensive_never_runs_on_the_caller_s_thread() {
    let (steady, _, _) = pool();
    steady.shared.row_ns.store(1, Ordering::Relaxed);
    assert!(steady.quick_session(&row(1.0)).is_some());
    let rows = QUICK_ROWS_MAX as i64 + 1;
    assert!(steady.quick_session(&[Tensor::f32("x", vec![rows, 2], &vec![1.0; 2 * rows as usize])]).is_none());
    // Two inputs that disagree about the rows: nobody has measured that.
    let uneven = [Tensor::f32("x", vec![1, 2], &[1.0; 2]), Tensor::f32("y", vec![4, 2], &[1.0; 8])];
    assert!(steady.quick_session(&uneven).is_none());

    let unsteady = Pool::start(Arc::new(Doubler { is_steady: false, ..doubler(false) }), 1).expect("a pool");
    unsteady.shared.row_ns.store(1, Ordering::Relaxed);
    assert!(unsteady.quick_session(&row(1.0)).is_none());
    assert_eq!(unsteady.infer(row(3.0), None).await.expect("a reply").outputs[0].to_f64(), Some(vec![6.0, 6.0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_has_begun_is_waited_for() {
    let (pool, gate, runs) = pool();
    slow(&pool);
    let pool = Arc::new(pool);
    let held = gate.close();
    let call = tokio::spawn({
        let pool = pool.clone();
        async move { pool.infer(row(9.0), None).await }
    });
    while runs.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    // Behind it, a call whose time is over before its turn is refused while the other one still runs.
    let behind = pool.infer(row(1.0), Some(Duration::from_millis(40))).await.expect_err("too late");
    assert_eq!(behind.kind, ErrorKind::Unavailable);
    assert!(!call.is_finished());
    drop(held);
    assert_eq!(call.await.expect("a task").expect("a reply").outputs[0].to_f64(), Some(vec![18.0, 18.0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_pool_waits_for_nothing_and_its_thread_frees_the_model() {
    let (pool, gate, runs) = pool();
    slow(&pool);
    let held = gate.close();
    let since = Instant::now();
    let (reply, answer) = oneshot::channel();
    let deadline = since + Duration::from_secs(60);
    locked(&pool.shared.queue).calls.push_back(Call {
        inputs: row(9.0),
        since,
        deadline,
        until: deadline,
        rows: Some(1),
        claim: Arc::default(),
        reply,
    });
    pool.shared.bell.notify_all();
    while runs.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    let shared = Arc::downgrade(&pool.shared);
    drop(pool);
    assert!(shared.upgrade().is_some(), "the run still holds the model");
    drop(held);
    answer.await.expect("an answer").expect("a reply");
    while shared.upgrade().is_some() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn copies_of_the_weights_stay_within_their_bound() {
    assert_eq!(sessions_within(0, 8), 8);
    assert_eq!(sessions_within(1 << 20, 8), 8);
    assert_eq!(sessions_within(300 << 20, 8), 3);
    assert_eq!(sessions_within(4 << 30, 8), 1);
    let model = Doubler { session_bytes: 400 << 20, ..doubler(false) };
    let pool = Pool::start(Arc::new(model), 4).expect("a pool");
    assert_eq!(locked(&pool.shared.spare).len(), 0);
    let small = Pool::start(Arc::new(doubler(false)), 2).expect("a pool");
    assert!(locked(&small.shared.spare).len() <= 2);
}

/// Computes until somebody stops it, when it is given a nine.
#[derive(Default)]
struct Stoppable {
    is_begun: Mutex<bool>,
    is_stopped: Mutex<bool>,
    bell: Condvar,
}

impl crate::Stop for Stoppable {
    fn stop(&self) {
        *locked(&self.is_stopped) = true;
        self.bell.notify_all();
    }
}

struct Endless(Arc<Stoppable>);

impl Session for Endless {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Problem> {
        if inputs[0].to_f64().expect("numbers").contains(&9.0) {
            *locked(&self.0.is_begun) = true;
            let is_stopped = locked(&self.0.is_stopped);
            drop(self.0.bell.wait_while(is_stopped, |it| !*it).expect("nobody panics with it"));
            return Err(Problem::invalid("it was stopped"));
        }
        Ok(inputs.to_vec())
    }

    fn stopper(&self) -> Option<Arc<dyn crate::Stop>> {
        Some(self.0.clone())
    }
}

struct EndlessModel(Doubler, Arc<Stoppable>);

impl Loaded for EndlessModel {
    fn inputs(&self) -> &[TensorSpec] {
        self.0.inputs()
    }

    fn outputs(&self) -> &[TensorSpec] {
        self.0.outputs()
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        self.0.metadata()
    }

    fn session(&self) -> Result<Box<dyn Session>, Problem> {
        Ok(Box::new(Endless(self.1.clone())))
    }
}

/// A pool with one thread, and what stops its runs.
fn endless() -> (Arc<Pool>, Arc<Stoppable>) {
    let stop = Arc::<Stoppable>::default();
    let pool = Pool::start(Arc::new(EndlessModel(doubler(false), stop.clone())), 1).expect("a pool");
    (Arc::new(pool), stop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_stopped_when_its_time_is_over() {
    let (pool, stop) = endless();
    // On a busy machine the time may be over before the run begins.
    while !*locked(&stop.is_stopped) {
        let over = pool.infer(row(9.0), Some(Duration::from_millis(20))).await.expect_err("over");
        assert_eq!(over.kind, ErrorKind::Unavailable);
    }
    assert!(pool.infer(row(1.0), None).await.is_ok(), "the one thread that computes is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_stopped_when_its_caller_goes() {
    let (pool, stop) = endless();
    let caller = tokio::spawn({
        let pool = pool.clone();
        async move { pool.infer(row(9.0), None).await }
    });
    while !*locked(&stop.is_begun) {
        tokio::task::yield_now().await;
    }
    caller.abort();
    assert!(pool.infer(row(1.0), None).await.is_ok(), "the one thread that computes is free again");
    assert!(*locked(&stop.is_stopped));
}

#[tokio::test]
async fn a_panic_costs_one_call_and_no_thread() {
    let (pool, _, _) = pool();
    for row_ns in [0, u64::MAX, 0, u64::MAX] {
        pool.shared.row_ns.store(row_ns, Ordering::Relaxed);
        assert_eq!(pool.infer(row(-2.0), None).await.expect_err("a panic").kind, ErrorKind::Bug);
        slow(&pool);
        assert!(pool.infer(row(1.0), None).await.is_ok());
    }
}
