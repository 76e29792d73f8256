//! Both ends of a pipe between the server and the process that decodes a Parquet file for it.
//!
//! The other process bounds its own memory before it reads a byte, and writes an Arrow stream. It is started with
//! little memory, as most files need; one that needs more is read again from where it was, with all there is. What
//! needs more than that is refused, and so is what makes it go on without giving anything.

use super::{super::parts::Segment, Source, broken, decode};
use crate::lance_errors;
use arrow_array::RecordBatch;
use arrow_ipc::{reader::StreamReader, writer::StreamWriter};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use kaogong_data::budget::{Held, IMPORT_WAIT_MAX, Pool};
use kaogong_domain::{ErrorKind, Problem};
use parquet::file::reader::Length;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use std::{
    io::{BufReader, BufWriter, Read, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// What most files need, in bytes.
const USUAL_BYTES: u64 = 96 << 20;
/// How long a process may give nothing while it is waited for,
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// and how much longer for each MiB of its file: one that is started anew passes over what was read before.
const SILENCE_PER_MIB: Duration = Duration::from_secs(1);
/// What is kept of the last words of a process.
const WORDS_BYTES_MAX: u64 = 16 << 10;
/// Where the stream tells how many rows the footer names.
const ROWS_KEY: &str = "kaogong.rows";
/// And which columns of times became wider.
const WIDE_KEY: &str = "kaogong.wide";
/// Words of those who ran out of memory: Rust, and the C libraries below it.
const MEMORY_WORDS: [&str; 4] =
    ["memory allocation of", "not enough memory", "out of memory", "cannot allocate memory"];
/// The signal by which the system ends a process where memory is short.
const KILLED: i32 = 9;

/// The last line of a process that refuses a file.
#[derive(Debug, Serialize, Deserialize)]
struct Refusal {
    kind: String,
    text: String,
    hint: Option<String>,
}

/// Which rows of which file are wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The file on the disk.
    pub path: PathBuf,
    /// Where in it the Parquet file lies, and how many bytes it has; all of it when `None`.
    pub part: Option<(u64, u64)>,
    /// Rows to pass over.
    pub skip: u64,
}

/// The decoding process: writes the rows that are wanted to `out`, as an Arrow stream.
/// A refusal goes to `words` as one line, and the answer is false.
///
/// The caller has bounded the memory of this process before.
///
/// # Errors
/// Nobody reads.
pub fn decode_parquet(wanted: &Wanted, out: impl Write, words: &mut impl Write) -> Result<bool, std::io::Error> {
    let decoding = || write_stream(wanted, out);
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(decoding)).unwrap_or_else(|_| Err(damaged()));
    let Err(problem) = done else { return Ok(true) };
    let refusal = Refusal { kind: problem.kind.as_str().to_owned(), text: problem.text, hint: problem.hint };
    writeln!(words, "\n{}", serde_json::to_string(&refusal)?)?;
    Ok(false)
}

fn write_stream(wanted: &Wanted, out: impl Write) -> Result<(), Problem> {
    let gone = |error: ArrowError| Problem::unavailable("nobody reads what is decoded").because(error);
    let segment = Segment::open(&wanted.path, wanted.part).map_err(lance_errors::io("read the Parquet file"))?;
    let decoded = decode::open(segment, wanted.skip)?;
    let wide: Vec<_> = decoded.wide.iter().map(usize::to_string).collect();
    let metadata = [(ROWS_KEY, decoded.rows.to_string()), (WIDE_KEY, wide.join(" "))];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).into();
    let schema = Arc::new(Schema::new_with_metadata(decoded.schema.fields().clone(), metadata));
    let mut writer = StreamWriter::try_new(BufWriter::with_capacity(1 << 16, out), &schema).map_err(gone)?;
    for batch in decoded.batches {
        writer.write(&batch?).map_err(gone)?;
    }
    writer.finish().and_then(|()| writer.flush()).map_err(gone)
}

fn damaged() -> Problem {
    Problem::invalid("the Parquet file is damaged: its reader gave up").hint("copy it again from its source")
}

/// Opens a file in another process. Waits for memory: call it off the async threads.
pub(super) fn open(program: &Path, path: &Path, segment: &Segment, pool: &Pool) -> Result<Source, Problem> {
    let mebibytes = u32::try_from(segment.len() >> 20).unwrap_or(u32::MAX);
    open_within(SILENCE_MAX + SILENCE_PER_MIB * mebibytes, program, path, segment, pool)
}

