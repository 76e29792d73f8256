//! The records of a CSV file (RFC 4180): their fields, and whether each stood in quotes.
//!
//! A quote counts at the begin of a value only; inside quotes it is doubled. Blank lines are passed over, except in a
//! file of one column, where a blank line between values is a missing value. One quote that is never closed would make
//! the rest of the file one value: a record above [`RECORD_BYTES_MAX`] is refused with its line.

use kaogong_domain::Problem;
use std::io::{self, BufRead};

/// As a separator: a run of spaces and tabs; those before the first value and behind the last one separate nothing.
pub(super) const WHITESPACE: u8 = 0;
/// The longest record, in bytes.
const RECORD_BYTES_MAX: usize = 64 << 20;
/// The most fields of one record.
const FIELDS_MAX: usize = 1 << 20;

/// One record.
#[derive(Debug, Clone, Default)]
pub struct Record {
    text: Vec<u8>,
    fields: Vec<End>,
    line: u64,
}

#[derive(Debug, Clone, Copy)]
struct End {
    at: usize,
    quoted: bool,
}

/// One value as it stands in the file, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The text.
    pub text: &'a str,
    /// Whether it stood in quotes.
    pub quoted: bool,
}

impl Record {
    /// How many fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The line it begins in, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Bytes of all its values.
    pub fn bytes(&self) -> usize {
        self.text.len() + self.fields.len()
    }

    /// The fields, after [`Records::read`] has checked that all are UTF-8.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let mut begin = 0;
        self.fields.iter().map(move |end| {
            let bytes = self.text.get(begin..end.at).unwrap_or_default();
            begin = end.at;
            Field { text: std::str::from_utf8(bytes).unwrap_or_default(), quoted: end.quoted }
        })
    }

    /// Makes it a record of other fields, as a file of JSON lines has them.
    pub fn set<'a>(&mut self, line: u64, fields: impl IntoIterator<Item = (&'a str, bool)>) {
        self.clear(line);
        for (text, quoted) in fields {
            self.text.extend_from_slice(text.as_bytes());
            self.fields.push(End { at: self.text.len(), quoted });
        }
    }

    fn clear(&mut self, line: u64) {
        self.text.clear();
        self.fields.clear();
        self.line = line;
    }

    fn end_field(&mut self, quoted: bool) {
        self.fields.push(End { at: self.text.len(), quoted });
    }

    /// The offset of the first byte that is no UTF-8.
    fn broken_at(&self) -> Option<usize> {
        if self.text.is_ascii() {
            return None;
        }
        let mut begin = 0;
        for end in &self.fields {
            if let Err(error) = std::str::from_utf8(&self.text[begin..end.at]) {
                return Some(begin + error.valid_up_to());
            }
            begin = end.at;
        }
        None
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing of the value was seen.
    Begin,
    Plain,
    Quoted,
    /// A quote inside a quoted value: the end, or half of a doubled one.
    AfterQuote,
    Comment,
}

/// Reads records one after the other.
pub struct Records<R> {
    input: R,
    machine: Machine,
    /// The header has one column: blank lines count.
    single: bool,
    held: Option<Record>,
    is_over: bool,
}

struct Machine {
    delimiter: u8,
    comment: Option<u8>,
    state: State,
    /// The line that is read, from 1.
    line: u64,
    /// The byte before was a carriage return that ended a line.
    after_return: bool,
    /// Blank lines before the record.
    blanks: u64,
}

impl<R: BufRead> Records<R> {
    /// Reads from `input`, whose first line is line `line` of the file.
    pub fn new(input: R, delimiter: u8, comment: Option<u8>, line: u64) -> Self {
        let machine = Machine { delimiter, comment, state: State::Begin, line, after_return: false, blanks: 0 };
        Self { input, machine, single: false, held: None, is_over: false }
    }

    /// The next record; `false` at the end of the file.
    ///
    /// # Errors
    /// `Invalid`, with the line, for a record that is too long, is not UTF-8, or has a quote that is never closed.
    pub fn read(&mut self, record: &mut Record) -> Result<bool, Problem> {
        if self.held.is_none() {
            self.machine.blanks = 0;
            if !self.next(record)? {
                return Ok(false);
            }
            if self.machine.blanks == 0 || !self.single {
                return Ok(true);
            }
            self.held = Some(std::mem::take(record));
        }
        if self.machine.blanks > 0 {
            let line = self.held.as_ref().map_or(0, |it| it.line).saturating_sub(self.machine.blanks);
            self.machine.blanks -= 1;
            record.clear(line);
            record.end_field(false);
            return Ok(true);
        }
        *record = self.held.take().unwrap_or_default();
        Ok(true)
    }

    /// Says that the table has one column, so that a blank line is a missing value.
    pub fn single_column(&mut self) {
        self.single = true;
    }

