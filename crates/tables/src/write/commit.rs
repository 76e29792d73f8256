//! The commit of a whole version: items, then labels and splits, each pinned; then the disk is made to hold it.

use super::side::SideRows;
use crate::{
    lance_errors,
    store::{self, Ground, Table},
};
use kaogong_data::tables::{Change, VersionPins};
use kaogong_domain::Problem;
use lance::dataset::transaction::{Operation, Transaction};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

/// Files synced at once.
const SYNCS_AT_ONCE: usize = 8;

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
    pub(crate) labels: Option<SideRows>,
    pub(crate) splits: Option<SideRows>,
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

    /// Commits a version. When this fails, no row names what was committed, and a sweep removes it.
    pub(crate) async fn commit(&self, change: &Change, parts: Parts) -> Result<VersionPins, Problem> {
        let base = match change {
            Change::Replace => None,
            Change::Append { base } => Some(base),
        };
        let (dir, began) = (self.dir.clone(), parts.began);
        // The bytes of the items are the bulk; they reach the disk while the rest is still written.
        let bulk: Vec<_> = files_of(&parts.items).iter().map(|it| self.items.dir().join("data").join(it)).collect();
        let bulk = tokio::task::spawn_blocking(move || sync_all(&bulk));
        let (items, labels, splits) = tokio::join!(
            self.items_version(&parts.ground, parts.items),
            side_version(&self.labels, base.and_then(|it| it.labels_version), parts.labels),
            side_version(&self.splits, base.and_then(|it| it.splits_version), parts.splits),
        );
        let bulk = bulk.await.map_err(lance_errors::task("sync a dataset"))?;
        let pins = VersionPins { items_version: items?, labels_version: labels?, splits_version: splits? };
        bulk.map_err(lance_errors::io("sync a dataset"))?;
        let synced = tokio::task::spawn_blocking(move || sync_since(&dir, began)).await;
        synced.map_err(lance_errors::task("sync a dataset"))?.map_err(lance_errors::io("sync a dataset"))?;
        Ok(pins)
    }

    async fn items_version(&self, ground: &Ground, written: Transaction) -> Result<u64, Problem> {
        let files = files_of(&written);
        let mut items = match self.items.commit(ground, written).await {
            Ok(items) => items,
            Err(problem) => {
                remove_files(self.items.dir(), &files);
                return Err(problem);
            }
        };
        store::index_ids(&mut items).await?;
        store::pin(&items).await?;
        Ok(items.version_id())
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
async fn side_version(table: &Table, base: Option<u64>, rows: Option<SideRows>) -> Result<Option<u64>, Problem> {
    let Some(rows) = rows else { return Ok(base) };
    let ground = match base {
        Some(base) => table.ground_to_add(base).await?,
        None => table.ground_to_replace().await?,
    };
    let written = table.write(&ground, rows.stream()).await.map_err(lance_errors::lance("write labels and splits"))?;
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
fn sync_since(dir: &Path, began: SystemTime) -> io::Result<()> {
    // File systems keep coarser times than the clock tells.
    let since = began.checked_sub(Duration::from_secs(2)).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    let mut at = 0;
    while let Some(folder) = folders.get(at).cloned() {
        at += 1;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let facts = entry.metadata()?;
            if facts.is_dir() {
                folders.push(entry.path());
            } else if facts.modified().is_ok_and(|it| it >= since) {
                files.push(entry.path());
            }
        }
    }
    sync_all(&files)?;
    // The name of a new dataset lies in the folder above.
    folders.extend(dir.parent().map(Path::to_owned));
    sync_all(&folders)
}

/// Syncs files or folders, several at a time: the disk then writes its journal once for all of them.
fn sync_all(paths: &[PathBuf]) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<()> {
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            fs::File::open(path)?.sync_all()?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..SYNCS_AT_ONCE.min(paths.len())).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(|it| it.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())));
        ended.collect()
    })
}
