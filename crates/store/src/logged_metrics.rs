//! Metrics of logged models: points of runs that say which model they were measured on, and perhaps on which data.

use crate::{
    Comparator, Store,
    metrics::{point, stored},
    search::sign_of,
    sql::{self, Columns, IDS_AT_ONCE, Result, Val, vals},
};
use kaogong_domain::{
    Problem,
    ids::{ExperimentId, LoggedModelId, ProjectId, RunId},
    runs::MetricPoint,
};
use sqlx::{AnyConnection, any::AnyRow};
use std::collections::{BTreeMap, BTreeSet};

type Told<T> = std::result::Result<T, Problem>;

/// Points that are told of one model, the newest.
const POINTS_MAX: u32 = 1000;

/// A point that was measured on a logged model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelMetric {
    /// The model.
    pub model_id: LoggedModelId,
    /// The point.
    pub point: MetricPoint,
    /// The dataset it was measured on.
    pub dataset_name: Option<String>,
    /// The dataset's state.
    pub dataset_digest: Option<String>,
}

/// Points on one dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OnDataset {
    /// Its name.
    pub name: String,
    /// Its state; `None` for any.
    pub digest: Option<String>,
}

/// What some point of a model must be.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricTest {
    /// The metric.
    pub key: String,
    /// How it compares: a number, so neither LIKE nor IN.
    pub comparator: Comparator,
    /// With what.
    pub value: f64,
}

/// Keeps the points of a run for its models. A point that is there already stays as it is.
pub(crate) async fn put(
    conn: &mut AnyConnection,
    project: ProjectId,
    run: RunId,
    metrics: &[ModelMetric],
) -> Result<()> {
    let models: BTreeSet<LoggedModelId> = metrics.iter().map(|it| it.model_id).collect();
    let models: Vec<LoggedModelId> = models.into_iter().collect();
    let found = sql::rows_in(conn, vals![project], sql::ids(&models), |list| {
        format!("SELECT id FROM logged_models WHERE id IN ({list}) AND deleted_at IS NULL AND project_id || '' = $1")
    });
    let found: BTreeSet<LoggedModelId> =
        found.await?.iter().map(|it| it.parse("id", "a logged model id")).collect::<Result<_>>()?;
    if let Some(missing) = models.iter().find(|it| !found.contains(it)) {
        return Err(Problem::not_found(format!("there is no logged model {missing}")).into());
    }
    // In one order for everybody, so that two batches cannot wait for each other's rows.
    let mut ordered: Vec<&ModelMetric> = metrics.iter().collect();
    let rank = |it: &ModelMetric| (it.model_id, it.point.key.clone(), it.point.timestamp_ms, it.point.step);
    ordered.sort_by_cached_key(|it| rank(it));
    let row = |it: &ModelMetric| {
        let (value, is_nan) = stored(it.point.value);
        let (name, digest) = (it.dataset_name.clone(), it.dataset_digest.clone());
        let point = &it.point;
        vals![it.model_id, run, &point.key, point.timestamp_ms, point.step, value, is_nan, name, digest]
    };
    sql::put_rows(conn, ordered.into_iter().map(row).collect(), |list| {
        format!(
            "INSERT INTO logged_model_metrics (model_id, run_id, key, at, step, value, is_nan, dataset_name, \
             dataset_digest) VALUES {list} ON CONFLICT DO NOTHING"
        )
    })
    .await?;
    Ok(())
}

fn metric(row: &AnyRow) -> Result<(RunId, ModelMetric)> {
    let metric = ModelMetric {
        model_id: row.parse("model_id", "a logged model id")?,
        point: point(row)?,
        dataset_name: row.opt_text("dataset_name")?,
        dataset_digest: row.opt_text("dataset_digest")?,
    };
    Ok((row.parse("run_id", "a run id")?, metric))
}

/// Conditions of a search for logged models `m` that look at their metrics.
pub(crate) struct MetricConditions<'a> {
    pub(crate) tests: &'a [MetricTest],
    pub(crate) datasets: &'a [OnDataset],
}

fn bind(values: &mut Vec<Val>, value: impl Into<Val>) -> String {
    values.push(value.into());
    format!("${}", values.len())
}

/// `x` was measured on one of some datasets.
fn on(datasets: &[OnDataset], values: &mut Vec<Val>) -> String {
    let one = |it: &OnDataset| {
        let name = bind(values, &it.name);
        match &it.digest {
            None => format!("x.dataset_name = {name}"),
            Some(digest) => format!("(x.dataset_name = {name} AND x.dataset_digest = {})", bind(values, digest)),
        }
    };
    datasets.iter().map(one).collect::<Vec<_>>().join(" OR ")
}

