//! Logged models: what a run produced, as MLflow 3 names it.

use crate::{
    Actor, Store,
    events::Change,
    logged_metrics::{MetricConditions, MetricTest, OnDataset},
    sql::{self, Columns, Result, Val, json_of, places, vals},
};
use kaogong_domain::{
    Problem, Timestamp,
    events::EventAction,
    ids::{ExperimentId, LoggedModelId, ProjectId, RunId},
};
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

type Told<T> = std::result::Result<T, Problem>;

/// Experiments in one search, as many as MLflow's own clients may name.
const EXPERIMENTS_MAX: usize = 1000;

/// A logged model, as MLflow 3 names what a run produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedModelRow {
    /// Its id.
    pub id: LoggedModelId,
    /// Its experiment.
    pub experiment_id: ExperimentId,
    /// The run that produced it.
    pub run_id: Option<RunId>,
    /// Its name.
    pub name: String,
    /// As the client says.
    pub model_type: String,
    /// `LOGGED_MODEL_PENDING`, `…_READY`, `…_UPLOAD_FAILED`.
    pub status: String,
    /// More on the status.
    pub status_message: String,
    /// Parameters.
    pub params: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A logged model to make.
#[derive(Debug, Clone, Default)]
pub struct NewLoggedModel {
    /// The run that produces it.
    pub run_id: Option<RunId>,
    /// Its name.
    pub name: String,
    /// As the client says.
    pub model_type: String,
    /// Parameters.
    pub params: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// Which logged models are wanted; the caller filters and orders by what the database cannot see.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoggedModelSearch {
    /// In these experiments, at most 1000.
    pub experiments: Vec<ExperimentId>,
    /// For each of these some point of the model fits.
    pub metrics: Vec<MetricTest>,
    /// Only points on one of these datasets count.
    pub datasets: Vec<OnDataset>,
}

