//! The decoding of a Parquet file into batches that fit in memory.
//!
//! A column with a dictionary can say in two bytes that a value of megabytes comes a thousand times. The longest
//! dictionary value is looked up, and the reader's batches are made short enough for it; what comes out longer all the
//! same is cut. What all batches take together is bounded, too. What a single page takes is not: see
//! [`super::process`].

use super::{
    super::{columns, legacy_times, parts::Segment, source::BATCH_BYTES},
    Source, broken,
};
use crate::write::BATCH_ROWS;
use arrow_array::{Array, RecordBatch, UInt32Array};
use arrow_schema::{DataType, Schema, SchemaRef};
use arrow_select::{concat::concat_batches, take::take_record_batch};
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
use std::collections::{BTreeSet, VecDeque};

/// How many times its size a file may unpack to,
const UNPACKED_RATIO_MAX: u64 = 1000;
/// and how much any file may.
const UNPACKED_BYTES_FREE: u64 = 1 << 30;
/// Lists and structs in each other.
const NESTING_MAX: usize = 32;
/// The longest row, in bytes; a CSV record has the same bound.
const ROW_BYTES_MAX: usize = 64 << 20;

/// A file under decoding in this process.
pub(crate) struct Decoded {
    /// The columns of the batches.
    pub(crate) schema: SchemaRef,
    /// The rows that the footer tells of.
    pub(crate) rows: u64,
    /// Columns of times that nanoseconds cannot tell.
    pub(crate) wide: BTreeSet<usize>,
    /// The rows from the first one wanted.
    pub(crate) batches: Batches,
}

/// Opens a file and passes over its first `skip` rows.
pub(crate) fn open(segment: Segment, skip: u64) -> Result<Decoded, Problem> {
    let size = segment.len();
    let told = ArrowReaderMetadata::load(&segment, ArrowReaderOptions::new()).map_err(|error| broken(&error))?;
    check_nesting(told.schema())?;
    let rows = u64::try_from(told.metadata().file_metadata().num_rows()).unwrap_or(0);
    let (told, wide) = legacy_times::settled(&segment, told)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(segment.clone(), told);
    let schema = columns::unpacked(RecordBatch::new_empty(builder.schema().clone()));
    let schema = schema.map_err(|error| broken(&error))?.schema();
    let unpacked_max = size.saturating_mul(UNPACKED_RATIO_MAX).saturating_add(UNPACKED_BYTES_FREE);
    let row_bytes = row_bytes(segment, rows.max(1)).map_err(|error| broken(&error))?;
    let batch = (BATCH_BYTES / row_bytes.max(1)).clamp(1, BATCH_ROWS as u64) as usize;
    let builder = builder.with_batch_size(batch).with_offset(usize::try_from(skip).unwrap_or(usize::MAX));
    let reader = builder.build().map_err(|error| broken(&error))?;
    let batches = Batches { reader, waiting: None, pieces: VecDeque::new(), given: skip, unpacked: 0, unpacked_max };
    Ok(Decoded { schema, rows, wide, batches })
}

impl Decoded {
    pub(super) fn into_source(self) -> Source {
        Source { schema: self.schema, rows: self.rows, wide: self.wide, batches: Box::new(self.batches) }
    }
}

/// Refuses columns in columns in columns: what reads them, here and elsewhere, does so by recursion.
fn check_nesting(schema: &Schema) -> Result<(), Problem> {
    fn depth(data_type: &DataType) -> usize {
        match data_type {
            DataType::Struct(fields) => 1 + fields.iter().map(|it| depth(it.data_type())).max().unwrap_or(0),
            DataType::List(it) | DataType::LargeList(it) | DataType::FixedSizeList(it, _) | DataType::Map(it, _) => {
                1 + depth(it.data_type())
            }
            DataType::Dictionary(_, values) => depth(values),
            _ => 0,
        }
    }
    match schema.fields().iter().find(|it| depth(it.data_type()) > NESTING_MAX) {
        None => Ok(()),
        Some(field) => Err(Problem::invalid(format!(
            "column `{}` holds lists and structs more than {NESTING_MAX} deep in each other",
            field.name()
        ))
        .hint("flatten it, or keep it as text")),
    }
}

