//! A sweep removes what nobody pins, and nothing else.

use crate::kit::{Kit, all, pictures};
use kaogong_data::tables::{Change, SweepPlan, TableEngine, VersionPins};
use kaogong_domain::ErrorKind;
use std::time::Duration;

fn now(live: &[&VersionPins]) -> SweepPlan {
    SweepPlan { live: live.iter().map(|it| (*it).clone()).collect(), min_age: Duration::ZERO }
}

#[tokio::test]
async fn pinned_versions_stay_and_the_others_go() {
    let kit = Kit::new();
    let first = kit.import_images(Change::Replace, pictures("one", 30)).await.expect("version 1");
    let second = kit.import_images(Change::Replace, pictures("two", 20)).await.expect("version 2");
    let third = kit.import_images(Change::Replace, pictures("three", 10)).await.expect("version 3");
    let before = kit.files().len();
    let kept = [kit.images(&first.pins, all()).await, kit.images(&third.pins, all()).await];

    let report = kit.engine.sweep(kit.dataset, now(&[&first.pins, &third.pins])).await.expect("a sweep");
    assert!(report.versions_removed >= 3 && report.bytes_removed > 0, "{report:?}");
    assert!(kit.files().len() < before);
    assert_eq!([kit.images(&first.pins, all()).await, kit.images(&third.pins, all()).await], kept);
    let gone = kit.engine.browse(&kit.at(&second.pins), &all()).await.expect_err("swept");
    assert_eq!(gone.kind, ErrorKind::NotFound);
    let verified = kit.engine.verify(&kit.at(&first.pins)).await.expect("a report");
    assert!(verified.damaged.is_empty() && verified.items == 30);

    let again = kit.engine.sweep(kit.dataset, now(&[&first.pins, &third.pins])).await.expect("a second sweep");
    assert_eq!(again.versions_removed, 0);
}

#[tokio::test]
async fn the_newest_version_goes_too_when_its_row_never_came() {
    let kit = Kit::new();
    let first = kit.import_images(Change::Replace, pictures("one", 30)).await.expect("version 1");
    let lost = kit.import_images(Change::Replace, pictures("two", 20)).await.expect("never pinned");
    kit.engine.sweep(kit.dataset, now(&[&first.pins])).await.expect("a sweep");
    assert_eq!(kit.images(&first.pins, all()).await.0, 30);
    let gone = kit.engine.browse(&kit.at(&lost.pins), &all()).await.expect_err("swept");
    assert_eq!(gone.kind, ErrorKind::NotFound);
    let quiet = (kit.files(), kit.engine.sweep(kit.dataset, now(&[&first.pins])).await.expect("a second sweep"));
    assert_eq!((kit.files(), quiet.1.versions_removed), (quiet.0, 0), "a sweep with nothing to do did something");
    let base = Change::Append { base: first.pins.clone() };
    let next = kit.import_images(base, pictures("three", 5)).await.expect("life goes on");
    assert_eq!(kit.images(&next.pins, all()).await.0, 35);
}

#[tokio::test]
async fn an_append_shares_files_with_its_base_and_both_survive() {
    let kit = Kit::new();
    let first = kit.import_images(Change::Replace, pictures("one", 30)).await.expect("version 1");
    let base = Change::Append { base: first.pins.clone() };
    let second = kit.import_images(base, pictures("two", 5)).await.expect("version 2");
    kit.engine.sweep(kit.dataset, now(&[&second.pins])).await.expect("a sweep");
    assert_eq!(kit.images(&second.pins, all()).await.0, 35);
    assert_eq!(kit.engine.verify(&kit.at(&second.pins)).await.expect("a report").items, 35);
}

#[tokio::test]
async fn young_versions_wait_for_their_row() {
    let kit = Kit::new();
    let young = kit.import_images(Change::Replace, pictures("one", 3)).await.expect("a version");
    let plan = SweepPlan { live: Vec::new(), min_age: Duration::from_secs(3600) };
    let report = kit.engine.sweep(kit.dataset, plan).await.expect("a sweep");
    assert_eq!(report.versions_removed, 0);
    assert_eq!(kit.images(&young.pins, all()).await.0, 3);
}

#[tokio::test]
async fn a_sweep_of_a_wrong_list_refuses_to_begin() {
    let kit = Kit::new();
    let first = kit.import_images(Change::Replace, pictures("one", 3)).await.expect("a version");
    kit.import_images(Change::Replace, pictures("two", 3)).await.expect("garbage");
    let before = kit.files();
    let items = VersionPins { items_version: 99, ..first.pins.clone() };
    let splits = VersionPins { splits_version: Some(99), ..first.pins.clone() };
    for wrong in [items, splits] {
        let problem = kit.engine.sweep(kit.dataset, now(&[&wrong])).await.expect_err("no such version");
        assert_eq!((problem.kind, kit.files()), (ErrorKind::Unavailable, before.clone()));
    }
    assert_eq!(kit.images(&first.pins, all()).await.0, 3);
}

#[tokio::test]
async fn files_of_a_killed_import_are_swept() {
    let kit = Kit::new();
    let first = kit.import_images(Change::Replace, pictures("one", 3)).await.expect("a version");
    let orphan = kit.engine.dataset_dir(kit.dataset).join("items.lance/data/0000000000000000000000001.lance");
    std::fs::write(&orphan, b"left behind").expect("a file");
    let later = kit.import_images(Change::Replace, pictures("two", 3)).await.expect("never pinned");
    kit.engine.sweep(kit.dataset, now(&[&first.pins])).await.expect("a sweep");
    assert!(!orphan.exists() && later.pins != first.pins);
}
