//! `kaogong datasets`.

use super::import_report;
use crate::{
    context::Context,
    data_in::{DataFormat, LocalData},
    data_out,
    exit::usage,
    output::{progress::Board, words},
};
use clap::Subcommand;
use kaogong_api::{datasets::*, paging::PageQuery};
use kaogong_client::{Client, is_unreachable, tar_in::Limits};
use kaogong_data::csv::AskedType;
use kaogong_domain::{Problem, names::VersionRef};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Verbs of `kaogong datasets`.
#[derive(Debug, Subcommand)]
pub enum DatasetsCommand {
    /// List datasets.
    #[command(after_help = "Examples:\n  kaogong datasets list\n  kaogong datasets list --offset 50")]
    List {
        /// Rows to skip.
        #[arg(long, default_value_t = 0)]
        offset: u64,
        /// Rows wanted.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
    },
    /// Show a version: classes, splits, columns.
    #[command(after_help = "Examples:\n  kaogong datasets show digits\n  kaogong datasets show digits@1 --output json")]
    Show {
        /// NAME, or NAME@NUMBER.
        dataset: VersionRef,
    },
    /// Import a folder of pictures or a table as a new version.
    #[command(
        after_help = "Examples:\n  kaogong datasets import ./digits --name digits\n  kaogong datasets import patients.csv --name patients --target diagnosis --seed 7\n  kaogong datasets import sales.csv --name sales --column zip=text --decimal , --encoding latin1"
    )]
    Import(Box<ImportArgs>),
    /// List the versions of a dataset, newest first.
    #[command(
        after_help = "Examples:\n  kaogong datasets versions digits\n  kaogong datasets versions digits --limit 1"
    )]
    Versions {
        /// Its name.
        name: String,
        /// Rows to skip.
        #[arg(long, default_value_t = 0)]
        offset: u64,
        /// Rows wanted.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
    },
    /// List items of a version.
    #[command(after_help = "Examples:\n  kaogong datasets items digits@1 --label 7 --split test --limit 20")]
    Items(ItemsArgs),
    /// Write a version to a folder or file, bit for bit as imported.
    #[command(
        after_help = "Examples:\n  kaogong datasets export digits@1 ./copy\n  kaogong datasets export patients@2 patients.parquet --format parquet"
    )]
    Export(ExportArgs),
    /// Delete a dataset with all its versions.
    #[command(after_help = "Examples:\n  kaogong datasets delete digits")]
    Delete {
        /// Its name.
        name: String,
    },
}

/// Arguments of `kaogong datasets import`.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// A folder of pictures, or a file: .csv, .tsv, .csv.gz or .parquet.
    pub path: PathBuf,
    /// The dataset; it is made when it is new.
    #[arg(long)]
    pub name: String,
    /// What the path holds; found out from the path when absent.
    #[arg(long, value_enum)]
    pub format: Option<DataFormat>,
    /// Seed of the train/test split.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Share held out for testing, in percent. Folders named train and test win.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(0..=90))]
    pub test_percent: u8,
    /// The column to predict, for tables.
    #[arg(long, value_name = "COLUMN")]
    pub target: Option<String>,
    /// The level of folders that is the class, for pictures: 1 is the outermost below wrappers and splits; found out
    /// from the names when absent.
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub class_level: Option<u32>,
    /// Follow symbolic links that lead into this folder, as those of DVC and Hugging Face caches do.
    #[arg(long, value_name = "ROOT")]
    pub follow_links: Option<PathBuf>,
    /// Whether the version is this import, or the version before and this import.
    #[arg(long, default_value = "replace", value_parser = ["replace", "append"])]
    pub mode: String,
    /// Why this version is made.
    #[arg(long)]
    pub message: Option<String>,
    /// A repeated import with the same key answers with the version already made.
    #[arg(long, value_name = "KEY")]
    pub request_key: Option<String>,
    /// How a CSV file is written.
    #[command(flatten)]
    pub csv: CsvArgs,
}

