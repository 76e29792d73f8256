//! Unpacks a tar stream of files into a folder, taking nothing on trust.
//!
//! Invariant: every entry is a plain file or folder below the target; links, devices, absolute names, `..`,
//! repeated names and anything over the limits end the unpacking.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path, PathBuf},
};

const BLOCK: usize = 512;
/// The largest pax header that is read.
const PAX_BYTES_MAX: u64 = 1 << 20;
/// The longest name.
const NAME_BYTES_MAX: usize = 4096;

/// How much an archive may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
}

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum TarFault {
    /// The stream broke, or the folder cannot be written.
    #[error("{what}")]
    Io {
        /// On which thing.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The archive is damaged, hostile or too large.
    #[error("the archive is not acceptable: {0}")]
    Bad(String),
}

fn bad(why: impl Into<String>) -> TarFault {
    TarFault::Bad(why.into())
}

fn io_fault(what: impl Into<String>) -> impl FnOnce(io::Error) -> TarFault {
    let what = what.into();
    move |source| TarFault::Io { what, source }
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

/// One file's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its name below the target; never absolute, never with `..`.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
}

/// Reads the entries of an archive one after the other.
pub struct Archive<R> {
    reader: R,
    limits: Limits,
    seen: Unpacked,
}

impl<R: Read> Archive<R> {
    /// An archive read from `reader`.
    pub fn new(reader: R, limits: Limits) -> Self {
        Self { reader, limits, seen: Unpacked::default() }
    }

    /// The next file and a reader of its bytes, which is always read to its end by `take`.
    ///
    /// # Errors
    /// What [`TarFault`] lists; nothing can be read after an error.
    pub fn next_file<T>(
        &mut self,
        take: impl FnOnce(&Head, &mut dyn Read) -> Result<T, TarFault>,
    ) -> Result<Option<T>, TarFault> {
        let Some(head) = self.head()? else { return Ok(None) };
        self.seen.files += 1;
        self.seen.bytes = self.seen.bytes.saturating_add(head.size);
        if self.seen.files > self.limits.entries || self.seen.bytes > self.limits.bytes {
            return Err(bad(format!("more than {} files or {} bytes", self.limits.entries, self.limits.bytes)));
        }
        let mut content = (&mut self.reader).take(head.size);
        let taken = take(&head, &mut content)?;
        let left = content.limit();
        if left > 0 {
            return Err(bad(format!("`{}` ends {left} bytes early", head.path.display())));
        }
        self.skip_padding(head.size)?;
        Ok(Some(taken))
    }

    /// What was read until now.
    pub fn seen(&self) -> Unpacked {
        self.seen
    }

    fn head(&mut self) -> Result<Option<Head>, TarFault> {
        let mut pax = Pax::default();
        loop {
            let Some(block) = self.block()? else { return Ok(None) };
            let size = field_number(&block[124..136])?;
            match block[156] {
                b'0' | 0 => {
                    let size = pax.size.unwrap_or(size);
                    let name = pax.path.unwrap_or_else(|| ustar_name(&block));
                    return Ok(Some(Head { path: safe_path(&name)?, size }));
                }
                b'5' => pax = Pax::default(),
                b'x' => pax = self.pax(size)?,
                b'g' => drop(self.pax(size)?),
                other => return Err(bad(format!("an entry of kind `{}`", other.escape_ascii()))),
            }
        }
    }

    /// The next header; `None` at the end mark.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarFault> {
        let mut block = [0u8; BLOCK];
        self.reader.read_exact(&mut block).map_err(io_fault("the archive ends before its end mark"))?;
        if block.iter().all(|it| *it == 0) {
            return Ok(None);
        }
        let blank = block.iter().enumerate().map(|(at, it)| if (148..156).contains(&at) { 32 } else { u64::from(*it) });
        if blank.sum::<u64>() != field_number(&block[148..156])? {
            return Err(bad("a header with a wrong checksum"));
        }
        Ok(Some(block))
    }

    fn pax(&mut self, size: u64) -> Result<Pax, TarFault> {
        if size > PAX_BYTES_MAX {
            return Err(bad("an extended header of more than 1 MiB"));
        }
        let mut text = vec![0u8; size as usize];
        self.reader.read_exact(&mut text).map_err(io_fault("the archive ends inside a header"))?;
        self.skip_padding(size)?;
        Pax::parse(&text)
    }

    fn skip_padding(&mut self, size: u64) -> Result<(), TarFault> {
        let over = (size % BLOCK as u64) as usize;
        if over > 0 {
            let mut rest = [0u8; BLOCK];
            let rest = &mut rest[over..];
            self.reader.read_exact(rest).map_err(io_fault("the archive ends inside a file"))?;
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Pax {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Pax {
    fn parse(mut text: &[u8]) -> Result<Self, TarFault> {
        let mut pax = Self::default();
        let broken = || bad("a damaged extended header");
        while !text.is_empty() {
            let space = text.iter().take(21).position(|it| *it == b' ').ok_or_else(broken)?;
            let length = std::str::from_utf8(&text[..space]).ok().and_then(|it| it.parse::<usize>().ok());
            let length = length.filter(|it| *it > space + 2 && *it <= text.len()).ok_or_else(broken)?;
            let line = text[space + 1..length].strip_suffix(b"\n").ok_or_else(broken)?;
            let equals = line.iter().position(|it| *it == b'=').ok_or_else(broken)?;
            let (key, value) = (&line[..equals], &line[equals + 1..]);
            match key {
                b"path" => pax.path = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|it| it.parse().ok());
                    pax.size = Some(size.ok_or_else(broken)?);
                }
                _ => {}
            }
            text = &text[length..];
        }
        Ok(pax)
    }
}

fn field_text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|it| *it == 0).unwrap_or(field.len())]
}

