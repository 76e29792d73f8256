//! Registered models and their aliases.

use crate::{
    Actor, Store, counters,
    events::Change,
    sql::{self, Columns, Result, json_of, vals},
};
use kaogong_domain::{
    Problem, Timestamp,
    events::EventAction,
    ids::{ModelId, ProjectId},
};
use serde_json::json;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

type Told<T> = std::result::Result<T, Problem>;

/// Registered models of one project.
const MODELS_MAX: u64 = 10_000;

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

async fn insert_model(
    tx: &mut crate::open::Tx<'_>,
    project: ProjectId,
    name: &str,
    description: &str,
    tags: BTreeMap<String, String>,
    actor: &Actor,
    now: Timestamp,
) -> Result<ModelRow> {
    counters::check(tx, project, ("models", MODELS_MAX)).await?;
    tx.count(project, "models", 1);
    let id = ModelId::generate(now);
    let sql = "INSERT INTO models (id, project_id, name, description, tags, created_at, updated_at, last_number) \
        VALUES ($1, $2, $3, $4, $5, $6, $6, 0)";
    sql::exec(tx, sql, vals![id, project, name, description, json_of(&tags)?, now]).await?;
    tx.event(actor, now, Change::new(project, EventAction::ModelCreated, id).name(name)).await?;
    Ok(ModelRow {
        id,
        name: name.to_owned(),
        description: description.to_owned(),
        tags,
        created_at: now,
        updated_at: now,
    })
}

/// Refuses to go on while `served` names an endpoint and what it serves.
pub(crate) async fn refuse_served(
    tx: &mut crate::open::Tx<'_>,
    served: &'static str,
    id: impl Into<sql::Val>,
) -> Result<()> {
    let Some(row) = sql::row(tx, served, vec![id.into()]).await? else { return Ok(()) };
    let text = format!("endpoint `{}` serves {}@{}", row.text("name")?, row.text("model")?, row.int("number")?);
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
        sql::check_pairs("a model", "tags", tags.len())?;
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
        let sql = "SELECT * FROM models WHERE project_id = $1 ORDER BY name LIMIT $2";
        let most = ("models", usize::try_from(MODELS_MAX).unwrap_or(usize::MAX));
        let rows = sql::whole(&mut *self.read().await?, sql, vals![project], most).await?;
        Ok(rows.iter().map(model).collect::<Result<_>>()?)
    }

    /// Lets `change` change a model's name, description and tags. Nobody else changes it in between. `Conflict` when
    /// the name is taken.
    pub async fn change_model(
        &self,
        project: ProjectId,
        id: ModelId,
        change: impl FnOnce(&mut ModelRow) -> Told<()> + Send,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<ModelRow> {
        let mut tx = self.change().await?;
        let row =
            sql::row(&mut tx, "SELECT * FROM models WHERE project_id = $1 AND id = $2", vals![project, id]).await?;
        let before = model(&row.ok_or_else(|| Problem::not_found(format!("there is no model {id}")))?)?;
        let mut after = before.clone();
        change(&mut after)?;
        if after == before {
            return Ok(after);
        }
        sql::check_pairs("a model", "tags", after.tags.len())?;
        if after.name != before.name && sql::row(&mut tx, BY_NAME, vals![project, &after.name]).await?.is_some() {
            return Err(Problem::conflict(format!("there is a model `{}` already", after.name)));
        }
        after.updated_at = now;
        let sql = "UPDATE models SET name = $2, description = $3, tags = $4, updated_at = $5 WHERE id = $1";
        sql::exec(&mut tx, sql, vals![id, &after.name, &after.description, json_of(&after.tags)?, now]).await?;
        if after.name != before.name {
            let change = Change::new(project, EventAction::ModelRenamed, id).name(&after.name);
            tx.event(actor, now, change.detail(json!({"from": before.name}))).await?;
        }
        if after.description != before.description || after.tags != before.tags {
            tx.event(actor, now, Change::new(project, EventAction::ModelUpdated, id).name(&after.name)).await?;
        }
        tx.commit().await?;
        Ok(after)
    }

    /// Removes a model with its versions and aliases. `Conflict` while an endpoint serves one.
    pub async fn delete_model(&self, project: ProjectId, id: ModelId, actor: &Actor, now: Timestamp) -> Told<()> {
        let mut tx = self.change().await?;
        let row =
            sql::row(&mut tx, "SELECT name FROM models WHERE project_id = $1 AND id = $2", vals![project, id]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("there is no model {id}")))?;
        let name = row.text("name")?;
        let served = "SELECT e.name AS name, m.name AS model, v.number AS number FROM endpoints e \
            JOIN model_versions v ON v.id = e.model_version_id JOIN models m ON m.id = v.model_id \
            WHERE v.model_id = $1 AND e.deleted_at IS NULL ORDER BY e.name";
        refuse_served(&mut tx, served, id).await?;
        sql::exec(&mut tx, "DELETE FROM model_aliases WHERE model_id = $1", vals![id]).await?;
        sql::exec(&mut tx, "DELETE FROM model_versions WHERE model_id = $1", vals![id]).await?;
        sql::exec(&mut tx, "DELETE FROM models WHERE id = $1", vals![id]).await?;
        tx.count(project, "models", -1);
        tx.event(actor, now, Change::new(project, EventAction::ModelDeleted, id).name(name)).await?;
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
        let sql = "SELECT m.name AS name FROM model_versions v JOIN models m ON m.id = v.model_id \
            WHERE v.model_id = $1 AND v.number = $2 AND m.project_id = $3";
        let row = sql::row(&mut tx, sql, vals![id, number, project]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("the model has no version {number}")))?;
        let sql = "INSERT INTO model_aliases (model_id, alias, number) VALUES ($1, $2, $3) \
            ON CONFLICT (model_id, alias) DO UPDATE SET number = excluded.number";
        sql::exec(&mut tx, sql, vals![id, alias, number]).await?;
        let change = Change::new(project, EventAction::ModelAliasSet, id)
            .name(format!("{}@{alias}", row.text("name")?))
            .detail(json!({"alias": alias, "number": number}));
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
        let row = sql::row(&mut tx, "SELECT name FROM models WHERE project_id = $1 AND id = $2", vals![project, id]);
        let Some(row) = row.await? else { return Ok(()) };
        let sql = "DELETE FROM model_aliases WHERE model_id = $1 AND alias = $2";
        if sql::exec(&mut tx, sql, vals![id, alias]).await? > 0 {
            let change = Change::new(project, EventAction::ModelAliasDeleted, id)
                .name(format!("{}@{alias}", row.text("name")?))
                .detail(json!({"alias": alias}));
            tx.event(actor, now, change).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Aliases of a model, with the numbers they point at.
    pub async fn model_aliases(&self, id: ModelId) -> Told<BTreeMap<String, u32>> {
        Ok(self.aliases_of_models(&[id]).await?.remove(&id).unwrap_or_default())
    }

    /// Aliases of several models. A model without any is left out.
    pub async fn aliases_of_models(&self, ids: &[ModelId]) -> Told<BTreeMap<ModelId, BTreeMap<String, u32>>> {
        let mut conn = self.read().await?;
        let rows = sql::rows_in(&mut conn, vec![], sql::ids(ids), |list| {
            format!("SELECT model_id, alias, number FROM model_aliases WHERE model_id IN ({list})")
        });
        let mut all: BTreeMap<ModelId, BTreeMap<String, u32>> = BTreeMap::new();
        for row in rows.await? {
            let id = row.parse("model_id", "a model id")?;
            all.entry(id).or_default().insert(row.text("alias")?, row.small("number")?);
        }
        Ok(all)
    }
}
