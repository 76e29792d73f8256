//! Lines above a table that are no part of it: titles, dates of reports, notes.
//!
//! They are told by their shape: fewer values than all the lines below, which have as many values each. Where that
//! could be something else (the header of R, which names one column less; a table of one column), nothing is guessed:
//! the import is refused with the option that decides.

use super::{CsvOptions, Record, Records, Text, numbers};
use kaogong_domain::Problem;
use std::collections::BTreeSet;

/// Records that are looked at.
const RECORDS_MAX: usize = 60;
/// Bytes of them: a long record ends the look.
const BYTES_MAX: usize = 1 << 20;
/// Lines above a header.
const TITLES_MAX: usize = 20;
/// Characters of a title that are shown.
const SHOWN_CHARS_MAX: usize = 60;
/// What separates values, the most usual first.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Titles that were recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Titles {
    /// Lines to leave out.
    pub(super) lines: u64,
    /// What separates the values below them.
    pub(super) delimiter: u8,
    /// For the report: which lines, and the first one.
    pub(super) shown: String,
}

/// The begin of a file with one separator.
struct Begin {
    delimiter: u8,
    records: Vec<(u64, Vec<String>)>,
}

impl Begin {
    fn read(text: Text, delimiter: u8, comment: Option<u8>) -> Self {
        let (mut records, mut record, mut found) =
            (Records::new(text, delimiter, comment, 1), Record::default(), vec![]);
        let mut bytes = 0;
        // What cannot be read is told by who reads the whole file.
        while found.len() < RECORDS_MAX && bytes < BYTES_MAX && records.read(&mut record).unwrap_or(false) {
            bytes += record.bytes();
            let shown = |it: super::Field<'_>| it.text.trim().chars().take(SHOWN_CHARS_MAX).collect();
            found.push((record.line(), record.fields().map(shown).collect()));
        }
        Self { delimiter, records: found }
    }

    fn width(&self, at: usize) -> usize {
        self.records[at].1.len()
    }

    /// Values that are there.
    fn filled(&self, at: usize) -> usize {
        self.records[at].1.iter().filter(|it| !it.is_empty()).count()
    }

    /// Where the records begin that all have as many values as the last one: at least a header and `rows` rows.
    fn body(&self, rows: usize) -> Option<(usize, usize)> {
        let last = self.records.len().checked_sub(1)?;
        let width = self.width(last);
        let begin = (0..=last).rev().take_while(|it| self.width(*it) == width).last()?;
        (last - begin >= rows).then_some((begin, width))
    }

    /// Whether a record names columns: each one, each otherwise, and not by a number.
    fn is_header(&self, at: usize) -> bool {
        let names = &self.records[at].1;
        let mut scratch = String::new();
        let mut is_number = |it: &String| numbers::read(it, numbers::STYLES[0], &mut scratch).is_some();
        names.iter().all(|it| !it.is_empty() && !is_number(it))
            && names.iter().collect::<BTreeSet<_>>().len() == names.len()
    }

    fn titles(&self, header: usize) -> Titles {
        let lines = self.records[header].0 - 1;
        let first: String = self.records[0].1.join(" ").trim().chars().take(SHOWN_CHARS_MAX).collect();
        let shown = if lines == 1 { format!("1 ({first})") } else { format!("1–{lines} ({first})") };
        Titles { lines, delimiter: self.delimiter, shown }
    }
}

