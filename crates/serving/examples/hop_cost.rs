//! What the pool adds to a call: on the caller's own thread, over the queue to a compute thread, and each of these with
//! the model in a process of its own.
//!
//! `hop_cost [CALLS]` times an engine that computes for a known time; what is left is the pool's own.
#![allow(clippy::print_stdout)]

use kaogong_domain::{Problem, endpoints::EngineName};
use kaogong_serving::{
    DataType, Engine, Loaded, Pool, Session, Tensor, TensorSpec,
    worker::{Host, Limits, RemoteEngine, run_zygote},
};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// An engine whose models give their input back.
struct Busy;

/// Gives its input back after `busy`.
struct Model {
    busy: Duration,
    specs: Vec<TensorSpec>,
    metadata: BTreeMap<String, String>,
}

impl Engine for Busy {
    fn name(&self) -> EngineName {
        EngineName::Tract
    }

    fn version(&self) -> String {
        "none".into()
    }

    /// The path is the microseconds that a run takes.
    fn load(&self, path: &Path, _: usize) -> Result<Arc<dyn Loaded>, Problem> {
        let name = path.file_name().and_then(|it| it.to_str()).and_then(|it| it.parse().ok());
        let busy = Duration::from_micros(name.ok_or_else(|| Problem::invalid("no number of microseconds"))?);
        let specs = vec![TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape: vec![-1, 64] }];
        Ok(Arc::new(Model { busy, specs, metadata: BTreeMap::new() }))
    }
}

impl Loaded for Model {
    fn inputs(&self) -> &[TensorSpec] {
        &self.specs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.specs
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn is_steady(&self) -> bool {
        true
    }

    fn session(&self) -> Result<Box<dyn Session>, Problem> {
        Ok(Box::new(Spin(self.busy)))
    }
}

struct Spin(Duration);

impl Session for Spin {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Problem> {
        let began = Instant::now();
        while began.elapsed() < self.0 {
            std::hint::spin_loop();
        }
        Ok(inputs.to_vec())
    }
}

async fn measure(name: &str, engine: &dyn Engine, busy_us: u64, calls: u32) -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::start(engine.load(Path::new(&busy_us.to_string()), 1)?, 1)?;
    let input = Tensor::f32("x", vec![1, 64], &[0.5; 64]);
    let mut took = Vec::new();
    for _ in 0..calls {
        let began = Instant::now();
        pool.infer(vec![input.clone()], None).await?;
        took.push(began.elapsed().saturating_sub(Duration::from_micros(busy_us)));
    }
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1000.0;
    println!("{name}: {:.2} µs are added (median), {:.2} µs (99th of 100)", at(0.5), at(0.99));
    Ok(())
}

async fn measure_all(calls: u32) -> Result<(), Box<dyn std::error::Error>> {
    let program = std::env::current_exe()?;
    let command = move || {
        let mut command = std::process::Command::new(&program);
        command.arg("zygote");
        command
    };
    let remote = RemoteEngine::new(Host::new(command, Limits { memory_bytes: 1 << 30 }), &Busy);
    for _ in 0..3 {
        measure("on the caller's thread           ", &Busy, 10, calls).await?;
        measure("on the caller's thread, a process", &remote, 10, calls).await?;
        measure("over the queue                   ", &Busy, 150, calls).await?;
        measure("over the queue, a process        ", &remote, 150, calls).await?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let word = std::env::args().nth(1);
    if word.as_deref() == Some("zygote") {
        return Ok(run_zygote(vec![Arc::new(Busy)])?);
    }
    let calls = word.map_or(Ok(20_000), |it| it.parse())?;
    let run = async move { measure_all(calls).await.map_err(|it| it.to_string()) };
    // On a worker of the runtime, where calls of a server run.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    Ok(runtime.block_on(async { tokio::spawn(run).await })??)
}
