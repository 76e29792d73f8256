//! What is to be done about a job, from what is known of it and what its runner says.
//!
//! [`reconcile`] is the whole decision, for every runner. It may be asked again at any time, after a crash as well: all
//! actions can be repeated.

use super::{AttemptOutcome, JobEvent, JobState, JobStatus};
use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// What a runner says about an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum AttemptStatus {
    /// Never started there, or forgotten. Starting it is safe.
    Unknown,
    /// Taken, and not running yet.
    Starting {
        /// What it is doing, for people: `building environment`.
        phase: String,
    },
    /// The command runs.
    Running {
        /// The process id of the command.
        pid: u32,
        /// When the command started.
        started_at: Timestamp,
        /// When its supervisor last gave a sign of status.
        heartbeat_at: Timestamp,
    },
    /// It is over, and this never changes.
    Terminated(Termination),
    /// Its supervisor died without a record of the end (a crash, a reboot); nothing of it runs any more.
    Lost {
        /// What was found, for people.
        message: String,
    },
}

/// How an attempt ended; recorded exactly once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Termination {
    /// The exit code of the command, when it exited by itself.
    pub exit_code: Option<i32>,
    /// The signal that ended the command, when one did.
    pub signal: Option<i32>,
    /// Why it ended.
    pub reason: TerminationReason,
    /// One or a few lines for people; may be empty after a plain exit.
    pub message: String,
    /// When the command started; `None` when it never did.
    pub started_at: Option<Timestamp>,
    /// When the last process of the attempt was gone.
    pub ended_at: Timestamp,
}

/// Why an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TerminationReason {
    /// The command ended by itself: an exit code, or a signal that the runner did not send.
    Exited,
    /// It reached `time_ms`, or the environment reached `environment_ms`.
    TimeLimit,
    /// It used more than `memory_bytes`.
    MemoryLimit,
    /// Somebody asked to cancel it.
    Cancelled,
    /// The machine or an operator stopped the supervisor; nobody asked to cancel. May be tried again.
    Interrupted,
    /// Its Python environment could not be built.
    EnvironmentFailed,
    /// The command could not be started.
    StartFailed,
}

/// Something to be done about a job's present attempt, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Hand the attempt to the runner.
    Launch,
    /// Ask the runner to stop the attempt.
    Stop,
    /// Ask the runner not to run the attempt, should it still arrive. That the runner does not know it is no error.
    Withdraw,
    /// Store the declared outputs, then record this end. Who sees a job succeeded finds its outputs.
    StoreOutputs(AttemptOutcome),
    /// Record what happened.
    Record(JobEvent),
}

impl Termination {
    /// The command ran to its end and returned 0.
    pub fn is_success(&self) -> bool {
        self.reason == TerminationReason::Exited && self.exit_code == Some(0)
    }

    /// What this end means for the job.
    pub fn outcome(&self) -> AttemptOutcome {
        use TerminationReason::{
            Cancelled, EnvironmentFailed, Exited, Interrupted, MemoryLimit, StartFailed, TimeLimit,
        };
        let reason = match (self.reason, self.exit_code, self.signal) {
            (Exited, Some(0), _) => String::new(),
            (Exited, Some(code), _) => format!("exited with status {code}"),
            (Exited, None, Some(signal)) => format!("ended by signal {signal}"),
            (Exited, None, None) => "ended without a status".to_owned(),
            (TimeLimit, ..) => "stopped at its time limit".to_owned(),
            (MemoryLimit, ..) => "stopped: it used more memory than it asked for".to_owned(),
            (Cancelled, ..) => "cancelled".to_owned(),
            (Interrupted, ..) => "interrupted by the machine".to_owned(),
            (EnvironmentFailed, ..) => "its environment could not be built".to_owned(),
            (StartFailed, ..) => "its command could not be started".to_owned(),
        };
        // The runner's own words for these say the same, and more.
        let says_it_all = matches!(self.reason, Exited | Cancelled | Interrupted);
        let message = match (reason.is_empty() || says_it_all, self.message.is_empty()) {
            (true, false) => self.message.clone(),
            (_, true) => reason,
            (false, false) => format!("{reason}: {}", self.message),
        };
        // A limit that ended the command counts as a failure even when the command then returned 0.
        let exit_code = self.exit_code.filter(|it| self.reason == Exited || *it != 0);
        let may_retry = !matches!(self.reason, Cancelled | EnvironmentFailed | StartFailed);
        AttemptOutcome { exit_code, was_cancelled: self.reason == Cancelled, may_retry, message }
    }
}

