//! Searching runs: MLflow's filter as the store's conditions, and the few that are checked in memory.

use super::{
    ask::{token_after, token_of},
    call::{Call, DEFAULT_ID, experiment_id_of},
    filter::{Clause, Operand, Order, Test, parse_filter, parse_order},
    limits,
    matching::{Found, check_kind, holds},
    problem::{Json, MlflowProblem, Reply, Told},
    wire,
};
use kaogong_domain::{Problem, ids::ExperimentId, runs::limits::SEARCH_RUNS_MAX};
use kaogong_store::{Comparator, Direction, Field, RunFilter, RunFull, RunOrder, RunSearch};
use serde_json::Value;

/// Runs in one page when the client names no number.
const PAGE_DEFAULT: i64 = 1000;
/// Runs read at a time when conditions are checked in memory.
const BATCH: u32 = 1000;
/// Runs looked at for one page when conditions are checked in memory.
const LOOKED_AT_MAX: u64 = 200_000;
/// More plain parts of one LIKE pattern are refused.
const PATTERN_PARTS_MAX: usize = 50;

/// A filter for runs.
#[derive(Debug, Default, PartialEq)]
struct Plan {
    /// What the store checks.
    stored: Vec<RunFilter>,
    /// What is checked here: absence, and datasets.
    here: Vec<Clause>,
}

fn unknown_attribute(key: &str) -> MlflowProblem {
    let shown: String = key.chars().take(100).collect();
    MlflowProblem::invalid(format!(
        "Invalid attribute key '{shown}' specified. Valid keys are 'run_id', 'run_name', 'status', 'user_id', 'start_time', \
         'end_time', 'created', 'Created', 'run name', 'Run name', 'Run Name'"
    ))
}

fn attribute(key: &str) -> Told<Field> {
    Ok(match key {
        "run_id" => Field::Id,
        "run_name" | "run name" | "Run name" | "Run Name" => Field::Name,
        "status" => Field::Status,
        "user_id" => Field::User,
        "start_time" | "created" | "Created" => Field::StartTime,
        "end_time" => Field::EndTime,
        _ => return Err(unknown_attribute(key)),
    })
}

/// `None` for datasets, which no store field holds.
fn field(entity: Option<&str>, key: &str) -> Told<Option<Field>> {
    Ok(Some(match entity {
        None | Some("attribute" | "attributes" | "attr" | "run") => attribute(key)?,
        Some("metric" | "metrics") => Field::Metric(key.to_owned()),
        Some("parameter" | "parameters" | "param" | "params") => Field::Param(key.to_owned()),
        Some("tag" | "tags") => Field::Tag(key.to_owned()),
        Some("dataset" | "datasets") => match key {
            "name" | "digest" | "context" => return Ok(None),
            _ => {
                return Err(MlflowProblem::invalid(format!(
                    "Invalid dataset key '{key}' specified. Valid keys are 'name', 'digest', 'context'"
                )));
            }
        },
        Some(other) => {
            return Err(MlflowProblem::invalid(format!(
                "Invalid entity type '{other}'. Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']"
            )));
        }
    }))
}

fn stored(field: Field, clause: Clause) -> Told<RunFilter> {
    let Test::Compare(comparator) = clause.test else {
        return Err(MlflowProblem::invalid("IS NULL / IS NOT NULL is only supported for tags and params"));
    };
    if matches!(comparator, Comparator::Like | Comparator::ILike)
        && let Operand::Text(pattern) = &clause.operand
        && pattern.split(['%', '_']).filter(|it| !it.is_empty()).count() > PATTERN_PARTS_MAX
    {
        return Err(MlflowProblem::invalid(format!("a LIKE pattern has more than {PATTERN_PARTS_MAX} parts")));
    }
    let operand = match clause.operand {
        Operand::Text(it) => kaogong_store::Operand::Text(it),
        Operand::Number(it) => kaogong_store::Operand::Number(it),
        Operand::List(it) => kaogong_store::Operand::List(it),
        Operand::Nothing => return Err(MlflowProblem::invalid("Invalid comparison clause")),
    };
    Ok(RunFilter { field, comparator, operand })
}

