//! The log of an attempt: appended, bounded, without secrets, and never a reason for the job to stand still.

use crate::{
    fault::{Fault, OnPath},
    folder::private_file,
};
use kaogong_domain::masks::{Cover, Masker, Masks};
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
    masks: Arc<Masks>,
}

impl Log {
    /// Opens the log for appending. What is in it already counts. What `masks` cover is never written.
    pub(crate) fn open(path: &Path, limit: u64, masks: Arc<Masks>) -> Result<Self, Fault> {
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
            masks,
        }))))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends output of the job, without its secrets; what is beyond the limit is counted and dropped.
    fn append(&self, bytes: &[u8]) {
        self.inner().append(bytes);
    }

    /// A text without its secrets.
    pub(crate) fn cover(&self, text: &str) -> String {
        let masks = self.inner().masks.clone();
        masks.cover(text)
    }

    /// What a pipe gives, without its secrets.
    fn covered<R: Read>(&self, pipe: R) -> Covered<R> {
        let masker = Masker::new(self.inner().masks.clone(), Cover::Stars);
        Covered { pipe, masker, buffer: vec![0; 64 << 10], ready: vec![], at: 0, is_over: false }
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
    pub(crate) fn pump(&self, pipe: impl Read) {
        let mut pipe = self.covered(pipe);
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
        let mut pipe = BufReader::new(self.covered(pipe));
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

/// A reader that covers secrets, also those that arrive in pieces.
struct Covered<R> {
    pipe: R,
    masker: Masker,
    buffer: Vec<u8>,
    ready: Vec<u8>,
    at: usize,
    is_over: bool,
}

impl<R: Read> Read for Covered<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.ready.len() && !self.is_over {
            self.ready.clear();
            self.at = 0;
            match self.pipe.read(&mut self.buffer) {
                Ok(0) => {
                    self.is_over = true;
                    self.masker.finish(&mut self.ready);
                }
                Ok(count) => self.masker.push(&self.buffer[..count], &mut self.ready),
                // Said once; what was held back is shown first.
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    self.masker.finish(&mut self.ready);
                    if self.ready.is_empty() {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let count = (self.ready.len() - self.at).min(into.len());
        into[..count].copy_from_slice(&self.ready[self.at..self.at + count]);
        self.at += count;
        Ok(count)
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
        let text = self.masks.cover(text);
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
        let masks = Arc::new(Masks::new(["correct horse"]));
        let log = Log::open(&dir.path().join("log"), limit, masks).expect("a log");
        (dir, log)
    }

    /// A pipe that gives a few bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(into.len()).min(self.0.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn secrets_reach_neither_the_file_nor_the_tail_however_they_arrive() {
        let said = b"key=correct horse\nand correct horses, correct";
        for size in 1..said.len() {
            let (dir, log) = log(1 << 20);
            log.pump(Drops(said, size));
            log.pump_lines(Drops(b"correct horse", size), "> ");
            log.note("it said correct horse");
            let expected = "key=***\nand ***s, correct> ***\n[kaogong] it said ***\n";
            assert_eq!(text(&dir), expected, "{size} bytes at a time");
            assert!(!log.tail().contains("horse"));
            assert_eq!(log.cover("a correct horse"), "a ***");
        }
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
