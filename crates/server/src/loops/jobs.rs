//! The loop of jobs: look at every unfinished job, decide by the rules in `domain`, act, look again.
//!
//! Nothing is remembered between two rounds: a killed server finds everything in the store and with the
//! runner. Each step may be repeated: launching an attempt twice starts it once.

mod launch;
mod outputs;

use crate::app::App;
use kaogong_domain::{
    ErrorKind, Problem,
    ids::{AttemptId, JobId},
    jobs::{Effect, Ended, Event, Room, State, Waiting, admit},
};
use kaogong_runners::{EndReason, Ending, Seen};
use kaogong_store::{Actor, JobRow};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// How often running jobs are looked at when nothing wakes the loop.
const ROUND: Duration = Duration::from_millis(500);
/// Jobs that run at once on this machine, whatever room is left.
const JOBS_AT_ONCE_MAX: usize = 64;
/// Attempts handed to the runner again before the job is called failed.
const START_TRIES_MAX: u32 = 20;

/// Runs until the server stops.
pub async fn run(app: Arc<App>) {
    let mut loop_ = Jobs { app: app.clone(), tries: HashMap::new() };
    while !app.is_stopping() {
        if let Err(problem) = loop_.round().await {
            let causes = crate::http::error::causes_of(&problem);
            tracing::warn!(causes, "the jobs loop could not finish a round: {problem}");
        }
        tokio::select! {
            () = app.wait_for_jobs_bell() => {}
            () = tokio::time::sleep(ROUND) => {}
            () = app.wait_for_stop() => {}
        }
    }
}

struct Jobs {
    app: Arc<App>,
    /// Failed tries to start, by attempt; lost with the server, which only means more tries.
    tries: HashMap<AttemptId, u32>,
}

impl Jobs {
    async fn round(&mut self) -> Result<(), Problem> {
        let unfinished = self.app.store.unfinished_jobs().await?;
        self.tries.retain(|attempt, _| unfinished.iter().any(|it| it.life.attempt == Some(*attempt)));
        for job in &unfinished {
            if let Err(problem) = self.follow(job).await {
                let causes = crate::http::error::causes_of(&problem);
                tracing::warn!(job = %job.id, causes, "job {} could not be followed: {problem}", job.id);
            }
        }
        self.admit(&unfinished).await
    }

    /// Looks at one attempt and tells the store what is new.
    async fn follow(&mut self, job: &JobRow) -> Result<(), Problem> {
        let Some(attempt) = job.life.attempt else { return Ok(()) };
        let seen = self.app.runner.look(attempt).await?;
        if job.life.cancel_asked && !matches!(seen, Seen::Absent | Seen::Ended(_) | Seen::Lost { .. }) {
            self.app.runner.cancel(attempt).await?;
        }
        match seen {
            Seen::Absent if job.life.cancel_asked => {
                let ended = Ended {
                    exit_code: None,
                    was_cancelled: true,
                    may_retry: false,
                    message: "cancelled before it started".to_owned(),
                };
                self.tell(job, Event::Ended(attempt, ended)).await
            }
            Seen::Absent if matches!(job.life.state, State::Admitted) => self.launch(job, attempt).await,
            Seen::Absent => self.tell(job, Event::Lost(attempt, "the runner has no trace of it".to_owned())).await,
            Seen::Starting { .. } if job.life.state == State::Admitted => self.tell(job, Event::Started(attempt)).await,
            Seen::Starting { .. } => Ok(()),
            Seen::Running { .. } if job.life.state != State::Running => self.tell(job, Event::Running(attempt)).await,
            Seen::Running { .. } => Ok(()),
            Seen::Lost { why } => self.tell(job, Event::Lost(attempt, why)).await,
            Seen::Ended(ending) => self.end(job, attempt, &ending).await,
        }
    }

