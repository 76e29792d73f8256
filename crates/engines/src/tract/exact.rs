//! Puts kernels in the place of those of tract that lose what is not a number.
//!
//! ONNX Runtime gives NaN where NaN goes into Relu, Clip, Max, Min, Sigmoid or Tanh; tract gives an ordinary number there,
//! which nobody would doubt. Its Div multiplies by the reciprocal, which is infinite for tiny numbers. And where what either gives depends on the order of its work (the largest of a window), the
//! run is refused when such numbers reach the operator.

use tract_onnx::{
    prelude::{TractResult, TypedModel, tract_ndarray::Zip},
    tract_core::{
        internal::*,
        ops::{
            binary::{BinMiniOp, TypedBinOp},
            cnn::MaxPool,
            element_wise::ElementWiseOp,
            logic::IfThenElse,
            math::{Div, Max, Min, Tanh},
            nn::{Reduce, Reducer, Sigmoid},
            scan::Scan,
        },
    },
};

/// Replaces kernels in a model, and in the models inside of it.
pub(super) fn replace_kernels(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes.len() {
        let floats = {
            let facts = model.node_input_facts(id)?;
            !facts.is_empty() && facts.iter().all(|it| it.datum_type == DatumType::F32)
        };
        let node = model.node_mut(id);
        if node.op.name() == "GruSeq" {
            guard(model, id)?;
        } else if let Some(scan) = node.op_as_mut::<Scan>() {
            replace_kernels(&mut scan.body)?;
            guard(model, id)?;
        } else if let Some(branches) = node.op_as_mut::<IfThenElse>() {
            replace_kernels(&mut branches.then_body)?;
            replace_kernels(&mut branches.else_body)?;
        } else if floats && let Some(op) = replacement(node) {
            node.op = op;
        }
    }
    Ok(())
}

/// Lets numbers alone into the sequence that a recurrent operator goes through: ONNX Runtime cuts off what is large in
/// there, and makes ordinary numbers of what is none.
fn guard(model: &mut TypedModel, id: usize) -> TractResult<()> {
    let Some(from) = model.node(id).inputs.first().copied() else { return Ok(()) };
    if model.outlet_fact(from)?.datum_type != DatumType::F32 {
        return Ok(());
    }
    let name = format!("{}.numbers", model.node(id).name);
    let op = ElementWiseOp(Box::new(Numbers { operator: "GRU, LSTM or RNN" }), None);
    let guarded = model.wire_node(name, op, &[from])?[0];
    model.add_edge(guarded, InletId::new(id, 0))
}

fn replacement(node: &TypedNode) -> Option<Box<dyn TypedOp>> {
    if let Some(op) = node.op_as::<TypedBinOp>() {
        let exact = match () {
            () if op.0.is::<Max>() => Exact::Max,
            () if op.0.is::<Min>() => Exact::Min,
            () if op.0.is::<Div>() => Exact::Div,
            () => return None,
        };
        return Some(Box::new(TypedBinOp(Box::new(exact), op.1)));
    }
    if let Some(op) = node.op_as::<ElementWiseOp>() {
        return (op.0.is::<Sigmoid>() || op.0.is::<Tanh>())
            .then(|| Box::new(ElementWiseOp(Box::new(KeepsNan(op.0.clone())), op.1)) as Box<dyn TypedOp>);
    }
    let operator = match node.op_as::<Reduce>().map(|it| it.reducer) {
        Some(Reducer::ArgMax(_)) => "ArgMax",
        Some(Reducer::ArgMin(_)) => "ArgMin",
        Some(Reducer::Max) => "GlobalMaxPool",
        _ if node.op_is::<MaxPool>() => "MaxPool",
        _ => return None,
    };
    Some(Box::new(Finite { inner: node.op.clone(), operator }))
}

/// An operator on two numbers as ONNX Runtime has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exact {
    Max,
    Min,
    Div,
}

impl Exact {
    fn of(self, a: f32, b: f32) -> f32 {
        // A comparison with NaN is false, so that NaN in `a` stays; NaN in `b` is taken.
        let takes_b = match self {
            Self::Max => a < b,
            Self::Min => a > b,
            Self::Div => return a / b,
        };
        if takes_b || b.is_nan() { b } else { a }
    }
}

