//! Turns the names in an archive or folder into pictures with classes and splits. Names only: nothing is read.
//!
//! The rules, in order. Names that are absolute, hold `..` or control characters, are hidden, too long or too deep,
//! or do not end like a picture are left out and listed. While all pictures lie in one folder that is no split
//! name, that folder is a wrapper and is passed over. When every top folder left is a split name (`train`, `test`,
//! `val`, …), it is the given split; the fewer pictures that lie beside such folders are left out, since nobody
//! said what they are for. The class is one of the folders that are left, see [`levels`], in NFC, so that a name from macOS and
//! the same name from Linux are one class; pictures beside the class folders have no class.

mod levels;
mod names;
mod taken;

pub use levels::{FolderLevel, FolderReport};
pub use names::{folders_of, key_of, normal, text_of};
pub use taken::Taken;

use crate::tables::{Warning, Warnings};
use kaogong_domain::{Problem, datasets::Split};
use names::{folder_at, parts};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::HashMap};

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 4096;
/// The longest part of a name, in bytes: what file systems take.
pub const PART_BYTES_MAX: usize = 255;
/// The most folders around a picture.
pub const FOLDERS_MAX: usize = 64;
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
    /// From the folders of this level, counted from 1 below wrappers and splits.
    Level(usize),
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
    pub skipped: Warnings,
    /// Which folders are the classes.
    pub folders: FolderReport,
}

/// Plans an import of the files with these names (`/` between folders). Takes time with many names: call it off the
/// async threads.
///
/// # Errors
/// `Invalid` when two pictures have one name, or one name up to Unicode normalisation, or when no folder lies on the
/// level that was asked for.
pub fn plan<N: AsRef<[u8]>>(names: &[N], labels: LabelsFrom) -> Result<FolderPlan, Problem> {
    let mut plan = FolderPlan::default();
    let kept = usable(names, &mut plan.skipped)?;
    let mut shape = Shape::of(&kept, labels);
    if labels != LabelsFrom::Nothing {
        let wanted = if let LabelsFrom::Level(level) = labels { Some(level) } else { None };
        plan.folders = levels::report(kept.iter().map(|it| it.1), |name| shape.skip(name), wanted);
        if wanted.is_some_and(|it| it == 0 || it > plan.folders.levels.len()) {
            return Err(no_level(&plan.folders));
        }
        // Asked for the folder that holds the picture, one gets that.
        shape.class_level = plan.folders.class_level.filter(|_| labels != LabelsFrom::Folder);
    }
    for (index, name) in kept {
        match shape.place(name, labels) {
            Ok((label, split)) => plan.files.push(PlannedFile { index, label, split }),
            Err(reason) => plan.skipped.add(warning(name, reason)),
        }
    }
    Ok(plan)
}

fn no_level(folders: &FolderReport) -> Problem {
    Problem::invalid(format!("the class level must be 1 to {}", folders.levels.len().max(1)))
        .hint("level 1 is the outermost folder below wrappers and splits")
}

/// The pictures among the names, with their places in the list.
fn usable<'a, N: AsRef<[u8]>>(names: &'a [N], skipped: &mut Warnings) -> Result<Vec<(usize, &'a [u8])>, Problem> {
    let mut kept = Vec::new();
    let mut seen: HashMap<Cow<'a, [u8]>, usize> = HashMap::new();
    for (index, name) in names.iter().enumerate() {
        let name = name.as_ref();
        if let Err(reason) = judge(name) {
            skipped.add(warning(name, reason));
            continue;
        }
        if let Some(other) = seen.insert(key_of(name), index) {
            return Err(duplicate(names[other].as_ref(), name));
        }
        kept.push((index, name));
    }
    // Pictures of one folder stand together: a folder that was looked up is not looked up again.
    let mut clean: Option<Vec<u8>> = None;
    kept.retain(|(_, name)| {
        let key = key_of(name);
        let Some(end) = key.iter().rposition(|it| *it == b'/') else { return true };
        let folder = &key[..end];
        if clean.as_deref() == Some(folder) {
            return true;
        }
        if names::folders_of(&key).any(|it| seen.contains_key(it)) {
            skipped.add(warning(name, "its folder has the name of another picture"));
            return false;
        }
        clean = Some(folder.to_vec());
        true
    });
    Ok(kept)
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

/// Whether the name is that of a usable picture, or why it is none.
fn judge(name: &[u8]) -> Result<(), &'static str> {
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
    if name.split(|it| matches!(it, b'/' | b'\\')).any(|it| it == b"..") {
        return Err("the name leaves its folder (`..`)");
    }
    if name.ends_with(b"/") {
        return Err("a folder, not a file");
    }
    if parts(name).any(|it| it.len() > PART_BYTES_MAX) {
        return Err("a part of the name is longer than 255 bytes");
    }
    if parts(name).count() > FOLDERS_MAX + 1 {
        return Err("it lies more than 64 folders deep");
    }
    if parts(name).any(|it| it.starts_with(b".") || it == b"__MACOSX") {
        return Err("a hidden file, or in a hidden folder");
    }
    let file = parts(name).next_back().unwrap_or_default();
    if ends_like_a_picture(file) { Ok(()) } else { Err("not a picture, judging by the end of its name") }
}

