//! Writing a backup: files in, an archive out, hashed on the way.

use super::{BackupError, HEAD, Head, Line, MANIFEST, Sum};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::Path,
};

/// Fast enough for a disk; what takes most room (pictures, models) is compressed already.
const LEVEL: i32 = 1;

/// Folders of a table whose files name other files, in the order in which they must be read: marks name versions, and
/// versions name data files. Whatever is named is on the disk before what names it, so a later listing finds it.
const READ_FIRST: [&str; 2] = ["_refs", "_versions"];

/// Bytes that a reader of the archive passes over: an empty skippable frame (RFC 8878, section 3.1.2). Sent while the
/// database is copied, so that nobody takes the connection for dead.
pub fn heartbeat() -> &'static [u8] {
    &[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]
}

/// An archive being written.
pub struct Writer<W: Write> {
    archive: tar::Builder<zstd::Encoder<'static, W>>,
    manifest: BufWriter<File>,
    sum: Sum,
}

impl<W: Write> Writer<W> {
    /// Begins an archive.
    ///
    /// # Errors
    /// When `out` refuses, or there is no place for a temporary file in `temp`.
    pub fn begin(out: W, temp: &Path, head: &Head) -> Result<Self, BackupError> {
        let failed = BackupError::io("begin", "the archive");
        let packed = zstd::Encoder::new(out, LEVEL).and_then(|mut it| it.include_checksum(true).map(|()| it));
        let archive = tar::Builder::new(packed.map_err(failed)?);
        let manifest = tempfile::tempfile_in(temp).map_err(BackupError::io("make a file in", temp.display()))?;
        let mut writer = Self { archive, manifest: BufWriter::new(manifest), sum: Sum::default() };
        let text = serde_json::to_vec(head).map_err(|it| BackupError::Strange(it.to_string()))?;
        writer.add(HEAD, text.as_slice(), text.len() as u64)?;
        Ok(writer)
    }

    /// Adds `size` bytes as a file.
    ///
    /// # Errors
    /// When there are fewer, or either side refuses.
    pub fn add(&mut self, name: &str, from: impl Read, size: u64) -> Result<(), BackupError> {
        let mut from = Hashing { inner: from.take(size), hasher: blake3::Hasher::new(), read: 0 };
        append(&mut self.archive, name, &mut from, size)?;
        if from.read != size {
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was read");
            return Err(BackupError::Io { doing: "read", path: name.to_owned(), source });
        }
        let line = Line { path: name.to_owned(), bytes: size, blake3: from.hasher.finalize().to_hex().to_string() };
        self.sum.files += 1;
        self.sum.bytes += size;
        write_line(&mut self.manifest, &line)
    }

    /// Adds a file as it is now. `false` when it is gone: what a snapshot refers to is not removed while a backup
    /// runs, but what a writer gave up is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn add_file(&mut self, name: &str, path: &Path) -> Result<bool, BackupError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file.map_err(BackupError::io("open", path.display()))?,
        };
        let size = file.metadata().map_err(BackupError::io("look at", path.display()))?.len();
        self.add(name, file, size)?;
        Ok(true)
    }

    /// Adds all files below a folder, each folder listed when its turn comes. Only plain files are data.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn add_folder(&mut self, name: &str, path: &Path) -> Result<(), BackupError> {
        for (part, kind) in list(path)? {
            let (name, path) = (format!("{name}/{part}"), path.join(&part));
            if kind.is_dir() {
                self.add_folder(&name, &path)?;
            } else if kind.is_file() {
                self.add_file(&name, &path)?;
            }
        }
        Ok(())
    }

    /// Bytes of files so far.
    pub fn bytes(&self) -> u64 {
        self.sum.bytes
    }

    /// Writes the manifest and ends the archive.
    ///
    /// # Errors
    /// When `out` refuses.
    pub fn finish(mut self) -> Result<W, BackupError> {
        write_line(&mut self.manifest, &self.sum)?;
        let failed = |it| BackupError::Io { doing: "write", path: MANIFEST.to_owned(), source: it };
        let mut lines = self.manifest.into_inner().map_err(|it| failed(it.into_error()))?;
        let size = lines.stream_position().map_err(failed)?;
        lines.seek(SeekFrom::Start(0)).map_err(failed)?;
        append(&mut self.archive, MANIFEST, &mut lines.take(size), size)?;
        let packed = self.archive.into_inner().map_err(failed)?;
        packed.finish().map_err(failed)
    }
}

/// About how many bytes lie below a folder. What vanishes meanwhile is not counted.
///
/// # Errors
/// When a folder cannot be listed.
pub fn size_of_folder(path: &Path) -> Result<u64, BackupError> {
    let mut sum = 0;
    for (part, kind) in list(path)? {
        let path = path.join(part);
        if kind.is_dir() {
            sum += size_of_folder(&path)?;
        } else if kind.is_file() {
            sum += fs::symlink_metadata(&path).map_or(0, |it| it.len());
        }
    }
    Ok(sum)
}

/// The entries of a folder, in the order in which they must be read. A folder that is gone has none.
fn list(path: &Path) -> Result<Vec<(String, fs::FileType)>, BackupError> {
    let failed = || BackupError::io("list", path.display());
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries.map_err(failed())?,
    };
    let mut found = vec![];
    for entry in entries {
        let entry = entry.map_err(failed())?;
        let kind = entry.file_type().map_err(failed())?;
        // The platform gives all names itself, in ASCII: whatever has another is nobody's data.
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, kind));
        }
    }
    let rank = |name: &str| READ_FIRST.iter().position(|it| *it == name).unwrap_or(READ_FIRST.len());
    found.sort_by(|a, b| (rank(&a.0), &a.0).cmp(&(rank(&b.0), &b.0)));
    Ok(found)
}

fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    name: &str,
    from: &mut impl Read,
    size: u64,
) -> Result<(), BackupError> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o600);
    header.set_size(size);
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, name, from).map_err(BackupError::io("back up", name))
}

pub(super) fn write_line(out: &mut impl Write, line: &impl serde::Serialize) -> Result<(), BackupError> {
    let mut write = || -> io::Result<()> {
        serde_json::to_writer(&mut *out, line)?;
        out.write_all(b"\n")
    };
    write().map_err(BackupError::io("write", MANIFEST))
}

/// Hashes what is read through it.
pub(super) struct Hashing<R> {
    pub(super) inner: R,
    pub(super) hasher: blake3::Hasher,
    pub(super) read: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.hasher.update(&into[..read]);
        self.read += read as u64;
        Ok(read)
    }
}
