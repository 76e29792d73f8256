//! Divides items into train, validation and test: stratified by class, and the same on every machine.
//!
//! The rule (version 1). Every item has a key of 128 bits: the first half is the first 8 bytes of
//! BLAKE3(`"kaogong split 1 content"`, seed, content hash), the second half those of
//! BLAKE3(`"kaogong split 1 name"`, seed, source name), numbers little-endian. Rows of a table use their number
//! from 0 in both places. Within each class, items are ordered by key; the first `test` share goes to the test
//! split, the next `validation` share to the validation split, the rest to the training split. Shares are
//! rounded to whole items per class, a half towards training. Classes of fewer than ten items are pooled, since
//! rounding would leave their test share empty. Items of one class with the same content have
//! the same first half and always land in one split, so that no copy of a test picture is learnt from: a
//! border that would cut such a group moves to its nearer end, at a tie towards training.
//!
//! What is added to a version does not move what is there, so whole shares cannot be had: a content that the version
//! holds keeps the split it has, also against a split given by a folder, and any other goes where the first half
//! of its key says, as a number from 0 to 99: below the test percentage to the test split, and so on. Thus ten
//! appends of one picture each give the test split as much as one append of ten.

use crate::{BlobHash, tables::SplitPlan};
use kaogong_domain::{Problem, datasets::Split};
use std::{collections::HashMap, ops::Range};

/// Decides where in its class an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SplitKey(u128);

impl SplitKey {
    /// The key of a file.
    pub fn of_item(seed: u64, content: &BlobHash, source_name: &[u8]) -> Self {
        Self::of_parts(seed, content.as_bytes(), source_name)
    }

    /// The key of a table's row.
    pub fn of_row(seed: u64, row: u64) -> Self {
        Self::of_parts(seed, &row.to_le_bytes(), &row.to_le_bytes())
    }

    fn of_parts(seed: u64, content: &[u8], name: &[u8]) -> Self {
        let first = first_half(b"kaogong split 1 content", seed, content);
        let second = first_half(b"kaogong split 1 name", seed, name);
        Self((u128::from(first) << 64) | u128::from(second))
    }

