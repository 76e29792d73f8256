//! `kaogong jobs`.

use crate::{
    context::Context,
    data_out, job_file, job_wait,
    log_text::{Pieces, Tail},
    output::{Format, note, words},
};
use clap::Subcommand;
use kaogong_api::jobs::*;
use kaogong_client::Client;
use kaogong_domain::Problem;
use serde_json::json;
use std::{path::PathBuf, process::ExitCode};

/// The end of a log that its last lines are taken from.
const LAST_BYTES_MAX: usize = 64 << 10;

/// Verbs of `kaogong jobs`.
#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// Submit a job file (TOML).
    #[command(
        after_help = "Examples:\n  kaogong jobs submit -f train.toml --wait\n\nA job file:\n  name = \"train\"\n  command = [\"python\", \"train.py\"]\n  code = \"src\"                 # a folder, packed and uploaded\n  environment = { lock = \"requirements.lock\", python = \"3.11\" }\n  outputs = [\"model.onnx\"]\n  retries = 1\n  [inputs]\n  digits = \"digits@1\"\n  [resources]\n  cpus = 1.0\n  memory_mib = 2048\n  time_limit_s = 3600"
    )]
    Submit(SubmitArgs),
    /// List jobs, newest first.
    #[command(after_help = "Examples:\n  kaogong jobs list --state running")]
    List {
        /// Only this state.
        #[arg(long, value_parser = ["queued", "admitted", "starting", "running", "succeeded", "failed", "cancelled", "lost"])]
        state: Option<String>,
        /// Only names that contain this text.
        #[arg(long)]
        text: Option<String>,
        /// Rows to skip.
        #[arg(long, default_value_t = 0)]
        offset: u64,
        /// Rows wanted.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
    },
    /// Show a job with its attempts.
    #[command(after_help = "Examples:\n  kaogong jobs show JOB")]
    Show {
        /// Its id.
        id: String,
    },
    /// Print a job's log.
    #[command(
        after_help = "Examples:\n  kaogong jobs logs JOB\n  kaogong jobs logs JOB -f\n  kaogong jobs logs JOB --attempt 1"
    )]
    Logs {
        /// Its id.
        id: String,
        /// Go on until the job has ended.
        #[arg(short, long)]
        follow: bool,
        /// The attempt; the newest when absent.
        #[arg(long)]
        attempt: Option<u32>,
    },
    /// Ask a job to stop.
    #[command(after_help = "Examples:\n  kaogong jobs cancel JOB\n  kaogong jobs cancel JOB --wait")]
    Cancel {
        /// Its id.
        id: String,
        /// Wait until it has stopped.
        #[arg(long)]
        wait: bool,
    },
    /// Show what a job used: processor time and memory over time.
    #[command(after_help = "Examples:\n  kaogong jobs usage JOB --output json")]
    Usage {
        /// Its id.
        id: String,
        /// The attempt; the newest when absent.
        #[arg(long)]
        attempt: Option<u32>,
    },
    /// List a job's artifacts, or fetch one.
    #[command(
        after_help = "Examples:\n  kaogong jobs artifacts JOB\n  kaogong jobs artifacts JOB --get model.onnx --to model.onnx"
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

/// Arguments of `kaogong jobs submit`.
#[derive(Debug, clap::Args)]
pub struct SubmitArgs {
    /// The job file.
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Follow the log on standard error; exit with 1 when the job does not succeed.
    #[arg(long)]
    pub wait: bool,
    /// A repeated submission with the same key answers with the job already made.
    #[arg(long, value_name = "KEY")]
    pub request_key: Option<String>,
}

