//! Pages of a search for runs. Which statement finds them depends on what is asked, so that a page costs what it
//! shows and not what an experiment holds.

use crate::{
    Dialect, Direction, Field, Lifecycle, RunFilter, RunFull, RunOrder, RunRow, RunSearch, Store, counters, metrics,
    runs::run,
    search::Builder,
    sql::{self, Columns, Result},
};
use kaogong_domain::{
    Problem,
    ids::{ExperimentId, ProjectId},
    runs::limits::SEARCH_RUNS_MAX,
};
use sqlx::AnyConnection;
use std::collections::BTreeSet;

type Told<T> = std::result::Result<T, Problem>;

/// So many runs or fewer are looked up by the value of a metric, a parameter or a tag before they are put in order. Where
/// more fit, going through all in order finds a page soon.
const FEW: u32 = 1_000;
/// Matches of a filter that are counted; then there are more than this.
const COUNTED_MAX: u64 = 10_000;
/// Up to so many experiments each give a page of their own, of which one is made.
const MERGED_MAX: usize = 50;
/// The order that all searches end with.
const NEWEST: [&str; 2] = ["r.started_at DESC", "r.id DESC"];

/// What a search needs to become statements.
struct Page<'a> {
    project: ProjectId,
    search: &'a RunSearch,
    dialect: Dialect,
    few: Option<RunFilter>,
}

/// How a run has the metric that it is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Having {
    Number,
    Nan,
    Nothing,
}

