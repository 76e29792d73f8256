//! What an import did to a table, in words: for each column its type, why, what is missing and what was changed.

use crate::output::{table, words};
use kaogong_api::datasets::{ColumnImportView, ColumnView, ImportNoteView};

/// The columns as an aligned table. Versions older than the reports have no reasons.
pub fn columns(columns: &[ColumnView]) -> String {
    if columns.is_empty() {
        return String::new();
    }
    let row = |it: &ColumnView| {
        let name = if it.name.trim().is_empty() { "(nameless)".to_owned() } else { it.name.clone() };
        let (why, changed) = it.import.as_ref().map(|told| (why(told, &it.kind), changed(told))).unwrap_or_default();
        vec![name, it.kind.clone(), it.nulls.to_string(), changed, why]
    };
    let rows: Vec<_> = columns.iter().map(row).collect();
    table::render(&["COLUMN", "TYPE", "MISSING", "CHANGED", "WHY"], &rows)
}

/// What is worth telling about the file.
pub fn notes(notes: &[ImportNoteView]) -> String {
    let told = notes.iter().map(|it| match it.kind.as_str() {
        "compressed" => format!("unpacked from {}", it.detail),
        "encoding" => format!("read as {}", it.detail),
        "skipped_lines" => format!("{} lines before the header left out", it.detail),
        "separator_line" => format!("the first line `{}` names the separator", it.detail),
        "delimiter" if it.detail == "whitespace" => "values are separated by runs of spaces".to_owned(),
        "delimiter" => format!("values are separated by `{}`", it.detail),
        "parts" => format!("{} files", it.detail),
        "partitions" => format!("columns from the names of the folders: {}", it.detail),
        "title_lines" => format!("taken for a title and left out: {}", it.detail),
        "no_header" => format!("no header line, columns are named by their place: {}", it.detail),
        other => format!("{other}: {}", it.detail),
    });
    told.collect::<Vec<_>>().join("\n")
}

fn changed(it: &ColumnImportView) -> String {
    let mut parts = Vec::new();
    if it.changed > 0 {
        parts.push(format!("{} changed", words::values(it.changed)));
    }
    if it.respelt > 0 {
        parts.push(format!("{} spelt otherwise", words::values(it.respelt)));
    }
    if it.null_words > 0 {
        parts.push(format!("{} read as missing", words::values(it.null_words)));
    }
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

fn why(it: &ColumnImportView, kind: &str) -> String {
    let example = match (&it.example, it.line) {
        (Some(text), Some(line)) => format!(" (line {line}: `{text}`)"),
        (Some(text), None) => format!(" (`{text}`)"),
        _ => String::new(),
    };
    let is_text = kind == "text";
    let reason = match it.why.as_str() {
        "values" => "every value is one",
        "asked" => "asked for",
        "base" => "as the dataset has it",
        "source" => "as the file says",
        "empty" => "no values",
        "words" => "a value is a word",
        "leading_zeros" => "leading zeros, as in codes",
        "long_numbers" => "more digits than whole numbers of 64 bits keep",
        "digits" if is_text => "more digits than a number or time keeps",
        "digits" => "more digits than a float keeps, so a decimal",
        "unsure_numbers" => "numbers can be read in two ways: say --decimal or --thousands",
        "other_columns" => "numbers read with the decimal sign of the other columns",
        "decimal_stop" => "the full stop read as decimal sign: say --thousands . if it is not",
        "percents" if is_text => "some values are percentages, others not",
        "percents" => "percentages, without their sign",
        "pluses" => "every number has a plus sign, as telephone numbers have",
        "unsure_dates" => "day and month can change places: say --dates day or month",
        "dates_and_times" => "some values are dates, others have a time of day",
        "zones" => "times with different zones; ask for a timestamp to keep them in UTC",
        "wide_times" => "times beyond what nanoseconds reach, in microseconds",
        other => other,
    };
    let renamed = it.renamed_from.as_ref().map(|name| format!("; a second `{name}` in the file")).unwrap_or_default();
    format!("{reason}{example}{renamed}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_was_done_and_why() {
        let column = |name: &str, kind: &str, why: &str, example: Option<(&str, u64)>| ColumnView {
            name: name.into(),
            kind: kind.into(),
            nulls: 2,
            distinct: None,
            min: None,
            max: None,
            mean: None,
            data_type: String::new(),
            import: Some(ColumnImportView {
                why: why.into(),
                example: example.map(|it| it.0.into()),
                line: example.map(|it| it.1),
                null_words: u64::from(why == "values"),
                respelt: 0,
                changed: 0,
                renamed_from: None,
            }),
        };
        let shown = columns(&[
            column("zip", "text", "leading_zeros", Some(("007", 3))),
            column("年龄", "integer", "values", None),
        ]);
        insta::assert_snapshot!(shown, @r"
        COLUMN  TYPE     MISSING  CHANGED                  WHY
        zip     text           2  -                        leading zeros, as in codes (line 3: `007`)
        年龄    integer        2  1 value read as missing  every value is one
        ");
    }
}
