//! Imports: the body is spooled to disk first, so that a broken upload leaves nothing, then read into tables.

use super::{
    datasets::{find_version_number, version_view},
    error::Answer,
    extract::{Params, Query, created},
    spool::{Spooled, spool},
};
use crate::{
    access::{InProject, Route, Rule},
    app::App,
};
use axum::{body::Body, extract::State, response::Response};
use bytes::Bytes;
use kaogong_api::{
    datasets::{ImportQuery, VersionView},
    jobs::UploadView,
};
use kaogong_data::{
    folder::{self, LabelsFrom},
    tables::{
        BadFiles, Change, Committed, CsvOptions, ImageImport, ImageImportPlan, ItemIn, OriginalFile, Progress,
        SplitPlan, TableFormat, TableImportPlan, Warning,
    },
};
use kaogong_domain::{Problem, access::Permission, datasets::DatasetKind, names::Name};
use kaogong_store::{DatasetRow, NewVersion};
use std::{io::Read, sync::Arc};
use tokio::sync::mpsc;

/// The most bytes of one import.
const IMPORT_BYTES_MAX: u64 = 4 << 40;
/// The most files of one import.
const FILES_MAX: usize = 20_000_000;
/// The most bytes of one picture.
const PICTURE_BYTES_MAX: u64 = 64 << 20;
/// The most bytes of one upload.
const UPLOAD_BYTES_MAX: u64 = 16 << 30;
/// Files read ahead of the table engine.
const READ_AHEAD: usize = 256;

/// The routes that take data in.
pub fn routes() -> Vec<Route> {
    let write = Rule::Project(Permission::Write);
    vec![
        Route::post("/api/v1/projects/{project}/datasets/{dataset}/versions", write, import)
            .doc("dataset_import", "Import data as a new version; makes the dataset when it is new.")
            .query::<ImportQuery>()
            .body_bytes("application/octet-stream")
            .answers::<VersionView>()
            .unhurried(),
        Route::post("/api/v1/projects/{project}/uploads", write, upload)
            .doc("upload_create", "Keep a file; it is known by its hash afterwards.")
            .body_bytes("application/octet-stream")
            .answers::<UploadView>()
            .unhurried(),
    ]
}

async fn upload(State(app): State<Arc<App>>, inside: InProject, body: Body) -> Answer<Response> {
    let spooled = spool(&app, body, UPLOAD_BYTES_MAX).await?;
    let (hash, size) = spooled.keep(&app).await?;
    app.store.note_upload(inside.project.id, &hash.to_string(), size, &inside.actor(), app.now()).await?;
    Ok(created(UploadView { hash: hash.to_string(), size }))
}

async fn import(
    State(app): State<Arc<App>>,
    inside: InProject,
    params: Params,
    Query(query): Query<ImportQuery>,
    body: Body,
) -> Answer<Response> {
    let name = params.get::<Name>("dataset").map_err(|it| Problem::invalid(it.text))?;
    let plan = Plan::parse(&query)?;
    if let Some(done) = already_done(&app, &inside, &name, &query).await? {
        return Ok(done);
    }
    let spooled = spool(&app, body, IMPORT_BYTES_MAX).await?;
    let kind = if plan.format == Format::Images { DatasetKind::Images } else { DatasetKind::Table };
    let dataset = app.store.ensure_dataset(inside.project.id, &name, kind, &inside.actor(), app.now()).await?;
    // One import at a time for one dataset: the versions of its tables follow each other.
    let turn = app.import_turn(dataset.id).await;
    if let Some(done) = already_done(&app, &inside, &name, &query).await? {
        return Ok(done);
    }
    let change = change_for(&app, &dataset, &query).await?;
    let committed = match plan.format {
        Format::Images => import_images(&app, &inside, &dataset, &plan, change, spooled).await?,
        Format::Table(format) => import_table(&app, &dataset, &plan, change, format, &query, spooled).await?,
    };
    let version =
        app.store.commit_version(new_version(&dataset, &committed, &plan, &query)?, &inside.actor(), app.now()).await?;
    drop(turn);
    tracing::info!(dataset = %dataset.id, "dataset {} has version {} with {} items", dataset.name, version.number, version.items);
    Ok(created(version_view(&app, &dataset, version).await?))
}

