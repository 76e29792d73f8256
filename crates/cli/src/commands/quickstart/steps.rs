//! The steps of the loop; each may run again and finds what it made before.

use crate::{
    commands::jobs::last_lines,
    exit::usage,
    job_file, job_wait,
    log_text::Tail,
    output::progress::{Board, Progress},
    python,
};
use kaogong_api::{datasets::*, endpoints::*, jobs::*, models::*, runs::RunView};
use kaogong_client::Client;
use kaogong_domain::Problem;
use std::{collections::BTreeMap, time::Duration};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The most of a log that one look reads, so that a job that writes a lot does not hold up the others.
const LOOK_BYTES_MAX: u64 = 1 << 20;
/// The end of it that is searched for a line.
const LINE_BYTES_MAX: usize = 4 << 10;
/// From this ratio between classes on, accuracy says little.
const UNBALANCED_RATIO: u64 = 2;
/// Whole numbers with at most so many different values are classes, not amounts.
const CLASSES_MAX: u64 = 20;

/// What is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Images,
    TableClasses,
    TableNumbers,
}

impl Kind {
    /// What a dataset version can be used for.
    pub(super) fn of(version: &VersionView) -> Result<Self, Problem> {
        let summary = &version.summary;
        if summary.kind == "images" {
            if summary.classes.len() < 2 {
                return Err(usage(format!(
                    "{} has pictures of {} class; two are needed",
                    version.dataset,
                    summary.classes.len()
                ))
                .hint("put the pictures of each class into a folder of its own: cats/1.jpg, dogs/2.jpg"));
            }
            return Ok(Self::Images);
        }
        let target = summary.target.as_deref().unwrap_or_default();
        let column = summary.columns.iter().find(|it| it.name == target);
        let column = column.ok_or_else(|| {
            let names: Vec<&str> = summary.columns.iter().take(40).map(|it| it.name.as_str()).collect();
            usage(format!("{} has no column `{target}`", version.dataset))
                .hint(format!("its columns: {}", names.join(", ")))
        })?;
        let has_few = column.distinct.is_some_and(|it| it <= CLASSES_MAX);
        match column.kind.as_str() {
            "text" | "boolean" => Ok(Self::TableClasses),
            "integer" if has_few => Ok(Self::TableClasses),
            "integer" | "number" => Ok(Self::TableNumbers),
            other => Err(usage(format!("column `{target}` holds {other} values, which cannot be predicted"))),
        }
    }

    /// What models are compared by; measured on a part of the training split. Where some classes are rare, always
    /// answering the commonest one would be accurate: then each class counts alike.
    pub(super) fn metric(self, version: &VersionView) -> &'static str {
        match self {
            Self::Images | Self::TableClasses if is_unbalanced(version) => "validation_balanced_accuracy",
            Self::Images | Self::TableClasses => "validation_accuracy",
            Self::TableNumbers => "validation_r2",
        }
    }

    fn algorithms(self) -> [&'static str; 2] {
        match self {
            Self::Images | Self::TableClasses => ["logistic", "mlp"],
            Self::TableNumbers => ["linear", "mlp"],
        }
    }

    fn command(self, algorithm: &str, experiment: &str, seed: u64) -> Vec<String> {
        let script = if self == Self::Images { "train/images.py" } else { "train/table.py" };
        let mut words: Vec<String> =
            ["python", script, "--input", "data", "--algorithm", algorithm].map(Into::into).into();
        words.extend(["--experiment".into(), experiment.to_owned(), "--seed".into(), (seed % (1 << 32)).to_string()]);
        match self {
            Self::Images => {}
            Self::TableClasses => words.extend(["--task".into(), "classification".into()]),
            Self::TableNumbers => words.extend(["--task".into(), "regression".into()]),
        }
        words
    }
}

/// Whether the commonest class has more than [`UNBALANCED_RATIO`] times the items of the rarest.
fn is_unbalanced(version: &VersionView) -> bool {
    let counts = version.summary.classes.values().map(|it| it.values().sum::<u64>());
    let (least, most) = counts.fold((u64::MAX, 0), |(least, most), it| (it.min(least), it.max(most)));
    most > least.saturating_mul(UNBALANCED_RATIO)
}

