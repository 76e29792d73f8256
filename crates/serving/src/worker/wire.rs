//! Tensors as bytes in shared memory. Both directions use one form; what a worker wrote is read as a stranger's.
//!
//! `count: u32`, then for each tensor `type: u8, rank: u8, 0: u16, length: u64`, its dimensions as `i64`, then the data
//! of all tensors one after another. All numbers are little-endian. Names are known to both sides and not sent.

use crate::tensor::{DataType, Tensor, TensorSpec};
use bytes::Bytes;
use kaogong_domain::{ErrorKind, Problem};
use serde::{Deserialize, Serialize};

/// The most bytes of one message in either direction.
pub(super) const MESSAGE_BYTES_MAX: usize = 512 << 20;
/// The most dimensions of a tensor.
const RANK_MAX: usize = 64;
/// Type, rank, filling and length.
const HEAD_BYTES: usize = 12;

/// A message that is not what it should be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub &'static str);

/// The bytes before the data of tensors.
pub(super) fn head_of(tensors: &[Tensor]) -> Result<Vec<u8>, Malformed> {
    let count = u32::try_from(tensors.len()).map_err(|_| Malformed("too many tensors"))?;
    let mut head = Vec::with_capacity(4 + tensors.len() * (HEAD_BYTES + 32));
    head.extend_from_slice(&count.to_le_bytes());
    for it in tensors {
        let rank = u8::try_from(it.shape.len()).ok().filter(|it| usize::from(*it) <= RANK_MAX);
        let rank = rank.ok_or(Malformed("a tensor has too many dimensions"))?;
        head.extend_from_slice(&[code_of(it.datatype), rank, 0, 0]);
        head.extend_from_slice(&(it.data.len() as u64).to_le_bytes());
        it.shape.iter().for_each(|it| head.extend_from_slice(&it.to_le_bytes()));
    }
    Ok(head)
}

fn code_of(datatype: DataType) -> u8 {
    DataType::ALL.iter().position(|it| *it == datatype).map_or(u8::MAX, |it| it as u8)
}

/// Tensors from a message, named and held against what they must be.
///
/// # Errors
/// When anything is cut, left over, of another type than declared, or not as long as its shape says.
pub(super) fn tensors_of(message: &Bytes, specs: &[TensorSpec]) -> Result<Vec<Tensor>, Malformed> {
    let mut at = 0;
    let count = u32::from_le_bytes(take(message, &mut at)?);
    if count as usize != specs.len() {
        return Err(Malformed("another number of tensors than the model has"));
    }
    let mut heads = Vec::with_capacity(specs.len());
    for spec in specs {
        let [code, rank, _, _]: [u8; 4] = take(message, &mut at)?;
        let length = usize::try_from(u64::from_le_bytes(take(message, &mut at)?)).map_err(|_| CUT)?;
        if code != code_of(spec.datatype) {
            return Err(Malformed("a tensor of another type than the model declares"));
        }
        if usize::from(rank) > RANK_MAX {
            return Err(Malformed("a tensor has too many dimensions"));
        }
        let shape = (0..rank).map(|_| take(message, &mut at).map(i64::from_le_bytes)).collect::<Result<Vec<_>, _>>()?;
        heads.push((shape, length));
    }
    let mut tensors = Vec::with_capacity(specs.len());
    for (spec, (shape, length)) in specs.iter().zip(heads) {
        let end = at.checked_add(length).filter(|end| *end <= message.len()).ok_or(CUT)?;
        let tensor = Tensor { name: spec.name.clone(), datatype: spec.datatype, shape, data: message.slice(at..end) };
        tensor.check().map_err(|_| Malformed("a tensor whose data does not fit its shape"))?;
        tensors.push(tensor);
        at = end;
    }
    if at == message.len() { Ok(tensors) } else { Err(Malformed("bytes are left over")) }
}

const CUT: Malformed = Malformed("it is cut");