fn plan(text: &str) -> Told<Plan> {
    let mut plan = Plan::default();
    for clause in parse_filter(text).map_err(MlflowProblem::invalid)? {
        let field = field(clause.entity.as_deref(), &clause.key)?;
        let is_number = matches!(field, Some(Field::Metric(_) | Field::StartTime | Field::EndTime));
        check_kind(&clause, is_number)?;
        let is_value = matches!(field, Some(Field::Param(_) | Field::Tag(_)));
        let is_list = matches!(clause.operand, Operand::List(_));
        if is_value && is_list {
            return Err(MlflowProblem::invalid(format!(
                "Invalid comparator for '{}': not one of '!=', '=', 'LIKE', 'ILIKE', 'IS NULL', 'IS NOT NULL'",
                clause.key
            )));
        }
        match field {
            None if clause.operand == Operand::Nothing => {
                return Err(MlflowProblem::invalid(format!(
                    "IS NULL / IS NOT NULL is only supported for tags and params, not for 'dataset' '{}'",
                    clause.key
                )));
            }
            None => plan.here.push(clause),
            Some(_) if is_value && clause.operand == Operand::Nothing => plan.here.push(clause),
            Some(field) => plan.stored.push(stored(field, clause)?),
        }
    }
    Ok(plan)
}

/// A filter for runs as the store's conditions, for the native API.
///
/// # Errors
/// `Invalid` with MLflow's text; also for `IS NULL` and datasets, which only the protocol's own search answers.
pub fn parse_run_filter(text: &str) -> Result<Vec<RunFilter>, Problem> {
    let plan = plan(text).map_err(Problem::from)?;
    match plan.here.first() {
        None => Ok(plan.stored),
        Some(it) => Err(Problem::invalid(format!("a filter here cannot look at `{}` this way", it.key))
            .hint("compare a metric, a parameter, a tag or an attribute of the run")),
    }
}

fn order(it: Order) -> Told<RunOrder> {
    match field(it.entity.as_deref(), &it.key)? {
        Some(field) => Ok(RunOrder { field, direction: it.direction }),
        None => Err(MlflowProblem::invalid("Invalid order_by clause: runs cannot be ordered by datasets")),
    }
}

/// An order for runs, its keys separated by commas; for the native API.
///
/// # Errors
/// `Invalid` with MLflow's text.
pub fn parse_run_order(text: &str) -> Result<Vec<RunOrder>, Problem> {
    let keys: Vec<&str> = text.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
    limits::order_keys(keys.len()).map_err(Problem::from)?;
    let keys = keys.into_iter();
    keys.map(|it| parse_order(it).map_err(MlflowProblem::invalid).and_then(order).map_err(Problem::from)).collect()
}

/// The context of a dataset input, which MLflow keeps in a tag.
pub(super) fn context_of(input: &Value) -> Option<String> {
    let tags = input.get("tags")?.as_array()?;
    let tag = tags.iter().find(|it| it["key"] == "mlflow.data.context")?;
    tag["value"].as_str().map(str::to_owned)
}

/// Whether a condition that the store does not check holds for a run.
fn fits(run: &RunFull, versions: &[String], clause: &Clause) -> bool {
    match clause.entity.as_deref() {
        Some("tag" | "tags") => holds(clause, &Found::text(run.tags.get(&clause.key))),
        Some("dataset" | "datasets") => wire::dataset_inputs(&run.row, versions).iter().any(|input| {
            let found = match clause.key.as_str() {
                "context" => context_of(input),
                key => input["dataset"][key].as_str().map(str::to_owned),
            };
            holds(clause, &found.map_or(Found::Nothing, Found::Text))
        }),
        _ => holds(clause, &Found::text(run.params.get(&clause.key))),
    }
}

/// The runs of a page, and the token of the next.
async fn collect(
    call: &Call,
    search: &RunSearch,
    here: &[Clause],
    size: usize,
) -> Told<(Vec<RunFull>, Option<String>)> {
    let mut search = search.clone();
    // An order of its own has no place that a statement could go on from.
    let by_place = search.order.is_empty();
    let mut looked_at = 0;
    let mut found = vec![];
    let token = |search: &RunSearch, passed: usize| match search.after.filter(|_| by_place) {
        Some(after) => token_after(after),
        None => token_of(usize::try_from(search.offset).unwrap_or(usize::MAX).saturating_add(passed)),
    };
    // One more than the page tells whether there is another.
    search.limit = if here.is_empty() { u32::try_from(size + 1).unwrap_or(u32::MAX) } else { BATCH };
    loop {
        let batch = call.store().search_runs(call.project(), &search).await?;
        let is_last = batch.len() < search.limit as usize;
        let names = if here.is_empty() { Default::default() } else { wire::version_names(call, &batch).await? };
        for (place, run) in batch.into_iter().enumerate() {
            let versions = names.get(&run.row.dataset_versions).map(Vec::as_slice).unwrap_or_default();
            let is_wanted = here.iter().all(|it| fits(&run, versions, it));
            if is_wanted && found.len() == size {
                return Ok((found, Some(token(&search, place))));
            }
            if by_place {
                search.after = Some((run.row.started_at, run.row.id));
            }
            if is_wanted {
                found.push(run);
            }
        }
        if is_last {
            return Ok((found, None));
        }
        search.offset = if by_place { 0 } else { search.offset + u64::from(search.limit) };
        looked_at += u64::from(search.limit);
        if looked_at >= LOOKED_AT_MAX {
            return Ok((found, Some(token(&search, 0))));
        }
    }
}

