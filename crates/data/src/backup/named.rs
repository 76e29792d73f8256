//! What the database of a backup names, compared with what the backup holds.

use super::{BLOBS, BackupError, NAMED, TABLES};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
};

/// The longest line, in bytes: a hash and an id are shorter by far.
const LINE_BYTES_MAX: u64 = 1024;
/// Missing files that are named.
const NAMED_MAX: usize = 20;

/// What a database names and a backup does not hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    /// The first of them.
    pub first: Vec<String>,
    /// How many there are.
    pub count: u64,
}

/// The list of what is named, read beside the files: both are in one order, so that a line is in memory at a time.
pub(super) struct Named {
    lines: BufReader<File>,
    next: Option<String>,
    missing: Missing,
}

impl Named {
    /// The list in a file that was written to its end.
    pub(super) fn new(mut list: File) -> Result<Self, BackupError> {
        list.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        let mut named = Self { lines: BufReader::new(list), next: None, missing: Missing::default() };
        named.step()?;
        Ok(named)
    }

    /// The file comes next in the archive: what should have come before it is missing.
    pub(super) fn found(&mut self, name: &str) -> Result<(), BackupError> {
        let mut parts = name.split('/');
        let key = match (parts.next(), parts.next()) {
            (Some(BLOBS), _) => name.to_owned(),
            // A dataset has many files, and is a folder here.
            (Some(TABLES), Some(id)) => format!("{TABLES}/{id}"),
            _ => return Ok(()),
        };
        while let Some(next) = self.next.take_if(|it| *it < key) {
            self.miss(next)?;
        }
        if self.next.as_ref() == Some(&key) {
            self.step()?;
        }
        Ok(())
    }

    /// The archive ends.
    pub(super) fn finish(mut self) -> Result<Missing, BackupError> {
        while let Some(next) = self.next.take() {
            self.miss(next)?;
        }
        Ok(self.missing)
    }

    fn miss(&mut self, name: String) -> Result<(), BackupError> {
        self.missing.count += 1;
        if self.missing.first.len() < NAMED_MAX {
            self.missing.first.push(name);
        }
        self.step()
    }

    fn step(&mut self) -> Result<(), BackupError> {
        let mut line = String::new();
        let read = (&mut self.lines).take(LINE_BYTES_MAX).read_line(&mut line).map_err(unreadable)?;
        if read > 0 && line.pop() != Some('\n') {
            return Err(BackupError::Strange(format!("a line of {NAMED} has no end")));
        }
        self.next = (read > 0).then_some(line);
        Ok(())
    }
}

fn unreadable(source: io::Error) -> BackupError {
    BackupError::Io { doing: "read", path: NAMED.to_owned(), source }
}
