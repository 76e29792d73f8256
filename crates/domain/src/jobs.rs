//! The life of a job: `queued → admitted → starting → running → succeeded | failed | cancelled | lost`.
//!
//! [`step`] is the whole rule. Runners repeat themselves and reports arrive late or out of order, so an
//! event that does not fit the state changes nothing.

use crate::{Timestamp, ids::AttemptId};
use serde::{Deserialize, Serialize};

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
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

impl State {
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

/// What the rule knows of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Where it is.
    pub state: State,
    /// Attempts that may still follow the present one.
    pub retries_left: u32,
    /// The present attempt.
    pub attempt: Option<AttemptId>,
    /// Somebody asked it to stop.
    pub cancel_asked: bool,
    /// One sentence: why it is where it is.
    pub reason: Option<String>,
    /// Exit status of the last attempt's command.
    pub exit_code: Option<i32>,
}

impl Life {
    /// A job that was just accepted.
    pub fn new(retries: u32) -> Self {
        Self {
            state: State::Queued,
            retries_left: retries,
            attempt: None,
            cancel_asked: false,
            reason: None,
            exit_code: None,
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
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
pub enum Event {
    /// There is room for it; this is the new attempt.
    Admitted(AttemptId),
    /// The runner has taken the attempt.
    Started(AttemptId),
    /// The attempt's command runs.
    Running(AttemptId),
    /// The attempt ended.
    Ended(AttemptId, Ended),
    /// The runner does not know what became of the attempt.
    Lost(AttemptId, String),
    /// Somebody asks it to stop.
    CancelAsked,
}

/// What the caller must then do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Hand the attempt to the runner.
    Launch(AttemptId),
    /// Tell the runner to stop the attempt.
    Stop(AttemptId),
    /// Let the runner remove what the attempt worked with. Its outputs have been kept.
    CleanUp(AttemptId),
}

/// What a job becomes when `event` happens, and what the caller must then do about it.
pub fn step(mut life: Life, event: Event) -> (Life, Vec<Effect>) {
    if life.state.is_final() {
        return (life, vec![]);
    }
    match event {
        Event::CancelAsked => cancel(life),
        Event::Admitted(attempt) if life.state == State::Queued => {
            life.state = State::Admitted;
            life.attempt = Some(attempt);
            life.reason = None;
            (life, vec![Effect::Launch(attempt)])
        }
        Event::Started(attempt) if life.attempt == Some(attempt) && life.state == State::Admitted => {
            life.state = State::Starting;
            (life, vec![])
        }
        Event::Running(attempt)
            if life.attempt == Some(attempt) && matches!(life.state, State::Admitted | State::Starting) =>
        {
            life.state = State::Running;
            (life, vec![])
        }
        Event::Ended(attempt, ended) if life.attempt == Some(attempt) => end(life, attempt, ended),
        Event::Lost(attempt, why) if life.attempt == Some(attempt) => {
            let ended = Ended { exit_code: None, was_cancelled: life.cancel_asked, may_retry: true, message: why };
            let (mut life, effects) = end(life, attempt, ended);
            if life.state == State::Failed {
                life.state = State::Lost;
            }
            (life, effects)
        }
        _ => (life, vec![]),
    }
}

fn cancel(mut life: Life) -> (Life, Vec<Effect>) {
    life.cancel_asked = true;
    match life.attempt {
        None => {
            life.state = State::Cancelled;
            life.reason = Some("cancelled before it started".to_owned());
            (life, vec![])
        }
        Some(attempt) => (life, vec![Effect::Stop(attempt)]),
    }
}

fn end(mut life: Life, attempt: AttemptId, ended: Ended) -> (Life, Vec<Effect>) {
    let clean_up = vec![Effect::CleanUp(attempt)];
    life.exit_code = ended.exit_code;
    life.reason = Some(ended.message);
    if ended.was_cancelled || (life.cancel_asked && ended.exit_code != Some(0)) {
        life.state = State::Cancelled;
    } else if ended.exit_code == Some(0) {
        life.state = State::Succeeded;
        life.reason = None;
    } else if ended.may_retry && life.retries_left > 0 {
        life.retries_left -= 1;
        life.state = State::Queued;
        life.attempt = None;
    } else {
        life.state = State::Failed;
    }
    (life, clean_up)
}

/// A queued job as the planner sees it.
#[derive(Debug, Clone)]
pub struct Waiting<J> {
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
pub struct Room {
    /// Cores not given to a job.
    pub cpus: f64,
    /// Memory not given to a job, in bytes.
    pub memory_bytes: u64,
    /// Jobs that may still be started.
    pub jobs: usize,
}

/// Why a job still waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It asks for more than this machine has.
    NeverFits,
    /// It is the next one and waits for room.
    NoRoom,
    /// It waits for jobs that came before it.
    ItsTurn,
}

impl Hold {
    /// One sentence for people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NeverFits => "asks for more cores or memory than this machine has",
            Self::NoRoom => "waits for cores and memory that running jobs hold",
            Self::ItsTurn => "waits for jobs submitted earlier",
        }
    }
}