fn open_within(
    silence: Duration,
    program: &Path,
    path: &Path,
    segment: &Segment,
    pool: &Pool,
) -> Result<Source, Problem> {
    let held = pool.take(USUAL_BYTES, IMPORT_WAIT_MAX)?;
    let mut batches = Batches {
        program: program.to_owned(),
        wanted: Wanted { path: path.to_owned(), part: Some((segment.begin(), segment.len())), skip: 0 },
        pool: pool.clone(),
        running: None,
        held: Some(held),
        silence,
    };
    batches.start()?;
    let schema = batches.running.as_ref().map(|it| it.stream.schema()).ok_or_else(damaged)?;
    let rows = schema.metadata().get(ROWS_KEY).and_then(|it| it.parse().ok()).unwrap_or(0);
    let wide = schema.metadata().get(WIDE_KEY).map(String::as_str).unwrap_or_default();
    let wide = wide.split_whitespace().filter_map(|it| it.parse().ok()).collect();
    let schema: SchemaRef = Arc::new(Schema::new(schema.fields().clone()));
    Ok(Source { schema, rows, wide, batches: Box::new(batches) })
}

/// What comes over the pipe.
struct Batches {
    program: PathBuf,
    /// The rows that were not given yet.
    wanted: Wanted,
    pool: Pool,
    running: Option<Running>,
    /// What the process may take.
    held: Option<Held>,
    /// How long it may give nothing.
    silence: Duration,
}

impl Batches {
    fn memory(&self) -> u64 {
        self.held.as_ref().map_or(0, Held::amount)
    }

    /// Starts a process behind the rows that were given, with more memory when it needs that.
    fn start(&mut self) -> Result<(), Problem> {
        loop {
            let mut process = Process::start(&self.program, &self.wanted, self.memory())?;
            let pipe = process.child.stdout.take().ok_or_else(damaged)?;
            let pipe = Patient { pipe, silence: self.silence, is_over: process.is_silent.clone() };
            match StreamReader::try_new(BufReader::with_capacity(1 << 16, pipe), None) {
                Ok(stream) => {
                    self.running = Some(Running { stream, process });
                    return Ok(());
                }
                Err(error) => self.grow(process.ended()?, &error)?,
            }
        }
    }

    /// Takes all memory there is when the process ended for want of it.
    ///
    /// # Errors
    /// Why the file is refused, when more memory would not help.
    fn grow(&mut self, ended: Ended, error: &ArrowError) -> Result<(), Problem> {
        match ended {
            Ended::Refused(problem) => Err(problem),
            Ended::Well => Err(broken(error)),
            Ended::Silent => Err(silent(self.silence)),
            Ended::Died(status) if status.signal() == Some(KILLED) => {
                Err(Problem::unavailable("the process that decodes the file was killed: memory is short")
                    .hint("free memory, or wait until other work has ended, and try again"))
            }
            Ended::Died(status) => Err(Problem::invalid(format!(
                "the Parquet file cannot be decoded: the process that tried ended with {status}"
            ))
            .hint("write it again, or copy it again from its source")),
            Ended::OutOfMemory if self.memory() < self.pool.total() => {
                // First give, then take: two imports that both want all would wait for each other.
                self.held = None;
                self.held = Some(self.pool.take(self.pool.total(), IMPORT_WAIT_MAX)?);
                Ok(())
            }
            Ended::OutOfMemory => Err(too_much(self.memory())),
        }
    }

    fn draw(&mut self) -> Result<Option<RecordBatch>, Problem> {
        loop {
            let Some(running) = &mut self.running else { return Ok(None) };
            let error = match running.stream.next() {
                Some(Ok(batch)) => {
                    self.wanted.skip += batch.num_rows() as u64;
                    return Ok(Some(batch));
                }
                Some(Err(error)) => error,
                None => ArrowError::IpcError("the stream broke off".to_owned()),
            };
            let Some(Running { stream, process }) = self.running.take() else { return Ok(None) };
            // Nobody reads any more: a process that still writes ends.
            drop(stream);
            match process.ended()? {
                Ended::Well => {
                    self.held = None;
                    return Ok(None);
                }
                other => self.grow(other, &error)?,
            }
            self.start()?;
        }
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        self.draw().transpose()
    }
}

fn too_much(bytes: u64) -> Problem {
    Problem::invalid(format!(
        "decoding the Parquet file takes more than {} MiB of memory, which is all that one import may take",
        bytes >> 20
    ))
    .hint(
        "write it with smaller row groups and pages (pyarrow: `row_group_size=10_000`), keep long values in files of \
         their own, or give imports more with `kaogong up --import-memory-mib`",
    )
}

fn silent(waited: Duration) -> Problem {
    let seconds = waited.as_secs();
    Problem::invalid(format!("decoding the Parquet file gave nothing for {seconds} seconds, and was stopped")).hint(
        "write it again with smaller row groups and pages (pyarrow: `row_group_size=10_000`), or copy it again from its \
         source",
    )
}

/// A pipe that is waited for, but not for ever.
struct Patient {
    pipe: ChildStdout,
    silence: Duration,
    /// Told to who owns the process: it gave nothing for too long.
    is_over: Arc<AtomicBool>,
}