fn ends_like_a_picture(file: &[u8]) -> bool {
    let Some(dot) = file.iter().rposition(|it| *it == b'.') else { return false };
    ENDINGS.iter().any(|it| file[dot + 1..].eq_ignore_ascii_case(it.as_bytes()))
}

/// How the folders are to be read.
struct Shape {
    /// Leading folders that mean nothing.
    wrappers: usize,
    /// Whether the folder below them is the split.
    has_splits: bool,
    /// Which of the folders below is the class; the one that holds the picture when `None`.
    class_level: Option<usize>,
}

impl Shape {
    fn of(files: &[(usize, &[u8])], labels: LabelsFrom) -> Self {
        let finds_wrappers = matches!(labels, LabelsFrom::Auto | LabelsFrom::Level(_));
        let wrappers = |loose| if finds_wrappers { common_folders(files, loose) } else { 0 };
        let below = wrappers(Loose::PassedOver);
        let (mut inside, mut beside) = (0u64, 0u64);
        let only_splits = files.iter().all(|(_, name)| match folder_at(name, below) {
            Some(folder) => {
                inside += 1;
                split_word(folder).is_some()
            }
            None => {
                beside += 1;
                true
            }
        });
        // With more pictures beside than inside, the one folder is called `test` by chance.
        if only_splits && inside > beside {
            return Self { wrappers: below, has_splits: true, class_level: None };
        }
        Self { wrappers: wrappers(Loose::Counted), has_splits: false, class_level: None }
    }

    /// How many leading folders of a picture are no class.
    fn skip(&self, name: &[u8]) -> usize {
        let split = if self.has_splits { folder_at(name, self.wrappers).and_then(split_word) } else { None };
        self.wrappers + usize::from(split.is_some())
    }

    /// The class and the split of a picture, or why it is left out.
    fn place(&self, name: &[u8], labels: LabelsFrom) -> Result<(Option<String>, Option<Split>), &'static str> {
        let split = if self.has_splits { folder_at(name, self.wrappers).and_then(split_word) } else { None };
        if self.has_splits && split.is_none() {
            return Err("it lies beside the folders of the splits, so it belongs to none of them");
        }
        let skip = self.wrappers + usize::from(self.has_splits);
        let folder = match self.class_level {
            _ if labels == LabelsFrom::Nothing || parts(name).count() < skip + 2 => None,
            Some(level) => folder_at(name, skip + level - 1),
            None => parts(name).rev().nth(1),
        };
        let label = folder.map(label_of).transpose()?;
        Ok((label, split))
    }
}

/// What pictures outside all folders mean for finding wrappers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loose {
    /// A folder with pictures beside it is no wrapper.
    Counted,
    /// Only folders are compared.
    PassedOver,
}

/// How many leading folders all pictures share, not counting split names. When pictures lie directly in the
/// last shared folder it is still a wrapper: one folder tells no classes apart.
fn common_folders(files: &[(usize, &[u8])], loose: Loose) -> usize {
    let is_shared = |depth: &usize| {
        let mut shared: Option<&[u8]> = None;
        for (_, name) in files {
            match (folder_at(name, *depth), shared) {
                (None, _) if loose == Loose::Counted => return false,
                (None, _) => {}
                (Some(folder), None) => shared = Some(folder),
                (Some(folder), Some(first)) if folder == first || key_of(folder) == key_of(first) => {}
                (Some(_), Some(_)) => return false,
            }
        }
        shared.is_some_and(|it| split_word(it).is_none())
    };
    (0..FOLDERS_MAX).take_while(is_shared).count()
}

fn split_word(part: &[u8]) -> Option<Split> {
    // Longer words are no split; most folders are not even looked at.
    let word = std::str::from_utf8(part).ok().filter(|it| it.len() <= 16)?;
    Split::parse(&word.to_ascii_lowercase())
}

fn label_of(folder: &[u8]) -> Result<String, &'static str> {
    if folder.len() > LABEL_BYTES_MAX {
        return Err("the name of its class folder is longer than 255 bytes");
    }
    if std::str::from_utf8(folder).is_err() {
        return Err(
            "the name of its class folder is not UTF-8; for names in GBK: `convmv -f gbk -t utf8 -r --notest FOLDER`",
        );
    }
    Ok(text_of(folder))
}

#[cfg(test)]
mod tests;
