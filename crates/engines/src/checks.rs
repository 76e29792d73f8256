//! What both engines check and say: inputs against a model's specs, and failures as problems.

use kaogong_domain::Problem;
use kaogong_serving::{DataType, Tensor, TensorSpec};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// The most characters of an engine's own words that are kept; some engines print whole nodes.
const DETAIL_MAX: usize = 600;

/// What an engine said when it failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Said(String);

impl Said {
    /// Keeps what is about the model, and the beginning of a long text.
    pub(crate) fn new(text: impl std::fmt::Display) -> Self {
        let text = crate::words::plain(&text.to_string());
        match text.char_indices().nth(DETAIL_MAX) {
            Some((end, _)) => Self(format!("{}…", &text[..end])),
            None => Self(text),
        }
    }

    fn of_panic(payload: &(dyn Any + Send)) -> Self {
        let text =
            payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
        Self::new(text.unwrap_or("the engine panicked without a text"))
    }
}

/// Runs work of a library that may panic on hostile input; a panic becomes an error.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, Said>) -> Result<T, Said> {
    // What `work` borrows is either dropped or replaced by its caller after an error.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(Said::of_panic(&*payload)))
}

/// A model file that an engine cannot run. Its path is one of the server's, which is nobody's business.
pub(crate) fn unloadable(engine: &str, path: &Path, said: Said) -> Problem {
    let said = said.0.replace(&*path.to_string_lossy(), "the file");
    let hint = match said.contains("tract is not verified") || said.contains("tract is verified") {
        true => "serve it with `--engine onnxruntime`; `kaogong doctor` says how to install ONNX Runtime",
        false => "check that the file is a complete ONNX model with tensor inputs, or serve it with the other engine",
    };
    Problem::invalid(format!("{engine} cannot load the model: {said}")).hint(hint).because(Said(said))
}

/// A run that an engine refused.
pub(crate) fn unrunnable(engine: &str, said: Said) -> Problem {
    Problem::invalid(format!("{engine} cannot run the model on these inputs: {said}"))
        .hint("compare the shapes of the inputs with the model's metadata")
        .because(said)
}

/// Checks number, type, shape and length of inputs that are in the model's order.
pub(crate) fn check_inputs(specs: &[TensorSpec], inputs: &[Tensor]) -> Result<(), Problem> {
    if specs.len() != inputs.len() {
        return Err(Problem::invalid(format!("the model takes {} inputs, {} were given", specs.len(), inputs.len())));
    }
    for (spec, input) in specs.iter().zip(inputs) {
        if spec.datatype != input.datatype || !spec.accepts(&input.shape) {
            return Err(Problem::invalid(format!(
                "input `{}` takes {} of shape {:?}, {} of shape {:?} was given",
                spec.name,
                spec.datatype.as_str(),
                spec.shape,
                input.datatype.as_str(),
                input.shape
            ))
            .hint("-1 stands for any length"));
        }
        input.check()?;
    }
    Ok(())
}

/// Refuses inputs without elements, for a model whose engine cannot be trusted with them.
pub(crate) fn refuse_empty(engine: &str, inputs: &[Tensor]) -> Result<(), Problem> {
    match inputs.iter().find(|it| it.data.is_empty()) {
        Some(empty) => {
            let said =
                Said::new(format!("input `{}` has no elements, which this model's operators do not take", empty.name));
            Err(unrunnable(engine, said))
        }
        None => Ok(()),
    }
}

/// Whether nothing but the number of rows is free in what a caller sends; a text may be of any length.
pub(crate) fn has_fixed_rows(inputs: &[TensorSpec]) -> bool {
    inputs.iter().all(|it| it.datatype != DataType::Bytes && it.shape.iter().skip(1).all(|it| *it >= 0))
}

/// The bytes of booleans with every byte 0 or 1, which is all that a boolean in memory may be.
pub(crate) fn copy_bools(from: &[u8], to: &mut [u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = u8::from(*from != 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_text() {
        let said = guarded::<()>(|| panic!("node {} is odd", 7)).expect_err("a panic is an error");
        assert_eq!(said.to_string(), "node 7 is odd");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let said = Said::new("é".repeat(DETAIL_MAX + 5));
        assert_eq!(said.to_string().chars().count(), DETAIL_MAX + 1);
    }

    #[test]
    fn inputs_must_fit_the_specs() {
        let specs = [TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape: vec![-1, 2] }];
        let good = Tensor::f32("x", vec![2, 2], &[1.0; 4]);
        assert!(check_inputs(&specs, std::slice::from_ref(&good)).is_ok());
        assert!(check_inputs(&specs, &[]).is_err());
        assert!(check_inputs(&specs, &[Tensor { shape: vec![4, 1], ..good.clone() }]).is_err());
        assert!(check_inputs(&specs, &[Tensor { datatype: DataType::Int32, ..good.clone() }]).is_err());
        assert!(check_inputs(&specs, &[Tensor { shape: vec![3, 2], ..good }]).is_err());
    }

    #[test]
    fn a_free_dimension_inside_a_row_and_texts_have_no_fixed_cost() {
        let spec = |datatype, shape: &[i64]| TensorSpec { name: "x".into(), datatype, shape: shape.into() };
        assert!(has_fixed_rows(&[spec(DataType::Fp32, &[-1, 3]), spec(DataType::Int64, &[])]));
        assert!(!has_fixed_rows(&[spec(DataType::Fp32, &[-1, 3, -1])]));
        assert!(!has_fixed_rows(&[spec(DataType::Bytes, &[-1])]));
    }

    #[test]
    fn booleans_are_zero_or_one() {
        let mut to = [9; 3];
        copy_bools(&[0, 1, 255], &mut to);
        assert_eq!(to, [0, 1, 1]);
    }
}
