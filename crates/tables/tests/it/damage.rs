//! Imports that end badly leave nothing visible and harm nothing that was there.

use crate::kit::{Kit, all, pictures};
use futures::TryStreamExt;
use kaogong_data::tables::{Change, StreamQuery, SweepPlan, TableEngine, TableFormat};
use kaogong_domain::ErrorKind;
use kaogong_tables::LanceTables;
use std::{path::PathBuf, time::Duration};

/// Waits until a background task has come to its end.
async fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the condition did not come about within 5 s");
}

#[tokio::test]
async fn an_aborted_import_leaves_nothing() {
    let kit = Kit::new();
    let mut import = kit.engine.begin_images(kit.images_plan(Change::Replace)).await.expect("an import");
    for item in pictures("x", 200) {
        import.push(item).await.expect("room");
    }
    import.abort().await;
    assert_eq!(kit.files(), Vec::<PathBuf>::new());

    let first = kit.import_images(Change::Replace, pictures("x", 3)).await.expect("version 1");
    let before = kit.files().len();
    let import = kit.engine.begin_images(kit.images_plan(Change::Replace)).await.expect("an import");
    import.abort().await;
    assert_eq!(kit.files().len(), before);
    assert_eq!(kit.images(&first.pins, all()).await.0, 3);
}

#[tokio::test]
async fn a_forgotten_import_cleans_up_after_itself_and_frees_the_dataset() {
    let kit = Kit::new();
    let mut import = kit.engine.begin_images(kit.images_plan(Change::Replace)).await.expect("an import");
    for item in pictures("x", 200) {
        import.push(item).await.expect("room");
    }
    drop(import);
    until(|| !kit.engine.dataset_dir(kit.dataset).exists()).await;
    let mut made = kit.import_images(Change::Replace, pictures("x", 3)).await;
    while made.as_ref().is_err_and(|it| it.kind == ErrorKind::Conflict) {
        tokio::task::yield_now().await;
        made = kit.import_images(Change::Replace, pictures("x", 3)).await;
    }
    made.expect("free again");
}

#[tokio::test]
async fn a_bad_table_does_not_touch_the_version_before() {
    let kit = Kit::new();
    let first = kit.import_csv("a\n1\n").await.expect("version 1");
    let before = kit.files();
    kit.import_csv("a,b\n1\n").await.expect_err("ragged");
    let path = kit.dir.path().join("nowhere.csv");
    let problem = kit.engine.import_table(kit.table_plan(path, TableFormat::Csv)).await.expect_err("no file");
    assert_eq!(problem.kind, ErrorKind::Unavailable);
    assert_eq!(kit.files(), before);
    assert_eq!(kit.rows(&first.pins, all()).await.0, 1);
}

#[tokio::test]
async fn flipped_bytes_on_the_disk_are_found() {
    let kit = Kit::new();
    let made = kit.import_images(Change::Replace, pictures("x", 20)).await.expect("an import");
    // The pixels of one picture: its tint, repeated. Found by its value, so that the test knows no format.
    let data =
        kit.files().into_iter().find(|it| it.to_string_lossy().contains("items.lance/data/")).expect("a data file");
    let mut bytes = std::fs::read(&data).expect("the data file");
    let at = bytes.windows(8).position(|it| it == [17; 8]).expect("the pixels of the 18th picture");
    bytes[at] ^= 1;
    std::fs::write(&data, bytes).expect("damage");
    let report = kit.engine.verify(&kit.at(&made.pins)).await.expect("a report");
    let stream = kit.engine.stream_items(&kit.at(&made.pins), StreamQuery::default()).await.expect("a stream");
    let items: Vec<_> = stream.try_collect::<Vec<_>>().await.expect("items").concat();
    assert_eq!((report.items, report.damaged), (20, vec![items[17].row.item.to_string()]));
}

#[tokio::test]
async fn a_missing_table_file_is_said_to_be_missing() {
    let kit = Kit::new();
    let made = kit.import_images(Change::Replace, pictures("x", 3)).await.expect("an import");
    std::fs::remove_dir_all(kit.engine.dataset_dir(kit.dataset).join("labels.lance")).expect("removed");
    // The engine that imported has them in memory still.
    let other = LanceTables::open(kit.dir.path().join("datasets")).expect("another engine");
    let problem = other.histogram(&kit.at(&made.pins)).await.expect_err("labels are gone");
    assert_eq!(problem.kind, ErrorKind::NotFound);
    assert!(problem.hint.is_some());
}

/// What ext4 leaves of files that were written and not synced when the power went: names without content.
#[tokio::test]
async fn a_power_cut_does_not_stop_the_next_import() {
    let kit = Kit::new();
    let first = kit.import_images(Change::Replace, pictures("x", 3)).await.expect("version 1");
    let table = kit.engine.dataset_dir(kit.dataset).join("items.lance");
    // Names of versions count down, so that the newest comes first in a listing.
    let next = u64::MAX - (first.pins.items_version + 1);
    std::fs::write(table.join(format!("_versions/{next:020}.manifest")), b"").expect("a torn version");
    let tag = |version: u64| table.join(format!("_refs/tags/pin-{version}.json"));
    std::fs::write(tag(first.pins.items_version + 1), b"").expect("a torn tag");
    std::fs::copy(tag(first.pins.items_version), tag(first.pins.items_version + 2)).expect("the tag of a lost version");

    let again = kaogong_tables::LanceTables::open(kit.dir.path().join("datasets")).expect("another engine");
    let kit = Kit { engine: again, ..kit };
    let base = Change::Append { base: first.pins.clone() };
    let second = kit.import_images(base, pictures("y", 4)).await.expect("version 2");
    assert_eq!(kit.images(&second.pins, all()).await.0, 7);
    assert_eq!(kit.images(&first.pins, all()).await.0, 3);
    let plan = SweepPlan { live: vec![first.pins, second.pins.clone()], min_age: Duration::ZERO };
    kit.engine.sweep(kit.dataset, plan).await.expect("a sweep");
    assert_eq!(kit.images(&second.pins, all()).await.0, 7);
}
