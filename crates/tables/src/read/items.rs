//! The bytes of pictures: one, all in batches, and all compared with their hashes.

use super::{
    browse::{self, contents, image_rows, source_names, take},
    index::VersionIndex,
};
use crate::{lance_errors, layout};
use arrow_array::LargeBinaryArray;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use kaogong_data::{
    BlobHash,
    budget::{self, Pool},
    tables::{ColumnNeed, ItemContent, ItemStream, StreamQuery, VerifyReport},
};
use kaogong_domain::{Problem, datasets::DatasetKind, ids::ItemId};
use std::{ops::Deref, sync::Arc};

/// The most items of one batch.
const BATCH_MAX: u32 = 4096;
/// A batch that holds this many bytes of content is not made longer.
const BATCH_BYTES: u64 = 16 << 20;
/// Files up to this size are read without asking for memory, in bytes.
const SMALL_BYTES: u64 = 1 << 20;
/// Damaged items listed by name.
const DAMAGED_MAX: usize = 1000;

/// The original bytes of one picture.
pub(crate) async fn content(index: &VersionIndex, reads: &Pool, item: ItemId) -> Result<Bytes, Problem> {
    pictures_only(index)?;
    let place = browse::position(index, item)?;
    let size = index.size(place as usize);
    // Small ones pass: it is the sum of large ones that fills the memory.
    let held = if size <= SMALL_BYTES { None } else { Some(browse::held(reads, size).await?) };
    let batch = take(index, &[place], &[layout::CONTENT]).await?;
    Ok(Bytes::from_owner(Lent { bytes: shared(contents(&batch)?, 0), _held: held }))
}

/// One value of a column without copying it; it keeps the memory of its batch alive.
fn shared(column: &LargeBinaryArray, row: usize) -> Bytes {
    let ends = column.value_offsets();
    let (begin, end) = (ends[row] as usize, ends[row + 1] as usize);
    Bytes::from_owner(Held(column.values().slice_with_length(begin, end - begin)))
}

/// A file that was read, with the memory it takes.
struct Lent {
    bytes: Bytes,
    _held: Option<budget::Held>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Shows a buffer as bytes.
struct Held<B>(B);

impl<B: Deref<Target = [u8]>> AsRef<[u8]> for Held<B> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn pictures_only(index: &VersionIndex) -> Result<(), Problem> {
    match index.kind {
        DatasetKind::Images => Ok(()),
        DatasetKind::Table => {
            Err(Problem::invalid("rows of a table have no bytes of their own").hint("export the table instead"))
        }
    }
}

/// All pictures that fit, in order.
pub(crate) fn stream(index: Arc<VersionIndex>, query: StreamQuery) -> Result<ItemStream, Problem> {
    pictures_only(&index)?;
    if query.batch == 0 || query.batch > BATCH_MAX {
        return Err(Problem::invalid(format!("a batch holds 1 to {BATCH_MAX} items, not {}", query.batch)));
    }
    let places = browse::filtered(&index, query.label.as_deref(), query.split)?;
    let (from, content) = (index.clone(), query.content);
    let chunks = stream::unfold(0, move |begin| {
        let end = end_of_batch(&from, &places, begin, &query);
        futures::future::ready((begin < end).then(|| (places[begin..end].to_vec(), end)))
    });
    // One batch is read while the one before is used.
    let batches = chunks.map(move |places| {
        let index = index.clone();
        async move { batch(&index, &places, content).await }
    });
    Ok(batches.buffered(2).boxed())
}

/// Where the batch that begins here ends: as many items as asked for, but not many more bytes than fit.
fn end_of_batch(index: &VersionIndex, places: &[u32], begin: usize, query: &StreamQuery) -> usize {
    let most = places.len().min(begin + query.batch as usize);
    if query.content == ColumnNeed::Omitted {
        return most;
    }
    let mut bytes = 0;
    let fitting = places[begin..most].iter().take_while(|at| {
        let before = bytes;
        bytes += index.size(**at as usize);
        before < BATCH_BYTES
    });
    begin + fitting.count()
}

async fn batch(index: &VersionIndex, places: &[u32], need: ColumnNeed) -> Result<Vec<ItemContent>, Problem> {
    let mut columns = layout::FACTS.to_vec();
    if need == ColumnNeed::Wanted {
        columns.push(layout::CONTENT);
    }
    let batch = take(index, places, &columns).await?;
    let names = source_names(&batch)?;
    let bytes = if need == ColumnNeed::Wanted { Some(contents(&batch)?) } else { None };
    let rows = image_rows(index, places, &batch)?.into_iter().enumerate();
    let items = rows.map(|(at, row)| ItemContent {
        row,
        source_name: names.value(at).to_vec(),
        bytes: bytes.map_or_else(Bytes::new, |it| shared(it, at)),
    });
    Ok(items.collect())
}

/// Reads everything and compares it with the recorded hashes.
pub(crate) async fn verify(index: Arc<VersionIndex>) -> Result<VerifyReport, Problem> {
    let mut report = VerifyReport::default();
    if index.kind == DatasetKind::Table {
        let failed = lance_errors::lance("read a dataset version");
        let mut scan = index.items.scan();
        scan.project_with_schema(index.items.schema()).map_err(&failed)?.batch_size_bytes(BATCH_BYTES);
        let mut batches = scan.try_into_stream().await.map_err(&failed)?;
        while let Some(batch) = batches.try_next().await.map_err(&failed)? {
            report.items += batch.num_rows() as u64;
            report.bytes += batch.get_array_memory_size() as u64;
        }
        return Ok(report);
    }
    let mut batches = stream(index, StreamQuery::default())?;
    while let Some(batch) = batches.try_next().await? {
        let checked = tokio::task::spawn_blocking(move || {
            let bad = batch.iter().filter(|it| BlobHash::of(&it.bytes) != it.row.content_hash);
            let damaged: Vec<_> = bad.map(|it| it.row.item.to_string()).collect();
            (batch.len() as u64, batch.iter().map(|it| it.bytes.len() as u64).sum::<u64>(), damaged)
        });
        let (items, bytes, damaged) = checked.await.map_err(lance_errors::task("verify a dataset"))?;
        report.items += items;
        report.bytes += bytes;
        report.damaged.extend(damaged);
        report.damaged.truncate(DAMAGED_MAX);
    }
    Ok(report)
}
