//! Reading a backup: every file compared with the manifest, and written where a restore wants it.

use super::{
    BLOBS, BackupError, FORMAT, HEAD, Head, Line, MANIFEST, NAMED, Sum, is_ours,
    named::{Missing, Named},
    write::{Hashing, write_line},
};
use std::{
    fs::{DirBuilder, File},
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// The longest head that is read, in bytes.
const HEAD_BYTES_MAX: u64 = 64 << 10;
/// Damaged files that are named.
const NAMED_MAX: usize = 20;

/// What becomes of the files of a backup.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// They are only compared.
    Nowhere,
    /// They are written below this folder, which is empty.
    Folder(&'a Path),
}

/// What a whole and undamaged backup holds.
#[derive(Debug, Clone)]
pub struct Contents {
    /// What it says about itself.
    pub head: Head,
    /// Files, without head and manifest.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Stored files that were damaged already when the backup was made: the first of them.
    pub damaged_before: Vec<String>,
    /// What the database names and the backup does not hold; `None` for a backup of the first layout, which does not
    /// say what is named.
    pub missing: Option<Missing>,
}

/// Reads a backup to its end. `on_bytes` hears how many bytes of files were read, and about how many there are.
///
/// # Errors
/// When it is none, incomplete, damaged, or cannot be read or written. What was written then is worth nothing.
pub fn read<'a>(
    from: impl Read,
    temp: &'a Path,
    target: Target<'a>,
    mut on_bytes: impl FnMut(u64, u64),
) -> Result<Contents, BackupError> {
    let unpacked = zstd::Decoder::new(from).map_err(unreadable)?;
    let mut archive = tar::Archive::new(unpacked);
    let mut reader = Reader::new(temp, target)?;
    let mut entries = archive.entries().map_err(unreadable)?;
    let head = {
        let mut first = entries.next().ok_or(BackupError::Incomplete)?.map_err(unreadable)?;
        if name_of(&first)? != HEAD {
            return Err(BackupError::Strange("it does not begin with its head".to_owned()));
        }
        reader.head(&mut first)?
    };
    let mut is_whole = false;
    for entry in entries {
        let mut entry = entry.map_err(unreadable)?;
        let name = name_of(&entry)?;
        if is_whole || name == HEAD {
            return Err(BackupError::Strange(format!("{name} is in the wrong place")));
        }
        if name == MANIFEST {
            reader.compare(&mut entry)?;
            is_whole = true;
        } else {
            reader.file(&mut entry, &name)?;
            on_bytes(reader.sum.bytes, head.bytes);
        }
    }
    if !is_whole {
        return Err(BackupError::Incomplete);
    }
    // The checksum of the compressed stream comes behind the end of the archive.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(unreadable)?;
    let Reader { sum, damaged_before, head_bytes, named, .. } = reader;
    if named.is_none() && head.format > 1 {
        return Err(BackupError::Strange(format!("it holds no {NAMED}")));
    }
    let missing = named.map(Named::finish).transpose()?;
    Ok(Contents { head, files: sum.files - 1, bytes: sum.bytes - head_bytes, damaged_before, missing })
}

