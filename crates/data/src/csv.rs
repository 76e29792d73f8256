//! Looks at the bytes of a CSV file while its types are found: how long its records are, and which columns hold
//! numbers with leading zeros.
//!
//! One quote that is never closed makes the rest of the file one value, which the reader would hold in memory: a
//! record above [`RECORD_BYTES_MAX`] ends the reading and its line is told. The states are those of the reader (RFC
//! 4180, where a quote counts at the begin of a value only).

use kaogong_domain::Problem;
use std::io::{self, Read};

/// The longest record, in bytes.
const RECORD_BYTES_MAX: u64 = 64 << 20;
/// Columns further right are not looked at: such a table is refused anyway.
const COLUMNS_MAX: usize = 10_000;
/// The most records read together.
pub const BATCH_ROWS_MAX: usize = 8192;
/// Runs of 1, 2, 4, … records, up to the longest batch.
const LEVELS: usize = BATCH_ROWS_MAX.ilog2() as usize + 1;

/// Passes a file through and looks at it.
pub struct Watch<R> {
    inner: R,
    records: Records,
}

impl<R: Read> Watch<R> {
    /// Looks at what is read from `inner`, from the header line on.
    pub fn new(inner: R, delimiter: u8) -> Self {
        Self { inner, records: Records::new(delimiter) }
    }

    /// Why reading failed, when that was for a record that is too long: `Invalid`, with its line.
    pub fn problem(&self) -> Option<Problem> {
        self.records.too_long().map(too_long)
    }

    /// What was seen.
    pub fn finish(mut self) -> Seen {
        self.records.end_record();
        self.records.seen
    }
}

impl<R: Read> Read for Watch<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        for byte in &out[..read] {
            self.records.see(*byte);
        }
        match self.problem() {
            Some(problem) => Err(io::Error::new(io::ErrorKind::InvalidData, problem.text)),
            None => Ok(read),
        }
    }
}

fn too_long(line: u64) -> Problem {
    Problem::invalid(format!("the record that begins in line {line} is longer than {} MiB", RECORD_BYTES_MAX >> 20))
        .hint("look in that line for a quote that is not closed; values that long belong in files of their own")
}

/// What is known of a whole file.
pub struct Seen {
    runs: Runs,
    /// The first line where a value of the column has a leading zero.
    zeros: Vec<Option<u64>>,
}

impl Seen {
    /// How many records may be read together so that no batch holds more than `bytes`.
    pub fn rows_within(&self, bytes: u64) -> usize {
        1 << (1..LEVELS).take_while(|it| self.runs.most(*it) <= bytes).count()
    }

    /// The bytes of the longest record.
    pub fn longest(&self) -> u64 {
        self.runs.most(0)
    }

    /// The first line where a value of the column has a leading zero, if any.
    pub fn leading_zero(&self, column: usize) -> Option<u64> {
        self.zeros.get(column).copied().flatten()
    }
}

/// The most bytes of any aligned run of 1, 2, 4, … records. The mean would not do: long records may come together.
struct Runs {
    records: u64,
    open: [u64; LEVELS],
    most: [u64; LEVELS],
}

impl Runs {
    /// Counts up like a binary number: a full run joins the one before it.
    fn add(&mut self, bytes: u64) {
        let (mut sum, mut rest) = (bytes, self.records);
        self.records += 1;
        for level in 0..LEVELS {
            self.most[level] = self.most[level].max(sum);
            if rest & 1 == 0 {
                self.open[level] = sum;
                return;
            }
            sum += self.open[level];
            self.open[level] = 0;
            rest >>= 1;
        }
    }

    /// The most bytes of a run of this level, also of the last one, which may not be full.
    fn most(&self, level: usize) -> u64 {
        let tail: u64 = (0..level).filter(|it| self.records >> it & 1 == 1).map(|it| self.open[it]).sum();
        self.most[level].max(tail)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoting {
    /// Nothing of the value was seen.
    Begin,
    Plain,
    Inside,
    /// A quote inside a quoted value: the end, or half of a doubled one.
    AfterQuote,
}

#[derive(Clone, Copy)]
enum Number {
    Begin,
    Sign,
    Zero,
    Other,
}

struct Records {
    delimiter: u8,
    quoting: Quoting,
    number: Number,
    column: usize,
    line: u64,
    record_line: u64,
    bytes: u64,
    is_header: bool,
    seen: Seen,
    too_long: Option<u64>,
}

impl Records {
    fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            quoting: Quoting::Begin,
            number: Number::Begin,
            column: 0,
            line: 1,
            record_line: 1,
            bytes: 0,
            is_header: true,
            seen: Seen { runs: Runs { records: 0, open: [0; LEVELS], most: [0; LEVELS] }, zeros: Vec::new() },
            too_long: None,
        }
    }

