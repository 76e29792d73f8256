//! `kaogong endpoints`.

use crate::{
    context::Context,
    data_in::cannot_read,
    exit::usage,
    holdout,
    output::{progress::Board, words},
};
use clap::Subcommand;
use kaogong_api::endpoints::*;
use kaogong_client::Client;
use kaogong_domain::{Problem, names::VersionRef};
use serde_json::json;
use std::path::Path;

/// The most bytes that the server takes for one `predict`, picture or row.
const PREDICT_BYTES_MAX: u64 = 32 << 20;

/// Verbs of `kaogong endpoints`.
#[derive(Debug, Subcommand)]
pub enum EndpointsCommand {
    /// Serve a registered model under a name.
    #[command(
        after_help = "Examples:\n  kaogong endpoints create digits --model digits@1\n  kaogong endpoints create digits --model digits@champion --engine onnxruntime"
    )]
    Create(EndpointArgs),
    /// List endpoints.
    #[command(after_help = "Examples:\n  kaogong endpoints list")]
    List,
    /// Show an endpoint: model, tensors, counters.
    #[command(after_help = "Examples:\n  kaogong endpoints show digits")]
    Show {
        /// Its name.
        name: String,
    },
    /// Give an endpoint another model without a gap.
    #[command(after_help = "Examples:\n  kaogong endpoints update digits --model digits@2")]
    Update(EndpointArgs),
    /// Delete an endpoint.
    #[command(after_help = "Examples:\n  kaogong endpoints delete digits")]
    Delete {
        /// Its name.
        name: String,
    },
    /// Ask an endpoint about a picture or a row.
    #[command(
        after_help = "Examples:\n  kaogong endpoints predict digits ./7/0042.png\n  kaogong endpoints predict patients '{\"age\": 54, \"sex\": \"f\"}'"
    )]
    Predict {
        /// Its name.
        name: String,
        /// A picture, a file with a JSON object, or the JSON object itself.
        input: String,
    },
    /// Ask an endpoint about every item of a held-out split, over the Open Inference Protocol.
    #[command(
        after_help = "Examples:\n  kaogong endpoints test digits --dataset digits@1\n  kaogong endpoints test digits --dataset digits@1 --split test --output json"
    )]
    Test {
        /// Its name.
        name: String,
        /// NAME@NUMBER, or NAME for the newest.
        #[arg(long)]
        dataset: VersionRef,
        /// The split.
        #[arg(long, default_value = "test")]
        split: String,
        /// At most so many items.
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
    },
}

/// An endpoint and its model.
#[derive(Debug, clap::Args)]
pub struct EndpointArgs {
    /// Its name, and the model's name in the Open Inference Protocol.
    pub name: String,
    /// MODEL@VERSION, MODEL@ALIAS, or MODEL for the newest.
    #[arg(long)]
    pub model: String,
    /// The engine; ONNX Runtime when its library was found, else tract.
    #[arg(long, value_parser = ["onnxruntime", "tract"])]
    pub engine: Option<String>,
    /// Whether rows of several callers share a run: where the graph keeps rows apart (auto), always (on: you know that rows
    /// are independent), or never (off). A new endpoint has auto.
    #[arg(long, value_parser = ["auto", "on", "off"])]
    pub batching: Option<String>,
    /// Run the model in the server's process, where a fault in it ends the server; for the platform's administrator.
    #[arg(long, conflicts_with = "own_process")]
    pub in_process: bool,
    /// Run the model in a process of its own, which is usual.
    #[arg(long)]
    pub own_process: bool,
}

impl EndpointArgs {
    fn isolation(&self) -> Option<String> {
        match (self.in_process, self.own_process) {
            (true, _) => Some("none".to_owned()),
            (_, true) => Some("process".to_owned()),
            _ => None,
        }
    }
}

