//! The calls that wait for a compute thread, and how many threads are awake for them.

use super::{BATCH_ROWS_MAX, QUEUE_MAX, Reply, batch, claim::Claim};
use crate::tensor::Tensor;
use kaogong_domain::{ErrorKind, Problem};
use std::{collections::VecDeque, sync::Arc, time::Instant};
use tokio::sync::oneshot;

/// Work that one compute thread is left with before another is woken, in nanoseconds: some times what waking it costs.
const BACKLOG_NS: u64 = 200_000;

/// A call that waits.
pub(super) struct Call {
    pub(super) inputs: Vec<Tensor>,
    pub(super) since: Instant,
    /// When it is given up unless its run has begun.
    pub(super) deadline: Instant,
    /// When its run is ended.
    pub(super) until: Instant,
    /// Rows, when the call may share a run.
    pub(super) rows: Option<usize>,
    pub(super) claim: Arc<Claim>,
    pub(super) reply: oneshot::Sender<Result<Reply, Problem>>,
}

impl Call {
    fn weight(&self) -> usize {
        self.rows.unwrap_or(1)
    }
}

/// Calls in the order of their arrival.
pub(super) struct Queue {
    pub(super) calls: VecDeque<Call>,
    /// Rows of all of them.
    rows: usize,
    threads: usize,
    /// Threads that wait for calls.
    resting: usize,
    /// Those of them that were woken and do not know it yet.
    waking: usize,
    pub(super) is_closed: bool,
}

impl Queue {
    /// An empty queue for so many threads, which are awake until they have looked into it.
    pub(super) fn new(threads: usize) -> Self {
        Self { calls: VecDeque::new(), rows: 0, threads, resting: 0, waking: 0, is_closed: false }
    }

    /// Puts a call at the end. Whether a thread is to be woken for it, when a row takes `row_ns`.
    ///
    /// # Errors
    /// `Unavailable` when the queue is closed, `TooMany` when it is full.
    pub(super) fn push(&mut self, call: Call, row_ns: u64) -> Result<bool, Problem> {
        if self.is_closed {
            return Err(Problem::unavailable("the model is being taken down").hint("try again"));
        }
        if self.calls.len() >= QUEUE_MAX {
            return Err(Problem::new(ErrorKind::TooMany, format!("{QUEUE_MAX} calls wait for this model already"))
                .hint("send fewer at once, or try again in a moment"));
        }
        self.rows = self.rows.saturating_add(call.weight());
        self.calls.push_back(call);
        Ok(self.wants_another(row_ns) && self.wake())
    }

    /// Whether those who are awake should not be left alone with what waits: nobody is, or it is long.
    fn wants_another(&self, row_ns: u64) -> bool {
        let awake = self.threads + self.waking - self.resting;
        awake == 0 || self.is_long(row_ns)
    }

    fn is_long(&self, row_ns: u64) -> bool {
        row_ns.saturating_mul(self.rows as u64) >= BACKLOG_NS
    }

    /// Counts a thread as woken, when there is one to wake. The caller wakes it.
    pub(super) fn wake(&mut self) -> bool {
        let is_one = self.resting > self.waking;
        self.waking += usize::from(is_one);
        is_one
    }

    /// A thread begins to wait.
    pub(super) fn rest(&mut self) {
        self.resting += 1;
    }

    /// It does not wait any more, woken or by chance.
    pub(super) fn rise(&mut self) {
        self.resting -= 1;
        self.waking = self.waking.saturating_sub(1);
    }

    /// The next calls that can run together, when a row takes `row_ns`. Of much work, a thread takes its share.
    pub(super) fn take(&mut self, can_batch: bool, row_ns: u64) -> Option<Vec<Call>> {
        let most = if self.is_long(row_ns) { self.rows.div_ceil(self.threads) } else { self.rows };
        let first = self.pop()?;
        let most = if can_batch { most.min(BATCH_ROWS_MAX) } else { 0 };
        let mut room = first.rows.map_or(0, |it| most.saturating_sub(it));
        let mut calls = vec![first];
        let fits = |room: usize, first: &Call, next: &Call| {
            next.rows.filter(|it| *it <= room && batch::fit(&first.inputs, &next.inputs))
        };
        while let Some(rows) = self.calls.front().and_then(|next| fits(room, &calls[0], next)) {
            room -= rows;
            calls.extend(self.pop());
        }
        Some(calls)
    }

    fn pop(&mut self) -> Option<Call> {
        let call = self.calls.pop_front()?;
        self.rows = self.rows.saturating_sub(call.weight());
        Some(call)
    }

    /// Takes out the call that its caller gave up.
    pub(super) fn remove(&mut self, claim: &Arc<Claim>) -> Option<Call> {
        let at = self.calls.iter().position(|it| Arc::ptr_eq(&it.claim, claim))?;
        let call = self.calls.remove(at)?;
        self.rows = self.rows.saturating_sub(call.weight());
        Some(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn call(rows: i64) -> Call {
        let since = Instant::now();
        Call {
            inputs: vec![Tensor::f32("x", vec![rows, 1], &vec![0.0; rows as usize])],
            since,
            deadline: since + Duration::from_secs(1),
            until: since + Duration::from_secs(1),
            rows: Some(rows as usize),
            claim: Arc::default(),
            reply: oneshot::channel().0,
        }
    }

    fn resting(threads: usize) -> Queue {
        let mut queue = Queue::new(threads);
        (0..threads).for_each(|_| queue.rest());
        queue
    }

    #[test]
    fn one_thread_is_woken_for_quick_calls_and_more_for_long_ones() {
        let mut queue = resting(3);
        let mut push = |rows, row_ns| queue.push(call(rows), row_ns).expect("room");
        assert!(push(1, 5_000), "nobody is awake");
        assert!(!push(1, 5_000), "one is, and it is not much");
        assert!(push(60, 5_000), "too much for one");
        assert!(push(1, 1_000_000), "each is long");
        assert!(!push(1, 1_000_000), "there are no more threads");
    }

    #[test]
    fn a_thread_that_rises_by_chance_is_awake() {
        let mut queue = resting(1);
        queue.rise();
        assert!(!queue.push(call(1), 1).expect("room"), "it will look");
        assert_eq!(queue.take(true, 1).map(|it| it.len()), Some(1));
        queue.rest();
        assert!(queue.push(call(1), 1).expect("room"));
        assert!(!queue.wake(), "it is woken already");
    }

    #[test]
    fn much_work_is_shared_and_little_runs_at_once() {
        for (row_ns, want) in [(1_000, vec![5]), (1_000_000, vec![3, 1, 1])] {
            let mut queue = resting(2);
            (0..5).for_each(|_| drop(queue.push(call(1), row_ns)));
            let taken: Vec<usize> = std::iter::from_fn(|| queue.take(true, row_ns)).map(|it| it.len()).collect();
            assert_eq!(taken, want, "{row_ns}");
        }
    }

    #[test]
    fn what_waits_is_counted_in_rows() {
        let mut queue = resting(1);
        let (first, second) = (call(40), call(7));
        let claim = first.claim.clone();
        queue.push(first, 1).expect("room");
        queue.push(second, 1).expect("room");
        assert_eq!((queue.calls.len(), queue.rows), (2, 47));
        assert!(queue.remove(&claim).is_some() && queue.remove(&claim).is_none());
        assert_eq!((queue.calls.len(), queue.rows), (1, 7));
        assert_eq!(queue.take(false, 1).map(|it| it.len()), Some(1));
        assert_eq!((queue.calls.len(), queue.rows), (0, 0));
    }
}
