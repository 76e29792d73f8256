//! Parquet files: batches that fit in memory, whatever the file unpacks to.
//!
//! A column with a dictionary can say in two bytes that a value of megabytes comes a thousand times, so neither the
//! size of the file nor the sizes it tells bound what a batch takes. The longest dictionary value does: it is looked
//! up, and the reader's batches are made short enough for it. What all batches take together is bounded, too.

use super::{
    columns, legacy_times,
    parts::{self, Part, Segment},
    source::{BATCH_BYTES, FileBatches, Import, Opened, check_rows},
};
use crate::write::BATCH_ROWS;
use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use kaogong_data::tables::{ColumnImport, Note, NoteKind, Why};
use kaogong_domain::Problem;
use parquet::{
    arrow::arrow_reader::{
        ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    },
    basic::Type,
    column::page::Page,
    errors::ParquetError,
    file::{
        metadata::ColumnChunkMetaData,
        reader::{FileReader, Length, SerializedFileReader},
    },
};
use std::{path::Path, sync::Arc};

/// How many times its size a file may unpack to,
const UNPACKED_RATIO_MAX: u64 = 1000;
/// and how much any file may.
const UNPACKED_BYTES_FREE: u64 = 1 << 30;

/// Opens a file, or all parts of a folder; with `base`, checks that its columns are those of that version.
pub(super) fn open(path: &Path, base: Option<&[Field]>) -> Result<Opened, Problem> {
    let mut parts = parts::of(path)?;
    let count = parts.len();
    let rest = parts.split_off(1);
    let Some(first) = parts.pop() else { return Err(Problem::invalid("there is no Parquet file")) };
    let opened = open_part(&first, base).map_err(|it| first.of(it))?;
    if rest.is_empty() {
        return Ok(opened);
    }
    // The first part says what the columns are. Each part has them in an order of its own.
    let (columns, import) = (opened.columns.clone(), Import::new(opened.told()));
    let schema = Arc::new(Schema::new(columns.clone()));
    let places = (0..columns.len()).collect();
    let fields = columns.clone();
    let others = rest.into_iter().map(move |part| open_part(&part, Some(&fields)).map_err(|it| part.of(it)));
    let fields = columns.clone();
    let batches = std::iter::once(Ok(opened)).chain(others).flat_map(move |opened| conformed(opened, &fields, &schema));
    let notes = vec![Note { kind: NoteKind::Parts, detail: count.to_string() }];
    Ok(Opened { columns, places, batches: Box::new(batches), import, notes, is_packed: true })
}

/// The batches of one part as the table has them.
fn conformed(opened: Result<Opened, Problem>, columns: &[Field], schema: &SchemaRef) -> FileBatches {
    let opened = match opened {
        Ok(opened) => opened,
        Err(problem) => return Box::new(std::iter::once(Err(problem))),
    };
    let (places, columns, schema) = (opened.places, columns.to_vec(), schema.clone());
    Box::new(opened.batches.map(move |batch| {
        let columns = columns::conform(&batch?, &places, &columns)?;
        RecordBatch::try_new(schema.clone(), columns).map_err(|error| broken(&error))
    }))
}

fn open_part(part: &Part, base: Option<&[Field]>) -> Result<Opened, Problem> {
    let segment = part.segment.clone();
    let size = segment.len();
    if size == 0 {
        return Err(Problem::invalid("the Parquet file is empty").hint("write it again"));
    }
    let told = ArrowReaderMetadata::load(&segment, ArrowReaderOptions::new()).map_err(|error| broken(&error))?;
    let rows = u64::try_from(told.metadata().file_metadata().num_rows()).unwrap_or(0);
    if rows == 0 && part.name.is_none() {
        return Err(Problem::invalid("the Parquet file has no rows").hint("write it again, with rows"));
    }
    check_rows(rows)?;
    let (told, wide) = legacy_times::settled(&segment, told)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(segment.clone(), told);
    let named = columns::stored(builder.schema().fields())?;
    let fields = named.fields;
    let places = match base {
        None => (0..fields.len()).collect(),
        Some(base) => columns::matched(&fields, base)?,
    };
    let unpacked_max = size.saturating_mul(UNPACKED_RATIO_MAX).saturating_add(UNPACKED_BYTES_FREE);
    let row_bytes = row_bytes(segment, rows.max(1)).map_err(|error| broken(&error))?;
    let batch = (BATCH_BYTES / row_bytes.max(1)).clamp(1, BATCH_ROWS as u64) as usize;
    let reader = builder.with_batch_size(batch).build().map_err(|error| broken(&error))?;
    let batches = Batches { reader, waiting: None, unpacked: 0, unpacked_max };
    let usual = if base.is_some() { Why::Base } else { Why::Source };
    let why = |at: usize| if wide.contains(&at) { Why::WideTimes } else { usual };
    let told = named.renamed.into_iter().enumerate();
    let told = told.map(|(at, renamed_from)| ColumnImport { renamed_from, ..ColumnImport::new(why(at)) });
    Ok(Opened {
        columns: base.map_or(fields, <[Field]>::to_vec),
        places,
        batches: Box::new(batches),
        import: Import::new(told.collect()),
        notes: Vec::new(),
        is_packed: false,
    })
}

