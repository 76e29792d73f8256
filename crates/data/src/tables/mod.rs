//! What a table engine does: imports into new versions, reads pinned versions, and sweeps what nobody pins.
//!
//! A version is a set of exact table versions, the [`VersionPins`]. The engine writes them first; the caller
//! then commits one row of metadata that holds the pins. A version whose row never came is garbage that
//! [`TableEngine::sweep`] removes. Pinned versions never change.

mod query;
mod version;
mod write;

pub use crate::csv::CsvOptions;
pub use query::{
    BrowseQuery, ByteStream, ColumnNeed, ExportQuery, Histogram, HistogramRow, ImageRow, ItemContent, ItemStream, Page,
    RowRead, Rows, StreamQuery, TableRow,
};
pub use version::{
    ClassCount, Column, ColumnImport, ColumnKind, Committed, ImageFacts, Note, NoteKind, OriginalFile, SplitCount,
    VersionAt, VersionPins, VersionSummary, Warning, Warnings, Why,
};
pub use write::{
    BadFiles, Change, ImageImportPlan, ItemIn, Progress, SplitPlan, SweepPlan, SweepReport, TableFormat,
    TableImportPlan, VerifyReport,
};

use async_trait::async_trait;
use bytes::Bytes;
use kaogong_domain::{Problem, ids::DatasetId, ids::ItemId};

/// Keeps datasets as tables. Object safe; used as `Arc<dyn TableEngine>`.
#[async_trait]
pub trait TableEngine: Send + Sync + 'static {
    /// Begins an import of pictures. Nothing is visible before [`ImageImport::finish`] returns.
    async fn begin_images(&self, plan: ImageImportPlan) -> Result<Box<dyn ImageImport>, Problem>;

    /// Imports one CSV or Parquet file that lies on the local disk. Dropping the future abandons the import.
    ///
    /// # Errors
    /// `Invalid` names the line and column of what cannot be read; `Unavailable` when the disk is full.
    async fn import_table(&self, plan: TableImportPlan) -> Result<Committed, Problem>;

    /// One page of a version, in item order, with the number of all matching rows.
    async fn browse(&self, at: &VersionAt, query: &BrowseQuery) -> Result<Page, Problem>;

    /// One row of a version.
    ///
    /// # Errors
    /// `NotFound` when the version has no such item.
    async fn item(&self, at: &VersionAt, item: ItemId) -> Result<RowRead, Problem>;

    /// The original bytes of one item, exactly as imported; at most 64 MiB. `Invalid` for tables, whose rows have no bytes.
    async fn content(&self, at: &VersionAt, item: ItemId) -> Result<Bytes, Problem>;

    /// How many items each class has in each split.
    async fn histogram(&self, at: &VersionAt) -> Result<Histogram, Problem>;

    /// All items of a version with their bytes, in item order, in batches. `Invalid` for tables.
    async fn stream_items(&self, at: &VersionAt, query: StreamQuery) -> Result<ItemStream, Problem>;

    /// All rows of a table version as one CSV or Parquet file. `Invalid` for pictures.
    ///
    /// This writes the rows anew. When [`VersionSummary::original`] has the wanted format and no split is
    /// asked for, send that blob instead: it is what was imported, bit for bit.
    async fn export_table(&self, at: &VersionAt, query: ExportQuery) -> Result<ByteStream, Problem>;

    /// Reads everything a version holds and compares it with the recorded hashes.
    async fn verify(&self, at: &VersionAt) -> Result<VerifyReport, Problem>;

    /// Removes versions that no row pins. Versions that are pinned, or younger than the plan says, are safe.
    async fn sweep(&self, dataset: DatasetId, plan: SweepPlan) -> Result<SweepReport, Problem>;

    /// Removes a whole dataset with all its versions. Succeeds when it is not there.
    async fn remove(&self, dataset: DatasetId) -> Result<(), Problem>;
}

/// An import of pictures under way. Dropping it without `finish` leaves nothing visible.
#[async_trait]
pub trait ImageImport: Send {
    /// Hands over one file. Waits when the engine is behind (the inbox is bounded).
    ///
    /// A file that cannot be read is treated as [`ImageImportPlan::bad_files`] says, possibly only at a later call.
    async fn push(&mut self, item: ItemIn) -> Result<(), Problem>;

    /// Notes a file that the caller left out, so that the summary lists it.
    fn skip(&mut self, warning: Warning);

    /// Notes many of them.
    fn skip_all(&mut self, warnings: Warnings);

    /// Writes the rest and returns the new version. The caller commits it by storing the pins.
    ///
    /// # Errors
    /// `Invalid` when no file was usable; `Conflict` when the base is not what the tables hold any more.
    async fn finish(self: Box<Self>) -> Result<Committed, Problem>;

    /// Gives up and removes what was written.
    async fn abort(self: Box<Self>);
}
