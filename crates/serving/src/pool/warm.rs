//! The first runs of a model: they show that it works, how long it takes, and whether rows may share a run.

use super::{batch, nanos};
use crate::{
    engine::{Loaded, Session},
    tensor::{DataType, Tensor, TensorSpec, elements_of},
};
use kaogong_domain::{Problem, endpoints::Batching};
use std::time::Instant;

/// Timed runs after the first; the quickest counts.
const TIMED_RUNS: usize = 3;
/// Made-up rows that must give the same apart and together.
const ROWS_TRIED: usize = 3;
/// The most elements of one row of an input: more would not fit a request.
const ROW_ELEMENTS_MAX: usize = 1 << 26;

/// What the first runs showed.
#[derive(Default)]
pub(super) struct Warm {
    /// What one row takes in the engine, in nanoseconds; `None` when that could not be tried.
    pub row_ns: Option<u64>,
    /// Whether rows of several calls may share a run.
    pub can_batch: bool,
    /// Why the model could not be tried, when no made-up input is one that it takes.
    pub remark: Option<String>,
}

/// Runs the model on zeros or other made-up numbers, then on made-up rows apart and together.
///
/// A model that fails on what is made up here may still be as good as any: a table of categories knows its own codes
/// alone. So that is a remark and no error.
///
/// # Errors
/// `Invalid` when the model gives other outputs than it declares, or takes more than a request could carry.
pub(super) fn warm_up(model: &dyn Loaded, session: &mut dyn Session, batching: Batching) -> Result<Warm, Problem> {
    let mut first_problem = None;
    for seed in [None].into_iter().chain((1..=ROWS_TRIED).map(Some)) {
        let inputs = made_up(model.inputs(), seed)?;
        match session.run(&inputs) {
            Ok(outputs) => {
                check_outputs(model.outputs(), &outputs)?;
                let row_ns = timed(session, &inputs);
                return Ok(Warm { row_ns, can_batch: can_batch(model, session, batching), remark: None });
            }
            Err(problem) => first_problem = first_problem.or(Some(problem)),
        }
    }
    let remark = first_problem.map(|it| format!("it could not be tried with made-up numbers: {}", it.text));
    Ok(Warm { row_ns: None, can_batch: can_batch(model, session, batching), remark })
}

/// What the quickest of a few runs takes, in nanoseconds.
fn timed(session: &mut dyn Session, inputs: &[Tensor]) -> Option<u64> {
    let mut row_ns = None;
    for _ in 0..TIMED_RUNS {
        let began = Instant::now();
        session.run(inputs).ok()?;
        let took = nanos(began.elapsed());
        row_ns = Some(row_ns.map_or(took, |it: u64| it.min(took)));
    }
    row_ns
}

fn check_outputs(specs: &[TensorSpec], outputs: &[Tensor]) -> Result<(), Problem> {
    let names = |it: &[TensorSpec]| it.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    let given: Vec<&str> = outputs.iter().map(|it| it.name.as_str()).collect();
    if names(specs) != given {
        return Err(Problem::invalid(format!("the model declares the outputs {:?} and gives {given:?}", names(specs))));
    }
    outputs.iter().try_for_each(Tensor::check)
}

/// Whether rows of several calls may share a run: the graph must show that they do not see each other, and a try must
/// not speak against it. A try alone shows nothing, because rows may see each other for some numbers only. Whoever serves
/// the model may say so instead.
fn can_batch(model: &dyn Loaded, session: &mut dyn Session, batching: Batching) -> bool {
    let batched = |specs: &[TensorSpec]| {
        !specs.is_empty() && specs.iter().all(|it| it.is_batched() && it.datatype != DataType::Bytes)
    };
    let has_rows = batched(model.inputs()) && batched(model.outputs());
    match batching {
        Batching::Off => false,
        Batching::On => has_rows,
        Batching::Auto => has_rows && model.is_row_wise() && give_the_same_together(model, session) != Some(false),
    }
}

