//! Registered models, their versions and aliases.

use crate::{
    Actor, Store,
    events::Change,
    sql::{self, Columns, Result, json_of, vals},
};
use kaogong_domain::{
    Problem, Timestamp,
    ids::{LoggedModelId, ModelId, ModelVersionId, ProjectId, RunId},
    models::ModelVersionStatus,
};
use serde_json::json;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

type Told<T> = std::result::Result<T, Problem>;

/// A registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRow {
    /// Its id.
    pub id: ModelId,
    /// Its name in the project.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// One version of a registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelVersionRow {
    /// Its id.
    pub id: ModelVersionId,
    /// Its model.
    pub model_id: ModelId,
    /// 1, 2, 3 …
    pub number: u32,
    /// Where it came from.
    pub source: String,
    /// The run that produced it.
    pub run_id: Option<RunId>,
    /// The logged model it was made from.
    pub logged_model_id: Option<LoggedModelId>,
    /// As the client says.
    pub run_link: Option<String>,
    /// Whether it can be used.
    pub status: ModelVersionStatus,
    /// MLflow's old stages: `None`, `Staging`, `Production`, `Archived`.
    pub stage: String,
    /// What it is.
    pub description: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// BLAKE3 of the ONNX file.
    pub hash: Option<String>,
    /// Bytes of the ONNX file.
    pub size: Option<u64>,
    /// Who registered it.
    pub user: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A model version to register.
#[derive(Debug, Clone, Default)]
pub struct NewModelVersionRow {
    /// Where it comes from.
    pub source: String,
    /// The run that produced it.
    pub run_id: Option<RunId>,
    /// The logged model it is made from.
    pub logged_model_id: Option<LoggedModelId>,
    /// As the client says.
    pub run_link: Option<String>,
    /// BLAKE3 of the ONNX file.
    pub hash: Option<String>,
    /// Bytes of the ONNX file.
    pub size: Option<u64>,
    /// What it is.
    pub description: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Who registers it.
    pub user: String,
    /// A repeated registration with the same key gives the version already made.
    pub request_key: Option<String>,
}

/// What to change of a model version.
#[derive(Debug, Clone, Default)]
pub struct ModelVersionPatch {
    /// What it is.
    pub description: Option<String>,
    /// MLflow's old stage.
    pub stage: Option<String>,
    /// All tags, as they are now.
    pub tags: Option<BTreeMap<String, String>>,
}

