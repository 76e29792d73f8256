//! One method per route of the native API, by noun.

pub(crate) mod access;
pub(crate) mod datasets;
pub(crate) mod endpoints;
pub(crate) mod events;
pub(crate) mod jobs;
pub(crate) mod models;
pub(crate) mod runs;

use crate::{Client, call::Call};
use kaogong_domain::Problem;
use serde::de::DeserializeOwned;

impl Client {
    /// A route of the platform: `/api/v1/…`.
    pub(crate) fn route(&self, parts: &[&str]) -> reqwest::Url {
        self.url(&[&["api", "v1"], parts].concat())
    }

    /// A route of the project: `/api/v1/projects/{project}/…`.
    pub(crate) fn project_route(&self, parts: &[&str]) -> reqwest::Url {
        self.url(&[&["api", "v1", "projects", self.project()], parts].concat())
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, Problem> {
        self.send(&call).await?.json().await
    }

    pub(crate) async fn nothing(&self, call: Call) -> Result<(), Problem> {
        self.send(&call).await.map(drop)
    }
}
