//! Experiments and runs, in the shapes of the MLflow protocol.

use crate::{
    Actor, Lifecycle, Store,
    events::Change,
    metrics,
    sql::{self, Columns, Result, json_of, vals},
};
use kaogong_domain::{
    Problem, Timestamp,
    ids::{AttemptId, ExperimentId, JobId, ProjectId, RunId, VersionId},
    runs::{MetricPoint, RunStatus},
};
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, HashMap};

type Told<T> = std::result::Result<T, Problem>;

/// A group of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExperimentRow {
    /// Its id.
    pub id: ExperimentId,
    /// Its name in the project.
    pub name: String,
    /// Whether it is the one that clients call `0`.
    pub is_default: bool,
    /// Active or deleted.
    pub lifecycle: Lifecycle,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// A run, without what it logged.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// Its experiment.
    pub experiment_id: ExperimentId,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub status: RunStatus,
    /// Who logs it, as the client says.
    pub user: String,
    /// When it began, as the client says.
    pub started_at: Timestamp,
    /// When it ended, as the client says.
    pub ended_at: Option<Timestamp>,
    /// Active or deleted.
    pub lifecycle: Lifecycle,
    /// The job that logs it.
    pub job_id: Option<JobId>,
    /// Dataset versions that its job reads.
    pub dataset_versions: Vec<VersionId>,
    /// Dataset inputs as the client logged them.
    pub inputs: serde_json::Value,
    /// Model outputs as the client logged them.
    pub outputs: serde_json::Value,
}

/// A run with everything it logged; of each metric the newest value.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFull {
    /// The run.
    pub row: RunRow,
    /// Parameters, by key.
    pub params: BTreeMap<String, String>,
    /// Tags, by key.
    pub tags: BTreeMap<String, String>,
    /// Newest metrics, by key.
    pub metrics: Vec<MetricPoint>,
}

/// A run to begin.
#[derive(Debug, Clone)]
pub struct NewRunRow {
    /// Its experiment.
    pub experiment_id: ExperimentId,
    /// Its name.
    pub name: String,
    /// Who logs it.
    pub user: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Tags to begin with.
    pub tags: BTreeMap<String, String>,
    /// The job that logs it.
    pub job_id: Option<JobId>,
    /// The attempt that logs it.
    pub attempt_id: Option<AttemptId>,
    /// The same key within a quarter of an hour, while the run is running, gives the run already begun.
    pub request_key: Option<String>,
}

/// What to change of a run.
#[derive(Debug, Clone, Default)]
pub struct RunPatch {
    /// Where it is.
    pub status: Option<RunStatus>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its name.
    pub name: Option<String>,
    /// Dataset inputs.
    pub inputs: Option<serde_json::Value>,
    /// Model outputs.
    pub outputs: Option<serde_json::Value>,
}

/// How long a repeated request is taken for the same one.
const SAME_REQUEST_MS: i64 = 15 * 60 * 1000;

pub(crate) fn run(row: &AnyRow) -> Result<RunRow> {
    Ok(RunRow {
        id: row.parse("id", "a run id")?,
        experiment_id: row.parse("experiment_id", "an experiment id")?,
        name: row.text("name")?,
        status: row.word("status", RunStatus::parse, "a state of a run")?,
        user: row.text("user_name")?,
        started_at: row.time("started_at")?,
        ended_at: row.opt_time("ended_at")?,
        lifecycle: row.word("lifecycle", Lifecycle::parse, "a lifecycle")?,
        job_id: row.opt_parse("job_id", "a job id")?,
        dataset_versions: row.json("dataset_versions")?,
        inputs: row.json("inputs")?,
        outputs: row.json("outputs")?,
    })
}

fn experiment(row: &AnyRow) -> Result<ExperimentRow> {
    Ok(ExperimentRow {
        id: row.parse("id", "an experiment id")?,
        name: row.text("name")?,
        is_default: row.truth("is_default")?,
        lifecycle: row.word("lifecycle", Lifecycle::parse, "a lifecycle")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        tags: BTreeMap::new(),
    })
}

