//! `kaogong models`.

use crate::{context::Context, data_in::cannot_read, exit::usage, output::words};
use clap::Subcommand;
use kaogong_api::models::*;
use kaogong_client::{Client, file_body};
use kaogong_data::onnx;
use kaogong_domain::{Problem, names::VersionRef};
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};
use tempfile::NamedTempFile;

/// Verbs of `kaogong models`.
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List models.
    #[command(after_help = "Examples:\n  kaogong models list")]
    List,
    /// Show a model with its versions.
    #[command(after_help = "Examples:\n  kaogong models show digits")]
    Show {
        /// Its name.
        name: String,
    },
    /// Register an ONNX file, or the ONNX model of a run, as a new version.
    #[command(
        after_help = "Examples:\n  kaogong models register digits model.onnx\n  kaogong models register digits --run RUN"
    )]
    Register(RegisterArgs),
    /// Point an alias at a version, or remove it.
    #[command(
        after_help = "Examples:\n  kaogong models alias digits champion 2\n  kaogong models alias digits champion --remove"
    )]
    Alias {
        /// The model.
        name: String,
        /// The alias.
        alias: String,
        /// The version's number.
        #[arg(required_unless_present = "remove", conflicts_with = "remove")]
        version: Option<u32>,
        /// Remove the alias.
        #[arg(long)]
        remove: bool,
    },
    /// Fetch the ONNX file of a version.
    #[command(after_help = "Examples:\n  kaogong models download digits@1 model.onnx")]
    Download {
        /// NAME@NUMBER, or NAME for the newest.
        model: VersionRef,
        /// The file to write, or - for standard output.
        file: PathBuf,
    },
    /// Delete a model with all its versions.
    #[command(after_help = "Examples:\n  kaogong models delete digits")]
    Delete {
        /// Its name.
        name: String,
    },
}

