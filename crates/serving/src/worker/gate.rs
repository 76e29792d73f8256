//! Who may compute in a worker: many at once, or one alone whose worker ended while it computed beside others.

use super::host::locked;
use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Instant,
};

#[derive(Default)]
struct Inside {
    running: usize,
    /// One is inside alone.
    is_taken: bool,
    /// Those who want to be alone.
    waiting_alone: usize,
    waiting: usize,
}

/// The gate.
#[derive(Default)]
pub(super) struct Gate {
    inside: Mutex<Inside>,
    bell: Condvar,
}

/// A place inside.
pub(super) struct Pass<'a>(&'a Gate);

impl Gate {
    /// Waits for a place until a moment. Those who want to be alone come before others.
    pub(super) fn enter(&self, alone: bool, until: Instant) -> Option<Pass<'_>> {
        let mut inside = locked(&self.inside);
        inside.waiting_alone += usize::from(alone);
        loop {
            let is_free = match alone {
                true => inside.running == 0,
                false => !inside.is_taken && inside.waiting_alone == 0,
            };
            let left = until.saturating_duration_since(Instant::now());
            if is_free || left.is_zero() {
                inside.waiting_alone -= usize::from(alone);
                if is_free {
                    inside.running += 1;
                    inside.is_taken = alone;
                }
                if !is_free && inside.waiting > 0 {
                    self.bell.notify_all();
                }
                return is_free.then(|| Pass(self));
            }
            inside.waiting += 1;
            inside = self.bell.wait_timeout(inside, left).unwrap_or_else(PoisonError::into_inner).0;
            inside.waiting -= 1;
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut inside = locked(&self.0.inside);
        inside.running -= 1;
        inside.is_taken = false;
        if inside.waiting > 0 {
            self.0.bell.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn now() -> Instant {
        Instant::now()
    }

    fn later() -> Instant {
        now() + Duration::from_secs(20)
    }

    impl Gate {
        /// Whether one may enter at once.
        fn is_open(&self) -> bool {
            let inside = locked(&self.inside);
            inside.waiting_alone == 0 && !inside.is_taken
        }
    }

    #[test]
    fn many_are_inside_together_and_one_is_alone() {
        let gate = Gate::default();
        let (a, b) = (gate.enter(false, now()).expect("free"), gate.enter(false, now()).expect("free"));
        assert!(gate.enter(true, now()).is_none(), "two are inside");
        assert!(gate.is_open(), "nobody waits to be alone any more");
        drop((a, b));
        let alone = gate.enter(true, now()).expect("free");
        assert!(!gate.is_open());
        assert!(gate.enter(false, now()).is_none() && gate.enter(true, now()).is_none());
        drop(alone);
        assert!(gate.is_open() && gate.enter(false, now()).is_some());
    }

    #[test]
    fn who_waits_to_be_alone_is_let_in_before_others() {
        let gate = Gate::default();
        let first = gate.enter(false, now()).expect("free");
        std::thread::scope(|scope| {
            let alone = scope.spawn(|| gate.enter(true, later()).map(drop).is_some());
            while gate.is_open() {
                std::thread::yield_now();
            }
            assert!(gate.enter(false, now()).is_none(), "somebody waits to be alone");
            drop(first);
            assert!(alone.join().expect("it ends"));
        });
        assert!(gate.enter(false, later()).is_some());
    }
}
