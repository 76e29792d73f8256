//! MLflow's filter language: `metrics.accuracy > 0.9 AND params."learning rate" = '0.1'`, and `order_by` clauses.
//!
//! A recursive-descent reader over characters. It knows no field names: what a search can look at is decided by the
//! search, so that runs, experiments, registered models, their versions and logged models share one language.

use kaogong_store::{Comparator, Direction};

/// Longer filters are refused. Ten thousand run ids take a third of it.
const FILTER_BYTES_MAX: usize = 1 << 20;
/// More conditions are refused.
const CLAUSES_MAX: usize = 200;
/// More texts in one list are refused.
const LIST_MAX: usize = 10_000;
/// More texts in all lists of a filter are refused: SQLite takes at most 32,766 values in a statement.
const LISTED_MAX: usize = 30_000;

/// What a condition does with the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Compare(Comparator),
    IsNull,
    IsNotNull,
}

/// What a condition compares with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Text(String),
    Number(f64),
    List(Vec<String>),
    Nothing,
}

/// One condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Clause {
    /// `metrics` of `metrics.accuracy`; `None` when the key stands alone.
    pub(super) entity: Option<String>,
    /// `accuracy` of `metrics.accuracy`, without quotes.
    pub(super) key: String,
    pub(super) test: Test,
    pub(super) operand: Operand,
}

/// One key of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) entity: Option<String>,
    pub(super) key: String,
    pub(super) direction: Direction,
}

/// Reads conditions joined by AND. Errors are texts for the caller.
pub(super) fn parse_filter(text: &str) -> Result<Vec<Clause>, String> {
    if text.len() > FILTER_BYTES_MAX {
        return Err(format!("Invalid filter: it has more than {FILTER_BYTES_MAX} bytes"));
    }
    let mut reader = Reader::new(text);
    let (mut clauses, mut listed) = (vec![], 0);
    reader.skip_space();
    while !reader.is_at_end() {
        let clause = reader.clause()?;
        if let Operand::List(list) = &clause.operand {
            listed += list.len();
        }
        if listed > LISTED_MAX {
            return Err(format!(
                "Invalid filter: its lists have more than {LISTED_MAX} values together. Use several searches."
            ));
        }
        clauses.push(clause);
        if clauses.len() > CLAUSES_MAX {
            return Err(format!("Invalid filter: it has more than {CLAUSES_MAX} conditions"));
        }
        reader.skip_space();
        if reader.is_at_end() {
            break;
        }
        if !reader.take_word("AND") {
            return Err(format!("Invalid clause(s) in filter string: '{}'", reader.rest(60)));
        }
        reader.skip_space();
        if reader.is_at_end() {
            return Err("Invalid clause(s) in filter string: 'AND'".to_owned());
        }
    }
    Ok(clauses)
}

/// Reads one `order_by` clause: a field, then optionally ASC or DESC.
pub(super) fn parse_order(text: &str) -> Result<Order, String> {
    let bad =
        || format!("Invalid order_by clause '{}'. Could not be parsed.", text.chars().take(200).collect::<String>());
    if text.len() > FILTER_BYTES_MAX {
        return Err(bad());
    }
    let mut reader = Reader::new(text);
    reader.skip_space();
    let (entity, key) = reader.identifier().map_err(|_| bad())?;
    reader.skip_space();
    let direction = if reader.take_word("DESC") {
        Direction::Descending
    } else {
        reader.take_word("ASC");
        Direction::Ascending
    };
    reader.skip_space();
    if reader.is_at_end() { Ok(Order { entity, key, direction }) } else { Err(bad()) }
}

struct Reader {
    chars: Vec<char>,
    at: usize,
}