    fn see(&mut self, byte: u8) {
        if self.bytes == 0 {
            self.record_line = self.line;
        }
        self.line += u64::from(byte == b'\n');
        match (self.quoting, byte) {
            (Quoting::Inside, b'"') => self.quoting = Quoting::AfterQuote,
            (Quoting::Inside, _) => self.value(byte),
            (Quoting::Begin, b'"') => self.quoting = Quoting::Inside,
            (Quoting::AfterQuote, b'"') => {
                self.quoting = Quoting::Inside;
                self.value(byte);
            }
            (_, b'\r' | b'\n') => return self.end_record(),
            (_, it) if it == self.delimiter => {
                self.column += 1;
                (self.quoting, self.number) = (Quoting::Begin, Number::Begin);
            }
            (_, _) => {
                self.quoting = Quoting::Plain;
                self.value(byte);
            }
        }
        self.bytes += 1;
    }

    fn value(&mut self, byte: u8) {
        self.number = match (self.number, byte) {
            (Number::Begin, b'+' | b'-') => Number::Sign,
            (Number::Begin | Number::Sign, b'0') => Number::Zero,
            (Number::Zero, b'0'..=b'9') => {
                self.note_zero();
                Number::Other
            }
            _ => Number::Other,
        };
    }

    fn note_zero(&mut self) {
        if self.is_header || self.column >= COLUMNS_MAX {
            return;
        }
        let zeros = &mut self.seen.zeros;
        if zeros.len() <= self.column {
            zeros.resize(self.column + 1, None);
        }
        zeros[self.column].get_or_insert(self.record_line);
    }

    fn end_record(&mut self) {
        // Line ends between records, also the second half of `\r\n`, belong to none.
        if self.bytes == 0 {
            return;
        }
        self.too_long = self.too_long();
        if !self.is_header {
            self.seen.runs.add(self.bytes);
        }
        (self.bytes, self.column, self.is_header) = (0, 0, false);
        (self.quoting, self.number) = (Quoting::Begin, Number::Begin);
    }

    fn too_long(&self) -> Option<u64> {
        self.too_long.or((self.bytes > RECORD_BYTES_MAX).then_some(self.record_line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(text: &[u8]) -> Result<Seen, Problem> {
        let mut watch = Watch::new(text, b',');
        match io::copy(&mut watch, &mut io::sink()) {
            Ok(_) => Ok(watch.finish()),
            Err(error) => Err(watch.problem().unwrap_or_else(|| Problem::bug("not this", error))),
        }
    }

    #[test]
    fn leading_zeros_are_noted_by_column_and_line() {
        let seen = watched(b"00,b,c,d,e\n1,007,0.5,\"-01\",0\r\n\n\"a\n,0\",x,00,y\"01,10\n").expect("a file");
        let lines: Vec<_> = (0..6).map(|it| seen.leading_zero(it)).collect();
        assert_eq!(lines, [None, Some(2), Some(4), Some(2), None, None]);
    }

    #[test]
    fn batches_fit_the_longest_records_wherever_they_are() {
        let mut text = b"a\n".to_vec();
        text.extend(b"1\n".repeat(10_000));
        text.extend([vec![b'x'; 1000], vec![b'\n']].concat().repeat(100));
        let seen = watched(&text).expect("a file");
        assert_eq!(seen.rows_within(u64::MAX), BATCH_ROWS_MAX);
        let rows = seen.rows_within(20_000);
        assert!((8..=16).contains(&rows), "{rows}");
        assert_eq!(seen.rows_within(10), 1);
    }

    #[test]
    fn an_unclosed_quote_is_refused_with_its_line() {
        let mut text = b"a,b\n1,2\n5\" disk,x\n3,\"open\n".to_vec();
        text.extend(b"4,5\n".repeat(17 << 20));
        let problem = watched(&text).err().expect("too long");
        assert_eq!(problem.text, "the record that begins in line 4 is longer than 64 MiB");
    }
}
