//! One step of one job: what the runner sees of its attempt, what that means, and what is done about it.

use super::{
    launch, outputs,
    troubles::{TROUBLES, words},
};
use crate::{loops::folders::Teller, services::Services};
use kaogong_domain::{
    ErrorKind, Problem,
    ids::AttemptId,
    jobs::{Action, AttemptOutcome, JobEvent, reconcile},
};
use kaogong_store::{Actor, UnfinishedJob};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Jobs looked at side by side.
const STEPS_AT_ONCE: usize = 8;
/// Attempts whose outputs are stored side by side, beside the steps above; a disk does not get faster from more.
const COPIES_AT_ONCE: usize = 4;
/// How long the runner may be unable to take an attempt before its job is called failed: time to free a disk.
const START_PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Follows jobs, a bounded number of them at a time.
pub(super) struct Follower {
    app: Arc<Services>,
    over: Teller,
    steps: Semaphore,
    copies: Semaphore,
}

/// How a step went that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// All that could be done is done.
    Done,
    /// It failed lately and it is not yet time to try again.
    Waits,
}

impl Follower {
    pub(super) fn new(app: Arc<Services>, over: Teller) -> Self {
        Self { app, over, steps: Semaphore::new(STEPS_AT_ONCE), copies: Semaphore::new(COPIES_AT_ONCE) }
    }

    /// Looks at one attempt and tells the store what is new. `is_unwanted` becomes true when somebody asks the job
    /// to stop meanwhile.
    pub(super) async fn follow(self: Arc<Self>, job: UnfinishedJob, is_unwanted: Arc<AtomicBool>) {
        // Nobody closes it.
        let Ok(place) = self.steps.acquire().await else { return };
        match (Turn { follower: &self, job: &job, is_unwanted, place: Some(place) }).step().await {
            Ok(Outcome::Done) => TROUBLES.clear(job.id),
            Ok(Outcome::Waits) => {}
            Err(problem) => {
                let causes = problem.causes();
                tracing::warn!(job = %job.id, causes, "job {} could not be followed: {problem}", job.id);
                TROUBLES.note(job.id, words(&problem), Instant::now());
            }
        }
    }

    /// Records what happened. The token of an attempt that is over goes first: killed between the two, the next server
    /// finds the same end and does both again, while nobody would look at a job that is over.
    pub(super) async fn record(&self, job: &UnfinishedJob, event: JobEvent) -> Result<(), Problem> {
        let app = &self.app;
        let over = match &event {
            JobEvent::Ended(attempt, _) | JobEvent::Lost(attempt, _) => Some(*attempt),
            _ => None,
        };
        if let Some(attempt) = over {
            app.store.revoke_attempt_tokens(attempt, &Actor::system(), app.now()).await?;
        }
        app.store.apply_job_event(job.project_id, job.id, event, &Actor::system(), app.now()).await?;
        if let Some(attempt) = over {
            self.over.tell(attempt);
            // There is capacity for the next one.
            app.ring_jobs_bell();
        }
        Ok(())
    }
}

/// A step of one job, and its place among those that go on at once.
struct Turn<'a> {
    follower: &'a Follower,
    job: &'a UnfinishedJob,
    is_unwanted: Arc<AtomicBool>,
    place: Option<SemaphorePermit<'a>>,
}

