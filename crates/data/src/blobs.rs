//! Bytes kept under their BLAKE3 hash in a local folder, verified on every read.
//!
//! Layout: `<dir>/ab/cdef…` holds the blob whose hash begins with `abcdef`; `<dir>/tmp/` holds blobs that are
//! being written. A blob appears by a rename after its bytes and then its folder were synced, so a name that
//! exists has whole content even after a power cut. Two writers of the same bytes meet in the same name and
//! both succeed. One server at a time owns the store, so whatever lies in `tmp/` when it is opened was left by one
//! that died, and is removed.

use kaogong_domain::Problem;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    str::FromStr,
};
use tempfile::NamedTempFile;

const TMP_DIR: &str = "tmp";

/// The BLAKE3 hash of some bytes, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BlobHash([u8; 32]);

impl BlobHash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// A hash from its 32 bytes.
    pub fn from_bytes(raw: [u8; 32]) -> Self {
        Self(raw)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The text is not a hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a content hash: 64 lower-case hexadecimal digits are expected")]
pub struct BadHash;

impl FromStr for BlobHash {
    type Err = BadHash;

    fn from_str(text: &str) -> Result<Self, BadHash> {
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(BadHash);
        }
        let hash = blake3::Hash::from_hex(digits).map_err(|_| BadHash)?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl TryFrom<String> for BlobHash {
    type Error = BadHash;

    fn try_from(text: String) -> Result<Self, BadHash> {
        text.parse()
    }
}

impl From<BlobHash> for String {
    fn from(hash: BlobHash) -> Self {
        hash.to_string()
    }
}

impl fmt::Display for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for BlobHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What can go wrong with blobs.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No blob has that hash.
    #[error("no blob {0} is stored")]
    Missing(BlobHash),
    /// The bytes on disk are not the bytes that were stored.
    #[error("blob {0} is damaged: its bytes do not have its hash")]
    Damaged(BlobHash),
    /// More bytes than the caller allows.
    #[error("more than {limit} bytes")]
    TooLarge {
        /// The most that was allowed.
        limit: u64,
    },
    /// The disk is full or a quota is used up.
    #[error("no space left to store bytes")]
    DiskFull(#[source] io::Error),
    /// The operating system refused.
    #[error("cannot {doing} a blob")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl BlobError {
    fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull(source),
            _ => Self::Io { doing, source },
        }
    }
}

impl From<BlobError> for Problem {
    fn from(error: BlobError) -> Self {
        let text = error.to_string();
        match &error {
            BlobError::Missing(_) => Self::not_found(text),
            BlobError::Damaged(_) => Self::unavailable(text)
                .hint("the disk may be failing: check it, and restore the file from a backup")
                .because(error),
            BlobError::TooLarge { .. } => Self::invalid(text).hint("send less, or ask the operator to raise the limit"),
            BlobError::DiskFull(_) => {
                Self::unavailable(text).hint("free space on the data folder's disk, then try again").because(error)
            }
            BlobError::Io { .. } => {
                Self::unavailable(text).hint("check the data folder's disk and its permissions").because(error)
            }
        }
    }
}

/// The blob store. Cheap to clone; all calls block on the disk, so call them off the async threads.
#[derive(Debug, Clone)]
pub struct Blobs {
    dir: PathBuf,
}

