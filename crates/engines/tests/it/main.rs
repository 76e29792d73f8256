//! Integration tests of both engines on the same small models.

mod engines;
mod hostile;
mod merged;
mod right;

use kaogong_engines::{OnnxRuntime, Tract};
use kaogong_serving::{Engine, Tensor};
use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// The variable that names the ONNX Runtime library.
const LIBRARY: &str = "KAOGONG_TEST_ONNXRUNTIME";

fn library() -> PathBuf {
    let path = std::env::var_os(LIBRARY).unwrap_or_else(|| {
        panic!("set {LIBRARY} to the file onnxruntime/capi/libonnxruntime.so.1.x.y of an installed Python package onnxruntime")
    });
    path.into()
}

fn onnxruntime() -> OnnxRuntime {
    static ENGINE: OnceLock<OnnxRuntime> = OnceLock::new();
    let load = || {
        OnnxRuntime::find(Some(&library()), &[])
            .expect("the library works")
            .expect("an explicit library is never passed over")
    };
    ENGINE.get_or_init(load).clone()
}

fn both() -> [Box<dyn Engine>; 2] {
    [Box::new(Tract), Box::new(onnxruntime())]
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Floats between -1 and 1 that are the same on every run.
fn floats(name: &str, shape: &[i64], seed: u64) -> Tensor {
    let count = usize::try_from(shape.iter().product::<i64>()).expect("a shape");
    let mut state = seed;
    let values = (0..count).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    });
    Tensor::f32(name, shape.to_vec(), &values.collect::<Vec<_>>())
}
