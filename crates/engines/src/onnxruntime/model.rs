//! A model in ONNX Runtime, and the sessions that run it.

use crate::{
    checks::{Said, check_inputs, copy_bools, guarded, has_fixed_rows, refuse_empty, unrunnable},
    graph::Graph,
    rewrite,
    whole::{Survey, look, survey},
    wire::Wire,
};
use bytes::{BufMut, Bytes, BytesMut};
use kaogong_domain::Problem;
use kaogong_serving::{
    DataType, Loaded, Session, Stop, Tensor, TensorSpec, pool::sessions_within, task::LABELS_KEY, tensor::elements_of,
};
use ort::{
    environment::Environment,
    ep,
    logging::LogLevel,
    memory::Allocator,
    session::{RunOptions, Session as Native, SessionInputValue},
    value::{DynTensor, DynTensorValueType, DynValue, Outlet, Shape, TensorElementType, ValueType},
};
use std::{
    collections::BTreeMap,
    io::Cursor,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// What a session is made from.
enum Source {
    File(PathBuf),
    /// The content of the file with other operators in the place of some.
    Changed(Vec<u8>),
}

/// A model file that ONNX Runtime has accepted.
pub(super) struct Model {
    environment: Environment,
    source: Source,
    inputs: Arc<[TensorSpec]>,
    outputs: Arc<[TensorSpec]>,
    metadata: BTreeMap<String, String>,
    is_steady: bool,
    is_row_wise: bool,
    takes_nothing: bool,
    /// The file's size: about what the weights of one session take.
    size_bytes: u64,
    /// Threads inside of one run.
    intra_threads: usize,
    /// The session that the load made, for the first who asks: it holds the weights a second time otherwise.
    first: Mutex<Option<Native>>,
}

impl Model {
    pub(super) fn read(environment: &Environment, path: &Path, threads: usize) -> Result<Self, Said> {
        let unreadable = |error| Said::new(format!("it cannot be read: {error}"));
        let path = path.canonicalize().map_err(unreadable)?;
        let size_bytes = path.metadata().map_err(unreadable)?.len();
        let (source, survey, labels) = source_of(path)?;
        let intra_threads = intra_threads(size_bytes, threads);
        let native = commit(environment, &source, intra_threads)?;
        let inputs = native.inputs().iter().map(spec_of).collect::<Result<Vec<_>, Said>>()?;
        let outputs = native.outputs().iter().map(spec_of).collect::<Result<Vec<_>, Said>>()?;
        if outputs.is_empty() {
            return Err(Said::new("it gives no output"));
        }
        let mut metadata = metadata_of(&native)?;
        if !labels.is_empty() {
            metadata.entry(LABELS_KEY.to_owned()).or_insert_with(|| rewrite::metadata_of(&labels));
        }
        Ok(Self {
            environment: environment.clone(),
            source,
            is_steady: survey.is_steady() && has_fixed_rows(&inputs),
            is_row_wise: survey.is_row_wise(),
            takes_nothing: !is_recurrent(&survey.graph),
            size_bytes,
            intra_threads,
            inputs: inputs.into(),
            outputs: outputs.into(),
            metadata,
            first: Mutex::new(Some(native)),
        })
    }
}

/// Whether a graph has operators that abort the process where there is nothing to go through.
fn is_recurrent(graph: &Graph) -> bool {
    graph.is_cut
        || graph.all().iter().flat_map(|it| &it.nodes).any(|it| matches!(it.operator.as_str(), "GRU" | "LSTM" | "RNN"))
}

/// Labels of outputs, by their names.
type Labels = Vec<(String, Vec<String>)>;

fn source_of(path: PathBuf) -> Result<(Source, Survey, Labels), Said> {
    let found = survey(&path)?;
    if !rewrite::is_wanted(&found.graph) {
        return Ok((Source::File(path), found, vec![]));
    }
    let content = std::fs::read(&path).map_err(|error| Said::new(format!("it cannot be read: {error}")))?;
    let changed = rewrite::rewrite(&content, &found.graph)?;
    let found = look(&mut Wire::new(Cursor::new(&changed.content)), changed.content.len() as u64)?;
    Ok((Source::Changed(changed.content), found, changed.labels))
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

    fn session_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn session(&self) -> Result<Box<dyn Session>, Problem> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let native = match first {
            Some(native) => native,
            None => guarded(|| commit(&self.environment, &self.source, self.intra_threads)).map_err(|said| {
                Problem::unavailable(format!("ONNX Runtime cannot prepare a session: {said}")).because(said)
            })?,
        };
        let options = guarded(|| RunOptions::new().map_err(Said::new))
            .map_err(|said| Problem::unavailable(format!("ONNX Runtime cannot prepare a run: {said}")).because(said))?;
        let (inputs, outputs) = (self.inputs.clone(), self.outputs.clone());
        let options = Arc::new(Options(options));
        Ok(Box::new(Run { native, options, inputs, outputs, takes_nothing: self.takes_nothing }))
    }
}

