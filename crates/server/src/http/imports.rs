//! Imports: the body is spooled to disk first, so that a broken upload leaves nothing, then read into tables.

pub(crate) mod options;
mod pictures;

use super::datasets::{find_version_number, histogram_text, version_view};
use crate::Route;
use axum::{body::Body, extract::State, response::Response};
use kaogong_api::{
    datasets::{ImportQuery, VersionView},
    jobs::UploadView,
};
use kaogong_control::Services;
use kaogong_data::{
    archive,
    budget::Held,
    folder::{FolderPlan, LabelsFrom},
    tables::{
        BadFiles, Change, Committed, CsvOptions, ImageImportPlan, OriginalFile, Progress, SplitPlan, TableFormat,
        TableImportPlan, VersionAt,
    },
};
use kaogong_domain::{
    Problem,
    access::Permission,
    datasets::DatasetKind,
    names::{Name, Title},
};
use kaogong_http::{
    access::{InProject, Rule},
    error::Answer,
    extract::{Params, Query, created},
    spool::{Spooled, spool},
};
use kaogong_serving::worker::give_back_memory;
use kaogong_store::{DatasetRow, NewVersion};
use std::{io::Read, sync::Arc};

/// The most bytes of one import.
const IMPORT_BYTES_MAX: u64 = 4 << 40;
/// The most bytes of one upload.
const UPLOAD_BYTES_MAX: u64 = 16 << 30;

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

async fn upload(State(app): State<Arc<Services>>, inside: InProject, body: Body) -> Answer<Response> {
    let spooled = spool(app.uploads(), body, UPLOAD_BYTES_MAX).await?;
    let (hash, size) = spooled.keep(&app.blobs).await?;
    app.store.note_upload(inside.project.id, &hash.to_string(), size, &inside.actor(), app.now()).await?;
    Ok(created(UploadView { hash: hash.to_string(), size }))
}

async fn import(
    State(app): State<Arc<Services>>,
    inside: InProject,
    params: Params,
    Query(query): Query<ImportQuery>,
    body: Body,
) -> Answer<Response> {
    let title = params.get::<Title>("dataset").map_err(|it| Problem::invalid(it.text))?;
    let name = title.name().clone();
    let plan = Plan::parse(&query)?;
    if let Some(done) = already_done(&app, &inside, &name, &query).await? {
        return Ok(done);
    }
    // Before the body is taken, which may be hours of sending.
    check_kind(&app, &inside, &name, plan.kind()).await?;
    let spooled = spool(app.uploads(), body, IMPORT_BYTES_MAX).await?;
    // A task of its own: a client who goes away now has sent everything, and when it asks again with the same key it
    // finds this import going on, not a half of it in its way.
    let import = Import { app, inside, title, name, plan, query };
    let running = tokio::spawn(async move {
        let done = import.run(spooled).await;
        // What an import took for rows and images is worth nothing to the next one.
        tokio::task::spawn_blocking(give_back_memory);
        done
    });
    Ok(running.await.map_err(|it| Problem::bug("an import did not end", it))??)
}

/// Refuses what another kind of dataset cannot take. Without versions a dataset may become of any kind.
async fn check_kind(app: &Services, inside: &InProject, name: &Name, kind: DatasetKind) -> Result<(), Problem> {
    let Some(row) = app.store.find_dataset(inside.project.id, name).await? else { return Ok(()) };
    if row.kind == kind || app.store.latest_version(row.id).await?.is_none() {
        return Ok(());
    }
    Err(Problem::conflict(format!(
        "dataset `{name}` holds {}, this import brings {}",
        row.kind.as_str(),
        kind.as_str()
    ))
    .hint("import under another name"))
}

/// A body that was looked at.
enum Content {
    Table(TableFormat, Spooled),
    /// Images, with the memory that the plan takes.
    Images(FolderPlan, Held, Arc<Spooled>),
}

/// An import whose body has arrived.
struct Import {
    app: Arc<Services>,
    inside: InProject,
    title: Title,
    name: Name,
    plan: Plan,
    query: ImportQuery,
}

