//! The REST codec of the Open Inference Protocol v2, with the binary tensor extension.
//!
//! A tolerant reader and a strict writer. Binary tensors are slices of the request's own bytes; JSON numbers are
//! written straight into the tensor's little-endian buffer. What JSON has no number for: a float is NaN for `null`,
//! `NaN` and `"NaN"`, infinite for `Infinity`, `-Infinity` and the same in quotes; answers say `null`, `"Infinity"` and
//! `"-Infinity"`, which strict readers take too.

mod data;
mod fault;
mod nesting;
mod numbers;
mod shapes;
mod walk;
mod words;

use crate::{
    task,
    tensor::{DataType, Tensor, TensorSpec, detail, elements_of, shown},
};
use bytes::Bytes;
use data::JsonData;
use kaogong_domain::Problem;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use shapes::{InputJson, OutputJson, RequestJson, TENSORS_MAX, count, id_of};
use walk::Form;
use words::covered;
pub use words::without_bare_words;

/// Carries the length of the JSON part when binary tensors follow it.
pub const HEADER_LENGTH: &str = "inference-header-content-length";
/// What is set aside for the JSON of an answer before it is written, at most.
const HEAD_ROOM_MAX: usize = 16 << 20;

/// A request, ready for the engine.
#[derive(Debug, Clone, PartialEq)]
pub struct InferRequest {
    /// Given back with the answer.
    pub id: Option<String>,
    /// Tensors as they came.
    pub inputs: Vec<Tensor>,
    /// Outputs wanted; all when empty.
    pub wanted: Vec<Wanted>,
    /// Whether outputs are sent as bytes when they do not say themselves.
    pub is_binary: bool,
    /// How long the call may wait, in microseconds; never 0, which means that the caller names no time.
    pub timeout_us: Option<u64>,
}

/// One output wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Whether it is sent as bytes.
    pub is_binary: Option<bool>,
    /// Give the so many most likely classes instead of the tensor.
    pub classes: Option<usize>,
}

/// An answer: JSON, then the bytes of binary tensors.
#[derive(Debug, Clone)]
pub struct InferAnswer {
    /// The JSON part.
    pub head: Vec<u8>,
    /// Binary tensors in the order of the JSON part.
    pub tail: Vec<Bytes>,
}

impl InferAnswer {
    /// Whether the answer carries binary tensors and so needs its header length told.
    pub fn is_binary(&self) -> bool {
        !self.tail.is_empty()
    }
}

/// Reads a request.
///
/// `header_length` is the value of [`HEADER_LENGTH`]; `specs` are the model's inputs, needed for the raw form
/// (length 0: the body is the only input, nothing else).
///
/// # Errors
/// `Invalid`, naming what is wrong and where.
pub fn read_request(body: &Bytes, header_length: Option<&str>, specs: &[TensorSpec]) -> Result<InferRequest, Problem> {
    let split = match header_length {
        None => body.len(),
        Some(text) => {
            let length = text.trim().parse::<usize>().ok().filter(|it| *it <= body.len());
            length.ok_or_else(|| {
                Problem::invalid(format!(
                    "{HEADER_LENGTH} `{}` is not within the body of {} bytes",
                    shown(text),
                    body.len()
                ))
            })?
        }
    };
    if header_length.is_some() && split == 0 {
        return read_raw(body, specs);
    }
    let written = &body[..split];
    let broken =
        |it: serde_json::Error| Problem::invalid(format!("failed to parse the request JSON buffer: {}", detail(&it)));
    let mut copy = None;
    let json: RequestJson<'_> = match serde_json::from_slice(written) {
        Ok(json) => json,
        Err(it) => {
            copy = covered(written);
            serde_json::from_slice(copy.as_deref().ok_or_else(|| broken(it))?).map_err(broken)?
        }
    };
    let source = Source { written, parsed: copy.as_deref().unwrap_or(written) };
    if json.inputs.is_empty() {
        return Err(Problem::invalid(format!("a request has 1 to {TENSORS_MAX} inputs, this one has 0")));
    }
    let id = id_of(json.id.map(|it| source.text_of(it)))?;
    refuse_twice(&json.outputs)?;
    let mut rest = body.slice(split..);
    let mut inputs = Vec::with_capacity(json.inputs.len());
    for (index, input) in json.inputs.into_iter().enumerate() {
        let tensor = read_input(index, input, source, &mut rest)?;
        if inputs.iter().any(|it: &Tensor| it.name == tensor.name) {
            return Err(Problem::invalid(format!("input `{}` is given twice", shown(&tensor.name))));
        }
        inputs.push(tensor);
    }
    if !rest.is_empty() {
        return Err(Problem::invalid(format!("{} bytes follow the last binary tensor", rest.len())));
    }
    let parameters = json.parameters.unwrap_or_default();
    Ok(InferRequest {
        id,
        inputs,
        wanted: json.outputs.into_iter().map(wanted).collect(),
        is_binary: parameters.binary_data_output().unwrap_or(false),
        timeout_us: parameters.timeout_us(),
    })
}

