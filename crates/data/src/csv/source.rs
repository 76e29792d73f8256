//! A file as UTF-8 text from its header line on: compression, encoding, and what stands before the header.

use super::{CsvOptions, Records, header, records::WHITESPACE, spaced, titles};
use crate::tables::{Note, NoteKind};
use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use flate2::bufread::MultiGzDecoder;
use kaogong_domain::Problem;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

const BUFFER_BYTES: usize = 1 << 20;
/// The longest header line that is looked at, in bytes.
const HEADER_BYTES_MAX: usize = 4 << 20;
/// How many times its size a compressed file may unpack to,
const UNPACKED_RATIO_MAX: u64 = 1000;
/// and how much any may.
const UNPACKED_BYTES_FREE: u64 = 1 << 30;

/// Text of a file, in pieces.
pub type Text = Box<dyn BufRead + Send>;

/// A text file that was looked at.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    encoding: &'static Encoding,
    is_packed: bool,
    /// Lines before the header that are left out.
    skipped: u64,
    delimiter: u8,
    comment: Option<u8>,
    /// What is worth telling about the file.
    pub notes: Vec<Note>,
}

impl Source {
    /// Looks at the begin of a CSV file.
    ///
    /// # Errors
    /// `Invalid` for a file without text, an encoding that nobody knows, or options that contradict each other.
    pub fn look(path: &Path, options: &CsvOptions) -> Result<Self, Problem> {
        options.check()?;
        let mut source = Self::text_file(path, options)?;
        let skipped = source.skipped;
        source.note(NoteKind::SkippedLines, (skipped > 0).then(|| skipped.to_string()));
        let line = source.first_line()?;
        if let Some(told) = separator_line(&line) {
            source.note(NoteKind::SeparatorLine, Some(format!("sep={}", char::from(told))));
            source.skipped += 1;
            source.delimiter = told;
        } else {
            source.delimiter = most_frequent(&line);
            let is_open = options.delimiter.is_none() && !line.contains(&source.delimiter);
            if is_open && spaced::look(Self { delimiter: WHITESPACE, ..source.clone() }.records()?)? {
                source.delimiter = WHITESPACE;
            }
        }
        if let Some(wanted) = options.delimiter {
            source.delimiter = wanted as u8;
        }
        let may_have_titles = source.delimiter != WHITESPACE && options.header != Some(false);
        if source.skipped == 0
            && may_have_titles
            && let Some(found) = titles::look(|| source.text(), source.delimiter, options)?
        {
            source.note(NoteKind::TitleLines, Some(found.shown));
            (source.skipped, source.delimiter) = (found.lines, found.delimiter);
        }
        let shown = match source.delimiter {
            b',' => None,
            b'\t' => Some("tab".to_owned()),
            WHITESPACE => Some("whitespace".to_owned()),
            it => Some(char::from(it).to_string()),
        };
        source.note(NoteKind::Delimiter, shown);
        Ok(source)
    }

    /// Looks at the begin of a text file of any format.
    ///
    /// # Errors
    /// `Invalid` for an empty file, or an encoding that nobody knows.
    pub fn text_file(path: &Path, options: &CsvOptions) -> Result<Self, Problem> {
        let (path, comment) = (path.to_owned(), options.comment.map(|it| it as u8));
        let (encoding, skipped) = (UTF_8, u64::from(options.skip_lines));
        let mut source =
            Self { path, encoding, is_packed: false, skipped, delimiter: b',', comment, notes: Vec::new() };
        let begin = source.packing()?;
        if begin.is_empty() {
            return Err(Problem::invalid("the file is empty").hint("its first line must name the columns"));
        }
        source.encoding = encoding_of(&begin, options.encoding.as_deref())?;
        source.note(NoteKind::Compressed, source.is_packed.then(|| "gzip".to_owned()));
        let name = source.encoding.name().to_owned();
        source.note(NoteKind::Encoding, (source.encoding != UTF_8).then_some(name));
        Ok(source)
    }

    /// The separator.
    pub fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// Whether the file is plain UTF-8 text, so that its bytes are a CSV file for any program.
    pub fn is_plain(&self) -> bool {
        !self.is_packed && self.encoding == UTF_8
    }

    /// The records, from the header on.
    pub fn records(&self) -> Result<Records<Text>, Problem> {
        let mut text = self.text()?;
        for _ in 0..self.skipped {
            skip_line(&mut text).map_err(|it| unreadable(&it))?;
        }
        Ok(Records::new(text, self.delimiter, self.comment, self.skipped + 1))
    }

    /// Refuses a first record that looks like a row of values.
    ///
    /// # Errors
    /// `Invalid`, with the options that decide.
    pub fn check_header(&self) -> Result<(), Problem> {
        header::check(self.records()?)
    }

