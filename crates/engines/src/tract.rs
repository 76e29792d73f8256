//! The engine that is compiled in: tract runs ONNX models without anything installed.
//!
//! It serves what it is known to compute as ONNX Runtime does, and refuses the rest by the name of the operator.

mod exact;
mod verified;

use crate::checks::{Said, check_inputs, copy_bools, guarded, has_fixed_rows, refuse_empty, unloadable, unrunnable};
use bytes::Bytes;
use kaogong_domain::{Problem, endpoints::EngineName};
use kaogong_serving::{DataType, Engine, Loaded, Session, Tensor, TensorSpec};
use std::{collections::BTreeMap, fs::File, path::Path, sync::Arc};
use tract_onnx::{
    pb::ModelProto,
    prelude::{
        DatumType, Framework, InferenceModelExt, IntoRunnable, TVec, TypedNode, TypedRunnableModel, TypedSimpleState,
        tract_data::prelude::Tensor as Array,
    },
    tract_core::internal::EvalContext,
    tract_hir::{infer::Factoid, prelude::InferenceModel},
};

/// The version in `Cargo.lock`; tract does not tell its own. A test compares the two.
const VERSION: &str = "0.23.9";

/// The symbol of a free leading dimension that the model gives no name.
const BATCH: &str = "batch";

/// Runs ONNX models with tract.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tract;

impl Engine for Tract {
    fn name(&self) -> EngineName {
        EngineName::Tract
    }

    fn version(&self) -> String {
        VERSION.to_owned()
    }

    fn load(&self, path: &Path, _threads: usize) -> Result<Arc<dyn Loaded>, Problem> {
        let loaded = guarded(|| Model::read(path)).map_err(|said| unloadable("tract", path, said))?;
        tracing::debug!(path = %path.display(), inputs = loaded.inputs.len(), outputs = loaded.outputs.len(), "tract loaded a model");
        Ok(Arc::new(loaded))
    }
}

/// A model that is optimized and planned.
struct Model {
    plan: Arc<TypedRunnableModel>,
    inputs: Arc<[TensorSpec]>,
    outputs: Arc<[TensorSpec]>,
    metadata: BTreeMap<String, String>,
    is_steady: bool,
    is_row_wise: bool,
    /// No operator keeps anything from one run to the next.
    is_stateless: bool,
}

impl Model {
    fn read(path: &Path) -> Result<Self, Said> {
        let said = |error| Said::new(format!("{error:#}"));
        let survey = crate::whole::survey(path)?;
        verified::check(&survey)?;
        let onnx = tract_onnx::onnx();
        // Read, not mapped: a file that is cut while it is mapped would end the process.
        let mut file = File::open(path).map_err(|error| Said::new(format!("it cannot be read: {error}")))?;
        let proto = onnx.proto_model_for_read(&mut file).map_err(said)?;
        let directory = path.parent().and_then(Path::to_str);
        let parsed = onnx.parse(&proto, directory).map_err(said)?;
        if !parsed.unresolved_inputs.is_empty() {
            return Err(Said::new(format!("nothing gives the tensors {:?}", parsed.unresolved_inputs)));
        }
        let metadata = metadata_of(&proto);
        let names: Vec<String> = proto.graph.iter().flat_map(|it| &it.output).map(|it| it.name.clone()).collect();
        // The weights are in the parsed model now; a second copy of them is not kept through the planning.
        drop(proto);
        let mut model = parsed.model;
        let inputs =
            (0..model.inputs.len()).map(|index| name_input(&mut model, index)).collect::<Result<Vec<_>, Said>>()?;
        let mut typed = model.into_typed().map_err(said)?;
        exact::replace_kernels(&mut typed).map_err(said)?;
        let typed = typed.into_optimized().map_err(said)?;
        let outputs = names
            .into_iter()
            .enumerate()
            .map(|(index, name)| {
                let fact = typed.output_fact(index).map_err(said)?;
                if fact.datum_type == DatumType::TDim {
                    // Known before any run, and then in symbols that nothing puts numbers in the place of.
                    return Err(Said::new(format!(
                        "tract is not verified for an output that is a shape, such as `{name}`"
                    )));
                }
                let shape = fact.shape.iter().map(|it| it.to_i64().unwrap_or(-1)).collect();
                Ok(TensorSpec { datatype: datatype_of(fact.datum_type, &name)?, name, shape })
            })
            .collect::<Result<Vec<_>, Said>>()?;
        if outputs.is_empty() {
            return Err(Said::new("it gives no output"));
        }
        let plan = typed.into_runnable().map_err(said)?;
        let keeps = |node: &TypedNode| !matches!(node.op().state(&EvalContext::out_of_plan()), Ok(None));
        let is_stateless = !plan.model().nodes().iter().any(keeps);
        let is_steady = survey.is_steady() && has_fixed_rows(&inputs);
        let is_row_wise = survey.is_row_wise();
        Ok(Self {
            plan,
            inputs: inputs.into(),
            outputs: outputs.into(),
            metadata,
            is_steady,
            is_row_wise,
            is_stateless,
        })
    }
}

