//! Experiments: groups of runs. The id `0` is the project's default experiment.

use super::{
    ask::{page, page_after},
    call::Call,
    filter::{Clause, Operand, Order, Test, parse_filter, parse_order},
    limits,
    matching::{Found, check_kind, holds},
    problem::{Code, Json, MlflowProblem, Reply, Told, done},
    wire,
};
use kaogong_domain::ErrorKind;
use kaogong_store::{Comparator, ExperimentRow, Lifecycle, RunSearch};
use serde_json::{Value, json};
use std::{cmp::Ordering, collections::BTreeSet};

/// The most experiments in one page.
const PAGE_MAX: i64 = 50_000;
/// Experiments read together.
const BATCH_MAX: u32 = 1_000;
/// The most runs whose datasets are gathered.
const DATASET_RUNS_MAX: u32 = 5_000;
/// The most dataset summaries that are sent.
const SUMMARIES_MAX: usize = 1_000;

fn check_name(name: &str) -> Told<()> {
    if name.trim().is_empty() {
        return Err(MlflowProblem::invalid(format!("Invalid experiment name: '{name}'")));
    }
    limits::length("name", 500, name)
}

fn exists(name: &str) -> MlflowProblem {
    MlflowProblem::new(Code::Exists, format!("Experiment(name={name}) already exists."))
}

pub(super) async fn create(call: Call) -> Reply {
    let name = call.ask.text("name")?.ok_or_else(|| super::ask::missing_value("name"))?;
    check_name(&name)?;
    let location = call.ask.text_or_empty("artifact_location")?;
    if !location.is_empty() && !location.starts_with("mlflow-artifacts:") {
        return Err(MlflowProblem::invalid(
            "Invalid value for parameter 'artifact_location' supplied: this server keeps the artifacts itself; leave it out",
        ));
    }
    let tags = wire::read_pairs(&call.ask, "tags", limits::experiment_tag)?;
    let made = call.store().create_experiment(call.project(), &name, &tags, &call.actor(), call.now()).await;
    let made = made.map_err(|it| if it.kind == ErrorKind::Conflict { exists(&name) } else { it.into() })?;
    Ok(Json(json!({"experiment_id": made.id.to_string()})))
}

pub(super) async fn get(call: Call) -> Reply {
    let found = call.experiment(&call.ask.need("experiment_id")?).await?;
    Ok(Json(json!({"experiment": wire::experiment(&found)})))
}

pub(super) async fn get_by_name(call: Call) -> Reply {
    let name = call.ask.need("experiment_name")?;
    let found = call.store().find_experiment_by_name(call.project(), &name).await?;
    let found = found.ok_or_else(|| {
        let shown: String = name.chars().take(300).collect();
        MlflowProblem::missing(format!("Could not find experiment with name '{shown}'"))
    })?;
    Ok(Json(json!({"experiment": wire::experiment(&found)})))
}

async fn set_lifecycle(call: &Call, wanted: Lifecycle) -> Reply {
    let id = call.ask.need("experiment_id")?;
    let found = call.experiment(&id).await?;
    if found.lifecycle == wanted {
        let state = if wanted == Lifecycle::Active { "deleted" } else { "active" };
        return Err(MlflowProblem::missing(format!("No Experiment with id={id} exists in the '{state}' state")));
    }
    call.store().set_experiment_lifecycle(call.project(), found.id, wanted, &call.actor(), call.now()).await?;
    done()
}

pub(super) async fn delete(call: Call) -> Reply {
    set_lifecycle(&call, Lifecycle::Deleted).await
}

pub(super) async fn restore(call: Call) -> Reply {
    set_lifecycle(&call, Lifecycle::Active).await
}

