//! The suite that every runner passes, and helpers to write more tests of runners with.
//!
//! The suite speaks to the runner through the trait alone and needs a POSIX shell where commands run. It
//! panics at the first promise that is not kept.

use crate::{AttemptStatus, LOG_CHUNK_BYTES_MAX, Launch, Limits, Runner, Termination, TerminationReason};
use kaogong_domain::{ErrorKind, Timestamp, ids::AttemptId};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How long a condition is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A launch of a shell script in the prepared work directory, under a new attempt id.
///
/// # Panics
/// When the runner cannot prepare a folder.
pub async fn script(runner: &dyn Runner, text: &str) -> Launch {
    let ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_millis() as i64);
    let attempt = AttemptId::generate(Timestamp(ms));
    let work_dir = runner.prepare(attempt).await.expect("a prepared folder").work_dir().to_owned();
    Launch {
        attempt,
        work_dir,
        command: ["sh", "-c", text].map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        masked: vec![],
        devices: BTreeMap::new(),
        direct_hosts: vec![],
        environment: None,
        limits: Limits { grace_ms: 5_000, ..Limits::default() },
    }
}

/// Starts a launch and waits for its ending.
///
/// # Panics
/// When it cannot be started or has not ended in time.
pub async fn run(runner: &dyn Runner, launch: &Launch) -> Termination {
    runner.start(launch).await.expect("the start");
    ending(runner, launch.attempt).await
}

/// Waits for the ending of an attempt.
///
/// # Panics
/// When it is lost or absent, or has not ended in time.
pub async fn ending(runner: &dyn Runner, attempt: AttemptId) -> Termination {
    let seen = wait(runner, attempt, "an ending", |it| {
        !matches!(it, AttemptStatus::Starting { .. } | AttemptStatus::Running { .. })
    })
    .await;
    let AttemptStatus::Terminated(ending) = seen else { panic!("{attempt} has no ending: {seen:?}") };
    ending
}

