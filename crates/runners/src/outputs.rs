//! What a command left below its folder, read as a stranger's: by plain names, and never through a link.
//!
//! A link would make the server read, with its own rights, whatever it points to. Every step is therefore
//! opened from the folder above it and refused when it is one, so that nothing depends on a look before.

use kaogong_domain::Problem;
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, openat, statat},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

/// The longest name of an output, in bytes. It is part of a key, and databases take no key of any length.
const NAME_BYTES_MAX: usize = 1024;

/// How much of a name that is too long is told, in characters.
const SHOWN_MAX: usize = 100;

/// The most folders below each other.
const DEPTH_MAX: usize = 64;

/// One file that a command left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    folder: PathBuf,
    path: PathBuf,
}

/// The bytes of an output.
#[derive(Debug)]
pub struct OutputReader {
    path: PathBuf,
    file: File,
}

/// Refuses what is no plain path below a folder.
///
/// # Errors
/// `Invalid` with what to write instead.
pub fn check_path(path: &str) -> Result<(), Problem> {
    let parts = path.strip_suffix('/').unwrap_or(path).split('/');
    let is_plain = parts.clone().all(|it| !matches!(it, "" | "." | "..")) && !path.contains('\0');
    check_length(path)?;
    if is_plain && parts.count() <= DEPTH_MAX {
        return Ok(());
    }
    let shown: String = path.chars().take(SHOWN_MAX).collect();
    Err(Problem::invalid(format!("output `{shown}` is not a plain path below the working folder"))
        .hint("write it like `model.onnx` or `results/plots`: without `./` or `/` in front and without `..`"))
}

fn check_length(name: &str) -> Result<(), Problem> {
    if name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    let shown: String = name.chars().take(SHOWN_MAX).collect();
    let text = format!("output `{shown}…` has a name of {} bytes, more than {NAME_BYTES_MAX}", name.len());
    Err(Problem::invalid(text).hint("give the file and its folders shorter names"))
}

/// The files that the declared outputs of a command name, each once; a declared folder stands for all that is
/// below it. Files and folders together may be `entries_max`.
///
/// # Errors
/// `Invalid` when one is not there, is a link, has too long a name or cannot be read; `Unavailable` when the machine is at fault.
pub fn find_outputs(folder: &Path, declared: &[String], entries_max: usize) -> Result<Vec<Output>, Problem> {
    let mut found = std::collections::BTreeSet::new();
    let mut entries = 0;
    for declared in declared {
        check_path(declared)?;
        let mut rest = vec![Path::new(declared).components().collect::<PathBuf>()];
        while let Some(path) = rest.pop() {
            entries += 1;
            if entries > entries_max {
                return Err(Problem::invalid(format!("the job's outputs have more than {entries_max} files")));
            }
            let (above, name) = open_above(folder, &path)?;
            match kind(&above, name, &path)? {
                FileType::Directory if path.components().count() >= DEPTH_MAX => return Err(too_deep(&path)),
                FileType::Directory => rest.extend(list(&above, name, &path)?.into_iter().map(|it| path.join(it))),
                FileType::RegularFile => {
                    check_length(&path.to_string_lossy())?;
                    found.insert(path);
                }
                other => return Err(not_plain(&path, other)),
            }
        }
    }
    Ok(found.into_iter().map(|path| Output { folder: folder.to_owned(), path }).collect())
}

impl Output {
    /// Its name below the folder; bytes that are not UTF-8 are replaced.
    pub fn name(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// Opens it. What has become a link or a pipe by now is refused.
    ///
    /// # Errors
    /// As [`find_outputs`].
    pub fn open(&self) -> Result<OutputReader, Problem> {
        let (above, name) = open_above(&self.folder, &self.path)?;
        let unreadable = |it: Errno| unreadable(&self.path, &io::Error::from(it));
        // Opening a pipe would wait for its other end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&above, name, flags, Mode::empty()).map_err(unreadable)?;
        let found = FileType::from_raw_mode(fstat(&file).map_err(unreadable)?.st_mode);
        if found != FileType::RegularFile {
            return Err(not_plain(&self.path, found));
        }
        Ok(OutputReader { path: self.path.clone(), file: file.into() })
    }
}

impl OutputReader {
    /// Reads the next bytes; 0 is the end.
    ///
    /// # Errors
    /// As [`find_outputs`].
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Problem> {
        loop {
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map_err(|it| unreadable(&self.path, &it)),
            }
        }
    }
}