/// Carries a verb out.
pub async fn run(context: &Context, command: JobsCommand) -> Result<ExitCode, Problem> {
    match command {
        JobsCommand::Submit(args) => return submit(context, args).await,
        JobsCommand::List { state, text, offset, limit } => {
            let query = JobQuery { state, text, offset, limit: Some(limit) };
            let page = context.client()?.jobs(&query).await?;
            context.out.page(&page, &["NAME", "STATE", "CREATED", "TOOK", "RUNS", "BY", "ID"], |it| {
                vec![
                    it.name.clone(),
                    it.state.clone(),
                    words::time(it.created_at),
                    took(it.started_at, it.ended_at),
                    format!("{}{}", it.runs.len(), if it.more_runs { "+" } else { "" }),
                    words::or_dash(it.created_by.as_deref()),
                    it.id.clone(),
                ]
            })?;
        }
        JobsCommand::Show { id } => show(context, &context.client()?.job(&id).await?)?,
        JobsCommand::Logs { id, follow, attempt } => logs(context, &id, follow, attempt).await?,
        JobsCommand::Cancel { id, wait } => cancel(context, &id, wait).await?,
        JobsCommand::Usage { id, attempt } => usage(context, &id, attempt).await?,
        JobsCommand::Artifacts { id, get, to } => artifacts(context, &id, get.zip(to)).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn took(began: Option<i64>, ended: Option<i64>) -> String {
    began.map_or_else(|| "-".into(), |began| words::span(ended.unwrap_or_else(words::now_ms) - began))
}

async fn submit(context: &Context, args: SubmitArgs) -> Result<ExitCode, Problem> {
    let prepared = job_file::read(&args.file)?;
    prepared.remarks.iter().for_each(|it| context.out.note(it));
    let client = context.client()?;
    let key = args.request_key.map_or_else(super::new_key, Ok)?;
    let spec = prepared.upload(&client).await?;
    let job = client.submit(&NewJob { spec, request_key: Some(key) }).await?;
    if !args.wait {
        show(context, &job)?;
        return Ok(ExitCode::SUCCESS);
    }
    note(&format!("submitted {} ({})", job.name, job.id));
    let job = job_wait::follow(&client, &job.id, |text| {
        use std::io::Write;
        // The log is a remark here; the job itself is the result on standard output.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
        Ok(())
    })
    .await?;
    show(context, &job)?;
    if job.state == "succeeded" {
        return Ok(ExitCode::SUCCESS);
    }
    note(&format!("error: {}", job_wait::verdict(&job)));
    Ok(ExitCode::from(1))
}

fn show(context: &Context, it: &JobView) -> Result<(), Problem> {
    let mut runs = it.runs.clone();
    if it.more_runs {
        runs.push("and more".to_owned());
    }
    let inputs: Vec<String> =
        it.inputs.iter().map(|it| format!("{} = {}@{}", it.alias, it.dataset, it.number)).collect();
    let attempts: Vec<String> = it
        .attempts
        .iter()
        .map(|it| {
            let why = it.reason.as_deref().map(|it| format!(": {it}")).unwrap_or_default();
            format!("{} {} {}{why}", it.number, it.state, took(it.started_at, it.ended_at))
        })
        .collect();
    context.out.thing(
        it,
        &[
            ("job", it.id.clone()),
            ("name", it.name.clone()),
            ("state", it.state.clone()),
            ("reason", it.reason.clone().unwrap_or_default()),
            ("exit code", it.exit_code.map(|it| it.to_string()).unwrap_or_default()),
            ("command", it.spec.command.join(" ")),
            ("variables", it.spec.env.iter().map(|(name, value)| variable(name, value)).collect::<Vec<_>>().join("\n")),
            ("token", if it.spec.token.is_usual() { String::new() } else { "developer".into() }),
            ("inputs", inputs.join("\n")),
            ("attempts", attempts.join("\n")),
            ("runs", runs.join("\n")),
            ("created", words::time(it.created_at)),
            ("by", it.created_by.clone().unwrap_or_default()),
        ],
    )
}

/// A variable as it is shown: its value, the secret that holds it, or nothing for those who may not see it.
fn variable(name: &str, value: &EnvValue) -> String {
    match value {
        EnvValue::Text(text) => format!("{name} = {text}"),
        EnvValue::Secret(it) => format!("{name} = secret {}", it.secret),
        EnvValue::Hidden(_) => format!("{name} = (not shown to your role)"),
    }
}

async fn logs(context: &Context, id: &str, follow: bool, attempt: Option<u32>) -> Result<(), Problem> {
    let client = context.client()?;
    let mut take = |text: &str| match context.out.format {
        Format::Table => context.out.text(text),
        // One JSON text per piece, so that a reader need not wait for the end.
        Format::Json => context.out.text(&(json!({ "text": text }).to_string() + "\n")),
    };
    if follow {
        return match attempt {
            Some(number) => job_wait::follow_attempt(&client, id, number, &mut take).await,
            None => job_wait::follow(&client, id, take).await.map(drop),
        };
    }
    let mut answer = client.job_log(id, &LogQuery { attempt, ..LogQuery::default() }).await?;
    let mut pieces = Pieces::default();
    while let Some(piece) = answer.piece().await? {
        match context.out.format {
            // The bytes as they were written; a terminal or file joins what was cut.
            Format::Table => context.out.bytes(&piece)?,
            Format::Json => match pieces.push(&piece) {
                text if text.is_empty() => {}
                text => take(&text)?,
            },
        }
    }
    match pieces.finish() {
        rest if rest.is_empty() => Ok(()),
        rest => take(&rest),
    }
}

async fn cancel(context: &Context, id: &str, wait: bool) -> Result<(), Problem> {
    let client = context.client()?;
    let mut job = client.cancel_job(id).await?;
    while wait && !job_wait::is_final(&job) {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        job = client.job(id).await?;
    }
    let sentence = if job_wait::is_final(&job) { job_wait::verdict(&job) } else { format!("{id} was asked to stop") };
    context.out.done(&job, &sentence)
}

async fn usage(context: &Context, id: &str, attempt: Option<u32>) -> Result<(), Problem> {
    let usage = context.client()?.job_usage(id, attempt).await?;
    // As many rows as fit a screen, evenly spread; JSON has them all.
    let step = usage.at.len().div_ceil(30).max(1);
    let rows: Vec<usize> = (0..usage.at.len()).step_by(step).collect();
    context.out.list(&usage, &rows, &["TIME", "PROCESSOR S", "MEMORY"], |at| {
        let cpu = usage.cpu_ms.get(*at).copied().unwrap_or_default();
        let memory = usage.rss_bytes.get(*at).copied().unwrap_or_default();
        vec![words::time(usage.at[*at]), format!("{:.1}", cpu as f64 / 1000.0), words::bytes(memory)]
    })
}

async fn artifacts(context: &Context, id: &str, get: Option<(String, PathBuf)>) -> Result<(), Problem> {
    let client = context.client()?;
    let Some((path, to)) = get else {
        return list_artifacts(context, &client.job_artifacts(id).await?);
    };
    let answer = client.job_artifact(id, &path).await?;
    save_artifact(context, answer, &path, &to).await
}

/// Prints a page of artifacts.
pub fn list_artifacts(context: &Context, page: &kaogong_api::Page<ArtifactView>) -> Result<(), Problem> {
    context.out.page(page, &["PATH", "BYTES", "HASH"], |it| {
        vec![it.path.clone(), it.size.to_string(), it.hash.chars().take(16).collect()]
    })
}

/// Writes an artifact to a file.
pub async fn save_artifact(
    context: &Context,
    answer: kaogong_client::Answer,
    path: &str,
    to: &std::path::Path,
) -> Result<(), Problem> {
    let bytes = data_out::save(answer, to, &context.out, |_| {}).await?;
    if to == std::path::Path::new("-") {
        return Ok(());
    }
    context.out.done(
        &json!({ "path": path, "file": to, "bytes": bytes }),
        &format!("wrote {} ({})", to.display(), words::bytes(bytes)),
    )
}

/// The last lines of a job's log, for error texts. How long a log is, nobody says, so it is read to its end.
pub async fn last_lines(client: &Client, id: &str, count: usize) -> String {
    let Ok(mut answer) = client.job_log(id, &LogQuery::default()).await else { return String::new() };
    let mut tail = Tail::new(LAST_BYTES_MAX);
    while let Ok(Some(piece)) = answer.piece().await {
        tail.push(&piece);
    }
    tail.lines(count).join("\n")
}
