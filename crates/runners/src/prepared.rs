//! The folder of an attempt before it starts, and whether the caller's files are all in it.

use crate::{
    fault::{Fault, OnPath},
    folder::{Folder, replace_file},
    proc,
};
use kaogong_domain::Problem;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where a caller puts the files of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    work_dir: PathBuf,
    mark: PathBuf,
}

impl Prepared {
    pub(crate) fn new(folder: &Folder) -> Self {
        Self { work_dir: folder.work(), mark: folder.staged() }
    }

    /// The directory in which the command will start.
    pub fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// Whether somebody staged everything since this machine started. Then nobody may write there any more: a
    /// supervisor that an earlier server started may be about to run the command.
    pub fn is_staged(&self) -> bool {
        let mark = fs::read_to_string(&self.mark).unwrap_or_default();
        !mark.is_empty() && boot_id().is_ok_and(|it| it == mark)
    }

    /// Notes that everything is staged. The note is good until the machine stops, as nobody waits for the staged
    /// files to reach the disk.
    ///
    /// # Errors
    /// `Unavailable` when the note cannot be written.
    pub fn mark_staged(&self) -> Result<(), Problem> {
        Ok(replace_file(&self.mark, boot_id()?.as_bytes())?)
    }
}

fn boot_id() -> Result<String, Fault> {
    proc::boot_id().on("read", Path::new("/proc/sys/kernel/random/boot_id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_staged_counts_until_the_machine_stops() {
        let dir = tempfile::tempdir().expect("a directory");
        let prepared = Prepared::new(&Folder::new(dir.path().to_owned()));
        assert!(!prepared.is_staged());
        prepared.mark_staged().expect("a note");
        assert!(prepared.is_staged());
        fs::write(&prepared.mark, "another boot").expect("the note of another boot");
        assert!(!prepared.is_staged());
    }
}
