//! Versions stay as they were, whatever comes after.

use crate::kit::{Kit, all, item, picture, pictures};
use kaogong_data::tables::{BrowseQuery, Change, ItemIn, TableEngine, TableFormat, TableImportPlan};
use kaogong_domain::{ErrorKind, datasets::Split};
use kaogong_tables::LanceTables;

#[tokio::test]
async fn an_old_version_reads_the_same_after_replace_and_append() {
    let kit = Kit::new();
    let first = kit.import_images(Change::Replace, pictures("one", 30)).await.expect("version 1");
    let before = kit.images(&first.pins, all()).await;
    let second = kit.import_images(Change::Replace, pictures("two", 12)).await.expect("version 2");
    let base = Change::Append { base: first.pins.clone() };
    let third = kit.import_images(base, pictures("three", 10)).await.expect("version 3");

    assert_eq!(kit.images(&first.pins, all()).await, before);
    assert_eq!(kit.images(&second.pins, all()).await.0, 12);
    let (total, rows) = kit.images(&third.pins, all()).await;
    assert_eq!((total, &rows[..30]), (40, &before.1[..]));
    assert_eq!((third.summary.items, third.summary.items_added, third.summary.classes[0].count), (40, 10, 20));
    assert_eq!(
        third.summary.bytes,
        first.summary.bytes + pictures("three", 10).iter().map(|it| it.bytes.len() as u64).sum::<u64>()
    );

    // Another process sees the same: nothing lives in memory only.
    let again = LanceTables::open(kit.dir.path().join("datasets")).expect("an engine");
    let page = again.browse(&kit.at(&third.pins), &all()).await.expect("a page");
    assert_eq!(page.total, 40);
}

#[tokio::test]
async fn an_append_refuses_names_that_are_there() {
    let kit = Kit::new();
    let first = kit.import_images(Change::Replace, pictures("x", 4)).await.expect("version 1");
    let items = vec![item("x/0.bmp", Some("a"), picture(8, 8)), item("y.bmp", None, picture(8, 9))];
    let second = kit.import_images(Change::Append { base: first.pins }, items).await.expect("version 2");
    assert_eq!((second.summary.items, second.summary.warnings.total), (5, 1));
    assert_eq!(kit.images(&second.pins, BrowseQuery { label: Some(String::new()), ..all() }).await.0, 1);
}

#[tokio::test]
async fn one_name_in_two_forms_is_one_item_and_no_name_is_file_and_folder() {
    let kit = Kit::new();
    let first =
        kit.import_images(Change::Replace, vec![item("0/a.bmp", None, picture(8, 1))]).await.expect("version 1");
    let names = ["./0/a.bmp", "0//a.bmp", "0/a.bmp/b.bmp", "0", "./0/b.bmp"];
    let items = names.iter().zip(2..).map(|(name, tint)| item(name, None, picture(8, tint))).collect();
    let second = kit.import_images(Change::Append { base: first.pins }, items).await.expect("version 2");
    let (total, rows) = kit.images(&second.pins, all()).await;
    let names: Vec<_> = rows.iter().map(|it| it.name.as_str()).collect();
    assert_eq!((total, names, second.summary.warnings.total), (2, vec!["0/a.bmp", "0/b.bmp"], 4));
}

#[tokio::test]
async fn an_append_keeps_the_split_of_content_that_is_there() {
    let kit = Kit::new();
    let first = kit.import_images(Change::Replace, pictures("x", 40)).await.expect("version 1");
    let before = kit.images(&first.pins, all()).await.1;
    let copies = pictures("copies", 40).into_iter().map(|it| ItemIn { split: Some(Split::Train), ..it }).collect();
    let second = kit.import_images(Change::Append { base: first.pins }, copies).await.expect("version 2");
    let after = kit.images(&second.pins, all()).await.1;
    assert_eq!(&after[..40], &before[..]);
    for (old, copy) in before.iter().zip(&after[40..]) {
        assert_eq!((&copy.content_hash, copy.split), (&old.content_hash, old.split), "{}", copy.name);
    }
}

#[tokio::test]
async fn small_appends_give_the_test_split_its_share() {
    let kit = Kit::new();
    let mut version = kit.import_images(Change::Replace, pictures("x", 10)).await.expect("a version");
    for at in 0..30u8 {
        let one = vec![item(&format!("more/{at}.bmp"), Some("a"), picture(20, at))];
        version = kit.import_images(Change::Append { base: version.pins }, one).await.expect("a version");
    }
    let test = BrowseQuery { split: Some(Split::Test), text: Some("more/".into()), ..all() };
    let (total, _) = kit.images(&version.pins, test).await;
    assert!((1..=15).contains(&total), "{total} of 30 are test items");
}

