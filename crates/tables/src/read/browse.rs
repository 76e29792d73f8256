//! Pages and single rows.

use super::{columns_of, index::VersionIndex, values};
use crate::{lance_errors, layout};
use arrow_array::{
    Array, BinaryArray, RecordBatch, StringArray,
    cast::AsArray,
    types::{UInt8Type, UInt32Type, UInt64Type},
};
use arrow_schema::DataType;
use futures::TryStreamExt;
use kaogong_data::budget::{Held, PREVIEW_WAIT_MAX, Pool};
use kaogong_data::tables::{BrowseQuery, ImageRow, Page, RowRead, Rows, TableRow};
use kaogong_domain::{Problem, datasets::DatasetKind, ids::ItemId};
use lance::dataset::ProjectionRequest;
use std::collections::HashSet;

const DOING: &str = "read a dataset version";
/// Memory that a page of long values may need: the longest row, with the copies that reading makes.
const PAGE_BYTES: u64 = 64 << 20;
/// What is read together of long values, in bytes.
const READ_BYTES: usize = 16 << 20;

/// One page.
pub(crate) async fn page(index: &VersionIndex, reads: &Pool, query: &BrowseQuery) -> Result<Page, Problem> {
    if query.limit == 0 || query.limit > BrowseQuery::LIMIT_MAX {
        return Err(Problem::invalid(format!(
            "a page holds 1 to {} rows, not {}",
            BrowseQuery::LIMIT_MAX,
            query.limit
        )));
    }
    let mut places = filtered(index, query.label.as_deref(), query.split)?;
    if let Some(text) = query.text.as_deref().filter(|it| !it.is_empty()) {
        keep_with_text(index, &mut places, text).await?;
    }
    let total = places.len() as u64;
    let begin = usize::try_from(query.offset).unwrap_or(usize::MAX).min(places.len());
    let end = begin.saturating_add(query.limit as usize).min(places.len());
    Ok(Page { total, rows: rows_at(index, reads, &places[begin..end]).await? })
}

/// One row.
pub(crate) async fn row(index: &VersionIndex, reads: &Pool, item: ItemId) -> Result<RowRead, Problem> {
    let place = position(index, item)?;
    let missing = || not_there(item);
    match rows_at(index, reads, &[place]).await? {
        Rows::Images(rows) => rows.into_iter().next().map(RowRead::Image).ok_or_else(missing),
        Rows::Table(rows) => rows.into_iter().next().map(RowRead::Table).ok_or_else(missing),
    }
}

/// Where an item stands in the version.
pub(crate) fn position(index: &VersionIndex, item: ItemId) -> Result<u32, Problem> {
    index.position(item).map(|it| it as u32).ok_or_else(|| not_there(item))
}

fn not_there(item: ItemId) -> Problem {
    Problem::not_found(format!("this version has no item {item}")).hint("look whether another version has it")
}

/// Positions by class and split.
pub(crate) fn filtered(
    index: &VersionIndex,
    label: Option<&str>,
    split: Option<kaogong_domain::datasets::Split>,
) -> Result<Vec<u32>, Problem> {
    if label.is_some_and(|it| !it.is_empty()) && !index.has_classes() && index.target.is_some() {
        return Err(Problem::invalid("the target of this version is no class: it has a fraction or too many values")
            .hint("search by text instead, or import with another target"));
    }
    Ok(index.matching(label, split))
}

