//! Serving models: tensors, the Open Inference Protocol codec, the engine trait and the pool that runs it.
//!
//! Invariant: this crate names no model library and no web framework; the server and an edge agent share it.

pub mod engine;
pub mod histogram;
pub mod oip;
pub mod pool;
pub mod task;
pub mod tensor;
pub mod worker;

pub use engine::{Engine, Loaded, Session, Stop};
pub use pool::{Pool, Reply};
pub use tensor::{DataType, Tensor, TensorSpec};
