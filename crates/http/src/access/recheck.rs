//! Access that is looked at again: a stream that stays open ends when its reader may no longer read.

use super::InProject;
use kaogong_domain::{
    Problem, Timestamp,
    access::{Decision, Permission, Standing, decide},
};
use kaogong_store::Store;
use std::time::{Duration, Instant};

/// How old an answer may be.
const KEPT: Duration = Duration::from_secs(10);

/// What an open stream was allowed, and when that was last true.
pub struct Recheck {
    inside: InProject,
    needed: Permission,
    checked_at: Instant,
}

impl Recheck {
    /// The layer below the router has just allowed it.
    pub fn new(inside: InProject, needed: Permission) -> Self {
        Self { inside, needed, checked_at: Instant::now() }
    }

    /// Whether the reader may still read. A database that does not answer is no reason to end a stream.
    pub async fn holds(&mut self, store: &Store, now: Timestamp) -> bool {
        if self.checked_at.elapsed() < KEPT {
            return true;
        }
        self.checked_at = Instant::now();
        match self.look(store, now).await {
            Ok(holds) => holds,
            Err(problem) => {
                tracing::warn!("the access of an open stream could not be looked at again: {problem}");
                true
            }
        }
    }

    async fn look(&self, store: &Store, now: Timestamp) -> Result<bool, Problem> {
        let caller = &self.inside.caller;
        let user = match (&caller.token_hash, &caller.session_hash) {
            (Some(hash), _) => store.find_token(hash, now).await?.map(|it| it.1),
            (None, Some(hash)) => store.find_session(hash, now).await?.map(|it| it.1),
            (None, None) => store.find_user(caller.user.id).await?,
        };
        let Some(user) = user.filter(|it| it.disabled_at.is_none()) else { return Ok(false) };
        let place = store.find_project(&self.inside.project.name, user.id).await?;
        let Some((project, role)) = place.filter(|it| it.0.id == self.inside.project.id) else { return Ok(false) };
        let standing = Standing {
            role,
            is_platform_admin: user.is_admin,
            scopes: &caller.scopes,
            is_bound_elsewhere: caller
                .token
                .as_ref()
                .is_some_and(|it| it.project_id.is_some_and(|id| id != project.id)),
        };
        Ok(decide(&standing, self.needed) == Decision::Allow)
    }
}