    fn next(&mut self, record: &mut Record) -> Result<bool, Problem> {
        record.clear(self.machine.line);
        self.machine.state = State::Begin;
        if self.is_over {
            return Ok(false);
        }
        loop {
            let bytes = match self.input.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(error, self.machine.line)),
            };
            if bytes.is_empty() {
                self.is_over = true;
                return self.machine.end_of_file(record);
            }
            let (used, ended) = self.machine.feed(bytes, record);
            self.input.consume(used);
            if record.text.len() > RECORD_BYTES_MAX || record.fields.len() > FIELDS_MAX {
                return Err(too_long(record.line));
            }
            if ended {
                return checked(record);
            }
        }
    }
}

impl Machine {
    /// Goes on until a record ends or the bytes do: how many were used, and whether the record has ended.
    fn feed(&mut self, bytes: &[u8], record: &mut Record) -> (usize, bool) {
        let mut at = 0;
        while let Some(byte) = bytes.get(at).copied() {
            if std::mem::take(&mut self.after_return) && byte == b'\n' {
                at += 1;
                continue;
            }
            let rest = &bytes[at..];
            match self.state {
                State::Quoted => at += self.quoted(rest, record),
                State::Comment => at += self.comment(rest, record),
                State::Begin if byte == b'"' => {
                    self.state = State::Quoted;
                    at += 1;
                }
                State::Begin if record.fields.is_empty() && Some(byte) == self.comment => self.state = State::Comment,
                State::AfterQuote if byte == b'"' => {
                    record.text.push(b'"');
                    self.state = State::Quoted;
                    at += 1;
                }
                _ => {
                    let (used, ended) = self.plain(rest, record);
                    at += used;
                    if ended {
                        return (at, true);
                    }
                }
            }
        }
        (at, false)
    }

    /// Bytes up to the next quote.
    fn quoted(&mut self, bytes: &[u8], record: &mut Record) -> usize {
        let quote = bytes.iter().position(|it| *it == b'"');
        let part = &bytes[..quote.unwrap_or(bytes.len())];
        self.line += part.iter().filter(|it| **it == b'\n').count() as u64;
        record.text.extend_from_slice(part);
        if quote.is_some() {
            self.state = State::AfterQuote;
        }
        part.len() + usize::from(quote.is_some())
    }

    fn comment(&mut self, bytes: &[u8], record: &mut Record) -> usize {
        let Some(end) = bytes.iter().position(|it| matches!(it, b'\n' | b'\r')) else { return bytes.len() };
        self.end_line(bytes[end]);
        record.line = self.line;
        self.state = State::Begin;
        end + 1
    }

    /// Bytes up to a separator or the end of the line, or that one: how many, and whether the record has ended.
    fn plain(&mut self, bytes: &[u8], record: &mut Record) -> (usize, bool) {
        let is_spaced = self.delimiter == WHITESPACE;
        let (one, other) = if is_spaced { (b' ', b'\t') } else { (self.delimiter, self.delimiter) };
        let end = bytes.iter().position(|it| *it == one || *it == other || matches!(*it, b'\n' | b'\r'));
        if end != Some(0) {
            let run = end.unwrap_or(bytes.len());
            record.text.extend_from_slice(&bytes[..run]);
            self.state = State::Plain;
            return (run, false);
        }
        let quoted = self.state == State::AfterQuote;
        if bytes[0] == one || bytes[0] == other {
            if !(is_spaced && self.state == State::Begin) {
                record.end_field(quoted);
            }
            self.state = State::Begin;
            return (1, false);
        }
        self.end_line(bytes[0]);
        if self.state == State::Begin && record.fields.is_empty() {
            self.blanks += 1;
            record.line = self.line;
            return (1, false);
        }
        if !(is_spaced && self.state == State::Begin) {
            record.end_field(quoted);
        }
        (1, true)
    }

    fn end_line(&mut self, byte: u8) {
        self.after_return = byte == b'\r';
        self.line += 1;
    }

    fn end_of_file(&self, record: &mut Record) -> Result<bool, Problem> {
        match self.state {
            State::Quoted => Err(Problem::invalid(format!(
                "the record that begins in line {} has a quote that is never closed",
                record.line
            ))
            .hint("close the quote; inside a quoted value a quote is written twice")),
            State::Begin | State::Comment if record.fields.is_empty() => Ok(false),
            State::Begin if self.delimiter == WHITESPACE => checked(record),
            _ => {
                record.end_field(self.state == State::AfterQuote);
                checked(record)
            }
        }
    }
}

fn checked(record: &Record) -> Result<bool, Problem> {
    let Some(at) = record.broken_at() else { return Ok(true) };
    let line = record.line + record.text[..at].iter().filter(|it| **it == b'\n').count() as u64;
    Err(Problem::invalid(format!("line {line} is not UTF-8"))
        .hint("say how the file is written, for example `--encoding gb18030` or `--encoding latin1`"))
}

