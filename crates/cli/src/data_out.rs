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
    let part = tempfile::Builder::new()
        .prefix(".kaogong-export-")
        .tempdir_in(&parent)
        .map_err(|it| cannot("write beside", it))?;
    let into: PathBuf = part.path().to_owned();
    let unpacked = read_blocking(answer, on_bytes, move |reader| tar_in::unpack(reader, &into, limits)).await?;
    open_to_others(part.path()).map_err(|it| cannot("write", it))?;
    fs::rename(part.path(), &target).map_err(|it| cannot("rename the finished export to", it))?;
    // The folder has another name now; there is nothing left to remove.
    let _ = part.keep();
    Ok(unpacked)
}

/// Temporary folders are made for their owner alone; an exported folder is made like any other.
fn open_to_others(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
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
    /// A file that appears whole, by a rename.
    File { part: tempfile::NamedTempFile, target: PathBuf },
    /// A device or pipe that is there already and stays what it is: `/dev/null` is written into, not replaced.
    Stream(fs::File),
}

impl Place {
    fn open(target: &Path) -> std::io::Result<Self> {
        match fs::metadata(target) {
            Ok(facts) if !facts.is_file() => return fs::File::options().write(true).open(target).map(Self::Stream),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // A link to a file stays a link: what it points at is replaced.
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        let parent = target.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent)?;
        let part = tempfile::Builder::new().prefix(".kaogong-").tempfile_in(parent)?;
        Ok(Self::File { part, target })
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
            Self::File { part, target } => {
                use std::os::unix::fs::PermissionsExt;
                part.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
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
}
