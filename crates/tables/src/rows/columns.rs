//! Columns of a file and columns of a table: names that both can have, and the same types in every version.

use crate::layout;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::{
    CastOptions, cast, cast_with_options,
    display::{ArrayFormatter, FormatOptions},
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use kaogong_data::tables::ColumnKind;
use kaogong_domain::Problem;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// The most columns of a table.
const COLUMNS_MAX: usize = 10_000;
/// The longest name of a column, in bytes.
const NAME_BYTES_MAX: usize = 4096;
/// The longest name in the table, in characters; longer ones are cut there and kept whole beside.
const STORED_CHARS_MAX: usize = 100;

/// Columns with names that a table can have.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) fields: Vec<Field>,
    /// The name in the file, for columns that bear another because two had one name.
    pub(super) renamed: Vec<Option<String>>,
}

/// Table columns for the columns of a file.
///
/// Any name is a name. The table has it as it is where it is made of letters, digits, spaces, `-` and `_`; what other
/// programs would read as more than a name is written with `_` there, and the file's name kept beside. Of two columns
/// of one name the second is called `name_2`.
pub(super) fn stored(fields: &[Arc<Field>]) -> Result<Named, Problem> {
    if fields.is_empty() {
        return Err(Problem::invalid("the file has no columns").hint("its first line must name the columns"));
    }
    if fields.len() > COLUMNS_MAX {
        return Err(Problem::invalid(format!("the file has {} columns, more than {COLUMNS_MAX}", fields.len()))
            .hint("keep long vectors in one list column, or leave columns out"));
    }
    if let Some((at, long)) = fields.iter().enumerate().find(|it| it.1.name().len() > NAME_BYTES_MAX) {
        let bytes = long.name().len();
        return Err(Problem::invalid(format!("the name of column {} has {bytes} bytes", at + 1))
            .hint(format!("names have at most {NAME_BYTES_MAX}; is the first line the header?")));
    }
    let (names, renamed) = distinct(fields);
    let all: HashSet<&str> = names.iter().map(|it| it.trim()).collect();
    let mut taken = HashSet::from([layout::ITEM_ID.to_owned()]);
    let columns = fields.iter().zip(&names).enumerate().map(|(at, (field, name))| {
        let trimmed = name.trim();
        let wanted = harmless(trimmed).unwrap_or_else(|| format!("column_{}", at + 1));
        let free = |it: &String| !taken.contains(it) && (*it == trimmed || !all.contains(it.as_str()));
        let found = numbered(&wanted).find(free);
        let stored = found.unwrap_or(wanted);
        taken.insert(stored.clone());
        layout::column(&stored, name, restored(field))
    });
    Ok(Named { fields: columns.collect(), renamed })
}

/// The name, then the name with 2, 3, … behind it.
fn numbered(name: &str) -> impl Iterator<Item = String> {
    std::iter::once(name.to_owned()).chain((2u32..).map(move |it| format!("{name}_{it}")))
}

/// The names of the columns, each one once, and what those were called that are renamed. Nameless columns stay so.
fn distinct(fields: &[Arc<Field>]) -> (Vec<String>, Vec<Option<String>>) {
    let all: HashSet<&str> = fields.iter().map(|it| it.name().trim()).collect();
    let mut taken = HashSet::new();
    let names = fields.iter().map(|field| {
        let name = field.name().trim();
        if name.is_empty() || taken.insert(name.to_owned()) {
            return (field.name().clone(), None);
        }
        let free = |it: &String| !taken.contains(it) && !all.contains(it.as_str());
        let other = numbered(name).find(free).unwrap_or_else(|| name.to_owned());
        taken.insert(other.clone());
        (other, Some(name.to_owned()))
    });
    names.unzip()
}