fn field_number(field: &[u8]) -> Result<u64, TarFault> {
    if field[0] & 0x80 != 0 {
        // GNU's base-256 form for sizes of 8 GiB and above.
        let tail: [u8; 8] = field[field.len().saturating_sub(8)..].try_into().map_err(|_| bad("a damaged number"))?;
        return Ok(u64::from_be_bytes(tail));
    }
    let text = std::str::from_utf8(field_text(field)).unwrap_or("?").trim();
    if text.is_empty() {
        return Ok(0);
    }
    u64::from_str_radix(text, 8).map_err(|_| bad("a damaged number"))
}

fn ustar_name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = field_text(&block[..100]);
    let prefix = if &block[257..263] == b"ustar\0" { field_text(&block[345..500]) } else { &[] };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// A name as a path below the target.
fn safe_path(name: &[u8]) -> Result<PathBuf, TarFault> {
    let shown = || String::from_utf8_lossy(&name[..name.len().min(200)]).into_owned();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(&0) {
        return Err(bad(format!("the name `{}`", shown().escape_default())));
    }
    let path = PathBuf::from(std::ffi::OsString::from_vec(name.to_vec()));
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) if part.as_bytes().len() <= 255 => clean.push(part),
            Component::CurDir => {}
            _ => return Err(bad(format!("the name `{}` leads out of the folder", shown().escape_default()))),
        }
    }
    if clean.as_os_str().is_empty() {
        return Err(bad(format!("the name `{}`", shown().escape_default())));
    }
    Ok(clean)
}

/// Unpacks everything into `target`, which must exist and should be empty and private: files are created
/// anew, and a name that is there already ends the unpacking.
///
/// # Errors
/// What [`TarFault`] lists.
pub fn unpack(reader: impl Read, target: &Path, limits: Limits) -> Result<Unpacked, TarFault> {
    let mut archive = Archive::new(reader, limits);
    let mut last_parent = PathBuf::new();
    let mut buffer = vec![0u8; 256 << 10];
    while archive
        .next_file(|head, content| {
            let path = target.join(&head.path);
            if let Some(parent) = path.parent().filter(|it| *it != last_parent) {
                fs::create_dir_all(parent).map_err(io_fault(format!("cannot make the folder {}", parent.display())))?;
                parent.clone_into(&mut last_parent);
            }
            write_file(&path, content, &mut buffer)
        })?
        .is_some()
    {}
    Ok(archive.seen())
}

fn write_file(path: &Path, content: &mut dyn Read, buffer: &mut [u8]) -> Result<(), TarFault> {
    let fault = |source| TarFault::Io { what: format!("cannot write {}", path.display()), source };
    let mut file = File::create_new(path).map_err(fault)?;
    loop {
        let got = content.read(buffer).map_err(io_fault("the download broke"))?;
        if got == 0 {
            return Ok(());
        }
        file.write_all(&buffer[..got]).map_err(fault)?;
    }
}
