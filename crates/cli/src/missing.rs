//! Paths that are not there and links that are not followed: what they are, and what to do about them.

use crate::exit::usage;
use kaogong_domain::Problem;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Names of a folder that are compared with a name that is not there.
const NAMES_MAX: usize = 10_000;
/// Letters that may differ in a name that could be meant.
const LETTERS_MAX: usize = 2;

/// What to do about a path that is not there.
pub fn nearest(path: &Path) -> String {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        let there = parent.ancestors().find(|it| it.is_dir()).unwrap_or(Path::new("."));
        return format!("its folder {} is not there either; what there is: ls {}", parent.display(), there.display());
    }
    let wanted = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let names = fs::read_dir(parent).into_iter().flatten().flatten().take(NAMES_MAX);
    let names = names.map(|it| it.file_name().to_string_lossy().into_owned());
    let near = names.filter_map(|name| Some((distance(&wanted, &name.to_lowercase())?, name))).min();
    match near {
        Some((_, name)) => format!("is {} meant?", parent.join(name).display()),
        None => format!("what there is: ls {}", parent.display()),
    }
}

/// How many letters differ; `None` when too many do. A name without its ending is near.
fn distance(wanted: &str, name: &str) -> Option<usize> {
    if name.strip_prefix(wanted).is_some_and(|it| it.starts_with('.')) {
        return Some(1);
    }
    let (wanted, name): (Vec<char>, Vec<char>) = (wanted.chars().collect(), name.chars().collect());
    if wanted.len().abs_diff(name.len()) > LETTERS_MAX || wanted.len() <= LETTERS_MAX {
        return None;
    }
    // Levenshtein's distance, row by row.
    let mut row: Vec<usize> = (0..=name.len()).collect();
    for (at, letter) in wanted.iter().enumerate() {
        let mut before = row[0];
        row[0] = at + 1;
        for (which, other) in name.iter().enumerate() {
            let changed = before + usize::from(letter != other);
            before = row[which + 1];
            row[which + 1] = changed.min(row[which] + 1).min(before + 1);
        }
    }
    row.last().copied().filter(|it| *it <= LETTERS_MAX)
}

/// A link that leads nowhere, where links are followed.
pub fn leads_nowhere(link: &Path) -> Problem {
    let target = fs::read_link(link).unwrap_or_default();
    usage(format!("the symbolic link {} leads to {}, which is not there", link.display(), target.display()))
        .hint("restore what it leads to, or remove the link")
}

/// A link that leads out of the folder that was named for links.
pub fn leads_outside(link: &Path, target: &Path, root: &Path) -> Problem {
    let (link, target, root) = (link.display(), target.display(), root.display());
    usage(format!("the symbolic link {link} leads to {target}, outside {root}"))
        .hint("name with --follow-links the folder that holds everything it may lead to, or remove it")
}

/// What a folder holds that is neither a file nor a folder.
#[derive(Debug, Default)]
pub struct LeftOut {
    links: u64,
    /// Links that lead nowhere.
    broken: u64,
    others: u64,
    first: Option<PathBuf>,
    /// The folder around all that links lead to.
    around: Option<PathBuf>,
}

impl LeftOut {
    /// Counts what lies at `path` below `root`.
    pub fn note(&mut self, root: &Path, path: &Path, kind: fs::FileType) {
        let name = path.strip_prefix(root).unwrap_or(path);
        self.first.get_or_insert_with(|| name.to_owned());
        if !kind.is_symlink() {
            self.others += 1;
            return;
        }
        self.links += 1;
        let Ok(target) = path.canonicalize() else {
            self.broken += 1;
            return;
        };
        let folder = target.parent().unwrap_or(&target);
        self.around = Some(self.around.take().map_or_else(|| folder.to_owned(), |it| common(&it, folder)));
    }

    /// A dataset or code that lacks what its folder shows would be a silent loss.
    ///
    /// # Errors
    /// Bad usage when anything was counted.
    pub fn refuse(&self, root: &Path) -> Result<(), Problem> {
        let Some(first) = &self.first else { return Ok(()) };
        let (root, first) = (root.display(), first.display());
        if self.links == 0 {
            let text =
                format!("{root} holds {} devices, pipes or sockets, which are no files; one is {first}", self.others);
            return Err(usage(text).hint("remove them, or name a folder of files alone"));
        }
        let text = format!("{root} holds {} symbolic links, which are not followed; one is {first}", self.links);
        let mut hints = Vec::new();
        if self.broken > 0 {
            hints.push(format!(
                "{} lead nowhere: restore what they lead to or remove them (find {root} -xtype l)",
                self.broken
            ));
        }
        if let Some(around) = &self.around {
            let around = if around.parent().is_none() { "ROOT".into() } else { around.display().to_string() };
            hints.push(format!("follow links that lead below a folder with --follow-links {around}"));
        }
        Err(usage(text).hint(hints.join("; ")))
    }
}

fn common(one: &Path, other: &Path) -> PathBuf {
    one.components().zip(other.components()).take_while(|(a, b)| a == b).map(|it| it.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_there_gets_a_way_out() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("Wine.csv"), "a\n").expect("a file");
        for near in ["wine.csv", "vine.csv", "wine", "Wines.csv"] {
            assert!(nearest(&dir.path().join(near)).ends_with("Wine.csv meant?"), "{near}");
        }
        assert_eq!(nearest(&dir.path().join("nope")), format!("what there is: ls {}", dir.path().display()));
        assert!(nearest(&dir.path().join("a/b/c.csv")).contains("a/b is not there either"));
        assert!(nearest(Path::new("nope.xyz")).ends_with("ls ."));
    }

    #[test]
    fn links_get_a_way_out_that_works() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().expect("a folder");
        let base = dir.path().canonicalize().expect("a path");
        for folder in ["cache/blobs/one", "cache/blobs/two", "data"] {
            fs::create_dir_all(base.join(folder)).expect("a folder");
        }
        let mut left_out = LeftOut::default();
        for (target, link) in [("cache/blobs/one/1", "1"), ("cache/blobs/two/2", "2"), ("absent", "3")] {
            if target != "absent" {
                fs::write(base.join(target), "x").expect("a file");
            }
            let link = base.join("data").join(link);
            symlink(base.join(target), &link).expect("a link");
            left_out.note(&base.join("data"), &link, fs::symlink_metadata(&link).expect("a link").file_type());
        }
        let problem = left_out.refuse(&base.join("data")).expect_err("links");
        let hint = problem.hint.expect("a hint");
        assert!(problem.text.contains("3 symbolic links"), "{}", problem.text);
        assert!(hint.starts_with("1 lead nowhere") && hint.contains("-xtype l"), "{hint}");
        assert!(hint.ends_with(&format!("--follow-links {}", base.join("cache/blobs").display())), "{hint}");
        assert!(leads_nowhere(&base.join("data/3")).text.ends_with("absent, which is not there"));
    }
}
