//! What an import gathers on the way: facts for the summary, and who is in which class and split.

use crate::layout;
use arrow_array::{
    RecordBatch,
    cast::AsArray,
    types::{UInt8Type, UInt32Type, UInt64Type},
};
use kaogong_data::{
    images::Sample,
    split::{self, Candidate, Known, SplitKey},
    tables::{ClassCount, ImageFacts, SplitCount, SplitPlan, Warnings},
};
use kaogong_domain::datasets::Split;
use std::collections::HashMap;

/// Stands for "no class" among class numbers.
pub(crate) const NO_CLASS: u32 = u32::MAX;

/// Class names and their numbers, in order of appearance.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

impl Classes {
    pub(crate) fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    pub(crate) fn name(&self, number: u32) -> Option<&str> {
        self.names.get(number as usize).map(String::as_str)
    }

    /// The names, each at the place of its number.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

/// One item that was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    /// Its number in this import; gives its id.
    pub(crate) number: u64,
    pub(crate) class: u32,
    pub(crate) key: Option<SplitKey>,
    pub(crate) given: Option<Split>,
}

/// The split of every member: the given one, else by the plan. Aligned with `members`. `known` is what the base
/// version holds, when there is one: it stays as it is, and what is added shares with it.
pub(crate) fn splits(members: &[Member], plan: Option<&SplitPlan>, known: Option<&Known>) -> Vec<Option<Split>> {
    let mut splits: Vec<_> = members.iter().map(|it| it.given).collect();
    let Some(plan) = plan else { return splits };
    if let Some(known) = known {
        let added = |it: &Member| {
            let key = it.key?;
            known.get(key).or(it.given).or_else(|| Some(split::assign_added(plan, key, known)))
        };
        return members.iter().map(|it| added(it).or(it.given)).collect();
    }
    let open: Vec<usize> = (0..members.len()).filter(|at| splits[*at].is_none()).collect();
    let candidates: Vec<_> =
        open.iter().filter_map(|at| members[*at].key.map(|key| Candidate { key, class: members[*at].class })).collect();
    debug_assert_eq!(candidates.len(), open.len(), "with a plan, every member has a key");
    for (at, split) in open.into_iter().zip(split::assign(plan, &candidates)) {
        splits[at] = Some(split);
    }
    splits
}

/// The split of every row of a table, of which `before` stand before this import; `None` without a base version.
/// Tables are not copied as pictures are, so the number of a row stands for its content.
pub(crate) fn row_splits(rows: u64, classes: &[u32], plan: &SplitPlan, before: Option<u64>) -> Vec<Split> {
    if let Some(before) = before {
        let known = Known::default();
        let key = |row: u64| SplitKey::of_row(plan.seed, before + row);
        return (0..rows).map(|row| split::assign_added(plan, key(row), &known)).collect();
    }
    let candidate = |row: u64| Candidate {
        key: SplitKey::of_row(plan.seed, row),
        class: classes.get(row as usize).copied().unwrap_or(NO_CLASS),
    };
    split::assign(plan, &(0..rows).map(candidate).collect::<Vec<_>>())
}

/// Facts over pictures.
#[derive(Debug, Default)]
pub(crate) struct PictureTotals {
    pub(crate) items: u64,
    pub(crate) bytes: u64,
    facts: Option<ImageFacts>,
    formats: HashMap<String, u64>,
    samples: HashMap<Sample, u64>,
}

impl PictureTotals {
    /// Adds all rows of a batch of an items table, new or read back.
    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        let number = |name: &str| batch.column_by_name(name).map(|it| it.as_primitive::<UInt32Type>());
        let (Some(widths), Some(heights)) = (number(layout::DISPLAYED_WIDTH), number(layout::DISPLAYED_HEIGHT)) else {
            return;
        };
        let facts = self.facts.get_or_insert_with(|| ImageFacts {
            width_min: u32::MAX,
            height_min: u32::MAX,
            ..ImageFacts::default()
        });
        for (width, height) in widths.values().iter().zip(heights.values()) {
            facts.width_min = facts.width_min.min(*width);
            facts.width_max = facts.width_max.max(*width);
            facts.height_min = facts.height_min.min(*height);
            facts.height_max = facts.height_max.max(*height);
        }
        if let Some(turned) = batch.column_by_name(layout::ORIENTATION) {
            facts.rotated += turned.as_primitive::<UInt8Type>().values().iter().filter(|it| **it != 1).count() as u64;
        }
        if let Some(sizes) = batch.column_by_name(layout::BYTES) {
            self.bytes += sizes.as_primitive::<UInt64Type>().values().iter().sum::<u64>();
        }
        for format in batch.column_by_name(layout::FORMAT).into_iter().flat_map(|it| it.as_string::<i32>()).flatten() {
            match self.formats.get_mut(format) {
                Some(count) => *count += 1,
                None => drop(self.formats.insert(format.to_owned(), 1)),
            }
        }
        self.items += batch.num_rows() as u64;
    }

    /// Counts what the pixels of a new picture hold.
    pub(crate) fn count_sample(&mut self, sample: Sample) {
        *self.samples.entry(sample).or_default() += 1;
    }

    pub(crate) fn into_facts(self) -> Option<ImageFacts> {
        let formats = counted(self.formats);
        let samples = counted(self.samples.into_iter().map(|(sample, count)| (sample.to_string(), count)));
        self.facts.map(|facts| ImageFacts { formats, samples, ..facts })
    }
}

/// Counts, most first, then by name.
pub(crate) fn counted(counts: impl IntoIterator<Item = (String, u64)>) -> Vec<ClassCount> {
    let mut counts: Vec<_> = counts.into_iter().map(|(label, count)| ClassCount { label, count }).collect();
    counts.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.label.cmp(&other.label)));
    counts
}

/// The number of items in each split that has any.
pub(crate) fn split_counts(splits: impl IntoIterator<Item = Option<Split>>) -> Vec<SplitCount> {
    let mut counts = [0u64; Split::ALL.len()];
    for split in splits.into_iter().flatten() {
        if let Some(at) = Split::ALL.iter().position(|it| *it == split) {
            counts[at] += 1;
        }
    }
    let all = Split::ALL.into_iter().zip(counts);
    all.filter(|it| it.1 > 0).map(|(split, count)| SplitCount { split, count }).collect()
}

/// Everything an image import gathers.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) classes: Classes,
    pub(crate) members: Vec<Member>,
    pub(crate) totals: PictureTotals,
    pub(crate) warnings: Warnings,
}