/// How a CSV file is written, where that cannot be seen from it.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Options for CSV files")]
pub struct CsvArgs {
    /// The separator, `tab`, or `whitespace` (runs of spaces and tabs); found out from the first lines when absent.
    #[arg(long, value_name = "CHARACTER")]
    pub delimiter: Option<String>,
    /// Whether the first line names the columns.
    #[command(flatten)]
    pub header: HeaderArgs,
    /// Words that mean "no value" in every column, when they stand without quotes: `--nulls '?,-'`.
    #[arg(long, value_name = "WORDS", value_delimiter = ',', allow_hyphen_values = true)]
    pub nulls: Vec<String>,
    /// The type of a column: text, boolean, integer, number, date or timestamp. Can be given many times.
    #[arg(long = "column", visible_alias = "types", value_name = "NAME=TYPE", value_parser = column_type)]
    pub columns: Vec<(String, String)>,
    /// The decimal sign: `.` or `,`.
    #[arg(long, value_name = "CHARACTER")]
    pub decimal: Option<String>,
    /// The sign between thousands: `,`, `.`, a space or an apostrophe.
    #[arg(long, value_name = "CHARACTER")]
    pub thousands: Option<String>,
    /// Which part of a date stands first, where the values do not tell.
    #[arg(long, value_parser = ["year", "day", "month"])]
    pub dates: Option<String>,
    /// Lines before the header line that are no part of the table.
    #[arg(long, value_name = "N")]
    pub skip_lines: Option<u32>,
    /// Leave out lines that begin with this.
    #[arg(long, value_name = "CHARACTER")]
    pub comment: Option<String>,
    /// The encoding: utf-8, latin1, gb18030, utf-16le, …
    #[arg(long)]
    pub encoding: Option<String>,
}

/// Whether the first line of a CSV file names the columns. Without either it does, unless it looks like a row of values.
#[derive(Debug, Default, clap::Args)]
pub struct HeaderArgs {
    /// The first line is a row: columns are named column_1, column_2 and so on.
    #[arg(long, conflicts_with = "header")]
    pub no_header: bool,
    /// The first line names the columns, although it looks like a row.
    #[arg(long)]
    pub header: bool,
}

impl HeaderArgs {
    /// The word for a query.
    pub fn asked(&self) -> Option<bool> {
        (self.header || self.no_header).then_some(self.header)
    }
}

/// `NAME=TYPE`; a name may hold `=` itself.
fn column_type(text: &str) -> Result<(String, String), String> {
    let (name, kind) = text.rsplit_once('=').ok_or("write NAME=TYPE, for example zip=text")?;
    kind.parse::<AskedType>().map_err(|it| format!("{}: {}", it.text, it.hint.unwrap_or_default()))?;
    Ok((name.to_owned(), kind.to_owned()))
}

impl CsvArgs {
    /// Adds the options to a query.
    fn put_into(self, query: &mut ImportQuery) {
        let json = |it: serde_json::Value| Some(it.to_string());
        query.nulls = if self.nulls.is_empty() { None } else { json(json!(self.nulls)) };
        let types: std::collections::BTreeMap<_, _> = self.columns.into_iter().collect();
        query.types = if types.is_empty() { None } else { json(json!(types)) };
        query.delimiter = self.delimiter;
        query.header = self.header.asked();
        query.decimal = self.decimal;
        query.thousands = self.thousands;
        query.dates = self.dates;
        query.skip_lines = self.skip_lines;
        query.comment = self.comment;
        query.encoding = self.encoding;
    }
}

/// Arguments of `kaogong datasets items`.
#[derive(Debug, clap::Args)]
pub struct ItemsArgs {
    /// NAME, or NAME@NUMBER.
    pub dataset: VersionRef,
    /// Only this class.
    #[arg(long)]
    pub label: Option<String>,
    /// Only this split: train, validation, test.
    #[arg(long)]
    pub split: Option<String>,
    /// Only names that contain this text.
    #[arg(long)]
    pub text: Option<String>,
    /// Rows to skip.
    #[arg(long, default_value_t = 0)]
    pub offset: u64,
    /// Rows wanted.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
}

/// Arguments of `kaogong datasets export`.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// NAME@NUMBER, or NAME for the newest.
    pub dataset: VersionRef,
    /// A new folder for pictures; a file for tables, or - for standard output.
    pub path: PathBuf,
    /// images, csv, parquet, or original (the file as it was imported); by kind when absent.
    #[arg(long, value_parser = ["images", "csv", "parquet", "original"])]
    pub format: Option<String>,
    /// Only this split: train, validation, test.
    #[arg(long)]
    pub split: Option<String>,
    /// Add manifest.jsonl with name, class and split of every picture.
    #[arg(long)]
    pub manifest: bool,
}

