//! Arrow values as JSON and as text.

use arrow_array::{
    Array, Int64Array,
    cast::AsArray,
    types::{Float32Type, Float64Type, Int64Type, UInt64Type},
};
use arrow_cast::{
    cast,
    display::{ArrayFormatter, FormatOptions},
};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use kaogong_data::{
    csv::{tells_moment, write_timestamp},
    tables::TableRow,
};
use serde_json::Value;
use std::fmt::Write;

/// Whole numbers up to here are the same in JavaScript.
const EXACT_MAX: u64 = 1 << 53;

/// The values of a column: numbers and booleans as such, everything else as text, cut where it is too long for a page.
pub(crate) fn json(column: &dyn Array) -> Result<Vec<Value>, ArrowError> {
    Ok(match column.data_type() {
        DataType::Boolean => column.as_boolean().iter().map(|it| it.map_or(Value::Null, Value::from)).collect(),
        DataType::Float64 => {
            column.as_primitive::<Float64Type>().iter().map(|it| it.map_or(Value::Null, float)).collect()
        }
        // Through its own text, so that 0.1 does not become 0.10000000149011612.
        DataType::Float32 => {
            let numbers = column.as_primitive::<Float32Type>().iter();
            numbers.map(|it| it.map_or(Value::Null, |it| it.to_string().parse().map_or(Value::Null, float))).collect()
        }
        it if it.is_unsigned_integer() => {
            let numbers = cast(column, &DataType::UInt64)?;
            numbers
                .as_primitive::<UInt64Type>()
                .iter()
                .map(|it| it.map_or(Value::Null, |it| whole(it.into())))
                .collect()
        }
        it if it.is_signed_integer() => {
            let numbers = cast(column, &DataType::Int64)?;
            numbers.as_primitive::<Int64Type>().iter().map(|it| it.map_or(Value::Null, |it| whole(it.into()))).collect()
        }
        _ => texts(column)?.into_iter().map(|it| it.map_or(Value::Null, Value::from)).collect(),
    })
}

/// A text that ends where a page would cut it. Writing more fails, so that a value of megabytes is not made into a
/// text of twice as many first.
#[derive(Debug, Default)]
struct Cut {
    text: String,
    chars: usize,
    is_full: bool,
}

impl Write for Cut {
    fn write_str(&mut self, more: &str) -> std::fmt::Result {
        let left = TableRow::CELL_CHARS_MAX - self.chars;
        match more.char_indices().nth(left) {
            None => {
                self.chars += more.chars().count();
                self.text.push_str(more);
                Ok(())
            }
            Some((end, _)) => {
                (self.chars, self.is_full) = (TableRow::CELL_CHARS_MAX, true);
                self.text.push_str(&more[..end]);
                self.text.push('…');
                Err(std::fmt::Error)
            }
        }
    }
}

/// A whole number, as text where JavaScript would round it.
pub(crate) fn whole(number: i128) -> Value {
    match i64::try_from(number) {
        Ok(small) if small.unsigned_abs() <= EXACT_MAX => small.into(),
        _ => number.to_string().into(),
    }
}

/// A number, as text where JSON has none for it.
pub(crate) fn float(number: f64) -> Value {
    serde_json::Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
}

/// The values of a column as texts, cut and marked where they are too long for a page.
pub(crate) fn texts(column: &dyn Array) -> Result<Vec<Option<String>>, ArrowError> {
    let texts = Texts::of(column)?;
    (0..column.len()).map(|row| texts.shown_at(row)).collect()
}

/// The values of a column as pages and CSV files spell them.
pub(crate) struct Texts<'a> {
    column: &'a dyn Array,
    texts: ArrayFormatter<'a>,
    /// Of moments with a zone: how many units make a second, and the units since 1970.
    moments: Option<(i64, Int64Array)>,
}

impl<'a> Texts<'a> {
    pub(crate) fn of(column: &'a dyn Array) -> Result<Self, ArrowError> {
        let moments = match column.data_type() {
            DataType::Timestamp(unit, Some(_)) => {
                let units = match unit {
                    TimeUnit::Second => 1,
                    TimeUnit::Millisecond => 1000,
                    TimeUnit::Microsecond => 1_000_000,
                    TimeUnit::Nanosecond => 1_000_000_000,
                };
                Some((units, cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone()))
            }
            _ => None,
        };
        Ok(Self { column, texts: ArrayFormatter::try_new(column, &OPTIONS)?, moments })
    }

    /// The text of a row, cut and marked where it is too long for a page.
    fn shown_at(&self, row: usize) -> Result<Option<String>, ArrowError> {
        if self.column.is_null(row) || self.moments.is_some() {
            return self.at(row);
        }
        let mut cut = Cut::default();
        match self.texts.value(row).write(&mut cut) {
            Err(error) if !cut.is_full => Err(error),
            _ => Ok(Some(cut.text)),
        }
    }

    pub(crate) fn at(&self, row: usize) -> Result<Option<String>, ArrowError> {
        if self.column.is_null(row) {
            return Ok(None);
        }
        let text = self.texts.value(row).try_to_string()?;
        // Before the time of railways, zones were some seconds off a whole minute, which no text tells; and a zone can
        // move a moment beyond the year 9999. Such moments are told in UTC.
        let in_utc = self.moments.as_ref().and_then(|(units, values)| {
            let value = values.value(row);
            (!tells_moment(&text, value, *units)).then(|| write_timestamp(value, *units, Some("UTC"))).flatten()
        });
        Ok(Some(in_utc.unwrap_or(text)))
    }
}

const OPTIONS: FormatOptions<'static> = FormatOptions::new();

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{
        BooleanArray, Date32Array, Float32Array, Float64Array, StringArray, TimestampSecondArray, UInt64Array,
    };

    #[test]
    fn long_texts_are_cut_and_marked() {
        for (text, chars, marked) in [("é".repeat(2000), 2000, false), ("é".repeat(2001), 2000, true)] {
            let shown = texts(&StringArray::from(vec![text.clone()])).expect("texts").remove(0).expect("a text");
            let length = shown.chars().count();
            assert_eq!((length, shown.ends_with('…'), shown == text), (chars + usize::from(marked), marked, !marked));
        }
    }

    #[test]
    fn every_kind_of_value_becomes_json_without_loss() {
        let all = |column: &dyn Array| Value::Array(json(column).expect("values")).to_string();
        assert_eq!(all(&Int64Array::from(vec![Some(-3), None, Some(i64::MAX)])), r#"[-3,null,"9223372036854775807"]"#);
        assert_eq!(all(&UInt64Array::from(vec![7, u64::MAX])), r#"[7,"18446744073709551615"]"#);
        assert_eq!(all(&Float64Array::from(vec![0.1, f64::NAN, f64::INFINITY])), r#"[0.1,"NaN","inf"]"#);
        assert_eq!(all(&Float32Array::from(vec![0.1])), "[0.1]");
        assert_eq!(all(&BooleanArray::from(vec![Some(true), None])), "[true,null]");
        assert_eq!(all(&StringArray::from(vec!["é\""])), r#"["é\""]"#);
        assert_eq!(all(&Date32Array::from(vec![0])), r#"["1970-01-01"]"#);
        // In the year 1 Berlin was 53 minutes and 28 seconds ahead.
        let moments = TimestampSecondArray::from(vec![-62_135_596_800, 1_720_598_400]).with_timezone("Europe/Berlin");
        assert_eq!(all(&moments), r#"["0001-01-01T00:00:00Z","2024-07-10T10:00:00+02:00"]"#);
    }
}
