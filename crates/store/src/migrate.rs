//! Migrations: forward only, under a lock, each recorded with the hash of its text.

use crate::{
    Dialect, StoreError,
    snapshot::vacuum_into,
    sql::{self, Columns, Result, vals},
};
use kaogong_domain::Problem;
use sqlx::{AnyConnection, AnyPool, Connection, Executor};
use std::path::Path;

/// All migrations, oldest first. A line here is never changed, only added.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "start", include_str!("../migrations/0001_start.sql")),
    (2, "review", include_str!("../migrations/0002_review.sql")),
    (3, "pages", include_str!("../migrations/0003_pages.sql")),
    (4, "cost", include_str!("../migrations/0004_cost.sql")),
    (5, "secrets", include_str!("../migrations/0005_secrets.sql")),
    (6, "status_message", include_str!("../migrations/0006_status_message.sql")),
    (7, "titles", include_str!("../migrations/0007_titles.sql")),
    (8, "isolation", include_str!("../migrations/0008_isolation.sql")),
    (9, "batching", include_str!("../migrations/0009_batching.sql")),
    (10, "logged_models", include_str!("../migrations/0010_logged_models.sql")),
    (11, "values", include_str!("../migrations/0011_values.sql")),
];

/// Any number that no other program on the server uses.
const LOCK: i64 = 0x6b61_6f67;

/// One step: its number, its name, its text.
type Migration = (i64, &'static str, &'static str);

/// Brings the tables up to date.
pub(crate) async fn run(pool: &AnyPool, dialect: Dialect, file: Option<&Path>) -> Result<()> {
    run_all(pool, dialect, file, MIGRATIONS).await
}

async fn run_all(pool: &AnyPool, dialect: Dialect, file: Option<&Path>, all: &[Migration]) -> Result<()> {
    let mut conn = pool.acquire().await?;
    if dialect == Dialect::Postgres {
        sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut *conn).await?;
    }
    let done = run_locked(&mut conn, dialect, file, all).await;
    if dialect == Dialect::Postgres {
        sqlx::query("SELECT pg_advisory_unlock($1)").bind(LOCK).execute(&mut *conn).await?;
    }
    done
}

async fn run_locked(conn: &mut AnyConnection, dialect: Dialect, file: Option<&Path>, all: &[Migration]) -> Result<()> {
    let create = "CREATE TABLE IF NOT EXISTS schema_migrations (version BIGINT PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL)";
    sql::exec(conn, create, vec![]).await?;
    let applied = sql::rows(conn, "SELECT version, hash FROM schema_migrations ORDER BY version", vec![]).await?;
    let known = all.last().map_or(0, |it| it.0);
    for row in &applied {
        let version = row.int("version")?;
        let Some((_, _, text)) = all.iter().find(|it| it.0 == version) else {
            return Err(StoreError::NewerDatabase { found: version, known });
        };
        if row.text("hash")? != hash_of(text) {
            return Err(StoreError::ChangedMigration { version });
        }
    }
    let pending: Vec<_> = all.iter().skip(applied.len()).collect();
    if let (Some(file), Some(first), false) = (file, pending.first(), applied.is_empty()) {
        snapshot(conn, file, first.0).await?;
    }
    for (version, name, text) in pending {
        tracing::info!("the database gets migration {version} ({name})");
        apply(conn, dialect, *version, name, text).await?;
    }
    Ok(())
}

async fn apply(conn: &mut AnyConnection, dialect: Dialect, version: i64, name: &str, text: &'static str) -> Result<()> {
    let mut tx = match dialect {
        Dialect::Sqlite => conn.begin_with("BEGIN IMMEDIATE").await?,
        Dialect::Postgres => conn.begin().await?,
    };
    // Another program may have come first while this one waited for the write lock.
    let sql = "SELECT COUNT(*) FROM schema_migrations WHERE version = $1";
    if sql::number(&mut tx, sql, vals![version]).await? > 0 {
        return Ok(());
    }
    for statement in statements(dialect, text) {
        tx.execute(sql::own_sql(statement)).await?;
    }
    let sql = "INSERT INTO schema_migrations (version, name, hash) VALUES ($1, $2, $3)";
    sql::exec(&mut tx, sql, vals![version, name, hash_of(text)]).await?;
    tx.commit().await?;
    Ok(())
}

/// The statements of a migration for a database: our own text, with no semicolon inside a value. One that begins with
/// the name of a database in a comment is for that one alone.
fn statements(dialect: Dialect, text: &str) -> Vec<String> {
    let (own, foreign) = match dialect {
        Dialect::Sqlite => ("/* sqlite */", "/* postgres */"),
        Dialect::Postgres => ("/* postgres */", "/* sqlite */"),
    };
    let code: Vec<&str> = text.lines().filter(|it| !it.trim_start().starts_with("--")).collect();
    let code = code.join("\n");
    let all = code.split(';').map(str::trim).filter(|it| !it.is_empty() && !it.starts_with(foreign));
    all.map(|it| it.trim_start_matches(own).trim().to_owned()).collect()
}

