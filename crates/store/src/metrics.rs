//! What runs log: parameters, tags, metrics. Writing the same again changes nothing, so clients may repeat.

use crate::{
    Actor, Dialect, Lifecycle, RunFull, RunRow, Store,
    events::Change,
    logged_metrics::{self, ModelMetric},
    runs::{RUN_NAME_TAG, rename, run as run_of},
    sql::{self, Columns, Result, Val, vals},
};
use kaogong_domain::{
    Problem, Timestamp,
    events::EventAction,
    ids::{ExperimentId, ProjectId, RunId},
    runs::MetricPoint,
};
use serde_json::json;
use sqlx::{AnyConnection, any::AnyRow};
use std::collections::{BTreeMap, HashMap};

type Told<T> = std::result::Result<T, Problem>;

/// What a run logs in one call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunLog {
    /// Parameters. One that was logged before must keep its value.
    pub params: Vec<(String, String)>,
    /// Tags. The one that holds the run's name renames it.
    pub tags: BTreeMap<String, String>,
    /// Points of metrics.
    pub metrics: Vec<MetricPoint>,
    /// Those points that were measured on a logged model, for the model.
    pub model_metrics: Vec<ModelMetric>,
}

pub(crate) async fn put_tags(
    conn: &mut AnyConnection,
    (run, experiment): (RunId, ExperimentId),
    tags: &BTreeMap<String, String>,
) -> Result<()> {
    let rows = tags.iter().map(|(key, value)| vals![run, experiment, key, value]).collect();
    sql::put_rows(conn, rows, |list| {
        format!(
            "INSERT INTO tags (run_id, experiment_id, key, value) VALUES {list} \
             ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value"
        )
    })
    .await?;
    Ok(())
}

/// NaN is stored beside the number, because databases disagree about it; infinities as MLflow does.
pub(crate) fn stored(value: f64) -> (f64, bool) {
    if value.is_nan() { (0.0, true) } else { (value.clamp(-f64::MAX, f64::MAX), false) }
}

pub(crate) fn point(row: &AnyRow) -> Result<MetricPoint> {
    let value = if row.truth("is_nan")? { f64::NAN } else { row.real("value")? };
    Ok(MetricPoint { key: row.text("key")?, value, timestamp_ms: row.int("at")?, step: row.int("step")? })
}

async fn put_params(conn: &mut AnyConnection, owner: &RunRow, params: &[(String, String)]) -> Result<()> {
    let (run, experiment) = (owner.id, owner.experiment_id);
    // In one order for everybody, so that two batches cannot wait for each other's rows.
    let mut params: Vec<&(String, String)> = params.iter().collect();
    params.sort();
    let rows: Vec<Vec<Val>> = params.iter().map(|(key, value)| vals![run, experiment, key, value]).collect();
    let added = sql::put_rows(conn, rows, |list| {
        format!(
            "INSERT INTO params (run_id, experiment_id, key, value) VALUES {list} ON CONFLICT (run_id, key) DO NOTHING"
        )
    })
    .await?;
    if added < params.len() as u64 {
        refuse_changed(conn, run, &params).await?;
    }
    if added > 0 {
        let count = sql::number(conn, "SELECT COUNT(*) FROM params WHERE run_id = $1", vals![run]).await?;
        sql::check_pairs("a run", "parameters", usize::try_from(count).unwrap_or(usize::MAX))?;
    }
    Ok(())
}

/// Refuses a parameter that has another value already. A key that the batch itself names twice counts, too.
async fn refuse_changed(conn: &mut AnyConnection, run: RunId, params: &[&(String, String)]) -> Result<()> {
    let keys = params.iter().map(|it| Val::from(&it.0)).collect();
    let rows = sql::rows_in(conn, vals![run], keys, |list| {
        format!("SELECT key, value FROM params WHERE run_id = $1 AND key IN ({list})")
    });
    let mut kept: HashMap<String, String> = HashMap::new();
    for row in rows.await? {
        kept.insert(row.text("key")?, row.text("value")?);
    }
    for (key, value) in params {
        let old = kept.get(key).map(String::as_str).unwrap_or_default();
        if old != value {
            let text = format!(
                "Changing param values is not allowed. Param with key='{key}' was already logged with value='{old}' \
                 for run ID='{run}'. Attempted logging new value '{value}'."
            );
            return Err(Problem::invalid(text).into());
        }
    }
    Ok(())
}

