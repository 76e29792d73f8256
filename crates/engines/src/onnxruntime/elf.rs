//! What can be seen of a shared library from outside. The system's loader trusts such a file: one that is cut, as a
//! broken download leaves it, ends the process with a bus error when its missing pages are touched.

use crate::checks::Said;
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

const HEADER_BYTES: usize = 64;
const SEGMENT_BYTES: usize = 56;
/// The most segments of a library; real ones have about ten.
const SEGMENTS_MAX: u16 = 256;
const SHARED_OBJECT: u16 = 3;
const LOADED: u32 = 1;

/// The machine of this program, as ELF numbers them.
fn own_machine() -> Option<u16> {
    match std::env::consts::ARCH {
        "x86_64" => Some(62),
        "aarch64" => Some(183),
        "riscv64" => Some(243),
        _ => None,
    }
}

/// Refuses a file that is no whole library for this machine. Does nothing on systems with other formats.
pub(super) fn check(path: &Path) -> Result<(), Said> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let unreadable = |error| Said::new(format!("it cannot be read: {error}"));
    let mut file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let mut head = vec![];
    file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut head).map_err(unreadable)?;
    if !head.starts_with(b"\x7fELF") {
        return Err(Said::new("it is not a shared library of this system"));
    }
    if head.len() < HEADER_BYTES {
        return Err(cut());
    }
    let is_own = own_machine().is_none_or(|it| it == short(&head, 18));
    if head[4] != 2 || head[5] != 1 || !is_own {
        return Err(Said::new("it is a library for another kind of processor"));
    }
    if short(&head, 16) != SHARED_OBJECT {
        return Err(Said::new("it is a program or an object file, not a shared library"));
    }
    let (from, size, count) = (long(&head, 32), usize::from(short(&head, 54)), short(&head, 56));
    if size != SEGMENT_BYTES || count == 0 || count > SEGMENTS_MAX {
        return Err(Said::new("its list of segments makes no sense"));
    }
    let mut table = vec![0; size * usize::from(count)];
    file.seek(SeekFrom::Start(from)).and_then(|_| file.read_exact(&mut table)).map_err(|_| cut())?;
    for segment in table.chunks_exact(SEGMENT_BYTES).filter(|it| word(it, 0) == LOADED) {
        let end = long(segment, 8).checked_add(long(segment, 32));
        end.filter(|it| *it <= length).ok_or_else(cut)?;
    }
    Ok(())
}

fn cut() -> Said {
    Said::new("it is only a part of a library; was its download or copy broken off?")
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    // All callers read inside of a header whose length has been checked.
    bytes.get(at..).and_then(|it| it.first_chunk()).copied().unwrap_or([0; N])
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(part(bytes, at))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(part(bytes, at))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(part(bytes, at))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A library for this machine with one segment, the whole file of `length` bytes.
    pub(crate) fn library(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length.max(HEADER_BYTES + SEGMENT_BYTES)];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[16] = SHARED_OBJECT as u8;
        bytes[18..20].copy_from_slice(&own_machine().unwrap_or(0).to_le_bytes());
        bytes[32] = HEADER_BYTES as u8;
        bytes[54] = SEGMENT_BYTES as u8;
        bytes[56] = 1;
        bytes[HEADER_BYTES] = LOADED as u8;
        let size = bytes.len() as u64;
        bytes[HEADER_BYTES + 32..HEADER_BYTES + 40].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    fn said(content: &[u8]) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("library");
        std::fs::write(&path, content).expect("written");
        check(&path).err().map(|it| it.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_whole_library_passes_and_every_part_of_it_is_refused() {
        let whole = library(300);
        assert_eq!(said(&whole), "");
        for length in [4, 63, 64, 119, 120, 299] {
            assert!(said(&whole[..length]).contains("only a part"), "{length}");
        }
        assert!(said(b"").contains("not a shared library"));
    }

    #[test]
    fn other_machines_and_other_files_are_refused() {
        let with = |at: usize, value: u8| {
            let mut bytes = library(300);
            bytes[at] = value;
            said(&bytes)
        };
        assert!(with(4, 1).contains("another kind of processor"));
        assert!(with(5, 2).contains("another kind of processor"));
        assert!(with(18, 8).contains("another kind of processor"));
        assert!(with(16, 2).contains("not a shared library"));
        assert!(with(56, 0).contains("makes no sense"));
        assert!(with(HEADER_BYTES + 15, 0xff).contains("only a part"));
    }

    #[test]
    fn this_very_program_is_for_this_machine() {
        let own = std::env::current_exe().expect("a path");
        // A test is a program; most are position independent and so look like a library.
        let said = check(&own).err().map(|it| it.to_string()).unwrap_or_default();
        assert!(said.is_empty() || said.contains("it is a program"), "{said}");
    }
}