/// The experiments that a search names. As in MLflow one that is not there holds nothing: an id of nothing or of another
/// project finds nothing in this one.
pub(super) async fn experiments_of(call: &Call, texts: &[String]) -> Told<Vec<ExperimentId>> {
    let mut all = vec![];
    for text in texts {
        if text == DEFAULT_ID {
            all.push(call.store().default_experiment_id(call.project()).await?);
        } else {
            all.extend(experiment_id_of(text)?);
        }
    }
    Ok(all)
}

pub(super) async fn search(call: Call) -> Reply {
    let most = i64::try_from(SEARCH_RUNS_MAX).unwrap_or(i64::MAX);
    let size = call.ask.page_size(PAGE_DEFAULT, most)?;
    let start = call.ask.page_start()?;
    let lifecycle = wire::view_type(&call.ask, "run_view_type")?;
    let texts = call.ask.texts("experiment_ids")?;
    limits::batch("experiment_ids", 1000, texts.len())?;
    let plan = plan(&call.ask.text_or_empty("filter")?)?;
    let (mut keys, order_by) = (vec![], call.ask.texts("order_by")?);
    limits::order_keys(order_by.len())?;
    for text in &order_by {
        keys.push(order(parse_order(text).map_err(MlflowProblem::invalid)?)?);
    }
    if matches!(keys.as_slice(), [RunOrder { field: Field::StartTime, direction: Direction::Descending }]) {
        // That is the order without one.
        keys.clear();
    }
    let experiments = experiments_of(&call, &texts).await?;
    let (after, offset) = if keys.is_empty() { start.split() } else { (None, start.offset()?) };
    let search = RunSearch {
        experiments: Some(experiments),
        lifecycle,
        filters: plan.stored,
        order: keys,
        after,
        offset: offset as u64,
        limit: 0,
    };
    let (found, next) = collect(&call, &search, &plan.here, size).await?;
    Ok(Json(wire::listing("runs", wire::runs(&call, &found).await?, next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_becomes_conditions_of_the_store() {
        let filters = parse_run_filter("metrics.acc > 0.9 AND params.`a b` = 'x' AND attributes.status IN ('RUNNING')")
            .expect("a filter");
        assert_eq!(filters[0].field, Field::Metric("acc".into()));
        assert_eq!(filters[1].field, Field::Param("a b".into()));
        assert_eq!(filters[2].operand, kaogong_store::Operand::List(vec!["RUNNING".into()]));
        assert!(parse_run_filter("params.a IS NULL").is_err() && parse_run_filter("datasets.name = 'd'").is_err());
    }

    #[test]
    fn conditions_that_cannot_hold_are_refused() {
        for text in [
            "metrics.acc > 'x'",
            "params.a = 1",
            "params.a > '1'",
            "params.a IN ('1')",
            "colour = 'red'",
            "colours.a = 'red'",
            "start_time = 'now'",
            "metrics.a IS NULL",
            "dataset.colour = 'red'",
            "dataset.name IS NULL",
            "attributes.run_id IS NOT NULL",
        ] {
            assert!(plan(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn absence_and_datasets_are_checked_here() {
        let plan = plan("tags.a IS NULL and datasets.context = 'train'").expect("a plan");
        assert_eq!((plan.stored.len(), plan.here.len()), (0, 2));
    }

    #[test]
    fn orders_are_split_at_commas() {
        let keys = parse_run_order("metrics.acc DESC, start_time").expect("an order");
        assert_eq!(keys.len(), 2);
        assert!(parse_run_order("").expect("none").is_empty());
    }

    #[test]
    fn no_filter_makes_it_panic() {
        for text in super::super::filter::drawn_texts(20_000) {
            let _ = parse_run_filter(&text);
            let _ = parse_run_order(&text);
        }
    }
}
