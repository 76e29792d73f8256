//! Columns in the names of folders, as Hive, Spark and Arrow lay out tables: `year=2024/month=01/part-0.parquet`.
//!
//! Every part must have the same keys. Their values are text, so they become columns as the text of a CSV file does:
//! `month=01` keeps its nought.

use super::{
    csv::{Values, kind_of, told, type_of},
    parts::Part,
};
use crate::layout;
use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};
use arrow_select::take::take;
use kaogong_data::{
    csv::{Record, Scan},
    tables::{ColumnImport, CsvOptions},
};
use kaogong_domain::Problem;
use std::{collections::BTreeSet, sync::Arc};

/// What a folder is called whose rows have no value.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// The columns that the names of the parts tell, with one value for each part.
#[derive(Debug, Clone)]
pub(super) struct Partitions {
    fields: Vec<Field>,
    values: Vec<ArrayRef>,
    told: Vec<ColumnImport>,
}

impl Partitions {
    /// The columns of these parts; with `base`, in the types that it has. `None` when no folder names one.
    pub(super) fn of(parts: &[Part], base: Option<&[Field]>) -> Result<Option<Self>, Problem> {
        let pairs = parts.iter().map(|part| pairs(part.name.as_deref().unwrap_or_default()).map_err(|it| part.of(it)));
        let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
        let Some(first) = pairs.first() else { return Ok(None) };
        let keys: Vec<&str> = first.iter().map(|it| it.0.as_str()).collect();
        for (pairs, part) in pairs.iter().zip(parts) {
            if !pairs.iter().map(|it| it.0.as_str()).eq(keys.iter().copied()) {
                return Err(part.of(Problem::invalid(format!(
                    "its folders name {}, those of the first file name {}",
                    listed(pairs.iter().map(|it| it.0.as_str())),
                    listed(keys.iter().copied())
                ))
                .hint("lay all files out alike, or import the folders one by one")));
            }
        }
        if keys.is_empty() {
            return Ok(None);
        }
        let records: Vec<_> = pairs.iter().zip(1..).map(|(it, line)| record(it, line)).collect();
        let options = CsvOptions::default();
        let mut scan = Scan::new(keys.iter().map(|_| None));
        records.iter().try_for_each(|it| scan.see(it, &options))?;
        let decided = match base {
            None => scan.decide(&options, b','),
            Some(base) => {
                let known = base.iter().filter_map(|field| {
                    let at = keys.iter().position(|key| *key == layout::file_name_of(field).trim())?;
                    Some(kind_of(field).map(|kind| (at, kind)))
                });
                scan.decide_as(&options, known.collect::<Result<Vec<_>, _>>()?)
            }
        };
        let types: Vec<_> = decided.iter().map(|it| type_of(it.reading.kind())).collect();
        let mut values: Vec<_> = types.iter().map(Values::new).collect();
        let mut scratch = String::new();
        for (record, part) in records.iter().zip(parts) {
            for (((field, decided), values), key) in record.fields().zip(&decided).zip(&mut values).zip(&keys) {
                let (cell, _) = decided.reading.read(field, &options, &mut scratch).map_err(|no| {
                    part.of(Problem::invalid(format!("`{key}={}` is no {no}", field.text)))
                        .hint("the dataset has a column of that type; import everything anew with `--mode replace`")
                })?;
                values.push(cell);
            }
        }
        let fields = keys.iter().zip(types).map(|(key, data_type)| Field::new(*key, data_type, true));
        let told = decided.iter().map(|it| ColumnImport { line: None, ..told(it, &None) });
        Ok(Some(Self {
            fields: fields.collect(),
            values: values.into_iter().map(Values::finish).collect(),
            told: told.collect(),
        }))
    }

    /// The names of the columns.
    pub(super) fn names(&self) -> String {
        self.fields.iter().map(Field::name).cloned().collect::<Vec<_>>().join(", ")
    }

    /// What is told about the columns.
    pub(super) fn told(&self) -> &[ColumnImport] {
        &self.told
    }

