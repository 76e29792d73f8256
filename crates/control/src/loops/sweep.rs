//! The loop of sweeping: table versions that no dataset version pins are removed, an hour after they were written.

use crate::services::Services;
use futures::FutureExt;
use kaogong_data::tables::{SweepPlan, VersionPins};
use kaogong_domain::{ErrorKind, Problem, ids::DatasetId};
use std::{sync::Arc, time::Duration};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(3600);
/// Younger versions stay: their row may be about to come.
const AGE_MIN: Duration = Duration::from_secs(3600);

/// Runs until the server stops.
pub async fn run(app: Arc<Services>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            () = app.wait_for_stop() => return,
        }
        match app.store.all_datasets().await {
            Ok(all) => {
                for dataset in all {
                    report(dataset, sweep(&app, dataset).await);
                }
            }
            Err(problem) => tracing::warn!("the sweep could not list the datasets: {problem}"),
        }
    }
}

/// Removes what nothing pins in one dataset; how many bytes came free. It takes the turn of an import, so that an
/// import that comes meanwhile waits for it and is not refused.
///
/// # Errors
/// `Conflict` while an import has the turn, or a backup is taken.
pub async fn sweep(app: &Services, dataset: DatasetId) -> Result<u64, Problem> {
    let _right = app.may_remove()?;
    // Not waiting for the turn: one long import must not hold up the sweep of all others.
    let Some(_turn) = app.import_turn(dataset).now_or_never() else {
        return Err(Problem::conflict(format!("an import writes to dataset {dataset}")).hint("sweep it later"));
    };
    let mut live = vec![];
    for pins in app.store.live_pins(dataset).await? {
        let pins: VersionPins = serde_json::from_str(&pins)
            .map_err(|it| Problem::bug(format!("a version of dataset {dataset} has unreadable pins"), it))?;
        live.push(pins);
    }
    Ok(app.tables.sweep(dataset, SweepPlan { live, min_age: AGE_MIN }).await?.bytes_removed)
}

fn report(dataset: DatasetId, swept: Result<u64, Problem>) {
    match swept {
        Ok(0) => {}
        Ok(bytes) => tracing::info!(%dataset, "the sweep freed {bytes} bytes of dataset {dataset}"),
        // An import is under way, or the dataset has no tables yet: the next round looks again.
        Err(problem) if matches!(problem.kind, ErrorKind::Conflict | ErrorKind::NotFound) => {}
        Err(problem) => tracing::warn!(%dataset, "dataset {dataset} could not be swept: {problem}"),
    }
}
