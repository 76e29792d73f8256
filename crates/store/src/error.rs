//! What can go wrong in the store, and what that means to a caller.

use kaogong_domain::{ErrorKind, Problem};

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or broke off.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// A stored value is not what it should be.
    #[error("column `{column}` holds `{text}`, which is not {expected}")]
    Corrupt {
        /// Which column.
        column: String,
        /// What it holds.
        text: String,
        /// What was expected.
        expected: &'static str,
    },
    /// Something that the caller should hear as it is.
    #[error("{}", .0.text)]
    Told(Problem),
    /// A migration that was applied has other text now.
    #[error("migration {version} of the database is not the one in this program")]
    ChangedMigration {
        /// Which.
        version: i64,
    },
    /// The database was written by a newer program.
    #[error("the database is at version {found}, this program knows versions up to {known}")]
    NewerDatabase {
        /// In the database.
        found: i64,
        /// In the program.
        known: i64,
    },
}

impl From<Problem> for StoreError {
    fn from(problem: Problem) -> Self {
        Self::Told(problem)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Told(problem) => problem,
            StoreError::Database(cause) => of_database(cause),
            StoreError::NewerDatabase { .. } => {
                let text = error.to_string();
                Self::conflict(text)
                    .hint("run the newer program, or restore the snapshot that it made before its first start")
            }
            StoreError::ChangedMigration { .. } => {
                let text = error.to_string();
                Self::conflict(text).hint("run the program that made this data folder")
            }
            StoreError::Corrupt { .. } => Self::bug("the store holds a value that it cannot read", error),
        }
    }
}

fn of_database(cause: sqlx::Error) -> Problem {
    let text = cause.to_string();
    if text.contains("disk is full")
        || text.contains("could not extend file")
        || text.contains("No space left")
        || text.contains("disk I/O error")
    {
        return Problem::unavailable("the database's disk is full or failing; nothing was changed")
            .hint("free space on the data folder's disk, then try again")
            .because(cause);
    }
    let code = cause.as_database_error().and_then(|it| it.code()).unwrap_or_default().into_owned();
    if is_passing(&code) {
        return Problem::unavailable("the database is busy or not ready").hint("try again in a moment").because(cause);
    }
    match &cause {
        sqlx::Error::Database(it) if it.is_foreign_key_violation() => {
            Problem::conflict("a thing that this refers to is not there, or something still refers to this")
                .because(cause)
        }
        sqlx::Error::Database(it) if it.is_unique_violation() => {
            Problem::conflict("a thing of that name exists already").because(cause)
        }
        sqlx::Error::PoolTimedOut => {
            Problem::new(ErrorKind::Unavailable, "the database is busy").hint("try again in a moment").because(cause)
        }
        sqlx::Error::Io(_) | sqlx::Error::PoolClosed => {
            Problem::unavailable("the database cannot be reached").hint("is it running?").because(cause)
        }
        _ => Problem::bug("the database refused a query", cause),
    }
}

/// Codes after which the same call may work: SQLite's `BUSY` and `LOCKED` with their extended forms, PostgreSQL's
/// serialisation failure, deadlock, too many connections, shut-down and start-up.
fn is_passing(code: &str) -> bool {
    const POSTGRES: [&str; 8] = ["40001", "40P01", "53300", "55P03", "57014", "57P01", "57P02", "57P03"];
    let is_sqlite_lock = code.len() < 5 && code.parse::<i64>().is_ok_and(|it| matches!(it & 0xff, 5 | 6));
    is_sqlite_lock || POSTGRES.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passing_failures_are_told_from_lasting_ones() {
        for code in ["5", "6", "517", "261", "40P01", "57P03"] {
            assert!(is_passing(code), "{code}");
        }
        for code in ["", "1", "19", "787", "2067", "42601", "23505"] {
            assert!(!is_passing(code), "{code}");
        }
    }

    #[test]
    fn a_pool_that_gave_nothing_is_unavailable_and_a_bad_query_is_a_bug() {
        assert_eq!(Problem::from(StoreError::Database(sqlx::Error::PoolTimedOut)).kind, ErrorKind::Unavailable);
        assert_eq!(Problem::from(StoreError::Database(sqlx::Error::RowNotFound)).kind, ErrorKind::Bug);
    }
}
