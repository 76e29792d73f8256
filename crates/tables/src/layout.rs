//! Names and types of the tables. Other tools read these tables: a name here is an interface.

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use kaogong_domain::datasets::DatasetKind;
use std::{collections::HashMap, sync::Arc};

pub(crate) const ITEM_ID: &str = "item_id";
pub(crate) const SOURCE_NAME: &str = "source_name";
pub(crate) const NAME: &str = "name";
pub(crate) const CONTENT_HASH: &str = "content_hash";
pub(crate) const CONTENT: &str = "content";
pub(crate) const BYTES: &str = "bytes";
pub(crate) const FORMAT: &str = "format";
pub(crate) const WIDTH: &str = "width";
pub(crate) const HEIGHT: &str = "height";
pub(crate) const ORIENTATION: &str = "orientation";
pub(crate) const DISPLAYED_WIDTH: &str = "displayed_width";
pub(crate) const DISPLAYED_HEIGHT: &str = "displayed_height";
pub(crate) const LABEL: &str = "label";
pub(crate) const SPLIT: &str = "split";

/// Columns of an image table that tell about a picture without holding its bytes.
pub(crate) const FACTS: [&str; 9] =
    [ITEM_ID, NAME, CONTENT_HASH, BYTES, FORMAT, ORIENTATION, DISPLAYED_WIDTH, DISPLAYED_HEIGHT, SOURCE_NAME];

/// Schema metadata: what kind of dataset the table holds.
const KIND_KEY: &str = "kaogong.kind";
/// Schema metadata: the stored name of the target column.
const TARGET_KEY: &str = "kaogong.target";
/// Field metadata: the name the file had, where the table has another.
const NAME_KEY: &str = "kaogong.name";

/// Field metadata of Parquet exports: the type of the dataset, where Parquet has none for it.
const TYPE_KEY: &str = "kaogong.type";
/// Times in seconds, which Parquet has from milliseconds on.
pub(crate) const SECONDS: &str = "seconds";
/// Dates in milliseconds, which Parquet has in days.
pub(crate) const DATE_64: &str = "date64";

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

/// Bytes that are compressed already; trying again costs time and gains nothing.
fn opaque(name: &str, data_type: DataType) -> Field {
    field(name, data_type).with_metadata(HashMap::from([("lance-encoding:compression".into(), "none".into())]))
}

/// The items table of pictures.
pub(crate) fn images_schema() -> SchemaRef {
    let fields = vec![
        field(ITEM_ID, DataType::Utf8),
        field(SOURCE_NAME, DataType::Binary),
        field(NAME, DataType::Utf8),
        opaque(CONTENT_HASH, DataType::Utf8),
        opaque(CONTENT, DataType::LargeBinary),
        field(BYTES, DataType::UInt64),
        field(FORMAT, DataType::Utf8),
        field(WIDTH, DataType::UInt32),
        field(HEIGHT, DataType::UInt32),
        field(ORIENTATION, DataType::UInt8),
        field(DISPLAYED_WIDTH, DataType::UInt32),
        field(DISPLAYED_HEIGHT, DataType::UInt32),
    ];
    let metadata = HashMap::from([(KIND_KEY.to_owned(), DatasetKind::Images.as_str().to_owned())]);
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// The items table of rows: our id, then the columns of the file.
pub(crate) fn rows_schema(columns: impl IntoIterator<Item = Field>, target: Option<&str>) -> SchemaRef {
    let fields: Vec<_> = std::iter::once(field(ITEM_ID, DataType::Utf8)).chain(columns).collect();
    let mut metadata = HashMap::from([(KIND_KEY.to_owned(), DatasetKind::Table.as_str().to_owned())]);
    metadata.extend(target.map(|it| (TARGET_KEY.to_owned(), it.to_owned())));
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// One row per label. A label is never edited: a later row for the same item supersedes an earlier one.
pub(crate) fn labels_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        field(ITEM_ID, DataType::Utf8),
        field(LABEL, DataType::Utf8),
        field("source", DataType::Utf8),
        field("author", DataType::Utf8),
        field("created_ms", DataType::Int64),
    ]))
}

/// One row per item that is in a split.
pub(crate) fn splits_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![field(ITEM_ID, DataType::Utf8), field(SPLIT, DataType::Utf8)]))
}

/// The kind of dataset an items table says it holds.
pub(crate) fn kind_of(metadata: &HashMap<String, String>) -> Option<DatasetKind> {
    metadata.get(KIND_KEY).and_then(|it| DatasetKind::parse(it))
}

/// The stored name of the target column.
pub(crate) fn target_of(metadata: &HashMap<String, String>) -> Option<&str> {
    metadata.get(TARGET_KEY).map(String::as_str)
}

/// The name a column has in the file it came from.
pub(crate) fn file_name_of(field: &Field) -> &str {
    field.metadata().get(NAME_KEY).map_or(field.name().as_str(), String::as_str)
}

/// A column for the table, remembering the name it had in the file.
pub(crate) fn column(stored_name: &str, file_name: &str, data_type: DataType) -> Field {
    let field = Field::new(stored_name, data_type, true);
    if stored_name == file_name {
        return field;
    }
    field.with_metadata(HashMap::from([(NAME_KEY.to_owned(), file_name.to_owned())]))
}

/// The mark that [`exported_as`] left.
pub(crate) fn exported_type_of(field: &Field) -> Option<&str> {
    field.metadata().get(TYPE_KEY).map(String::as_str)
}

/// A column of an export, which remembers what its type was in the dataset.
pub(crate) fn exported_as(name: &str, data_type: DataType, was: Option<&str>) -> Field {
    let metadata = was.map(|it| (TYPE_KEY.to_owned(), it.to_owned()));
    Field::new(name, data_type, true).with_metadata(metadata.into_iter().collect())
}
