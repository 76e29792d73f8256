//! The loop of endpoints: what the store wants served is loaded, what it no longer wants is dropped.

use crate::{app::App, serving::file_of};
use kaogong_domain::{Problem, ids::EndpointId};
use std::{sync::Arc, time::Duration};

/// Other replicas change endpoints too; their changes are seen at the latest after this.
const ROUND: Duration = Duration::from_secs(5);

/// Runs until the server stops.
pub async fn run(app: Arc<App>) {
    while !app.is_stopping() {
        if let Err(problem) = round(&app).await {
            let causes = crate::http::error::causes_of(&problem);
            tracing::warn!(causes, "the endpoints loop could not finish a round: {problem}");
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
pub async fn round(app: &Arc<App>) -> Result<(), Problem> {
    let wanted = app.store.all_endpoints().await?;
    let ids: Vec<EndpointId> = wanted.iter().map(|it| it.id).collect();
    app.serving.keep_only(&ids);
    for row in wanted.iter().filter(|it| !app.serving.is_settled(it)) {
        let loaded = match file_of(&app.blobs, row) {
            Ok(path) => app.serving.load(row, path).await.map(drop),
            Err(problem) => Err(problem),
        };
        match loaded {
            Ok(()) => tracing::info!(endpoint = %row.id, "endpoint {} serves {}@{}", row.name, row.model, row.version),
            Err(problem) => tracing::warn!(endpoint = %row.id, "endpoint {} cannot be served: {problem}", row.name),
        }
    }
    Ok(())
}
