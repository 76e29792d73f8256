//! What a table says must stay what it said: names, times and odd files through every operation and back.

use crate::kit::{Kit, all, parquet_file, reread};
use arrow_array::{
    ArrayRef, Date32Array, Date64Array, RecordBatch, Time32SecondArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, cast::AsArray,
    types::TimestampMicrosecondType,
};
use arrow_schema::{DataType, TimeUnit};
use bytes::Bytes;
use kaogong_data::tables::{
    BrowseQuery, Change, ColumnKind, Committed, CsvOptions, NoteKind, TableEngine, TableFormat, TableImportPlan, Why,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::sync::Arc;

/// Names that some program between a user and the disk could take for more than a name.
fn names() -> Vec<String> {
    let mut names: Vec<String> = (' '..='~').filter(|it| *it != ' ').map(String::from).collect();
    names.extend((' '..='~').map(|it| format!("c{it}x")).filter(|it| it != "c x"));
    let words = [
        "select",
        "SELECT",
        "from",
        "where",
        "null",
        "NULL",
        "true",
        "order",
        "group by",
        "item_id",
        "ITEM_ID",
        "_rowid",
        "_rowaddr",
        "_row_created_at_version",
        "_distance",
        "_score",
        "__index_level_0__",
        "label",
        "split",
        "Class",
        "class",
        "数据",
        "☃️🚀",
        "a.b.c",
        "a..b",
        "`a`.`b`",
        "'a' or 1=1 --",
        "$1",
        "{}",
        "*",
        "count(*)",
        "CAST(a AS INT)",
        "c x",
        "sep=;",
        "\u{202e}x",
        "line\nbreak",
        "tab\there",
    ];
    names.extend(words.map(str::to_owned));
    names.push("长".repeat(100));
    names.push("x".repeat(300));
    let mut seen = std::collections::HashSet::new();
    names.retain(|it| seen.insert(it.clone()));
    names
}

fn quoted(cells: &[String]) -> String {
    cells.iter().map(|it| format!("\"{}\"", it.replace('"', "\"\""))).collect::<Vec<_>>().join(",")
}

#[tokio::test]
async fn any_name_of_a_column_lives_through_every_operation() {
    let names = names();
    let row = |tag: &str| quoted(&(0..names.len()).map(|it| format!("{tag}{it}")).collect::<Vec<_>>());
    let file = |rows: &[&str]| rows.iter().fold(quoted(&names) + "\n", |text, it| format!("{text}{}\n", row(it)));
    let kit = Kit::new();
    let made = kit.import_csv(file(&["v", "w"])).await.expect("an import");
    let shown: Vec<_> = made.summary.columns.iter().map(|it| it.shown_name().to_owned()).collect();
    assert_eq!(shown, names);
    let plan = TableImportPlan {
        change: Change::Append { base: made.pins.clone() },
        ..kit.table_plan(kit.file("more.csv", file(&["z"])), TableFormat::Csv)
    };
    let made = kit.engine.import_table(plan).await.expect("an append");
    let (total, rows) = kit.rows(&made.pins, all()).await;
    assert_eq!((total, rows[2].values.len()), (3, names.len()));
    assert!((0..names.len()).all(|it| rows[2].values[it] == format!("z{it}")));
    let (found, _) = kit.rows(&made.pins, BrowseQuery { text: Some("z7".into()), ..all() }).await;
    assert_eq!(found, 1);
    kit.engine.item(&kit.at(&made.pins), rows[1].item).await.expect("an item");
    assert_eq!(kit.engine.verify(&kit.at(&made.pins)).await.expect("a check").items, 3);
    for format in [TableFormat::Csv, TableFormat::Parquet] {
        let bytes = kit.export_as(&made, format).await;
        let other = Kit::new();
        let path = other.file("again", bytes);
        let again = other.engine.import_table(other.table_plan(path, format)).await.expect("an import");
        assert_eq!(again.summary.columns.iter().map(|it| it.name.clone()).collect::<Vec<_>>(), names, "{format:?}");
        let values = other.rows(&again.pins, all()).await.1;
        assert!(values.iter().zip(&rows).all(|(one, other)| one.values == other.values), "{format:?}");
    }
}

#[tokio::test]
async fn any_name_can_be_the_target() {
    for name in ["`", "c`x", "item_id", "_rowid", "a.b", "select", "\"", "类 别", "'", "*"] {
        let kit = Kit::new();
        let text = format!("{},b\nyes,1\nno,2\nyes,3\n", quoted(&[name.to_owned()]));
        let plan =
            TableImportPlan { target: Some(name.into()), ..kit.table_plan(kit.file("t.csv", text), TableFormat::Csv) };
        let made = kit.engine.import_table(plan).await.expect("an import");
        assert_eq!(made.summary.target.as_deref(), Some(name));
        let (total, rows) = kit.rows(&made.pins, BrowseQuery { label: Some("yes".into()), ..all() }).await;
        assert_eq!((total, rows[1].label.as_deref()), (2, Some("yes")), "{name}");
        kit.engine.histogram(&kit.at(&made.pins)).await.expect("a histogram");
    }
}

#[tokio::test]
async fn two_columns_of_one_name_are_both_kept() {
    let kit = Kit::new();
    let made = kit.import_csv("a,b,a\n1,x,2\n").await.expect("an import");
    let told: Vec<_> = made
        .summary
        .columns
        .iter()
        .map(|it| (it.name.as_str(), it.import.as_ref().and_then(|it| it.renamed_from.as_deref())))
        .collect();
    assert_eq!(told, [("a", None), ("b", None), ("a_2", Some("a"))]);
    assert_eq!(kit.export_csv(&made).await, "a,b,a_2\n1,x,2\n");
}

#[tokio::test]
async fn times_of_csv_are_times_in_parquet() {
    let kit = Kit::new();
    let text = "t,z,d\n2024-03-10 08:00:00,2024-03-10T08:00:00+02:00,31/12/1999\n0001-01-01 00:00,9999-12-31T23:59:59+02:00,01/01/0001\n";
    let made = kit.import_csv(text).await.expect("an import");
    let batch = reread(kit.export_as(&made, TableFormat::Parquet).await);
    let types: Vec<_> = batch.schema().fields().iter().map(|it| it.data_type().clone()).collect();
    let micros = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Arc::from));
    assert_eq!(types, [micros(None), micros(Some("+02:00")), DataType::Date32]);
    assert_eq!(batch.column(0).as_primitive::<TimestampMicrosecondType>().value(1), -62_135_596_800_000_000);
    assert_eq!(
        kit.export_csv(&made).await,
        "t,z,d\n2024-03-10T08:00:00,2024-03-10T08:00:00+02:00,1999-12-31\n0001-01-01T00:00:00,9999-12-31T23:59:59+02:00,0001-01-01\n"
    );
    let told = made.summary.columns[0].import.as_ref().expect("a report");
    assert_eq!((told.why, told.respelt, told.changed), (Why::Values, 2, 0));
}

