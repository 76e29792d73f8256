//! `kaogong completion`.

use crate::{args::Cli, context::Context};
use kaogong_domain::Problem;
use std::process::ExitCode;

/// Arguments of `kaogong completion`.
#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// The shell.
    pub shell: clap_complete::Shell,
}

/// Prints the script.
pub fn run(context: &Context, args: &CompletionArgs) -> Result<ExitCode, Problem> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::parser(), "kaogong", &mut script);
    context.out.bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}
