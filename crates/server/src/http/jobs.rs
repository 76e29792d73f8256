//! Jobs: submit, look, follow the log, stop.

use super::{
    access::whole,
    error::Answer,
    exports::blob,
    extract::{Json, Params, Query, created},
};
use crate::{
    access::{InProject, Route, Rule},
    app::App,
};
use axum::{
    body::Body,
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures::{Stream, stream};
use http::{HeaderName, header};
use kaogong_api::{
    Page,
    jobs::{
        ArtifactView, AttemptView, JobInputView, JobQuery, JobSpec, JobView, LogPiece, LogQuery, NewJob, Resources,
        UsageView,
    },
    paging::PAGE_LIMIT_MAX,
};
use kaogong_data::BlobHash;
use kaogong_domain::{
    Problem,
    access::Permission,
    ids::{AttemptId, JobId},
    jobs::{Event, State as JobState},
    names::VersionRef,
};
use kaogong_store::{ArtifactOwner, JobRow, NewJobInput, NewJobRow};
use std::{convert::Infallible, sync::Arc, time::Duration};

/// The most bytes of one piece of a live log.
const PIECE_BYTES_MAX: u32 = 256 << 10;
/// How often a live log is looked at.
const LOG_ROUND: Duration = Duration::from_millis(250);

/// The routes of this noun.
pub fn routes() -> Vec<Route> {
    let read = Rule::Project(Permission::Read);
    let write = Rule::Project(Permission::Write);
    vec![
        Route::get("/api/v1/projects/{project}/jobs", read, list)
            .doc("job_list", "Jobs, newest first.")
            .query::<JobQuery>()
            .answers_page::<JobView>(),
        Route::post("/api/v1/projects/{project}/jobs", write, submit)
            .doc("job_submit", "Submit a job.")
            .body::<NewJob>()
            .answers::<JobView>(),
        Route::get("/api/v1/projects/{project}/jobs/{job}", read, view)
            .doc("job_view", "One job.")
            .answers::<JobView>(),
        Route::post("/api/v1/projects/{project}/jobs/{job}/cancel", write, cancel)
            .doc("job_cancel", "Ask a job to stop. Asking twice is not an error.")
            .answers::<JobView>(),
        Route::get("/api/v1/projects/{project}/jobs/{job}/log", read, log)
            .doc("job_log", "The log from a byte on; `x-next-offset` is where to go on.")
            .query::<LogQuery>()
            .answers_bytes("text/plain"),
        Route::get("/api/v1/projects/{project}/jobs/{job}/log/stream", read, log_stream)
            .doc("job_log_stream", "The log as server-sent events: `log` pieces, then `end`.")
            .query::<LogQuery>()
            .answers_bytes("text/event-stream")
            .unhurried(),
        Route::get("/api/v1/projects/{project}/jobs/{job}/usage", read, usage)
            .doc("job_usage", "What an attempt used, sampled.")
            .query::<LogQuery>()
            .answers::<UsageView>(),
        Route::get("/api/v1/projects/{project}/jobs/{job}/artifacts", read, artifacts)
            .doc("job_artifact_list", "The files that a job kept.")
            .answers_page::<ArtifactView>(),
        Route::get("/api/v1/projects/{project}/jobs/{job}/artifacts/{*path}", read, artifact)
            .doc("job_artifact", "One file that a job kept.")
            .answers_bytes("application/octet-stream")
            .unhurried(),
    ]
}

async fn list(
    State(app): State<Arc<App>>,
    inside: InProject,
    Query(query): Query<JobQuery>,
) -> Answer<Json<Page<JobView>>> {
    let state = match query.state.as_deref().filter(|it| !it.is_empty()) {
        None => None,
        Some(word) => Some(JobState::parse(word).ok_or_else(|| {
            let all: Vec<&str> = JobState::ALL.iter().map(|it| it.as_str()).collect();
            Problem::invalid(format!("`{}` is not a state of a job", word.chars().take(32).collect::<String>()))
                .hint(all.join(", "))
        })?),
    };
    let limit = query.limit.unwrap_or(100).clamp(1, PAGE_LIMIT_MAX);
    let text = query.text.as_deref().filter(|it| !it.is_empty());
    let (rows, total) = app.store.list_jobs(inside.project.id, state, text, query.offset, limit).await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        items.push(job_view(&app, row).await?);
    }
    Ok(Json(Page { items, total }))
}

