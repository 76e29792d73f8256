//! Logged models: what a run produced, as MLflow 3 keeps it, before it is registered.

use super::{
    ask::{Ask, missing_value, page, page_after, wrong_type},
    call::{Call, ExperimentIds, model_id_text},
    filter::{Clause, Operand, Test, parse_filter},
    limits,
    matching::{Found, check_kind, holds},
    problem::{Json, MlflowProblem, Reply, Told, done},
    run_search::experiments_of,
    wire,
};
use kaogong_domain::{
    Problem,
    ids::{ExperimentId, LoggedModelId},
};
use kaogong_store::{Direction, LoggedModelRow, LoggedModelSearch, MetricTest, NewLoggedModel, OnDataset};
use serde_json::{Value, json};
use std::{cmp::Ordering, collections::BTreeMap};

/// The most logged models in one page, and how many when the client names no number.
const PAGE_MAX: i64 = 100;
/// Datasets in one search.
const DATASETS_MAX: usize = 100;
/// Models read together while a search looks through them.
const BATCH: u32 = 500;

fn check_name(name: &str) -> Told<()> {
    const BAD: [char; 8] = ['/', ':', '.', '%', '"', '\'', '`', '\0'];
    if name.contains(BAD) {
        let shown: String = name.chars().take(300).collect();
        return Err(MlflowProblem::invalid(format!(
            "Invalid model name ('{shown}') provided. Model name must be a non-empty string and cannot contain the following \
             characters: ('/', ':', '.', '%', '\"', \"'\", '`')"
        )));
    }
    limits::length("name", 500, name)
}

async fn answer(call: &Call, row: LoggedModelRow) -> Reply {
    Ok(Json(json!({"model": wire::logged_models(call, &[row]).await?.remove(0)})))
}

/// Lets `change` change the model that the path names.
async fn save(
    call: &Call,
    change: impl FnOnce(&mut LoggedModelRow) -> Result<(), Problem> + Send,
) -> Told<LoggedModelRow> {
    let row = call.changeable_logged_model(call.param("model_id")).await?;
    Ok(call.store().change_logged_model(call.project(), row.id, change, &call.actor(), call.now()).await?)
}

pub(super) async fn create(call: Call) -> Reply {
    let ask = &call.ask;
    let experiment = call.active_experiment(&ask.need("experiment_id")?).await?;
    let name = ask.text_or_empty("name")?;
    check_name(&name)?;
    let run_id = match ask.text_or_empty("source_run_id")? {
        id if id.is_empty() => None,
        id => Some(call.run(&id).await?.id),
    };
    // Without a run nothing would say whose the model is.
    call.only_from_own_run("a model that was logged outside of the job's runs", run_id).await?;
    let new = NewLoggedModel {
        run_id,
        name: if name.is_empty() { wire::drawn_name(wire::chance()) } else { name },
        model_type: ask.text_or_empty("model_type")?,
        params: wire::read_pairs(ask, "params", limits::param)?,
        tags: wire::read_pairs(ask, "tags", limits::model_tag)?,
    };
    limits::length("model_type", 500, &new.model_type)?;
    let made = call.store().create_logged_model(call.project(), experiment, new, &call.actor(), call.now()).await?;
    answer(&call, made).await
}

async fn named(call: &Call) -> Told<LoggedModelRow> {
    call.logged_model(call.param("model_id")).await
}

pub(super) async fn get(call: Call) -> Reply {
    let row = named(&call).await?;
    answer(&call, row).await
}

fn status_of(ask: &Ask) -> Told<String> {
    const WORDS: [&str; 3] = ["LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"];
    let text = ask.need("status")?;
    let by_number = text.parse::<usize>().ok().and_then(|it| WORDS.get(it.checked_sub(1)?));
    let found = by_number.or_else(|| WORDS.iter().find(|it| **it == text));
    found.map(|it| (*it).to_owned()).ok_or_else(|| wrong_type("status", &Value::String(text)))
}

pub(super) async fn finalize(call: Call) -> Reply {
    let status = status_of(&call.ask)?;
    let message = call.ask.text_or_empty("status_message")?;
    limits::length("status_message", 5000, &message)?;
    let row = save(&call, move |row| {
        (row.status, row.status_message) = (status, message);
        Ok(())
    });
    answer(&call, row.await?).await
}

pub(super) async fn delete(call: Call) -> Reply {
    let row = named(&call).await?;
    call.store().delete_logged_model(call.project(), row.id, &call.actor(), call.now()).await?;
    done()
}

