//! The code folder of a job: which of its files are packed, and what is said about those that cannot be.
//!
//! Links are packed as what they lead to, as long as that lies inside the folder too: the server takes files and
//! folders alone.

use crate::{data_in::cannot_read, exit::usage, output::words};
use kaogong_client::tar_out::{Entry, Source};
use kaogong_domain::{
    Problem,
    command_words::{has_windows_lines, runs_as_script, windows_lines},
};
use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The most bytes of code that are packed.
const CODE_BYTES_MAX: u64 = 1 << 30;
/// The most files and empty folders, as the server takes.
const CODE_FILES_MAX: usize = 100_000;
/// Folders, and links in their place, that are never code.
const LEFT_OUT: [&str; 5] = [".git", "__pycache__", ".venv", "node_modules", ".ipynb_checkpoints"];
/// The bit of a file's mode that lets its owner start it.
const OWNER_RUNS: u32 = 0o100;
/// Names that a remark shows.
const SHOWN: usize = 3;
/// How much of a script is looked at.
const SCRIPT_BYTES: u64 = 64 << 10;

/// A folder that was read.
#[derive(Debug)]
pub struct Code {
    /// What is packed.
    pub entries: Vec<Entry>,
    /// What is left out, in sentences.
    pub remarks: Vec<String>,
}

/// Reads a code folder.
///
/// # Errors
/// Bad usage: it is no folder, cannot be read, is too large, holds no file, or has links that lead out of it.
pub fn read(folder: &Path) -> Result<Code, Problem> {
    let facts = fs::metadata(folder).map_err(|it| cannot_read(folder, &it))?;
    if !facts.is_dir() {
        return Err(usage(format!("code = {} is not a folder", folder.display())));
    }
    let root = folder.canonicalize().map_err(|it| cannot_read(folder, &it))?;
    let mut walk = Walk { folder, above: vec![root.clone()], root, found: vec![], bytes: 0, left: Left::default() };
    walk.visit(folder, Path::new(""))?;
    walk.left.refuse_outside(folder)?;
    if walk.found.iter().all(|it| matches!(it.source, Source::Folder)) {
        return Err(usage(format!("the code folder {} holds no files", folder.display())));
    }
    Ok(Code { entries: walk.found, remarks: walk.left.remarks(folder) })
}

impl Code {
    /// What is said about scripts that the command starts and that no shell will understand.
    pub fn script_remarks(&self, command: &[String]) -> Vec<String> {
        let looks = |entry: &&Entry| runs_as_script(command, &String::from_utf8_lossy(&entry.name));
        let scripts = self.entries.iter().filter(looks);
        let named = scripts.filter(|entry| match &entry.source {
            Source::File(path) => has_windows_lines(&beginning(path)),
            Source::Bytes(bytes) => has_windows_lines(bytes),
            Source::Folder => false,
        });
        named.map(|entry| windows_lines(&String::from_utf8_lossy(&entry.name))).collect()
    }
}

fn beginning(path: &Path) -> Vec<u8> {
    let mut bytes = vec![];
    // A file that cannot be read is told of when it is packed.
    let _ = File::open(path).and_then(|it| it.take(SCRIPT_BYTES).read_to_end(&mut bytes));
    bytes
}

struct Walk<'a> {
    folder: &'a Path,
    /// The folder without links.
    root: PathBuf,
    /// The folders on the way down, without links.
    above: Vec<PathBuf>,
    found: Vec<Entry>,
    bytes: u64,
    left: Left,
}

