//! Reading pinned versions: pages, single items, bytes, histograms, exports.

use lance::{Dataset, datatypes::Schema};

pub(crate) mod browse;
pub(crate) mod export;
pub(crate) mod index;
pub(crate) mod items;
pub(crate) mod values;

/// The columns of a table that `wanted` picks, in the table's order. Unlike a list of names, which Lance reads as
/// paths and expressions, this works whatever the names are.
pub(crate) fn columns_of(table: &Dataset, wanted: impl Fn(&str) -> bool) -> Schema {
    let mut schema = table.schema().clone();
    schema.fields.retain(|it| wanted(&it.name));
    schema
}
