//! What the caller asks for when writing: import plans, splits, sweeping.

use super::{OriginalFile, VersionPins};
use crate::{csv::CsvOptions, folder::FolderReport};
use bytes::Bytes;
use kaogong_domain::{Timestamp, datasets::Split, ids::DatasetId};
use serde::{Deserialize, Serialize};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How a new version comes from the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The new version holds what is imported, nothing else. Also for the first import.
    Replace,
    /// The new version holds what the base holds, and what is imported.
    Append {
        /// The version to add to.
        base: VersionPins,
    },
}

/// How to divide items that were not given a split. The percentages must add up to 100.
///
/// See [`crate::split`] for the rule: stratified by class, the same on every machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitPlan {
    /// Another seed, another division.
    pub seed: u64,
    /// Share of the training split, in percent.
    pub train_percent: u8,
    /// Share of the validation split, in percent.
    #[serde(default)]
    pub validation_percent: u8,
    /// Share of the test split, in percent.
    pub test_percent: u8,
}

/// What to do with a file that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BadFiles {
    /// Leave it out and list it in the summary.
    #[default]
    Skip,
    /// Refuse the whole import.
    Refuse,
}

/// An import of pictures.
#[derive(Debug, Clone)]
pub struct ImageImportPlan {
    /// Into which dataset.
    pub dataset: DatasetId,
    /// Replace or append.
    pub change: Change,
    /// How to split; `None` leaves items unsplit unless they are given one.
    pub split: Option<SplitPlan>,
    /// What to do with bad files.
    pub bad_files: BadFiles,
    /// Which folders the classes come from; goes into the summary.
    pub folders: FolderReport,
    /// Who imports, for the label layer: a user id or a service name.
    pub author: String,
    /// The moment of the import; ids are made from it.
    pub now: Timestamp,
}

/// One file handed to [`super::ImageImport::push`].
#[derive(Debug, Clone)]
pub struct ItemIn {
    /// The name as found (a path inside an archive, bytes of any kind). Never used as a path.
    pub source_name: Vec<u8>,
    /// The class.
    pub label: Option<String>,
    /// The split, where the source says so; it wins over the plan.
    pub split: Option<Split>,
    /// The file.
    pub bytes: Bytes,
}

/// File formats of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableFormat {
    /// Text with separators and a header line.
    Csv,
    /// A JSON object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
}

impl TableFormat {
    /// The word used on the wire; also the file extension.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

/// Counts rows while an import runs; hand in one and read it elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds rows.
    pub fn add(&self, rows: u64) {
        self.0.fetch_add(rows, Ordering::Relaxed);
    }
}

/// An import of one CSV or Parquet file.
#[derive(Debug, Clone)]
pub struct TableImportPlan {
    /// Into which dataset.
    pub dataset: DatasetId,
    /// Replace or append. Appending needs the same columns.
    pub change: Change,
    /// The file on the local disk, spooled by the caller.
    pub path: PathBuf,
    /// The format of the file.
    pub format: TableFormat,
    /// How a CSV file is written; unused for Parquet.
    pub csv: CsvOptions,
    /// The column to predict. With few distinct values, splits are stratified by it.
    pub target: Option<String>,
    /// How to split; `None` leaves rows unsplit.
    pub split: Option<SplitPlan>,
    /// Where the caller keeps the bytes; goes into the summary after a replacing import.
    pub original: Option<OriginalFile>,
    /// The moment of the import; ids are made from it.
    pub now: Timestamp,
    /// Counts rows as they are written.
    pub progress: Progress,
}

/// Which versions a sweep must keep.
#[derive(Debug, Clone)]
pub struct SweepPlan {
    /// All versions that a metadata row pins, also those deleted softly.
    pub live: Vec<VersionPins>,
    /// Versions younger than this stay even when unpinned: their row may be about to come. Zero also removes
    /// at once the files that a killed import left, which otherwise stay for seven days.
    pub min_age: Duration,
}

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepReport {
    /// Table versions removed.
    pub versions_removed: u64,
    /// Bytes given back to the disk.
    pub bytes_removed: u64,
    /// Files of live versions that were there before and after.
    pub files_live: u64,
}

/// What reading a whole version found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Items read.
    pub items: u64,
    /// Bytes of content read.
    pub bytes: u64,
    /// Items whose bytes do not have their recorded hash; the first 1000.
    pub damaged: Vec<String>,
}
