//! Who is calling, as handlers see it.

use crate::error::ApiError;
use axum::extract::FromRequestParts;
use http::request::Parts;
use kaogong_domain::{
    ErrorKind, Problem,
    access::{Decision, Permission, Role, Scopes, Standing, decide},
    ids::JobId,
    masks::Masks,
};
use kaogong_store::{Actor, ActorKind, ProjectRow, TokenRow, UserRow};
use std::{net::IpAddr, sync::Arc};

/// What the token of a job is told where it may not go.
pub fn not_for_jobs(text: impl Into<String>) -> Problem {
    Problem::new(ErrorKind::Forbidden, text).hint(
        "it is for the job's own inputs, runs, artifacts and models; a job file with `token = \"developer\"` asks for more",
    )
}

/// A caller who proved who they are.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The user.
    pub user: Arc<UserRow>,
    /// The API token, when that is the credential.
    pub token: Option<Arc<TokenRow>>,
    /// What the credential is limited to.
    pub scopes: Arc<Scopes>,
    /// The secret that a browser session sends back with changing calls.
    pub csrf: Option<Arc<str>>,
    /// What is covered in all that this caller sends: the secrets of its job.
    pub masks: Option<Arc<Masks>>,
    /// The hash of the token, to look at it again.
    pub token_hash: Option<Arc<str>>,
    /// The hash of the session, to end it or to look at it again.
    pub session_hash: Option<Arc<str>>,
    /// Where the call came from.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// A user with a browser session.
    pub fn of_session(user: UserRow, csrf: &str, session_hash: &str) -> Self {
        Self { csrf: Some(csrf.into()), session_hash: Some(session_hash.into()), ..Self::of_user(user) }
    }

    /// A user without a limit to what they may do.
    pub fn of_user(user: UserRow) -> Self {
        Self {
            user: Arc::new(user),
            token: None,
            scopes: Arc::new(Scopes::all()),
            csrf: None,
            masks: None,
            token_hash: None,
            session_hash: None,
            address: None,
        }
    }

    /// Who did it, for the event log.
    pub fn actor(&self) -> Actor {
        let is_job = self.token.as_ref().is_some_and(|it| it.job_id.is_some());
        Actor {
            kind: if is_job { ActorKind::Job } else { ActorKind::User },
            user: Some(self.user.id),
            token: self.token.as_ref().map(|it| it.id),
            address: self.address.map(|it| it.to_string()),
        }
    }

    /// The job whose own token this is, which is good for what belongs to that job alone. `None` for a job that was
    /// given the rights of a developer.
    pub fn job(&self) -> Option<JobId> {
        self.token.as_ref().filter(|_| self.scopes.is_job()).and_then(|it| it.job_id)
    }

    /// Whether the credential limits nothing: neither scopes nor a project nor a job.
    pub fn is_unlimited(&self) -> bool {
        let is_bound = self.token.as_ref().is_some_and(|it| it.project_id.is_some() || it.job_id.is_some());
        self.scopes.is_all() && !is_bound
    }

    /// Whether this is the platform's administrator with a credential that limits nothing.
    pub fn is_unlimited_admin(&self) -> bool {
        self.user.is_admin && self.is_unlimited()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            // Only a public route gets here without a caller.
            ApiError(Problem::new(ErrorKind::Unauthenticated, "this call needs a sign-in"))
        })
    }
}

/// A caller inside the project that the request names; access was decided by the layer below the router.
#[derive(Debug, Clone)]
pub struct InProject {
    /// The project.
    pub project: Arc<ProjectRow>,
    /// What the caller is in it.
    pub role: Role,
    /// The caller.
    pub caller: Caller,
}

impl InProject {
    /// Whether the caller may do more here than its route needs.
    pub fn may(&self, needed: Permission) -> bool {
        let standing = Standing {
            role: Some(self.role),
            is_platform_admin: false,
            scopes: &self.caller.scopes,
            is_bound_elsewhere: false,
        };
        decide(&standing, needed) == Decision::Allow
    }

    /// Refuses the token of a job what belongs to something else.
    ///
    /// # Errors
    /// `Forbidden`, when the caller is a job and `owner` is another one or none.
    pub fn only_own(&self, what: &str, owner: Option<JobId>) -> Result<(), Problem> {
        match self.caller.job() {
            Some(job) if owner != Some(job) => Err(not_for_jobs(format!("{what} does not belong to this job"))),
            _ => Ok(()),
        }
    }

    /// Who did it, for the event log.
    pub fn actor(&self) -> Actor {
        self.caller.actor()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InProject {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            ApiError(Problem::new(ErrorKind::Bug, "a handler asks for a project that its rule does not name"))
        })
    }
}
