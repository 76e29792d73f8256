//! The error envelope of the native API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What every failed call answers with.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorView,
}

/// What went wrong: what failed, on which thing, and what to do next.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ErrorView {
    /// One of `invalid unauthenticated forbidden not_found conflict too_many unavailable bug`.
    pub kind: String,
    /// One sentence: what failed, on which thing.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The number to quote when asking for help.
    pub request_id: String,
}
