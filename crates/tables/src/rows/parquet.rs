//! Parquet files: opened here, decoded where their claims can do no harm.
//!
//! What a Parquet file takes when it is decoded cannot be known from its size, nor from the sizes it tells: pages,
//! dictionaries, runs, prefixes, lists and nulls all unpack to far more than they are. So [`process`] decodes it in a
//! process of its own, whose memory the system bounds, and sends over rows in batches that are bounded in turn.

pub(crate) mod decode;
mod process;

pub use process::decode_parquet;

use super::{
    columns,
    source::{FileBatches, Opened, check_rows},
};
use crate::imports::{Decoder, Imports};
use arrow_schema::{Field, SchemaRef};
use kaogong_domain::Problem;
use std::path::Path;

/// A file that can be drawn from.
pub(super) struct Source {
    pub(super) schema: SchemaRef,
    /// The rows that its footer tells of.
    pub(super) rows: u64,
    pub(super) batches: FileBatches,
}

/// Opens a file; with `base`, checks that its columns are those of that version.
pub(super) fn open(path: &Path, base: Option<&[Field]>, imports: &Imports) -> Result<Opened, Problem> {
    let size = path.metadata().map_err(crate::lance_errors::io("read the Parquet file"))?.len();
    if size == 0 {
        return Err(Problem::invalid("the Parquet file is empty").hint("write it again"));
    }
    let source = match &imports.decoder {
        Decoder::Here => decode::open(path, 0)?.into_source(),
        Decoder::Program(program) => process::open(program, path, &imports.budget.decoders)?,
    };
    if source.rows == 0 {
        return Err(Problem::invalid("the Parquet file has no rows").hint("write it again, with rows"));
    }
    check_rows(source.rows)?;
    let fields = columns::stored(source.schema.fields())?;
    let places = match base {
        None => (0..fields.len()).collect(),
        Some(base) => columns::matched(&fields, base)?,
    };
    Ok(Opened { columns: base.map_or(fields, <[Field]>::to_vec), places, batches: source.batches })
}

/// A file that cannot be read, with what to do about it.
pub(super) fn broken(error: &dyn std::error::Error) -> Problem {
    Problem::invalid(format!("the Parquet file cannot be read: {error}"))
        .hint("write it again, or copy it again from its source")
}