pub(super) async fn set_tags(call: Call) -> Reply {
    let tags = wire::read_pairs(&call.ask, "tags", limits::model_tag)?;
    let row = save(&call, move |row| {
        row.tags.extend(tags);
        Ok(())
    });
    answer(&call, row.await?).await
}

pub(super) async fn delete_tag(call: Call) -> Reply {
    let key = call.param("tag_key").to_owned();
    save(&call, move |row| {
        if row.tags.remove(&key).is_some() {
            return Ok(());
        }
        let (key, id) = (Value::from(key), model_id_text(row.id));
        Err(Problem::not_found(format!("No tag with key {key} found for model with ID {id}.")))
    })
    .await?;
    done()
}

pub(super) async fn log_params(call: Call) -> Reply {
    let params = wire::read_pairs(&call.ask, "params", limits::param)?;
    save(&call, move |row| {
        row.params.extend(params);
        Ok(())
    })
    .await?;
    done()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Attribute,
    Param,
    Tag,
    Metric,
}

fn kind_of(entity: Option<&str>, key: &str) -> Told<Kind> {
    const ATTRIBUTES: [&str; 9] = [
        "model_id",
        "model_name",
        "name",
        "model_type",
        "status",
        "source_run_id",
        "experiment_id",
        "creation_timestamp",
        "last_updated_timestamp",
    ];
    match entity {
        None | Some("attribute" | "attributes" | "attr") if ATTRIBUTES.contains(&key) || key == "creation_time" => {
            Ok(Kind::Attribute)
        }
        None | Some("attribute" | "attributes" | "attr") => Err(MlflowProblem::invalid(format!(
            "Invalid attribute key '{key}' specified. Valid keys are {ATTRIBUTES:?}"
        ))),
        Some("param" | "params") => Ok(Kind::Param),
        Some("tag" | "tags") => Ok(Kind::Tag),
        Some("metric" | "metrics") => Ok(Kind::Metric),
        Some(other) => Err(MlflowProblem::invalid(format!(
            "Invalid entity type '{other}'. Valid values are ['attribute', 'metric', 'param', 'tag']"
        ))),
    }
}

fn look(ids: ExperimentIds, row: &LoggedModelRow, kind: Kind, key: &str) -> Found {
    match (kind, key) {
        (Kind::Param, _) => Found::text(row.params.get(key)),
        (Kind::Tag, _) => Found::text(row.tags.get(key)),
        // The database looks at these.
        (Kind::Metric, _) => Found::Nothing,
        (_, "model_id") => Found::Text(model_id_text(row.id)),
        (_, "model_type") => Found::Text(row.model_type.clone()),
        (_, "status") => Found::Text(row.status.trim_start_matches("LOGGED_MODEL_").to_owned()),
        (_, "source_run_id") => row.run_id.map_or(Found::Nothing, |it| Found::Text(it.to_string())),
        (_, "experiment_id") => Found::Text(ids.text(row.experiment_id)),
        (_, "creation_timestamp" | "creation_time") => Found::int(row.created_at.as_ms()),
        (_, "last_updated_timestamp") => Found::int(row.updated_at.as_ms()),
        _ => Found::Text(row.name.clone()),
    }
}

fn checked(clause: Clause) -> Told<(Kind, Clause)> {
    let kind = kind_of(clause.entity.as_deref(), &clause.key)?;
    let is_number = kind == Kind::Metric
        || (kind == Kind::Attribute && clause.key.contains("timestamp"))
        || clause.key == "creation_time";
    check_kind(&clause, is_number)?;
    Ok((kind, clause))
}

/// A checked condition on a metric as the store's.
fn metric_test(clause: Clause) -> Option<MetricTest> {
    match (clause.test, clause.operand) {
        (Test::Compare(comparator), Operand::Number(value)) => Some(MetricTest { key: clause.key, comparator, value }),
        _ => None,
    }
}

/// The dataset that an entry names.
fn dataset_of(ask: &Ask) -> Told<Option<OnDataset>> {
    let name = ask.text_or_empty("dataset_name")?;
    let digest = ask.text("dataset_digest")?.filter(|it| !it.is_empty());
    Ok((!name.is_empty()).then_some(OnDataset { name, digest }))
}

fn datasets_of(ask: &Ask) -> Told<Vec<OnDataset>> {
    let entries = ask.objects("datasets")?;
    limits::batch("datasets", DATASETS_MAX, entries.len())?;
    let missing = || MlflowProblem::invalid("`dataset_name` in the `datasets` clause must be specified.");
    entries.iter().map(|it| dataset_of(it)?.ok_or_else(missing)).collect()
}

/// One key of an order, with the values that the database found for it.
struct Key {
    kind: Kind,
    key: String,
    direction: Direction,
    values: BTreeMap<LoggedModelId, f64>,
}

