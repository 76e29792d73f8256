//! Imports of CSV and Parquet files: typed columns, facts about each, and clear words about what is wrong.

mod columns;
mod csv;
pub(crate) mod import;
mod parquet;
mod source;
mod stats;

pub use parquet::decode_parquet;
