//! Ids for the items of one import: rising, so that id order is the order of the import.

use kaogong_domain::{Problem, Timestamp, ids::ItemId};

/// Gives the id of the n-th item of an import.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdSource {
    now: Timestamp,
    base: u128,
}

impl IdSource {
    /// Ids that begin at a random place, low enough to count up from without running over.
    pub(crate) fn new(now: Timestamp) -> Result<Self, Problem> {
        let mut random = [0u8; 16];
        getrandom::fill(&mut random)
            .map_err(|error| Problem::unavailable("the operating system gave no random bytes").because(error))?;
        // 79 random bits: the highest of the 80 stays free, so that counting never overflows.
        Ok(Self { now, base: u128::from_be_bytes(random) & ((1 << 79) - 1) })
    }

    pub(crate) fn nth(self, number: u64) -> ItemId {
        ItemId::from_parts(self.now, self.base + u128::from(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_in_text_too() {
        let ids = IdSource::new(Timestamp(7)).expect("random bytes");
        let texts: Vec<_> = (0..100).map(|it| ids.nth(it).to_string()).collect();
        assert!(texts.is_sorted() && texts[0] != texts[1]);
    }
}