async fn with_tags(conn: &mut sqlx::AnyConnection, row: &AnyRow) -> Result<ExperimentRow> {
    let mut it = experiment(row)?;
    let tags = sql::rows(conn, "SELECT key, value FROM experiment_tags WHERE experiment_id = $1", vals![it.id]).await?;
    for tag in tags {
        it.tags.insert(tag.text("key")?, tag.text("value")?);
    }
    Ok(it)
}

impl Store {
    /// A new experiment. `Conflict` when the name is taken, also by a deleted one.
    pub async fn create_experiment(
        &self,
        project: ProjectId,
        name: &str,
        tags: &BTreeMap<String, String>,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<ExperimentRow> {
        let mut tx = self.change().await?;
        let sql = "SELECT COUNT(*) FROM experiments WHERE project_id = $1 AND name = $2";
        if sql::number(&mut tx, sql, vals![project, name]).await? > 0 {
            return Err(Problem::conflict(format!("there is an experiment `{name}` already")));
        }
        let id = ExperimentId::generate(now);
        let sql = "INSERT INTO experiments (id, project_id, name, is_default, lifecycle, created_at, updated_at) \
            VALUES ($1, $2, $3, 0, 'active', $4, $4)";
        sql::exec(&mut tx, sql, vals![id, project, name, now]).await?;
        for (key, value) in tags {
            let sql = "INSERT INTO experiment_tags (experiment_id, key, value) VALUES ($1, $2, $3)";
            sql::exec(&mut tx, sql, vals![id, key, value]).await?;
        }
        tx.event(actor, now, Change::new(project, "runs", "experiment.created", id).name(name)).await?;
        tx.commit().await?;
        Ok(ExperimentRow {
            id,
            name: name.to_owned(),
            is_default: false,
            lifecycle: Lifecycle::Active,
            created_at: now,
            updated_at: now,
            tags: tags.clone(),
        })
    }

    /// An experiment by id, deleted ones too.
    pub async fn find_experiment(&self, project: ProjectId, id: ExperimentId) -> Told<Option<ExperimentRow>> {
        let mut conn = self.read().await?;
        let sql = "SELECT * FROM experiments WHERE project_id = $1 AND id = $2";
        match sql::row(&mut conn, sql, vals![project, id]).await? {
            None => Ok(None),
            Some(row) => Ok(Some(with_tags(&mut conn, &row).await?)),
        }
    }

    /// An experiment by name, deleted ones too.
    pub async fn find_experiment_by_name(&self, project: ProjectId, name: &str) -> Told<Option<ExperimentRow>> {
        let mut conn = self.read().await?;
        let sql = "SELECT * FROM experiments WHERE project_id = $1 AND name = $2";
        match sql::row(&mut conn, sql, vals![project, name]).await? {
            None => Ok(None),
            Some(row) => Ok(Some(with_tags(&mut conn, &row).await?)),
        }
    }

    /// The experiment that clients call `0`.
    pub async fn default_experiment(&self, project: ProjectId) -> Told<ExperimentRow> {
        let mut conn = self.read().await?;
        let sql = "SELECT * FROM experiments WHERE project_id = $1 AND is_default = 1";
        let row = sql::row(&mut conn, sql, vals![project]).await?;
        let row = row.ok_or_else(|| Problem::not_found("the project has no default experiment"))?;
        Ok(with_tags(&mut conn, &row).await?)
    }

    /// Active experiments with their number of active runs, newest first.
    pub async fn list_experiments(&self, project: ProjectId) -> Told<Vec<(ExperimentRow, u64)>> {
        let sql = "SELECT e.*, (SELECT COUNT(*) FROM runs r WHERE r.experiment_id = e.id AND r.lifecycle = 'active') AS run_count \
            FROM experiments e WHERE e.project_id = $1 AND e.lifecycle = 'active' ORDER BY e.updated_at DESC, e.id DESC LIMIT 10000";
        let rows = sql::rows(&mut *self.read().await?, sql, vals![project]).await?;
        let counted = |row: &AnyRow| -> Result<_> { Ok((experiment(row)?, row.size("run_count")?)) };
        Ok(rows.iter().map(counted).collect::<Result<_>>()?)
    }

    /// All experiments with their tags, deleted ones too, newest first; the caller filters and pages.
    pub async fn all_experiments(&self, project: ProjectId) -> Told<Vec<ExperimentRow>> {
        let mut conn = self.read().await?;
        let sql = "SELECT * FROM experiments WHERE project_id = $1 ORDER BY created_at DESC, id DESC LIMIT 50000";
        let rows = sql::rows(&mut conn, sql, vals![project]).await?;
        let mut all: Vec<ExperimentRow> = rows.iter().map(experiment).collect::<Result<_>>()?;
        let place: HashMap<ExperimentId, usize> = all.iter().enumerate().map(|(at, it)| (it.id, at)).collect();
        let sql =
            "SELECT t.* FROM experiment_tags t JOIN experiments e ON e.id = t.experiment_id WHERE e.project_id = $1";
        for tag in sql::rows(&mut conn, sql, vals![project]).await? {
            let id: ExperimentId = tag.parse("experiment_id", "an experiment id")?;
            if let Some(at) = place.get(&id) {
                all[*at].tags.insert(tag.text("key")?, tag.text("value")?);
            }
        }
        Ok(all)
    }

    /// Renames an experiment. `Conflict` when the name is taken.
    pub async fn rename_experiment(
        &self,
        project: ProjectId,
        id: ExperimentId,
        name: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<()> {
        let mut tx = self.change().await?;
        let sql = "SELECT COUNT(*) FROM experiments WHERE project_id = $1 AND name = $2 AND id <> $3";
        if sql::number(&mut tx, sql, vals![project, name, id]).await? > 0 {
            return Err(Problem::conflict(format!("there is an experiment `{name}` already")));
        }
        let sql = "UPDATE experiments SET name = $3, updated_at = $4 WHERE project_id = $1 AND id = $2";
        if sql::exec(&mut tx, sql, vals![project, id, name, now]).await? == 0 {
            return Err(Problem::not_found(format!("there is no experiment {id}")));
        }
        tx.event(actor, now, Change::new(project, "runs", "experiment.renamed", id).name(name)).await?;
        Ok(tx.commit().await?)
    }

    /// Deletes or restores an experiment.
    pub async fn set_experiment_lifecycle(
        &self,
        project: ProjectId,
        id: ExperimentId,
        lifecycle: Lifecycle,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<()> {
        let mut tx = self.change().await?;
        let sql = "UPDATE experiments SET lifecycle = $3, updated_at = $4 WHERE project_id = $1 AND id = $2";
        if sql::exec(&mut tx, sql, vals![project, id, lifecycle.as_str(), now]).await? == 0 {
            return Err(Problem::not_found(format!("there is no experiment {id}")));
        }
        let action = if lifecycle == Lifecycle::Active { "experiment.restored" } else { "experiment.deleted" };
        tx.event(actor, now, Change::new(project, "runs", action, id)).await?;
        Ok(tx.commit().await?)
    }

    /// Sets or, with `None`, removes a tag of an experiment.
    pub async fn set_experiment_tag(&self, id: ExperimentId, key: &str, value: Option<&str>) -> Told<()> {
        let mut tx = self.measure().await?;
        match value {
            Some(value) => {
                let sql = "INSERT INTO experiment_tags (experiment_id, key, value) VALUES ($1, $2, $3) \
                    ON CONFLICT (experiment_id, key) DO UPDATE SET value = excluded.value";
                sql::exec(&mut tx, sql, vals![id, key, value]).await?;
            }
            None => {
                let sql = "DELETE FROM experiment_tags WHERE experiment_id = $1 AND key = $2";
                sql::exec(&mut tx, sql, vals![id, key]).await?;
            }
        }
        Ok(tx.commit().await.map_err(crate::StoreError::from)?)
    }

    /// Begins a run, linked to its job and the dataset versions that the job reads.
    pub async fn create_run(&self, project: ProjectId, new: NewRunRow, actor: &Actor, now: Timestamp) -> Told<RunFull> {
        let mut tx = self.change().await?;
        if let Some(key) = &new.request_key {
            let sql = "SELECT id FROM runs WHERE project_id = $1 AND request_key = $2 AND created_at > $3 AND status = 'RUNNING'";
            let since = now.plus_ms(-SAME_REQUEST_MS);
            if let Some(row) = sql::row(&mut tx, sql, vals![project, key, since]).await? {
                let id = row.parse("id", "a run id")?;
                drop(tx);
                return self.find_run(project, id).await?.ok_or_else(|| Problem::not_found("the run is gone"));
            }
        }
        let sql = "UPDATE experiments SET updated_at = $2 WHERE id = $1 AND project_id = $3";
        if sql::exec(&mut tx, sql, vals![new.experiment_id, now, project]).await? == 0 {
            return Err(Problem::not_found(format!("there is no experiment {}", new.experiment_id)));
        }
        let mut versions: Vec<VersionId> = vec![];
        if let Some(job) = new.job_id {
            for row in
                sql::rows(&mut tx, "SELECT version_id FROM job_inputs WHERE job_id = $1 ORDER BY alias", vals![job])
                    .await?
            {
                versions.push(row.parse("version_id", "a version id")?);
            }
        }
        let id = RunId::generate(now);
        let sql = "INSERT INTO runs (id, experiment_id, project_id, name, status, user_name, started_at, lifecycle, job_id, attempt_id, \
            dataset_versions, inputs, outputs, request_key, created_at) \
            VALUES ($1, $2, $3, $4, 'RUNNING', $5, $6, 'active', $7, $8, $9, '[]', '[]', $10, $11)";
        let values = vals![
            id,
            new.experiment_id,
            project,
            &new.name,
            &new.user,
            new.started_at,
            new.job_id,
            new.attempt_id,
            json_of(&versions)?,
            new.request_key,
            now
        ];
        sql::exec(&mut tx, sql, values).await?;
        metrics::put_tags(&mut tx, id, &new.tags).await?;
        tx.event(actor, now, Change::new(project, "runs", "run.created", id).name(&new.name)).await?;
        tx.commit().await?;
        let found = self.find_run(project, id).await?;
        found.ok_or_else(|| Problem::not_found("the run is gone"))
    }

    /// A run with everything it logged, deleted ones too.
    pub async fn find_run(&self, project: ProjectId, id: RunId) -> Told<Option<RunFull>> {
        let mut conn = self.read().await?;
        let sql = "SELECT * FROM runs WHERE project_id = $1 AND id = $2";
        let Some(row) = sql::row(&mut conn, sql, vals![project, id]).await? else { return Ok(None) };
        let rows = vec![run(&row)?];
        Ok(metrics::fill(&mut conn, rows).await?.into_iter().next())
    }

    /// Changes a run.
    pub async fn update_run(
        &self,
        project: ProjectId,
        id: RunId,
        patch: RunPatch,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<()> {
        let mut tx = self.change().await?;
        let row = sql::row(&mut tx, "SELECT * FROM runs WHERE project_id = $1 AND id = $2", vals![project, id]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("there is no run {id}")))?;
        let before = run(&row)?;
        let status = patch.status.unwrap_or(before.status);
        let name = patch.name.unwrap_or_else(|| before.name.clone());
        let inputs = json_of(&patch.inputs.unwrap_or(before.inputs))?;
        let outputs = json_of(&patch.outputs.unwrap_or(before.outputs))?;
        let sql = "UPDATE runs SET status = $2, ended_at = $3, name = $4, inputs = $5, outputs = $6 WHERE id = $1";
        let ended_at = patch.ended_at.or(before.ended_at);
        sql::exec(&mut tx, sql, vals![id, status.as_str(), ended_at, &name, inputs, outputs]).await?;
        if status != before.status {
            let action = format!("run.{}", status.as_str().to_lowercase());
            tx.event(actor, now, Change::new(project, "runs", &action, id).name(name)).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Deletes or restores a run.
    pub async fn set_run_lifecycle(
        &self,
        project: ProjectId,
        id: RunId,
        lifecycle: Lifecycle,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<()> {
        let mut tx = self.change().await?;
        let sql = "UPDATE runs SET lifecycle = $3 WHERE project_id = $1 AND id = $2";
        if sql::exec(&mut tx, sql, vals![project, id, lifecycle.as_str()]).await? == 0 {
            return Err(Problem::not_found(format!("there is no run {id}")));
        }
        let action = if lifecycle == Lifecycle::Active { "run.restored" } else { "run.deleted" };
        tx.event(actor, now, Change::new(project, "runs", action, id)).await?;
        Ok(tx.commit().await?)
    }
}
