//! What is in a column: least, greatest, mean, missing and distinct values, gathered batch by batch.

use super::columns;
use crate::{layout, read::values};
use arrow_array::{
    Array,
    cast::AsArray,
    types::{Float64Type, Int64Type, UInt64Type},
};
use arrow_cast::{
    cast,
    display::{ArrayFormatter, FormatOptions},
};
use arrow_schema::{ArrowError, DataType, Field};
use kaogong_data::tables::{Column, ColumnKind};
use serde_json::Value;
use std::{
    collections::HashSet,
    hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher},
};

/// Distinct values are counted up to here.
const DISTINCT_MAX: usize = 100_000;
/// Longest text shown as least or greatest value, in characters.
const TEXT_CHARS_MAX: usize = 200;
/// What is kept of such a text while others are compared with it, in bytes.
const TEXT_BYTES_KEPT: usize = 1024;

/// The facts about one column so far.
#[derive(Debug)]
pub(super) struct ColumnStats {
    field: Field,
    kind: ColumnKind,
    nulls: u64,
    distinct: Option<Distinct>,
    range: Range,
    sum: f64,
    count: u64,
}

/// Hashes of values seen. They are hashes already, so the set need not hash again.
type Distinct = HashSet<u64, BuildHasherDefault<AsIs>>;

#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[derive(Debug)]
enum Range {
    Empty,
    Integers(i128, i128),
    Floats(f64, f64),
    Texts(String, String),
    /// Numbers to compare, texts to show.
    Times((i64, String), (i64, String)),
}

impl ColumnStats {
    pub(super) fn new(field: &Field) -> Self {
        let kind = columns::kind(field.data_type());
        let counted = !matches!(kind, ColumnKind::Binary | ColumnKind::Other);
        let distinct = counted.then(Distinct::default);
        Self { field: field.clone(), kind, nulls: 0, distinct, range: Range::Empty, sum: 0.0, count: 0 }
    }

    /// Adds a batch of values.
    pub(super) fn add(&mut self, values: &dyn Array) -> Result<(), ArrowError> {
        self.nulls += values.null_count() as u64;
        match self.kind {
            ColumnKind::Boolean => values.as_boolean().iter().flatten().for_each(|it| self.see(u64::from(it))),
            ColumnKind::Integer if self.field.data_type().is_unsigned_integer() => {
                let numbers = cast(values, &DataType::UInt64)?;
                numbers.as_primitive::<UInt64Type>().iter().flatten().for_each(|it| self.integer(i128::from(it)));
            }
            ColumnKind::Integer => {
                let numbers = cast(values, &DataType::Int64)?;
                numbers.as_primitive::<Int64Type>().iter().flatten().for_each(|it| self.integer(i128::from(it)));
            }
            ColumnKind::Float => {
                let numbers = cast(values, &DataType::Float64)?;
                numbers.as_primitive::<Float64Type>().iter().flatten().for_each(|it| self.float(it));
            }
            ColumnKind::Text if *self.field.data_type() == DataType::Utf8 => {
                values.as_string::<i32>().iter().flatten().for_each(|it| self.text(it));
            }
            ColumnKind::Text => values.as_string::<i64>().iter().flatten().for_each(|it| self.text(it)),
            ColumnKind::Time => self.times(values)?,
            ColumnKind::Binary | ColumnKind::Other => {}
        }
        Ok(())
    }

    fn see(&mut self, hash: u64) {
        if let Some(seen) = &mut self.distinct {
            seen.insert(hash);
            if seen.len() > DISTINCT_MAX {
                self.distinct = None;
            }
        }
    }

    fn integer(&mut self, value: i128) {
        self.see(spread(value as u64));
        self.sum += value as f64;
        self.count += 1;
        match &mut self.range {
            Range::Integers(least, greatest) => {
                *least = value.min(*least);
                *greatest = value.max(*greatest);
            }
            range => *range = Range::Integers(value, value),
        }
    }

    fn float(&mut self, value: f64) {
        self.see(spread(value.to_bits()));
        if value.is_nan() {
            return;
        }
        self.sum += value;
        self.count += 1;
        match &mut self.range {
            Range::Floats(least, greatest) => {
                *least = value.min(*least);
                *greatest = value.max(*greatest);
            }
            range => *range = Range::Floats(value, value),
        }
    }

