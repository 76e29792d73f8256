//! Versions of registered models.

use super::{
    ask::page,
    call::{Call, model_id_of, model_id_text},
    filter::{Clause, Operand, Order, parse_filter, parse_order},
    limits,
    matching::{Found, check_kind, holds},
    models::{hides_prompts, is_prompt, tag_of},
    problem::{Code, Json, MlflowProblem, Reply, Told, done},
    sources, wire,
};
use kaogong_domain::ids::RunId;
use kaogong_store::{Direction, ModelRow, ModelVersionPatch, ModelVersionRow, NewModelVersionRow};
use serde_json::{Value, json};
use std::{cmp::Ordering, collections::BTreeMap};

/// The most versions in one page.
const PAGE_MAX: i64 = 200_000;
/// An equal registration within this time is a client's retry.
const SAME_REQUEST_MS: i64 = 15 * 60 * 1000;

/// A version as MLflow's message.
pub(super) fn view(name: &str, row: &ModelVersionRow, aliases: &BTreeMap<String, u32>) -> Value {
    let mine: Vec<&String> = aliases.iter().filter(|it| *it.1 == row.number).map(|it| it.0).collect();
    let mut it = json!({
        "name": name,
        "version": row.number.to_string(),
        "creation_timestamp": row.created_at.as_ms(),
        "last_updated_timestamp": row.updated_at.as_ms(),
        "user_id": row.user,
        "current_stage": row.stage,
        "description": row.description,
        "source": row.source,
        "run_id": row.run_id.map_or_else(String::new, |it| it.to_string()),
        "run_link": row.run_link.clone().unwrap_or_default(),
        "status": row.status.as_str(),
        "tags": wire::pairs(&row.tags),
        "aliases": mine,
    });
    if let (Some(id), Value::Object(fields)) = (row.logged_model_id, &mut it) {
        fields.insert("model_id".to_owned(), json!(model_id_text(id)));
    }
    it
}

fn number_of(text: &str) -> Told<u32> {
    text.trim().parse().map_err(|_| {
        let shown: String = text.chars().take(100).collect();
        MlflowProblem::invalid(format!("Parameter 'version' must be an integer, got '{shown}'."))
    })
}

/// A version by the number that a client sent.
pub(super) async fn find_version(call: &Call, model: &ModelRow, text: &str) -> Told<ModelVersionRow> {
    if text.is_empty() {
        return Err(super::ask::missing_value("version"));
    }
    let number = number_of(text)?;
    let found = call.store().find_model_version(model.id, number).await?;
    found
        .ok_or_else(|| MlflowProblem::missing(format!("Model Version (name={}, version={text}) not found", model.name)))
}

/// Refuses to delete what an endpoint serves.
pub(super) async fn refuse_if_served(call: &Call, name: &str, row: &ModelVersionRow) -> Told<()> {
    match call.store().endpoints_of_model_version(row.id).await?.first() {
        None => Ok(()),
        Some(endpoint) => Err(MlflowProblem::new(
            Code::Conflict,
            format!("endpoint `{endpoint}` serves {name}@{}; delete the endpoint first", row.number),
        )),
    }
}

/// A stage as MLflow spells it.
pub(super) fn stage_of(text: &str) -> Told<String> {
    const STAGES: [&str; 4] = ["None", "Staging", "Production", "Archived"];
    let found = STAGES.iter().find(|it| it.eq_ignore_ascii_case(text.trim()));
    found.map(|it| (*it).to_owned()).ok_or_else(|| {
        let shown: String = text.chars().take(100).collect();
        MlflowProblem::invalid(format!(
            "Invalid Model Version stage: {shown}. Value must be one of None, Staging, Production, Archived."
        ))
    })
}