impl MetricConditions<'_> {
    /// As SQL, each beginning with AND. As in MLflow some point must fit, not the newest one; datasets without a test
    /// ask for any point on them.
    pub(crate) fn sql(&self, values: &mut Vec<Val>) -> Told<String> {
        let mut text = String::new();
        for it in self.tests {
            let sign = sign_of(it.comparator).ok_or_else(|| Problem::invalid("a metric is compared with a number"))?;
            let (key, value) = (bind(values, &it.key), bind(values, it.value));
            // NaN is a value: no number is equal to it, and none compares with it in another way.
            let fits = match it.comparator {
                Comparator::NotEqual => format!("(x.is_nan = 1 OR x.value <> {value})"),
                _ => format!("x.is_nan = 0 AND x.value {sign} {value}"),
            };
            let on = if self.datasets.is_empty() { "1 = 1".to_owned() } else { on(self.datasets, values) };
            text += &format!(
                " AND EXISTS (SELECT 1 FROM logged_model_metrics x WHERE x.model_id = m.id AND x.key = {key} \
                 AND {fits} AND ({on}))"
            );
        }
        if self.tests.is_empty() && !self.datasets.is_empty() {
            let on = on(self.datasets, values);
            text += &format!(" AND EXISTS (SELECT 1 FROM logged_model_metrics x WHERE x.model_id = m.id AND ({on}))");
        }
        Ok(text)
    }
}

impl Store {
    /// The points of some logged models with the run that logged each, oldest first; of each model the newest 1000.
    pub async fn metrics_of_logged_models(&self, models: &[LoggedModelId]) -> Told<Vec<(RunId, ModelMetric)>> {
        let mut conn = self.read().await?;
        // The oldest moment that can still be among the newest points comes first, so that older ones are not read. With
        // the limit it is looked up once for a model; without, a planner may look it up for every point.
        let rows = sql::rows_in(&mut conn, vals![POINTS_MAX, POINTS_MAX - 1], sql::ids(models), |list| {
            format!(
                "SELECT model_id, run_id, key, at, step, value, is_nan, dataset_name, dataset_digest FROM (SELECT x.*, \
                 ROW_NUMBER() OVER (PARTITION BY x.model_id ORDER BY x.at DESC, x.step DESC, x.key, x.run_id) AS place \
                 FROM (SELECT l.id, COALESCE((SELECT n.at FROM logged_model_metrics n WHERE n.model_id = l.id \
                 ORDER BY n.at DESC LIMIT 1 OFFSET $2), -9000000000000000000) AS since \
                 FROM logged_models l WHERE l.id IN ({list}) LIMIT {IDS_AT_ONCE}) AS m \
                 CROSS JOIN logged_model_metrics x WHERE x.model_id = m.id AND x.at >= m.since) AS placed WHERE place <= $1 \
                 ORDER BY model_id, at, step, key, run_id"
            )
        });
        Ok(rows.await?.iter().map(metric).collect::<Result<_>>()?)
    }

    /// The newest value of one metric of each logged model in some experiments, perhaps on one dataset. A model is
    /// missing when it has none.
    pub async fn newest_model_metric(
        &self,
        project: ProjectId,
        experiments: &[ExperimentId],
        key: &str,
        dataset: Option<&OnDataset>,
    ) -> Told<BTreeMap<LoggedModelId, f64>> {
        let mut first = vals![project, key];
        let on = dataset.map_or_else(|| "1 = 1".to_owned(), |it| on(std::slice::from_ref(it), &mut first));
        let mut conn = self.read().await?;
        let rows = sql::rows_in(&mut conn, first, sql::ids(experiments), |list| {
            format!(
                "SELECT model_id, value, is_nan FROM (SELECT x.model_id, x.value, x.is_nan, ROW_NUMBER() OVER \
                 (PARTITION BY x.model_id ORDER BY x.at DESC, x.step DESC, x.run_id DESC) AS place \
                 FROM logged_model_metrics x JOIN logged_models m ON m.id = x.model_id WHERE m.project_id = $1 \
                 AND m.deleted_at IS NULL AND x.key = $2 AND {on} AND m.experiment_id IN ({list})) AS placed WHERE place = 1"
            )
        });
        let mut found = BTreeMap::new();
        for row in rows.await? {
            let value = if row.truth("is_nan")? { f64::NAN } else { row.real("value")? };
            found.insert(row.parse("model_id", "a logged model id")?, value);
        }
        Ok(found)
    }
}
