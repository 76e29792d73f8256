//! Datasets, versions and items on the wire.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// A dataset with its newest version.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DatasetView {
    /// `ds_…`
    pub id: String,
    /// Its name in the project, for addresses and commands.
    pub name: String,
    /// What people call it: any text. Addresses and commands take it, too.
    #[serde(default)]
    pub title: String,
    /// `images` or `table`
    pub kind: String,
    /// What it is.
    pub description: String,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Who made it.
    pub created_by: Option<String>,
    /// The newest version; absent before the first import.
    pub latest: Option<VersionView>,
    /// How many versions there are.
    pub versions: u32,
}

/// One immutable version.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct VersionView {
    /// `dv_…`
    pub id: String,
    /// The dataset's name.
    pub dataset: String,
    /// 1, 2, 3 …
    pub number: u32,
    /// Why it was made.
    pub message: String,
    /// Where the data came from, as the importer said.
    pub source: String,
    /// Items in it.
    pub items: u64,
    /// Bytes of the original files.
    pub bytes: u64,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Who made it.
    pub created_by: Option<String>,
    /// What is in it.
    pub summary: SummaryView,
}

/// What is in a version.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct SummaryView {
    /// `images` or `table`
    pub kind: String,
    /// Items by class, then by split: `{"7": {"train": 143, "test": 36}}`.
    pub classes: BTreeMap<String, BTreeMap<String, u64>>,
    /// Items by split.
    pub splits: BTreeMap<String, u64>,
    /// Seed of the split, when it was drawn.
    pub split_seed: Option<u64>,
    /// Columns, for tables.
    pub columns: Vec<ColumnView>,
    /// The column that holds the class, for tables that name one.
    pub target: Option<String>,
    /// Smallest and largest picture, for images.
    pub pixels: Option<PixelRange>,
    /// What the pixels of the images that this import added hold (`3 × uint8`), with how many.
    #[serde(default)]
    pub samples: BTreeMap<String, u64>,
    /// Which folders this import took the classes from, for images.
    #[serde(default)]
    pub folders: Option<FoldersView>,
    /// Files that were left out, and why; the first hundred.
    pub skipped: Vec<SkippedView>,
    /// How many files were left out.
    pub skipped_total: u64,
    /// What is worth telling about the file, for tables.
    #[serde(default)]
    pub notes: Vec<ImportNoteView>,
}

/// How the folders of an import were read.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FoldersView {
    /// The levels of folders around the images, from the outside, without wrappers and splits.
    pub levels: Vec<FolderLevelView>,
    /// The level that is the class; `null` without classes.
    pub class_level: Option<u32>,
    /// Whether another level could be the class as well, and nobody said which.
    pub is_unsure: bool,
    /// Both in words; empty when there is nothing to choose.
    pub note: String,
}

/// One level of folders.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FolderLevelView {
    /// 1 is the outermost.
    pub level: u32,
    /// Different names.
    pub names: u64,
    /// The first of them.
    pub examples: Vec<String>,
}

/// The smallest and largest picture, in displayed orientation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PixelRange {
    /// Pixels.
    pub width_min: u32,
    /// Pixels.
    pub width_max: u32,
    /// Pixels.
    pub height_min: u32,
    /// Pixels.
    pub height_max: u32,
}

/// A file that was left out.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SkippedView {
    /// Its name in the source.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// A column of a table.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ColumnView {
    /// Its name.
    pub name: String,
    /// `integer number text boolean date timestamp`
    pub kind: String,
    /// Rows without a value.
    pub nulls: u64,
    /// Different values, counted exactly up to 1000; `null` when there are more.
    pub distinct: Option<u64>,
    /// Smallest number.
    pub min: Option<f64>,
    /// Largest number.
    pub max: Option<f64>,
    /// Mean of the numbers.
    pub mean: Option<f64>,
    /// The exact type in the table: `Int64`, `Utf8`, `Timestamp(µs, "UTC")`, …
    #[serde(default)]
    pub data_type: String,
    /// What the import did to it; absent in versions older than these reports.
    #[serde(default)]
    pub import: Option<ColumnImportView>,
}

/// What an import did to a column.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ColumnImportView {
    /// Why it has its type: `values asked base source empty words leading_zeros long_numbers digits unsure_numbers
    /// other_columns decimal_stop percents pluses unsure_dates dates_and_times zones wide_times`
    pub why: String,
    /// The value that decided, where one did.
    pub example: Option<String>,
    /// The line of that value in the file, from 1.
    pub line: Option<u64>,
    /// Words such as `NA` that were read as "no value".
    pub null_words: u64,
    /// Values that an export writes in other words: `+5` as `5`.
    pub respelt: u64,
    /// Values that are not what the file says, because a type was asked for that cannot hold them.
    pub changed: u64,
    /// The name in the file, when two columns had one name.
    pub renamed_from: Option<String>,
}

