//! Bodies on their way in: where they are written while they arrive, and how many at once.

use kaogong_domain::{ErrorKind, Problem};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Bodies that arrive at once. Each keeps a thread for as long as its client takes, and there are 512 of those for
/// all that blocks.
const UPLOADS_AT_ONCE: usize = 128;

/// Where bodies are written while they arrive.
#[derive(Debug, Clone)]
pub struct Uploads {
    folder: PathBuf,
    free: Arc<AtomicUsize>,
}

/// One upload under way; dropping it lets the next one in.
#[derive(Debug)]
pub struct UploadSlot(Arc<AtomicUsize>);

impl Uploads {
    /// Uploads into a folder on the same disk as the data.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, free: Arc::new(AtomicUsize::new(UPLOADS_AT_ONCE)) }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A slot, to be kept by the thread that writes.
    ///
    /// # Errors
    /// `TooMany` at once when all are taken.
    pub fn take(&self) -> Result<UploadSlot, Problem> {
        let taken = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, |it| it.checked_sub(1));
        taken.map(|_| UploadSlot(self.free.clone())).map_err(|_| {
            Problem::new(ErrorKind::TooMany, format!("{UPLOADS_AT_ONCE} uploads arrive already"))
                .hint("try again when some of them are over")
        })
    }
}

impl Drop for UploadSlot {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_counted_and_come_back() {
        let uploads = Uploads::new(PathBuf::new());
        let mut held: Vec<UploadSlot> = (0..UPLOADS_AT_ONCE).map(|_| uploads.take().expect("a slot")).collect();
        assert_eq!(uploads.take().expect_err("all are taken").kind, ErrorKind::TooMany);
        held.pop();
        let _again = uploads.take().expect("one came back");
        assert!(uploads.take().is_err());
    }
}