impl Walk<'_> {
    /// Takes what lies in the folder `place`, under `name` in the archive.
    fn visit(&mut self, place: &Path, name: &Path) -> Result<(), Problem> {
        let before = self.found.len();
        let mut children = fs::read_dir(place)
            .and_then(|it| it.collect::<Result<Vec<_>, _>>())
            .map_err(|it| cannot_read(place, &it))?;
        children.sort_by_key(fs::DirEntry::file_name);
        for child in children {
            let kind = child.file_type().map_err(|it| cannot_read(&child.path(), &it))?;
            if !kind.is_file() && LEFT_OUT.iter().any(|it| child.file_name() == *it) {
                continue;
            }
            let (path, name) = (child.path(), name.join(child.file_name()));
            if kind.is_file() {
                self.file(&path, &name)?;
            } else if kind.is_dir() {
                self.enter(&path, &name)?;
            } else if kind.is_symlink() {
                self.link(&path, &name)?;
            } else {
                self.left.specials.push(name);
            }
        }
        if self.found.len() == before && !name.as_os_str().is_empty() {
            self.take(Entry::folder(place, place).named(name))?;
        }
        Ok(())
    }

    fn enter(&mut self, place: &Path, name: &Path) -> Result<(), Problem> {
        let real = place.canonicalize().map_err(|it| cannot_read(place, &it))?;
        if self.above.contains(&real) {
            self.left.loops.push(name.to_owned());
            return Ok(());
        }
        self.above.push(real);
        let done = self.visit(place, name);
        self.above.pop();
        done
    }

    fn link(&mut self, path: &Path, name: &Path) -> Result<(), Problem> {
        let Ok(target) = path.canonicalize() else {
            self.left.broken.push(name.to_owned());
            return Ok(());
        };
        if !target.starts_with(&self.root) {
            self.left.outside.push((name.to_owned(), target));
            return Ok(());
        }
        let facts = fs::metadata(&target).map_err(|it| cannot_read(path, &it))?;
        if facts.is_file() {
            self.file(&target, name)
        } else if facts.is_dir() {
            self.enter(&target, name)
        } else {
            self.left.specials.push(name.to_owned());
            Ok(())
        }
    }

    fn file(&mut self, path: &Path, name: &Path) -> Result<(), Problem> {
        let facts = fs::metadata(path).map_err(|it| cannot_read(path, &it))?;
        self.bytes += facts.len();
        if self.bytes > CODE_BYTES_MAX {
            let (folder, most) = (self.folder.display(), words::bytes(CODE_BYTES_MAX));
            return Err(usage(format!("the code in {folder} has more than {most}"))
                .hint("import data as a dataset and name it under inputs"));
        }
        let file = Entry::below(path, path).named(name);
        let is_program = facts.permissions().mode() & OWNER_RUNS != 0;
        self.take(if is_program { file.executable() } else { file })
    }

    fn take(&mut self, entry: Entry) -> Result<(), Problem> {
        if self.found.len() >= CODE_FILES_MAX {
            let folder = self.folder.display();
            return Err(usage(format!("the code in {folder} has more than {CODE_FILES_MAX} files"))
                .hint("import data as a dataset and name it under inputs"));
        }
        self.found.push(entry);
        Ok(())
    }
}

/// What of a folder is not packed.
#[derive(Default)]
struct Left {
    broken: Vec<PathBuf>,
    loops: Vec<PathBuf>,
    specials: Vec<PathBuf>,
    outside: Vec<(PathBuf, PathBuf)>,
}

impl Left {
    fn remarks(&self, folder: &Path) -> Vec<String> {
        let all = [
            (&self.broken, "broken symbolic link", "broken symbolic links"),
            (&self.loops, "symbolic link to a folder above it", "symbolic links to folders above them"),
            (&self.specials, "socket, pipe or device", "sockets, pipes or devices"),
        ];
        let named = all.into_iter().filter(|it| !it.0.is_empty());
        named
            .map(|(names, one, many)| {
                let what = if names.len() == 1 { one } else { many };
                format!("left out of the code in {}: {} {what} ({})", folder.display(), names.len(), shown(names))
            })
            .collect()
    }

    fn refuse_outside(&self, folder: &Path) -> Result<(), Problem> {
        let Some((name, target)) = self.outside.first() else { return Ok(()) };
        let link = folder.join(name);
        let text = format!(
            "{} of the symbolic links in {} lead out of it; one is {} -> {}",
            self.outside.len(),
            folder.display(),
            name.display(),
            target.display()
        );
        let (link, target) = (quoted(&link), quoted(target));
        Err(usage(text).hint(format!(
            "put a copy in the place of each: rm {link} && cp -a {target} {link}; large data is better imported as a dataset"
        )))
    }
}

