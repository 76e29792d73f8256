//! Versions of registered models.

use crate::{
    Actor, Store,
    events::Change,
    models::refuse_served,
    sql::{self, Columns, Result, json_of, vals},
};
use kaogong_domain::{
    ErrorKind, Problem, Timestamp,
    events::EventAction,
    ids::{LoggedModelId, ModelId, ModelVersionId, ProjectId, RunId},
    models::ModelVersionStatus,
};
use serde_json::json;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

type Told<T> = std::result::Result<T, Problem>;

/// Versions in one list.
const VERSIONS_MAX: u64 = 100_000;

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
    /// Why not, or why no endpoint can serve it.
    pub status_message: Option<String>,
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
    /// Whether it can be used.
    pub status: ModelVersionStatus,
    /// Why not, or why no endpoint can serve it.
    pub status_message: Option<String>,
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
    /// An equal version, made after this moment, is the answer: the caller asks again because it heard none.
    pub same_since: Option<Timestamp>,
}

/// What becomes of the other versions in a stage that one enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OthersInStage {
    /// They stay.
    Stay,
    /// They are archived.
    Archive,
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
        status_message: row.opt_text("status_message")?,
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

/// Whether a version is what would be made once more.
fn is_same(it: &ModelVersionRow, new: &NewModelVersionRow) -> bool {
    it.source == new.source
        && it.run_id == new.run_id
        && it.logged_model_id == new.logged_model_id
        && it.run_link == new.run_link
        && it.status == new.status
        && it.status_message == new.status_message
        && it.hash == new.hash
        && it.size == new.size
        && it.user == new.user
        && it.description == new.description
        && it.tags == new.tags
}

/// Refuses to link a version to what the project does not have.
async fn check_links(tx: &mut crate::open::Tx<'_>, project: ProjectId, new: &NewModelVersionRow) -> Result<()> {
    if let Some(run) = new.run_id {
        let sql = "SELECT COUNT(*) FROM runs WHERE project_id = $1 AND id = $2";
        if sql::number(tx, sql, vals![project, run]).await? == 0 {
            return Err(Problem::not_found(format!("there is no run {run}")).into());
        }
    }
    if let Some(model) = new.logged_model_id {
        let sql = "SELECT COUNT(*) FROM logged_models WHERE project_id = $1 AND id = $2";
        if sql::number(tx, sql, vals![project, model]).await? == 0 {
            return Err(Problem::not_found(format!("there is no logged model {model}")).into());
        }
    }
    Ok(())
}

