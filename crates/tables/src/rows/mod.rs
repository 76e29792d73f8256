//! Imports of CSV and Parquet files: typed columns, facts about each, and clear words about what is wrong.

pub(crate) mod columns;
mod csv;
mod hive;
pub(crate) mod import;
mod legacy_times;
mod parquet;
mod parts;
mod source;
mod stats;

pub use parquet::{Wanted, decode_parquet};