/// An output wanted twice would be sent twice: a small request must not ask for an answer without bound.
fn refuse_twice(outputs: &[OutputJson<'_>]) -> Result<(), Problem> {
    let mut names: Vec<&str> = outputs.iter().map(|it| it.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|it| it[0] == it[1]) {
        Some(twice) => Err(Problem::invalid(format!("output `{}` is wanted twice", shown(twice[0])))),
        None => Ok(()),
    }
}

fn wanted(it: OutputJson<'_>) -> Wanted {
    let parameters = it.parameters.unwrap_or_default();
    Wanted { name: it.name, is_binary: parameters.binary_data(), classes: parameters.classification() }
}

/// The JSON of a request as it was written, and as it was parsed: of the same length, see [`covered`].
#[derive(Clone, Copy)]
struct Source<'a> {
    written: &'a [u8],
    parsed: &'a [u8],
}

impl<'a> Source<'a> {
    /// What the caller wrote where the parser found a value.
    fn text_of(self, found: &'a RawValue) -> &'a str {
        let text = found.get();
        if std::ptr::eq(self.written, self.parsed) {
            return text;
        }
        let at = text.as_ptr().addr().wrapping_sub(self.parsed.as_ptr().addr());
        let written = self.written.get(at..at.saturating_add(text.len()));
        // What lies elsewhere is taken as it was parsed, where a covered word is no element of any type but a text.
        written.and_then(|it| std::str::from_utf8(it).ok()).unwrap_or(text)
    }
}

fn read_input(index: usize, input: InputJson<'_>, source: Source<'_>, rest: &mut Bytes) -> Result<Tensor, Problem> {
    let name = shown(&input.name);
    let datatype = DataType::parse(&input.datatype).ok_or_else(|| {
        Problem::invalid(format!("input `{name}` has the unknown datatype `{}`", shown(&input.datatype)))
    })?;
    let elements = elements_of(&input.shape)?;
    let binary = input.parameters.as_ref().and_then(|it| it.binary_data_size);
    let data = match (binary, input.data) {
        (Some(size), None) => {
            let size = count(size).and_then(|it| usize::try_from(it).ok()).filter(|it| *it <= rest.len());
            let size = size.ok_or_else(|| {
                Problem::invalid(format!("binary_data_size of input `{name}` is not within the body"))
            })?;
            rest.split_to(size)
        }
        (None, Some(json)) => {
            let form = Form { elements, shape: &input.shape };
            JsonData { datatype, form, name: &input.name, index }.read(source.text_of(json))?
        }
        (Some(_), Some(_)) => {
            return Err(Problem::invalid(format!("input `{name}` has both JSON and binary data")));
        }
        (None, None) => return Err(Problem::invalid(format!("input `{name}` has no data"))),
    };
    let tensor = Tensor { name: input.name, datatype, shape: input.shape, data };
    tensor.check()?;
    Ok(tensor)
}

fn read_raw(body: &Bytes, specs: &[TensorSpec]) -> Result<InferRequest, Problem> {
    let [spec] = specs else {
        return Err(Problem::invalid("a raw body needs a model with exactly one input").hint("send a JSON header"));
    };
    let free = spec.shape.iter().filter(|it| **it < 0).count();
    let fixed: Vec<i64> = spec.shape.iter().copied().filter(|it| *it >= 0).collect();
    let row = elements_of(&fixed)?.saturating_mul(spec.datatype.size().unwrap_or(0));
    if free > 1 || row == 0 || !body.len().is_multiple_of(row) {
        return Err(Problem::invalid(format!("a raw body of {} bytes does not fit input `{}`", body.len(), spec.name)));
    }
    let count = i64::try_from(body.len() / row).unwrap_or(i64::MAX);
    let shape = spec.shape.iter().map(|it| if *it < 0 { count } else { *it }).collect();
    let tensor = Tensor { name: spec.name.clone(), datatype: spec.datatype, shape, data: body.clone() };
    tensor.check()?;
    Ok(InferRequest { id: None, inputs: vec![tensor], wanted: vec![], is_binary: true, timeout_us: None })
}

/// Puts the inputs of a request into the model's order and checks them against it.
///
/// # Errors
/// `Invalid` names the input that is missing, unknown or of another type or shape.
pub fn arrange(mut inputs: Vec<Tensor>, specs: &[TensorSpec]) -> Result<Vec<Tensor>, Problem> {
    if let Some(unknown) = inputs.iter().find(|it| specs.iter().all(|spec| spec.name != it.name)) {
        let names: Vec<&str> = specs.iter().map(|it| it.name.as_str()).collect();
        return Err(Problem::invalid(format!("the model has no input `{}`", shown(&unknown.name)))
            .hint(format!("its inputs are {}", names.join(", "))));
    }
    let mut arranged = Vec::with_capacity(specs.len());
    for spec in specs {
        let place = inputs.iter().position(|it| it.name == spec.name);
        let tensor = match place {
            Some(place) => inputs.swap_remove(place),
            None => return Err(Problem::invalid(format!("input `{}` is missing", spec.name))),
        };
        if tensor.datatype != spec.datatype {
            let (want, have) = (spec.datatype.as_str(), tensor.datatype.as_str());
            return Err(Problem::invalid(format!("input `{}` is {have}, the model takes {want}", spec.name)));
        }
        if !spec.accepts(&tensor.shape) {
            let text = format!("input `{}` has shape {:?}, the model takes {:?}", spec.name, tensor.shape, spec.shape);
            return Err(Problem::invalid(text).hint("-1 is a free dimension"));
        }
        arranged.push(tensor);
    }
    Ok(arranged)
}

#[derive(Serialize)]
struct AnswerJson<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<OutputView<'a>>,
}

