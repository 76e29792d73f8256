//! Removing folders that jobs and package installers filled, read-only directories included.

use crate::fault::{Fault, OnPath};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Removes a folder and everything in it. One that is not there is fine.
///
/// It first gets a name that no list shows, so that a crash in the middle leaves no half folder that
/// looks whole; [`clear_leftovers`] finishes the work later.
pub(crate) fn remove_dir(path: &Path) -> Result<(), Fault> {
    let gone = gone_name(path);
    match fs::rename(path, &gone) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // An earlier removal was cut short under this very name.
        Err(error) if is_taken(&error) => {
            remove_all(&gone)?;
            fs::rename(path, &gone).on("rename", path)?;
        }
        renamed => renamed.on("rename", path)?,
    }
    remove_all(&gone)
}

/// Finishes removals in `dir` that a crash cut short.
pub(crate) fn clear_leftovers(dir: &Path) -> Result<(), Fault> {
    for entry in fs::read_dir(dir).on("read", dir)? {
        let entry = entry.on("read", dir)?;
        if entry.file_name().to_str().is_some_and(|it| it.starts_with(GONE)) {
            remove_all(&entry.path())?;
        }
    }
    Ok(())
}

const GONE: &str = ".gone-";

fn gone_name(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(GONE);
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

/// Removes whatever is at a path, links themselves and not what they point to. Nothing there is fine.
///
/// A folder is taken apart from the outside: what lies in its folders moves up before they go. A job may leave
/// folders so far below each other that no path names the last one and no recursion comes back from it.
pub(crate) fn remove_all(path: &Path) -> Result<(), Fault> {
    match fs::symlink_metadata(path) {
        Ok(facts) if facts.is_dir() => {}
        Ok(_) => return gone(fs::remove_file(path)).on("remove", path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).on("look at", path),
    }
    let mut moved = 0;
    loop {
        let below = empty_of_files(path)?;
        if below.is_empty() {
            return gone(fs::remove_dir(path)).on("remove", path);
        }
        for dir in below {
            for inner in empty_of_files(&dir)? {
                move_up(&inner, path, &mut moved)?;
            }
            gone(fs::remove_dir(&dir)).on("remove", &dir)?;
        }
    }
}

/// Removes what is no folder; the folders that are left.
fn empty_of_files(dir: &Path) -> Result<Vec<PathBuf>, Fault> {
    open_up(dir);
    let mut folders = vec![];
    for entry in fs::read_dir(dir).on("read", dir)? {
        let entry = entry.on("read", dir)?;
        let path = entry.path();
        if entry.file_type().on("look at", &path)?.is_dir() {
            folders.push(path);
        } else {
            gone(fs::remove_file(&path)).on("remove", &path)?;
        }
    }
    Ok(folders)
}

/// Gives a folder a free name in `top`.
fn move_up(dir: &Path, top: &Path, moved: &mut u64) -> Result<(), Fault> {
    open_up(dir);
    loop {
        *moved += 1;
        match fs::rename(dir, top.join(format!("{GONE}{moved}"))) {
            // The name is taken: by the job, or by a removal that was cut short.
            Err(error) if is_taken(&error) || error.kind() == io::ErrorKind::NotADirectory => {}
            renamed => return renamed.on("rename", dir),
        }
    }
}

/// Whether a folder that is not empty has the name already; file systems say it in two ways.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}

/// Makes a directory writable to its owner. What fails here shows in the removal that follows.
fn open_up(dir: &Path) {
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
}

/// What somebody else has removed meanwhile is removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_folders_and_leftovers_go() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        for it in [&path, &gone_name(&path)] {
            fs::create_dir_all(it.join("b/c")).expect("folders");
            fs::set_permissions(it.join("b"), fs::Permissions::from_mode(0o500)).expect("read-only");
        }
        remove_dir(&path).expect("removed");
        remove_dir(&path).expect("nothing to remove");
        fs::create_dir_all(gone_name(&path).join("x")).expect("cut short");
        clear_leftovers(dir.path()).expect("cleared");
        assert_eq!(fs::read_dir(dir.path()).expect("the directory").count(), 0);
    }

    #[test]
    fn whatever_is_there_goes_and_nothing_beside_it() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("kept"), "of another").expect("a file");
        let path = dir.path().join("work");
        // Names that the removal itself would give, as a file and as a folder.
        fs::create_dir_all(path.join("a/b/c")).expect("folders");
        fs::create_dir_all(path.join(".gone-2/d")).expect("folders");
        fs::write(path.join(".gone-1"), "in the way").expect("a file");
        std::os::unix::fs::symlink(dir.path(), path.join("a/up")).expect("a link");
        remove_all(&path).expect("removed");
        std::os::unix::fs::symlink(dir.path(), &path).expect("a link in its place");
        remove_all(&path).expect("the link is removed");
        fs::write(&path, "a file").expect("a file in its place");
        remove_all(&path).expect("the file is removed");
        remove_all(&path).expect("nothing to remove");
        let left: Vec<_> =
            fs::read_dir(dir.path()).expect("the directory").flatten().map(|it| it.file_name()).collect();
        assert_eq!(left, ["kept"]);
    }

    #[test]
    fn folders_deeper_than_any_path_go() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("work");
        fs::create_dir(&path).expect("a folder");
        // Each new folder is made at the top and takes the older ones in, as no path reaches the last one.
        for _ in 0..3000 {
            let (inner, outer) = (path.join("d"), path.join("outer"));
            fs::create_dir(&outer).expect("a folder");
            if inner.exists() {
                fs::rename(&inner, outer.join("d")).expect("moved in");
            }
            fs::rename(&outer, &inner).expect("in its place");
        }
        remove_all(&path).expect("removed");
        assert!(!path.exists());
    }
}