impl Reader {
    fn new(text: &str) -> Self {
        Self { chars: text.chars().collect(), at: 0 }
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.chars.len()
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn rest(&self, most: usize) -> String {
        self.chars[self.at.min(self.chars.len())..].iter().take(most).collect()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// Takes a word of any case when it stands there alone.
    fn take_word(&mut self, word: &str) -> bool {
        let end = self.at + word.len();
        let is_there = self.chars.len() >= end
            && self.chars[self.at..end].iter().zip(word.chars()).all(|(a, b)| a.eq_ignore_ascii_case(&b))
            && self.chars.get(end).is_none_or(|it| !it.is_alphanumeric() && *it != '_' && *it != '.');
        if is_there {
            self.at = end;
        }
        is_there
    }

    /// A text in quotes; two quotes in a row stand for one.
    fn quoted(&mut self) -> Result<String, String> {
        let start = self.at;
        let Some(quote) = self.peek() else { return Err("Invalid filter: it ends too early".to_owned()) };
        self.at += 1;
        let mut text = String::new();
        while let Some(it) = self.peek() {
            self.at += 1;
            if it != quote {
                text.push(it);
            } else if self.peek() == Some(quote) {
                text.push(quote);
                self.at += 1;
            } else {
                return Ok(text);
            }
        }
        let shown: String = self.chars[start..].iter().take(40).collect();
        Err(format!("Invalid filter: the quote of {shown} is not closed"))
    }

    fn bare(&mut self) -> String {
        let start = self.at;
        let stops = |it: char| it.is_whitespace() || "=!<>()'\"`,".contains(it);
        while self.peek().is_some_and(|it| !stops(it)) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn is_at_quote(&self) -> bool {
        matches!(self.peek(), Some('"' | '`'))
    }

    /// `entity.key`, each perhaps in quotes, or a key alone.
    fn identifier(&mut self) -> Result<(Option<String>, String), String> {
        let bad = |it: &Self| format!("Invalid clause(s) in filter string: '{}'", it.rest(60));
        if self.is_at_quote() {
            let first = self.quoted()?;
            if self.peek() != Some('.') {
                return Ok((None, first));
            }
            self.at += 1;
            let key = if self.is_at_quote() { self.quoted()? } else { self.bare() };
            return if key.is_empty() { Err(bad(self)) } else { Ok((Some(first), key)) };
        }
        let word = self.bare();
        if word.is_empty() {
            return Err(bad(self));
        }
        match word.split_once('.') {
            None => Ok((None, word)),
            Some((entity, "")) if self.is_at_quote() || self.peek() == Some('\'') => {
                Ok((Some(entity.to_owned()), self.quoted()?))
            }
            Some((entity, key)) if !key.is_empty() && !entity.is_empty() => {
                Ok((Some(entity.to_owned()), key.to_owned()))
            }
            Some(_) => Err(format!("Invalid clause(s) in filter string: '{word}'")),
        }
    }

    fn test(&mut self) -> Result<Test, String> {
        const SIGNS: [(&str, Comparator); 7] = [
            ("!=", Comparator::NotEqual),
            ("<>", Comparator::NotEqual),
            ("<=", Comparator::LessOrEqual),
            (">=", Comparator::GreaterOrEqual),
            ("=", Comparator::Equal),
            ("<", Comparator::Less),
            (">", Comparator::Greater),
        ];
        let ahead = self.rest(2);
        if let Some((sign, comparator)) = SIGNS.iter().find(|it| ahead.starts_with(it.0)) {
            self.at += sign.len();
            return Ok(Test::Compare(*comparator));
        }
        if self.take_word("LIKE") {
            return Ok(Test::Compare(Comparator::Like));
        }
        if self.take_word("ILIKE") {
            return Ok(Test::Compare(Comparator::ILike));
        }
        if self.take_word("IN") {
            return Ok(Test::Compare(Comparator::In));
        }
        if self.take_word("NOT") {
            self.skip_space();
            if self.take_word("IN") {
                return Ok(Test::Compare(Comparator::NotIn));
            }
        } else if self.take_word("IS") {
            self.skip_space();
            let is_not = self.take_word("NOT");
            self.skip_space();
            if self.take_word("NULL") {
                return Ok(if is_not { Test::IsNotNull } else { Test::IsNull });
            }
        }
        Err(format!("Invalid comparison clause. Expected comparison found '{}'", self.rest(40)))
    }

    fn list(&mut self) -> Result<Vec<String>, String> {
        const BAD: &str = "While parsing a list in the query, expected string value, punctuation, or whitespace, but got different type in list";
        self.at += 1;
        let mut list = vec![];
        loop {
            self.skip_space();
            match self.peek() {
                Some(')') => {
                    self.at += 1;
                    // Sorted, so that a value is found fast among many.
                    list.sort_unstable();
                    list.dedup();
                    return if list.is_empty() {
                        Err("While parsing a list in the query, expected a non-empty list of string values, but got empty list".to_owned())
                    } else {
                        Ok(list)
                    };
                }
                Some('\'' | '"') if list.len() < LIST_MAX => list.push(self.quoted()?),
                Some('\'' | '"') => {
                    return Err(format!(
                        "Invalid filter: a list has more than {LIST_MAX} values. Use several searches."
                    ));
                }
                _ => return Err(BAD.to_owned()),
            }
            self.skip_space();
            match self.peek() {
                Some(',') => self.at += 1,
                Some(')') => {}
                _ => return Err(BAD.to_owned()),
            }
        }
    }

    fn operand(&mut self) -> Result<Operand, String> {
        match self.peek() {
            Some('\'' | '"' | '`') => Ok(Operand::Text(self.quoted()?)),
            Some('(') => Ok(Operand::List(self.list()?)),
            _ => {
                let word = self.bare();
                match word.parse::<f64>() {
                    Ok(number) if word.starts_with(|it: char| it.is_ascii_digit() || "+-.".contains(it)) => {
                        Ok(Operand::Number(number))
                    }
                    _ => Err(format!(
                        "Parameter value is either not quoted or unidentified quote types used for string value {word}. \
                         Use either single or double quotes."
                    )),
                }
            }
        }
    }

    fn clause(&mut self) -> Result<Clause, String> {
        let (entity, key) = self.identifier()?;
        self.skip_space();
        let test = self.test()?;
        self.skip_space();
        let operand = match test {
            Test::IsNull | Test::IsNotNull => Operand::Nothing,
            Test::Compare(_) => self.operand()?,
        };
        let wants_list = matches!(test, Test::Compare(Comparator::In | Comparator::NotIn));
        if wants_list != matches!(operand, Operand::List(_)) {
            return Err(format!(
                "Invalid comparison clause for '{key}': IN takes a list in parentheses, and only IN does"
            ));
        }
        Ok(Clause { entity, key, test, operand })
    }
}

/// Texts that are nearly filters or JSON, the same in every run, for tests that nothing makes a reader panic.
#[cfg(test)]
pub(super) fn drawn_texts(count: u64) -> impl Iterator<Item = String> {
    const PIECES: [&str; 40] = [
        "metrics",
        "tags",
        "params",
        "datasets",
        "run_id",
        "name",
        "a",
        ".",
        "`",
        "\"",
        "'",
        "''",
        " ",
        "  ",
        "=",
        "!=",
        "<",
        ">",
        "!",
        "LIKE",
        "IN",
        "NOT",
        "IS",
        "NULL",
        "AND",
        "OR",
        "(",
        ")",
        ",",
        "1",
        "-1e9",
        "é",
        "考",
        "\u{0}",
        "\\",
        "{",
        "}",
        "NaN",
        "-Infinity",
        ":",
    ];
    (0..count).map(|seed| {
        let mut bytes = [0u8; 33];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        let length = usize::from(bytes[0]) % 32;
        bytes[1..=length].iter().map(|it| PIECES[usize::from(*it) % PIECES.len()]).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Clause {
        let mut all = parse_filter(text).expect("a filter");
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    #[test]
    fn what_people_write_is_read() {
        let clause = one("metrics.accuracy >= 0.92");
        assert_eq!((clause.entity.as_deref(), clause.key.as_str()), (Some("metrics"), "accuracy"));
        assert_eq!((clause.test, clause.operand), (Test::Compare(Comparator::GreaterOrEqual), Operand::Number(0.92)));
        assert_eq!(one("tags.mlflow.source.name = 'x'").key, "mlflow.source.name");
        assert_eq!(one("params.\"learning rate\"='it''s'").operand, Operand::Text("it's".into()));
        assert_eq!(one("metrics.`a b` < -1e-3").key, "a b");
        assert_eq!(one("metrics.'a b' < 1").key, "a b");
        assert_eq!(one("name ILIKE \"%x%\"").test, Test::Compare(Comparator::ILike));
        assert_eq!(one("run_id IN ('a', 'b')").operand, Operand::List(vec!["a".into(), "b".into()]));
        assert_eq!(one("attributes.run_id not in ('a')").test, Test::Compare(Comparator::NotIn));
        assert_eq!(one("tags.a IS NOT NULL").test, Test::IsNotNull);
        assert_eq!(parse_filter("a = 'x and y' AND b = 'z' and c=1").expect("three").len(), 3);
        assert_eq!(parse_filter("  ").expect("none").len(), 0);
    }

    #[test]
    fn what_means_nothing_is_refused_with_mlflows_words() {
        let refused = |text: &str| parse_filter(text).expect_err(text);
        assert!(refused("metrics.a > 1 OR metrics.b > 2").starts_with("Invalid clause(s) in filter string: 'OR"));
        assert!(refused("params.a = x").contains("not quoted"));
        assert!(refused("params.a = 'x").contains("not closed"));
        assert!(refused("run_id IN ()").contains("empty list"));
        for text in ["metrics.", ".a = 1", "a", "a =", "a IS", "a = 1 AND", "a IN 'x'", "a = ('x')", "= 1"] {
            refused(text);
        }
    }

    #[test]
    fn orders_are_read() {
        let order = parse_order("metrics.`a b` DESC").expect("an order");
        assert_eq!((order.key.as_str(), order.direction), ("a b", Direction::Descending));
        assert_eq!(parse_order("start_time").expect("an order").direction, Direction::Ascending);
        assert!(parse_order("start_time sideways").is_err() && parse_order("").is_err());
    }

    #[test]
    fn no_text_makes_it_panic() {
        for text in drawn_texts(20_000) {
            let _ = parse_filter(&text);
            let _ = parse_order(&text);
        }
    }

    #[test]
    fn a_quoted_text_comes_back() {
        for value in drawn_texts(2_000) {
            let text = format!("tags.key = '{}'", value.replace('\'', "''"));
            let all = parse_filter(&text).expect("a filter");
            assert_eq!(all[0].operand, Operand::Text(value));
        }
    }
}