/// Carries a verb out.
pub async fn run(context: &Context, command: EndpointsCommand) -> Result<(), Problem> {
    let out = &context.out;
    match command {
        EndpointsCommand::Create(args) => {
            let isolation = args.isolation();
            let EndpointArgs { name, model, engine, batching, .. } = args;
            let new = NewEndpoint { name, model, engine, isolation, batching };
            let made = context.client()?.new_endpoint(&new).await?;
            show_loaded(context, &made)
        }
        EndpointsCommand::Update(args) => {
            let isolation = args.isolation();
            let EndpointArgs { name, model, engine, batching, .. } = args;
            let change = EndpointChange { model, engine, isolation, batching };
            let changed = context.client()?.update_endpoint(&name, &change).await?;
            show_loaded(context, &changed)
        }
        EndpointsCommand::List => {
            let page = context.client()?.endpoints().await?;
            out.page(&page, &["NAME", "STATE", "MODEL", "ENGINE", "CALLS", "FAILED", "P50", "P99"], |it| {
                let us =
                    |value: Option<u64>| value.map_or_else(|| "-".into(), |it| format!("{:.2} ms", it as f64 / 1000.0));
                let model = format!("{}@{}", it.model, it.version);
                let stats = &it.stats;
                let calls = stats.succeeded.to_string();
                vec![
                    it.name.clone(),
                    it.state.clone(),
                    model,
                    it.engine.clone(),
                    calls,
                    stats.failed.to_string(),
                    us(stats.p50_us),
                    us(stats.p99_us),
                ]
            })
        }
        EndpointsCommand::Show { name } => {
            let client = context.client()?;
            show(context, &client, &client.endpoint(&name).await?)
        }
        EndpointsCommand::Delete { name } => {
            context.client()?.delete_endpoint(&name).await?;
            out.done(&json!({ "deleted": name }), &format!("deleted endpoint {name}"))
        }
        EndpointsCommand::Predict { name, input } => predict(context, &name, &input).await,
        EndpointsCommand::Test { name, dataset, split, limit } => test(context, &name, &dataset, &split, limit).await,
    }
}

/// An endpoint whose model could not be loaded is shown, and is a failure.
fn show_loaded(context: &Context, it: &EndpointView) -> Result<(), Problem> {
    show(context, &context.client()?, it)?;
    if it.state != "failed" {
        return Ok(());
    }
    let why = it.reason.clone().unwrap_or_else(|| "no reason was given".into());
    Err(Problem::invalid(format!("endpoint `{}` cannot load {}@{}: {why}", it.name, it.model, it.version)))
}

fn show(context: &Context, client: &Client, it: &EndpointView) -> Result<(), Problem> {
    let tensors = |of: &[TensorView]| {
        of.iter().map(|it| format!("{} {} {:?}", it.name, it.datatype, it.shape)).collect::<Vec<_>>().join("\n")
    };
    let task = it.task.as_ref().and_then(|it| it.get("kind")).and_then(|it| it.as_str()).unwrap_or_default();
    context.out.thing(
        it,
        &[
            ("endpoint", it.name.clone()),
            ("state", it.state.clone()),
            ("reason", it.reason.clone().unwrap_or_default()),
            ("model", format!("{}@{}", it.model, it.version)),
            ("engine", it.engine.clone()),
            ("batching", batching(it)),
            ("remark", it.remark.clone().unwrap_or_default()),
            ("isolation", it.isolation.clone()),
            ("process", it.process.map(|it| it.to_string()).unwrap_or_default()),
            ("task", task.to_owned()),
            ("inputs", tensors(&it.inputs)),
            ("outputs", tensors(&it.outputs)),
            ("calls", format!("{} answered, {} failed", it.stats.succeeded, it.stats.failed)),
            ("address", address(client, &it.name)),
            ("created", words::time(it.created_at)),
        ],
    )
}

/// What was asked for, and what follows for this model.
fn batching(it: &EndpointView) -> String {
    let does = match it.shares_runs {
        Some(true) => ": rows of several callers share runs",
        Some(false) => ": each call runs by itself",
        None => "",
    };
    format!("{}{does}", it.batching)
}

/// Where an endpoint is asked with the Open Inference Protocol.
pub fn address(client: &Client, name: &str) -> String {
    format!("{}/p/{}/v2/models/{name}/infer", client.address(), client.project())
}

async fn predict(context: &Context, name: &str, input: &str) -> Result<(), Problem> {
    let input = PredictInput::read(input)?;
    let client = context.client()?;
    let answer = match input {
        PredictInput::Row(row) => client.predict_row(name, &PredictRow { row }).await?,
        PredictInput::Picture(bytes, media_type) => client.predict_image(name, bytes.into(), media_type).await?,
    };
    let top: Vec<String> = answer.top.iter().map(|it| format!("{} {:.4}", it.label, it.probability)).collect();
    context.out.thing(
        &answer,
        &[
            ("class", answer.label.clone().unwrap_or_default()),
            ("value", answer.value.map(|it| words::number(Some(it))).unwrap_or_default()),
            ("top", top.join("\n")),
            ("model", answer.model.clone()),
            (
                "time",
                format!(
                    "{:.2} ms in the server, {:.2} ms in the engine",
                    answer.total_us as f64 / 1e3,
                    answer.compute_us as f64 / 1e3
                ),
            ),
        ],
    )
}

