//! Metrics over time: every point page by page, or as many as a drawing needs.

use crate::{
    Store,
    metrics::{point, stored},
    sql::{self, Result, vals},
};
use kaogong_domain::{Problem, ids::RunId, runs::MetricPoint};

type Told<T> = std::result::Result<T, Problem>;

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
    pub async fn metric_curve(
        &self,
        run: RunId,
        key: &str,
        (first, last): (i64, i64),
        most: u32,
    ) -> Told<Vec<MetricPoint>> {
        let mut conn = self.read().await?;
        let sql = "SELECT COUNT(*) FROM metrics WHERE run_id = $1 AND key = $2 AND step >= $3 AND step <= $4";
        let total = sql::number(&mut conn, sql, vals![run, key, first, last]).await?;
        let stride = total.unsigned_abs().div_ceil(u64::from(most.max(1))).max(1);
        let sql = "SELECT key, at, step, value, is_nan FROM (SELECT key, at, step, value, is_nan, \
            ROW_NUMBER() OVER (ORDER BY step, at, value, is_nan) AS place FROM metrics \
            WHERE run_id = $1 AND key = $2 AND step >= $3 AND step <= $4) AS placed \
            WHERE (place - 1) % $5 = 0 OR place = $6 ORDER BY step, at, value, is_nan";
        let rows = sql::rows(&mut conn, sql, vals![run, key, first, last, stride, total]).await?;
        Ok(rows.iter().map(point).collect::<Result<_>>()?)
    }
}
