//! How many records fit into a batch of so many bytes, wherever the long ones are.

/// The most records read together.
pub const BATCH_ROWS_MAX: usize = 8192;
/// Runs of 1, 2, 4, … records, up to the longest batch.
const LEVELS: usize = BATCH_ROWS_MAX.ilog2() as usize + 1;

/// The most bytes of any aligned run of 1, 2, 4, … records. The mean would not do: long records may come together.
#[derive(Debug, Clone)]
pub(super) struct Runs {
    records: u64,
    open: [u64; LEVELS],
    most: [u64; LEVELS],
}

impl Default for Runs {
    fn default() -> Self {
        Self { records: 0, open: [0; LEVELS], most: [0; LEVELS] }
    }
}

impl Runs {
    /// Records so far.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// The bytes of the longest record.
    pub(super) fn longest(&self) -> u64 {
        self.most(0)
    }

    /// How many records may be read together so that no batch holds more than `bytes`.
    pub(super) fn rows_within(&self, bytes: u64) -> usize {
        1 << (1..LEVELS).take_while(|it| self.most(*it) <= bytes).count()
    }

    /// Counts up like a binary number: a full run joins the one before it.
    pub(super) fn add(&mut self, bytes: u64) {
        let (mut sum, mut rest) = (bytes, self.records);
        self.records += 1;
        for level in 0..LEVELS {
            self.most[level] = self.most[level].max(sum);
            if rest & 1 == 0 {
                self.open[level] = sum;
                return;
            }
            sum += self.open[level];
            self.open[level] = 0;
            rest >>= 1;
        }
    }

    /// The most bytes of a run of this level, also of the last one, which may not be full.
    fn most(&self, level: usize) -> u64 {
        let tail: u64 = (0..level).filter(|it| self.records >> it & 1 == 1).map(|it| self.open[it]).sum();
        self.most[level].max(tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_fit_the_longest_records_wherever_they_are() {
        let mut runs = Runs::default();
        (0..10_000).for_each(|_| runs.add(2));
        (0..100).for_each(|_| runs.add(1001));
        assert_eq!(runs.rows_within(u64::MAX), BATCH_ROWS_MAX);
        let rows = runs.rows_within(20_000);
        assert!((8..=16).contains(&rows), "{rows}");
        assert_eq!(runs.rows_within(10), 1);
    }
}
