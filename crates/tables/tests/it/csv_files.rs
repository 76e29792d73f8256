//! CSV files: good ones, odd ones, and what is said about bad ones.

use crate::kit::{Kit, all, plan_80_20};
use kaogong_data::{
    BlobHash,
    tables::{
        BrowseQuery, Change, ColumnKind, CsvOptions, ExportQuery, NoteKind, OriginalFile, TableEngine, TableFormat,
        TableImportPlan,
    },
};
use kaogong_domain::{ErrorKind, Problem, datasets::Split};
use std::fmt::Write;

const MIXED: &str = "\u{feff}id,name,score,ok,day,\"big, id\"\n\
    1,Ann,0.5,true,2024-01-02,99999999999999999999\n\
    2,\"Bob \"\"B\"\"\",,false,2024-03-01,1\n\
    3,NA,2,true,2023-12-31,2\n";

#[tokio::test]
async fn types_are_found_and_values_come_back() {
    let kit = Kit::new();
    let made = kit.import_csv(MIXED).await.expect("an import");
    let columns = &made.summary.columns;
    let kinds: Vec<_> = columns.iter().map(|it| (it.name.as_str(), it.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("id", ColumnKind::Integer),
            ("name", ColumnKind::Text),
            ("score", ColumnKind::Float),
            ("ok", ColumnKind::Boolean),
            ("day", ColumnKind::Time),
            ("big, id", ColumnKind::Text),
        ]
    );
    let score = &columns[2];
    assert_eq!((score.nulls, score.distinct, &score.min, &score.max), (1, Some(2), &0.5.into(), &2.0.into()));
    assert_eq!(columns[4].min, "2023-12-31");
    let (total, rows) = kit.rows(&made.pins, all()).await;
    let values: Vec<_> = rows.iter().map(|it| serde_json::json!(it.values).to_string()).collect();
    assert_eq!(total, 3);
    assert_eq!(values[0], r#"[1,"Ann",0.5,true,"2024-01-02","99999999999999999999"]"#);
    assert_eq!(values[1], r#"[2,"Bob \"B\"",null,false,"2024-03-01","1"]"#);
    assert_eq!(values[2], r#"[3,"NA",2.0,true,"2023-12-31","2"]"#);
}

#[tokio::test]
async fn the_target_gives_classes_and_stratifies() {
    let kit = Kit::new();
    let mut text = "x;class.name\n".to_owned();
    for at in 0..100 {
        writeln!(text, "{}.5;{}", at, if at % 4 == 0 { "yes" } else { "no" }).expect("text");
    }
    let path = kit.file("t.csv", &text);
    let original = OriginalFile {
        hash: BlobHash::of(text.as_bytes()),
        size: text.len() as u64,
        format: TableFormat::Csv,
        is_packed: false,
    };
    let plan = TableImportPlan {
        target: Some("class.name".into()),
        split: Some(plan_80_20(3)),
        original: Some(original.clone()),
        ..kit.table_plan(path, TableFormat::Csv)
    };
    let progress = plan.progress.clone();
    let made = kit.engine.import_table(plan).await.expect("an import");
    assert_eq!(
        (progress.rows(), made.summary.original, made.summary.target.as_deref()),
        (100, Some(original), Some("class.name"))
    );
    assert_eq!(made.summary.columns[1].stored_name.as_deref(), Some("class_name"));
    let histogram = kit.engine.histogram(&kit.at(&made.pins)).await.expect("a histogram");
    let rows: Vec<_> = histogram.rows.iter().map(|it| (it.label.as_deref(), it.train, it.test)).collect();
    assert_eq!(rows, [(Some("no"), 60, 15), (Some("yes"), 20, 5)]);
    let query = BrowseQuery { label: Some("yes".into()), split: Some(Split::Test), ..all() };
    let (total, rows) = kit.rows(&made.pins, query).await;
    assert_eq!((total, rows[0].label.as_deref()), (5, Some("yes")));
    let exported = kit.export(&made.pins, ExportQuery { format: TableFormat::Csv, split: Some(Split::Test) }).await;
    let exported = String::from_utf8(exported).expect("text");
    assert_eq!((exported.lines().next(), exported.lines().count()), (Some("x,class.name"), 21));
}

#[tokio::test]
async fn a_target_with_a_fraction_is_no_class() {
    let kit = Kit::new();
    let text = (0..50).fold("x,y\n".to_owned(), |text, at| format!("{text}{at},{at}.25\n"));
    let plan = TableImportPlan {
        target: Some("y".into()),
        split: Some(plan_80_20(3)),
        ..kit.table_plan(kit.file("t.csv", text), TableFormat::Csv)
    };
    let made = kit.engine.import_table(plan).await.expect("an import");
    assert_eq!((made.summary.classes_total, made.summary.splits[1].count), (0, 10));
    let query = BrowseQuery { label: Some("1.25".into()), ..all() };
    let problem = kit.engine.browse(&kit.at(&made.pins), &query).await.expect_err("no class");
    assert_eq!(problem.kind, ErrorKind::Invalid);
}

#[tokio::test]
async fn an_export_imports_again_to_the_same_values() {
    let kit = Kit::new();
    let made = kit.import_csv(MIXED).await.expect("an import");
    let before = kit.rows(&made.pins, all()).await.1;
    for format in [TableFormat::Csv, TableFormat::Parquet] {
        let bytes = kit.export(&made.pins, ExportQuery { format, split: None }).await;
        let other = Kit::new();
        let path = other.file("again", bytes);
        let again = other.engine.import_table(other.table_plan(path, format)).await.expect("an import");
        let after = other.rows(&again.pins, all()).await.1;
        let values =
            |rows: &[kaogong_data::tables::TableRow]| rows.iter().map(|it| it.values.clone()).collect::<Vec<_>>();
        assert_eq!(values(&before), values(&after), "{format:?}");
        assert_eq!(again.summary.columns[5].name, "big, id");
    }
}

#[tokio::test]
async fn numbers_with_leading_zeros_are_text() {
    let kit = Kit::new();
    let made = kit.import_csv("code,share,n\n10,0.5,1\n007,0.25,2\n").await.expect("an import");
    let kinds: Vec<_> = made.summary.columns.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [ColumnKind::Text, ColumnKind::Float, ColumnKind::Integer]);
    let (_, rows) = kit.rows(&made.pins, all()).await;
    assert_eq!(serde_json::json!(rows[1].values).to_string(), r#"["007",0.25,2]"#);
    let append = |text: &str| TableImportPlan {
        change: Change::Append { base: made.pins.clone() },
        ..kit.table_plan(kit.file("more.csv", text), TableFormat::Csv)
    };
    kit.engine.import_table(append("code,share,n\n008,1,3\n")).await.expect("text stays text");
    let problem = kit.engine.import_table(append("code,share,n\n1,1,3\n1,1,04\n")).await.expect_err("a loss");
    assert_eq!(
        problem.text,
        "line 3, column `n`: `04` is no number without leading zeros, which the dataset would lose"
    );
}

#[tokio::test]
async fn long_values_are_cut_on_pages_and_whole_in_exports() {
    let kit = Kit::new();
    let long = "x".repeat(5000);
    let made = kit.import_csv(format!("a,b\n1,{long}\n2,y\n")).await.expect("an import");
    let (_, rows) = kit.rows(&made.pins, all()).await;
    let cell = rows[0].values[1].as_str().expect("a text");
    assert_eq!((cell.chars().count(), cell.ends_with('…')), (2001, true));
    let exported = kit.export(&made.pins, ExportQuery { format: TableFormat::Csv, split: None }).await;
    assert!(String::from_utf8(exported).expect("text").contains(&long));
}

#[tokio::test]
async fn text_is_searched_in_all_text_columns() {
    let kit = Kit::new();
    let made = kit.import_csv("a,b,n\nApple,x,1\nx,pineAPPLE,2\nnone,none,3\n").await.expect("an import");
    let (total, rows) = kit.rows(&made.pins, BrowseQuery { text: Some("apple".into()), ..all() }).await;
    assert_eq!((total, rows[1].row), (2, 1));
    let problem = kit.engine.content(&kit.at(&made.pins), rows[0].item).await.expect_err("rows have no bytes");
    assert_eq!(problem.kind, ErrorKind::Invalid);
}

#[tokio::test]
async fn what_is_wrong_is_said_with_line_and_column() {
    for (text, expected) in [
        ("", "the file is empty"),
        ("a,b\n", "the CSV file has a header and no rows"),
        ("a,b\n1,2\n3\n", "line 3 has 1 value, the header has 2"),
        (
            "title\na,b\n1,2\n",
            "line 1 has 1 value, the lines from 2 on have 2 values: it may be a title, or a header that lacks names",
        ),
        ("a,b\n1,\"2\n", "the record that begins in line 2 has a quote that is never closed"),
        ("a,b\n1,2\n3,4,5\n", "line 3 has 3 values, the header has 2"),
    ] {
        let kit = Kit::new();
        let problem = kit.import_csv(text).await.expect_err("a bad file");
        assert_eq!((problem.kind, problem.text.as_str()), (ErrorKind::Invalid, expected), "{text:?}");
        assert!(problem.hint.is_some(), "{text:?}");
        assert!(kit.files().is_empty(), "{text:?} left files");
    }
    let kit = Kit::new();
    let problem = kit.import_csv(b"a,b\n1,x\n2,\xff\n").await.expect_err("not UTF-8");
    assert!(problem.text.contains("UTF-8"), "{}", problem.text);
    let plan = TableImportPlan {
        target: Some("z".into()),
        ..kit.table_plan(kit.file("t.csv", "a,b\n1,2\n"), TableFormat::Csv)
    };
    let problem = kit.engine.import_table(plan).await.expect_err("no target");
    assert_eq!(problem.text, "there is no column `z` to be the target");
    assert_eq!(problem.hint.as_deref(), Some("the columns are: a, b"));
}

#[tokio::test]
async fn separators_are_found_or_told() {
    for (text, delimiter) in
        [("a;b\n1,5;2\n", None), ("a\tb\n1,5\t2\n", None), ("\"a,x\"|b\n1,5|2\n", None), ("a~b\n1,5~2\n", Some('~'))]
    {
        let kit = Kit::new();
        let csv = CsvOptions { delimiter, ..CsvOptions::default() };
        let plan = TableImportPlan { csv, ..kit.table_plan(kit.file("t.csv", text), TableFormat::Csv) };
        let made = kit.engine.import_table(plan).await.expect("an import");
        let (_, rows) = kit.rows(&made.pins, all()).await;
        assert_eq!(serde_json::json!(rows[0].values), serde_json::json!([1.5, 2]), "{text:?}");
    }
}

#[tokio::test]
async fn a_file_without_a_header_keeps_its_first_row() {
    let import = async |text: &str, header| {
        let kit = Kit::new();
        let csv = CsvOptions { header, ..CsvOptions::default() };
        let plan = TableImportPlan { csv, ..kit.table_plan(kit.file("t.csv", text), TableFormat::Csv) };
        let made = kit.engine.import_table(plan).await;
        if made.is_err() {
            assert!(kit.files().is_empty(), "{text:?} left files");
        }
        made.map(|it| (kit, it))
    };
    for (text, line) in [
        ("112\n98\n69\n", "line 1 (`112`)"),
        ("1\t-0.0007\t518.67\r\n1\t0.0019\t518.67\r\n", "line 1 (`1 -0.0007 518.67`)"),
        ("\n5.1;a\n4.9;b\n4.7;a\n", "line 2 (`5.1 a`)"),
    ] {
        let problem = import(text, None).await.err().expect("a row above");
        assert_eq!(problem.kind, ErrorKind::Invalid);
        assert!(problem.text.starts_with(line), "{}", problem.text);
        let hint = problem.hint.expect("a hint");
        assert!(hint.contains("`--no-header`") && hint.contains("`--header`"), "{hint}");
        let rows = text.trim().lines().count() as u64;
        let (_, made) = import(text, Some(true)).await.expect("names, as was said");
        assert_eq!(made.summary.items, rows - 1, "{text:?}");
        let (_, made) = import(text, Some(false)).await.expect("rows, as was said");
        assert_eq!(made.summary.items, rows, "{text:?}");
    }
    let (kit, made) = import("1,x\n2,y\n", Some(false)).await.expect("an import");
    assert_eq!(kit.export_csv(&made).await, "column_1,column_2\n1,x\n2,y\n");
    let note = &made.summary.notes[0];
    assert_eq!((note.kind, note.detail.as_str()), (NoteKind::NoHeader, "column_1 … column_2"));
    let problem = import("1,x\n2\n", Some(false)).await.err().expect("a short row");
    assert_eq!(problem.text, "line 2 has 1 value, the first line has 2");
    // Names that the dataset has already need no word.
    let (kit, made) = import("1,2\n3,4\n", Some(true)).await.expect("an import");
    let change = Change::Append { base: made.pins.clone() };
    let plan = TableImportPlan { change, ..kit.table_plan(kit.file("m.csv", "1,2\n5,6\n"), TableFormat::Csv) };
    assert_eq!(kit.engine.import_table(plan).await.expect("an append").summary.items, 2);
}

#[tokio::test]
async fn runs_of_spaces_separate_values() {
    let import = async |text: &str, csv| {
        let kit = Kit::new();
        let plan = TableImportPlan { csv, ..kit.table_plan(kit.file("t.txt", text), TableFormat::Csv) };
        let made = kit.engine.import_table(plan).await?;
        assert_eq!(made.summary.notes[0].kind, NoteKind::Delimiter);
        assert_eq!(made.summary.notes[0].detail, "whitespace");
        Ok::<_, Problem>(kit.export_csv(&made).await)
    };
    let usual = CsvOptions::default;
    let found = import("  x    y\n  1  0.5  \n 10 -1.5\n", usual()).await.expect("a table");
    assert_eq!(found, "x,y\n1,0.5\n10,-1.5\n");
    let rows = "1 1 0.0023  \n1 2 -0.0027  \n";
    assert!(import(rows, usual()).await.expect_err("no header").text.starts_with("line 1 (`1 1 0.0023`)"));
    let headless = import(rows, CsvOptions { header: Some(false), ..usual() }).await.expect("a table");
    assert_eq!(headless, "column_1,column_2,column_3\n1,1,0.0023\n1,2,-0.0027\n");
    let mixed = "model year\nFord 2012\nFiat 2013\nSaab 1999\n";
    let problem = import(mixed, usual()).await.expect_err("one column or two");
    assert!(problem.hint.is_some_and(|it| it.contains("--delimiter whitespace")), "{}", problem.text);
    let told = CsvOptions { delimiter: Some(CsvOptions::WHITESPACE), ..usual() };
    assert_eq!(import(mixed, told).await.expect("two"), "model,year\nFord,2012\nFiat,2013\nSaab,1999\n");
}

#[tokio::test]
async fn texts_for_no_value_may_hold_any_character() {
    let kit = Kit::new();
    let csv = CsvOptions { nulls: vec!["(n.a.)".into(), "-".into()], ..CsvOptions::default() };
    let plan = TableImportPlan { csv, ..kit.table_plan(kit.file("t.csv", "a\n1\n(n.a.)\n-\n"), TableFormat::Csv) };
    let made = kit.engine.import_table(plan).await.expect("an import");
    let column = &made.summary.columns[0];
    assert_eq!((column.kind, column.nulls), (ColumnKind::Integer, 2));
}
