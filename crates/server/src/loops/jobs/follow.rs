//! One step of one job: what the runner sees of its attempt, what that means, and what is done about it.

use super::{
    launch, outputs,
    troubles::{TROUBLES, words},
};
use crate::{app::App, loops::folders::Teller};
use kaogong_domain::{
    ErrorKind, Problem,
    ids::AttemptId,
    jobs::{Effect, Ended, Event, State},
};
use kaogong_runners::{EndReason, Ending, Seen};
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
    app: Arc<App>,
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
    pub(super) fn new(app: Arc<App>, over: Teller) -> Self {
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
                let causes = crate::http::error::causes_of(&problem);
                tracing::warn!(job = %job.id, causes, "job {} could not be followed: {problem}", job.id);
                TROUBLES.note(job.id, words(&problem), Instant::now());
            }
        }
    }

    /// Tells the store what happened. The token of an attempt that is over goes first: killed between the two, the
    /// next server sees the same ending and does both again, while nobody would look at a job that is over.
    pub(super) async fn tell(&self, job: &UnfinishedJob, event: Event) -> Result<(), Problem> {
        let app = &self.app;
        let over = match &event {
            Event::Ended(attempt, _) | Event::Lost(attempt, _) => Some(*attempt),
            _ => None,
        };
        if let Some(attempt) = over {
            app.store.revoke_attempt_tokens(attempt, &Actor::system(), app.now()).await?;
            app.standings().forget_all();
        }
        let told = app.store.apply_job_event(job.project_id, job.id, event, &Actor::system(), app.now()).await?;
        for effect in told.1 {
            match effect {
                Effect::CleanUp(attempt) => self.over.tell(attempt),
                // The next look at the job sees to these.
                Effect::Launch(_) | Effect::Stop(_) => {}
            }
        }
        if over.is_some() {
            // There is room for the next one.
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
        let (job, app) = (self.job, self.follower.app.clone());
        let Some(attempt) = job.life.attempt else { return Ok(Outcome::Done) };
        let seen = app.runner.look(attempt).await?;
        if job.life.cancel_asked && matches!(seen, Seen::Starting { .. } | Seen::Running { .. }) {
            app.runner.cancel(attempt).await?;
        }
        match seen {
            Seen::Absent if job.life.cancel_asked => {
                self.withdraw(attempt).await?;
                let message = "cancelled before it started".to_owned();
                let ended = Ended { exit_code: None, was_cancelled: true, may_retry: false, message };
                self.tell(Event::Ended(attempt, ended)).await
            }
            Seen::Absent if matches!(job.life.state, State::Admitted) => self.launch(attempt).await,
            Seen::Absent => {
                self.withdraw(attempt).await?;
                self.tell(Event::Lost(attempt, "the runner has no trace of it".to_owned())).await
            }
            Seen::Starting { .. } if job.life.state == State::Admitted => self.tell(Event::Started(attempt)).await,
            Seen::Starting { .. } => Ok(Outcome::Done),
            Seen::Running { .. } if job.life.state != State::Running => self.tell(Event::Running(attempt)).await,
            Seen::Running { .. } => Ok(Outcome::Done),
            Seen::Lost { why } => self.tell(Event::Lost(attempt, why)).await,
            Seen::Ended(ending) => self.end(attempt, &ending).await,
        }
    }

    async fn tell(&self, event: Event) -> Result<Outcome, Problem> {
        self.follower.tell(self.job, event).await?;
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
        let wanted = now.filter(|it| !it.life.cancel_asked && it.life.attempt == Some(attempt));
        let Some(job) = wanted else { return Ok(Outcome::Done) };
        let Err(problem) = launch::launch(app, &job, attempt).await else {
            return self.tell(Event::Started(attempt)).await;
        };
        if !is_hopeless(problem.kind) && TROUBLES.lasts(id, Instant::now()) < START_PATIENCE {
            return Err(problem);
        }
        self.withdraw(attempt).await?;
        let message = format!("could not be started: {}", words(&problem));
        let ended = Ended { exit_code: None, was_cancelled: false, may_retry: false, message };
        self.tell(Event::Ended(attempt, ended)).await
    }

    /// Outputs are kept before the job is called succeeded, so that who sees the one finds the other.
    async fn end(&mut self, attempt: AttemptId, ending: &Ending) -> Result<Outcome, Problem> {
        let job = self.job;
        if ending.started_at.is_some() && matches!(job.life.state, State::Admitted | State::Starting) {
            // It was over before anybody looked; it ran all the same.
            self.tell(Event::Running(attempt)).await?;
        }
        if !ending.is_success() {
            return self.tell(Event::Ended(attempt, judge(ending))).await;
        }
        // Somebody who asks the job to stop does not want to wait for the disk to get better.
        if !job.life.cancel_asked && TROUBLES.is_waiting(job.id, Instant::now()) {
            return Ok(Outcome::Waits);
        }
        let ended = match self.keep_outputs(attempt).await {
            Ok(held_secrets) => with_remark(judge(ending), &held_secrets),
            Err(problem) if problem.kind == ErrorKind::Invalid => {
                Ended { exit_code: None, was_cancelled: false, may_retry: false, message: words(&problem) }
            }
            Err(problem) if job.life.cancel_asked => {
                let message = format!("cancelled while its outputs could not be kept: {}", words(&problem));
                Ended { exit_code: ending.exit_code, was_cancelled: true, may_retry: false, message }
            }
            Err(problem) => return Err(problem),
        };
        self.tell(Event::Ended(attempt, ended)).await
    }

    /// Keeps the declared outputs; gives the names of those that held secrets.
    async fn keep_outputs(&mut self, attempt: AttemptId) -> Result<Vec<String>, Problem> {
        let (project, id) = (self.job.project_id, self.job.id);
        let job = self.follower.app.store.find_job(project, id).await?;
        let job = job.ok_or_else(|| Problem::not_found(format!("there is no job {id}")))?;
        let outputs = crate::http::jobs::spec_of(&job)?.outputs;
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
fn with_remark(mut ended: Ended, held_secrets: &[String]) -> Ended {
    if let Some(first) = held_secrets.first() {
        let more = if held_secrets.len() > 1 { " and others" } else { "" };
        ended.message.push_str(&format!("; secrets in output `{first}`{more} were replaced by asterisks"));
    }
    ended
}

/// What an ending means for the job.
fn judge(ending: &Ending) -> Ended {
    let reason = match (ending.reason, ending.exit_code, ending.signal) {
        (EndReason::Exited, Some(0), _) => String::new(),
        (EndReason::Exited, Some(code), _) => format!("exited with status {code}"),
        (EndReason::Exited, None, Some(signal)) => format!("ended by signal {signal}"),
        (EndReason::Exited, None, None) => "ended without a status".to_owned(),
        (EndReason::TimeLimit, ..) => "stopped at its time limit".to_owned(),
        (EndReason::MemoryLimit, ..) => "stopped: it used more memory than it asked for".to_owned(),
        (EndReason::Cancelled, ..) => "cancelled".to_owned(),
        (EndReason::Interrupted, ..) => "interrupted by the machine".to_owned(),
        (EndReason::EnvironmentFailed, ..) => "its environment could not be built".to_owned(),
        (EndReason::StartFailed, ..) => "its command could not be started".to_owned(),
    };
    // The runner's own words for these say the same, and more.
    let says_it_all = matches!(ending.reason, EndReason::Exited | EndReason::Cancelled | EndReason::Interrupted);
    let message = match (reason.is_empty() || says_it_all, ending.message.is_empty()) {
        (true, false) => ending.message.clone(),
        (_, true) => reason,
        (false, false) => format!("{reason}: {}", ending.message),
    };
    Ended {
        // A limit that ended the command counts as a failure even when the command then said 0.
        exit_code: if ending.reason == EndReason::Exited {
            ending.exit_code
        } else {
            ending.exit_code.filter(|it| *it != 0)
        },
        was_cancelled: ending.reason == EndReason::Cancelled,
        may_retry: !matches!(
            ending.reason,
            EndReason::Cancelled | EndReason::EnvironmentFailed | EndReason::StartFailed
        ),
        message,
    }
}
