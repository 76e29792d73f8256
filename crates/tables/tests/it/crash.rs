//! A process killed in the middle of an import: the versions before it stay, nothing half-written shows.

use crate::kit::{Kit, all, item, picture, pictures};
use kaogong_data::tables::{Change, SweepPlan, TableEngine};
use kaogong_domain::ids::DatasetId;
use kaogong_tables::LanceTables;
use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const STORE: &str = "KAOGONG_TEST_CRASH_STORE";
const DATASET: &str = "KAOGONG_TEST_CRASH_DATASET";

/// Runs in a process of its own and never ends by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test below, to be killed"]
async fn child_that_imports_for_ever() {
    let (Ok(store), Ok(dataset)) = (std::env::var(STORE), std::env::var(DATASET)) else { return };
    let engine = LanceTables::open(store).expect("an engine");
    let dataset: DatasetId = dataset.parse().expect("an id");
    let mut kit = Kit::new();
    (kit.engine, kit.dataset) = (engine, dataset);
    let mut import = kit.engine.begin_images(kit.images_plan(Change::Replace)).await.expect("an import");
    for at in 0u64.. {
        let one = item(&format!("big/{at}.bmp"), Some("a"), picture(250, (at % 251) as u8));
        import.push(one).await.expect("room");
    }
}

fn spawn(kit: &Kit) -> Child {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "crash::child_that_imports_for_ever", "--ignored", "--nocapture"])
        .env(STORE, kit.dir.path().join("datasets"))
        .env(DATASET, kit.dataset.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child")
}

fn data_bytes(kit: &Kit) -> u64 {
    let data = |it: &PathBuf| it.to_string_lossy().contains("items.lance/data/");
    kit.files().iter().filter(|it| data(it)).filter_map(|it| it.metadata().ok()).map(|it| it.len()).sum()
}

#[tokio::test]
async fn a_killed_import_leaves_old_versions_readable_and_is_swept() {
    let kit = Kit::new();
    let first = kit.import_images(Change::Replace, pictures("one", 20)).await.expect("version 1");
    let (before, files) = (data_bytes(&kit), kit.files().len());
    let mut child = spawn(&kit);
    let deadline = Instant::now() + Duration::from_secs(60);
    while data_bytes(&kit) < before + (1 << 20) {
        assert!(Instant::now() < deadline, "the child wrote nothing in a minute");
        assert!(child.try_wait().expect("a child").is_none(), "the child ended by itself");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.kill().expect("a dead child");
    child.wait().expect("a dead child");

    assert!(kit.files().len() > files, "the killed import left no file to clean up");
    assert_eq!(kit.images(&first.pins, all()).await.0, 20);
    let after = LanceTables::open(kit.dir.path().join("datasets")).expect("another engine");
    let plan = SweepPlan { live: vec![first.pins.clone()], min_age: Duration::ZERO };
    after.sweep(kit.dataset, plan).await.expect("a sweep");
    assert_eq!(data_bytes(&kit), before);
    assert_eq!(kit.images(&first.pins, all()).await.0, 20);
    let next = kit.import_images(Change::Replace, pictures("two", 5)).await.expect("life goes on");
    assert_eq!(next.summary.items, 5);
}