fn logged_model(row: &AnyRow) -> Result<LoggedModelRow> {
    Ok(LoggedModelRow {
        id: row.parse("id", "a logged model id")?,
        experiment_id: row.parse("experiment_id", "an experiment id")?,
        run_id: row.opt_parse("run_id", "a run id")?,
        name: row.text("name")?,
        model_type: row.text("model_type")?,
        status: row.text("status")?,
        status_message: row.text("status_message")?,
        params: row.json("params")?,
        tags: row.json("tags")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

const BY_ID: &str = "SELECT * FROM logged_models WHERE project_id = $1 AND id = $2 AND deleted_at IS NULL";

impl Store {
    /// Makes a logged model.
    pub async fn create_logged_model(
        &self,
        project: ProjectId,
        experiment: ExperimentId,
        new: NewLoggedModel,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<LoggedModelRow> {
        sql::check_pairs("a logged model", "parameters", new.params.len())?;
        sql::check_pairs("a logged model", "tags", new.tags.len())?;
        let mut tx = self.change().await?;
        let sql = "SELECT COUNT(*) FROM experiments WHERE id = $1 AND project_id = $2";
        if sql::number(&mut tx, sql, vals![experiment, project]).await? == 0 {
            return Err(Problem::not_found(format!("there is no experiment {experiment}")));
        }
        if let Some(run) = new.run_id {
            let sql = "SELECT COUNT(*) FROM runs WHERE id = $1 AND project_id = $2";
            if sql::number(&mut tx, sql, vals![run, project]).await? == 0 {
                return Err(Problem::not_found(format!("there is no run {run}")));
            }
        }
        let id = LoggedModelId::generate(now);
        let sql = "INSERT INTO logged_models (id, experiment_id, project_id, run_id, name, model_type, status, status_message, \
            params, tags, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, 'LOGGED_MODEL_PENDING', '', $7, $8, $9, $9)";
        let values = vals![
            id,
            experiment,
            project,
            new.run_id,
            &new.name,
            &new.model_type,
            json_of(&new.params)?,
            json_of(&new.tags)?,
            now
        ];
        sql::exec(&mut tx, sql, values).await?;
        tx.event(actor, now, Change::new(project, EventAction::LoggedModelCreated, id).name(&new.name)).await?;
        let row = sql::row(&mut tx, BY_ID, vals![project, id]).await?;
        let made = logged_model(&row.ok_or_else(|| Problem::not_found("the logged model is gone"))?)?;
        tx.commit().await?;
        Ok(made)
    }

    /// A logged model by id.
    pub async fn find_logged_model(&self, project: ProjectId, id: LoggedModelId) -> Told<Option<LoggedModelRow>> {
        let row = sql::row(&mut *self.read().await?, BY_ID, vals![project, id]).await?;
        Ok(row.as_ref().map(logged_model).transpose()?)
    }

    /// Lets `change` change a logged model's status, parameters and tags. Nobody else changes it in between.
    pub async fn change_logged_model(
        &self,
        project: ProjectId,
        id: LoggedModelId,
        change: impl FnOnce(&mut LoggedModelRow) -> Told<()> + Send,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<LoggedModelRow> {
        let mut tx = self.change().await?;
        let row = sql::row(&mut tx, BY_ID, vals![project, id]).await?;
        let before = logged_model(&row.ok_or_else(|| Problem::not_found(format!("there is no logged model {id}")))?)?;
        let mut after = before.clone();
        change(&mut after)?;
        if after == before {
            return Ok(after);
        }
        sql::check_pairs("a logged model", "parameters", after.params.len())?;
        sql::check_pairs("a logged model", "tags", after.tags.len())?;
        after.updated_at = now;
        let sql = "UPDATE logged_models SET status = $2, status_message = $3, params = $4, tags = $5, updated_at = $6 WHERE id = $1";
        let values =
            vals![id, &after.status, &after.status_message, json_of(&after.params)?, json_of(&after.tags)?, now];
        sql::exec(&mut tx, sql, values).await?;
        for (is_changed, action) in [
            (
                after.status != before.status || after.status_message != before.status_message,
                EventAction::LoggedModelFinalized,
            ),
            (after.params != before.params, EventAction::LoggedModelParamsLogged),
            (after.tags != before.tags, EventAction::LoggedModelTagsChanged),
        ] {
            if is_changed {
                let detail = serde_json::json!({"status": after.status});
                let change = Change::new(project, action, id).name(&after.name).detail(detail);
                tx.event(actor, now, change).await?;
            }
        }
        tx.commit().await?;
        Ok(after)
    }

    /// Hides a logged model.
    pub async fn delete_logged_model(
        &self,
        project: ProjectId,
        id: LoggedModelId,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<()> {
        let mut tx = self.change().await?;
        let sql = "UPDATE logged_models SET deleted_at = $3 WHERE project_id = $1 AND id = $2 AND deleted_at IS NULL \
            RETURNING name";
        let row = sql::row(&mut tx, sql, vals![project, id, now]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("there is no logged model {id}")))?;
        tx.event(actor, now, Change::new(project, EventAction::LoggedModelDeleted, id).name(row.text("name")?)).await?;
        Ok(tx.commit().await?)
    }

    /// At most `limit` of the logged models that a search finds, newest first; with `after` those that follow it.
    pub async fn search_logged_models(
        &self,
        project: ProjectId,
        search: &LoggedModelSearch,
        after: Option<(Timestamp, LoggedModelId)>,
        limit: u32,
    ) -> Told<Vec<LoggedModelRow>> {
        if search.experiments.is_empty() {
            return Ok(vec![]);
        }
        if search.experiments.len() > EXPERIMENTS_MAX {
            return Err(Problem::invalid(format!("a search looks at {EXPERIMENTS_MAX} experiments at most")));
        }
        let mut values = vals![project];
        values.extend(sql::ids(&search.experiments));
        let list = places(2, search.experiments.len());
        let conditions = MetricConditions { tests: &search.metrics, datasets: &search.datasets }.sql(&mut values)?;
        let mut follows = String::new();
        if let Some((at, id)) = after {
            values.extend(vals![at, id]);
            let (at, id) = (values.len() - 1, values.len());
            follows = format!("AND (m.created_at < ${at} OR (m.created_at = ${at} AND m.id < ${id}))");
        }
        values.push(Val::from(limit));
        let sql = format!(
            "SELECT m.* FROM logged_models m WHERE m.project_id = $1 AND m.deleted_at IS NULL AND m.experiment_id IN ({list}) \
             {conditions} {follows} ORDER BY m.created_at DESC, m.id DESC LIMIT ${}",
            values.len()
        );
        let rows = sql::rows_of(&mut *self.read().await?, sql, values).await?;
        Ok(rows.iter().map(logged_model).collect::<Result<_>>()?)
    }

    /// At most `limit` of the logged models that a run produced, newest first; with `after` those that follow it.
    pub async fn logged_models_of_run(
        &self,
        project: ProjectId,
        run: RunId,
        after: Option<(Timestamp, LoggedModelId)>,
        limit: u32,
    ) -> Told<Vec<LoggedModelRow>> {
        let mut conn = self.read().await?;
        let rows = match after {
            None => {
                let sql = "SELECT * FROM logged_models WHERE run_id = $1 AND project_id = $2 AND deleted_at IS NULL \
                    ORDER BY created_at DESC, id DESC LIMIT $3";
                sql::rows(&mut conn, sql, vals![run, project, limit]).await?
            }
            Some((at, id)) => {
                let sql = "SELECT * FROM logged_models WHERE run_id = $1 AND project_id = $2 AND deleted_at IS NULL \
                    AND (created_at, id) < ($3, $4) ORDER BY created_at DESC, id DESC LIMIT $5";
                sql::rows(&mut conn, sql, vals![run, project, at, id, limit]).await?
            }
        };
        Ok(rows.iter().map(logged_model).collect::<Result<_>>()?)
    }
}
