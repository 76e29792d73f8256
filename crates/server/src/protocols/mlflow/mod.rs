//! MLflow.
use crate::{access::Route, app::App};
use kaogong_domain::{Problem, ids::{ProjectId, RunId}};
use kaogong_store::{RunFilter, RunOrder};
pub fn routes() -> Vec<Route> { vec![] }
pub fn parse_run_filter(_: &str) -> Result<Vec<RunFilter>, Problem> { Ok(vec![]) }
pub fn parse_run_order(_: &str) -> Result<Vec<RunOrder>, Problem> { Ok(vec![]) }
pub async fn onnx_of_run(_: &App, _: ProjectId, _: RunId) -> Result<(String, String), Problem> { Err(Problem::not_found("x")) }
