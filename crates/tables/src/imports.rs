//! What imports may use: memory, and the program that decodes files.

use crate::lance_errors;
use kaogong_data::{
    DecodeBudget,
    budget::{Held, IMPORT_WAIT_MAX},
};
use kaogong_domain::Problem;
use std::path::PathBuf;
use tokio::sync::OwnedMutexGuard;

/// What imports may use.
#[derive(Debug, Clone)]
pub struct Imports {
    /// The memory that all of them share.
    pub budget: DecodeBudget,
    /// Who decodes files that tell their own size.
    pub decoder: Decoder,
}

/// Who decodes files that tell their own size.
#[derive(Debug, Clone)]
pub enum Decoder {
    /// This process. A file can make it take any amount of memory: for files of one's own.
    Here,
    /// A process of its own, within bounds: this program, called as `PROGRAM read-parquet …`, which calls
    /// [`crate::decode_parquet`].
    Program(PathBuf),
}

impl Default for Imports {
    fn default() -> Self {
        Self { budget: DecodeBudget::default(), decoder: Decoder::Here }
    }
}

impl Imports {
    /// A place among the imports that read their files now, when one is free.
    ///
    /// # Errors
    /// `TooMany` when none came free in time.
    pub(crate) async fn place(&self) -> Result<Held, Problem> {
        let pool = self.budget.imports.clone();
        let taking = tokio::task::spawn_blocking(move || pool.take(1, IMPORT_WAIT_MAX));
        taking.await.map_err(lance_errors::task("wait for other imports"))?
    }
}

/// What an import holds until it is over.
pub(crate) struct Guards {
    /// Keeps other writers of the dataset out.
    pub(crate) _lock: OwnedMutexGuard<()>,
    /// Its place among all imports.
    pub(crate) _place: Held,
}
