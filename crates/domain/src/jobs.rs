//! The states of a job: `queued → admitted → starting → running → succeeded | failed | cancelled | lost`.
//!
//! [`apply`] is the whole rule of what an event makes of a job; [`reconcile()`] decides what is to be done about it.
//! Runners repeat themselves and reports arrive late or out of order, so an event that does not fit the state changes
//! nothing.

mod reconcile;

pub use reconcile::{Action, AttemptStatus, Termination, TerminationReason, reconcile};

use crate::{Timestamp, ids::AttemptId};
use serde::{Deserialize, Serialize};

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Accepted and stored; waits for room.
    Queued,
    /// Has been given its room; an attempt exists.
    Admitted,
    /// The runner has it: environment, inputs, supervisor.
    Starting,
    /// Its command runs.
    Running,
    /// Its command ended with 0.
    Succeeded,
    /// Its command ended otherwise, or ran over a limit, and no retry is left.
    Failed,
    /// Somebody asked it to stop, and it has.
    Cancelled,
    /// Its runner lost it, and no retry is left.
    Lost,
}

impl JobState {
    /// All states.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Admitted,
        Self::Starting,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Lost,
    ];

    /// The word used on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Admitted => "admitted",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }

    /// Whether nothing more can happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Lost)
    }
}

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Where it is.
    pub state: JobState,
    /// Attempts that may still follow the present one.
    pub retries_left: u32,
    /// The present attempt.
    pub attempt: Option<AttemptId>,
    /// Somebody asked it to stop.
    pub cancel_requested: bool,
    /// One sentence: why it is where it is.
    pub reason: Option<String>,
    /// Exit status of the last attempt's command.
    pub exit_code: Option<i32>,
}

impl JobStatus {
    /// A job that was just accepted.
    pub fn new(retries: u32) -> Self {
        Self {
            state: JobState::Queued,
            retries_left: retries,
            attempt: None,
            cancel_requested: false,
            reason: None,
            exit_code: None,
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptOutcome {
    /// Exit status; `None` when a signal ended it.
    pub exit_code: Option<i32>,
    /// Whether it was stopped because it was asked to.
    pub was_cancelled: bool,
    /// Whether a retry could help: false for a cancelled attempt or one that could never start.
    pub may_retry: bool,
    /// One sentence for people.
    pub message: String,
}

/// What can happen to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEvent {
    /// There is room for it; this is the new attempt.
    Admitted(AttemptId),
    /// The runner has taken the attempt.
    Started(AttemptId),
    /// The attempt's command runs.
    Running(AttemptId),
    /// The attempt ended.
    Ended(AttemptId, AttemptOutcome),
    /// The runner does not know what became of the attempt.
    Lost(AttemptId, String),
    /// Somebody asks it to stop.
    CancelRequested,
}

/// What a job becomes when `event` happens.
pub fn apply(mut status: JobStatus, event: JobEvent) -> JobStatus {
    if status.state.is_final() {
        return status;
    }
    match event {
        JobEvent::CancelRequested => {
            status.cancel_requested = true;
            if status.attempt.is_none() {
                status.state = JobState::Cancelled;
                status.reason = Some("cancelled before it started".to_owned());
            }
        }
        JobEvent::Admitted(attempt) if status.state == JobState::Queued => {
            status.state = JobState::Admitted;
            status.attempt = Some(attempt);
            status.reason = None;
        }
        JobEvent::Started(attempt) if status.attempt == Some(attempt) && status.state == JobState::Admitted => {
            status.state = JobState::Starting;
        }
        JobEvent::Running(attempt)
            if status.attempt == Some(attempt) && matches!(status.state, JobState::Admitted | JobState::Starting) =>
        {
            status.state = JobState::Running;
        }
        JobEvent::Ended(attempt, outcome) if status.attempt == Some(attempt) => end(&mut status, outcome),
        JobEvent::Lost(attempt, message) if status.attempt == Some(attempt) => {
            let was_cancelled = status.cancel_requested;
            end(&mut status, AttemptOutcome { exit_code: None, was_cancelled, may_retry: true, message });
            if status.state == JobState::Failed {
                status.state = JobState::Lost;
            }
        }
        _ => {}
    }
    status
}

fn end(status: &mut JobStatus, outcome: AttemptOutcome) {
    status.exit_code = outcome.exit_code;
    status.reason = Some(outcome.message);
    if outcome.was_cancelled || (status.cancel_requested && outcome.exit_code != Some(0)) {
        status.state = JobState::Cancelled;
    } else if outcome.exit_code == Some(0) {
        status.state = JobState::Succeeded;
        status.reason = None;
    } else if outcome.may_retry && status.retries_left > 0 {
        status.retries_left -= 1;
        status.state = JobState::Queued;
        status.attempt = None;
    } else {
        status.state = JobState::Failed;
    }
}

/// A queued job as the planner sees it.
#[derive(Debug, Clone)]
pub struct PendingJob<J> {
    /// Which job.
    pub job: J,
    /// When it was accepted.
    pub since: Timestamp,
    /// Cores asked for.
    pub cpus: f64,
    /// Memory asked for, in bytes.
    pub memory_bytes: u64,
}

/// What one machine has free.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Cores not given to a job.
    pub cpus: f64,
    /// Memory not given to a job, in bytes.
    pub memory_bytes: u64,
    /// Jobs that may still be started.
    pub jobs: usize,
}

/// Why a job still waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingReason {
    /// It asks for more than this machine has.
    ExceedsMachine,
    /// It is the next one and waits for room.
    NoCapacity,
    /// It waits for jobs that came before it.
    InQueue,
}