/// The folder that holds `path`, and the last part of it.
fn open_above<'a>(folder: &Path, path: &'a Path) -> Result<(OwnedFd, &'a OsStr), Problem> {
    let unreadable = |it: Errno| unreadable(path, &io::Error::from(it));
    let mut above = openat(CWD, folder, folder_flags(), Mode::empty()).map_err(unreadable)?;
    let mut parts = path.components().peekable();
    let mut so_far = PathBuf::new();
    while let Some(Component::Normal(part)) = parts.next() {
        if parts.peek().is_none() {
            return Ok((above, part));
        }
        so_far.push(part);
        match kind(&above, part, &so_far)? {
            FileType::Directory => {}
            FileType::Symlink => return Err(not_plain(&so_far, FileType::Symlink)),
            _ => return Err(missing(path)),
        }
        above = openat(&above, part, folder_flags(), Mode::empty()).map_err(unreadable)?;
    }
    check_path(&path.to_string_lossy())?;
    Err(missing(path))
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn kind(above: &OwnedFd, name: &OsStr, path: &Path) -> Result<FileType, Problem> {
    match statat(above, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(facts) => Ok(FileType::from_raw_mode(facts.st_mode)),
        Err(Errno::NOENT) => Err(missing(path)),
        Err(error) => Err(unreadable(path, &error.into())),
    }
}

/// The names in a folder.
fn list(above: &OwnedFd, name: &OsStr, path: &Path) -> Result<Vec<OsString>, Problem> {
    let unreadable = |it: Errno| unreadable(path, &io::Error::from(it));
    let opened = openat(above, name, folder_flags(), Mode::empty()).map_err(unreadable)?;
    let mut names = vec![];
    for entry in Dir::read_from(&opened).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

fn missing(path: &Path) -> Problem {
    Problem::invalid(format!("the job ended well but made no `{}`", path.display()))
}

fn too_deep(path: &Path) -> Problem {
    Problem::invalid(format!("output `{}` is more than {DEPTH_MAX} folders deep", path.display()))
}

fn not_plain(path: &Path, kind: FileType) -> Problem {
    let path = path.display();
    if kind == FileType::Symlink {
        return Problem::invalid(format!("output `{path}` is a link, and links are not followed"))
            .hint("copy the file to where the output is expected");
    }
    Problem::invalid(format!("output `{path}` is neither a file nor a folder"))
}

/// What a failed read means: the machine may get better, a file that is closed to us stays closed.
fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let text = format!("output `{}` cannot be read: {error}", path.display());
    let of_machine = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO, Errno::STALE, Errno::TIMEDOUT];
    if of_machine.iter().any(|it| error.raw_os_error() == Some(it.raw_os_error())) {
        return Problem::unavailable(text);
    }
    Problem::invalid(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kaogong_domain::ErrorKind;
    use std::{fs, os::unix::fs::symlink};

    fn place() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(dir.path().join("work/results/deep")).expect("folders");
        fs::write(dir.path().join("secret"), "of another").expect("a file outside");
        for (name, text) in [("model.onnx", "m"), ("results/a", "a"), ("results/deep/b", "b")] {
            fs::write(dir.path().join("work").join(name), text).expect("a file");
        }
        dir
    }

    fn find(dir: &tempfile::TempDir, declared: &[&str]) -> Result<Vec<String>, Problem> {
        let declared: Vec<String> = declared.iter().map(|it| (*it).to_owned()).collect();
        Ok(find_outputs(&dir.path().join("work"), &declared, 100)?.iter().map(Output::name).collect())
    }

    fn refused(dir: &tempfile::TempDir, declared: &str) -> String {
        let problem = find(dir, &[declared]).expect_err("it cannot be kept");
        assert_eq!(problem.kind, ErrorKind::Invalid, "{problem}");
        problem.text
    }

    #[test]
    fn only_plain_paths_below_the_folder_are_outputs() {
        for good in ["a", "a/b", "results/", ".hidden", "..a", "über 图.png"] {
            assert!(check_path(good).is_ok(), "{good:?}");
        }
        for bad in ["", "/", ".", "./a", "/a", "../a", "a/../b", "a//b", "a/.", "a\0b"] {
            let problem = check_path(bad).expect_err(bad);
            assert!(problem.kind == ErrorKind::Invalid && problem.hint.is_some(), "{bad:?}");
        }
        assert!(check_path(&"a".repeat(NAME_BYTES_MAX)).is_ok());
        let problem = check_path(&"a".repeat(NAME_BYTES_MAX + 1)).expect_err("a long name");
        assert!(problem.text.contains("1025 bytes") && problem.text.len() < 200, "{problem}");
    }

    #[test]
    fn folders_stand_for_their_files_and_each_file_is_found_once() {
        let dir = place();
        let all = find(&dir, &["results/", "model.onnx", "results/deep"]).expect("outputs");
        assert_eq!(all, ["model.onnx", "results/a", "results/deep/b"]);
        let declared = ["results".to_owned()];
        let some = find_outputs(&dir.path().join("work"), &declared, 100).expect("outputs");
        let mut buffer = [0; 8];
        assert_eq!(some[0].open().and_then(|mut it| it.read(&mut buffer)).expect("bytes"), 1);
        assert_eq!(buffer[0], b'a');
        assert!(find_outputs(&dir.path().join("work"), &declared, 3).is_err(), "more than three entries");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let dir = place();
        assert!(refused(&dir, "nothing").contains("made no `nothing`"));
        assert!(refused(&dir, "model.onnx/x").contains("made no `model.onnx/x`"));
    }

    #[test]
    fn a_name_that_no_database_takes_as_a_key_is_refused() {
        let dir = place();
        let folder = dir.path().join("work/results").join(["x".repeat(200).as_str(); 5].join("/"));
        fs::create_dir_all(&folder).expect("folders");
        fs::write(folder.join("kept"), "").expect("a file");
        assert_eq!(find(&dir, &["results"]).expect("outputs").len(), 3);
        // What is no text is kept under a longer name than the file has.
        fs::write(folder.join(OsStr::from_bytes(&[0xff; 10])), "").expect("a file");
        let text = refused(&dir, "results");
        assert!(text.contains("output `results/xxx") && text.contains("1043 bytes") && text.len() < 250, "{text}");
    }

    #[test]
    fn links_are_refused_wherever_they_are() {
        let dir = place();
        let work = dir.path().join("work");
        symlink("../secret", work.join("link")).expect("a link");
        symlink("..", work.join("up")).expect("a link");
        symlink("/nowhere", work.join("results/deep/dangling")).expect("a link");
        assert!(refused(&dir, "link").contains("`link` is a link"));
        assert!(refused(&dir, "up/secret").contains("`up` is a link"));
        assert!(refused(&dir, "results").contains("`results/deep/dangling` is a link"));
        fs::rename(&work, dir.path().join("moved")).expect("the folder moves away");
        symlink("moved", &work).expect("a link in its place");
        assert!(refused(&dir, "model.onnx").contains("cannot be read"));
    }

    #[test]
    fn a_file_that_became_something_else_is_not_opened() {
        let dir = place();
        let work = dir.path().join("work");
        let found = find_outputs(&work, &["results".to_owned()], 100).expect("outputs");
        fs::remove_file(work.join("results/a")).expect("gone");
        symlink("../../secret", work.join("results/a")).expect("a link");
        fs::remove_file(work.join("results/deep/b")).expect("gone");
        let pipe = std::process::Command::new("mkfifo").arg(work.join("results/deep/b")).status();
        assert!(pipe.expect("the mkfifo program").success());
        for output in found {
            let problem = output.open().expect_err("it is no file any more");
            assert_eq!(problem.kind, ErrorKind::Invalid, "{problem}");
        }
        assert!(refused(&dir, "results/deep").contains("neither a file nor a folder"));
    }

    #[test]
    fn a_machine_at_its_end_may_get_better() {
        let kind = |errno: Errno| unreadable(Path::new("a"), &errno.into()).kind;
        assert_eq!(kind(Errno::ACCESS), ErrorKind::Invalid);
        assert_eq!(kind(Errno::MFILE), ErrorKind::Unavailable);
    }
}
