//! Experiments and runs, for reading; writing goes through the MLflow protocol.

use crate::{Answer, Client, call::Call};
use kaogong_api::{Page, jobs::ArtifactView, runs::*};
use kaogong_domain::Problem;

impl Client {
    /// `GET …/experiments`
    pub async fn experiments(&self) -> Result<Page<ExperimentView>, Problem> {
        self.json(Call::get(self.project_route(&["experiments"]))).await
    }

    /// `GET …/runs`
    pub async fn runs(&self, query: &RunQuery) -> Result<Page<RunView>, Problem> {
        self.json(Call::get(self.project_route(&["runs"])).query(query)?).await
    }

    /// `GET …/runs/{id}`
    pub async fn run(&self, id: &str) -> Result<RunView, Problem> {
        self.json(Call::get(self.project_route(&["runs", id]))).await
    }

    /// Curves of the named metrics, or of all. `GET …/runs/{id}/metrics`
    pub async fn run_metrics(&self, id: &str, keys: &[&str]) -> Result<Vec<CurveView>, Problem> {
        let mut url = self.project_route(&["runs", id, "metrics"]);
        if !keys.is_empty() {
            url.query_pairs_mut().extend_pairs(keys.iter().map(|it| ("key", it)));
        }
        self.json(Call::get(url)).await
    }

    /// `GET …/runs/{id}/artifacts`
    pub async fn run_artifacts(&self, id: &str) -> Result<Page<ArtifactView>, Problem> {
        self.json(Call::get(self.project_route(&["runs", id, "artifacts"]))).await
    }

    /// The bytes of an artifact. `GET …/runs/{id}/artifacts/{path…}`
    pub async fn run_artifact(&self, id: &str, path: &str) -> Result<Answer, Problem> {
        let parts: Vec<&str> = ["runs", id, "artifacts"].into_iter().chain(path.split('/')).collect();
        self.send(&Call::get(self.project_route(&parts)).streaming()).await
    }
}
