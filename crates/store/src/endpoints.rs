//! Endpoints: what is wanted. What is seen lives with the process that serves.

use crate::{
    Actor, Store, counters,
    events::Change,
    sql::{self, Columns, Result, vals},
};
use kaogong_domain::{
    Problem, Timestamp,
    endpoints::{Batching, EngineName, Isolation},
    events::EventAction,
    ids::{EndpointId, ModelVersionId, ProjectId, UserId},
    names::Name,
};
use serde_json::json;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

type Told<T> = std::result::Result<T, Problem>;

/// Live endpoints of one project.
const ENDPOINTS_MAX: u64 = 10_000;
/// Endpoints read together while all are read.
const BATCH: u32 = 1_000;

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointRow {
    /// Its id.
    pub id: EndpointId,
    /// Its project.
    pub project_id: ProjectId,
    /// Its name.
    pub name: Name,
    /// The model version it serves.
    pub model_version_id: ModelVersionId,
    /// The registered model's name.
    pub model: String,
    /// The version's number.
    pub version: u32,
    /// Hash of the model file.
    pub hash: Option<String>,
    /// The engine.
    pub engine: EngineName,
    /// Whether rows of several callers share a run.
    pub batching: Batching,
    /// Where the model runs.
    pub isolation: Isolation,
    /// Grows with every change.
    pub generation: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: Option<UserId>,
}

/// An endpoint to make or change.
#[derive(Debug, Clone)]
pub struct NewEndpointRow {
    /// Its name.
    pub name: Name,
    /// The model version it serves.
    pub model_version_id: ModelVersionId,
    /// The engine.
    pub engine: EngineName,
    /// Whether rows of several callers share a run.
    pub batching: Batching,
    /// Where the model runs.
    pub isolation: Isolation,
}

fn endpoint(row: &AnyRow) -> Result<EndpointRow> {
    Ok(EndpointRow {
        id: row.parse("id", "an endpoint id")?,
        project_id: row.parse("project_id", "a project id")?,
        name: row.parse("name", "a name")?,
        model_version_id: row.parse("model_version_id", "a model version id")?,
        model: row.text("model")?,
        version: row.small("number")?,
        hash: row.opt_text("hash")?,
        engine: row.word("engine", EngineName::parse, "an engine")?,
        batching: row.word("batching", Batching::parse, "a kind of batching")?,
        isolation: row.word("isolation", Isolation::parse, "an isolation")?,
        generation: row.int("generation")?,
        created_at: row.time("created_at")?,
        created_by: row.opt_parse("created_by", "a user id")?,
    })
}

const ONE: &str = "SELECT e.*, m.name AS model, v.number AS number, v.hash AS hash FROM endpoints e \
    JOIN model_versions v ON v.id = e.model_version_id JOIN models m ON m.id = v.model_id \
    WHERE e.project_id = $1 AND e.name = $2 AND e.deleted_at IS NULL";

async fn check_version(tx: &mut crate::open::Tx<'_>, project: ProjectId, id: ModelVersionId) -> Result<()> {
    let sql = "SELECT COUNT(*) FROM model_versions v JOIN models m ON m.id = v.model_id WHERE v.id = $1 AND m.project_id = $2";
    if sql::number(tx, sql, vals![id, project]).await? == 0 {
        return Err(Problem::not_found(format!("the project has no model version {id}")).into());
    }
    Ok(())
}

