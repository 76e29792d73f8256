//! Writing: imports of pictures, the side tables of labels and splits, and the commit of a whole version.

pub(crate) mod collect;
pub(crate) mod commit;
pub(crate) mod images;
mod prepare;
pub(crate) mod side;

/// Rows per batch of the side tables and of table imports.
pub(crate) const BATCH_ROWS: usize = kaogong_data::csv::BATCH_ROWS_MAX;