impl Blobs {
    /// Opens the store in `dir`, making the folder when needed and removing temporary files left by the dead.
    ///
    /// The caller holds the lock of the data folder: blobs that another process is writing would be removed, too.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let dir = dir.into();
        fs::create_dir_all(dir.join(TMP_DIR)).map_err(BlobError::io("make the folder for"))?;
        let store = Self { dir };
        store.remove_abandoned();
        Ok(store)
    }

    /// Removes all temporary files. One that cannot be removed is left for next time.
    fn remove_abandoned(&self) {
        let entries = match fs::read_dir(self.dir.join(TMP_DIR)) {
            Ok(entries) => entries,
            Err(error) => return tracing::warn!(%error, "cannot look for abandoned blobs"),
        };
        for entry in entries.flatten() {
            if let Err(error) = fs::remove_file(entry.path()) {
                tracing::warn!(%error, path = %entry.path().display(), "cannot remove an abandoned blob");
            }
        }
    }

    fn path(&self, hash: &BlobHash) -> PathBuf {
        let text = hash.to_string();
        self.dir.join(&text[..2]).join(&text[2..])
    }

    /// Begins a blob of at most `limit` bytes. Dropping the writer removes what was written.
    pub fn begin(&self, limit: u64) -> Result<BlobWriter, BlobError> {
        let file = NamedTempFile::new_in(self.dir.join(TMP_DIR)).map_err(BlobError::io("begin"))?;
        Ok(BlobWriter { store: self.clone(), file, hasher: blake3::Hasher::new(), size: 0, limit })
    }

    /// Stores bytes that are at hand.
    pub fn put(&self, bytes: &[u8]) -> Result<BlobHash, BlobError> {
        let hash = BlobHash::of(bytes);
        if self.exists(&hash)? {
            return Ok(hash);
        }
        let mut writer = self.begin(bytes.len() as u64)?;
        writer.write(bytes)?;
        writer.finish().map(|(hash, _)| hash)
    }

    /// Makes a finished file a blob by renaming it, so that large bodies are written once. `hash` is what the caller
    /// computed over the very bytes it wrote. A file on another disk is copied.
    pub fn adopt(&self, file: NamedTempFile, hash: &BlobHash) -> Result<(), BlobError> {
        file.as_file().sync_all().map_err(BlobError::io("sync"))?;
        match self.place(file, hash) {
            Err((error, file)) if error.kind() == io::ErrorKind::CrossesDevices => self.copy_in(file.path(), hash),
            Err((error, _)) => Err(BlobError::io("rename")(error)),
            Ok(()) => self.sync_folder_of(hash),
        }
    }

    fn copy_in(&self, path: &Path, hash: &BlobHash) -> Result<(), BlobError> {
        let mut source = File::open(path).map_err(BlobError::io("open"))?;
        let mut copy = NamedTempFile::new_in(self.dir.join(TMP_DIR)).map_err(BlobError::io("begin"))?;
        io::copy(&mut source, &mut copy).map_err(BlobError::io("write"))?;
        copy.as_file().sync_all().map_err(BlobError::io("sync"))?;
        self.place(copy, hash).map_err(|it| BlobError::io("rename")(it.0))?;
        self.sync_folder_of(hash)
    }

    /// Gives a synced file the name of its hash; hands the file back when that cannot be.
    fn place(&self, file: NamedTempFile, hash: &BlobHash) -> Result<(), (io::Error, NamedTempFile)> {
        let path = self.path(hash);
        let made = match fs::create_dir(path.parent().unwrap_or(&self.dir)) {
            Ok(()) => File::open(&self.dir).and_then(|it| it.sync_all()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        };
        match made {
            Ok(()) => file.persist(&path).map(drop).map_err(|it| (it.error, it.file)),
            Err(error) => Err((error, file)),
        }
    }

    fn sync_folder_of(&self, hash: &BlobHash) -> Result<(), BlobError> {
        let path = self.path(hash);
        let folder = path.parent().unwrap_or(&self.dir);
        File::open(folder).and_then(|it| it.sync_all()).map_err(BlobError::io("sync the folder of"))
    }

    /// Whether a blob is there. Says nothing about damage.
    pub fn exists(&self, hash: &BlobHash) -> Result<bool, BlobError> {
        self.path(hash).try_exists().map_err(BlobError::io("look for"))
    }

    /// The whole blob, verified; refused when it is larger than `limit` bytes.
    pub fn read(&self, hash: &BlobHash, limit: u64) -> Result<Vec<u8>, BlobError> {
        let (file, size) = self.open_file(hash)?;
        if size > limit {
            return Err(BlobError::TooLarge { limit });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.take(size).read_to_end(&mut bytes).map_err(BlobError::io("read"))?;
        if BlobHash::of(&bytes) == *hash { Ok(bytes) } else { Err(BlobError::Damaged(*hash)) }
    }

    /// The blob as a reader, with its size. The reader fails at its end when the bytes do not have the hash.
    pub fn open_verified(&self, hash: &BlobHash) -> Result<(VerifyingReader, u64), BlobError> {
        let (file, size) = self.open_file(hash)?;
        Ok((VerifyingReader { file, hasher: blake3::Hasher::new(), wanted: *hash, verified: false }, size))
    }

    /// The blob as a plain file with its size, for readers that jump (ranges, Parquet). Not verified: check once
    /// with [`Blobs::verify`] where it matters.
    pub fn open_file(&self, hash: &BlobHash) -> Result<(File, u64), BlobError> {
        let file = File::open(self.path(hash)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::Missing(*hash),
            _ => BlobError::io("open")(error),
        })?;
        let size = file.metadata().map_err(BlobError::io("look at"))?.len();
        Ok((file, size))
    }

    /// Reads the blob once and compares.
    pub fn verify(&self, hash: &BlobHash) -> Result<u64, BlobError> {
        let (mut reader, size) = self.open_verified(hash)?;
        match io::copy(&mut reader, &mut io::sink()) {
            Ok(_) => Ok(size),
            Err(error) if error.get_ref().is_some_and(|it| it.is::<BlobError>()) => Err(BlobError::Damaged(*hash)),
            Err(error) => Err(BlobError::io("read")(error)),
        }
    }

    /// Where a blob lies, for handing to programs on this machine (read only).
    pub fn local_path(&self, hash: &BlobHash) -> PathBuf {
        self.path(hash)
    }

    /// Removes a blob that nothing refers to any more. Succeeds when it is not there.
    pub fn remove(&self, hash: &BlobHash) -> Result<(), BlobError> {
        match fs::remove_file(self.path(hash)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BlobError::io("remove")(error)),
            _ => Ok(()),
        }
    }
}

