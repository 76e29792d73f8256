//! The commit of a whole version: items, then labels and splits, each pinned; then the disk is made to hold it.

use super::side;
use crate::{
    lance_errors,
    store::{self, Ground, Table},
};
use arrow_array::RecordBatch;
use kaogong_data::tables::{Change, VersionPins};
use kaogong_domain::Problem;
use lance::dataset::transaction::{Operation, Transaction};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// The three tables of one dataset.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    pub(crate) dir: PathBuf,
    pub(crate) items: Table,
    pub(crate) labels: Table,
    pub(crate) splits: Table,
}

/// What becomes one version.
pub(crate) struct Parts {
    pub(crate) ground: Ground,
    pub(crate) items: Transaction,
    pub(crate) labels: Option<Vec<RecordBatch>>,
    pub(crate) splits: Option<Vec<RecordBatch>>,
    /// When the import began: files written since are synced.
    pub(crate) began: SystemTime,
}

impl Tables {
    /// What an import of items goes on top of.
    pub(crate) async fn ground(&self, change: &Change) -> Result<Ground, Problem> {
        match change {
            Change::Replace => self.items.ground_to_replace().await,
            Change::Append { base } => self.items.ground_to_add(base.items_version).await,
        }
    }

    /// Commits a version. When this fails, nothing pins what was written.
    pub(crate) async fn commit(&self, change: &Change, parts: Parts) -> Result<VersionPins, Problem> {
        let base = match change {
            Change::Replace => None,
            Change::Append { base } => Some(base),
        };
        let began = parts.began;
        let labels_version = side_version(&self.labels, base.and_then(|it| it.labels_version), parts.labels).await;
        let splits_version = match &labels_version {
            Ok(_) => side_version(&self.splits, base.and_then(|it| it.splits_version), parts.splits).await,
            Err(_) => Ok(None),
        };
        let (labels_version, splits_version) = match (labels_version, splits_version) {
            (Ok(labels), Ok(splits)) => (labels, splits),
            (Err(problem), _) | (_, Err(problem)) => {
                self.discard(&parts.items).await;
                return Err(problem);
            }
        };
        let files = files_of(&parts.items);
        let mut items = match self.items.commit(&parts.ground, parts.items).await {
            Ok(items) => items,
            Err(problem) => {
                remove_files(self.items.dir(), &files);
                return Err(problem);
            }
        };
        store::index_ids(&mut items).await?;
        store::pin(&items).await?;
        let dir = self.dir.clone();
        let synced = tokio::task::spawn_blocking(move || sync_since(&dir, began)).await;
        synced.map_err(lance_errors::task("sync a dataset"))?.map_err(lance_errors::io("sync a dataset"))?;
        Ok(VersionPins { items_version: items.version_id(), labels_version, splits_version })
    }

    /// Removes data files that were written and not committed.
    pub(crate) async fn discard(&self, items: &Transaction) {
        remove_files(self.items.dir(), &files_of(items));
        self.remove_if_empty().await;
    }

    /// Removes the dataset's folder when it never held a version.
    pub(crate) async fn remove_if_empty(&self) {
        match self.items.newest().await {
            Ok(None) => {
                if let Err(problem) = store::remove_dir(&self.dir) {
                    tracing::warn!(%problem, dir = %self.dir.display(), "an abandoned import could not be removed");
                }
            }
            Ok(Some(_)) => {}
            Err(problem) => tracing::warn!(%problem, "cannot tell whether an abandoned import left a folder"),
        }
    }
}

/// Writes the rows of a side table, if any, and returns the version to pin.
async fn side_version(
    table: &Table,
    base: Option<u64>,
    rows: Option<Vec<RecordBatch>>,
) -> Result<Option<u64>, Problem> {
    let Some(rows) = rows else { return Ok(base) };
    let ground = match base {
        Some(base) => table.ground_to_add(base).await?,
        None => table.ground_to_replace().await?,
    };
    let source = side::stream(rows[0].schema(), rows);
    let written = table.write(&ground, source).await.map_err(lance_errors::lance("write labels and splits"))?;
    let dataset = table.commit(&ground, written).await?;
    store::pin(&dataset).await?;
    Ok(Some(dataset.version_id()))
}

fn files_of(written: &Transaction) -> Vec<String> {
    let fragments = match &written.operation {
        Operation::Overwrite { fragments, .. } | Operation::Append { fragments } => fragments.as_slice(),
        _ => &[],
    };
    fragments.iter().flat_map(|it| it.files.iter().map(|file| file.path.clone())).collect()
}

fn remove_files(table: &Path, files: &[String]) {
    for file in files {
        let path = table.join("data").join(file);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(%error, path = %path.display(), "a data file of a failed import could not be removed");
        }
    }
}

/// Brings every file written since `began`, and the folders, safely onto the disk. Lance does not do this for
/// local files, and a row of metadata must never name a version that a power cut can take away.
fn sync_since(dir: &Path, began: SystemTime) -> std::io::Result<()> {
    // File systems keep coarser times than the clock tells.
    let since = began.checked_sub(Duration::from_secs(2)).unwrap_or(SystemTime::UNIX_EPOCH);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        if facts.is_dir() {
            sync_since(&entry.path(), began)?;
        } else if facts.modified().is_ok_and(|it| it >= since) {
            fs::File::open(entry.path())?.sync_all()?;
        }
    }
    fs::File::open(dir)?.sync_all()
}
