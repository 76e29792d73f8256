//! `kaogong supervise`: watches over one attempt at a job. Started by the server, outlives it.

use kaogong_domain::Problem;
use std::process::ExitCode;

/// Arguments of `kaogong supervise`.
#[derive(Debug, clap::Args)]
pub struct SuperviseArgs {
    /// The attempt's folder.
    pub folder: std::path::PathBuf,
}

/// Runs one attempt.
pub fn run(args: SuperviseArgs) -> Result<ExitCode, Problem> {
    // Where the log cannot be written, on a full disk, the job goes on: telling that on the same stream would panic.
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).log_internal_errors(false).init();
    Ok(kaogong_runners::supervisor::run(&args.folder))
}
