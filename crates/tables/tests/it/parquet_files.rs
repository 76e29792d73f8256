//! Parquet files, whole, old and damaged.

use crate::kit::{Kit, all, parquet_of, reread};
use arrow_array::{
    ArrayRef, BinaryArray, DictionaryArray, Int32Array, ListArray, StringArray, StringViewArray,
    TimestampMicrosecondArray, TimestampMillisecondArray,
    cast::AsArray,
    types::{Int32Type, Int64Type, TimestampNanosecondType},
};
use bytes::Bytes;
use kaogong_data::tables::{Change, ColumnKind, TableEngine, TableFormat, TableImportPlan, Why};
use kaogong_domain::ErrorKind;
use parquet::{
    data_type::{Int96, Int96Type},
    file::{metadata::ParquetMetaDataReader, properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use std::sync::Arc;

fn sample() -> Vec<u8> {
    let words: DictionaryArray<Int32Type> = ["x", "y", "x"].into_iter().collect();
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), Some(2)]), None, Some(vec![])]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("number", Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]))),
        ("word.kind", Arc::new(words)),
        ("view", Arc::new(StringViewArray::from(vec!["a", "b", "c"]))),
        ("when", Arc::new(TimestampMillisecondArray::from(vec![0, 1000, 2000]))),
        ("raw", Arc::new(BinaryArray::from(vec![&b"\x01"[..], b"\xff\x00", b""]))),
        ("list", Arc::new(lists)),
        ("text", Arc::new(StringArray::from(vec!["p", "q", "r"]))),
    ];
    parquet_of(columns)
}

#[tokio::test]
async fn types_are_kept() {
    let kit = Kit::new();
    let made = kit.import_parquet(sample()).await.expect("an import");
    let kinds: Vec<_> = made.summary.columns.iter().map(|it| it.kind).collect();
    use ColumnKind::{Binary, Integer, Other, Text, Time};
    assert_eq!(kinds, [Integer, Text, Text, Time, Binary, Other, Text]);
    assert_eq!(made.summary.columns[0].data_type, "Int32");
    let (total, rows) = kit.rows(&made.pins, all()).await;
    assert_eq!(total, 3);
    assert_eq!(serde_json::json!(rows[0].values).to_string(), r#"[1,"x","a","1970-01-01T00:00:00","01","[1, 2]","p"]"#);
    let csv = kit.export_csv(&made).await;
    assert_eq!(csv.lines().next(), Some("number,word.kind,view,when,raw,list,text"));
    assert_eq!(csv.lines().count(), 4);
}

#[tokio::test]
async fn damaged_files_are_refused_and_leave_nothing() {
    let whole = sample();
    let mut flipped = whole.clone();
    for byte in &mut flipped[8..60] {
        *byte ^= 0xff;
    }
    for bytes in [&b""[..], b"PAR1", b"hello world", &whole[..whole.len() / 2], &whole[whole.len() / 2..], &flipped] {
        let kit = Kit::new();
        let problem = kit.import_parquet(bytes).await.expect_err("damaged");
        assert_eq!(problem.kind, ErrorKind::Invalid, "{}", problem.text);
        assert!(kit.files().is_empty());
    }
}

#[tokio::test]
async fn an_export_of_large_rows_is_written_in_groups() {
    let mut state = 1u64;
    let mut noise = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let rows: Vec<Vec<u8>> = (0..100).map(|_| (0..1 << 20).map(&mut noise).collect()).collect();
    let column: ArrayRef = Arc::new(BinaryArray::from_iter_values(&rows));
    let kit = Kit::new();
    let made = kit.import_parquet(parquet_of(vec![("raw", column)])).await.expect("an import");
    let exported = kit.export_as(&made, TableFormat::Parquet).await;
    let facts = ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(exported)).expect("a footer");
    assert!(facts.num_row_groups() > 1, "{} MiB in one group", facts.row_group(0).total_byte_size() >> 20);
}

fn int96(times: &[(u32, u64)]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type("message m { required int96 t; }").expect("a schema"));
    let mut bytes = Vec::new();
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, properties).expect("a writer");
    let mut group = writer.next_row_group().expect("a group");
    let mut column = group.next_column().expect("no error").expect("a column");
    let values: Vec<Int96> =
        times.iter().map(|(day, nanos)| Int96::from(vec![*nanos as u32, (*nanos >> 32) as u32, *day])).collect();
    column.typed::<Int96Type>().write_batch(&values, None, None).expect("values");
    column.close().expect("a column");
    group.close().expect("a group");
    writer.close().expect("a footer");
    bytes
}

#[tokio::test]
async fn old_parquet_times_are_true_or_refused() {
    // Julian days of 1970-01-01, 0001-01-01 and 9999-12-31.
    let (epoch, first, last) = (2_440_588, 1_721_426, 5_373_484);
    let import = async |times: &[(u32, u64)]| {
        let kit = Kit::new();
        let made = kit.import_parquet(int96(times)).await;
        (kit, made)
    };
    let (kit, made) = import(&[(epoch, 1), (epoch - 1, 0)]).await;
    let batch = reread(kit.export_as(&made.expect("an import"), TableFormat::Parquet).await);
    assert_eq!(batch.column(0).as_primitive::<TimestampNanosecondType>().values(), &[1, -86_400_000_000_000]);
    let (kit, made) = import(&[(first, 0), (last, 86_399_999_999_000), (epoch, 0)]).await;
    let made = made.expect("an import");
    assert_eq!(made.summary.columns[0].import.as_ref().map(|it| it.why), Some(Why::WideTimes));
    let text = kit.export_csv(&made).await;
    assert_eq!(text, "t\n0001-01-01T00:00:00\n9999-12-31T23:59:59.999999\n1970-01-01T00:00:00\n");
    let (_, made) = import(&[(i32::MAX as u32, 0)]).await;
    let problem = made.expect_err("beyond any calendar");
    assert_eq!(problem.kind, ErrorKind::Invalid, "{}", problem.text);
}

#[tokio::test]
async fn an_append_never_rounds() {
    let kit = Kit::new();
    let column = |values: ArrayRef| parquet_of(vec![("t", values)]);
    let millis = column(Arc::new(TimestampMillisecondArray::from(vec![1])));
    let made = kit.import_parquet(millis).await.expect("an import");
    let append = |bytes: Vec<u8>| TableImportPlan {
        change: Change::Append { base: made.pins.clone() },
        ..kit.table_plan(kit.file("more.parquet", bytes), TableFormat::Parquet)
    };
    let fine = append(column(Arc::new(TimestampMicrosecondArray::from(vec![2000]))));
    kit.engine.import_table(fine).await.expect("whole milliseconds");
    for bad in [
        Arc::new(TimestampMicrosecondArray::from(vec![2001])) as ArrayRef,
        Arc::new(TimestampMicrosecondArray::from(vec![2000]).with_timezone("UTC")),
        Arc::new(arrow_array::Int64Array::from(vec![2000])),
    ] {
        let problem = kit.engine.import_table(append(column(bad))).await.expect_err("a loss");
        assert_eq!(problem.kind, ErrorKind::Invalid, "{}", problem.text);
    }
}
