//! Opening the store: pools, pragmas, migrations; and the transaction that every change goes through.

use crate::{
    Actor, StoreError,
    counters::{self, ALL_PROJECTS, Deltas},
    events::{self, Change},
    migrate,
    sql::{self, Columns, Result, vals},
};
use kaogong_domain::{Problem, Secret, Timestamp, events::Noun};
use sqlx::{
    Any, AnyConnection, AnyPool, Connection, Executor, Transaction,
    any::{AnyConnectOptions, AnyPoolOptions},
};
use std::{
    path::PathBuf,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::sync::watch;

/// Readers of an embedded database.
const SQLITE_READERS: u32 = 4;
/// Connections to a PostgreSQL server.
const POSTGRES_CONNECTIONS: u32 = 10;
/// How long a call waits for a connection.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Where the store lies.
#[derive(Debug, Clone)]
pub enum StoreUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server: `postgres://user:password@host/database`.
    Postgres(Secret),
}

/// Which database answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Embedded.
    Sqlite,
    /// A server.
    Postgres,
}

/// The metadata store. Cheap to share behind an `Arc`.
pub struct Store {
    pub(crate) readers: AnyPool,
    pub(crate) writer: AnyPool,
    pub(crate) dialect: Dialect,
    pub(crate) url: StoreUrl,
    news: watch::Sender<i64>,
    /// Grows with each change of access.
    access_epoch: AtomicU64,
}

impl Store {
    /// Opens the store and brings its tables up to date. An existing SQLite file is copied beside itself first
    /// when there is something to bring up to date.
    ///
    /// # Errors
    /// `Unavailable` when the database cannot be reached, `Conflict` when a newer program wrote it.
    pub async fn open(url: &StoreUrl) -> std::result::Result<Self, Problem> {
        Ok(Self::open_inner(url).await?)
    }

    async fn open_inner(url: &StoreUrl) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let (dialect, text, file) = match url {
            StoreUrl::Sqlite(path) => (Dialect::Sqlite, sqlite_url(path, "rwc"), Some(path.clone())),
            StoreUrl::Postgres(url) => (Dialect::Postgres, url.expose().to_owned(), None),
        };
        let options = AnyConnectOptions::from_str(&text).map_err(|_| {
            Problem::invalid("the database address is not one").hint("postgres://user:password@host/database")
        })?;
        if let Some(file) = &file {
            make_private(file)?;
        }
        let (writers, readers) = match dialect {
            Dialect::Sqlite => (1, SQLITE_READERS),
            Dialect::Postgres => (POSTGRES_CONNECTIONS, 0),
        };
        let writer = pool(dialect, writers).connect_with(options.clone()).await.map_err(unreachable_database)?;
        migrate::run(&writer, dialect, file.as_deref()).await?;
        let readers = if readers == 0 { writer.clone() } else { pool(dialect, readers).connect_with(options).await? };
        let newest = sql::number(&mut *readers.acquire().await?, "SELECT seq FROM chain WHERE id = 1", vec![]).await?;
        Ok(Self {
            readers,
            writer,
            dialect,
            url: url.clone(),
            news: watch::Sender::new(newest),
            access_epoch: AtomicU64::new(0),
        })
    }

    /// Which database answers.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Tells the number of the newest event, and wakes when it grows.
    pub fn watch_events(&self) -> watch::Receiver<i64> {
        self.news.subscribe()
    }

    /// A number that grows whenever somebody's access has changed through this store: what was read about access before is
    /// not to be relied on any more.
    pub fn access_epoch(&self) -> u64 {
        self.access_epoch.load(Ordering::Acquire)
    }

    /// Whether the database takes a change now: it writes one row and waits until that is durable.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer, or when its disk is full.
    pub async fn try_write(&self, now: Timestamp) -> std::result::Result<(), Problem> {
        let mut tx = self.measure().await?;
        let sql = "INSERT INTO settings (key, value) VALUES ('written_at', $1) \
            ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        sql::exec(&mut tx, sql, vals![now.as_ms().to_string()]).await?;
        Ok(tx.commit().await.map_err(StoreError::from)?)
    }

    /// Closes all connections; SQLite folds its write-ahead log into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// A connection to read with.
    pub(crate) async fn read(&self) -> Result<sqlx::pool::PoolConnection<Any>> {
        Ok(self.readers.acquire().await?)
    }

    async fn begin(&self) -> Result<Transaction<'static, Any>> {
        Ok(match self.dialect {
            // Takes the write lock at once: a read that becomes a write later could be refused then.
            Dialect::Sqlite => self.writer.begin_with("BEGIN IMMEDIATE").await?,
            Dialect::Postgres => self.writer.begin().await?,
        })
    }

    /// A transaction that changes state: it holds the end of the event chain, so such changes follow each other.
    pub(crate) async fn change(&self) -> Result<Tx<'_>> {
        let mut tx = self.begin().await?;
        let end = sql::row(&mut tx, "UPDATE chain SET seq = seq WHERE id = 1 RETURNING seq, hash", vec![]).await?;
        let end = end.ok_or_else(|| Problem::conflict("the event chain has no end"))?;
        let (seq, hash) = (end.int("seq")?, end.text("hash")?);
        let (news, access_epoch) = (&self.news, &self.access_epoch);
        Ok(Tx { seq, hash, tx, news, access_epoch, has_news: false, is_of_access: false, deltas: Deltas::new() })
    }

    /// A transaction for measurements, which are no change of state: it does not wait for others on PostgreSQL.
    pub(crate) async fn measure(&self) -> Result<Transaction<'static, Any>> {
        self.begin().await
    }
}

