//! `kaogong read-parquet`: decodes one Parquet file for the server, in a process whose memory is bounded: a file can
//! claim to be anything, and ends this process alone.

use kaogong_domain::Problem;
use kaogong_tables::{Wanted, decode_parquet};
use rustix::process::{Resource, Rlimit, getppid, setrlimit};
use std::{path::PathBuf, process::ExitCode, time::Duration};

/// How often is looked whether the server is still there.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The answer to a file that is refused.
const REFUSED: u8 = 2;

/// Arguments of `kaogong read-parquet`.
#[derive(Debug, clap::Args)]
pub struct ReadParquetArgs {
    /// Memory that may be taken besides the program itself, in bytes.
    #[arg(long, value_name = "BYTES")]
    pub memory_bytes: u64,
    /// Where in the file the Parquet file begins, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub begin: u64,
    /// How many bytes it has; the whole file when absent.
    #[arg(long, value_name = "BYTES")]
    pub length: Option<u64>,
    /// Rows to pass over.
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    pub skip: u64,
    /// The file.
    pub file: PathBuf,
}

/// Writes the rows to standard output; a refusal goes to standard error.
pub fn run(args: &ReadParquetArgs) -> Result<ExitCode, Problem> {
    watch()?;
    bound(args.memory_bytes)?;
    let part = args.length.map(|it| (args.begin, it));
    let wanted = Wanted { path: args.file.clone(), part, skip: args.skip };
    let done = decode_parquet(&wanted, std::io::stdout().lock(), &mut std::io::stderr());
    let is_read = done.map_err(|it| Problem::unavailable("nobody reads the refusal").because(it))?;
    Ok(if is_read { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

/// Ends this process when whoever started it is gone.
fn watch() -> Result<(), Problem> {
    let parent = getppid();
    let watch = std::thread::Builder::new().name("watch".into()).stack_size(64 << 10);
    let spawned = watch.spawn(move || {
        while getppid() == parent {
            std::thread::sleep(LOOK_EVERY);
        }
        std::process::exit(1);
    });
    spawned.map(drop).map_err(|it| Problem::unavailable("cannot start a thread").because(it))
}

/// Bounds the memory of this process: what it has now, and so much more.
fn bound(bytes: u64) -> Result<(), Problem> {
    let failed = |it: &dyn std::fmt::Display| {
        Problem::unavailable(format!("the memory of a process that decodes files cannot be bounded: {it}"))
    };
    let facts = std::fs::read_to_string("/proc/self/status").map_err(|it| failed(&it))?;
    let size = facts.lines().find_map(|it| it.strip_prefix("VmSize:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let most = size.ok_or_else(|| failed(&"its size is not known"))?.saturating_mul(1024).saturating_add(bytes);
    let limit = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::As, limit(most))
        .and_then(|()| setrlimit(Resource::Core, limit(0)))
        .map_err(|it| failed(&it))?;
    // Where memory is short all the same, this process goes first. Not every system lets it say so.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}
