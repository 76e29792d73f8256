//! Versions of registered models.

use super::{
    ask::page,
    call::{Call, model_id_of, model_id_text},
    filter::{Clause, Operand, Order, Test, parse_filter, parse_order},
    limits,
    matching::{Found, check_kind, holds},
    models::{hides_prompts, is_prompt, tag_of},
    problem::{Json, MlflowProblem, Reply, Told, done},
    sources, wire,
};
use kaogong_control::models::{REMARK_TAG, Servable, servable};
use kaogong_domain::{
    ErrorKind, Problem,
    ids::{LoggedModelId, ModelId, ModelVersionId, RunId},
    models::ModelVersionStatus,
};
use kaogong_store::{Comparator, ModelRow, ModelVersionRow, NewModelVersionRow, OthersInStage};
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
        "status_message": row.status_message.clone().unwrap_or_default(),
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

/// The run and the logged model that a version is linked to: what the client says, else what the source says. All of
/// them must be in the project.
async fn links_of(call: &Call, source: Option<&sources::Source>) -> Told<(Option<RunId>, Option<LoggedModelId>)> {
    let (source_run, source_model) = sources::links(source);
    let mut run = match source_run {
        Some(id) => Some(call.run(&id.to_string()).await?.id),
        None => None,
    };
    let mut logged = match source_model {
        Some(id) => Some(call.logged_model(&model_id_text(id)).await?),
        None => None,
    };
    let (run_said, model_said) = (call.ask.text_or_empty("run_id")?, call.ask.text_or_empty("model_id")?);
    if !model_said.is_empty() {
        logged = Some(call.logged_model(&model_said).await?);
    }
    if !run_said.is_empty() {
        run = Some(call.run(&run_said).await?.id);
    }
    let run = run.or(logged.as_ref().and_then(|it| it.run_id));
    Ok((run, logged.map(|it| it.id)))
}

/// A job registers what its own runs made, and nothing that only says so: the source, the run and the logged model must
/// all be its own.
async fn only_own(
    call: &Call,
    text: &str,
    source: Option<&sources::Source>,
    run: Option<RunId>,
    logged: Option<LoggedModelId>,
) -> Told<()> {
    if call.inside.caller.job().is_none() {
        return Ok(());
    }
    if source.is_none() && text.starts_with("models:/") {
        call.only_from_own_run("a copy of another model version", None).await?;
    }
    let (source_run, source_model) = sources::links(source);
    call.only_from_own_run("a model version that comes from no run", run).await?;
    call.only_from_own_run("the source of the model version", source_run.or(run)).await?;
    for id in [source_model, logged].into_iter().flatten() {
        call.changeable_logged_model(&model_id_text(id)).await?;
    }
    Ok(())
}

/// Refuses the token of a job the versions that come from elsewhere.
async fn changeable(call: &Call) -> Told<(ModelRow, ModelVersionRow)> {
    let (model, row) = named(call).await?;
    call.only_from_own_run(&format!("version {} of model {}", row.number, model.name), row.run_id).await?;
    Ok((model, row))
}

/// What registering a version comes to.
struct Outcome {
    file: Option<Servable>,
    status: ModelVersionStatus,
    message: Option<String>,
}

impl Outcome {
    fn ready(file: Option<Servable>) -> Self {
        Self { file, status: ModelVersionStatus::Ready, message: None }
    }
}

/// Finds the ONNX file of a version and tries it: a version is ready when endpoints can serve it. The registry also
/// keeps models of other kinds and of other places; those are ready, and say that no endpoint serves them.
async fn outcome_of(call: &Call, source: Option<&sources::Source>) -> Told<Outcome> {
    let other = |text: &str| Outcome { message: Some(text.to_owned()), ..Outcome::ready(None) };
    let Some(source) = source else {
        return Ok(other(
            "Registered as an address elsewhere. Endpoints serve ONNX models that are logged to this server.",
        ));
    };
    let Some((owner, file)) = sources::onnx_of(&call.app, call.project(), source).await? else {
        return Ok(other(
            "Registered without an ONNX file. Endpoints serve ONNX models; log one with mlflow.onnx.log_model.",
        ));
    };
    match servable(&call.app, call.project(), owner, &file, &call.actor()).await {
        Ok(file) => Ok(Outcome::ready(Some(file))),
        Err(it) if it.kind == ErrorKind::Invalid => {
            let message = match it.hint {
                Some(hint) => format!("{}: {} ({hint})", file.path, it.text),
                None => format!("{}: {}", file.path, it.text),
            };
            Ok(Outcome { file: None, status: ModelVersionStatus::FailedRegistration, message: Some(message) })
        }
        Err(it) => Err(it.into()),
    }
}

