//! Python environments: built by uv from a lock, once per content, shared by all attempts.
//!
//! An environment is a folder named by the hash of (lock, Python version, platform) and is built at its
//! final path, as scripts in it name that path; a marker written last, after the files are on the disk,
//! says that it is whole. Whoever builds holds the environment's lock alone, whoever uses it holds the
//! lock shared, so a folder without marker under a free lock is left over from a crash and is removed.
//! A whole environment is used without any tool and without the network.

use crate::{
    EnvironmentSpec,
    fault::{Fault, OnPath},
    folder::{private_dir, private_file, replace_file, timestamp},
    removal,
    stop::Stop,
};
use kaogong_domain::{Problem, Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

const MARKER: &str = ".kaogong-ready";
const HASH_CHARS: usize = 32;

/// Programs of this machine that runners use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tools {
    /// The `uv` program; without it no new Python environment can be built.
    pub uv: Option<PathBuf>,
}

/// One environment on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentInfo {
    /// Its name: the hash of all that determines it.
    pub hash: String,
    /// The version of Python that was asked for; empty when it is not whole.
    pub python: String,
    /// Whether it is whole; otherwise it is being built, or left over from a crash.
    pub ready: bool,
    /// Whether an attempt is using or building it now.
    pub in_use: bool,
    /// When it was last used.
    pub last_used_at: Timestamp,
}

/// All environments below one directory.
#[derive(Debug, Clone)]
pub struct Environments {
    dir: PathBuf,
    tools: Tools,
}

/// What building needs from its caller: to run a command under the attempt's limits, and to wait.
pub(crate) trait Steps {
    /// Runs a command to its end. `Ok(None)` is success, `Ok(Some(text))` the end of a failed one's output.
    fn run(&mut self, command: Command) -> Result<Option<String>, StepStop>;
    /// Waits a moment for another builder.
    fn pause(&mut self) -> Result<(), Stop>;
    /// Tells the reader of the log what is going on.
    fn note(&mut self, text: &str);
}

/// Why a step did not come to its end.
#[derive(Debug)]
pub(crate) enum StepStop {
    Stopped(Stop),
    NotStarted(io::Error),
}