impl Key {
    fn look(&self, ids: ExperimentIds, row: &LoggedModelRow) -> Found {
        match self.kind {
            Kind::Metric => self.values.get(&row.id).map_or(Found::Nothing, |it| Found::Number(*it)),
            kind => look(ids, row, kind, &self.key),
        }
    }
}

async fn key_of(call: &Call, experiments: &[ExperimentId], ask: &Ask) -> Told<Key> {
    let name = ask.need("field_name")?;
    let (entity, key) = match name.split_once('.') {
        Some((entity, key)) => (Some(entity), key),
        None => (None, name.as_str()),
    };
    let kind = kind_of(entity, key)?;
    let is_ascending = ask.truth("ascending")?.unwrap_or(true);
    let direction = if is_ascending { Direction::Ascending } else { Direction::Descending };
    let values = match kind {
        Kind::Metric => {
            let dataset = dataset_of(ask)?;
            call.store().newest_model_metric(call.project(), experiments, key, dataset.as_ref()).await?
        }
        _ => BTreeMap::new(),
    };
    Ok(Key { kind, key: key.to_owned(), direction, values })
}

fn compare(ids: ExperimentIds, keys: &[Key], a: &LoggedModelRow, b: &LoggedModelRow) -> Ordering {
    for key in keys {
        let ordering = key.look(ids, a).order_towards(&key.look(ids, b), key.direction);
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    (b.created_at, b.id).cmp(&(a.created_at, a.id))
}

pub(super) async fn search(call: Call) -> Reply {
    let size = call.ask.page_size(50, PAGE_MAX)?;
    let start = call.ask.page_start()?;
    let texts = call.ask.texts("experiment_ids")?;
    if texts.is_empty() {
        return Err(missing_value("experiment_ids"));
    }
    limits::batch("experiment_ids", 1000, texts.len())?;
    let experiments = experiments_of(&call, &texts).await?;
    let (mut metrics, mut here) = (vec![], vec![]);
    for clause in parse_filter(&call.ask.text_or_empty("filter")?).map_err(MlflowProblem::invalid)? {
        match checked(clause)? {
            (Kind::Metric, clause) => metrics.extend(metric_test(clause)),
            other => here.push(other),
        }
    }
    let entries = call.ask.objects("order_by")?;
    limits::order_keys(entries.len())?;
    let mut keys = vec![];
    for it in &entries {
        keys.push(key_of(&call, &experiments, it).await?);
    }
    let ids = call.experiment_ids().await?;
    let search = LoggedModelSearch { experiments, metrics, datasets: datasets_of(&call.ask)? };
    // Without an order of its own the newest come first, as they are read.
    let (mut last, offset) = if keys.is_empty() { start.split() } else { (None, start.offset()?) };
    // One more than the page tells whether there is another.
    let wanted = offset.saturating_add(size).saturating_add(1);
    let mut all: Vec<LoggedModelRow> = vec![];
    loop {
        let mut batch = call.store().search_logged_models(call.project(), &search, last, BATCH).await?;
        let is_last = batch.len() < BATCH as usize;
        last = batch.last().map(|it| (it.created_at, it.id));
        batch.retain(|row| here.iter().all(|(kind, clause)| holds(clause, &look(ids, row, *kind, &clause.key))));
        all.append(&mut batch);
        if is_last || (keys.is_empty() && all.len() >= wanted) {
            break;
        }
        // Of any number of models only those stay in memory that can be on this page.
        if all.len() >= wanted.saturating_mul(2) {
            all.sort_by(|a, b| compare(ids, &keys, a, b));
            all.truncate(wanted);
        }
    }
    all.sort_by(|a, b| compare(ids, &keys, a, b));
    let (found, next) = match keys.is_empty() {
        true => page_after(all, offset, size, |it| (it.created_at, it.id)),
        false => page(all, offset, size),
    };
    Ok(Json(wire::listing("models", wire::logged_models(&call, &found).await?, next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_word_or_a_number() {
        let status = |text: &str| status_of(&Ask::from_json(text.as_bytes()).expect("a body"));
        assert_eq!(status(r#"{"status": 2}"#).expect("a status"), "LOGGED_MODEL_READY");
        assert_eq!(status(r#"{"status": "LOGGED_MODEL_PENDING"}"#).expect("a status"), "LOGGED_MODEL_PENDING");
        assert!(status(r#"{"status": "READY"}"#).is_err() && status("{}").is_err());
    }

    #[test]
    fn names_that_are_paths_are_refused() {
        assert!(check_name("my model").is_ok());
        for bad in ["a/b", "a:b", "a.b", "a%b"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