/// What a version that is copied from another one comes to: `models:/NAME/NUMBER` names that one's files.
async fn copied(call: &Call, source: &str) -> Told<Option<Outcome>> {
    let Some((name, number)) = source.strip_prefix("models:/").and_then(|it| it.split_once('/')) else {
        return Ok(None);
    };
    let (Some(model), Ok(number)) = (call.store().find_model(call.project(), name).await?, number.parse()) else {
        return Ok(None);
    };
    let Some(row) = call.store().find_model_version(model.id, number).await? else { return Ok(None) };
    let remark = row.tags.get(REMARK_TAG).cloned();
    let file = row.hash.zip(row.size).map(|(hash, size)| Servable { hash, size, remark });
    Ok(Some(Outcome { file, status: row.status, message: row.status_message }))
}

pub(super) async fn create(call: Call) -> Reply {
    let ask = &call.ask;
    let name = ask.text_or_empty("name")?;
    limits::model_name(&name)?;
    let text = ask.need("source")?;
    limits::length("source", 4096, &text)?;
    let mut tags = wire::read_pairs(ask, "tags", limits::model_tag)?;
    let description = ask.text_or_empty("description")?;
    limits::length("description", 5000, &description)?;
    let model = call.model(&name).await?;
    // A prompt is text in a tag; its source says nothing.
    let source = if is_prompt(&tags) { None } else { sources::parse(&text)? };
    let (run_id, logged_model_id) = links_of(&call, source.as_ref()).await?;
    only_own(&call, &text, source.as_ref(), run_id, logged_model_id).await?;
    let outcome = match copied(&call, &text).await? {
        Some(outcome) => outcome,
        None if is_prompt(&tags) => Outcome::ready(None),
        None => outcome_of(&call, source.as_ref()).await?,
    };
    if let Some(remark) = outcome.file.as_ref().and_then(|it| it.remark.clone()) {
        tags.entry(REMARK_TAG.to_owned()).or_insert(remark);
    }
    let new = NewModelVersionRow {
        source: text,
        run_id,
        logged_model_id,
        run_link: ask.text("run_link")?.filter(|it| !it.is_empty()),
        hash: outcome.file.as_ref().map(|it| it.hash.clone()),
        size: outcome.file.map(|it| it.size),
        status: outcome.status,
        status_message: outcome.message,
        description,
        tags,
        user: call.user(),
        request_key: None,
        same_since: Some(call.now().plus_ms(-SAME_REQUEST_MS)),
    };
    let row = call.store().create_model_version(call.project(), model.id, new, &call.actor(), call.now()).await?;
    answer(&call, &model, &row).await
}

pub(super) async fn get(call: Call) -> Reply {
    let (model, row) = named(&call).await?;
    answer(&call, &model, &row).await
}

/// Lets `change` change a version.
async fn save(
    call: &Call,
    id: ModelVersionId,
    change: impl FnOnce(&mut ModelVersionRow) -> Result<(), Problem> + Send,
) -> Told<ModelVersionRow> {
    Ok(call.store().change_model_version(call.project(), id, change, &call.actor(), call.now()).await?)
}

pub(super) async fn update(call: Call) -> Reply {
    let (model, row) = changeable(&call).await?;
    let description = call.ask.text("description")?;
    limits::length("description", 5000, description.as_deref().unwrap_or_default())?;
    let row = save(&call, row.id, move |row| {
        row.description = description.unwrap_or_else(|| row.description.clone());
        Ok(())
    });
    answer(&call, &model, &row.await?).await
}

