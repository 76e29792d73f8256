//! The loop of folders: what an attempt worked with goes when nobody needs it any more; its log and ending stay.
//!
//! The jobs loop tells which attempts are over. What it did not get to tell before the server went away is found at
//! the start, and every hour, by looking at all folders.

use crate::services::Services;
use kaogong_domain::{ErrorKind, Problem, ids::AttemptId, jobs::clearable};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::MissedTickBehavior};

/// Between two looks at all folders.
const LOOK_ROUND: Duration = Duration::from_secs(3600);
/// Endings that wait to be heard. One that finds no place is found at the next look.
const TOLD_MAX: usize = 1000;

/// Where the jobs loop tells which attempts are over.
#[derive(Clone)]
pub(super) struct Teller(mpsc::Sender<AttemptId>);

impl Teller {
    pub(super) fn tell(&self, attempt: AttemptId) {
        // Full: the next look at all folders finds it.
        let _ = self.0.try_send(attempt);
    }
}

/// The loop, and where to tell it something.
pub(super) fn make(app: Arc<Services>) -> (Teller, impl Future<Output = ()> + Send) {
    let (teller, told) = mpsc::channel(TOLD_MAX);
    (Teller(teller), run(app, told))
}

async fn run(app: Arc<Services>, mut told: mpsc::Receiver<AttemptId>) {
    let mut looks = tokio::time::interval(LOOK_ROUND);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut left = HashSet::new();
    loop {
        tokio::select! {
            () = app.wait_for_stop() => return,
            _ = looks.tick() => match app.runner.list_uncleared().await {
                Ok(all) => left.extend(all),
                Err(problem) => tracing::warn!("the folders of attempts could not be listed: {problem}"),
            },
            Some(attempt) = told.recv() => {
                left.insert(attempt);
            }
        }
        if let Err(problem) = round(&app, &mut left).await {
            tracing::warn!("the folders of attempts could not be looked at: {problem}");
        }
    }
}

/// Clears what may go. Those stay in `left` for which it is too early.
async fn round(app: &Services, left: &mut HashSet<AttemptId>) -> Result<(), Problem> {
    let ids: Vec<AttemptId> = left.iter().copied().collect();
    let known = app.store.leftovers(&ids).await?;
    let strangers = ids.len() - known.len();
    if strangers > 0 {
        // Another store may know them: nothing of theirs is touched.
        tracing::warn!("{strangers} folders of attempts that this store does not know are left alone");
    }
    *left = known.iter().map(|it| it.attempt).collect();
    for attempt in clearable(known, app.now()) {
        if app.is_stopping() {
            break;
        }
        // What cannot be cleared now is tried again at the next look at all folders.
        left.remove(&attempt);
        match app.runner.clear(attempt).await {
            Ok(()) => {}
            // Given up, and its supervisor came all the same: it ends by itself.
            Err(problem) if problem.kind == ErrorKind::Conflict => {}
            Err(problem) => {
                let causes = problem.causes();
                tracing::warn!(%attempt, causes, "the folder of attempt {attempt} could not be cleared: {problem}");
            }
        }
    }
    Ok(())
}
