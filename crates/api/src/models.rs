//! Registered models on the wire.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A registered model.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ModelView {
    /// `mdl_…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Alias to version number.
    pub aliases: BTreeMap<String, u32>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Versions, newest first.
    pub versions: Vec<ModelVersionView>,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970.
    pub updated_at: i64,
}

/// One version of a model.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ModelVersionView {
    /// `mv_…`
    pub id: String,
    /// The model's name.
    pub model: String,
    /// 1, 2, 3 …
    pub number: u32,
    /// `READY PENDING_REGISTRATION FAILED_REGISTRATION`
    pub status: String,
    /// Why it is not ready, or why a version that is ready cannot be served.
    pub status_message: Option<String>,
    /// Where it came from.
    pub source: String,
    /// The run that produced it.
    pub run_id: Option<String>,
    /// BLAKE3 of the model file, hex; absent when it holds no ONNX file.
    pub hash: Option<String>,
    /// Bytes of the model file.
    pub size: Option<u64>,
    /// What it is.
    pub description: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Dataset versions that its run read, as `name@number`.
    pub datasets: Vec<String>,
    /// Newest metrics of its run.
    pub metrics: BTreeMap<String, Option<f64>>,
    /// Endpoints that serve it.
    pub endpoints: Vec<String>,
    /// Milliseconds since 1970.
    pub created_at: i64,
}

/// A model version to register. Exactly one of `upload`, `run` and `source` says where its files are.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct NewModelVersion {
    /// Hash of an uploaded ONNX file.
    pub upload: Option<String>,
    /// A run whose ONNX artifact is taken.
    pub run: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Chosen by the caller; a repeated call with the same key answers with the version already made.
    pub request_key: Option<String>,
}

/// Where an alias points.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AliasChange {
    /// Version number.
    pub version: u32,
}
