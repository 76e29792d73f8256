//! Bodies on their way in: written to a temporary file below the data folder, bounded, gone when dropped.

use axum::body::{Body, HttpBody};
use futures::StreamExt;
use kaogong_data::{BlobHash, Blobs, Uploads};
use kaogong_domain::Problem;
use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tempfile::NamedTempFile;
use tokio::sync::mpsc;

/// A client that sends nothing for this long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Pieces between the socket and the disk.
const PIECES: usize = 64;

/// A body on disk. Dropping it removes the file.
pub struct Spooled {
    file: NamedTempFile,
    hash: BlobHash,
    size: u64,
}

/// Writes a body to disk.
///
/// # Errors
/// `Invalid` when it is larger than `limit` or breaks off; `Unavailable` when the disk is full; `TooMany` at once when
/// too many others arrive.
pub async fn spool(uploads: &Uploads, body: Body, limit: u64) -> Result<Spooled, Problem> {
    let (sender, mut pieces) = mpsc::channel::<bytes::Bytes>(PIECES);
    let folder = uploads.folder().to_owned();
    let slot = uploads.take()?;
    let writing = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        let failed = |it: std::io::Error| disk_problem(&it);
        let mut file = NamedTempFile::new_in(folder).map_err(failed)?;
        let mut hasher = blake3::Hasher::new();
        let mut size = 0u64;
        while let Some(piece) = pieces.blocking_recv() {
            size += piece.len() as u64;
            hasher.update(&piece);
            file.write_all(&piece).map_err(failed)?;
        }
        file.flush().map_err(failed)?;
        Ok(Spooled { file, hash: BlobHash::from_bytes(*hasher.finalize().as_bytes()), size })
    });
    let sent = pump(body, sender, limit).await;
    let written: Result<Spooled, Problem> =
        writing.await.map_err(|it| Problem::bug("writing a body did not end", it))?;
    // A full disk closes the channel first: its own problem says more than "the channel is closed".
    let spooled = written?;
    sent?;
    Ok(spooled)
}

async fn pump(body: Body, sender: mpsc::Sender<bytes::Bytes>, limit: u64) -> Result<(), Problem> {
    if body.size_hint().lower() > limit {
        return Err(Problem::too_large(limit));
    }
    let mut stream = body.into_data_stream();
    let mut size = 0u64;
    loop {
        let piece = match tokio::time::timeout(SILENCE_MAX, stream.next()).await {
            Err(_) => return Err(Problem::invalid(format!("the body stopped for {} s", SILENCE_MAX.as_secs()))),
            Ok(None) => return Ok(()),
            Ok(Some(Err(it))) => {
                return Err(Problem::invalid("the body broke off").hint("send it again").because(it));
            }
            Ok(Some(Ok(piece))) => piece,
        };
        size += piece.len() as u64;
        if size > limit {
            return Err(Problem::too_large(limit));
        }
        if sender.send(piece).await.is_err() {
            return Ok(());
        }
    }
}

/// What a failed write means for the caller.
fn disk_problem(it: &std::io::Error) -> Problem {
    if it.kind() == std::io::ErrorKind::StorageFull || it.kind() == std::io::ErrorKind::QuotaExceeded {
        return Problem::unavailable("the data folder's disk is full; nothing was imported")
            .hint("free space, then try again");
    }
    Problem::unavailable(format!("cannot write to the data folder: {it}"))
}

impl Spooled {
    /// Where it lies, while this lives.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// A reader from the beginning, with its own position.
    pub fn reader(&self) -> Result<SkippingReader, Problem> {
        let mut file = self.file.reopen().map_err(|it| disk_problem(&it))?;
        file.seek(SeekFrom::Start(0)).map_err(|it| disk_problem(&it))?;
        Ok(SkippingReader {
            inner: BufReader::with_capacity(1 << 20, file),
            position: 0,
            is_past_end: Arc::new(AtomicBool::new(false)),
        })
    }

    /// What the bytes are known by, should they be kept.
    pub fn hash(&self) -> BlobHash {
        self.hash
    }

    /// How many bytes they are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Moves the bytes into the blob store. The file gets another name; nothing is written again.
    pub async fn keep(self, blobs: &Arc<Blobs>) -> Result<(BlobHash, u64), Problem> {
        let blobs = blobs.clone();
        let Self { file, hash, size } = self;
        tokio::task::spawn_blocking(move || blobs.adopt(file, &hash))
            .await
            .map_err(|it| Problem::bug("storing an upload did not end", it))??;
        Ok((hash, size))
    }

    /// Bytes as if they had been sent.
    ///
    /// # Errors
    /// When no temporary file can be written.
    pub fn of(bytes: &[u8]) -> std::io::Result<Self> {
        let mut file = NamedTempFile::new()?;
        file.write_all(bytes)?;
        Ok(Self { file, hash: BlobHash::of(bytes), size: bytes.len() as u64 })
    }
}

/// A buffered reader that passes over bytes within its buffer. A plain one throws the buffer away at every seek,
/// which for an archive of small files means reading a megabyte for each.
pub struct SkippingReader {
    inner: BufReader<File>,
    position: u64,
    is_past_end: Arc<AtomicBool>,
}

impl SkippingReader {
    /// Becomes true when somebody reads behind the last byte. A reader of archives that found an end mark did not.
    pub fn is_past_end(&self) -> Arc<AtomicBool> {
        self.is_past_end.clone()
    }
}

impl Read for SkippingReader {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(out)?;
        if read == 0 && !out.is_empty() {
            self.is_past_end.store(true, Ordering::Relaxed);
        }
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for SkippingReader {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        match to {
            SeekFrom::Current(by) => {
                self.inner.seek_relative(by)?;
                self.position = self.position.saturating_add_signed(by);
            }
            other => self.position = self.inner.seek(other)?,
        }
        Ok(self.position)
    }
}
