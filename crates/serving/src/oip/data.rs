//! Tensor data as JSON: flat or nested arrays in, flat arrays out.

use super::numbers::floats;
use crate::tensor::{DataType, TEXTS_MAX, Tensor, detail, shown};
use bytes::Bytes;
use kaogong_domain::Problem;
use serde::{
    Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, SeqAccess, Visitor},
    ser::SerializeSeq,
};
use std::fmt;

/// Arrays inside arrays; a tensor of more dimensions is refused.
pub(super) const DEPTH_MAX: usize = 32;

/// Reads JSON into the little-endian bytes of a type.
pub(super) struct JsonData<'a> {
    pub datatype: DataType,
    pub elements: usize,
    pub name: &'a str,
}

impl JsonData<'_> {
    pub(super) fn read(&self, json: &str) -> Result<Bytes, Problem> {
        if matches!(self.datatype, DataType::Fp16 | DataType::Bf16) {
            let (name, datatype) = (shown(self.name), self.datatype.as_str());
            return Err(Problem::invalid(format!("input `{name}` is {datatype}, which JSON does not carry"))
                .hint("send it as binary data: the parameter binary_data_size, and its bytes after the JSON"));
        }
        if self.datatype == DataType::Bytes && self.elements > TEXTS_MAX {
            let (name, elements) = (shown(self.name), self.elements);
            let text = format!("input `{name}` has {elements} texts, at most {TEXTS_MAX} are taken");
            return Err(Problem::invalid(text));
        }
        let mut out = self.room(json);
        let is_read = match self.datatype {
            DataType::Fp32 => floats::<f32>(json, self.elements, &mut out).is_some(),
            DataType::Fp64 => floats::<f64>(json, self.elements, &mut out).is_some(),
            _ => false,
        };
        if is_read { Ok(out.into()) } else { self.read_slowly(json, out) }
    }

    /// Never more than the text could hold: a shape alone must not take memory.
    fn room(&self, json: &str) -> Vec<u8> {
        Vec::with_capacity(self.elements.min(json.len() / 2 + 1) * self.datatype.size().unwrap_or(8))
    }

    /// Reads any type, and finds the words for what is wrong.
    pub(super) fn read_slowly(&self, json: &str, mut out: Vec<u8>) -> Result<Bytes, Problem> {
        out.clear();
        let mut count = 0usize;
        let mut reader = serde_json::Deserializer::from_str(json);
        let seed =
            Elements { datatype: self.datatype, limit: self.elements, depth: 0, count: &mut count, out: &mut out };
        seed.deserialize(&mut reader).map_err(|it| {
            let (name, datatype) = (shown(self.name), self.datatype.as_str());
            Problem::invalid(format!("data of input `{name}` is not {datatype}: {}", detail(&it)))
        })?;
        Ok(out.into())
    }
}