impl Import {
    async fn run(self, spooled: Spooled) -> Result<Response, Problem> {
        let Self { app, inside, title, name, plan, query } = &self;
        // An archive that cannot be read leaves no dataset behind.
        let content = match plan.format {
            Format::Table(TableFormat::Parquet) => {
                let spooled = Arc::new(spooled);
                check_parts(&spooled).await?;
                let spooled = Arc::into_inner(spooled).ok_or_else(|| Problem::unavailable("a body is still read"))?;
                Content::Table(TableFormat::Parquet, spooled)
            }
            Format::Table(format) => Content::Table(format, spooled),
            Format::Images => {
                let spooled = Arc::new(spooled);
                let (folder, held) = pictures::look(&spooled, plan.labels, &app.decode).await?;
                Content::Images(folder, held, spooled)
            }
        };
        let project = inside.project.id;
        let found = match app.store.find_dataset(project, name).await? {
            Some(found) => found,
            None => app.store.ensure_dataset(project, name, plan.kind(), &inside.actor(), app.now()).await?,
        };
        // One import at a time for one dataset: the versions of its tables follow each other.
        let turn = app.import_turn(found.id).await;
        if let Some(done) = already_done(app, inside, name, query).await? {
            return Ok(done);
        }
        // The kind may change in one's turn only: nobody else writes now.
        let dataset = app.store.ensure_dataset(project, name, plan.kind(), &inside.actor(), app.now()).await?;
        if dataset.id != found.id {
            return Err(
                Problem::conflict(format!("dataset `{name}` was deleted while the import waited")).hint("import again")
            );
        }
        // Before the first version, with which it is seen; a name alone does not take a title away.
        if title.as_str() != name.as_str() && dataset.title != title.as_str() {
            app.store.name_dataset(dataset.id, title).await?;
        }
        let change = change_for(app, &dataset, plan.mode).await?;
        let committed = match content {
            Content::Table(format, spooled) => self.table(&dataset, change, format, spooled).await?,
            Content::Images(folder, _held, spooled) => self.images(&dataset, change, folder, spooled).await?,
        };
        // Counted now, while all of it is at hand, so that no list ever looks into the tables for it.
        let at = VersionAt { dataset: dataset.id, pins: committed.pins.clone() };
        let histogram = histogram_text(&app.tables.histogram(&at).await?)?;
        let new = new_version(&dataset, &committed, histogram, (plan, query))?;
        let version = app.store.commit_version(new, &inside.actor(), app.now()).await?;
        drop(turn);
        tracing::info!(dataset = %dataset.id, "dataset {} has version {} with {} items", dataset.name, version.number, version.items);
        Ok(created(version_view(app, &dataset, version).await?))
    }

    async fn table(
        &self,
        dataset: &DatasetRow,
        change: Change,
        format: TableFormat,
        spooled: Spooled,
    ) -> Result<Committed, Problem> {
        // After an append no single file is what the version holds: it is not kept.
        let is_whole = change == Change::Replace;
        let original =
            is_whole.then(|| OriginalFile { hash: spooled.hash(), size: spooled.size(), format, is_packed: false });
        let plan = TableImportPlan {
            dataset: dataset.id,
            change,
            path: spooled.path().to_owned(),
            format,
            csv: self.plan.csv.clone(),
            target: self.query.target.clone(),
            split: Some(self.plan.split.clone()),
            original,
            now: self.app.now(),
            progress: Progress::default(),
        };
        let committed = self.app.tables.import_table(plan).await?;
        // Only now, so that a refused file does not stay on the disk; before the row, which names it.
        if committed.summary.original.is_some() {
            spooled.keep(&self.app.blobs).await?;
        }
        Ok(committed)
    }

    async fn images(
        &self,
        dataset: &DatasetRow,
        change: Change,
        folder: FolderPlan,
        spooled: Arc<Spooled>,
    ) -> Result<Committed, Problem> {
        let plan = ImageImportPlan {
            dataset: dataset.id,
            change,
            split: Some(self.plan.split.clone()),
            bad_files: BadFiles::Skip,
            folders: folder.folders,
            author: self.inside.caller.user.id.to_string(),
            now: self.app.now(),
        };
        let mut import = self.app.tables.begin_images(plan).await?;
        import.skip_all(folder.skipped);
        match pictures::send(spooled, self.app.decode.files.clone(), folder.files, import.as_mut()).await {
            Ok(()) => import.finish().await,
            Err(problem) => {
                import.abort().await;
                Err(problem)
            }
        }
    }
}

async fn already_done(
    app: &Arc<Services>,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Replace,
    Append,
}

