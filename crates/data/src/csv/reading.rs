//! The second pass: a field as the value that its column was decided to hold.

use super::{
    CsvOptions, Field,
    dates::{self, Order, write_date, write_timestamp},
    numbers::{self, Style, write_float},
};

/// Texts that mean "no value" in columns of numbers, dates and booleans, and nowhere else.
const NULL_WORDS: [&str; 18] = [
    "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN", "-NaN", "-nan", "NULL", "null", "Null", "None", "none",
    "#NA", "NIL", "nil",
];

/// Whether a text without quotes means "no value" where the other values are numbers, dates or booleans.
pub(super) fn is_null_word(text: &str) -> bool {
    // Most values are told apart by their first letter.
    match text.as_bytes().first() {
        Some(b' ' | b'\t') => text.bytes().all(|it| matches!(it, b' ' | b'\t')),
        Some(b'N' | b'n' | b'#' | b'<' | b'-') => text.len() <= 4 && NULL_WORDS.contains(&text),
        _ => false,
    }
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Text as it stands.
    Text,
    /// Booleans.
    Boolean,
    /// Whole numbers of 64 bits.
    Integer,
    /// 64-bit floats.
    Number,
    /// Numbers of so many digits, of which so many are a fraction.
    Decimal {
        /// Digits in all, at most 38.
        precision: u8,
        /// Digits of the fraction.
        scale: u8,
    },
    /// Days.
    Date,
    /// Moments.
    Timestamp {
        /// Nanoseconds, where microseconds are too coarse.
        nanos: bool,
        /// `UTC` or an offset; `None` for a wall clock.
        zone: Option<String>,
    },
}

/// How a column is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    pub(super) kind: Kind,
    pub(super) style: Style,
    pub(super) percent: bool,
    pub(super) order: Order,
    /// Somebody asked for this type: values may be rounded to fit, and are counted.
    pub(super) forced: bool,
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Missing,
    /// Text as it stands.
    Text(&'a str),
    /// A boolean.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A float.
    Number(f64),
    /// The digits of a decimal, without the decimal sign.
    Decimal(i128),
    /// Days since 1970.
    Date(i32),
    /// Micro- or nanoseconds since 1970 in UTC.
    Timestamp(i64),
}

/// How a value differs from its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fidelity {
    /// An export writes the same text.
    Same,
    /// An export writes the same value in other words.
    Respelt,
    /// It is another value.
    Changed,
    /// A word that means "no value".
    NullWord,
}

impl Reading {
    /// Text as it stands.
    pub(super) fn text() -> Self {
        Self::of(Kind::Text)
    }

    pub(super) fn of(kind: Kind) -> Self {
        Self { kind, style: numbers::STYLES[0], percent: false, order: Order::Year, forced: false }
    }

