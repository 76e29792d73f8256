//! `kaogong runs`.

use crate::{
    context::Context,
    output::{Format, words},
};
use clap::Subcommand;
use kaogong_api::runs::*;
use kaogong_domain::Problem;
use std::{collections::BTreeSet, path::PathBuf};

/// Verbs of `kaogong runs`.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// List runs, newest first.
    #[command(
        after_help = "Examples:\n  kaogong runs list --experiment digits\n  kaogong runs list --filter \"metrics.validation_accuracy > 0.9\" --order \"metrics.validation_accuracy DESC\""
    )]
    List {
        /// Only this experiment, by name or id.
        #[arg(long)]
        experiment: Option<String>,
        /// As in MLflow: metrics.accuracy > 0.9 and params.solver = 'adam'.
        #[arg(long)]
        filter: Option<String>,
        /// As in MLflow: metrics.accuracy DESC.
        #[arg(long)]
        order: Option<String>,
        /// Rows to skip.
        #[arg(long, default_value_t = 0)]
        offset: u64,
        /// Rows wanted.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
    },
    /// Show a run.
    #[command(after_help = "Examples:\n  kaogong runs show RUN")]
    Show {
        /// Its id.
        id: String,
    },
    /// Put runs side by side; a star marks what differs.
    #[command(after_help = "Examples:\n  kaogong runs compare RUN1 RUN2")]
    Compare {
        /// Their ids.
        #[arg(required = true, num_args = 2..=10)]
        ids: Vec<String>,
    },
    /// List experiments.
    #[command(after_help = "Examples:\n  kaogong runs experiments")]
    Experiments,
    /// List a run's artifacts, or fetch one.
    #[command(
        after_help = "Examples:\n  kaogong runs artifacts RUN\n  kaogong runs artifacts RUN --get model/model.onnx --to model.onnx"
    )]
    Artifacts {
        /// Its id.
        id: String,
        /// Fetch this artifact.
        #[arg(long, value_name = "PATH", requires = "to")]
        get: Option<String>,
        /// The file to write, or - for standard output.
        #[arg(long, value_name = "FILE", requires = "get")]
        to: Option<PathBuf>,
    },
}

/// Carries a verb out.
pub async fn run(context: &Context, command: RunsCommand) -> Result<(), Problem> {
    let client = context.client()?;
    match command {
        RunsCommand::List { experiment, filter, order, offset, limit } => {
            let query = RunQuery { experiment, filter, order, offset, limit: Some(limit) };
            context.out.page(
                &client.runs(&query).await?,
                &["NAME", "STATUS", "EXPERIMENT", "STARTED", "METRICS", "ID"],
                |it| {
                    vec![
                        it.name.clone(),
                        it.status.clone(),
                        it.experiment.clone(),
                        words::time(it.started_at),
                        words::measures(&it.metrics),
                        it.id.clone(),
                    ]
                },
            )
        }
        RunsCommand::Show { id } => show(context, &client.run(&id).await?),
        RunsCommand::Compare { ids } => {
            let mut runs = Vec::new();
            for id in &ids {
                runs.push(client.run(id).await?);
            }
            compare(context, &runs)
        }
        RunsCommand::Experiments => {
            context.out.page(&client.experiments().await?, &["NAME", "RUNS", "UPDATED", "ID"], |it| {
                vec![it.name.clone(), it.runs.to_string(), words::time(it.updated_at), it.id.clone()]
            })
        }
        RunsCommand::Artifacts { id, get, to } => match get.zip(to) {
            None => super::jobs::list_artifacts(context, &client.run_artifacts(&id).await?),
            Some((path, to)) => {
                let answer = client.run_artifact(&id, &path).await?;
                super::jobs::save_artifact(context, answer, &path, &to).await
            }
        },
    }
}

fn show(context: &Context, it: &RunView) -> Result<(), Problem> {
    let lines = |pairs: Vec<String>| pairs.join("\n");
    context.out.thing(
        it,
        &[
            ("run", it.id.clone()),
            ("name", it.name.clone()),
            ("status", it.status.clone()),
            ("experiment", it.experiment.clone()),
            ("by", it.user.clone()),
            ("job", it.job_id.clone().unwrap_or_default()),
            ("datasets", it.datasets.join("\n")),
            ("started", words::time(it.started_at)),
            ("took", it.ended_at.map(|end| words::span(end - it.started_at)).unwrap_or_default()),
            ("parameters", lines(it.params.iter().map(|(key, value)| format!("{key} = {value}")).collect())),
            (
                "metrics",
                lines(it.metrics.iter().map(|(key, value)| format!("{key} = {}", words::number(*value))).collect()),
            ),
            ("tags", lines(it.tags.iter().map(|(key, value)| format!("{key} = {value}")).collect())),
            ("models", it.models.join("\n")),
        ],
    )
}

/// Prints runs as columns; rows are parameters and metrics of any of them.
pub fn compare(context: &Context, runs: &[RunView]) -> Result<(), Problem> {
    if context.out.format == Format::Json {
        return context.out.json(&runs);
    }
    let mut rows = Vec::new();
    let mut add = |key: String, cells: Vec<String>| {
        let is_same = cells.windows(2).all(|it| it[0] == it[1]);
        let mark = if is_same { "" } else { "*" };
        rows.push([vec![mark.to_owned(), key], cells].concat());
    };
    add("status".into(), runs.iter().map(|it| it.status.clone()).collect());
    add("datasets".into(), runs.iter().map(|it| it.datasets.join(" ")).collect());
    let took = |it: &RunView| it.ended_at.map_or_else(|| "-".into(), |end| words::span(end - it.started_at));
    add("took".into(), runs.iter().map(took).collect());
    let metrics: BTreeSet<&String> = runs.iter().flat_map(|it| it.metrics.keys()).collect();
    for key in metrics {
        add(
            format!("metrics.{key}"),
            runs.iter().map(|it| words::number(it.metrics.get(key).copied().flatten())).collect(),
        );
    }
    let params: BTreeSet<&String> = runs.iter().flat_map(|it| it.params.keys()).collect();
    for key in params {
        add(
            format!("params.{key}"),
            runs.iter().map(|it| words::or_dash(it.params.get(key).map(String::as_str))).collect(),
        );
    }
    let names: Vec<&str> = runs.iter().map(|it| it.name.as_str()).collect();
    let head = [vec!["", "KEY"], names].concat();
    context.out.text(&crate::output::table::render(&head, &rows))
}
