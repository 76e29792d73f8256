//! Pictures in, and the same pictures out.

use crate::kit::{Kit, all, item, picture, pictures};
use bytes::Bytes;
use futures::TryStreamExt;
use kaogong_data::{
    BlobHash,
    tables::{
        BadFiles, BrowseQuery, Change, ColumnNeed, ImageImportPlan, ItemIn, RowRead, StreamQuery, TableEngine,
        VerifyReport, Warning,
    },
};
use kaogong_domain::{
    ErrorKind, Timestamp,
    datasets::{DatasetKind, Split},
    ids::ItemId,
};

#[tokio::test]
async fn what_comes_out_is_what_went_in_byte_for_byte() {
    let kit = Kit::new();
    let mut items = pictures("x", 40);
    items[3].source_name = b"x/\xff\xfe not utf8.bmp".to_vec();
    items[4].source_name = "x/cafe\u{301}.bmp".into();
    let made = kit.import_images(Change::Replace, items.clone()).await.expect("an import");

    let stream = kit.engine.stream_items(&kit.at(&made.pins), StreamQuery { batch: 7, ..StreamQuery::default() }).await;
    let back: Vec<_> = stream.expect("a stream").try_collect::<Vec<_>>().await.expect("items").concat();
    assert_eq!(back.len(), items.len());
    for (item, back) in items.iter().zip(&back) {
        assert_eq!((&item.source_name, &item.bytes, &item.label), (&back.source_name, &back.bytes, &back.row.label));
        assert_eq!(back.row.content_hash, BlobHash::of(&item.bytes));
        let content = kit.engine.content(&kit.at(&made.pins), back.row.item).await.expect("bytes");
        assert_eq!(content, item.bytes);
    }
    assert_eq!(back[4].row.name, "x/caf\u{e9}.bmp");
    // Two names in GBK look alike as text, and are two.
    let gbk: Vec<_> = [&b"\xce\xc4.bmp"[..], b"\xbc\xc4.bmp"].into_iter().zip(1..).collect();
    let gbk =
        gbk.into_iter().map(|(name, tint)| ItemIn { source_name: name.to_vec(), ..item("", None, picture(5, tint)) });
    let both = Kit::new().import_images(Change::Replace, gbk.collect()).await.expect("an import");
    assert_eq!((both.summary.items, both.summary.warnings.total), (2, 0));
    let bytes = items.iter().map(|it| it.bytes.len() as u64).sum();
    let report = kit.engine.verify(&kit.at(&made.pins)).await.expect("a report");
    assert_eq!(report, VerifyReport { items: 40, bytes, damaged: Vec::new() });
}

#[tokio::test]
async fn the_summary_tells_what_is_in_it() {
    let kit = Kit::new();
    let made = kit.import_images(Change::Replace, pictures("x", 40)).await.expect("an import").summary;
    assert_eq!((made.kind, made.items, made.items_added), (DatasetKind::Images, 40, 40));
    let facts = made.images.expect("facts of pictures");
    assert_eq!((facts.width_min, facts.width_max, facts.height_min, facts.height_max), (2, 4, 1, 1));
    assert_eq!((facts.formats[0].label.as_str(), facts.formats[0].count, facts.rotated), ("bmp", 40, 0));
    let classes: Vec<_> = made.classes.iter().map(|it| (it.label.as_str(), it.count)).collect();
    assert_eq!((classes, made.classes_total), (vec![("a", 20), ("b", 20)], 2));
    let splits: Vec<_> = made.splits.iter().map(|it| (it.split, it.count)).collect();
    assert_eq!(splits, [(Split::Train, 32), (Split::Test, 8)]);
    assert_eq!(made.warnings.total, 0);
}

