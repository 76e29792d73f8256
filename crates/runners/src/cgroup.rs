//! Control groups, version 2: where they can be made, what they can do here, and one per attempt.
//!
//! Three levels exist in the field: all controllers; a tree without the memory and processor controllers
//! (kill and count only); nothing writable. What is there is found out by making a group and looking.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// What control groups can do under one parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Level {
    pub(crate) kill: bool,
    pub(crate) memory: bool,
    pub(crate) cpu: bool,
}

/// One attempt's group.
#[derive(Debug)]
pub(crate) struct Cgroup {
    dir: PathBuf,
    /// The group of this process, to go back to.
    home: PathBuf,
    pub(crate) level: Level,
}

/// Where groups may be made: the directory that was set, else the one that was delegated to us, else the
/// group of this process.
pub(crate) fn parent(chosen: Option<&Path>) -> Option<PathBuf> {
    if let Some(chosen) = chosen {
        return Some(chosen.to_owned());
    }
    let own = own_group()?;
    // A service manager that delegates may put us into a leaf below the delegated group, as version 2
    // wants processes in leaves only; our groups then belong beside that leaf.
    match own.parent() {
        Some(above) if is_delegated(above) => Some(above.to_owned()),
        _ => Some(own),
    }
}

/// What groups under `parent` can do, found out by making one.
pub(crate) fn probe(parent: &Path) -> Level {
    let name = format!("kaogong-probe-{}-{:x}", std::process::id(), probe_number());
    let Ok(group) = Cgroup::create(parent, &name) else { return Level::default() };
    let level = group.level;
    group.remove();
    level
}

fn probe_number() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

impl Cgroup {
    /// Makes a group; one left over under the same name is taken over.
    pub(crate) fn create(parent: &Path, name: &str) -> io::Result<Self> {
        let home = own_group().ok_or_else(|| io::Error::other("this process is in no control group of version 2"))?;
        for controller in ["+memory", "+cpu"] {
            // Refused where the controller is absent or processes sit in the parent; the level tells.
            let _ = write(&parent.join("cgroup.subtree_control"), controller);
        }
        let dir = parent.join(name);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let has = |file: &str| dir.join(file).exists();
        let level = Level { kill: has("cgroup.kill"), memory: has("memory.max"), cpu: has("cpu.max") };
        let group = Self { dir, home, level };
        if !level.kill || fs::OpenOptions::new().write(true).open(group.dir.join("cgroup.procs")).is_err() {
            group.remove();
            return Err(io::Error::other("control groups here cannot be entered or killed"));
        }
        Ok(group)
    }

    /// A group that an earlier process made, for killing what is left in it.
    pub(crate) fn left_behind(dir: PathBuf) -> Self {
        Self { home: PathBuf::new(), dir, level: Level { kill: true, ..Level::default() } }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Sets what can be set; the level says what that is.
    pub(crate) fn limit(&self, memory_bytes: Option<u64>, cpus: Option<f64>) -> io::Result<()> {
        if let Some(bytes) = memory_bytes.filter(|_| self.level.memory) {
            write(&self.dir.join("memory.max"), bytes.to_string())?;
            // Without swap accounting there is no such file, and then no swap to forbid.
            let _ = write(&self.dir.join("memory.swap.max"), "0");
            // All or nothing: a job that lost one process is of no use.
            let _ = write(&self.dir.join("memory.oom.group"), "1");
        }
        if let Some(cpus) = cpus.filter(|_| self.level.cpu) {
            const PERIOD_US: f64 = 100_000.0;
            let quota = (cpus * PERIOD_US).max(1000.0).round();
            write(&self.dir.join("cpu.max"), format!("{quota} {PERIOD_US}"))?;
        }
        Ok(())
    }

    /// Runs `act` while this process is in the group, so that a child made by it is born there and no
    /// moment exists in which the child could escape.
    ///
    /// When there is no way back the group is not killed as a whole any more, as that would kill us.
    pub(crate) fn inside<T>(&mut self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        write(&self.dir.join("cgroup.procs"), "0")?;
        let result = act();
        if let Err(error) = write(&self.home.join("cgroup.procs"), "0") {
            self.level.kill = false;
            return Err(error);
        }
        result
    }

    /// Kills every process in the group.
    pub(crate) fn kill(&self) -> io::Result<()> {
        write(&self.dir.join("cgroup.kill"), "1")
    }

    /// Whether any process is in the group.
    pub(crate) fn is_populated(&self) -> bool {
        self.number("cgroup.events", "populated").is_some_and(|it| it > 0)
    }

    /// The processes in the group now.
    pub(crate) fn members(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|it| it.parse().ok()).collect()
    }

    /// Processor time of everything that ever ran in the group, in milliseconds.
    pub(crate) fn cpu_ms(&self) -> Option<u64> {
        self.number("cpu.stat", "usage_usec").map(|it| it / 1000)
    }

    /// How many processes the kernel killed for memory.
    pub(crate) fn memory_kills(&self) -> u64 {
        self.number("memory.events", "oom_kill").unwrap_or(0)
    }

    fn number(&self, file: &str, key: &str) -> Option<u64> {
        let text = fs::read_to_string(self.dir.join(file)).ok()?;
        text.lines().find_map(|it| it.strip_prefix(key)?.trim().parse().ok())
    }

    /// Removes the group, waiting a moment for the kernel to let go of processes that have just died.
    pub(crate) fn remove(&self) {
        let end = Instant::now() + Duration::from_secs(2);
        while let Err(error) = fs::remove_dir(&self.dir) {
            if error.kind() == io::ErrorKind::NotFound {
                return;
            }
            if Instant::now() >= end {
                tracing::warn!(%error, "cannot remove control group {}", self.dir.display());
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Writes to a control file; never makes a file where there is none.
fn write(path: &Path, text: impl AsRef<[u8]>) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_ref())
}

/// The directory of this process's own group.
fn own_group() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|it| it.strip_prefix("0::"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    find_group(own, &mounts).filter(|it| it.join("cgroup.procs").exists())
}

fn find_group(own: &str, mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        if kind.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = fields.split(' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        let below = Path::new(own).strip_prefix(root).ok()?;
        Some(Path::new(mount).join(below))
    })
}

/// Whether a service manager handed this group over for us to divide.
fn is_delegated(dir: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0u8; 8];
        rustix::fs::getxattr(dir, *name, &mut value[..]).is_ok_and(|len| value[..len] == *b"1")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found_in_pure_and_mixed_layouts() {
        let mixed = "33 32 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                     42 32 0:40 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(find_group("/a.service", mixed), Some("/sys/fs/cgroup/unified/a.service".into()));
        let container = "42 32 0:40 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
        assert_eq!(find_group("/docker/x/job", container), Some("/sys/fs/cgroup/job".into()));
        assert_eq!(find_group("/elsewhere", container), None);
        assert_eq!(find_group("/", "1 1 0:1 / /proc rw - proc proc rw\n"), None);
    }

    #[test]
    fn nothing_is_possible_under_a_plain_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(probe(dir.path()), Level::default());
        assert_eq!(fs::read_dir(dir.path()).expect("the directory").count(), 0);
    }
}
