//! A first look at an archive that a stranger sent, at its headers alone.
//!
//! The `tar` crate reads the bodies of long names and PAX headers whole before anybody can ask how long they are,
//! so one entry of a few gigabytes would end the server, and again after each restart. Here they are measured first,
//! at the same places and with the same rules as the crate finds them. What would make the two disagree about where
//! the next header lies (a size in a PAX header, sparse files) is refused.

use kaogong_domain::Problem;
use std::io::{Read, Seek, SeekFrom};
use tar::{EntryType, Header, PaxExtensions};

/// Headers and the bodies behind them fill whole blocks.
const BLOCK_BYTES: u64 = 512;
/// The most bytes of one long name or PAX header.
const EXTENSION_BYTES_MAX: u64 = 64 << 10;

/// How much there is in an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Headers.
    pub entries: u64,
    /// Bytes of names, long ones and PAX headers included.
    pub name_bytes: u64,
}

/// Refuses an archive that cannot be read safely, and counts what the others hold. `what` names it in words: `the body`. The reader is at any place
/// before and after.
///
/// # Errors
/// `Invalid` with what is wrong.
pub fn check(what: &str, archive: &mut (impl Read + Seek)) -> Result<Counted, Problem> {
    let broken = |it: std::io::Error| broken(what, &it);
    let length = archive.seek(SeekFrom::End(0)).map_err(broken)?;
    archive.seek(SeekFrom::Start(0)).map_err(broken)?;
    let mut header = Header::new_old();
    let (mut place, mut counted) = (0u64, Counted::default());
    while place < length {
        archive.read_exact(header.as_mut_bytes()).map_err(broken)?;
        if header.as_bytes().iter().all(|it| *it == 0) {
            return Ok(counted);
        }
        if sum_of(&header) != header.cksum().map_err(broken)? {
            return Err(refused(what, "a header's checksum is wrong"));
        }
        let size = header.entry_size().map_err(broken)?;
        let next = size.checked_next_multiple_of(BLOCK_BYTES).and_then(|it| it.checked_add(place + BLOCK_BYTES));
        let end = (place + BLOCK_BYTES).saturating_add(size);
        let Some(next) = next.filter(|_| end <= length) else {
            return Err(refused(what, "it breaks off in the middle of a file"));
        };
        counted.entries += 1;
        let extension = if header.entry_type().is_file() { 0 } else { size.min(EXTENSION_BYTES_MAX) };
        counted.name_bytes += header.path_bytes().len() as u64 + extension;
        let is_read = look_at(what, header.entry_type(), size, archive)?;
        // Forward only and from where the reader is, so that a buffered one keeps its buffer.
        let rest = next - (place + BLOCK_BYTES) - if is_read { size } else { 0 };
        archive.seek(SeekFrom::Current(i64::try_from(rest).unwrap_or(i64::MAX))).map_err(broken)?;
        place = next;
    }
    Ok(counted)
}

/// Judges one entry; true when its body was read for that.
fn look_at(what: &str, kind: EntryType, size: u64, archive: &mut impl Read) -> Result<bool, Problem> {
    let is_pax = kind.is_pax_local_extensions() || kind.is_pax_global_extensions();
    let is_extension = is_pax || kind.is_gnu_longname() || kind.is_gnu_longlink();
    if kind.is_gnu_sparse() {
        return Err(sparse(what));
    }
    if is_extension && size > EXTENSION_BYTES_MAX {
        let why = format!("it has a header of {size} bytes, more than {EXTENSION_BYTES_MAX}");
        return Err(refused(what, &why));
    }
    if !is_pax {
        return Ok(false);
    }
    let mut body = vec![0; usize::try_from(size).unwrap_or_default()];
    archive.read_exact(&mut body).map_err(|it| broken(what, &it))?;
    // What the crate cannot read it passes over, and so do we: it is the crate that must not be misled.
    for extension in PaxExtensions::new(&body).flatten() {
        match extension.key_bytes() {
            b"size" => return Err(refused(what, "it gives the size of a file in a PAX header")),
            key if key.starts_with(b"GNU.sparse.") => return Err(sparse(what)),
            _ => {}
        }
    }
    if is_name_cut(&body) {
        return Err(Problem::invalid(format!("{what} is a tar archive in which a long name holds a line break"))
            .hint("rename that file or folder, or pack with `tar --format=gnu`"));
    }
    Ok(true)
}

/// Whether a record of a PAX header is a name that holds a line break. The crate takes records for lines, so that it
/// would find no name there and take the shortened one of the file's own header.
fn is_name_cut(mut body: &[u8]) -> bool {
    while let Some(space) = body.iter().position(|it| *it == b' ') {
        let length = std::str::from_utf8(&body[..space]).ok().and_then(|it| it.parse::<usize>().ok());
        let Some(length) = length.filter(|it| *it > space + 1 && *it <= body.len()) else { return false };
        let record = &body[space + 1..length - 1];
        if record.starts_with(b"path=") && record.contains(&b'\n') {
            return true;
        }
        body = &body[length..];
    }
    false
}

