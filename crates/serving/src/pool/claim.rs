//! One caller's hold on its call: who gets it first, and what ends its run.

use super::{Shared, locked};
use crate::engine::Stop;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU8, Ordering},
};

/// Who gets a waiting call first: the thread that runs it, or its caller who gives up. A run that has begun is waited
/// for until the time of its call is over.
#[derive(Default)]
pub(super) struct Claim {
    taken: AtomicU8,
    stop: Mutex<Option<Arc<dyn Stop>>>,
}

impl Claim {
    pub(super) fn take(&self) -> bool {
        self.taken.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Says what ends the run that begins now, or that none runs any more.
    pub(super) fn begin(&self, stop: Option<Arc<dyn Stop>>) {
        *locked(&self.stop) = stop;
    }

    /// Ends the run. Under the lock: afterwards the session may run another call, which must not meet this.
    pub(super) fn stop(&self) {
        if let Some(it) = &*locked(&self.stop) {
            it.stop();
        }
    }
}

/// A caller's place in the queue. Who gives up takes the call out with all that it holds: tensors that nobody waits
/// for would fill the memory until their turn came. A run that nobody waits for is ended.
pub(super) struct Place<'a> {
    pub(super) shared: &'a Shared,
    pub(super) claim: &'a Arc<Claim>,
    /// There is an answer, so the call is not in the queue.
    pub(super) is_over: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.claim.stop();
        let call = locked(&self.shared.queue).remove(self.claim);
        // After the lock: it may be large.
        drop(call);
    }
}