/// Looks for titles above the header. `text` gives the file from its first line, as often as it is asked.
///
/// # Errors
/// `Invalid`, with the option that decides, where the first lines are no header and perhaps no titles.
pub(super) fn look(
    text: impl Fn() -> Result<Text, Problem>,
    chosen: u8,
    options: &CsvOptions,
) -> Result<Option<Titles>, Problem> {
    let read = |delimiter| Ok::<_, Problem>(Begin::read(text()?, delimiter, options.comment.map(|it| it as u8)));
    let begin = read(chosen)?;
    if begin.records.len() < 3 {
        return Ok(None);
    }
    let whole = begin.body(1).filter(|it| it.0 == 0);
    let others = DELIMITERS.into_iter().filter(|it| *it != chosen && options.delimiter.is_none());
    match whole {
        Some((_, 1)) => {
            for delimiter in others {
                let other = read(delimiter)?;
                if let Some((at @ 1..=TITLES_MAX, width @ 2..)) = other.body(3) {
                    return Err(unsure(&other, at, width, "or `--delimiter ,` if the table has one column"));
                }
            }
            Ok(None)
        }
        // A spreadsheet writes as many separators behind a title as behind all else.
        Some((_, 3..)) if begin.filled(0) <= 1 => {
            let header = (1..begin.records.len().min(TITLES_MAX + 1)).find(|it| begin.is_header(*it));
            let header = header.filter(|it| *it + 1 < begin.records.len() && (0..*it).all(|at| begin.filled(at) <= 1));
            Ok(header.map(|it| begin.titles(it)))
        }
        Some(_) => Ok(None),
        None => {
            let others = others.map(read).collect::<Result<Vec<_>, _>>()?;
            let all = std::iter::once(&begin).chain(&others);
            let bodies = all.filter_map(|it| it.body(1).map(|(at, width)| (width, at, it)));
            let bodies = bodies.filter(|(width, at, it)| {
                (1..=TITLES_MAX).contains(at) && *width > 1 && (0..*at).all(|before| it.width(before) < *width)
            });
            let Some((width, at, begin)) = bodies.max_by_key(|it| (it.0, it.2.delimiter == chosen)) else {
                return Ok(None);
            };
            if begin.is_header(at) && (0..at).all(|it| begin.filled(it) + 2 <= width) {
                return Ok(Some(begin.titles(at)));
            }
            Err(unsure(begin, at, width, "or name every column in the first line"))
        }
    }
}

fn unsure(begin: &Begin, header: usize, width: usize, otherwise: &str) -> Problem {
    let values = |count: usize| if count == 1 { "1 value".to_owned() } else { format!("{count} values") };
    let first = begin.width(0);
    let line = begin.records[header].0;
    Problem::invalid(format!(
        "line 1 has {}, the lines from {line} on have {}: it may be a title, or a header that lacks names",
        values(first),
        values(width)
    ))
    .hint(format!("use `--skip-lines {}` if the header is line {line}, {otherwise}", line - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &'static str) -> String {
        let options = CsvOptions::default();
        let line = text.lines().next().unwrap_or_default().as_bytes();
        let chosen = super::super::source::most_frequent(line);
        match look(|| Ok(Box::new(text.as_bytes())), chosen, &options) {
            Ok(None) => "none".to_owned(),
            Ok(Some(it)) => format!("{} by {}", it.shown, char::from(it.delimiter)),
            Err(problem) => problem.hint.unwrap_or_default(),
        }
    }

    #[test]
    fn titles_are_recognised_by_their_shape() {
        assert_eq!(found("Sales 2024\n\nname,amount,date\na,1,2\nb,2,3\n"), "1–2 (Sales 2024) by ,");
        assert_eq!(found("Report, of May\nby me\na;b;c;d\n1;2;3;4\n"), "1–2 (Report, of May) by ;");
        assert_eq!(found("Sales 2024,,,\n,,,\nname,amount,date,x\na,1,2,3\n"), "1–2 (Sales 2024) by ,");
        assert_eq!(
            found("Title\na\tb\tc\n1\t2\t3\n4\t5\t6\n7\t8\t9\n"),
            "use `--skip-lines 1` if the header is line 2, or `--delimiter ,` if the table has one column"
        );
    }

    #[test]
    fn what_could_be_a_header_is_not_taken_for_a_title() {
        for whole in [
            "a,b\n1,2\n3,4\n",
            ",a,b\n0,1,2\n1,2,3\n",
            "text\nhello, world\nyes\nno, no, no\n",
            "a\n1\n2\n",
            "id,,\n1,2,3\n2,3,4\n",
            "a,b\n1,2\n1,2,3\n1,2\n",
        ] {
            assert_eq!(found(whole), "none", "{whole}");
        }
        // R names one column less; a first row of numbers is no header.
        let r = found("mpg,cyl\nMazda,21,6\nDatsun,22,4\n");
        assert_eq!(r, "use `--skip-lines 1` if the header is line 2, or name every column in the first line");
        assert!(found("x\n1,2,3\n4,5,6\n").starts_with("use `--skip-lines 1`"));
    }
}
