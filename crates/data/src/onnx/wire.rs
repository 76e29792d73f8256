//! A reader of the protobuf wire format that walks a file field by field and jumps over what it is not asked about.

use std::{
    fs::File,
    io::{BufReader, Read},
};

/// What a field holds, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// A number, read already.
    Number(u64),
    /// A message, a text or packed numbers from here up to the field's end, not read yet.
    Bytes,
    /// Four or eight bytes, passed over already.
    Fixed,
}

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    /// Where it begins in the file.
    pub from: u64,
    /// Its number.
    pub number: u64,
    pub holds: Holds,
    /// Where it ends in the file.
    pub until: u64,
}

/// The bytes are no message, or only a part of one.
#[derive(Debug)]
pub(super) struct Broken;

impl From<std::io::Error> for Broken {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

/// A place in a file of messages.
pub(super) struct Wire {
    from: BufReader<File>,
    at: u64,
}

impl Wire {
    pub(super) fn new(from: File) -> Self {
        Self { from: BufReader::new(from), at: 0 }
    }

    /// The next field of the message that goes up to `end`. One that holds bytes must be read or passed over.
    pub(super) fn next(&mut self, end: u64) -> Result<Option<Field>, Broken> {
        if self.at >= end {
            return Ok(None);
        }
        let from = self.at;
        let key = self.number(end)?;
        if key > u64::from(u32::MAX) || key >> 3 == 0 {
            return Err(Broken);
        }
        let (holds, until) = match key & 7 {
            0 => (Holds::Number(self.number(end)?), self.at),
            1 => (Holds::Fixed, self.ahead(8, end)?),
            2 => {
                let length = self.number(end)?;
                (Holds::Bytes, self.ahead(length, end)?)
            }
            5 => (Holds::Fixed, self.ahead(4, end)?),
            // Groups, which ONNX never had.
            _ => return Err(Broken),
        };
        if holds == Holds::Fixed {
            self.pass(until)?;
        }
        Ok(Some(Field { from, number: key >> 3, holds, until }))
    }

    /// Jumps to a place ahead.
    pub(super) fn pass(&mut self, until: u64) -> Result<(), Broken> {
        let ahead = until.checked_sub(self.at).and_then(|it| i64::try_from(it).ok()).ok_or(Broken)?;
        self.from.seek_relative(ahead)?;
        self.at = until;
        Ok(())
    }

    /// Reads a text of at most `most` bytes.
    pub(super) fn text(&mut self, until: u64, most: u64) -> Result<Option<String>, Broken> {
        let length = until.checked_sub(self.at).ok_or(Broken)?;
        if length > most {
            self.pass(until)?;
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| Broken)?];
        self.from.read_exact(&mut bytes)?;
        self.at = until;
        Ok(String::from_utf8(bytes).ok())
    }

    /// Reads a number, which ends before `end`.
    pub(super) fn number(&mut self, end: u64) -> Result<u64, Broken> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let mut byte = [0];
            if self.at >= end {
                return Err(Broken);
            }
            self.from.read_exact(&mut byte)?;
            self.at += 1;
            // Bits beyond 64 fall away, as they do in every reader of the format.
            value |= u64::from(byte[0] & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Broken)
    }

    /// Whether all of a message was read.
    pub(super) fn is_at(&self, place: u64) -> bool {
        self.at >= place
    }

    fn ahead(&self, length: u64, end: u64) -> Result<u64, Broken> {
        self.at.checked_add(length).filter(|it| *it <= end).ok_or(Broken)
    }
}

/// A number as the format writes it.
pub(super) fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = vec![];
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// What stands before the content of a field of bytes.
pub(super) fn head(field: u64, length: u64) -> Vec<u8> {
    [number((field << 3) | 2), number(length)].concat()
}
