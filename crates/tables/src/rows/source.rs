//! The rows of a file on their way into the table: ids are added, facts gathered, the owner obeyed.

use super::{
    columns::{self, conform},
    stats::ColumnStats,
};
use crate::{
    ids::IdSource,
    lance_errors::{self, Smuggled},
    read::index::{TargetClasses, can_be_class},
    write::collect::Classes,
};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{ArrowError, Field, SchemaRef};
use kaogong_data::tables::{Column, ColumnImport, Note, Progress};
use kaogong_domain::Problem;
use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// The most rows of one import: the split of each is decided in memory, which takes about 35 bytes a row.
const ROWS_MAX: u64 = 5_000_000;
/// What one batch should hold at most, in bytes; rows with pictures inside come in small batches.
pub(super) const BATCH_BYTES: u64 = 16 << 20;

/// Refuses a file of more rows than one import takes.
pub(super) fn check_rows(rows: u64) -> Result<(), Problem> {
    if rows <= ROWS_MAX {
        return Ok(());
    }
    Err(Problem::invalid(format!("the file has {rows} rows, more than the {ROWS_MAX} of one import"))
        .hint("cut it into parts: import the first, and add the others with `--mode append`"))
}

/// Batches of a file, in its own columns and types.
pub(super) type FileBatches = Box<dyn Iterator<Item = Result<RecordBatch, Problem>> + Send>;

/// What is told about the columns of a file, counted while it is read.
#[derive(Debug, Clone)]
pub(super) struct Import(Arc<Mutex<Vec<ColumnImport>>>);

impl Import {
    pub(super) fn new(columns: Vec<ColumnImport>) -> Self {
        Self(Arc::new(Mutex::new(columns)))
    }

    /// Adds words for "no value", values spelt otherwise and values changed, column by column.
    pub(super) fn count(&self, counts: &[[u64; 3]]) {
        let mut columns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (column, [words, respelt, changed]) in columns.iter_mut().zip(counts) {
            column.null_words += words;
            column.respelt += respelt;
            column.changed += changed;
        }
    }

    /// What is told about one column of the file.
    pub(super) fn of(&self, place: usize) -> Option<ColumnImport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(place).cloned()
    }
}

/// A file that was looked at.
pub(super) struct Opened {
    /// The columns of the table.
    pub(super) columns: Vec<Field>,
    /// Where in the file's batches each of them lies.
    pub(super) places: Vec<usize>,
    pub(super) batches: FileBatches,
    /// What is told about each column of the file.
    pub(super) import: Import,
    /// What is told about the file.
    pub(super) notes: Vec<Note>,
    /// Its bytes are not what other programs take for its format.
    pub(super) is_packed: bool,
}

impl Opened {
    /// What is told about the columns of the table, in their order.
    pub(super) fn told(&self) -> Vec<ColumnImport> {
        self.places.iter().filter_map(|it| self.import.of(*it)).collect()
    }
}

/// What was learnt from the rows.
pub(super) struct Gathered {
    stats: Vec<ColumnStats>,
    classes: Classes,
    target: TargetClasses,
    /// The place of the target among the columns.
    target_at: Option<usize>,
    /// Rows of this import.
    pub(super) rows: u64,
}

impl Gathered {
    pub(super) fn new(columns: &[Field], target: Option<&str>) -> Self {
        let target_at = target.and_then(|it| columns.iter().position(|column| column.name() == it));
        let classed = target_at.is_some_and(|it| can_be_class(columns[it].data_type()));
        Self {
            stats: columns.iter().map(ColumnStats::new).collect(),
            classes: Classes::default(),
            target: TargetClasses::new(classed),
            target_at,
            rows: 0,
        }
    }

    /// Counts rows that the base version has already.
    pub(super) fn add_facts(&mut self, columns: &[ArrayRef]) -> Result<(), ArrowError> {
        self.stats.iter_mut().zip(columns).try_for_each(|(stats, column)| stats.add(column.as_ref()))
    }

    fn add(&mut self, columns: &[ArrayRef], rows: usize) -> Result<(), ArrowError> {
        self.add_facts(columns)?;
        if let Some(at) = self.target_at {
            self.target.add(columns[at].as_ref(), &mut self.classes)?;
        }
        self.rows += rows as u64;
        Ok(())
    }

    /// The facts of the columns, and the class of every row of this import (empty without classes).
    pub(super) fn finish(self) -> (Vec<Column>, Vec<u32>) {
        (self.stats.into_iter().map(ColumnStats::finish).collect(), self.target.finish())
    }
}

/// The iterator that Lance draws from, on a blocking thread.
pub(super) struct RowSource {
    pub(super) opened: Opened,
    pub(super) schema: SchemaRef,
    pub(super) ids: IdSource,
    pub(super) gathered: Arc<Mutex<Gathered>>,
    pub(super) reason: Smuggled,
    pub(super) cancelled: Arc<AtomicBool>,
    pub(super) progress: Progress,
}

impl RowSource {
    fn next_batch(&mut self) -> Option<Result<RecordBatch, Problem>> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Some(Err(lance_errors::abandoned()));
        }
        // A damaged Parquet file can make its reader panic; that is the file's fault, not the program's end.
        let drawn = std::panic::catch_unwind(AssertUnwindSafe(|| self.opened.batches.next()));
        let drawn = drawn.unwrap_or_else(|_| {
            Some(Err(Problem::invalid("the file is damaged: its reader gave up").hint("copy it again from its source")))
        });
        drawn.map(|batch| batch.and_then(|it| self.dress(&it)))
    }

    /// The columns as the table has them, with ids before them.
    fn dress(&mut self, batch: &RecordBatch) -> Result<RecordBatch, Problem> {
        let failed = lance_errors::arrow("read rows");
        let mut columns = conform(batch, &self.opened.places, &self.opened.columns)?;
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let first = gathered.rows;
        // The file said how many rows it has; this one has more than it said.
        check_rows(first + batch.num_rows() as u64)?;
        gathered.add(&columns, batch.num_rows()).map_err(|error| {
            Problem::invalid(format!("a value of the file cannot be shown: {error}"))
                .hint("look for times beyond the calendar, and leave them out or convert the column")
        })?;
        let numbers = first..first + batch.num_rows() as u64;
        let ids = StringArray::from_iter_values(numbers.map(|it| self.ids.nth(it).to_string()));
        columns.insert(0, Arc::new(ids));
        self.progress.add(batch.num_rows() as u64);
        RecordBatch::try_new(self.schema.clone(), columns).map_err(failed)
    }
}

impl Iterator for RowSource {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().map(|it| it.map_err(|problem| self.reason.leave(problem).into()))
    }
}

/// The columns of a batch of a table version, without the id, in the order of `columns`.
pub(super) fn of_version(batch: &RecordBatch, fields: &[Field]) -> Vec<ArrayRef> {
    fields.iter().filter_map(|it| batch.column_by_name(it.name()).cloned()).collect()
}

/// The schema of the items table that these columns make.
pub(super) fn schema_of(opened: &Opened, target: Option<&str>) -> SchemaRef {
    columns::schema(&opened.columns, target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_rows_than_fit_are_refused_with_a_way_out() {
        check_rows(ROWS_MAX).expect("so many are fine");
        let problem = check_rows(ROWS_MAX + 1).expect_err("one too many");
        assert!(problem.text.contains("5000001 rows") && problem.hint.is_some_and(|it| it.contains("append")));
    }
}
