//! The first runs of a model: they show that it works, how long it takes, and whether rows may share a run.

use super::{batch, nanos};
use crate::{
    engine::{Loaded, Session},
    tensor::{DataType, Tensor, TensorSpec, elements_of},
};
use kaogong_domain::Problem;
use std::time::Instant;

/// Timed runs after the first; the quickest counts.
const TIMED_RUNS: usize = 3;
/// Two answers are the same when no number differs by more than this, relative to its size plus one.
const SAME: f64 = 1e-3;
/// The most elements of one row of an input: more would not fit a request.
const ROW_ELEMENTS_MAX: usize = 1 << 26;

/// What the first runs showed.
pub(super) struct Warm {
    /// What one row takes in the engine, in nanoseconds; `None` when that could not be tried.
    pub row_ns: Option<u64>,
    /// Whether rows of several calls may share a run.
    pub can_batch: bool,
}

/// Runs the model on zeros, then on two made-up rows apart and together.
///
/// # Errors
/// `Invalid` when the model fails on zeros of its own input shapes, or gives other outputs than it declares. A model
/// with free dimensions inside a row may fail on the made-up lengths and still be fine, so that is no error.
pub(super) fn warm_up(model: &dyn Loaded, session: &mut dyn Session) -> Result<Warm, Problem> {
    let zeros = made_up(model.inputs(), None)?;
    let outputs = match session.run(&zeros) {
        Ok(outputs) => outputs,
        Err(_) if model.inputs().iter().any(is_free_inside) => return Ok(Warm { row_ns: None, can_batch: false }),
        Err(problem) => {
            let text = format!("the model fails on zeros of its own input shapes: {problem}");
            return Err(Problem::invalid(text).because(problem));
        }
    };
    check_outputs(model.outputs(), &outputs)?;
    let mut row_ns = u64::MAX;
    for _ in 0..TIMED_RUNS {
        let began = Instant::now();
        session.run(&zeros)?;
        row_ns = row_ns.min(nanos(began.elapsed()));
    }
    Ok(Warm { row_ns: Some(row_ns), can_batch: can_batch(model, session).unwrap_or(false) })
}

fn is_free_inside(spec: &TensorSpec) -> bool {
    spec.shape.iter().skip(1).any(|it| *it < 0)
}

fn check_outputs(specs: &[TensorSpec], outputs: &[Tensor]) -> Result<(), Problem> {
    let names = |it: &[TensorSpec]| it.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    let given: Vec<&str> = outputs.iter().map(|it| it.name.as_str()).collect();
    if names(specs) != given {
        return Err(Problem::invalid(format!("the model declares the outputs {:?} and gives {given:?}", names(specs))));
    }
    outputs.iter().try_for_each(Tensor::check)
}

/// Whether two rows together give what they give apart. A free leading dimension alone does not promise that: it may
/// be the length of a sequence, or a row may be compared with its neighbours.
fn can_batch(model: &dyn Loaded, session: &mut dyn Session) -> Option<bool> {
    let batched = |specs: &[TensorSpec]| {
        !specs.is_empty() && specs.iter().all(|it| it.is_batched() && it.datatype != DataType::Bytes)
    };
    if !batched(model.inputs()) || !batched(model.outputs()) {
        return Some(false);
    }
    let rows = [made_up(model.inputs(), Some(1)).ok()?, made_up(model.inputs(), Some(2)).ok()?];
    let apart = [session.run(&rows[0]).ok()?, session.run(&rows[1]).ok()?];
    let together = session.run(&batch::join(&[&rows[0], &rows[1]], 2)).ok()?;
    let parts = batch::split(&together, &[1, 1])?;
    Some(parts.iter().zip(&apart).all(|(part, alone)| part.iter().zip(alone).all(|(a, b)| is_same(a, b))))
}

fn is_same(a: &Tensor, b: &Tensor) -> bool {
    let close = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= SAME * (1.0 + b.abs());
    a.shape == b.shape
        && match (a.to_f64(), b.to_f64()) {
            (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(&b).all(close),
            _ => a.data == b.data,
        }
}

/// One row for each input: zeros, or small values that differ by `seed`. Free dimensions are 1.
fn made_up(specs: &[TensorSpec], seed: Option<usize>) -> Result<Vec<Tensor>, Problem> {
    specs.iter().map(|it| made_up_input(it, seed)).collect()
}

fn made_up_input(spec: &TensorSpec, seed: Option<usize>) -> Result<Tensor, Problem> {
    let shape: Vec<i64> = spec.shape.iter().map(|it| if *it < 0 { 1 } else { *it }).collect();
    let elements = elements_of(&shape)?;
    if elements > ROW_ELEMENTS_MAX {
        let text =
            format!("input `{}` has {elements} elements in one row, at most {ROW_ELEMENTS_MAX} are served", spec.name);
        return Err(Problem::invalid(text));
    }
    // Whole numbers are 0 or 1, which fit every table that they may be looked up in.
    let whole = |place: usize| seed.map_or(0, |seed| (place + seed) % 2);
    let real = |place: usize| seed.map_or(0.0, |seed| ((place * 7 + seed * 5) % 11) as f32 / 11.0);
    let mut data = Vec::new();
    for place in 0..elements {
        match (spec.datatype, spec.datatype.size()) {
            (DataType::Fp32, _) => data.extend_from_slice(&real(place).to_le_bytes()),
            (DataType::Fp64, _) => data.extend_from_slice(&f64::from(real(place)).to_le_bytes()),
            (DataType::Fp16 | DataType::Bf16, _) => data.extend_from_slice(&[0; 2]),
            // An empty text is its length alone.
            (DataType::Bytes, _) | (_, None) => data.extend_from_slice(&[0; 4]),
            (_, Some(size)) => data.extend_from_slice(&(whole(place) as u64).to_le_bytes()[..size]),
        }
    }
    Ok(Tensor { name: spec.name.clone(), datatype: spec.datatype, shape, data: data.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_rows_are_whole_tensors_of_every_type() {
        for datatype in DataType::ALL {
            let specs = [TensorSpec { name: "x".into(), datatype, shape: vec![-1, 3] }];
            for seed in [None, Some(1), Some(2)] {
                let made = made_up(&specs, seed).expect("a row");
                assert_eq!(made[0].shape, [1, 3]);
                made[0].check().expect("data as promised");
            }
        }
    }

    #[test]
    fn a_row_that_no_request_could_carry_is_refused_before_it_is_made() {
        let specs = [TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape: vec![-1, 1 << 27] }];
        assert!(made_up(&specs, None).is_err());
    }
}
