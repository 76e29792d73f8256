//! Bytes, formats in and out, media facts, and the table engine trait.
//!
//! Invariant: this crate knows no Arrow and no Lance; it says in plain types what a table engine does.
//! Text that came from a user is never a path here: blobs lie under their hash, datasets under their id.

pub mod archive;
pub mod backup;
pub mod blobs;
pub mod budget;
pub mod csv;
pub mod folder;
pub mod images;
pub mod onnx;
pub mod split;
pub mod tables;
pub mod uploads;

pub use blobs::{BlobError, BlobHash, Blobs};
pub use budget::DecodeBudget;
pub use tables::TableEngine;
pub use uploads::{UploadSlot, Uploads};
