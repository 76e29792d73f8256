//! `kaogong supervise`: replaced by the wiring of the runner.

use kaogong_domain::Problem;
use std::process::ExitCode;

/// Arguments of `kaogong supervise`.
#[derive(Debug, clap::Args)]
pub struct SuperviseArgs {
    /// The attempt's folder.
    pub folder: std::path::PathBuf,
}

/// Runs one attempt.
pub fn run(_args: SuperviseArgs) -> Result<ExitCode, Problem> {
    Err(Problem::unavailable("this build holds no runner"))
}
