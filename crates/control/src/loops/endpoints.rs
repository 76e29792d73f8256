//! The loop of endpoints: what the store wants served is loaded, what it no longer wants is dropped.

use crate::services::Services;
use futures::{StreamExt, stream};
use kaogong_domain::{ErrorKind, Problem};
use kaogong_store::EndpointRow;
use std::{sync::Arc, time::Duration};

/// Other replicas change endpoints too; their changes are seen at the latest after this.
const ROUND: Duration = Duration::from_secs(5);
/// Models loaded side by side, so that a slow one does not keep all others waiting.
const LOADS_AT_ONCE: usize = 4;

/// Runs until the server stops. A round that is under way then is left: its loads end by themselves or with the process.
pub async fn run(app: Arc<Services>) {
    while !app.is_stopping() {
        tokio::select! {
            looked = round(&app) => {
                if let Err(problem) = looked {
                    let causes = problem.causes();
                    tracing::warn!(causes, "the endpoints loop could not finish a round: {problem}");
                }
            }
            () = app.wait_for_stop() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            () = app.wait_for_stop() => {}
        }
    }
}

/// One look: everything wanted is loaded, or has failed and says why.
///
/// # Errors
/// When the store cannot be read.
pub async fn round(app: &Arc<Services>) -> Result<(), Problem> {
    look(app, |row| !app.serving.is_settled(row)).await
}

/// The first look of a server, which also waits for what another round loads already.
///
/// # Errors
/// When the store cannot be read.
pub async fn first_round(app: &Arc<Services>) -> Result<(), Problem> {
    look(app, |row| !app.serving.is_decided(row)).await
}

async fn look(app: &Arc<Services>, is_due: impl Fn(&EndpointRow) -> bool) -> Result<(), Problem> {
    let mark = app.serving.mark();
    let wanted = app.store.all_endpoints().await?;
    app.serving.expect(&wanted);
    app.serving.keep_only(wanted.iter().map(|it| it.id), mark);
    let due: Vec<EndpointRow> = wanted.into_iter().filter(is_due).collect();
    stream::iter(due).for_each_concurrent(LOADS_AT_ONCE, |row| load(app.clone(), row)).await;
    Ok(())
}

async fn load(app: Arc<Services>, row: EndpointRow) {
    match app.serving.load(&row).await {
        Ok(()) => tracing::info!(endpoint = %row.id, "endpoint {} serves {}@{}", row.name, row.model, row.version),
        // Somebody changed or deleted it meanwhile; the next round sees what is wanted now.
        Err(problem) if problem.kind == ErrorKind::Conflict => tracing::debug!(endpoint = %row.id, "{problem}"),
        Err(problem) => tracing::warn!(endpoint = %row.id, "endpoint {} cannot be served: {problem}", row.name),
    }
}
