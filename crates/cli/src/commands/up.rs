//! `kaogong up`: replaced by the wiring of the server.

use kaogong_domain::Problem;
use std::process::ExitCode;

/// Arguments of `kaogong up`.
#[derive(Debug, clap::Args)]
pub struct UpArgs {
    /// The folder that keeps everything.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<std::path::PathBuf>,
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
}

/// Runs the server.
pub async fn run(_args: UpArgs) -> Result<ExitCode, Problem> {
    Err(Problem::unavailable("this build holds no server"))
}
