//! Reading pinned versions: pages, single items, bytes, histograms, exports.

pub(crate) mod browse;
pub(crate) mod export;
pub(crate) mod index;
pub(crate) mod items;
pub(crate) mod values;
