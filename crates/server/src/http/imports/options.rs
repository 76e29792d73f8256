//! How a CSV file is written, from the query of an import.

use kaogong_api::datasets::ImportQuery;
use kaogong_data::{
    csv::{AskedType, Order},
    tables::CsvOptions,
};
use kaogong_domain::Problem;
use std::collections::BTreeMap;

/// The most words for "no value".
const NULLS_MAX: usize = 1000;

/// The options of a query; `is_csv` tells whether they have a meaning.
pub(super) fn of(query: &ImportQuery, is_csv: bool) -> Result<CsvOptions, Problem> {
    let options = CsvOptions {
        delimiter: delimiter(query.delimiter.as_deref())?,
        header: query.header,
        nulls: nulls(query.nulls.as_deref())?,
        decimal: character("decimal", query.decimal.as_deref())?,
        thousands: character("thousands", query.thousands.as_deref())?,
        skip_lines: query.skip_lines.unwrap_or(0),
        comment: character("comment", query.comment.as_deref())?,
        encoding: query.encoding.clone(),
        dates: query.dates.as_deref().map(order).transpose()?,
        types: types(query.types.as_deref())?,
    };
    if !is_csv && options != CsvOptions::default() {
        return Err(Problem::invalid("`delimiter`, `nulls`, `types` and the like are for CSV files")
            .hint("leave them out: the other formats say themselves what they hold"));
    }
    options.check()?;
    Ok(options)
}

fn delimiter(text: Option<&str>) -> Result<Option<char>, Problem> {
    match text {
        Some("whitespace") => Ok(Some(CsvOptions::WHITESPACE)),
        // The character that stands for it inside is nothing to ask for.
        Some("\0") => Err(Problem::invalid("'\\0' cannot separate values").hint("use a comma, semicolon, tab or bar")),
        other => character("delimiter", other),
    }
}

fn character(name: &str, text: Option<&str>) -> Result<Option<char>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let mut chars = if text == "\\t" || text == "tab" { "\t" } else { text }.chars();
    match (chars.next(), chars.next()) {
        (Some(it), None) => Ok(Some(it)),
        _ => Err(Problem::invalid(format!("`{name}` is one character")).hint("`tab` stands for a tab")),
    }
}

fn nulls(text: Option<&str>) -> Result<Vec<String>, Problem> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let words: Vec<String> = serde_json::from_str(text)
        .map_err(|_| Problem::invalid("`nulls` is a JSON list of texts").hint(r#"for example ["-","?"]"#))?;
    if words.len() > NULLS_MAX {
        return Err(Problem::invalid(format!("`nulls` has {} words, more than {NULLS_MAX}", words.len()))
            .hint("give the column a type instead"));
    }
    Ok(words)
}

fn types(text: Option<&str>) -> Result<BTreeMap<String, AskedType>, Problem> {
    let Some(text) = text else { return Ok(BTreeMap::new()) };
    let words: BTreeMap<String, String> = serde_json::from_str(text)
        .map_err(|_| Problem::invalid("`types` is a JSON object of texts").hint(r#"for example {"zip":"text"}"#))?;
    words.into_iter().map(|(name, word)| Ok((name, word.parse()?))).collect()
}

fn order(word: &str) -> Result<Order, Problem> {
    match word {
        "year" => Ok(Order::Year),
        "day" => Ok(Order::Day),
        "month" => Ok(Order::Month),
        _ => Err(Problem::invalid("`dates` tells which part stands first").hint("year, day or month")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_refused_by_name() {
        let query = ImportQuery {
            delimiter: Some("tab".into()),
            nulls: Some(r#"["-",","]"#.into()),
            types: Some(r#"{"a,b=c":"text"}"#.into()),
            dates: Some("day".into()),
            ..ImportQuery::default()
        };
        let options = of(&query, true).expect("options");
        assert_eq!(
            (options.delimiter, options.nulls, options.dates),
            (Some('\t'), vec!["-".into(), ",".into()], Some(Order::Day))
        );
        assert_eq!(options.types["a,b=c"], AskedType::Text);
        assert!(of(&query, false).is_err() && of(&ImportQuery::default(), false).is_ok());
        let spaced =
            ImportQuery { delimiter: Some("whitespace".into()), header: Some(false), ..ImportQuery::default() };
        let options = of(&spaced, true).expect("options");
        assert_eq!((options.delimiter, options.header), (Some(CsvOptions::WHITESPACE), Some(false)));
        assert!(of(&spaced, false).is_err());
        for bad in [
            ImportQuery { delimiter: Some(";;".into()), ..ImportQuery::default() },
            ImportQuery { delimiter: Some("\0".into()), ..ImportQuery::default() },
            ImportQuery { decimal: Some("x".into()), ..ImportQuery::default() },
            ImportQuery { nulls: Some("NA".into()), ..ImportQuery::default() },
            ImportQuery { types: Some(r#"{"a":"zip"}"#.into()), ..ImportQuery::default() },
            ImportQuery { dates: Some("dmy".into()), ..ImportQuery::default() },
        ] {
            let problem = of(&bad, true).expect_err("refused");
            assert!(problem.hint.is_some(), "{}", problem.text);
        }
    }
}
