//! Handing one attempt to the runner: its files, its inputs by name, its own short-lived token.

use crate::{
    access::credentials::{TOKEN_PREFIX, hash_secret, make_secret},
    app::App,
};
use kaogong_api::jobs::JobSpec;
use kaogong_data::BlobHash;
use kaogong_domain::{
    ErrorKind, Problem, Secret,
    access::{Scope, Scopes},
    ids::AttemptId,
};
use kaogong_runners::{EnvironmentSpec, Launch, Limits};
use kaogong_store::{Actor, JobRow, NewTokenRow};
use serde_json::json;
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// The most bytes that a job's code may unpack to.
const CODE_BYTES_MAX: u64 = 2 << 30;
/// The most files that a job's code may hold.
const CODE_FILES_MAX: usize = 100_000;
/// A job's token outlives its time limit by this much, for waiting and for building its environment.
const TOKEN_SPARE_MS: i64 = 24 * 3600 * 1000;

/// Stages and starts an attempt. May be repeated: what is there already is used.
pub(super) async fn launch(app: &Arc<App>, job: &JobRow, attempt: AttemptId) -> Result<(), Problem> {
    let spec: JobSpec = crate::http::jobs::spec_of(job)?;
    let work_dir = app.runner.prepare(attempt).await?;
    if let Some(code) = &spec.code {
        let hash: BlobHash =
            code.parse().map_err(|_| Problem::invalid(format!("`{code}` is not the hash of an upload")))?;
        let (blobs, folder) = (app.blobs.clone(), work_dir.clone());
        tokio::task::spawn_blocking(move || unpack(&blobs.open_file(&hash)?.0, &folder))
            .await
            .map_err(|it| Problem::bug("unpacking a job's code did not end", it))??;
    }
    let token = make_token(app, job, attempt, &spec).await?;
    let launch = Launch {
        attempt,
        work_dir,
        command: spec.command.clone(),
        env: variables(app, job, &spec, &token).await?,
        devices: BTreeMap::new(),
        environment: spec.environment.as_ref().map(|it| EnvironmentSpec {
            lock: it.lock.clone(),
            python: it.python.clone().unwrap_or_else(|| "3".to_owned()),
        }),
        limits: Limits {
            time_ms: Some(spec.resources.time_limit_s.saturating_mul(1000)),
            memory_bytes: Some(spec.resources.memory_mib.saturating_mul(1 << 20)),
            log_bytes_max: spec.resources.log_bytes_max,
            grace_ms: spec.resources.grace_s.saturating_mul(1000),
            cpus: Some(spec.resources.cpus),
            ..Limits::default()
        },
    };
    app.runner.start(&launch).await
}

/// The job speaks for its submitter, in this project only, no longer than it may run, and may not administer.
async fn make_token(app: &App, job: &JobRow, attempt: AttemptId, spec: &JobSpec) -> Result<Secret, Problem> {
    let secret = make_secret(TOKEN_PREFIX)?;
    let now = app.now();
    let lifetime_ms = i64::try_from(spec.resources.time_limit_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    let user_id = job.created_by.ok_or_else(|| Problem::new(ErrorKind::Conflict, "the job's submitter is gone"))?;
    let row = NewTokenRow {
        user_id,
        project_id: Some(job.project_id),
        name: format!("job {}", job.id),
        scopes: Scopes([Scope::Write].into()),
        hash: hash_secret(&secret),
        job_id: Some(job.id),
        attempt_id: Some(attempt),
        expires_at: Some(now.plus_ms(lifetime_ms).plus_ms(TOKEN_SPARE_MS)),
    };
    app.store.create_token(row, &Actor::system(), now).await?;
    Ok(secret)
}

async fn variables(
    app: &App,
    job: &JobRow,
    spec: &JobSpec,
    token: &Secret,
) -> Result<BTreeMap<String, String>, Problem> {
    let project = app.store.project(job.project_id).await?;
    let mut inputs = serde_json::Map::new();
    for input in app.store.job_inputs(job.id).await? {
        inputs.insert(input.alias, json!({"dataset": input.dataset, "number": input.number}));
    }
    let base = app.own_address();
    let mut env = spec.env.clone();
    let ours = [
        ("KAOGONG_URL", base.clone()),
        ("KAOGONG_TOKEN", token.expose().to_owned()),
        ("KAOGONG_PROJECT", project.name.to_string()),
        ("KAOGONG_JOB_ID", job.id.to_string()),
        ("KAOGONG_INPUTS", serde_json::Value::Object(inputs).to_string()),
        ("MLFLOW_TRACKING_URI", format!("{base}/p/{}", project.name)),
        ("MLFLOW_TRACKING_TOKEN", token.expose().to_owned()),
    ];
    env.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    Ok(env)
}

/// Unpacks a tar into a folder. The archive is hostile: only plain files and folders, no name that leaves the
/// folder, bounded in count and size.
fn unpack(archive: &std::fs::File, folder: &Path) -> Result<(), Problem> {
    let broken = |it: std::io::Error| Problem::invalid(format!("the job's code is not a readable tar: {it}"));
    let mut archive = tar::Archive::new(archive);
    let (mut files, mut bytes) = (0usize, 0u64);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        files += 1;
        bytes = bytes.saturating_add(entry.size());
        if files > CODE_FILES_MAX || bytes > CODE_BYTES_MAX {
            return Err(Problem::invalid("the job's code is larger than 2 GiB or has more than 100,000 files"));
        }
        let kind = entry.header().entry_type();
        if !kind.is_file() && !kind.is_dir() {
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            return Err(Problem::invalid(format!("`{name}` in the job's code is neither a file nor a folder")));
        }
        // `unpack_in` itself refuses what would land outside; it says so by `false`.
        if !entry.unpack_in(folder).map_err(broken)? {
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            return Err(Problem::invalid(format!("`{name}` in the job's code would land outside its folder")));
        }
    }
    Ok(())
}