    async fn launch(&mut self, job: &JobRow, attempt: AttemptId) -> Result<(), Problem> {
        let started = launch::launch(&self.app, job, attempt).await;
        match started {
            Ok(()) => self.tell(job, Event::Started(attempt)).await,
            Err(problem) => {
                let tries = self.tries.entry(attempt).or_default();
                *tries += 1;
                let is_hopeless =
                    matches!(problem.kind, ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Conflict);
                if !is_hopeless && *tries < START_TRIES_MAX {
                    return Err(problem);
                }
                let ended = Ended {
                    exit_code: None,
                    was_cancelled: false,
                    may_retry: false,
                    message: format!("could not be started: {problem}"),
                };
                self.tell(job, Event::Ended(attempt, ended)).await
            }
        }
    }

    /// Outputs are kept before the job is called succeeded, so that who sees the one finds the other.
    async fn end(&mut self, job: &JobRow, attempt: AttemptId, ending: &Ending) -> Result<(), Problem> {
        if ending.started_at.is_some() && matches!(job.life.state, State::Admitted | State::Starting) {
            // It was over before anybody looked; it ran all the same.
            self.tell(job, Event::Running(attempt)).await?;
        }
        let mut ended = judge(ending);
        if ending.is_success()
            && let Err(problem) = outputs::keep(&self.app, job, attempt).await
        {
            if problem.kind != ErrorKind::Invalid {
                return Err(problem);
            }
            ended = Ended { exit_code: None, was_cancelled: false, may_retry: false, message: problem.text };
        }
        self.tell(job, Event::Ended(attempt, ended)).await
    }

    async fn tell(&mut self, job: &JobRow, event: Event) -> Result<(), Problem> {
        let app = &self.app;
        let (_, effects) =
            app.store.apply_job_event(job.project_id, job.id, event, &Actor::system(), app.now()).await?;
        for effect in effects {
            if let Effect::CleanUp(attempt) = effect {
                app.store.revoke_attempt_tokens(attempt, &Actor::system(), app.now()).await?;
            }
        }
        Ok(())
    }

    async fn admit(&mut self, unfinished: &[JobRow]) -> Result<(), Problem> {
        let now_queued = |it: &&JobRow| it.life.state == State::Queued && !it.life.cancel_asked;
        let waiting: Vec<Waiting<JobId>> = unfinished.iter().filter(now_queued).map(as_waiting).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let total = self.app.machine();
        let free = unfinished.iter().filter(|it| !matches!(it.life.state, State::Queued)).map(as_waiting).fold(
            total,
            |room, it| Room {
                cpus: room.cpus - it.cpus,
                memory_bytes: room.memory_bytes.saturating_sub(it.memory_bytes),
                jobs: room.jobs.saturating_sub(1),
            },
        );
        let (start, held) = admit(waiting, total, free);
        for id in start {
            let Some(job) = unfinished.iter().find(|it| it.id == id) else { continue };
            let attempt = AttemptId::generate(self.app.now());
            self.tell(job, Event::Admitted(attempt)).await?;
            self.app.ring_jobs_bell();
        }
        for (id, hold) in held {
            let Some(job) = unfinished.iter().find(|it| it.id == id) else { continue };
            if job.life.reason.as_deref() != Some(hold.reason()) {
                self.app.store.set_job_hold(job.project_id, id, hold.reason()).await?;
            }
        }
        Ok(())
    }
}

fn as_waiting(job: &JobRow) -> Waiting<JobId> {
    let resources = crate::http::jobs::resources_of(job);
    Waiting {
        job: job.id,
        since: job.created_at,
        cpus: resources.cpus,
        memory_bytes: resources.memory_mib.saturating_mul(1 << 20),
    }
}

/// The room of a machine for jobs.
pub fn machine_room(cpus: f64, memory_bytes: u64) -> Room {
    Room { cpus, memory_bytes, jobs: JOBS_AT_ONCE_MAX }
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
    let message = match (reason.is_empty(), ending.message.is_empty()) {
        (true, _) => ending.message.clone(),
        (false, true) => reason,
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
