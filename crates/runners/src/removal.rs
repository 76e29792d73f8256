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
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
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

fn remove_all(path: &Path) -> Result<(), Fault> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path);
            fs::remove_dir_all(path).on("remove", path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.on("remove", path),
    }
}

/// Makes every directory writable to its owner. What fails here shows in the removal that follows.
fn open_up(root: &Path) {
    let mut next = vec![root.to_owned()];
    while let Some(dir) = next.pop() {
        let _ = fs::set_permissions(&dir, fs::Permissions::from_mode(0o700));
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        next.extend(entries.filter(|it| it.file_type().is_ok_and(|it| it.is_dir())).map(|it| it.path()));
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
}
