//! Packs files into a tar stream: ustar headers, with a pax header (POSIX.1-2001) where ustar cannot say it, and GNU's
//! for a long name with a line break.
//!
//! The archive depends only on names, contents and what is a program: no owner, no times, mode 0644 or 0755. Names are
//! bytes, written as found.

use crate::{
    body::{BodySource, ByteSender},
    local_fault::LocalFault,
};
use bytes::{Bytes, BytesMut};
use std::{
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

const BLOCK: usize = 512;
/// Pieces handed to the connection have about this many bytes: large enough that small files cost little.
const PIECE_BYTES: usize = 512 << 10;

/// A file to pack.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name in the archive, `/` between folders.
    pub name: Vec<u8>,
    /// Where its bytes are.
    pub source: Source,
    /// Whether it is a program.
    pub is_executable: bool,
}

/// Where the bytes of an entry are.
#[derive(Debug, Clone)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// Here.
    Bytes(Bytes),
    /// A folder, which holds none.
    Folder,
}

impl Entry {
    /// The file `path`, named as it lies below `root`; a program only when [`Entry::executable`] says so, because data
    /// is the same with any mode.
    pub fn below(root: &Path, path: &Path) -> Self {
        let name = path.strip_prefix(root).unwrap_or(path).as_os_str().as_bytes().to_vec();
        Self { name, source: Source::File(path.to_owned()), is_executable: false }
    }

    /// Bytes under a name.
    pub fn bytes(name: &str, bytes: impl Into<Bytes>) -> Self {
        Self { name: name.as_bytes().to_vec(), source: Source::Bytes(bytes.into()), is_executable: false }
    }

    /// The folder `path`, named as it lies below `root`; needed for empty ones only.
    pub fn folder(root: &Path, path: &Path) -> Self {
        Self { source: Source::Folder, ..Self::below(root, path) }
    }

    /// The same under another name.
    #[must_use]
    pub fn named(self, name: &Path) -> Self {
        Self { name: name.as_os_str().as_bytes().to_vec(), ..self }
    }

    /// The same as a program.
    #[must_use]
    pub fn executable(self) -> Self {
        Self { is_executable: true, ..self }
    }
}

/// A body that packs `entries`, again for every try. `packed` counts the bytes handed to the connection in
/// the present try.
pub fn body(entries: Arc<Vec<Entry>>, packed: Arc<AtomicU64>) -> BodySource {
    BodySource::from_thread("application/x-tar", move |sender| {
        packed.store(0, Ordering::Relaxed);
        let mut sink = ToSender { sender, packed: &packed };
        pack(&entries, &mut sink)
    })
}

struct ToSender<'a> {
    sender: &'a mut ByteSender,
    packed: &'a AtomicU64,
}

/// Where packed pieces go.
pub trait Sink {
    /// Takes one piece.
    ///
    /// # Errors
    /// What stops the packing.
    fn take(&mut self, piece: Bytes) -> io::Result<()>;
}

impl Sink for ToSender<'_> {
    fn take(&mut self, piece: Bytes) -> io::Result<()> {
        let length = piece.len() as u64;
        self.sender.send(piece)?;
        self.packed.fetch_add(length, Ordering::Relaxed);
        Ok(())
    }
}

impl Sink for Vec<u8> {
    fn take(&mut self, piece: Bytes) -> io::Result<()> {
        self.extend_from_slice(&piece);
        Ok(())
    }
}

/// Packs `entries` in their order.
///
/// # Errors
/// A file that cannot be read or changes its size meanwhile, or an error of `sink`.
pub fn pack(entries: &[Entry], sink: &mut impl Sink) -> io::Result<()> {
    let mut packer = Packer { sink, piece: BytesMut::with_capacity(PIECE_BYTES + 2 * BLOCK) };
    for entry in entries {
        match &entry.source {
            Source::Bytes(bytes) => {
                packer.header(entry, bytes.len() as u64)?;
                packer.put(bytes)?;
                packer.pad(bytes.len() as u64)?;
            }
            Source::File(path) => packer.file(entry, path)?,
            Source::Folder => packer.header(entry, 0)?,
        }
    }
    packer.put(&[0; 2 * BLOCK])?;
    packer.flush()
}

struct Packer<'a, S> {
    sink: &'a mut S,
    piece: BytesMut,
}