/// A blob being written.
#[derive(Debug)]
pub struct BlobWriter {
    store: Blobs,
    file: NamedTempFile,
    hasher: blake3::Hasher,
    size: u64,
    limit: u64,
}

impl BlobWriter {
    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            return Err(BlobError::TooLarge { limit: self.limit });
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(BlobError::io("write"))
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where the bytes lie until [`BlobWriter::finish`], for readers that need a file (Parquet, image decoders).
    pub fn temp_path(&self) -> &Path {
        self.file.path()
    }

    /// Makes the blob durable and visible. Finishing bytes that are already stored mends a damaged copy.
    pub fn finish(self) -> Result<(BlobHash, u64), BlobError> {
        let hash = BlobHash(*self.hasher.finalize().as_bytes());
        self.file.as_file().sync_all().map_err(BlobError::io("sync"))?;
        self.store.place(self.file, &hash).map_err(|it| BlobError::io("rename")(it.0))?;
        self.store.sync_folder_of(&hash)?;
        Ok((hash, self.size))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        BlobWriter::write(self, bytes).map(|()| bytes.len()).map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Reads a blob and, at its end, fails when the bytes did not have the hash.
#[derive(Debug)]
pub struct VerifyingReader {
    file: File,
    hasher: blake3::Hasher,
    wanted: BlobHash,
    verified: bool,
}

impl Read for VerifyingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        if count == 0 && !buffer.is_empty() && !self.verified {
            if *self.hasher.finalize().as_bytes() != self.wanted.0 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, BlobError::Damaged(self.wanted)));
            }
            self.verified = true;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Blobs) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = Blobs::open(dir.path().join("blobs")).expect("a store");
        (dir, store)
    }

    #[test]
    fn bytes_come_back_and_twice_is_once() {
        let (_dir, store) = store();
        let mut writer = store.begin(100).expect("a writer");
        writer.write(b"hello ").expect("first part");
        writer.write(b"world").expect("second part");
        let (hash, size) = writer.finish().expect("a blob");
        assert_eq!((hash, size), (BlobHash::of(b"hello world"), 11));
        assert_eq!(store.put(b"hello world").expect("again"), hash);
        assert_eq!(store.read(&hash, 11).expect("the bytes"), b"hello world");
        assert!(matches!(store.read(&hash, 10), Err(BlobError::TooLarge { limit: 10 })));
        assert_eq!(store.verify(&hash).expect("whole"), 11);
    }

    #[test]
    fn damage_is_noticed_by_both_readers() {
        let (_dir, store) = store();
        let hash = store.put(b"precious").expect("a blob");
        fs::write(store.path(&hash), b"precioux").expect("damage");
        assert!(matches!(store.read(&hash, 100), Err(BlobError::Damaged(_))));
        let (mut reader, _) = store.open_verified(&hash).expect("a reader");
        assert!(io::copy(&mut reader, &mut io::sink()).is_err());
        assert!(matches!(store.verify(&hash), Err(BlobError::Damaged(_))));
    }

    #[test]
    fn a_writer_that_is_dropped_or_too_large_leaves_nothing() {
        let (_dir, store) = store();
        let mut writer = store.begin(4).expect("a writer");
        assert!(matches!(writer.write(b"12345"), Err(BlobError::TooLarge { limit: 4 })));
        drop(writer);
        assert_eq!(fs::read_dir(store.dir.join(TMP_DIR)).expect("the folder").count(), 0);
        assert!(matches!(store.read(&BlobHash::of(b"12345"), 9), Err(BlobError::Missing(_))));
    }

    #[test]
    fn what_a_dead_writer_left_is_removed_at_the_start() {
        let (_dir, store) = store();
        let kept = store.put(b"kept").expect("a blob");
        fs::write(store.dir.join(TMP_DIR).join("left"), b"x").expect("a left file");
        let again = Blobs::open(&store.dir).expect("the store again");
        assert!(!store.dir.join("tmp/left").exists());
        assert_eq!(again.read(&kept, 4).expect("the bytes"), b"kept");
    }

    #[test]
    fn a_finished_file_becomes_a_blob_without_a_second_copy() {
        let (dir, store) = store();
        for _ in 0..2 {
            let mut file = NamedTempFile::new_in(dir.path()).expect("a file");
            file.write_all(b"spooled").expect("bytes");
            let (path, hash) = (file.path().to_owned(), BlobHash::of(b"spooled"));
            store.adopt(file, &hash).expect("a blob, also when it is there already");
            assert!(!path.exists());
            assert_eq!(store.verify(&hash).expect("whole"), 7);
        }
    }

    #[test]
    fn only_a_hash_is_a_hash() {
        let good = BlobHash::of(b"x").to_string();
        assert_eq!(good.parse::<BlobHash>(), Ok(BlobHash::of(b"x")));
        for bad in ["", "ab", "../../../etc/passwd", &good[1..], &good.to_uppercase(), &format!("{good}0")] {
            assert!(bad.parse::<BlobHash>().is_err(), "{bad} was accepted");
        }
    }
}
