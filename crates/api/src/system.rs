//! The server itself on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the server is, for signed-in callers.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SystemView {
    /// Program version.
    pub version: String,
    /// `sqlite` or `postgresql`
    pub store: String,
    /// Engines that can be used now.
    pub engines: Vec<EngineView>,
    /// Cores of the machine that the local runner hands out.
    pub cpus: f64,
    /// Memory that the local runner hands out, in bytes.
    pub memory_bytes: u64,
    /// How far limits of jobs can be enforced, in words.
    pub limits: String,
    /// Milliseconds since 1970.
    pub started_at: i64,
}

/// An engine.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EngineView {
    /// `tract` or `onnxruntime`
    pub name: String,
    /// Its version.
    pub version: String,
}