/// What a row may take: the mean of its columns, what its types take at least, and for columns with a dictionary as
/// many of its longest value as a row has values on average.
fn row_bytes(file: Segment, rows: u64) -> Result<u64, ParquetError> {
    let reader = SerializedFileReader::new(file)?;
    let metadata = reader.metadata();
    let mut told = 0u64;
    let mut widest: Vec<u64> = Vec::new();
    for group in 0..metadata.num_row_groups() {
        let chunks = metadata.row_group(group).columns();
        let pages = reader.get_row_group(group)?;
        widest.resize(widest.len().max(chunks.len()), 0);
        for (at, chunk) in chunks.iter().enumerate() {
            told = told.saturating_add(u64::try_from(chunk.uncompressed_size()).unwrap_or(0));
            widest[at] = widest[at].max(width(chunk));
            if chunk.column_type() != Type::BYTE_ARRAY || chunk.num_values() <= 0 {
                continue;
            }
            // The first page, whatever the metadata says: the reader would use a dictionary that it does not tell of.
            if let Some(Page::DictionaryPage { buf, .. }) = pages.get_column_page_reader(at)?.get_next_page()? {
                let group_rows = metadata.row_group(group).num_rows();
                widest[at] = widest[at].max(longest_value(&buf).saturating_mul(values_per_row(chunk, group_rows)));
            }
        }
    }
    Ok(widest.iter().fold(told / rows, |sum, it| sum.saturating_add(*it)))
}

