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
    /// What is worth telling about the imported file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
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
    /// The bytes are not what other programs take for a file of that format: compressed, or in another encoding than
    /// UTF-8.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_packed: bool,
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
    /// What the import that made the version did to it; absent in versions made before there were reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<ColumnImport>,
}

/// What an import did to a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnImport {
    /// Why it has its type.
    pub why: Why,
    /// The value that decided, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
    /// The line of that value, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Words such as `NA` that were read as "no value".
    #[serde(default)]
    pub null_words: u64,
    /// Values that an export writes in other words: `+5` as `5`.
    #[serde(default)]
    pub respelt: u64,
    /// Values that are not what the file says, because somebody asked for a type that cannot hold them.
    #[serde(default)]
    pub changed: u64,
    /// The name in the file, where the version has another because two columns had one name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
}

impl ColumnImport {
    /// A column that is kept as it came.
    pub fn new(why: Why) -> Self {
        Self { why, example: None, line: None, null_words: 0, respelt: 0, changed: 0, renamed_from: None }
    }
}

/// Why a column has its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// All its values are of this type.
    Values,
    /// Somebody asked for it.
    Asked,
    /// The dataset has it so, and the import added to it.
    Base,
    /// The file says so.
    Source,
    /// It has no values.
    Empty,
    /// A value is a word.
    Words,
    /// A number has leading zeros, as codes have.
    LeadingZeros,
    /// A whole number has more digits than 64 bits keep, as identifiers have.
    LongNumbers,
    /// A number or time has more digits than the usual type keeps.
    Digits,
    /// The numbers can be read in two ways.
    UnsureNumbers,
    /// The numbers can be read in two ways, and the other columns of the file say in which.
    OtherColumns,
    /// A full stop is taken for the decimal sign; it could stand between thousands.
    DecimalStop,
    /// Values are percentages, all or some.
    Percents,
    /// Every number has a plus sign, as telephone numbers have.
    Pluses,
    /// Day and month can change places.
    UnsureDates,
    /// Some values are dates, others have a time of day.
    DatesAndTimes,
    /// The times are told with different zones.
    Zones,
    /// The times reach beyond the years that nanoseconds can tell, and are kept in microseconds.
    WideTimes,
}

impl Why {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Values => "values",
            Self::Asked => "asked",
            Self::Base => "base",
            Self::Source => "source",
            Self::Empty => "empty",
            Self::Words => "words",
            Self::LeadingZeros => "leading_zeros",
            Self::LongNumbers => "long_numbers",
            Self::Digits => "digits",
            Self::UnsureNumbers => "unsure_numbers",
            Self::OtherColumns => "other_columns",
            Self::DecimalStop => "decimal_stop",
            Self::Percents => "percents",
            Self::Pluses => "pluses",
            Self::UnsureDates => "unsure_dates",
            Self::DatesAndTimes => "dates_and_times",
            Self::Zones => "zones",
            Self::WideTimes => "wide_times",
        }
    }
}

/// Something worth telling about an imported file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What it is about.
    pub kind: NoteKind,
    /// Which: the separator, the encoding, a count.
    pub detail: String,
}

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// The file is compressed.
    Compressed,
    /// The file is not written in UTF-8.
    Encoding,
    /// Lines before the header were left out, as asked.
    SkippedLines,
    /// The first line tells the separator, and is no part of the table.
    SeparatorLine,
    /// The separator is no comma.
    Delimiter,
    /// The rows came in several files.
    Parts,
    /// These columns stood in the names of the folders.
    Partitions,
    /// Lines before the header were taken for a title, and left out.
    TitleLines,
    /// The file has no header, as was said: its columns are named by their place.
    NoHeader,
}

impl NoteKind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compressed => "compressed",
            Self::Encoding => "encoding",
            Self::SkippedLines => "skipped_lines",
            Self::SeparatorLine => "separator_line",
            Self::Delimiter => "delimiter",
            Self::Parts => "parts",
            Self::Partitions => "partitions",
            Self::TitleLines => "title_lines",
            Self::NoHeader => "no_header",
        }
    }
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