/// A Parquet file of every type of time, at the ends of what a calendar shows.
fn times() -> RecordBatch {
    let seconds = vec![Some(-62_135_596_800), None, Some(-1), Some(0), Some(253_402_300_799)];
    let scaled = |by: i64| seconds.iter().map(|it| it.map(|it| it * by + by - 1)).collect::<Vec<_>>();
    let nanos = vec![Some(i64::MIN), None, Some(-1), Some(0), Some(i64::MAX)];
    let days = vec![Some(-719_162), None, Some(-1), Some(0), Some(2_932_896)];
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for zone in [None, Some("UTC"), Some("+05:30"), Some("Europe/Berlin")] {
        let name = |unit: &str| format!("{unit} {}", zone.unwrap_or("none"));
        let zone: Option<Arc<str>> = zone.map(Arc::from);
        let all: [(&str, ArrayRef); 4] = [
            ("s", Arc::new(TimestampSecondArray::from(seconds.clone()).with_timezone_opt(zone.clone()))),
            ("ms", Arc::new(TimestampMillisecondArray::from(scaled(1000)).with_timezone_opt(zone.clone()))),
            ("us", Arc::new(TimestampMicrosecondArray::from(scaled(1_000_000)).with_timezone_opt(zone.clone()))),
            ("ns", Arc::new(TimestampNanosecondArray::from(nanos.clone()).with_timezone_opt(zone))),
        ];
        columns.extend(all.map(|(unit, values)| (name(unit), values)));
    }
    let millis = days.iter().map(|it| it.map(|it| i64::from(it) * 86_400_000)).collect::<Vec<_>>();
    columns.push(("date32".into(), Arc::new(Date32Array::from(days))));
    columns.push(("date64".into(), Arc::new(Date64Array::from(millis))));
    columns.push((
        "time32".into(),
        Arc::new(Time32SecondArray::from(vec![Some(0), None, Some(1), Some(2), Some(86_399)])),
    ));
    RecordBatch::try_from_iter(columns).expect("a batch")
}

#[tokio::test]
async fn every_time_keeps_its_instant_zone_and_unit() {
    let batch = times();
    let bytes = parquet_file(&batch);
    let kit = Kit::new();
    let path = kit.file("t.parquet", bytes);
    let made = kit.engine.import_table(kit.table_plan(path, TableFormat::Parquet)).await.expect("an import");
    let exported = kit.export_as(&made, TableFormat::Parquet).await;
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(exported.clone())).expect("a Parquet file");
    for column in reader.parquet_schema().columns() {
        assert!(column.logical_type_ref().is_some(), "{} is a plain number in Parquet", column.name());
    }
    // Our own import of it has the very types again.
    let other = Kit::new();
    let path = other.file("again.parquet", exported);
    let again = other.engine.import_table(other.table_plan(path, TableFormat::Parquet)).await.expect("an import");
    let types = |made: &Committed| made.summary.columns.iter().map(|it| it.data_type.clone()).collect::<Vec<_>>();
    assert_eq!(types(&made), types(&again));
    let values = |rows: Vec<kaogong_data::tables::TableRow>| rows.into_iter().map(|it| it.values).collect::<Vec<_>>();
    let (before, after) = (kit.rows(&made.pins, all()).await.1, other.rows(&again.pins, all()).await.1);
    assert_eq!(values(before), values(after));
    // As text, too, each instant comes back, though CSV has no names of zones.
    let text = kit.export_csv(&made).await;
    assert!(text.contains("0001-01-01T00:00:00Z") && text.contains("9999-12-31T23:59:59"), "{text}");
    let plan = TableImportPlan {
        change: Change::Append { base: made.pins.clone() },
        ..kit.table_plan(kit.file("more.csv", &text), TableFormat::Csv)
    };
    let twice = kit.engine.import_table(plan).await.expect("an append of the export");
    let rows = values(kit.rows(&twice.pins, all()).await.1);
    assert_eq!(rows[..5], rows[5..]);
}

