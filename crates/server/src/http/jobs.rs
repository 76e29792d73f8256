//! Jobs: submit, look, follow the log, stop.

mod checks;
mod log;
mod view;

use super::{access::whole, exports::blob};
use crate::Route;
use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::header;
use kaogong_api::{
    Page,
    jobs::{ArtifactView, AttemptView, JobInputView, JobQuery, JobView, LogQuery, NewJob, UsageView},
    paging::PAGE_LIMIT_MAX,
};
use kaogong_control::{
    Services,
    job_specs::spec_of,
    secrets::{missing, names_of},
};
use kaogong_data::BlobHash;
use kaogong_domain::{
    ErrorKind, Problem,
    access::Permission,
    ids::{AttemptId, JobId},
    jobs::{JobEvent, JobState},
    names::VersionRef,
};
use kaogong_http::{
    access::{InProject, Rule},
    error::Answer,
    extract::{Json, Params, Query, created},
};
use kaogong_store::{ArtifactOwner, AttemptRow, JobInputRow, JobRow, JobRuns, NewJobInput, NewJobRow};
use log::{log, log_stream};
use std::sync::Arc;

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
            .doc("job_log", "The log from a byte on. With `length`, `x-next-offset` is where to go on.")
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
    State(app): State<Arc<Services>>,
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
    Ok(Json(Page { items: job_views(&app, &inside, rows).await?, total }))
}

