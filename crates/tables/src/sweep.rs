//! Removes versions that nobody pins, and checks that every file of a live version is there before and after.

use crate::{
    lance_errors,
    store::{self, Table},
    write::commit::Tables,
};
use kaogong_data::tables::{SweepPlan, SweepReport};
use kaogong_domain::Problem;
use lance::{
    Dataset,
    dataset::{Version, cleanup::CleanupPolicy},
    index::DatasetIndexExt,
};
use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
    time::{Duration, SystemTime},
};

const DOING: &str = "sweep a dataset";

/// Sweeps the three tables of a dataset. The caller holds its lock, so no import is under way.
pub(crate) async fn sweep(tables: &Tables, plan: &SweepPlan) -> Result<SweepReport, Problem> {
    let live = |version: fn(&kaogong_data::tables::VersionPins) -> Option<u64>| {
        plan.live.iter().filter_map(version).collect::<HashSet<u64>>()
    };
    let parts = [
        (&tables.items, live(|it| Some(it.items_version))),
        (&tables.labels, live(|it| it.labels_version)),
        (&tables.splits, live(|it| it.splits_version)),
    ];
    let mut work = Vec::new();
    for (table, live) in parts {
        table.mend().await?;
        let newest = table.newest().await?;
        let versions = match &newest {
            Some(newest) => newest.versions().await.map_err(lance_errors::lance(DOING))?,
            None => Vec::new(),
        };
        refuse_if_missing(&live, &versions)?;
        work.extend(newest.map(|newest| (table, newest, versions, live)));
    }
    let mut report = SweepReport::default();
    for (table, newest, versions, live) in work {
        let one = sweep_table(table, newest, &versions, &live, plan.min_age).await?;
        report.versions_removed += one.versions_removed;
        report.bytes_removed += one.bytes_removed;
        report.files_live += one.files_live;
    }
    Ok(report)
}

/// A list of live versions that does not fit the disk is wrong, or the disk is: either way nothing may go.
fn refuse_if_missing(live: &HashSet<u64>, versions: &[Version]) -> Result<(), Problem> {
    let missing: Vec<_> = live.iter().filter(|it| !versions.iter().any(|one| one.version == **it)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Problem::unavailable(format!("pinned table versions are not on the disk: {missing:?}"))
        .hint("nothing was swept; restore the data folder from a backup"))
}

async fn sweep_table(
    table: &Table,
    mut newest: Dataset,
    versions: &[Version],
    live: &HashSet<u64>,
    min_age: Duration,
) -> Result<SweepReport, Problem> {
    let failed = lance_errors::lance(DOING);
    let oldest_kept_ms = now_ms().saturating_sub(i64::try_from(min_age.as_millis()).unwrap_or(i64::MAX));
    let mut kept: HashSet<u64> = live.clone();
    kept.extend(versions.iter().filter(|it| it.timestamp.timestamp_millis() > oldest_kept_ms).map(|it| it.version));
    let mut garbage: HashSet<u64> = versions.iter().map(|it| it.version).filter(|it| !kept.contains(it)).collect();
    // Lance never removes the newest version. When that is garbage with files of its own, a kept version is made
    // the newest again; without files of its own it is such a copy already.
    if garbage.contains(&newest.version_id())
        && let Some(version) = kept.iter().max()
    {
        let own = live_files(table, &HashSet::from([newest.version_id()])).await?;
        if own.is_subset(&live_files(table, &kept).await?) {
            garbage.remove(&newest.version_id());
        } else {
            newest = Dataset::clone(&*table.open(*version).await?);
            newest.restore().await.map_err(&failed)?;
        }
    }
    let before = live_files(table, &kept).await?;
    let pinned = store::pinned(&newest).await?;
    for version in pinned.iter().filter(|it| garbage.contains(it)) {
        store::unpin(&newest, *version).await?;
    }
    for version in live.iter().filter(|it| !pinned.contains(it)) {
        store::pin(&*table.open(*version).await?).await?;
    }
    // Files that no version refers to were left by a writer that died. Lance keeps them for seven days, in case
    // another process is still writing; a caller who wants no such patience says so with an age of zero.
    let policy =
        CleanupPolicy { versions: Some(garbage), delete_unverified: min_age.is_zero(), ..CleanupPolicy::default() };
    let removed = newest.cleanup_with_policy(policy).await.map_err(&failed)?;
    let after = live_files(table, &kept).await?;
    if let Some(lost) = before.difference(&after).next() {
        return Err(Problem::new(
            kaogong_domain::ErrorKind::Bug,
            format!("a sweep removed a live file: {}", lost.display()),
        )
        .hint("stop sweeping and restore the data folder from a backup"));
    }
    Ok(SweepReport {
        versions_removed: removed.old_versions,
        bytes_removed: removed.bytes_removed,
        files_live: after.len() as u64,
    })
}

/// The files on the disk that kept versions refer to.
async fn live_files(table: &Table, kept: &HashSet<u64>) -> Result<BTreeSet<PathBuf>, Problem> {
    let mut files = BTreeSet::new();
    for version in kept {
        let dataset = table.open(*version).await?;
        for fragment in dataset.fragments().iter() {
            files.extend(fragment.files.iter().map(|it| table.dir().join("data").join(&it.path)));
        }
        let indices = dataset.load_indices().await.map_err(lance_errors::lance(DOING))?;
        files.extend(indices.iter().map(|it| table.dir().join("_indices").join(it.uuid.to_string())));
    }
    let there = tokio::task::spawn_blocking(move || files.into_iter().filter(|it| it.exists()).collect()).await;
    there.map_err(lance_errors::task(DOING))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