/// Submits one job per algorithm.
pub(super) async fn submit(
    client: &Client,
    version: &VersionView,
    kind: Kind,
    seed: u64,
    id: &str,
) -> Result<Vec<JobView>, Problem> {
    let code = job_file::upload_code(client, python::training_code()).await?;
    let environment =
        EnvironmentSpec { lock: python::SKLEARN_LOCK.to_owned(), python: Some(python::SKLEARN_PYTHON.to_owned()) };
    let mut jobs = Vec::new();
    for algorithm in kind.algorithms() {
        let spec = JobSpec {
            name: format!("{}-{algorithm}", version.dataset),
            command: kind.command(algorithm, &version.dataset, seed),
            env: BTreeMap::new(),
            environment: Some(environment.clone()),
            code: Some(code.clone()),
            inputs: BTreeMap::from([("data".to_owned(), format!("{}@{}", version.dataset, version.number))]),
            outputs: Vec::new(),
            resources: Resources::default(),
            retries: 1,
            token: Default::default(),
        };
        let request_key = Some(format!("quickstart-{id}-job-{algorithm}"));
        jobs.push(client.submit(&NewJob { spec, request_key }).await?);
    }
    Ok(jobs)
}

/// Waits for all jobs, showing the last line that each has written.
pub(super) async fn wait(client: &Client, jobs: Vec<JobView>) -> Result<Vec<JobView>, Problem> {
    let board = Board::new();
    let mut watched: Vec<Watched> =
        jobs.into_iter().map(|job| Watched { progress: board.spinner(&job.name), job, log_at: None }).collect();
    loop {
        for it in watched.iter_mut().filter(|it| !job_wait::is_final(&it.job)) {
            it.look(client).await?;
        }
        if watched.iter().all(|it| job_wait::is_final(&it.job)) {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    for it in &watched {
        it.progress.finish(&it.job.state);
    }
    for it in &watched {
        if it.job.state != "succeeded" {
            let log = last_lines(client, &it.job.id, 15).await;
            let problem = Problem::unavailable(format!("{}\n{log}", job_wait::verdict(&it.job)));
            return Err(problem.hint(format!("the whole log: kaogong jobs logs {}", it.job.id)));
        }
    }
    Ok(watched.into_iter().map(|it| it.job).collect())
}

struct Watched {
    job: JobView,
    progress: Progress,
    /// Attempt and byte until which the log was read.
    log_at: Option<(u32, u64)>,
}

impl Watched {
    async fn look(&mut self, client: &Client) -> Result<(), Problem> {
        self.job = client.job(&self.job.id).await?;
        let attempt = self.job.attempts.last().map(|it| it.number);
        let line = match attempt.filter(|_| self.job.state == "running") {
            Some(number) => self.new_line(client, number).await,
            None => None,
        };
        let why = self.job.reason.clone().unwrap_or_default();
        match line {
            Some(line) => self.progress.say(&line),
            None if self.job.state != "running" => self.progress.say(format!("{} {why}", self.job.state).trim_end()),
            None => {}
        }
        Ok(())
    }

    /// The last line that is new. The log is only shown here, so that its failures do not matter.
    async fn new_line(&mut self, client: &Client, number: u32) -> Option<String> {
        let offset = self.log_at.filter(|it| it.0 == number).map_or(0, |it| it.1);
        let query = LogQuery { attempt: Some(number), offset, length: Some(LOOK_BYTES_MAX) };
        let mut answer = client.job_log(&self.job.id, &query).await.ok()?;
        let mut tail = Tail::new(LINE_BYTES_MAX);
        let mut next = offset;
        while let Ok(Some(piece)) = answer.piece().await {
            next += piece.len() as u64;
            tail.push(&piece);
        }
        self.log_at = Some((number, next));
        let lines = tail.lines(usize::MAX);
        lines.iter().rev().map(|it| it.trim()).find(|it| !it.is_empty()).map(|it| it.chars().take(100).collect())
    }
}

/// The finished run of every job, in the order of the jobs.
pub(super) async fn runs_of(client: &Client, jobs: &[JobView]) -> Result<Vec<RunView>, Problem> {
    let mut runs = Vec::new();
    for job in jobs {
        let mut finished = None;
        for id in job.runs.iter().rev() {
            let run = client.run(id).await?;
            if run.status == "FINISHED" {
                finished = Some(run);
                break;
            }
        }
        let missing =
            || Problem::unavailable(format!("job {} ({}) succeeded and logged no finished run", job.name, job.id));
        runs.push(finished.ok_or_else(missing)?);
    }
    Ok(runs)
}

/// The run with the highest value of the metric.
pub(super) fn best<'a>(runs: &'a [RunView], metric: &str) -> Result<&'a RunView, Problem> {
    let value = |it: &RunView| it.metrics.get(metric).copied().flatten();
    let measured = runs.iter().filter_map(|it| value(it).map(|value| (value, it)));
    // The first of equals, so that a repetition chooses the same.
    let best = measured.reduce(|best, it| if it.0 > best.0 { it } else { best });
    best.map(|it| it.1).ok_or_else(|| Problem::unavailable(format!("no run logged the metric {metric}")))
}

