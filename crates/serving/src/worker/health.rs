//! When a model that keeps ending its process is started again, when it is set aside, and which call an end is blamed on:
//! pure functions.

use super::{control::Ending, host::Ended};
use std::time::Duration;

/// Ends within this time count together.
pub const WINDOW: Duration = Duration::from_secs(60);
/// So many ends within the window set a model aside.
pub const ENDS_MAX: usize = 5;
/// So many good calls make up for one end: where most calls are good, one caller who sends bad ones must not take the
/// model away from all others.
pub const GOOD_PER_END: u64 = 20;
/// The pause before the second start within the window; it doubles from there.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a model is set aside at first; it doubles each time.
pub const ASIDE: Duration = Duration::from_secs(30);
/// The longest that a model is set aside.
pub const ASIDE_MAX: Duration = Duration::from_secs(600);

/// What is remembered of a model's ends. Times count from any moment that stays the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Ends within the window that nothing has made up for, the oldest first.
    ends: Vec<Duration>,
    /// How often it was set aside without having been well in between.
    asides: u32,
    /// It was set aside and has not given a good answer since.
    is_on_trial: bool,
}

/// What to do about an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Start again after this time.
    Start(Duration),
    /// Refuse calls for this time; the first call after it starts the model again.
    SetAside(Duration),
}

/// What an end means, after `good` calls were answered since the end before.
pub fn after_end(mut past: History, good: u64, now: Duration) -> (History, Next) {
    if good >= GOOD_PER_END {
        past.is_on_trial = false;
    }
    let forgiven = usize::try_from(good / GOOD_PER_END).unwrap_or(usize::MAX).min(past.ends.len());
    past.ends.drain(..forgiven);
    past.ends.retain(|it| now.saturating_sub(*it) < WINDOW);
    past.ends.push(now);
    if past.ends.len() >= ENDS_MAX || past.is_on_trial {
        let time = ASIDE.saturating_mul(2u32.saturating_pow(past.asides)).min(ASIDE_MAX);
        let asides = past.asides.saturating_add(1);
        return (History { ends: vec![], asides, is_on_trial: true }, Next::SetAside(time));
    }
    if past.ends.len() == 1 && good >= GOOD_PER_END {
        past.asides = 0;
    }
    let pause = match past.ends.len() {
        ..=1 => Duration::ZERO,
        count => PAUSE.saturating_mul(2u32.saturating_pow(u32::try_from(count - 2).unwrap_or(u32::MAX))),
    };
    (past, Next::Start(pause))
}

/// What a start that failed means: as an end, without anything that could have made up for it.
pub fn after_failed_start(past: History) -> (History, Next) {
    let time = ASIDE.saturating_mul(2u32.saturating_pow(past.asides)).min(ASIDE_MAX);
    let asides = past.asides.saturating_add(1);
    (History { ends: vec![], asides, is_on_trial: true }, Next::SetAside(time))
}

/// Whether a worker ended for the call of that channel. Signals that come from outside say nothing about it, nor does a
/// crash while others computed too: such a call runs again, alone, and then it is clear.
pub(super) fn is_to_blame(ended: &Ended, channel: u64, alone: bool) -> bool {
    match (ended.ended_for, &ended.how) {
        _ if alone => true,
        (Some(it), _) => it == channel,
        (None, Ending::Signal(9 | 15) | Ending::Orphaned | Ending::NotStarted(_)) => false,
        (None, _) => ended.running <= 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends at these seconds, each after so many good calls.
    fn told(ends: &[(u64, u64)]) -> Vec<String> {
        let mut past = History::default();
        let mut all = vec![];
        for (second, good) in ends {
            let (new, next) = after_end(past, *good, Duration::from_secs(*second));
            past = new;
            all.push(match next {
                Next::Start(time) => format!("{}ms", time.as_millis()),
                Next::SetAside(time) => format!("aside {}s", time.as_secs()),
            });
        }
        all
    }

    #[test]
    fn each_history_has_its_answer() {
        type Case = (&'static str, &'static [(u64, u64)], &'static [&'static str]);
        let cases: [Case; 7] = [
            ("one end", &[(0, 0)], &["0ms"]),
            (
                "five at once",
                &[(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)],
                &["0ms", "100ms", "200ms", "400ms", "aside 30s"],
            ),
            ("five in a long time", &[(0, 0), (70, 0), (140, 0), (210, 0), (280, 0)], &["0ms"; 5]),
            ("a bad caller among good ones", &[(0, 0), (1, 50), (2, 50), (3, 50), (4, 50), (5, 50)], &["0ms"; 6]),
            (
                "too few good calls",
                &[(0, 0), (1, 19), (2, 19), (3, 19), (4, 19)],
                &["0ms", "100ms", "200ms", "400ms", "aside 30s"],
            ),
            (
                "no better after it was set aside",
                &[(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (40, 0), (110, 3), (240, 0), (600, 0), (2000, 0)],
                &[
                    "0ms",
                    "100ms",
                    "200ms",
                    "400ms",
                    "aside 30s",
                    "aside 60s",
                    "aside 120s",
                    "aside 240s",
                    "aside 480s",
                    "aside 600s",
                ],
            ),
            (
                "well again after it was set aside",
                &[(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (100, 20), (101, 0), (102, 0), (103, 0), (104, 0)],
                &["0ms", "100ms", "200ms", "400ms", "aside 30s", "0ms", "100ms", "200ms", "400ms", "aside 30s"],
            ),
        ];
        for (what, ends, want) in cases {
            assert_eq!(told(ends), want, "{what}");
        }
    }

    #[test]
    fn a_start_that_fails_is_tried_ever_more_rarely() {
        let mut past = History::default();
        for seconds in [30, 60, 120, 240, 480, 600, 600] {
            let (new, next) = after_failed_start(past);
            assert_eq!(next, Next::SetAside(Duration::from_secs(seconds)));
            past = new;
        }
    }

    #[test]
    fn who_is_to_blame_for_an_end() {
        let ended = |how, running, ended_for| Ended { how, running, ended_for };
        let (fault, killed) = (Ending::Signal(8), Ending::Signal(9));
        let cases = [
            ("alone in the worker when it crashed", ended(fault.clone(), 1, None), false, true),
            ("beside another when it crashed", ended(fault.clone(), 2, None), false, false),
            ("again, alone, when it crashed", ended(fault, 1, None), true, true),
            ("killed from outside", ended(killed.clone(), 1, None), false, false),
            ("killed from outside again", ended(killed.clone(), 1, None), true, true),
            ("ended for this call", ended(killed.clone(), 3, Some(7)), false, true),
            ("ended for another's call", ended(killed, 3, Some(8)), false, false),
            ("all workers ended", ended(Ending::Orphaned, 1, None), false, false),
            ("it left by itself", ended(Ending::Exit(1), 1, None), false, true),
        ];
        for (what, ended, alone, want) in cases {
            assert_eq!(is_to_blame(&ended, 7, alone), want, "{what}");
        }
    }
}