/// Keeps the places whose name (or any text column) holds the text.
async fn keep_with_text(index: &VersionIndex, places: &mut Vec<u32>, text: &str) -> Result<(), Problem> {
    let wanted = text.to_lowercase();
    let columns = match index.kind {
        DatasetKind::Images => vec![layout::NAME.to_owned()],
        DatasetKind::Table => text_columns(index),
    };
    if columns.is_empty() {
        places.clear();
        return Ok(());
    }
    let failed = lance_errors::lance(DOING);
    let mut scan = index.items.scan();
    let columns = columns_of(&index.items, |it| columns.iter().any(|column| column == it));
    scan.project_with_schema(&columns).map_err(&failed)?.batch_size_bytes(READ_BYTES as u64);
    let mut batches = scan.try_into_stream().await.map_err(&failed)?;
    let (mut first, mut found) = (0u32, HashSet::new());
    while let Some(batch) = batches.try_next().await.map_err(&failed)? {
        for column in batch.columns() {
            let holds = |it: Option<&str>| it.is_some_and(|it| it.to_lowercase().contains(&wanted));
            match column.data_type() {
                DataType::Utf8 => note(&mut found, first, column.as_string::<i32>().iter().map(holds)),
                _ => note(&mut found, first, column.as_string::<i64>().iter().map(holds)),
            }
        }
        first += batch.num_rows() as u32;
    }
    places.retain(|it| found.contains(it));
    Ok(())
}

fn note(found: &mut HashSet<u32>, first: u32, holds: impl Iterator<Item = bool>) {
    found.extend(holds.enumerate().filter(|it| it.1).map(|it| first + it.0 as u32));
}

fn text_columns(index: &VersionIndex) -> Vec<String> {
    let fields = index.items.schema().fields.iter();
    let texts = fields.filter(|it| matches!(it.data_type(), DataType::Utf8 | DataType::LargeUtf8));
    texts.map(|it| it.name.clone()).filter(|it| it != layout::ITEM_ID).collect()
}

async fn rows_at(index: &VersionIndex, reads: &Pool, places: &[u32]) -> Result<Rows, Problem> {
    match index.kind {
        DatasetKind::Images => {
            let batch = take(index, places, &layout::FACTS).await?;
            image_rows(index, places, &batch).map(Rows::Images)
        }
        DatasetKind::Table => table_rows_at(index, reads, places).await.map(Rows::Table),
    }
}

/// Rows of a table, read a few at a time while their values turn out to be long: a page shows little of each.
async fn table_rows_at(index: &VersionIndex, reads: &Pool, places: &[u32]) -> Result<Vec<TableRow>, Problem> {
    let fields = &index.items.schema().fields;
    let names: Vec<_> = fields.iter().map(|it| it.name.as_str()).collect();
    let is_short = fields.iter().skip(1).all(|it| it.data_type().is_primitive() || it.data_type() == DataType::Boolean);
    // One row first, until it is known how long they are; and few callers at a time, as one row may be very long.
    let _held = if is_short { None } else { Some(held(reads, PAGE_BYTES).await?) };
    let (mut step, mut begin) = (if is_short { places.len().max(1) } else { 1 }, 0);
    let mut rows = Vec::with_capacity(places.len());
    while begin < places.len() {
        let end = (begin + step).min(places.len());
        let some = &places[begin..end];
        let batch = take(index, some, &names).await?;
        let bytes = batch.get_array_memory_size();
        rows.extend(table_rows(index, some, &batch)?);
        begin = end;
        step = match bytes {
            it if it > READ_BYTES => (step / 4).max(1),
            it if it <= READ_BYTES / 4 => step * 4,
            _ => step,
        };
    }
    Ok(rows)
}

/// Takes memory for stored values, in turn with other readers.
pub(crate) async fn held(reads: &Pool, bytes: u64) -> Result<Held, Problem> {
    let reads = reads.clone();
    let taking = tokio::task::spawn_blocking(move || reads.take(bytes, PREVIEW_WAIT_MAX));
    taking.await.map_err(lance_errors::task(DOING))?
}

/// Reads rows by position; the columns come in the table's order.
pub(crate) async fn take(index: &VersionIndex, places: &[u32], columns: &[&str]) -> Result<RecordBatch, Problem> {
    let failed = lance_errors::lance(DOING);
    let schema = columns_of(&index.items, |it| columns.contains(&it));
    let places: Vec<u64> = places.iter().map(|it| u64::from(*it)).collect();
    index.items.take(&places, ProjectionRequest::from(schema)).await.map_err(failed)
}

