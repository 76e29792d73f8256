//! Migrations: forward only, under a lock, each recorded with the hash of its text.

use crate::{
    Dialect, StoreError,
    sql::{self, Columns, Result, vals},
};
use kaogong_domain::Problem;
use sqlx::{AnyPool, Executor};
use std::path::Path;

/// All migrations, oldest first. A line here is never changed, only added.
const MIGRATIONS: &[(i64, &str, &str)] = &[(1, "start", include_str!("../migrations/0001_start.sql"))];

/// Any number that no other program on the server uses.
const LOCK: i64 = 0x6b61_6f67;

/// Brings the tables up to date.
pub(crate) async fn run(pool: &AnyPool, dialect: Dialect, file: Option<&Path>) -> Result<()> {
    let mut conn = pool.acquire().await?;
    if dialect == Dialect::Postgres {
        sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut *conn).await?;
    }
    let done = run_locked(&mut conn, file).await;
    if dialect == Dialect::Postgres {
        sqlx::query("SELECT pg_advisory_unlock($1)").bind(LOCK).execute(&mut *conn).await?;
    }
    done
}

async fn run_locked(conn: &mut sqlx::AnyConnection, file: Option<&Path>) -> Result<()> {
    let create = "CREATE TABLE IF NOT EXISTS schema_migrations (version BIGINT PRIMARY KEY, name TEXT NOT NULL, hash TEXT NOT NULL)";
    sql::exec(conn, create, vec![]).await?;
    let applied = sql::rows(conn, "SELECT version, hash FROM schema_migrations ORDER BY version", vec![]).await?;
    let known = MIGRATIONS.last().map_or(0, |it| it.0);
    for row in &applied {
        let version = row.int("version")?;
        let Some((_, _, text)) = MIGRATIONS.iter().find(|it| it.0 == version) else {
            return Err(StoreError::NewerDatabase { found: version, known });
        };
        if row.text("hash")? != hash_of(text) {
            return Err(StoreError::ChangedMigration { version });
        }
    }
    let pending: Vec<_> = MIGRATIONS.iter().skip(applied.len()).collect();
    if let (Some(file), Some(first), false) = (file, pending.first(), applied.is_empty()) {
        snapshot(conn, file, first.0).await?;
    }
    for (version, name, text) in pending {
        tracing::info!("the database gets migration {version} ({name})");
        apply(conn, *version, name, text).await?;
    }
    Ok(())
}

async fn apply(conn: &mut sqlx::AnyConnection, version: i64, name: &str, text: &'static str) -> Result<()> {
    use sqlx::Connection;
    let mut tx = conn.begin().await?;
    for statement in statements(text) {
        tx.execute(sql::own_sql(statement)).await?;
    }
    let sql = "INSERT INTO schema_migrations (version, name, hash) VALUES ($1, $2, $3)";
    sql::exec(&mut tx, sql, vals![version, name, hash_of(text)]).await?;
    tx.commit().await?;
    Ok(())
}

/// The statements of a migration: our own text, with no semicolon inside a value.
fn statements(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().filter(|it| !it.trim_start().starts_with("--")).collect();
    code.join("\n").split(';').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

fn hash_of(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// A consistent copy of the whole file beside itself, so that the older program can go on with it.
async fn snapshot(conn: &mut sqlx::AnyConnection, file: &Path, before: i64) -> Result<()> {
    let copy = format!("{}.before-{before:04}.bak", file.display());
    if Path::new(&copy).exists() {
        return Ok(());
    }
    tracing::info!("copying the database to {copy} before it is changed");
    let sql = format!("VACUUM INTO '{}'", copy.replace('\'', "''"));
    conn.execute(sql::own_sql(sql)).await.map_err(|cause| {
        StoreError::Told(
            Problem::unavailable(format!("cannot copy the database to {copy} before changing it"))
                .hint("free space on its disk; nothing was changed")
                .because(cause),
        )
    })?;
    Ok(())
}