/// A transaction that holds the end of the event chain.
pub(crate) struct Tx<'a> {
    pub(crate) tx: Transaction<'static, Any>,
    seq: i64,
    hash: String,
    has_news: bool,
    is_of_access: bool,
    deltas: Deltas,
    news: &'a watch::Sender<i64>,
    access_epoch: &'a AtomicU64,
}

impl Tx<'_> {
    /// Appends one line to the event log.
    pub(crate) async fn event(&mut self, actor: &Actor, now: Timestamp, change: Change) -> Result<()> {
        self.seq += 1;
        let is_of_access = change.noun == Noun::Access;
        let what = format!("events.{}", change.noun.as_str());
        if let Some(project) = change.project {
            self.count(project, "events", 1);
            self.count(project, &what, 1);
        }
        self.count(ALL_PROJECTS, what, 1);
        self.hash = events::append(&mut self.tx, self.seq, &self.hash, actor, now, change).await?;
        self.has_news = true;
        self.is_of_access |= is_of_access;
        Ok(())
    }

    /// Notes that there are `delta` more of something, or fewer.
    pub(crate) fn count(&mut self, owner: impl ToString, what: impl Into<String>, delta: i64) {
        *self.deltas.entry((owner.to_string(), what.into())).or_default() += delta;
    }

    /// Makes everything durable and tells who listens.
    pub(crate) async fn commit(mut self) -> Result<()> {
        counters::add(&mut self.tx, std::mem::take(&mut self.deltas)).await?;
        if self.has_news {
            let sql = "UPDATE chain SET seq = $1, hash = $2 WHERE id = 1";
            sql::exec(&mut self.tx, sql, vals![self.seq, &self.hash]).await?;
        }
        self.tx.commit().await?;
        if self.is_of_access {
            self.access_epoch.fetch_add(1, Ordering::AcqRel);
        }
        if self.has_news {
            self.news.send_if_modified(|it| {
                let is_newer = self.seq > *it;
                *it = (*it).max(self.seq);
                is_newer
            });
        }
        Ok(())
    }
}

impl std::ops::Deref for Tx<'_> {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.tx
    }
}

impl std::ops::DerefMut for Tx<'_> {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }
}

/// The file holds hashes of passwords and tokens: it is for this user alone, and so is what SQLite puts beside it,
/// which takes its mode.
fn make_private(file: &std::path::Path) -> std::result::Result<(), Problem> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let make = || {
        let opened = std::fs::File::options().create(true).truncate(false).write(true).mode(0o600).open(file)?;
        opened.set_permissions(std::fs::Permissions::from_mode(0o600))
    };
    make().map_err(|it| {
        Problem::unavailable(format!("the database {} cannot be opened", file.display()))
            .hint("check that its folder is there and can be written by this user, and that the disk has room")
            .because(it)
    })
}

pub(crate) fn unreachable_database(cause: sqlx::Error) -> StoreError {
    Problem::unavailable("the database cannot be opened")
        .hint("check that it runs, its address, the password, and that the folder can be written")
        .because(cause)
        .into()
}

fn pool(dialect: Dialect, connections: u32) -> AnyPoolOptions {
    let options = AnyPoolOptions::new().max_connections(connections).acquire_timeout(WAIT_MAX);
    // After a failed COMMIT, or a statement that found the disk full, SQLite may have rolled back by itself. The
    // rollback that follows then fails, and the connection is taken for one inside a transaction for ever: every
    // later beginning on it would be refused. Such a connection is closed, and another one takes its place.
    let options = options
        .test_before_acquire(false)
        .before_acquire(|conn, _| Box::pin(async move { Ok(!conn.is_in_transaction()) }));
    match dialect {
        Dialect::Postgres => options.test_before_acquire(true),
        // The one writer is closed for no other reason.
        Dialect::Sqlite => options.idle_timeout(None).max_lifetime(None).after_connect(|conn, _| {
            Box::pin(async move {
                conn.execute(
                    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
                     PRAGMA busy_timeout = 10000; PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY;",
                )
                .await?;
                Ok(())
            })
        }),
    }
}

/// The path as a URL: what a URL would read as something else is written by number. `mode` is SQLite's: `ro`, `rwc`.
pub(crate) fn sqlite_url(path: &std::path::Path, mode: &str) -> String {
    let mut text = String::from("sqlite://");
    for byte in path.to_string_lossy().bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte) {
            text.push(byte as char);
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text + "?mode=" + mode
}