impl Store {
    /// A new endpoint. The same one again gives the existing one; `Conflict` when it serves something else.
    pub async fn create_endpoint(
        &self,
        project: ProjectId,
        new: NewEndpointRow,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<EndpointRow> {
        let mut tx = self.change().await?;
        if let Some(row) = sql::row(&mut tx, ONE, vals![project, &new.name]).await? {
            let found = endpoint(&row)?;
            let is_same = |it: &EndpointRow| {
                it.model_version_id == new.model_version_id
                    && it.engine == new.engine
                    && it.isolation == new.isolation
                    && it.batching == new.batching
            };
            if is_same(&found) {
                return Ok(found);
            }
            let text = format!("endpoint `{}` exists and serves {}@{}", new.name, found.model, found.version);
            return Err(Problem::conflict(text).hint("update it, or choose another name"));
        }
        counters::check(&mut tx, project, ("endpoints", ENDPOINTS_MAX)).await?;
        check_version(&mut tx, project, new.model_version_id).await?;
        let id = EndpointId::generate(now);
        let sql = "INSERT INTO endpoints (id, project_id, name, model_version_id, engine, isolation, batching, generation, created_at, created_by) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9)";
        let (engine, isolation) = (new.engine.as_str(), new.isolation.as_str());
        let batching = new.batching.as_str();
        let values = vals![id, project, &new.name, new.model_version_id, engine, isolation, batching, now, actor.user];
        sql::exec(&mut tx, sql, values).await?;
        tx.count(project, "endpoints", 1);
        tx.event(actor, now, Change::new(project, EventAction::EndpointCreated, id).name(&new.name)).await?;
        let row = sql::row(&mut tx, ONE, vals![project, &new.name]).await?;
        let row = row.ok_or_else(|| Problem::not_found("the model version of this endpoint is gone"))?;
        let made = endpoint(&row)?;
        tx.commit().await?;
        Ok(made)
    }

    /// Lets an endpoint serve something else.
    pub async fn update_endpoint(
        &self,
        project: ProjectId,
        new: NewEndpointRow,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<EndpointRow> {
        let mut tx = self.change().await?;
        check_version(&mut tx, project, new.model_version_id).await?;
        let sql = "UPDATE endpoints SET model_version_id = $3, engine = $4, isolation = $5, batching = $6, generation = generation + 1 \
            WHERE project_id = $1 AND name = $2 AND deleted_at IS NULL";
        let (engine, isolation) = (new.engine.as_str(), new.isolation.as_str());
        let batching = new.batching.as_str();
        let values = vals![project, &new.name, new.model_version_id, engine, isolation, batching];
        if sql::exec(&mut tx, sql, values).await? == 0 {
            return Err(Problem::not_found(format!("there is no endpoint `{}`", new.name)));
        }
        let row = sql::row(&mut tx, ONE, vals![project, &new.name]).await?;
        let row = row.ok_or_else(|| Problem::not_found("the model version of this endpoint is gone"))?;
        let made = endpoint(&row)?;
        let change = Change::new(project, EventAction::EndpointUpdated, made.id)
            .name(&new.name)
            .detail(json!({"model": made.model, "version": made.version, "engine": engine, "isolation": isolation, "batching": batching}));
        tx.event(actor, now, change).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// Removes an endpoint.
    pub async fn delete_endpoint(&self, project: ProjectId, id: EndpointId, actor: &Actor, now: Timestamp) -> Told<()> {
        let mut tx = self.change().await?;
        let sql = "UPDATE endpoints SET deleted_at = $3 WHERE project_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING name";
        let row = sql::row(&mut tx, sql, vals![project, id, now]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("there is no endpoint {id}")))?;
        tx.count(project, "endpoints", -1);
        tx.event(actor, now, Change::new(project, EventAction::EndpointDeleted, id).name(row.text("name")?)).await?;
        Ok(tx.commit().await?)
    }

    /// A live endpoint by name.
    pub async fn find_endpoint(&self, project: ProjectId, name: &Name) -> Told<Option<EndpointRow>> {
        let row = sql::row(&mut *self.read().await?, ONE, vals![project, name]).await?;
        Ok(row.as_ref().map(endpoint).transpose()?)
    }

    /// The live endpoints of a project, by name.
    pub async fn list_endpoints(&self, project: ProjectId) -> Told<Vec<EndpointRow>> {
        let sql = "SELECT e.*, m.name AS model, v.number AS number, v.hash AS hash FROM endpoints e \
            JOIN model_versions v ON v.id = e.model_version_id JOIN models m ON m.id = v.model_id \
            WHERE e.project_id = $1 AND e.deleted_at IS NULL ORDER BY e.name LIMIT $2";
        let most = ("endpoints", usize::try_from(ENDPOINTS_MAX).unwrap_or(usize::MAX));
        let rows = sql::whole(&mut *self.read().await?, sql, vals![project], most).await?;
        Ok(rows.iter().map(endpoint).collect::<Result<_>>()?)
    }

    /// Every live endpoint of every project, however many there are.
    pub async fn all_endpoints(&self) -> Told<Vec<EndpointRow>> {
        let sql = "SELECT e.*, m.name AS model, v.number AS number, v.hash AS hash FROM endpoints e \
            JOIN model_versions v ON v.id = e.model_version_id JOIN models m ON m.id = v.model_id \
            WHERE e.deleted_at IS NULL AND e.id > $1 ORDER BY e.id LIMIT $2";
        let mut all: Vec<EndpointRow> = vec![];
        loop {
            let after = all.last().map_or_else(String::new, |it| it.id.to_string());
            let rows = sql::rows(&mut *self.read().await?, sql, vals![after, BATCH]).await?;
            for row in &rows {
                all.push(endpoint(row)?);
            }
            if rows.len() < BATCH as usize {
                return Ok(all);
            }
        }
    }

    /// Names of the live endpoints that serve a model version.
    pub async fn endpoints_of_model_version(&self, id: ModelVersionId) -> Told<Vec<String>> {
        Ok(self.endpoints_of_model_versions(&[id]).await?.remove(&id).unwrap_or_default())
    }

    /// Names of the live endpoints that serve model versions, by version. One that none serves is left out.
    pub async fn endpoints_of_model_versions(
        &self,
        ids: &[ModelVersionId],
    ) -> Told<BTreeMap<ModelVersionId, Vec<String>>> {
        let mut conn = self.read().await?;
        let rows = sql::rows_in(&mut conn, vec![], sql::ids(ids), |list| {
            format!(
                "SELECT model_version_id, name FROM endpoints WHERE model_version_id IN ({list}) AND deleted_at IS NULL \
                 ORDER BY name"
            )
        });
        let mut all: BTreeMap<ModelVersionId, Vec<String>> = BTreeMap::new();
        for row in rows.await? {
            all.entry(row.parse("model_version_id", "a model version id")?).or_default().push(row.text("name")?);
        }
        Ok(all)
    }
}
