//! A reader of the protobuf wire format that walks a file field by field and jumps over what it is not asked about, so
//! that a model of any size is looked through with a few kilobytes.

use crate::checks::Said;
use std::{
    fs::File,
    io::{BufReader, Read, Seek},
    path::Path,
};

/// The most bytes of a text that is kept.
const TEXT_BYTES_MAX: u64 = 1024;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// A number.
    Number(u64),
    /// A message, a text or packed numbers, up to this place of the file.
    Until(u64),
    /// Four or eight bytes, passed over already.
    Fixed,
}

/// A place in a file of messages.
pub(crate) struct Wire<R> {
    from: BufReader<R>,
    at: u64,
}

impl Wire<File> {
    /// Opens a file; gives its end too.
    pub(crate) fn open(path: &Path) -> Result<(Self, u64), Said> {
        let unreadable = |error| Said::new(format!("it cannot be read: {error}"));
        let file = File::open(path).map_err(unreadable)?;
        let about = file.metadata().map_err(unreadable)?;
        if !about.is_file() {
            return Err(Said::new("it is not a regular file"));
        }
        Ok((Self::new(file), about.len()))
    }
}

impl<R: Read + Seek> Wire<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from: BufReader::new(from), at: 0 }
    }

    /// The next field of the message that goes up to `end`: its number and what it holds. A field that is not asked
    /// about must be passed over with [`Wire::pass`] when it is a [`Field::Until`].
    pub(crate) fn next(&mut self, end: u64) -> Result<Option<(u64, Field)>, Said> {
        if self.at >= end {
            return Ok(None);
        }
        let key = self.number(end)?;
        if key > u64::from(u32::MAX) || key >> 3 == 0 {
            return Err(broken());
        }
        let field = match key & 7 {
            0 => Field::Number(self.number(end)?),
            1 => self.fixed(8, end)?,
            2 => {
                let length = self.number(end)?;
                let until = self.at.checked_add(length).filter(|it| *it <= end).ok_or_else(broken)?;
                Field::Until(until)
            }
            5 => self.fixed(4, end)?,
            // Groups, which ONNX never had.
            _ => return Err(broken()),
        };
        Ok(Some((key >> 3, field)))
    }

    /// Jumps to a place ahead.
    pub(crate) fn pass(&mut self, until: u64) -> Result<(), Said> {
        let ahead = until.checked_sub(self.at).and_then(|it| i64::try_from(it).ok()).ok_or_else(broken)?;
        self.from.seek_relative(ahead).map_err(Said::new)?;
        self.at = until;
        Ok(())
    }

    /// Reads a text; `None` for one that is too long to be a name, or is not UTF-8.
    pub(crate) fn text(&mut self, until: u64) -> Result<Option<String>, Said> {
        let length = until.checked_sub(self.at).ok_or_else(broken)?;
        if length > TEXT_BYTES_MAX {
            self.pass(until)?;
            return Ok(None);
        }
        let mut bytes = vec![0; length as usize];
        self.from.read_exact(&mut bytes).map_err(|_| broken())?;
        self.at = until;
        Ok(String::from_utf8(bytes).ok())
    }

    /// Where it stands.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Reads bytes; `None` for more than `max`, which are passed over.
    pub(crate) fn bytes(&mut self, until: u64, max: usize) -> Result<Option<Vec<u8>>, Said> {
        let length = usize::try_from(until.checked_sub(self.at).ok_or_else(broken)?).map_err(|_| broken())?;
        if length > max {
            self.pass(until)?;
            return Ok(None);
        }
        let mut bytes = vec![0; length];
        self.from.read_exact(&mut bytes).map_err(|_| broken())?;
        self.at = until;
        Ok(Some(bytes))
    }

    /// Reads whole numbers that are packed; `None` for more than `max` bytes of them.
    pub(crate) fn packed(&mut self, until: u64, max: usize) -> Result<Option<Vec<i64>>, Said> {
        if until.saturating_sub(self.at) > max as u64 {
            self.pass(until)?;
            return Ok(None);
        }
        let mut values = vec![];
        while self.at < until {
            values.push(self.number(until)?.cast_signed());
        }
        Ok(Some(values))
    }

    fn number(&mut self, end: u64) -> Result<u64, Said> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let mut byte = [0];
            if self.at >= end {
                return Err(broken());
            }
            self.from.read_exact(&mut byte).map_err(|_| broken())?;
            self.at += 1;
            // Bits beyond 64 fall away, as they do in every reader of the format.
            value |= u64::from(byte[0] & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(broken())
    }

    fn fixed(&mut self, size: u64, end: u64) -> Result<Field, Said> {
        let until = self.at.checked_add(size).filter(|it| *it <= end).ok_or_else(broken)?;
        self.pass(until)?;
        Ok(Field::Fixed)
    }
}

pub(crate) fn broken() -> Said {
    Said::new("it is no ONNX file, or only a part of one")
}

pub(crate) mod writing {
    //! Enough of a writer to put other fields in the place of some.

    /// A number as the format writes it.
    pub(crate) fn number(mut value: u64) -> Vec<u8> {
        let mut bytes = vec![];
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    /// A field of bytes.
    pub(crate) fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
        [number((field << 3) | 2), number(content.len() as u64), content.to_vec()].concat()
    }

    /// A field of a number.
    pub(crate) fn value(field: u64, value: u64) -> Vec<u8> {
        [number(field << 3), number(value)].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::{writing::*, *};
    use std::io::Cursor;

    fn walk(content: &[u8]) -> Result<Vec<(u64, Field)>, Said> {
        let (mut wire, end, mut found) = (Wire::new(Cursor::new(content)), content.len() as u64, vec![]);
        while let Some((number, field)) = wire.next(end)? {
            found.push((number, field));
            if let Field::Until(until) = field {
                wire.pass(until)?;
            }
        }
        Ok(found)
    }

    #[test]
    fn fields_are_found_and_passed_over() {
        let content =
            [value(1, 300), bytes(9, &[7; 5000]), vec![(5 << 3) | 5, 0, 0, 0, 0], value(2, u64::MAX)].concat();
        let found = walk(&content).expect("whole");
        let end = (content.len() - 5 - value(2, u64::MAX).len()) as u64;
        assert_eq!(
            found,
            [(1, Field::Number(300)), (9, Field::Until(end)), (5, Field::Fixed), (2, Field::Number(u64::MAX))]
        );
    }

    #[test]
    fn what_is_cut_or_claims_too_much_is_refused() {
        let whole = bytes(7, &value(1, 300));
        for length in 1..whole.len() {
            assert!(walk(&whole[..length]).is_err(), "{length}");
        }
        assert!(walk(&[&number((9 << 3) | 2)[..], &number(u64::MAX)].concat()).is_err());
        assert!(walk(&[0x80; 11]).is_err());
        assert!(walk(&[3 << 3 | 3]).is_err());
        assert!(walk(&[0, 0]).is_err());
    }
}
