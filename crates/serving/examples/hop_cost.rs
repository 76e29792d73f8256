//! What the pool adds to a call: on the caller's own thread, and over the queue to a compute thread.
//!
//! `hop_cost [CALLS]` times an engine that computes for a known time; what is left is the pool's own.
#![allow(clippy::print_stdout)]

use kaogong_domain::{Problem, endpoints::EngineName};
use kaogong_serving::{DataType, Engine, Loaded, Pool, Session, Tensor, TensorSpec};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Gives its input back after `busy`.
struct Busy {
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

    fn load(&self, _: &Path, _: usize) -> Result<Arc<dyn Loaded>, Problem> {
        Ok(Arc::new(Self { busy: self.busy, specs: self.specs.clone(), metadata: BTreeMap::new() }))
    }
}

impl Loaded for Busy {
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

async fn measure(name: &str, busy: Duration, calls: u32) -> Result<(), Box<dyn std::error::Error>> {
    let specs = vec![TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape: vec![-1, 64] }];
    let engine = Busy { busy, specs, metadata: BTreeMap::new() };
    let pool = Pool::start(engine.load(Path::new(""), 1)?, 1)?;
    let input = Tensor::f32("x", vec![1, 64], &[0.5; 64]);
    let mut took = Vec::new();
    for _ in 0..calls {
        let began = Instant::now();
        pool.infer(vec![input.clone()], None).await?;
        took.push(began.elapsed().saturating_sub(busy));
    }
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1000.0;
    println!("{name}: the pool adds {:.2} µs (median), {:.2} µs (99th of 100)", at(0.5), at(0.99));
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let calls = std::env::args().nth(1).map_or(Ok(20_000), |it| it.parse())?;
    let run = async move {
        measure("on the caller's thread", Duration::from_micros(10), calls).await.map_err(|it| it.to_string())?;
        measure("over the queue", Duration::from_micros(150), calls).await.map_err(|it| it.to_string())
    };
    // On a worker of the runtime, where calls of a server run.
    Ok(tokio::spawn(run).await??)
}
