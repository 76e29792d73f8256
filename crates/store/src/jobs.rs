//! Jobs and their attempts. The rule of a job's states is `domain::jobs::apply`; this file stores what it says.

use crate::{
    Actor, Store, counters,
    events::Change,
    sql::{self, Columns, Result, Val, vals},
};
use kaogong_domain::{
    ErrorKind, Problem, Timestamp,
    events::EventAction,
    ids::{JobId, ProjectId, UserId, VersionId},
    jobs::{JobEvent, JobState, JobStatus, apply},
};
use serde_json::json;
use sqlx::{AnyConnection, any::AnyRow};

type Told<T> = std::result::Result<T, Problem>;

/// Jobs of all projects together that have not ended. All of them are looked at again and again, so that none is
/// overlooked behind others.
pub const JOBS_UNFINISHED_MAX: u64 = 10_000;
/// Jobs of one project that have not ended: a quarter of all, so that no project keeps the others from submitting.
pub const JOBS_UNFINISHED_OF_PROJECT_MAX: u64 = 2_500;

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRow {
    /// Its id.
    pub id: JobId,
    /// Its project.
    pub project_id: ProjectId,
    /// Its name.
    pub name: String,
    /// What was asked for, as JSON of the API.
    pub spec: String,
    /// Where it is in its life.
    pub status: JobStatus,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: Option<UserId>,
    /// When its first attempt ran.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// What is looked at again and again of a job that has not ended: all but what was asked for, which may be large
/// and never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedJob {
    /// Its id.
    pub id: JobId,
    /// Its project.
    pub project_id: ProjectId,
    /// Where it is in its life.
    pub status: JobStatus,
    /// When it was submitted.
    pub created_at: Timestamp,
}

/// A job to submit.
#[derive(Debug, Clone)]
pub struct NewJobRow {
    /// Its project.
    pub project_id: ProjectId,
    /// Its name.
    pub name: String,
    /// What is asked for, as JSON of the API.
    pub spec: String,
    /// Attempts after the first.
    pub retries: u32,
    /// Pinned inputs.
    pub inputs: Vec<NewJobInput>,
    /// A repeated submission with the same key gives the job already made.
    pub request_key: Option<String>,
}

/// A pinned input.
#[derive(Debug, Clone)]
pub struct NewJobInput {
    /// The name the job uses.
    pub alias: String,
    /// The version.
    pub version_id: VersionId,
}

fn status(row: &AnyRow) -> Result<JobStatus> {
    Ok(JobStatus {
        state: row.word("state", JobState::parse, "a state of a job")?,
        retries_left: row.small("retries_left")?,
        attempt: row.opt_parse("attempt_id", "an attempt id")?,
        cancel_requested: row.truth("cancel_asked")?,
        reason: row.opt_text("reason")?,
        exit_code: row.opt_int("exit_code")?.and_then(|it| i32::try_from(it).ok()),
    })
}

fn job(row: &AnyRow) -> Result<JobRow> {
    Ok(JobRow {
        id: row.parse("id", "a job id")?,
        project_id: row.parse("project_id", "a project id")?,
        name: row.text("name")?,
        spec: row.text("spec")?,
        status: status(row)?,
        created_at: row.time("created_at")?,
        created_by: row.opt_parse("created_by", "a user id")?,
        started_at: row.opt_time("started_at")?,
        ended_at: row.opt_time("ended_at")?,
    })
}

