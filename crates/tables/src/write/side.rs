//! The side tables of a version: one label layer and the splits, a row per item.

use super::{
    BATCH_ROWS,
    collect::{Classes, Member, NO_CLASS},
};
use crate::{ids::IdSource, layout};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{ArrowError, SchemaRef};
use kaogong_domain::{Timestamp, datasets::Split};
use lance::deps::datafusion::{
    error::DataFusionError,
    physical_plan::{SendableRecordBatchStream, stream::RecordBatchStreamAdapter},
};
use std::sync::Arc;

/// Where the labels of an import come from.
#[derive(Debug, Clone)]
pub(crate) struct Provenance {
    pub(crate) source: &'static str,
    pub(crate) author: String,
    pub(crate) now: Timestamp,
}

/// The rows of the label layer: members that have a class. `None` when there are none.
pub(crate) fn labels(
    members: &[Member],
    classes: &Classes,
    ids: IdSource,
    from: &Provenance,
) -> Result<Option<Vec<RecordBatch>>, ArrowError> {
    let labelled: Vec<_> = members.iter().filter(|it| it.class != NO_CLASS).collect();
    let batches = labelled.chunks(BATCH_ROWS).map(|rows| {
        let count = rows.len();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|it| ids.nth(it.number).to_string()))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|it| classes.name(it.class).unwrap_or_default()))),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(from.source, count))),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&from.author, count))),
            Arc::new(Int64Array::from_iter_values(std::iter::repeat_n(from.now.as_ms(), count))),
        ];
        RecordBatch::try_new(layout::labels_schema(), columns)
    });
    some_if_any(batches.collect())
}

/// The rows of the split table: members that are in a split. `None` when there are none.
pub(crate) fn splits(
    members: &[Member],
    splits: &[Option<Split>],
    ids: IdSource,
) -> Result<Option<Vec<RecordBatch>>, ArrowError> {
    let placed: Vec<_> =
        members.iter().zip(splits).filter_map(|(it, split)| split.map(|one| (it.number, one))).collect();
    let batches = placed.chunks(BATCH_ROWS).map(|rows| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|it| ids.nth(it.0).to_string()))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|it| it.1.as_str()))),
        ];
        RecordBatch::try_new(layout::splits_schema(), columns)
    });
    some_if_any(batches.collect())
}

fn some_if_any(batches: Result<Vec<RecordBatch>, ArrowError>) -> Result<Option<Vec<RecordBatch>>, ArrowError> {
    batches.map(|it| if it.is_empty() { None } else { Some(it) })
}

/// Batches at hand, as the source of a write.
pub(crate) fn stream(schema: SchemaRef, batches: Vec<RecordBatch>) -> SendableRecordBatchStream {
    let batches = futures::stream::iter(batches.into_iter().map(Ok::<_, DataFusionError>));
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}