/// First come, first served, without overtaking: which jobs start now, and why each other one waits.
///
/// `total` is the machine when idle, `free` what is left now. A job that can never fit is held and does not
/// block the ones behind it.
pub fn admit<J: Clone>(mut waiting: Vec<Waiting<J>>, total: Room, mut free: Room) -> (Vec<J>, Vec<(J, Hold)>) {
    waiting.sort_by_key(|it| it.since);
    let (mut start, mut held) = (vec![], vec![]);
    let mut is_blocked = false;
    for it in waiting {
        if it.cpus > total.cpus || it.memory_bytes > total.memory_bytes {
            held.push((it.job, Hold::NeverFits));
        } else if is_blocked {
            held.push((it.job, Hold::ItsTurn));
        } else if it.cpus > free.cpus || it.memory_bytes > free.memory_bytes || free.jobs == 0 {
            is_blocked = true;
            held.push((it.job, Hold::NoRoom));
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
pub struct Leftover {
    /// Which one.
    pub attempt: AttemptId,
    /// Where it is.
    pub state: State,
    /// Whether its job has had no attempt after it.
    pub is_newest: bool,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// The attempts whose files go now: all that are over, but for the failed ones that ended last, for a day, unless
/// their job has been tried again.
pub fn clearable(mut left: Vec<Leftover>, now: Timestamp) -> Vec<AttemptId> {
    left.retain(|it| it.state.is_final());
    left.sort_by_key(|it| std::cmp::Reverse(it.ended_at));
    let mut kept = 0;
    left.retain(|it| {
        let has_failed = matches!(it.state, State::Failed | State::Lost);
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

    fn ended(exit_code: i32) -> Ended {
        Ended {
            exit_code: Some(exit_code),
            was_cancelled: false,
            may_retry: true,
            message: format!("exit {exit_code}"),
        }
    }

    fn after(retries: u32, events: Vec<Event>) -> Life {
        events.into_iter().fold(Life::new(retries), |life, event| step(life, event).0)
    }

    #[test]
    fn the_straight_way() {
        let a = attempt(1);
        let life = after(0, vec![Event::Admitted(a), Event::Started(a), Event::Running(a), Event::Ended(a, ended(0))]);
        assert_eq!((life.state, life.reason), (State::Succeeded, None));
    }

    #[test]
    fn a_retry_is_a_new_attempt_and_old_reports_change_nothing() {
        let (a, b) = (attempt(1), attempt(2));
        let life = after(1, vec![Event::Admitted(a), Event::Ended(a, ended(1)), Event::Admitted(b)]);
        let (same, effects) = step(life.clone(), Event::Ended(a, ended(0)));
        assert_eq!((&same, effects.len()), (&life, 0));
        assert_eq!(step(life, Event::Ended(b, ended(2))).0.state, State::Failed);
    }

    #[test]
    fn cancel_before_and_while_running() {
        let a = attempt(1);
        assert_eq!(after(3, vec![Event::CancelAsked]).state, State::Cancelled);
        let (life, effects) = step(after(3, vec![Event::Admitted(a)]), Event::CancelAsked);
        assert_eq!(effects, vec![Effect::Stop(a)]);
        assert_eq!(step(life.clone(), Event::Lost(a, "gone".into())).0.state, State::Cancelled);
        // It finished before the request reached it: the result stands.
        assert_eq!(step(life, Event::Ended(a, ended(0))).0.state, State::Succeeded);
    }

    #[test]
    fn a_lost_attempt_is_tried_again_then_the_job_is_lost() {
        let (a, b) = (attempt(1), attempt(2));
        let life = after(1, vec![Event::Admitted(a), Event::Lost(a, "gone".into())]);
        assert_eq!(life.state, State::Queued);
        let life = [Event::Admitted(b), Event::Lost(b, "gone".into())].into_iter().fold(life, |it, e| step(it, e).0);
        assert_eq!(life.state, State::Lost);
    }

    #[test]
    fn nothing_follows_the_end() {
        let a = attempt(1);
        let done = after(5, vec![Event::Admitted(a), Event::Ended(a, ended(0))]);
        for event in [Event::CancelAsked, Event::Admitted(attempt(9)), Event::Lost(a, "x".into())] {
            assert_eq!(step(done.clone(), event), (done.clone(), vec![]));
        }
    }

    #[test]
    fn files_go_with_the_attempt_unless_somebody_may_look_into_them() {
        let left = |number, state, is_newest, ended_at: Option<i64>| Leftover {
            attempt: attempt(number),
            state,
            is_newest,
            ended_at: ended_at.map(Timestamp),
        };
        let all = vec![
            left(1, State::Running, true, None),
            left(2, State::Succeeded, true, Some(90)),
            left(3, State::Cancelled, true, Some(80)),
            left(4, State::Failed, false, Some(70)),
            left(5, State::Failed, true, Some(60)),
            left(6, State::Lost, true, Some(50)),
        ];
        assert_eq!(clearable(all.clone(), Timestamp(100)), [2, 3, 4].map(attempt));
        assert_eq!(clearable(all, Timestamp(55 + FAILED_KEPT_MS)), [2, 3, 4, 6].map(attempt));
        let many = (0..25).map(|it| left(it, State::Failed, true, Some(it as i64))).collect();
        assert_eq!(clearable(many, Timestamp(100)), [4, 3, 2, 1, 0].map(attempt), "the oldest ones go");
    }

    #[test]
    fn admission_keeps_the_order_and_names_the_reason() {
        let job = |name, since, cpus| Waiting { job: name, since: Timestamp(since), cpus, memory_bytes: 1 };
        let total = Room { cpus: 2.0, memory_bytes: 10, jobs: 4 };
        let free = Room { cpus: 1.0, ..total };
        let (start, held) = admit(
            vec![job("late", 4, 1.0), job("big", 2, 2.0), job("first", 1, 1.0), job("never", 3, 8.0)],
            total,
            free,
        );
        assert_eq!(start, ["first"]);
        assert_eq!(held, [("big", Hold::NoRoom), ("never", Hold::NeverFits), ("late", Hold::ItsTurn)]);
    }
}
