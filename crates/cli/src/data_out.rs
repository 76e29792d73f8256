//! Writes downloads: a tar stream into a new folder, or bytes into a new file, whole or not at all.

use crate::{exit::usage, output::Output};
use bytes::{Buf, Bytes};
use kaogong_client::{
    Answer,
    tar_in::{self, Limits, TarFault, Unpacked},
};
use kaogong_domain::Problem;
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tokio::sync::mpsc;

/// Pieces that may wait between the connection and the disk.
const PIECES_MAX: usize = 16;

/// The reading end of a download for code that blocks.
pub struct PieceReader {
    pieces: mpsc::Receiver<Bytes>,
    present: Bytes,
}

impl Read for PieceReader {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while self.present.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.present = piece,
                None => return Ok(0),
            }
        }
        let length = into.len().min(self.present.len());
        self.present.copy_to_slice(&mut into[..length]);
        Ok(length)
    }
}

/// Runs `work` on a blocking thread with the download as a reader. The download's own failure is told
/// rather than what it makes of `work`.
pub async fn read_blocking<T, E, F>(mut answer: Answer, mut on_bytes: impl FnMut(u64), work: F) -> Result<T, Problem>
where
    T: Send + 'static,
    E: Into<Fault> + Send + 'static,
    F: FnOnce(PieceReader) -> Result<T, E> + Send + 'static,
{
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    let worker = tokio::task::spawn_blocking(move || work(PieceReader { pieces, present: Bytes::new() }));
    let mut done = 0;
    let broken = loop {
        match answer.piece().await {
            Ok(Some(piece)) => {
                done += piece.len() as u64;
                on_bytes(done);
                if sender.send(piece).await.is_err() {
                    break None;
                }
            }
            Ok(None) => break None,
            Err(problem) => break Some(problem),
        }
    };
    drop(sender);
    let result = worker.await.map_err(|it| Problem::bug("the writer of the download failed", it))?;
    match (broken, result) {
        (Some(problem), _) => Err(problem),
        (None, Ok(value)) => Ok(value),
        (None, Err(error)) => Err(error.into().0),
    }
}

/// A failure of the reading side, as a problem.
pub struct Fault(Problem);

impl From<TarFault> for Fault {
    fn from(it: TarFault) -> Self {
        Self(match &it {
            TarFault::Io { what, source } => Problem::unavailable(format!("{what}: {source}")),
            TarFault::Bad(_) => Problem::unavailable(it.to_string()),
        })
    }
}

impl From<Problem> for Fault {
    fn from(it: Problem) -> Self {
        Self(it)
    }
}

/// Checks that `target` can become an exported folder: absent, or an empty folder.
pub fn check_new_folder(target: &Path) -> Result<(), Problem> {
    let mut entries = match fs::read_dir(target) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(usage(format!("{} cannot be the target: {error}", target.display()))),
    };
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(usage(format!("the folder {} is not empty", target.display())).hint("name a new folder")),
    }
}

/// Unpacks a tar download into `target`. It is unpacked beside it under a hidden name and renamed at the
/// end, so that a folder with the target's name is always complete.
pub async fn unpack(
    answer: Answer,
    target: &Path,
    limits: Limits,
    on_bytes: impl FnMut(u64),
) -> Result<Unpacked, Problem> {
    let target = std::path::absolute(target).map_err(|it| usage(format!("{}: {it}", target.display())))?;
    let parent = target.parent().unwrap_or(Path::new("/")).to_owned();
    let cannot =
        |what: &str, it: std::io::Error| Problem::unavailable(format!("cannot {what} {}: {it}", target.display()));
    fs::create_dir_all(&parent).map_err(|it| cannot("make the folder above", it))?;
    let place = NewFolder::beside(&parent).map_err(|it| cannot("write beside", it))?;
    let into = place.content.clone();
    let unpacked = read_blocking(answer, on_bytes, move |reader| tar_in::unpack(reader, &into, limits)).await?;
    place.finish(&target).map_err(|it| cannot("rename the finished export to", it))?;
    Ok(unpacked)
}

/// A folder that appears whole, by a rename.
struct NewFolder {
    /// The owner's alone, so that nobody else gets at what is not finished.
    _part: tempfile::TempDir,
    /// Below it, made like any other folder.
    content: PathBuf,
}

impl NewFolder {
    fn beside(parent: &Path) -> std::io::Result<Self> {
        let owner = fs::Permissions::from_mode(0o700);
        let part = tempfile::Builder::new().prefix(".kaogong-export-").permissions(owner).tempdir_in(parent)?;
        let content = part.path().join("content");
        fs::create_dir(&content)?;
        Ok(Self { _part: part, content })
    }

