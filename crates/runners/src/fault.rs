//! Why a file operation of this crate failed, on which file.

use kaogong_domain::{ErrorKind, Problem};
use std::{
    io,
    path::{Path, PathBuf},
};

/// An operation on a file or folder failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}", path.display())]
pub(crate) struct Fault {
    doing: &'static str,
    path: PathBuf,
    #[source]
    pub(crate) source: io::Error,
}

/// Names the operation and the file of an I/O error.
pub(crate) trait OnPath<T> {
    fn on(self, doing: &'static str, path: &Path) -> Result<T, Fault>;
}

impl<T> OnPath<T> for io::Result<T> {
    fn on(self, doing: &'static str, path: &Path) -> Result<T, Fault> {
        self.map_err(|source| Fault { doing, path: path.to_owned(), source })
    }
}

impl Fault {
    /// The text with its cause, for places that keep one text only.
    pub(crate) fn in_full(&self) -> String {
        format!("{self}: {}", self.source)
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let hint = match fault.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space on this file system",
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "let the account that runs kaogong write there"
            }
            _ => "look at the cause in the log of the server",
        };
        Self::new(ErrorKind::Unavailable, fault.to_string()).hint(hint).because(fault)
    }
}
