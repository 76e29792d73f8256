//! Classifies a held-out split over the Open Inference Protocol and measures answers and time.

mod score;

pub use score::Report;

use crate::{
    data_out::{PieceReader, read_blocking},
    exit::usage,
};
use kaogong_api::datasets::{ExportQuery, ItemQuery, VersionView};
use kaogong_client::{
    Client, InferInput,
    tar_in::{Archive, Limits, TarFault},
};
use kaogong_data::images;
use kaogong_domain::Problem;
use kaogong_serving::{Tensor, task::TaskSpec};
use score::{Score, Truth};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{collections::VecDeque, time::Instant};
use tokio::sync::mpsc;

/// Samples that may wait between the download and the calls.
const SAMPLES_MAX: usize = 32;
/// The largest list of names in an archive.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;

/// What is to be tested with what.
pub struct Plan<'a> {
    /// The endpoint's name.
    pub endpoint: &'a str,
    /// The dataset version.
    pub version: &'a VersionView,
    /// The split.
    pub split: &'a str,
    /// At most so many items.
    pub limit: u64,
}

/// One item with the right answer.
struct Sample {
    name: String,
    tensor: Tensor,
    truth: Truth,
    row: Option<Map<String, Value>>,
}

/// Asks the endpoint about every item of the split, one after the other; `on_item` gets the count.
///
/// # Errors
/// An endpoint that does not fit the dataset, an empty split, or what the server refuses.
pub async fn run(client: &Client, plan: &Plan<'_>, on_item: impl FnMut(u64)) -> Result<Report, Problem> {
    let endpoint = client.endpoint(plan.endpoint).await?;
    if endpoint.state != "ready" {
        let why = endpoint.reason.unwrap_or_else(|| endpoint.state.clone());
        return Err(Problem::unavailable(format!("endpoint `{}` is not ready: {why}", plan.endpoint)));
    }
    let task = task_of(plan.endpoint, endpoint.task.as_ref())?;
    let (sender, samples) = mpsc::channel(SAMPLES_MAX);
    let (read, asked) =
        tokio::join!(read_samples(client, plan, &task, sender), ask(client, plan, &task, samples, on_item));
    // What stopped the asking is the cause; reading then only noticed that nobody listens.
    let score = asked?;
    read?;
    let what = format!("split `{}` of {}@{}", plan.split, plan.version.dataset, plan.version.number);
    score.report(task.labels()).ok_or_else(|| {
        let (dataset, number, split) = (&plan.version.dataset, plan.version.number, plan.split);
        Problem::invalid(format!("the {what} holds no labelled items"))
            .hint(format!("look at them: kaogong datasets items {dataset}@{number} --split {split}"))
    })
}

/// Whether a version has a split with anything in it.
///
/// # Errors
/// Bad usage that lists the splits there are.
pub fn check_split(version: &VersionView, split: &str) -> Result<(), Problem> {
    let splits = &version.summary.splits;
    if splits.get(split).is_some_and(|it| *it > 0) {
        return Ok(());
    }
    let there: Vec<String> =
        splits.iter().filter(|it| *it.1 > 0).map(|(name, items)| format!("{name} ({items})")).collect();
    let mut hint = format!("its splits: {}", if there.is_empty() { "none".to_owned() } else { there.join(", ") });
    if split == "test" {
        hint.push_str("; import with --test-percent above 0 to hold some out");
    }
    Err(usage(format!("{}@{} has nothing in split `{split}`", version.dataset, version.number)).hint(hint))
}

/// What the endpoint's model is for.
fn task_of(endpoint: &str, task: Option<&Value>) -> Result<TaskSpec, Problem> {
    let task = task.ok_or_else(|| {
        Problem::invalid(format!("the model of endpoint `{endpoint}` does not say how data becomes tensors"))
            .hint("docs/models.md describes the property kaogong.task of an ONNX file")
    })?;
    TaskSpec::deserialize(task).map_err(|it| {
        Problem::invalid(format!("the model of endpoint `{endpoint}` has a task that cannot be used: {it}"))
    })
}

fn input_of(tensor: Tensor) -> Result<InferInput, Problem> {
    let values =
        tensor.to_f64().ok_or_else(|| Problem::invalid(format!("input `{}` holds no numbers", tensor.name)))?;
    let data = values.into_iter().map(|it| it as f32).collect();
    Ok(InferInput { name: tensor.name, datatype: "FP32", shape: tensor.shape, data })
}

async fn ask(
    client: &Client,
    plan: &Plan<'_>,
    task: &TaskSpec,
    mut samples: mpsc::Receiver<Sample>,
    mut on_item: impl FnMut(u64),
) -> Result<Score, Problem> {
    let mut score = Score::default();
    while let Some(sample) = samples.recv().await {
        let input = input_of(sample.tensor)?;
        let began = Instant::now();
        let output = client.infer(plan.endpoint, std::slice::from_ref(&input), task.output()).await?;
        let took = began.elapsed();
        score.add(took, &output.data, sample.truth, task.labels())?;
        score.example.get_or_insert((sample.name, sample.row));
        on_item(score.calls());
    }
    Ok(score)
}

