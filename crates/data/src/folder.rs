//! Turns the names in an archive or folder into pictures with classes and splits. Names only: nothing is read.
//!
//! The rules, in order. Names that are absolute, hold `..` or control characters, are hidden, or do not end like
//! a picture are left out and listed. While all pictures lie in one folder that is no split name, that folder is
//! a wrapper and is passed over. When every top folder left is a split name (`train`, `test`, `val`, …), it is
//! the given split. The class is the folder that holds the picture, in NFC, so that a name from macOS and the
//! same name from Linux are one class; pictures beside the class folders have no class. The name itself stays
//! byte for byte what was found.

use crate::tables::Warning;
use kaogong_domain::{Problem, datasets::Split};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 4096;
/// The longest class, in bytes.
pub const LABEL_BYTES_MAX: usize = 255;

const ENDINGS: [&str; 12] = ["png", "jpg", "jpeg", "jpe", "jfif", "gif", "bmp", "dib", "tif", "tiff", "webp", "apng"];

/// Where classes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelsFrom {
    /// From folders, when there are class folders; a single folder around all pictures is only a wrapper.
    #[default]
    Auto,
    /// From the folder that holds the picture, even if it is the only one.
    Folder,
    /// Nowhere.
    Nothing,
}

/// One picture of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its place in the list of names.
    pub index: usize,
    /// Its class, in NFC.
    pub label: Option<String>,
    /// The split its top folder gives it.
    pub split: Option<Split>,
}

/// What to import and what to leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FolderPlan {
    /// Pictures, in the order of the names.
    pub files: Vec<PlannedFile>,
    /// Everything else, with the reason.
    pub skipped: Vec<Warning>,
}

/// The name as text for matching and showing: NFC, bytes that are no UTF-8 replaced.
pub fn text_of(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    if is_nfc(&text) { text.into_owned() } else { text.nfc().collect() }
}

/// Plans an import of the files with these names (`/` between folders).
///
/// # Errors
/// `Invalid` when two pictures have one name, or one name up to Unicode normalisation.
pub fn plan<N: AsRef<[u8]>>(names: &[N], labels: LabelsFrom) -> Result<FolderPlan, Problem> {
    let mut plan = FolderPlan::default();
    let mut kept: Vec<(usize, Vec<&[u8]>)> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (index, name) in names.iter().enumerate() {
        let name = name.as_ref();
        match parts_of(name) {
            Err(reason) => plan.skipped.push(warning(name, reason)),
            Ok(parts) => {
                let same = seen.insert(parts_text(&parts), index);
                if let Some(other) = same {
                    return Err(duplicate(names[other].as_ref(), name));
                }
                kept.push((index, parts));
            }
        }
    }
    let wrappers = if labels == LabelsFrom::Auto { common_folders(&kept) } else { 0 };
    let has_splits = !kept.is_empty() && kept.iter().all(|(_, parts)| split_of(parts, wrappers).is_some());
    for (index, parts) in kept {
        let split = if has_splits { split_of(&parts, wrappers) } else { None };
        let skip = wrappers + usize::from(has_splits);
        match label_of(&parts[skip..], labels) {
            Ok(label) => plan.files.push(PlannedFile { index, label, split }),
            Err(reason) => plan.skipped.push(warning(names[index].as_ref(), reason)),
        }
    }
    Ok(plan)
}

fn warning(name: &[u8], reason: &str) -> Warning {
    let source_name = text_of(&name[..name.len().min(NAME_BYTES_MAX)]);
    Warning { source_name, reason: reason.to_owned() }
}

fn duplicate(first: &[u8], second: &[u8]) -> Problem {
    let hint = if first == second {
        "make the archive anew, with each file once"
    } else {
        "the two names differ only in how Unicode writes them, or in needless `./`; rename one"
    };
    Problem::invalid(format!("two files are named `{}`", text_of(second))).hint(hint)
}

fn parts_text(parts: &[&[u8]]) -> String {
    parts.iter().map(|it| text_of(it)).collect::<Vec<_>>().join("/")
}

/// The folders and the file name of a usable picture, or why it is none.
fn parts_of(name: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err("the name is empty or longer than 4096 bytes");
    }
    if name.iter().any(|it| it.is_ascii_control()) {
        return Err("the name holds control characters");
    }
    let drive = name.len() > 1 && name[1] == b':' && name[0].is_ascii_alphabetic();
    if matches!(name[0], b'/' | b'\\') || drive {
        return Err("the name is absolute");
    }
    let mut parts = Vec::new();
    for part in name.split(|it| *it == b'/') {
        match part {
            b"" | b"." => {}
            _ if part.split(|it| *it == b'\\').any(|it| it == b"..") => {
                return Err("the name leaves its folder (`..`)");
            }
            _ => parts.push(part),
        }
    }
    if name.ends_with(b"/") {
        return Err("a folder, not a file");
    }
    let hidden = |part: &&[u8]| part.starts_with(b".") || *part == b"__MACOSX";
    if parts.iter().any(hidden) {
        return Err("a hidden file, or in a hidden folder");
    }
    let file = parts.last().copied().unwrap_or_default();
    if ends_like_a_picture(file) { Ok(parts) } else { Err("not a picture, judging by the end of its name") }
}

fn ends_like_a_picture(file: &[u8]) -> bool {
    let Some(dot) = file.iter().rposition(|it| *it == b'.') else { return false };
    ENDINGS.iter().any(|it| file[dot + 1..].eq_ignore_ascii_case(it.as_bytes()))
}

