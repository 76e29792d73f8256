//! Experiments: groups of runs, in the shape of the MLflow protocol.

use crate::{
    Actor, Lifecycle, Store, counters,
    events::Change,
    sql::{self, Columns, Result, Val, vals},
};
use kaogong_domain::{
    Problem, Timestamp,
    events::EventAction,
    ids::{ExperimentId, ProjectId},
};
use serde_json::json;
use sqlx::{AnyConnection, any::AnyRow};
use std::collections::{BTreeMap, HashMap};

type Told<T> = std::result::Result<T, Problem>;

/// Experiments of one project, as many as MLflow's own clients ask for in one page.
const EXPERIMENTS_MAX: u64 = 50_000;

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

async fn with_tags(conn: &mut AnyConnection, row: &AnyRow) -> Result<ExperimentRow> {
    let mut it = experiment(row)?;
    let tags = sql::rows(conn, "SELECT key, value FROM experiment_tags WHERE experiment_id = $1", vals![it.id]).await?;
    for tag in tags {
        it.tags.insert(tag.text("key")?, tag.text("value")?);
    }
    Ok(it)
}

async fn put_tag(conn: &mut AnyConnection, id: ExperimentId, key: &str, value: &str) -> Result<()> {
    let sql = "INSERT INTO experiment_tags (experiment_id, key, value) VALUES ($1, $2, $3) \
        ON CONFLICT (experiment_id, key) DO UPDATE SET value = excluded.value";
    sql::exec(conn, sql, vals![id, key, value]).await?;
    Ok(())
}