impl PendingReason {
    /// One sentence for people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::ExceedsMachine => "asks for more cores or memory than this machine has",
            Self::NoCapacity => "waits for cores and memory that running jobs hold",
            Self::InQueue => "waits for jobs submitted earlier",
        }
    }
}

/// First come, first served, without overtaking: which jobs start now, and why each other one waits.
///
/// `total` is the machine when idle, `free` what is left now. A job that can never fit is held and does not
/// block the ones behind it.
pub fn admit<J: Clone>(
    mut waiting: Vec<PendingJob<J>>,
    total: Capacity,
    mut free: Capacity,
) -> (Vec<J>, Vec<(J, PendingReason)>) {
    waiting.sort_by_key(|it| it.since);
    let (mut start, mut held) = (vec![], vec![]);
    let mut is_blocked = false;
    for it in waiting {
        if it.cpus > total.cpus || it.memory_bytes > total.memory_bytes {
            held.push((it.job, PendingReason::ExceedsMachine));
        } else if is_blocked {
            held.push((it.job, PendingReason::InQueue));
        } else if it.cpus > free.cpus || it.memory_bytes > free.memory_bytes || free.jobs == 0 {
            is_blocked = true;
            held.push((it.job, PendingReason::NoCapacity));
        } else {
            free.cpus -= it.cpus;
            free.memory_bytes -= it.memory_bytes;
            free.jobs -= 1;
            start.push(it.job);
        }
    }
    (start, held)
}

/// How long the files of a failed attempt stay for people who look into it: a day.
const FAILED_KEPT_MS: i64 = 24 * 3600 * 1000;
/// The most failed attempts whose files stay.
const FAILED_KEPT_MAX: usize = 20;

/// An attempt whose files to work with are still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainedAttempt {
    /// Which one.
    pub attempt: AttemptId,
    /// Where it is.
    pub state: JobState,
    /// Whether its job has had no attempt after it.
    pub is_newest: bool,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// The attempts whose files go now: all that are over, but for the failed ones that ended last, for a day, unless