/// Arguments of `kaogong models register`.
#[derive(Debug, clap::Args)]
pub struct RegisterArgs {
    /// The model; it is made when it is new.
    pub name: String,
    /// An ONNX file; weights in files beside it are taken along.
    #[arg(required_unless_present = "run", conflicts_with = "run")]
    pub path: Option<PathBuf>,
    /// The run whose ONNX model is taken.
    #[arg(long)]
    pub run: Option<String>,
    /// What it is.
    #[arg(long)]
    pub description: Option<String>,
    /// A tag, as KEY=VALUE; may be given several times.
    #[arg(long = "tag", value_parser = key_value)]
    pub tags: Vec<(String, String)>,
    /// A repeated call with the same key answers with the version already made.
    #[arg(long, value_name = "KEY")]
    pub request_key: Option<String>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').filter(|it| !it.0.is_empty()).ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Carries a verb out.
pub async fn run(context: &Context, command: ModelsCommand) -> Result<(), Problem> {
    match command {
        ModelsCommand::List => {
            let page = context.client()?.models().await?;
            context.out.page(&page, &["NAME", "VERSIONS", "ALIASES", "UPDATED"], |it| {
                vec![it.name.clone(), it.versions.len().to_string(), aliases(it), words::time(it.updated_at)]
            })
        }
        ModelsCommand::Show { name } => {
            let model = context.client()?.model(&name).await?;
            context.out.list(
                &model,
                &model.versions,
                &["VERSION", "STATUS", "ALIASES", "METRICS", "DATASETS", "ENDPOINTS", "CREATED", "REMARK"],
                |it| {
                    let own: Vec<&str> =
                        model.aliases.iter().filter(|(_, at)| **at == it.number).map(|it| it.0.as_str()).collect();
                    let created = words::time(it.created_at);
                    vec![
                        it.number.to_string(),
                        it.status.clone(),
                        own.join(","),
                        words::measures(&it.metrics),
                        it.datasets.join(","),
                        it.endpoints.join(","),
                        created,
                        it.status_message.clone().unwrap_or_default(),
                    ]
                },
            )
        }
        ModelsCommand::Register(args) => register(context, args).await,
        ModelsCommand::Alias { name, alias, version, .. } => {
            let client = context.client()?;
            let (model, sentence) = match version {
                Some(version) => {
                    (client.set_alias(&name, &alias, version).await?, format!("{name}@{alias} is version {version}"))
                }
                None => (client.delete_alias(&name, &alias).await?, format!("{name} has no alias {alias} any more")),
            };
            context.out.done(&model, &sentence)
        }
        ModelsCommand::Download { model, file } => {
            let client = context.client()?;
            let number = match model.version {
                Some(number) => number,
                None => newest(&client, model.name.as_str()).await?,
            };
            let answer = client.model_file(model.name.as_str(), number).await?;
            super::jobs::save_artifact(context, answer, &format!("{}@{number}", model.name), &file).await
        }
        ModelsCommand::Delete { name } => {
            context.client()?.delete_model(&name).await?;
            context.out.done(&json!({ "deleted": name }), &format!("deleted model {name}"))
        }
    }
}

fn aliases(model: &ModelView) -> String {
    model.aliases.iter().map(|(alias, version)| format!("{alias}={version}")).collect::<Vec<_>>().join(", ")
}

async fn newest(client: &Client, name: &str) -> Result<u32, Problem> {
    let model = client.model(name).await?;
    let newest = model.versions.iter().map(|it| it.number).max();
    newest.ok_or_else(|| Problem::not_found(format!("model `{name}` has no version")))
}

async fn register(context: &Context, args: RegisterArgs) -> Result<(), Problem> {
    if let Some(path) = &args.path {
        check_model_file(path)?;
    }
    let client = context.client()?;
    let upload = match args.path {
        Some(path) => {
            // Kept until it is sent.
            let whole = tokio::task::spawn_blocking({
                let path = path.clone();
                move || whole_model(&path)
            });
            let whole = whole.await.map_err(|it| Problem::bug("reading a model did not end", it))??;
            let path = whole.as_ref().map_or(path, |it| it.path().to_owned());
            let body = file_body(path, "application/octet-stream", Arc::new(AtomicU64::new(0)));
            Some(client.upload(body).await?.hash)
        }
        None => None,
    };
    let version = NewModelVersion {
        upload,
        run: args.run,
        description: args.description,
        tags: args.tags.into_iter().collect::<BTreeMap<_, _>>(),
        request_key: Some(args.request_key.map_or_else(super::new_key, Ok)?),
    };
    let made = client.register(&args.name, &version).await?;
    context.out.thing(
        &made,
        &[
            ("model", format!("{}@{}", made.model, made.number)),
            ("status", made.status.clone()),
            ("remark", made.status_message.clone().unwrap_or_default()),
            ("run", made.run_id.clone().unwrap_or_default()),
            ("bytes", made.size.map(words::bytes).unwrap_or_default()),
            ("hash", made.hash.clone().unwrap_or_default()),
        ],
    )
}

/// One file of a model whose weights lie in files beside it; `None` for a model that is one file already.
fn whole_model(path: &Path) -> Result<Option<NamedTempFile>, Problem> {
    let names = onnx::outside(path)?;
    if names.is_empty() {
        return Ok(None);
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files = BTreeMap::new();
    for name in names {
        let file = folder.join(&name);
        if !file.is_file() {
            return Err(onnx::missing(&name));
        }
        files.insert(name, file);
    }
    let unwritable = |it| Problem::unavailable("a temporary file cannot be written").because(it);
    let whole = NamedTempFile::new().map_err(unwritable)?;
    let mut out = BufWriter::new(whole.as_file());
    onnx::merge(path, &files, |it| out.write_all(it).map_err(unwritable))?;
    out.flush().map_err(unwritable)?;
    drop(out);
    Ok(Some(whole))
}

fn check_model_file(path: &Path) -> Result<(), Problem> {
    let facts = std::fs::metadata(path).map_err(|it| cannot_read(path, &it))?;
    if !facts.is_file() {
        return Err(usage(format!("{} is not a file", path.display())).hint("name an ONNX file"));
    }
    if facts.len() == 0 {
        return Err(usage(format!("{} is empty", path.display())));
    }
    std::fs::File::open(path).map(drop).map_err(|it| cannot_read(path, &it))
}
