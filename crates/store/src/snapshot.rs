//! Consistent copies of the whole database while it is written to.

use crate::{
    Actor, Dialect, Store, StoreError, StoreUrl,
    events::Change,
    search::by_bytes,
    sql::{self, Columns, Result, vals},
};
use kaogong_domain::{Problem, Timestamp, events::EventAction, ids::AttemptId};
use sqlx::{AnyConnection, Connection, Executor, any::AnyRow};
use std::{path::Path, process::Stdio};
use tokio::process::Command;

type Told<T> = std::result::Result<T, Problem>;

/// Attempts that are read together.
const PAGE: i64 = 10_000;
/// What is kept of the message of a program that failed.
const MESSAGE_CHARS_MAX: usize = 500;

/// What a snapshot of the database says about the files that belong to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Attempts that were over; nobody writes to their folders any more.
    pub ended_attempts: Vec<AttemptId>,
}

/// Something outside of the database that the database names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named<'a> {
    /// A stored file, by its hash.
    Blob(&'a str),
    /// The tables of a dataset, by its id.
    Dataset(&'a str),
}

impl Store {
    /// Puts on record that somebody takes a copy of everything.
    pub async fn note_backup(&self, actor: &Actor, now: Timestamp) -> Told<()> {
        let mut tx = self.change().await?;
        tx.event(actor, now, Change::new(None, EventAction::BackupTaken, "")).await?;
        Ok(tx.commit().await?)
    }

    /// Writes a copy of one moment to `file`, which is empty or not there: a database file of SQLite, or what
    /// `pg_dump` makes in its custom format. Readers and writers go on meanwhile. `on_named` hears what the copy names
    /// outside of the database: hashes of files and ids of datasets, each kind in the order of its bytes.
    ///
    /// # Errors
    /// `Unavailable` when the disk is full or, with PostgreSQL, `pg_dump` is not there or fails.
    pub async fn copy_to(
        &self,
        file: &Path,
        on_named: impl FnMut(Named<'_>) -> std::io::Result<()> + Send,
    ) -> Told<Snapshot> {
        match &self.url {
            StoreUrl::Sqlite(_) => self.copy_file(file, on_named).await,
            StoreUrl::Postgres(url) => Ok(self.dump(url.expose(), file, on_named).await?),
        }
    }

    async fn copy_file(
        &self,
        file: &Path,
        on_named: impl FnMut(Named<'_>) -> std::io::Result<()> + Send,
    ) -> Told<Snapshot> {
        vacuum_into(&mut *self.read().await?, file).await.map_err(|cause| {
            Problem::unavailable("the database cannot be copied")
                .hint("the copy needs as much free space on the data folder's disk as the database has")
                .because(cause)
        })?;
        let url = crate::open::sqlite_url(file, "ro");
        let mut copy = AnyConnection::connect(&url).await.map_err(StoreError::from)?;
        let snapshot = look(&mut copy, Dialect::Sqlite, on_named).await;
        copy.close().await.map_err(StoreError::from)?;
        Ok(snapshot?)
    }

    /// The dump and the list are of one moment: the transaction that lists exports its view to `pg_dump`.
    async fn dump(
        &self,
        url: &str,
        file: &Path,
        on_named: impl FnMut(Named<'_>) -> std::io::Result<()> + Send,
    ) -> Result<Snapshot> {
        let mut tx = self.writer.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let row = sql::row(&mut tx, "SELECT pg_export_snapshot() AS name", vec![]).await?;
        let name = row.map(|it| it.text("name")).transpose()?.unwrap_or_default();
        let mut command = postgres_tool("pg_dump", url)?;
        command.args(["--format=custom", "--no-owner", "--no-privileges", "--snapshot", &name, "--file"]).arg(file);
        finish(command, "pg_dump").await?;
        let snapshot = look(&mut tx, Dialect::Postgres, on_named).await?;
        tx.rollback().await?;
        Ok(snapshot)
    }
}

/// Brings what [`Store::copy_to`] made of a PostgreSQL database into an empty one, wholly or not at all.
///
/// # Errors
/// `Conflict` when the database has tables, `Unavailable` when it or `pg_restore` does not answer.
pub async fn restore_dump(url: &StoreUrl, file: &Path) -> Told<()> {
    let StoreUrl::Postgres(url) = url else {
        return Err(Problem::invalid("the backup is of a PostgreSQL database"));
    };
    refuse_if_used(url.expose()).await?;
    let mut command = postgres_tool("pg_restore", url.expose())?;
    command.args(["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]).arg(file);
    finish(command, "pg_restore").await
}

/// Refuses a PostgreSQL database that holds anything.
///
/// # Errors
/// `Conflict` when it does, `Unavailable` when it does not answer.
pub async fn refuse_if_used(url: &str) -> Told<()> {
    sqlx::any::install_default_drivers();
    let mut conn = AnyConnection::connect(url).await.map_err(crate::open::unreachable_database)?;
    let sql =
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')";
    let tables = sql::number(&mut conn, sql, vec![]).await?;
    // The connection served its purpose: how it ends changes nothing.
    let _ = conn.close().await;
    match tables {
        0 => Ok(()),
        _ => Err(Problem::conflict("the database is not empty").hint("make a new one with `createdb`, and name it")),
    }
}

/// A consistent copy of a whole SQLite database, made within one read transaction.
pub(crate) async fn vacuum_into(conn: &mut AnyConnection, file: &Path) -> std::result::Result<(), sqlx::Error> {
    let sql = format!("VACUUM INTO '{}'", file.to_string_lossy().replace('\'', "''"));
    conn.execute(sql::own_sql(sql)).await.map(drop)
}

async fn look(
    conn: &mut AnyConnection,
    dialect: Dialect,
    mut on_named: impl FnMut(Named<'_>) -> std::io::Result<()> + Send,
) -> Result<Snapshot> {
    let by_bytes = by_bytes(dialect);
    let unwritten = |it| Problem::unavailable("the list of what a copy names cannot be written").because(it);
    let sql = format!(
        "SELECT hash FROM (SELECT hash FROM blobs UNION SELECT hash FROM artifacts \
         UNION SELECT hash FROM model_versions WHERE hash IS NOT NULL) AS named ORDER BY hash{by_bytes}"
    );
    sql::each(conn, sql, |row| Ok(on_named(Named::Blob(&row.text("hash")?)).map_err(unwritten)?)).await?;
    let sql = format!(
        "SELECT id FROM datasets WHERE deleted_at IS NULL \
         AND EXISTS (SELECT 1 FROM dataset_versions v WHERE v.dataset_id = datasets.id) ORDER BY id{by_bytes}"
    );
    sql::each(conn, sql, |row| Ok(on_named(Named::Dataset(&row.text("id")?)).map_err(unwritten)?)).await?;
    let mut ended_attempts: Vec<AttemptId> = vec![];
    let sql = "SELECT id FROM attempts WHERE ended_at IS NOT NULL AND id > $1 ORDER BY id LIMIT $2";
    loop {
        let last = ended_attempts.last().map(ToString::to_string).unwrap_or_default();
        let rows = sql::rows(conn, sql, vals![last, PAGE]).await?;
        let ids = rows.iter().map(|it: &AnyRow| it.parse("id", "an attempt id"));
        ended_attempts.extend(ids.collect::<Result<Vec<AttemptId>>>()?);
        if (rows.len() as i64) < PAGE {
            return Ok(Snapshot { ended_attempts });
        }
    }
}

/// A program of PostgreSQL, told where the database is. The password goes by the environment, which other users of
/// the machine cannot read.
fn postgres_tool(name: &str, url: &str) -> Told<Command> {
    let program = find_tool(name).ok_or_else(|| {
        Problem::unavailable(format!("the program {name} was not found"))
            .hint("install PostgreSQL's client programs (Debian: postgresql-client) where this runs, then try again")
    })?;
    let (url, password) = without_password(url);
    let mut command = Command::new(program);
    command
        .arg("--dbname")
        .arg(url)
        .arg("--no-password")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.kill_on_drop(true);
    if let Some(password) = password {
        command.env("PGPASSWORD", password);
    }
    Ok(command)
}

fn find_tool(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).filter(|it| it.is_absolute()).collect();
    // Debian keeps each version's own programs here; the newest dumps all older servers.
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().collect();
    versions.sort_by_key(|it| it.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    let mut found: Vec<_> = versions.iter().rev().map(|it| it.path().join("bin")).collect();
    found.append(&mut folders);
    found.into_iter().map(|it| it.join(name)).find(|it| it.is_file())
}

/// The address without its password, and the password.
fn without_password(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let Some((user, host)) = rest[..end].rsplit_once('@') else { return (url.to_owned(), None) };
    let Some((name, password)) = user.split_once(':') else { return (url.to_owned(), None) };
    (format!("{scheme}://{name}@{host}{}", &rest[end..]), Some(decoded(password)))
}

/// Text with `%41` written as `A`.
fn decoded(text: &str) -> String {
    let mut out = vec![];
    let mut bytes = text.as_bytes();
    while let Some((&first, rest)) = bytes.split_first() {
        let number =
            rest.get(..2).and_then(|it| std::str::from_utf8(it).ok()).and_then(|it| u8::from_str_radix(it, 16).ok());
        match (first, number) {
            (b'%', Some(byte)) => {
                out.push(byte);
                bytes = &rest[2..];
            }
            _ => {
                out.push(first);
                bytes = rest;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

async fn finish(mut command: Command, name: &str) -> Told<()> {
    let failed = |text: String| {
        Problem::unavailable(format!("{name} failed: {text}"))
            .hint("it must be of the server's version or a newer one, and its disk needs room")
    };
    let output = command.output().await.map_err(|it| failed(it.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(said.trim().chars().take(MESSAGE_CHARS_MAX).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_taken_out_of_an_address() {
        let of = |url: &str| without_password(url);
        assert_eq!(
            of("postgres://k:p%40s%3As@h:5/d?x=1"),
            ("postgres://k@h:5/d?x=1".to_owned(), Some("p@s:s".to_owned()))
        );
        assert_eq!(of("postgres://k@h/d"), ("postgres://k@h/d".to_owned(), None));
        assert_eq!(of("postgres://h/d?x=a:b@c"), ("postgres://h/d?x=a:b@c".to_owned(), None));
        assert_eq!(of("postgres://k:100%@h"), ("postgres://k@h".to_owned(), Some("100%".to_owned())));
    }
}
