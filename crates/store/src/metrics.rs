//! What runs log: parameters, tags, metrics. Writing the same again changes nothing, so clients may repeat.

use crate::{
    RunFull, RunRow, Store,
    sql::{self, Columns, Result, Val, places, vals},
};
use kaogong_domain::{
    Problem,
    ids::{ProjectId, RunId},
    runs::MetricPoint,
};
use sqlx::{AnyConnection, any::AnyRow};
use std::collections::{BTreeMap, HashMap};

type Told<T> = std::result::Result<T, Problem>;

/// Rows written by one statement: SQLite takes at most 32,766 values, PostgreSQL 65,535.
const ROWS_AT_ONCE: usize = 400;
/// Runs whose values are read together.
const RUNS_AT_ONCE: usize = 500;

pub(crate) async fn put_tags(conn: &mut AnyConnection, run: RunId, tags: &BTreeMap<String, String>) -> Result<()> {
    for (key, value) in tags {
        let sql = "INSERT INTO tags (run_id, key, value) VALUES ($1, $2, $3) ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value";
        sql::exec(conn, sql, vals![run, key, value]).await?;
    }
    Ok(())
}

/// NaN is stored beside the number, because databases disagree about it; infinities as MLflow does.
fn stored(value: f64) -> (f64, bool) {
    if value.is_nan() { (0.0, true) } else { (value.clamp(-f64::MAX, f64::MAX), false) }
}

fn point(row: &AnyRow) -> Result<MetricPoint> {
    let value = if row.truth("is_nan")? { f64::NAN } else { row.real("value")? };
    Ok(MetricPoint { key: row.text("key")?, value, timestamp_ms: row.int("at")?, step: row.int("step")? })
}

async fn put_params(conn: &mut AnyConnection, run: RunId, params: &[(String, String)]) -> Result<()> {
    // In one order for everybody, so that two batches cannot wait for each other's rows.
    let mut params: Vec<&(String, String)> = params.iter().collect();
    params.sort();
    for (key, value) in params {
        let sql = "INSERT INTO params (run_id, key, value) VALUES ($1, $2, $3) ON CONFLICT (run_id, key) DO NOTHING";
        if sql::exec(conn, sql, vals![run, key, value]).await? > 0 {
            continue;
        }
        let row = sql::row(conn, "SELECT value FROM params WHERE run_id = $1 AND key = $2", vals![run, key]).await?;
        let old = row.map(|it| it.text("value")).transpose()?.unwrap_or_default();
        if old != *value {
            let text = format!(
                "Changing param values is not allowed. Param with key='{key}' was already logged with value='{old}' \
                 for run ID='{run}'. Attempted logging new value '{value}'."
            );
            return Err(Problem::invalid(text).into());
        }
    }
    Ok(())
}

async fn put_metrics(conn: &mut AnyConnection, run: RunId, points: &[MetricPoint]) -> Result<()> {
    let mut ordered: Vec<&MetricPoint> = points.iter().collect();
    ordered.sort_by(|a, b| (&a.key, a.step, a.timestamp_ms).cmp(&(&b.key, b.step, b.timestamp_ms)));
    for batch in ordered.chunks(ROWS_AT_ONCE) {
        let rows: Vec<String> = (0..batch.len()).map(|it| format!("({})", places(it * 6 + 1, 6))).collect();
        let sql = format!(
            "INSERT INTO metrics (run_id, key, at, step, value, is_nan) VALUES {} ON CONFLICT DO NOTHING",
            rows.join(", ")
        );
        let mut values = Vec::with_capacity(batch.len() * 6);
        for it in batch {
            let (value, is_nan) = stored(it.value);
            values.extend(vals![run, &it.key, it.timestamp_ms, it.step, value, is_nan]);
        }
        sql::rows_of(conn, sql, values).await?;
    }
    let newest: Vec<&MetricPoint> = newest_by_key(points).into_values().collect();
    for batch in newest.chunks(ROWS_AT_ONCE) {
        put_newest(conn, run, batch).await?;
    }
    Ok(())
}