    /// What the column holds.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Reads one field. `scratch` is memory that is used again.
    ///
    /// # Errors
    /// What the value is not, in a word or two.
    pub fn read<'a>(
        &self,
        field: Field<'a>,
        options: &CsvOptions,
        scratch: &mut String,
    ) -> Result<(Cell<'a>, Fidelity), &'static str> {
        if field.text.is_empty() && (!field.quoted || self.kind != Kind::Text) {
            return Ok((Cell::Missing, Fidelity::Same));
        }
        if !field.quoted && options.nulls.iter().any(|it| it == field.text) {
            return Ok((Cell::Missing, Fidelity::NullWord));
        }
        if self.kind == Kind::Text {
            return Ok((Cell::Text(field.text), Fidelity::Same));
        }
        if !field.quoted && is_null_word(field.text) {
            return Ok((Cell::Missing, Fidelity::NullWord));
        }
        let text = trimmed(field.text);
        let (cell, is_exact) = match &self.kind {
            Kind::Boolean => (Cell::Boolean(boolean(text).ok_or("`true` or `false`")?), true),
            Kind::Date => (Cell::Date(self.date(text)?), true),
            Kind::Timestamp { nanos, zone } => (Cell::Timestamp(self.timestamp(text, *nanos, zone.as_deref())?), true),
            _ => self.number(text, scratch)?,
        };
        Ok((cell, self.fidelity(&cell, field.text, is_exact)))
    }

    fn date(&self, text: &str) -> Result<i32, &'static str> {
        let moment = dates::read(text, self.order).ok_or("date")?;
        if moment.nanos.is_some() { Err("date without a time of day") } else { Ok(moment.days) }
    }

    fn timestamp(&self, text: &str, nanos: bool, zone: Option<&str>) -> Result<i64, &'static str> {
        let moment = dates::read(text, self.order).ok_or("date and time")?;
        if moment.zone.name().is_some() != zone.is_some() {
            return Err(if zone.is_some() { "time with a zone" } else { "time without a zone" });
        }
        if moment.fraction_digits > 6 && !nanos {
            return Err("time in microseconds");
        }
        if nanos { moment.whole_nanos().ok_or("time in nanoseconds") } else { Ok(moment.micros()) }
    }

    fn number<'a>(&self, text: &str, scratch: &mut String) -> Result<(Cell<'a>, bool), &'static str> {
        let text = if self.percent { trimmed(text.strip_suffix('%').unwrap_or(text)) } else { text };
        let whole = self.kind == Kind::Integer;
        let no = if whole { "whole number" } else { "number" };
        let shape = numbers::read(text, self.style, scratch).ok_or(no)?;
        if shape.leading_zero && !self.forced {
            return Err("number without leading zeros, which the dataset would lose");
        }
        match self.kind {
            Kind::Integer => {
                let is_nought = self.forced && shape.significant == 0 && !shape.point;
                if !(shape.is_whole() || is_nought) {
                    return Err(no);
                }
                let number = scratch.parse().map_err(|_| "whole number of 64 bits")?;
                Ok((Cell::Integer(number), !shape.leading_zero))
            }
            Kind::Decimal { scale, precision } => {
                let value = numbers::scaled(scratch, &shape, scale.into()).ok_or("number of that many digits")?;
                if value.unsigned_abs() >= 10u128.pow(precision.into()) {
                    return Err("number of that many digits");
                }
                Ok((Cell::Decimal(value), true))
            }
            _ => {
                let keeps = numbers::float_keeps(scratch, &shape);
                if !keeps && !self.forced {
                    return Err("number that 64 bits keep; it has too many digits");
                }
                let number = scratch.parse::<f64>().map_err(|_| no)?;
                Ok((Cell::Number(number), keeps && !shape.leading_zero))
            }
        }
    }

    fn fidelity(&self, cell: &Cell<'_>, text: &str, is_exact: bool) -> Fidelity {
        if !is_exact {
            return Fidelity::Changed;
        }
        let same = match cell {
            Cell::Integer(_) => text.bytes().all(|it| it.is_ascii_digit() || it == b'-'),
            Cell::Number(number) => is_usual(text) || write_float(*number) == text,
            _ => self.write(cell).is_some_and(|it| it == text),
        };
        if same { Fidelity::Same } else { Fidelity::Respelt }
    }

    /// The value as an export writes it; `None` for no value.
    pub fn write(&self, cell: &Cell<'_>) -> Option<String> {
        match (cell, &self.kind) {
            (Cell::Missing, _) => None,
            (Cell::Text(text), _) => Some((*text).to_owned()),
            (Cell::Boolean(it), _) => Some(it.to_string()),
            (Cell::Integer(it), _) => Some(it.to_string()),
            (Cell::Number(it), _) => Some(write_float(*it)),
            (Cell::Decimal(it), Kind::Decimal { scale, .. }) => Some(write_decimal(*it, (*scale).into())),
            (Cell::Decimal(it), _) => Some(it.to_string()),
            (Cell::Date(days), _) => Some(write_date(*days)),
            (Cell::Timestamp(it), Kind::Timestamp { nanos, zone }) => {
                write_timestamp(*it, if *nanos { 1_000_000_000 } else { 1_000_000 }, zone.as_deref())
            }
            (Cell::Timestamp(it), _) => write_timestamp(*it, 1_000_000, None),
        }
    }
}

fn write_decimal(value: i128, scale: usize) -> String {
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// The text without spaces and tabs around it.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// A boolean as programs write it.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Whether a float is spelt as an export would spell it, seen at a glance: `-12.5`.
fn is_usual(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let Some((whole, fraction)) = text.split_once('.') else { return false };
    let digits = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
    let ends_well = fraction == "0" || !fraction.ends_with('0');
    let begins_well = whole == "0" || !whole.starts_with('0');
    let large_enough = whole != "0" || fraction == "0" || !fraction.starts_with("0000");
    digits(whole) && digits(fraction) && ends_well && begins_well && large_enough && whole.len() + fraction.len() <= 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_usual_is_what_exports_write() {
        for text in ["0.1", "-12.5", "1.0", "123456789.123456", "0.0001", "-0.0", "0.00012345"] {
            assert!(is_usual(text) && write_float(text.parse().expect("a number")) == text, "{text}");
        }
        for text in ["1", "1.50", ".5", "5.", "01.5", "0.00001", "1e5", "1234567890.1234567"] {
            assert!(!is_usual(text), "{text}");
        }
    }

    #[test]
    fn decimals_keep_their_scale() {
        let shown = [(5, 2), (-5, 1), (1234, 2), (7, 0)].map(|(value, scale)| write_decimal(value, scale));
        assert_eq!(shown, ["0.05", "-0.5", "12.34", "7"]);
    }
}