#[tokio::test]
async fn nameless_columns_keep_their_values_in_an_append() {
    let kit = Kit::new();
    let first = kit.import_csv("a,,\n1,2,3\n").await.expect("version 1");
    let path = kit.file("more.csv", ",a,\n5,4,6\n");
    let change = Change::Append { base: first.pins };
    let plan = TableImportPlan { change, ..kit.table_plan(path, TableFormat::Csv) };
    let second = kit.engine.import_table(plan).await.expect("version 2");
    let (_, rows) = kit.rows(&second.pins, all()).await;
    let values: Vec<_> = rows.iter().map(|it| serde_json::json!(it.values).to_string()).collect();
    assert_eq!(values, ["[1,2,3]", "[4,5,6]"]);
    let names: Vec<_> = second.summary.columns.iter().map(|it| it.shown_name()).collect();
    assert_eq!(names, ["a", "column_2", "column_3"]);
}

#[tokio::test]
async fn labels_may_begin_with_an_append() {
    let kit = Kit::new();
    let plain = vec![item("p.bmp", None, picture(8, 1))];
    let plan = kaogong_data::tables::ImageImportPlan { split: None, ..kit.images_plan(Change::Replace) };
    let first = kit.import_images_as(plan, plain).await.expect("version 1");
    assert_eq!((first.pins.labels_version, first.pins.splits_version), (None, None));
    let second = kit.import_images(Change::Append { base: first.pins }, pictures("x", 4)).await.expect("version 2");
    let (_, rows) = kit.images(&second.pins, all()).await;
    let labels: Vec<_> = rows.iter().map(|it| it.label.as_deref()).collect();
    assert_eq!(labels, [None, Some("a"), Some("b"), Some("a"), Some("b")]);
    assert_eq!(rows[0].split, None);
}

#[tokio::test]
async fn tables_have_versions_too() {
    let kit = Kit::new();
    let first = kit.import_csv("a,b.c\n1,x\n2,y\n").await.expect("version 1");
    let append = |text: &str| TableImportPlan {
        change: Change::Append { base: first.pins.clone() },
        ..kit.table_plan(kit.file("more.csv", text), TableFormat::Csv)
    };
    let second = kit.engine.import_table(append("b.c,a\nz,3\n")).await.expect("version 2");
    assert_eq!(kit.rows(&first.pins, all()).await.0, 2);
    let (total, rows) = kit.rows(&second.pins, all()).await;
    assert_eq!((total, serde_json::json!(rows[2].values)), (3, serde_json::json!([3, "z"])));
    let column = &second.summary.columns[0];
    assert_eq!((column.name.as_str(), column.max.clone(), column.distinct), ("a", 3.into(), Some(3)));

    let wrong = kit.engine.import_table(append("a,b.c\n1,x\nfour,y\n")).await.expect_err("no number");
    assert_eq!(wrong.text, "line 3, column `a`: `four` is no whole number");
    let other = kit.engine.import_table(append("a,d\n1,2\n")).await.expect_err("other columns");
    assert!(other.text.ends_with("it lacks `b.c`; it has also `d`"), "{}", other.text);
    assert_eq!(kit.rows(&second.pins, all()).await.0, 3);
}

#[tokio::test]
async fn one_writer_at_a_time() {
    let kit = Kit::new();
    let import = kit.engine.begin_images(kit.images_plan(Change::Replace)).await.expect("the first");
    let second = kit.engine.begin_images(kit.images_plan(Change::Replace)).await.err().expect("a conflict");
    assert_eq!(second.kind, ErrorKind::Conflict);
    import.abort().await;
    kit.import_images(Change::Replace, pictures("x", 2)).await.expect("free again");
}

#[tokio::test]
async fn a_removed_dataset_is_gone() {
    let kit = Kit::new();
    let made = kit.import_images(Change::Replace, pictures("x", 2)).await.expect("an import");
    kit.engine.remove(kit.dataset).await.expect("removed");
    kit.engine.remove(kit.dataset).await.expect("removed twice");
    let problem = kit.engine.histogram(&kit.at(&made.pins)).await.expect_err("gone");
    assert_eq!(problem.kind, ErrorKind::NotFound);
}
