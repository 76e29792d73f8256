//! The engine: one session with capped caches, one lock per dataset, one small cache of version indexes.

use crate::{
    imports::{Guards, Imports},
    lance_errors,
    read::{
        browse, export,
        index::{IndexCache, VersionIndex},
        items,
    },
    rows,
    store::{self, Table},
    sweep,
    write::{commit::Tables, images::ImageWriter},
};
use async_trait::async_trait;
use bytes::Bytes;
use kaogong_data::tables::{
    BrowseQuery, ByteStream, Committed, ExportQuery, Histogram, ImageImport, ImageImportPlan, ItemStream, Page,
    RowRead, StreamQuery, SweepPlan, SweepReport, TableEngine, TableImportPlan, VerifyReport, VersionAt,
};
use kaogong_domain::{
    Problem,
    ids::{DatasetId, ItemId},
};
use lance::session::Session;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::OwnedMutexGuard;

/// Budget of Lance's index cache, in bytes.
const INDEX_CACHE_BYTES: usize = 64 << 20;
/// Budget of Lance's cache of manifests and file footers, in bytes.
const METADATA_CACHE_BYTES: usize = 64 << 20;

/// Datasets as Lance tables in a local folder.
pub struct LanceTables {
    root: PathBuf,
    session: Arc<Session>,
    writers: Mutex<HashMap<DatasetId, Arc<tokio::sync::Mutex<()>>>>,
    indexes: Arc<IndexCache>,
    imports: Arc<Imports>,
}

impl LanceTables {
    /// Opens the tables under `root`, making the folder when needed.
    ///
    /// One process owns a folder: writers are kept apart by locks in memory.
    ///
    /// # Errors
    /// `Unavailable` when the folder cannot be made or found.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, Problem> {
        let failed = lance_errors::io("open the folder of datasets");
        std::fs::create_dir_all(root.as_ref()).map_err(&failed)?;
        let root = root.as_ref().canonicalize().map_err(failed)?;
        let session = Session::new(INDEX_CACHE_BYTES, METADATA_CACHE_BYTES, Arc::default());
        Ok(Self {
            root,
            session: Arc::new(session),
            writers: Mutex::default(),
            indexes: Arc::default(),
            imports: Arc::default(),
        })
    }

    /// The same tables, with bounds for imports that are not the usual ones.
    #[must_use]
    pub fn with_imports(self, imports: Imports) -> Self {
        Self { imports: Arc::new(imports), ..self }
    }

    /// Where a dataset's tables lie. The path is made of the id alone.
    pub fn dataset_dir(&self, dataset: DatasetId) -> PathBuf {
        self.root.join(dataset.to_string())
    }

    fn tables(&self, dataset: DatasetId) -> Result<Tables, Problem> {
        let dir = self.dataset_dir(dataset);
        let table = |name: &str| Table::new(dir.join(name), self.session.clone());
        Ok(Tables { items: table("items.lance")?, labels: table("labels.lance")?, splits: table("splits.lance")?, dir })
    }

    /// Makes the caller the only writer of a dataset.
    fn lock(&self, dataset: DatasetId) -> Result<OwnedMutexGuard<()>, Problem> {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers.retain(|_, it| Arc::strong_count(it) > 1);
        let lock = writers.entry(dataset).or_default().clone();
        lock.try_lock_owned().map_err(|_| {
            Problem::conflict(format!("dataset {dataset} is being written by another import or a sweep"))
                .hint("wait until it has finished, or cancel it")
        })
    }

    async fn index(&self, at: &VersionAt) -> Result<Arc<VersionIndex>, Problem> {
        self.indexes.get(&self.tables(at.dataset)?, at).await
    }
}

#[async_trait]
impl TableEngine for LanceTables {
    async fn begin_images(&self, plan: ImageImportPlan) -> Result<Box<dyn ImageImport>, Problem> {
        let lock = self.lock(plan.dataset)?;
        let tables = self.tables(plan.dataset)?;
        let place = self.imports.place().await?;
        let guards = Guards { _lock: lock, _place: place };
        Ok(Box::new(ImageWriter::begin(plan, tables, self.indexes.clone(), self.imports.clone(), guards).await?))
    }

    async fn import_table(&self, plan: TableImportPlan) -> Result<Committed, Problem> {
        let lock = self.lock(plan.dataset)?;
        let tables = self.tables(plan.dataset)?;
        let place = self.imports.place().await?;
        let guards = Guards { _lock: lock, _place: place };
        rows::import::import(plan, tables, self.indexes.clone(), self.imports.clone(), guards).await
    }

    async fn browse(&self, at: &VersionAt, query: &BrowseQuery) -> Result<Page, Problem> {
        browse::page(&*self.index(at).await?, &self.imports.budget.reads, query).await
    }

    async fn item(&self, at: &VersionAt, item: ItemId) -> Result<RowRead, Problem> {
        browse::row(&*self.index(at).await?, &self.imports.budget.reads, item).await
    }

    async fn content(&self, at: &VersionAt, item: ItemId) -> Result<Bytes, Problem> {
        items::content(&*self.index(at).await?, &self.imports.budget.reads, item).await
    }

    async fn histogram(&self, at: &VersionAt) -> Result<Histogram, Problem> {
        Ok(self.index(at).await?.histogram())
    }

    async fn stream_items(&self, at: &VersionAt, query: StreamQuery) -> Result<ItemStream, Problem> {
        items::stream(self.index(at).await?, query)
    }

    async fn export_table(&self, at: &VersionAt, query: ExportQuery) -> Result<ByteStream, Problem> {
        export::stream(self.index(at).await?, query).await
    }

    async fn verify(&self, at: &VersionAt) -> Result<VerifyReport, Problem> {
        items::verify(self.index(at).await?).await
    }

    async fn sweep(&self, dataset: DatasetId, plan: SweepPlan) -> Result<SweepReport, Problem> {
        let _lock = self.lock(dataset)?;
        let report = sweep::sweep(&self.tables(dataset)?, &plan).await;
        self.indexes.forget(dataset);
        report
    }

    async fn remove(&self, dataset: DatasetId) -> Result<(), Problem> {
        let _lock = self.lock(dataset)?;
        let dir = self.dataset_dir(dataset);
        let removed = tokio::task::spawn_blocking(move || store::remove_dir(&dir)).await;
        self.indexes.forget(dataset);
        removed.map_err(lance_errors::task("remove a dataset"))?
    }
}