async fn submit(State(app): State<Arc<App>>, inside: InProject, Json(ask): Json<NewJob>) -> Answer<Response> {
    check_spec(&ask.spec, app.machine().cpus)?;
    if let Some(code) = &ask.spec.code {
        let is_ours = code.parse::<BlobHash>().is_ok() && app.store.project_has_blob(inside.project.id, code).await?;
        if !is_ours {
            return Err(Problem::not_found(format!(
                "there is no upload `{code}` in project `{}`",
                inside.project.name
            ))
            .hint("POST the tar to …/uploads first")
            .into());
        }
    }
    let mut inputs = vec![];
    for (alias, reference) in &ask.spec.inputs {
        inputs.push(pin(&app, &inside, alias, reference).await?);
    }
    let row = NewJobRow {
        project_id: inside.project.id,
        name: ask.spec.name.clone(),
        spec: serde_json::to_string(&ask.spec).map_err(|it| Problem::bug("a job cannot be written", it))?,
        retries: ask.spec.retries,
        inputs,
        request_key: ask.request_key,
    };
    let job = app.store.submit_job(row, &inside.actor(), app.now()).await?;
    app.ring_jobs_bell();
    Ok(created(job_view(&app, job).await?))
}

async fn pin(app: &App, inside: &InProject, alias: &str, reference: &str) -> Result<NewJobInput, Problem> {
    let wanted: VersionRef = reference.parse()?;
    let dataset = app.store.find_dataset(inside.project.id, &wanted.name).await?.ok_or_else(|| {
        Problem::not_found(format!(
            "input `{alias}`: project `{}` has no dataset `{}`",
            inside.project.name, wanted.name
        ))
    })?;
    let version = super::datasets::find_version_number(app, &dataset, wanted.version).await?;
    Ok(NewJobInput { alias: alias.to_owned(), version_id: version.id })
}

fn check_spec(spec: &JobSpec, cpus_total: f64) -> Result<(), Problem> {
    let resources = &spec.resources;
    if spec.name.trim().is_empty() || spec.name.len() > 200 {
        return Err(Problem::invalid("a job needs a name of 1 to 200 bytes"));
    }
    if spec.command.first().is_none_or(String::is_empty) {
        return Err(Problem::invalid("a job needs a command").hint("command = [\"python\", \"train.py\"]"));
    }
    if spec.retries > 10 {
        return Err(Problem::invalid(format!("{} retries are more than 10", spec.retries)));
    }
    if !resources.cpus.is_finite() || resources.cpus <= 0.0 {
        return Err(Problem::invalid(format!("{} is not a number of cores", resources.cpus))
            .hint(format!("this machine has {cpus_total}")));
    }
    if resources.memory_mib == 0 || resources.log_bytes_max == 0 {
        return Err(Problem::invalid("a job needs some memory and some room for its log"));
    }
    if resources.time_limit_s == 0 || resources.time_limit_s > 30 * 24 * 3600 || resources.grace_s > 3600 {
        return Err(Problem::invalid("a job's time limit is 1 s to 30 days, its grace at most an hour"));
    }
    if let Some(name) = spec.env.keys().find(|it| it.starts_with("KAOGONG_") || it.starts_with("MLFLOW_TRACKING_")) {
        return Err(Problem::invalid(format!("variable `{name}` is set by the platform")).hint("take it out of `env`"));
    }
    Ok(())
}

/// The spec of a stored job.
pub(crate) fn spec_of(job: &JobRow) -> Result<JobSpec, Problem> {
    serde_json::from_str(&job.spec).map_err(|it| Problem::bug(format!("job {} has an unreadable spec", job.id), it))
}

/// What a stored job asked for; the usual amounts when its spec cannot be read.
pub(crate) fn resources_of(job: &JobRow) -> Resources {
    spec_of(job).map(|it| it.resources).unwrap_or_default()
}

async fn find_job(app: &App, inside: &InProject, params: &Params) -> Result<JobRow, Problem> {
    let id = params.get::<JobId>("job")?;
    app.store
        .find_job(inside.project.id, id)
        .await?
        .ok_or_else(|| Problem::not_found(format!("project `{}` has no job {id}", inside.project.name)))
}

async fn view(State(app): State<Arc<App>>, inside: InProject, params: Params) -> Answer<Json<JobView>> {
    let job = find_job(&app, &inside, &params).await?;
    Ok(Json(job_view(&app, job).await?))
}

async fn cancel(State(app): State<Arc<App>>, inside: InProject, params: Params) -> Answer<Json<JobView>> {
    let job = find_job(&app, &inside, &params).await?;
    app.store.apply_job_event(inside.project.id, job.id, Event::CancelAsked, &inside.actor(), app.now()).await?;
    app.ring_jobs_bell();
    let job = find_job(&app, &inside, &params).await?;
    Ok(Json(job_view(&app, job).await?))
}

