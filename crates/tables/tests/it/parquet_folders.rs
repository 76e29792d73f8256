//! Tables in many Parquet files: the parts of a folder, and columns in the names of folders.

use crate::kit::{Kit, parquet_of};
use arrow_array::{ArrayRef, Int64Array, StringArray};
use kaogong_data::tables::{Change, ColumnKind, Committed, NoteKind, TableEngine, TableFormat, TableImportPlan, Why};
use kaogong_domain::{ErrorKind, Problem};
use std::sync::Arc;

/// Columns `n` and `t` of these numbers, in one order or the other.
fn part(numbers: &[i64], is_turned: bool) -> Vec<u8> {
    let n: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
    let t: ArrayRef = Arc::new(StringArray::from_iter_values(numbers.iter().map(i64::to_string)));
    parquet_of(if is_turned { vec![("t", t), ("n", n)] } else { vec![("n", n), ("t", t)] })
}

fn folder(parts: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in parts {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &bytes[..]).expect("an entry");
    }
    tar.into_inner().expect("an archive")
}

async fn import(parts: &[(&str, Vec<u8>)]) -> (Kit, Result<Committed, Problem>) {
    let kit = Kit::new();
    let made = kit.import_parquet(folder(parts)).await;
    (kit, made)
}

async fn refusal(parts: &[(&str, Vec<u8>)]) -> String {
    let problem = import(parts).await.1.expect_err("refused");
    assert_eq!(problem.kind, ErrorKind::Invalid);
    problem.text
}

#[tokio::test]
async fn a_folder_of_parquet_parts_is_one_table() {
    let parts = [
        ("0.parquet", part(&[1, 2], false)),
        ("1.parquet", part(&[3], true)),
        ("2.parquet", part(&[], false)),
        ("_SUCCESS", Vec::new()),
        ("_temporary/0.parquet", part(&[9], false)),
    ];
    let (kit, made) = import(&parts).await;
    let made = made.expect("an import");
    assert_eq!(kit.export_csv(&made).await, "n,t\n1,1\n2,2\n3,3\n");
    assert_eq!((made.summary.original.is_none(), made.summary.notes[0].detail.as_str()), (true, "3"));
    let text = refusal(&[("0.parquet", part(&[1], false)), ("1.parquet", b"PAR1".to_vec())]).await;
    assert!(text.starts_with("1.parquet: "), "{text}");
}

#[tokio::test]
async fn names_of_folders_are_columns() {
    let parts = [
        ("year=2023/month=01/city=New%20York/0.parquet", part(&[1, 2], false)),
        ("year=2023/month=02/city=NA/0.parquet", part(&[3], true)),
        ("year=__HIVE_DEFAULT_PARTITION__/month=11/city=/0.parquet", part(&[4], false)),
    ];
    let (kit, made) = import(&parts).await;
    let made = made.expect("an import");
    assert_eq!(
        kit.export_csv(&made).await,
        "n,t,year,month,city\n1,1,2023,01,New York\n2,2,2023,01,New York\n3,3,2023,02,NA\n4,4,,11,\"\"\n"
    );
    let columns = &made.summary.columns;
    let told: Vec<_> = columns.iter().map(|it| (it.kind, it.import.as_ref().map(|it| it.why))).collect();
    assert_eq!(
        told[2..],
        [
            (ColumnKind::Integer, Some(Why::Values)),
            (ColumnKind::Text, Some(Why::LeadingZeros)),
            (ColumnKind::Text, Some(Why::Words)),
        ]
    );
    let notes: Vec<_> = made.summary.notes.iter().map(|it| (it.kind, it.detail.as_str())).collect();
    assert_eq!(notes, [(NoteKind::Partitions, "year, month, city"), (NoteKind::Parts, "3")]);

    let append = async |name: &str| {
        let path = kit.file("more.tar", folder(&[(name, part(&[5], true))]));
        let change = Change::Append { base: made.pins.clone() };
        kit.engine.import_table(TableImportPlan { change, ..kit.table_plan(path, TableFormat::Parquet) }).await
    };
    let more = append("year=2025/month=12/city=Oslo/0.parquet").await.expect("an append");
    assert!(kit.export_csv(&more).await.ends_with("\n5,5,2025,12,Oslo\n"));
    let text = append("year=soon/month=12/city=Oslo/0.parquet").await.expect_err("no number").text;
    assert_eq!(text, "year=soon/month=12/city=Oslo/0.parquet: `year=soon` is no whole number");
    let text = append("year=2025/0.parquet").await.expect_err("columns are missing").text;
    assert!(text.ends_with("it lacks `month`, `city`"), "{text}");
}

#[tokio::test]
async fn names_of_folders_that_make_no_table_are_refused() {
    let one = part(&[1], false);
    let text = refusal(&[("n=1/0.parquet", one.clone())]).await;
    assert_eq!(text, "n=1/0.parquet: `n` is a column of the file and the key of a folder around it");
    let text = refusal(&[("y=1/0.parquet", one.clone()), ("1.parquet", one.clone())]).await;
    assert_eq!(text, "1.parquet: its folders name no column, those of the first file name `y`");
    let text = refusal(&[("y=1/m=1/0.parquet", one.clone()), ("m=1/y=1/1.parquet", one.clone())]).await;
    assert!(text.contains("name `m`, `y`, those"), "{text}");
    assert!(refusal(&[("y=1/y=2/0.parquet", one)]).await.contains("twice"));
}