/// The name of an experiment of the project.
async fn name_of(conn: &mut AnyConnection, project: ProjectId, id: ExperimentId) -> Result<String> {
    let sql = "SELECT name FROM experiments WHERE project_id = $1 AND id = $2";
    let row = sql::row(conn, sql, vals![project, id]).await?;
    row.ok_or_else(|| Problem::not_found(format!("there is no experiment {id}")))?.text("name")
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
        sql::check_pairs("an experiment", "tags", tags.len())?;
        let mut tx = self.change().await?;
        let sql = "SELECT COUNT(*) FROM experiments WHERE project_id = $1 AND name = $2";
        if sql::number(&mut tx, sql, vals![project, name]).await? > 0 {
            return Err(Problem::conflict(format!("there is an experiment `{name}` already")));
        }
        counters::check(&mut tx, project, ("experiments", EXPERIMENTS_MAX)).await?;
        tx.count(project, "experiments", 1);
        let id = ExperimentId::generate(now);
        let sql = "INSERT INTO experiments (id, project_id, name, is_default, lifecycle, created_at, updated_at) \
            VALUES ($1, $2, $3, 0, 'active', $4, $4)";
        sql::exec(&mut tx, sql, vals![id, project, name, now]).await?;
        for (key, value) in tags {
            put_tag(&mut tx, id, key, value).await?;
        }
        tx.event(actor, now, Change::new(project, EventAction::ExperimentCreated, id).name(name)).await?;
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
        let sql = "SELECT e.*, COALESCE((SELECT c.count FROM counters c WHERE c.owner = e.id AND c.what = 'runs.active'), 0) \
            AS run_count FROM experiments e WHERE e.project_id = $1 AND e.lifecycle = 'active' \
            ORDER BY e.updated_at DESC, e.id DESC LIMIT $2";
        let most = ("experiments", usize::try_from(EXPERIMENTS_MAX).unwrap_or(usize::MAX));
        let rows = sql::whole(&mut *self.read().await?, sql, vals![project], most).await?;
        let counted = |row: &AnyRow| -> Result<_> { Ok((experiment(row)?, row.size("run_count")?)) };
        Ok(rows.iter().map(counted).collect::<Result<_>>()?)
    }

    /// Some experiments with their tags, newest first, from the one after `after`; with a lifecycle only those.
    pub async fn page_experiments(
        &self,
        project: ProjectId,
        lifecycle: Option<Lifecycle>,
        after: Option<(Timestamp, ExperimentId)>,
        limit: u32,
    ) -> Told<Vec<ExperimentRow>> {
        let (mut condition, mut values) = ("project_id = $1".to_owned(), vals![project]);
        if let Some(lifecycle) = lifecycle {
            values.push(Val::from(lifecycle.as_str()));
            condition += &format!(" AND lifecycle = ${}", values.len());
        }
        if let Some((at, id)) = after {
            values.extend(vals![at, id]);
            condition += &format!(" AND (created_at, id) < (${}, ${})", values.len() - 1, values.len());
        }
        values.push(Val::from(limit));
        let sql = format!(
            "SELECT * FROM experiments WHERE {condition} ORDER BY created_at DESC, id DESC LIMIT ${}",
            values.len()
        );
        let mut conn = self.read().await?;
        let rows = sql::rows_of(&mut conn, sql, values).await?;
        let mut all: Vec<ExperimentRow> = rows.iter().map(experiment).collect::<Result<_>>()?;
        let place: HashMap<ExperimentId, usize> = all.iter().enumerate().map(|(at, it)| (it.id, at)).collect();
        let ids: Vec<ExperimentId> = all.iter().map(|it| it.id).collect();
        let tags = sql::rows_in(&mut conn, vec![], sql::ids(&ids), |list| {
            format!("SELECT * FROM experiment_tags WHERE experiment_id IN ({list})")
        });
        for tag in tags.await? {
            if let Some(at) = place.get(&tag.parse("experiment_id", "an experiment id")?) {
                all[*at].tags.insert(tag.text("key")?, tag.text("value")?);
            }
        }
        Ok(all)
    }

    /// Names of some experiments of a project, by id.
    pub async fn experiment_names(
        &self,
        project: ProjectId,
        ids: &[ExperimentId],
    ) -> Told<BTreeMap<ExperimentId, String>> {
        let mut conn = self.read().await?;
        let rows = sql::rows_in(&mut conn, vals![project], sql::ids(ids), |list| {
            format!("SELECT id, name FROM experiments WHERE id IN ({list}) AND project_id || '' = $1")
        });
        let named = |row: &AnyRow| -> Result<_> { Ok((row.parse("id", "an experiment id")?, row.text("name")?)) };
        Ok(rows.await?.iter().map(named).collect::<Result<_>>()?)
    }

    /// The id and the lifecycle of an experiment, or of the one that clients call `0`.
    pub async fn experiment_state(
        &self,
        project: ProjectId,
        id: Option<ExperimentId>,
    ) -> Told<Option<(ExperimentId, Lifecycle)>> {
        let mut conn = self.read().await?;
        let row = match id {
            Some(id) => {
                let sql = "SELECT id, lifecycle FROM experiments WHERE id = $1 AND project_id = $2";
                sql::row(&mut conn, sql, vals![id, project]).await?
            }
            None => {
                let sql = "SELECT id, lifecycle FROM experiments WHERE project_id = $1 AND is_default = 1";
                sql::row(&mut conn, sql, vals![project]).await?
            }
        };
        let state = |row: &AnyRow| -> Result<_> {
            Ok((row.parse("id", "an experiment id")?, row.word("lifecycle", Lifecycle::parse, "a lifecycle")?))
        };
        Ok(row.as_ref().map(state).transpose()?)
    }

    /// The id of the experiment that clients call `0`.
    pub async fn default_experiment_id(&self, project: ProjectId) -> Told<ExperimentId> {
        let sql = "SELECT id FROM experiments WHERE project_id = $1 AND is_default = 1";
        let row = sql::row(&mut *self.read().await?, sql, vals![project]).await?;
        let row = row.ok_or_else(|| Problem::not_found("the project has no default experiment"))?;
        Ok(row.parse("id", "an experiment id")?)
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
        let old = name_of(&mut tx, project, id).await?;
        let sql = "SELECT COUNT(*) FROM experiments WHERE project_id = $1 AND name = $2 AND id <> $3";
        if sql::number(&mut tx, sql, vals![project, name, id]).await? > 0 {
            return Err(Problem::conflict(format!("there is an experiment `{name}` already")));
        }
        let sql = "UPDATE experiments SET name = $2, updated_at = $3 WHERE id = $1";
        sql::exec(&mut tx, sql, vals![id, name, now]).await?;
        let change = Change::new(project, EventAction::ExperimentRenamed, id).name(name);
        tx.event(actor, now, change.detail(json!({"from": old}))).await?;
        Ok(tx.commit().await?)
    }

    /// Deletes or restores an experiment with all its runs, as MLflow does: restoring brings back also the runs that
    /// were deleted one by one.
    pub async fn set_experiment_lifecycle(
        &self,
        project: ProjectId,
        id: ExperimentId,
        lifecycle: Lifecycle,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<()> {
        let mut tx = self.change().await?;
        let name = name_of(&mut tx, project, id).await?;
        let sql = "UPDATE experiments SET lifecycle = $2, updated_at = $3 WHERE id = $1";
        sql::exec(&mut tx, sql, vals![id, lifecycle.as_str(), now]).await?;
        let sql = "UPDATE runs SET lifecycle = $2 WHERE experiment_id = $1 AND lifecycle <> $2";
        let runs = sql::exec(&mut tx, sql, vals![id, lifecycle.as_str()]).await?;
        let moved = i64::try_from(runs).unwrap_or(i64::MAX);
        for owner in [project.to_string(), id.to_string()] {
            let sign = if lifecycle == Lifecycle::Active { 1 } else { -1 };
            tx.count(&owner, counters::runs_in(Lifecycle::Active), sign * moved);
            tx.count(&owner, counters::runs_in(Lifecycle::Deleted), -sign * moved);
        }
        let action = if lifecycle == Lifecycle::Active {
            EventAction::ExperimentRestored
        } else {
            EventAction::ExperimentDeleted
        };
        let change = Change::new(project, action, id).name(name).detail(json!({"runs": runs}));
        tx.event(actor, now, change).await?;
        Ok(tx.commit().await?)
    }

    /// Sets a tag of an experiment. Setting the same again changes nothing.
    pub async fn set_experiment_tag(
        &self,
        project: ProjectId,
        id: ExperimentId,
        key: &str,
        value: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<()> {
        let mut tx = self.change().await?;
        let name = name_of(&mut tx, project, id).await?;
        let sql = "SELECT COUNT(*) FROM experiment_tags WHERE experiment_id = $1 AND key = $2 AND value = $3";
        if sql::number(&mut tx, sql, vals![id, key, value]).await? > 0 {
            return Ok(());
        }
        put_tag(&mut tx, id, key, value).await?;
        let sql = "SELECT COUNT(*) FROM experiment_tags WHERE experiment_id = $1";
        let count = sql::number(&mut tx, sql, vals![id]).await?;
        sql::check_pairs("an experiment", "tags", usize::try_from(count).unwrap_or(usize::MAX))?;
        let change = Change::new(project, EventAction::ExperimentTagSet, id).name(name).detail(json!({"key": key}));
        tx.event(actor, now, change).await?;
        Ok(tx.commit().await?)
    }

    /// Removes a tag of an experiment; whether there was one.
    pub async fn delete_experiment_tag(
        &self,
        project: ProjectId,
        id: ExperimentId,
        key: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<bool> {
        let mut tx = self.change().await?;
        let name = name_of(&mut tx, project, id).await?;
        let sql = "DELETE FROM experiment_tags WHERE experiment_id = $1 AND key = $2";
        if sql::exec(&mut tx, sql, vals![id, key]).await? == 0 {
            return Ok(false);
        }
        let change = Change::new(project, EventAction::ExperimentTagDeleted, id).name(name).detail(json!({"key": key}));
        tx.event(actor, now, change).await?;
        tx.commit().await?;
        Ok(true)
    }
}