#[tokio::test]
async fn odd_files_are_read_as_what_they_are() {
    use std::io::Write;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"a,b\n1,x\n").expect("bytes");
    let packed = packed.finish().expect("a file");
    let utf16: Vec<u8> = "\u{feff}a\tb\n1\tx\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let usual = CsvOptions::default;
    for (bytes, options, kinds) in [
        (b"sep=;\r\na;b\r\n1;x\r\n".to_vec(), usual(), vec![NoteKind::SeparatorLine, NoteKind::Delimiter]),
        (packed, usual(), vec![NoteKind::Compressed]),
        (utf16, usual(), vec![NoteKind::Encoding, NoteKind::Delimiter]),
        (b"Report, 2024\n\na,b\n1,x\n".to_vec(), CsvOptions { skip_lines: 1, ..usual() }, vec![NoteKind::SkippedLines]),
        (b"# a;b;c\na,b\n#1,2\n1,x\n".to_vec(), CsvOptions { comment: Some('#'), ..usual() }, vec![]),
    ] {
        let kit = Kit::new();
        let plan = TableImportPlan { csv: options, ..kit.table_plan(kit.file("t.csv", bytes), TableFormat::Csv) };
        let made = kit.engine.import_table(plan).await.expect("an import");
        assert_eq!(kit.export_csv(&made).await, "a,b\n1,x\n", "{kinds:?}");
        assert_eq!(made.summary.notes.iter().map(|it| it.kind).collect::<Vec<_>>(), kinds);
    }
    for (bytes, encoding) in [(b"a,b\n1,\xe9\n".to_vec(), "latin1"), (b"a,b\n1,\xca\xfd\n".to_vec(), "gb18030")] {
        let kit = Kit::new();
        let problem = kit.import_csv(&bytes).await.expect_err("no UTF-8");
        assert!(problem.hint.is_some_and(|it| it.contains("--encoding")));
        let csv = CsvOptions { encoding: Some(encoding.into()), ..usual() };
        let plan = TableImportPlan { csv, ..kit.table_plan(kit.file("t.csv", bytes), TableFormat::Csv) };
        let made = kit.engine.import_table(plan).await.expect("an import");
        let wanted = if encoding == "latin1" { "a,b\n1,é\n" } else { "a,b\n1,数\n" };
        assert_eq!(kit.export_csv(&made).await, wanted);
    }
}

#[tokio::test]
async fn the_empty_text_and_no_value_are_two_things() {
    let kit = Kit::new();
    let text = "iso,n,t\n\"NA\",1,\"\"\nNZ,NA,\nnull,3,x\n";
    let made = kit.import_csv(text).await.expect("an import");
    let columns = &made.summary.columns;
    assert_eq!(
        columns.iter().map(|it| (it.kind, it.nulls)).collect::<Vec<_>>(),
        [(ColumnKind::Text, 0), (ColumnKind::Integer, 1), (ColumnKind::Text, 1)]
    );
    assert_eq!(columns[1].import.as_ref().map(|it| it.null_words), Some(1));
    assert_eq!(kit.export_csv(&made).await, "iso,n,t\nNA,1,\"\"\nNZ,,\nnull,3,x\n");
}

#[tokio::test]
async fn json_lines_are_a_table() {
    let kit = Kit::new();
    let text = concat!(
        "{\"id\":\"007\",\"n\":1,\"day\":\"2024-01-31\",\"long\":135217135789158401}\n",
        "{\"n\":null,\"id\":\"\",\"list\":[1, 2],\"ok\":true,\"long\":135217135789158403.5}\n",
    );
    let path = kit.file("t.jsonl", text);
    let made = kit.engine.import_table(kit.table_plan(path, TableFormat::Jsonl)).await.expect("an import");
    assert_eq!(
        kit.export_csv(&made).await,
        "id,n,day,long,list,ok\n007,1,2024-01-31,135217135789158401.0,,\n\"\",,,135217135789158403.5,\"[1, 2]\",true\n"
    );
    let plan = TableImportPlan {
        change: Change::Append { base: made.pins.clone() },
        ..kit.table_plan(kit.file("more.jsonl", text), TableFormat::Jsonl)
    };
    assert_eq!(kit.engine.import_table(plan).await.expect("an append").summary.items, 4);
}
