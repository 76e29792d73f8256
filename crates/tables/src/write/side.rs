//! The side tables of a version: one label layer and the splits, a row per item. Rows are built when they are written:
//! all at once they would take more memory than everything else about an import.

use super::{
    BATCH_ROWS,
    collect::{Classes, Member, NO_CLASS},
};
use crate::{ids::IdSource, layout};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{ArrowError, SchemaRef};
use futures::StreamExt;
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

/// The rows of a side table; there is at least one.
pub(crate) struct SideRows {
    schema: SchemaRef,
    batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>,
}

impl SideRows {
    /// Rows made of `items`, a batch at a time; `None` when there are none.
    fn new<T: Send + 'static>(
        schema: SchemaRef,
        items: impl Iterator<Item = T> + Send + 'static,
        columns: impl Fn(&[T]) -> Vec<ArrayRef> + Send + 'static,
    ) -> Option<Self> {
        let mut items = items.peekable();
        items.peek()?;
        let of_batches = schema.clone();
        let batches = std::iter::from_fn(move || {
            let rows: Vec<T> = items.by_ref().take(BATCH_ROWS).collect();
            (!rows.is_empty()).then(|| RecordBatch::try_new(of_batches.clone(), columns(&rows)))
        });
        Some(Self { schema, batches: Box::new(batches) })
    }

    /// The rows as the source of a write.
    pub(crate) fn stream(self) -> SendableRecordBatchStream {
        let batches = futures::stream::iter(self.batches).map(|it| it.map_err(DataFusionError::from));
        Box::pin(RecordBatchStreamAdapter::new(self.schema, batches))
    }
}

/// The rows of the label layer: members that have a class. `None` when there are none.
pub(crate) fn labels(members: &[Member], classes: &Classes, ids: IdSource, from: Provenance) -> Option<SideRows> {
    let labelled: Vec<_> = members.iter().filter(|it| it.class != NO_CLASS).map(|it| (it.number, it.class)).collect();
    let names = classes.names().to_vec();
    SideRows::new(layout::labels_schema(), labelled.into_iter(), move |rows: &[(u64, u32)]| {
        let name = |class: u32| names.get(class as usize).map_or("", String::as_str);
        let repeated = |text: &str| StringArray::from_iter_values(std::iter::repeat_n(text, rows.len()));
        vec![
            Arc::new(item_ids(ids, rows.iter().map(|it| it.0))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|it| name(it.1)))),
            Arc::new(repeated(from.source)),
            Arc::new(repeated(&from.author)),
            Arc::new(Int64Array::from_iter_values(std::iter::repeat_n(from.now.as_ms(), rows.len()))),
        ]
    })
}

/// The rows of the split table, of the numbers of items in their splits. `None` when there are none.
pub(crate) fn splits(placed: impl Iterator<Item = (u64, Split)> + Send + 'static, ids: IdSource) -> Option<SideRows> {
    SideRows::new(layout::splits_schema(), placed, move |rows: &[(u64, Split)]| {
        vec![
            Arc::new(item_ids(ids, rows.iter().map(|it| it.0))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|it| it.1.as_str()))),
        ]
    })
}

fn item_ids(ids: IdSource, numbers: impl Iterator<Item = u64>) -> StringArray {
    StringArray::from_iter_values(numbers.map(|it| ids.nth(it).to_string()))
}