fn take<const N: usize>(message: &[u8], at: &mut usize) -> Result<[u8; N], Malformed> {
    let found = message.get(*at..).and_then(|it| it.first_chunk::<N>()).ok_or(CUT)?;
    *at += N;
    Ok(*found)
}

/// A problem on its way between two processes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ToldProblem {
    kind: String,
    text: String,
    hint: Option<String>,
}

/// The most characters that are taken over from a worker.
const TEXT_CHARS_MAX: usize = 2000;

impl From<&Problem> for ToldProblem {
    fn from(it: &Problem) -> Self {
        Self { kind: it.kind.as_str().to_owned(), text: it.text.clone(), hint: it.hint.clone() }
    }
}

impl From<ToldProblem> for Problem {
    fn from(it: ToldProblem) -> Self {
        let short = |it: String| it.chars().take(TEXT_CHARS_MAX).collect::<String>();
        let kind = ErrorKind::ALL.into_iter().find(|kind| kind.as_str() == it.kind).unwrap_or(ErrorKind::Unavailable);
        let problem = Self::new(kind, short(it.text));
        match it.hint {
            Some(hint) => problem.hint(short(hint)),
            None => problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn specs() -> Vec<TensorSpec> {
        let spec = |name: &str, datatype| TensorSpec { name: name.into(), datatype, shape: vec![-1, 2] };
        vec![spec("x", DataType::Fp32), spec("t", DataType::Bytes)]
    }

    fn message() -> Vec<u8> {
        let texts = Bytes::from_static(b"\x01\0\0\0a\x02\0\0\0bc");
        let tensors = [
            Tensor::f32("x", vec![1, 2], &[1.0, 2.0]),
            Tensor { name: "t".into(), datatype: DataType::Bytes, shape: vec![2], data: texts },
        ];
        let mut bytes = head_of(&tensors).expect("small");
        tensors.iter().for_each(|it| bytes.extend_from_slice(&it.data));
        let back = tensors_of(&bytes.clone().into(), &specs()).expect("whole");
        assert_eq!(back, tensors);
        bytes
    }

    #[test]
    fn tensors_survive_the_way_and_every_cut_is_seen() {
        let bytes = message();
        for end in 0..bytes.len() {
            assert!(tensors_of(&Bytes::copy_from_slice(&bytes[..end]), &specs()).is_err(), "cut at {end}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(tensors_of(&longer.into(), &specs()), Err(Malformed("bytes are left over")));
        assert!(tensors_of(&bytes.into(), &specs()[..1]).is_err());
    }

    #[test]
    fn lengths_shapes_and_types_that_lie_are_refused() {
        let lie = |at: usize, with: &[u8]| {
            let mut bytes = message();
            bytes[at..at + with.len()].copy_from_slice(with);
            tensors_of(&bytes.into(), &specs()).expect_err("a lie").0
        };
        assert_eq!(lie(0, &u32::MAX.to_le_bytes()), "another number of tensors than the model has");
        assert_eq!(lie(4, &[code_of(DataType::Fp64)]), "a tensor of another type than the model declares");
        assert_eq!(lie(4, &[99]), "a tensor of another type than the model declares");
        assert_eq!(lie(5, &[255]), "a tensor has too many dimensions");
        assert_eq!(lie(8, &u64::MAX.to_le_bytes()), "it is cut");
        assert_eq!(lie(16, &i64::MAX.to_le_bytes()), "a tensor whose data does not fit its shape");
        assert_eq!(lie(16, &(-1i64).to_le_bytes()), "a tensor whose data does not fit its shape");
    }

    proptest! {
        #[test]
        fn no_bytes_are_worse_than_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = tensors_of(&bytes.into(), &specs());
        }

        #[test]
        fn no_change_of_a_byte_is_worse_than_an_error(at in 0usize..70, to in any::<u8>()) {
            let mut bytes = message();
            let at = at % bytes.len();
            bytes[at] = to;
            for it in tensors_of(&bytes.into(), &specs()).into_iter().flatten() {
                prop_assert!(it.check().is_ok());
            }
        }
    }
}
