//! Backups of the running server: a snapshot of the database, then every file that it refers to, as one stream.
//!
//! The order is what makes it consistent: a file is on the disk before the row that names it, files never change, and
//! while a backup runs nothing that a row may name is removed.

use crate::Route;
use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, header};
use kaogong_control::{Services, services::Removals};
use kaogong_data::backup::{self, FORMAT, Head, Writer};
use kaogong_domain::Problem;
use kaogong_http::{
    access::{Caller, Rule},
    error::Answer,
};
use kaogong_runners::RECORDS;
use kaogong_store::{Dialect, Named, Snapshot};
use std::{
    io::{self, BufWriter, Write},
    sync::Arc,
    time::Duration,
};
use tempfile::NamedTempFile;
use tokio::{runtime::Handle, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;

/// Pieces between the disk and the connection.
const PIECES: usize = 8;
/// Bytes of a piece.
const PIECE_BYTES: usize = 256 << 10;
/// While the database is copied, the client hears this often that its server lives.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A client that takes nothing for this long is given up: removals wait for it.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// The route.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/api/v1/system/backup", Rule::PlatformAdmin, take)
            .doc("system_backup", "Everything that the server keeps, as one archive that `kaogong restore` reads.")
            .answers_bytes("application/zstd")
            .unhurried(),
    ]
}

type Pieces = mpsc::Sender<io::Result<Bytes>>;

async fn take(State(app): State<Arc<Services>>, caller: Caller) -> Answer<Response> {
    let removals = app.hold_removals().await?;
    app.store.note_backup(&caller.actor(), app.now()).await?;
    let (pieces, body) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        if let Err(problem) = send(app, removals, pieces.clone()).await {
            let causes = problem.causes();
            tracing::error!(causes, "a backup broke off: {problem}");
            // The head is sent by now: a failure can only break the body off. A client that is gone knows.
            let _ = pieces.send(Err(io::Error::other(problem.text))).await;
        }
    });
    let mut response = Body::from_stream(ReceiverStream::new(body)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zstd"));
    Ok(response)
}

async fn send(app: Arc<Services>, removals: Removals, pieces: Pieces) -> Result<(), Problem> {
    let began = app.now();
    let copy = NamedTempFile::new_in(app.temp_folder())
        .map_err(|it| Problem::unavailable("there is no place for a copy of the database").because(it))?;
    let list = NamedTempFile::new_in(app.temp_folder())
        .map_err(|it| Problem::unavailable("there is no place for the list of a backup").because(it))?;
    let (snapshot, bytes) = beating(&pieces, prepare(&app, &copy, &list)).await?;
    let store = match app.store.dialect() {
        Dialect::Sqlite => "sqlite",
        Dialect::Postgres => "postgresql",
    };
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let head = Head { format: FORMAT, version, store: store.to_owned(), made_at: began.as_ms(), bytes };
    let out = Outgoing { pieces, piece: Vec::with_capacity(PIECE_BYTES), runtime: Handle::current() };
    let work = app.clone();
    let written = tokio::task::spawn_blocking(move || {
        let _removals = removals;
        write(&work, (&copy, &list), &snapshot, &head, out)
    });
    let bytes = written.await.map_err(|it| Problem::bug("a backup did not end", it))??;
    let took = app.now().as_ms() - began.as_ms();
    tracing::info!("a backup of {bytes} bytes was sent in {took} ms");
    Ok(())
}

/// Copies the database, lists what it names, and adds up what there is to send.
async fn prepare(app: &Arc<Services>, copy: &NamedTempFile, list: &NamedTempFile) -> Result<(Snapshot, u64), Problem> {
    let mut lines = BufWriter::new(list);
    let note = |it: Named<'_>| match it {
        Named::Blob(hash) => writeln!(lines, "{}", backup::path_of_blob(hash)),
        Named::Dataset(id) => writeln!(lines, "{}", backup::path_of_dataset(id)),
    };
    let snapshot = app.store.copy_to(copy.path(), note).await?;
    lines.flush().map_err(|it| Problem::unavailable("the list of a backup cannot be written").because(it))?;
    drop(lines);
    let folder = app.data_folder().to_owned();
    let database = copy.path().metadata().map_or(0, |it| it.len());
    let sum = tokio::task::spawn_blocking(move || {
        let size = |part| backup::size_of_folder(&folder.join(part));
        Ok::<_, backup::BackupError>(database + size("blobs")? + size("tables")?)
    });
    Ok((snapshot, sum.await.map_err(|it| Problem::bug("adding up files did not end", it))??))
}

/// Waits for `work` and lets the client hear meanwhile.
async fn beating<T>(pieces: &Pieces, work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let mut beats = tokio::time::interval(HEARTBEAT);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = beats.tick() => {
                let sent = pieces.try_send(Ok(Bytes::from_static(backup::heartbeat())));
                if matches!(sent, Err(mpsc::error::TrySendError::Closed(_))) {
                    return Err(Problem::unavailable("the client of a backup hung up"));
                }
            }
        }
    }
}

fn write(
    app: &Services,
    (copy, list): (&NamedTempFile, &NamedTempFile),
    snapshot: &Snapshot,
    head: &Head,
    out: Outgoing,
) -> Result<u64, Problem> {
    let folder = app.data_folder();
    let mut archive = Writer::begin(out, app.temp_folder(), head)?;
    let database = match app.store.dialect() {
        Dialect::Sqlite => backup::SQLITE,
        Dialect::Postgres => backup::POSTGRES,
    };
    archive.add_file(database, copy.path())?;
    archive.add_file(backup::NAMED, list.path())?;
    // Absent where there is nothing for them: a folder of SQLite has no id.
    for name in [backup::FOLDER_ID, backup::SECRETS_KEY] {
        archive.add_file(name, &folder.join(name))?;
    }
    for part in stored_blobs(folder)? {
        archive.add_folder(&format!("blobs/{part}"), &folder.join("blobs").join(&part))?;
    }
    archive.add_folder("tables", &folder.join("tables"))?;
    for attempt in &snapshot.ended_attempts {
        for record in RECORDS {
            let name = format!("jobs/{attempt}/{record}");
            archive.add_file(&name, &folder.join(&name))?;
        }
    }
    let bytes = archive.bytes();
    archive.finish()?.flush().map_err(|it| Problem::unavailable("the client of a backup hung up").because(it))?;
    Ok(bytes)
}

/// Folders of finished blobs: those on their way in have another name.
fn stored_blobs(folder: &std::path::Path) -> Result<Vec<String>, Problem> {
    let failed = |it| Problem::unavailable("the stored files cannot be listed").because(it);
    let mut found = vec![];
    for entry in std::fs::read_dir(folder.join("blobs")).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name.len() == 2 && name.bytes().all(|it| it.is_ascii_hexdigit()) {
            found.push(name);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The connection, for a thread that blocks. It waits while the client is slow.
struct Outgoing {
    pieces: Pieces,
    piece: Vec<u8>,
    runtime: Handle,
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        let send = tokio::time::timeout(SILENCE_MAX, self.pieces.send(Ok(piece.into())));
        match self.runtime.block_on(send) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client hung up")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client took nothing for two minutes")),
        }
    }
}
