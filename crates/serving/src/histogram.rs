//! A latency histogram with fixed buckets: adding is one atomic step, percentiles are read when asked.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets grow by a quarter of a power of two: at most 19 % between the truth and what is told.
const STEPS: usize = 4;
const BUCKETS: usize = 32 * STEPS;

/// Microseconds, up to about an hour.
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Histogram {
    /// Adds one call of `us` microseconds.
    pub fn add(&self, us: u64) {
        self.buckets[bucket_of(us)].fetch_add(1, Ordering::Relaxed);
    }

    /// The time that `share` (0 to 1) of the calls stayed below, in microseconds; `None` before the first.
    pub fn percentile(&self, share: f64) -> Option<u64> {
        let counts: Vec<u64> = self.buckets.iter().map(|it| it.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return None;
        }
        let wanted = ((total as f64 * share).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        for (place, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Some(upper_end(place));
            }
        }
        None
    }
}

fn bucket_of(us: u64) -> usize {
    let us = us.clamp(1, 1 << 31);
    let power = us.ilog2() as usize;
    let part = ((us - (1 << power)) * STEPS as u64) >> power;
    (power * STEPS + part as usize).min(BUCKETS - 1)
}

fn upper_end(place: usize) -> u64 {
    let (power, part) = (place / STEPS, place % STEPS);
    let base = 1u64 << power;
    base + (base * (part as u64 + 1)) / STEPS as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_close_to_the_truth() {
        let histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), None);
        for us in 1..=1000 {
            histogram.add(us);
        }
        let p50 = histogram.percentile(0.5).expect("a value");
        let p99 = histogram.percentile(0.99).expect("a value");
        assert!((500..=640).contains(&p50), "{p50}");
        assert!((990..=1280).contains(&p99), "{p99}");
    }

    #[test]
    fn no_time_is_too_short_or_too_long() {
        let histogram = Histogram::default();
        histogram.add(0);
        histogram.add(u64::MAX);
        assert!(histogram.percentile(1.0).is_some());
    }
}
