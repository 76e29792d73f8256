//! A file on this machine that cannot be sent.

use std::{io, path::Path};

/// A file on this machine cannot be packed; trying again would not help.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {why}")]
pub struct LocalFault {
    path: String,
    why: String,
}

impl LocalFault {
    /// A fault of `path` as the error that ends a body.
    pub fn io(path: &Path, why: impl ToString) -> io::Error {
        io::Error::other(Self { path: path.display().to_string(), why: why.to_string() })
    }
}