impl<S: Sink> Packer<'_, S> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(PIECE_BYTES) {
            self.piece.extend_from_slice(part);
            if self.piece.len() >= PIECE_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, BytesMut::with_capacity(PIECE_BYTES + 2 * BLOCK));
        self.sink.take(piece.freeze())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = (size % BLOCK as u64) as usize;
        if over == 0 { Ok(()) } else { self.put(&[0; BLOCK][over..]) }
    }

    fn file(&mut self, entry: &Entry, path: &Path) -> io::Result<()> {
        let mut file = File::open(path).map_err(|it| LocalFault::io(path, it))?;
        let size = file.metadata().map_err(|it| LocalFault::io(path, it))?.len();
        self.header(entry, size)?;
        let mut left = size;
        while left > 0 {
            // Straight into the piece: small files cost one read each.
            let begin = self.piece.len();
            let want = left.min(PIECE_BYTES as u64) as usize;
            self.piece.resize(begin + want, 0);
            let got = read_some(&mut file, &mut self.piece[begin..]).map_err(|it| LocalFault::io(path, it))?;
            self.piece.truncate(begin + got);
            if got == 0 {
                return Err(LocalFault::io(path, "it became shorter while it was read"));
            }
            left -= got as u64;
            if self.piece.len() >= PIECE_BYTES {
                self.flush()?;
            }
        }
        self.pad(size)
    }

    fn header(&mut self, entry: &Entry, size: u64) -> io::Result<()> {
        let is_folder = matches!(entry.source, Source::Folder);
        // Old programs know a folder by the end of its name alone.
        let name = if is_folder { [&entry.name, b"/".as_slice()].concat() } else { entry.name.clone() };
        let name = name.as_slice();
        let split = split_name(name);
        // Readers that take pax records for lines cut a name at a line break; GNU's header says how long the name is.
        let is_one_line = !name.contains(&b'\n');
        if !is_one_line && split.is_none() {
            self.put(&block((b"", b"././@LongLink"), name.len() as u64 + 1, b'L', PLAIN))?;
            self.put(&[name, &[0]].concat())?;
            self.pad(name.len() as u64 + 1)?;
        }
        let is_text = std::str::from_utf8(name).is_ok();
        let needs_pax = (is_one_line && (split.is_none() || !is_text)) || size > OCTAL_11_MAX;
        if needs_pax {
            let mut records = Vec::new();
            if is_one_line && !is_text {
                record(&mut records, "hdrcharset", b"BINARY");
            }
            if is_one_line {
                record(&mut records, "path", name);
            }
            // Only what does not fit the header itself: a size given twice could be given differently.
            if size > OCTAL_11_MAX {
                record(&mut records, "size", size.to_string().as_bytes());
            }
            let header = block((b"", b"PaxHeaders/entry"), records.len() as u64, b'x', PLAIN);
            self.put(&header)?;
            self.put(&records)?;
            self.pad(records.len() as u64)?;
        }
        // The full name is in the header before this one then; old programs see its end.
        let short = &name[name.len().saturating_sub(100)..];
        let mode = if entry.is_executable || is_folder { PROGRAM } else { PLAIN };
        let kind = if is_folder { b'5' } else { b'0' };
        let header = block(split.unwrap_or((b"", short)), size, kind, mode);
        self.put(&header)
    }
}

fn read_some(file: &mut File, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The modes of files.
const PLAIN: &[u8; 8] = b"0000644\0";
const PROGRAM: &[u8; 8] = b"0000755\0";
const OCTAL_11_MAX: u64 = 0o77_777_777_777;

/// Splits a name into ustar's prefix (155 bytes) and name (100 bytes), if it fits.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((b"", name));
    }
    let at = name.iter().enumerate().find(|(at, it)| **it == b'/' && name.len() - at - 1 <= 100).map(|it| it.0)?;
    (at > 0 && at <= 155 && at + 1 < name.len()).then(|| (&name[..at], &name[at + 1..]))
}

/// One pax record: its own length in decimal, then `key=value\n`.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn block((prefix, name): (&[u8], &[u8]), size: u64, kind: u8, mode: &[u8; 8]) -> [u8; BLOCK] {
    let mut block = [0u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name);
    put(100, mode);
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, &octal(size.min(OCTAL_11_MAX)));
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(329, b"0000000\0");
    put(337, b"0000000\0");
    put(345, prefix);
    let sum: u32 = block.iter().map(|it| u32::from(*it)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn octal(mut number: u64) -> [u8; 12] {
    let mut text = [b'0'; 12];
    text[11] = 0;
    for digit in text[..11].iter_mut().rev() {
        *digit = b'0' + (number & 7) as u8;
        number >>= 3;
    }
    text
}
