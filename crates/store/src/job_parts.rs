//! What belongs to jobs and is read beside them: attempts, pinned inputs, runs.

use crate::{
    Store,
    sql::{self, Columns, Result, vals},
};
use kaogong_domain::{
    Problem, Timestamp,
    ids::{AttemptId, JobId, RunId, VersionId},
    jobs::{JobState, RetainedAttempt},
    names::Name,
};
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

type Told<T> = std::result::Result<T, Problem>;

/// Runs of one job that are read together.
const RUNS_MAX: usize = 1_000;

/// A pinned input with its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobInputRow {
    /// The name the job uses.
    pub alias: String,
    /// The version.
    pub version_id: VersionId,
    /// The dataset's name.
    pub dataset: Name,
    /// The version's number.
    pub number: u32,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// Its id.
    pub id: AttemptId,
    /// 1, 2, 3 …
    pub number: u32,
    /// Where it is.
    pub state: JobState,
    /// Exit status.
    pub exit_code: Option<i32>,
    /// How it ended.
    pub reason: Option<String>,
    /// When its command ran.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Runs that a job logged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobRuns {
    /// The oldest of them, 1,000 at most, oldest first.
    pub ids: Vec<RunId>,
    /// Whether it logged more.
    pub has_more: bool,
}

fn attempt(row: &AnyRow) -> Result<AttemptRow> {
    Ok(AttemptRow {
        id: row.parse("id", "an attempt id")?,
        number: row.small("number")?,
        state: row.word("state", JobState::parse, "a state of a job")?,
        exit_code: row.opt_int("exit_code")?.and_then(|it| i32::try_from(it).ok()),
        reason: row.opt_text("reason")?,
        started_at: row.opt_time("started_at")?,
        ended_at: row.opt_time("ended_at")?,
    })
}

fn job_input(row: &AnyRow) -> Result<JobInputRow> {
    Ok(JobInputRow {
        alias: row.text("alias")?,
        version_id: row.parse("version_id", "a version id")?,
        dataset: row.parse("dataset", "a name")?,
        number: row.small("number")?,
    })
}

impl Store {
    /// The attempts of some jobs, of each the oldest first. A job without any is left out.
    pub async fn attempts_of(&self, ids: &[JobId]) -> Told<BTreeMap<JobId, Vec<AttemptRow>>> {
        let mut conn = self.read().await?;
        let rows = sql::rows_in(&mut conn, vec![], sql::ids(ids), |list| {
            format!("SELECT * FROM attempts WHERE job_id IN ({list}) ORDER BY job_id, number")
        });
        let mut all: BTreeMap<JobId, Vec<AttemptRow>> = BTreeMap::new();
        for row in rows.await? {
            all.entry(row.parse("job_id", "a job id")?).or_default().push(attempt(&row)?);
        }
        Ok(all)
    }

    /// One attempt of a job by its number, or the newest.
    pub async fn find_attempt(&self, id: JobId, number: Option<u32>) -> Told<Option<AttemptRow>> {
        let row = match number {
            Some(number) => {
                let sql = "SELECT * FROM attempts WHERE job_id = $1 AND number = $2";
                sql::row(&mut *self.read().await?, sql, vals![id, number]).await?
            }
            None => {
                let sql = "SELECT * FROM attempts WHERE job_id = $1 ORDER BY number DESC LIMIT 1";
                sql::row(&mut *self.read().await?, sql, vals![id]).await?
            }
        };
        Ok(row.as_ref().map(attempt).transpose()?)
    }

    /// The attempts of a job, oldest first.
    pub async fn attempts(&self, id: JobId) -> Told<Vec<AttemptRow>> {
        Ok(self.attempts_of(&[id]).await?.remove(&id).unwrap_or_default())
    }

    /// How it stands with attempts whose files are still there. One that no job knows is not among the answers.
    pub async fn leftovers(&self, ids: &[AttemptId]) -> Told<Vec<RetainedAttempt>> {
        let sql = |ids: &str| {
            format!(
                "SELECT a.id AS id, a.state AS state, a.number AS number, a.ended_at AS ended_at, \
                (SELECT MAX(b.number) FROM attempts b WHERE b.job_id = a.job_id) AS newest \
                FROM attempts a WHERE a.id IN ({ids})"
            )
        };
        let mut conn = self.read().await?;
        let rows = sql::rows_in(&mut conn, vec![], sql::ids(ids), sql).await?;
        let leftover = |row: &AnyRow| -> Result<RetainedAttempt> {
            Ok(RetainedAttempt {
                attempt: row.parse("id", "an attempt id")?,
                state: row.word("state", JobState::parse, "a state of a job")?,
                is_newest: row.int("number")? == row.int("newest")?,
                ended_at: row.opt_time("ended_at")?,
            })
        };
        Ok(rows.iter().map(leftover).collect::<Result<_>>()?)
    }

    /// The pinned inputs of a job, by alias.
    pub async fn job_inputs(&self, id: JobId) -> Told<Vec<JobInputRow>> {
        Ok(self.inputs_of_jobs(&[id]).await?.remove(&id).unwrap_or_default())
    }

    /// The pinned inputs of some jobs, of each by alias. A job without any is left out.
    pub async fn inputs_of_jobs(&self, ids: &[JobId]) -> Told<BTreeMap<JobId, Vec<JobInputRow>>> {
        let mut conn = self.read().await?;
        let rows = sql::rows_in(&mut conn, vec![], sql::ids(ids), |list| {
            format!(
                "SELECT i.job_id AS job_id, i.alias AS alias, i.version_id AS version_id, d.name AS dataset, \
                 v.number AS number FROM job_inputs i JOIN dataset_versions v ON v.id = i.version_id \
                 JOIN datasets d ON d.id = v.dataset_id WHERE i.job_id IN ({list}) ORDER BY i.job_id, i.alias"
            )
        });
        let mut all: BTreeMap<JobId, Vec<JobInputRow>> = BTreeMap::new();
        for row in rows.await? {
            all.entry(row.parse("job_id", "a job id")?).or_default().push(job_input(&row)?);
        }
        Ok(all)
    }

    /// The runs that a job logged.
    pub async fn runs_of_job(&self, id: JobId) -> Told<JobRuns> {
        Ok(self.runs_of_jobs(&[id]).await?.remove(&id).unwrap_or_default())
    }

    /// The runs that some jobs logged. A job without any is left out.
    pub async fn runs_of_jobs(&self, ids: &[JobId]) -> Told<BTreeMap<JobId, JobRuns>> {
        let mut conn = self.read().await?;
        // One more tells that there are more.
        let rows = sql::rows_in(&mut conn, vals![RUNS_MAX as u64 + 1], sql::ids(ids), |list| {
            let one = |place: &str| {
                format!(
                    "SELECT * FROM (SELECT id, job_id, created_at FROM runs WHERE job_id = {place} \
                     ORDER BY created_at LIMIT $1) AS part"
                )
            };
            list.split(", ").map(one).collect::<Vec<_>>().join(" UNION ALL ") + " ORDER BY job_id, created_at"
        });
        let mut all: BTreeMap<JobId, JobRuns> = BTreeMap::new();
        for row in rows.await? {
            let runs = all.entry(row.parse("job_id", "a job id")?).or_default();
            match runs.ids.len() < RUNS_MAX {
                true => runs.ids.push(row.parse("id", "a run id")?),
                false => runs.has_more = true,
            }
        }
        Ok(all)
    }
}