/// One thread's session.
struct Run {
    native: Native,
    options: Arc<Options>,
    inputs: Arc<[TensorSpec]>,
    outputs: Arc<[TensorSpec]>,
    /// Whether an input may be without elements.
    takes_nothing: bool,
}

/// What a run can be ended by from another thread.
struct Options(RunOptions);

impl Stop for Options {
    fn stop(&self) {
        // It fails for no reason that a caller could do anything about; the run then goes on to its end.
        let _ = self.0.terminate();
    }
}

impl Session for Run {
    fn stopper(&self) -> Option<Arc<dyn Stop>> {
        Some(self.options.clone())
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Problem> {
        check_inputs(&self.inputs, inputs)?;
        if !self.takes_nothing {
            refuse_empty("ONNX Runtime", inputs)?;
        }
        let native = &mut self.native;
        let options = &self.options.0;
        let specs = &self.outputs;
        guarded(|| {
            // The run before may have been ended.
            options.unterminate().map_err(Said::new)?;
            let values = inputs.iter().map(value_of).collect::<Result<Vec<SessionInputValue<'_>>, Said>>()?;
            let given = native.run_with_options(&values[..], options).map_err(Said::new)?;
            given
                .values()
                .zip(specs.iter())
                .map(|(value, spec)| tensor_of(&value, spec))
                .collect::<Result<Vec<_>, Said>>()
        })
        .map_err(|said| unrunnable("ONNX Runtime", said))
    }
}

/// One thread for each run where a session fits for every core, because the pool above decides how many run side by
/// side. Where the weights are too large for that, the cores go to the runs of the few sessions that there are.
fn intra_threads(session_bytes: u64, wanted: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if sessions_within(session_bytes, cores) >= cores {
        return 1;
    }
    (cores / sessions_within(session_bytes, wanted)).max(1)
}

/// Makes a session whose threads wait without spinning. Its graph is optimized as the Python package does by default.
fn commit(environment: &Environment, source: &Source, intra_threads: usize) -> Result<Native, Said> {
    let builder = Native::builder(environment).map_err(Said::new)?;
    let builder = builder.with_log_level(LogLevel::Error).map_err(Said::new)?;
    // The arena keeps what the largest call ever took; without it small models were measured to be no slower.
    let processor = ep::CPU::default().with_arena_allocator(false).build();
    let builder = builder.with_execution_providers([processor]).map_err(Said::new)?;
    let builder =
        builder.with_intra_threads(intra_threads).map_err(Said::new)?.with_inter_threads(1).map_err(Said::new)?;
    let builder = builder.with_intra_op_spinning(false).map_err(Said::new)?;
    let mut builder = builder.with_inter_op_spinning(false).map_err(Said::new)?;
    match source {
        Source::File(path) => builder.commit_from_file(path).map_err(|it| without(path, it)),
        Source::Changed(content) => builder.commit_from_memory(content).map_err(Said::new),
    }
}

/// What the library says, without the path of the file, which is one of the server's.
fn without(path: &Path, said: impl std::fmt::Display) -> Said {
    Said::new(said.to_string().replace(&*path.to_string_lossy(), "the file"))
}

fn metadata_of(native: &Native) -> Result<BTreeMap<String, String>, Said> {
    let metadata = native.metadata().map_err(Said::new)?;
    let keys = metadata.custom_keys().map_err(Said::new)?;
    Ok(keys.into_iter().filter_map(|key| metadata.custom(&key).map(|value| (key, value))).collect())
}

fn spec_of(outlet: &Outlet) -> Result<TensorSpec, Said> {
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(Said::new(format!(
            "`{}` is a sequence, a map or an optional; only tensors are served, and maps of a ZipMap at the end of a graph",
            outlet.name()
        )));
    };
    let datatype = datatype_of(*ty).ok_or_else(|| {
        Said::new(format!("tensor `{}` has elements of type {ty}, which are not served", outlet.name()))
    })?;
    Ok(TensorSpec { name: outlet.name().to_owned(), datatype, shape: shape.to_vec() })
}

fn datatype_of(element: TensorElementType) -> Option<DataType> {
    DataType::ALL.into_iter().find(|it| element_of(*it) == element)
}

fn element_of(datatype: DataType) -> TensorElementType {
    match datatype {
        DataType::Bool => TensorElementType::Bool,
        DataType::Int8 => TensorElementType::Int8,
        DataType::Int16 => TensorElementType::Int16,
        DataType::Int32 => TensorElementType::Int32,
        DataType::Int64 => TensorElementType::Int64,
        DataType::Uint8 => TensorElementType::Uint8,
        DataType::Uint16 => TensorElementType::Uint16,
        DataType::Uint32 => TensorElementType::Uint32,
        DataType::Uint64 => TensorElementType::Uint64,
        DataType::Fp16 => TensorElementType::Float16,
        DataType::Bf16 => TensorElementType::Bfloat16,
        DataType::Fp32 => TensorElementType::Float32,
        DataType::Fp64 => TensorElementType::Float64,
        DataType::Bytes => TensorElementType::String,
    }
}