/// Waits until what is seen of an attempt is as wanted, and returns it. A runner that cannot tell now is asked
/// again.
///
/// # Panics
/// When that has not come in time.
pub async fn wait(
    runner: &dyn Runner,
    attempt: AttemptId,
    wanted: &str,
    is: impl Fn(&AttemptStatus) -> bool,
) -> AttemptStatus {
    let end = Instant::now() + PATIENCE;
    loop {
        let seen = runner.look(attempt).await;
        match seen {
            Ok(seen) if is(&seen) => return seen,
            Err(problem) if problem.kind != ErrorKind::Unavailable => panic!("{attempt} cannot be seen: {problem}"),
            seen => assert!(Instant::now() < end, "waited in vain for {wanted} of {attempt}; seen {seen:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the log of an attempt holds a text, and returns the log so far.
///
/// # Panics
/// When that has not come in time.
pub async fn wait_for_log(runner: &dyn Runner, attempt: AttemptId, text: &str) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let log = whole_log(runner, attempt).await;
        if log.contains(text) {
            return log;
        }
        assert!(Instant::now() < end, "waited in vain for {text:?} in the log of {attempt}:\n{log}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The whole log of an attempt as it is now.
///
/// # Panics
/// When it cannot be read.
pub async fn whole_log(runner: &dyn Runner, attempt: AttemptId) -> String {
    let (mut bytes, mut offset) = (Vec::new(), 0);
    loop {
        let chunk = runner.log(attempt, offset, LOG_CHUNK_BYTES_MAX).await.expect("a piece of log");
        if chunk.bytes.is_empty() {
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        bytes.extend(chunk.bytes);
        offset = chunk.next_offset;
    }
}

/// All promises of [`Runner`], one after the other.
///
/// # Panics
/// When the runner breaks one.
pub async fn conformance(runner: &dyn Runner) {
    endings_are_told(runner).await;
    variables_and_files_arrive(runner).await;
    logs_are_read_in_pieces(runner).await;
    a_second_start_does_nothing(runner).await;
    cancelling_asks_first(runner).await;
    cancelling_does_not_ask_for_ever(runner).await;
    a_request_before_the_start_counts(runner).await;
    the_time_limit_holds(runner).await;
    what_cannot_start_says_so(runner).await;
    clearing_keeps_what_is_told(runner).await;
    forgetting_forgets(runner).await;
    strangers_are_not_found(runner).await;
    impossible_launches_are_refused(runner).await;
}

async fn endings_are_told(runner: &dyn Runner) {
    for (text, code, signal) in
        [("exit 0", Some(0), None), ("exit 7", Some(7), None), ("kill -SEGV $$", None, Some(11))]
    {
        let launch = script(runner, text).await;
        let ending = run(runner, &launch).await;
        let told = (ending.reason, ending.exit_code, ending.signal);
        assert_eq!(told, (TerminationReason::Exited, code, signal), "{text}: {ending:?}");
        assert_eq!(ending.is_success(), code == Some(0));
        assert!(ending.started_at.is_some_and(|it| it <= ending.ended_at), "{ending:?}");
        let again = self::ending(runner, launch.attempt).await;
        assert_eq!(ending, again, "an ending never changes");
        let samples = runner.usage(launch.attempt).await.expect("samples");
        assert!(!samples.is_empty() && samples.is_sorted_by_key(|it| it.at));
    }
}

async fn variables_and_files_arrive(runner: &dyn Runner) {
    let mut launch =
        script(runner, "echo \"$SEED-$CUDA_VISIBLE_DEVICES-$HIP_VISIBLE_DEVICES-$(cat staged)\"; pwd").await;
    std::fs::write(launch.work_dir.join("staged"), "file").expect("a staged file");
    launch.env = BTreeMap::from([("SEED".into(), "7".into()), ("HIP_VISIBLE_DEVICES".into(), "0".into())]);
    launch.devices = BTreeMap::from([("CUDA_VISIBLE_DEVICES".into(), "2".into())]);
    assert!(run(runner, &launch).await.is_success());
    let log = whole_log(runner, launch.attempt).await;
    assert_eq!(log, format!("7-2--file\n{}\n", launch.work_dir.display()));
}

async fn logs_are_read_in_pieces(runner: &dyn Runner) {
    let launch =
        script(runner, "printf 'one\\n'; printf 'two\\n' >&2; while [ ! -e go ]; do sleep 0.05; done; printf three")
            .await;
    runner.start(&launch).await.expect("the start");
    wait_for_log(runner, launch.attempt, "two\n").await;
    let first = runner.log(launch.attempt, 0, 5).await.expect("the first piece");
    assert_eq!((first.bytes.as_slice(), first.next_offset, first.end), (&b"one\nt"[..], 5, false));
    let second = runner.log(launch.attempt, 5, 100).await.expect("the second piece");
    assert_eq!((second.bytes.as_slice(), second.next_offset, second.end), (&b"wo\n"[..], 8, false));
    let nothing = runner.log(launch.attempt, 8, 100).await.expect("nothing yet");
    assert!(nothing.bytes.is_empty() && !nothing.end);
    std::fs::write(launch.work_dir.join("go"), "").expect("the sign to go on");
    ending(runner, launch.attempt).await;
    let last = runner.log(launch.attempt, 8, 100).await.expect("the last piece");
    assert_eq!((last.bytes.as_slice(), last.next_offset, last.end), (&b"three"[..], 13, true));
    let beyond = runner.log(launch.attempt, 1000, 100).await.expect("beyond the end");
    assert_eq!((beyond.bytes.as_slice(), beyond.next_offset, beyond.end), (&b""[..], 13, true));
}

async fn a_second_start_does_nothing(runner: &dyn Runner) {
    let launch = script(runner, "echo once >> ran; while [ ! -e go ]; do sleep 0.05; done").await;
    let (a, b) = tokio::join!(async { runner.start(&launch).await }, async { runner.start(&launch).await });
    a.and(b).expect("both starts at once");
    wait(runner, launch.attempt, "a running command", |it| matches!(it, AttemptStatus::Running { .. })).await;
    runner.start(&launch).await.expect("a start while it runs");
    std::fs::write(launch.work_dir.join("go"), "").expect("the sign to go on");
    ending(runner, launch.attempt).await;
    runner.start(&launch).await.expect("a start after its end");
    ending(runner, launch.attempt).await;
    assert_eq!(std::fs::read_to_string(launch.work_dir.join("ran")).expect("a trace"), "once\n");
}

async fn cancelling_asks_first(runner: &dyn Runner) {
    let launch = script(runner, "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done").await;
    runner.start(&launch).await.expect("the start");
    wait_for_log(runner, launch.attempt, "ready").await;
    runner.cancel(launch.attempt).await.expect("the request");
    let ended = ending(runner, launch.attempt).await;
    assert_eq!((ended.reason, ended.exit_code), (TerminationReason::Cancelled, Some(5)), "{ended:?}");
    assert!(whole_log(runner, launch.attempt).await.contains("bye"));
    runner.cancel(launch.attempt).await.expect("a request after the end");
    assert_eq!(ending(runner, launch.attempt).await, ended);
}

async fn cancelling_does_not_ask_for_ever(runner: &dyn Runner) {
    let mut launch = script(runner, "trap '' TERM; echo ready; while :; do sleep 0.05; done").await;
    launch.limits.grace_ms = 200;
    runner.start(&launch).await.expect("the start");
    wait_for_log(runner, launch.attempt, "ready").await;
    runner.cancel(launch.attempt).await.expect("the request");
    let ended = ending(runner, launch.attempt).await;
    assert_eq!((ended.reason, ended.signal), (TerminationReason::Cancelled, Some(9)), "{ended:?}");
}

async fn a_request_before_the_start_counts(runner: &dyn Runner) {
    let launch = script(runner, "touch ran; sleep 60").await;
    let (started, _) = tokio::join!(runner.start(&launch), runner.cancel(launch.attempt));
    started.expect("the start");
    runner.cancel(launch.attempt).await.expect("the request");
    assert_eq!(ending(runner, launch.attempt).await.reason, TerminationReason::Cancelled);
}

async fn the_time_limit_holds(runner: &dyn Runner) {
    let mut launch = script(runner, "trap '' TERM; while :; do sleep 0.05; done").await;
    launch.limits = Limits { time_ms: Some(300), grace_ms: 100, ..launch.limits };
    let ended = run(runner, &launch).await;
    assert_eq!(ended.reason, TerminationReason::TimeLimit, "{ended:?}");
    assert!(ended.started_at.is_some_and(|it| ended.ended_at.since_ms(it) >= 390), "{ended:?}");
    assert!(ended.message.contains("300 ms"), "{ended:?}");
}

async fn what_cannot_start_says_so(runner: &dyn Runner) {
    let mut launch = script(runner, "").await;
    launch.command = vec!["no-such-program-anywhere".into()];
    let ended = run(runner, &launch).await;
    assert_eq!((ended.reason, ended.exit_code, ended.started_at), (TerminationReason::StartFailed, None, None));
    assert!(ended.message.contains("no-such-program-anywhere"), "{ended:?}");
}

async fn clearing_keeps_what_is_told(runner: &dyn Runner) {
    let launch = script(runner, "echo said; mkdir -p made/deep; while [ ! -e go ]; do sleep 0.05; done; exit 3").await;
    runner.start(&launch).await.expect("the start");
    assert!(runner.list_uncleared().await.expect("the list").contains(&launch.attempt));
    let refused = runner.clear(launch.attempt).await.expect_err("it still runs");
    assert_eq!(refused.kind, ErrorKind::Conflict);
    std::fs::write(launch.work_dir.join("go"), "").expect("the sign to go on");
    let ended = ending(runner, launch.attempt).await;
    let samples = runner.usage(launch.attempt).await.expect("samples");
    let log = whole_log(runner, launch.attempt).await;
    for _ in 0..2 {
        runner.clear(launch.attempt).await.expect("clearing, and again");
        assert!(!launch.work_dir.exists());
        assert!(!runner.list_uncleared().await.expect("the list").contains(&launch.attempt));
    }
    runner.start(&launch).await.expect("a start of what is over does nothing");
    assert_eq!(ending(runner, launch.attempt).await, ended);
    assert!(log.starts_with("said\n"), "{log}");
    assert_eq!(whole_log(runner, launch.attempt).await, log);
    assert_eq!(runner.usage(launch.attempt).await.expect("samples"), samples);
    let stranger = script(runner, "").await.attempt;
    for _ in 0..2 {
        runner.clear(stranger).await.expect("clearing what was never started");
        assert!(!runner.list_uncleared().await.expect("the list").contains(&stranger));
    }
}

async fn forgetting_forgets(runner: &dyn Runner) {
    let launch = script(runner, "while [ ! -e go ]; do sleep 0.05; done").await;
    runner.start(&launch).await.expect("the start");
    assert!(runner.list().await.expect("the list").contains(&launch.attempt));
    let refused = runner.forget(launch.attempt).await.expect_err("it still runs");
    assert_eq!(refused.kind, ErrorKind::Conflict);
    std::fs::write(launch.work_dir.join("go"), "").expect("the sign to go on");
    ending(runner, launch.attempt).await;
    runner.forget(launch.attempt).await.expect("forgetting");
    runner.forget(launch.attempt).await.expect("forgetting again");
    assert_eq!(runner.look(launch.attempt).await.expect("a look"), AttemptStatus::Unknown);
    assert!(!runner.list().await.expect("the list").contains(&launch.attempt));
}

async fn strangers_are_not_found(runner: &dyn Runner) {
    let stranger = AttemptId::generate(Timestamp(1));
    assert_eq!(runner.look(stranger).await.expect("a look"), AttemptStatus::Unknown);
    let kinds = [
        runner.cancel(stranger).await.expect_err("nothing to cancel").kind,
        runner.log(stranger, 0, 1).await.expect_err("no log").kind,
        runner.usage(stranger).await.expect_err("no samples").kind,
    ];
    assert_eq!(kinds, [ErrorKind::NotFound; 3]);
}

async fn impossible_launches_are_refused(runner: &dyn Runner) {
    let good = script(runner, "exit 0").await;
    let mut bad = vec![
        Launch { command: Vec::new(), ..good.clone() },
        Launch { command: vec!["a\0b".into()], ..good.clone() },
        Launch { work_dir: "relative".into(), ..good.clone() },
        Launch { env: BTreeMap::from([("A=B".into(), String::new())]), ..good.clone() },
        Launch { limits: Limits { time_ms: Some(0), ..Limits::default() }, ..good.clone() },
        Launch { limits: Limits { grace_ms: u64::MAX, ..Limits::default() }, ..good.clone() },
        Launch { limits: Limits { cpus: Some(f64::NAN), ..Limits::default() }, ..good.clone() },
    ];
    let python = |text: &str| crate::EnvironmentSpec { lock: String::new(), python: text.into() };
    bad.extend(
        ["", "--help", "3.", "3.11.9.1", "../x"].map(|it| Launch { environment: Some(python(it)), ..good.clone() }),
    );
    for launch in bad {
        let refused = runner.start(&launch).await.expect_err("it can never work");
        assert_eq!(refused.kind, ErrorKind::Invalid, "{launch:?}");
        assert_eq!(runner.look(launch.attempt).await.expect("a look"), AttemptStatus::Unknown);
    }
}
