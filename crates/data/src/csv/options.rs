//! How a CSV file is written, where the file itself does not say.

use super::{Order, records::WHITESPACE};
use kaogong_domain::Problem;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, str::FromStr};

/// How a CSV file is written. What is absent is found out from the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CsvOptions {
    /// Between values; `None` looks at the first lines (comma, semicolon, tab, bar or runs of spaces).
    pub delimiter: Option<char>,
    /// Whether the first line names the columns; `None` takes it as names unless it looks like a row.
    pub header: Option<bool>,
    /// Texts that mean "no value" in every column when they stand without quotes, besides the empty text.
    pub nulls: Vec<String>,
    /// Between whole and fraction: a full stop or a comma.
    pub decimal: Option<char>,
    /// Between groups of three digits: a comma, full stop, space or apostrophe.
    pub thousands: Option<char>,
    /// Lines before the header line that are no part of the table.
    pub skip_lines: u32,
    /// Lines that begin with this are no part of the table.
    pub comment: Option<char>,
    /// The encoding by its name on the web: `utf-8`, `latin1`, `gb18030`, `utf-16le`, …
    pub encoding: Option<String>,
    /// Which part of a date stands first, where the values do not tell.
    pub dates: Option<Order>,
    /// Types of columns by name, instead of what the values say.
    pub types: BTreeMap<String, AskedType>,
}

impl CsvOptions {
    /// The delimiter that stands for runs of spaces and tabs.
    pub const WHITESPACE: char = WHITESPACE as char;

    /// Checks that the characters can do what they are chosen for.
    ///
    /// # Errors
    /// `Invalid`, with the option's name.
    pub fn check(&self) -> Result<(), Problem> {
        let usable = |it: char| it.is_ascii() && !matches!(it, '"' | '\n' | '\r' | '\0');
        if let Some(it) = self.delimiter.filter(|it| !usable(*it) && *it != Self::WHITESPACE) {
            return Err(Problem::invalid(format!("{it:?} cannot separate values"))
                .hint("use a comma, semicolon, tab, bar or `whitespace`"));
        }
        if let Some(it) = self.comment.filter(|it| !usable(*it) || Some(*it) == self.delimiter) {
            return Err(Problem::invalid(format!("{it:?} cannot begin a comment")).hint("use # or %"));
        }
        if let Some(it) = self.decimal.filter(|it| !matches!(it, '.' | ',')) {
            return Err(Problem::invalid(format!("{it:?} cannot be the decimal sign")).hint("use . or ,"));
        }
        if let Some(it) = self.thousands.filter(|it| !matches!(it, '.' | ',' | ' ' | '\'')) {
            return Err(Problem::invalid(format!("{it:?} cannot separate thousands"))
                .hint("use a comma, a full stop, a space or an apostrophe"));
        }
        if self.thousands.is_some() && self.thousands == self.decimal {
            return Err(Problem::invalid("the decimal sign and the sign between thousands are the same")
                .hint("choose two different ones"));
        }
        Ok(())
    }
}

/// A type that somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AskedType {
    /// As it stands.
    Text,
    /// `true` and `false`.
    Boolean,
    /// Whole numbers of 64 bits.
    Integer,
    /// Numbers as 64-bit floats; digits beyond that are rounded, and counted as changed.
    Number,
    /// A date.
    Date,
    /// A date and a time of day.
    Timestamp,
}

impl AskedType {
    /// All types.
    pub const ALL: [Self; 6] = [Self::Text, Self::Boolean, Self::Integer, Self::Number, Self::Date, Self::Timestamp];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
        }
    }
}

impl FromStr for AskedType {
    type Err = Problem;

    fn from_str(word: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|it| it.as_str() == word).ok_or_else(|| {
            let shown: String = word.chars().take(32).collect();
            Problem::invalid(format!("`{shown}` is no type of a column"))
                .hint("text, boolean, integer, number, date or timestamp")
        })
    }
}
