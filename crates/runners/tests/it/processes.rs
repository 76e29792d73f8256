//! A place for a runner, and the parts that this program plays when it is started by a test.

use kaogong_runners::{Launch, LocalRunner, LocalSettings, Runner, Tools, supervisor};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A directory with jobs and environments, removed at the end of the test.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A runner on this place; several may be made, as a restarted server does.
    pub(crate) fn runner(&self) -> LocalRunner {
        runner_at(self.path(), None)
    }

    /// A runner as on a machine whose control groups cannot be used: a plain directory is no place for them.
    pub(crate) fn runner_without_groups(&self) -> LocalRunner {
        let parent = self.path().join("no-groups");
        fs::create_dir_all(&parent).expect("a directory");
        LocalRunner::new(LocalSettings { cgroup_parent: Some(parent), ..settings(self.path(), None) })
            .expect("a runner")
    }

    /// A runner on a machine where no supervisor comes up.
    pub(crate) fn runner_without_supervisor(&self) -> LocalRunner {
        let supervisor_command = vec!["false".into()];
        LocalRunner::new(LocalSettings { supervisor_command, ..settings(self.path(), None) }).expect("a runner")
    }

    pub(crate) fn runner_with_uv(&self) -> LocalRunner {
        let uv = std::env::var_os("KAOGONG_TEST_UV")
            .expect("set KAOGONG_TEST_UV to the path of a uv program, as `make test` does");
        runner_at(self.path(), Some(uv.into()))
    }

    pub(crate) fn folder(&self, launch: &Launch) -> PathBuf {
        self.path().join("jobs").join(launch.attempt.to_string())
    }

    /// The process of the supervisor, as it has recorded itself.
    pub(crate) fn supervisor_pid(&self, launch: &Launch) -> u32 {
        let text = fs::read(self.folder(launch).join("state.json")).expect("a state");
        let state: serde_json::Value = serde_json::from_slice(&text).expect("a state in JSON");
        u32::try_from(state["supervisor"]["pid"].as_u64().expect("a pid")).expect("a small pid")
    }
}

pub(crate) fn runner_at(dir: &Path, uv: Option<PathBuf>) -> LocalRunner {
    LocalRunner::new(settings(dir, uv)).expect("a runner")
}

fn settings(dir: &Path, uv: Option<PathBuf>) -> LocalSettings {
    LocalSettings {
        jobs_dir: dir.join("jobs"),
        envs_dir: dir.join("envs"),
        tools: Tools { uv },
        supervisor_command: this_program_as("helper_supervisor"),
        cgroup_parent: None,
    }
}

/// The words that start this program as one of the processes below.
pub(crate) fn this_program_as(helper: &str) -> Vec<OsString> {
    let own = std::env::current_exe().expect("this program");
    let words = ["--exact", "--nocapture", &format!("processes::{helper}")].map(OsString::from);
    std::iter::once(own.into_os_string()).chain(words).collect()
}

/// The argument after the name of the helper that this program was started as.
fn argument(helper: &str) -> Option<PathBuf> {
    let name = OsString::from(format!("processes::{helper}"));
    let mut words = std::env::args_os().skip_while(|it| *it != name).skip(1);
    words.next().map(PathBuf::from).filter(|it| it.is_absolute())
}

#[test]
fn helper_supervisor() {
    if let Some(folder) = argument("helper_supervisor") {
        let code = supervisor::run(&folder);
        // The test harness knows only 0 and 101; the runner wants to see our own.
        let codes = [0u8, 1, 3].into_iter().find(|it| std::process::ExitCode::from(*it) == code);
        std::process::exit(i32::from(codes.expect("a documented exit code")));
    }
}

/// A server that starts the launch in the file it is given, and then stays until it is killed.
#[test]
fn helper_server() {
    let Some(file) = argument("helper_server") else { return };
    let launch: Launch = serde_json::from_slice(&fs::read(&file).expect("a launch")).expect("a launch in JSON");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let runner = runner_at(file.parent().expect("a directory"), None);
        runner.start(&launch).await.expect("the start");
        fs::write(file.with_extension("started"), "").expect("a sign");
        std::future::pending::<()>().await;
    });
}

/// Whether a process is alive; one that only waits to be reaped is not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Every living process whose command line holds a text.
pub(crate) fn processes_with(text: &str) -> Vec<u32> {
    let pids = fs::read_dir("/proc").expect("/proc").flatten();
    pids.filter_map(|it| it.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&words).contains(text) && is_alive(*pid)
        })
        .collect()
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + kaogong_runners::testing::PATIENCE;
    while !is() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A Python program that starts a child of its own session which ignores SIGTERM and tells its pid.
pub(crate) const ESCAPER: &str = r#"
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.environ.clear()
        os.closerange(0, 3)
        open("escaped.new", "w").write(str(os.getpid()))
        os.rename("escaped.new", "escaped")
        while True:
            time.sleep(0.05)
    os._exit(0)
while not os.path.exists("escaped"):
    time.sleep(0.01)
print("ready", flush=True)
if sys.argv[1] == "stay":
    while True:
        time.sleep(0.05)
"#;

/// The pid that the escaped child has told.
pub(crate) fn escaped(launch: &Launch) -> u32 {
    let text = fs::read_to_string(launch.work_dir.join("escaped")).expect("a pid");
    text.parse().expect("a pid in digits")
}
