//! Reconciling loops: each looks at what is wanted and what is seen, and closes the gap, again and again.

pub mod endpoints;
mod folders;
pub mod jobs;
pub mod sweep;

use crate::services::Services;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Starts all loops; they end when the server stops.
pub fn start(app: &Arc<Services>) -> JoinSet<()> {
    let mut loops = JoinSet::new();
    let (teller, folders) = folders::make(app.clone());
    loops.spawn(jobs::run(app.clone(), teller));
    loops.spawn(folders);
    loops.spawn(endpoints::run(app.clone()));
    loops.spawn(sweep::run(app.clone()));
    loops
}