async fn read_samples(
    client: &Client,
    plan: &Plan<'_>,
    task: &TaskSpec,
    sender: mpsc::Sender<Sample>,
) -> Result<(), Problem> {
    match task {
        TaskSpec::ImageClassification { .. } => read_pictures(client, plan, task.clone(), sender).await,
        TaskSpec::TableClassification { .. } | TaskSpec::TableRegression { .. } => {
            read_rows(client, plan, task, sender).await
        }
    }
}

#[derive(Deserialize)]
struct ManifestLine {
    name: String,
    label: Option<String>,
}

async fn read_pictures(
    client: &Client,
    plan: &Plan<'_>,
    task: TaskSpec,
    sender: mpsc::Sender<Sample>,
) -> Result<(), Problem> {
    let query = ExportQuery {
        format: Some("images".into()),
        split: Some(plan.split.to_owned()),
        manifest: true,
        rewrite: false,
    };
    let answer = client.export(&plan.version.dataset, plan.version.number, &query).await?;
    let limits = Limits { entries: plan.version.items + 1, bytes: plan.version.bytes + MANIFEST_BYTES_MAX };
    let limit = plan.limit;
    let work = move |reader: PieceReader| unpack_samples(Archive::new(reader, limits), &task, limit, &sender);
    read_blocking(answer, |_| {}, work).await
}

fn unpack_samples(
    mut archive: Archive<PieceReader>,
    task: &TaskSpec,
    limit: u64,
    sender: &mpsc::Sender<Sample>,
) -> Result<(), Problem> {
    let fault = |it: TarFault| Problem::unavailable(format!("the export cannot be read: {it}"));
    let mut lines: VecDeque<ManifestLine> = VecDeque::new();
    let mut sent = 0;
    while sent < limit {
        let entry = archive.next_file(|head, content| {
            let mut bytes = Vec::new();
            content
                .read_to_end(&mut bytes)
                .map_err(|source| TarFault::Io { what: "the download broke".into(), source })?;
            Ok((head.path.clone(), bytes))
        });
        let Some((path, bytes)) = entry.map_err(fault)? else { return Ok(()) };
        if path.as_os_str() == "manifest.jsonl" && sent == 0 && lines.is_empty() {
            lines = manifest(&bytes)?;
            continue;
        }
        // The lines are in the order of the files.
        let Some(line) = lines.pop_front() else {
            return Err(Problem::unavailable(format!("the export does not say the class of {}", path.display())));
        };
        let Some(label) = line.label else { continue };
        let tensor = picture(task, &bytes).map_err(|it| Problem::invalid(format!("{}: {}", line.name, it.text)))?;
        let sample = Sample { name: line.name, tensor, truth: Truth::Class(label), row: None };
        if sender.blocking_send(sample).is_err() {
            return Ok(());
        }
        sent += 1;
    }
    Ok(())
}

/// A picture as the server itself would make a tensor of it.
fn picture(task: &TaskSpec, bytes: &[u8]) -> Result<Tensor, Problem> {
    let TaskSpec::ImageClassification { width, height, channels, .. } = task else { return task.picture(&[]) };
    task.picture(&images::pixels(bytes, *width, *height, *channels)?)
}

fn manifest(bytes: &[u8]) -> Result<VecDeque<ManifestLine>, Problem> {
    let lines = bytes.split(|it| *it == b'\n').filter(|it| !it.is_empty()).map(serde_json::from_slice);
    lines
        .collect::<Result<_, _>>()
        .map_err(|it| Problem::unavailable(format!("the export's manifest cannot be read: {it}")))
}

async fn read_rows(
    client: &Client,
    plan: &Plan<'_>,
    task: &TaskSpec,
    sender: mpsc::Sender<Sample>,
) -> Result<(), Problem> {
    let version = plan.version;
    let target = version.summary.target.clone().ok_or_else(|| {
        Problem::invalid(format!("{}@{} names no column to predict", version.dataset, version.number))
            .hint("import it with --target COLUMN")
    })?;
    let mut offset = 0;
    while offset < plan.limit {
        let limit = (plan.limit - offset).min(500) as u32;
        let query =
            ItemQuery { split: Some(plan.split.to_owned()), offset, limit: Some(limit), ..ItemQuery::default() };
        let page = client.items(&version.dataset, version.number, &query).await?;
        if page.items.is_empty() {
            return Ok(());
        }
        offset += page.items.len() as u64;
        for item in page.items {
            let mut row = item.values.unwrap_or_default();
            let answer = row.remove(&target).unwrap_or(Value::Null);
            let truth = match task {
                TaskSpec::TableRegression { .. } => answer.as_f64().map(Truth::Number),
                _ => word(&answer).map(Truth::Class),
            };
            let Some(truth) = truth else { continue };
            row.retain(|name, _| is_column(task, name));
            let sample = Sample { name: item.name, tensor: task.row(&row)?, truth, row: Some(row) };
            if sender.send(sample).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whether the model reads a column; training leaves out what it cannot use.
fn is_column(task: &TaskSpec, name: &str) -> bool {
    match task {
        TaskSpec::TableClassification { columns, .. } | TaskSpec::TableRegression { columns, .. } => {
            columns.iter().any(|it| it.name == name)
        }
        TaskSpec::ImageClassification { .. } => false,
    }
}

/// A class as training spells it; `None` for no value.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(it) => Some(it.clone()),
        other => Some(other.to_string()),
    }
}
