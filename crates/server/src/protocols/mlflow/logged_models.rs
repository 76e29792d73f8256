//! Logged models: what a run produced, as MLflow 3 keeps it, before it is registered.

use super::{
    ask::{Ask, missing_value, page, wrong_type},
    call::{Call, ExperimentIds, model_id_text},
    filter::{Clause, parse_filter},
    limits,
    matching::{Found, check_kind, holds},
    problem::{Json, MlflowProblem, Reply, Told, done},
    wire,
};
use kaogong_store::{LoggedModelRow, NewLoggedModel};
use serde_json::{Value, json};
use std::cmp::Ordering;

/// The most logged models in one page, and how many when the client names no number.
const PAGE_MAX: i64 = 100;
/// Parameters of a logged model; clients send a hundred at a time.
const PARAMS_MAX: usize = 10_000;

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

async fn answer(call: &Call, row: &LoggedModelRow) -> Reply {
    let ids = call.experiment_ids().await?;
    Ok(Json(json!({"model": wire::logged_model(ids, row)})))
}

pub(super) async fn create(call: Call) -> Reply {
    let ask = &call.ask;
    let experiment = call.active_experiment(&ask.need("experiment_id")?).await?;
    let name = ask.text_or_empty("name")?;
    check_name(&name)?;
    let run_id = match ask.text_or_empty("source_run_id")? {
        id if id.is_empty() => None,
        id => Some(call.run(&id).await?.row.id),
    };
    let new = NewLoggedModel {
        run_id,
        name: if name.is_empty() { wire::drawn_name(wire::chance()) } else { name },
        model_type: ask.text_or_empty("model_type")?,
        params: wire::read_pairs(ask, "params", limits::param)?,
        tags: wire::read_pairs(ask, "tags", |_, key, value| limits::model_tag(key, value))?,
    };
    limits::length("model_type", 500, &new.model_type)?;
    let made = call.store().create_logged_model(call.project(), experiment.id, new, &call.actor(), call.now()).await?;
    answer(&call, &made).await
}

async fn named(call: &Call) -> Told<LoggedModelRow> {
    call.logged_model(call.param("model_id")).await
}

pub(super) async fn get(call: Call) -> Reply {
    let row = named(&call).await?;
    answer(&call, &row).await
}

fn status_of(ask: &Ask) -> Told<String> {
    const WORDS: [&str; 3] = ["LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"];
    let text = ask.need("status")?;
    let by_number = text.parse::<usize>().ok().and_then(|it| WORDS.get(it.checked_sub(1)?));
    let found = by_number.or_else(|| WORDS.iter().find(|it| **it == text));
    found.map(|it| (*it).to_owned()).ok_or_else(|| wrong_type("status", &Value::String(text)))
}

pub(super) async fn finalize(call: Call) -> Reply {
    let mut row = named(&call).await?;
    row.status = status_of(&call.ask)?;
    row.status_message = call.ask.text_or_empty("status_message")?;
    limits::length("status_message", 5000, &row.status_message)?;
    row.updated_at = call.now();
    call.store().save_logged_model(call.project(), &row, call.now()).await?;
    answer(&call, &row).await
}

pub(super) async fn delete(call: Call) -> Reply {
    let row = named(&call).await?;
    call.store().delete_logged_model(call.project(), row.id, &call.actor(), call.now()).await?;
    done()
}

pub(super) async fn set_tags(call: Call) -> Reply {
    let mut row = named(&call).await?;
    let tags = wire::read_pairs(&call.ask, "tags", |_, key, value| limits::model_tag(key, value))?;
    row.tags.extend(tags);
    call.store().save_logged_model(call.project(), &row, call.now()).await?;
    answer(&call, &row).await
}

pub(super) async fn delete_tag(call: Call) -> Reply {
    let mut row = named(&call).await?;
    let key = call.param("tag_key");
    if row.tags.remove(key).is_none() {
        return Err(MlflowProblem::missing(format!(
            "No tag with key {} found for model with ID {}.",
            serde_json::Value::from(key),
            model_id_text(row.id)
        )));
    }
    call.store().save_logged_model(call.project(), &row, call.now()).await?;
    done()
}

pub(super) async fn log_params(call: Call) -> Reply {
    let mut row = named(&call).await?;
    let params = wire::read_pairs(&call.ask, "params", limits::param)?;
    row.params.extend(params);
    if row.params.len() > PARAMS_MAX {
        return Err(MlflowProblem::invalid(format!("a logged model keeps at most {PARAMS_MAX} parameters")));
    }
    call.store().save_logged_model(call.project(), &row, call.now()).await?;
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

/// One key of an order: a field, and whether small comes first.
fn order_of(ask: &Ask) -> Told<(Kind, String, bool)> {
    let name = ask.need("field_name")?;
    let (entity, key) = match name.split_once('.') {
        Some((entity, key)) => (Some(entity), key),
        None => (None, name.as_str()),
    };
    let kind = kind_of(entity, key)?;
    Ok((kind, key.to_owned(), ask.truth("ascending")?.unwrap_or(true)))
}

pub(super) async fn search(call: Call) -> Reply {
    let size = call.ask.page_size(50, PAGE_MAX)?;
    let offset = call.ask.page_offset()?;
    let texts = call.ask.texts("experiment_ids")?;
    if texts.is_empty() {
        return Err(missing_value("experiment_ids"));
    }
    limits::batch("experiment_ids", 1000, texts.len())?;
    let clauses = parse_filter(&call.ask.text_or_empty("filter")?).map_err(MlflowProblem::invalid)?;
    let clauses: Vec<(Kind, Clause)> = clauses.into_iter().map(checked).collect::<Told<_>>()?;
    let order: Vec<(Kind, String, bool)> = call.ask.objects("order_by")?.iter().map(order_of).collect::<Told<_>>()?;
    let ids = call.experiment_ids().await?;
    let mut all = call.store().list_logged_models(call.project()).await?;
    all.retain(|row| {
        (texts.contains(&ids.text(row.experiment_id)) || texts.contains(&row.experiment_id.to_string()))
            && clauses.iter().all(|(kind, clause)| holds(clause, &look(ids, row, *kind, &clause.key)))
    });
    all.sort_by(|a, b| {
        for (kind, key, is_ascending) in &order {
            let (left, right) = (look(ids, a, *kind, key), look(ids, b, *kind, key));
            let ordering = if *is_ascending { left.order(&right) } else { right.order(&left) };
            if ordering != Ordering::Equal {
                return ordering;
            }
        }
        (b.created_at, b.id).cmp(&(a.created_at, a.id))
    });
    let (found, next) = page(all, offset, size);
    Ok(Json(wire::listing("models", found.iter().map(|it| wire::logged_model(ids, it)).collect(), next)))
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