impl Read for Patient {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let wait = Timespec::try_from(self.silence).map_err(|_| std::io::ErrorKind::InvalidInput)?;
        loop {
            match poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], Some(&wait)) {
                Ok(0) => {
                    self.is_over.store(true, Ordering::Relaxed);
                    return Err(std::io::ErrorKind::TimedOut.into());
                }
                Ok(_) => return self.pipe.read(out),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

struct Running {
    stream: StreamReader<BufReader<Patient>>,
    process: Process,
}

/// A process under way; dropping it ends it.
struct Process {
    child: Child,
    /// It gave nothing for too long.
    is_silent: Arc<AtomicBool>,
    words: Option<JoinHandle<String>>,
}

/// How a process ended.
enum Ended {
    Well,
    Refused(Problem),
    OutOfMemory,
    /// It did not, and was stopped.
    Silent,
    Died(ExitStatus),
}

impl Process {
    fn start(program: &Path, wanted: &Wanted, memory: u64) -> Result<Self, Problem> {
        let mut command = Command::new(program);
        // One heap: each thread's own would count against the bound.
        command.env_clear().env("MALLOC_ARENA_MAX", "1").arg("read-parquet");
        let (begin, length) = wanted.part.unwrap_or((0, u64::MAX));
        let numbers = [("--memory-bytes", memory), ("--begin", begin), ("--length", length), ("--skip", wanted.skip)];
        for (name, number) in numbers {
            command.arg(name).arg(number.to_string());
        }
        command.arg("--").arg(&wanted.path);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(lance_errors::io("start a process that decodes the file"))?;
        let words = child.stderr.take().map(|mut stderr| {
            std::thread::spawn(move || {
                let mut words = String::new();
                // What is no text is no refusal either.
                let _read = (&mut stderr).take(WORDS_BYTES_MAX).read_to_string(&mut words);
                let _rest = std::io::copy(&mut stderr, &mut std::io::sink());
                words
            })
        });
        Ok(Self { child, is_silent: Arc::default(), words })
    }

    /// Waits for the end. The other end of the pipe is closed already, so it comes; a silent one is stopped.
    fn ended(mut self) -> Result<Ended, Problem> {
        if self.is_silent.load(Ordering::Relaxed) {
            return Ok(Ended::Silent);
        }
        let status = self.child.wait().map_err(lance_errors::io("wait for the process that decodes the file"))?;
        let words = self.words.take().and_then(|it| it.join().ok()).unwrap_or_default();
        if status.success() {
            return Ok(Ended::Well);
        }
        let lower = words.to_lowercase();
        if MEMORY_WORDS.iter().any(|it| lower.contains(it)) {
            return Ok(Ended::OutOfMemory);
        }
        let refusal = words.lines().rev().find_map(|it| serde_json::from_str::<Refusal>(it).ok());
        Ok(refusal.map_or(Ended::Died(status), |it| Ended::Refused(it.into())))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail when it has ended, which is what is wanted.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl From<Refusal> for Problem {
    fn from(it: Refusal) -> Self {
        let kind = ErrorKind::ALL.into_iter().find(|kind| kind.as_str() == it.kind).unwrap_or(ErrorKind::Invalid);
        let problem = Self::new(kind, it.text);
        match it.hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// What comes of a file whose decoder is this script.
    fn decoded_by(script: &str, silence: Duration) -> (Result<(), Problem>, u64) {
        let dir = tempfile::tempdir().expect("a folder");
        let (program, file) = (dir.path().join("decoder"), dir.path().join("t.parquet"));
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a script");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).expect("rights");
        std::fs::write(&file, "PAR1").expect("a file");
        let pool = Pool::new("tests", USUAL_BYTES);
        let segment = Segment::open(&file, None).expect("a file");
        let opened = open_within(silence, &program, &file, &segment, &pool).map(|source| {
            source.batches.for_each(drop);
        });
        (opened, pool.free())
    }

    #[test]
    fn a_decoder_that_gives_nothing_is_stopped() {
        for script in ["exec sleep 1000", "printf '\\377\\377'; exec sleep 1000"] {
            let (opened, free) = decoded_by(script, Duration::from_millis(200));
            let problem = opened.expect_err("stopped");
            assert!(problem.text.contains("gave nothing for 0 seconds, and was stopped"), "{}", problem.text);
            assert!(problem.hint.is_some_and(|it| it.contains("smaller row groups")));
            assert_eq!(free, USUAL_BYTES, "its memory is free again");
        }
        // One that ends is no silent one, however short the time is.
        let (opened, _) = decoded_by("exit 3", Duration::from_secs(60));
        assert!(opened.expect_err("ended").text.contains("ended with exit status: 3"));
    }
}