/// A name that no program reads as an expression, a path or a column of its own; `None` when nothing is left of it.
fn harmless(name: &str) -> Option<String> {
    let plain = |it: char| it.is_alphanumeric() || matches!(it, '_' | '-' | ' ');
    let name: String = name.chars().map(|it| if plain(it) { it } else { '_' }).take(STORED_CHARS_MAX).collect();
    // Columns that begin with an underscore belong to the table format.
    let name = name.trim_start_matches(['_', '-', ' ']).trim_end();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The type a column had in the dataset that an export of ours was made of, where Parquet has no such type.
fn restored(field: &Field) -> DataType {
    match (layout::exported_type_of(field), plain(field.data_type())) {
        (Some(layout::SECONDS), DataType::Timestamp(TimeUnit::Millisecond, zone)) => {
            DataType::Timestamp(TimeUnit::Second, zone)
        }
        (Some(layout::SECONDS), DataType::Time32(TimeUnit::Millisecond)) => DataType::Time32(TimeUnit::Second),
        (Some(layout::DATE_64), DataType::Date32) => DataType::Date64,
        (_, other) => other,
    }
}

/// The type a column has in the table: without encodings that only save space in memory.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain(values),
        DataType::RunEndEncoded(_, values) => plain(values.data_type()),
        DataType::Utf8View | DataType::Null => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

/// A batch without encodings that only save space in memory, so that its size is what it will take in the table.
pub(super) fn unpacked(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    if batch.columns().iter().all(|it| plain(it.data_type()) == *it.data_type()) {
        return Ok(batch);
    }
    let columns: Result<Vec<_>, _> = batch.columns().iter().map(|it| cast(it, &plain(it.data_type()))).collect();
    let columns = columns?;
    let fields = batch.schema_ref().fields().iter().zip(&columns);
    let fields: Vec<_> = fields.map(|(it, column)| Field::new(it.name(), column.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// What tells the columns of a file apart: their names, and for nameless ones which of these it is.
fn keys(fields: &[Field]) -> Vec<(String, usize)> {
    let mut nameless = 0;
    let key = |it: &Field| {
        let name = layout::file_name_of(it).trim().to_owned();
        nameless += usize::from(name.is_empty());
        let which = if name.is_empty() { nameless } else { 0 };
        (name, which)
    };
    fields.iter().map(key).collect()
}

/// Where each table column lies in the file, after checking that the file has the base version's columns.
pub(super) fn matched(file: &[Field], base: &[Field]) -> Result<Vec<usize>, Problem> {
    let (file, base) = (keys(file), keys(base));
    let places: HashMap<_, _> = file.iter().enumerate().map(|(at, it)| (it, at)).collect();
    let found: Vec<_> = base.iter().filter_map(|it| places.get(it).copied()).collect();
    if found.len() == base.len() && base.len() == file.len() {
        return Ok(found);
    }
    let wanted: HashSet<_> = base.iter().collect();
    let shown = |it: &(String, usize)| match it.1 {
        0 => format!("`{}`", it.0),
        which => format!("nameless column {which}"),
    };
    let missing: Vec<_> = base.iter().filter(|it| !places.contains_key(it)).map(shown).collect();
    let extra: Vec<_> = file.iter().filter(|it| !wanted.contains(it)).map(shown).collect();
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("it lacks {}", missing.join(", ")));
    }
    if !extra.is_empty() {
        parts.push(format!("it has also {}", extra.join(", ")));
    }
    Err(Problem::invalid(format!("the file's columns are not those of the dataset: {}", parts.join("; ")))
        .hint("append a file with the same columns, or replace the content"))
}

/// A batch of the file as the table's columns, without the id.
pub(super) fn conform(batch: &RecordBatch, places: &[usize], columns: &[Field]) -> Result<Vec<ArrayRef>, Problem> {
    let conformed = |(place, column): (&usize, &Field)| {
        exactly(batch.column(*place), column.data_type()).map_err(|reason| {
            Problem::invalid(format!("column `{}` does not fit: {reason}", layout::file_name_of(column)))
                .hint(format!("the dataset keeps it as {}; convert the file", column.data_type()))
        })
    };
    places.iter().zip(columns).map(conformed).collect()
}

/// Values in another type that holds every one of them: cast there and back they are the same.
pub(crate) fn exactly(values: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, String> {
    if values.data_type() == wanted {
        return Ok(values.clone());
    }
    let (from, temporal) = (values.data_type(), |it: &DataType| it.is_temporal());
    if temporal(from) != temporal(wanted) && (from.is_numeric() || wanted.is_numeric()) {
        return Err(format!("it holds {from} and not {wanted}"));
    }
    if let (DataType::Timestamp(_, one), DataType::Timestamp(_, other)) = (from, wanted)
        && one.is_some() != other.is_some()
    {
        return Err("times with a zone and without do not go together".to_owned());
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let cast = |values: &ArrayRef, wanted: &DataType| cast_with_options(values, wanted, &strict);
    let there = cast(values, wanted).map_err(|it| it.to_string())?;
    let back = cast(&there, values.data_type()).map_err(|it| it.to_string())?;
    if back.to_data() == values.to_data() {
        return Ok(there);
    }
    let row = (0..values.len()).find(|row| back.slice(*row, 1).to_data() != values.slice(*row, 1).to_data());
    let shown = row.and_then(|row| {
        let texts = ArrayFormatter::try_new(values.as_ref(), &FormatOptions::default()).ok()?;
        texts.value(row).try_to_string().ok()
    });
    let shown: String = shown.unwrap_or_default().chars().take(80).collect();
    Err(format!("{wanted} cannot hold `{shown}`"))
}

/// The columns of a table version, without the id.
pub(super) fn of_table(schema: &Schema) -> Vec<Field> {
    schema.fields().iter().filter(|it| it.name() != layout::ITEM_ID).map(|it| it.as_ref().clone()).collect()
}

/// The stored name of the column that people call `target`.
pub(super) fn find_target<'a>(columns: &'a [Field], target: &str) -> Result<&'a str, Problem> {
    let wanted = target.trim();
    let by_name = columns.iter().find(|it| layout::file_name_of(it).trim() == wanted);
    let found = by_name.or_else(|| columns.iter().find(|it| it.name() == wanted));
    found.map(|it| it.name().as_str()).ok_or_else(|| {
        let names: Vec<_> = columns.iter().take(20).map(layout::file_name_of).collect();
        Problem::invalid(format!("there is no column `{wanted}` to be the target")).hint(format!(
            "the columns are: {}{}",
            names.join(", "),
            if columns.len() > 20 { ", …" } else { "" }
        ))
    })
}

/// The family of a type.
pub(super) fn kind(data_type: &DataType) -> ColumnKind {
    match data_type {
        DataType::Boolean => ColumnKind::Boolean,
        it if it.is_integer() => ColumnKind::Integer,
        it if it.is_floating() || it.is_decimal() => ColumnKind::Float,
        DataType::Utf8 | DataType::LargeUtf8 => ColumnKind::Text,
        it if it.is_temporal() => ColumnKind::Time,
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => ColumnKind::Binary,
        _ => ColumnKind::Other,
    }
}

/// The whole schema of the items table.
pub(super) fn schema(columns: &[Field], target: Option<&str>) -> SchemaRef {
    layout::rows_schema(columns.iter().cloned(), target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int64Array, TimestampMicrosecondArray};

    fn fields(names: &[&str]) -> Vec<Arc<Field>> {
        names.iter().map(|it| Arc::new(Field::new(*it, DataType::Int64, true))).collect()
    }

    #[test]
    fn names_a_table_cannot_have_are_changed_and_remembered() {
        let names = ["sepal.length", "", " b ", "sepal_length", "column_2", "item_id", "_rowid", "c`x", "`", "数据"];
        let columns = stored(&fields(&names)).expect("columns").fields;
        let shown: Vec<_> = columns.iter().map(|it| (it.name().as_str(), layout::file_name_of(it))).collect();
        assert_eq!(
            shown,
            [
                ("sepal_length_2", "sepal.length"),
                ("column_2_2", ""),
                ("b", " b "),
                ("sepal_length", "sepal_length"),
                ("column_2", "column_2"),
                ("item_id_2", "item_id"),
                ("rowid", "_rowid"),
                ("c_x", "c`x"),
                ("column_9", "`"),
                ("数据", "数据"),
            ]
        );
        assert_eq!(find_target(&columns, "sepal.length").expect("a target"), "sepal_length_2");
        assert!(find_target(&columns, "colour").is_err());
    }

    #[test]
    fn columns_of_one_name_are_numbered() {
        let named = stored(&fields(&["a", "a", "a_2", " a", "", ""])).expect("columns");
        let names: Vec<_> = named.fields.iter().map(layout::file_name_of).collect();
        assert_eq!(names, ["a", "a_3", "a_2", "a_4", "", ""]);
        let renamed: Vec<_> = named.renamed.iter().map(|it| it.as_deref().unwrap_or("-")).collect();
        assert_eq!(renamed, ["-", "a", "-", "a", "-", "-"]);
    }

    #[test]
    fn impossible_headers_are_refused() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        assert!(stored(&fields(&[])).is_err() && stored(&fields(&[&long])).is_err());
    }

    #[test]
    fn casts_lose_nothing() {
        let micros: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(1_000_000), None, Some(-1)]));
        let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
        assert_eq!(
            exactly(&micros, &millis).expect_err("a loss"),
            "Timestamp(ms) cannot hold `1969-12-31T23:59:59.999999`"
        );
        assert!(exactly(&micros.slice(0, 2), &millis).is_ok());
        let wide: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![253_402_300_799_000_000]));
        assert!(exactly(&wide, &DataType::Timestamp(TimeUnit::Nanosecond, None)).is_err());
        let long: ArrayRef = Arc::new(Int64Array::from(vec![(1 << 53) + 1]));
        assert!(exactly(&long, &DataType::Float64).is_err() && exactly(&long, &DataType::Int32).is_err());
        assert!(exactly(&long, &DataType::Utf8).is_ok());
    }

    #[test]
    fn appended_columns_may_come_in_another_order() {
        let base = stored(&fields(&["a", "b.c"])).expect("columns").fields;
        let file = stored(&fields(&["b.c", "a"])).expect("columns").fields;
        assert_eq!(matched(&file, &base).expect("the same columns"), [1, 0]);
        let other = stored(&fields(&["a", "d"])).expect("columns").fields;
        assert_eq!(
            matched(&other, &base).expect_err("other columns").text,
            "the file's columns are not those of the dataset: it lacks `b.c`; it has also `d`"
        );
    }

    #[test]
    fn nameless_columns_are_matched_one_by_one() {
        let base = stored(&fields(&["", "a", ""])).expect("columns").fields;
        let file = stored(&fields(&["a", "", ""])).expect("columns").fields;
        assert_eq!(matched(&file, &base).expect("the same columns"), [1, 0, 2]);
        let fewer = stored(&fields(&["a", ""])).expect("columns").fields;
        let problem = matched(&fewer, &base).expect_err("one is missing");
        assert!(problem.text.ends_with("it lacks nameless column 2"), "{}", problem.text);
    }
}
