//! The pool with an engine that doubles numbers, as slowly as it is told.

use super::*;
use crate::tensor::TensorSpec;
use std::collections::BTreeMap;

/// Doubles; waits at the gate before each run that carries a row of nines.
struct Doubler {
    inputs: Vec<TensorSpec>,
    metadata: BTreeMap<String, String>,
    gate: Arc<Mutex<()>>,
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

    fn session(&self) -> Result<Box<dyn Session>, Problem> {
        Ok(Box::new(Doubling { gate: self.gate.clone(), runs: self.runs.clone() }))
    }
}

struct Doubling {
    gate: Arc<Mutex<()>>,
    runs: Arc<AtomicU64>,
}

impl Session for Doubling {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Problem> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let values = inputs[0].to_f64().expect("numbers");
        if values.contains(&9.0) {
            drop(locked(&self.gate));
        }
        if values.contains(&-1.0) {
            return Err(Problem::invalid("minus one cannot be doubled"));
        }
        let doubled: Vec<f32> = values.iter().map(|it| *it as f32 * 2.0).collect();
        Ok(vec![Tensor::f32("x", inputs[0].shape.clone(), &doubled)])
    }
}

fn pool() -> (Pool, Arc<Mutex<()>>, Arc<AtomicU64>) {
    let (gate, runs) = (Arc::new(Mutex::new(())), Arc::new(AtomicU64::new(0)));
    let inputs = vec![TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape: vec![-1, 2] }];
    let model = Doubler { inputs, metadata: BTreeMap::new(), gate: gate.clone(), runs: runs.clone() };
    let pool = Pool::start(Arc::new(model), 1).expect("a pool");
    (pool, gate, runs)
}

fn row(value: f32) -> Vec<Tensor> {
    vec![Tensor::f32("x", vec![1, 2], &[value, value])]
}

/// Makes the model count as slow, so that calls go through the queue.
fn slow(pool: &Pool) {
    pool.shared.usual_us.store(1_000_000, Ordering::Relaxed);
}

#[tokio::test]
async fn a_quick_model_answers_where_the_call_arrived() {
    let (pool, _, _) = pool();
    pool.shared.usual_us.store(0, Ordering::Relaxed);
    let reply = pool.infer(row(3.0), None).await.expect("a reply");
    assert_eq!(reply.outputs[0].to_f64(), Some(vec![6.0, 6.0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_runs_as_one_batch_and_each_gets_its_own() {
    let (pool, gate, runs) = pool();
    slow(&pool);
    let pool = Arc::new(pool);
    let held = locked(&gate);
    let first = tokio::spawn({ let pool = pool.clone(); async move { pool.infer(row(9.0), None).await } });
    while runs.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    let waiting: Vec<_> = (1..=4u8)
        .map(|it| tokio::spawn({ let pool = pool.clone(); async move { pool.infer(row(f32::from(it)), None).await } }))
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
    // Two warm-ups, the first call, and one batch of four.
    assert_eq!(runs.load(Ordering::SeqCst), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_at_once_and_a_late_call_is_dropped() {
    let (pool, gate, runs) = pool();
    slow(&pool);
    let pool = Arc::new(pool);
    let held = locked(&gate);
    let blocker = tokio::spawn({ let pool = pool.clone(); async move { pool.infer(row(9.0), None).await } });
    while runs.load(Ordering::SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    let late = tokio::spawn({ let pool = pool.clone(); async move { pool.infer(row(1.0), Some(Duration::ZERO)).await } });
    while locked(&pool.shared.queue).calls.is_empty() {
        tokio::task::yield_now().await;
    }
    {
        let mut queue = locked(&pool.shared.queue);
        while queue.calls.len() < QUEUE_MAX {
            let (reply, _) = oneshot::channel();
            let now = Instant::now();
            queue.calls.push_back(Call { inputs: row(0.0), since: now, deadline: now, reply });
        }
    }
    assert_eq!(pool.infer(row(1.0), None).await.expect_err("a refusal").kind, ErrorKind::TooMany);
    drop(held);
    assert_eq!(late.await.expect("a task").expect_err("too late").kind, ErrorKind::Unavailable);
    blocker.await.expect("a task").expect("a reply");
}

#[tokio::test]
async fn a_failure_of_the_engine_reaches_the_caller() {
    let (pool, _, _) = pool();
    slow(&pool);
    let problem = pool.infer(row(-1.0), None).await.expect_err("a failure");
    assert_eq!(problem.kind, ErrorKind::Invalid);
    assert_eq!(pool.counters().failed.load(Ordering::Relaxed), 1);
}