fn hash_of(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// A consistent copy of the whole file beside itself, so that the older program can go on with it. It gets its
/// name when it is whole; one from an earlier try is replaced, because the older program may have written since.
async fn snapshot(conn: &mut AnyConnection, file: &Path, before: i64) -> Result<()> {
    let copy = format!("{}.before-{before:04}.bak", file.display());
    let part = format!("{copy}.part");
    tracing::info!("copying the database to {copy} before it is changed");
    let told = |cause: Box<dyn std::error::Error + Send + Sync>| {
        let mut problem = Problem::unavailable(format!("cannot copy the database to {copy} before changing it"))
            .hint("free space on its disk and check that its folder can be written; nothing was changed");
        problem.cause = Some(cause);
        StoreError::Told(problem)
    };
    match std::fs::remove_file(&part) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => return Err(told(Box::new(cause))),
        _ => {}
    }
    vacuum_into(conn, Path::new(&part)).await.map_err(|cause| told(Box::new(cause)))?;
    let keep = || {
        let file = std::fs::File::open(&part)?;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        file.sync_all()?;
        std::fs::rename(&part, &copy)
    };
    keep().map_err(|cause| told(Box::new(cause)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Store, StoreUrl};
    use kaogong_domain::ErrorKind;
    use sqlx::any::AnyPoolOptions;

    const FIRST: Migration =
        (1, "one", "-- A note; with a semicolon.\nCREATE TABLE a (x BIGINT);\nINSERT INTO a (x) VALUES (7);");
    const SECOND: Migration = (2, "two", "CREATE TABLE b (y TEXT); INSERT INTO a (x) VALUES (8);");
    const BROKEN: Migration = (2, "broken", "INSERT INTO a (x) VALUES (9); INSERT INTO nowhere (x) VALUES (1);");

    async fn open(file: &Path) -> AnyPool {
        sqlx::any::install_default_drivers();
        let url = format!("sqlite://{}?mode=rwc", file.display());
        AnyPoolOptions::new().max_connections(1).connect(&url).await.expect("a database")
    }

    async fn sum(pool: &AnyPool) -> i64 {
        let mut conn = pool.acquire().await.expect("a connection");
        sql::number(&mut conn, "SELECT CAST(SUM(x) AS BIGINT) FROM a", vec![]).await.expect("a sum")
    }

    #[tokio::test]
    async fn the_old_state_is_copied_before_a_change_and_only_then() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("it's a db");
        let copy = dir.path().join("it's a db.before-0002.bak");
        let pool = open(&file).await;
        for _ in 0..2 {
            run_all(&pool, Dialect::Sqlite, Some(&file), &[FIRST]).await.expect("the first");
        }
        assert!(!copy.exists() && sum(&pool).await == 7);
        std::fs::write(&copy, "from an earlier try").expect("a left file");
        for _ in 0..2 {
            run_all(&pool, Dialect::Sqlite, Some(&file), &[FIRST, SECOND]).await.expect("both");
        }
        assert_eq!(sum(&pool).await, 15);
        assert_eq!(sum(&open(&copy).await).await, 7);
        run_all(&open(&copy).await, Dialect::Sqlite, Some(&copy), &[FIRST]).await.expect("the older program goes on");
    }

    #[tokio::test]
    async fn a_migration_that_breaks_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("db");
        let pool = open(&file).await;
        run_all(&pool, Dialect::Sqlite, Some(&file), &[FIRST]).await.expect("the first");
        run_all(&pool, Dialect::Sqlite, Some(&file), &[FIRST, BROKEN]).await.expect_err("a broken one");
        assert_eq!(sum(&pool).await, 7);
        run_all(&pool, Dialect::Sqlite, Some(&file), &[FIRST, SECOND]).await.expect("a better one");
        assert_eq!(sum(&pool).await, 15);
    }

    #[tokio::test]
    async fn a_newer_or_changed_database_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("db");
        let pool = open(&file).await;
        run_all(&pool, Dialect::Sqlite, Some(&file), &[FIRST, SECOND]).await.expect("both");
        let newer = run_all(&pool, Dialect::Sqlite, Some(&file), &[FIRST]).await.expect_err("a newer database");
        assert!(matches!(newer, StoreError::NewerDatabase { found: 2, known: 1 }), "{newer}");
        let changed = [FIRST, (2, "two", "CREATE TABLE c (z TEXT);")];
        let changed = run_all(&pool, Dialect::Sqlite, Some(&file), &changed).await.expect_err("another text");
        assert!(matches!(changed, StoreError::ChangedMigration { version: 2 }), "{changed}");
        pool.close().await;
        let told = Store::open(&StoreUrl::Sqlite(file)).await.err().expect("a foreign database");
        assert!(told.kind == ErrorKind::Conflict && told.hint.is_some(), "{told:?}");
    }
}