/// Whether made-up rows together give what they give apart; `None` when the model does not take what is made up.
fn give_the_same_together(model: &dyn Loaded, session: &mut dyn Session) -> Option<bool> {
    let mut rows = vec![];
    let mut apart = vec![];
    for seed in 1..=ROWS_TRIED {
        let row = made_up(model.inputs(), Some(seed)).ok()?;
        apart.push(session.run(&row).ok()?);
        rows.push(row);
    }
    let joined: Vec<&[Tensor]> = rows.iter().map(Vec::as_slice).collect();
    let together = session.run(&batch::join(&joined, ROWS_TRIED)).ok()?;
    let Some(parts) = batch::split(&together, &[1; ROWS_TRIED]) else { return Some(false) };
    Some((0..together.len()).all(|output| {
        let alone: Vec<&Tensor> = apart.iter().map(|it| &it[output]).collect();
        let shared: Vec<&Tensor> = parts.iter().map(|it| &it[output]).collect();
        is_same(&alone, &shared)
    }))
}

/// How far numbers may differ, relative to the largest of their tensor: what another order of additions costs in that
/// type. Whole numbers may not differ at all.
fn tolerance(datatype: DataType) -> f64 {
    match datatype {
        DataType::Fp32 | DataType::Fp64 => 3e-4,
        DataType::Fp16 => 1e-2,
        DataType::Bf16 => 5e-2,
        _ => 0.0,
    }
}

/// Whether one output is the same in both runs. What counts as a small difference is told by the numbers that the rows
/// gave alone: a fixed size would call every answer of a model the same whose answers are tiny.
fn is_same(alone: &[&Tensor], shared: &[&Tensor]) -> bool {
    let numbers = |it: &[&Tensor]| -> Option<Vec<f64>> {
        it.iter().map(|it| it.to_f64()).collect::<Option<Vec<_>>>().map(|it| it.concat())
    };
    let (Some(a), Some(b)) = (numbers(alone), numbers(shared)) else { return false };
    let scale = a.iter().filter(|it| it.is_finite()).fold(0.0, |most: f64, it| most.max(it.abs()));
    let allowed = scale * tolerance(alone[0].datatype);
    let close = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= allowed;
    let shapes = alone.iter().zip(shared).all(|(a, b)| a.shape == b.shape);
    shapes && a.len() == b.len() && a.iter().zip(&b).all(close)
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
    // Whole numbers are 0 or 1, which fit every table that they may be looked up in. Others are eighths, which every
    // type has exactly; odd rows are positive, the others negative.
    let whole = |place: usize| seed.map_or(0, |seed| (place + seed) % 2);
    let real = |place: usize| {
        seed.map_or(0.0, |seed| {
            let size = (1 + (place * 7 + seed * 5) % 11) as f32 / 8.0;
            if seed % 2 == 0 { -size } else { size }
        })
    };
    let mut data = Vec::new();
    for place in 0..elements {
        match (spec.datatype, spec.datatype.size()) {
            (DataType::Fp32, _) => data.extend_from_slice(&real(place).to_le_bytes()),
            (DataType::Fp64, _) => data.extend_from_slice(&f64::from(real(place)).to_le_bytes()),
            (DataType::Fp16, _) => data.extend_from_slice(&half_of(real(place)).to_le_bytes()),
            (DataType::Bf16, _) => data.extend_from_slice(&((real(place).to_bits() >> 16) as u16).to_le_bytes()),
            // An empty text is its length alone.
            (DataType::Bytes, _) | (_, None) => data.extend_from_slice(&[0; 4]),
            (_, Some(size)) => data.extend_from_slice(&(whole(place) as u64).to_le_bytes()[..size]),
        }
    }
    Ok(Tensor { name: spec.name.clone(), datatype: spec.datatype, shape, data: data.into() })
}

