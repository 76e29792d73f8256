//! Messages to tensors and back: checked on the way in, raw bytes on the way out.

use super::pb::{
    InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse,
    infer_parameter::ParameterChoice,
    model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
    model_infer_response::InferOutputTensor,
};
use bytes::Bytes;
use kaogong_domain::Problem;
use kaogong_serving::{DataType, Tensor, oip::ModelName, task::classify, tensor::elements_of};
use std::{collections::HashMap, time::Duration};

/// The most tensors of one request.
pub(super) const TENSORS_MAX: usize = 256;
/// Names a region of memory that client and server share; this server shares none.
const SHARED_MEMORY: &str = "shared_memory_region";

/// A request, ready for the engine but for the order of its inputs.
#[derive(Debug)]
pub(super) struct Infer {
    pub(super) id: String,
    pub(super) inputs: Vec<Tensor>,
    /// Outputs wanted; all when empty.
    pub(super) wanted: Vec<Wanted>,
    /// How long the call may wait.
    pub(super) time: Option<Duration>,
}

/// One output wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: String,
    /// Give the so many most likely classes instead of the tensor.
    classes: Option<usize>,
}

type Parameters = HashMap<String, InferParameter>;

fn whole_number(parameters: &Parameters, name: &str) -> Option<u64> {
    match parameters.get(name)?.parameter_choice.as_ref()? {
        ParameterChoice::Int64Param(it) => u64::try_from(*it).ok(),
        ParameterChoice::Uint64Param(it) => Some(*it),
        _ => None,
    }
}

fn refuse_shared_memory(tensor: &str, parameters: &Parameters) -> Result<(), Problem> {
    if parameters.contains_key(SHARED_MEMORY) {
        return Err(Problem::invalid(format!("`{tensor}` names a shared memory region, and this server shares none"))
            .hint("send the tensor with the request"));
    }
    Ok(())
}

/// Reads a request.
///
/// # Errors
/// `Invalid`, naming what is wrong and where.
pub(super) fn read(message: ModelInferRequest) -> Result<Infer, Problem> {
    let (inputs, raw) = (message.inputs, message.raw_input_contents);
    if inputs.is_empty() || inputs.len() > TENSORS_MAX || message.outputs.len() > TENSORS_MAX {
        let text = format!(
            "a request has 1 to {TENSORS_MAX} inputs and at most {TENSORS_MAX} outputs, this one has {} and {}",
            inputs.len(),
            message.outputs.len()
        );
        return Err(Problem::invalid(text));
    }
    for input in &inputs {
        refuse_shared_memory(&input.name, &input.parameters)?;
    }
    if !raw.is_empty() && raw.len() != inputs.len() {
        return Err(Problem::invalid(format!(
            "raw_input_contents has {} entries for {} inputs",
            raw.len(),
            inputs.len()
        ))
        .hint("send all inputs raw, or none"));
    }
    let mut raw = raw.into_iter();
    let mut tensors: Vec<Tensor> = Vec::with_capacity(inputs.len());
    for input in inputs {
        let tensor = read_input(input, raw.next())?;
        if tensors.iter().any(|it| it.name == tensor.name) {
            return Err(Problem::invalid(format!("input `{}` is given twice", tensor.name)));
        }
        tensors.push(tensor);
    }
    let time = whole_number(&message.parameters, "timeout").filter(|it| *it > 0).map(Duration::from_micros);
    let wanted = message.outputs.into_iter().map(read_wanted).collect::<Result<_, _>>()?;
    Ok(Infer { id: message.id, inputs: tensors, wanted, time })
}

fn read_wanted(output: InferRequestedOutputTensor) -> Result<Wanted, Problem> {
    refuse_shared_memory(&output.name, &output.parameters)?;
    let classes = whole_number(&output.parameters, "classification").filter(|it| *it > 0);
    Ok(Wanted { name: output.name, classes: classes.and_then(|it| usize::try_from(it).ok()) })
}

fn read_input(input: InferInputTensor, raw: Option<Bytes>) -> Result<Tensor, Problem> {
    let datatype = DataType::parse(&input.datatype).ok_or_else(|| {
        let shown: String = input.datatype.chars().take(40).collect();
        Problem::invalid(format!("input `{}` has the unknown datatype `{shown}`", input.name))
    })?;
    let data = match (raw, input.contents) {
        (Some(raw), None) => raw,
        (Some(_), Some(_)) => {
            return Err(Problem::invalid(format!("input `{}` has both raw and typed contents", input.name)));
        }
        (None, Some(contents)) => typed(&input.name, datatype, elements_of(&input.shape)?, contents)?,
        (None, None) => return Err(Problem::invalid(format!("input `{}` has no contents", input.name))),
    };
    let tensor = Tensor { name: input.name, datatype, shape: input.shape, data };
    tensor.check()?;
    Ok(tensor)
}

