//! The process table: who descends from whom, who is alive, and signals that cannot hit a stranger.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    fs, io,
    sync::OnceLock,
    time::{Duration, Instant},
};

/// A process that cannot be taken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessRef {
    pub(crate) pid: u32,
    /// Start time in clock ticks since boot, from the process table.
    pub(crate) start_ticks: u64,
}

/// One line of the process table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) session: u32,
    /// False when it is only waiting to be reaped.
    pub(crate) alive: bool,
    /// Processor time of the process and of the children that it reaped, in clock ticks.
    pub(crate) ticks: u64,
    /// The part of `ticks` that reaped children used.
    pub(crate) child_ticks: u64,
    pub(crate) start_ticks: u64,
    pub(crate) rss_pages: u64,
}

impl Stat {
    /// Reads a line as `/proc/PID/stat` has it; the name in parentheses may hold anything, also `)`.
    fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.rsplit_once(')')?;
        let pid = before.split_once(' ')?.0.parse().ok()?;
        let fields: Vec<&str> = after.split_ascii_whitespace().collect();
        // Field 3 of proc(5) is the first after the name.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let small = |field: usize| Some(u32::try_from(fields.get(field - 3)?.parse::<i64>().ok()?).unwrap_or(0));
        let child_ticks = number(16)? + number(17)?;
        Some(Self {
            pid,
            parent: small(4)?,
            group: small(5)?,
            session: small(6)?,
            // A process whose first thread has ended shows as a zombie while the other threads live on.
            alive: !matches!(fields.first(), Some(&"Z" | &"X")) || number(20)? > 1,
            ticks: number(14)? + number(15)? + child_ticks,
            child_ticks,
            start_ticks: number(22)?,
            rss_pages: number(24)?,
        })
    }

    /// The process with a number, if there is one.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    pub(crate) fn process(&self) -> ProcessRef {
        ProcessRef { pid: self.pid, start_ticks: self.start_ticks }
    }
}

impl ProcessRef {
    /// The process with a number, as it is now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Stat::of(pid).map(|it| it.process())
    }

    /// Whether this very process still runs (one that only waits to be reaped does not).
    pub(crate) fn is_alive(self) -> bool {
        Stat::of(self.pid).is_some_and(|it| it.start_ticks == self.start_ticks && it.alive)
    }

    /// Sends a signal to this very process; nothing happens when it is gone.
    pub(crate) fn signal(self, signal: Signal) -> io::Result<()> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
        // The handle pins whoever has the number now; the start time then tells whether that is ours.
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if Stat::of(self.pid).is_none_or(|it| it.start_ticks != self.start_ticks) {
            return Ok(());
        }
        match pidfd_send_signal(handle, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// All processes that can be seen.
pub(crate) fn table() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|it| Stat::of(it.file_name().to_str()?.parse().ok()?)).collect()
}

/// The children of `root`, their children, and so on; without `root` itself.
pub(crate) fn descendants(table: &[Stat], root: u32) -> Vec<Stat> {
    let mut children: HashMap<u32, Vec<&Stat>> = HashMap::new();
    for stat in table {
        children.entry(stat.parent).or_default().push(stat);
    }
    let (mut found, mut seen, mut next) = (Vec::new(), HashSet::from([root]), vec![root]);
    while let Some(parent) = next.pop() {
        for stat in children.get(&parent).into_iter().flatten() {
            // The table is read line by line, so a reused number could close a circle.
            if seen.insert(stat.pid) {
                found.push(**stat);
                next.push(stat.pid);
            }
        }
    }
    found
}