async fn named(call: &Call) -> Told<(ModelRow, ModelVersionRow)> {
    let name = call.ask.text_or_empty("name")?;
    limits::model_name(&name)?;
    let version = call.ask.text_or_empty("version")?;
    // As MLflow: a missing model is a missing version.
    let model =
        call.store().find_model(call.project(), &name).await?.ok_or_else(|| {
            MlflowProblem::missing(format!("Model Version (name={name}, version={version}) not found"))
        })?;
    let row = find_version(call, &model, &version).await?;
    Ok((model, row))
}

async fn answer(call: &Call, model: &ModelRow, row: &ModelVersionRow) -> Reply {
    let aliases = call.store().model_aliases(model.id).await?;
    Ok(Json(json!({"model_version": view(&model.name, row, &aliases)})))
}

/// A version just registered with the same content: the client repeats because it got no answer.
async fn made_already(call: &Call, model: &ModelRow, new: &NewModelVersionRow) -> Told<Option<ModelVersionRow>> {
    let since = call.now().plus_ms(-SAME_REQUEST_MS);
    let all = call.store().list_model_versions(model.id).await?;
    Ok(all.into_iter().rev().find(|it| {
        it.created_at > since
            && it.source == new.source
            && it.run_id == new.run_id
            && it.logged_model_id == new.logged_model_id
            && it.user == new.user
            && it.description == new.description
            && it.tags == new.tags
    }))
}

/// The run that a version is linked to: what the client says, else what the source says.
async fn run_of(call: &Call, text: &str, source: Option<&sources::Source>) -> Told<Option<RunId>> {
    if !text.is_empty() {
        return Ok(Some(call.run(text).await?.row.id));
    }
    let (run, model) = sources::links(source);
    match model {
        None => Ok(run),
        Some(id) => Ok(call.store().find_logged_model(call.project(), id).await?.and_then(|it| it.run_id)),
    }
}

pub(super) async fn create(call: Call) -> Reply {
    let ask = &call.ask;
    let name = ask.text_or_empty("name")?;
    limits::model_name(&name)?;
    let text = ask.need("source")?;
    limits::length("source", 4096, &text)?;
    let tags = wire::read_pairs(ask, "tags", |_, key, value| limits::model_tag(key, value))?;
    let description = ask.text_or_empty("description")?;
    limits::length("description", 5000, &description)?;
    let model = call.model(&name).await?;
    // A prompt is text in a tag; its source says nothing.
    let source = if is_prompt(&tags) { None } else { sources::parse(&text)? };
    let logged = match ask.text_or_empty("model_id")? {
        id if id.is_empty() => sources::links(source.as_ref()).1,
        id => Some(call.logged_model(&id).await?.id),
    };
    let run_id = run_of(&call, &ask.text_or_empty("run_id")?, source.as_ref()).await?;
    let file = match &source {
        Some(it) => sources::onnx_of(&call.app, call.project(), it).await?,
        None => None,
    };
    let mut new = NewModelVersionRow {
        source: text,
        run_id,
        logged_model_id: logged,
        run_link: ask.text("run_link")?.filter(|it| !it.is_empty()),
        hash: file.as_ref().map(|it| it.hash.clone()),
        size: file.map(|it| it.size),
        description,
        tags,
        user: call.user(),
        request_key: None,
    };
    if let Some(row) = made_already(&call, &model, &new).await? {
        return answer(&call, &model, &row).await;
    }
    // Two equal requests at the same moment meet in this key.
    let moment = call.now().as_ms() / SAME_REQUEST_MS;
    let count = call.store().list_model_versions(model.id).await?.last().map_or(0, |it| it.number);
    new.request_key = Some(call.same_request_key("model version", &json!([ask.all(), moment, count])));
    let row = call.store().create_model_version(call.project(), model.id, new, &call.actor(), call.now()).await?;
    answer(&call, &model, &row).await
}

pub(super) async fn get(call: Call) -> Reply {
    let (model, row) = named(&call).await?;
    answer(&call, &model, &row).await
}