    /// The columns of a file, and these behind them.
    pub(super) fn schema(&self, file: &SchemaRef) -> Result<SchemaRef, Problem> {
        if let Some(twice) = self.fields.iter().find(|key| file.fields().iter().any(|it| it.name() == key.name())) {
            return Err(Problem::invalid(format!(
                "`{}` is a column of the file and the key of a folder around it",
                twice.name()
            ))
            .hint("leave the column out of the files, or call the folders otherwise"));
        }
        Ok(Arc::new(Schema::new(
            file.fields().iter().cloned().chain(self.fields.iter().cloned().map(Arc::new)).collect::<Vec<_>>(),
        )))
    }

    /// A batch of a part with its values in these columns.
    pub(super) fn add(&self, batch: &RecordBatch, schema: &SchemaRef, part: usize) -> Result<RecordBatch, ArrowError> {
        let rows = UInt32Array::from(vec![u32::try_from(part).unwrap_or(u32::MAX); batch.num_rows()]);
        let constant = self.values.iter().map(|it| take(it, &rows, None));
        let columns = batch.columns().iter().cloned().map(Ok).chain(constant).collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(schema.clone(), columns)
    }
}

fn listed<'a>(keys: impl Iterator<Item = &'a str>) -> String {
    let keys: Vec<_> = keys.map(|it| format!("`{it}`")).collect();
    if keys.is_empty() { "no column".to_owned() } else { keys.join(", ") }
}

/// The values of a part as a record in quotes, so that no word means "no value".
fn record(pairs: &[(String, Option<String>)], line: u64) -> Record {
    let mut record = Record::default();
    record.set(line, pairs.iter().map(|it| it.1.as_deref().map_or(("", false), |text| (text, true))));
    record
}

/// Keys and values of the folders around a file; `None` is no value.
fn pairs(name: &str) -> Result<Vec<(String, Option<String>)>, Problem> {
    let mut folders: Vec<&str> = name.split('/').collect();
    folders.pop();
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for folder in folders {
        let Some((key, value)) = folder.split_once('=') else { continue };
        let (key, value) = (decoded(key)?, decoded(value)?);
        if key.trim().is_empty() {
            return Err(
                Problem::invalid(format!("the folder `{folder}` has no name before `=`")).hint("name the column")
            );
        }
        if !seen.insert(key.clone()) {
            return Err(Problem::invalid(format!("its folders name `{key}` twice")).hint("leave one of them out"));
        }
        found.push((key, (value != NO_VALUE).then_some(value)));
    }
    Ok(found)
}

/// Text with its `%41` as bytes; what is no such pair of digits stays as it is.
fn decoded(text: &str) -> Result<String, Problem> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).and_then(|it| std::str::from_utf8(it).ok());
        let digits = digits.filter(|it| *byte == b'%' && it.bytes().all(|it| it.is_ascii_hexdigit()));
        let coded = digits.and_then(|it| u8::from_str_radix(it, 16).ok());
        out.push(coded.unwrap_or(*byte));
        at += if coded.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out)
        .map_err(|_| Problem::invalid(format!("the folder `{text}` is not UTF-8")).hint("give it another name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let shown = |name: &str| {
            let pairs = pairs(name).map_err(|it| it.text)?;
            let pairs = pairs.into_iter().map(|(key, value)| format!("{key}:{}", value.as_deref().unwrap_or("-")));
            Ok::<_, String>(pairs.collect::<Vec<_>>().join(" "))
        };
        assert_eq!(shown("t/year=2024/m=01/a=b.parquet").as_deref(), Ok("year:2024 m:01"));
        assert_eq!(shown("a%3Db=x%2Fy%zz=%/0.parquet").as_deref(), Ok("a=b:x/y%zz=%"));
        assert_eq!(shown("a=__HIVE_DEFAULT_PARTITION__/b=/0.parquet").as_deref(), Ok("a:- b:"));
        assert_eq!(shown("a=b=c/0.parquet").as_deref(), Ok("a:b=c"));
        assert_eq!(shown("0.parquet").as_deref(), Ok(""));
        assert!(shown("a=1/a=2/0.parquet").is_err_and(|it| it.contains("twice")));
        assert!(shown("=1/0.parquet").is_err() && shown("a=%ff/0.parquet").is_err());
    }
}