/// The experiment, the name and the lifecycle of a run that takes something new. On PostgreSQL the run cannot be
/// deleted before the transaction that asks ends.
async fn taking(store: &Store, conn: &mut AnyConnection, project: ProjectId, run: RunId) -> Result<RunRow> {
    let sql = match store.dialect {
        Dialect::Sqlite => "SELECT * FROM runs WHERE project_id = $1 AND id = $2",
        Dialect::Postgres => "SELECT * FROM runs WHERE project_id = $1 AND id = $2 FOR SHARE",
    };
    let row = sql::row(conn, sql, vals![project, run]).await?;
    let row = run_of(&row.ok_or_else(|| Problem::not_found(format!("there is no run {run}")))?)?;
    if row.lifecycle != Lifecycle::Active {
        let state = row.lifecycle.as_str();
        let text = format!("The run {run} must be in the 'active' state. Current state is {state}.");
        return Err(Problem::invalid(text).into());
    }
    Ok(row)
}

/// Everything of one batch, for a run that takes it.
async fn put(conn: &mut AnyConnection, project: ProjectId, owner: &RunRow, log: &RunLog) -> Result<()> {
    let run = owner.id;
    put_params(conn, owner, &log.params).await?;
    put_tags(conn, (run, owner.experiment_id), &log.tags).await?;
    if !log.tags.is_empty() {
        let count = sql::number(conn, "SELECT COUNT(*) FROM tags WHERE run_id = $1", vals![run]).await?;
        sql::check_pairs("a run", "tags", usize::try_from(count).unwrap_or(usize::MAX))?;
    }
    put_metrics(conn, owner, &log.metrics).await?;
    logged_metrics::put(conn, project, run, &log.model_metrics).await?;
    Ok(())
}

async fn put_metrics(conn: &mut AnyConnection, owner: &RunRow, points: &[MetricPoint]) -> Result<()> {
    let mut ordered: Vec<&MetricPoint> = points.iter().collect();
    ordered.sort_by(|a, b| (&a.key, a.step, a.timestamp_ms).cmp(&(&b.key, b.step, b.timestamp_ms)));
    let row = |it: &MetricPoint| {
        let (value, is_nan) = stored(it.value);
        vals![owner.id, &it.key, it.timestamp_ms, it.step, value, is_nan]
    };
    sql::put_rows(conn, ordered.into_iter().map(row).collect(), |list| {
        format!("INSERT INTO metrics (run_id, key, at, step, value, is_nan) VALUES {list} ON CONFLICT DO NOTHING")
    })
    .await?;
    put_newest(conn, owner, newest_by_key(points).into_values().collect()).await
}

/// MLflow's rule: the higher step is newer, then the later time, then the larger value, where NaN counts as 0.
async fn put_newest(conn: &mut AnyConnection, owner: &RunRow, newest: Vec<&MetricPoint>) -> Result<()> {
    let row = |it: &MetricPoint| {
        let (value, is_nan) = stored(it.value);
        vals![owner.id, owner.experiment_id, &it.key, it.timestamp_ms, it.step, value, is_nan]
    };
    sql::put_rows(conn, newest.into_iter().map(row).collect(), |list| {
        format!(
            "INSERT INTO latest_metrics (run_id, experiment_id, key, at, step, value, is_nan) VALUES {list} \
             ON CONFLICT (run_id, key) DO UPDATE SET at = excluded.at, step = excluded.step, value = excluded.value, \
             is_nan = excluded.is_nan WHERE excluded.step > latest_metrics.step OR (excluded.step = latest_metrics.step \
             AND (excluded.at > latest_metrics.at OR (excluded.at = latest_metrics.at \
             AND excluded.value > latest_metrics.value)))"
        )
    })
    .await?;
    Ok(())
}

fn newest_by_key(points: &[MetricPoint]) -> BTreeMap<&str, &MetricPoint> {
    let mut newest: BTreeMap<&str, &MetricPoint> = BTreeMap::new();
    for it in points {
        let rank = |it: &MetricPoint| (it.step, it.timestamp_ms);
        let is_newer = newest.get(it.key.as_str()).is_none_or(|old| {
            rank(it) > rank(old) || (rank(it) == rank(old) && stored(it.value).0 > stored(old.value).0)
        });
        if is_newer {
            newest.insert(&it.key, it);
        }
    }
    newest
}

/// Of each metric of some runs the newest point, by key.
pub(crate) async fn newest_of(conn: &mut AnyConnection, runs: &[RunId]) -> Result<Vec<(RunId, MetricPoint)>> {
    let rows = sql::rows_in(conn, vec![], sql::ids(runs), |list| {
        format!("SELECT * FROM latest_metrics WHERE run_id IN ({list}) ORDER BY run_id, key")
    });
    rows.await?.iter().map(|it| Ok((it.parse("run_id", "a run id")?, point(it)?))).collect()
}

