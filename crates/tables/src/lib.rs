//! The table engine on Lance.
//!
//! Layout: `<root>/<dataset id>/items.lance` holds the items with their bytes, `labels.lance` one label layer,
//! `splits.lance` who is in which split. All three open in pylance, DuckDB and Polars as they are; the original
//! bytes of a picture are the `content` column.
//!
//! * One dataset has one writer at a time; a second import is refused with a conflict, it does not wait.
//! * An import writes data files first, which nothing refers to, then commits a Lance version per table and tags
//!   it. Lance removes the data files of a write that failed; a killed process leaves orphans for `sweep`.
//! * Readers open exact versions. What they join (classes, splits) is kept in a small cache per version.
//! * File format 2.2, no stable row ids, `item_id` with a BTree index, capped caches, local files only.

mod engine;
mod ids;
mod imports;
mod lance_errors;
mod layout;
mod read;
mod rows;
mod store;
mod sweep;
mod write;

pub use engine::LanceTables;
pub use imports::{Decoder, Imports};
pub use rows::{Wanted, decode_parquet};