fn too_long(line: u64) -> Problem {
    Problem::invalid(format!("the record that begins in line {line} is longer than {} MiB", RECORD_BYTES_MAX >> 20))
        .hint("look in that line for a quote that is not closed; values that long belong in files of their own")
}

/// A source that gave up: the text of an `InvalidData` error is meant for people.
fn unreadable(error: io::Error, line: u64) -> Problem {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            Problem::invalid(format!("line {line} or soon after it: {error}"))
                .hint("check `--encoding`, or copy the file again from its source")
        }
        io::ErrorKind::UnexpectedEof => {
            Problem::invalid("the compressed file is cut off").hint("copy it again from its source")
        }
        _ => Problem::unavailable("cannot read the CSV file").because(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn all(text: &[u8], single: bool) -> Result<Vec<(u64, Vec<String>)>, String> {
        let mut found: Vec<Vec<(u64, Vec<String>)>> = Vec::new();
        // Whatever the size of the pieces, the records are the same.
        for piece in [1, 2, 3, 1 << 16] {
            let mut records = Records::new(BufReader::with_capacity(piece, text), b',', Some(b'#'), 1);
            if single {
                records.single_column();
            }
            let (mut record, mut rows) = (Record::default(), Vec::new());
            while records.read(&mut record).map_err(|it| it.text)? {
                let shown = |it: Field<'_>| if it.quoted { format!("'{}'", it.text) } else { it.text.to_owned() };
                rows.push((record.line(), record.fields().map(shown).collect()));
            }
            found.push(rows);
        }
        assert!(found.windows(2).all(|it| it[0] == it[1]), "{found:?}");
        Ok(found.remove(0))
    }

    fn shown(text: &str) -> String {
        let rows = all(text.as_bytes(), false).expect("records");
        rows.iter().map(|(line, fields)| format!("{line}:{}", fields.join("|"))).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn fields_quotes_and_lines() {
        assert_eq!(shown("a,b\n1,\"x, \"\"y\"\"\"\r\n\n\"\",z"), "1:a|b 2:1|'x, \"y\"' 4:''|z");
        assert_eq!(shown("a\rb\rc"), "1:a 2:b 3:c");
        assert_eq!(shown("\"a\nb\",1\nc,2\n"), "1:'a\nb'|1 3:c|2");
        assert_eq!(shown("5\" disk,\"x\"y\n,\n"), "1:5\" disk|xy 2:|");
        assert_eq!(shown("#note\na,b\n# more, text\r\n1,#2\n"), "2:a|b 4:1|#2");
    }

    #[test]
    fn runs_of_spaces_and_tabs_are_one_separator() {
        let text = "  a b\t \"c d\"  \r\n   \n1  2 \t3 \n\t4 \"\" 6 ";
        for piece in [1, 2, 1 << 16] {
            let input = BufReader::with_capacity(piece, text.as_bytes());
            let (mut records, mut record, mut rows) =
                (Records::new(input, WHITESPACE, None, 1), Record::default(), Vec::new());
            while records.read(&mut record).expect("a record") {
                let values: Vec<_> = record.fields().map(|it| it.text).collect();
                rows.push(format!("{}:{}", record.line(), values.join("|")));
            }
            assert_eq!(rows, ["1:a|b|c d", "3:1|2|3", "4:4||6"], "{piece}");
        }
    }

    #[test]
    fn blank_lines_count_in_one_column_only() {
        let rows = all(b"a\n\n\nb\n\n", true).expect("records");
        let lines: Vec<_> = rows.iter().map(|it| (it.0, it.1[0].as_str())).collect();
        assert_eq!(lines, [(1, "a"), (2, ""), (3, ""), (4, "b")]);
        assert_eq!(shown("a\n\n\nb\n\n"), "1:a 4:b");
    }

    #[test]
    fn what_is_broken_is_told_with_its_line() {
        assert_eq!(all(b"a,b\n1,x\n2,\xff\n", false).expect_err("not UTF-8"), "line 3 is not UTF-8");
        // Together these bytes would be a letter.
        assert_eq!(all(b"\xc3,\xa9\n", false).expect_err("not UTF-8"), "line 1 is not UTF-8");
        let open = all(b"a\n\"b\nc\n", false).expect_err("an open quote");
        assert_eq!(open, "the record that begins in line 2 has a quote that is never closed");
        let mut text = b"a,b\n1,2\n5\" disk,x\n3,\"open\n".to_vec();
        text.extend(b"4,5\n".repeat(17 << 20));
        let mut records = Records::new(&text[..], b',', None, 1);
        let mut record = Record::default();
        let problem = loop {
            match records.read(&mut record) {
                Ok(more) => assert!(more, "the end"),
                Err(problem) => break problem,
            }
        };
        assert_eq!(problem.text, "the record that begins in line 4 is longer than 64 MiB");
    }
}