impl Loaded for Model {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn is_steady(&self) -> bool {
        self.is_steady
    }

    fn is_row_wise(&self) -> bool {
        self.is_row_wise
    }

    fn session(&self) -> Result<Box<dyn Session>, Problem> {
        Ok(Box::new(Run {
            state: Some(spawn(&self.plan)?).filter(|_| self.is_stateless),
            plan: self.plan.clone(),
            is_stateless: self.is_stateless,
            takes_nothing: self.is_row_wise,
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
        }))
    }
}

/// One thread's runs of a model.
struct Run {
    plan: Arc<TypedRunnableModel>,
    /// Buffers from the last run, of a model that keeps nothing else in them. A recurrent operator keeps its state in
    /// them: that of one call would be where the next one begins.
    state: Option<TypedSimpleState>,
    is_stateless: bool,
    /// Whether a call without rows has an answer without rows.
    takes_nothing: bool,
    inputs: Arc<[TensorSpec]>,
    outputs: Arc<[TensorSpec]>,
}

impl Session for Run {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Problem> {
        check_inputs(&self.inputs, inputs)?;
        if !self.takes_nothing {
            refuse_empty("tract", inputs)?;
        }
        let mut state = match self.state.take() {
            Some(state) => state,
            None => spawn(&self.plan)?,
        };
        let outputs = &self.outputs;
        let result = guarded(|| {
            let said = |error| Said::new(format!("{error:#}"));
            let arrays = inputs.iter().map(|it| Ok(array_of(it)?.into())).collect::<Result<TVec<_>, Said>>()?;
            let given = state.run(arrays).map_err(said)?;
            given
                .iter()
                .zip(outputs.iter())
                .map(|(array, spec)| tensor_of(array, spec))
                .collect::<Result<Vec<_>, Said>>()
        });
        // A run that stopped half way leaves values behind that the next one must not see.
        self.state = Some(state).filter(|_| self.is_stateless && result.is_ok());
        result.map_err(|said| unrunnable("tract", said))
    }
}

fn spawn(plan: &Arc<TypedRunnableModel>) -> Result<TypedSimpleState, Problem> {
    guarded(|| plan.spawn().map_err(|error| Said::new(format!("{error:#}"))))
        .map_err(|said| Problem::unavailable(format!("tract cannot prepare a session: {said}")).because(said))
}

/// Gives free dimensions of an input a symbol each, so that the model is planned for all their lengths at once.
fn name_input(model: &mut InferenceModel, index: usize) -> Result<TensorSpec, Said> {
    let said = |error| Said::new(format!("{error:#}"));
    let name = model.node(model.inputs[index].node).name.clone();
    let mut fact = model.input_fact(index).map_err(said)?.clone();
    let kind = fact.datum_type.concretize().ok_or_else(|| Said::new(format!("input `{name}` has no type")))?;
    let datatype = datatype_of(kind, &name)?;
    let rank = fact.shape.rank().concretize().ok_or_else(|| Said::new(format!("input `{name}` has no shape")))?;
    let mut shape = Vec::new();
    for axis in 0..usize::try_from(rank).map_err(|_| Said::new(format!("input `{name}` has no shape")))? {
        let dimension = fact.shape.dim(axis).and_then(|it| it.concretize());
        if dimension.is_none() {
            let symbol = if axis == 0 { BATCH.to_owned() } else { format!("free_{index}_{axis}") };
            let symbol = model.symbols.sym(&symbol);
            fact.shape.set_dim(axis, symbol.into());
        }
        shape.push(dimension.and_then(|it| it.to_i64().ok()).unwrap_or(-1));
    }
    model.set_input_fact(index, fact).map_err(said)?;
    Ok(TensorSpec { name, datatype, shape })
}

