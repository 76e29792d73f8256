//! What the caller asks for when reading, and what comes back.

use super::TableFormat;
use crate::blobs::BlobHash;
use bytes::Bytes;
use futures::stream::BoxStream;
use kaogong_domain::{Problem, datasets::Split, ids::ItemId};
use serde::{Deserialize, Serialize};

/// Which rows of a version, and where the page begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrowseQuery {
    /// Only this class (for tables: this value of the target, as text). The empty text means "no label".
    pub label: Option<String>,
    /// Only this split.
    pub split: Option<Split>,
    /// Only items whose name holds this text, letters of any case (for tables: any text column).
    pub text: Option<String>,
    /// Matching rows to pass over.
    pub offset: u64,
    /// Rows wanted, 1 to [`BrowseQuery::LIMIT_MAX`].
    pub limit: u32,
}

impl BrowseQuery {
    /// The most rows on a page.
    pub const LIMIT_MAX: u32 = 500;
}

/// One page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// All rows that match, on whatever page.
    pub total: u64,
    /// The rows of this page.
    pub rows: Rows,
}

/// Rows of one kind of dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rows {
    /// Of pictures.
    Images(Vec<ImageRow>),
    /// Of a table.
    Table(Vec<TableRow>),
}

impl Rows {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::Images(rows) => rows.len(),
            Self::Table(rows) => rows.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One row of either kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowRead {
    /// A picture.
    Image(ImageRow),
    /// A row of a table.
    Table(TableRow),
}

/// What a grid shows of one picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRow {
    /// Its id, the same in all versions.
    pub item: ItemId,
    /// The name as text: NFC, bytes that are no UTF-8 replaced.
    pub name: String,
    /// The class.
    pub label: Option<String>,
    /// The split.
    pub split: Option<Split>,
    /// The file format: `png`, `jpeg`, …
    pub format: String,
    /// Displayed width in pixels, orientation applied.
    pub width: u32,
    /// Displayed height in pixels, orientation applied.
    pub height: u32,
    /// EXIF orientation, 1 to 8; 1 is upright.
    pub orientation: u8,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub content_hash: BlobHash,
}

/// One row of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableRow {
    /// Its id, the same in all versions.
    pub item: ItemId,
    /// Its place in the version, from 0.
    pub row: u64,
    /// The target's value as text, when the dataset has a target.
    pub label: Option<String>,
    /// The split.
    pub split: Option<Split>,
    /// The values in the order of [`super::VersionSummary::columns`]. Whole numbers beyond 2^53 are texts,
    /// as are numbers that JSON cannot write (`NaN`, `inf`), times (ISO 8601) and bytes (hexadecimal). A text longer
    /// than [`TableRow::CELL_CHARS_MAX`] is cut there and ends in `…`.
    pub values: Vec<serde_json::Value>,
}

impl TableRow {
    /// The longest text of a value, in characters; the whole value is in an export.
    pub const CELL_CHARS_MAX: usize = 2000;
}

/// How many items each class has in each split.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Classes, most items first, then by name; at most [`Histogram::CLASSES_MAX`].
    pub rows: Vec<HistogramRow>,
    /// Distinct classes, also those not listed.
    pub classes_total: u64,
}

impl Histogram {
    /// The most classes listed.
    pub const CLASSES_MAX: usize = 10_000;
}

/// One class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistogramRow {
    /// The class; `None` for items without one.
    pub label: Option<String>,
    /// Items in the training split.
    pub train: u64,
    /// Items in the validation split.
    pub validation: u64,
    /// Items in the test split.
    pub test: u64,
    /// Items in no split.
    pub none: u64,
}

impl HistogramRow {
    /// Items of the class in all.
    pub fn total(&self) -> u64 {
        self.train + self.validation + self.test + self.none
    }
}

/// Which items to stream, and how many at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamQuery {
    /// Only this split.
    pub split: Option<Split>,
    /// Only this class.
    pub label: Option<String>,
    /// Items per batch at most, 1 to 4096. Batches of large files are shorter, to keep memory low.
    pub batch: u32,
    /// Whether the bytes are wanted.
    pub content: ColumnNeed,
}

impl Default for StreamQuery {
    fn default() -> Self {
        Self { split: None, label: None, batch: 256, content: ColumnNeed::Wanted }
    }
}

/// Whether a costly column is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnNeed {
    /// Read it.
    Wanted,
    /// Leave it empty.
    Omitted,
}

/// One picture with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemContent {
    /// The facts.
    pub row: ImageRow,
    /// The name as found, byte for byte.
    pub source_name: Vec<u8>,
    /// The file; empty when the query omitted it.
    pub bytes: Bytes,
}

/// Batches of items.
pub type ItemStream = BoxStream<'static, Result<Vec<ItemContent>, Problem>>;

/// Pieces of a file.
pub type ByteStream = BoxStream<'static, Result<Bytes, Problem>>;

/// How to write a table out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportQuery {
    /// The file format.
    pub format: TableFormat,
    /// Only this split.
    pub split: Option<Split>,
}
