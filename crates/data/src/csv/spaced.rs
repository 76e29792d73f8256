//! Tables whose values are separated by runs of spaces, as scientific programs write them.
//!
//! Words in one line are no such table by themselves: names and sentences have spaces, too. All values below the first
//! line must be numbers; where only some columns are, the import is refused with the option that decides.

use super::{
    Records, Text,
    header::{Begin, holds_numbers, is_number},
};
use kaogong_domain::Problem;

/// Rows that must agree before a file is refused.
const ROWS_MIN: usize = 3;

/// Whether the values are separated by spaces. `records` are read that way, of a file without another separator.
///
/// # Errors
/// `Invalid`, with the option that decides, where this could be a table of one column as well.
pub(super) fn look(records: Records<Text>) -> Result<bool, Problem> {
    let begin = Begin::read(records);
    let Some((first, rows)) = begin.rows.split_first() else { return Ok(false) };
    let Some(width) = rows.first().map(Vec::len) else { return Ok(false) };
    // One word above is the name of one column, whatever its values look like.
    if width < 2 || first.len() < 2 || rows.iter().any(|it| it.len() != width) {
        return Ok(false);
    }
    let numbers = (0..width).filter(|it| holds_numbers(rows, *it)).count();
    // `1 000` is one number, perhaps.
    let are_grouped = rows.iter().all(|it| is_number(&it.join(" ")));
    if first.len() == width && numbers == width && !are_grouped {
        return Ok(true);
    }
    if numbers == 0 || rows.len() < ROWS_MIN || first.len() != width && numbers < width {
        return Ok(false);
    }
    let (problem, hint) = if first.len() == width {
        (format!("the values may be separated by spaces: every line has {width} words"), "")
    } else {
        let text = format!("line 1 has {} words, the lines below have {width} numbers", first.len());
        (text, " and each has a name (`--skip-lines 1` leaves line 1 out)")
    };
    Err(Problem::invalid(problem).hint(format!(
        "use `--delimiter whitespace` if each word is a value{hint}, or `--delimiter ,` if the table has one column"
    )))
}

#[cfg(test)]
mod tests {
    use super::{super::records::WHITESPACE, *};

    fn found(text: &'static str) -> Option<bool> {
        look(Records::new(Box::new(text.as_bytes()), WHITESPACE, None, 1)).ok()
    }

    #[test]
    fn numbers_between_spaces_are_a_table() {
        for text in ["x y\n1.5 2\n", "1 2 0.5  \n1  3 -0.7  \n", "  x   y\n  1  0.1\n 10 10.1\n", "a\tb c\n1 2.5 NA\n"]
        {
            assert_eq!(found(text), Some(true), "{text}");
        }
    }

    #[test]
    fn one_column_of_words_stays_one() {
        for text in [
            "full name\nAda Lovelace\nAlan Turing\n",
            "text\nhello world\nyes\n",
            "amount\n1 000\n2 500\n3 000\n",
            "start time\n2024-03-10 08:00\n2024-03-11 09:00\n2024-03-12 09:00\n",
            "phone\n0171 2345 678\n0171 2345 679\n0171 2345 670\n",
            "a\n1\n2\n",
            "1 2 3\n",
            "",
        ] {
            assert_eq!(found(text), Some(false), "{text}");
        }
    }

    #[test]
    fn what_could_be_both_is_refused() {
        for text in [
            "model year\nFord 2012\nFiat 2013\nSaab 1999\n",
            "amount EUR\n1 000\n2 500\n3 000\n",
            "x y\n1 2 3.5\n3 4 3.5\n5 6 3.5\n",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