/// Something worth telling about an imported file.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ImportNoteView {
    /// `compressed encoding skipped_lines separator_line delimiter parts partitions title_lines
    /// no_header`
    pub kind: String,
    /// Which: the encoding, the separator, how many.
    pub detail: String,
}

/// Which items are wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ItemQuery {
    /// Only this class.
    pub label: Option<String>,
    /// Only this split: `train validation test`.
    pub split: Option<String>,
    /// Only names that contain this text.
    pub text: Option<String>,
    /// Rows to skip.
    #[serde(default)]
    pub offset: u64,
    /// Rows wanted, at most 500; 100 when absent.
    pub limit: Option<u32>,
}

/// One item, without its bytes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ItemView {
    /// `it_…`
    pub id: String,
    /// Its name in the source.
    pub name: String,
    /// Its class.
    pub label: Option<String>,
    /// `train validation test`
    pub split: Option<String>,
    /// Bytes of the original.
    pub bytes: u64,
    /// Media type of the original, for images.
    pub media_type: Option<String>,
    /// Pixels, displayed.
    pub width: Option<u32>,
    /// Pixels, displayed.
    pub height: Option<u32>,
    /// BLAKE3 of the original, hex.
    pub content_hash: Option<String>,
    /// The row's values, for tables.
    #[schema(value_type = Option<Object>)]
    pub values: Option<serde_json::Map<String, serde_json::Value>>,
}

/// How to import; the body of the call is the data itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// What the body is: `images` (a tar stream of a folder), `csv`, `jsonl`, or `parquet` (a file, or a tar stream of
    /// a folder of parts).
    pub format: String,
    /// Seed of the train/test split; 0 when absent.
    pub seed: Option<u64>,
    /// Share held out for testing, in percent; 20 when absent. Folders named train/test win.
    pub test_percent: Option<u8>,
    /// The column that holds the class or the value to predict, for tables.
    pub target: Option<String>,
    /// Which level of folders is the class, for images: 1 is the outermost below wrappers and splits. Found out from
    /// the names when absent, see `folders` of the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_level: Option<u32>,
    /// `replace` (the default: the new version is this import) or `append`.
    pub mode: Option<String>,
    /// Why this version is made.
    pub message: Option<String>,
    /// Where the data came from, for people.
    pub source: Option<String>,
    /// Chosen by the caller; a repeated import with the same key answers with the version already made.
    pub request_key: Option<String>,
    /// The separator of a CSV file, `tab`, or `whitespace` (runs of spaces and tabs); found out from the first lines when
    /// absent.
    pub delimiter: Option<String>,
    /// Whether the first line of a CSV file names the columns; `false` names them `column_1`, `column_2` and so on. When
    /// absent it does, and a first line that looks like a row of values is refused.
    pub header: Option<bool>,
    /// Words that mean "no value" in all columns of a CSV file, as a JSON list: `["-","?"]`.
    pub nulls: Option<String>,
    /// The decimal sign of a CSV file, `.` or `,`; found out from the values when absent.
    pub decimal: Option<String>,
    /// The sign between thousands in a CSV file: `,`, `.`, a space or `'`; found out from the values when absent.
    pub thousands: Option<String>,
    /// Lines before the header of a CSV file that are no part of the table.
    pub skip_lines: Option<u32>,
    /// Lines of a CSV file that begin with this are no part of the table.
    pub comment: Option<String>,
    /// The encoding of a CSV file by its name on the web: `utf-8`, `latin1`, `gb18030`, `utf-16le`, …
    pub encoding: Option<String>,
    /// Which part of a date stands first where the values do not tell: `year`, `day` or `month`.
    pub dates: Option<String>,
    /// Types of columns of a CSV file, as a JSON object: `{"zip": "text"}`. `text boolean integer number date timestamp`
    pub types: Option<String>,
}

/// How to export.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// `images` (a tar stream), `csv`, `parquet`, or `original` (the file as it was imported, for tables).
    pub format: Option<String>,
    /// Only this split.
    pub split: Option<String>,
    /// Adds `manifest.jsonl` (name, label, split of every item) as the first entry of an image tar.
    #[serde(default)]
    pub manifest: bool,
    /// Writes a table anew also where the imported file has the format: CSV is then UTF-8 with commas, whatever the file
    /// was.
    #[serde(default)]
    pub rewrite: bool,
}

/// How large a thumbnail should be.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ThumbnailQuery {
    /// Longest side in pixels, 16 to 512; 128 when absent.
    pub side: Option<u32>,
}
