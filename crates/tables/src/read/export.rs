//! A table version as one CSV or Parquet file, in pieces.

use super::{columns_of, index::VersionIndex, values::Texts};
use crate::{lance_errors, layout, rows::columns::exactly};
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, RecordBatch, cast::AsArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use kaogong_data::{
    csv::{write_float, write_record},
    tables::{ByteStream, ExportQuery, TableFormat},
};
use kaogong_domain::{
    Problem,
    datasets::{DatasetKind, Split},
};
use lance::dataset::scanner::DatasetRecordBatchStream;
use parquet::{arrow::ArrowWriter, basic::Compression, errors::ParquetError, file::properties::WriterProperties};
use std::{
    io::{self, Write},
    sync::Arc,
};
use tokio::{runtime::Handle, sync::mpsc};

/// Pieces between the writer and whoever sends them on.
const PIECES: usize = 4;
const PIECE_BYTES: usize = 256 << 10;
/// What is read together, in bytes.
const BATCH_BYTES: u64 = 16 << 20;
/// About what a row group of a Parquet file takes, in bytes.
const GROUP_BYTES: usize = 64 << 20;
const DOING: &str = "export a table";

/// Starts the export on a blocking thread; dropping the stream ends it.
pub(crate) async fn stream(index: Arc<VersionIndex>, query: ExportQuery) -> Result<ByteStream, Problem> {
    if index.kind != DatasetKind::Table {
        return Err(Problem::invalid("pictures cannot be exported as a table").hint("export them as an archive"));
    }
    if query.format == TableFormat::Jsonl {
        return Err(Problem::invalid("tables are not exported as JSON lines").hint("export them as CSV or Parquet"));
    }
    let stored = columns_of(&index.items, |it| it != layout::ITEM_ID);
    let failed = lance_errors::lance(DOING);
    let mut scan = index.items.scan();
    scan.project_with_schema(&stored).map_err(&failed)?.batch_size_bytes(BATCH_BYTES);
    let rows = scan.try_into_stream().await.map_err(&failed)?;
    let stored = Schema::from(&stored);
    let fields = stored.fields().iter().map(|it| match query.format {
        TableFormat::Csv | TableFormat::Jsonl => Field::new(layout::file_name_of(it), it.data_type().clone(), true),
        TableFormat::Parquet => in_parquet(it),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let (sender, receiver) = mpsc::channel(PIECES);
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || {
        let pipe = Pipe { sender: sender.clone(), buffer: Vec::with_capacity(PIECE_BYTES) };
        let rows = RowReader { rows, index, split: query.split, schema, first: 0, handle };
        let result = match query.format {
            TableFormat::Csv | TableFormat::Jsonl => csv(rows, pipe),
            TableFormat::Parquet => parquet(rows, pipe),
        };
        if let Err(problem) = result {
            // When the receiver is gone there is nobody to tell.
            let _gone = sender.blocking_send(Err(problem));
        }
    });
    Ok(futures::stream::unfold(receiver, |mut it| async move { it.recv().await.map(|piece| (piece, it)) }).boxed())
}

/// The column of a Parquet file. Parquet has no times in seconds and no dates in milliseconds, and readers would see
/// plain integers: such columns become the nearest type that it has, and note what they were.
fn in_parquet(field: &Field) -> Field {
    let (data_type, was) = match field.data_type() {
        DataType::Timestamp(TimeUnit::Second, zone) => {
            (DataType::Timestamp(TimeUnit::Millisecond, zone.clone()), Some(layout::SECONDS))
        }
        DataType::Time32(TimeUnit::Second) => (DataType::Time32(TimeUnit::Millisecond), Some(layout::SECONDS)),
        DataType::Date64 => (DataType::Date32, Some(layout::DATE_64)),
        other => (other.clone(), None),
    };
    layout::exported_as(layout::file_name_of(field), data_type, was)
}

/// The rows of a version with the file's column names, on a blocking thread.
struct RowReader {
    rows: DatasetRecordBatchStream,
    index: Arc<VersionIndex>,
    split: Option<Split>,
    schema: SchemaRef,
    first: usize,
    handle: Handle,
}

impl RowReader {
    fn next(&mut self) -> Result<Option<RecordBatch>, Problem> {
        let rows = &mut self.rows;
        let batch = self.handle.block_on(rows.try_next()).map_err(lance_errors::lance(DOING))?;
        let Some(batch) = batch else { return Ok(None) };
        let failed = lance_errors::arrow(DOING);
        let places = self.first..self.first + batch.num_rows();
        self.first = places.end;
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(values, field)| {
            exactly(values, field.data_type()).map_err(|reason| {
                Problem::invalid(format!("column `{}` cannot be exported as it is: {reason}", field.name()))
                    .hint("export as CSV, which has no limits of that kind")
            })
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(&failed)?;
        let Some(split) = self.split else { return Ok(Some(batch)) };
        let wanted: BooleanArray = places.map(|at| Some(self.index.split(at) == Some(split))).collect();
        filter_record_batch(&batch, &wanted).map(Some).map_err(failed)
    }
}

fn csv(mut rows: RowReader, mut pipe: Pipe) -> Result<(), Problem> {
    let mut line = Vec::new();
    write_record(&mut line, rows.schema.fields().iter().map(|it| Some(it.name().as_str())));
    while let Some(batch) = rows.next()? {
        pipe.write_all(&line).map_err(lance_errors::io(DOING))?;
        line.clear();
        let spelt: Vec<_> = batch.columns().iter().map(as_days).collect();
        let columns = spelt.iter().map(|it| Spelt::of(it.as_ref()));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(lance_errors::arrow(DOING))?;
        let mut cells: Vec<Option<String>> = Vec::with_capacity(columns.len());
        for row in 0..batch.num_rows() {
            cells.clear();
            for column in &columns {
                cells.push(column.at(row).map_err(lance_errors::arrow(DOING))?);
            }
            write_record(&mut line, cells.iter().map(Option::as_deref));
            if line.len() >= PIECE_BYTES {
                pipe.write_all(&line).map_err(lance_errors::io(DOING))?;
                line.clear();
            }
        }
    }
    pipe.write_all(&line).and_then(|()| pipe.flush()).map_err(lance_errors::io(DOING))
}

/// Dates in milliseconds as days, where they are whole ones: a date has no time of day in CSV.
fn as_days(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Date64 => exactly(column, &DataType::Date32).unwrap_or_else(|_| column.clone()),
        _ => column.clone(),
    }
}

/// The values of a column as CSV spells them.
enum Spelt<'a> {
    Floats(&'a Float64Array),
    Others(Texts<'a>),
}

impl<'a> Spelt<'a> {
    fn of(column: &'a dyn Array) -> Result<Self, ArrowError> {
        Ok(match column.as_primitive_opt() {
            Some(floats) => Self::Floats(floats),
            None => Self::Others(Texts::of(column)?),
        })
    }

    fn at(&self, row: usize) -> Result<Option<String>, ArrowError> {
        match self {
            Self::Floats(column) => Ok(column.is_valid(row).then(|| write_float(column.value(row)))),
            Self::Others(texts) => texts.at(row),
        }
    }
}

fn parquet(mut rows: RowReader, pipe: Pipe) -> Result<(), Problem> {
    let failed = |error: ParquetError| Problem::unavailable("cannot write the Parquet file").because(error);
    // A group stays in memory until it is full, and a million rows may be large ones.
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(Default::default()))
        .set_max_row_group_bytes(Some(GROUP_BYTES))
        .build();
    let mut writer = ArrowWriter::try_new(pipe, rows.schema.clone(), Some(properties)).map_err(failed)?;
    while let Some(batch) = rows.next()? {
        writer.write(&batch).map_err(failed)?;
    }
    writer.into_inner().map_err(failed)?.flush().map_err(lance_errors::io(DOING))
}

/// Gathers small writes into pieces and sends them; fails when nobody listens any more.
struct Pipe {
    sender: mpsc::Sender<Result<Bytes, Problem>>,
    buffer: Vec<u8>,
}

impl Pipe {
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES));
        if piece.is_empty() {
            return Ok(());
        }
        self.sender.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE_BYTES {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}