/// What is to be done about a job whose present attempt has that status with its runner.
pub fn reconcile(job: &JobStatus, seen: &AttemptStatus) -> Vec<Action> {
    let Some(attempt) = job.attempt.filter(|_| !job.state.is_final()) else { return vec![] };
    let is_active = matches!(seen, AttemptStatus::Starting { .. } | AttemptStatus::Running { .. });
    let mut actions = vec![];
    if is_active && job.cancel_requested {
        actions.push(Action::Stop);
    }
    match seen {
        AttemptStatus::Unknown if job.cancel_requested => {
            let message = "cancelled before it started".to_owned();
            let ended = AttemptOutcome { exit_code: None, was_cancelled: true, may_retry: false, message };
            actions.extend([Action::Withdraw, Action::Record(JobEvent::Ended(attempt, ended))]);
        }
        AttemptStatus::Unknown if job.state == JobState::Admitted => actions.push(Action::Launch),
        AttemptStatus::Unknown => {
            let lost = JobEvent::Lost(attempt, "the runner has no trace of it".to_owned());
            actions.extend([Action::Withdraw, Action::Record(lost)]);
        }
        AttemptStatus::Starting { .. } if job.state == JobState::Admitted => {
            actions.push(Action::Record(JobEvent::Started(attempt)));
        }
        AttemptStatus::Running { .. } if job.state != JobState::Running => {
            actions.push(Action::Record(JobEvent::Running(attempt)));
        }
        AttemptStatus::Starting { .. } | AttemptStatus::Running { .. } => {}
        AttemptStatus::Lost { message } => actions.push(Action::Record(JobEvent::Lost(attempt, message.clone()))),
        AttemptStatus::Terminated(it) => {
            // It may have ended before anybody looked; it ran all the same.
            if it.started_at.is_some() && matches!(job.state, JobState::Admitted | JobState::Starting) {
                actions.push(Action::Record(JobEvent::Running(attempt)));
            }
            actions.push(match it.is_success() {
                true => Action::StoreOutputs(it.outcome()),
                false => Action::Record(JobEvent::Ended(attempt, it.outcome())),
            });
        }
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::{super::apply, *};
    use crate::ids::AttemptId;

    fn terminated(reason: TerminationReason, exit_code: Option<i32>, started: bool) -> AttemptStatus {
        AttemptStatus::Terminated(Termination {
            exit_code,
            signal: None,
            reason,
            message: String::new(),
            started_at: started.then_some(Timestamp(1)),
            ended_at: Timestamp(2),
        })
    }

    fn statuses() -> Vec<(&'static str, AttemptStatus)> {
        use TerminationReason::{Cancelled, Exited, StartFailed};
        vec![
            ("unknown", AttemptStatus::Unknown),
            ("starting", AttemptStatus::Starting { phase: "building environment".into() }),
            ("running", AttemptStatus::Running { pid: 1, started_at: Timestamp(1), heartbeat_at: Timestamp(1) }),
            ("exit 0", terminated(Exited, Some(0), true)),
            ("exit 3", terminated(Exited, Some(3), true)),
            ("cancelled", terminated(Cancelled, None, true)),
            ("never ran", terminated(StartFailed, None, false)),
            ("lost", AttemptStatus::Lost { message: "a reboot".into() }),
        ]
    }

    fn word(action: &Action) -> &'static str {
        match action {
            Action::Launch => "launch",
            Action::Stop => "stop",
            Action::Withdraw => "withdraw",
            Action::StoreOutputs(_) => "store-outputs",
            Action::Record(JobEvent::Started(_)) => "started",
            Action::Record(JobEvent::Running(_)) => "running",
            Action::Record(JobEvent::Ended(_, it)) if it.was_cancelled => "cancelled",
            Action::Record(JobEvent::Ended(..)) => "failed",
            Action::Record(JobEvent::Lost(..)) => "lost",
            Action::Record(JobEvent::Admitted(_) | JobEvent::CancelRequested) => "never",
        }
    }

    fn job(state: JobState, cancel_requested: bool) -> JobStatus {
        let attempt = (state != JobState::Queued).then(|| AttemptId::from_parts(Timestamp(1), 1));
        JobStatus { state, attempt, cancel_requested, ..JobStatus::new(1) }
    }

    /// Every state × whether somebody asked to cancel × every status, as it was decided. A line that changes is a change
    /// of behaviour.
    #[test]
    fn every_combination_has_its_decision() {
        let mut table = vec![];
        for state in JobState::ALL {
            for cancel_requested in [false, true] {
                let cells: Vec<String> = statuses()
                    .iter()
                    .map(|(_, seen)| {
                        let actions = reconcile(&job(state, cancel_requested), seen);
                        match actions.is_empty() {
                            true => "-".to_owned(),
                            false => actions.iter().map(word).collect::<Vec<_>>().join("+"),
                        }
                    })
                    .collect();
                let name = format!("{}{}", state.as_str(), if cancel_requested { "!" } else { "" });
                table.push(format!("{name}: {}", cells.join(", ")));
            }
        }
        // Statuses from left to right: unknown, starting, running, exit 0, exit 3, cancelled, never ran, lost. `!` means
        // that somebody asked to cancel.
        let nothing = "-, -, -, -, -, -, -, -";
        let want = [
            format!("queued: {nothing}"),
            format!("queued!: {nothing}"),
            "admitted: launch, started, running, running+store-outputs, running+failed, running+cancelled, failed, lost".into(),
            "admitted!: withdraw+cancelled, stop+started, stop+running, running+store-outputs, running+failed, \
             running+cancelled, failed, lost"
                .into(),
            "starting: withdraw+lost, -, running, running+store-outputs, running+failed, running+cancelled, failed, lost".into(),
            "starting!: withdraw+cancelled, stop, stop+running, running+store-outputs, running+failed, running+cancelled, \
             failed, lost"
                .into(),
            "running: withdraw+lost, -, -, store-outputs, failed, cancelled, failed, lost".into(),
            "running!: withdraw+cancelled, stop, stop, store-outputs, failed, cancelled, failed, lost".into(),
            format!("succeeded: {nothing}"),
            format!("succeeded!: {nothing}"),
            format!("failed: {nothing}"),
            format!("failed!: {nothing}"),
            format!("cancelled: {nothing}"),
            format!("cancelled!: {nothing}"),
            format!("lost: {nothing}"),
            format!("lost!: {nothing}"),
        ];
        assert_eq!(table, want);
    }

    /// What is recorded changes the job, or the loop would do the same for ever; and doing it twice changes nothing more.
    #[test]
    fn recording_goes_forward_and_ends() {
        for state in JobState::ALL {
            for cancel_requested in [false, true] {
                for (name, seen) in statuses() {
                    let mut status = job(state, cancel_requested);
                    for action in reconcile(&status, &seen) {
                        let event = match action {
                            Action::Record(event) => event,
                            Action::StoreOutputs(ended) => JobEvent::Ended(status.attempt.expect("an attempt"), ended),
                            Action::Launch | Action::Stop | Action::Withdraw => continue,
                        };
                        let after = apply(status.clone(), event);
                        assert_ne!(after, status, "{state:?} {name}");
                        status = after;
                    }
                    let again = reconcile(&status, &seen);
                    let records = again.iter().filter(|it| !matches!(it, Action::Launch | Action::Stop));
                    assert_eq!(records.count(), 0, "{state:?} {name}: {again:?}");
                }
            }
        }
    }

    #[test]
    fn an_end_is_told_in_words() {
        let end = |reason, exit_code, signal, message: &str| {
            let message = message.to_owned();
            let it = Termination { exit_code, signal, reason, message, started_at: None, ended_at: Timestamp(1) };
            let ended = it.outcome();
            (ended.message, ended.exit_code, ended.was_cancelled, ended.may_retry)
        };
        use TerminationReason::{Cancelled, EnvironmentFailed, Exited, MemoryLimit, TimeLimit};
        assert_eq!(end(Exited, Some(0), None, ""), (String::new(), Some(0), false, true));
        assert_eq!(end(Exited, Some(2), None, ""), ("exited with status 2".into(), Some(2), false, true));
        assert_eq!(end(Exited, None, Some(11), ""), ("ended by signal 11".into(), None, false, true));
        assert_eq!(end(Cancelled, None, None, "cancelled by ada"), ("cancelled by ada".into(), None, true, false));
        // It returned 0 after it had been told to stop: that is no success.
        assert_eq!(end(TimeLimit, Some(0), None, ""), ("stopped at its time limit".into(), None, false, true));
        assert_eq!(
            end(MemoryLimit, None, Some(9), "2 GiB"),
            ("stopped: it used more memory than it asked for: 2 GiB".into(), None, false, true)
        );
        assert!(!end(EnvironmentFailed, None, None, "no uv").3);
    }
}
