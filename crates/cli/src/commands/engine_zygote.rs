//! The process that workers for models are copied from; started by the server, at the other end of its standard input.

use kaogong_domain::Problem;
use kaogong_engines::{OnnxRuntime, Tract};
use kaogong_serving::{Engine, worker};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
};

/// Variables that workers keep; the others hold what a model need not know.
const VARIABLES: [&str; 5] = ["PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "LANG"];

/// Arguments of `kaogong engine-zygote`.
#[derive(Debug, clap::Args)]
pub struct EngineZygoteArgs {
    /// The ONNX Runtime library, when there is one.
    #[arg(long = "onnxruntime", value_name = "LIB")]
    pub library: Option<PathBuf>,
    /// Open the library in each worker, because it starts threads when it is opened.
    #[arg(long)]
    pub late: bool,
}

/// The command that starts it.
pub fn command(program: &Path, library: Option<&Path>) -> Command {
    let mut command = Command::new(program);
    command.arg("engine-zygote").args(arguments(library));
    command.env_clear().envs(VARIABLES.iter().filter_map(|it| std::env::var_os(it).map(|value| (it, value))));
    command
}

fn arguments(library: Option<&Path>) -> Vec<OsString> {
    library.map(|it| vec!["--onnxruntime".into(), it.into()]).unwrap_or_default()
}

/// Starts workers until the server is gone.
pub fn run(args: &EngineZygoteArgs) -> Result<ExitCode, Problem> {
    let mut engines: Vec<Arc<dyn Engine>> = vec![Arc::new(Tract)];
    if let Some(library) = &args.library {
        engines.push(match args.late {
            // The version is the server's to tell.
            true => Arc::new(OnnxRuntime::known(library.clone(), String::new())),
            false => Arc::new(
                OnnxRuntime::find(Some(library), &[])?
                    .ok_or_else(|| Problem::invalid("the ONNX Runtime library cannot be used"))?,
            ),
        });
    }
    if !args.late && worker::has_threads() {
        // What is copied must have one thread. Workers pay for the opening each, then.
        use std::os::unix::process::CommandExt;
        let program = std::env::current_exe().map_err(|it| Problem::bug("this program's own file is unknown", it))?;
        let mut again = Command::new(program);
        let failed = again.arg("engine-zygote").args(arguments(args.library.as_deref())).arg("--late").exec();
        return Err(Problem::unavailable("workers for models cannot be started").because(failed));
    }
    worker::run_zygote(engines)?;
    Ok(ExitCode::SUCCESS)
}