/// Carries a verb out.
pub async fn run(context: &Context, command: DatasetsCommand) -> Result<(), Problem> {
    let out = &context.out;
    match command {
        DatasetsCommand::List { offset, limit } => {
            let page = context.client()?.datasets(&PageQuery { offset, limit: Some(limit) }).await?;
            out.page(&page, &["NAME", "KIND", "VERSION", "ITEMS", "BYTES", "CLASSES", "CREATED"], |it| {
                let latest = it.latest.as_ref();
                let number = |value: Option<String>| value.unwrap_or_else(|| "-".into());
                vec![
                    if it.title == it.name { it.name.clone() } else { format!("{} ({})", it.title, it.name) },
                    it.kind.clone(),
                    number(latest.map(|it| it.number.to_string())),
                    number(latest.map(|it| it.items.to_string())),
                    number(latest.map(|it| words::bytes(it.bytes))),
                    number(latest.map(|it| it.summary.classes.len().to_string())),
                    words::time(it.created_at),
                ]
            })
        }
        DatasetsCommand::Show { dataset } => {
            let version = context.client()?.version(dataset.name.as_str(), dataset.version).await?;
            show(context, &version)
        }
        DatasetsCommand::Versions { name, offset, limit } => {
            let page = context.client()?.versions(&name, &PageQuery { offset, limit: Some(limit) }).await?;
            out.page(&page, &["VERSION", "ITEMS", "BYTES", "SPLITS", "CREATED", "BY", "MESSAGE"], |it| {
                vec![
                    it.number.to_string(),
                    it.items.to_string(),
                    words::bytes(it.bytes),
                    splits(&it.summary),
                    words::time(it.created_at),
                    words::or_dash(it.created_by.as_deref()),
                    it.message.clone(),
                ]
            })
        }
        DatasetsCommand::Import(args) => {
            let version = import(context, *args).await?;
            warn_of_folders(context, &version);
            show(context, &version)
        }
        DatasetsCommand::Items(args) => items(context, args).await,
        DatasetsCommand::Export(args) => export(context, args).await,
        DatasetsCommand::Delete { name } => {
            context.client()?.delete_dataset(&name).await?;
            out.done(&json!({ "deleted": name }), &format!("deleted dataset {name}"))
        }
    }
}

fn splits(summary: &SummaryView) -> String {
    summary.splits.iter().map(|(name, items)| format!("{name} {items}")).collect::<Vec<_>>().join(", ")
}

fn show(context: &Context, it: &VersionView) -> Result<(), Problem> {
    let summary = &it.summary;
    let count = |of: &std::collections::BTreeMap<String, u64>| {
        of.iter().map(|(split, items)| format!("{split} {items}")).collect::<Vec<_>>().join(", ")
    };
    let mut classes: Vec<String> =
        summary.classes.iter().take(30).map(|(name, of)| format!("{name}: {}", count(of))).collect();
    if summary.classes.len() > 30 {
        classes.push(format!("… {} classes in all", summary.classes.len()));
    }
    let pixels = summary
        .pixels
        .as_ref()
        .map(|it| format!("{}×{} to {}×{}", it.width_min, it.height_min, it.width_max, it.height_max));
    let mut skipped: Vec<String> =
        summary.skipped.iter().take(10).map(|it| format!("{}: {}", it.name, it.reason)).collect();
    if summary.skipped_total > 0 {
        skipped.insert(0, format!("left out: {}", words::files(summary.skipped_total)));
    }
    context.out.thing(
        it,
        &[
            ("dataset", format!("{}@{}", it.dataset, it.number)),
            ("kind", summary.kind.clone()),
            ("items", it.items.to_string()),
            ("bytes", words::bytes(it.bytes)),
            ("splits", splits(summary)),
            ("seed", summary.split_seed.map(|it| it.to_string()).unwrap_or_default()),
            ("classes", classes.join("\n")),
            ("folders", summary.folders.as_ref().map(|it| it.note.clone()).unwrap_or_default()),
            ("pixels", pixels.unwrap_or_default()),
            ("samples", counts(&summary.samples)),
            ("target", summary.target.clone().unwrap_or_default()),
            ("file", import_report::notes(&summary.notes)),
            ("columns", import_report::columns(&summary.columns)),
            ("source", it.source.clone()),
            ("message", it.message.clone()),
            ("created", words::time(it.created_at)),
            ("by", it.created_by.clone().unwrap_or_default()),
            ("skipped", skipped.join("\n")),
        ],
    )
}

fn counts(of: &std::collections::BTreeMap<String, u64>) -> String {
    of.iter().map(|(name, items)| format!("{name}: {items}")).collect::<Vec<_>>().join(", ")
}

/// Says that the folders could be read in another way.
fn warn_of_folders(context: &Context, version: &VersionView) {
    if let Some(folders) = version.summary.folders.as_ref().filter(|it| it.is_unsure) {
        context.out.note(&format!("warning: {}", folders.note));
    }
}

async fn import(context: &Context, args: ImportArgs) -> Result<VersionView, Problem> {
    let data = LocalData::find(&args.path, args.format, args.follow_links.as_deref())?;
    let source = std::path::absolute(&args.path).unwrap_or_else(|_| args.path.clone());
    let mut query = ImportQuery {
        format: data.format.as_str().into(),
        seed: Some(args.seed),
        test_percent: Some(args.test_percent),
        target: args.target,
        class_level: args.class_level,
        mode: Some(args.mode),
        message: args.message,
        source: Some(source.display().to_string()),
        request_key: Some(args.request_key.map_or_else(super::new_key, Ok)?),
        ..ImportQuery::default()
    };
    args.csv.put_into(&mut query);
    send(&context.client()?, &Board::new(), &args.name, &data, &query).await
}

