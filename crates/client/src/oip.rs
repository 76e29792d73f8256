//! Inference through the Open Inference Protocol, version 2, REST.

use crate::{Client, body::BodySource, call::Call};
use kaogong_domain::Problem;
use serde::{Deserialize, Serialize};

/// A tensor to send, row-major 32-bit floats.
#[derive(Debug, Clone, Serialize)]
pub struct InferInput {
    /// The input's name.
    pub name: String,
    /// `FP32` …
    pub datatype: &'static str,
    /// Dimensions.
    pub shape: Vec<i64>,
    /// Its numbers.
    pub data: Vec<f32>,
}

/// A tensor that came back.
#[derive(Debug, Clone, Deserialize)]
pub struct InferOutput {
    /// The output's name.
    pub name: String,
    /// `FP32` …
    pub datatype: String,
    /// Dimensions.
    pub shape: Vec<i64>,
    /// Its numbers; empty when the server answered in binary.
    #[serde(default)]
    pub data: Vec<f64>,
}

#[derive(Serialize)]
struct InferRequest<'a> {
    inputs: &'a [InferInput],
    outputs: [Wanted<'a>; 1],
}

#[derive(Serialize)]
struct Wanted<'a> {
    name: &'a str,
}

#[derive(Deserialize)]
struct InferResponse {
    outputs: Vec<InferOutput>,
}

impl Client {
    /// Asks an endpoint of the project for one output, which holds numbers; a model may have others that hold texts:
    /// `POST /p/{project}/v2/models/{name}/infer`.
    ///
    /// # Errors
    /// What the server refuses, or `Unavailable`.
    pub async fn infer(&self, endpoint: &str, inputs: &[InferInput], output: &str) -> Result<InferOutput, Problem> {
        let request = InferRequest { inputs, outputs: [Wanted { name: output }] };
        let body = serde_json::to_vec(&request).map_err(|it| Problem::bug("tensors cannot be written", it))?;
        let url = self.url(&["p", self.project(), "v2", "models", endpoint, "infer"]);
        // Inference changes nothing, so it may be asked again.
        let call = Call::post(url).repeatable(true).body(BodySource::Bytes(body.into(), "application/json"));
        let response: InferResponse = self.send(&call).await?.json().await?;
        response
            .outputs
            .into_iter()
            .find(|it| it.name == output)
            .ok_or_else(|| Problem::unavailable(format!("endpoint `{endpoint}` answers without `{output}`")))
    }
}