pub(super) async fn update(call: Call) -> Reply {
    let found = call.experiment(&call.ask.need("experiment_id")?).await?;
    let name = call.ask.need("new_name")?;
    check_name(&name)?;
    if found.lifecycle != Lifecycle::Active {
        return Err(MlflowProblem::invalid("Cannot rename a non-active experiment."));
    }
    let renamed = call.store().rename_experiment(call.project(), found.id, &name, &call.actor(), call.now()).await;
    renamed.map_err(|it| if it.kind == ErrorKind::Conflict { exists(&name) } else { it.into() })?;
    done()
}

pub(super) async fn set_tag(call: Call) -> Reply {
    let found = call.active_experiment(&call.ask.need("experiment_id")?).await?;
    let (key, value) = (call.ask.need("key")?, call.ask.text_or_empty("value")?);
    let value = limits::experiment_tag("", &key, value)?;
    call.store().set_experiment_tag(call.project(), found, &key, &value, &call.actor(), call.now()).await?;
    done()
}

pub(super) async fn delete_tag(call: Call) -> Reply {
    let id = call.ask.need("experiment_id")?;
    let found = call.active_experiment(&id).await?;
    let key = call.ask.need("key")?;
    if call.store().delete_experiment_tag(call.project(), found, &key, &call.actor(), call.now()).await? {
        return done();
    }
    Err(MlflowProblem::missing(format!("No tag with name: {key} in experiment with id {id}")))
}

fn field(entity: Option<&str>, key: &str) -> Told<(bool, String)> {
    match entity {
        Some("tag" | "tags") => Ok((true, key.to_owned())),
        None | Some("attribute" | "attributes" | "attr" | "experiment") => match key {
            "name" | "experiment_id" | "creation_time" | "last_update_time" => Ok((false, key.to_owned())),
            _ => Err(MlflowProblem::invalid(format!(
                "Invalid attribute key '{key}' specified. Valid keys are 'name', 'experiment_id', 'creation_time', 'last_update_time'"
            ))),
        },
        Some(other) => {
            Err(MlflowProblem::invalid(format!("Invalid entity type '{other}'. Valid values are ['attribute', 'tag']")))
        }
    }
}

fn look(it: &ExperimentRow, is_tag: bool, key: &str) -> Found {
    if is_tag {
        return Found::text(it.tags.get(key));
    }
    match key {
        "name" => Found::Text(it.name.clone()),
        "creation_time" => Found::int(it.created_at.as_ms()),
        "last_update_time" => Found::int(it.updated_at.as_ms()),
        _ => Found::Text(if it.is_default { "0".to_owned() } else { it.id.to_string() }),
    }
}

fn checked(clauses: Vec<Clause>) -> Told<Vec<(bool, Clause)>> {
    let mut all = vec![];
    for mut clause in clauses {
        let (is_tag, key) = field(clause.entity.as_deref(), &clause.key)?;
        check_kind(&clause, !is_tag && key.ends_with("_time"))?;
        clause.key = key;
        all.push((is_tag, clause));
    }
    Ok(all)
}

