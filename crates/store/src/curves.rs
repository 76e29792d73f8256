//! Metrics over time: every point page by page, or as many as a drawing needs.

use crate::{
    Store,
    metrics::{point, stored},
    sql::{self, Columns, Result, Val, places, vals},
};
use kaogong_domain::{Problem, ids::RunId, runs::MetricPoint};
use std::collections::BTreeMap;

type Told<T> = std::result::Result<T, Problem>;

/// Metrics drawn by one call.
const KEYS_MAX: usize = 1_000;

impl Store {
    /// The points of one metric by step, then time, then value, from the one after `after`. The order is the one of
    /// the primary key, so that a late page costs as little as the first.
    pub async fn metric_history(
        &self,
        run: RunId,
        key: &str,
        after: Option<&MetricPoint>,
        limit: u32,
    ) -> Told<Vec<MetricPoint>> {
        let mut conn = self.read().await?;
        let rows = match after {
            None => {
                let sql =
                    "SELECT * FROM metrics WHERE run_id = $1 AND key = $2 ORDER BY step, at, value, is_nan LIMIT $3";
                sql::rows(&mut conn, sql, vals![run, key, limit]).await?
            }
            Some(after) => {
                let (value, is_nan) = stored(after.value);
                let sql = "SELECT * FROM metrics WHERE run_id = $1 AND key = $2 AND (step, at, value, is_nan) > ($3, $4, $5, $6) \
                    ORDER BY step, at, value, is_nan LIMIT $7";
                let values = vals![run, key, after.step, after.timestamp_ms, value, is_nan, limit];
                sql::rows(&mut conn, sql, values).await?
            }
        };
        Ok(rows.iter().map(point).collect::<Result<_>>()?)
    }

    /// About `most` points of one metric, evenly thinned by the database, the first and the last kept; only those of
    /// the steps between `first` and `last`.
    pub async fn metric_curve(&self, run: RunId, key: &str, steps: (i64, i64), most: u32) -> Told<Vec<MetricPoint>> {
        let mut found = self.metric_curves(&[run], &[key.to_owned()], steps, most).await?;
        Ok(found.remove(&(run, key.to_owned())).unwrap_or_default())
    }

    /// About `most` points of each of some metrics of some runs, thinned like those of one. What has no points is left
    /// out. Of keys there are 1,000 at most.
    pub async fn metric_curves(
        &self,
        runs: &[RunId],
        keys: &[String],
        (first, last): (i64, i64),
        most: u32,
    ) -> Told<BTreeMap<(RunId, String), Vec<MetricPoint>>> {
        let mut found: BTreeMap<(RunId, String), Vec<MetricPoint>> = BTreeMap::new();
        if keys.is_empty() {
            return Ok(found);
        }
        if keys.len() > KEYS_MAX {
            return Err(Problem::invalid(format!("a call draws at most {KEYS_MAX} metrics")));
        }
        let mut values = vals![most.max(1), first, last];
        values.extend(keys.iter().map(Val::from));
        let keys = places(4, keys.len());
        let mut conn = self.read().await?;
        let rows = sql::rows_in(&mut conn, values, sql::ids(runs), |list| {
            format!(
                "SELECT run_id, key, at, step, value, is_nan FROM (SELECT run_id, key, at, step, value, is_nan, \
                 ROW_NUMBER() OVER (PARTITION BY run_id, key ORDER BY step, at, value, is_nan) AS place, \
                 COUNT(*) OVER (PARTITION BY run_id, key) AS total FROM metrics \
                 WHERE run_id IN ({list}) AND key IN ({keys}) AND step >= $2 AND step <= $3) AS placed \
                 WHERE (place - 1) % ((total + $1 - 1) / $1) = 0 OR place = total \
                 ORDER BY run_id, key, step, at, value, is_nan"
            )
        });
        for row in rows.await? {
            let point = point(&row)?;
            found.entry((row.parse("run_id", "a run id")?, point.key.clone())).or_default().push(point);
        }
        Ok(found)
    }
}
