//! Whether two engines give the same for one model: on ordinary numbers, on NaN and infinities, on zeros of both signs and
//! on the extremes of whole numbers.

use kaogong_domain::Problem;
use kaogong_serving::{DataType, Loaded, Session, Tensor, TensorSpec, tensor::elements_of};
use std::time::{Duration, Instant};

/// How far numbers may differ, relative to the largest of their tensor.
const TOLERANCE: f64 = 1e-4;
/// The most elements of one made-up input: a model with more is compared with fewer rows.
const ELEMENTS_MAX: usize = 1 << 22;
/// After so long no further input is tried: a large model is compared on fewer.
const TIME_MAX: Duration = Duration::from_secs(15);
/// The length of free dimensions inside a row.
const INSIDE: i64 = 4;

/// What is sent in place of some of the numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Ordinary,
    Float(f32, &'static str),
    Whole(i64, &'static str),
}

const KINDS: [Kind; 9] = [
    Kind::Ordinary,
    Kind::Float(f32::NAN, "NaN"),
    Kind::Float(f32::INFINITY, "infinity"),
    Kind::Float(f32::NEG_INFINITY, "negative infinity"),
    Kind::Float(0.0, "zero"),
    Kind::Float(-0.0, "negative zero"),
    Kind::Float(1e4, "large numbers"),
    Kind::Whole(i64::MAX, "the largest whole numbers"),
    Kind::Whole(i64::MIN, "the smallest whole numbers"),
];

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary numbers",
            Self::Float(_, word) | Self::Whole(_, word) => word,
        }
    }
}

/// Whether `engine`'s model gives what `right`'s gives; `name` is the engine's name for the words. What `right` refuses
/// tells nothing, and neither does what the other refuses: a refusal is no wrong answer.
///
/// # Errors
/// `Invalid` names the output that differs, and on what.
pub fn gives_the_same(right: &dyn Loaded, engine: &dyn Loaded, name: &str) -> Result<(), Problem> {
    let names = |it: &dyn Loaded| it.outputs().iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    if names(right) != names(engine) || right.inputs().len() != engine.inputs().len() {
        return Err(differs(name, "its inputs and outputs", "any numbers"));
    }
    let (mut a, mut b) = (right.session()?, engine.session()?);
    let began = Instant::now();
    for rows in [1, 3, 20] {
        for (seed, kind) in KINDS.into_iter().enumerate() {
            if began.elapsed() > TIME_MAX {
                return Ok(());
            }
            if let Some(inputs) = made_up(right.inputs(), rows, seed as u64, kind) {
                compare_one(&mut *a, &mut *b, &inputs, name, kind)?;
            }
        }
    }
    Ok(())
}

fn compare_one(
    right: &mut dyn Session,
    engine: &mut dyn Session,
    inputs: &[Tensor],
    name: &str,
    kind: Kind,
) -> Result<(), Problem> {
    let (Ok(want), Ok(have)) = (right.run(inputs), engine.run(inputs)) else { return Ok(()) };
    match want.iter().zip(&have).find(|(want, have)| !is_same(want, have)) {
        Some((want, _)) => Err(differs(name, &format!("output `{}`", want.name), kind.word())),
        None => Ok(()),
    }
}

fn differs(name: &str, what: &str, on: &str) -> Problem {
    Problem::invalid(format!("{name} gives another answer than ONNX Runtime for {what} on {on}"))
        .hint("serve it with `--engine onnxruntime`")
}

fn is_same(want: &Tensor, have: &Tensor) -> bool {
    if want.datatype != have.datatype || want.shape != have.shape {
        return false;
    }
    let is_float = matches!(want.datatype, DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64);
    let (Some(a), Some(b)) = (want.to_f64().filter(|_| is_float), have.to_f64()) else { return want.data == have.data };
    let largest = a.iter().filter(|it| it.is_finite()).fold(1.0, |most: f64, it| most.max(it.abs()));
    let close = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * largest;
    a.len() == b.len() && a.iter().zip(&b).all(close)
}

