//! The folder of one attempt: everything that is known about it, in files that survive a crash.
//!
//! `launch.json` (what to run), `state.json` (what is true; replaced, never edited), `ending` (room
//! reserved for the ending on a full disk), `log`, `usage.jsonl`, `cancel` (a request to stop), `staged`
//! (the caller's files are all there), `supervisor.lock` (held by the living supervisor; its age is the
//! heartbeat), `work/` and `tmp/`. The last two and `staged` go when nobody needs them any more; the
//! others stay.

use crate::{
    Launch, Termination,
    fault::{Fault, OnPath},
    proc::ProcessRef,
    removal,
};
use kaogong_domain::{Timestamp, ids::AttemptId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Bytes set aside for an ending; longer messages are cut to fit.
const ENDING_BYTES: usize = 16 << 10;

/// How long a supervisor tries to get its lock: whoever looks at the attempt holds it for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// The most bytes of a state or launch file that are read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What the supervisor is told: the launch, and the tools of this machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) launch: Launch,
    pub(crate) envs_dir: PathBuf,
    pub(crate) uv: Option<PathBuf>,
    pub(crate) cgroup_parent: Option<PathBuf>,
}

/// What the supervisor has recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) attempt: AttemptId,
    pub(crate) boot_id: String,
    pub(crate) supervisor: ProcessRef,
    /// Whether the supervisor leads a session of its own, so that the session's members are the job's.
    pub(crate) leads_session: bool,
    pub(crate) cgroup: Option<PathBuf>,
    pub(crate) phase: Phase,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Starting { phase: String },
    Running { command: ProcessRef, started_at: Timestamp },
    Ended(Termination),
    Lost { why: String },
}