#[derive(Serialize)]
struct OutputView<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [i64],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<data::Shown<'a>>,
}

#[derive(Serialize)]
struct BinarySize {
    binary_data_size: usize,
}

/// Who answers.
#[derive(Debug, Clone, Copy)]
pub struct ModelName<'a> {
    /// The name in the address.
    pub name: &'a str,
    /// The version, as digits.
    pub version: &'a str,
    /// Class names, for the classification extension.
    pub labels: &'a [String],
}

fn no_output(model: &str, name: &str) -> Problem {
    Problem::invalid(format!("unexpected inference output `{}` for model `{model}`", shown(name)))
}

/// Checks the names of outputs that are wanted before the model runs for nothing. `specs` are the model's outputs.
///
/// # Errors
/// `Invalid` names the output that the model does not have.
pub fn check_output_names<'a>(
    names: impl IntoIterator<Item = &'a str>,
    model: ModelName<'_>,
    specs: &[TensorSpec],
) -> Result<(), Problem> {
    match names.into_iter().find(|name| specs.iter().all(|it| it.name != *name)) {
        Some(name) => Err(no_output(model.name, name)),
        None => Ok(()),
    }
}

/// Checks what a request wants back before the model runs for nothing. `specs` are the model's outputs.
///
/// # Errors
/// `Invalid` where [`write_answer`] would refuse: an output that is not there, or one without numbers to classify.
pub fn check_wanted(request: &InferRequest, model: ModelName<'_>, specs: &[TensorSpec]) -> Result<(), Problem> {
    check_output_names(request.wanted.iter().map(|it| it.name.as_str()), model, specs)?;
    for spec in specs {
        let want = request.wanted.iter().find(|it| it.name == spec.name);
        if want.is_none() && !request.wanted.is_empty() {
            continue;
        }
        let classes = want.and_then(|it| it.classes);
        if classes.is_some() && spec.datatype == DataType::Bytes {
            return Err(Problem::invalid(format!("output `{}` holds no numbers to classify", shown(&spec.name))));
        }
    }
    Ok(())
}