fn compare(a: &ExperimentRow, b: &ExperimentRow, order: &[Order]) -> Ordering {
    for it in order {
        let is_tag = matches!(it.entity.as_deref(), Some("tag" | "tags"));
        let ordering = look(a, is_tag, &it.key).order_towards(&look(b, is_tag, &it.key), it.direction);
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    (b.created_at, b.id).cmp(&(a.created_at, a.id))
}

/// The name that a filter asks for, if it asks for one.
fn name_asked(clauses: &[(bool, Clause)]) -> Option<&str> {
    clauses.iter().find_map(|(is_tag, it)| match (&it.test, &it.operand) {
        (Test::Compare(Comparator::Equal), Operand::Text(name)) if !is_tag && it.key == "name" => Some(name.as_str()),
        _ => None,
    })
}

/// Experiments read together: as many as are wanted, but not all at once.
fn batch_of(wanted: usize) -> u32 {
    u32::try_from(wanted).unwrap_or(u32::MAX).clamp(1, BATCH_MAX)
}

pub(super) async fn search(call: Call) -> Reply {
    let size = call.ask.page_size(1000, PAGE_MAX)?;
    let start = call.ask.page_start()?;
    let view = wire::view_type(&call.ask, "view_type")?;
    let clauses = parse_filter(&call.ask.text_or_empty("filter")?).map_err(MlflowProblem::invalid)?;
    let clauses = checked(clauses)?;
    let mut order = vec![];
    for text in call.ask.texts("order_by")? {
        let it = parse_order(&text).map_err(MlflowProblem::invalid)?;
        field(it.entity.as_deref(), &it.key)?;
        order.push(it);
    }
    let fits =
        |it: &ExperimentRow| clauses.iter().all(|(is_tag, clause)| holds(clause, &look(it, *is_tag, &clause.key)));
    // Without an order of its own the newest come first, as they are read.
    let (mut last, offset) = if order.is_empty() { start.split() } else { (None, start.offset()?) };
    // One more than the page tells whether there is another.
    let wanted = offset.saturating_add(size).saturating_add(1);
    let mut all: Vec<ExperimentRow> = vec![];
    if let Some(name) = name_asked(&clauses) {
        // A name is of one experiment.
        let found = call.store().find_experiment_by_name(call.project(), name).await?;
        all.extend(found.filter(|it| view.is_none_or(|view| view == it.lifecycle) && fits(it)));
    } else {
        loop {
            let batch = call.store().page_experiments(call.project(), view, last, batch_of(wanted)).await?;
            let is_last = batch.len() < batch_of(wanted) as usize;
            last = batch.last().map(|it| (it.created_at, it.id));
            all.extend(batch.into_iter().filter(&fits));
            if is_last || (order.is_empty() && all.len() >= wanted) {
                break;
            }
        }
    }
    all.sort_by(|a, b| compare(a, b, &order));
    let (found, next) = match order.is_empty() {
        true => page_after(all, offset, size, |it| (it.created_at, it.id)),
        false => page(all, offset, size),
    };
    Ok(Json(wire::listing("experiments", found.iter().map(wire::experiment).collect(), next)))
}

/// The datasets that runs of experiments used, each once.
pub(super) async fn search_datasets(call: Call) -> Reply {
    let texts = call.ask.texts("experiment_ids")?;
    limits::batch("experiment_ids", 1000, texts.len())?;
    let ids = call.experiment_ids().await?;
    let experiments = ids.parse_all(&texts)?;
    let known = call.store().experiment_names(call.project(), &experiments).await?;
    if let Some(missing) = experiments.iter().find(|it| !known.contains_key(it)) {
        return Err(MlflowProblem::missing(format!("No Experiment with id={} exists", ids.text(*missing))));
    }
    let search = RunSearch {
        experiments: Some(experiments),
        lifecycle: Some(Lifecycle::Active),
        limit: DATASET_RUNS_MAX,
        ..RunSearch::default()
    };
    let runs = call.store().search_runs(call.project(), &search).await?;
    let names = wire::version_names(&call, &runs).await?;
    let mut seen = BTreeSet::new();
    for run in &runs {
        let versions = names.get(&run.row.dataset_versions).cloned().unwrap_or_default();
        for input in wire::dataset_inputs(&run.row, &versions) {
            let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
            let dataset = &input["dataset"];
            let entry = (
                ids.text(run.row.experiment_id),
                text(&dataset["name"]),
                text(&dataset["digest"]),
                super::run_search::context_of(&input).unwrap_or_default(),
            );
            if seen.len() < SUMMARIES_MAX {
                seen.insert(entry);
            }
        }
    }
    let summaries: Vec<Value> = seen
        .into_iter()
        .map(|(id, name, digest, context)| json!({"experiment_id": id, "name": name, "digest": digest, "context": context}))
        .collect();
    Ok(Json(json!({"dataset_summaries": summaries})))
}
