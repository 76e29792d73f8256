//! The log of an attempt: appended, bounded, and never a reason for the job to stand still.

use crate::{
    fault::{Fault, OnPath},
    folder::private_file,
};
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The last bytes of a step's output that are kept for its error message.
const TAIL_BYTES: usize = 4 << 10;

/// The longest line that is kept together when lines get a prefix.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// The most bytes that notes of our own add to a log beyond its limit.
const NOTES_BYTES_MAX: u64 = 64 << 10;

/// The log file of an attempt, shared by whoever writes to it.
#[derive(Debug, Clone)]
pub(crate) struct Log(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    file: File,
    path: PathBuf,
    /// Bytes that the job may still write.
    room: u64,
    limit: u64,
    notes_room: u64,
    dropped: u64,
    /// Bytes that could not be written, on a full disk mostly.
    failed: u64,
    line_open: bool,
    tail: VecDeque<u8>,
}

impl Log {
    /// Opens the log for appending. What is in it already counts.
    pub(crate) fn open(path: &Path, limit: u64) -> Result<Self, Fault> {
        let file = private_file().append(true).create(true).open(path).on("open", path)?;
        let used = file.metadata().on("read", path)?.len();
        let tail = VecDeque::with_capacity(TAIL_BYTES);
        Ok(Self(Arc::new(Mutex::new(Inner {
            file,
            path: path.to_owned(),
            room: limit.saturating_sub(used),
            limit,
            notes_room: NOTES_BYTES_MAX,
            dropped: 0,
            failed: 0,
            line_open: false,
            tail,
        }))))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends output of the job; what is beyond the limit is counted and dropped.
    pub(crate) fn append(&self, bytes: &[u8]) {
        self.inner().append(bytes);
    }

    /// Adds a line of our own.
    pub(crate) fn note(&self, text: &str) {
        self.inner().note(text);
    }

    /// Forgets the tail, before a step whose tail is of interest.
    pub(crate) fn clear_tail(&self) {
        self.inner().tail.clear();
    }

    /// The last bytes written since [`Self::clear_tail`], as text.
    pub(crate) fn tail(&self) -> String {
        let bytes: Vec<u8> = self.inner().tail.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Says what was dropped, and brings everything to the disk.
    pub(crate) fn finish(&self) {
        let mut inner = self.inner();
        if inner.dropped > 0 {
            let text = format!("{} bytes of output came after the log limit and were dropped", inner.dropped);
            inner.note(&text);
        }
        if inner.failed > 0 {
            let text = format!("{} bytes of output could not be written and are missing", inner.failed);
            inner.note(&text);
        }
        if let Err(error) = inner.file.sync_all() {
            tracing::warn!(%error, "cannot sync {}", inner.path.display());
        }
    }

    /// Copies a pipe into the log until nobody can write to the pipe any more.
    pub(crate) fn pump(&self, mut pipe: impl Read) {
        let mut buffer = vec![0u8; 64 << 10];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => return,
                Ok(len) => self.append(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.note(&format!("output of the job can no longer be read: {error}")),
            }
        }
    }

    /// As [`Self::pump`], with a prefix before each line.
    pub(crate) fn pump_lines(&self, pipe: impl Read, prefix: &str) {
        let mut pipe = BufReader::new(pipe);
        let mut line = prefix.as_bytes().to_vec();
        loop {
            line.truncate(prefix.len());
            match pipe.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => {
                    if line.last() != Some(&b'\n') {
                        line.push(b'\n');
                    }
                    self.append(&line);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.note(&format!("output of a step can no longer be read: {error}")),
            }
        }
    }
}

impl Inner {
    fn append(&mut self, bytes: &[u8]) {
        let skip = bytes.len().saturating_sub(TAIL_BYTES);
        let surplus = (self.tail.len() + bytes.len() - skip).saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
        self.tail.extend(&bytes[skip..]);

        let kept = usize::try_from(self.room).unwrap_or(usize::MAX).min(bytes.len());
        if kept > 0 {
            match self.write(&bytes[..kept]) {
                // What could not be written uses no room, so that writing goes on when space is back.
                Err(_) => self.failed += kept as u64,
                Ok(()) => self.room -= kept as u64,
            }
        }
        if kept < bytes.len() {
            if self.dropped == 0 {
                let text = format!("log limit of {} bytes reached; the rest is dropped, the job goes on", self.limit);
                self.note(&text);
            }
            self.dropped += (bytes.len() - kept) as u64;
        }
    }

    fn note(&mut self, text: &str) {
        let start = if self.line_open { "\n" } else { "" };
        let line = format!("{start}[kaogong] {text}\n");
        if let Some(rest) = self.notes_room.checked_sub(line.len() as u64) {
            self.notes_room = rest;
            if let Err(error) = self.write(line.as_bytes()) {
                tracing::warn!(%error, "cannot write to {}: {text}", self.path.display());
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.line_open = bytes.last() != Some(&b'\n');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(limit: u64) -> (tempfile::TempDir, Log) {
        let dir = tempfile::tempdir().expect("a directory");
        let log = Log::open(&dir.path().join("log"), limit).expect("a log");
        (dir, log)
    }

    fn text(dir: &tempfile::TempDir) -> String {
        std::fs::read_to_string(dir.path().join("log")).expect("the log")
    }

    #[test]
    fn the_first_part_stays_and_the_rest_is_counted() {
        let (dir, log) = log(10);
        log.pump(&b"0123456789abc"[..]);
        log.append(b"more");
        log.finish();
        let expected = "0123456789\n[kaogong] log limit of 10 bytes reached; the rest is dropped, the job goes on\n\
                        [kaogong] 7 bytes of output came after the log limit and were dropped\n";
        assert_eq!(text(&dir), expected);
    }

    #[test]
    fn a_note_begins_its_own_line() {
        let (dir, log) = log(100);
        log.append(b"half a line");
        log.note("hello");
        log.append(b"rest\n");
        log.note("again");
        assert_eq!(text(&dir), "half a line\n[kaogong] hello\nrest\n[kaogong] again\n");
    }

    #[test]
    fn lines_get_their_prefix_and_the_tail_keeps_the_end() {
        let (dir, log) = log(1 << 20);
        log.pump_lines(&b"one\ntwo"[..], "> ");
        assert_eq!(text(&dir), "> one\n> two\n");
        log.clear_tail();
        log.append(&[b'x'; 3 * TAIL_BYTES]);
        log.append(b"end");
        let tail = log.tail();
        assert_eq!(tail.len(), TAIL_BYTES);
        assert!(tail.ends_with("xend"));
    }

    #[test]
    fn notes_have_a_bound_too() {
        let (dir, log) = log(0);
        for _ in 0..10_000 {
            log.note("the same again");
        }
        assert!(text(&dir).len() as u64 <= NOTES_BYTES_MAX);
    }
}