    /// The whole text of the file.
    pub fn text(&self) -> Result<Text, Problem> {
        let mut bytes = self.bytes()?;
        if self.encoding == UTF_8 {
            let begin = bytes.fill_buf().map_err(|it| unreadable(&it))?;
            // Three bytes come together unless the file has no more.
            if begin.starts_with(b"\xef\xbb\xbf") {
                bytes.consume(3);
            }
            return Ok(bytes);
        }
        let decoder = self.encoding.new_decoder_with_bom_removal();
        let decoded = Decoded { input: bytes, decoder, name: self.encoding.name(), over: false };
        Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, decoded)))
    }

    fn note(&mut self, kind: NoteKind, detail: Option<String>) {
        self.notes.extend(detail.map(|detail| Note { kind, detail }));
    }

    /// Finds out whether the file is compressed; its first bytes.
    fn packing(&mut self) -> Result<Vec<u8>, Problem> {
        let mut begin = Vec::new();
        self.bytes()?.take(4).read_to_end(&mut begin).map_err(|it| unreadable(&it))?;
        if begin.starts_with(&[0x1f, 0x8b]) {
            self.is_packed = true;
            begin.clear();
            self.bytes()?.take(4).read_to_end(&mut begin).map_err(|it| unreadable(&it))?;
        }
        Ok(begin)
    }

    fn bytes(&self) -> Result<Text, Problem> {
        let file = File::open(&self.path).map_err(|it| unreadable(&it))?;
        let size = file.metadata().map_err(|it| unreadable(&it))?.len();
        let file = BufReader::with_capacity(BUFFER_BYTES, file);
        if !self.is_packed {
            return Ok(Box::new(file));
        }
        let left = size.saturating_mul(UNPACKED_RATIO_MAX).saturating_add(UNPACKED_BYTES_FREE);
        let unpacked = Bounded { inner: MultiGzDecoder::new(file), left };
        Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, unpacked)))
    }

    /// The first line that is not left out, up to a bound.
    fn first_line(&self) -> Result<Vec<u8>, Problem> {
        let mut text = self.text()?;
        for _ in 0..self.skipped {
            skip_line(&mut text).map_err(|it| unreadable(&it))?;
        }
        let mut line = Vec::new();
        loop {
            line.clear();
            let ended = read_line(&mut text, &mut line).map_err(|it| unreadable(&it))?;
            let is_comment = self.comment.is_some() && line.first().copied() == self.comment;
            if !ended || !(line.is_empty() || is_comment) {
                return Ok(line);
            }
        }
    }
}

/// The encoding that was asked for, or that the file's byte order mark tells.
fn encoding_of(begin: &[u8], asked: Option<&str>) -> Result<&'static Encoding, Problem> {
    if let Some(label) = asked {
        return Encoding::for_label(label.trim().as_bytes()).ok_or_else(|| {
            let shown: String = label.chars().take(40).collect();
            Problem::invalid(format!("`{shown}` is no encoding that is known"))
                .hint("for example utf-8, latin1, gb18030, big5, shift_jis or utf-16le")
        });
    }
    match begin {
        [0xff, 0xfe, ..] | [1..=127, 0, 1..=127, 0] => Ok(UTF_16LE),
        [0xfe, 0xff, ..] | [0, 1..=127, 0, 1..=127] => Ok(UTF_16BE),
        _ => Ok(UTF_8),
    }
}

/// The separator in a line such as `sep=;`, which Excel writes and reads.
fn separator_line(line: &[u8]) -> Option<u8> {
    let line = line.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\"")).unwrap_or(line);
    let (word, rest) = line.split_at_checked(4)?;
    match rest {
        [it] if word.eq_ignore_ascii_case(b"sep=") && it.is_ascii() && *it != b'"' => Some(*it),
        _ => None,
    }
}

/// The separator that occurs most outside quotes; the comma when there is none at all.
pub(super) fn most_frequent(line: &[u8]) -> u8 {
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0), (b'|', 0)];
    let mut quoted = false;
    for byte in line {
        quoted ^= *byte == b'"';
        if let Some(it) = counts.iter_mut().find(|it| !quoted && it.0 == *byte) {
            it.1 += 1;
        }
    }
    counts.iter().rev().max_by_key(|it| it.1).map_or(b',', |it| it.0)
}

fn skip_line(text: &mut Text) -> io::Result<()> {
    read_line(text, &mut Vec::new()).map(|_| ())
}

/// Adds a line to `line` up to a bound, and reads past its end; `false` at the end of the file.
fn read_line(text: &mut Text, line: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let bytes = text.fill_buf()?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let end = bytes.iter().position(|it| matches!(it, b'\n' | b'\r'));
        let part = &bytes[..end.unwrap_or(bytes.len())];
        line.extend_from_slice(&part[..part.len().min(HEADER_BYTES_MAX.saturating_sub(line.len()))]);
        let Some(end) = end else {
            let used = bytes.len();
            text.consume(used);
            continue;
        };
        let is_return = bytes[end] == b'\r';
        text.consume(end + 1);
        if is_return && text.fill_buf()?.first() == Some(&b'\n') {
            text.consume(1);
        }
        return Ok(true);
    }
}

fn unreadable(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            Problem::invalid(format!("the file cannot be read: {error}")).hint("copy it again from its source")
        }
        _ => Problem::unavailable(format!("the file cannot be read: {error}"))
            .hint("check the data folder's disk and its permissions"),
    }
}

/// Ends a file that unpacks to far more than its size.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it unpacks to more than {UNPACKED_RATIO_MAX} times its size and 1 GiB"),
            )
        })?;
        Ok(read)
    }
}

/// Turns another encoding into UTF-8, and refuses bytes that are none of its characters.
struct Decoded {
    input: Text,
    decoder: encoding_rs::Decoder,
    name: &'static str,
    over: bool,
}

impl Read for Decoded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // A character may need this much; readers below a buffer always bring more.
        if out.len() < 8 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        while !self.over {
            let bytes = self.input.fill_buf()?;
            let last = bytes.is_empty();
            let (result, used, written) = self.decoder.decode_to_utf8_without_replacement(bytes, out, last);
            self.input.consume(used);
            match result {
                DecoderResult::Malformed(..) => {
                    let text = format!("the file is not written in {}", self.name);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                DecoderResult::InputEmpty => self.over = last,
                DecoderResult::OutputFull => {}
            }
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}