/// An environment that cannot be removed as long as this value lives.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) dir: PathBuf,
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvironmentError {
    #[error("there is no uv to build the Python environment with; run `kaogong doctor` to see how to get it")]
    NoUv,
    #[error("cannot start {}: {source}; run `kaogong doctor` to check it", program.display())]
    NotStarted { program: PathBuf, source: io::Error },
    #[error("{doing} failed; the last lines were:\n{tail}")]
    Step { doing: &'static str, tail: String },
    #[error("stopped while the environment was built")]
    Stopped(Stop),
    #[error("{}", .0.in_full())]
    Fault(#[from] Fault),
}

#[derive(Serialize, Deserialize)]
struct Marker {
    python: String,
}

impl Environments {
    /// The environments below `dir`. Nothing is made before the first build.
    pub fn new(dir: impl Into<PathBuf>, tools: Tools) -> Self {
        Self { dir: dir.into(), tools }
    }

    /// The name of the environment that a spec determines on this platform.
    pub fn hash(spec: &EnvironmentSpec) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in [spec.lock.as_str(), spec.python.as_str(), std::env::consts::OS, std::env::consts::ARCH] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        hasher.finalize().to_hex()[..HASH_CHARS].to_owned()
    }

    /// Whether the environment is built, so that an attempt with it starts at once and offline.
    pub fn is_ready(&self, spec: &EnvironmentSpec) -> bool {
        is_whole(&self.path(&Self::hash(spec)))
    }

    /// Every environment, the least recently used first.
    ///
    /// # Errors
    /// `Unavailable` when the directory cannot be read.
    pub fn list(&self) -> Result<Vec<EnvironmentInfo>, Problem> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.on("read", &self.dir)?,
        };
        let names = entries.flatten().filter_map(|it| it.file_name().into_string().ok()).filter(|it| is_hash(it));
        let mut found = names.map(|hash| self.info(hash)).collect::<Result<Vec<_>, Fault>>()?;
        found.sort_by(|a, b| (a.last_used_at, &a.hash).cmp(&(b.last_used_at, &b.hash)));
        Ok(found)
    }

    /// Removes the environments that nobody has used since `unused_since` and nobody uses now, and what
    /// crashed builds left. Returns the names of those removed.
    ///
    /// # Errors
    /// `Unavailable` when one cannot be removed; the others are removed all the same at the next call.
    pub fn evict(&self, unused_since: Timestamp) -> Result<Vec<String>, Problem> {
        let mut removed = Vec::new();
        for info in self.list()? {
            if info.last_used_at >= unused_since {
                continue;
            }
            let lock = self.open_lock(&info.hash)?;
            if !try_lock(&lock, File::try_lock).on("lock", &self.lock_path(&info.hash))? {
                continue;
            }
            removal::remove_dir(&self.path(&info.hash))?;
            removed.push(info.hash);
        }
        Ok(removed)
    }

    /// The environment of a spec: the one that is there, or a new one. Waits while another builds it.
    pub(crate) fn acquire(&self, spec: &EnvironmentSpec, steps: &mut dyn Steps) -> Result<Held, EnvironmentError> {
        let hash = Self::hash(spec);
        let dir = self.path(&hash);
        private_dir(&self.dir.join("locks"))?;
        let lock = self.open_lock(&hash)?;
        let lock_path = self.lock_path(&hash);
        let mut told = false;
        loop {
            // Eviction between a build and this lock is possible, hence the look after locking.
            if try_lock(&lock, File::try_lock_shared).on("lock", &lock_path)? {
                if is_whole(&dir) {
                    lock.set_modified(SystemTime::now()).on("touch", &lock_path)?;
                    return Ok(Held { dir, _lock: lock });
                }
                lock.unlock().on("unlock", &lock_path)?;
                if try_lock(&lock, File::try_lock).on("lock", &lock_path)? {
                    if !is_whole(&dir) {
                        let _heir = heir(&lock).on("share", &lock_path)?;
                        self.build(spec, &dir, steps)?;
                    }
                    lock.unlock().on("unlock", &lock_path)?;
                    continue;
                }
            }
            if !told {
                steps.note("another attempt is building this environment; waiting for it");
                told = true;
            }
            steps.pause().map_err(EnvironmentError::Stopped)?;
        }
    }

    /// Builds at the final path. The caller, and whatever it starts, holds the lock alone.
    fn build(&self, spec: &EnvironmentSpec, dir: &Path, steps: &mut dyn Steps) -> Result<(), EnvironmentError> {
        let uv = self.tools.uv.as_deref().ok_or(EnvironmentError::NoUv)?;
        removal::remove_dir(dir)?;
        steps.note(&format!("building environment {} with Python {}", dir.display(), spec.python));
        let mut venv = self.command(uv);
        venv.args(["venv", "--no-project", "--python", &spec.python]).arg(dir);
        self.step("making the environment", venv, steps)?;

        let lock = dir.join("requirements.lock");
        replace_file(&lock, spec.lock.as_bytes())?;
        let mut sync = self.command(uv);
        sync.args(["pip", "sync", "--require-hashes", "--allow-empty-requirements", "--python"]);
        sync.arg(dir.join("bin/python")).arg(&lock);
        self.step("installing the packages of the lock", sync, steps)?;

        // The marker must not reach the disk before the files that it vouches for.
        let opened = File::open(dir).on("open", dir)?;
        rustix::fs::syncfs(&opened).map_err(io::Error::from).on("sync", dir)?;
        let marker = serde_json::to_vec(&Marker { python: spec.python.clone() }).map_err(io::Error::from);
        replace_file(&dir.join(MARKER), &marker.on("encode", dir)?)?;
        steps.note("environment is ready");
        Ok(())
    }

    fn step(&self, doing: &'static str, command: Command, steps: &mut dyn Steps) -> Result<(), EnvironmentError> {
        let program = PathBuf::from(command.get_program());
        match steps.run(command) {
            Ok(None) => Ok(()),
            Ok(Some(tail)) => Err(EnvironmentError::Step { doing, tail }),
            Err(StepStop::Stopped(stop)) => Err(EnvironmentError::Stopped(stop)),
            Err(StepStop::NotStarted(source)) => Err(EnvironmentError::NotStarted { program, source }),
        }
    }

    /// uv with its cache, unless the operator chose another, and its Pythons beside the environments: on one
    /// file system it links files instead of copying them.
    fn command(&self, uv: &Path) -> Command {
        let mut command = Command::new(uv);
        command.current_dir(&self.dir);
        if std::env::var_os("UV_CACHE_DIR").is_none_or(|it| it.is_empty()) {
            command.env("UV_CACHE_DIR", self.dir.join("cache"));
        }
        command.env("UV_PYTHON_INSTALL_DIR", self.dir.join("pythons"));
        command.env("UV_NO_PROGRESS", "1").env("NO_COLOR", "1").env_remove("VIRTUAL_ENV");
        command
    }

    fn info(&self, hash: String) -> Result<EnvironmentInfo, Fault> {
        let dir = self.path(&hash);
        let lock = self.open_lock(&hash)?;
        let modified = lock.metadata().and_then(|it| it.modified()).on("read", &self.lock_path(&hash))?;
        let in_use = !try_lock(&lock, File::try_lock).on("lock", &self.lock_path(&hash))?;
        let marker = fs::read(dir.join(MARKER)).ok().and_then(|it| serde_json::from_slice::<Marker>(&it).ok());
        let ready = is_whole(&dir);
        let python = marker.map(|it| it.python).unwrap_or_default();
        Ok(EnvironmentInfo { hash, python, ready, in_use, last_used_at: timestamp(modified) })
    }

    fn path(&self, hash: &str) -> PathBuf {
        self.dir.join(hash)
    }

    /// Lock files stay for ever: removing one would let two processes lock two files of one name.
    fn lock_path(&self, hash: &str) -> PathBuf {
        self.dir.join("locks").join(hash)
    }

    fn open_lock(&self, hash: &str) -> Result<File, Fault> {
        let path = self.lock_path(hash);
        private_file().write(true).create(true).truncate(false).open(&path).on("open", &path)
    }
}