async fn submit(State(app): State<Arc<Services>>, inside: InProject, Json(ask): Json<NewJob>) -> Answer<Response> {
    checks::check_spec(&ask.spec, app.machine())?;
    super::imports::check_request_key(ask.request_key.as_deref())?;
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
    let secrets = match names_of(&ask.spec).next() {
        Some(_) => app.store.list_secrets(inside.project.id).await?,
        None => vec![],
    };
    for (_, name) in names_of(&ask.spec) {
        if !secrets.iter().any(|it| it.name == name) {
            return Err(missing(name).into());
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
    Ok(created(job_view(&app, &inside, job).await?))
}

async fn pin(app: &Services, inside: &InProject, alias: &str, reference: &str) -> Result<NewJobInput, Problem> {
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

async fn find_job(app: &Services, inside: &InProject, params: &Params) -> Result<JobRow, Problem> {
    let id = params.get::<JobId>("job")?;
    app.store
        .find_job(inside.project.id, id)
        .await?
        .ok_or_else(|| Problem::not_found(format!("project `{}` has no job {id}", inside.project.name)))
}

async fn view(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<Json<JobView>> {
    let job = find_job(&app, &inside, &params).await?;
    Ok(Json(job_view(&app, &inside, job).await?))
}

async fn cancel(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<Json<JobView>> {
    let job = find_job(&app, &inside, &params).await?;
    let asked = JobEvent::CancelRequested;
    let status = app.store.apply_job_event(inside.project.id, job.id, asked, &inside.actor(), app.now()).await?;
    if let Some(attempt) = status.attempt.filter(|_| !status.state.is_final()) {
        stop(&app, attempt).await;
    }
    app.ring_jobs_bell();
    let job = find_job(&app, &inside, &params).await?;
    Ok(Json(job_view(&app, &inside, job).await?))
}

/// Tells the runner at once, whatever the loop is busy with. The loop tells it again until it is seen.
async fn stop(app: &Services, attempt: AttemptId) {
    match app.runner.cancel(attempt).await {
        // Not handed over yet.
        Err(problem) if problem.kind == ErrorKind::NotFound => {}
        Err(problem) => {
            let causes = problem.causes();
            tracing::warn!(%attempt, causes, "attempt {attempt} could not be asked to stop yet: {problem}");
        }
        Ok(()) => {}
    }
}

/// The attempt that a query names, or the newest; `None` while there is none.
async fn attempt_of(app: &Services, job: &JobRow, number: Option<u32>) -> Result<Option<AttemptRow>, Problem> {
    match (app.store.find_attempt(job.id, number).await?, number) {
        (None, Some(number)) => Err(Problem::not_found(format!("job {} has no attempt {number}", job.id))),
        (found, _) => Ok(found),
    }
}

async fn usage(
    State(app): State<Arc<Services>>,
    inside: InProject,
    params: Params,
    Query(query): Query<LogQuery>,
) -> Answer<Json<UsageView>> {
    let job = find_job(&app, &inside, &params).await?;
    let samples = match attempt_of(&app, &job, query.attempt).await? {
        None => vec![],
        Some(attempt) => match app.runner.usage(attempt.id).await {
            // It never began.
            Err(problem) if problem.kind == ErrorKind::NotFound => vec![],
            samples => samples?,
        },
    };
    Ok(Json(UsageView {
        at: samples.iter().map(|it| it.at.as_ms()).collect(),
        cpu_ms: samples.iter().map(|it| it.cpu_ms).collect(),
        rss_bytes: samples.iter().map(|it| it.rss_bytes).collect(),
    }))
}

async fn artifacts(
    State(app): State<Arc<Services>>,
    inside: InProject,
    params: Params,
) -> Answer<Json<Page<ArtifactView>>> {
    let job = find_job(&app, &inside, &params).await?;
    let rows = app.store.list_artifacts(inside.project.id, ArtifactOwner::Job(job.id)).await?;
    Ok(Json(whole(rows.into_iter().map(artifact_view).collect())))
}

/// An artifact on the wire.
pub(super) fn artifact_view(it: kaogong_store::ArtifactRow) -> ArtifactView {
    ArtifactView { path: it.path, hash: it.hash, size: it.size }
}

async fn artifact(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<Response> {
    let job = find_job(&app, &inside, &params).await?;
    send_artifact(&app, &inside, ArtifactOwner::Job(job.id), params.text("path")).await
}

/// Streams one artifact.
pub(super) async fn send_artifact(
    app: &Services,
    inside: &InProject,
    owner: ArtifactOwner,
    path: &str,
) -> Answer<Response> {
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
pub(super) async fn job_view(app: &Services, inside: &InProject, row: JobRow) -> Result<JobView, Problem> {
    let gone = || Problem::not_found("the job is gone");
    job_views(app, inside, vec![row]).await?.pop().ok_or_else(gone)
}

/// Jobs on the wire, with a few looks into the store for all of them.
pub(super) async fn job_views(app: &Services, inside: &InProject, rows: Vec<JobRow>) -> Result<Vec<JobView>, Problem> {
    let ids: Vec<JobId> = rows.iter().map(|it| it.id).collect();
    let mut attempts = app.store.attempts_of(&ids).await?;
    let mut inputs = app.store.inputs_of_jobs(&ids).await?;
    let mut runs = app.store.runs_of_jobs(&ids).await?;
    let names = app.user_names(rows.iter().filter_map(|it| it.created_by)).await?;
    let view = |row: JobRow| {
        let (attempts, inputs) = (attempts.remove(&row.id), inputs.remove(&row.id));
        let around = Around {
            attempts: attempts.unwrap_or_default(),
            inputs: inputs.unwrap_or_default(),
            runs: runs.remove(&row.id).unwrap_or_default(),
            created_by: row.created_by.and_then(|it| names.get(&it).cloned()),
        };
        view_of(inside, row, around)
    };
    rows.into_iter().map(view).collect()
}

/// What belongs to a job and is kept elsewhere.
struct Around {
    attempts: Vec<AttemptRow>,
    inputs: Vec<JobInputRow>,
    runs: JobRuns,
    created_by: Option<String>,
}

fn view_of(inside: &InProject, row: JobRow, around: Around) -> Result<JobView, Problem> {
    let spec = view::shown(spec_of(&row)?, inside);
    // What the loop cannot get done now says more than why the job is where it is.
    let trouble = if row.status.state.is_final() { None } else { kaogong_control::loops::jobs::trouble_of(row.id) };
    Ok(JobView {
        id: row.id.to_string(),
        name: row.name,
        state: row.status.state.as_str().to_owned(),
        reason: trouble.or(row.status.reason),
        exit_code: row.status.exit_code,
        cancel_asked: row.status.cancel_requested,
        retries_left: row.status.retries_left,
        created_at: row.created_at.as_ms(),
        started_at: row.started_at.map(|it| it.as_ms()),
        ended_at: row.ended_at.map(|it| it.as_ms()),
        created_by: around.created_by,
        spec,
        inputs: around
            .inputs
            .into_iter()
            .map(|it| JobInputView {
                alias: it.alias,
                dataset: it.dataset.to_string(),
                number: it.number,
                version_id: it.version_id.to_string(),
            })
            .collect(),
        attempts: around
            .attempts
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
        more_runs: around.runs.has_more,
        runs: around.runs.ids.into_iter().map(|it| it.to_string()).collect(),
    })
}