impl Turn<'_> {
    async fn step(mut self) -> Result<Outcome, Problem> {
        let Some(attempt) = self.job.status.attempt else { return Ok(Outcome::Done) };
        let seen = self.follower.app.runner.look(attempt).await?;
        for action in reconcile(&self.job.status, &seen) {
            let outcome = match action {
                Action::Stop => self.follower.app.runner.cancel(attempt).await.map(|()| Outcome::Done)?,
                Action::Withdraw => self.withdraw(attempt).await.map(|()| Outcome::Done)?,
                Action::Launch => self.launch(attempt).await?,
                Action::StoreOutputs(outcome) => self.store_outputs(attempt, outcome).await?,
                Action::Record(event) => self.record(event).await?,
            };
            if outcome == Outcome::Waits {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Done)
    }

    async fn record(&self, event: JobEvent) -> Result<Outcome, Problem> {
        self.follower.record(self.job, event).await?;
        Ok(Outcome::Done)
    }

    /// Leaves a request to stop for a supervisor that is slow and may yet come.
    async fn withdraw(&self, attempt: AttemptId) -> Result<(), Problem> {
        match self.follower.app.runner.cancel(attempt).await {
            // Never handed over: then none can come.
            Err(problem) if problem.kind == ErrorKind::NotFound => Ok(()),
            asked => asked,
        }
    }

    async fn launch(&self, attempt: AttemptId) -> Result<Outcome, Problem> {
        let (app, id) = (&self.follower.app, self.job.id);
        if TROUBLES.is_waiting(id, Instant::now()) {
            return Ok(Outcome::Waits);
        }
        // The turn may have been waited for; a job that was cancelled meanwhile is not started any more.
        let now = app.store.find_job(self.job.project_id, id).await?;
        let wanted = now.filter(|it| !it.status.cancel_requested && it.status.attempt == Some(attempt));
        let Some(job) = wanted else { return Ok(Outcome::Done) };
        let Err(problem) = launch::launch(app, &job, attempt).await else {
            return self.record(JobEvent::Started(attempt)).await;
        };
        if !is_hopeless(problem.kind) && TROUBLES.lasts(id, Instant::now()) < START_PATIENCE {
            return Err(problem);
        }
        self.withdraw(attempt).await?;
        let message = format!("could not be started: {}", words(&problem));
        let outcome = AttemptOutcome { exit_code: None, was_cancelled: false, may_retry: false, message };
        self.record(JobEvent::Ended(attempt, outcome)).await
    }

    /// Outputs are stored before the job is called succeeded, so that who sees the one finds the other.
    async fn store_outputs(&mut self, attempt: AttemptId, outcome: AttemptOutcome) -> Result<Outcome, Problem> {
        let job = self.job;
        let cancel_requested = job.status.cancel_requested;
        // Somebody who asks the job to stop does not want to wait for the disk to get better.
        if !cancel_requested && TROUBLES.is_waiting(job.id, Instant::now()) {
            return Ok(Outcome::Waits);
        }
        let outcome = match self.keep_outputs(attempt).await {
            Ok(held_secrets) => with_remark(outcome, &held_secrets),
            Err(problem) if problem.kind == ErrorKind::Invalid => {
                AttemptOutcome { exit_code: None, was_cancelled: false, may_retry: false, message: words(&problem) }
            }
            Err(problem) if cancel_requested => {
                let message = format!("cancelled while its outputs could not be kept: {}", words(&problem));
                AttemptOutcome { was_cancelled: true, may_retry: false, message, ..outcome }
            }
            Err(problem) => return Err(problem),
        };
        self.record(JobEvent::Ended(attempt, outcome)).await
    }

    /// Keeps the declared outputs; gives the names of those that held secrets.
    async fn keep_outputs(&mut self, attempt: AttemptId) -> Result<Vec<String>, Problem> {
        let (project, id) = (self.job.project_id, self.job.id);
        let job = self.follower.app.store.find_job(project, id).await?;
        let job = job.ok_or_else(|| Problem::not_found(format!("there is no job {id}")))?;
        let outputs = crate::job_specs::spec_of(&job)?.outputs;
        if outputs.is_empty() {
            return Ok(vec![]);
        }
        // This may take long: others look meanwhile.
        drop(self.place.take());
        let _copying = self.follower.copies.acquire().await;
        let (app, is_unwanted) = (self.follower.app.clone(), self.is_unwanted.clone());
        let goes_on = move || !app.is_stopping() && !is_unwanted.load(Ordering::Relaxed);
        outputs::keep(&self.follower.app, &job, attempt, outputs, goes_on).await
    }
}

/// Whether trying again cannot help.
fn is_hopeless(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Conflict)
}

/// The ending of an attempt whose outputs are not byte for byte what it wrote.
fn with_remark(mut ended: AttemptOutcome, held_secrets: &[String]) -> AttemptOutcome {
    if let Some(first) = held_secrets.first() {
        let more = if held_secrets.len() > 1 { " and others" } else { "" };
        ended.message.push_str(&format!("; secrets in output `{first}`{more} were replaced by asterisks"));
    }
    ended
}
