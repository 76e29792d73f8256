//! Memory for what is unpacked: decoded tables and images may take this much, all imports and previews together,
//! whatever their files say about themselves.
//!
//! Its pools are asked in this order, so that nobody waits in a circle: names of archives, places for imports, large
//! image files, stored values that are read, decoders. What is taken is given back when it is dropped. Who has to wait does
//! so in turn, for a bounded time and among a bounded number of others.

use kaogong_domain::{ErrorKind, Problem};
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What all imports together may take unless the operator says otherwise, in bytes.
pub const IMPORT_BYTES_DEFAULT: u64 = 512 << 20;
/// The least that works: one import with its file, and one decoder.
pub const IMPORT_BYTES_MIN: u64 = 128 << 20;
/// How long an import waits for others.
pub const IMPORT_WAIT_MAX: Duration = Duration::from_secs(600);
/// How long somebody who looks at a page waits.
pub const PREVIEW_WAIT_MAX: Duration = Duration::from_secs(20);
/// One import for each so many bytes of the whole.
const BYTES_PER_IMPORT: u64 = 128 << 20;
/// Callers that wait for one pool.
const WAITING_MAX: usize = 64;

/// The memory that imports and previews share.
#[derive(Debug, Clone)]
pub struct DecodeBudget {
    /// Places for imports that read their files at the same time.
    pub imports: Pool,
    /// Memory of decoders, in bytes: half of the whole.
    pub decoders: Pool,
    /// Memory of image files that are too large to be counted among many, in bytes: a quarter of the whole.
    pub files: Pool,
    /// Memory of stored values that are read to be shown or sent, in bytes: a quarter of the whole.
    pub reads: Pool,
    /// Memory of what is known of the files of an archive until they are imported, in bytes: a quarter of the whole.
    pub names: Pool,
}

impl DecodeBudget {
    /// Divides `bytes`. Less than [`IMPORT_BYTES_MIN`] is taken as that.
    pub fn new(bytes: u64) -> Self {
        let bytes = bytes.max(IMPORT_BYTES_MIN);
        Self {
            imports: Pool::new("imports", bytes / BYTES_PER_IMPORT),
            decoders: Pool::new("decoding", bytes / 2),
            files: Pool::new("image files", bytes / 4),
            reads: Pool::new("stored values", bytes / 4),
            names: Pool::new("file names", bytes / 4),
        }
    }
}

impl Default for DecodeBudget {
    fn default() -> Self {
        Self::new(IMPORT_BYTES_DEFAULT)
    }
}

/// An amount that is lent in parts.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    what: &'static str,
    total: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: u64,
    next: u64,
    waiting: VecDeque<u64>,
}

/// A part of a pool; dropping it gives it back.
#[derive(Debug)]
pub struct Held {
    pool: Arc<Shared>,
    amount: u64,
}

impl Pool {
    /// A pool of `total`; `what` says in a word what for.
    pub fn new(what: &'static str, total: u64) -> Self {
        let state = Mutex::new(State { free: total, next: 0, waiting: VecDeque::new() });
        Self(Arc::new(Shared { what, total, state, changed: Condvar::new() }))
    }

    /// The whole.
    pub fn total(&self) -> u64 {
        self.0.total
    }

    /// Takes `amount`, at most the whole, waiting in turn for `wait`. Blocks the thread: call it off the async threads.
    ///
    /// # Errors
    /// `TooMany` when it did not come free in time, or when too many wait already.
    pub fn take(&self, amount: u64, wait: Duration) -> Result<Held, Problem> {
        let amount = amount.min(self.0.total);
        let until = Instant::now() + wait;
        let mut state = self.0.lock();
        if state.waiting.len() >= WAITING_MAX {
            return Err(self.busy());
        }
        let ticket = state.next;
        state.next += 1;
        state.waiting.push_back(ticket);
        loop {
            if state.waiting.front() == Some(&ticket) && state.free >= amount {
                state.waiting.pop_front();
                state.free -= amount;
                self.0.changed.notify_all();
                return Ok(Held { pool: self.0.clone(), amount });
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.waiting.retain(|it| *it != ticket);
                self.0.changed.notify_all();
                return Err(self.busy());
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn busy(&self) -> Problem {
        Problem::new(ErrorKind::TooMany, format!("the server's memory for {} is in use by others", self.0.what))
            .hint("try again when other imports are over; `kaogong up --import-memory-mib` sets how much there is")
    }

    /// What is free now.
    pub fn free(&self) -> u64 {
        self.0.lock().free
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// How much it is.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Gives back all but `amount`.
    pub fn shrink(&mut self, amount: u64) {
        let back = self.amount.saturating_sub(amount);
        self.amount -= back;
        self.pool.lock().free += back;
        self.pool.changed.notify_all();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_not_lent_again_until_it_is_dropped() {
        let pool = Pool::new("tests", 10);
        let mut held = pool.take(8, Duration::ZERO).expect("free");
        assert_eq!(pool.take(3, Duration::ZERO).expect_err("in use").kind, ErrorKind::TooMany);
        held.shrink(5);
        assert_eq!((held.amount(), pool.free()), (5, 5));
        drop(pool.take(3, Duration::ZERO).expect("free now"));
        drop(held);
        assert_eq!(pool.take(99, Duration::ZERO).expect("the whole").amount(), 10);
    }

    #[test]
    fn who_waits_gets_it_in_turn() {
        let pool = Pool::new("tests", 10);
        let held = pool.take(10, Duration::ZERO).expect("free");
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for wanted in [10, 1] {
                let (pool, order) = (&pool, &order);
                let queued = pool.0.lock().waiting.len();
                scope.spawn(move || {
                    let held = pool.take(wanted, Duration::from_secs(60)).expect("in turn");
                    order.lock().expect("no panic").push(wanted);
                    drop(held);
                });
                while pool.0.lock().waiting.len() == queued {
                    std::thread::yield_now();
                }
            }
            drop(held);
        });
        // The small one came later and does not overtake the large one.
        assert_eq!(order.into_inner().expect("no panic"), [10, 1]);
        assert_eq!(pool.free(), 10);
    }

    #[test]
    fn there_is_always_a_place_and_some_memory() {
        let least = DecodeBudget::new(0);
        assert_eq!((least.imports.total(), least.decoders.total(), least.files.total()), (1, 64 << 20, 32 << 20));
    }
}
