//! Endpoints on the wire; inference itself speaks the Open Inference Protocol.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An endpoint.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EndpointView {
    /// `ep_…`
    pub id: String,
    /// Its name, and the model's name in the Open Inference Protocol.
    pub name: String,
    /// `loading ready failed`
    pub state: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// The registered model.
    pub model: String,
    /// The model's version.
    pub version: u32,
    /// `tract` or `onnxruntime`
    pub engine: String,
    /// Whether rows of several callers share a run: `auto` where the graph keeps rows apart, `on` or `off`.
    pub batching: String,
    /// Whether they do, when it answers.
    pub shares_runs: Option<bool>,
    /// What to know about a model that answers: that nobody has seen it run, for one.
    pub remark: Option<String>,
    /// `process` when the model runs in a process of its own, `none` when it runs in the server's.
    pub isolation: String,
    /// The number of the process that the model runs in, when that is not the server's.
    pub process: Option<i32>,
    /// Input tensors.
    pub inputs: Vec<TensorView>,
    /// Output tensors.
    pub outputs: Vec<TensorView>,
    /// What the model is for, when its file says so (see docs/models.md); decides what can be tried in the console.
    #[schema(value_type = Option<Object>)]
    pub task: Option<serde_json::Value>,
    /// Counters since the server started.
    pub stats: EndpointStats,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Who made it.
    pub created_by: Option<String>,
}

/// A tensor of a model.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TensorView {
    /// Its name.
    pub name: String,
    /// `FP32`, `INT64` …
    pub datatype: String,
    /// Dimensions; -1 is free.
    pub shape: Vec<i64>,
}

/// Counters since the server started.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct EndpointStats {
    /// Calls answered.
    pub succeeded: u64,
    /// Calls refused or failed.
    pub failed: u64,
    /// Median time in the server, in microseconds.
    pub p50_us: Option<u64>,
    /// 99th percentile, in microseconds.
    pub p99_us: Option<u64>,
    /// Calls a second since the model was loaded.
    pub per_second: f64,
}

/// An endpoint to make.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewEndpoint {
    /// Its name.
    pub name: String,
    /// `MODEL@VERSION`, `MODEL@ALIAS`, or `MODEL` for the newest.
    pub model: String,
    /// `tract` or `onnxruntime`; when absent ONNX Runtime if its library was found, else tract.
    pub engine: Option<String>,
    /// `auto`, `on` or `off`; `auto` when absent. `on` is for models whose rows are known to be independent.
    pub batching: Option<String>,
    /// `process` (when absent) or `none`, which only the platform's administrator may choose: a fault in the model's native
    /// code then ends the server.
    #[serde(default)]
    pub isolation: Option<String>,
}

/// Another model for an endpoint.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EndpointChange {
    /// `MODEL@VERSION`, `MODEL@ALIAS`, or `MODEL` for the newest.
    pub model: String,
    /// `tract` or `onnxruntime`.
    pub engine: Option<String>,
    /// `auto`, `on` or `off`; as before when absent.
    pub batching: Option<String>,
    /// `process` or `none`; as it was when absent.
    #[serde(default)]
    pub isolation: Option<String>,
}

/// A row to predict from, for table models. Pictures are sent as the body itself.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PredictRow {
    /// Column to value.
    #[schema(value_type = Object)]
    pub row: serde_json::Map<String, serde_json::Value>,
}

/// What a model says about one picture or row.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PredictionView {
    /// The class, for classification.
    pub label: Option<String>,
    /// The number, for regression.
    pub value: Option<f64>,
    /// Classes with their probability, most likely first; at most ten.
    pub top: Vec<ClassShare>,
    /// Time in the queue, in microseconds.
    pub queue_us: u64,
    /// Time in the engine, in microseconds.
    pub compute_us: u64,
    /// Time in the server, decoding included, in microseconds.
    pub total_us: u64,
    /// The model that answered, as `name@version`.
    pub model: String,
}

/// A class and its probability.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ClassShare {
    /// The class.
    pub label: String,
    /// 0 to 1.
    pub probability: f64,
}
