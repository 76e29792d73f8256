//! Turns what Lance and DataFusion report into problems with a hint.

use kaogong_domain::{ErrorKind, Problem};
use lance::deps::datafusion::error::DataFusionError;
use std::{
    error::Error,
    io,
    sync::{Arc, Mutex, PoisonError},
};

/// A problem for a Lance error that happened while `doing` something with tables.
pub(crate) fn lance(doing: &'static str) -> impl Fn(lance::Error) -> Problem {
    move |error| {
        if disk_is_full(&error) {
            return disk_full(doing).because(error);
        }
        match &error {
            lance::Error::DatasetNotFound { .. } | lance::Error::NotFound { .. } => {
                Problem::not_found(format!("cannot {doing}: a table file of this version is not on the disk"))
                    .hint("the version may have been removed; otherwise restore the data folder from a backup")
                    .because(error)
            }
            lance::Error::CorruptFile { .. } => {
                Problem::unavailable(format!("cannot {doing}: a table file is damaged"))
                    .hint("check the disk, and restore the data folder from a backup")
                    .because(error)
            }
            lance::Error::IO { .. } => Problem::unavailable(format!("cannot {doing}: the disk did not answer"))
                .hint("check the data folder's disk and its permissions")
                .because(error),
            _ => Problem::bug(format!("cannot {doing}"), error),
        }
    }
}

/// A problem for a file system error.
pub(crate) fn io(doing: &'static str) -> impl Fn(io::Error) -> Problem {
    move |error| {
        if disk_is_full(&error) {
            return disk_full(doing).because(error);
        }
        Problem::unavailable(format!("cannot {doing}"))
            .hint("check the data folder's disk and its permissions")
            .because(error)
    }
}

/// A problem for a background task that panicked or was cancelled.
pub(crate) fn task(doing: &'static str) -> impl Fn(tokio::task::JoinError) -> Problem {
    move |error| Problem::bug(format!("cannot {doing}: a background task ended early"), error)
}

/// A problem for an Arrow error that no input of a user can cause.
pub(crate) fn arrow(doing: &'static str) -> impl Fn(arrow_schema::ArrowError) -> Problem {
    move |error| Problem::bug(format!("cannot {doing}"), error)
}

fn disk_full(doing: &str) -> Problem {
    Problem::unavailable(format!("cannot {doing}: the disk is full"))
        .hint("free space on the data folder's disk, then try again; nothing half-written is visible")
}

fn disk_is_full(error: &(dyn Error + 'static)) -> bool {
    if let Some(it) = error.downcast_ref::<io::Error>() {
        if matches!(it.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return true;
        }
        // An `io::Error` does not name what it wraps as its source.
        if let Some(inner) = it.get_ref() {
            return disk_is_full(inner);
        }
    }
    match error.source() {
        Some(source) => disk_is_full(source),
        // Some layers keep only the text of what the operating system said.
        None => error.to_string().contains("No space left on device"),
    }
}

/// Carries a problem past libraries that would flatten it: the producer of batches leaves it here and gives
/// them a short error; whoever awaits the library picks it up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Smuggled(Arc<Mutex<Option<Problem>>>);

impl Smuggled {
    /// Leaves the problem (the first one wins) and returns what to tell the library.
    pub(crate) fn leave(&self, problem: Problem) -> Interrupted {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(problem);
        Interrupted
    }

    /// The problem left behind, or else one for the library's own error.
    pub(crate) fn or(&self, own: impl FnOnce() -> Problem) -> Problem {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_else(own)
    }
}

/// The producer of batches gave up; the reason lies in [`Smuggled`].
#[derive(Debug, thiserror::Error)]
#[error("the source of the rows gave up")]
pub(crate) struct Interrupted;

impl From<Interrupted> for DataFusionError {
    fn from(it: Interrupted) -> Self {
        Self::External(Box::new(it))
    }
}

impl From<Interrupted> for arrow_schema::ArrowError {
    fn from(it: Interrupted) -> Self {
        Self::ExternalError(Box::new(it))
    }
}

/// The problem of an import whose owner went away.
pub(crate) fn abandoned() -> Problem {
    Problem::new(ErrorKind::Conflict, "the import was abandoned").hint("start it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_however_deep() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(io("write")(full()).kind, ErrorKind::Unavailable);
        assert!(io("write")(full()).text.contains("disk is full"));
        let wrapped = lance::Error::from(io::Error::other(full()));
        assert!(lance("write")(wrapped).text.contains("disk is full"));
    }
}
