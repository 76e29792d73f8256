//! Parquet files that lie in a file: one that is it, or the parts of a folder in a tar stream, read where they lie.

use bytes::Bytes;
use kaogong_domain::Problem;
use parquet::{
    errors::{ParquetError, Result},
    file::reader::{ChunkReader, Length},
};
use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

/// The most parts of one import.
const PARTS_MAX: usize = 100_000;
/// The longest name of one of them, and of all together, in bytes.
const NAME_BYTES_MAX: usize = 4096;
const NAMES_BYTES_MAX: usize = 32 << 20;

/// Some bytes of a file. Readers of it do not disturb each other.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    file: Arc<File>,
    begin: u64,
    size: u64,
}

/// A Parquet file and, for one of many, its name.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) name: Option<String>,
    pub(super) segment: Segment,
}

impl Part {
    /// Says in which part something is wrong.
    pub(super) fn of(&self, problem: Problem) -> Problem {
        match &self.name {
            None => problem,
            Some(name) => Problem { text: format!("{name}: {}", problem.text), ..problem },
        }
    }
}

/// The Parquet files in a file, in the order of the stream. Names that begin with `_` or a full stop are notes of the
/// program that wrote the folder, unless they name a column.
pub(super) fn of(path: &Path) -> std::result::Result<Vec<Part>, Problem> {
    let failed = crate::lance_errors::io("read the Parquet file");
    let file = Arc::new(File::open(path).map_err(&failed)?);
    let size = file.metadata().map_err(&failed)?.len();
    let mut head = [0; 262];
    let is_tar = file.read_exact_at(&mut head, 0).is_ok() && !head.starts_with(b"PAR1") && head.ends_with(b"ustar");
    if !is_tar {
        return Ok(vec![Part { name: None, segment: Segment { file, begin: 0, size } }]);
    }
    let cut = |it: io::Error| {
        Problem::invalid(format!("the archive of Parquet files cannot be read: {it}")).hint("send it again")
    };
    let mut archive = tar::Archive::new(File::open(path).map_err(&failed)?);
    let (mut parts, mut names_bytes) = (Vec::new(), 0);
    for entry in archive.entries_with_seek().map_err(cut)? {
        let entry = entry.map_err(cut)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let is_note = |it: &str| it.starts_with(['_', '.']) && !it.contains('=');
        if !entry.header().entry_type().is_file() || name.split('/').any(is_note) {
            continue;
        }
        names_bytes += name.len();
        if name.len() > NAME_BYTES_MAX || names_bytes > NAMES_BYTES_MAX {
            return Err(Problem::invalid("the names of the folder's files are too long").hint("use shorter names"));
        }
        let (begin, length) = (entry.raw_file_position(), entry.size());
        if begin.checked_add(length).is_none_or(|end| end > size) {
            return Err(Problem::invalid("the archive of Parquet files is cut off").hint("send it again"));
        }
        if parts.len() == PARTS_MAX {
            return Err(Problem::invalid(format!("the folder holds more than {PARTS_MAX} Parquet files"))
                .hint("import some of them, and add the others with `--mode append`"));
        }
        parts.push(Part { name: Some(name), segment: Segment { file: file.clone(), begin, size: length } });
    }
    if parts.is_empty() {
        return Err(Problem::invalid("the folder holds no Parquet file").hint("name a folder of .parquet files"));
    }
    Ok(parts)
}

impl Segment {
    /// The whole of a file, or `length` bytes of it from `begin` on.
    pub(super) fn open(path: &Path, part: Option<(u64, u64)>) -> io::Result<Self> {
        let file = File::open(path)?;
        let (begin, size) = part.map_or_else(|| Ok::<_, io::Error>((0, file.metadata()?.len())), Ok)?;
        Ok(Self { file: Arc::new(file), begin, size })
    }

    /// Where in its file it lies.
    pub(super) fn begin(&self) -> u64 {
        self.begin
    }
}

impl Length for Segment {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Segment {
    type T = BufReader<SegmentReader>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(BufReader::new(SegmentReader { segment: self.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.size) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are beyond the end")));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, self.begin + start)?;
        Ok(bytes.into())
    }
}

/// Reads a segment from a place on.
#[derive(Debug)]
pub(super) struct SegmentReader {
    segment: Segment,
    at: u64,
}

impl Read for SegmentReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.segment.size.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = out.len().min(left);
        let read = self.segment.file.read_at(&mut out[..wanted], self.segment.begin + self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
