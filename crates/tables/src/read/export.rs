//! A table version as one CSV or Parquet file, in pieces.

use super::index::VersionIndex;
use crate::{lance_errors, layout};
use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_cast::{cast, display::FormatOptions};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use kaogong_data::tables::{ByteStream, ExportQuery, TableFormat};
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
    let source = Schema::from(index.items.schema());
    let columns: Vec<_> = source.fields().iter().filter(|it| it.name() != layout::ITEM_ID).cloned().collect();
    let stored: Vec<_> = columns.iter().map(|it| it.name().as_str()).collect();
    let failed = lance_errors::lance(DOING);
    let mut scan = index.items.scan();
    scan.project(&stored).map_err(&failed)?.batch_size_bytes(BATCH_BYTES);
    let rows = scan.try_into_stream().await.map_err(&failed)?;
    let fields = columns.iter().map(|it| Field::new(layout::file_name_of(it), it.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let (sender, receiver) = mpsc::channel(PIECES);
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || {
        let pipe = Pipe { sender: sender.clone(), buffer: Vec::with_capacity(PIECE_BYTES) };
        let rows = RowReader { rows, index, split: query.split, schema, first: 0, handle };
        let result = match query.format {
            TableFormat::Csv => csv(rows, pipe),
            TableFormat::Parquet => parquet(rows, pipe),
        };
        if let Err(problem) = result {
            // When the receiver is gone there is nobody to tell.
            let _gone = sender.blocking_send(Err(problem));
        }
    });
    Ok(futures::stream::unfold(receiver, |mut it| async move { it.recv().await.map(|piece| (piece, it)) }).boxed())
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
        let batch = RecordBatch::try_new(self.schema.clone(), batch.columns().to_vec()).map_err(&failed)?;
        let Some(split) = self.split else { return Ok(Some(batch)) };
        let wanted: BooleanArray = places.map(|at| Some(self.index.split(at) == Some(split))).collect();
        filter_record_batch(&batch, &wanted).map(Some).map_err(failed)
    }
}

fn csv(mut rows: RowReader, pipe: Pipe) -> Result<(), Problem> {
    let header = rows.schema.clone();
    let mut writer = arrow_csv::WriterBuilder::new().with_header(true).build(pipe);
    let failed = |error: arrow_schema::ArrowError| Problem::unavailable("cannot write the CSV file").because(error);
    writer.write(&as_text(&RecordBatch::new_empty(header))?).map_err(failed)?;
    while let Some(batch) = rows.next()? {
        writer.write(&as_text(&batch)?).map_err(failed)?;
    }
    writer.into_inner().flush().map_err(lance_errors::io(DOING))
}

/// CSV has no lists, structs or bytes: such columns are written as texts.
fn as_text(batch: &RecordBatch) -> Result<RecordBatch, Problem> {
    let failed = lance_errors::arrow(DOING);
    let nested = |it: &DataType| {
        it.is_nested() || matches!(it, DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_))
    };
    if !batch.schema_ref().fields().iter().any(|it| nested(it.data_type())) {
        return Ok(batch.clone());
    }
    let options = FormatOptions::default();
    let columns = batch.columns().iter().map(|column| {
        if !nested(column.data_type()) {
            return Ok(column.clone());
        }
        let texts = arrow_cast::display::ArrayFormatter::try_new(column.as_ref(), &options)?;
        let rows = (0..column.len())
            .map(|row| if column.is_null(row) { Ok(None) } else { texts.value(row).try_to_string().map(Some) });
        let texts: arrow_array::StringArray = rows.collect::<Result<_, _>>()?;
        cast(&texts, &DataType::Utf8)
    });
    let columns: Vec<_> = columns.collect::<Result<_, _>>().map_err(&failed)?;
    let fields = batch.schema_ref().fields().iter().zip(&columns);
    let fields: Vec<_> = fields.map(|(it, column)| Field::new(it.name(), column.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(failed)
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
