//! Parquet files.

use super::{columns, source::Opened};
use crate::write::BATCH_ROWS;
use arrow_schema::Field;
use kaogong_domain::Problem;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::{fs::File, path::Path};

/// How much one batch should hold, in bytes; rows with pictures inside come in small batches.
const BATCH_BYTES: i64 = 16 << 20;

/// Opens a file; with `base`, checks that its columns are those of that version.
pub(super) fn open(path: &Path, base: Option<&[Field]>) -> Result<Opened, Problem> {
    let file = File::open(path).map_err(crate::lance_errors::io("read the Parquet file"))?;
    if file.metadata().is_ok_and(|it| it.len() == 0) {
        return Err(Problem::invalid("the Parquet file is empty").hint("write it again"));
    }

    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| broken(&error))?;
    let rows = builder.metadata().file_metadata().num_rows().max(0);
    if rows == 0 {
        return Err(Problem::invalid("the Parquet file has no rows").hint("write it again, with rows"));
    }
    let bytes: i64 = builder.metadata().row_groups().iter().map(|it| it.total_byte_size()).sum();
    let batch = (BATCH_BYTES / (bytes / rows).max(1)).clamp(1, BATCH_ROWS as i64) as usize;
    let fields = columns::stored(builder.schema().fields())?;
    let places = match base {
        None => (0..fields.len()).collect(),
        Some(base) => columns::matched(&fields, base)?,
    };
    let reader = builder.with_batch_size(batch).build().map_err(|error| broken(&error))?;
    let batches = reader.map(|batch| batch.map_err(|error| broken(&error)));
    Ok(Opened { columns: base.map_or(fields, <[Field]>::to_vec), places, batches: Box::new(batches) })
}

fn broken(error: &dyn std::error::Error) -> Problem {
    Problem::invalid(format!("the Parquet file cannot be read: {error}"))
        .hint("write it again, or copy it again from its source")
}
