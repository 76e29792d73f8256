//! The checks, one function each.

use super::{DoctorArgs, Finding};
use crate::{commands::up::find, context::Context, output::words};
use kaogong_domain::ErrorKind;
use std::{
    io,
    net::{TcpListener, ToSocketAddrs},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

const GIB: u64 = 1 << 30;
/// A program that says its version takes no longer.
const PROGRAM_LIMIT: Duration = Duration::from_secs(10);

/// Everything about this machine.
pub(super) async fn machine(args: &DoctorArgs) -> Vec<Finding> {
    let folder = data_folder(args);
    vec![
        data(&folder),
        disk(&folder),
        memory(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        port(&args.listen),
        uv().await,
        python().await,
        onnxruntime(),
        gpu().await,
    ]
}

fn data_folder(args: &DoctorArgs) -> PathBuf {
    // As `kaogong up` chooses it.
    let home = std::env::var_os("HOME").map_or_else(|| "/".into(), PathBuf::from);
    args.data_dir.clone().unwrap_or_else(|| home.join(".local/share/kaogong"))
}

/// The folder itself or the nearest one above that exists.
fn existing(folder: &Path) -> &Path {
    folder.ancestors().find(|it| it.is_dir()).unwrap_or(Path::new("/"))
}

fn data(folder: &Path) -> Finding {
    let at = existing(folder);
    match tempfile::Builder::new().prefix(".kaogong-doctor-").tempfile_in(at) {
        Ok(_) => Finding::ok("data folder", folder.display().to_string()),
        Err(error) => Finding::fail(
            "data folder",
            format!("{} cannot be written: {error}", at.display()),
            "name a folder of your own: kaogong up --data-dir DIR",
        ),
    }
}

fn disk(folder: &Path) -> Finding {
    let at = existing(folder);
    let facts = match rustix::fs::statvfs(at) {
        Ok(facts) => facts,
        Err(error) => return Finding::warn("disk", format!("cannot be asked: {error}"), "check the disk with df"),
    };
    let free = facts.f_bavail.saturating_mul(facts.f_frsize);
    let seen = format!("{} free at {}", words::bytes(free), at.display());
    let fix = "free space, or put the data on another disk: kaogong up --data-dir DIR";
    match free {
        it if it < GIB => Finding::fail("disk", seen, fix),
        it if it < 10 * GIB => Finding::warn("disk", seen, fix),
        _ => Finding::ok("disk", seen),
    }
}

fn memory(meminfo: &str) -> Finding {
    let kib = |key: &str| {
        let line = meminfo.lines().find_map(|it| it.strip_prefix(key))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok()
    };
    let Some(available) = kib("MemAvailable") else {
        return Finding::warn("memory", "cannot be asked", "check that /proc is mounted");
    };
    let bytes = available * 1024;
    let seen =
        format!("{} of {} available", words::bytes(bytes), words::bytes(kib("MemTotal").unwrap_or(available) * 1024));
    match bytes {
        it if it < GIB / 2 => {
            Finding::fail("memory", seen, "end other programs; the server and one small job need 512 MiB")
        }
        it if it < 2 * GIB => Finding::warn(
            "memory",
            seen,
            "training jobs ask for 2 GiB unless told otherwise; end other programs or add memory",
        ),
        _ => Finding::ok("memory", seen),
    }
}

fn port(listen: &str) -> Finding {
    let addresses = match listen.to_socket_addrs() {
        Ok(addresses) => addresses.collect::<Vec<_>>(),
        Err(error) => {
            return Finding::fail("port", format!("{listen}: {error}"), "write the address like 127.0.0.1:7300");
        }
    };
    match TcpListener::bind(addresses.as_slice()) {
        Ok(_) => Finding::ok("port", format!("{listen} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::warn(
            "port",
            format!("{listen} is in use"),
            "fine when that is your server (see below); else choose another: kaogong up --listen 127.0.0.1:7301",
        ),
        Err(error) => {
            Finding::fail("port", format!("{listen}: {error}"), "choose another: kaogong up --listen 127.0.0.1:7301")
        }
    }
}

/// What a program prints first, or why it cannot be run.
async fn first_line(program: &str, arguments: &[&str]) -> Result<String, String> {
    let child = tokio::process::Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PROGRAM_LIMIT, child).await.map_err(|_| "it does not answer".to_owned())?;
    let output =
        output.map_err(|it| if it.kind() == io::ErrorKind::NotFound { "not found".into() } else { it.to_string() })?;
    let text =
        String::from_utf8_lossy(if output.stdout.is_empty() { &output.stderr } else { &output.stdout }).into_owned();
    let line = text.lines().next().unwrap_or_default().trim().to_owned();
    if output.status.success() { Ok(line) } else { Err(format!("{}: {line}", output.status)) }
}

async fn uv() -> Finding {
    let fix = "jobs with a Python environment need it: python3 -m pip install uv, or name it with KAOGONG_UV";
    let named = std::env::var_os("KAOGONG_UV").map(PathBuf::from);
    let program = match find::uv(named.as_deref()) {
        Ok(Some(program)) => program.display().to_string(),
        Ok(None) => return Finding::warn("uv", "not found", fix),
        Err(problem) => return Finding::fail("uv", problem.text, fix),
    };
    match first_line(&program, &["--version"]).await {
        Ok(version) => Finding::ok("uv", format!("{version} ({program})")),
        Err(why) => Finding::warn("uv", format!("{program}: {why}"), fix),
    }
}

async fn python() -> Finding {
    match first_line("python3", &["--version"]).await {
        Ok(version) => Finding::ok("python", version),
        Err(why) => Finding::warn(
            "python",
            format!("python3: {why}"),
            "install Python 3.11 or later; uv can fetch one when it has a network",
        ),
    }
}

fn onnxruntime() -> Finding {
    let named = std::env::var_os("KAOGONG_ONNXRUNTIME").map(PathBuf::from);
    if let Some(named) = named.as_ref().filter(|it| !it.is_file()) {
        return Finding::fail("onnx runtime", format!("there is no {}", named.display()), "check KAOGONG_ONNXRUNTIME");
    }
    let found = named.or_else(|| find::onnxruntime_folders().iter().find_map(|it| library_in(it)));
    match found {
        Some(path) => Finding::ok("onnx runtime", path.display().to_string()),
        None => Finding::warn(
            "onnx runtime",
            "its library was not found; endpoints run on tract, which is compiled in",
            "for its speed: pip install onnxruntime, and set KAOGONG_ONNXRUNTIME to the libonnxruntime.so in it",
        ),
    }
}

fn library_in(folder: &Path) -> Option<PathBuf> {
    let is_library =
        |it: &PathBuf| it.file_name().is_some_and(|it| it.to_string_lossy().starts_with("libonnxruntime.so"));
    std::fs::read_dir(folder).ok()?.flatten().map(|it| it.path()).find(is_library)
}

async fn gpu() -> Finding {
    match first_line("nvidia-smi", &["--query-gpu=name,memory.total", "--format=csv,noheader"]).await {
        Ok(line) if !line.is_empty() => Finding::ok("gpu", line),
        Ok(_) => Finding::ok("gpu", "none; jobs and endpoints use processors"),
        Err(why) if why == "not found" => Finding::ok("gpu", "no nvidia-smi; jobs and endpoints use processors"),
        Err(why) => Finding::warn(
            "gpu",
            format!("nvidia-smi: {why}"),
            "check the driver; without it jobs and endpoints use processors",
        ),
    }
}

/// Whether the server answers, and what it says about itself.
pub(super) async fn server(context: &Context) -> Finding {
    let start = "start one: kaogong up";
    let client = match context.client() {
        Ok(client) => client,
        Err(problem) => {
            return Finding::fail("server", problem.text, problem.hint.unwrap_or_else(|| "check the profile".into()));
        }
    };
    match client.system().await {
        Ok(system) => {
            let engines: Vec<String> = system.engines.iter().map(|it| format!("{} {}", it.name, it.version)).collect();
            Finding::ok(
                "server",
                format!("{} runs version {}, engines: {}", client.address(), system.version, engines.join(", ")),
            )
        }
        Err(problem) if problem.kind == ErrorKind::Unauthenticated => Finding::warn(
            "server",
            format!("{} runs and does not know you", client.address()),
            format!("sign in: kaogong login {}", client.address()),
        ),
        Err(problem) => Finding::warn("server", problem.text, start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::Verdict;

    #[test]
    fn memory_is_judged_by_what_is_available() {
        let verdict = |kib: u64| memory(&format!("MemTotal: 16000000 kB\nMemAvailable: {kib} kB\n")).verdict;
        assert_eq!(
            [verdict(100_000), verdict(1_000_000), verdict(8_000_000)],
            [Verdict::Fail, Verdict::Warn, Verdict::Ok]
        );
        assert_eq!(memory("").verdict, Verdict::Warn);
    }

    #[test]
    fn a_taken_port_is_seen() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address").to_string();
        assert_eq!(port(&address).verdict, Verdict::Warn);
        assert_eq!(port("nonsense").verdict, Verdict::Fail);
    }

    #[test]
    fn a_folder_that_is_still_to_be_made_is_checked_above() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(data(&dir.path().join("a/b")).verdict, Verdict::Ok);
    }
}
