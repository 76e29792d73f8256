//! Tensors as the Open Inference Protocol knows them: little-endian bytes with a type and a shape.

use bytes::Bytes;
use kaogong_domain::Problem;

/// The most elements of one tensor: what fits a request body many times over.
pub const ELEMENTS_MAX: u64 = 1 << 31;
/// The most texts of one tensor: each becomes a text of its own inside an engine, many times its bytes on the wire.
pub const TEXTS_MAX: usize = 1 << 20;
/// The most characters of a name that an error repeats.
const SHOWN_MAX: usize = 64;
/// The most characters of what a parser says, which may repeat what it could not read.
const DETAIL_MAX: usize = 200;

/// The beginning of a text that a caller wrote, for errors.
pub fn shown(text: &str) -> &str {
    text.char_indices().nth(SHOWN_MAX).map_or(text, |(end, _)| &text[..end])
}

/// What another reader said about a text that a caller wrote, without most of that text.
pub(crate) fn detail(error: &dyn std::fmt::Display) -> String {
    let mut text = error.to_string();
    if let Some((end, _)) = text.char_indices().nth(DETAIL_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// An element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum DataType {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

impl DataType {
    /// All types.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Fp16,
        Self::Bf16,
        Self::Fp32,
        Self::Fp64,
        Self::Bytes,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }

    /// The type of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }

    /// Bytes of one element; `None` where elements vary.
    pub fn size(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Int8 | Self::Uint8 => Some(1),
            Self::Int16 | Self::Uint16 | Self::Fp16 | Self::Bf16 => Some(2),
            Self::Int32 | Self::Uint32 | Self::Fp32 => Some(4),
            Self::Int64 | Self::Uint64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }
}

/// What a model takes or gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub datatype: DataType,
    /// Dimensions; -1 is free.
    pub shape: Vec<i64>,
}

impl TensorSpec {
    /// Whether a tensor of that shape fits.
    pub fn accepts(&self, shape: &[i64]) -> bool {
        self.shape.len() == shape.len() && self.shape.iter().zip(shape).all(|(want, have)| *want < 0 || want == have)
    }

    /// Whether the first dimension is a free batch.
    pub fn is_batched(&self) -> bool {
        self.shape.first().is_some_and(|it| *it < 0)
    }
}

/// A tensor: row-major little-endian elements. `BYTES` elements each have their length before them as a `u32`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub datatype: DataType,
    /// Dimensions.
    pub shape: Vec<i64>,
    /// The elements.
    pub data: Bytes,
}

/// How many elements a shape has.
///
/// # Errors
/// `Invalid` for a negative dimension, or more elements than [`ELEMENTS_MAX`].
pub fn elements_of(shape: &[i64]) -> Result<usize, Problem> {
    let mut count = 1u64;
    for dimension in shape {
        let dimension = u64::try_from(*dimension).map_err(|_| {
            Problem::invalid(format!("{shape:?} is not the shape of a tensor: no dimension is negative"))
        })?;
        count = count
            .checked_mul(dimension)
            .filter(|it| *it <= ELEMENTS_MAX)
            .ok_or_else(|| Problem::invalid(format!("a tensor of shape {shape:?} has too many elements")))?;
    }
    usize::try_from(count).map_err(|_| Problem::invalid(format!("a tensor of shape {shape:?} has too many elements")))
}

impl Tensor {
    /// A tensor of 32-bit floats.
    pub fn f32(name: impl Into<String>, shape: Vec<i64>, values: &[f32]) -> Self {
        let data = values.iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<u8>>().into();
        Self { name: name.into(), datatype: DataType::Fp32, shape, data }
    }