impl Page<'_> {
    /// The one experiment that is searched, if it is one.
    fn experiment(&self) -> Option<ExperimentId> {
        match self.search.experiments.as_deref() {
            Some([one]) => Some(*one),
            _ => None,
        }
    }

    fn builder(&self) -> Builder<'_> {
        Builder { dialect: self.dialect, values: vec![], few: self.few.as_ref(), experiment: self.experiment() }
    }

    /// Finds a condition on a value that few runs fulfil.
    async fn learn(&mut self, conn: &mut AnyConnection) -> Told<()> {
        for filter in &self.search.filters {
            let mut builder = self.builder();
            let Some((table, condition)) = builder.values("x", filter)? else { continue };
            let limit = builder.bind(FEW + 1);
            let sql = format!(
                "SELECT COUNT(*) AS total FROM (SELECT 1 FROM {table} x WHERE {condition} LIMIT {limit}) AS found"
            );
            let values = builder.values;
            let rows = sql::rows_of(conn, sql, values).await?;
            if rows.first().map_or(Ok(0), |it| it.size("total"))? <= u64::from(FEW) {
                self.few = Some(filter.clone());
                return Ok(());
            }
        }
        Ok(())
    }

    /// Where runs come from: all of them, or those that fulfil the condition that few fulfil.
    fn from(&self, builder: &mut Builder<'_>) -> Told<String> {
        let values = self.few.as_ref().map(|it| builder.values("f", it)).transpose()?.flatten();
        Ok(match values {
            None => "FROM runs r WHERE".to_owned(),
            Some((table, values)) => format!("FROM {table} f CROSS JOIN runs r WHERE {values} AND r.id = f.run_id AND"),
        })
    }

    /// `limit` runs after `offset`, in the order asked for.
    async fn any(&self, conn: &mut AnyConnection, offset: u64, limit: u64) -> Told<Vec<RunRow>> {
        let mut builder = self.builder();
        let from = self.from(&mut builder)?;
        let condition = builder.condition(self.project, self.search)?;
        let mut order: Vec<String> = self.search.order.iter().map(|it| builder.order(it)).collect();
        order.extend(NEWEST.map(str::to_owned));
        let (limit, offset) = (builder.bind(limit), builder.bind(offset));
        let order = order.join(", ");
        let sql = format!("SELECT r.* {from} {condition} ORDER BY {order} LIMIT {limit} OFFSET {offset}");
        runs(conn, sql, builder).await
    }

    /// The newest runs of several searches that have none in common: of each a page, and of these one.
    async fn merged(&self, conn: &mut AnyConnection, some: &[RunSearch], limit: u64) -> Told<Vec<RunRow>> {
        let mut builder = self.builder();
        let most = builder.bind(limit + self.search.offset);
        let mut parts = vec![];
        for one in some {
            let condition = builder.condition(self.project, one)?;
            let order = NEWEST.join(", ");
            parts.push(format!(
                "SELECT * FROM (SELECT r.* FROM runs r WHERE {condition} ORDER BY {order} LIMIT {most}) AS one"
            ));
        }
        let (limit, offset) = (builder.bind(limit), builder.bind(self.search.offset));
        let (parts, order) = (parts.join(" UNION ALL "), NEWEST.join(", "));
        let sql = format!("SELECT r.* FROM ({parts}) AS r ORDER BY {order} LIMIT {limit} OFFSET {offset}");
        runs(conn, sql, builder).await
    }

    /// The search as searches in one experiment and one lifecycle each, whose pages an index gives in order.
    fn parts(&self) -> Vec<RunSearch> {
        let some: Option<BTreeSet<ExperimentId>> =
            self.search.experiments.as_ref().map(|it| it.iter().copied().collect());
        let places: Vec<Option<Vec<ExperimentId>>> = match some {
            None => vec![None],
            Some(some) => some.into_iter().map(|it| Some(vec![it])).collect(),
        };
        let both = [Lifecycle::Active, Lifecycle::Deleted];
        let lifecycles = self.search.lifecycle.map_or_else(|| both.to_vec(), |it| vec![it]);
        let one = |place: &Option<Vec<ExperimentId>>, lifecycle: &Lifecycle| RunSearch {
            experiments: place.clone(),
            lifecycle: Some(*lifecycle),
            ..self.search.clone()
        };
        places.iter().flat_map(|place| lifecycles.iter().map(|it| one(place, it)).collect::<Vec<_>>()).collect()
    }

    /// The runs of one experiment that have a metric as a number, as NaN, or not at all, with the search's conditions:
    /// a statement from FROM on.
    fn having(
        &self,
        builder: &mut Builder<'_>,
        (experiment, key): (ExperimentId, &str),
        having: Having,
    ) -> Told<String> {
        let key = builder.bind(key);
        if having == Having::Nothing {
            let from = self.from(builder)?;
            let condition = builder.condition(self.project, self.search)?;
            return Ok(format!(
                "{from} {condition} AND (SELECT COUNT(*) FROM latest_metrics x WHERE x.run_id = r.id AND x.key = {key}) = 0"
            ));
        }
        // All conditions are checked run by run here: the statement begins with the values of the order.
        builder.few = None;
        let is_nan = if having == Having::Nan { "1" } else { "0" };
        let experiment = builder.bind(experiment);
        let condition = builder.condition(self.project, self.search)?;
        Ok(format!(
            "FROM latest_metrics o CROSS JOIN runs r WHERE o.experiment_id = {experiment} AND o.key = {key} \
             AND o.is_nan = {is_nan} AND r.id = o.run_id AND {condition}"
        ))
    }

    /// Runs of one experiment in the order of a metric: by its value, then those where it is NaN, then the others.
    async fn by_metric(
        &self,
        conn: &mut AnyConnection,
        (experiment, key, first): (ExperimentId, &str, &RunOrder),
        limit: u64,
    ) -> Told<Vec<RunRow>> {
        let direction = if first.direction == Direction::Ascending { "ASC" } else { "DESC" };
        let (mut found, mut passed_over) = (vec![], self.search.offset);
        for having in [Having::Number, Having::Nan, Having::Nothing] {
            let mut builder = self.builder();
            let from = self.having(&mut builder, (experiment, key), having)?;
            let values = builder.values.clone();
            let mut order: Vec<String> = self.search.order.iter().skip(1).map(|it| builder.order(it)).collect();
            order.extend(NEWEST.map(str::to_owned));
            if having == Having::Number {
                order.insert(0, format!("o.value {direction}"));
            }
            let (most, past) = (builder.bind(limit - found.len() as u64), builder.bind(passed_over));
            let sql = format!("SELECT r.* {from} ORDER BY {} LIMIT {most} OFFSET {past}", order.join(", "));
            let part = runs(conn, sql, builder).await?;
            if part.is_empty() && passed_over > 0 && having != Having::Nothing {
                // How many there are decides how many of the next kind are passed over.
                let rows = sql::rows_of(conn, format!("SELECT COUNT(*) AS total {from}"), values).await?;
                passed_over -= rows.first().map_or(Ok(0), |it| it.size("total"))?.min(passed_over);
            } else if !part.is_empty() {
                passed_over = 0;
            }
            found.extend(part);
            if found.len() as u64 == limit {
                break;
            }
        }
        Ok(found)
    }

    async fn rows(&self, conn: &mut AnyConnection) -> Told<Vec<RunRow>> {
        // One more than a page, which tells the caller whether there is another.
        let limit = u64::from(self.search.limit).min(SEARCH_RUNS_MAX as u64 + 1);
        let parts = self.parts();
        // Few runs of a parameter or a tag are put in order as they are.
        let is_found = self.few.as_ref().is_some_and(|it| !matches!(it.field, Field::Metric(_)));
        match (self.experiment(), self.search.order.first()) {
            (Some(one), Some(first @ RunOrder { field: Field::Metric(key), .. })) if !is_found => {
                self.by_metric(conn, (one, key, first), limit).await
            }
            (_, None) if self.few.is_none() && (2..=MERGED_MAX).contains(&parts.len()) => {
                self.merged(conn, &parts, limit).await
            }
            _ => self.any(conn, self.search.offset, limit).await,
        }
    }
}