#[tokio::test]
async fn pages_filter_by_class_split_and_text() {
    let kit = Kit::new();
    let made = kit.import_images(Change::Replace, pictures("Dir", 40)).await.expect("an import");
    let (total, first) = kit.images(&made.pins, BrowseQuery { limit: 15, ..BrowseQuery::default() }).await;
    let (_, last) = kit.images(&made.pins, BrowseQuery { limit: 15, offset: 30, ..BrowseQuery::default() }).await;
    assert_eq!((total, first.len(), last.len()), (40, 15, 10));
    assert!(first[14].item < last[0].item);
    let (total, rows) =
        kit.images(&made.pins, BrowseQuery { label: Some("a".into()), split: Some(Split::Test), ..all() }).await;
    assert_eq!((total, rows.len()), (4, 4));
    assert!(rows.iter().all(|it| it.label.as_deref() == Some("a") && it.split == Some(Split::Test)));
    let (total, rows) = kit.images(&made.pins, BrowseQuery { text: Some("DIR/3".into()), ..all() }).await;
    assert_eq!((total, rows[0].name.as_str()), (11, "Dir/3.bmp"));
    for (label, expected) in [("nobody", 0), ("", 0)] {
        let (total, _) = kit.images(&made.pins, BrowseQuery { label: Some(label.into()), ..all() }).await;
        assert_eq!(total, expected);
    }
    let (total, rows) = kit.images(&made.pins, BrowseQuery { offset: u64::MAX, ..all() }).await;
    assert_eq!((total, rows.len()), (40, 0));
    for limit in [0, 501] {
        let page = kit.engine.browse(&kit.at(&made.pins), &BrowseQuery { limit, ..BrowseQuery::default() }).await;
        assert_eq!(page.expect_err("a bad limit").kind, ErrorKind::Invalid);
    }
    let RowRead::Image(one) = kit.engine.item(&kit.at(&made.pins), first[5].item).await.expect("a row") else {
        panic!("a picture was expected");
    };
    assert_eq!(one, first[5]);
    let stranger = ItemId::generate(Timestamp(0));
    let missing = kit.engine.content(&kit.at(&made.pins), stranger).await.expect_err("no such item");
    assert_eq!(missing.kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn the_histogram_counts_classes_and_splits() {
    let kit = Kit::new();
    let mut items = pictures("x", 40);
    items.push(item("x/none.bmp", None, picture(9, 200)));
    items[0].split = Some(Split::Validation);
    let made = kit.import_images(Change::Replace, items).await.expect("an import");
    let histogram = kit.engine.histogram(&kit.at(&made.pins)).await.expect("a histogram");
    let total: u64 = histogram.rows.iter().map(|it| it.total()).sum();
    assert_eq!((total, histogram.classes_total, histogram.rows.len()), (41, 2, 3));
    let a = histogram.rows.iter().find(|it| it.label.as_deref() == Some("a")).expect("class a");
    assert_eq!((a.validation, a.none), (1, 0));
    let (total, _) = kit.images(&made.pins, BrowseQuery { label: Some(String::new()), ..all() }).await;
    assert_eq!(total, 1);
}

#[tokio::test]
async fn the_same_seed_splits_alike_whatever_the_order() {
    let splits = async |seed, turned: bool| {
        let kit = Kit::new();
        let plan = ImageImportPlan { split: Some(crate::kit::plan_80_20(seed)), ..kit.images_plan(Change::Replace) };
        let mut items = pictures("x", 60);
        if turned {
            items.reverse();
        }
        let made = kit.import_images_as(plan, items).await.expect("an import");
        let (_, mut rows) = kit.images(&made.pins, all()).await;
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        rows.into_iter().map(|it| (it.name, it.split)).collect::<Vec<_>>()
    };
    let first = splits(1, false).await;
    assert_eq!(first, splits(1, true).await);
    assert_ne!(first, splits(2, false).await);
}

#[tokio::test]
async fn bad_files_are_listed_and_the_rest_goes_in() {
    let kit = Kit::new();
    let mut items = pictures("x", 5);
    items.push(item("x/empty.png", Some("a"), Bytes::new()));
    items.push(item("x/text.png", Some("a"), Bytes::from_static(b"not a picture")));
    items.push(item("x/cut.bmp", Some("a"), picture(9, 1).slice(..60)));
    items.push(item("x/0.bmp", Some("b"), picture(2, 99)));
    let mut import = kit.engine.begin_images(kit.images_plan(Change::Replace)).await.expect("an import");
    for one in items {
        import.push(one).await.expect("room");
    }
    import.skip(Warning { source_name: "README.md".into(), reason: "not a picture".into() });
    let made = import.finish().await.expect("a version");
    let mut listed: Vec<_> =
        made.summary.warnings.listed.iter().map(|it| format!("{}: {}", it.source_name, it.reason)).collect();
    listed.sort();
    assert_eq!((made.summary.items, made.summary.warnings.total), (5, 5));
    assert_eq!(listed[0], "README.md: not a picture");
    assert_eq!(listed[1], "x/0.bmp: the dataset has an item of this name already");
    assert!(listed[2].starts_with("x/cut.bmp: the bmp file is"), "{}", listed[2]);
    assert_eq!(listed[3], "x/empty.png: the file is empty");
}

#[tokio::test]
async fn a_strict_import_stops_at_the_first_bad_file_and_leaves_nothing() {
    let kit = Kit::new();
    let plan = ImageImportPlan { bad_files: BadFiles::Refuse, ..kit.images_plan(Change::Replace) };
    let items = vec![item("good.bmp", None, picture(3, 1)), item("bad.png", None, Bytes::from_static(b"?"))];
    let problem = kit.import_images_as(plan, items).await.expect_err("a refusal");
    assert_eq!(problem.kind, ErrorKind::Invalid);
    assert!(problem.text.contains("bad.png"), "{}", problem.text);
    assert_eq!(kit.files(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn an_import_without_a_usable_picture_is_refused() {
    let kit = Kit::new();
    let problem = kit.import_images(Change::Replace, Vec::new()).await.expect_err("nothing to import");
    assert_eq!((problem.kind, problem.text.as_str()), (ErrorKind::Invalid, "no usable picture was found"));
    let bad = vec![item("x.png", None, Bytes::from_static(b"?"))];
    let problem = kit.import_images(Change::Replace, bad).await.expect_err("nothing usable");
    assert!(problem.hint.expect("a hint").contains("x.png"));
}

#[tokio::test]
async fn streams_choose_by_split_and_can_leave_bytes_out() {
    let kit = Kit::new();
    let made = kit.import_images(Change::Replace, pictures("x", 40)).await.expect("an import");
    let query = StreamQuery { split: Some(Split::Test), content: ColumnNeed::Omitted, ..StreamQuery::default() };
    let stream = kit.engine.stream_items(&kit.at(&made.pins), query).await.expect("a stream");
    let items: Vec<_> = stream.try_collect::<Vec<_>>().await.expect("items").concat();
    assert_eq!(items.len(), 8);
    assert!(items.iter().all(|it| it.bytes.is_empty() && it.row.split == Some(Split::Test)));
    let bad = kit.engine.stream_items(&kit.at(&made.pins), StreamQuery { batch: 0, ..StreamQuery::default() }).await;
    assert_eq!(bad.err().map(|it| it.kind), Some(ErrorKind::Invalid));
}

#[tokio::test]
async fn many_pictures_pass_through_several_chunks_in_order() {
    let kit = Kit::new();
    let items: Vec<ItemIn> = (0..3000u32)
        .map(|at| item(&format!("{at:05}.bmp"), Some("c"), picture((at % 250) as u8 + 1, at as u8)))
        .collect();
    let made = kit.import_images(Change::Replace, items).await.expect("an import");
    let query = StreamQuery { batch: 4096, content: ColumnNeed::Omitted, ..StreamQuery::default() };
    let stream = kit.engine.stream_items(&kit.at(&made.pins), query).await.expect("a stream");
    let names: Vec<_> = stream.try_collect::<Vec<_>>().await.expect("items").concat();
    assert!(names.windows(2).all(|it| it[0].row.name < it[1].row.name && it[0].row.item < it[1].row.item));
    assert_eq!(names.len(), 3000);
}
