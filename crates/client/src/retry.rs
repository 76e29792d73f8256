//! When to try again, and how long to wait before: pure rules, chance and time handed in.

use std::time::Duration;

/// How long a caller is willing to wait for a server that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Until the server has answered for the first time.
    pub first: Duration,
    /// Once it has answered before: long enough to ride through a restart.
    pub later: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { first: Duration::from_secs(3), later: Duration::from_secs(60) }
    }
}

impl Patience {
    /// The same patience at any time.
    pub fn always(span: Duration) -> Self {
        Self { first: span, later: span }
    }
}

/// Whether doing a call twice would do the thing twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Reading, replacing, deleting, or a call with a request key.
    Safe,
    /// May only be repeated when it certainly did not arrive.
    Never,
}

/// How a try ended, when it did not end with an answer to hand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No connection was made: the call did not arrive.
    NotSent,
    /// The connection broke or fell silent: the call may have arrived.
    Broken,
    /// The server asked for a pause (429, 503) or something before it did not reach it (502).
    Busy,
}

/// Whether to try again after `trouble`.
pub(crate) fn may_repeat(repeat: Repeat, trouble: Trouble) -> bool {
    match (repeat, trouble) {
        (_, Trouble::NotSent) | (Repeat::Safe, _) => true,
        (Repeat::Never, Trouble::Broken | Trouble::Busy) => false,
    }
}

/// The wait before try number `tries` (the first repetition is 1): 100 ms doubling to 2 s, of which a
/// random half is taken off, so that many clients do not return at one moment. `chance` is 0 to 255.
pub(crate) fn pause(tries: u32, chance: u8) -> Duration {
    let full_ms = 100u64.saturating_mul(1 << tries.saturating_sub(1).min(5)).min(2000);
    Duration::from_millis(full_ms / 2 + full_ms / 2 * u64::from(chance) / 255)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_arrived_is_repeated_only_when_safe() {
        assert!(may_repeat(Repeat::Never, Trouble::NotSent));
        assert!(!may_repeat(Repeat::Never, Trouble::Broken));
        assert!(!may_repeat(Repeat::Never, Trouble::Busy));
        for trouble in [Trouble::NotSent, Trouble::Broken, Trouble::Busy] {
            assert!(may_repeat(Repeat::Safe, trouble));
        }
    }

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        assert_eq!(pause(1, 255), Duration::from_millis(100));
        assert_eq!(pause(1, 0), Duration::from_millis(50));
        assert_eq!(pause(1000, 255), Duration::from_millis(2000));
    }
}