    /// The elements as numbers of 64 bits, for types that are numbers.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        fn each<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
            data.as_chunks::<N>().0.iter().map(|it| read(*it)).collect()
        }
        let data = &self.data[..];
        Some(match self.datatype {
            DataType::Bool | DataType::Uint8 => each::<1>(data, |it| f64::from(it[0])),
            DataType::Int8 => each::<1>(data, |it| f64::from(it[0].cast_signed())),
            DataType::Int16 => each(data, |it| f64::from(i16::from_le_bytes(it))),
            DataType::Uint16 => each(data, |it| f64::from(u16::from_le_bytes(it))),
            DataType::Int32 => each(data, |it| f64::from(i32::from_le_bytes(it))),
            DataType::Uint32 => each(data, |it| f64::from(u32::from_le_bytes(it))),
            DataType::Int64 => each(data, |it| i64::from_le_bytes(it) as f64),
            DataType::Uint64 => each(data, |it| u64::from_le_bytes(it) as f64),
            DataType::Fp32 => each(data, |it| f64::from(f32::from_le_bytes(it))),
            DataType::Fp64 => each(data, f64::from_le_bytes),
            DataType::Fp16 => each(data, |it| half(u16::from_le_bytes(it))),
            DataType::Bf16 => each(data, |it| f64::from(brain(u16::from_le_bytes(it)))),
            DataType::Bytes => return None,
        })
    }

    /// Checks that the bytes are what type and shape promise.
    ///
    /// # Errors
    /// `Invalid` names the tensor and both counts.
    pub fn check(&self) -> Result<(), Problem> {
        let elements = elements_of(&self.shape)?;
        if self.datatype == DataType::Bytes && elements > TEXTS_MAX {
            let text = format!("tensor `{}` has {elements} texts, at most {TEXTS_MAX} are taken", shown(&self.name));
            return Err(Problem::invalid(text));
        }
        let is_right = match self.datatype.size() {
            Some(size) => elements.checked_mul(size) == Some(self.data.len()),
            None => count_texts(&self.data) == Some(elements),
        };
        if is_right {
            return Ok(());
        }
        Err(Problem::invalid(format!(
            "tensor `{}` of type {} and shape {:?} needs {elements} elements, its data of {} bytes has another number",
            shown(&self.name),
            self.datatype.as_str(),
            self.shape,
            self.data.len()
        )))
    }
}

/// The value of a half-precision float (IEEE 754 binary16).
pub(crate) fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from((bits >> 10) & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// The value of a bfloat16: the upper half of a 32-bit float.
pub(crate) fn brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// How many texts `BYTES` data holds; `None` when it is cut or has bytes left over.
fn count_texts(mut data: &[u8]) -> Option<usize> {
    let mut count = 0;
    while !data.is_empty() {
        let (head, rest) = data.split_first_chunk::<4>()?;
        data = rest.get(u32::from_le_bytes(*head) as usize..)?;
        count += 1;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_counted_without_overflow() {
        assert_eq!(elements_of(&[]).ok(), Some(1));
        assert_eq!(elements_of(&[2, 3]).ok(), Some(6));
        assert!(elements_of(&[-1, 3]).is_err());
        assert!(elements_of(&[i64::MAX, i64::MAX]).is_err());
    }

    #[test]
    fn data_must_be_what_the_shape_promises() {
        let mut tensor = Tensor::f32("x", vec![2], &[1.0, 2.0]);
        assert!(tensor.check().is_ok());
        tensor.shape = vec![3];
        assert!(tensor.check().is_err());
        let texts = Tensor {
            name: "t".into(),
            datatype: DataType::Bytes,
            shape: vec![1],
            data: Bytes::from_static(b"\x02\0\0\0ab"),
        };
        assert!(texts.check().is_ok());
        assert!(Tensor { data: Bytes::from_static(b"\x09\0\0\0ab"), ..texts }.check().is_err());
    }

    #[test]
    fn texts_are_few_enough_for_an_engine() {
        let count = TEXTS_MAX + 1;
        let name = "t".repeat(100);
        let texts = Tensor {
            name,
            datatype: DataType::Bytes,
            shape: vec![count as i64],
            data: Bytes::from(vec![0; 4 * count]),
        };
        let problem = texts.check().expect_err("too many");
        assert!(problem.text.contains("at most 1048576"), "{problem}");
        assert!(!problem.text.contains(&"t".repeat(65)), "{problem}");
    }

    #[test]
    fn short_floats_are_numbers_too() {
        let read = |datatype, bits: &[u16]| {
            let data = bits.iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<u8>>().into();
            Tensor { name: "x".into(), datatype, shape: vec![bits.len() as i64], data }.to_f64().expect("numbers")
        };
        let halves = read(DataType::Fp16, &[0x3c00, 0xc000, 0x3555, 0x0001, 0x7c00, 0x8000]);
        assert_eq!(halves[..2], [1.0, -2.0]);
        assert!((halves[2] - 1.0 / 3.0).abs() < 1e-4);
        assert_eq!((halves[3], halves[4], halves[5]), (2f64.powi(-24), f64::INFINITY, 0.0));
        assert!(read(DataType::Fp16, &[0x7e00])[0].is_nan());
        assert_eq!(read(DataType::Bf16, &[0x3f80, 0xc040]), [1.0, -3.0]);
    }
}
