//! Trying models and libraries in a process of their own. Here are the two hidden commands that such a process runs;
//! `ask` is the side of the server, which starts them.

pub mod ask;

use kaogong_domain::{ErrorKind, Problem, endpoints::EngineName};
use kaogong_engines::{OnnxRuntime, Tract, gives_the_same};
use kaogong_serving::{Engine, pool::try_out};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// What a model may take to be loaded and run once.
pub const MODEL_TIME_MAX: Duration = Duration::from_secs(120);
/// What a library may take to be opened.
pub const LIBRARY_TIME_MAX: Duration = Duration::from_secs(10);
/// Address space for the program, an engine and its buffers.
const SPACE_BYTES: u64 = 4 << 30;
/// Address space for each byte of a model file: the file, the weights read, the weights laid out for the processor, and
/// what a planner holds beside them.
const SPACE_PER_BYTE: u64 = 8;

/// Arguments of `kaogong probe-model`.
#[derive(Debug, clap::Args)]
pub struct ProbeModelArgs {
    /// The engine: tract or onnxruntime.
    #[arg(long, value_name = "NAME")]
    pub engine: String,
    /// The library of ONNX Runtime. For the engine tract, what ONNX Runtime gives is what its answers are held against.
    #[arg(long = "onnxruntime", value_name = "LIB")]
    pub library: Option<PathBuf>,
    /// The model.
    pub file: PathBuf,
}

/// Arguments of `kaogong probe-onnxruntime`.
#[derive(Debug, clap::Args)]
pub struct ProbeLibraryArgs {
    /// The library.
    pub library: PathBuf,
}

/// The one line that a probe says.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    /// The version of a library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// What to know about a model that can be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remark: Option<String>,
    /// What is wrong, when something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<ToldProblem>,
}

/// What a probe found out about something that can be used.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    version: Option<String>,
    remark: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ToldProblem {
    kind: String,
    text: String,
    hint: Option<String>,
}

impl Told {
    fn of(result: Result<Found, Problem>) -> Self {
        match result {
            Ok(Found { version, remark }) => Self { version, remark, problem: None },
            Err(it) => {
                let problem = ToldProblem { kind: it.kind.as_str().to_owned(), text: it.text, hint: it.hint };
                Self { problem: Some(problem), ..Self::default() }
            }
        }
    }

    fn into_result(self) -> Result<Found, Problem> {
        let Some(it) = self.problem else { return Ok(Found { version: self.version, remark: self.remark }) };
        let kind = ErrorKind::ALL.into_iter().find(|kind| kind.as_str() == it.kind).unwrap_or(ErrorKind::Unavailable);
        let problem = Problem::new(kind, it.text);
        Err(match it.hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        })
    }
}

/// Loads a model, runs it once, and says how that went.
pub fn model(args: &ProbeModelArgs) -> Result<ExitCode, Problem> {
    let tried = bound(space_for(&args.file), MODEL_TIME_MAX).and_then(|()| try_model(args));
    tell(tried.map(|remark| Found { remark, ..Found::default() }))
}

/// Opens an ONNX Runtime library and says its version.
pub fn library(args: &ProbeLibraryArgs) -> Result<ExitCode, Problem> {
    let opened = bound(SPACE_BYTES, LIBRARY_TIME_MAX).and_then(|()| open(&args.library));
    tell(opened.map(|it| Found { version: Some(it.version()), ..Found::default() }))
}

/// Gives a remark about a model that can be used.
fn try_model(args: &ProbeModelArgs) -> Result<Option<String>, Problem> {
    // Everything is dropped before the verdict is said: an engine may fail at that, too.
    match (EngineName::parse(&args.engine), &args.library) {
        (Some(EngineName::Tract), library) => {
            let model = Tract.load(&args.file, 1)?;
            let remark = try_out(&*model)?;
            if let Some(library) = library {
                // What only one of the two can load is not compared.
                if let Ok(right) = open(library)?.load(&args.file, 1) {
                    gives_the_same(&*right, &*model, "tract")?;
                }
            }
            Ok(remark)
        }
        (Some(EngineName::OnnxRuntime), Some(library)) => try_out(&*open(library)?.load(&args.file, 1)?),
        (Some(EngineName::OnnxRuntime), None) => Err(crate::exit::usage("--onnxruntime LIB is missing")),
        (None, _) => Err(crate::exit::usage("--engine is tract or onnxruntime")),
    }
}

fn open(library: &Path) -> Result<OnnxRuntime, Problem> {
    OnnxRuntime::find(Some(library), &[])?.ok_or_else(|| Problem::invalid("the library cannot be used"))
}

/// The address space that a model may need.
fn space_for(file: &Path) -> u64 {
    // A file that is not there is the engine's to explain.
    let size = file.metadata().map_or(0, |it| it.len());
    size.saturating_mul(SPACE_PER_BYTE).saturating_add(SPACE_BYTES)
}

/// Bounds this process before any foreign code runs in it.
fn bound(space_bytes: u64, time: Duration) -> Result<(), Problem> {
    let limit = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::As, limit(space_bytes))
        .and_then(|()| setrlimit(Resource::Core, limit(0)))
        .map_err(|it| Problem::unavailable(format!("a process for trying models cannot be bounded: {it}")))?;
    // Where memory is short all the same, this process goes first. Not every system lets it say so.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    // Whoever started this may have died; nobody else would end it then.
    let watch = std::thread::Builder::new().name("watch".into());
    let overdue = time + Duration::from_secs(5);
    watch
        .spawn(move || {
            std::thread::sleep(overdue);
            std::process::exit(1);
        })
        .map(drop)
        .map_err(|it| Problem::unavailable(format!("a process for trying models cannot start a thread: {it}")))
}

fn tell(result: Result<Found, Problem>) -> Result<ExitCode, Problem> {
    let code = if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let told =
        serde_json::to_string(&Told::of(result)).map_err(|it| Problem::bug("a verdict cannot be written", it))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{told}")
        .and_then(|()| out.flush())
        .map_err(|it| Problem::unavailable("nobody reads the verdict").because(it))?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_survives_the_way_between_two_processes() {
        let there_and_back = |result| {
            let line = serde_json::to_string(&Told::of(result)).expect("JSON");
            serde_json::from_str::<Told>(&line).expect("a verdict").into_result()
        };
        let found = || Found { version: Some("1.22.0".into()), remark: Some("untried".into()) };
        assert_eq!(there_and_back(Ok(Found::default())).expect("good"), Found::default());
        assert_eq!(there_and_back(Ok(found())).expect("good"), found());
        let problem = there_and_back(Err(Problem::invalid("no model").hint("export it"))).expect_err("bad");
        let (kind, text, hint) = (problem.kind, problem.text.as_str(), problem.hint.as_deref());
        assert_eq!((kind, text, hint), (ErrorKind::Invalid, "no model", Some("export it")));
    }

    #[test]
    fn space_grows_with_the_file_and_never_overflows() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("model");
        std::fs::write(&file, vec![0; 1000]).expect("written");
        assert_eq!(space_for(&file), SPACE_BYTES + 8000);
        assert_eq!(space_for(&folder.path().join("none")), SPACE_BYTES);
    }
}
