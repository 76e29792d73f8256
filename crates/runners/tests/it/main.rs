//! Tests of the local runner on real processes.
//!
//! This very test program is also the supervisor and the server that dies: it is started again with the
//! name of one of the `helper_` tests, which do nothing in an ordinary run.

mod environments;
mod limits;
mod processes;
mod survival;

use kaogong_runners::{KillScope, MemoryLimit, Runner, testing};
use processes::Place;

#[tokio::test(flavor = "multi_thread")]
async fn the_local_runner_keeps_all_promises() {
    let place = Place::new();
    testing::conformance(&place.runner()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_them_without_control_groups_too() {
    let place = Place::new();
    let runner = place.runner_without_groups();
    let capabilities = runner.capabilities();
    assert_eq!((capabilities.kill, capabilities.memory), (KillScope::Descendants, MemoryLimit::Polled));
    testing::conformance(&runner).await;
}