struct Elements<'a> {
    datatype: DataType,
    limit: usize,
    depth: usize,
    count: &'a mut usize,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Elements<'_> {
    fn count<E: Error>(&mut self) -> Result<(), E> {
        *self.count += 1;
        if *self.count > self.limit {
            return Err(E::custom(format!("more than the {} elements of its shape", self.limit)));
        }
        Ok(())
    }

    fn wrong<E: Error>(&self, value: impl fmt::Display) -> E {
        E::custom(format!("{value} does not fit"))
    }

    fn integer<E: Error>(mut self, value: i128) -> Result<(), E> {
        self.count()?;
        macro_rules! put {
            ($type:ty) => {{
                let value = <$type>::try_from(value).map_err(|_| self.wrong(value))?;
                self.out.extend_from_slice(&value.to_le_bytes());
            }};
        }
        match self.datatype {
            DataType::Int8 => put!(i8),
            DataType::Int16 => put!(i16),
            DataType::Int32 => put!(i32),
            DataType::Int64 => put!(i64),
            DataType::Uint8 => put!(u8),
            DataType::Uint16 => put!(u16),
            DataType::Uint32 => put!(u32),
            DataType::Uint64 => put!(u64),
            DataType::Fp32 => self.out.extend_from_slice(&(value as f32).to_le_bytes()),
            DataType::Fp64 => self.out.extend_from_slice(&(value as f64).to_le_bytes()),
            DataType::Bool if value == 0 || value == 1 => self.out.push(value as u8),
            _ => return Err(self.wrong(value)),
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "numbers, truths or texts in flat or nested arrays")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.depth >= DEPTH_MAX {
            return Err(A::Error::custom(format!("arrays are nested deeper than {DEPTH_MAX}")));
        }
        let (datatype, limit, depth) = (self.datatype, self.limit, self.depth + 1);
        let (count, out) = (self.count, self.out);
        while seq.next_element_seed(Elements { datatype, limit, depth, count: &mut *count, out: &mut *out })?.is_some()
        {
        }
        Ok(())
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<(), E> {
        self.count()?;
        match self.datatype {
            DataType::Fp32 => self.out.extend_from_slice(&(value as f32).to_le_bytes()),
            DataType::Fp64 => self.out.extend_from_slice(&value.to_le_bytes()),
            _ => return Err(self.wrong(value)),
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.integer(i128::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.integer(i128::from(value))
    }

    fn visit_bool<E: Error>(mut self, value: bool) -> Result<(), E> {
        if self.datatype != DataType::Bool {
            return Err(self.wrong(value));
        }
        self.count()?;
        self.out.push(u8::from(value));
        Ok(())
    }

    fn visit_str<E: Error>(mut self, value: &str) -> Result<(), E> {
        if self.datatype != DataType::Bytes {
            return Err(self.wrong("a text"));
        }
        self.count()?;
        let length = u32::try_from(value.len()).map_err(|_| self.wrong("a text of more than 4 GiB"))?;
        self.out.extend_from_slice(&length.to_le_bytes());
        self.out.extend_from_slice(value.as_bytes());
        Ok(())
    }
}

/// An output whose type JSON has no numbers for.
pub(super) fn not_in_json(name: &str, datatype: DataType) -> Problem {
    let text = format!("output `{}` is {}, which JSON does not carry", shown(name), datatype.as_str());
    Problem::invalid(text).hint("ask for it with the parameter binary_data = true")
}

/// A tensor's elements as a flat JSON array.
pub(super) struct Shown<'a>(&'a Tensor);

impl<'a> Shown<'a> {
    pub(super) fn new(tensor: &'a Tensor) -> Result<Self, Problem> {
        if matches!(tensor.datatype, DataType::Fp16 | DataType::Bf16) {
            return Err(not_in_json(&tensor.name, tensor.datatype));
        }
        Ok(Self(tensor))
    }

    /// About how many bytes the array takes as text.
    pub(super) fn room(&self) -> usize {
        let size = match self.0.datatype {
            DataType::Bool => 6,
            DataType::Int8 | DataType::Uint8 => 4,
            DataType::Bytes => 2,
            _ => 3,
        };
        self.0.data.len() * size + 2
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let data = &self.0.data[..];
        macro_rules! numbers {
            ($type:ty, $size:literal) => {{
                let chunks = data.as_chunks::<$size>().0;
                let mut seq = serializer.serialize_seq(Some(chunks.len()))?;
                for chunk in chunks {
                    seq.serialize_element(&<$type>::from_le_bytes(*chunk))?;
                }
                seq.end()
            }};
        }
        match self.0.datatype {
            DataType::Bool => serializer.collect_seq(data.iter().map(|it| *it != 0)),
            DataType::Int8 => numbers!(i8, 1),
            DataType::Int16 => numbers!(i16, 2),
            DataType::Int32 => numbers!(i32, 4),
            DataType::Int64 => numbers!(i64, 8),
            DataType::Uint8 => numbers!(u8, 1),
            DataType::Uint16 => numbers!(u16, 2),
            DataType::Uint32 => numbers!(u32, 4),
            DataType::Uint64 => numbers!(u64, 8),
            DataType::Fp32 => numbers!(f32, 4),
            DataType::Fp64 => numbers!(f64, 8),
            DataType::Fp16 | DataType::Bf16 => serializer.collect_seq(std::iter::empty::<u8>()),
            DataType::Bytes => {
                let mut seq = serializer.serialize_seq(None)?;
                let mut rest = data;
                while let Some((head, after)) = rest.split_first_chunk::<4>() {
                    let length = (u32::from_le_bytes(*head) as usize).min(after.len());
                    seq.serialize_element(&String::from_utf8_lossy(&after[..length]))?;
                    rest = &after[length..];
                }
                seq.end()
            }
        }
    }
}
