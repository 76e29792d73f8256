//! Experiments and runs for the console; writing goes through the MLflow protocol.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// A group of runs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExperimentView {
    /// `exp_…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// Runs in it.
    pub runs: u64,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Milliseconds since 1970.
    pub updated_at: i64,
}

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunView {
    /// `run_…`
    pub id: String,
    /// Its name.
    pub name: String,
    /// `RUNNING SCHEDULED FINISHED FAILED KILLED`
    pub status: String,
    /// `exp_…`
    pub experiment_id: String,
    /// The experiment's name.
    pub experiment: String,
    /// Who logged it.
    pub user: String,
    /// Milliseconds since 1970.
    pub started_at: i64,
    /// Milliseconds since 1970.
    pub ended_at: Option<i64>,
    /// The job that logged it.
    pub job_id: Option<String>,
    /// Dataset versions it read, as `name@number`.
    pub datasets: Vec<String>,
    /// Parameters.
    pub params: BTreeMap<String, String>,
    /// The newest value of each metric; `null` for NaN.
    pub metrics: BTreeMap<String, Option<f64>>,
    /// Tags, without those that MLflow keeps for itself.
    pub tags: BTreeMap<String, String>,
    /// Model versions registered from it.
    pub models: Vec<String>,
}

/// Which runs are wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RunQuery {
    /// Only this experiment, by name or id.
    pub experiment: Option<String>,
    /// As in MLflow: `metrics.accuracy > 0.9 and params.solver = 'adam'`.
    pub filter: Option<String>,
    /// As in MLflow: `metrics.accuracy DESC`.
    pub order: Option<String>,
    /// Rows to skip.
    #[serde(default)]
    pub offset: u64,
    /// Rows wanted, at most 500; 100 when absent.
    pub limit: Option<u32>,
}

/// One metric over time; the arrays have one length.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CurveView {
    /// The metric.
    pub key: String,
    /// Steps.
    pub steps: Vec<i64>,
    /// Milliseconds since 1970.
    pub at: Vec<i64>,
    /// Values; `null` for NaN.
    pub values: Vec<Option<f64>>,
}
