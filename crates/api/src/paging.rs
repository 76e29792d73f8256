//! Pages: bounded lists with a total.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The most rows one page may hold.
pub const PAGE_LIMIT_MAX: u32 = 500;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Rows to skip.
    #[serde(default)]
    pub offset: u64,
    /// Rows wanted, at most 500; 100 when absent.
    pub limit: Option<u32>,
}

impl PageQuery {
    /// The limit to use: what was asked for, within bounds.
    pub fn limit(&self) -> u32 {
        self.limit.unwrap_or(100).clamp(1, PAGE_LIMIT_MAX)
    }
}

/// One page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// How many rows there are in all.
    pub total: u64,
}
