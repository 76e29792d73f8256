//! Parquet files: opened here, decoded where their claims can do no harm.
//!
//! What a Parquet file takes when it is decoded cannot be known from its size, nor from the sizes it tells: pages,
//! dictionaries, runs, prefixes, lists and nulls all unpack to far more than they are. So [`process`] decodes it in a
//! process of its own, whose memory the system bounds, and sends over rows in batches that are bounded in turn.

pub(crate) mod decode;
mod process;

pub use process::{Wanted, decode_parquet};

use super::{
    columns,
    hive::Partitions,
    parts::{self, Part},
    source::{FileBatches, Import, Opened, check_rows},
};
use crate::imports::{Decoder, Imports};
use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use kaogong_data::tables::{ColumnImport, Note, NoteKind, Why};
use kaogong_domain::Problem;
use parquet::file::reader::Length;
use std::{collections::BTreeSet, path::Path, sync::Arc};

/// A file that can be drawn from.
pub(super) struct Source {
    pub(super) schema: SchemaRef,
    /// The rows that its footer tells of.
    pub(super) rows: u64,
    /// Columns of times that nanoseconds cannot tell.
    pub(super) wide: BTreeSet<usize>,
    pub(super) batches: FileBatches,
}

/// Opens a file, or all parts of a folder; with `base`, checks that its columns are those of that version.
pub(super) fn open(path: &Path, base: Option<&[Field]>, imports: &Imports) -> Result<Opened, Problem> {
    let mut parts = parts::of(path)?;
    let count = parts.len();
    let partitions = Partitions::of(&parts, base)?.map(Arc::new);
    let rest = parts.split_off(1);
    let Some(first) = parts.pop() else { return Err(Problem::invalid("there is no Parquet file")) };
    let around = |at: usize| partitions.clone().map(|it| (it, at));
    let mut opened = open_part(&first, path, base, imports, around(0)).map_err(|it| first.of(it))?;
    let named = partitions.iter().map(|it| Note { kind: NoteKind::Partitions, detail: it.names() });
    opened.notes.extend(named.clone());
    if first.name.is_some() {
        opened.notes.push(Note { kind: NoteKind::Parts, detail: count.to_string() });
        opened.is_packed = true;
    }
    if rest.is_empty() {
        return Ok(opened);
    }
    // The first part says what the columns are. Each part has them in an order of its own.
    let (columns, import, notes) = (opened.columns.clone(), Import::new(opened.told()), opened.notes.clone());
    let schema = Arc::new(Schema::new(columns.clone()));
    let places = (0..columns.len()).collect();
    let (fields, path, imports) = (columns.clone(), path.to_owned(), imports.clone());
    let open = move |(part, at): (Part, usize)| {
        let around = partitions.clone().map(|it| (it, at));
        open_part(&part, &path, Some(&fields), &imports, around).map_err(|it| part.of(it))
    };
    let others = rest.into_iter().zip(1..).map(open);
    let fields = columns.clone();
    let batches = std::iter::once(Ok(opened)).chain(others).flat_map(move |opened| conformed(opened, &fields, &schema));
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

fn open_part(
    part: &Part,
    path: &Path,
    base: Option<&[Field]>,
    imports: &Imports,
    around: Option<(Arc<Partitions>, usize)>,
) -> Result<Opened, Problem> {
    if part.segment.len() == 0 {
        return Err(Problem::invalid("the Parquet file is empty").hint("write it again"));
    }
    let source = match &imports.decoder {
        Decoder::Here => decode::open(part.segment.clone(), 0)?.into_source(),
        Decoder::Program(program) => process::open(program, path, &part.segment, &imports.budget.decoders)?,
    };
    if source.rows == 0 && part.name.is_none() {
        return Err(Problem::invalid("the Parquet file has no rows").hint("write it again, with rows"));
    }
    check_rows(source.rows)?;
    let in_file = source.schema.fields().len();
    let source = match &around {
        None => source,
        Some((partitions, at)) => with_partitions(source, partitions, *at)?,
    };
    let named = columns::stored(source.schema.fields())?;
    let fields = named.fields;
    let places = match base {
        None => (0..fields.len()).collect(),
        Some(base) => columns::matched(&fields, base)?,
    };
    let usual = if base.is_some() { Why::Base } else { Why::Source };
    let why = |at: usize| if source.wide.contains(&at) { Why::WideTimes } else { usual };
    let told = named.renamed.into_iter().enumerate();
    let told = told.map(|(at, renamed_from)| {
        let key = around.as_ref().and_then(|it| it.0.told().get(at.checked_sub(in_file)?));
        ColumnImport { renamed_from, ..key.cloned().unwrap_or_else(|| ColumnImport::new(why(at))) }
    });
    Ok(Opened {
        columns: base.map_or(fields, <[Field]>::to_vec),
        places,
        import: Import::new(told.collect()),
        batches: source.batches,
        notes: Vec::new(),
        is_packed: false,
    })
}

/// A part with the columns that its folders name.
fn with_partitions(source: Source, partitions: &Arc<Partitions>, part: usize) -> Result<Source, Problem> {
    let (partitions, schema) = (partitions.clone(), partitions.schema(&source.schema)?);
    let told = schema.clone();
    let batches = source.batches.map(move |batch| partitions.add(&batch?, &schema, part).map_err(|it| broken(&it)));
    Ok(Source { schema: told, batches: Box::new(batches), ..source })
}

/// A file that cannot be read, with what to do about it.
pub(super) fn broken(error: &dyn std::error::Error) -> Problem {
    Problem::invalid(format!("the Parquet file cannot be read: {error}"))
        .hint("write it again, or copy it again from its source")
}
