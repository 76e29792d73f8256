//! Runs a model in a bare loop and prints calls per second: `bare_loop MODEL [tract | onnxruntime LIBRARY]`.
#![allow(clippy::print_stdout)]

use kaogong_engines::{OnnxRuntime, Tract};
use kaogong_serving::{Engine, Tensor, TensorSpec, tensor::elements_of};
use std::{
    error::Error,
    path::Path,
    time::{Duration, Instant},
};

/// How long the loop is measured.
const MEASURED: Duration = Duration::from_secs(3);
/// Calls before the clock starts.
const WARM_UP: u32 = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let words = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    let (model, engine): (&str, Box<dyn Engine>) = match words[..] {
        [model] | [model, "tract"] => (model, Box::new(Tract)),
        [model, "onnxruntime", library] => {
            let engine = OnnxRuntime::find(Some(Path::new(library)), &[])?.ok_or("no library")?;
            (model, Box::new(engine))
        }
        _ => return Err("usage: bare_loop MODEL [tract | onnxruntime LIBRARY]".into()),
    };
    let loaded = engine.load(Path::new(model), 1)?;
    let inputs = loaded.inputs().iter().map(zeros).collect::<Result<Vec<_>, _>>()?;
    let mut session = loaded.session()?;
    for _ in 0..WARM_UP {
        session.run(&inputs)?;
    }
    let start = Instant::now();
    let mut calls = 0u64;
    while start.elapsed() < MEASURED {
        session.run(&inputs)?;
        calls += 1;
    }
    let rate = calls as f64 / start.elapsed().as_secs_f64();
    println!("{} {}: {rate:.0} calls/s of one row, one thread", engine.name().as_str(), engine.version());
    Ok(())
}

/// An input of zeros with every free dimension 1.
fn zeros(spec: &TensorSpec) -> Result<Tensor, Box<dyn Error>> {
    let size = spec.datatype.size().ok_or("inputs of texts are not measured")?;
    let shape = spec.shape.iter().map(|it| if *it < 0 { 1 } else { *it }).collect::<Vec<_>>();
    let data = vec![0; elements_of(&shape)? * size].into();
    Ok(Tensor { name: spec.name.clone(), datatype: spec.datatype, shape, data })
}
