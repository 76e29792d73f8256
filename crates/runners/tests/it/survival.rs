//! Crashes: of the server, of the supervisor, and of the machine.

use crate::processes::{ESCAPER, Place, escaped, is_alive, this_program_as, until};
use kaogong_runners::{AttemptStatus, Runner, TerminationReason, testing};
use std::{fs, process::Command};

fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status().expect("the kill program");
    assert!(status.success(), "kill {signal} {pid}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_outlives_its_server_and_is_adopted() {
    let place = Place::new();
    let runner = place.runner();
    let launch =
        testing::script(&runner, "echo begun; while [ ! -e go ]; do sleep 0.05; done; echo done; exit 4").await;
    let file = place.path().join("launch.json");
    fs::write(&file, serde_json::to_vec(&launch).expect("JSON")).expect("the launch");
    let words = this_program_as("helper_server");
    let mut server = Command::new(&words[0]).args(&words[1..]).arg(&file).spawn().expect("a server");
    until("the server to start the attempt", || file.with_extension("started").exists()).await;
    server.kill().expect("kill -9 of the server");
    server.wait().expect("the server is gone");

    assert!(matches!(
        runner.look(launch.attempt).await.expect("a look"),
        AttemptStatus::Running { .. } | AttemptStatus::Starting { .. }
    ));
    assert_eq!(runner.list().await.expect("the list"), [launch.attempt]);
    fs::write(launch.work_dir.join("go"), "").expect("the sign to go on");
    let ended = testing::ending(&runner, launch.attempt).await;
    assert_eq!((ended.reason, ended.exit_code), (TerminationReason::Exited, Some(4)));
    assert!(testing::whole_log(&runner, launch.attempt).await.starts_with("begun\ndone\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_supervisor_means_lost_and_nothing_is_left() {
    let place = Place::new();
    loses_its_supervisor(&place, &place.runner()).await;
    loses_its_supervisor(&place, &place.runner_without_groups()).await;
}

async fn loses_its_supervisor(place: &Place, runner: &dyn Runner) {
    let mut launch = testing::script(runner, "").await;
    launch.command = ["python3", "-c", ESCAPER, "stay"].map(str::to_owned).to_vec();
    runner.start(&launch).await.expect("the start");
    testing::wait_for_log(runner, launch.attempt, "ready").await;
    let child = escaped(&launch);
    kill("-KILL", place.supervisor_pid(&launch));
    let seen = testing::wait(runner, launch.attempt, "the loss", |it| matches!(it, AttemptStatus::Lost { .. })).await;
    assert!(!is_alive(child), "process {child} outlived its attempt");
    let again = place.runner().look(launch.attempt).await.expect("a look of the next server");
    assert_eq!(seen, again);
    assert!(runner.log(launch.attempt, 0, 1 << 20).await.expect("the log").end);
    runner.start(&launch).await.expect("a start of what is lost does nothing");
    assert!(matches!(runner.look(launch.attempt).await.expect("a look"), AttemptStatus::Lost { .. }));
    runner.forget(launch.attempt).await.expect("forgetting");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_told_to_end_is_an_interruption_not_a_cancellation() {
    let place = Place::new();
    let runner = place.runner();
    let launch = testing::script(&runner, "echo ready; sleep 1000").await;
    runner.start(&launch).await.expect("the start");
    testing::wait_for_log(&runner, launch.attempt, "ready").await;
    kill("-TERM", place.supervisor_pid(&launch));
    assert_eq!(testing::ending(&runner, launch.attempt).await.reason, TerminationReason::Interrupted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_cancel_is_heard_without_a_signal() {
    let place = Place::new();
    let runner = place.runner();
    let launch = testing::script(&runner, "echo ready; sleep 1000").await;
    runner.start(&launch).await.expect("the start");
    testing::wait_for_log(&runner, launch.attempt, "ready").await;
    fs::write(place.folder(&launch).join("cancel"), "").expect("a request");
    assert_eq!(testing::ending(&runner, launch.attempt).await.reason, TerminationReason::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_comes_late_does_not_run_what_was_cancelled() {
    let place = Place::new();
    let early = place.runner_without_supervisor();
    let mut launch = testing::script(&early, "touch ran").await;
    launch.env.insert("TOKEN".into(), "hunter2".into());
    let refused = early.start(&launch).await.expect_err("no supervisor came up");
    assert_eq!(refused.kind, kaogong_domain::ErrorKind::Unavailable);
    assert_eq!(early.look(launch.attempt).await.expect("a look"), AttemptStatus::Unknown);
    early.cancel(launch.attempt).await.expect("the request");
    let order = fs::read_to_string(place.folder(&launch).join("launch.json")).expect("the launch");
    assert!(!order.contains("hunter2"), "{order}");
    assert_eq!(testing::run(&place.runner(), &launch).await.reason, TerminationReason::Cancelled);
    assert!(!launch.work_dir.join("ran").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_boot_means_lost_and_kills_nobody() {
    let place = Place::new();
    let runner = place.runner_without_groups();
    let text = "echo $$ > pid; echo ready; while [ ! -e go ]; do sleep 0.05; done";
    let launch = testing::script(&runner, text).await;
    runner.start(&launch).await.expect("the start");
    testing::wait_for_log(&runner, launch.attempt, "ready").await;
    // The command may speak before its start is on record; a kill in between is another story.
    testing::wait(&runner, launch.attempt, "the start", |it| matches!(it, AttemptStatus::Running { .. })).await;
    let pid = place.supervisor_pid(&launch);
    kill("-KILL", pid);
    until("the supervisor to be gone", || !is_alive(pid)).await;
    // As after a power cut: the record speaks of processes of another boot.
    let path = place.folder(&launch).join("state.json");
    let own = fs::read_to_string(&path).expect("the state");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("the boot id");
    fs::write(&path, own.replace(boot.trim(), "another-boot")).expect("the state");
    let seen =
        testing::wait(&runner, launch.attempt, "the loss", |it| !matches!(it, AttemptStatus::Running { .. })).await;
    let AttemptStatus::Lost { message } = seen else { panic!("{seen:?}") };
    assert!(message.contains("started anew"), "{message}");
    let command = fs::read_to_string(launch.work_dir.join("pid")).expect("a pid").trim().parse().expect("digits");
    assert!(is_alive(command), "a process of this boot was killed for one of another");
    fs::write(launch.work_dir.join("go"), "").expect("the sign to end");
    until("the command to end", || !is_alive(command)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_cut_short_before_the_supervisor_can_be_repeated() {
    let place = Place::new();
    let runner = place.runner();
    let launch = testing::script(&runner, "exit 0").await;
    assert!(testing::run(&runner, &launch).await.is_success());
    // As if the server had died between writing the launch and starting the supervisor.
    fs::remove_file(place.folder(&launch).join("state.json")).expect("no state");
    assert_eq!(runner.look(launch.attempt).await.expect("a look"), AttemptStatus::Unknown);
    assert!(testing::run(&runner, &launch).await.is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_zombie_stays_with_the_server() {
    let place = Place::new();
    let runner = place.runner();
    let launch = testing::script(&runner, "exit 0").await;
    runner.start(&launch).await.expect("the start");
    let pid = place.supervisor_pid(&launch);
    testing::ending(&runner, launch.attempt).await;
    until("the supervisor to be reaped", || !fs::exists(format!("/proc/{pid}")).expect("/proc")).await;
}