/// The paths of one attempt.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
    pub(crate) fn launch(&self) -> PathBuf {
        self.root.join("launch.json")
    }
    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }
    pub(crate) fn usage(&self) -> PathBuf {
        self.root.join("usage.jsonl")
    }
    pub(crate) fn cancel(&self) -> PathBuf {
        self.root.join("cancel")
    }
    pub(crate) fn supervisor_log(&self) -> PathBuf {
        self.root.join("supervisor.log")
    }
    pub(crate) fn work(&self) -> PathBuf {
        self.root.join("work")
    }
    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }
    pub(crate) fn staged(&self) -> PathBuf {
        self.root.join("staged")
    }
    /// Whether there is anything left to work with.
    pub(crate) fn has_work(&self) -> bool {
        [self.work(), self.tmp()].iter().any(|it| fs::symlink_metadata(it).is_ok())
    }
    fn ending(&self) -> PathBuf {
        self.root.join("ending")
    }
    fn lock_path(&self) -> PathBuf {
        self.root.join("supervisor.lock")
    }

    /// Makes the folder and its parts, for the owner only.
    pub(crate) fn create(&self) -> Result<(), Fault> {
        for dir in [self.root.clone(), self.work(), self.tmp()] {
            private_dir(&dir)?;
        }
        Ok(())
    }

    /// Removes what the command worked with. What is told of the attempt stays.
    pub(crate) fn clear(&self) -> Result<(), Fault> {
        // The note goes first: a half folder must not look like one that is staged.
        for path in [self.staged(), self.tmp(), self.work()] {
            removal::remove_all(&path)?;
        }
        // A supervisor may have been killed while it removed the temporary files.
        removal::clear_leftovers(&self.root)
    }

    pub(crate) fn read_order(&self) -> Result<Option<Order>, Fault> {
        read_json(&self.launch())
    }

    pub(crate) fn write_order(&self, order: &Order) -> Result<(), Fault> {
        write_json(&self.launch(), order)
    }

    /// Takes the values of the variables, which may be secrets, off the disk.
    pub(crate) fn scrub_order(&self) -> Result<(), Fault> {
        let Some(order) = self.read_order()? else { return Ok(()) };
        let launch = order.launch.without_values();
        if launch == order.launch { Ok(()) } else { self.write_order(&Order { launch, ..order }) }
    }

    /// What is recorded; `None` when no supervisor has taken the attempt yet.
    pub(crate) fn read_state(&self) -> Result<Option<State>, Fault> {
        let Some(mut state) = read_json::<State>(&self.state())? else { return Ok(None) };
        if !matches!(state.phase, Phase::Ended(_))
            && let Some(ending) = self.reserved_ending()
        {
            state.phase = Phase::Ended(ending);
        }
        Ok(Some(state))
    }

    pub(crate) fn write_state(&self, state: &State) -> Result<(), Fault> {
        write_json(&self.state(), state)
    }

    /// Sets room aside so that the ending can be recorded when the disk is full by then.
    pub(crate) fn reserve_ending(&self) -> Result<(), Fault> {
        let path = self.ending();
        let mut file = private_file().write(true).create(true).truncate(true).open(&path).on("create", &path)?;
        file.write_all(&[b' '; ENDING_BYTES]).and_then(|()| file.sync_all()).on("write", &path)
    }

    /// Records the ending: as the new state, or, when that cannot be written, in the room set aside.
    pub(crate) fn record_ending(&self, state: &State, ending: &Termination) -> Result<(), Fault> {
        let mut ending = ending.clone();
        shorten_text(&mut ending.message, ENDING_BYTES / 8);
        let ended = State { phase: Phase::Ended(ending.clone()), ..state.clone() };
        let Err(fault) = self.write_state(&ended) else { return Ok(()) };
        tracing::warn!(attempt = %state.attempt, error = %fault.in_full(), "ending of {} goes to the reserve", state.attempt);
        let path = self.ending();
        let text = serde_json::to_vec(&ending).map_err(io::Error::from).on("encode", &path)?;
        let mut file = OpenOptions::new().write(true).open(&path).on("open", &path)?;
        file.rewind().and_then(|()| file.write_all(&text)).and_then(|()| file.sync_all()).on("write", &path)
    }

    fn reserved_ending(&self) -> Option<Termination> {
        serde_json::from_slice(&fs::read(self.ending()).ok()?).ok()
    }

    /// The lock that a living supervisor holds; `None` when somebody has it.
    pub(crate) fn try_lock(&self) -> Result<Option<File>, Fault> {
        let path = self.lock_path();
        let file = private_file().write(true).create(true).truncate(false).open(&path).on("open", &path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).on("lock", &path),
        }
    }

    /// The lock for a supervisor; `None` when another supervisor has the attempt.
    pub(crate) fn take_lock(&self) -> Result<Option<File>, Fault> {
        let end = Instant::now() + LOCK_PATIENCE;
        loop {
            let lock = self.try_lock()?;
            if lock.is_some() || self.state().exists() || Instant::now() >= end {
                return Ok(lock);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// When the supervisor last touched its lock.
    pub(crate) fn heartbeat_at(&self) -> Option<Timestamp> {
        Some(timestamp(fs::metadata(self.lock_path()).ok()?.modified().ok()?))
    }

    /// Keeps a request to stop.
    pub(crate) fn request_cancel(&self) -> Result<(), Fault> {
        let path = self.cancel();
        private_file()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .and_then(|it| it.sync_all())
            .on("create", &path)?;
        sync_dir(&self.root)
    }
}

/// This moment.
pub(crate) fn now() -> Timestamp {
    timestamp(SystemTime::now())
}

pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let ms = time.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_millis());
    Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// Makes a directory, its parents too, for the owner only; one that exists stays as it is.
pub(crate) fn private_dir(path: &Path) -> Result<(), Fault> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).on("create", path)
}

/// Options that make files for the owner only.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Cuts a text to at most `bytes_max` bytes. Its first line says what happened and stays; of the others the
/// last ones stay, as the end of an output says why.
fn shorten_text(text: &mut String, bytes_max: usize) {
    const GAP: &str = "\n…\n";
    if text.len() <= bytes_max {
        return;
    }
    let Some((first, rest)) = text.split_once('\n') else {
        return text.truncate(text.floor_char_boundary(bytes_max));
    };
    let first = &first[..first.floor_char_boundary(bytes_max / 4)];
    let room = bytes_max.saturating_sub(first.len() + GAP.len());
    let mut start = rest.ceil_char_boundary(rest.len().saturating_sub(room));
    // Whole lines, unless the last one alone is too long.
    if start > 0
        && let Some(line) = rest[start..].find('\n')
    {
        start += line + 1;
    }
    *text = [first, GAP, &rest[start..]].concat();
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Fault> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error).on("open", path),
    };
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).on("read", path)?;
    serde_json::from_slice(&text).map(Some).map_err(io::Error::from).on("understand", path)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Fault> {
    let text = serde_json::to_vec(value).map_err(io::Error::from).on("encode", path)?;
    replace_file(path, &text)
}

/// Replaces a file so that a reader, and whoever comes after a crash, finds the old or the new one whole.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // Two writers of one file (two starts of one attempt) must not share a draft.
    name.push(format!(".{}-{:x}.draft", std::process::id(), draft_number()));
    let draft = path.with_file_name(name);
    let written = private_file().write(true).create(true).truncate(true).open(&draft).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&draft, path)).on("replace", path);
    if replaced.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&draft);
    }
    replaced?;
    path.parent().map_or(Ok(()), sync_dir)
}