/// The attempt that a query names, or the newest; `None` while there is none.
async fn attempt_of(app: &App, job: &JobRow, number: Option<u32>) -> Result<Option<AttemptId>, Problem> {
    let attempts = app.store.attempts(job.id).await?;
    match number {
        None => Ok(attempts.last().map(|it| it.id)),
        Some(number) => match attempts.iter().find(|it| it.number == number) {
            Some(it) => Ok(Some(it.id)),
            None => Err(Problem::not_found(format!("job {} has no attempt {number}", job.id))),
        },
    }
}

async fn log(
    State(app): State<Arc<App>>,
    inside: InProject,
    params: Params,
    Query(query): Query<LogQuery>,
) -> Answer<Response> {
    let job = find_job(&app, &inside, &params).await?;
    let (bytes, next) = match attempt_of(&app, &job, query.attempt).await? {
        None => (vec![], 0),
        Some(attempt) => {
            let chunk = app.runner.log(attempt, query.offset, kaogong_runners::LOG_CHUNK_BYTES_MAX).await?;
            (chunk.bytes, chunk.next_offset)
        }
    };
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (HeaderName::from_static("x-next-offset"), next.to_string()),
    ];
    Ok((headers, bytes).into_response())
}

async fn log_stream(
    State(app): State<Arc<App>>,
    inside: InProject,
    params: Params,
    Query(query): Query<LogQuery>,
) -> Answer<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>> {
    let job = find_job(&app, &inside, &params).await?;
    let follow = Follow { app, job, attempt: query.attempt, offset: query.offset, is_over: false, carry: vec![] };
    let pieces = stream::unfold(follow, |mut it| async move {
        let event = it.next().await?;
        Some((Ok(event), it))
    });
    Ok(Sse::new(pieces).keep_alive(KeepAlive::default()))
}

/// A reader of a live log.
struct Follow {
    app: Arc<App>,
    job: JobRow,
    attempt: Option<u32>,
    offset: u64,
    is_over: bool,
    /// The beginning of a character whose rest has not arrived.
    carry: Vec<u8>,
}

impl Follow {
    async fn next(&mut self) -> Option<sse::Event> {
        if self.is_over {
            return None;
        }
        loop {
            if self.app.is_stopping() {
                return None;
            }
            match self.look().await {
                Ok(Some(event)) => return Some(event),
                Ok(None) => tokio::time::sleep(LOG_ROUND).await,
                Err(problem) => {
                    self.is_over = true;
                    return Some(sse::Event::default().event("error").data(problem.text));
                }
            }
        }
    }

    async fn look(&mut self) -> Result<Option<sse::Event>, Problem> {
        let job = self.app.store.find_job(self.job.project_id, self.job.id).await?;
        let state = job.map_or(JobState::Lost, |it| it.life.state);
        let attempt = attempt_of(&self.app, &self.job, self.attempt).await?;
        if let Some(attempt) = attempt {
            let chunk = self.app.runner.log(attempt, self.offset, PIECE_BYTES_MAX).await?;
            if !chunk.bytes.is_empty() {
                return Ok(Some(self.piece(chunk.bytes, chunk.next_offset)));
            }
            // A named attempt ends with its own log, the job's log with the job.
            if chunk.end && self.attempt.is_some() {
                return Ok(Some(self.end(state)));
            }
        }
        Ok(state.is_final().then(|| self.end(state)))
    }

    fn end(&mut self, state: JobState) -> sse::Event {
        self.is_over = true;
        sse::Event::default().event("end").data(state.as_str())
    }

    fn piece(&mut self, bytes: Vec<u8>, next: u64) -> sse::Event {
        let from = self.offset - self.carry.len() as u64;
        let mut all = std::mem::take(&mut self.carry);
        all.extend(bytes);
        let cut = complete_until(&all);
        self.carry = all.split_off(cut);
        self.offset = next;
        let piece = LogPiece {
            offset: from,
            next_offset: next - self.carry.len() as u64,
            text: String::from_utf8_lossy(&all).into_owned(),
        };
        let event = sse::Event::default().event("log").id(piece.next_offset.to_string());
        event.data(serde_json::to_string(&piece).unwrap_or_default())
    }
}

/// How many bytes can be shown now: all but the beginning of a character that is cut at the end.
fn complete_until(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    for place in (tail..bytes.len()).rev() {
        let needed = match bytes[place] {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue,
            _ => return bytes.len(),
        };
        return if bytes.len() - place < needed { place } else { bytes.len() };
    }
    bytes.len()
}