async fn change(call: &Call, row: &ModelVersionRow, patch: ModelVersionPatch) -> Told<ModelVersionRow> {
    Ok(call.store().update_model_version(call.project(), row.id, patch, &call.actor(), call.now()).await?)
}

pub(super) async fn update(call: Call) -> Reply {
    let (model, row) = named(&call).await?;
    let description = call.ask.text("description")?;
    limits::length("description", 5000, description.as_deref().unwrap_or_default())?;
    let row = change(&call, &row, ModelVersionPatch { description, ..ModelVersionPatch::default() }).await?;
    answer(&call, &model, &row).await
}

pub(super) async fn transition(call: Call) -> Reply {
    let (model, row) = named(&call).await?;
    let stage = stage_of(&call.ask.need("stage")?)?;
    if call.ask.truth("archive_existing_versions")?.unwrap_or(false) {
        if stage != "Staging" && stage != "Production" {
            return Err(MlflowProblem::invalid(format!(
                "Model version transition cannot archive existing model versions because '{stage}' is not an Active stage. \
                 Valid stages are Staging and Production."
            )));
        }
        for other in call.store().list_model_versions(model.id).await? {
            if other.id != row.id && other.stage == stage {
                let patch = ModelVersionPatch { stage: Some("Archived".to_owned()), ..ModelVersionPatch::default() };
                change(&call, &other, patch).await?;
            }
        }
    }
    let row = change(&call, &row, ModelVersionPatch { stage: Some(stage), ..ModelVersionPatch::default() }).await?;
    answer(&call, &model, &row).await
}

pub(super) async fn delete(call: Call) -> Reply {
    let (model, row) = named(&call).await?;
    refuse_if_served(&call, &model.name, &row).await?;
    call.store().delete_model_version(call.project(), row.id, &call.actor(), call.now()).await?;
    done()
}

pub(super) async fn download_uri(call: Call) -> Reply {
    let (_, row) = named(&call).await?;
    let uri = sources::download_uri(&call.app, call.project(), &row.source).await?;
    Ok(Json(json!({"artifact_uri": uri})))
}

pub(super) async fn set_tag(call: Call) -> Reply {
    let (_, row) = named(&call).await?;
    let (key, value) = (call.ask.need("key")?, call.ask.text_or_empty("value")?);
    limits::model_tag(&key, &value)?;
    let mut tags = row.tags.clone();
    tags.insert(key, value);
    change(&call, &row, ModelVersionPatch { tags: Some(tags), ..ModelVersionPatch::default() }).await?;
    done()
}

pub(super) async fn delete_tag(call: Call) -> Reply {
    let (_, row) = named(&call).await?;
    let key = call.ask.need("key")?;
    limits::key("key", &key)?;
    let mut tags = row.tags.clone();
    if tags.remove(&key).is_some() {
        change(&call, &row, ModelVersionPatch { tags: Some(tags), ..ModelVersionPatch::default() }).await?;
    }
    done()
}

type Entry = (String, ModelVersionRow);

fn look(it: &Entry, is_tag: bool, key: &str) -> Found {
    let (name, row) = it;
    if is_tag {
        return tag_of(&row.tags, key);
    }
    match key {
        "name" => Found::Text(name.clone()),
        "version_number" => Found::int(i64::from(row.number)),
        "run_id" => row.run_id.map_or(Found::Nothing, |it| Found::Text(it.to_string())),
        "source_path" => Found::Text(row.source.clone()),
        "model_id" => row.logged_model_id.map_or(Found::Nothing, |it| Found::Text(model_id_text(it))),
        "creation_timestamp" => Found::int(row.created_at.as_ms()),
        _ => Found::int(row.updated_at.as_ms()),
    }
}

