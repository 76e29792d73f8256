//! The import of one file, from looking at it to the new version.

use super::{
    columns, csv, parquet,
    source::{BATCH_BYTES, Gathered, Import, Opened, RowSource, of_version, schema_of},
};
use crate::{
    ids::IdSource,
    imports::{Guards, Imports},
    lance_errors::{self, Smuggled},
    layout,
    read::index::IndexCache,
    store::Ground,
    write::{
        collect,
        commit::{Parts, Tables},
        side,
    },
};
use arrow_array::RecordBatchIterator;
use arrow_schema::{Field, Schema};
use futures::TryStreamExt;
use kaogong_data::{
    split,
    tables::{
        Change, Committed, Note, NoteKind, OriginalFile, TableFormat, TableImportPlan, VersionAt, VersionSummary,
        Warnings,
    },
};
use kaogong_domain::{Problem, datasets::DatasetKind};
use lance::Dataset;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

/// Tells the import that nobody waits for it any more.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Imports a file. Dropping the future makes the import remove what it wrote.
pub(crate) async fn import(
    plan: TableImportPlan,
    tables: Tables,
    indexes: Arc<IndexCache>,
    imports: Arc<Imports>,
    guards: Guards,
) -> Result<Committed, Problem> {
    if let Some(plan) = &plan.split {
        split::check(plan)?;
    }
    let cancelled = Arc::new(AtomicBool::new(false));
    let _cancel = CancelOnDrop(cancelled.clone());
    let task = tokio::spawn(async move {
        let _guards = guards;
        run(plan, tables, &indexes, imports, cancelled).await
    });
    task.await.map_err(lance_errors::task("import a table"))?
}

async fn run(
    plan: TableImportPlan,
    tables: Tables,
    indexes: &IndexCache,
    imports: Arc<Imports>,
    cancelled: Arc<AtomicBool>,
) -> Result<Committed, Problem> {
    let began = SystemTime::now();
    let ids = IdSource::new(plan.now)?;
    // A file that cannot be read must not touch the tables, so it is looked at before the ground is prepared.
    let base = base_version(&plan, &tables).await?;
    let fields = base.as_ref().map(|it| columns::of_table(&Schema::from(it.schema())));
    let opened = open(&plan, fields, imports).await?;
    let target = target(&plan, base.as_deref(), &opened.columns)?;
    let mut gathered = Gathered::new(&opened.columns, target.as_deref());
    let base_rows = match &base {
        Some(base) => Some(add_base(base, &opened.columns, &mut gathered).await?),
        None => None,
    };
    let gathered = Arc::new(Mutex::new(gathered));
    let (reason, schema) = (Smuggled::default(), schema_of(&opened, target.as_deref()));
    let told = Told::of(&opened);
    let source = RowSource {
        opened,
        schema: schema.clone(),
        ids,
        gathered: gathered.clone(),
        reason: reason.clone(),
        cancelled: cancelled.clone(),
        progress: plan.progress.clone(),
    };
    let ground = tables.ground(&plan.change).await?;
    let written = tables.items.write_rows(&ground, RecordBatchIterator::new(source, schema)).await;
    let items = match written {
        Ok(items) if !cancelled.load(Ordering::Relaxed) => items,
        Ok(items) => {
            tables.discard(&items).await;
            return Err(lance_errors::abandoned());
        }
        Err(error) => {
            tables.remove_if_empty().await;
            return Err(reason.or(|| unsupported(error)));
        }
    };
    let gathered =
        std::mem::replace(&mut *gathered.lock().unwrap_or_else(PoisonError::into_inner), Gathered::new(&[], None));
    finish(&plan, &tables, indexes, Written { ground, items, gathered, ids, began, target, base_rows, told }).await
}

struct Written {
    ground: Ground,
    items: lance::dataset::transaction::Transaction,
    gathered: Gathered,
    ids: IdSource,
    began: SystemTime,
    target: Option<String>,
    /// Rows that were there; `None` when they are replaced.
    base_rows: Option<u64>,
    told: Told,
}

/// What the report of an import tells about its file.
struct Told {
    places: Vec<usize>,
    import: Import,
    notes: Vec<Note>,
    is_packed: bool,
}

impl Told {
    fn of(opened: &Opened) -> Self {
        let (places, import) = (opened.places.clone(), opened.import.clone());
        Self { places, import, notes: opened.notes.clone(), is_packed: opened.is_packed }
    }
}