/// Sends local data as a new version, with progress.
pub async fn send(
    client: &Client,
    board: &Board,
    name: &str,
    data: &LocalData,
    query: &ImportQuery,
) -> Result<VersionView, Problem> {
    let label = format!("importing {name} ({})", words::files(data.files));
    let progress = board.bytes(&label, data.bytes);
    let sent = Arc::new(AtomicU64::new(0));
    let call = client.import(name, query, data.body(&sent));
    tokio::pin!(call);
    let version = loop {
        tokio::select! {
            result = &mut call => break result?,
            () = tokio::time::sleep(Duration::from_millis(100)) => progress.set(sent.load(Ordering::Relaxed)),
        }
    };
    progress.finish(&format!("{} items, version {}", version.items, version.number));
    Ok(version)
}

async fn items(context: &Context, args: ItemsArgs) -> Result<(), Problem> {
    let client = context.client()?;
    let name = args.dataset.name.as_str();
    let number = number(&client, &args.dataset).await?;
    let query = ItemQuery {
        label: args.label,
        split: args.split,
        text: args.text,
        offset: args.offset,
        limit: Some(args.limit),
    };
    let page = client.items(name, number, &query).await?;
    context.out.page(&page, &["NAME", "CLASS", "SPLIT", "BYTES", "SIZE", "ID"], |it| {
        let size = it.width.zip(it.height).map(|(width, height)| format!("{width}×{height}"));
        vec![
            it.name.clone(),
            words::or_dash(it.label.as_deref()),
            words::or_dash(it.split.as_deref()),
            it.bytes.to_string(),
            words::or_dash(size.as_deref()),
            it.id.clone(),
        ]
    })
}

/// The number that a reference means.
pub async fn number(client: &Client, dataset: &VersionRef) -> Result<u32, Problem> {
    match dataset.version {
        Some(number) => Ok(number),
        None => Ok(client.version(dataset.name.as_str(), None).await?.number),
    }
}

async fn export(context: &Context, args: ExportArgs) -> Result<(), Problem> {
    let client = context.client()?;
    let version = client.version(args.dataset.name.as_str(), args.dataset.version).await?;
    let is_images = version.summary.kind == "images";
    let wanted =
        args.format.clone().or_else(|| is_images.then(|| "images".to_owned())).or_else(|| format_of(&args.path));
    if is_images != (wanted.as_deref() == Some("images")) {
        let kind = if is_images { "pictures" } else { "a table" };
        return Err(usage(format!(
            "{}@{} holds {kind}; it cannot be exported in this format",
            version.dataset, version.number
        ))
        .hint(if is_images { "use --format images" } else { "use --format csv, parquet or original" }));
    }
    let query =
        ExportQuery { format: wanted, split: args.split.clone(), manifest: args.manifest, ..ExportQuery::default() };
    let mut tries_left = 3;
    let value = loop {
        match export_once(context, &client, &version, &args.path, &query).await {
            // A server that stopped in the middle: begin again, from the same pinned version.
            Err(problem) if is_unreachable(&problem) && tries_left > 0 && args.path != Path::new("-") => {
                tries_left -= 1
            }
            other => break other?,
        }
    };
    context.out.done(&value, &format!("exported {}@{} to {}", version.dataset, version.number, args.path.display()))
}

fn format_of(path: &Path) -> Option<String> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    matches!(ending.as_str(), "csv" | "parquet").then_some(ending)
}

async fn export_once(
    context: &Context,
    client: &Client,
    version: &VersionView,
    path: &Path,
    query: &ExportQuery,
) -> Result<serde_json::Value, Problem> {
    let is_images = version.summary.kind == "images";
    if is_images {
        data_out::check_new_folder(path)?;
    }
    let answer = client.export(&version.dataset, version.number, query).await?;
    let progress = Board::new().bytes(&format!("exporting {}@{}", version.dataset, version.number), version.bytes);
    let on_bytes = |bytes| progress.set(bytes);
    let (files, bytes) = if is_images {
        // The server said how much there is; the manifest adds one file.
        let extra = if query.manifest { 1 << 30 } else { 0 };
        let limits = Limits { entries: version.items + 1, bytes: version.bytes + extra };
        let unpacked = data_out::unpack(answer, path, limits, on_bytes).await?;
        (unpacked.files, unpacked.bytes)
    } else {
        (1, data_out::save(answer, path, &context.out, on_bytes).await?)
    };
    progress.finish(&format!("{}, {}", words::files(files), words::bytes(bytes)));
    Ok(json!({ "dataset": version.dataset, "version": version.number, "path": path, "files": files, "bytes": bytes }))
}
