//! Tracked runs: states, limits and the words of the MLflow protocol that they map to.

use serde::{Deserialize, Serialize};

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RunStatus {
    /// Accepted by a scheduler.
    Scheduled,
    /// Logging.
    Running,
    /// Ended well.
    Finished,
    /// Ended badly.
    Failed,
    /// Stopped.
    Killed,
}

impl RunStatus {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Scheduled, Self::Running, Self::Finished, Self::Failed, Self::Killed];

    /// The word used on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDULED",
            Self::Running => "RUNNING",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }

    /// Whether nothing more is expected.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Killed)
    }
}

/// One value of a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricPoint {
    /// The metric's name.
    pub key: String,
    /// The value; may be NaN. Infinities are stored as the largest finite numbers, as MLflow does.
    pub value: f64,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The step.
    pub step: i64,
}

/// The bounds that MLflow clients expect a server to enforce (mlflow 3, `utils/validation.py`).
pub mod limits {
    /// Metrics in one batch.
    pub const BATCH_METRICS_MAX: usize = 1000;
    /// Parameters in one batch.
    pub const BATCH_PARAMS_MAX: usize = 100;
    /// Tags in one batch.
    pub const BATCH_TAGS_MAX: usize = 100;
    /// Characters of a key.
    pub const KEY_CHARS_MAX: usize = 250;
    /// Characters of a parameter's value; longer ones are cut.
    pub const PARAM_CHARS_MAX: usize = 6000;
    /// Characters of a run tag's value; longer ones are cut.
    pub const RUN_TAG_CHARS_MAX: usize = 8000;
    /// Characters of an experiment tag's value.
    pub const EXPERIMENT_TAG_CHARS_MAX: usize = 20_000;
    /// Characters of a registry tag's value.
    pub const MODEL_TAG_CHARS_MAX: usize = 100_000;
    /// Runs in one page.
    pub const SEARCH_RUNS_MAX: usize = 50_000;
    /// Points in one page of a metric's history.
    pub const HISTORY_PAGE_MAX: usize = 25_000;
}