/// Copies a tensor whose bytes have been checked against its shape into the runtime's memory.
fn value_of(tensor: &Tensor) -> Result<SessionInputValue<'static>, Said> {
    if tensor.datatype == DataType::Bytes {
        let texts = texts_of(&tensor.data)
            .ok_or_else(|| Said::new(format!("input `{}` has a text that is not UTF-8", tensor.name)))?;
        if texts.iter().any(|it| it.contains('\0')) {
            let text =
                format!("input `{}` has a text with the character NUL, which the runtime does not take", tensor.name);
            return Err(Said::new(text));
        }
        let shape = Shape::new(tensor.shape.iter().copied());
        return Ok(ort::value::Tensor::from_string_array((shape, &texts[..])).map_err(Said::new)?.into());
    }
    let shape = Shape::new(tensor.shape.iter().copied());
    let mut value = DynTensor::new(&Allocator::default(), element_of(tensor.datatype), shape).map_err(Said::new)?;
    let pointer = value.data_ptr_mut().cast::<u8>();
    if tensor.data.is_empty() || pointer.is_null() {
        return Ok(value.into());
    }
    let mut bools = Vec::new();
    let from = if tensor.datatype == DataType::Bool {
        bools.resize(tensor.data.len(), 0);
        copy_bools(&tensor.data, &mut bools);
        &bools[..]
    } else {
        &tensor.data[..]
    };
    // SAFETY: the runtime has allocated, in the processor's memory, as many elements of this size as the shape has, and
    // `check_inputs` has held that product against the length of `data`, which `from` has too. Nothing else knows the fresh tensor,
    // so the two do not overlap. Every bit pattern is a value of its type; booleans are 0 or 1.
    #[allow(unsafe_code)]
    unsafe {
        std::ptr::copy_nonoverlapping(from.as_ptr(), pointer, from.len());
    }
    Ok(value.into())
}

fn tensor_of(value: &DynValue, spec: &TensorSpec) -> Result<Tensor, Said> {
    let value = value.view().downcast::<DynTensorValueType>().map_err(Said::new)?;
    let datatype = datatype_of(*value.data_type())
        .ok_or_else(|| Said::new(format!("output `{}` is of an unknown type", spec.name)))?;
    let shape = value.shape().to_vec();
    let data = match datatype.size() {
        None => bytes_of(&value.try_extract_strings().map_err(Said::new)?.1)?,
        Some(size) => {
            let length = elements_of(&shape)
                .map_err(Said::new)?
                .checked_mul(size)
                .ok_or_else(|| Said::new("the output is too large"))?;
            let pointer = value.data_ptr().cast::<u8>();
            if length == 0 || pointer.is_null() {
                Bytes::new()
            } else {
                // SAFETY: without another execution provider the runtime gives outputs in the processor's memory, contiguous,
                // initialized and of as many elements of this size as the shape has; `value` keeps them alive until they are copied.
                #[allow(unsafe_code)]
                unsafe {
                    Bytes::copy_from_slice(std::slice::from_raw_parts(pointer, length))
                }
            }
        }
    };
    Ok(Tensor { name: spec.name.clone(), datatype, shape, data })
}

/// Texts with their length before them, as strings.
fn texts_of(mut data: &[u8]) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    while let Some((head, rest)) = data.split_first_chunk::<4>() {
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*head) as usize)?;
        texts.push(String::from_utf8(text.to_vec()).ok()?);
        data = rest;
    }
    data.is_empty().then_some(texts)
}

fn bytes_of(texts: &[String]) -> Result<Bytes, Said> {
    let mut data = BytesMut::new();
    for text in texts {
        data.put_u32_le(u32::try_from(text.len()).map_err(Said::new)?);
        data.put_slice(text.as_bytes());
    }
    Ok(data.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cores_go_into_the_runs_of_large_models_alone() {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        assert_eq!(intra_threads(1 << 20, 8), 1);
        assert_eq!(intra_threads(2 << 30, 1), cores);
        assert_eq!(intra_threads(2 << 30, 8), cores);
        assert_eq!(intra_threads(512 << 20, 8), (cores / 2).max(1));
    }

    #[test]
    fn texts_survive_the_way_in_and_out() {
        let texts = ["".to_owned(), "é".to_owned(), "abc".to_owned()];
        let data = bytes_of(&texts).expect("short");
        assert_eq!(texts_of(&data).expect("whole"), texts);
        assert_eq!(texts_of(&data[..data.len() - 1]), None);
        assert_eq!(texts_of(b"\x01\0\0\0\xff"), None);
    }

    #[test]
    fn every_type_has_one_element_type() {
        for datatype in DataType::ALL {
            assert_eq!(datatype_of(element_of(datatype)), Some(datatype));
        }
        assert_eq!(datatype_of(TensorElementType::Complex64), None);
    }
}