/// Writes an answer.
///
/// # Errors
/// `Invalid` when an output that is not there is wanted; [`check_wanted`] says so before the run.
pub fn write_answer(model: ModelName<'_>, request: &InferRequest, outputs: &[Tensor]) -> Result<InferAnswer, Problem> {
    let all: Vec<(&Tensor, Option<&Wanted>)> = if request.wanted.is_empty() {
        outputs.iter().map(|it| (it, None)).collect()
    } else {
        let pairs = request.wanted.iter().map(|want| {
            let found = outputs.iter().find(|it| it.name == want.name);
            found.map(|it| (it, Some(want))).ok_or_else(|| no_output(model.name, &want.name))
        });
        pairs.collect::<Result<_, _>>()?
    };
    let classified: Vec<Option<Tensor>> = all
        .iter()
        .map(|(it, want)| {
            want.and_then(|it| it.classes).map(|count| task::classify(it, count, model.labels)).transpose()
        })
        .collect::<Result<_, _>>()?;
    let mut tail = vec![];
    let mut room = 256;
    let mut views = Vec::with_capacity(all.len());
    for ((tensor, want), classes) in all.iter().zip(&classified) {
        let tensor = classes.as_ref().unwrap_or(tensor);
        let is_binary = want.and_then(|it| it.is_binary).unwrap_or(request.is_binary);
        let (parameters, data) = if is_binary {
            tail.push(tensor.data.clone());
            (Some(BinarySize { binary_data_size: tensor.data.len() }), None)
        } else {
            (None, Some(data::Shown(tensor)))
        };
        room += 128 + tensor.name.len() + data.as_ref().map_or(0, data::Shown::room);
        let datatype = tensor.datatype.as_str();
        views.push(OutputView { name: &tensor.name, datatype, shape: &tensor.shape, parameters, data });
    }
    let answer =
        AnswerJson { model_name: model.name, model_version: model.version, id: request.id.as_deref(), outputs: views };
    let mut head = Vec::with_capacity(room.min(HEAD_ROOM_MAX));
    serde_json::to_writer(&mut head, &answer).map_err(|it| Problem::bug("an answer cannot be written as JSON", it))?;
    Ok(InferAnswer { head, tail })
}

/// What `GET /v2/models/{name}` says.
pub fn model_metadata(model: ModelName<'_>, platform: &str, inputs: &[TensorSpec], outputs: &[TensorSpec]) -> Value {
    let tensors = |specs: &[TensorSpec]| -> Vec<Value> {
        specs.iter().map(|it| json!({"name": it.name, "datatype": it.datatype.as_str(), "shape": it.shape})).collect()
    };
    json!({
        "name": model.name, "versions": [model.version], "platform": platform,
        "inputs": tensors(inputs), "outputs": tensors(outputs),
    })
}

#[cfg(test)]
mod tests;