/// Little-endian bytes of typed contents. Only as many elements as the shape promises are ever written.
fn typed(name: &str, datatype: DataType, elements: usize, it: InferTensorContents) -> Result<Bytes, Problem> {
    let lengths = [
        it.bool_contents.len(),
        it.int_contents.len(),
        it.int64_contents.len(),
        it.uint_contents.len(),
        it.uint64_contents.len(),
        it.fp32_contents.len(),
        it.fp64_contents.len(),
        it.bytes_contents.len(),
    ];
    let place = match datatype {
        DataType::Bool => 0,
        DataType::Int8 | DataType::Int16 | DataType::Int32 => 1,
        DataType::Int64 => 2,
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 => 3,
        DataType::Uint64 => 4,
        DataType::Fp32 => 5,
        DataType::Fp64 => 6,
        DataType::Bytes => 7,
        DataType::Fp16 | DataType::Bf16 => {
            let text = format!("input `{name}` of type {} has typed contents", datatype.as_str());
            return Err(Problem::invalid(text).hint("the protocol carries this type in raw_input_contents alone"));
        }
    };
    if lengths.iter().enumerate().any(|(at, length)| *length > 0 && at != place) {
        return Err(Problem::invalid(format!(
            "the contents of input `{name}` are in the field of another type than {}",
            datatype.as_str()
        )));
    }
    if lengths[place] != elements {
        return Err(Problem::invalid(format!(
            "the shape of input `{name}` promises {elements} elements, its contents have {}",
            lengths[place]
        )));
    }
    let outside = || Problem::invalid(format!("input `{name}` holds a number outside of {}", datatype.as_str()));
    let (ints, uints) = (&it.int_contents[..], &it.uint_contents[..]);
    Ok(match datatype {
        DataType::Bool => it.bool_contents.iter().map(|it| u8::from(*it)).collect(),
        DataType::Int8 => narrowed(ints, |it| i8::try_from(it).ok().map(i8::to_le_bytes)).ok_or_else(outside)?,
        DataType::Int16 => narrowed(ints, |it| i16::try_from(it).ok().map(i16::to_le_bytes)).ok_or_else(outside)?,
        DataType::Int32 => joined(ints, i32::to_le_bytes),
        DataType::Int64 => joined(&it.int64_contents, i64::to_le_bytes),
        DataType::Uint8 => narrowed(uints, |it| u8::try_from(it).ok().map(u8::to_le_bytes)).ok_or_else(outside)?,
        DataType::Uint16 => narrowed(uints, |it| u16::try_from(it).ok().map(u16::to_le_bytes)).ok_or_else(outside)?,
        DataType::Uint32 => joined(uints, u32::to_le_bytes),
        DataType::Uint64 => joined(&it.uint64_contents, u64::to_le_bytes),
        DataType::Fp32 => joined(&it.fp32_contents, f32::to_le_bytes),
        DataType::Fp64 => joined(&it.fp64_contents, f64::to_le_bytes),
        DataType::Fp16 | DataType::Bf16 | DataType::Bytes => texts(&it.bytes_contents).ok_or_else(outside)?,
    })
}

fn joined<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Bytes {
    let mut data = Vec::with_capacity(values.len() * N);
    values.iter().for_each(|it| data.extend_from_slice(&bytes(*it)));
    data.into()
}

fn narrowed<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> Option<[u8; N]>) -> Option<Bytes> {
    let mut data = Vec::with_capacity(values.len() * N);
    for value in values {
        data.extend_from_slice(&bytes(*value)?);
    }
    Some(data.into())
}

/// Texts, each with its length before it.
fn texts(values: &[Bytes]) -> Option<Bytes> {
    let mut data = Vec::with_capacity(values.iter().map(|it| it.len() + 4).sum());
    for value in values {
        data.extend_from_slice(&u32::try_from(value.len()).ok()?.to_le_bytes());
        data.extend_from_slice(value);
    }
    Some(data.into())
}

/// Writes an answer; its bytes are the engine's own.
///
/// # Errors
/// `Invalid` when an output that is not there is wanted, or one without numbers is to be classified.
pub(super) fn write(
    model: ModelName<'_>,
    id: String,
    wanted: &[Wanted],
    outputs: Vec<Tensor>,
) -> Result<ModelInferResponse, Problem> {
    let chosen: Vec<Tensor> = if wanted.is_empty() {
        outputs
    } else {
        let choose = |want: &Wanted| {
            let tensor = outputs.iter().find(|it| it.name == want.name).ok_or_else(|| {
                Problem::invalid(format!("unexpected inference output `{}` for model `{}`", want.name, model.name))
            })?;
            match want.classes {
                Some(count) => classify(tensor, count, model.labels),
                None => Ok(tensor.clone()),
            }
        };
        wanted.iter().map(choose).collect::<Result<_, _>>()?
    };
    let mut answer = ModelInferResponse {
        model_name: model.name.to_owned(),
        model_version: model.version.to_owned(),
        id,
        ..ModelInferResponse::default()
    };
    for tensor in chosen {
        answer.raw_output_contents.push(tensor.data);
        answer.outputs.push(InferOutputTensor {
            name: tensor.name,
            datatype: tensor.datatype.as_str().to_owned(),
            shape: tensor.shape,
            ..InferOutputTensor::default()
        });
    }
    Ok(answer)
}

#[cfg(test)]
mod tests;
