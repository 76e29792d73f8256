//! Tensor data as JSON: flat or nested arrays in, flat arrays out.

use super::{
    fault::{Fault, Why},
    numbers::{holds, read},
    walk::{Form, place_of, written_at},
};
use crate::tensor::{DataType, TEXTS_MAX, Tensor, brain, half, shown};
use bytes::Bytes;
use kaogong_domain::Problem;
use serde::{Serialize, Serializer, ser::SerializeSeq};

/// Reads JSON into the little-endian bytes of a type.
pub(super) struct JsonData<'a> {
    pub datatype: DataType,
    pub form: Form<'a>,
    pub name: &'a str,
    /// Which input of the request it is.
    pub index: usize,
}

impl JsonData<'_> {
    pub(super) fn read(&self, json: &str) -> Result<Bytes, Problem> {
        let elements = self.form.elements;
        if self.datatype == DataType::Bytes && elements > TEXTS_MAX {
            let name = shown(self.name);
            let text = format!("input `{name}` has {elements} texts, at most {TEXTS_MAX} are taken");
            return Err(Problem::invalid(text));
        }
        // Never more than the text could hold: a shape alone must not take memory.
        let mut out = Vec::with_capacity(elements.min(json.len() / 2 + 1) * self.datatype.size().unwrap_or(8));
        read(self.datatype, json, self.form, &mut out).map_err(|it| self.problem(json, it))?;
        Ok(out.into())
    }

    /// The value, the type, and where it stands.
    fn problem(&self, json: &str, fault: Fault) -> Problem {
        let (name, datatype) = (shown(self.name), self.datatype.as_str());
        let place = place_of(json, fault.at);
        let shape = self.form.shape;
        let value = shown(written_at(json, fault.at));
        let what = match fault.why {
            Why::Unfit => format!("{value} does not fit {datatype}, which holds {}", holds(self.datatype)),
            Why::TooMany => format!("more than the {} elements of its shape", self.form.elements),
            Why::TooDeep => format!("arrays are nested deeper than its shape {shape:?}"),
            Why::Length { has, wants } => format!("an array of {has} where its shape {shape:?} has {wants}"),
            Why::AmongElements => "an array among the values of a flat array".to_owned(),
            Why::NoArray => format!("{value} stands where its shape {shape:?} has an array"),
            Why::NoElement => {
                format!("{value} is no element of a tensor: numbers, truths or texts in flat or nested arrays")
            }
        };
        let problem = Problem::invalid(format!("inputs[{}].data{place} of input `{name}`: {what}", self.index));
        match fault.why {
            Why::Unfit | Why::TooMany | Why::NoElement => problem,
            _ => problem.hint("nest the data as the shape says, or send one flat array"),
        }
    }
}

/// A tensor's elements as a flat JSON array.
pub(super) struct Shown<'a>(pub(super) &'a Tensor);

impl Shown<'_> {
    /// About how many bytes the array takes as text.
    pub(super) fn room(&self) -> usize {
        let size = match self.0.datatype {
            DataType::Bool | DataType::Fp16 | DataType::Bf16 => 6,
            DataType::Int8 | DataType::Uint8 => 4,
            DataType::Bytes => 2,
            _ => 3,
        };
        self.0.data.len() * size + 2
    }
}

/// A float in words that every JSON reader takes: `null` for NaN, and texts for infinities, which numpy and Python's
/// `float` read back as what they are.
struct Float<T>(T);

macro_rules! float {
    ($type:ty) => {
        impl Serialize for Float<$type> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if self.0.is_finite() {
                    self.0.serialize(serializer)
                } else if self.0.is_nan() {
                    serializer.serialize_unit()
                } else {
                    serializer.serialize_str(if self.0 > 0.0 { "Infinity" } else { "-Infinity" })
                }
            }
        }
    };
}
float!(f32);
float!(f64);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let data = &self.0.data[..];
        macro_rules! numbers {
            ($size:literal, $read:expr) => {{
                let chunks = data.as_chunks::<$size>().0;
                let mut seq = serializer.serialize_seq(Some(chunks.len()))?;
                for chunk in chunks {
                    seq.serialize_element(&$read(*chunk))?;
                }
                seq.end()
            }};
        }
        match self.0.datatype {
            DataType::Bool => serializer.collect_seq(data.iter().map(|it| *it != 0)),
            DataType::Int8 => numbers!(1, i8::from_le_bytes),
            DataType::Int16 => numbers!(2, i16::from_le_bytes),
            DataType::Int32 => numbers!(4, i32::from_le_bytes),
            DataType::Int64 => numbers!(8, i64::from_le_bytes),
            DataType::Uint8 => numbers!(1, u8::from_le_bytes),
            DataType::Uint16 => numbers!(2, u16::from_le_bytes),
            DataType::Uint32 => numbers!(4, u32::from_le_bytes),
            DataType::Uint64 => numbers!(8, u64::from_le_bytes),
            DataType::Fp32 => numbers!(4, |it| Float(f32::from_le_bytes(it))),
            DataType::Fp64 => numbers!(8, |it| Float(f64::from_le_bytes(it))),
            DataType::Fp16 => numbers!(2, |it| Float(half(u16::from_le_bytes(it)) as f32)),
            DataType::Bf16 => numbers!(2, |it| Float(brain(u16::from_le_bytes(it)))),
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