fn table_rows(index: &VersionIndex, places: &[u32], batch: &RecordBatch) -> Result<Vec<TableRow>, Problem> {
    let columns = batch.columns().iter().skip(1);
    let columns: Result<Vec<_>, _> = columns.map(|it| values::json(it.as_ref())).collect();
    let mut columns = columns.map_err(lance_errors::arrow(DOING))?;
    let target = index.target.as_deref().and_then(|it| batch.column_by_name(it));
    let labels = target.map(|it| values::texts(it.as_ref())).transpose().map_err(lance_errors::arrow(DOING))?;
    let labels = labels.unwrap_or_default();
    let rows = places.iter().enumerate().map(|(row, place)| TableRow {
        item: index.id(*place as usize),
        row: u64::from(*place),
        label: labels.get(row).cloned().flatten(),
        split: index.split(*place as usize),
        values: columns.iter_mut().map(|it| std::mem::take(&mut it[row])).collect(),
    });
    Ok(rows.collect())
}

/// The rows of pictures in a batch that holds the fact columns.
pub(crate) fn image_rows(index: &VersionIndex, places: &[u32], batch: &RecordBatch) -> Result<Vec<ImageRow>, Problem> {
    let facts = Facts::of(batch).ok_or_else(damaged)?;
    places
        .iter()
        .enumerate()
        .map(|(row, place)| {
            let place = *place as usize;
            Ok(ImageRow {
                item: index.id(place),
                name: facts.names.value(row).to_owned(),
                label: index.label(place).map(str::to_owned),
                split: index.split(place),
                format: facts.formats.value(row).to_owned(),
                width: facts.widths[row],
                height: facts.heights[row],
                orientation: facts.orientations[row],
                bytes: facts.sizes[row],
                content_hash: facts.hashes.value(row).parse().map_err(|_| damaged())?,
            })
        })
        .collect()
}

fn damaged() -> Problem {
    Problem::unavailable("a dataset's table lacks what an import writes").hint("restore the data folder from a backup")
}

/// The fact columns of a batch. Only names of our own schema are asked for, and their types never changed.
struct Facts<'a> {
    names: &'a StringArray,
    formats: &'a StringArray,
    hashes: &'a StringArray,
    widths: &'a [u32],
    heights: &'a [u32],
    orientations: &'a [u8],
    sizes: &'a [u64],
}

impl<'a> Facts<'a> {
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let text = |name: &str| batch.column_by_name(name).and_then(|it| it.as_string_opt::<i32>());
        let number = |name: &str| batch.column_by_name(name).and_then(|it| it.as_primitive_opt::<UInt32Type>());
        let orientations = batch.column_by_name(layout::ORIENTATION).and_then(|it| it.as_primitive_opt::<UInt8Type>());
        let sizes = batch.column_by_name(layout::BYTES).and_then(|it| it.as_primitive_opt::<UInt64Type>());
        Some(Self {
            names: text(layout::NAME)?,
            formats: text(layout::FORMAT)?,
            hashes: text(layout::CONTENT_HASH)?,
            widths: number(layout::DISPLAYED_WIDTH)?.values(),
            heights: number(layout::DISPLAYED_HEIGHT)?.values(),
            orientations: orientations?.values(),
            sizes: sizes?.values(),
        })
    }
}

/// The names as found in a batch.
pub(crate) fn source_names(batch: &RecordBatch) -> Result<&BinaryArray, Problem> {
    batch.column_by_name(layout::SOURCE_NAME).and_then(|it| it.as_binary_opt::<i32>()).ok_or_else(damaged)
}

/// The bytes in a batch.
pub(crate) fn contents(batch: &RecordBatch) -> Result<&arrow_array::LargeBinaryArray, Problem> {
    batch.column_by_name(layout::CONTENT).and_then(|it| it.as_binary_opt::<i64>()).ok_or_else(damaged)
}
