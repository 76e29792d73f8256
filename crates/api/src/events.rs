//! The event log and the home page on the wire.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// One change of state: the audit log and the live stream show the same lines.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// Grows by one; the place to go on from.
    pub seq: i64,
    /// Milliseconds since 1970.
    pub at: i64,
    /// The project's name; absent for changes of the platform itself.
    pub project: Option<String>,
    /// What happened: `job.cancelled`.
    pub action: String,
    /// The noun: `jobs`.
    pub noun: String,
    /// Id of the thing.
    pub object_id: String,
    /// Name of the thing.
    pub object_name: Option<String>,
    /// Who did it: a user's name, or `system`.
    pub actor: String,
    /// Where the call came from.
    pub address: Option<String>,
    /// More, by action.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}

/// Which events are wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Only events before this number, newest first; the newest when absent.
    pub before: Option<i64>,
    /// Only this noun.
    pub noun: Option<String>,
    /// Rows wanted, at most 500; 100 when absent.
    pub limit: Option<u32>,
}

/// What the home page shows.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OverviewView {
    /// Things in the project, by noun.
    pub counts: Counts,
    /// Jobs that are queued or running, newest first; at most 20.
    pub running: Vec<super::jobs::JobView>,
    /// What needs somebody: failed jobs of the last week, endpoints that cannot load.
    pub attention: Vec<AttentionView>,
    /// What changed, newest first; at most 20.
    pub changes: Vec<EventView>,
}

/// Things in a project.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// Datasets.
    pub datasets: u64,
    /// Jobs.
    pub jobs: u64,
    /// Runs.
    pub runs: u64,
    /// Registered models.
    pub models: u64,
    /// Endpoints.
    pub endpoints: u64,
}

/// Something that needs somebody.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AttentionView {
    /// The noun: `jobs`, `endpoints`.
    pub noun: String,
    /// Id of the thing.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub text: String,
    /// Milliseconds since 1970.
    pub at: i64,
}
