//! Backups: one compressed archive of a database snapshot and of the files that it refers to.
//!
//! Layout: a tar archive in zstd. Its first file is `backup.json` (what this is and how much follows), its last one
//! `manifest.jsonl`: a line with path, size and BLAKE3 hash of each file before it, and one with their sum. An archive
//! that ends before its manifest is incomplete; nothing else has to be known to tell that. After the database comes
//! `named.txt`: what the database names outside of itself, a path on each line, in the order of the files that follow.
//!
//! Invariant: writing and reading are streams. Memory does not grow with the number of files or their size.

mod named;
mod read;
mod write;

pub use named::Missing;
pub use read::{Contents, Target, read};
pub use write::{Writer, heartbeat, size_of_folder};

use kaogong_domain::Problem;
use serde::{Deserialize, Serialize};
use std::io;

/// The layout that this program writes, and the newest that it reads. The first one had no [`NAMED`].
pub const FORMAT: u32 = 2;

/// What the archive is.
const HEAD: &str = "backup.json";
/// What is in it.
const MANIFEST: &str = "manifest.jsonl";
/// What a backup may hold below its root.
const ROOTS: [&str; 9] = [HEAD, MANIFEST, SQLITE, POSTGRES, NAMED, FOLDER_ID, SECRETS_KEY, BLOBS, TABLES];
/// Stored files, by their hash.
const BLOBS: &str = "blobs";
/// Datasets, each in a folder.
const TABLES: &str = "tables";
/// The folder of attempts, of which a part is kept.
const JOBS: &str = "jobs";

/// The metadata in SQLite, under the name that it has in a data folder.
pub const SQLITE: &str = "kaogong.db";
/// The metadata of a PostgreSQL server, in the custom format of `pg_dump`.
pub const POSTGRES: &str = "database.dump";
/// What the database names: lines of [`path_of_blob`] and [`path_of_dataset`], each kind in the order of its bytes.
pub const NAMED: &str = "named.txt";
/// What a PostgreSQL database knows its folder by.
pub const FOLDER_ID: &str = "folder-id";
/// The key that the secrets in the database are encrypted with.
pub const SECRETS_KEY: &str = "secrets.key";

/// What a backup says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The layout.
    pub format: u32,
    /// The version of the program that wrote it.
    pub version: String,
    /// Which database it is of: `sqlite` or `postgresql`.
    pub store: String,
    /// When the snapshot was made, in milliseconds since 1970.
    pub made_at: i64,
    /// About how many bytes of files follow.
    pub bytes: u64,
}

/// A line of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    path: String,
    bytes: u64,
    blake3: String,
}

/// The last line of the manifest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    files: u64,
    bytes: u64,
}

/// What can go wrong with a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The operating system refused, or the archive cannot be read on.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file is no backup.
    #[error("this is no backup: {0}")]
    Strange(String),
    /// A newer program wrote it.
    #[error("the backup has layout {0}, and this program reads layouts up to {FORMAT}")]
    Newer(u32),
    /// The archive ends too early.
    #[error("the backup is incomplete: it ends before its manifest")]
    Incomplete,
    /// A file is not what was backed up.
    #[error("the backup is damaged: {0} is not what was written")]
    Damaged(String),
}

impl BackupError {
    fn io(doing: &'static str, path: impl ToString) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_string(), source }
    }
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        let text = error.to_string();
        match error {
            BackupError::Io { source, .. } => {
                let hint = "check that there is room on the disk, and that the folder can be read and written";
                Self::unavailable(format!("{text}: {source}")).hint(hint).because(source)
            }
            BackupError::Strange(_) => Self::invalid(text).hint("`kaogong backup FILE` writes one"),
            BackupError::Newer(_) => Self::invalid(text).hint("use the program that wrote it, or a newer one"),
            BackupError::Incomplete | BackupError::Damaged(_) => {
                Self::invalid(text).hint("use another backup; `kaogong backup --verify FILE` tells whether one is good")
            }
        }
    }
}

/// Where a stored file lies, in a data folder and in a backup.
pub fn path_of_blob(hash: &str) -> String {
    match hash.split_at_checked(2) {
        Some((first, rest)) => format!("{BLOBS}/{first}/{rest}"),
        None => format!("{BLOBS}/{hash}"),
    }
}

/// The folder of a dataset.
pub fn path_of_dataset(id: impl std::fmt::Display) -> String {
    format!("{TABLES}/{id}")
}

/// Whether a name in an archive is one that a backup has: a user's archive must not write anywhere else.
fn is_ours(name: &str) -> bool {
    let mut parts = name.split('/');
    let root = parts.next().unwrap_or_default();
    let is_plain = |it: &str| !it.is_empty() && it != "." && it != ".." && !it.contains('\0');
    (ROOTS.contains(&root) || root == JOBS) && parts.all(is_plain)
}

#[cfg(test)]
mod tests;