/// What was read so far, and where it goes.
struct Reader<'a> {
    target: Target<'a>,
    temp: &'a Path,
    named: Option<Named>,
    /// The manifest as it should be.
    lines: BufWriter<File>,
    sum: Sum,
    head_bytes: u64,
    damaged_before: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(temp: &'a Path, target: Target<'a>) -> Result<Self, BackupError> {
        let lines = tempfile::tempfile_in(temp).map_err(BackupError::io("make a file in", temp.display()))?;
        Ok(Self {
            target,
            temp,
            named: None,
            lines: BufWriter::new(lines),
            sum: Sum::default(),
            head_bytes: 0,
            damaged_before: Vec::new(),
        })
    }

    fn head(&mut self, from: &mut impl Read) -> Result<Head, BackupError> {
        let mut text = Vec::new();
        let mut from = Hashing { inner: from.take(HEAD_BYTES_MAX), hasher: blake3::Hasher::new(), read: 0 };
        from.read_to_end(&mut text).map_err(unreadable)?;
        let head: Head = serde_json::from_slice(&text).map_err(|it| BackupError::Strange(it.to_string()))?;
        if head.format > FORMAT {
            return Err(BackupError::Newer(head.format));
        }
        self.head_bytes = from.read;
        self.count(HEAD, from.read, &from.hasher)?;
        Ok(head)
    }

    fn file(&mut self, entry: &mut impl Read, name: &str) -> Result<(), BackupError> {
        let mut from = Hashing { inner: entry, hasher: blake3::Hasher::new(), read: 0 };
        match self.target {
            _ if name == NAMED => {
                let mut list = tempfile::tempfile_in(self.temp).map_err(BackupError::io("make a file for", NAMED))?;
                copy(&mut from, &mut list, Path::new(NAMED))?;
                self.named = Some(Named::new(list)?);
            }
            Target::Nowhere => {
                io::copy(&mut from, &mut io::sink()).map_err(unreadable)?;
            }
            Target::Folder(root) => write_file(&mut from, &root.join(name))?,
        }
        let hash = self.count(name, from.read, &from.hasher)?;
        if let Some(named) = &mut self.named {
            named.found(name)?;
        }
        let stored = name.strip_prefix(BLOBS).map(|it| it.replace('/', ""));
        if stored.is_some_and(|it| it != hash) && self.damaged_before.len() < NAMED_MAX {
            self.damaged_before.push(name.to_owned());
        }
        Ok(())
    }

    fn count(&mut self, name: &str, bytes: u64, hasher: &blake3::Hasher) -> Result<String, BackupError> {
        let blake3 = hasher.finalize().to_hex().to_string();
        self.sum.files += 1;
        self.sum.bytes += bytes;
        write_line(&mut self.lines, &Line { path: name.to_owned(), bytes, blake3: blake3.clone() })?;
        Ok(blake3)
    }

    /// Compares what was read with the manifest, line by line, and names the first file that differs.
    fn compare(&mut self, manifest: &mut impl Read) -> Result<(), BackupError> {
        let failed = |it| BackupError::Io { doing: "read", path: MANIFEST.to_owned(), source: it };
        write_line(&mut self.lines, &self.sum)?;
        io::Write::flush(&mut self.lines).map_err(failed)?;
        let own = self.lines.get_mut();
        own.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut own = BufReader::new(own);
        let mut manifest = BufReader::new(manifest);
        let (mut found, mut written) = (String::new(), String::new());
        loop {
            found.clear();
            written.clear();
            own.read_line(&mut found).map_err(failed)?;
            manifest.read_line(&mut written).map_err(unreadable)?;
            if found != written {
                let name = serde_json::from_str::<Line>(&found).map_or_else(|_| MANIFEST.to_owned(), |it| it.path);
                return Err(BackupError::Damaged(name));
            }
            if found.is_empty() {
                return Ok(());
            }
        }
    }
}

/// The name of an entry, which is a plain file at a place where a backup has one.
fn name_of(entry: &tar::Entry<'_, impl Read>) -> Result<String, BackupError> {
    let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let is_file = entry.header().entry_type() == tar::EntryType::Regular;
    match is_file && is_ours(&name) {
        true => Ok(name),
        false => Err(BackupError::Strange(format!("it holds `{}`", name.escape_debug()))),
    }
}

/// A stream that cannot be decoded is no backup, or one that ends too early.
fn unreadable(source: io::Error) -> BackupError {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::Incomplete,
        io::ErrorKind::Other | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            BackupError::Strange(source.to_string())
        }
        _ => BackupError::Io { doing: "read", path: "the backup".to_owned(), source },
    }
}

fn write_file(from: &mut impl Read, path: &Path) -> Result<(), BackupError> {
    let failed = || BackupError::io("write", path.display());
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed())?;
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(failed())?;
    copy(from, &mut file, path)
}

/// Tells a failure of the archive from one of the disk.
fn copy(from: &mut impl Read, file: &mut File, path: &Path) -> Result<(), BackupError> {
    let mut piece = vec![0; 256 << 10];
    loop {
        let read = from.read(&mut piece).map_err(unreadable)?;
        if read == 0 {
            return Ok(());
        }
        io::Write::write_all(file, &piece[..read]).map_err(BackupError::io("write", path.display()))?;
    }
}
