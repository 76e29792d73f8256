//! The server's side of a probe: starts this program anew, waits within bounds, and finds words for how it ended.

use super::{Found, LIBRARY_TIME_MAX, MODEL_TIME_MAX, Told, space_for};
use kaogong_control::serving::{ModelProbe, Verdict};
use kaogong_domain::{Problem, endpoints::EngineName};
use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    sync::Semaphore,
};

/// Models tried side by side: each may take the memory of a whole model.
const AT_ONCE: usize = 2;
/// The signal by which the system ends a process where memory is short.
const KILLED: i32 = 9;
/// What is kept of a process's output, from its end.
const OUTPUT_BYTES_MAX: usize = 16 << 10;
/// Variables that a process for trying models keeps; the others hold what it need not know.
const VARIABLES: [&str; 5] = ["PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "LANG"];
/// Words of those who ran out of memory and said so before they ended: Rust, C++ and the C library.
const MEMORY_WORDS: [&str; 4] = ["memory allocation of", "bad_alloc", "out of memory", "cannot allocate memory"];

/// Tries models by starting this program anew.
pub struct ProcessProbe {
    program: PathBuf,
    library: Option<PathBuf>,
    places: Semaphore,
}

impl ProcessProbe {
    /// `program` is this program's own file, `library` the one of ONNX Runtime.
    pub fn new(program: PathBuf, library: Option<PathBuf>) -> Self {
        Self { program, library, places: Semaphore::new(AT_ONCE) }
    }

    async fn try_model(&self, engine: EngineName, file: &Path) -> Result<Option<String>, Problem> {
        let place = self.places.acquire().await;
        let _place = place.map_err(|it| Problem::unavailable("no more models are tried").because(it))?;
        let mut command = command(&self.program);
        command.arg("probe-model").arg("--engine").arg(engine.as_str());
        if let Some(library) = &self.library {
            command.arg("--onnxruntime").arg(library);
        }
        let ended = run(command.arg("--").arg(file), MODEL_TIME_MAX).await?;
        let found = ended.told(&Words {
            who: engine.as_str(),
            did: "loaded the model and ran it once",
            hint: "try the other engine, or export the model again; one that is not yours may mean harm",
            space_bytes: space_for(file),
            time: MODEL_TIME_MAX,
        })?;
        Ok(found.remark)
    }
}

impl ModelProbe for ProcessProbe {
    fn probe<'a>(&'a self, engine: EngineName, file: &'a Path) -> Verdict<'a> {
        Box::pin(self.try_model(engine, file))
    }
}

/// The version of an ONNX Runtime library, which is opened in a process of its own: what is broken ends that one.
///
/// # Errors
/// `Invalid` with what happened, or `Unavailable` when it could not be tried.
pub async fn library_version(program: &Path, library: &Path) -> Result<String, Problem> {
    let ended = run(command(program).arg("probe-onnxruntime").arg("--").arg(library), LIBRARY_TIME_MAX).await?;
    let who = format!("the ONNX Runtime library `{}`", library.display());
    let found = ended.told(&Words {
        who: &who,
        did: "was opened",
        hint: "install it anew with `pip install onnxruntime`, for this machine and this system",
        space_bytes: super::SPACE_BYTES,
        time: LIBRARY_TIME_MAX,
    })?;
    Ok(found.version.unwrap_or_else(|| "unknown".to_owned()))
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(VARIABLES.iter().filter_map(|it| std::env::var_os(it).map(|value| (it, value))));
    command
}

/// How a process ended.
#[derive(Debug)]
enum Ended {
    Said(Told),
    Died { status: ExitStatus, last_words: String },
    Late,
}

/// What a process was about, for the words about its end.
struct Words<'a> {
    who: &'a str,
    did: &'a str,
    hint: &'a str,
    space_bytes: u64,
    time: Duration,
}

impl Ended {
    fn told(self, about: &Words<'_>) -> Result<Found, Problem> {
        let Words { who, did, .. } = about;
        let text = match self {
            Self::Said(told) => return told.into_result(),
            Self::Late => format!("{who} took longer than {} seconds while it {did}", about.time.as_secs()),
            // We do not end it so, and the system does where memory is short: nothing was found out about the model,
            // which may be as good as ever once others have given memory back.
            Self::Died { status, .. } if status.signal() == Some(KILLED) => {
                return Err(Problem::unavailable(format!("{who} was killed while it {did}: memory is short"))
                    .hint("free memory, or wait until other work has ended, and try again"));
            }
            Self::Died { last_words, .. } if ran_out_of_memory(&last_words) => {
                let allowed = about.space_bytes as f64 / f64::from(1 << 30);
                format!("{who} ran out of memory while it {did}; it may take {allowed:.1} GiB")
            }
            Self::Died { status, .. } => match status.signal() {
                Some(signal) => format!("{who} crashed while it {did} (signal {signal})"),
                None => format!("{who} ended while it {did} (exit code {})", status.code().unwrap_or(-1)),
            },
        };
        Err(Problem::invalid(text).hint(about.hint))
    }
}

