//! Parquet files, whole and damaged.

use crate::kit::{Kit, all};
use arrow_array::{
    ArrayRef, BinaryArray, DictionaryArray, Int32Array, ListArray, RecordBatch, StringArray, StringViewArray,
    TimestampMillisecondArray,
    types::{Int32Type, Int64Type},
};
use bytes::Bytes;
use kaogong_data::tables::{ColumnKind, ExportQuery, TableEngine, TableFormat};
use kaogong_domain::ErrorKind;
use parquet::{arrow::ArrowWriter, file::metadata::ParquetMetaDataReader};
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
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("a footer");
    bytes
}

#[tokio::test]
async fn types_are_kept() {
    let kit = Kit::new();
    let path = kit.file("t.parquet", sample());
    let made = kit.engine.import_table(kit.table_plan(path, TableFormat::Parquet)).await.expect("an import");
    let kinds: Vec<_> = made.summary.columns.iter().map(|it| it.kind).collect();
    use ColumnKind::{Binary, Integer, Other, Text, Time};
    assert_eq!(kinds, [Integer, Text, Text, Time, Binary, Other, Text]);
    assert_eq!(made.summary.columns[0].data_type, "Int32");
    let (total, rows) = kit.rows(&made.pins, all()).await;
    assert_eq!(total, 3);
    assert_eq!(serde_json::json!(rows[0].values).to_string(), r#"[1,"x","a","1970-01-01T00:00:00","01","[1, 2]","p"]"#);
    let csv = kit.export(&made.pins, ExportQuery { format: TableFormat::Csv, split: None }).await;
    let csv = String::from_utf8(csv).expect("text");
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
        let path = kit.file("t.parquet", bytes);
        let problem = kit.engine.import_table(kit.table_plan(path, TableFormat::Parquet)).await.expect_err("damaged");
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
    let batch = RecordBatch::try_from_iter([("raw", column)]).expect("a batch");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("rows");
    writer.close().expect("a footer");
    let kit = Kit::new();
    let path = kit.file("t.parquet", bytes);
    let made = kit.engine.import_table(kit.table_plan(path, TableFormat::Parquet)).await.expect("an import");
    let exported = kit.export(&made.pins, ExportQuery { format: TableFormat::Parquet, split: None }).await;
    let facts = ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(exported)).expect("a footer");
    assert!(facts.num_row_groups() > 1, "{} MiB in one group", facts.row_group(0).total_byte_size() >> 20);
}