/// MLflow's rule: the higher step is newer, then the later time, then the larger value, where NaN counts as 0.
async fn put_newest(conn: &mut AnyConnection, run: RunId, batch: &[&MetricPoint]) -> Result<()> {
    let rows: Vec<String> = (0..batch.len()).map(|it| format!("({})", places(it * 6 + 1, 6))).collect();
    let sql = format!(
        "INSERT INTO latest_metrics (run_id, key, at, step, value, is_nan) VALUES {} \
         ON CONFLICT (run_id, key) DO UPDATE SET at = excluded.at, step = excluded.step, value = excluded.value, is_nan = excluded.is_nan \
         WHERE excluded.step > latest_metrics.step OR (excluded.step = latest_metrics.step AND (excluded.at > latest_metrics.at \
         OR (excluded.at = latest_metrics.at AND excluded.value > latest_metrics.value)))",
        rows.join(", ")
    );
    let mut values = Vec::with_capacity(batch.len() * 6);
    for it in batch {
        let (value, is_nan) = stored(it.value);
        values.extend(vals![run, &it.key, it.timestamp_ms, it.step, value, is_nan]);
    }
    sql::rows_of(conn, sql, values).await?;
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

/// Adds to runs what they logged, a few statements for all of them.
pub(crate) async fn fill(conn: &mut AnyConnection, rows: Vec<RunRow>) -> Result<Vec<RunFull>> {
    let mut full: Vec<RunFull> = rows
        .into_iter()
        .map(|row| RunFull { row, params: BTreeMap::new(), tags: BTreeMap::new(), metrics: vec![] })
        .collect();
    let place: HashMap<String, usize> = full.iter().enumerate().map(|(at, it)| (it.row.id.to_string(), at)).collect();
    let ids: Vec<String> = full.iter().map(|it| it.row.id.to_string()).collect();
    for batch in ids.chunks(RUNS_AT_ONCE) {
        let list = places(1, batch.len());
        let values: Vec<Val> = batch.iter().map(Val::from).collect();
        for row in sql::rows_of(conn, format!("SELECT * FROM params WHERE run_id IN ({list})"), values.clone()).await? {
            if let Some(at) = place.get(&row.text("run_id")?) {
                full[*at].params.insert(row.text("key")?, row.text("value")?);
            }
        }
        for row in sql::rows_of(conn, format!("SELECT * FROM tags WHERE run_id IN ({list})"), values.clone()).await? {
            if let Some(at) = place.get(&row.text("run_id")?) {
                full[*at].tags.insert(row.text("key")?, row.text("value")?);
            }
        }
        let sql = format!("SELECT * FROM latest_metrics WHERE run_id IN ({list}) ORDER BY key");
        for row in sql::rows_of(conn, sql, values).await? {
            if let Some(at) = place.get(&row.text("run_id")?) {
                full[*at].metrics.push(point(&row)?);
            }
        }
    }
    Ok(full)
}

impl Store {
    /// Logs parameters, tags and metrics of a run, all or nothing. The same again changes nothing.
    ///
    /// # Errors
    /// `NotFound` when the project has no such run, `Invalid` when a parameter would change.
    pub async fn log_batch(
        &self,
        project: ProjectId,
        run: RunId,
        params: &[(String, String)],
        tags: &BTreeMap<String, String>,
        metrics: &[MetricPoint],
    ) -> Told<()> {
        let mut tx = self.measure().await?;
        let sql = "SELECT COUNT(*) FROM runs WHERE project_id = $1 AND id = $2";
        if sql::number(&mut tx, sql, vals![project, run]).await? == 0 {
            return Err(Problem::not_found(format!("there is no run {run}")));
        }
        put_params(&mut tx, run, params).await?;
        put_tags(&mut tx, run, tags).await?;
        put_metrics(&mut tx, run, metrics).await?;
        Ok(tx.commit().await.map_err(crate::StoreError::from)?)
    }

    /// Removes a tag of a run; whether there was one.
    pub async fn delete_run_tag(&self, run: RunId, key: &str) -> Told<bool> {
        let mut tx = self.measure().await?;
        let gone = sql::exec(&mut tx, "DELETE FROM tags WHERE run_id = $1 AND key = $2", vals![run, key]).await?;
        tx.commit().await.map_err(crate::StoreError::from)?;
        Ok(gone > 0)
    }

    /// The points of one metric by time, then step.
    pub async fn metric_history(&self, run: RunId, key: &str, offset: u64, limit: u32) -> Told<Vec<MetricPoint>> {
        let sql = "SELECT * FROM metrics WHERE run_id = $1 AND key = $2 ORDER BY at, step, value LIMIT $3 OFFSET $4";
        let rows = sql::rows(&mut *self.read().await?, sql, vals![run, key, limit, offset]).await?;
        Ok(rows.iter().map(point).collect::<Result<_>>()?)
    }
}
