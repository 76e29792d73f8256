//! Which level of a folder tree is the class: `normal/p01/1.png` may mean the class `normal`, or `p01`.
//!
//! Where there is one level with more than one name, it is the class. Where there are several, nothing in the tree is
//! proof, so the choice is always told, with what else could be meant. The rules, in order: a class is given to all
//! pictures, so levels that some pictures lack are none; names that only count (`p01`, `p02`, or dates) are groups,
//! such as patients, when another level has names that do not; folders that are many, small, and each below one parent
//! are groups of that parent; else the innermost level is the class.

use super::names::parts;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Names of a level that are shown.
const EXAMPLES: usize = 5;
/// Names of a level that are counted: more are no classes, and memory is not theirs.
const NAMES_MAX: usize = 20_000;
/// Levels that are told apart; what lies deeper is looked at no more.
const LEVELS_MAX: usize = 8;
/// Groups are at least so many for each of their parents,
const GROUPS_PER_PARENT: usize = 4;
/// and hold at most so many pictures each.
const PICTURES_PER_GROUP: usize = 20;

/// One level of folders, from the outside, without wrappers and splits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderLevel {
    /// 1 is the outermost.
    pub level: usize,
    /// Different names.
    pub names: usize,
    /// The first of them, by name.
    pub examples: Vec<String>,
}

/// How the folders of an import were read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderReport {
    /// The levels around the pictures.
    pub levels: Vec<FolderLevel>,
    /// The level that is the class; `None` without classes.
    pub class_level: Option<usize>,
    /// Whether another level could be the class as well, and nobody said which.
    pub is_unsure: bool,
    /// Both in words; empty when there is nothing to choose.
    pub note: String,
}

/// What is known of one level.
#[derive(Debug, Default)]
struct Seen<'a> {
    names: HashSet<&'a [u8]>,
    /// Folders with all that is around them.
    folders: HashSet<Vec<&'a [u8]>>,
}

/// Chooses among the folders around these pictures, of which the first `skip` mean nothing. `wanted` was asked for.
pub(super) fn report<'a>(
    names: impl Iterator<Item = &'a [u8]>,
    skip: impl Fn(&'a [u8]) -> usize,
    wanted: Option<usize>,
) -> FolderReport {
    let mut seen: Vec<Seen<'a>> = Vec::new();
    let (mut pictures, mut least) = (0usize, usize::MAX);
    for name in names {
        let folders: Vec<_> = parts(name).skip(skip(name)).collect();
        let depth = folders.len().saturating_sub(1);
        if depth == 0 {
            continue;
        }
        pictures += 1;
        least = least.min(depth);
        for at in 0..depth.min(LEVELS_MAX) {
            if seen.len() <= at {
                seen.push(Seen::default());
            }
            if seen[at].names.len() < NAMES_MAX {
                seen[at].names.insert(folders[at]);
            }
            if seen[at].folders.len() < NAMES_MAX && !seen[at].folders.contains(&folders[..=at]) {
                seen[at].folders.insert(folders[..=at].to_vec());
            }
        }
    }
    let levels: Vec<_> = seen.iter().enumerate().map(|(at, it)| level(at + 1, it)).collect();
    if levels.is_empty() {
        return FolderReport { levels, class_level: None, is_unsure: false, note: String::new() };
    }
    let candidates = candidates(&seen, least);
    let (chosen, why) = choose(&seen, &candidates, pictures);
    let class_level = wanted.unwrap_or(chosen);
    let is_unsure = wanted.is_none() && (candidates.len() > 1 || least < levels.len());
    let note = if levels.len() == 1 && wanted.is_none() {
        String::new()
    } else {
        note(&levels, class_level, wanted.map_or(why, |_| "as asked for"), is_unsure)
    };
    FolderReport { levels, class_level: Some(class_level), is_unsure, note }
}

fn level(level: usize, seen: &Seen<'_>) -> FolderLevel {
    let mut names: Vec<_> = seen.names.iter().copied().collect();
    names.sort_unstable();
    let examples = names.iter().take(EXAMPLES).map(|it| super::text_of(it)).collect();
    FolderLevel { level, names: names.len(), examples }
}

