//! The protobuf wire format: a reader that walks a message field by field and jumps over what it is not asked about, so
//! that a file of any size is looked through with a few kilobytes, and enough of a writer to put other fields in the
//! place of some.

use std::io::{BufReader, Read, Seek};

/// The bytes are no message, or only a part of one, or cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no protobuf message, or only a part of one")]
pub struct Broken;

impl From<std::io::Error> for Broken {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// A number.
    Number(u64),
    /// A message, a text or packed numbers, up to this place.
    Until(u64),
    /// Four or eight bytes, passed over already.
    Fixed,
}

/// A place among messages.
pub struct Wire<R> {
    from: BufReader<R>,
    at: u64,
}

impl<R: Read + Seek> Wire<R> {
    /// Reads from where `from` stands, which is place 0.
    pub fn new(from: R) -> Self {
        Self { from: BufReader::new(from), at: 0 }
    }

    /// The next field of the message that goes up to `end`: its number and what it holds. A [`Field::Until`] must be
    /// read, or passed over with [`Wire::pass`].
    pub fn next(&mut self, end: u64) -> Result<Option<(u64, Field)>, Broken> {
        if self.at >= end {
            return Ok(None);
        }
        let key = self.number(end)?;
        if key > u64::from(u32::MAX) || key >> 3 == 0 {
            return Err(Broken);
        }
        let field = match key & 7 {
            0 => Field::Number(self.number(end)?),
            1 => self.fixed(8, end)?,
            2 => {
                let length = self.number(end)?;
                Field::Until(self.ahead(length, end)?)
            }
            5 => self.fixed(4, end)?,
            // Groups, which nobody writes any more.
            _ => return Err(Broken),
        };
        Ok(Some((key >> 3, field)))
    }

    /// Jumps to a place ahead.
    pub fn pass(&mut self, until: u64) -> Result<(), Broken> {
        let ahead = until.checked_sub(self.at).and_then(|it| i64::try_from(it).ok()).ok_or(Broken)?;
        self.from.seek_relative(ahead)?;
        self.at = until;
        Ok(())
    }

    /// Reads a text; `None` for one of more than `bytes_max`, which is passed over, or that is not UTF-8.
    pub fn text(&mut self, until: u64, bytes_max: usize) -> Result<Option<String>, Broken> {
        Ok(self.bytes(until, bytes_max)?.and_then(|it| String::from_utf8(it).ok()))
    }

    /// Reads bytes; `None` for more than `bytes_max`, which are passed over.
    pub fn bytes(&mut self, until: u64, bytes_max: usize) -> Result<Option<Vec<u8>>, Broken> {
        let length = usize::try_from(until.checked_sub(self.at).ok_or(Broken)?).map_err(|_| Broken)?;
        if length > bytes_max {
            self.pass(until)?;
            return Ok(None);
        }
        let mut bytes = vec![0; length];
        self.from.read_exact(&mut bytes)?;
        self.at = until;
        Ok(Some(bytes))
    }

    /// Reads whole numbers that are packed; `None` for more than `bytes_max` of them, which are passed over.
    pub fn packed(&mut self, until: u64, bytes_max: usize) -> Result<Option<Vec<i64>>, Broken> {
        if until.saturating_sub(self.at) > bytes_max as u64 {
            self.pass(until)?;
            return Ok(None);
        }
        let mut values = vec![];
        while self.at < until {
            values.push(self.number(until)?.cast_signed());
        }
        Ok(Some(values))
    }

    /// Reads a number, which ends before `end`.
    pub fn number(&mut self, end: u64) -> Result<u64, Broken> {
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

    /// Where it stands.
    pub fn at(&self) -> u64 {
        self.at
    }

    fn ahead(&self, length: u64, end: u64) -> Result<u64, Broken> {
        self.at.checked_add(length).filter(|it| *it <= end).ok_or(Broken)
    }

    fn fixed(&mut self, size: u64, end: u64) -> Result<Field, Broken> {
        let until = self.ahead(size, end)?;
        self.pass(until)?;
        Ok(Field::Fixed)
    }
}

pub mod writing {
    //! Fields as the format writes them.

    /// A number.
    pub fn number(mut value: u64) -> Vec<u8> {
        let mut bytes = vec![];
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    /// What stands before the content of a field of bytes.
    pub fn head(field: u64, length: u64) -> Vec<u8> {
        [number((field << 3) | 2), number(length)].concat()
    }

    /// A field of bytes.
    pub fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
        [head(field, content.len() as u64), content.to_vec()].concat()
    }

    /// A field of a number.
    pub fn value(field: u64, value: u64) -> Vec<u8> {
        [number(field << 3), number(value)].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::{writing::*, *};
    use proptest::prelude::*;
    use std::io::Cursor;

    fn walk(content: &[u8]) -> Result<Vec<(u64, Field)>, Broken> {
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
        assert!(walk(&[(3 << 3) | 3]).is_err());
        assert!(walk(&[0, 0]).is_err());
    }

    /// A field as it is written, and as it is found.
    fn field() -> impl Strategy<Value = (Vec<u8>, u64, Option<u64>)> {
        let number = (1u64..1 << 29, any::<u64>()).prop_map(|(at, it)| (value(at, it), at, Some(it)));
        let content = prop::collection::vec(any::<u8>(), 0..300);
        prop_oneof![number, (1u64..1 << 29, content).prop_map(|(at, it)| (bytes(at, &it), at, None))]
    }

    proptest! {
        #[test]
        fn what_is_written_is_found(fields in prop::collection::vec(field(), 0..8)) {
            let content: Vec<u8> = fields.iter().flat_map(|it| it.0.clone()).collect();
            let found = walk(&content).expect("whole");
            let shown = |it: &(u64, Field)| (it.0, if let Field::Number(it) = it.1 { Some(it) } else { None });
            let wanted: Vec<_> = fields.iter().map(|it| (it.1, it.2)).collect();
            prop_assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), wanted);
        }

        #[test]
        fn any_bytes_are_walked_to_an_end(content in prop::collection::vec(any::<u8>(), 0..200)) {
            // No field is found beyond the end, and none begins before the one before it ended.
            for (number, field) in walk(&content).unwrap_or_default() {
                prop_assert!(number > 0 && number < 1 << 29);
                if let Field::Until(until) = field {
                    prop_assert!(until <= content.len() as u64);
                }
            }
        }
    }
}