/// Kills whatever `find` returns, again and again until it finds nothing or `patience` is over.
/// Returns how many were left.
pub(crate) fn kill_all(patience: Duration, mut find: impl FnMut() -> Vec<Stat>) -> usize {
    let end = Instant::now() + patience;
    loop {
        let left = find();
        if left.is_empty() || Instant::now() >= end {
            return left.len();
        }
        for stat in &left {
            if let Err(error) = stat.process().signal(Signal::KILL) {
                tracing::warn!(pid = stat.pid, %error, "cannot kill process {}", stat.pid);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The living processes that are in `members`, carry `NAME=VALUE` in the environment they were started
/// with, or belong to `session`. The environment of other accounts' processes cannot be read.
pub(crate) fn marked(mark: &str, session: Option<ProcessRef>, members: &[u32]) -> Vec<Stat> {
    let own = std::process::id();
    let all = table();
    // Somebody else leads a session of that number now: then its members are none of ours.
    let foreign = |it: ProcessRef| all.iter().any(|stat| stat.pid == it.pid && stat.start_ticks != it.start_ticks);
    let session = session.filter(|it| !foreign(*it)).map(|it| it.pid);
    let carries = |stat: &Stat| {
        let environment = fs::read(format!("/proc/{}/environ", stat.pid)).unwrap_or_default();
        environment.split(|it| *it == 0).any(|it| it == mark.as_bytes())
    };
    all.iter()
        .filter(|it| {
            it.alive && it.pid != own && (Some(it.session) == session || members.contains(&it.pid) || carries(it))
        })
        .copied()
        .collect()
}

/// Names this boot of the machine; process numbers and start times of another boot mean nothing.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Memory of a process with shared pages counted by share, in bytes; none for one that has ended, and
/// `None` when it cannot be read.
pub(crate) fn proportional_bytes(pid: u32) -> Option<u64> {
    let text = match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
        Ok(text) => text,
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => return Some(0),
        // The file is missing for everybody where the kernel was built without it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Stat::of(pid).is_none_or(|it| !it.alive).then_some(0);
        }
        Err(_) => return None,
    };
    // A process on its way out has no memory left to tell of.
    if text.is_empty() {
        return Some(0);
    }
    let line = text.lines().find_map(|it| it.strip_prefix("Pss:"))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Bytes of a page and clock ticks of a second, as the kernel handed them to this program.
pub(crate) fn units() -> (u64, u64) {
    static UNITS: OnceLock<(u64, u64)> = OnceLock::new();
    *UNITS.get_or_init(|| {
        const AT_PAGESZ: usize = 6;
        const AT_CLKTCK: usize = 17;
        const WORD: usize = size_of::<usize>();
        let bytes = fs::read("/proc/self/auxv").unwrap_or_default();
        let word = |it: &[u8]| it.try_into().map(usize::from_ne_bytes).unwrap_or(0);
        let pairs: HashMap<usize, u64> =
            bytes.chunks_exact(2 * WORD).map(|it| (word(&it[..WORD]), word(&it[WORD..]) as u64)).collect();
        let get = |key, usual| pairs.get(&key).copied().filter(|it| *it > 0).unwrap_or(usual);
        (get(AT_PAGESZ, 4096), get(AT_CLKTCK, 100))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_is_read() {
        let line = "42 (a) b (c)) S 7 42 9 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 12345 1000 55 0";
        let stat = Stat::parse(line).expect("a stat line");
        assert_eq!((stat.pid, stat.parent, stat.group, stat.session), (42, 7, 42, 9));
        assert_eq!((stat.ticks, stat.child_ticks, stat.start_ticks, stat.rss_pages), (100, 70, 12345, 55));
        assert!(stat.alive);
    }

    #[test]
    fn a_zombie_is_not_alive_unless_threads_are() {
        let line = |state, threads| format!("1 (x) {state} 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 5 0 0 0");
        assert!(!Stat::parse(&line("Z", 1)).expect("a stat line").alive);
        assert!(Stat::parse(&line("Z", 3)).expect("a stat line").alive);
    }

    #[test]
    fn nonsense_is_no_process() {
        for text in ["", "1", "1 (x", "1 (x) S", "x (y) S 1 2 3"] {
            assert_eq!(Stat::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn this_process_is_alive_and_a_later_one_of_the_number_is_not_it() {
        let own = ProcessRef::of(std::process::id()).expect("this process");
        assert!(own.is_alive());
        let other = ProcessRef { start_ticks: own.start_ticks + 1, ..own };
        assert!(!other.is_alive());
        other.signal(Signal::KILL).expect("a signal to nobody is no error");
    }

    #[test]
    fn descendants_survive_a_circle() {
        let stat = |pid, parent| Stat {
            pid,
            parent,
            group: 0,
            session: 0,
            alive: true,
            ticks: 0,
            child_ticks: 0,
            start_ticks: 0,
            rss_pages: 0,
        };
        let table = [stat(2, 1), stat(3, 2), stat(2, 3), stat(9, 8)];
        let mut found: Vec<u32> = descendants(&table, 1).iter().map(|it| it.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [2, 3]);
    }

    #[test]
    fn a_process_that_has_ended_uses_no_memory() {
        let mut child = std::process::Command::new("true").spawn().expect("a process");
        let pid = child.id();
        while Stat::of(pid).is_some_and(|it| it.alive) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(proportional_bytes(pid), Some(0), "while it waits to be reaped");
        child.wait().expect("an end");
        assert_eq!(proportional_bytes(pid), Some(0), "when it is gone");
    }

    #[test]
    fn units_are_plausible() {
        let (page, ticks) = units();
        assert!(page >= 4096 && page.is_power_of_two());
        assert!((1..=10_000).contains(&ticks));
    }
}