fn draft_number() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn sync_dir(path: &Path) -> Result<(), Fault> {
    File::open(path).and_then(|it| it.sync_all()).on("sync", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TerminationReason;

    fn state() -> State {
        State {
            attempt: AttemptId::from_parts(Timestamp(1), 2),
            boot_id: "boot".into(),
            supervisor: ProcessRef { pid: 1, start_ticks: 2 },
            leads_session: true,
            cgroup: None,
            phase: Phase::Starting { phase: "starting".into() },
        }
    }

    fn ending(message: String) -> Termination {
        let (started_at, ended_at) = (Some(Timestamp(1)), Timestamp(2));
        Termination {
            exit_code: Some(0),
            signal: None,
            reason: TerminationReason::Exited,
            message,
            started_at,
            ended_at,
        }
    }

    #[test]
    fn an_ending_is_kept_when_the_state_cannot_be_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = Folder::new(dir.path().to_owned());
        folder.reserve_ending().expect("the reserve");
        folder.write_state(&state()).expect("the first state");
        // A directory in the place of the state file makes every replacement fail, for root too.
        fs::rename(folder.state(), dir.path().join("kept")).expect("the state moves away");
        fs::create_dir(folder.state()).expect("something in the way");
        let ending = ending("é".repeat(100_000));
        folder.record_ending(&state(), &ending).expect("the ending goes to the reserve");
        fs::remove_dir(folder.state()).expect("the way is free");
        fs::rename(dir.path().join("kept"), folder.state()).expect("the state is back");
        let Some(State { phase: Phase::Ended(read), .. }) = folder.read_state().expect("a state") else {
            panic!("the ending was not found");
        };
        assert_eq!(read.exit_code, Some(0));
        assert!(ending.message.starts_with(&read.message) && !read.message.is_empty());
    }

    #[test]
    fn an_empty_reserve_is_no_ending() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = Folder::new(dir.path().to_owned());
        folder.reserve_ending().expect("the reserve");
        assert!(folder.read_state().expect("no state").is_none());
        folder.write_state(&state()).expect("a state");
        assert!(matches!(folder.read_state(), Ok(Some(State { phase: Phase::Starting { .. }, .. }))));
    }

    #[test]
    fn files_are_for_the_owner_only_and_no_draft_stays() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        replace_file(&path, b"one").expect("written");
        replace_file(&path, b"two").expect("replaced");
        assert_eq!(fs::read(&path).expect("the file"), b"two");
        assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("the directory").count(), 1);
    }

    #[test]
    fn a_long_message_keeps_its_first_line_and_its_last_ones() {
        let mut text = format!("installing failed:\n{}error: no such package", "a line of noise é\n".repeat(200));
        shorten_text(&mut text, 500);
        assert!(text.len() <= 500, "{} bytes", text.len());
        assert!(text.starts_with("installing failed:\n…\na line of noise"), "{text}");
        assert!(text.ends_with("noise é\nerror: no such package"), "{text}");
        let mut text = format!("what\n{}", "é".repeat(1000));
        shorten_text(&mut text, 100);
        assert!(text.len() <= 100 && text.starts_with("what\n…\né"), "{text}");
        let mut text = "short\nenough".to_owned();
        shorten_text(&mut text, 100);
        assert_eq!(text, "short\nenough");
    }

    #[test]
    fn a_supervisor_waits_for_whoever_only_looks() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = Folder::new(dir.path().to_owned());
        let looking = folder.try_lock().expect("a lock file").expect("the lock");
        let taking = std::thread::spawn({
            let folder = folder.clone();
            move || folder.take_lock().expect("a lock file").is_some()
        });
        std::thread::sleep(Duration::from_millis(50));
        drop(looking);
        assert!(taking.join().expect("an answer"), "the supervisor gave up");
    }

    #[test]
    fn a_supervisor_leaves_what_another_has() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = Folder::new(dir.path().to_owned());
        let _other = folder.try_lock().expect("a lock file").expect("the lock");
        folder.write_state(&state()).expect("the other's state");
        let begun = Instant::now();
        assert!(folder.take_lock().expect("a lock file").is_none());
        assert!(begun.elapsed() < LOCK_PATIENCE, "it waited for nothing");
    }

    #[test]
    fn the_lock_is_held_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = Folder::new(dir.path().to_owned());
        let held = folder.try_lock().expect("a lock file");
        assert!(held.is_some());
        assert!(folder.try_lock().expect("a lock file").is_none());
        drop(held);
        assert!(folder.try_lock().expect("a lock file").is_some());
    }
}
