//! The loop of jobs: look at every unfinished job, decide by the rules in `domain`, act, look again.
//!
//! What must be known is in the store and with the runner, so that a killed server finds everything there. Each step
//! may be repeated: launching an attempt twice starts it once. Jobs are followed side by side, one look at a time for
//! each, so that one that stores large outputs holds up nobody else.

mod follow;
mod launch;
mod outputs;
mod troubles;

use super::folders::Teller;
use crate::services::Services;
use follow::Follower;
use kaogong_domain::{
    Problem,
    ids::{AttemptId, JobId},
    jobs::{Capacity, JobEvent, JobState, PendingJob, admit},
};
use kaogong_store::UnfinishedJob;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::{AbortHandle, JoinSet};
use troubles::TROUBLES;

/// How often running jobs are looked at when nothing wakes the loop.
const ROUND: Duration = Duration::from_millis(500);
/// Jobs that run at once on this machine, whatever capacity is left.
const JOBS_AT_ONCE_MAX: usize = 64;
/// How long steps under way are waited for when the server stops. What is cut off is repeated by the next one.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Runs until the server stops. Attempts that are over are told to `over`.
pub(super) async fn run(app: Arc<Services>, over: Teller) {
    let mut loop_ = Jobs::new(app.clone(), over);
    while !app.is_stopping() {
        if let Err(problem) = loop_.round().await {
            let causes = problem.causes();
            tracing::warn!(causes, "the jobs loop could not finish a round: {problem}");
        }
        tokio::select! {
            () = app.wait_for_jobs_bell() => {}
            () = tokio::time::sleep(ROUND) => {}
            () = app.wait_for_stop() => {}
        }
    }
    loop_.end().await;
}

/// What the loop cannot get done for a job now, for people: storing its outputs on a full disk, say.
pub fn trouble_of(job: JobId) -> Option<String> {
    TROUBLES.why(job)
}

struct Jobs {
    app: Arc<Services>,
    follower: Arc<Follower>,
    steps: JoinSet<()>,
    under_way: HashMap<JobId, Step>,
    needs: HashMap<JobId, Need>,
}

/// What a job asks for. It never changes, so that it is read from the store once; what a job was submitted with may
/// be large.
#[derive(Debug, Clone, Copy)]
struct Need {
    cpus: f64,
    memory_bytes: u64,
}

/// A job that is being followed right now.
struct Step {
    task: AbortHandle,
    is_unwanted: Arc<AtomicBool>,
}

impl Jobs {
    fn new(app: Arc<Services>, over: Teller) -> Self {
        let follower = Arc::new(Follower::new(app.clone(), over));
        Self { app, follower, steps: JoinSet::new(), under_way: HashMap::new(), needs: HashMap::new() }
    }

    async fn round(&mut self) -> Result<(), Problem> {
        self.reap();
        // Read after the look at what is under way, so that no row is older than the last step of its job.
        let unfinished = self.app.store.unfinished_jobs().await?;
        let known: HashSet<JobId> = unfinished.iter().map(|it| it.id).collect();
        TROUBLES.keep_only(|it| known.contains(&it));
        self.needs.retain(|job, _| known.contains(job));
        for job in unfinished.iter().filter(|it| it.status.attempt.is_some()) {
            match self.under_way.get(&job.id) {
                Some(step) => step.is_unwanted.store(job.status.cancel_requested, Ordering::Relaxed),
                None => self.begin(job),
            }
        }
        self.admit(&unfinished).await
    }

    fn begin(&mut self, job: &UnfinishedJob) {
        let is_unwanted = Arc::new(AtomicBool::new(false));
        let step = self.follower.clone().follow(job.clone(), is_unwanted.clone());
        let task = self.steps.spawn(step);
        self.under_way.insert(job.id, Step { task, is_unwanted });
    }

    /// Lets go of steps that are done.
    fn reap(&mut self) {
        while let Some(ended) = self.steps.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a step of the jobs loop broke off: {error}");
            }
        }
        self.under_way.retain(|_, it| !it.task.is_finished());
    }

    async fn end(mut self) {
        let all = async { while self.steps.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_PATIENCE, all).await.is_err() {
            tracing::info!("steps of the jobs loop are left to the next server");
        }
    }

    async fn admit(&mut self, unfinished: &[UnfinishedJob]) -> Result<(), Problem> {
        let is_waiting = |it: &&UnfinishedJob| it.status.state == JobState::Queued && !it.status.cancel_requested;
        if !unfinished.iter().any(|it| is_waiting(&it)) {
            return Ok(());
        }
        self.learn_needs(unfinished).await?;
        let waiting = unfinished.iter().filter(is_waiting).filter_map(|it| self.as_waiting(it)).collect();
        let total = self.app.machine();
        let running = unfinished.iter().filter(|it| it.status.state != JobState::Queued);
        let free = running.filter_map(|it| self.needs.get(&it.id)).fold(total, |free, it| Capacity {
            cpus: free.cpus - it.cpus,
            memory_bytes: free.memory_bytes.saturating_sub(it.memory_bytes),
            jobs: free.jobs.saturating_sub(1),
        });
        let (start, held) = admit(waiting, total, free);
        for job in start {
            let attempt = AttemptId::generate(self.app.now());
            self.follower.record(job, JobEvent::Admitted(attempt)).await?;
            self.app.ring_jobs_bell();
        }
        for (job, hold) in held {
            if job.status.reason.as_deref() != Some(hold.reason()) {
                self.app.store.set_job_hold(job.project_id, job.id, hold.reason()).await?;
            }
        }
        Ok(())
    }

    /// Reads what jobs ask for that is not known yet, one after the other: together they may be large.
    async fn learn_needs(&mut self, unfinished: &[UnfinishedJob]) -> Result<(), Problem> {
        for job in unfinished {
            if self.needs.contains_key(&job.id) {
                continue;
            }
            let Some(row) = self.app.store.find_job(job.project_id, job.id).await? else { continue };
            let resources = crate::job_specs::resources_of(&row);
            let memory_bytes = resources.memory_mib.saturating_mul(1 << 20);
            self.needs.insert(job.id, Need { cpus: resources.cpus, memory_bytes });
        }
        Ok(())
    }

    fn as_waiting<'a>(&self, job: &'a UnfinishedJob) -> Option<PendingJob<&'a UnfinishedJob>> {
        let need = self.needs.get(&job.id)?;
        Some(PendingJob { job, since: job.created_at, cpus: need.cpus, memory_bytes: need.memory_bytes })
    }
}

/// What a machine has for jobs.
pub fn machine_capacity(cpus: f64, memory_bytes: u64) -> Capacity {
    Capacity { cpus, memory_bytes, jobs: JOBS_AT_ONCE_MAX }
}
