//! What ends a run in a worker whose caller is gone. Each run has a mark of its own: a stop that comes late finds the mark
//! of a run that is over, and meets no other.

use super::host::{Worker, locked};
use crate::engine::Stop;
use std::sync::{Arc, Mutex};

/// Who stops the run of a channel.
pub(super) trait Stops: Send + Sync {
    fn stop(&self, channel: u64);
}

impl Stops for Worker {
    fn stop(&self, channel: u64) {
        Self::stop(self, channel);
    }
}

enum Now {
    /// The run has not begun, or is tried again.
    Waiting,
    Running(Arc<dyn Stops>, u64),
    Stopped,
}

/// The mark of one run.
pub(super) struct Mark(Mutex<Now>);

impl Default for Mark {
    fn default() -> Self {
        Self(Mutex::new(Now::Waiting))
    }
}

impl Mark {
    /// The run begins on a channel. `false` when nobody waits for it any more: then it must not.
    pub(super) fn begin(&self, worker: Arc<dyn Stops>, channel: u64) -> bool {
        let mut now = locked(&self.0);
        if matches!(*now, Now::Stopped) {
            return false;
        }
        *now = Now::Running(worker, channel);
        true
    }

    /// The run is over. Whether it was stopped: then the stop may still be on its way, and the channel takes no other run.
    pub(super) fn end(&self) -> bool {
        let mut now = locked(&self.0);
        if matches!(*now, Now::Running(..)) {
            *now = Now::Waiting;
        }
        matches!(*now, Now::Stopped)
    }
}

impl Stop for Mark {
    fn stop(&self) {
        let mut now = locked(&self.0);
        if let Now::Running(worker, channel) = std::mem::replace(&mut *now, Now::Stopped) {
            worker.stop(channel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Vec<u64>>);

    impl Stops for Told {
        fn stop(&self, channel: u64) {
            locked(&self.0).push(channel);
        }
    }

    #[test]
    fn a_stop_meets_its_own_run_alone() {
        let told = Arc::new(Told::default());
        let heard = || locked(&told.0).clone();
        let early = Mark::default();
        early.stop();
        assert!(!early.begin(told.clone(), 1), "nobody waits for it");
        let timely = Mark::default();
        assert!(timely.begin(told.clone(), 2));
        timely.stop();
        timely.stop();
        assert_eq!(heard(), [2], "once");
        assert!(timely.end(), "its channel takes no other run");
        assert!(!timely.begin(told.clone(), 3), "nor is it tried again");
        let late = Mark::default();
        assert!(late.begin(told.clone(), 4) && !late.end());
        let next = Mark::default();
        assert!(next.begin(told.clone(), 4));
        late.stop();
        assert_eq!(heard(), [2], "the next run of the channel goes on");
        assert!(!next.end());
    }
}
