//! One Lance table on the local disk: opening exact versions, writing, committing, pinning.

use crate::{lance_errors, layout};
use arrow_array::{RecordBatch, RecordBatchIterator};
use arrow_schema::ArrowError;
use kaogong_domain::Problem;
use lance::{
    Dataset,
    dataset::{
        CommitBuilder, InsertBuilder, WriteMode, WriteParams, builder::DatasetBuilder, transaction::Transaction,
    },
    deps::datafusion::physical_plan::SendableRecordBatchStream,
    index::DatasetIndexExt,
    session::Session,
};
use lance_index::{IndexType, optimize::OptimizeOptions, scalar::ScalarIndexParams};
use std::{
    fs,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The most bytes in one data file; more begins another.
const FILE_BYTES_MAX: usize = 8 << 30;
/// The file format of everything that is written.
const FILE_FORMAT: &str = "2.2";
const INDEX_NAME: &str = "item_id_idx";
/// Tags of this form keep Lance's clean-up away from a version.
const PIN_PREFIX: &str = "pin-";

/// A table's place.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    dir: PathBuf,
    uri: String,
    session: Arc<Session>,
}

/// What a write goes on top of.
#[derive(Debug, Clone)]
pub(crate) enum Ground {
    /// There is no table yet.
    Nothing,
    /// The table is there; its content is replaced.
    Replace(Arc<Dataset>),
    /// The table is there, and its newest version is what is added to.
    Add(Arc<Dataset>),
}

