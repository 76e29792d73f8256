//! Runs, in the shape of the MLflow protocol.

use crate::{
    Actor, Lifecycle, Store, counters,
    events::Change,
    metrics,
    sql::{self, Columns, Result, json_of, vals},
};
use kaogong_domain::{
    Problem, Timestamp,
    events::EventAction,
    ids::{AttemptId, ExperimentId, JobId, ProjectId, RunId, VersionId},
    runs::{MetricPoint, RunStatus},
};
use serde_json::json;
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, BTreeSet};

type Told<T> = std::result::Result<T, Problem>;

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

/// What a run came from and came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunOutcome {
    /// Dataset versions that its job reads.
    pub dataset_versions: Vec<VersionId>,
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
    /// What equal requests share.
    pub request_key: Option<String>,
    /// A running run of the same key that was begun before this, and within a quarter of an hour, is the answer. Equal
    /// requests are two runs as long as the server answers: workers that start together send the same. Only what a
    /// server that is gone began may have lost its answer.
    pub same_before: Option<Timestamp>,
}

/// The tag in which MLflow keeps a run's name, too.
pub const RUN_NAME_TAG: &str = "mlflow.runName";

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

impl Store {
    /// Begins a run, linked to its job and the dataset versions that the job reads.
    pub async fn create_run(&self, project: ProjectId, new: NewRunRow, actor: &Actor, now: Timestamp) -> Told<RunFull> {
        let mut tx = self.change().await?;
        if let (Some(key), Some(before)) = (&new.request_key, new.same_before) {
            let sql = "SELECT id FROM runs WHERE project_id = $1 AND request_key = $2 AND created_at > $3 \
                AND created_at < $4 AND status = 'RUNNING' AND lifecycle = 'active'";
            let since = now.plus_ms(-SAME_REQUEST_MS);
            if let Some(row) = sql::row(&mut tx, sql, vals![project, key, since, before]).await? {
                let id = row.parse("id", "a run id")?;
                drop(tx);
                return self.find_run(project, id).await?.ok_or_else(|| Problem::not_found("the run is gone"));
            }
        }
        let sql = "UPDATE experiments SET updated_at = $2 WHERE id = $1 AND project_id = $3 AND lifecycle = 'active'";
        if sql::exec(&mut tx, sql, vals![new.experiment_id, now, project]).await? == 0 {
            return Err(Problem::not_found(format!("there is no active experiment {}", new.experiment_id)));
        }
        sql::check_pairs("a run", "tags", new.tags.len())?;
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
        metrics::put_tags(&mut tx, (id, new.experiment_id), &new.tags).await?;
        tx.count(project, counters::runs_in(Lifecycle::Active), 1);
        tx.count(new.experiment_id, counters::runs_in(Lifecycle::Active), 1);
        tx.event(actor, now, Change::new(project, EventAction::RunCreated, id).name(&new.name)).await?;
        tx.commit().await?;
        let row = RunRow {
            id,
            experiment_id: new.experiment_id,
            name: new.name,
            status: RunStatus::Running,
            user: new.user,
            started_at: new.started_at,
            ended_at: None,
            lifecycle: Lifecycle::Active,
            job_id: new.job_id,
            dataset_versions: versions,
            inputs: json!([]),
            outputs: json!([]),
        };
        Ok(RunFull { row, params: BTreeMap::new(), tags: new.tags, metrics: vec![] })
    }

    /// A run without what it logged, deleted ones too: what most calls need of it, and costs the same however much
    /// the run logged.
    pub async fn find_run_head(&self, project: ProjectId, id: RunId) -> Told<Option<RunRow>> {
        let sql = "SELECT * FROM runs WHERE project_id = $1 AND id = $2";
        let row = sql::row(&mut *self.read().await?, sql, vals![project, id]).await?;
        Ok(row.as_ref().map(run).transpose()?)
    }

    /// Those of some ids that are runs of a project.
    pub async fn known_runs(&self, project: ProjectId, ids: &[RunId]) -> Told<BTreeSet<RunId>> {
        let mut conn = self.read().await?;
        let rows = sql::rows_in(&mut conn, vals![project], sql::ids(ids), |list| {
            format!("SELECT id FROM runs WHERE id IN ({list}) AND project_id || '' = $1")
        });
        Ok(rows.await?.iter().map(|it| it.parse("id", "a run id")).collect::<Result<_>>()?)
    }