/// What a value takes however it is encoded, nulls included: its width, or the place of its text.
fn width(chunk: &ColumnChunkMetaData) -> u64 {
    match chunk.column_type() {
        Type::BOOLEAN => 1,
        Type::INT32 | Type::FLOAT => 4,
        Type::INT64 | Type::DOUBLE | Type::BYTE_ARRAY => 8,
        Type::INT96 => 12,
        Type::FIXED_LEN_BYTE_ARRAY => u64::try_from(chunk.column_descr().type_length()).unwrap_or(0),
    }
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

/// The batches of the reader: joined until they are worth writing, cut where they are too long.
pub(crate) struct Batches {
    reader: ParquetRecordBatchReader,
    /// A batch that did not fit with those before it.
    waiting: Option<RecordBatch>,
    /// A batch that was too long, in parts.
    pieces: VecDeque<RecordBatch>,
    given: u64,
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

    /// Cuts a batch into halves until each part is short enough.
    fn cut(&mut self, batch: RecordBatch) -> Result<(), Problem> {
        let mut open = vec![batch];
        while let Some(part) = open.pop() {
            let (bytes, rows) = (slice_bytes(&part)?, part.num_rows());
            if rows > 1 && bytes as u64 > BATCH_BYTES {
                open.push(part.slice(rows / 2, rows - rows / 2));
                open.push(part.slice(0, rows / 2));
                continue;
            }
            // A part of a list counts what the other rows hold as well; a copy of one row alone does not.
            let (part, bytes) = if bytes > ROW_BYTES_MAX {
                let alone = take_record_batch(&part, &UInt32Array::from(vec![0])).map_err(|error| broken(&error))?;
                let bytes = slice_bytes(&alone)?;
                (alone, bytes)
            } else {
                (part, bytes)
            };
            if bytes > ROW_BYTES_MAX {
                let before: usize = self.pieces.iter().map(RecordBatch::num_rows).sum();
                let row = self.given + before as u64 + 1;
                return Err(Problem::invalid(format!(
                    "row {row} of the Parquet file takes {} MiB, more than {} MiB",
                    bytes >> 20,
                    ROW_BYTES_MAX >> 20
                ))
                .hint("keep values that long in files of their own"));
            }
            self.pieces.push_back(part);
        }
        Ok(())
    }

    fn piece(&mut self) -> Result<Option<RecordBatch>, Problem> {
        while self.pieces.is_empty() {
            let Some(batch) = self.joined()? else { return Ok(None) };
            self.cut(batch)?;
        }
        let piece = self.pieces.pop_front();
        self.given += piece.as_ref().map_or(0, |it| it.num_rows() as u64);
        Ok(piece)
    }
}

/// What the rows of a batch take, without what its buffers hold of others.
fn slice_bytes(batch: &RecordBatch) -> Result<usize, Problem> {
    let sizes = batch.columns().iter().map(|it| it.to_data().get_slice_memory_size());
    sizes.sum::<Result<usize, _>>().map_err(|error| broken(&error))
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        self.piece().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, DictionaryArray, Int32Array, ListArray, StringArray, types::Int64Type};
    use parquet::arrow::ArrowWriter;
    use std::{fs::File, path::Path, sync::Arc};

    fn opened(path: &Path, skip: u64) -> Decoded {
        open(Segment::open(path, None).expect("a file"), skip).expect("a Parquet file")
    }

    fn written(dir: &Path, column: ArrayRef) -> std::path::PathBuf {
        let batch = RecordBatch::try_from_iter([("a", column)]).expect("a batch");
        let path = dir.join("bomb.parquet");
        let file = File::create(&path).expect("a file");
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("rows");
        writer.close().expect("a footer");
        path
    }

    /// `rows` times the same text of a megabyte, in a dictionary.
    fn bomb(dir: &Path, rows: usize) -> std::path::PathBuf {
        let words = StringArray::from(vec!["x".repeat(1 << 20)]);
        written(dir, Arc::new(DictionaryArray::new(Int32Array::from(vec![0; rows]), Arc::new(words))))
    }

    #[test]
    fn a_dictionary_of_long_values_comes_in_small_batches() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut rows = 0;
        for batch in opened(&bomb(dir.path(), 100), 0).batches {
            let batch = batch.expect("rows");
            assert!(batch.num_rows() <= 32, "{} rows", batch.num_rows());
            rows += batch.num_rows();
        }
        assert_eq!(rows, 100);
    }

    #[test]
    fn reading_goes_on_behind_rows_that_were_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = bomb(dir.path(), 40);
        let rest = opened(&path, 33).batches.map(|it| it.expect("rows").num_rows());
        assert_eq!(rest.sum::<usize>(), 7);
    }

    #[test]
    fn a_file_that_unpacks_to_too_much_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut batches = opened(&bomb(dir.path(), 3), 0).batches;
        batches.unpacked_max = 2 << 20;
        let problem = batches.next().expect("an answer").expect_err("too much");
        assert!(problem.text.contains("1000 times its size"), "{}", problem.text);
    }

    #[test]
    fn a_row_that_is_too_long_is_refused_with_its_number() {
        let dir = tempfile::tempdir().expect("a folder");
        let long = (ROW_BYTES_MAX / 8 + 1) as i64;
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1)]),
            Some((0..long).map(|_| Some(0)).collect::<Vec<_>>()),
        ]);
        let mut batches = opened(&written(dir.path(), Arc::new(lists)), 0).batches;
        batches.unpacked_max = u64::MAX;
        let found: Result<Vec<_>, _> = batches.collect();
        let text = found.expect_err("too long").text;
        assert!(text.starts_with("row 2 of the Parquet file takes 64 MiB"), "{text}");
    }

    #[test]
    fn the_longest_value_of_a_page_is_found() {
        assert_eq!(longest_value(b"\x01\0\0\0a\x03\0\0\0abc\0\0\0\0"), 3);
        assert_eq!(longest_value(b"\xff\xff\xff\xffab"), 6);
        assert_eq!(longest_value(b""), 0);
    }
}
