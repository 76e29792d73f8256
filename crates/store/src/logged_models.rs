//! Logged models: what a run produced, as MLflow 3 names it.

use crate::{
    Actor, Store,
    events::Change,
    sql::{self, Columns, Result, json_of, vals},
};
use kaogong_domain::{
    Problem, Timestamp,
    ids::{ExperimentId, LoggedModelId, ProjectId, RunId},
};
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

type Told<T> = std::result::Result<T, Problem>;

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
        let mut tx = self.change().await?;
        let sql = "SELECT COUNT(*) FROM experiments WHERE id = $1 AND project_id = $2";
        if sql::number(&mut tx, sql, vals![experiment, project]).await? == 0 {
            return Err(Problem::not_found(format!("there is no experiment {experiment}")));
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
        tx.event(actor, now, Change::new(project, "runs", "logged_model.created", id).name(&new.name)).await?;
        tx.commit().await?;
        let found = self.find_logged_model(project, id).await?;
        found.ok_or_else(|| Problem::not_found("the logged model is gone"))
    }

    /// A logged model by id.
    pub async fn find_logged_model(&self, project: ProjectId, id: LoggedModelId) -> Told<Option<LoggedModelRow>> {
        let sql = "SELECT * FROM logged_models WHERE project_id = $1 AND id = $2 AND deleted_at IS NULL";
        let row = sql::row(&mut *self.read().await?, sql, vals![project, id]).await?;
        Ok(row.as_ref().map(logged_model).transpose()?)
    }

    /// Stores a logged model's status, parameters and tags as they are now.
    pub async fn save_logged_model(&self, project: ProjectId, model: &LoggedModelRow, now: Timestamp) -> Told<()> {
        let mut tx = self.measure().await?;
        let sql = "UPDATE logged_models SET status = $3, status_message = $4, params = $5, tags = $6, updated_at = $7 \
            WHERE project_id = $1 AND id = $2";
        let values = vals![
            project,
            model.id,
            &model.status,
            &model.status_message,
            json_of(&model.params)?,
            json_of(&model.tags)?,
            now
        ];
        sql::exec(&mut tx, sql, values).await?;
        Ok(tx.commit().await.map_err(crate::StoreError::from)?)
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
        let sql = "UPDATE logged_models SET deleted_at = $3 WHERE project_id = $1 AND id = $2 AND deleted_at IS NULL";
        if sql::exec(&mut tx, sql, vals![project, id, now]).await? == 0 {
            return Err(Problem::not_found(format!("there is no logged model {id}")));
        }
        tx.event(actor, now, Change::new(project, "runs", "logged_model.deleted", id)).await?;
        Ok(tx.commit().await?)
    }

    /// The logged models of a project, newest first; the caller filters and pages.
    pub async fn list_logged_models(&self, project: ProjectId) -> Told<Vec<LoggedModelRow>> {
        let sql = "SELECT * FROM logged_models WHERE project_id = $1 AND deleted_at IS NULL ORDER BY created_at DESC, id DESC LIMIT 50000";
        let rows = sql::rows(&mut *self.read().await?, sql, vals![project]).await?;
        Ok(rows.iter().map(logged_model).collect::<Result<_>>()?)
    }
}