fn metadata_of(proto: &ModelProto) -> BTreeMap<String, String> {
    proto.metadata_props.iter().map(|it| (it.key.clone(), it.value.clone())).collect()
}

/// The type of a tensor that crosses the model's edge.
fn datatype_of(kind: DatumType, name: &str) -> Result<DataType, Said> {
    Ok(match kind {
        DatumType::Bool => DataType::Bool,
        DatumType::I8 => DataType::Int8,
        DatumType::I16 => DataType::Int16,
        DatumType::I32 => DataType::Int32,
        // What tract computes from lengths; ONNX knows it as 64-bit integers.
        DatumType::I64 | DatumType::TDim => DataType::Int64,
        DatumType::U8 => DataType::Uint8,
        DatumType::U16 => DataType::Uint16,
        DatumType::U32 => DataType::Uint32,
        DatumType::U64 => DataType::Uint64,
        DatumType::F16 => DataType::Fp16,
        DatumType::F32 => DataType::Fp32,
        DatumType::F64 => DataType::Fp64,
        other => {
            return Err(Said::new(format!(
                "tensor `{name}` has elements of type {other:?}, which this engine does not take or give"
            )));
        }
    })
}

fn datum_type_of(datatype: DataType) -> Result<DatumType, Said> {
    Ok(match datatype {
        DataType::Bool => DatumType::Bool,
        DataType::Int8 => DatumType::I8,
        DataType::Int16 => DatumType::I16,
        DataType::Int32 => DatumType::I32,
        DataType::Int64 => DatumType::I64,
        DataType::Uint8 => DatumType::U8,
        DataType::Uint16 => DatumType::U16,
        DataType::Uint32 => DatumType::U32,
        DataType::Uint64 => DatumType::U64,
        DataType::Fp16 => DatumType::F16,
        DataType::Fp32 => DatumType::F32,
        DataType::Fp64 => DatumType::F64,
        DataType::Bf16 | DataType::Bytes => return Err(Said::new(format!("tract takes no {}", datatype.as_str()))),
    })
}

fn array_of(tensor: &Tensor) -> Result<Array, Said> {
    let said = |error| Said::new(format!("{error:#}"));
    let shape = tensor.shape.iter().map(|it| usize::try_from(*it)).collect::<Result<Vec<_>, _>>().map_err(Said::new)?;
    let mut array = Array::zero_dt(datum_type_of(tensor.datatype)?, &shape).map_err(said)?;
    let to = array.as_bytes_mut();
    if to.len() != tensor.data.len() {
        return Err(Said::new(format!(
            "input `{}` has {} bytes, {} are needed",
            tensor.name,
            tensor.data.len(),
            to.len()
        )));
    }
    match tensor.datatype {
        DataType::Bool => copy_bools(&tensor.data, to),
        _ => to.copy_from_slice(&tensor.data),
    }
    Ok(array)
}

fn tensor_of(array: &Array, spec: &TensorSpec) -> Result<Tensor, Said> {
    let said = |error| Said::new(format!("{error:#}"));
    let array = array.cast_to_dt(datum_type_of(spec.datatype)?).map_err(said)?;
    let shape = array.shape().iter().map(|it| i64::try_from(*it)).collect::<Result<Vec<_>, _>>().map_err(Said::new)?;
    Ok(Tensor {
        name: spec.name.clone(),
        datatype: spec.datatype,
        shape,
        data: Bytes::copy_from_slice(array.as_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_is_locked() {
        let lock = include_str!("../../../Cargo.lock");
        assert!(
            lock.contains(&format!("name = \"tract-onnx\"\nversion = \"{VERSION}\"\n")),
            "set VERSION to what Cargo.lock says"
        );
    }

    #[test]
    fn every_type_survives_the_way_in_and_out() {
        for datatype in DataType::ALL.into_iter().filter(|it| datum_type_of(*it).is_ok()) {
            let size = datatype.size().expect("numbers have a size");
            let data = Bytes::from(vec![1; 2 * size]);
            let tensor = Tensor { name: "x".into(), datatype, shape: vec![2], data };
            let spec = TensorSpec { name: "x".into(), datatype, shape: vec![-1] };
            let back = tensor_of(&array_of(&tensor).expect("it goes in"), &spec).expect("it comes out");
            assert_eq!(back, tensor);
            assert_eq!(datatype_of(datum_type_of(datatype).expect("known"), "x").expect("known"), datatype);
        }
    }
}
