//! What a version is: its pins, and the facts about it that were found while importing.

use super::TableFormat;
use crate::{blobs::BlobHash, folder::FolderReport};
use kaogong_domain::{
    datasets::{DatasetKind, Split},
    ids::DatasetId,
};
use serde::{Deserialize, Serialize};

/// The exact table versions that make up one dataset version. Kept as JSON beside the version's row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VersionPins {
    /// The version of the items table.
    pub items_version: u64,
    /// The version of the label layer; `None` when the dataset has none (tables keep the target as a column).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels_version: Option<u64>,
    /// The version of the split table; `None` when nothing was split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub splits_version: Option<u64>,
}

/// Names one version of one dataset for reading.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VersionAt {
    /// Whose tables.
    pub dataset: DatasetId,
    /// Which versions of them.
    pub pins: VersionPins,
}

/// What an import made: store both in one metadata row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Committed {
    /// How to find it again.
    pub pins: VersionPins,
    /// What it holds.
    pub summary: VersionSummary,
}

/// The facts about one version, for the page that shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionSummary {
    /// Pictures or rows.
    pub kind: DatasetKind,
    /// How many items the whole version holds.
    pub items: u64,
    /// How many of them this import added; equal to `items` after a replacing import.
    pub items_added: u64,
    /// Bytes of original content of the whole version. For tables: the size of the imported file.
    pub bytes: u64,
    /// Media facts over the whole version; `None` for tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<ImageFacts>,
    /// Items per class over the whole version, most first. Empty without labels. At most 10,000 classes are listed.
    pub classes: Vec<ClassCount>,
    /// How many distinct classes there are, also those not listed.
    pub classes_total: u64,
    /// Items per split, over the whole version; items in no split are not counted.
    pub splits: Vec<SplitCount>,
    /// The columns of a table; empty for pictures.
    pub columns: Vec<Column>,
    /// The column to predict, as the file names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The file a table version was made of, when it was made of one file only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<OriginalFile>,
    /// Which folders this import took the classes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folders: Option<FolderReport>,
    /// What this import left out and why.
    pub warnings: Warnings,
}

/// The file a table was imported from; the bytes lie in the blob store under `hash`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginalFile {
    /// BLAKE3 of the bytes.
    pub hash: BlobHash,
    /// Size in bytes.
    pub size: u64,
    /// CSV or Parquet.
    pub format: TableFormat,
}

/// Bounds over the pictures of a version, in displayed pixels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// Narrowest.
    pub width_min: u32,
    /// Widest.
    pub width_max: u32,
    /// Lowest.
    pub height_min: u32,
    /// Tallest.
    pub height_max: u32,
    /// Pictures per file format, most first.
    pub formats: Vec<ClassCount>,
    /// Pictures that carry an orientation other than upright.
    pub rotated: u64,
    /// Pictures that this import added, by what their pixels hold (`3 × uint8`), most first.
    #[serde(default)]
    pub samples: Vec<ClassCount>,
}

/// How many items bear a word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCount {
    /// The class, or the format.
    pub label: String,
    /// Items.
    pub count: u64,
}

/// How many items a split holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitCount {
    /// Which.
    pub split: Split,
    /// Items.
    pub count: u64,
}

/// One column of a table and what is in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// The name, as the file has it.
    pub name: String,
    /// The name in the table, when the file's cannot be one (it holds a full stop, or is empty).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_name: Option<String>,
    /// What kind of values.
    pub kind: ColumnKind,
    /// The exact type in the table, in Arrow's spelling (`Int64`, `Utf8`, …).
    pub data_type: String,
    /// Rows without a value.
    pub nulls: u64,
    /// How many distinct values; `None` when there are more than were counted (100,000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<u64>,
    /// The least value: a number for numbers, text for text (cut at 200 characters) and times.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub min: serde_json::Value,
    /// The greatest value, likewise.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub max: serde_json::Value,
    /// The mean of a number column over its values; `None` elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
}

impl Column {
    /// A name that no other column of the version has: the file's, or the table's where the file has none.
    pub fn shown_name(&self) -> &str {
        match &self.stored_name {
            Some(stored) if self.name.trim().is_empty() => stored,
            _ => &self.name,
        }
    }
}

/// Families of column types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnKind {
    /// True or false.
    Boolean,
    /// Whole numbers.
    Integer,
    /// Numbers with a fraction.
    Float,
    /// Text.
    Text,
    /// Dates and moments.
    Time,
    /// Bytes.
    Binary,
    /// Lists, structs and what else Parquet has.
    Other,
}

/// What an import left out: everything is counted, the first ones are told apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warnings {
    /// How many in all.
    pub total: u64,
    /// The first [`Warnings::LISTED_MAX`] of them.
    pub listed: Vec<Warning>,
}

impl Warnings {
    /// How many are listed one by one; the rest is only counted.
    pub const LISTED_MAX: usize = 1000;

    /// Adds one.
    pub fn add(&mut self, warning: Warning) {
        self.total += 1;
        if self.listed.len() < Self::LISTED_MAX {
            self.listed.push(warning);
        }
    }

    /// Adds what another part of the import left out.
    pub fn extend(&mut self, more: Self) {
        self.total += more.total;
        let room = Self::LISTED_MAX.saturating_sub(self.listed.len());
        self.listed.extend(more.listed.into_iter().take(room));
    }
}

/// One file that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The name as found, bytes that are no UTF-8 replaced.
    pub source_name: String,
    /// Why: lower case, no full stop.
    pub reason: String,
}