/// Registers the model of a run and points the alias `champion` at it.
pub(super) async fn register(
    client: &Client,
    name: &str,
    run: &RunView,
    metric: &str,
    id: &str,
) -> Result<ModelVersionView, Problem> {
    let version = NewModelVersion {
        upload: None,
        run: Some(run.id.clone()),
        description: Some(format!("better of two by {metric}")),
        tags: BTreeMap::new(),
        request_key: Some(format!("quickstart-{id}-register")),
    };
    let model = client.register(name, &version).await?;
    client.set_alias(name, "champion", model.number).await?;
    Ok(model)
}

/// Serves the model under its own name.
pub(super) async fn serve(
    client: &Client,
    name: &str,
    model: &ModelVersionView,
    engine: Option<&str>,
) -> Result<EndpointView, Problem> {
    let wanted = NewEndpoint {
        name: name.to_owned(),
        model: format!("{}@{}", model.model, model.number),
        engine: engine.map(str::to_owned),
        batching: None,
        isolation: None,
    };
    let endpoint = client.put_endpoint(&wanted).await?;
    if endpoint.state == "failed" {
        let why = endpoint.reason.unwrap_or_default();
        return Err(Problem::unavailable(format!("endpoint `{name}` cannot load {}: {why}", wanted.model)));
    }
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(kind: &str, column_kind: &str, distinct: Option<u64>) -> VersionView {
        let value = serde_json::json!({
            "id": "dv", "dataset": "d", "number": 1, "message": "", "source": "", "items": 9, "bytes": 9, "created_at": 0,
            "created_by": null,
            "summary": { "kind": kind, "classes": {}, "splits": {}, "split_seed": 0, "target": "y", "pixels": null,
                "skipped": [], "skipped_total": 0, "columns": [{ "name": "y", "kind": column_kind, "nulls": 0,
                "distinct": distinct, "min": null, "max": null, "mean": null }] },
        });
        serde_json::from_value(value).expect("a version")
    }

    #[test]
    fn what_is_learnt_follows_from_the_target() {
        let kind = |column: &str, distinct| Kind::of(&version("table", column, distinct)).ok();
        assert_eq!(kind("text", None), Some(Kind::TableClasses));
        assert_eq!(kind("boolean", Some(2)), Some(Kind::TableClasses));
        assert_eq!(kind("integer", Some(3)), Some(Kind::TableClasses));
        assert_eq!(kind("integer", Some(500)), Some(Kind::TableNumbers));
        assert_eq!(kind("number", Some(2)), Some(Kind::TableNumbers));
        assert_eq!(kind("date", Some(2)), None);
        assert!(Kind::of(&version("images", "text", None)).is_err(), "one class cannot be told apart");
    }

    #[test]
    fn the_better_run_is_the_first_with_the_highest_number() {
        let run = |id: &str, value: Option<f64>| -> RunView {
            serde_json::from_value(serde_json::json!({ "id": id, "name": id, "status": "FINISHED", "experiment_id": "e",
                "experiment": "e", "user": "u", "started_at": 0, "ended_at": 1, "job_id": null, "datasets": [], "params": {},
                "metrics": { "m": value }, "tags": {}, "models": [] }))
            .expect("a run")
        };
        let runs = [run("nan", None), run("a", Some(0.9)), run("b", Some(0.9)), run("c", Some(0.1))];
        assert_eq!(best(&runs, "m").expect("a run").id, "a");
        assert!(best(&runs, "other").is_err());
    }
}