/// Whether a process met its own bound.
fn ran_out_of_memory(last_words: &str) -> bool {
    let words = last_words.to_lowercase();
    MEMORY_WORDS.iter().any(|it| words.contains(it))
}

/// Runs a probe to its end. Its verdict counts also when it dies after it.
async fn run(command: &mut Command, time: Duration) -> Result<Ended, Problem> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let failed = |it| Problem::unavailable("a process for trying a model cannot be started").because(it);
    let mut child = command.spawn().map_err(failed)?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let all = async { tokio::join!(tail(out), tail(err), child.wait()) };
    let Ok((out, err, status)) = tokio::time::timeout(time, all).await else {
        // It is ended as it is dropped here.
        return Ok(Ended::Late);
    };
    let said = out.lines().next_back().and_then(|it| serde_json::from_str(it).ok());
    match said {
        Some(told) => Ok(Ended::Said(told)),
        None => Ok(Ended::Died { status: status.map_err(failed)?, last_words: err }),
    }
}

/// The end of what a process writes; all of it is read, so that it never waits for a reader.
async fn tail(from: Option<impl AsyncRead + Unpin>) -> String {
    let (mut kept, mut buffer) = (vec![], [0; 4096]);
    let Some(mut from) = from else { return String::new() };
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        if kept.len() > OUTPUT_BYTES_MAX {
            kept.drain(..kept.len() - OUTPUT_BYTES_MAX);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kaogong_domain::ErrorKind;

    const ABOUT: Words<'static> = Words {
        who: "tract",
        did: "loaded the model and ran it once",
        hint: "do not",
        space_bytes: 5 << 30,
        time: Duration::from_secs(120),
    };

    async fn told_by(script: &str) -> Result<Found, Problem> {
        let ended = run(Command::new("sh").arg("-c").arg(script), Duration::from_secs(20)).await.expect("it runs");
        ended.told(&ABOUT)
    }

    async fn words_for(script: &str) -> String {
        match told_by(script).await {
            Ok(found) => found.version.unwrap_or_default(),
            Err(problem) => problem.text,
        }
    }

    #[tokio::test]
    async fn each_way_to_end_has_its_words() {
        assert_eq!(words_for(r#"echo noise; echo '{"version":"1.22.0"}'"#).await, "1.22.0");
        // What happens after the verdict is an ending, not a verdict.
        assert_eq!(words_for(r#"echo '{}'; kill -SEGV $$"#).await, "");
        let refusal = r#"echo '{"problem":{"kind":"invalid","text":"no model","hint":null}}'; exit 1"#;
        assert_eq!(words_for(refusal).await, "no model");
        assert!(
            words_for("kill -SEGV $$").await.contains("crashed while it loaded the model and ran it once (signal 11)")
        );
        let bounded = told_by("echo 'memory allocation of 8 bytes failed' >&2; kill -ABRT $$").await.expect_err("dead");
        assert_eq!(bounded.kind, ErrorKind::Invalid);
        assert!(bounded.text.contains("ran out of memory") && bounded.text.contains("5.0 GiB"), "{bounded}");
        assert!(words_for("exit 7").await.contains("exit code 7"));
    }

    #[tokio::test]
    async fn one_that_the_system_kills_says_nothing_about_the_model() {
        let problem = told_by("echo 'memory allocation of 8 bytes failed' >&2; kill -KILL $$").await.expect_err("dead");
        assert_eq!(problem.kind, ErrorKind::Unavailable);
        assert_eq!(problem.text, "tract was killed while it loaded the model and ran it once: memory is short");
    }

    #[tokio::test]
    async fn one_that_takes_too_long_is_ended() {
        let mut command = Command::new("sleep");
        let ended = run(command.arg("600"), Duration::from_millis(50)).await.expect("it runs");
        let problem = ended.told(&ABOUT).expect_err("late");
        assert_eq!(problem.kind, ErrorKind::Invalid, "a model that loops is refused");
        assert_eq!(problem.text, "tract took longer than 120 seconds while it loaded the model and ran it once");
    }

    #[tokio::test]
    async fn one_that_writes_without_end_is_read_and_not_kept() {
        let text = words_for("yes | head -c 3000000; yes | head -c 3000000 >&2; exit 3").await;
        assert!(text.contains("exit code 3"), "{text}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_says_nothing_about_the_model() {
        let probe = ProcessProbe::new("/nonexistent/kaogong".into(), None);
        let problem = probe.probe(EngineName::Tract, Path::new("/nonexistent/model")).await.expect_err("no program");
        assert_eq!(problem.kind, ErrorKind::Unavailable);
    }
}