fn sum_of(header: &Header) -> u32 {
    let bytes = header.as_bytes();
    // Its own field counts as eight blanks.
    bytes[..148].iter().chain(&bytes[156..]).map(|it| u32::from(*it)).sum::<u32>() + 8 * 32
}

/// An archive that cannot be read, with what to send instead.
pub fn broken(what: &str, it: &std::io::Error) -> Problem {
    refused(what, &it.to_string())
}

fn refused(what: &str, why: &str) -> Problem {
    Problem::invalid(format!("{what} is not a complete tar archive: {why}"))
        .hint("send what `tar --create` writes, uncompressed")
}

fn sparse(what: &str) -> Problem {
    Problem::invalid(format!("{what} is a tar archive with sparse files")).hint("create it without `--sparse`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn entry(archive: &mut Vec<u8>, kind: EntryType, name: &str, size: u64, body: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_path(name).expect("a name");
        header.set_cksum();
        archive.extend(header.as_bytes());
        archive.extend(body);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }

    fn refusal(archive: &[u8]) -> String {
        check("the body", &mut Cursor::new(archive)).expect_err("it must be refused").text
    }

    #[test]
    fn ordinary_archives_pass() {
        let mut builder = tar::Builder::new(vec![]);
        for name in ["a/short", &format!("{}/long", "folder/".repeat(40))] {
            let mut header = Header::new_gnu();
            header.set_size(3);
            builder.append_data(&mut header, name, &b"abc"[..]).expect("an entry");
        }
        let archive = builder.into_inner().expect("an archive");
        let counted = check("the body", &mut Cursor::new(&archive)).expect("fine");
        // Two files, and the long name of one before it.
        assert!(counted.entries == 3 && counted.name_bytes > 320, "{counted:?}");
        let mut archive = vec![];
        entry(&mut archive, EntryType::XGlobalHeader, "pax_global_header", 19, b"19 comment=1234567\n");
        entry(&mut archive, EntryType::Regular, "a", 3, b"abc");
        check("the body", &mut Cursor::new(&archive)).expect("as `git archive` writes it");
        check("the body", &mut Cursor::new([])).expect("nothing at all");
    }

    #[test]
    fn names_that_would_fill_the_memory_are_refused() {
        for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader, EntryType::XGlobalHeader] {
            let mut archive = vec![];
            let size = EXTENSION_BYTES_MAX + 1;
            entry(&mut archive, kind, "a", size, &vec![b'x'; usize::try_from(size).expect("a size")]);
            assert!(refusal(&archive).contains("a header of 65537 bytes"), "{kind:?}");
        }
    }

    #[test]
    fn what_would_hide_a_header_is_refused() {
        let mut archive = vec![];
        entry(&mut archive, EntryType::XHeader, "a", 12, b"12 size=512\n");
        assert!(refusal(&archive).contains("PAX header"));
        let mut archive = vec![];
        entry(&mut archive, EntryType::GNUSparse, "a", 0, b"");
        assert!(refusal(&archive).contains("sparse"));
        let mut archive = vec![];
        entry(&mut archive, EntryType::XHeader, "a", 25, b"25 GNU.sparse.major=1000\n");
        assert!(refusal(&archive).contains("sparse"));
    }

    #[test]
    fn names_that_would_be_cut_are_refused() {
        let pax = |records: &[u8]| {
            let mut archive = vec![];
            entry(&mut archive, EntryType::XHeader, "a", records.len() as u64, records);
            entry(&mut archive, EntryType::Regular, "the-end-of-the-name.png", 3, b"abc");
            archive
        };
        assert!(refusal(&pax("18 path=猫\n1.png\n".as_bytes())).contains("line break"));
        assert!(refusal(&pax(b"11 mtime=1\n21 hdrcharset=BINARY\n11 path=\n\xff\n")).contains("line break"));
        // Other records may hold any bytes, and follow or go before a name.
        for records in ["21 SCHILY.xattr.a=\nb\n12 path=a/b\n", "12 path=a/b\n21 SCHILY.xattr.a=\nb\n", "path=\na", ""]
        {
            check("the body", &mut Cursor::new(pax(records.as_bytes())))
                .unwrap_or_else(|it| panic!("{records:?}: {it}"));
        }
    }

    #[test]
    fn what_breaks_off_is_refused() {
        let mut archive = vec![];
        entry(&mut archive, EntryType::Regular, "a", 2000, &[7; 2000]);
        assert!(refusal(&archive[..1500]).contains("breaks off"));
        assert!(refusal(&archive[..100]).contains("tar"));
        // Some programs leave out the padding at the very end.
        check("the body", &mut Cursor::new(&archive[..512 + 2000])).expect("whole");
        assert!(refusal(&[7; 700]).contains("tar"));
        let mut archive = vec![];
        entry(&mut archive, EntryType::Regular, "a", u64::MAX, b"");
        assert!(refusal(&archive).contains("breaks off"));
    }
}