    fn finish(self, target: &Path) -> std::io::Result<()> {
        // An empty folder that is there keeps its mode.
        if let Ok(facts) = fs::metadata(target) {
            fs::set_permissions(&self.content, facts.permissions())?;
        }
        fs::rename(&self.content, target)
    }
}

/// Writes a download to a file, or to standard output for `-`; gives its bytes.
pub async fn save(
    mut answer: Answer,
    target: &Path,
    out: &Output,
    mut on_bytes: impl FnMut(u64),
) -> Result<u64, Problem> {
    let mut bytes = 0;
    if target == Path::new("-") {
        while let Some(piece) = answer.piece().await? {
            out.bytes(&piece)?;
            bytes += piece.len() as u64;
        }
        return Ok(bytes);
    }
    if target.is_dir() {
        return Err(usage(format!("{} is a folder", target.display())).hint("name a file, or - for standard output"));
    }
    let cannot = |it: std::io::Error| Problem::unavailable(format!("cannot write {}: {it}", target.display()));
    let mut place = Place::open(target).map_err(cannot)?;
    while let Some(piece) = answer.piece().await? {
        place.write(&piece).map_err(cannot)?;
        bytes += piece.len() as u64;
        on_bytes(bytes);
    }
    place.finish().map_err(cannot)?;
    Ok(bytes)
}

/// Where a download goes.
enum Place {
    /// A file that appears whole, by a rename. One that is there keeps its mode.
    File { part: tempfile::NamedTempFile, target: PathBuf, kept_mode: Option<u32> },
    /// A device or pipe that is there already and stays what it is: `/dev/null` is written into, not replaced.
    Stream(fs::File),
}

impl Place {
    fn open(target: &Path) -> std::io::Result<Self> {
        let kept_mode = match fs::metadata(target) {
            Ok(facts) if !facts.is_file() => return fs::File::options().write(true).open(target).map(Self::Stream),
            Ok(facts) => Some(facts.permissions().mode() & 0o777),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // A link to a file stays a link: what it points at is replaced.
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        let parent = target.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        // A new file is made like any other: the system takes away what the caller's umask says.
        let mode = fs::Permissions::from_mode(if kept_mode.is_some() { 0o600 } else { 0o666 });
        let part = tempfile::Builder::new().prefix(".kaogong-").permissions(mode).tempfile_in(parent)?;
        Ok(Self::File { part, target, kept_mode })
    }

    fn write(&mut self, piece: &[u8]) -> std::io::Result<()> {
        match self {
            Self::File { part, .. } => part.write_all(piece),
            Self::Stream(file) => file.write_all(piece),
        }
    }

    fn finish(self) -> std::io::Result<()> {
        match self {
            Self::Stream(mut file) => file.flush(),
            Self::File { part, target, kept_mode } => {
                if let Some(mode) = kept_mode {
                    part.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
                }
                part.persist(target).map(drop).map_err(|it| it.error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(target: &Path, text: &[u8]) {
        let mut place = Place::open(target).expect("a place");
        place.write(text).expect("room");
        place.finish().expect("written");
    }

    #[test]
    fn a_device_is_written_into_and_a_file_is_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let dir = tempfile::tempdir().expect("a folder");
        // Through a link, so that a mistake here replaces the link and not the device of this machine.
        let null = dir.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &null).expect("a link");
        put(&null, b"gone");
        assert!(fs::symlink_metadata(&null).expect("the link").is_symlink());
        assert!(fs::metadata(&null).expect("the device").file_type().is_char_device());
        let (file, link) = (dir.path().join("new/t.csv"), dir.path().join("link.csv"));
        put(&file, b"first, and longer");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        put(&link, b"second");
        assert_eq!(fs::read(&file).expect("the file"), b"second");
        assert!(fs::symlink_metadata(&link).expect("the link").is_symlink());
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn what_is_new_is_made_like_any_other_and_what_is_there_keeps_its_mode() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("any"), "").expect("a file");
        fs::create_dir(at("any_folder")).expect("a folder");
        let unpack_to =
            |target: &Path| NewFolder::beside(dir.path()).expect("a place").finish(target).expect("renamed");
        put(&at("new"), b"x");
        unpack_to(&at("new_folder"));
        assert_eq!((mode(&at("new")), mode(&at("new_folder"))), (mode(&at("any")), mode(&at("any_folder"))));
        for kept in [0o600, 0o640] {
            fs::set_permissions(at("new"), fs::Permissions::from_mode(kept)).expect("a mode");
            fs::set_permissions(at("new_folder"), fs::Permissions::from_mode(kept | 0o100)).expect("a mode");
            put(&at("new"), b"y");
            unpack_to(&at("new_folder"));
            assert_eq!((mode(&at("new")), mode(&at("new_folder"))), (kept, kept | 0o100));
        }
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 4, "nothing else is left");
    }
}
