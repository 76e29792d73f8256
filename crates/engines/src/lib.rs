//! Model engines: tract, which is compiled in, and ONNX Runtime, which is loaded where its library is found.
//!
//! Invariant: a file or a library that cannot be used is answered with a `Problem`, never with a panic.

mod checks;
mod compare;
mod graph;
pub mod onnxruntime;
mod rewrite;
mod rows;
mod steady;
pub mod tract;
mod whole;
mod wire;
mod words;

pub use compare::gives_the_same;
pub use onnxruntime::OnnxRuntime;
pub use tract::Tract;

#[cfg(target_endian = "big")]
compile_error!("tensors are little-endian on the wire and are handed to the engines as they are");