/// A half-precision float; what is too small for one becomes zero, and digits that it lacks are cut.
fn half_of(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    match ((bits >> 23) & 0xff) as i32 - 127 + 15 {
        ..=0 => sign,
        31.. => sign | 0x7c00,
        exponent => sign | ((exponent as u16) << 10) | ((bits >> 13) & 0x3ff) as u16,
    }
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
    fn made_up_rows_are_the_same_numbers_in_every_float() {
        let row = |datatype, seed| {
            let specs = [TensorSpec { name: "x".into(), datatype, shape: vec![-1, 11] }];
            made_up(&specs, Some(seed)).expect("a row")[0].to_f64().expect("numbers")
        };
        for seed in 1..=ROWS_TRIED {
            let want = row(DataType::Fp64, seed);
            assert!(want.iter().all(|it| *it != 0.0), "{want:?}");
            for datatype in [DataType::Fp16, DataType::Bf16, DataType::Fp32] {
                assert_eq!(row(datatype, seed), want, "{datatype:?}");
            }
        }
    }

    /// Subtracts from each element the mean of its column over all rows, and makes the answer small.
    struct MinusMean(DataType);

    impl Session for MinusMean {
        fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Problem> {
            let (values, width) = (inputs[0].to_f64().expect("numbers"), 2);
            let rows = values.len() / width;
            let mean = |column: usize| (0..rows).map(|row| values[row * width + column]).sum::<f64>() / rows as f64;
            let each = |place: usize| (values[place] - mean(place % width) + values[place] * 0.01) as f32 / 1024.0;
            let values: Vec<f32> = (0..values.len()).map(each).collect();
            let data = match self.0 {
                DataType::Fp32 => Tensor::f32("x", vec![], &values).data,
                DataType::Fp16 => values.iter().flat_map(|it| half_of(*it).to_le_bytes()).collect::<Vec<u8>>().into(),
                _ => {
                    values.iter().flat_map(|it| ((it.to_bits() >> 16) as u16).to_le_bytes()).collect::<Vec<u8>>().into()
                }
            };
            Ok(vec![Tensor { data, ..inputs[0].clone() }])
        }
    }

    /// A model with one input and one output alike.
    struct Alike([TensorSpec; 1], std::collections::BTreeMap<String, String>);

    impl Loaded for Alike {
        fn inputs(&self) -> &[TensorSpec] {
            &self.0
        }

        fn outputs(&self) -> &[TensorSpec] {
            &self.0
        }

        fn metadata(&self) -> &std::collections::BTreeMap<String, String> {
            &self.1
        }

        fn is_row_wise(&self) -> bool {
            true
        }

        fn session(&self) -> Result<Box<dyn Session>, Problem> {
            Ok(Box::new(MinusMean(self.0[0].datatype)))
        }
    }

    /// Takes one code alone, as a table of categories does.
    struct Picky(i64);

    impl Session for Picky {
        fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Problem> {
            let fits = inputs[0].data[..] == self.0.to_le_bytes();
            if fits { Ok(inputs.to_vec()) } else { Err(Problem::invalid("unknown category")) }
        }
    }

    #[test]
    fn a_model_that_takes_nothing_made_up_is_no_worse_for_it() {
        let spec = TensorSpec { name: "x".into(), datatype: DataType::Int64, shape: vec![-1] };
        let model = Alike([spec], Default::default());
        let warm = warm_up(&model, &mut Picky(101), Batching::Auto).expect("no error");
        assert!(warm.remark.expect("a remark").contains("unknown category"));
        assert_eq!(warm.row_ns, None);
        let warm = warm_up(&model, &mut Picky(1), Batching::Auto).expect("no error");
        assert_eq!(warm.remark, None, "one of the made-up codes is known");
    }

    #[test]
    fn rows_with_tiny_answers_that_see_each_other_are_told_apart() {
        for datatype in [DataType::Fp32, DataType::Fp16, DataType::Bf16] {
            let model = Alike([TensorSpec { name: "x".into(), datatype, shape: vec![-1, 2] }], Default::default());
            let mut session = model.session().expect("a session");
            assert!(!can_batch(&model, &mut *session, Batching::Auto), "{datatype:?}");
            assert!(can_batch(&model, &mut *session, Batching::On) && !can_batch(&model, &mut *session, Batching::Off));
        }
    }

    #[test]
    fn a_row_that_no_request_could_carry_is_refused_before_it_is_made() {
        let specs = [TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape: vec![-1, 1 << 27] }];
        assert!(made_up(&specs, None).is_err());
    }
}