impl Table {
    /// The table in `dir`, which need not exist.
    pub(crate) fn new(dir: PathBuf, session: Arc<Session>) -> Result<Self, Problem> {
        let uri = dir.to_str().map(str::to_owned).ok_or_else(|| {
            Problem::invalid(format!("the data folder's path is not UTF-8: {}", dir.display()))
                .hint("choose a data folder whose path is UTF-8")
        })?;
        Ok(Self { dir, uri, session })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn builder(&self) -> DatasetBuilder {
        DatasetBuilder::from_uri(&self.uri).with_session(self.session.clone())
    }

    /// Opens one version for reading.
    pub(crate) async fn open(&self, version: u64) -> Result<Arc<Dataset>, Problem> {
        let opened = self.builder().with_version(version).load().await;
        opened.map(Arc::new).map_err(lance_errors::lance("open a dataset version"))
    }

    /// The newest version, if the table exists.
    pub(crate) async fn newest(&self) -> Result<Option<Dataset>, Problem> {
        match self.builder().load().await {
            Ok(dataset) => Ok(Some(dataset)),
            Err(lance::Error::DatasetNotFound { .. } | lance::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(lance_errors::lance("open a dataset")(error)),
        }
    }

    /// Removes version and tag files that a power cut left without content: they were being written, so no row of
    /// metadata names them, and Lance would stumble over them for ever. The caller holds the dataset's lock.
    pub(crate) async fn mend(&self) -> Result<(), Problem> {
        let dir = self.dir.clone();
        let mended = tokio::task::spawn_blocking(move || {
            ["_versions", "_refs/tags"].iter().try_for_each(|it| remove_torn(&dir.join(it)))
        });
        mended.await.map_err(lance_errors::task("mend a dataset"))?.map_err(lance_errors::io("mend a dataset"))
    }

    /// Prepares for a write that replaces everything.
    pub(crate) async fn ground_to_replace(&self) -> Result<Ground, Problem> {
        self.mend().await?;
        Ok(self.newest().await?.map_or(Ground::Nothing, |it| Ground::Replace(Arc::new(it))))
    }

    /// Prepares for a write that adds to `base`. When an import that nobody pinned came after it, `base` is made
    /// the newest version again first.
    pub(crate) async fn ground_to_add(&self, base: u64) -> Result<Ground, Problem> {
        self.mend().await?;
        let wanted = self.open(base).await?;
        let newest = self.newest().await?.map_or(base, |it| it.version_id());
        if newest == base {
            return Ok(Ground::Add(wanted));
        }
        let mut again = Dataset::clone(&wanted);
        again.restore().await.map_err(lance_errors::lance("return to the base version"))?;
        Ok(Ground::Add(Arc::new(again)))
    }

    fn params(&self, mode: WriteMode) -> Result<WriteParams, lance::Error> {
        Ok(WriteParams {
            mode,
            max_bytes_per_file: FILE_BYTES_MAX,
            data_storage_version: Some(FILE_FORMAT.parse()?),
            enable_stable_row_ids: false,
            skip_auto_cleanup: true,
            session: Some(self.session.clone()),
            ..WriteParams::default()
        })
    }

    /// Writes data files without making them visible. When the source fails, Lance removes them again.
    pub(crate) async fn write(
        &self,
        ground: &Ground,
        source: SendableRecordBatchStream,
    ) -> Result<Transaction, lance::Error> {
        let (builder, mode) = self.insert(ground);
        builder.with_params(&self.params(mode)?).execute_uncommitted_stream(source).await
    }

    /// As [`Table::write`], from an iterator that Lance drives on a blocking thread.
    pub(crate) async fn write_rows<I>(
        &self,
        ground: &Ground,
        source: RecordBatchIterator<I>,
    ) -> Result<Transaction, lance::Error>
    where
        I: Iterator<Item = Result<RecordBatch, ArrowError>> + Send + 'static,
    {
        let (builder, mode) = self.insert(ground);
        builder.with_params(&self.params(mode)?).execute_uncommitted_stream(source).await
    }

    fn insert(&self, ground: &Ground) -> (InsertBuilder<'_>, WriteMode) {
        match ground {
            Ground::Nothing => (InsertBuilder::new(&self.uri), WriteMode::Create),
            Ground::Replace(dataset) => (InsertBuilder::new(dataset.clone()), WriteMode::Overwrite),
            Ground::Add(dataset) => (InsertBuilder::new(dataset.clone()), WriteMode::Append),
        }
    }

    /// Makes written data files a new version.
    pub(crate) async fn commit(&self, ground: &Ground, written: Transaction) -> Result<Dataset, Problem> {
        let failed = lance_errors::lance("commit a dataset version");
        let builder = match ground {
            Ground::Nothing => CommitBuilder::new(&self.uri),
            Ground::Replace(dataset) | Ground::Add(dataset) => CommitBuilder::new(dataset.clone()),
        };
        let committed = builder
            .use_stable_row_ids(false)
            .with_storage_format(FILE_FORMAT.parse().map_err(&failed)?)
            .with_session(self.session.clone())
            .with_skip_auto_cleanup(true)
            .execute(written)
            .await;
        committed.map_err(failed)
    }
}

/// Makes lookups by `item_id` fast, also for other tools: builds the index, or brings an old one up to date.
pub(crate) async fn index_ids(dataset: &mut Dataset) -> Result<(), Problem> {
    let failed = lance_errors::lance("index the items of a dataset");
    let present = dataset.load_indices().await.map_err(&failed)?.iter().any(|it| it.name == INDEX_NAME);
    if present {
        return dataset.optimize_indices(&OptimizeOptions::append()).await.map_err(failed);
    }
    let (params, name) = (ScalarIndexParams::default(), Some(INDEX_NAME.to_owned()));
    dataset.create_index(&[layout::ITEM_ID], IndexType::BTree, name, &params, true).await.map_err(failed)?;
    Ok(())
}

/// Tags a version, so that no clean-up by any tool removes it.
pub(crate) async fn pin(dataset: &Dataset) -> Result<(), Problem> {
    let failed = lance_errors::lance("pin a dataset version");
    let version = dataset.version_id();
    let tag = format!("{PIN_PREFIX}{version}");
    match dataset.tags().create(&tag, version).await {
        // A power cut took a version and left its tag; now its number comes again.
        Err(lance::Error::RefConflict { .. }) => {
            dataset.tags().delete(&tag).await.map_err(&failed)?;
            dataset.tags().create(&tag, version).await.map_err(failed)
        }
        done => done.map_err(failed),
    }
}

/// Removes files that hold nothing, or end in nothing but zeros.
fn remove_torn(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() && is_torn(&entry.path())? {
            tracing::warn!(path = %entry.path().display(), "a file that a power cut left empty is removed");
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_torn(path: &Path) -> io::Result<bool> {
    let mut file = fs::File::open(path)?;
    let size = file.metadata()?.len();
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(size.saturating_sub(16)))?;
    file.take(16).read_to_end(&mut end)?;
    Ok(end.iter().all(|it| *it == 0))
}

/// All versions that carry our tag.
pub(crate) async fn pinned(dataset: &Dataset) -> Result<Vec<u64>, Problem> {
    let tags = dataset.tags().list().await.map_err(lance_errors::lance("list pinned versions"))?;
    Ok(tags.into_iter().filter(|(name, _)| name.starts_with(PIN_PREFIX)).map(|(_, tag)| tag.version).collect())
}

/// Removes the tag of a version.
pub(crate) async fn unpin(dataset: &Dataset, version: u64) -> Result<(), Problem> {
    let tag = format!("{PIN_PREFIX}{version}");
    dataset.tags().delete(&tag).await.map_err(lance_errors::lance("unpin a dataset version"))
}

/// Removes a folder and all in it; it need not exist.
pub(crate) fn remove_dir(dir: &Path) -> Result<(), Problem> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(lance_errors::io("remove a dataset's folder")(error))
        }
        _ => Ok(()),
    }
}