/// Adds to runs what they logged, a few statements for all of them.
pub(crate) async fn fill(conn: &mut AnyConnection, rows: Vec<RunRow>) -> Result<Vec<RunFull>> {
    let mut full: Vec<RunFull> = rows
        .into_iter()
        .map(|row| RunFull { row, params: BTreeMap::new(), tags: BTreeMap::new(), metrics: vec![] })
        .collect();
    let place: HashMap<RunId, usize> = full.iter().enumerate().map(|(at, it)| (it.row.id, at)).collect();
    let runs: Vec<RunId> = full.iter().map(|it| it.row.id).collect();
    let rows = sql::rows_in(conn, vec![], sql::ids(&runs), |list| {
        format!(
            "SELECT 0 AS kind, run_id, key, value AS text, CAST(NULL AS BIGINT) AS at, CAST(NULL AS BIGINT) AS step, \
             CAST(NULL AS DOUBLE PRECISION) AS value, CAST(NULL AS BIGINT) AS is_nan FROM params WHERE run_id IN ({list}) \
             UNION ALL SELECT 1, run_id, key, value, NULL, NULL, NULL, NULL FROM tags WHERE run_id IN ({list}) \
             UNION ALL SELECT 2, run_id, key, NULL, at, step, value, is_nan FROM latest_metrics WHERE run_id IN ({list})"
        )
    });
    for row in rows.await? {
        let Some(at) = place.get(&row.parse("run_id", "a run id")?) else { continue };
        match row.int("kind")? {
            0 => full[*at].params.insert(row.text("key")?, row.text("text")?),
            1 => full[*at].tags.insert(row.text("key")?, row.text("text")?),
            _ => {
                full[*at].metrics.push(point(&row)?);
                None
            }
        };
    }
    for it in &mut full {
        it.metrics.sort_by(|one, other| one.key.cmp(&other.key));
    }
    Ok(full)
}

impl Store {
    /// Logs parameters, tags and metrics of a run, all or nothing. The same again changes nothing.
    ///
    /// # Errors
    /// `NotFound` when the project has no such run or logged model, `Invalid` when the run is deleted or a parameter
    /// would change.
    pub async fn log_batch(
        &self,
        project: ProjectId,
        run: RunId,
        log: &RunLog,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<()> {
        // A measurement waits for nobody; another name is a change of state, with its event.
        if let Some(name) = log.tags.get(RUN_NAME_TAG) {
            let mut tx = self.change().await?;
            let before = taking(self, &mut tx, project, run).await?;
            put(&mut tx, project, &before, log).await?;
            rename(&mut tx, project, &before, name, actor, now).await?;
            return Ok(tx.commit().await?);
        }
        let mut tx = self.measure().await?;
        let owner = taking(self, &mut tx, project, run).await?;
        put(&mut tx, project, &owner, log).await?;
        Ok(tx.commit().await.map_err(crate::StoreError::from)?)
    }

    /// Lets `change` make a tag's value from the one before. Nobody else changes the run's tags this way in between.
    pub async fn change_run_tag(
        &self,
        project: ProjectId,
        run: RunId,
        key: &str,
        change: impl FnOnce(Option<String>) -> Told<String> + Send,
    ) -> Told<()> {
        let mut tx = self.measure().await?;
        // Holds the row until the end: on PostgreSQL others would read the old value, too.
        let sql = "UPDATE runs SET name = name WHERE project_id = $1 AND id = $2 RETURNING experiment_id";
        let row = sql::row(&mut tx, sql, vals![project, run]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("there is no run {run}")))?;
        let experiment = row.parse("experiment_id", "an experiment id")?;
        let sql = "SELECT value FROM tags WHERE run_id = $1 AND key = $2";
        let old = sql::row(&mut tx, sql, vals![run, key]).await?.map(|it| it.text("value")).transpose()?;
        let tags = BTreeMap::from([(key.to_owned(), change(old)?)]);
        put_tags(&mut tx, (run, experiment), &tags).await?;
        Ok(tx.commit().await.map_err(crate::StoreError::from)?)
    }

    /// Removes a tag of a run; whether there was one.
    pub async fn delete_run_tag(
        &self,
        project: ProjectId,
        run: RunId,
        key: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<bool> {
        let mut tx = self.change().await?;
        let sql = "SELECT name FROM runs WHERE project_id = $1 AND id = $2";
        let row = sql::row(&mut tx, sql, vals![project, run]).await?;
        let name = row.ok_or_else(|| Problem::not_found(format!("there is no run {run}")))?.text("name")?;
        if sql::exec(&mut tx, "DELETE FROM tags WHERE run_id = $1 AND key = $2", vals![run, key]).await? == 0 {
            return Ok(false);
        }
        let change = Change::new(project, EventAction::RunTagDeleted, run).name(name).detail(json!({"key": key}));
        tx.event(actor, now, change).await?;
        tx.commit().await?;
        Ok(true)
    }
}