fn checked(mut clause: Clause) -> Told<(bool, Clause)> {
    let is_tag = match clause.entity.as_deref() {
        Some("tag" | "tags") => true,
        None | Some("attribute" | "attributes" | "attr") => false,
        Some(other) => {
            return Err(MlflowProblem::invalid(format!(
                "Invalid entity type '{other}'. Valid values are ['tag', 'attribute']"
            )));
        }
    };
    let known = ["name", "version_number", "run_id", "source_path", "model_id"];
    if !is_tag && !known.contains(&clause.key.as_str()) {
        return Err(MlflowProblem::invalid(format!(
            "Invalid attribute key '{}' specified. Valid keys are '{known:?}'",
            clause.key
        )));
    }
    check_kind(&clause, !is_tag && clause.key == "version_number")?;
    // Both spellings of a logged model's id mean the same.
    if clause.key == "model_id"
        && let Operand::Text(it) = &mut clause.operand
        && let Some(id) = model_id_of(it)
    {
        *it = model_id_text(id);
    }
    Ok((is_tag, clause))
}

fn order_key(it: &Order) -> Told<()> {
    let known = ["name", "version_number", "creation_timestamp", "last_updated_timestamp", "timestamp"];
    if known.contains(&it.key.as_str()) && matches!(it.entity.as_deref(), None | Some("attribute" | "attributes")) {
        return Ok(());
    }
    Err(MlflowProblem::invalid(format!("Invalid order by key '{}' specified. Valid keys are {known:?}", it.key)))
}

fn compare(a: &Entry, b: &Entry, order: &[Order]) -> Ordering {
    for it in order {
        let ordering = look(a, false, &it.key).order(&look(b, false, &it.key));
        let ordering = if it.direction == Direction::Descending { ordering.reverse() } else { ordering };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    (b.1.updated_at, &a.0, b.1.number).cmp(&(a.1.updated_at, &b.0, a.1.number))
}

pub(super) async fn search(call: Call) -> Reply {
    let size = call.ask.page_size(10_000, PAGE_MAX)?;
    let offset = call.ask.page_offset()?;
    let clauses = parse_filter(&call.ask.text_or_empty("filter")?).map_err(MlflowProblem::invalid)?;
    let clauses: Vec<(bool, Clause)> = clauses.into_iter().map(checked).collect::<Told<_>>()?;
    let mut order = vec![];
    for text in call.ask.texts("order_by")? {
        let it = parse_order(&text).map_err(MlflowProblem::invalid)?;
        order_key(&it)?;
        order.push(it);
    }
    let mut all: Vec<Entry> = vec![];
    let mut aliases = BTreeMap::new();
    for model in call.store().list_models(call.project()).await? {
        let probe =
            |(is_tag, it): &(bool, Clause)| *is_tag || it.key != "name" || holds(it, &Found::Text(model.name.clone()));
        if !clauses.iter().all(probe) {
            continue;
        }
        let rows = call.store().list_model_versions(model.id).await?;
        aliases.insert(model.name.clone(), call.store().model_aliases(model.id).await?);
        all.extend(rows.into_iter().map(|it| (model.name.clone(), it)));
    }
    let hides_prompts = hides_prompts(&clauses);
    all.retain(|it| !(hides_prompts && is_prompt(&it.1.tags)));
    all.retain(|it| clauses.iter().all(|(is_tag, clause)| holds(clause, &look(it, *is_tag, &clause.key))));
    all.sort_by(|a, b| compare(a, b, &order));
    let (found, next) = page(all, offset, size);
    let none = BTreeMap::new();
    let views = found.iter().map(|(name, row)| view(name, row, aliases.get(name).unwrap_or(&none))).collect();
    Ok(Json(wire::listing("model_versions", views, next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_spelt_as_mlflow_spells_them() {
        assert_eq!(stage_of("production").expect("a stage"), "Production");
        assert!(stage_of("live").is_err());
    }

    #[test]
    fn a_version_is_a_number() {
        assert_eq!(number_of("12").expect("a number"), 12);
        let problem = number_of("one").expect_err("no number");
        assert_eq!(problem.message(), "Parameter 'version' must be an integer, got 'one'.");
    }
}