impl BinMiniOp for Exact {
    fn name(&self) -> &'static str {
        match self {
            Self::Max => "ExactMax",
            Self::Min => "ExactMin",
            Self::Div => "ExactDiv",
        }
    }

    fn is_commutative(&self) -> bool {
        *self != Self::Div
    }

    fn result_datum_type(&self, a: DatumType, b: DatumType) -> TractResult<DatumType> {
        ensure!(a == b, "{} takes two tensors of one type", self.name());
        Ok(a)
    }

    fn eval_in_a(&self, a: &mut Tensor, b: &Tensor) -> TractResult<()> {
        let b = b.to_plain_array_view::<f32>()?;
        let mut a = a.to_plain_array_view_mut::<f32>()?;
        match (a.as_slice_mut(), b.len(), b.first()) {
            (Some(a), 1, Some(b)) => a.iter_mut().for_each(|it| *it = self.of(*it, *b)),
            _ => a.zip_mut_with(&b, |a, b| *a = self.of(*a, *b)),
        }
        Ok(())
    }

    fn eval_out_of_place(&self, c: &mut Tensor, a: &Tensor, b: &Tensor) -> TractResult<()> {
        let (a, b) = (a.to_plain_array_view::<f32>()?, b.to_plain_array_view::<f32>()?);
        let mut c = c.to_plain_array_view_mut::<f32>()?;
        let (a, b) = (a.broadcast(c.raw_dim()), b.broadcast(c.raw_dim()));
        let (Some(a), Some(b)) = (a, b) else { bail!("{}: shapes do not fit", self.name()) };
        Zip::from(&mut c).and(&a).and(&b).for_each(|c, a, b| *c = self.of(*a, *b));
        Ok(())
    }
}

/// A kernel that is right for numbers alone, with NaN put back where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeepsNan(Box<dyn ElementWiseMiniOp>);

impl ElementWiseMiniOp for KeepsNan {
    fn name(&self) -> String {
        format!("Exact{}", self.0.name())
    }

    fn eval_in_place(&self, t: &mut Tensor, out_dt: Option<DatumType>) -> TractResult<()> {
        let places: Vec<usize> = {
            let plain = t.try_as_plain_ram()?;
            let values = plain.as_slice::<f32>()?;
            values.iter().enumerate().filter(|it| it.1.is_nan()).map(|it| it.0).collect()
        };
        self.0.eval_in_place(t, out_dt)?;
        let mut plain = t.try_as_plain_ram_mut()?;
        let values = plain.as_slice_mut::<f32>()?;
        places.into_iter().for_each(|it| values[it] = f32::NAN);
        Ok(())
    }
}

fn ensure_numbers(tensor: &Tensor, operator: &str) -> TractResult<()> {
    let plain = tensor.try_as_plain_ram()?;
    ensure!(
        plain.as_slice::<f32>()?.iter().all(|it| it.is_finite()),
        "tract is not verified for the operator `{operator}` on NaN or infinite numbers; serve the model with onnxruntime",
    );
    Ok(())
}

/// Gives what it gets, when that is numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Numbers {
    operator: &'static str,
}

impl ElementWiseMiniOp for Numbers {
    fn name(&self) -> String {
        "Numbers".to_owned()
    }

    fn eval_in_place(&self, t: &mut Tensor, _: Option<DatumType>) -> TractResult<()> {
        ensure_numbers(t, self.operator)
    }
}

/// An operator that runs on numbers alone.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finite {
    inner: Box<dyn TypedOp>,
    operator: &'static str,
}

impl Op for Finite {
    fn name(&self) -> StaticName {
        format!("Finite{}", self.operator).into()
    }

    op_as_typed_op!();
}

impl EvalOp for Finite {
    op_out_of_plan!();

    fn eval(&self, ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        ensure_numbers(&inputs[0], self.operator)?;
        self.inner.eval(ctx, inputs)
    }
}

impl TypedOp for Finite {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        self.inner.output_facts(inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_number_goes_through() {
        let (max, min) = (Exact::Max, Exact::Min);
        assert_eq!(Exact::Div.of(1e-42, 1e-42), 1.0);
        assert_eq!((max.of(1.0, 2.0), min.of(1.0, 2.0)), (2.0, 1.0));
        assert_eq!((max.of(f32::NEG_INFINITY, 0.0), min.of(f32::INFINITY, 6.0)), (0.0, 6.0));
        for op in [max, min] {
            assert!(op.of(f32::NAN, 1.0).is_nan() && op.of(1.0, f32::NAN).is_nan());
        }
    }
}