fn model(row: &AnyRow) -> Result<ModelRow> {
    Ok(ModelRow {
        id: row.parse("id", "a model id")?,
        name: row.text("name")?,
        description: row.text("description")?,
        tags: row.json("tags")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

fn version(row: &AnyRow) -> Result<ModelVersionRow> {
    Ok(ModelVersionRow {
        id: row.parse("id", "a model version id")?,
        model_id: row.parse("model_id", "a model id")?,
        number: row.small("number")?,
        source: row.text("source")?,
        run_id: row.opt_parse("run_id", "a run id")?,
        logged_model_id: row.opt_parse("logged_model_id", "a logged model id")?,
        run_link: row.opt_text("run_link")?,
        status: row.word("status", ModelVersionStatus::parse, "a status")?,
        stage: row.text("stage")?,
        description: row.text("description")?,
        tags: row.json("tags")?,
        hash: row.opt_text("hash")?,
        size: row.opt_int("size")?.and_then(|it| u64::try_from(it).ok()),
        user: row.text("user_name")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

async fn insert_model(
    tx: &mut crate::open::Tx<'_>,
    project: ProjectId,
    name: &str,
    description: &str,
    tags: BTreeMap<String, String>,
    actor: &Actor,
    now: Timestamp,
) -> Result<ModelRow> {
    let id = ModelId::generate(now);
    let sql = "INSERT INTO models (id, project_id, name, description, tags, created_at, updated_at, last_number) \
        VALUES ($1, $2, $3, $4, $5, $6, $6, 0)";
    sql::exec(tx, sql, vals![id, project, name, description, json_of(&tags)?, now]).await?;
    tx.event(actor, now, Change::new(project, "models", "model.created", id).name(name)).await?;
    Ok(ModelRow {
        id,
        name: name.to_owned(),
        description: description.to_owned(),
        tags,
        created_at: now,
        updated_at: now,
    })
}

/// Refuses to go on while `served` names an endpoint.
async fn refuse_served(tx: &mut crate::open::Tx<'_>, served: &'static str, id: impl Into<sql::Val>) -> Result<()> {
    let Some(row) = sql::row(tx, served, vec![id.into()]).await? else { return Ok(()) };
    let text = format!("endpoint `{}` serves it", row.text("name")?);
    Err(Problem::conflict(text).hint("delete that endpoint first, or let it serve another version").into())
}

const BY_NAME: &str = "SELECT * FROM models WHERE project_id = $1 AND name = $2";

impl Store {
    /// A new model. `Conflict` when the name is taken.
    pub async fn create_model(
        &self,
        project: ProjectId,
        name: &str,
        description: &str,
        tags: BTreeMap<String, String>,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<ModelRow> {
        let mut tx = self.change().await?;
        if sql::row(&mut tx, BY_NAME, vals![project, name]).await?.is_some() {
            return Err(Problem::conflict(format!("there is a model `{name}` already")));
        }
        let made = insert_model(&mut tx, project, name, description, tags, actor, now).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// The model of that name, made when there is none.
    pub async fn ensure_model(&self, project: ProjectId, name: &str, actor: &Actor, now: Timestamp) -> Told<ModelRow> {
        let mut tx = self.change().await?;
        if let Some(row) = sql::row(&mut tx, BY_NAME, vals![project, name]).await? {
            return Ok(model(&row)?);
        }
        let made = insert_model(&mut tx, project, name, "", BTreeMap::new(), actor, now).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// A model by name.
    pub async fn find_model(&self, project: ProjectId, name: &str) -> Told<Option<ModelRow>> {
        let row = sql::row(&mut *self.read().await?, BY_NAME, vals![project, name]).await?;
        Ok(row.as_ref().map(model).transpose()?)
    }

    /// All models of a project, by name.
    pub async fn list_models(&self, project: ProjectId) -> Told<Vec<ModelRow>> {
        let sql = "SELECT * FROM models WHERE project_id = $1 ORDER BY name LIMIT 10000";
        let rows = sql::rows(&mut *self.read().await?, sql, vals![project]).await?;
        Ok(rows.iter().map(model).collect::<Result<_>>()?)
    }

    /// Stores a model's name, description and tags as they are now. `Conflict` when the name is taken.
    pub async fn save_model(&self, project: ProjectId, it: &ModelRow, actor: &Actor, now: Timestamp) -> Told<()> {
        let mut tx = self.change().await?;
        let sql = "SELECT COUNT(*) FROM models WHERE project_id = $1 AND name = $2 AND id <> $3";
        if sql::number(&mut tx, sql, vals![project, &it.name, it.id]).await? > 0 {
            return Err(Problem::conflict(format!("there is a model `{}` already", it.name)));
        }
        let sql = "UPDATE models SET name = $3, description = $4, tags = $5, updated_at = $6 WHERE project_id = $1 AND id = $2";
        let values = vals![project, it.id, &it.name, &it.description, json_of(&it.tags)?, now];
        if sql::exec(&mut tx, sql, values).await? == 0 {
            return Err(Problem::not_found(format!("there is no model {}", it.id)));
        }
        tx.event(actor, now, Change::new(project, "models", "model.updated", it.id).name(&it.name)).await?;
        Ok(tx.commit().await?)
    }

    /// Removes a model with its versions and aliases. `Conflict` while an endpoint serves one.
    pub async fn delete_model(&self, project: ProjectId, id: ModelId, actor: &Actor, now: Timestamp) -> Told<()> {
        let mut tx = self.change().await?;
        let row =
            sql::row(&mut tx, "SELECT name FROM models WHERE project_id = $1 AND id = $2", vals![project, id]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("there is no model {id}")))?;
        let name = row.text("name")?;
        let served = "SELECT e.name AS name FROM endpoints e JOIN model_versions v ON v.id = e.model_version_id \
            WHERE v.model_id = $1 AND e.deleted_at IS NULL ORDER BY e.name";
        refuse_served(&mut tx, served, id).await?;
        sql::exec(&mut tx, "DELETE FROM model_aliases WHERE model_id = $1", vals![id]).await?;
        sql::exec(&mut tx, "DELETE FROM model_versions WHERE model_id = $1", vals![id]).await?;
        sql::exec(&mut tx, "DELETE FROM models WHERE id = $1", vals![id]).await?;
        tx.event(actor, now, Change::new(project, "models", "model.deleted", id).name(name)).await?;
        Ok(tx.commit().await?)
    }

    /// Registers a version with the next number; numbers of deleted versions are not used again.
    pub async fn create_model_version(
        &self,
        project: ProjectId,
        model_id: ModelId,
        new: NewModelVersionRow,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<ModelVersionRow> {
        let mut tx = self.change().await?;
        if let Some(key) = &new.request_key {
            let sql = "SELECT v.* FROM model_versions v JOIN models m ON m.id = v.model_id \
                WHERE v.model_id = $1 AND v.request_key = $2 AND m.project_id = $3";
            if let Some(row) = sql::row(&mut tx, sql, vals![model_id, key, project]).await? {
                return Ok(version(&row)?);
            }
        }
        let sql = "UPDATE models SET last_number = last_number + 1, updated_at = $3 WHERE project_id = $1 AND id = $2 \
            RETURNING last_number, name";
        let row = sql::row(&mut tx, sql, vals![project, model_id, now]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("there is no model {model_id}")))?;
        let (number, name) = (row.int("last_number")?, row.text("name")?);
        let id = ModelVersionId::generate(now);
        let sql = "INSERT INTO model_versions (id, model_id, number, source, run_id, logged_model_id, run_link, status, stage, description, \
            tags, hash, size, request_key, user_name, created_at, updated_at) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, 'READY', 'None', $8, $9, $10, $11, $12, $13, $14, $14)";
        let values = vals![
            id,
            model_id,
            number,
            &new.source,
            new.run_id,
            new.logged_model_id,
            new.run_link.clone(),
            &new.description,
            json_of(&new.tags)?,
            new.hash.clone(),
            new.size,
            new.request_key.clone(),
            &new.user,
            now
        ];
        sql::exec(&mut tx, sql, values).await?;
        let change = Change::new(project, "models", "model.version_created", model_id).name(format!("{name}@{number}"));
        tx.event(actor, now, change.detail(json!({"number": number}))).await?;
        let row = sql::row(&mut tx, "SELECT * FROM model_versions WHERE id = $1", vals![id]).await?;
        let made = version(&row.ok_or_else(|| Problem::not_found("the version is gone"))?)?;
        tx.commit().await?;
        Ok(made)
    }

    /// The versions of a model, oldest first.
    pub async fn list_model_versions(&self, id: ModelId) -> Told<Vec<ModelVersionRow>> {
        let sql = "SELECT * FROM model_versions WHERE model_id = $1 ORDER BY number LIMIT 100000";
        let rows = sql::rows(&mut *self.read().await?, sql, vals![id]).await?;
        Ok(rows.iter().map(version).collect::<Result<_>>()?)
    }

    /// A version by number.
    pub async fn find_model_version(&self, id: ModelId, number: u32) -> Told<Option<ModelVersionRow>> {
        let sql = "SELECT * FROM model_versions WHERE model_id = $1 AND number = $2";
        let row = sql::row(&mut *self.read().await?, sql, vals![id, number]).await?;
        Ok(row.as_ref().map(version).transpose()?)
    }

    /// Changes a version.
    pub async fn update_model_version(
        &self,
        project: ProjectId,
        id: ModelVersionId,
        patch: ModelVersionPatch,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<ModelVersionRow> {
        let mut tx = self.change().await?;
        let sql =
            "SELECT v.* FROM model_versions v JOIN models m ON m.id = v.model_id WHERE v.id = $1 AND m.project_id = $2";
        let row = sql::row(&mut tx, sql, vals![id, project]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("there is no model version {id}")))?;
        let mut it = version(&row)?;
        it.description = patch.description.unwrap_or(it.description);
        it.stage = patch.stage.unwrap_or(it.stage);
        it.tags = patch.tags.unwrap_or(it.tags);
        it.updated_at = now;
        let sql = "UPDATE model_versions SET description = $2, stage = $3, tags = $4, updated_at = $5 WHERE id = $1";
        sql::exec(&mut tx, sql, vals![id, &it.description, &it.stage, json_of(&it.tags)?, now]).await?;
        tx.event(actor, now, Change::new(project, "models", "model.version_updated", id)).await?;
        tx.commit().await?;
        Ok(it)
    }

    /// Removes a version and the aliases that point at it. `Conflict` while an endpoint serves it.
    pub async fn delete_model_version(
        &self,
        project: ProjectId,
        id: ModelVersionId,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<()> {
        let mut tx = self.change().await?;
        refuse_served(&mut tx, "SELECT name FROM endpoints WHERE model_version_id = $1 AND deleted_at IS NULL", id)
            .await?;
        let sql = "DELETE FROM model_versions WHERE id = $1 AND model_id IN (SELECT id FROM models WHERE project_id = $2) \
            RETURNING model_id, number";
        let row = sql::row(&mut tx, sql, vals![id, project]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("there is no model version {id}")))?;
        let sql = "DELETE FROM model_aliases WHERE model_id = $1 AND number = $2";
        sql::exec(&mut tx, sql, vals![row.text("model_id")?, row.int("number")?]).await?;
        tx.event(actor, now, Change::new(project, "models", "model.version_deleted", id)).await?;
        Ok(tx.commit().await?)
    }

    /// Points an alias at a version. `NotFound` when there is no such version.
    pub async fn set_model_alias(
        &self,
        project: ProjectId,
        id: ModelId,
        alias: &str,
        number: u32,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<()> {
        let mut tx = self.change().await?;
        let sql = "SELECT COUNT(*) FROM model_versions v JOIN models m ON m.id = v.model_id \
            WHERE v.model_id = $1 AND v.number = $2 AND m.project_id = $3";
        if sql::number(&mut tx, sql, vals![id, number, project]).await? == 0 {
            return Err(Problem::not_found(format!("the model has no version {number}")));
        }
        let sql = "INSERT INTO model_aliases (model_id, alias, number) VALUES ($1, $2, $3) \
            ON CONFLICT (model_id, alias) DO UPDATE SET number = excluded.number";
        sql::exec(&mut tx, sql, vals![id, alias, number]).await?;
        let change =
            Change::new(project, "models", "model.alias_set", id).detail(json!({"alias": alias, "number": number}));
        tx.event(actor, now, change).await?;
        Ok(tx.commit().await?)
    }

    /// Removes an alias. Removing one that is not there is no error.
    pub async fn delete_model_alias(
        &self,
        project: ProjectId,
        id: ModelId,
        alias: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<()> {
        let mut tx = self.change().await?;
        let sql = "DELETE FROM model_aliases WHERE model_id = $1 AND alias = $2 \
            AND model_id IN (SELECT id FROM models WHERE project_id = $3)";
        if sql::exec(&mut tx, sql, vals![id, alias, project]).await? > 0 {
            let change = Change::new(project, "models", "model.alias_deleted", id).detail(json!({"alias": alias}));
            tx.event(actor, now, change).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Aliases of a model, with the numbers they point at.
    pub async fn model_aliases(&self, id: ModelId) -> Told<BTreeMap<String, u32>> {
        let rows = sql::rows(
            &mut *self.read().await?,
            "SELECT alias, number FROM model_aliases WHERE model_id = $1",
            vals![id],
        )
        .await?;
        let pair = |row: &AnyRow| -> Result<_> { Ok((row.text("alias")?, row.small("number")?)) };
        Ok(rows.iter().map(pair).collect::<Result<_>>()?)
    }

    /// `name@number` of the versions registered from a run.
    pub async fn models_of_run(&self, run: RunId) -> Told<Vec<String>> {
        let sql = "SELECT m.name AS name, v.number AS number FROM model_versions v JOIN models m ON m.id = v.model_id \
            WHERE v.run_id = $1 ORDER BY m.name, v.number LIMIT 1000";
        let rows = sql::rows(&mut *self.read().await?, sql, vals![run]).await?;
        let name = |row: &AnyRow| -> Result<String> { Ok(format!("{}@{}", row.text("name")?, row.int("number")?)) };
        Ok(rows.iter().map(name).collect::<Result<_>>()?)
    }
}
