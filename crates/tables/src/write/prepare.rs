//! Turns a chunk of files into one batch of the items table: hashes, facts, columns. Runs on blocking threads.

use crate::{ids::IdSource, lance_errors, layout};
use arrow_array::{
    ArrayRef, LargeBinaryArray, RecordBatch,
    builder::{BinaryBuilder, LargeBinaryBuilder, StringBuilder, UInt8Builder, UInt32Builder, UInt64Builder},
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::ArrowError;
use bytes::Bytes;
use kaogong_data::{
    BlobHash,
    budget::{IMPORT_WAIT_MAX, Pool},
    folder,
    images::{self, PictureError, PictureFacts, Sample},
    split::SplitKey,
    tables::{ItemIn, Warning},
};
use kaogong_domain::{Problem, datasets::Split};
use std::sync::Arc;

/// Files with their numbers in the import.
pub(super) type Chunk = Vec<(u64, ItemIn)>;

/// A file that goes into the table.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) number: u64,
    pub(super) label: Option<String>,
    pub(super) given: Option<Split>,
    pub(super) key: Option<SplitKey>,
    pub(super) sample: Sample,
}

/// What became of a chunk.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) batch: RecordBatch,
    pub(super) good: Vec<Good>,
    pub(super) bad: Vec<Warning>,
}

/// Looks at every file and builds the batch of the good ones. Decoders take their memory from `decoders`.
pub(super) fn prepare(chunk: Chunk, ids: IdSource, seed: Option<u64>, decoders: &Pool) -> Result<Prepared, Problem> {
    let bytes = chunk.iter().map(|(_, item)| item.bytes.len()).sum();
    let mut columns = Columns::new(chunk.len(), bytes);
    let (mut good, mut bad) = (Vec::with_capacity(chunk.len()), Vec::new());
    for (number, item) in chunk {
        match facts(&item.bytes, decoders)? {
            Ok(facts) => {
                let hash = BlobHash::of(&item.bytes);
                columns.add(&ids.nth(number).to_string(), &item, &hash, &facts);
                let key = seed.map(|it| SplitKey::of_item(it, &hash, &item.source_name));
                let sample = facts.sample;
                good.push(Good { number, label: item.label, given: item.split, key, sample });
            }
            Err(error) => {
                bad.push(Warning { source_name: folder::text_of(&item.source_name), reason: error.to_string() });
            }
        }
    }
    Ok(Prepared { batch: columns.finish().map_err(lance_errors::arrow("look at files"))?, good, bad })
}

/// The facts of a file; it is decoded where only that tells whether it is whole.
fn facts(file: &[u8], decoders: &Pool) -> Result<Result<PictureFacts, PictureError>, Problem> {
    let looked = match images::look(file) {
        Ok(looked) => looked,
        Err(error) => return Ok(Err(error)),
    };
    let Some(bytes) = looked.check_bytes else { return Ok(Ok(looked.facts)) };
    let _held = decoders.take(bytes, IMPORT_WAIT_MAX)?;
    Ok(images::check(file, &looked.facts).map(|()| looked.facts))
}

/// The files: many are copied together, one alone stays where it is, so that a large one is in memory once.
enum Contents {
    Many(LargeBinaryBuilder),
    One(Bytes),
    None,
}

impl Contents {
    fn new(rows: usize, bytes: usize) -> Self {
        if rows == 1 { Self::None } else { Self::Many(LargeBinaryBuilder::with_capacity(rows, bytes)) }
    }

    fn add(&mut self, file: &Bytes) {
        match self {
            Self::Many(builder) => builder.append_value(file),
            Self::One(_) | Self::None => *self = Self::One(file.clone()),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Many(mut builder) => Arc::new(builder.finish()),
            Self::One(file) => {
                Arc::new(LargeBinaryArray::new(OffsetBuffer::from_lengths([file.len()]), file.into(), None))
            }
            Self::None => Arc::new(LargeBinaryArray::new_null(0)),
        }
    }
}

struct Columns {
    item_id: StringBuilder,
    source_name: BinaryBuilder,
    name: StringBuilder,
    content_hash: StringBuilder,
    content: Contents,
    bytes: UInt64Builder,
    format: StringBuilder,
    width: UInt32Builder,
    height: UInt32Builder,
    orientation: UInt8Builder,
    displayed_width: UInt32Builder,
    displayed_height: UInt32Builder,
}

impl Columns {
    fn new(rows: usize, bytes: usize) -> Self {
        Self {
            item_id: StringBuilder::with_capacity(rows, rows * 29),
            source_name: BinaryBuilder::with_capacity(rows, rows * 32),
            name: StringBuilder::with_capacity(rows, rows * 32),
            content_hash: StringBuilder::with_capacity(rows, rows * 64),
            content: Contents::new(rows, bytes),
            bytes: UInt64Builder::with_capacity(rows),
            format: StringBuilder::with_capacity(rows, rows * 4),
            width: UInt32Builder::with_capacity(rows),
            height: UInt32Builder::with_capacity(rows),
            orientation: UInt8Builder::with_capacity(rows),
            displayed_width: UInt32Builder::with_capacity(rows),
            displayed_height: UInt32Builder::with_capacity(rows),
        }
    }

    fn add(&mut self, id: &str, item: &ItemIn, hash: &BlobHash, facts: &PictureFacts) {
        self.item_id.append_value(id);
        self.source_name.append_value(&item.source_name);
        self.name.append_value(folder::text_of(&item.source_name));
        self.content_hash.append_value(hash.to_string());
        self.content.add(&item.bytes);
        self.bytes.append_value(item.bytes.len() as u64);
        self.format.append_value(facts.format.as_str());
        self.width.append_value(facts.width);
        self.height.append_value(facts.height);
        self.orientation.append_value(facts.orientation);
        self.displayed_width.append_value(facts.displayed_width);
        self.displayed_height.append_value(facts.displayed_height);
    }

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.item_id.finish()),
            Arc::new(self.source_name.finish()),
            Arc::new(self.name.finish()),
            Arc::new(self.content_hash.finish()),
            self.content.finish(),
            Arc::new(self.bytes.finish()),
            Arc::new(self.format.finish()),
            Arc::new(self.width.finish()),
            Arc::new(self.height.finish()),
            Arc::new(self.orientation.finish()),
            Arc::new(self.displayed_width.finish()),
            Arc::new(self.displayed_height.finish()),
        ];
        RecordBatch::try_new(layout::images_schema(), columns)
    }
}