/// their job has been tried again.
pub fn clearable(mut left: Vec<RetainedAttempt>, now: Timestamp) -> Vec<AttemptId> {
    left.retain(|it| it.state.is_final());
    left.sort_by_key(|it| std::cmp::Reverse(it.ended_at));
    let mut kept = 0;
    left.retain(|it| {
        let has_failed = matches!(it.state, JobState::Failed | JobState::Lost);
        let is_fresh = it.ended_at.is_some_and(|at| now.since_ms(at) < FAILED_KEPT_MS);
        let stays = has_failed && it.is_newest && is_fresh && kept < FAILED_KEPT_MAX;
        kept += usize::from(stays);
        !stays
    });
    left.into_iter().map(|it| it.attempt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: u128) -> AttemptId {
        AttemptId::from_parts(Timestamp(1), number)
    }

    fn ended(exit_code: i32) -> AttemptOutcome {
        AttemptOutcome {
            exit_code: Some(exit_code),
            was_cancelled: false,
            may_retry: true,
            message: format!("exit {exit_code}"),
        }
    }

    fn after(retries: u32, events: Vec<JobEvent>) -> JobStatus {
        events.into_iter().fold(JobStatus::new(retries), apply)
    }

    #[test]
    fn the_straight_way() {
        let a = attempt(1);
        let status = after(
            0,
            vec![JobEvent::Admitted(a), JobEvent::Started(a), JobEvent::Running(a), JobEvent::Ended(a, ended(0))],
        );
        assert_eq!((status.state, status.reason), (JobState::Succeeded, None));
    }

    #[test]
    fn a_retry_is_a_new_attempt_and_old_reports_change_nothing() {
        let (a, b) = (attempt(1), attempt(2));
        let status = after(1, vec![JobEvent::Admitted(a), JobEvent::Ended(a, ended(1)), JobEvent::Admitted(b)]);
        assert_eq!(apply(status.clone(), JobEvent::Ended(a, ended(0))), status);
        assert_eq!(apply(status, JobEvent::Ended(b, ended(2))).state, JobState::Failed);
    }

    #[test]
    fn cancel_before_and_while_running() {
        let a = attempt(1);
        assert_eq!(after(3, vec![JobEvent::CancelRequested]).state, JobState::Cancelled);
        let status = apply(after(3, vec![JobEvent::Admitted(a)]), JobEvent::CancelRequested);
        assert_eq!((status.state, status.cancel_requested), (JobState::Admitted, true));
        assert_eq!(apply(status.clone(), JobEvent::Lost(a, "gone".into())).state, JobState::Cancelled);
        // It finished before the request reached it: the result stands.
        assert_eq!(apply(status, JobEvent::Ended(a, ended(0))).state, JobState::Succeeded);
    }

    #[test]
    fn a_lost_attempt_is_tried_again_then_the_job_is_lost() {
        let (a, b) = (attempt(1), attempt(2));
        let status = after(1, vec![JobEvent::Admitted(a), JobEvent::Lost(a, "gone".into())]);
        assert_eq!(status.state, JobState::Queued);
        let status = [JobEvent::Admitted(b), JobEvent::Lost(b, "gone".into())].into_iter().fold(status, apply);
        assert_eq!(status.state, JobState::Lost);
    }

    #[test]
    fn nothing_follows_the_end() {
        let a = attempt(1);
        let done = after(5, vec![JobEvent::Admitted(a), JobEvent::Ended(a, ended(0))]);
        for event in [JobEvent::CancelRequested, JobEvent::Admitted(attempt(9)), JobEvent::Lost(a, "x".into())] {
            assert_eq!(apply(done.clone(), event), done);
        }
    }

    #[test]
    fn files_go_with_the_attempt_unless_somebody_may_look_into_them() {
        let left = |number, state, is_newest, ended_at: Option<i64>| RetainedAttempt {
            attempt: attempt(number),
            state,
            is_newest,
            ended_at: ended_at.map(Timestamp),
        };
        let all = vec![
            left(1, JobState::Running, true, None),
            left(2, JobState::Succeeded, true, Some(90)),
            left(3, JobState::Cancelled, true, Some(80)),
            left(4, JobState::Failed, false, Some(70)),
            left(5, JobState::Failed, true, Some(60)),
            left(6, JobState::Lost, true, Some(50)),
        ];
        assert_eq!(clearable(all.clone(), Timestamp(100)), [2, 3, 4].map(attempt));
        assert_eq!(clearable(all, Timestamp(55 + FAILED_KEPT_MS)), [2, 3, 4, 6].map(attempt));
        let many = (0..25).map(|it| left(it, JobState::Failed, true, Some(it as i64))).collect();
        assert_eq!(clearable(many, Timestamp(100)), [4, 3, 2, 1, 0].map(attempt), "the oldest ones go");
    }

    #[test]
    fn admission_keeps_the_order_and_names_the_reason() {
        let job = |name, since, cpus| PendingJob { job: name, since: Timestamp(since), cpus, memory_bytes: 1 };
        let total = Capacity { cpus: 2.0, memory_bytes: 10, jobs: 4 };
        let free = Capacity { cpus: 1.0, ..total };
        let (start, held) = admit(
            vec![job("late", 4, 1.0), job("big", 2, 2.0), job("first", 1, 1.0), job("never", 3, 8.0)],
            total,
            free,
        );
        assert_eq!(start, ["first"]);
        assert_eq!(
            held,
            [
                ("big", PendingReason::NoCapacity),
                ("never", PendingReason::ExceedsMachine),
                ("late", PendingReason::InQueue)
            ]
        );
    }
}