async fn finish(
    plan: &TableImportPlan,
    tables: &Tables,
    indexes: &IndexCache,
    written: Written,
) -> Result<Committed, Problem> {
    let rows = written.gathered.rows;
    let (mut columns, classes) = written.gathered.finish();
    for (column, place) in columns.iter_mut().zip(&written.told.places) {
        column.import = written.told.import.of(*place);
    }
    let splits = plan.split.as_ref().map(|it| collect::row_splits(rows, &classes, it, written.base_rows));
    let splits = splits.and_then(|it| side::splits((0..).zip(it), written.ids));
    let parts = Parts { ground: written.ground, items: written.items, labels: None, splits, began: written.began };
    let pins = tables.commit(&plan.change, parts).await?;
    let index = indexes.get(tables, &VersionAt { dataset: plan.dataset, pins: pins.clone() }).await?;
    let (classes, classes_total) = index.class_counts();
    let original = plan.original.clone().filter(|_| plan.change == Change::Replace);
    // The parts of a folder are no one file.
    let is_one = written.told.notes.iter().all(|it| it.kind != NoteKind::Parts);
    let original = original.filter(|_| is_one).map(|it| OriginalFile { is_packed: written.told.is_packed, ..it });
    let file_bytes = std::fs::metadata(&plan.path).map_or(0, |it| it.len());
    let target = written.target.map(|stored| {
        let column = columns.iter().find(|it| it.stored_name.as_deref().unwrap_or(&it.name) == stored);
        column.map_or(stored.clone(), |it| it.shown_name().to_owned())
    });
    let summary = VersionSummary {
        kind: DatasetKind::Table,
        items: index.len() as u64,
        items_added: rows,
        bytes: original.as_ref().map_or(file_bytes, |it| it.size),
        images: None,
        classes,
        classes_total,
        splits: index.split_counts(),
        columns,
        target,
        original,
        folders: None,
        warnings: Warnings::default(),
        notes: written.told.notes,
    };
    Ok(Committed { pins, summary })
}

async fn base_version(plan: &TableImportPlan, tables: &Tables) -> Result<Option<Arc<Dataset>>, Problem> {
    let Change::Append { base } = &plan.change else { return Ok(None) };
    let dataset = tables.items.open(base.items_version).await?;
    if layout::kind_of(&dataset.schema().metadata) != Some(DatasetKind::Table) {
        return Err(Problem::invalid("rows cannot be added to a dataset of pictures")
            .hint("make another dataset for the table"));
    }
    Ok(Some(dataset))
}

async fn open(plan: &TableImportPlan, base: Option<Vec<Field>>, imports: Arc<Imports>) -> Result<Opened, Problem> {
    let (path, format, options) = (plan.path.clone(), plan.format, plan.csv.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let look = || match format {
            TableFormat::Csv => csv::open(&path, &options, base.as_deref(), &imports),
            TableFormat::Jsonl => csv::open_json(&path, base.as_deref(), &imports),
            TableFormat::Parquet => parquet::open(&path, base.as_deref(), &imports),
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)).unwrap_or_else(|_| {
            Err(Problem::invalid("the file is damaged: its reader gave up").hint("copy it again from its source"))
        })
    });
    opened.await.map_err(lance_errors::task("look at a table file"))?
}

/// The stored name of the target; an append without one keeps the base's, and cannot change it.
fn target(plan: &TableImportPlan, base: Option<&Dataset>, fields: &[Field]) -> Result<Option<String>, Problem> {
    let wanted = plan.target.as_deref().map(|it| columns::find_target(fields, it)).transpose()?.map(str::to_owned);
    let Some(base) = base else { return Ok(wanted) };
    let kept = layout::target_of(&base.schema().metadata).map(str::to_owned);
    match wanted {
        Some(wanted) if kept.as_ref() != Some(&wanted) => {
            Err(Problem::invalid("an append cannot change the target")
                .hint("leave the target out, or replace the content"))
        }
        _ => Ok(kept),
    }
}

/// Counts the base's rows into the facts about the columns; how many there are.
async fn add_base(base: &Dataset, fields: &[Field], gathered: &mut Gathered) -> Result<u64, Problem> {
    let failed = lance_errors::lance("read the base version");
    let mut scan = base.scan();
    scan.project_with_schema(base.schema()).map_err(&failed)?.batch_size_bytes(BATCH_BYTES);
    let mut batches = scan.try_into_stream().await.map_err(&failed)?;
    let mut rows = 0;
    while let Some(batch) = batches.try_next().await.map_err(&failed)? {
        rows += batch.num_rows() as u64;
        gathered.add_facts(&of_version(&batch, fields)).map_err(lance_errors::arrow("read the base version"))?;
    }
    Ok(rows)
}

/// A write that failed for a type that tables cannot hold is the file's matter.
fn unsupported(error: lance::Error) -> Problem {
    match &error {
        lance::Error::NotSupported { .. } | lance::Error::Schema { .. } | lance::Error::InvalidInput { .. } => {
            Problem::invalid(format!("the file holds a column that a table cannot keep: {error}"))
                .hint("convert the column, for example to text or a list, and import again")
        }
        _ => lance_errors::lance("write a dataset")(error),
    }
}