impl Store {
    /// Accepts a job.
    ///
    /// # Errors
    /// `TooMany` while [`JOBS_UNFINISHED_OF_PROJECT_MAX`] jobs of the project or [`JOBS_UNFINISHED_MAX`] of all have not
    /// ended.
    pub async fn submit_job(&self, new: NewJobRow, actor: &Actor, now: Timestamp) -> Told<JobRow> {
        let mut tx = self.change().await?;
        if let Some(key) = &new.request_key {
            let sql = "SELECT * FROM jobs WHERE project_id = $1 AND request_key = $2";
            if let Some(row) = sql::row(&mut tx, sql, vals![new.project_id, key]).await? {
                return Ok(job(&row)?);
            }
        }
        check_room(&mut tx, new.project_id).await?;
        let made = JobRow {
            id: JobId::generate(now),
            project_id: new.project_id,
            name: new.name,
            spec: new.spec,
            status: JobStatus::new(new.retries),
            created_at: now,
            created_by: actor.user,
            started_at: None,
            ended_at: None,
        };
        let sql = "INSERT INTO jobs (id, project_id, name, spec, request_key, state, retries_left, cancel_asked, created_at, created_by) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9)";
        let state = made.status.state.as_str();
        let values = vals![
            made.id,
            made.project_id,
            &made.name,
            &made.spec,
            new.request_key,
            state,
            new.retries,
            now,
            actor.user
        ];
        sql::exec(&mut tx, sql, values).await?;
        for input in new.inputs {
            let sql = "SELECT COUNT(*) FROM dataset_versions v JOIN datasets d ON d.id = v.dataset_id \
                WHERE v.id = $1 AND d.project_id = $2";
            if sql::number(&mut tx, sql, vals![input.version_id, new.project_id]).await? == 0 {
                return Err(Problem::not_found(format!("the project has no dataset version {}", input.version_id)));
            }
            let sql = "INSERT INTO job_inputs (job_id, alias, version_id) VALUES ($1, $2, $3)";
            sql::exec(&mut tx, sql, vals![made.id, input.alias, input.version_id]).await?;
        }
        tx.count(made.project_id, "jobs", 1);
        tx.count(made.project_id, format!("jobs.{state}"), 1);
        tx.event(actor, now, Change::new(made.project_id, EventAction::JobSubmitted, made.id).name(&made.name)).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// Tells a job what happened; what it has become.
    pub async fn apply_job_event(
        &self,
        project: ProjectId,
        id: JobId,
        event: JobEvent,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<JobStatus> {
        let mut tx = self.change().await?;
        let row = sql::row(&mut tx, "SELECT * FROM jobs WHERE project_id = $1 AND id = $2", vals![project, id]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("there is no job {id}")))?;
        let before = job(&row)?;
        let after = apply(before.status.clone(), event.clone());
        if after == before.status {
            return Ok(after);
        }
        store_attempt(&mut tx, &before, &after, &event, now).await?;
        let started_at = before.started_at.or((after.state == JobState::Running).then_some(now));
        let ended_at = after.state.is_final().then_some(now);
        let sql = "UPDATE jobs SET state = $2, retries_left = $3, attempt_id = $4, cancel_asked = $5, reason = $6, exit_code = $7, \
            started_at = $8, ended_at = $9 WHERE id = $1";
        let values = vals![
            id,
            after.state.as_str(),
            after.retries_left,
            after.attempt,
            after.cancel_requested,
            after.reason.clone(),
            after.exit_code,
            started_at,
            ended_at
        ];
        sql::exec(&mut tx, sql, values).await?;
        tx.count(project, format!("jobs.{}", before.status.state.as_str()), -1);
        tx.count(project, format!("jobs.{}", after.state.as_str()), 1);
        let action = match (&event, after.state) {
            (JobEvent::CancelRequested, state) if !state.is_final() => EventAction::JobCancelRequested,
            (_, state) => state.into(),
        };
        let detail = json!({"from": before.status.state.as_str(), "to": after.state.as_str(), "reason": after.reason, "exit_code": after.exit_code});
        tx.event(actor, now, Change::new(project, action, id).name(&before.name).detail(detail)).await?;
        tx.commit().await?;
        Ok(after)
    }

    /// Notes why a queued job waits. No event: nothing happened to it.
    pub async fn set_job_hold(&self, project: ProjectId, id: JobId, reason: &str) -> Told<()> {
        let mut tx = self.measure().await?;
        let sql = "UPDATE jobs SET reason = $3 WHERE project_id = $1 AND id = $2 AND state = 'queued'";
        sql::exec(&mut tx, sql, vals![project, id, reason]).await?;
        Ok(tx.commit().await.map_err(crate::StoreError::from)?)
    }

    /// A job by id.
    pub async fn find_job(&self, project: ProjectId, id: JobId) -> Told<Option<JobRow>> {
        let sql = "SELECT * FROM jobs WHERE project_id = $1 AND id = $2";
        let row = sql::row(&mut *self.read().await?, sql, vals![project, id]).await?;
        Ok(row.as_ref().map(job).transpose()?)
    }

    /// Jobs of a project, newest first, and how many there are.
    pub async fn list_jobs(
        &self,
        project: ProjectId,
        state: Option<JobState>,
        text: Option<&str>,
        offset: u64,
        limit: u32,
    ) -> Told<(Vec<JobRow>, u64)> {
        let mut conn = self.read().await?;
        let (mut condition, mut values) = ("project_id = $1".to_owned(), vals![project]);
        if let Some(state) = state {
            values.push(Val::from(state.as_str()));
            condition += &format!(" AND state = ${}", values.len());
        }
        if let Some(text) = text {
            values.push(Val::from(sql::containing(&text.to_ascii_lowercase())));
            let name = sql::small_letters(self.dialect, "name");
            condition += &format!(" AND {name} LIKE ${} ESCAPE '\\'", values.len());
        }
        let total = if text.is_some() {
            let count = format!("SELECT COUNT(*) AS total FROM jobs WHERE {condition}");
            sql::rows_of(&mut conn, count, values.clone()).await?.first().map_or(Ok(0), |it| it.size("total"))?
        } else {
            let what = state.map_or_else(|| "jobs".to_owned(), |it| format!("jobs.{}", it.as_str()));
            counters::read(&mut conn, &project.to_string(), &what).await?
        };
        values.extend(vals![limit, offset]);
        let places = (values.len() - 1, values.len());
        let sql = format!(
            "SELECT * FROM jobs WHERE {condition} ORDER BY created_at DESC, id DESC LIMIT ${} OFFSET ${}",
            places.0, places.1
        );
        let rows = sql::rows_of(&mut conn, sql, values).await?;
        Ok((rows.iter().map(job).collect::<Result<_>>()?, total))
    }

    /// Jobs in some states, those of the first state first; of each state the `limit` newest.
    pub async fn jobs_by_state(&self, project: ProjectId, states: &[JobState], limit: u32) -> Told<Vec<JobRow>> {
        let mut values = vals![project, limit];
        let mut parts = vec![];
        for (rank, state) in states.iter().enumerate() {
            values.push(Val::from(state.as_str()));
            parts.push(format!(
                "SELECT * FROM (SELECT j.*, {rank} AS rank FROM jobs j WHERE project_id = $1 AND state = ${} \
                 ORDER BY created_at DESC, id DESC LIMIT $2) AS part",
                values.len()
            ));
        }
        let parts = parts.join(" UNION ALL ");
        let sql = format!("SELECT * FROM ({parts}) AS found ORDER BY rank, created_at DESC, id DESC");
        let rows = sql::rows_of(&mut *self.read().await?, sql, values).await?;
        Ok(rows.iter().map(job).collect::<Result<_>>()?)
    }

    /// Every job of every project that has not ended, oldest first. Submitting bounds how many there are.
    pub async fn unfinished_jobs(&self) -> Told<Vec<UnfinishedJob>> {
        let sql = "SELECT id, project_id, state, retries_left, attempt_id, cancel_asked, reason, exit_code, created_at FROM jobs \
            WHERE state IN ('queued', 'admitted', 'starting', 'running') ORDER BY created_at, id";
        let rows = sql::rows(&mut *self.read().await?, sql, vec![]).await?;
        let unfinished = |row: &AnyRow| -> Result<UnfinishedJob> {
            Ok(UnfinishedJob {
                id: row.parse("id", "a job id")?,
                project_id: row.parse("project_id", "a project id")?,
                status: status(row)?,
                created_at: row.time("created_at")?,
            })
        };
        Ok(rows.iter().map(unfinished).collect::<Result<_>>()?)
    }
}

/// Refuses one more job while as many wait or run as may.
async fn check_room(conn: &mut AnyConnection, project: ProjectId) -> Told<()> {
    let sql = "SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE state IN ('queued', 'admitted', 'starting', 'running') \
        LIMIT $1) AS unfinished";
    let all = sql::number(conn, sql, vals![JOBS_UNFINISHED_MAX]).await?;
    let sql = "SELECT CAST(COALESCE(SUM(count), 0) AS BIGINT) FROM counters WHERE owner = $1 \
        AND what IN ('jobs.queued', 'jobs.admitted', 'jobs.starting', 'jobs.running')";
    let own = sql::number(conn, sql, vals![project]).await?;
    let is_full = |count: i64, most: u64| u64::try_from(count).unwrap_or(0) >= most;
    let (text, hint) = if is_full(own, JOBS_UNFINISHED_OF_PROJECT_MAX) {
        let text = format!("{JOBS_UNFINISHED_OF_PROJECT_MAX} jobs of this project wait or run already");
        (text, "wait until some have ended, or cancel some")
    } else if is_full(all, JOBS_UNFINISHED_MAX) {
        let text = format!("{JOBS_UNFINISHED_MAX} jobs wait or run already, in all projects together");
        (text, "wait until some have ended; those of other projects count, too")
    } else {
        return Ok(());
    };
    Err(Problem::new(ErrorKind::TooMany, text).hint(hint))
}

/// Keeps the attempt's own row in step with the job's.
async fn store_attempt(
    conn: &mut AnyConnection,
    before: &JobRow,
    after: &JobStatus,
    event: &JobEvent,
    now: Timestamp,
) -> Result<()> {
    match event {
        JobEvent::Admitted(id) => {
            let sql = "INSERT INTO attempts (id, job_id, number, state, created_at) \
                VALUES ($1, $2, (SELECT COALESCE(MAX(number), 0) + 1 FROM attempts WHERE job_id = $2), 'admitted', $3)";
            sql::exec(conn, sql, vals![*id, before.id, now]).await?;
        }
        JobEvent::Started(id) => {
            sql::exec(conn, "UPDATE attempts SET state = 'starting' WHERE id = $1", vals![*id]).await?;
        }
        JobEvent::Running(id) => {
            sql::exec(conn, "UPDATE attempts SET state = 'running', started_at = $2 WHERE id = $1", vals![*id, now])
                .await?;
        }
        JobEvent::Ended(id, ended) => {
            // Back in the queue, the job itself says nothing of how this attempt ended.
            let state = if after.state == JobState::Queued { JobState::Failed } else { after.state };
            let sql = "UPDATE attempts SET state = $2, exit_code = $3, reason = $4, ended_at = $5 WHERE id = $1";
            let reason = (!ended.message.is_empty()).then(|| ended.message.clone());
            sql::exec(conn, sql, vals![*id, state.as_str(), ended.exit_code, reason, now]).await?;
        }
        JobEvent::Lost(id, why) => {
            let sql = "UPDATE attempts SET state = 'lost', reason = $2, ended_at = $3 WHERE id = $1";
            sql::exec(conn, sql, vals![*id, why, now]).await?;
        }
        JobEvent::CancelRequested => {}
    }
    Ok(())
}
