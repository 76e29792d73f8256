//! Whether the first line of a file names the columns, or is a row already.
//!
//! A row is told by its values: all are numbers above columns of numbers, or some are and a text occurs again below as
//! a value. Such a file is refused, with the two options that decide: a row must not be lost as names in silence.

use super::{Record, Records, Text, numbers, reading::is_null_word};
use kaogong_domain::Problem;

/// Records that are looked at.
const RECORDS_MAX: usize = 60;
/// Bytes of them: a long record ends the look.
const BYTES_MAX: usize = 1 << 20;
/// Characters of a line that are shown.
const SHOWN_CHARS_MAX: usize = 60;

/// The first records of a file.
#[derive(Debug, Default)]
pub(super) struct Begin {
    /// The line of the first one.
    line: u64,
    /// The values of each, without the spaces around them.
    pub(super) rows: Vec<Vec<String>>,
}

impl Begin {
    pub(super) fn read(mut records: Records<Text>) -> Self {
        let (mut record, mut found, mut bytes) = (Record::default(), Self::default(), 0);
        // What cannot be read is told by who reads the whole file.
        while found.rows.len() < RECORDS_MAX && bytes < BYTES_MAX && records.read(&mut record).unwrap_or(false) {
            bytes += record.bytes();
            if found.rows.is_empty() {
                found.line = record.line();
            }
            found.rows.push(record.fields().map(|it| it.text.trim().to_owned()).collect());
        }
        found
    }
}

/// Whether a text is a number in any spelling.
pub(super) fn is_number(text: &str) -> bool {
    let mut scratch = String::new();
    numbers::STYLES.iter().any(|it| numbers::read(text, *it, &mut scratch).is_some())
}

/// Whether a column holds numbers alone, where it has values.
pub(super) fn holds_numbers(rows: &[Vec<String>], at: usize) -> bool {
    let values = rows.iter().filter_map(|it| it.get(at));
    values.into_iter().all(|it| it.is_empty() || is_null_word(it) || is_number(it))
}

/// Refuses a first record that looks like a row.
///
/// # Errors
/// `Invalid`, with the options that decide.
pub(super) fn check(records: Records<Text>) -> Result<(), Problem> {
    let begin = Begin::read(records);
    let Some((first, rows)) = begin.rows.split_first() else { return Ok(()) };
    // A file without rows and one whose records differ in length are refused with better words.
    if rows.is_empty() || rows.iter().any(|it| it.len() != first.len()) {
        return Ok(());
    }
    let are_values: Vec<_> =
        first.iter().enumerate().map(|(at, it)| is_number(it) && holds_numbers(rows, at)).collect();
    let is_repeated =
        |(at, it): (usize, &String)| !it.is_empty() && !is_number(it) && rows.iter().any(|row| row.get(at) == Some(it));
    let some = are_values.contains(&true);
    if !(some && (!are_values.contains(&false) || first.iter().enumerate().any(is_repeated))) {
        return Ok(());
    }
    let whole = first.join(" ");
    let mut shown: String = whole.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < whole.len() {
        shown.push('…');
    }
    Err(Problem::invalid(format!(
        "line {} (`{shown}`) looks like a row of values, not like the names of the columns",
        begin.line
    ))
    .hint(
        "add `--no-header` if the file has no header line (its columns are then named `column_1`, `column_2`, …), or \
         `--header` if these are the names",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(text: &'static str) -> bool {
        let refused = check(Records::new(Box::new(text.as_bytes()), b',', None, 1));
        refused
            .is_err_and(|it| it.text.starts_with("line 1 (`") && it.hint.is_some_and(|it| it.contains("--no-header")))
    }

    #[test]
    fn a_row_is_not_taken_for_names() {
        for rows in [
            "112\n98\n69\n",
            "1,1,-0.0007\n1,2,0.0019\n",
            "1,2\n3,4\n",
            "5.1,3.5,setosa\n4.9,3.0,setosa\n7,3.2,virginica\n",
        ] {
            assert!(is_refused(rows), "{rows}");
        }
    }

    #[test]
    fn names_may_hold_numbers() {
        for names in [
            "a,b\n1,2\n",
            "country,2019,2020\nNL,1,2\nBE,3,4\n",
            "mean,0.1,0.5\n1,2,3\n",
            "1,2\nx,y\n",
            ",0,1\n0,5,6\n",
            "1,2\n",
            "1,2\n1,2,3\n",
            "5,NA\n1,1.5\n",
        ] {
            assert!(!is_refused(names), "{names}");
        }
    }
}