async fn already_done(
    app: &Arc<App>,
    inside: &InProject,
    name: &Name,
    query: &ImportQuery,
) -> Result<Option<Response>, Problem> {
    let Some(key) = &query.request_key else { return Ok(None) };
    let Some(dataset) = app.store.find_dataset(inside.project.id, name).await? else { return Ok(None) };
    let Some(version) = app.store.find_version_by_key(dataset.id, key).await? else { return Ok(None) };
    Ok(Some(created(version_view(app, &dataset, version).await?)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Images,
    Table(TableFormat),
}

struct Plan {
    format: Format,
    split: SplitPlan,
    seed: u64,
}

impl Plan {
    fn parse(query: &ImportQuery) -> Result<Self, Problem> {
        let format = match query.format.as_str() {
            "images" => Format::Images,
            "csv" => Format::Table(TableFormat::Csv),
            "parquet" => Format::Table(TableFormat::Parquet),
            other => {
                let shown: String = other.chars().take(32).collect();
                return Err(
                    Problem::invalid(format!("`{shown}` is not an import format")).hint("images, csv or parquet")
                );
            }
        };
        let test_percent = query.test_percent.unwrap_or(20);
        if test_percent > 90 {
            return Err(Problem::invalid(format!(
                "{test_percent} percent for testing leaves too little to learn from"
            ))
            .hint("0 to 90"));
        }
        if query.request_key.as_ref().is_some_and(|it| it.is_empty() || it.len() > 200) {
            return Err(Problem::invalid("a request key has 1 to 200 bytes"));
        }
        let seed = query.seed.unwrap_or(0);
        let split = SplitPlan { seed, train_percent: 100 - test_percent, validation_percent: 0, test_percent };
        Ok(Self { format, split, seed })
    }
}

async fn change_for(app: &App, dataset: &DatasetRow, query: &ImportQuery) -> Result<Change, Problem> {
    match query.mode.as_deref() {
        None | Some("replace") => Ok(Change::Replace),
        Some("append") if app.store.latest_version(dataset.id).await?.is_none() => Ok(Change::Replace),
        Some("append") => {
            let base = find_version_number(app, dataset, None).await?;
            Ok(Change::Append { base: super::datasets::at(dataset, &base)?.pins })
        }
        Some(other) => {
            let shown: String = other.chars().take(32).collect();
            Err(Problem::invalid(format!("`{shown}` is not a way to import")).hint("replace or append"))
        }
    }
}

fn new_version(
    dataset: &DatasetRow,
    committed: &Committed,
    plan: &Plan,
    query: &ImportQuery,
) -> Result<NewVersion, Problem> {
    let unwritable = |it| Problem::bug("a version's facts cannot be written", it);
    let cut = |it: &Option<String>| it.as_deref().unwrap_or_default().chars().take(2000).collect::<String>();
    Ok(NewVersion {
        dataset_id: dataset.id,
        pins: serde_json::to_string(&committed.pins).map_err(unwritable)?,
        summary: serde_json::to_string(&committed.summary).map_err(unwritable)?,
        message: cut(&query.message),
        source: cut(&query.source),
        items: committed.summary.items,
        bytes: committed.summary.bytes,
        split_seed: Some(plan.seed),
        request_key: query.request_key.clone(),
    })
}

async fn import_table(
    app: &Arc<App>,
    dataset: &DatasetRow,
    plan: &Plan,
    change: Change,
    format: TableFormat,
    query: &ImportQuery,
    spooled: Spooled,
) -> Result<Committed, Problem> {
    let path = spooled.path().to_owned();
    let (hash, size) = spooled.keep_copy(app).await?;
    let committed = app
        .tables
        .import_table(TableImportPlan {
            dataset: dataset.id,
            change,
            path,
            format,
            csv: CsvOptions::default(),
            target: query.target.clone(),
            split: Some(plan.split.clone()),
            original: Some(OriginalFile { hash, size, format }),
            now: app.now(),
            progress: Progress::default(),
        })
        .await?;
    drop(spooled);
    Ok(committed)
}

async fn import_images(
    app: &Arc<App>,
    inside: &InProject,
    dataset: &DatasetRow,
    plan: &Plan,
    change: Change,
    spooled: Spooled,
) -> Result<Committed, Problem> {
    let spooled = Arc::new(spooled);
    let reader = spooled.clone();
    let names = tokio::task::spawn_blocking(move || names_of(&reader))
        .await
        .map_err(|it| Problem::bug("reading an archive did not end", it))??;
    let folder = folder::plan(&names, LabelsFrom::Auto)?;
    if folder.files.is_empty() {
        let why = folder
            .skipped
            .first()
            .map(|it| format!("; the first of {} left out: `{}`: {}", folder.skipped.len(), it.source_name, it.reason));
        return Err(Problem::invalid(format!("the import has no picture{}", why.unwrap_or_default()))
            .hint("import a folder of PNG, JPEG, GIF, BMP, TIFF or WebP files, one folder a class"));
    }
    let mut import = app
        .tables
        .begin_images(ImageImportPlan {
            dataset: dataset.id,
            change,
            split: Some(plan.split.clone()),
            bad_files: BadFiles::Skip,
            author: inside.caller.user.id.to_string(),
            now: app.now(),
        })
        .await?;
    for warning in folder.skipped {
        import.skip(warning);
    }
    let (sender, files) = mpsc::channel(READ_AHEAD);
    let reading = tokio::task::spawn_blocking(move || send_files(&spooled, folder.files, &sender));
    let fed = feed(import.as_mut(), files).await;
    let read = reading.await.map_err(|it| Problem::bug("reading an archive did not end", it));
    match fed.and(read.and_then(|it| it)) {
        Ok(()) => import.finish().await,
        Err(problem) => {
            import.abort().await;
            Err(problem)
        }
    }
}

enum Found {
    File(ItemIn),
    Skipped(Warning),
}

async fn feed(import: &mut dyn ImageImport, mut files: mpsc::Receiver<Vec<Found>>) -> Result<(), Problem> {
    while let Some(batch) = files.recv().await {
        for found in batch {
            match found {
                Found::File(item) => import.push(item).await?,
                Found::Skipped(warning) => import.skip(warning),
            }
        }
    }
    Ok(())
}

fn broken(it: std::io::Error) -> Problem {
    Problem::invalid(format!("the body is not a complete tar archive: {it}"))
        .hint("send what `tar --create` writes, uncompressed")
}

/// The names of all files, in the archive's order. Only headers are read.
fn names_of(spooled: &Spooled) -> Result<Vec<Vec<u8>>, Problem> {
    let mut archive = tar::Archive::new(spooled.reader()?);
    let mut names = vec![];
    for entry in archive.entries_with_seek().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        names.push(name_of(&entry));
        if names.len() > FILES_MAX {
            return Err(Problem::invalid(format!("the import has more than {FILES_MAX} files"))
                .hint("import in parts, with mode=append"));
        }
    }
    Ok(names)
}

/// Folders, links and devices get a name that the plan passes over.
fn name_of<R: Read>(entry: &tar::Entry<'_, R>) -> Vec<u8> {
    let name = entry.path_bytes().into_owned();
    match entry.header().entry_type() {
        tar::EntryType::Regular | tar::EntryType::Continuous => name,
        tar::EntryType::Directory if name.ends_with(b"/") => name,
        _ => [name.as_slice(), b"/"].concat(),
    }
}

/// Second pass: the planned files with their bytes, a batch at a time.
fn send_files(
    spooled: &Spooled,
    planned: Vec<folder::PlannedFile>,
    sender: &mpsc::Sender<Vec<Found>>,
) -> Result<(), Problem> {
    let mut archive = tar::Archive::new(spooled.reader()?);
    let mut planned = planned.into_iter().peekable();
    let mut batch = Vec::new();
    let mut batch_bytes = 0u64;
    for (index, entry) in archive.entries_with_seek().map_err(broken)?.enumerate() {
        let mut entry = entry.map_err(broken)?;
        let Some(plan) = planned.next_if(|it| it.index == index) else { continue };
        let name = name_of(&entry);
        let size = entry.size();
        if size > PICTURE_BYTES_MAX {
            let reason = format!("larger than {} MiB", PICTURE_BYTES_MAX >> 20);
            batch.push(Found::Skipped(Warning { source_name: folder::text_of(&name), reason }));
            continue;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        entry.read_to_end(&mut bytes).map_err(broken)?;
        batch_bytes += size;
        batch.push(Found::File(ItemIn {
            source_name: name,
            label: plan.label,
            split: plan.split,
            bytes: Bytes::from(bytes),
        }));
        if (batch.len() >= 128 || batch_bytes > 4 << 20) && sender.blocking_send(std::mem::take(&mut batch)).is_err() {
            return Ok(());
        }
        if batch.is_empty() {
            batch_bytes = 0;
        }
    }
    if planned.peek().is_some() {
        return Err(Problem::invalid("the archive changed while it was read"));
    }
    // A closed channel means that the import has failed, and says so itself.
    let _ = sender.blocking_send(batch);
    Ok(())
}