pub(super) async fn transition(call: Call) -> Reply {
    let (model, row) = named(&call).await?;
    let stage = stage_of(&call.ask.need("stage")?)?;
    let others = match call.ask.truth("archive_existing_versions")? {
        Some(true) => OthersInStage::Archive,
        _ => OthersInStage::Stay,
    };
    if others == OthersInStage::Archive && stage != "Staging" && stage != "Production" {
        return Err(MlflowProblem::invalid(format!(
            "Model version transition cannot archive existing model versions because '{stage}' is not an Active stage. \
             Valid stages are Staging and Production."
        )));
    }
    let row =
        call.store().set_model_version_stage(call.project(), row.id, &stage, others, &call.actor(), call.now()).await?;
    answer(&call, &model, &row).await
}

pub(super) async fn delete(call: Call) -> Reply {
    let (_, row) = named(&call).await?;
    let gone = call.store().delete_model_version(call.project(), row.id, &call.actor(), call.now()).await;
    gone.map_err(MlflowProblem::conflict)?;
    done()
}

pub(super) async fn download_uri(call: Call) -> Reply {
    let (_, row) = named(&call).await?;
    let uri = sources::download_uri(&call.app, call.project(), &row.source).await?;
    Ok(Json(json!({"artifact_uri": uri})))
}

pub(super) async fn set_tag(call: Call) -> Reply {
    let (_, row) = changeable(&call).await?;
    let (key, value) = (call.ask.need("key")?, call.ask.text_or_empty("value")?);
    let value = limits::model_tag("", &key, value)?;
    save(&call, row.id, move |row| {
        row.tags.insert(key, value);
        Ok(())
    })
    .await?;
    done()
}

pub(super) async fn delete_tag(call: Call) -> Reply {
    let (_, row) = changeable(&call).await?;
    let key = call.ask.need("key")?;
    limits::key("key", &key)?;
    save(&call, row.id, move |row| {
        row.tags.remove(&key);
        Ok(())
    })
    .await?;
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
        let ordering = look(a, false, &it.key).order_towards(&look(b, false, &it.key), it.direction);
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    // As MLflow: by name, and of one model the newest first; without any order those changed last come before.
    let changed = |it: &Entry| if order.is_empty() { it.1.updated_at.as_ms() } else { 0 };
    (changed(b), &a.0, b.1.number).cmp(&(changed(a), &b.0, a.1.number))
}

/// The text that a filter asks an attribute to be, if it asks for one.
fn text_asked<'a>(clauses: &'a [(bool, Clause)], key: &str) -> Option<&'a str> {
    clauses.iter().find_map(|(is_tag, it)| match (&it.test, &it.operand) {
        (Test::Compare(Comparator::Equal), Operand::Text(text)) if !is_tag && it.key == key => Some(text.as_str()),
        _ => None,
    })
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
    let probe = |name: &str, (is_tag, it): &(bool, Clause)| {
        *is_tag || it.key != "name" || holds(it, &Found::Text(name.to_owned()))
    };
    let models = match text_asked(&clauses, "name") {
        // A name is of one model.
        Some(name) => call.store().find_model(call.project(), name).await?.into_iter().collect(),
        None => call.store().list_models(call.project()).await?,
    };
    let names: BTreeMap<ModelId, String> = models
        .into_iter()
        .filter(|it| clauses.iter().all(|clause| probe(&it.name, clause)))
        .map(|it| (it.id, it.name))
        .collect();
    let ids: Vec<ModelId> = names.keys().copied().collect();
    let named = |it: ModelVersionRow| names.get(&it.model_id).map(|name| (name.clone(), it));
    let versions = match text_asked(&clauses, "run_id").map(str::parse::<RunId>) {
        Some(Ok(run)) => call.store().versions_of_run(call.project(), run).await?,
        _ => call.store().versions_of_models(&ids).await?,
    };
    let mut all: Vec<Entry> = versions.into_iter().filter_map(named).collect();
    let hides_prompts = hides_prompts(&clauses);
    all.retain(|it| !(hides_prompts && is_prompt(&it.1.tags)));
    all.retain(|it| clauses.iter().all(|(is_tag, clause)| holds(clause, &look(it, *is_tag, &clause.key))));
    all.sort_by(|a, b| compare(a, b, &order));
    let (found, next) = page(all, offset, size);
    let mut ids: Vec<ModelId> = found.iter().map(|it| it.1.model_id).collect();
    ids.dedup();
    let aliases = call.store().aliases_of_models(&ids).await?;
    let none = BTreeMap::new();
    let views = found.iter().map(|(name, row)| view(name, row, aliases.get(&row.model_id).unwrap_or(&none))).collect();
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