#[derive(Debug)]
enum PredictInput {
    Row(serde_json::Map<String, serde_json::Value>),
    Picture(Vec<u8>, &'static str),
}

impl PredictInput {
    fn read(input: &str) -> Result<Self, Problem> {
        if input.trim_start().starts_with('{') {
            return Self::row(input.as_bytes(), "the argument");
        }
        let path = Path::new(input);
        let facts = std::fs::metadata(path).map_err(|it| cannot_read(path, &it))?;
        if facts.len() > PREDICT_BYTES_MAX {
            let most = words::bytes(PREDICT_BYTES_MAX);
            return Err(usage(format!("{input} has {}; predict takes at most {most}", words::bytes(facts.len()))));
        }
        let bytes = std::fs::read(path).map_err(|it| cannot_read(path, &it))?;
        if let Ok(format) = image::guess_format(&bytes) {
            return Ok(Self::Picture(bytes, format.to_mime_type()));
        }
        Self::row(&bytes, input)
    }

    fn row(text: &[u8], what: &str) -> Result<Self, Problem> {
        let row = serde_json::from_slice(text).map_err(|it| {
            usage(format!("{what} is neither a picture nor a JSON object: {it}"))
                .hint("write a row like '{\"age\": 54}'")
        })?;
        Ok(Self::Row(row))
    }
}

async fn test(context: &Context, name: &str, dataset: &VersionRef, split: &str, limit: u64) -> Result<(), Problem> {
    let client = context.client()?;
    let version = client.version(dataset.name.as_str(), dataset.version).await?;
    holdout::check_split(&version, split)?;
    let total = version.summary.splits.get(split).copied().unwrap_or(version.items).min(limit);
    let progress = Board::new().count(&format!("asking {name}"), total);
    let plan = holdout::Plan { endpoint: name, version: &version, split, limit };
    let report = holdout::run(&client, &plan, |at| progress.set(at)).await?;
    progress.finish(&format!("{} calls", report.calls));
    let mut value = json!({ "endpoint": name, "dataset": version.dataset, "version": version.number, "split": split });
    merge(&mut value, &report);
    warn_if_useless(context, name, &report);
    context.out.thing(&value, &report_pairs(&report))
}

/// Says so when the model is of no use: an accuracy alone looks like a success.
pub fn warn_if_useless(context: &Context, endpoint: &str, report: &holdout::Report) {
    if let Some(doubt) = report.doubt() {
        context.out.note(&format!("warning: the model of {endpoint} is {doubt}; it needs more or clearer data"));
    }
}

/// Adds the measures to an object.
pub fn merge(value: &mut serde_json::Value, report: &holdout::Report) {
    if let (Some(object), Ok(serde_json::Value::Object(report))) = (value.as_object_mut(), serde_json::to_value(report))
    {
        object.extend(report);
    }
}

/// The measures as names and texts.
pub fn report_pairs(report: &holdout::Report) -> Vec<(&'static str, String)> {
    let number = |value: Option<f64>| value.map(|it| words::number(Some(it))).unwrap_or_default();
    vec![
        ("accuracy", number(report.accuracy)),
        ("balanced accuracy", number(report.balanced_accuracy)),
        ("macro F1", number(report.macro_f1)),
        ("commonest class alone", number(report.baseline_accuracy)),
        ("R²", number(report.r2)),
        ("mean absolute error", number(report.mae)),
        ("calls", report.calls.to_string()),
        ("p50", format!("{:.2} ms", report.p50_ms)),
        ("p99", format!("{:.2} ms", report.p99_ms)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_predicted_from_is_found_out_or_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let text = dir.path().join("row.json");
        std::fs::write(&text, "{\"a\": 1}").expect("a file");
        assert!(matches!(PredictInput::read("{\"a\": 1}"), Ok(PredictInput::Row(_))));
        assert!(matches!(PredictInput::read(&text.display().to_string()), Ok(PredictInput::Row(_))));
        let large = dir.path().join("large.png");
        let file = std::fs::File::create(&large).expect("a file");
        file.set_len(PREDICT_BYTES_MAX + 1).expect("a length");
        let large = large.display().to_string();
        for bad in ["{\"a\":", "/no/such/file", "[1]", &large] {
            assert_eq!(crate::exit::number(&PredictInput::read(bad).expect_err("refused")), 2, "{bad}");
        }
    }
}