struct Plan {
    format: Format,
    mode: Mode,
    split: SplitPlan,
    labels: LabelsFrom,
    seed: u64,
    csv: CsvOptions,
}

impl Plan {
    fn parse(query: &ImportQuery) -> Result<Self, Problem> {
        let format = match query.format.as_str() {
            "images" => Format::Images,
            "csv" => Format::Table(TableFormat::Csv),
            "jsonl" => Format::Table(TableFormat::Jsonl),
            "parquet" => Format::Table(TableFormat::Parquet),
            other => {
                let shown: String = other.chars().take(32).collect();
                return Err(Problem::invalid(format!("`{shown}` is not an import format"))
                    .hint("images, csv, jsonl or parquet"));
            }
        };
        let mode = match query.mode.as_deref() {
            None | Some("replace") => Mode::Replace,
            Some("append") => Mode::Append,
            Some(other) => {
                let shown: String = other.chars().take(32).collect();
                return Err(Problem::invalid(format!("`{shown}` is not a way to import")).hint("replace or append"));
            }
        };
        let test_percent = query.test_percent.unwrap_or(20);
        if test_percent > 90 {
            return Err(Problem::invalid(format!(
                "{test_percent} percent for testing leaves too little to learn from"
            ))
            .hint("0 to 90"));
        }
        check_request_key(query.request_key.as_deref())?;
        let seed = query.seed.unwrap_or(0);
        let split = SplitPlan { seed, train_percent: 100 - test_percent, validation_percent: 0, test_percent };
        let labels = query.class_level.map_or(LabelsFrom::Auto, |it| LabelsFrom::Level(it as usize));
        let csv = options::of(query, format == Format::Table(TableFormat::Csv))?;
        Ok(Self { format, mode, split, labels, seed, csv })
    }

    fn kind(&self) -> DatasetKind {
        match self.format {
            Format::Images => DatasetKind::Images,
            Format::Table(_) => DatasetKind::Table,
        }
    }
}

async fn change_for(app: &Services, dataset: &DatasetRow, mode: Mode) -> Result<Change, Problem> {
    if mode == Mode::Replace || app.store.latest_version(dataset.id).await?.is_none() {
        return Ok(Change::Replace);
    }
    let base = find_version_number(app, dataset, None).await?;
    Ok(Change::Append { base: super::datasets::at(dataset, &base)?.pins })
}

/// Refuses a key that is no key, such as the empty text, and one that no database takes.
pub(super) fn check_request_key(key: Option<&str>) -> Result<(), Problem> {
    match key {
        Some(key) if key.is_empty() || key.len() > 200 => Err(Problem::invalid("a request key has 1 to 200 bytes")),
        _ => Ok(()),
    }
}

fn new_version(
    dataset: &DatasetRow,
    committed: &Committed,
    histogram: String,
    (plan, query): (&Plan, &ImportQuery),
) -> Result<NewVersion, Problem> {
    let unwritable = |it| Problem::bug("a version's facts cannot be written", it);
    let cut = |it: &Option<String>| it.as_deref().unwrap_or_default().chars().take(2000).collect::<String>();
    Ok(NewVersion {
        dataset_id: dataset.id,
        pins: serde_json::to_string(&committed.pins).map_err(unwritable)?,
        summary: serde_json::to_string(&committed.summary).map_err(unwritable)?,
        histogram: Some(histogram),
        message: cut(&query.message),
        source: cut(&query.source),
        items: committed.summary.items,
        bytes: committed.summary.bytes,
        split_seed: Some(plan.seed),
        request_key: query.request_key.clone(),
    })
}

/// Looks at the parts of a table when they come as an archive; a single Parquet file passes.
async fn check_parts(spooled: &Arc<Spooled>) -> Result<(), Problem> {
    let spooled = spooled.clone();
    let looking = tokio::task::spawn_blocking(move || {
        let mut head = Vec::new();
        spooled.reader()?.take(262).read_to_end(&mut head).map_err(|it| archive::broken("the body", &it))?;
        // As the reader of the parts tells them apart.
        let is_archive = head.len() == 262 && !head.starts_with(b"PAR1") && head.ends_with(b"ustar");
        if is_archive { archive::check("the body", &mut spooled.reader()?).map(drop) } else { Ok(()) }
    });
    looking.await.map_err(|it| Problem::bug("reading an archive did not end", it))?
}