fn shown(names: &[PathBuf]) -> String {
    let first: Vec<String> = names.iter().take(SHOWN).map(|it| it.display().to_string()).collect();
    let more = if names.len() > SHOWN { ", …" } else { "" };
    first.join(", ") + more
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = text.chars().all(|it| it.is_ascii_alphanumeric() || "/._-+=@:,".contains(it));
    if is_plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::{fs::symlink, net::UnixListener};

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().expect("a folder"));
            fs::create_dir(place.at("src")).expect("a folder");
            place.file("src/data", "1");
            place
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn file(&self, name: &str, text: &str) {
            fs::create_dir_all(self.at(name).parent().expect("a folder")).expect("folders");
            fs::write(self.at(name), text).expect("a file");
        }

        fn link(&self, name: &str, target: &str) {
            symlink(target, self.at(name)).expect("a link");
        }

        /// The names that are packed, folders with a slash, programs with a star.
        fn names(&self, folder: &str) -> (Vec<String>, Vec<String>) {
            let code = read(&self.at(folder)).expect("code");
            let name = |it: &Entry| {
                let mark =
                    if matches!(it.source, Source::Folder) { "/" } else { ["", "*"][usize::from(it.is_executable)] };
                format!("{}{mark}", String::from_utf8_lossy(&it.name))
            };
            (code.entries.iter().map(name).collect(), code.remarks)
        }
    }

    #[test]
    fn programs_stay_programs_and_empty_folders_stay() {
        let place = Place::new();
        place.file("src/run.sh", "");
        fs::set_permissions(place.at("src/run.sh"), fs::Permissions::from_mode(0o744)).expect("a program");
        fs::create_dir_all(place.at("src/out/deep")).expect("folders");
        place.file("src/cache/__pycache__/x.pyc", "");
        place.link("src/.venv", "/nowhere");
        place.link("by_link", "src");
        let (names, remarks) = place.names("by_link");
        assert_eq!(names, ["cache/", "data", "out/deep/", "run.sh*"]);
        assert!(remarks.is_empty(), "{remarks:?}");
    }

    #[test]
    fn what_is_no_file_is_left_out_with_a_word() {
        let place = Place::new();
        for name in ["a", "b", "c", "d"] {
            place.link(&format!("src/{name}"), "absent");
        }
        place.link("src/self", "self");
        let _listener = UnixListener::bind(place.at("src/socket")).expect("a socket");
        let (names, remarks) = place.names("src");
        assert_eq!(names, ["data"]);
        assert!(remarks[0].contains("5 broken symbolic links (a, b, c, …)"), "{remarks:?}");
        assert!(remarks[1].contains("1 socket, pipe or device (socket)"), "{remarks:?}");
    }

    #[test]
    fn links_inside_are_packed_as_what_they_lead_to() {
        let place = Place::new();
        place.file("src/lib/deep/x.py", "x");
        place.link("src/alias", "data");
        place.link("src/more", "lib");
        place.link("src/lib/up", "..");
        let (names, remarks) = place.names("src");
        assert_eq!(names, ["alias", "data", "lib/deep/x.py", "more/deep/x.py"]);
        assert!(remarks[0].contains("2 symbolic links to folders above them (lib/up, more/up)"), "{remarks:?}");
    }

    #[test]
    fn links_that_lead_out_are_refused_with_a_command_that_works() {
        let place = Place::new();
        place.file("other place/big", "bytes");
        place.link("src/broken", "absent");
        place.link("src/big", "../other place");
        let problem = read(&place.at("src")).expect_err("refused");
        assert!(problem.text.contains("1 of the symbolic links") && problem.text.contains("big -> "), "{problem}");
        let hint = problem.hint.clone().expect("a hint");
        let command = hint.split_once(": ").expect("a command").1.split_once(';').expect("its end").0;
        let done = std::process::Command::new("sh").args(["-c", command]).status().expect("a shell");
        assert!(done.success(), "{command}");
        assert_eq!(place.names("src").0, ["big/big", "data"]);
        assert_eq!(crate::exit::number(&problem), 2);
    }

    #[test]
    fn scripts_with_windows_lines_are_told_of() {
        let place = Place::new();
        place.file("src/train.sh", "#!/bin/sh\r\necho\r\n");
        place.file("src/train.py", "print()\r\n");
        let code = read(&place.at("src")).expect("code");
        let remarks =
            |words: &[&str]| code.script_remarks(&words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        assert!(remarks(&["./train.sh"])[0].contains("train.sh has Windows line ends (CRLF)"));
        assert_eq!(remarks(&["bash", "train.sh"]).len(), 1);
        assert!(remarks(&["python", "train.py"]).is_empty());
    }
}