async fn usage(
    State(app): State<Arc<App>>,
    inside: InProject,
    params: Params,
    Query(query): Query<LogQuery>,
) -> Answer<Json<UsageView>> {
    let job = find_job(&app, &inside, &params).await?;
    let samples = match attempt_of(&app, &job, query.attempt).await? {
        None => vec![],
        Some(attempt) => app.runner.usage(attempt).await?,
    };
    Ok(Json(UsageView {
        at: samples.iter().map(|it| it.at.as_ms()).collect(),
        cpu_ms: samples.iter().map(|it| it.cpu_ms).collect(),
        rss_bytes: samples.iter().map(|it| it.rss_bytes).collect(),
    }))
}

async fn artifacts(State(app): State<Arc<App>>, inside: InProject, params: Params) -> Answer<Json<Page<ArtifactView>>> {
    let job = find_job(&app, &inside, &params).await?;
    let rows = app.store.list_artifacts(inside.project.id, ArtifactOwner::Job(job.id)).await?;
    Ok(Json(whole(rows.into_iter().map(artifact_view).collect())))
}

/// An artifact on the wire.
pub(super) fn artifact_view(it: kaogong_store::ArtifactRow) -> ArtifactView {
    ArtifactView { path: it.path, hash: it.hash, size: it.size }
}

async fn artifact(State(app): State<Arc<App>>, inside: InProject, params: Params) -> Answer<Response> {
    let job = find_job(&app, &inside, &params).await?;
    send_artifact(&app, &inside, ArtifactOwner::Job(job.id), params.text("path")).await
}

/// Streams one artifact.
pub(super) async fn send_artifact(app: &App, inside: &InProject, owner: ArtifactOwner, path: &str) -> Answer<Response> {
    let found = app.store.find_artifact(inside.project.id, owner, path).await?;
    let found = found.ok_or_else(|| Problem::not_found(format!("there is no artifact `{path}`")))?;
    let hash: BlobHash = found.hash.parse().map_err(|it| Problem::bug("an artifact has a broken hash", it))?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, found.size.to_string()),
        (header::CONTENT_DISPOSITION, "attachment".to_owned()),
    ];
    Ok((headers, Body::from_stream(blob(app, &hash)?)).into_response())
}

/// A job on the wire.
pub(super) async fn job_view(app: &App, row: JobRow) -> Result<JobView, Problem> {
    let spec = spec_of(&row)?;
    let attempts = app.store.attempts(row.id).await?;
    let inputs = app.store.job_inputs(row.id).await?;
    Ok(JobView {
        id: row.id.to_string(),
        name: row.name,
        state: row.life.state.as_str().to_owned(),
        reason: row.life.reason,
        exit_code: row.life.exit_code,
        cancel_asked: row.life.cancel_asked,
        retries_left: row.life.retries_left,
        created_at: row.created_at.as_ms(),
        started_at: row.started_at.map(|it| it.as_ms()),
        ended_at: row.ended_at.map(|it| it.as_ms()),
        created_by: app.user_name(row.created_by).await?,
        spec,
        inputs: inputs
            .into_iter()
            .map(|it| JobInputView {
                alias: it.alias,
                dataset: it.dataset.to_string(),
                number: it.number,
                version_id: it.version_id.to_string(),
            })
            .collect(),
        attempts: attempts
            .into_iter()
            .map(|it| AttemptView {
                id: it.id.to_string(),
                number: it.number,
                state: it.state.as_str().to_owned(),
                exit_code: it.exit_code,
                reason: it.reason,
                started_at: it.started_at.map(|it| it.as_ms()),
                ended_at: it.ended_at.map(|it| it.as_ms()),
            })
            .collect(),
        runs: app.store.runs_of_job(row.id).await?.into_iter().map(|it| it.to_string()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_cut_in_two_waits_for_its_rest() {
        let text = "考工".as_bytes();
        assert_eq!(complete_until(&text[..4]), 3);
        assert_eq!(complete_until(&text[..5]), 3);
        assert_eq!(complete_until(text), 6);
        assert_eq!(complete_until(b"plain"), 5);
        assert_eq!(complete_until(b"\xff\xff"), 2);
    }

    #[test]
    fn a_job_that_cannot_run_is_refused_at_the_door() {
        let spec: JobSpec = serde_json::from_str(r#"{"name":"x","command":["true"]}"#).expect("a spec");
        assert!(check_spec(&spec, 2.0).is_ok());
        let refused = |change: fn(&mut JobSpec)| {
            let mut it = spec.clone();
            change(&mut it);
            check_spec(&it, 2.0).is_err()
        };
        assert!(refused(|it| it.command.clear()));
        assert!(refused(|it| it.resources.cpus = f64::NAN));
        assert!(refused(|it| it.resources.time_limit_s = 0));
        assert!(refused(|it| {
            it.env.insert("KAOGONG_TOKEN".into(), "x".into());
        }));
    }
}
