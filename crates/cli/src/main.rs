//! The `kaogong` program.

#![allow(unreachable_pub, reason = "a program has no outside; `pub` marks what its other modules use")]

mod args;
mod ask;
mod code_folder;
mod commands;
mod context;
mod data_in;
mod data_out;
mod exit;
mod holdout;
mod idle;
mod job_file;
mod job_wait;
mod log_text;
mod missing;
mod output;
mod profile;
mod python;
mod telemetry;

use args::{Cli, Command};
use commands::*;
use context::Context;
use kaogong_domain::Problem;
use std::process::ExitCode;

fn main() -> ExitCode {
    telemetry::switch_off();
    let cli = Cli::read();
    let context = Context::new(cli.global);
    let result = match cli.command {
        // Needs neither network nor threads, and must stay small: one per running job.
        Command::Supervise(args) => supervise::run(args),
        Command::ReadParquet(args) => read_parquet::run(&args),
        Command::ProbeModel(args) => probe::model(&args),
        Command::ProbeOnnxruntime(args) => probe::library(&args),
        Command::EngineZygote(args) => engine_zygote::run(&args),
        Command::Completion(args) => completion::run(&context, &args),
        other => in_runtime(&context, other),
    };
    result.unwrap_or_else(|problem| {
        context.out.problem(&problem);
        exit::code(&problem)
    })
}

fn in_runtime(context: &Context, command: Command) -> Result<ExitCode, Problem> {
    // The one place that chooses the cryptography of the process; a second installation changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|it| Problem::unavailable("cannot start threads").because(it))?;
    let result = runtime.block_on(dispatch(context, command));
    // A reader of standard input that waits for a person must not keep the program.
    runtime.shutdown_background();
    result
}

async fn dispatch(context: &Context, command: Command) -> Result<ExitCode, Problem> {
    match command {
        Command::Up(args) => return up::run(context, args).await,
        Command::Doctor(args) => return doctor::run(context, &args).await,
        Command::Jobs(command) => return jobs::run(context, command).await,
        Command::Quickstart(args) => quickstart::run(context, args).await?,
        Command::Login(args) => login::login(context, args).await?,
        Command::Logout(args) => login::logout(context, args).await?,
        Command::Open(args) => login::open(context, args).await?,
        Command::Access(command) => access::run(context, command).await?,
        Command::Datasets(command) => datasets::run(context, command).await?,
        Command::Runs(command) => runs::run(context, command).await?,
        Command::Models(command) => models::run(context, command).await?,
        Command::Endpoints(command) => endpoints::run(context, command).await?,
        Command::Audit(args) => audit::run(context, args).await?,
        Command::Backup(args) => backup::backup(context, args).await?,
        Command::Restore(args) => backup::restore(context, args).await?,
        Command::Supervise(_) | Command::Completion(_) => {}
        Command::ProbeModel(_) | Command::ProbeOnnxruntime(_) => {}
        Command::ReadParquet(_) | Command::EngineZygote(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}
