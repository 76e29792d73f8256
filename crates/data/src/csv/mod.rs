//! CSV: how a file is written, its records, and the type of each column, decided from every value of the file.
//!
//! Two passes. The first ([`Scan`]) looks at every field and decides what each column is; the second reads with that
//! decision ([`Reading`]). A column gets a type only when every value of it is kept exactly; else it stays text. What
//! is written otherwise than it came (`+5` as `5`) is counted, and the report of the import says so.

mod dates;
mod decide;
mod header;
mod json;
mod numbers;
mod options;
mod reading;
mod records;
mod runs;
mod scan;
mod source;
mod spaced;
mod titles;
mod write;

pub use dates::{Order, tells_moment, write_date, write_timestamp};
pub use decide::Decided;
pub use json::JsonLines;
pub use numbers::{Style, write_float};
pub use options::{AskedType, CsvOptions};
pub use reading::{Cell, Fidelity, Kind, Reading};
pub use records::{Field, Record, Records};
pub use runs::BATCH_ROWS_MAX;
pub use scan::Scan;
pub use source::{Source, Text};
pub use write::write_record;

#[cfg(test)]
mod tests;
