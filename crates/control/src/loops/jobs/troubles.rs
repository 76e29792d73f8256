//! What the loop cannot get done for a job now: told as the job's reason, and tried again ever more rarely.
//!
//! Kept in memory alone. A restarted server tries at once and learns the same, so nothing is lost with it.

use kaogong_domain::{ErrorKind, Problem, ids::JobId};
use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Between the first two tries; it doubles from then on.
const WAIT_MIN: Duration = Duration::from_millis(500);
/// The longest between two tries.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The troubles of this server's loop. Ids are unique, so that several loops in one process do not meet here.
pub(super) static TROUBLES: LazyLock<Troubles> = LazyLock::new(Troubles::default);

/// Jobs in trouble.
#[derive(Default)]
pub(super) struct Troubles(Mutex<HashMap<JobId, Trouble>>);

struct Trouble {
    why: String,
    since: Instant,
    next: Instant,
    wait: Duration,
}

impl Troubles {
    fn all(&self) -> MutexGuard<'_, HashMap<JobId, Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a try has failed.
    pub(super) fn note(&self, job: JobId, why: String, now: Instant) {
        let mut all = self.all();
        let it = all.entry(job).or_insert(Trouble { why: String::new(), since: now, next: now, wait: WAIT_MIN });
        it.why = why;
        it.next = now + it.wait;
        it.wait = (it.wait * 2).min(WAIT_MAX);
    }

    /// Whether the next try is still to be waited for.
    pub(super) fn is_waiting(&self, job: JobId, now: Instant) -> bool {
        self.all().get(&job).is_some_and(|it| now < it.next)
    }

    /// How long it lasts.
    pub(super) fn lasts(&self, job: JobId, now: Instant) -> Duration {
        self.all().get(&job).map_or(Duration::ZERO, |it| now.duration_since(it.since))
    }

    /// What it is, for people.
    pub(super) fn why(&self, job: JobId) -> Option<String> {
        self.all().get(&job).map(|it| it.why.clone())
    }

    /// It is over.
    pub(super) fn clear(&self, job: JobId) {
        self.all().remove(&job);
    }

    /// Forgets jobs that have ended elsewhere.
    pub(super) fn keep_only(&self, is_wanted: impl Fn(JobId) -> bool) {
        self.all().retain(|job, _| is_wanted(*job));
    }
}

/// A problem as the reason of a job: with its cause, which nobody at the page can look up, and what to do.
pub(super) fn words(problem: &Problem) -> String {
    if problem.kind == ErrorKind::Bug {
        return "something went wrong in the server; the server's log has the details".to_owned();
    }
    let causes = problem.causes();
    // A cause that was made from a failed file operation begins with the very text of its problem.
    let mut text = match causes.strip_prefix(&problem.text) {
        _ if causes.is_empty() => problem.text.clone(),
        Some(_) => causes,
        None => format!("{}: {causes}", problem.text),
    };
    if let Some(hint) = &problem.hint {
        text = format!("{text} ({hint})");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use kaogong_domain::Timestamp;

    #[test]
    fn tries_get_rarer_and_a_success_forgets_them() {
        let (troubles, job, start) = (Troubles::default(), JobId::generate(Timestamp(1)), Instant::now());
        assert!(!troubles.is_waiting(job, start));
        let (mut now, mut tries) = (start, 0);
        while now < start + Duration::from_secs(1800) {
            if !troubles.is_waiting(job, now) {
                troubles.note(job, format!("try {tries}"), now);
                tries += 1;
            }
            now += Duration::from_millis(500);
        }
        assert!((30..50).contains(&tries), "{tries} tries in half an hour");
        assert!(troubles.lasts(job, now) >= Duration::from_secs(1800));
        assert_eq!(troubles.why(job), Some(format!("try {}", tries - 1)));
        troubles.clear(job);
        assert_eq!((troubles.why(job), troubles.lasts(job, now)), (None, Duration::ZERO));
    }

    #[test]
    fn a_reason_has_cause_and_hint_and_no_inside_of_a_bug() {
        let full = || std::io::Error::other("no space left on device");
        let problem = Problem::unavailable("cannot write x").hint("free some space").because(full());
        assert_eq!(words(&problem), "cannot write x: no space left on device (free some space)");
        let problem = Problem::unavailable("cannot write x").because(std::io::Error::other("cannot write x: full"));
        assert_eq!(words(&problem), "cannot write x: full");
        assert!(!words(&Problem::bug("secret inside", full())).contains("secret"));
    }
}