async fn runs(conn: &mut AnyConnection, sql: String, builder: Builder<'_>) -> Told<Vec<RunRow>> {
    let rows = sql::rows_of(conn, sql, builder.values).await?;
    Ok(rows.iter().map(run).collect::<Result<_>>()?)
}

impl Store {
    /// One page of the runs that a search finds, with everything they logged.
    pub async fn search_runs(&self, project: ProjectId, search: &RunSearch) -> Told<Vec<RunFull>> {
        if search.after.is_some() && !search.order.is_empty() {
            return Err(Problem::invalid("what follows a run is known in the order of their starts alone"));
        }
        let mut conn = self.read().await?;
        let mut page = Page { project, search, dialect: self.dialect, few: None };
        page.learn(&mut conn).await?;
        let rows = page.rows(&mut conn).await?;
        Ok(metrics::fill(&mut conn, rows).await?)
    }

    /// How many runs a search finds on all pages. Where conditions must be checked run by run, no more than 10,001
    /// are counted, which says that there are more than 10,000.
    pub async fn count_runs(&self, project: ProjectId, search: &RunSearch) -> Told<u64> {
        let mut conn = self.read().await?;
        if search.filters.is_empty() {
            let both = [Lifecycle::Active, Lifecycle::Deleted];
            let lifecycles = search.lifecycle.map_or_else(|| both.to_vec(), |it| vec![it]);
            let some = search.experiments.as_deref();
            return Ok(counters::sum_of_runs(&mut conn, project, some, &lifecycles).await?);
        }
        let mut page = Page { project, search, dialect: self.dialect, few: None };
        page.learn(&mut conn).await?;
        let mut builder = page.builder();
        let from = page.from(&mut builder)?;
        let condition = builder.condition(project, search)?;
        let limit = builder.bind(COUNTED_MAX + 1);
        let sql = format!("SELECT COUNT(*) AS total FROM (SELECT 1 {from} {condition} LIMIT {limit}) AS found");
        let rows = sql::rows_of(&mut conn, sql, builder.values).await?;
        Ok(rows.first().map_or(Ok(0), |it| it.size("total"))?)
    }
}