    /// A run with everything it logged, deleted ones too.
    pub async fn find_run(&self, project: ProjectId, id: RunId) -> Told<Option<RunFull>> {
        let mut conn = self.read().await?;
        let sql = "SELECT * FROM runs WHERE project_id = $1 AND id = $2";
        let Some(row) = sql::row(&mut conn, sql, vals![project, id]).await? else { return Ok(None) };
        let rows = vec![run(&row)?];
        Ok(metrics::fill(&mut conn, rows).await?.into_iter().next())
    }

    /// Lets `change` change a run: its status, its end, its name (in its tag, too), its inputs and outputs. Nobody
    /// else changes the run in between.
    pub async fn change_run(
        &self,
        project: ProjectId,
        id: RunId,
        change: impl FnOnce(&mut RunRow) -> Told<()> + Send,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<RunRow> {
        let mut tx = self.change().await?;
        let row = sql::row(&mut tx, "SELECT * FROM runs WHERE project_id = $1 AND id = $2", vals![project, id]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("there is no run {id}")))?;
        let before = run(&row)?;
        let mut after = before.clone();
        change(&mut after)?;
        if after.name.is_empty() {
            after.name.clone_from(&before.name);
        }
        if after == before {
            return Ok(after);
        }
        let sql = "UPDATE runs SET status = $2, ended_at = $3, inputs = $4, outputs = $5 WHERE id = $1";
        let values =
            vals![id, after.status.as_str(), after.ended_at, json_of(&after.inputs)?, json_of(&after.outputs)?];
        sql::exec(&mut tx, sql, values).await?;
        if after.name != before.name {
            let tags = BTreeMap::from([(RUN_NAME_TAG.to_owned(), after.name.clone())]);
            metrics::put_tags(&mut tx, (id, before.experiment_id), &tags).await?;
            rename(&mut tx, project, &before, &after.name, actor, now).await?;
        }
        for (is_changed, action) in [
            (after.status != before.status, after.status.into()),
            (after.inputs != before.inputs, EventAction::RunInputsLogged),
            (after.outputs != before.outputs, EventAction::RunOutputsLogged),
        ] {
            if is_changed {
                tx.event(actor, now, Change::new(project, action, id).name(&after.name)).await?;
            }
        }
        tx.commit().await?;
        Ok(after)
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
        let row = sql::row(&mut tx, "SELECT * FROM runs WHERE project_id = $1 AND id = $2", vals![project, id]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("there is no run {id}")))?;
        let before = run(&row)?;
        sql::exec(&mut tx, "UPDATE runs SET lifecycle = $2 WHERE id = $1", vals![id, lifecycle.as_str()]).await?;
        for owner in [project.to_string(), before.experiment_id.to_string()] {
            tx.count(&owner, counters::runs_in(before.lifecycle), -1);
            tx.count(&owner, counters::runs_in(lifecycle), 1);
        }
        let action = if lifecycle == Lifecycle::Active { EventAction::RunRestored } else { EventAction::RunDeleted };
        tx.event(actor, now, Change::new(project, action, id).name(&before.name)).await?;
        Ok(tx.commit().await?)
    }

    /// What runs of a project came from and came to, by id, without their parameters and tags.
    pub async fn run_outcomes(&self, project: ProjectId, ids: &[RunId]) -> Told<BTreeMap<RunId, RunOutcome>> {
        let mut conn = self.read().await?;
        let rows = sql::rows_in(&mut conn, vals![project], sql::ids(ids), |list| {
            format!("SELECT id, dataset_versions FROM runs WHERE id IN ({list}) AND project_id || '' = $1")
        });
        let mut found: BTreeMap<RunId, RunOutcome> = BTreeMap::new();
        for row in rows.await? {
            let outcome = RunOutcome { dataset_versions: row.json("dataset_versions")?, metrics: vec![] };
            found.insert(row.parse("id", "a run id")?, outcome);
        }
        let known: Vec<RunId> = found.keys().copied().collect();
        for (run, point) in metrics::newest_of(&mut conn, &known).await? {
            if let Some(it) = found.get_mut(&run) {
                it.metrics.push(point);
            }
        }
        Ok(found)
    }
}

/// Gives a run another name. The tag that holds it is the caller's business.
pub(crate) async fn rename(
    tx: &mut crate::open::Tx<'_>,
    project: ProjectId,
    before: &RunRow,
    name: &str,
    actor: &Actor,
    now: Timestamp,
) -> Result<()> {
    if name.is_empty() || name == before.name {
        return Ok(());
    }
    sql::exec(tx, "UPDATE runs SET name = $2 WHERE id = $1", vals![before.id, name]).await?;
    let change = Change::new(project, EventAction::RunRenamed, before.id).name(name);
    tx.event(actor, now, change.detail(json!({"from": before.name}))).await
}
