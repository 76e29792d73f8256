//! Stopping reaches everything, and limits hold.

use crate::processes::{ESCAPER, Place, escaped, is_alive};
use kaogong_runners::{Launch, MemoryLimit, Runner, TerminationReason, testing};
use std::{
    fs,
    time::{Duration, Instant},
};

async fn python(runner: &dyn Runner, program: &str, argument: &str) -> Launch {
    let mut launch = testing::script(runner, "").await;
    launch.command = ["python3", "-c", program, argument].map(str::to_owned).to_vec();
    launch
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_left_the_session_and_ignores_sigterm_is_killed_on_cancel() {
    let place = Place::new();
    escapes_in_vain(&place.runner()).await;
    escapes_in_vain(&place.runner_without_groups()).await;
}

async fn escapes_in_vain(runner: &dyn Runner) {
    let mut launch = python(runner, ESCAPER, "stay").await;
    launch.limits.grace_ms = 200;
    runner.start(&launch).await.expect("the start");
    testing::wait_for_log(runner, launch.attempt, "ready").await;
    let child = escaped(&launch);
    assert!(is_alive(child));
    runner.cancel(launch.attempt).await.expect("the request");
    let ended = testing::ending(runner, launch.attempt).await;
    assert_eq!(ended.reason, TerminationReason::Cancelled);
    assert!(!is_alive(child), "process {child} outlived its attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outlives_a_command_that_exits_by_itself() {
    let place = Place::new();
    for runner in [place.runner(), place.runner_without_groups()] {
        let launch = python(&runner, ESCAPER, "leave").await;
        let ended = testing::run(&runner, &launch).await;
        assert!(ended.is_success(), "{ended:?}");
        let child = escaped(&launch);
        assert!(!is_alive(child), "process {child} outlived its attempt");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_in_the_group_keeps_its_grace_after_the_first_process_ended() {
    let place = Place::new();
    let runner = place.runner();
    let text = "(trap 'sleep 0.4; echo saved; exit' TERM; echo ready; while :; do sleep 0.05; done) & \
                trap 'exit 1' TERM; wait";
    let launch = testing::script(&runner, text).await;
    runner.start(&launch).await.expect("the start");
    testing::wait_for_log(&runner, launch.attempt, "ready").await;
    runner.cancel(launch.attempt).await.expect("the request");
    testing::ending(&runner, launch.attempt).await;
    let log = testing::whole_log(&runner, launch.attempt).await;
    assert!(log.contains("saved"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_prints_a_hundred_megabytes_keeps_its_first_one() {
    let place = Place::new();
    let runner = place.runner();
    let mut launch = testing::script(&runner, "head -c 100000000 /dev/zero | tr '\\0' x; touch went-on").await;
    launch.limits.log_bytes_max = 1 << 20;
    let ended = testing::run(&runner, &launch).await;
    assert!(ended.is_success(), "{ended:?}");
    assert!(launch.work_dir.join("went-on").exists());
    let log = testing::whole_log(&runner, launch.attempt).await;
    assert!(log.len() < (1 << 20) + 1000, "{} bytes", log.len());
    assert!(log.as_bytes()[..1 << 20].iter().all(|it| *it == b'x'));
    let dropped = 100_000_000 - (1 << 20);
    assert!(log[1 << 20..].contains("log limit of 1048576 bytes reached"), "{}", &log[1 << 20..]);
    assert!(log[1 << 20..].contains(&format!("{dropped} bytes of output came after")), "{}", &log[1 << 20..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_over_the_limit_ends_the_attempt() {
    let place = Place::new();
    let runner = place.runner();
    let program = "import time\nhold = b'x' * (200 << 20)\nprint('ready', flush=True)\nwhile True: time.sleep(0.05)";
    let mut launch = python(&runner, program, "").await;
    launch.limits.memory_bytes = Some(100 << 20);
    let ended = testing::run(&runner, &launch).await;
    assert_eq!((ended.reason, ended.signal), (TerminationReason::MemoryLimit, Some(9)), "{ended:?}");
    let how = if runner.capabilities().memory == MemoryLimit::Polled { "by polling" } else { "by the kernel" };
    assert!(ended.message.contains(how), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_shared_by_forked_workers_counts_once() {
    let place = Place::new();
    let runner = place.runner();
    // Four processes share 60 MB: 240 MB by the simple sum, far less in truth.
    let program = "import os, time\nhold = b'x' * (60 << 20)\n\
                   for _ in range(3):\n    if os.fork() == 0:\n\
                   \u{20}       while not os.path.exists('go'): time.sleep(0.05)\n\
                   \u{20}       os._exit(0)\n\
                   for _ in range(3): os.wait()\n";
    let mut launch = python(&runner, program, "").await;
    launch.limits.memory_bytes = Some(160 << 20);
    runner.start(&launch).await.expect("the start");
    // Two samples of all four, a second apart: the limit was looked at in between.
    let end = Instant::now() + testing::PATIENCE;
    loop {
        let samples = runner.usage(launch.attempt).await.expect("samples");
        if samples.iter().filter(|it| it.processes >= 4 && it.rss_bytes > 160 << 20).count() >= 2 {
            break;
        }
        assert!(Instant::now() < end, "waited in vain for samples: {samples:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fs::write(launch.work_dir.join("go"), "").expect("the sign to end");
    let ended = testing::ending(&runner, launch.attempt).await;
    assert!(ended.is_success(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn processor_time_of_ended_children_is_counted() {
    let place = Place::new();
    let runner = place.runner();
    let burn = "import time\nwhile time.process_time() < 0.5: pass";
    let launch = testing::script(&runner, &format!("python3 -c '{burn}'; python3 -c '{burn}' & wait")).await;
    assert!(testing::run(&runner, &launch).await.is_success());
    let last = *runner.usage(launch.attempt).await.expect("samples").last().expect("a sample");
    assert!(last.cpu_ms >= 900, "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_s_variables_and_the_launch_s_secrets_stay_private() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let runner = place.runner();
    let mut launch =
        testing::script(&runner, "env; cat /proc/$PPID/environ; echo ready; while [ ! -e go ]; do sleep 0.05; done")
            .await;
    launch.env.insert("TOKEN".into(), "hunter2".into());
    runner.start(&launch).await.expect("the start");
    let log = testing::wait_for_log(&runner, launch.attempt, "ready\n").await;
    assert!(log.contains("TOKEN=hunter2") && !log.contains("CARGO"), "{log}");
    let path = place.folder(&launch).join("launch.json");
    crate::processes::until("the secret to leave the disk", || {
        !fs::read_to_string(&path).expect("the launch").contains("hunter2")
    })
    .await;
    assert_eq!(fs::metadata(&path).expect("the launch").permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(place.folder(&launch)).expect("the folder").permissions().mode() & 0o777, 0o700);
    fs::write(launch.work_dir.join("go"), "").expect("the sign to go on");
    testing::ending(&runner, launch.attempt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_leave_the_disk_with_an_attempt_that_never_came_to_its_command() {
    let place = Place::new();
    let runner = place.runner();
    let mut launch = testing::script(&runner, "").await;
    launch.command = vec!["no-such-program-anywhere".into()];
    launch.env.insert("TOKEN".into(), "hunter2".into());
    assert_eq!(testing::run(&runner, &launch).await.reason, TerminationReason::StartFailed);
    let order = fs::read_to_string(place.folder(&launch).join("launch.json")).expect("the launch");
    assert!(!order.contains("hunter2"), "{order}");
}

#[tokio::test(flavor = "multi_thread")]
async fn masked_texts_reach_neither_the_log_nor_the_disk() {
    let place = Place::new();
    let runner = place.runner();
    let text = "env; printf 'correct '; sleep 0.1; printf 'horse\n'; printf '%s horse' correct | base64; echo ready; \
        while [ ! -e go ]; do sleep 0.05; done; printf 'correct hor'";
    let mut launch = testing::script(&runner, text).await;
    launch.env.insert("KEY_OF_MINE".into(), "correct horse".into());
    launch.masked = vec!["correct horse".into()];
    runner.start(&launch).await.expect("the start");
    let log = testing::wait_for_log(&runner, launch.attempt, "ready\n").await;
    assert!(log.contains("KEY_OF_MINE=***\n") && log.contains("\n***\n***"), "{log}");
    let path = place.folder(&launch).join("launch.json");
    crate::processes::until("the secret to leave the disk", || {
        !fs::read_to_string(&path).expect("the launch").contains("correct horse")
    })
    .await;
    fs::write(launch.work_dir.join("go"), "").expect("the sign to go on");
    testing::ending(&runner, launch.attempt).await;
    let log = fs::read_to_string(place.folder(&launch).join("log")).expect("the log");
    assert!(!log.contains("correct horse") && log.ends_with("ready\ncorrect hor"), "what is no secret is shown: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_only_a_shell_understands_is_told_so() {
    let place = Place::new();
    let runner = place.runner();
    let mut launch = testing::script(&runner, "").await;
    launch.command = vec!["echo a && echo b".into()];
    let ending = testing::run(&runner, &launch).await;
    assert_eq!(ending.reason, TerminationReason::StartFailed);
    assert!(ending.message.contains("there is no shell"), "{}", ending.message);
    let mut launch = testing::script(&runner, "").await;
    fs::write(launch.work_dir.join("train.sh"), "#!/bin/sh\r\necho\r\n").expect("a script");
    fs::set_permissions(launch.work_dir.join("train.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("a mode");
    launch.command = vec!["./train.sh".into()];
    let ending = testing::run(&runner, &launch).await;
    assert!(ending.message.contains("Windows line ends (CRLF)"), "{}", ending.message);
}