    fn content_part(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

/// The contents of a version and the splits they are in, for adding to it.
#[derive(Debug, Clone, Default)]
pub struct Known {
    seed: u64,
    splits: HashMap<u64, Split>,
}

impl Known {
    /// Nothing yet; `seed` is that of the plan the additions are split by.
    pub fn new(seed: u64) -> Self {
        Self { seed, splits: HashMap::new() }
    }

    /// Notes an item of the version. Content that is in several splits counts as held out.
    pub fn add(&mut self, content: &BlobHash, split: Split) {
        let part = first_half(b"kaogong split 1 content", self.seed, content.as_bytes());
        let known = self.splits.entry(part).or_insert(split);
        *known = split.max(*known);
    }

    /// The split that the content of this key is in.
    pub fn get(&self, key: SplitKey) -> Option<Split> {
        self.splits.get(&key.content_part()).copied()
    }
}

/// The split of one item that is added to a version.
pub fn assign_added(plan: &SplitPlan, key: SplitKey, known: &Known) -> Split {
    let share = ((u128::from(key.content_part()) * 100) >> 64) as u8;
    known.get(key).unwrap_or(match share {
        it if it < plan.test_percent => Split::Test,
        it if it < plan.test_percent.saturating_add(plan.validation_percent) => Split::Validation,
        _ => Split::Train,
    })
}

fn first_half(word: &[u8], seed: u64, bytes: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(word).update(&seed.to_le_bytes()).update(bytes);
    let hash = hasher.finalize();
    let mut half = [0; 8];
    half.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(half)
}

/// One item to place. Items without a class share a class of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its key.
    pub key: SplitKey,
    /// A number that stands for its class.
    pub class: u32,
}

/// Refuses a plan whose percentages do not add up.
pub fn check(plan: &SplitPlan) -> Result<(), Problem> {
    let sum = u32::from(plan.train_percent) + u32::from(plan.validation_percent) + u32::from(plan.test_percent);
    if sum == 100 {
        return Ok(());
    }
    Err(Problem::invalid(format!("the split percentages add up to {sum}, not to 100"))
        .hint("for example train 80, validation 0, test 20"))
}

/// Classes smaller than this are pooled.
const CLASS_ITEMS_MIN: u32 = 10;

/// The split of every candidate, in the order given. The result does not depend on that order.
pub fn assign(plan: &SplitPlan, items: &[Candidate]) -> Vec<Split> {
    let mut sizes: HashMap<u32, u32> = HashMap::new();
    items.iter().for_each(|it| *sizes.entry(it.class).or_default() += 1);
    let class_of = |at: u32| {
        let class = items[at as usize].class;
        (sizes[&class] >= CLASS_ITEMS_MIN).then_some(class)
    };
    let mut order: Vec<u32> = (0..items.len() as u32).collect();
    order.sort_unstable_by_key(|at| (class_of(*at), items[*at as usize].key));
    let mut splits = vec![Split::Train; items.len()];
    let mut begin = 0;
    while begin < order.len() {
        let class = class_of(order[begin]);
        let length = order[begin..].partition_point(|at| class_of(*at) == class);
        let members = &order[begin..begin + length];
        let (test, validation) = borders(plan, length, |at| items[members[at] as usize].key.content_part());
        for at in test {
            splits[members[at] as usize] = Split::Test;
        }
        for at in validation {
            splits[members[at] as usize] = Split::Validation;
        }
        begin += length;
    }
    splits
}

/// The places of the test and validation items among the ordered items of one class.
fn borders(plan: &SplitPlan, length: usize, content: impl Fn(usize) -> u64) -> (Range<usize>, Range<usize>) {
    let share = |percent: u8| (length * usize::from(percent) + 49) / 100;
    let test_end = whole_group(share(plan.test_percent), length, &content);
    let both = share(plan.test_percent) + share(plan.validation_percent);
    let both_end = whole_group(both.min(length), length, &content).max(test_end);
    (0..test_end, test_end..both_end)
}

/// Moves a border out of a group of same content, to its nearer end.
fn whole_group(border: usize, length: usize, content: &impl Fn(usize) -> u64) -> usize {
    if border == 0 || border >= length || content(border - 1) != content(border) {
        return border;
    }
    let group = content(border);
    let before = (0..border).rev().take_while(|at| content(*at) == group).count();
    let after = (border..length).take_while(|at| content(*at) == group).count();
    if after < before { border + after } else { border - before }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(seed: u64, train: u8, validation: u8, test: u8) -> SplitPlan {
        SplitPlan { seed, train_percent: train, validation_percent: validation, test_percent: test }
    }

    fn candidates(seed: u64, items: &[(u8, u8)]) -> Vec<Candidate> {
        let key =
            |content: u8, at: usize| SplitKey::of_item(seed, &BlobHash::of(&[content]), format!("{at}.png").as_bytes());
        items
            .iter()
            .enumerate()
            .map(|(at, (class, content))| Candidate { key: key(*content, at), class: u32::from(*class) })
            .collect()
    }

    fn count(splits: &[Split], split: Split) -> usize {
        splits.iter().filter(|it| **it == split).count()
    }

    #[test]
    fn the_rule_never_changes() {
        // Written down on purpose: another value here means that old datasets cannot be split again alike.
        let key = SplitKey::of_item(7, &BlobHash::of(b"content"), b"train/0/1.png");
        insta::assert_snapshot!(format!("{:032x} {:032x}", key.0, SplitKey::of_row(7, 3).0), @"5da91da74048d67dcc88cc596e66ab09 96500f02b9d6c7350b64dbd571c83ca7");
    }

    #[test]
    fn shares_are_exact_in_every_class() {
        let items: Vec<_> =
            (0..1000u32).map(|at| Candidate { key: SplitKey::of_row(1, u64::from(at)), class: at % 10 }).collect();
        let splits = assign(&plan(1, 70, 10, 20), &items);
        for class in 0..10 {
            let of: Vec<_> = splits.iter().zip(&items).filter(|it| it.1.class == class).map(|it| *it.0).collect();
            assert_eq!(
                (count(&of, Split::Train), count(&of, Split::Validation), count(&of, Split::Test)),
                (70, 10, 20)
            );
        }
        assert_ne!(
            splits,
            assign(
                &plan(1, 70, 10, 20),
                &(0..1000u32)
                    .map(|at| Candidate { key: SplitKey::of_row(2, u64::from(at)), class: at % 10 })
                    .collect::<Vec<_>>()
            )
        );
    }

    #[test]
    fn many_small_classes_still_fill_the_test_split() {
        let items: Vec<_> =
            (0..300u32).map(|at| Candidate { key: SplitKey::of_row(1, u64::from(at)), class: at / 2 }).collect();
        assert_eq!(count(&assign(&plan(1, 80, 0, 20), &items), Split::Test), 60);
    }

    #[test]
    fn additions_keep_the_split_of_known_content_and_share_fairly() {
        let plan = plan(5, 70, 10, 20);
        let content = |at: u32| BlobHash::of(&at.to_le_bytes());
        let mut known = Known::new(5);
        for at in 0..300 {
            known.add(&content(at), Split::ALL[at as usize % 3]);
        }
        known.add(&content(0), Split::Test);
        let added = |at: u32| assign_added(&plan, SplitKey::of_item(5, &content(at), b"another name"), &known);
        assert_eq!(
            (added(0), added(1), added(2), added(3)),
            (Split::Test, Split::Validation, Split::Test, Split::Train)
        );
        let new: Vec<_> = (1000..11_000).map(added).collect();
        assert!((1850..2150).contains(&count(&new, Split::Test)), "{}", count(&new, Split::Test));
        assert!((880..1120).contains(&count(&new, Split::Validation)), "{}", count(&new, Split::Validation));
    }

    #[test]
    fn percentages_must_add_up() {
        assert!(check(&plan(0, 80, 0, 20)).is_ok());
        assert!(check(&plan(0, 80, 10, 20)).is_err());
        assert!(check(&plan(0, 255, 255, 255)).is_err());
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_copies_stay_together(
            seed: u64,
            items in proptest::collection::vec((0u8..4, any::<u8>()), 0..200),
            test in 0u8..=50, validation in 0u8..=50,
        ) {
            let plan = plan(seed, 100 - test - validation, validation, test);
            let all = candidates(seed, &items);
            let splits = assign(&plan, &all);
            let mut turned = all.clone();
            turned.reverse();
            let mut back = assign(&plan, &turned);
            back.reverse();
            prop_assert_eq!(&splits, &back);
            for (at, one) in items.iter().enumerate() {
                for (other_at, other) in items.iter().enumerate() {
                    prop_assert!(one != other || splits[at] == splits[other_at]);
                }
            }
        }

        #[test]
        fn distinct_items_get_their_share(seed: u64, length in 0usize..400, test in 0u8..=100) {
            let items: Vec<_> =
                (0..length as u64).map(|at| Candidate { key: SplitKey::of_row(seed, at), class: 0 }).collect();
            let splits = assign(&plan(seed, 100 - test, 0, test), &items);
            let exact = length as f64 * f64::from(test) / 100.0;
            prop_assert!((count(&splits, Split::Test) as f64 - exact).abs() <= 0.5);
        }
    }
}
