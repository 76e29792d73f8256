//! Python environments, built by a real uv from a real lock.

use crate::processes::Place;
use kaogong_domain::Timestamp;
use kaogong_runners::{EnvironmentSpec, Launch, Runner, TerminationReason, testing};

const SIX: &str = "six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274\n";

fn spec(lock: &str) -> Option<EnvironmentSpec> {
    Some(EnvironmentSpec { lock: lock.into(), python: "3".into() })
}

async fn with_six(runner: &dyn Runner) -> Launch {
    let text = "python -c 'import six, sys; print(six.__version__, sys.prefix)'; echo $VIRTUAL_ENV";
    let launch = testing::script(runner, text).await;
    Launch { environment: spec(SIX), ..launch }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_attempts_share_one_environment_and_a_third_needs_no_uv() {
    let place = Place::new();
    let runner = place.runner_with_uv();
    let (a, b) = (with_six(&runner).await, with_six(&runner).await);
    let (first, second) = tokio::join!(testing::run(&runner, &a), testing::run(&runner, &b));
    assert!(first.is_success() && second.is_success(), "{first:?} {second:?}");
    let logs = [testing::whole_log(&runner, a.attempt).await, testing::whole_log(&runner, b.attempt).await];
    let built = logs.iter().filter(|it| it.contains("[kaogong] building environment")).count();
    assert_eq!(built, 1, "{logs:?}");
    assert!(logs.iter().any(|it| it.contains("[environment] ")), "{logs:?}");

    let without = place.runner();
    let third = with_six(&without).await;
    assert!(testing::run(&without, &third).await.is_success());
    let info = &runner.environments().list().expect("the list")[0];
    let dir = place.path().join("envs").join(&info.hash);
    let log = testing::whole_log(&without, third.attempt).await;
    assert_eq!(log, format!("1.17.0 {0}\n{0}\n", dir.display()));
    assert!(info.ready && !info.in_use && info.python == "3", "{info:?}");
    let removed = runner.environments().evict(Timestamp(i64::MAX)).expect("evicting");
    assert_eq!(removed, [info.hash.as_str()]);
    assert!(!dir.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_cannot_be_installed_says_why() {
    let place = Place::new();
    let runner = place.runner_with_uv();
    let mut launch = with_six(&runner).await;
    launch.environment = spec("six==1.17.0\n");
    let ended = testing::run(&runner, &launch).await;
    assert_eq!((ended.reason, ended.exit_code), (TerminationReason::EnvironmentFailed, None), "{ended:?}");
    assert!(ended.message.contains("hash"), "{ended:?}");
    assert!(testing::whole_log(&runner, launch.attempt).await.contains("[environment] "));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_uv_the_ending_names_the_next_step() {
    let place = Place::new();
    let runner = place.runner();
    assert!(!runner.capabilities().environments);
    let launch = with_six(&runner).await;
    let ended = testing::run(&runner, &launch).await;
    assert_eq!(ended.reason, TerminationReason::EnvironmentFailed);
    assert!(ended.message.contains("kaogong doctor"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn building_can_be_cancelled_and_leaves_nothing_running() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    // In the place of uv, a program that never ends and does not care about SIGTERM.
    let slow = place.path().join("slow-uv");
    std::fs::write(&slow, "#!/bin/sh\ntrap '' TERM\necho building; while :; do sleep 0.05; done\n").expect("a program");
    std::fs::set_permissions(&slow, std::fs::Permissions::from_mode(0o700)).expect("executable");
    let runner = crate::processes::runner_at(place.path(), Some(slow.clone()));
    let mut launch = with_six(&runner).await;
    launch.limits.grace_ms = 100;
    runner.start(&launch).await.expect("the start");
    testing::wait_for_log(&runner, launch.attempt, "[environment] building").await;
    let seen = runner.look(launch.attempt).await.expect("a look");
    assert_eq!(seen, kaogong_runners::AttemptStatus::Starting { phase: "building environment".into() });
    runner.cancel(launch.attempt).await.expect("the request");
    let ended = testing::ending(&runner, launch.attempt).await;
    assert_eq!((ended.reason, ended.started_at), (TerminationReason::Cancelled, None), "{ended:?}");
    assert!(crate::processes::processes_with(&slow.display().to_string()).is_empty());
}