/// How many leading folders all pictures share, not counting split names. When pictures lie directly in the
/// last shared folder it is still a wrapper: one folder tells no classes apart.
fn common_folders(files: &[(usize, Vec<&[u8]>)]) -> usize {
    let Some((_, first)) = files.first() else { return 0 };
    let folders = first.len() - 1;
    (0..folders)
        .take_while(|at| {
            let same =
                files.iter().all(|(_, parts)| parts.len() > at + 1 && text_of(parts[*at]) == text_of(first[*at]));
            same && split_word(first[*at]).is_none()
        })
        .count()
}

fn split_word(part: &[u8]) -> Option<Split> {
    std::str::from_utf8(part).ok().and_then(|it| Split::parse(&it.to_ascii_lowercase()))
}

fn split_of(parts: &[&[u8]], wrappers: usize) -> Option<Split> {
    if parts.len() < wrappers + 2 { None } else { split_word(parts[wrappers]) }
}

fn label_of(parts: &[&[u8]], labels: LabelsFrom) -> Result<Option<String>, &'static str> {
    if labels == LabelsFrom::Nothing || parts.len() < 2 {
        return Ok(None);
    }
    let folder = parts[parts.len() - 2];
    if folder.len() > LABEL_BYTES_MAX {
        return Err("the name of its class folder is longer than 255 bytes");
    }
    match std::str::from_utf8(folder) {
        Ok(text) => Ok(Some(text.nfc().collect())),
        Err(_) => Err("the name of its class folder is not UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(names: &[&str], labels: LabelsFrom) -> String {
        let plan = plan(names, labels).expect("a plan");
        let files = plan.files.iter().map(|it| {
            let split = it.split.map_or("-", Split::as_str);
            format!("{} {} {}\n", names[it.index], it.label.as_deref().unwrap_or("-"), split)
        });
        let skipped = plan.skipped.iter().map(|it| format!("skipped {}: {}\n", it.source_name, it.reason));
        files.chain(skipped).collect()
    }

    #[test]
    fn class_folders_under_a_wrapper() {
        insta::assert_snapshot!(shown(&["digits/0/a.png", "digits/1/a.png", "digits/README.md"], LabelsFrom::Auto), @r"
        digits/0/a.png 0 -
        digits/1/a.png 1 -
        skipped digits/README.md: not a picture, judging by the end of its name
        ");
    }

    #[test]
    fn split_folders() {
        insta::assert_snapshot!(shown(&["x/train/cat/1.JPG", "x/test/dog/1.jpg", "x/Val/2.jpg"], LabelsFrom::Auto), @r"
        x/train/cat/1.JPG cat train
        x/test/dog/1.jpg dog test
        x/Val/2.jpg - validation
        ");
    }

    #[test]
    fn a_class_may_be_called_train() {
        insta::assert_snapshot!(shown(&["train/1.png", "bus/1.png"], LabelsFrom::Auto), @r"
        train/1.png train -
        bus/1.png bus -
        ");
    }

    #[test]
    fn a_single_folder_is_a_class_only_when_asked() {
        assert_eq!(shown(&["cats/1.png"], LabelsFrom::Auto), "cats/1.png - -\n");
        assert_eq!(shown(&["cats/1.png"], LabelsFrom::Folder), "cats/1.png cats -\n");
        assert_eq!(shown(&["a/1.png", "b/1.png"], LabelsFrom::Nothing), "a/1.png - -\nb/1.png - -\n");
    }

    #[test]
    fn hostile_names_are_left_out_and_listed() {
        let names = [
            "../a.png",
            "/etc/a.png",
            "C:/a.png",
            "a/../b.png",
            "a\\..\\b.png",
            ".git/a.png",
            "__MACOSX/a.png",
            "a\n.png",
            "a/",
            "",
            "a/.b.png",
            "plain",
        ];
        let plan = plan(&names, LabelsFrom::Auto).expect("a plan");
        assert_eq!((plan.files.len(), plan.skipped.len()), (0, names.len()));
    }

    #[test]
    fn one_name_twice_is_refused_also_in_another_unicode_form() {
        for names in [["a/b.png", "a/b.png"], ["a/b.png", "a/./b.png"], ["caf\u{e9}.png", "cafe\u{301}.png"]] {
            assert!(plan(&names, LabelsFrom::Auto).is_err(), "{names:?} was accepted");
        }
    }

    #[test]
    fn classes_are_matched_in_nfc() {
        let plan = plan(&["caf\u{e9}/1.png", "cafe\u{301}/2.png", "b/1.png"], LabelsFrom::Auto).expect("a plan");
        assert_eq!(plan.files[0].label, plan.files[1].label);
    }

    #[test]
    fn a_class_that_is_no_text_is_left_out() {
        let names: [&[u8]; 3] = [b"\xff/1.png", b"b/\xff.png", b"c/1.png"];
        let plan = plan(&names, LabelsFrom::Auto).expect("a plan");
        assert_eq!((plan.files.len(), plan.skipped.len()), (2, 1));
    }

    proptest! {
        #[test]
        fn every_name_is_planned_or_listed(names in proptest::collection::vec("[a-c./\\\\]{0,12}(\\.png)?", 0..20)) {
            let result = plan(&names, LabelsFrom::Auto);
            if let Ok(plan) = result {
                prop_assert_eq!(plan.files.len() + plan.skipped.len(), names.len());
                for file in &plan.files {
                    prop_assert!(!names[file.index].contains("..") || !names[file.index].split(['/', '\\']).any(|it| it == ".."));
                }
            }
        }
    }
}
