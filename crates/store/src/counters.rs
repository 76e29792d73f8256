//! How many there are, kept with what is counted: a page that tells a total reads one row, however many there are.
//!
//! A change adds to its transaction what it made more or less of, and the transaction writes all of it before it
//! commits. Transactions that change state follow each other, so no two write a counter at once.

use crate::{
    Lifecycle, Store,
    sql::{self, Columns, Result, Val, vals},
};
use kaogong_domain::{
    ErrorKind, Problem,
    ids::{ExperimentId, ProjectId},
};
use sqlx::AnyConnection;
use std::collections::BTreeMap;

/// What counters of one transaction grow by: by owner, then by what is counted.
pub(crate) type Deltas = BTreeMap<(String, String), i64>;

/// The owner of what is counted over all projects.
pub(crate) const ALL_PROJECTS: &str = "";

/// How many things a project has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Live datasets.
    pub datasets: u64,
    /// Jobs.
    pub jobs: u64,
    /// Active runs.
    pub runs: u64,
    /// Registered models.
    pub models: u64,
    /// Live endpoints.
    pub endpoints: u64,
}

/// What runs of a lifecycle are counted under.
pub(crate) fn runs_in(lifecycle: Lifecycle) -> String {
    format!("runs.{}", lifecycle.as_str())
}

/// Adds `deltas` to the counters.
pub(crate) async fn add(conn: &mut AnyConnection, deltas: Deltas) -> Result<()> {
    let changed = deltas.into_iter().filter(|it| it.1 != 0);
    let rows: Vec<Vec<Val>> = changed.map(|((owner, what), delta)| vals![owner, what, delta]).collect();
    sql::put_rows(conn, rows, |list| {
        format!(
            "INSERT INTO counters (owner, what, count) VALUES {list} \
             ON CONFLICT (owner, what) DO UPDATE SET count = counters.count + excluded.count"
        )
    })
    .await?;
    Ok(())
}

/// One counter; 0 when nothing was counted yet.
pub(crate) async fn read(conn: &mut AnyConnection, owner: &str, what: &str) -> Result<u64> {
    let sql = "SELECT count FROM counters WHERE owner = $1 AND what = $2";
    Ok(u64::try_from(sql::number(conn, sql, vals![owner, what]).await?).unwrap_or_default())
}

/// How many runs of some lifecycles the owners have: a project, or experiments of it.
pub(crate) async fn sum_of_runs(
    conn: &mut AnyConnection,
    project: ProjectId,
    experiments: Option<&[ExperimentId]>,
    lifecycles: &[Lifecycle],
) -> Result<u64> {
    let mut sum = 0;
    for lifecycle in lifecycles {
        let what = runs_in(*lifecycle);
        let Some(experiments) = experiments else {
            sum += read(conn, &project.to_string(), &what).await?;
            continue;
        };
        // An experiment of another project is the id of nothing here.
        let rows = sql::rows_in(conn, vals![project, what], sql::ids(experiments), |list| {
            format!(
                "SELECT c.count AS count FROM counters c JOIN experiments e ON e.id = c.owner \
                 WHERE e.project_id = $1 AND c.what = $2 AND c.owner IN ({list})"
            )
        });
        for row in rows.await? {
            sum += row.size("count")?;
        }
    }
    Ok(sum)
}

/// Refuses one more of something of which a project has as many as it may.
pub(crate) async fn check(conn: &mut AnyConnection, project: ProjectId, (what, most): (&str, u64)) -> Result<()> {
    if read(conn, &project.to_string(), what).await? < most {
        return Ok(());
    }
    let text = format!("a project has at most {most} {what}");
    Err(Problem::new(ErrorKind::TooMany, text).hint("use another project for more").into())
}

impl Store {
    /// How many things a project has.
    pub async fn count_things(&self, project: ProjectId) -> std::result::Result<Counts, Problem> {
        let sql = "SELECT what, count FROM counters WHERE owner = $1 \
            AND what IN ('datasets', 'jobs', 'runs.active', 'models', 'endpoints')";
        let mut counts = Counts::default();
        for row in sql::rows(&mut *self.read().await?, sql, vals![project]).await? {
            let count = row.size("count")?;
            match row.text("what")?.as_str() {
                "datasets" => counts.datasets = count,
                "jobs" => counts.jobs = count,
                "models" => counts.models = count,
                "endpoints" => counts.endpoints = count,
                _ => counts.runs = count,
            }
        }
        Ok(counts)
    }
}