/// The same lock for whatever is started while this lives: when a builder is killed, its uv still writes for a
/// moment, and until that has ended too nobody else may build at the same path.
fn heir(lock: &File) -> io::Result<File> {
    let heir = lock.try_clone()?;
    rustix::io::fcntl_setfd(&heir, rustix::io::FdFlags::empty())?;
    Ok(heir)
}

/// The marker is there and the interpreter still is (a system upgrade may take it away).
fn is_whole(dir: &Path) -> bool {
    dir.join(MARKER).exists() && dir.join("bin/python").exists()
}

fn is_hash(name: &str) -> bool {
    name.len() == HASH_CHARS && name.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it))
}

fn try_lock(file: &File, lock: fn(&File) -> Result<(), TryLockError>) -> io::Result<bool> {
    match lock(file) {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries a build out without any tool: the first command makes the folder, or fails.
    #[derive(Default)]
    struct Script {
        ran: Vec<String>,
        fail: bool,
        notes: Vec<String>,
    }

    impl Steps for Script {
        fn run(&mut self, command: Command) -> Result<Option<String>, StepStop> {
            let args: Vec<_> = command.get_args().map(|it| it.to_string_lossy().into_owned()).collect();
            if args[0] == "venv" {
                let dir = PathBuf::from(args.last().expect("a path"));
                fs::create_dir_all(dir.join("bin")).expect("bin");
                fs::write(dir.join("bin/python"), "").expect("python");
            }
            self.ran.push(args[0].clone());
            Ok((self.fail && args[0] == "pip").then(|| "no such package".to_owned()))
        }
        fn pause(&mut self) -> Result<(), Stop> {
            Err(Stop::Cancelled)
        }
        fn note(&mut self, text: &str) {
            self.notes.push(text.to_owned());
        }
    }

    fn spec() -> EnvironmentSpec {
        EnvironmentSpec { lock: String::new(), python: "3.11".into() }
    }

    fn environments(dir: &tempfile::TempDir) -> Environments {
        Environments::new(dir.path().join("envs"), Tools { uv: Some("/uv".into()) })
    }

    #[test]
    fn one_is_built_once_and_then_needs_no_tool() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut steps = Script::default();
        drop(environments(&dir).acquire(&spec(), &mut steps).expect("built"));
        assert_eq!(steps.ran, ["venv", "pip"]);
        let without = Environments::new(dir.path().join("envs"), Tools::default());
        without.acquire(&spec(), &mut steps).expect("it is there");
        assert_eq!(steps.ran.len(), 2);
        assert!(without.is_ready(&spec()));
    }

    #[test]
    fn a_failed_or_half_built_one_is_built_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let envs = environments(&dir);
        let mut steps = Script { fail: true, ..Script::default() };
        let error = envs.acquire(&spec(), &mut steps).expect_err("the step fails");
        assert!(error.to_string().contains("no such package"), "{error}");
        let stale = envs.path(&Environments::hash(&spec())).join("stale");
        fs::write(&stale, "").expect("left over");
        assert!(!envs.is_ready(&spec()));
        steps.fail = false;
        drop(envs.acquire(&spec(), &mut steps).expect("built"));
        assert!(!stale.exists() && envs.is_ready(&spec()));
    }

    #[test]
    fn without_uv_the_error_says_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let envs = Environments::new(dir.path(), Tools::default());
        let error = envs.acquire(&spec(), &mut Script::default()).expect_err("no tool");
        assert!(error.to_string().contains("kaogong doctor"), "{error}");
    }

    #[test]
    fn a_second_builder_waits_and_can_be_stopped() {
        let dir = tempfile::tempdir().expect("a directory");
        let envs = environments(&dir);
        private_dir(&envs.dir.join("locks")).expect("locks");
        let lock = envs.open_lock(&Environments::hash(&spec())).expect("a lock");
        lock.lock().expect("the other builder");
        let mut steps = Script::default();
        let error = envs.acquire(&spec(), &mut steps).expect_err("stopped while waiting");
        assert!(matches!(error, EnvironmentError::Stopped(Stop::Cancelled)));
        assert!(steps.ran.is_empty() && steps.notes[0].contains("waiting"));
    }

    /// A builder that is killed while its uv runs: all that it held is gone, but not its child.
    struct Killed(Option<std::process::Child>);

    impl Steps for Killed {
        fn run(&mut self, _: Command) -> Result<Option<String>, StepStop> {
            self.0 = Some(Command::new("sleep").arg("60").spawn().expect("a process"));
            Err(StepStop::Stopped(Stop::Interrupted))
        }
        fn pause(&mut self) -> Result<(), Stop> {
            Err(Stop::Cancelled)
        }
        fn note(&mut self, _: &str) {}
    }

    #[test]
    fn nobody_builds_while_the_uv_of_a_killed_builder_still_runs() {
        let dir = tempfile::tempdir().expect("a directory");
        let envs = environments(&dir);
        let mut killed = Killed(None);
        envs.acquire(&spec(), &mut killed).expect_err("killed");
        let mut steps = Script::default();
        let waited = envs.acquire(&spec(), &mut steps);
        let mut orphan = killed.0.expect("a child");
        orphan.kill().expect("a signal");
        orphan.wait().expect("an end");
        assert!(matches!(waited, Err(EnvironmentError::Stopped(Stop::Cancelled))), "{waited:?}");
        assert!(steps.ran.is_empty(), "two built at once: {:?}", steps.ran);
        drop(envs.acquire(&spec(), &mut steps).expect("built when the first is gone"));
    }

    #[test]
    fn what_is_in_use_or_fresh_is_not_evicted() {
        let dir = tempfile::tempdir().expect("a directory");
        let envs = environments(&dir);
        let held = envs.acquire(&spec(), &mut Script::default()).expect("built");
        let later = Timestamp(i64::MAX);
        assert!(envs.evict(later).expect("evicting").is_empty());
        assert!(envs.list().expect("the list")[0].in_use);
        drop(held);
        assert!(envs.evict(Timestamp(0)).expect("evicting").is_empty());
        assert_eq!(envs.evict(later).expect("evicting"), [Environments::hash(&spec())]);
        assert!(envs.list().expect("the list").is_empty());
    }

    #[test]
    fn every_part_of_the_spec_counts() {
        let base = Environments::hash(&spec());
        assert!(is_hash(&base));
        assert_ne!(base, Environments::hash(&EnvironmentSpec { python: "3.12".into(), ..spec() }));
        assert_ne!(base, Environments::hash(&EnvironmentSpec { lock: "x".into(), ..spec() }));
    }
}