/// What a row may take: the mean of its columns, and for columns with a dictionary as many of its longest value as a
/// row has values on average.
fn row_bytes(file: Segment, rows: u64) -> Result<u64, ParquetError> {
    let reader = SerializedFileReader::new(file)?;
    let metadata = reader.metadata();
    let mut told = 0u64;
    let mut longest: Vec<u64> = Vec::new();
    for group in 0..metadata.num_row_groups() {
        let chunks = metadata.row_group(group).columns();
        let pages = reader.get_row_group(group)?;
        longest.resize(longest.len().max(chunks.len()), 0);
        for (at, chunk) in chunks.iter().enumerate() {
            told = told.saturating_add(u64::try_from(chunk.uncompressed_size()).unwrap_or(0));
            if chunk.column_type() != Type::BYTE_ARRAY || chunk.num_values() <= 0 {
                continue;
            }
            // The first page, whatever the metadata says: the reader would use a dictionary that it does not tell of.
            if let Some(Page::DictionaryPage { buf, .. }) = pages.get_column_page_reader(at)?.get_next_page()? {
                let group_rows = metadata.row_group(group).num_rows();
                longest[at] = longest[at].max(longest_value(&buf).saturating_mul(values_per_row(chunk, group_rows)));
            }
        }
    }
    Ok(longest.iter().fold(told / rows, |sum, it| sum.saturating_add(*it)))
}

fn values_per_row(chunk: &ColumnChunkMetaData, rows: i64) -> u64 {
    u64::try_from(chunk.num_values() / rows.max(1)).unwrap_or(1).max(1)
}

/// The longest value of a dictionary page: lengths of four bytes, each before its value (encoding PLAIN).
fn longest_value(page: &[u8]) -> u64 {
    let (mut rest, mut longest) = (page, 0);
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length);
        longest = longest.max(u64::from(length));
        rest = more.get(length as usize..).unwrap_or_default();
    }
    // A length beyond the page is an error that the reader will find.
    longest.min(page.len() as u64)
}

/// The batches of the reader, joined until they are worth writing.
struct Batches {
    reader: ParquetRecordBatchReader,
    /// A batch that did not fit with those before it.
    waiting: Option<RecordBatch>,
    unpacked: u64,
    unpacked_max: u64,
}

impl Batches {
    fn draw(&mut self) -> Result<Option<RecordBatch>, Problem> {
        if let Some(batch) = self.waiting.take() {
            return Ok(Some(batch));
        }
        let batch = self.reader.next().transpose().map_err(|error| broken(&error))?;
        let batch = batch.map(columns::unpacked).transpose().map_err(|error| broken(&error))?;
        self.unpacked += batch.as_ref().map_or(0, |it| it.get_array_memory_size() as u64);
        if self.unpacked > self.unpacked_max {
            return Err(Problem::invalid(format!(
                "the Parquet file unpacks to more than {UNPACKED_RATIO_MAX} times its size and 1 GiB"
            ))
            .hint("if the data is meant to be like that, import it in parts, with `--mode append`"));
        }
        Ok(batch)
    }

    fn joined(&mut self) -> Result<Option<RecordBatch>, Problem> {
        let Some(first) = self.draw()? else { return Ok(None) };
        let (mut rows, mut bytes) = (first.num_rows(), first.get_array_memory_size() as u64);
        let mut batches = vec![first];
        while rows < BATCH_ROWS && bytes < BATCH_BYTES {
            let Some(next) = self.draw()? else { break };
            rows += next.num_rows();
            bytes += next.get_array_memory_size() as u64;
            if rows > BATCH_ROWS || bytes > BATCH_BYTES {
                self.waiting = Some(next);
                break;
            }
            batches.push(next);
        }
        if batches.len() == 1 {
            return Ok(batches.pop());
        }
        concat_batches(&batches[0].schema(), &batches).map(Some).map_err(|error| broken(&error))
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        self.joined().transpose()
    }
}

pub(super) fn broken(error: &dyn std::error::Error) -> Problem {
    Problem::invalid(format!("the Parquet file cannot be read: {error}"))
        .hint("write it again, or copy it again from its source")
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{DictionaryArray, Int32Array, StringArray};
    use parquet::arrow::ArrowWriter;
    use std::fs::File;

    /// `rows` times the same text of a megabyte, in a dictionary.
    fn bomb(dir: &Path, rows: usize) -> std::path::PathBuf {
        let words = StringArray::from(vec!["x".repeat(1 << 20)]);
        let column = DictionaryArray::new(Int32Array::from(vec![0; rows]), Arc::new(words));
        let batch = RecordBatch::try_from_iter([("a", Arc::new(column) as arrow_array::ArrayRef)]).expect("a batch");
        let path = dir.join("bomb.parquet");
        let file = File::create(&path).expect("a file");
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("rows");
        writer.close().expect("a footer");
        path
    }

    #[test]
    fn a_dictionary_of_long_values_comes_in_small_batches() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = bomb(dir.path(), 100);
        let opened = open(&path, None).expect("a file");
        let mut rows = 0;
        for batch in opened.batches {
            let batch = batch.expect("rows");
            assert!(batch.num_rows() <= 32, "{} rows", batch.num_rows());
            rows += batch.num_rows();
        }
        assert_eq!(rows, 100);
    }

    #[test]
    fn a_file_that_unpacks_to_too_much_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = bomb(dir.path(), 3);
        let mut opened = Batches {
            reader: ParquetRecordBatchReaderBuilder::try_new(File::open(path).expect("a file"))
                .and_then(|it| it.with_batch_size(1).build())
                .expect("a reader"),
            waiting: None,
            unpacked: 0,
            unpacked_max: 2 << 20,
        };
        let problem = opened.next().expect("an answer").expect_err("too much");
        assert!(problem.text.contains("1000 times its size"), "{}", problem.text);
    }

    #[test]
    fn the_longest_value_of_a_page_is_found() {
        assert_eq!(longest_value(b"\x01\0\0\0a\x03\0\0\0abc\0\0\0\0"), 3);
        assert_eq!(longest_value(b"\xff\xff\xff\xffab"), 6);
        assert_eq!(longest_value(b""), 0);
    }
}