    fn text(&mut self, value: &str) {
        if self.distinct.is_some() {
            let mut hasher = DefaultHasher::new();
            value.hash(&mut hasher);
            self.see(hasher.finish());
        }
        // What is shown is shorter still; a text of megabytes is not kept for it.
        let value = &value[..value.floor_char_boundary(TEXT_BYTES_KEPT)];
        match &mut self.range {
            Range::Texts(least, _) if value < least.as_str() => value.clone_into(least),
            Range::Texts(_, greatest) if value > greatest.as_str() => value.clone_into(greatest),
            Range::Texts(..) => {}
            range => *range = Range::Texts(value.to_owned(), value.to_owned()),
        }
    }

    fn times(&mut self, values: &dyn Array) -> Result<(), ArrowError> {
        let narrow = matches!(values.data_type(), DataType::Date32 | DataType::Time32(_));
        let numbers = if narrow { cast(values, &DataType::Int32)? } else { values.slice(0, values.len()) };
        let numbers = cast(&numbers, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>();
        let texts = ArrayFormatter::try_new(values, &FormatOptions::default())?;
        for (row, number) in numbers.iter().enumerate() {
            let Some(number) = number else { continue };
            self.see(spread(number as u64));
            match &mut self.range {
                Range::Times(least, _) if number < least.0 => *least = (number, texts.value(row).try_to_string()?),
                Range::Times(_, greatest) if number > greatest.0 => {
                    *greatest = (number, texts.value(row).try_to_string()?)
                }
                Range::Times(..) => {}
                range => {
                    let text = texts.value(row).try_to_string()?;
                    *range = Range::Times((number, text.clone()), (number, text));
                }
            }
        }
        Ok(())
    }

    /// The facts, for the summary.
    pub(super) fn finish(self) -> Column {
        let (min, max) = match self.range {
            Range::Empty => (Value::Null, Value::Null),
            Range::Integers(least, greatest) => (values::whole(least), values::whole(greatest)),
            Range::Floats(least, greatest) => (values::float(least), values::float(greatest)),
            Range::Texts(least, greatest) => (cut(&least), cut(&greatest)),
            Range::Times(least, greatest) => (cut(&least.1), cut(&greatest.1)),
        };
        let name = layout::file_name_of(&self.field).to_owned();
        let mean = self.sum / self.count as f64;
        Column {
            stored_name: (name != *self.field.name()).then(|| self.field.name().clone()),
            name,
            kind: self.kind,
            data_type: self.field.data_type().to_string(),
            nulls: self.nulls,
            distinct: self.distinct.map(|it| it.len() as u64),
            min,
            max,
            mean: (self.count > 0 && mean.is_finite()).then_some(mean),
            import: None,
        }
    }
}

fn cut(text: &str) -> Value {
    text.chars().take(TEXT_CHARS_MAX).collect::<String>().into()
}

/// Spreads numbers over all bits (the finaliser of SplitMix64); distinct numbers stay distinct.
fn spread(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Date32Array, Float64Array, Int64Array, StringArray};
    use std::sync::Arc;

    fn facts(batches: &[ArrayRef]) -> Column {
        let mut stats = ColumnStats::new(&Field::new("x", batches[0].data_type().clone(), true));
        batches.iter().for_each(|it| stats.add(it).expect("values of that type"));
        stats.finish()
    }

    #[test]
    fn numbers() {
        let column = facts(&[
            Arc::new(Int64Array::from(vec![Some(5), None, Some(-2)])),
            Arc::new(Int64Array::from(vec![Some(5), Some(0)])),
        ]);
        assert_eq!((column.min, column.max, column.mean), ((-2).into(), 5.into(), Some(2.0)));
        assert_eq!((column.nulls, column.distinct, column.kind), (1, Some(3), ColumnKind::Integer));
        let column = facts(&[Arc::new(Float64Array::from(vec![1.5, f64::NAN, 0.5]))]);
        assert_eq!((column.min, column.max, column.mean), (0.5.into(), 1.5.into(), Some(1.0)));
    }

    #[test]
    fn texts_and_times() {
        let column = facts(&[Arc::new(StringArray::from(vec!["b", "a", "c", "a"]))]);
        assert_eq!((column.min, column.max, column.distinct), ("a".into(), "c".into(), Some(3)));
        let column = facts(&[Arc::new(Date32Array::from(vec![19_000, 0]))]);
        assert_eq!((column.min, column.max), ("1970-01-01".into(), "2022-01-08".into()));
    }

    #[test]
    fn too_many_distinct_values_are_not_counted() {
        let all = Int64Array::from_iter_values(0..=DISTINCT_MAX as i64);
        assert_eq!(facts(&[Arc::new(all)]).distinct, None);
    }
}