/// Levels that all pictures in folders have, and that tell some of them apart.
fn candidates(seen: &[Seen<'_>], least: usize) -> Vec<usize> {
    let all = 1..=least.min(seen.len());
    let telling: Vec<_> = all.clone().filter(|it| seen[it - 1].names.len() > 1).collect();
    if telling.is_empty() { all.rev().take(1).collect() } else { telling }
}

/// The level, and why.
fn choose(seen: &[Seen<'_>], candidates: &[usize], pictures: usize) -> (usize, &'static str) {
    let last = candidates.last().copied().unwrap_or(1);
    if candidates.len() < 2 {
        return (last, "the only level that all pictures have and that tells them apart");
    }
    let named: Vec<_> = candidates.iter().copied().filter(|it| !only_counts(&seen[it - 1])).collect();
    match named[..] {
        [only] => (only, "the other names only count"),
        [outer, .., inner] => {
            let (parents, groups) = (&seen[outer - 1], &seen[inner - 1]);
            let each_has_one_parent = groups.folders.len() == groups.names.len();
            let are_many = groups.names.len() >= GROUPS_PER_PARENT * parents.names.len();
            if each_has_one_parent && are_many && pictures <= PICTURES_PER_GROUP * groups.names.len() {
                return (outer, "the folders inside are many and small, each below one of these");
            }
            (inner, "the innermost one")
        }
        [] => (last, "the innermost one"),
    }
}

/// Whether the names are one word with numbers behind it, or numbers and dates alone: `p01`, `scan-7`, `2024-03-10`.
fn only_counts(seen: &Seen<'_>) -> bool {
    let mut words = seen.names.iter().map(|name| {
        let text = name.trim_ascii_end();
        let end = text.iter().rposition(|it| !(it.is_ascii_digit() || b"-_. ".contains(it))).map_or(0, |it| it + 1);
        (text[end..].iter().any(u8::is_ascii_digit)).then_some(&text[..end])
    });
    let Some(Some(first)) = words.next() else { return false };
    words.all(|it| it == Some(first))
}

fn note(levels: &[FolderLevel], class_level: usize, why: &str, is_unsure: bool) -> String {
    let shown = |it: &FolderLevel| {
        let more = if it.names > it.examples.len() { ", …" } else { "" };
        format!("level {} has {} names ({}{more})", it.level, it.names, it.examples.join(", "))
    };
    let all: Vec<_> = levels.iter().map(shown).collect();
    let choice = if is_unsure { "; choose another with `--class-level`" } else { "" };
    format!("the class is folder level {class_level}, {why}: {}{choice}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> (Option<usize>, bool) {
        let report = report(names.iter().map(|it| it.as_bytes()), |_| 0, None);
        (report.class_level, report.is_unsure)
    }

    #[test]
    fn patients_below_findings_are_no_classes() {
        let names = ["normal/p01/1.png", "normal/p02/1.png", "pneumonia/p01/1.png", "pneumonia/p02/2.png"];
        assert_eq!(chosen(&names), (Some(1), true));
        let report = report(names.iter().map(|it| it.as_bytes()), |_| 0, None);
        assert_eq!(
            report.note,
            "the class is folder level 1, the other names only count: level 1 has 2 names (normal, pneumonia), \
             level 2 has 2 names (p01, p02); choose another with `--class-level`"
        );
    }

    #[test]
    fn batches_around_classes_are_passed_over() {
        assert_eq!(chosen(&["batch1/cat/1.png", "batch1/dog/1.png", "batch2/cat/1.png"]), (Some(2), true));
        assert_eq!(chosen(&["2024-03-10/ok/1.png", "2024-03-11/bad/1.png"]), (Some(2), true));
    }

    #[test]
    fn a_level_of_one_name_is_no_class() {
        assert_eq!(chosen(&["cat/images/1.png", "dog/images/1.png"]), (Some(1), false));
        assert_eq!(chosen(&["cat/1.png", "dog/1.png", "loose.png"]), (Some(1), false));
        assert_eq!(chosen(&["loose.png"]), (None, false));
    }

    #[test]
    fn all_pictures_get_a_class() {
        assert_eq!(chosen(&["cat/1.png", "cat/more/2.png", "dog/3.png"]), (Some(1), true));
    }

    #[test]
    fn people_below_findings_are_groups_when_they_are_many() {
        let people: Vec<_> = ["amy", "bob", "cem", "dan", "eve", "fay", "gil", "hal"].iter().enumerate().collect();
        let names: Vec<_> =
            people.iter().map(|(at, it)| format!("{}/{it}/1.png", if at % 2 == 0 { "ill" } else { "well" })).collect();
        assert_eq!(chosen(&names.iter().map(String::as_str).collect::<Vec<_>>()), (Some(1), true));
        assert_eq!(chosen(&["animals/cat/1.png", "animals/dog/1.png", "cars/van/1.png"]), (Some(2), true));
    }

    #[test]
    fn what_was_asked_for_is_taken() {
        let names = ["a/b/1.png", "c/d/2.png"];
        let report = report(names.iter().map(|it| it.as_bytes()), |_| 0, Some(1));
        assert_eq!((report.class_level, report.is_unsure), (Some(1), false));
    }
}