/// A version that was made already: under the same key, or equal and just now.
async fn made_already(
    tx: &mut crate::open::Tx<'_>,
    project: ProjectId,
    model: ModelId,
    new: &NewModelVersionRow,
) -> Result<Option<ModelVersionRow>> {
    if let Some(key) = &new.request_key {
        let sql = "SELECT v.* FROM model_versions v JOIN models m ON m.id = v.model_id \
            WHERE v.model_id = $1 AND v.request_key = $2 AND m.project_id = $3";
        if let Some(row) = sql::row(tx, sql, vals![model, key, project]).await? {
            return version(&row).map(Some);
        }
    }
    if let Some(since) = new.same_since {
        let sql = "SELECT v.* FROM model_versions v JOIN models m ON m.id = v.model_id WHERE v.model_id = $1 \
            AND m.project_id = $2 AND v.created_at > $3 AND v.source = $4 ORDER BY v.number DESC LIMIT 100";
        for row in sql::rows(tx, sql, vals![model, project, since, &new.source]).await? {
            let found = version(&row)?;
            if is_same(&found, new) {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// A version of the project, and the name of its model.
async fn find(
    tx: &mut crate::open::Tx<'_>,
    project: ProjectId,
    id: ModelVersionId,
) -> Result<(ModelVersionRow, String)> {
    let sql = "SELECT v.*, m.name AS model FROM model_versions v JOIN models m ON m.id = v.model_id \
        WHERE v.id = $1 AND m.project_id = $2";
    let row = sql::row(tx, sql, vals![id, project]).await?;
    let row = row.ok_or_else(|| Problem::not_found(format!("there is no model version {id}")))?;
    Ok((version(&row)?, row.text("model")?))
}

/// Stores a changed version with its event.
async fn save(
    tx: &mut crate::open::Tx<'_>,
    project: ProjectId,
    model: &str,
    (before, after): (&ModelVersionRow, &ModelVersionRow),
    actor: &Actor,
    now: Timestamp,
) -> Result<()> {
    sql::check_pairs("a model version", "tags", after.tags.len())?;
    let sql = "UPDATE model_versions SET description = $2, stage = $3, tags = $4, updated_at = $5 WHERE id = $1";
    sql::exec(tx, sql, vals![after.id, &after.description, &after.stage, json_of(&after.tags)?, now]).await?;
    let detail =
        if after.stage == before.stage { json!({}) } else { json!({"stage": after.stage, "from": before.stage}) };
    let change = Change::new(project, EventAction::ModelVersionUpdated, after.id)
        .name(format!("{model}@{}", after.number))
        .detail(detail);
    tx.event(actor, now, change).await
}

impl Store {
    /// Registers a version with the next number; numbers of deleted versions are not used again.
    ///
    /// # Errors
    /// `NotFound` when the project has no such model, run or logged model.
    pub async fn create_model_version(
        &self,
        project: ProjectId,
        model_id: ModelId,
        new: NewModelVersionRow,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<ModelVersionRow> {
        sql::check_pairs("a model version", "tags", new.tags.len())?;
        let mut tx = self.change().await?;
        if let Some(found) = made_already(&mut tx, project, model_id, &new).await? {
            return Ok(found);
        }
        check_links(&mut tx, project, &new).await?;
        let sql = "UPDATE models SET last_number = last_number + 1, updated_at = $3 WHERE project_id = $1 AND id = $2 \
            RETURNING last_number, name";
        let row = sql::row(&mut tx, sql, vals![project, model_id, now]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("there is no model {model_id}")))?;
        let (number, name) = (row.int("last_number")?, row.text("name")?);
        let id = ModelVersionId::generate(now);
        let sql = "INSERT INTO model_versions (id, model_id, number, source, run_id, logged_model_id, run_link, status, status_message, stage, \
            description, tags, hash, size, request_key, user_name, created_at, updated_at) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'None', $10, $11, $12, $13, $14, $15, $16, $16)";
        let values = vals![
            id,
            model_id,
            number,
            &new.source,
            new.run_id,
            new.logged_model_id,
            new.run_link.clone(),
            new.status.as_str(),
            new.status_message.clone(),
            &new.description,
            json_of(&new.tags)?,
            new.hash.clone(),
            new.size,
            new.request_key.clone(),
            &new.user,
            now
        ];
        sql::exec(&mut tx, sql, values).await?;
        let change = Change::new(project, EventAction::ModelVersionCreated, model_id).name(format!("{name}@{number}"));
        tx.event(actor, now, change.detail(json!({"number": number}))).await?;
        let row = sql::row(&mut tx, "SELECT * FROM model_versions WHERE id = $1", vals![id]).await?;
        let made = version(&row.ok_or_else(|| Problem::not_found("the version is gone"))?)?;
        tx.commit().await?;
        Ok(made)
    }

    /// The newest version of a model.
    pub async fn newest_model_version(&self, id: ModelId) -> Told<Option<ModelVersionRow>> {
        let sql = "SELECT * FROM model_versions WHERE model_id = $1 ORDER BY number DESC LIMIT 1";
        let row = sql::row(&mut *self.read().await?, sql, vals![id]).await?;
        Ok(row.as_ref().map(version).transpose()?)
    }

    /// The versions of several models, of each the oldest first.
    ///
    /// # Errors
    /// `TooMany` above 100,000 together.
    pub async fn versions_of_models(&self, ids: &[ModelId]) -> Told<Vec<ModelVersionRow>> {
        let mut conn = self.read().await?;
        let rows = sql::rows_in(&mut conn, vals![VERSIONS_MAX + 1], sql::ids(ids), |list| {
            format!("SELECT * FROM model_versions WHERE model_id IN ({list}) ORDER BY model_id, number LIMIT $1")
        });
        let rows = rows.await?;
        if rows.len() as u64 > VERSIONS_MAX {
            let text =
                format!("these models have more than {VERSIONS_MAX} versions, which is more than one list takes");
            return Err(
                Problem::new(ErrorKind::TooMany, text).hint("look at one model at a time, or delete old versions")
            );
        }
        Ok(rows.iter().map(version).collect::<Result<_>>()?)
    }

    /// The versions registered from a run, oldest first.
    pub async fn versions_of_run(&self, project: ProjectId, run: RunId) -> Told<Vec<ModelVersionRow>> {
        let sql = "SELECT v.* FROM model_versions v JOIN models m ON m.id = v.model_id \
            WHERE v.run_id = $1 AND m.project_id = $2 ORDER BY v.created_at, v.number";
        let rows = sql::rows(&mut *self.read().await?, sql, vals![run, project]).await?;
        Ok(rows.iter().map(version).collect::<Result<_>>()?)
    }

    /// Of several models the newest version in each stage.
    pub async fn newest_of_stages(&self, ids: &[ModelId]) -> Told<Vec<ModelVersionRow>> {
        let mut conn = self.read().await?;
        let rows = sql::rows_in(&mut conn, vec![], sql::ids(ids), |list| {
            format!(
                "SELECT v.* FROM model_versions v WHERE (v.model_id, v.number) IN (SELECT m.id, (SELECT MAX(n.number) \
                 FROM model_versions n WHERE n.model_id = m.id AND n.stage = s.stage) FROM models m CROSS JOIN \
                 (SELECT 'None' AS stage UNION ALL SELECT 'Staging' UNION ALL SELECT 'Production' \
                 UNION ALL SELECT 'Archived') AS s WHERE m.id IN ({list})) ORDER BY v.model_id, v.stage"
            )
        });
        Ok(rows.await?.iter().map(version).collect::<Result<_>>()?)
    }

    /// A version by number.
    pub async fn find_model_version(&self, id: ModelId, number: u32) -> Told<Option<ModelVersionRow>> {
        let sql = "SELECT * FROM model_versions WHERE model_id = $1 AND number = $2";
        let row = sql::row(&mut *self.read().await?, sql, vals![id, number]).await?;
        Ok(row.as_ref().map(version).transpose()?)
    }

    /// Lets `change` change a version's description, stage and tags. Nobody else changes it in between.
    pub async fn change_model_version(
        &self,
        project: ProjectId,
        id: ModelVersionId,
        change: impl FnOnce(&mut ModelVersionRow) -> Told<()> + Send,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<ModelVersionRow> {
        let mut tx = self.change().await?;
        let (before, model) = find(&mut tx, project, id).await?;
        let mut after = before.clone();
        change(&mut after)?;
        if after == before {
            return Ok(after);
        }
        after.updated_at = now;
        save(&mut tx, project, &model, (&before, &after), actor, now).await?;
        tx.commit().await?;
        Ok(after)
    }

    /// Moves a version to one of MLflow's stages, together with what becomes of the others there.
    pub async fn set_model_version_stage(
        &self,
        project: ProjectId,
        id: ModelVersionId,
        stage: &str,
        others: OthersInStage,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<ModelVersionRow> {
        let mut tx = self.change().await?;
        let (mut before, model) = find(&mut tx, project, id).await?;
        if others == OthersInStage::Archive {
            let sql = "SELECT * FROM model_versions WHERE model_id = $1 AND stage = $2 AND id <> $3 ORDER BY number";
            for row in sql::rows(&mut tx, sql, vals![before.model_id, stage, id]).await? {
                let other = version(&row)?;
                let archived = ModelVersionRow { stage: "Archived".to_owned(), updated_at: now, ..other.clone() };
                save(&mut tx, project, &model, (&other, &archived), actor, now).await?;
            }
        }
        let after = ModelVersionRow { stage: stage.to_owned(), updated_at: now, ..before.clone() };
        if after.stage != before.stage {
            save(&mut tx, project, &model, (&before, &after), actor, now).await?;
            before = after;
        }
        tx.commit().await?;
        Ok(before)
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
        let (found, model) = find(&mut tx, project, id).await?;
        let served = "SELECT e.name AS name, m.name AS model, v.number AS number FROM endpoints e \
            JOIN model_versions v ON v.id = e.model_version_id JOIN models m ON m.id = v.model_id \
            WHERE v.id = $1 AND e.deleted_at IS NULL ORDER BY e.name";
        refuse_served(&mut tx, served, id).await?;
        sql::exec(&mut tx, "DELETE FROM model_versions WHERE id = $1", vals![id]).await?;
        let sql = "DELETE FROM model_aliases WHERE model_id = $1 AND number = $2";
        sql::exec(&mut tx, sql, vals![found.model_id, found.number]).await?;
        let change = Change::new(project, EventAction::ModelVersionDeleted, id);
        tx.event(actor, now, change.name(format!("{model}@{}", found.number))).await?;
        Ok(tx.commit().await?)
    }

    /// `name@number` of the versions registered from runs of a project, by run. A run without any is left out.
    pub async fn models_of_runs(&self, project: ProjectId, runs: &[RunId]) -> Told<BTreeMap<RunId, Vec<String>>> {
        let mut conn = self.read().await?;
        let rows = sql::rows_in(&mut conn, vals![project], sql::ids(runs), |list| {
            format!(
                "SELECT v.run_id AS run_id, m.name AS name, v.number AS number FROM model_versions v \
                 JOIN models m ON m.id = v.model_id WHERE v.run_id IN ({list}) AND m.project_id || '' = $1 \
                 ORDER BY m.name, v.number"
            )
        });
        let mut all: BTreeMap<RunId, Vec<String>> = BTreeMap::new();
        for row in rows.await? {
            let name = format!("{}@{}", row.text("name")?, row.int("number")?);
            all.entry(row.parse("run_id", "a run id")?).or_default().push(name);
        }
        Ok(all)
    }

    /// `name@number` of the versions registered from a run of a project.
    pub async fn models_of_run(&self, project: ProjectId, run: RunId) -> Told<Vec<String>> {
        Ok(self.models_of_runs(project, &[run]).await?.remove(&run).unwrap_or_default())
    }
}