/// Inputs of so many rows; `None` when the model takes nothing that this kind changes, or too much.
fn made_up(specs: &[TensorSpec], rows: i64, seed: u64, kind: Kind) -> Option<Vec<Tensor>> {
    let is_float =
        |it: &TensorSpec| matches!(it.datatype, DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64);
    let is_whole = |it: &TensorSpec| !is_float(it) && !matches!(it.datatype, DataType::Bool | DataType::Bytes);
    let is_of_use = match kind {
        Kind::Ordinary => true,
        Kind::Float(..) => specs.iter().any(is_float),
        Kind::Whole(..) => specs.iter().any(is_whole),
    };
    if !is_of_use {
        return None;
    }
    let mut random = seed.wrapping_mul(2_654_435_761).wrapping_add(rows.unsigned_abs());
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    specs
        .iter()
        .map(|spec| {
            let length = |(axis, it): (usize, &i64)| {
                if *it >= 0 {
                    *it
                } else if axis == 0 {
                    rows
                } else {
                    INSIDE
                }
            };
            let shape: Vec<i64> = spec.shape.iter().enumerate().map(length).collect();
            let count = elements_of(&shape).ok().filter(|it| *it <= ELEMENTS_MAX)?;
            let mut data = Vec::new();
            for place in 0..count {
                let drawn = next();
                let is_changed = place == 0 || drawn % 4 == 0;
                element(spec.datatype, drawn, kind, is_changed, &mut data);
            }
            Some(Tensor { name: spec.name.clone(), datatype: spec.datatype, shape, data: data.into() })
        })
        .collect()
}

fn element(datatype: DataType, drawn: u64, kind: Kind, is_changed: bool, data: &mut Vec<u8>) {
    let real = match kind {
        Kind::Float(value, _) if is_changed => value,
        // Between -2 and 2.
        _ => (drawn % 4096) as f32 / 1024.0 - 2.0,
    };
    let whole = |min: i64, max: i64| match kind {
        Kind::Whole(value, _) if is_changed => value.clamp(min, max),
        _ => (drawn % 2) as i64,
    };
    match datatype {
        DataType::Bool => data.push((drawn % 2) as u8),
        DataType::Fp32 => data.extend(real.to_le_bytes()),
        DataType::Fp64 => data.extend(f64::from(real).to_le_bytes()),
        DataType::Bf16 => data.extend(((real.to_bits() >> 16) as u16).to_le_bytes()),
        // Zero, one and two as half-precision floats, and what is no number.
        DataType::Fp16 => {
            let bits: u16 = match kind {
                Kind::Float(value, _) if is_changed && value.is_nan() => 0x7e00,
                Kind::Float(value, _) if is_changed && value == f32::INFINITY => 0x7c00,
                Kind::Float(value, _) if is_changed && value == f32::NEG_INFINITY => 0xfc00,
                _ => [0x0000, 0x3c00, 0x4000, 0xbc00][(drawn % 4) as usize],
            };
            data.extend(bits.to_le_bytes());
        }
        DataType::Int8 => data.push(whole(i8::MIN.into(), i8::MAX.into()) as u8),
        DataType::Uint8 => data.push(whole(0, u8::MAX.into()) as u8),
        DataType::Int16 => data.extend((whole(i16::MIN.into(), i16::MAX.into()) as i16).to_le_bytes()),
        DataType::Uint16 => data.extend((whole(0, u16::MAX.into()) as u16).to_le_bytes()),
        DataType::Int32 => data.extend((whole(i32::MIN.into(), i32::MAX.into()) as i32).to_le_bytes()),
        DataType::Uint32 => data.extend((whole(0, u32::MAX.into()) as u32).to_le_bytes()),
        DataType::Int64 => data.extend(whole(i64::MIN, i64::MAX).to_le_bytes()),
        DataType::Uint64 => data.extend((whole(0, i64::MAX) as u64).to_le_bytes()),
        // An empty text is its length alone.
        DataType::Bytes => data.extend([0; 4]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_differences_are_none_and_lost_nan_is_one() {
        let tensor = |values: &[f32]| Tensor::f32("y", vec![values.len() as i64], values);
        assert!(is_same(&tensor(&[1.0, f32::NAN]), &tensor(&[1.000_01, f32::NAN])));
        assert!(!is_same(&tensor(&[1.0, f32::NAN]), &tensor(&[1.0, 0.0])));
        assert!(!is_same(&tensor(&[1.0, f32::INFINITY]), &tensor(&[1.0, f32::MAX])));
        assert!(!is_same(&tensor(&[1.0]), &tensor(&[1.1])));
        assert!(!is_same(&tensor(&[1.0]), &tensor(&[1.0, 1.0])));
        let whole = |value: i64| Tensor {
            name: "y".into(),
            datatype: DataType::Int64,
            shape: vec![1],
            data: value.to_le_bytes().to_vec().into(),
        };
        assert!(!is_same(&whole(i64::MAX), &whole(i64::MAX - 1)), "whole numbers are compared exactly");
    }

    #[test]
    fn made_up_inputs_are_whole_tensors_of_every_type() {
        for datatype in DataType::ALL {
            let specs = [TensorSpec { name: "x".into(), datatype, shape: vec![-1, 3, -1] }];
            for made in KINDS.into_iter().filter_map(|kind| made_up(&specs, 2, 1, kind)) {
                assert_eq!(made[0].shape, [2, 3, INSIDE]);
                made[0].check().expect("data as promised");
            }
        }
    }
}
