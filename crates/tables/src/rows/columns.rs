//! Columns of a file and columns of a table: names that both can have, and the same types in every version.

use crate::layout;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_cast::{CastOptions, cast, cast_with_options};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use kaogong_data::tables::ColumnKind;
use kaogong_domain::Problem;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// The most columns of a table.
const COLUMNS_MAX: usize = 10_000;
/// Names that begin like this belong to the table format.
const RESERVED_PREFIX: &str = "_row";

/// Table columns for the columns of a file.
///
/// A table's column cannot hold a full stop or be nameless; such names are changed, and the file's name kept
/// beside.
pub(super) fn stored(fields: &[Arc<Field>]) -> Result<Vec<Field>, Problem> {
    if fields.is_empty() {
        return Err(Problem::invalid("the file has no columns").hint("its first line must name the columns"));
    }
    if fields.len() > COLUMNS_MAX {
        return Err(Problem::invalid(format!("the file has {} columns, more than {COLUMNS_MAX}", fields.len()))
            .hint("keep long vectors in one list column, or leave columns out"));
    }
    let mut seen = HashSet::new();
    for field in fields.iter().filter(|it| !it.name().trim().is_empty()) {
        if !seen.insert(field.name().trim()) {
            return Err(Problem::invalid(format!("two columns are named `{}`", field.name().trim()))
                .hint("give every column its own name in the first line"));
        }
    }
    let mut taken = HashSet::new();
    let columns = fields.iter().enumerate().map(|(at, field)| {
        let name = field.name().trim();
        if name == layout::ITEM_ID || name.starts_with(RESERVED_PREFIX) {
            return Err(Problem::invalid(format!("a column may not be named `{name}`"))
                .hint("`item_id` and names that begin with `_row` are used by the table itself; rename the column"));
        }
        let wanted = if name.is_empty() { format!("column_{}", at + 1) } else { name.replace('.', "_") };
        let free = |it: &String| !taken.contains(it) && (*it == name || !seen.contains(it.as_str()));
        let names = std::iter::once(wanted.clone()).chain((2..).map(|it| format!("{wanted}_{it}")));
        let stored = names.into_iter().find(free).unwrap_or(wanted);
        taken.insert(stored.clone());
        Ok(layout::column(&stored, field.name(), plain(field.data_type())))
    });
    columns.collect()
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
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let conformed = |(place, column): (&usize, &Field)| {
        let values = batch.column(*place);
        if values.data_type() == column.data_type() {
            return Ok(values.clone());
        }
        cast_with_options(values, column.data_type(), &strict).map_err(|error| {
            Problem::invalid(format!("column `{}` does not fit: {error}", layout::file_name_of(column)))
                .hint(format!("the dataset keeps it as {}; convert the file", column.data_type()))
        })
    };
    places.iter().zip(columns).map(conformed).collect()
}

/// The columns of a table version, without the id.
pub(super) fn of_table(schema: &Schema) -> Vec<Field> {
    schema.fields().iter().filter(|it| it.name() != layout::ITEM_ID).map(|it| it.as_ref().clone()).collect()
}

/// The stored name of the column that people call `target`.
pub(super) fn find_target<'a>(columns: &'a [Field], target: &str) -> Result<&'a str, Problem> {
    let wanted = target.trim();
    let found = columns.iter().find(|it| layout::file_name_of(it).trim() == wanted || it.name() == wanted);
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
        DataType::Float16 | DataType::Float32 | DataType::Float64 => ColumnKind::Float,
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

    fn fields(names: &[&str]) -> Vec<Arc<Field>> {
        names.iter().map(|it| Arc::new(Field::new(*it, DataType::Int64, true))).collect()
    }

    #[test]
    fn names_a_table_cannot_have_are_changed_and_remembered() {
        let columns = stored(&fields(&["sepal.length", "", " b ", "sepal_length", "column_2"])).expect("columns");
        let shown: Vec<_> = columns.iter().map(|it| (it.name().as_str(), layout::file_name_of(it))).collect();
        assert_eq!(
            shown,
            [
                ("sepal_length_2", "sepal.length"),
                ("column_2_2", ""),
                ("b", " b "),
                ("sepal_length", "sepal_length"),
                ("column_2", "column_2")
            ]
        );
        assert_eq!(find_target(&columns, "sepal.length").expect("a target"), "sepal_length_2");
        assert!(find_target(&columns, "colour").is_err());
    }

    #[test]
    fn impossible_headers_are_refused() {
        for names in [&["a", "a"][..], &["a", " a"], &["item_id"], &["_rowid"], &[]] {
            assert!(stored(&fields(names)).is_err(), "{names:?} was accepted");
        }
    }

    #[test]
    fn appended_columns_may_come_in_another_order() {
        let base = stored(&fields(&["a", "b.c"])).expect("columns");
        let file = stored(&fields(&["b.c", "a"])).expect("columns");
        assert_eq!(matched(&file, &base).expect("the same columns"), [1, 0]);
        let other = stored(&fields(&["a", "d"])).expect("columns");
        assert_eq!(
            matched(&other, &base).expect_err("other columns").text,
            "the file's columns are not those of the dataset: it lacks `b.c`; it has also `d`"
        );
    }

    #[test]
    fn nameless_columns_are_matched_one_by_one() {
        let base = stored(&fields(&["", "a", ""])).expect("columns");
        let file = stored(&fields(&["a", "", ""])).expect("columns");
        assert_eq!(matched(&file, &base).expect("the same columns"), [1, 0, 2]);
        let fewer = stored(&fields(&["a", ""])).expect("columns");
        let problem = matched(&fewer, &base).expect_err("one is missing");
        assert!(problem.text.ends_with("it lacks nameless column 2"), "{}", problem.text);
    }
}
