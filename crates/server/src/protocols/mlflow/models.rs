//! Registered models: names, tags and aliases.

use super::{
    ask::page,
    call::Call,
    filter::{Clause, Order, parse_filter, parse_order},
    limits,
    matching::{Found, check_kind, holds},
    problem::{Code, Json, MlflowProblem, Reply, Told, done},
    versions::{self, find_version},
    wire,
};
use kaogong_domain::{ErrorKind, Problem, ids::ModelId};
use kaogong_store::{ModelRow, ModelVersionRow};
use serde_json::{Value, json};
use std::{cmp::Ordering, collections::BTreeMap};

/// The most models in one page.
const PAGE_MAX: i64 = 1000;
/// Marks the entries of MLflow's prompt registry, which are models and versions as well.
pub(super) const PROMPT_TAG: &str = "mlflow.prompt.is_prompt";

/// A tag as a search sees it: what has no mark is no prompt.
pub(super) fn tag_of(tags: &BTreeMap<String, String>, key: &str) -> Found {
    match tags.get(key) {
        None if key == PROMPT_TAG => Found::Text("false".to_owned()),
        it => Found::text(it),
    }
}

/// Prompts are found only when the filter asks for them.
pub(super) fn hides_prompts(clauses: &[(bool, Clause)]) -> bool {
    !clauses.iter().any(|(is_tag, it)| *is_tag && it.key == PROMPT_TAG)
}

/// Whether these are the tags of a prompt.
pub(super) fn is_prompt(tags: &BTreeMap<String, String>) -> bool {
    tags.get(PROMPT_TAG).is_some_and(|it| it == "true")
}

fn exists(name: &str) -> MlflowProblem {
    MlflowProblem::new(Code::Exists, format!("Registered Model (name={name}) already exists."))
}

/// Models as messages, their aliases and newest versions read together.
async fn views(call: &Call, rows: &[ModelRow]) -> Told<Vec<Value>> {
    let ids: Vec<ModelId> = rows.iter().map(|it| it.id).collect();
    let aliases = call.store().aliases_of_models(&ids).await?;
    let mut newest: BTreeMap<ModelId, Vec<ModelVersionRow>> = BTreeMap::new();
    for it in call.store().newest_of_stages(&ids).await? {
        newest.entry(it.model_id).or_default().push(it);
    }
    let (no_aliases, no_versions) = (BTreeMap::new(), vec![]);
    let one = |row: &ModelRow| {
        let newest = newest.get(&row.id).unwrap_or(&no_versions);
        view(row, aliases.get(&row.id).unwrap_or(&no_aliases), newest)
    };
    Ok(rows.iter().map(one).collect())
}

fn view(row: &ModelRow, aliases: &BTreeMap<String, u32>, newest: &[ModelVersionRow]) -> Value {
    let latest: Vec<Value> = newest.iter().map(|it| versions::view(&row.name, it, aliases)).collect();
    json!({
        "name": row.name,
        "creation_timestamp": row.created_at.as_ms(),
        "last_updated_timestamp": row.updated_at.as_ms(),
        "description": row.description,
        "latest_versions": latest,
        "tags": wire::pairs(&row.tags),
        "aliases": aliases.iter().map(|(alias, number)| json!({"alias": alias, "version": number.to_string()})).collect::<Vec<_>>(),
    })
}

async fn named(call: &Call) -> Told<ModelRow> {
    let name = call.ask.text_or_empty("name")?;
    limits::model_name(&name)?;
    call.model(&name).await
}

/// Lets `change` change a model.
async fn save(
    call: &Call,
    id: ModelId,
    change: impl FnOnce(&mut ModelRow) -> Result<(), Problem> + Send,
) -> Result<ModelRow, Problem> {
    call.store().change_model(call.project(), id, change, &call.actor(), call.now()).await
}

async fn answer(call: &Call, row: ModelRow) -> Reply {
    Ok(Json(json!({"registered_model": views(call, &[row]).await?.remove(0)})))
}

pub(super) async fn create(call: Call) -> Reply {
    let name = call.ask.text_or_empty("name")?;
    limits::model_name(&name)?;
    let tags = wire::read_pairs(&call.ask, "tags", limits::model_tag)?;
    let description = call.ask.text_or_empty("description")?;
    limits::length("description", 5000, &description)?;
    let made = call.store().create_model(call.project(), &name, &description, tags, &call.actor(), call.now()).await;
    let row = made.map_err(|it| if it.kind == ErrorKind::Conflict { exists(&name) } else { it.into() })?;
    answer(&call, row).await
}

pub(super) async fn get(call: Call) -> Reply {
    let row = named(&call).await?;
    answer(&call, row).await
}

pub(super) async fn rename(call: Call) -> Reply {
    let row = named(&call).await?;
    let name = call.ask.need("new_name")?;
    limits::model_name(&name)?;
    let taken = exists(&name);
    let renamed = save(&call, row.id, move |row| {
        row.name = name;
        Ok(())
    });
    let row = renamed.await.map_err(|it| if it.kind == ErrorKind::Conflict { taken } else { it.into() })?;
    answer(&call, row).await
}

pub(super) async fn update(call: Call) -> Reply {
    let mut row = named(&call).await?;
    if let Some(description) = call.ask.text("description")? {
        limits::length("description", 5000, &description)?;
        row = save(&call, row.id, move |row| {
            row.description = description;
            Ok(())
        })
        .await?;
    }
    answer(&call, row).await
}

pub(super) async fn delete(call: Call) -> Reply {
    let row = named(&call).await?;
    let gone = call.store().delete_model(call.project(), row.id, &call.actor(), call.now()).await;
    gone.map_err(MlflowProblem::conflict)?;
    done()
}

pub(super) async fn set_tag(call: Call) -> Reply {
    let row = named(&call).await?;
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
    let row = named(&call).await?;
    let key = call.ask.need("key")?;
    limits::key("key", &key)?;
    save(&call, row.id, move |row| {
        row.tags.remove(&key);
        Ok(())
    })
    .await?;
    done()
}

pub(super) async fn set_alias(call: Call) -> Reply {
    let row = named(&call).await?;
    let alias = call.ask.text_or_empty("alias")?;
    limits::alias(&alias)?;
    let version = find_version(&call, &row, &call.ask.text_or_empty("version")?).await?;
    call.store().set_model_alias(call.project(), row.id, &alias, version.number, &call.actor(), call.now()).await?;
    done()
}

pub(super) async fn delete_alias(call: Call) -> Reply {
    let row = named(&call).await?;
    let alias = call.ask.text_or_empty("alias")?;
    if alias.is_empty() {
        return Err(MlflowProblem::invalid("Registered model alias name cannot be empty."));
    }
    call.store().delete_model_alias(call.project(), row.id, &alias, &call.actor(), call.now()).await?;
    done()
}

pub(super) async fn get_by_alias(call: Call) -> Reply {
    let row = named(&call).await?;
    let alias = call.ask.need("alias")?;
    let aliases = call.store().model_aliases(row.id).await?;
    let unknown = || {
        MlflowProblem::invalid(format!(
            "Registered model alias {} not found.",
            alias.chars().take(255).collect::<String>()
        ))
    };
    let number = if alias.eq_ignore_ascii_case("latest") {
        let newest = call.store().newest_of_stages(&[row.id]).await?.iter().map(|it| it.number).max();
        newest.ok_or_else(|| MlflowProblem::missing(format!("Latest version not found for model {}.", row.name)))?
    } else {
        *aliases.get(&alias).ok_or_else(unknown)?
    };
    let version = call.store().find_model_version(row.id, number).await?.ok_or_else(unknown)?;
    Ok(Json(json!({"model_version": versions::view(&row.name, &version, &aliases)})))
}

pub(super) async fn latest_versions(call: Call) -> Reply {
    let row = named(&call).await?;
    let wanted: Vec<String> = call.ask.texts("stages")?.iter().map(|it| versions::stage_of(it)).collect::<Told<_>>()?;
    let aliases = call.store().model_aliases(row.id).await?;
    let mut newest = call.store().newest_of_stages(&[row.id]).await?;
    newest.retain(|it| wanted.is_empty() || wanted.contains(&it.stage));
    let views: Vec<Value> = newest.iter().map(|it| versions::view(&row.name, it, &aliases)).collect();
    Ok(Json(json!({"model_versions": views})))
}

fn look(row: &ModelRow, is_tag: bool, key: &str) -> Found {
    if is_tag {
        return tag_of(&row.tags, key);
    }
    match key {
        "name" => Found::Text(row.name.clone()),
        _ => Found::int(row.updated_at.as_ms()),
    }
}

fn checked(clause: Clause) -> Told<(bool, Clause)> {
    let is_tag = match clause.entity.as_deref() {
        Some("tag" | "tags") => true,
        None | Some("attribute" | "attributes" | "attr") if clause.key == "name" => false,
        None | Some("attribute" | "attributes" | "attr") => {
            return Err(MlflowProblem::invalid(format!(
                "Invalid attribute key '{}' specified. Valid keys are '{{'name'}}'",
                clause.key
            )));
        }
        Some(other) => {
            return Err(MlflowProblem::invalid(format!(
                "Invalid entity type '{other}'. Valid values are ['tag', 'attribute']"
            )));
        }
    };
    check_kind(&clause, false)?;
    Ok((is_tag, clause))
}

fn order_key(it: &Order) -> Told<()> {
    let is_plain = matches!(it.entity.as_deref(), None | Some("attribute" | "attributes"));
    if is_plain && matches!(it.key.as_str(), "name" | "timestamp" | "last_updated_timestamp") {
        return Ok(());
    }
    Err(MlflowProblem::invalid(format!(
        "Invalid order by key '{}' specified. Valid keys are ['name', 'timestamp', 'last_updated_timestamp']",
        it.key
    )))
}

fn compare(a: &ModelRow, b: &ModelRow, order: &[Order]) -> Ordering {
    for it in order {
        let ordering = look(a, false, &it.key).order_towards(&look(b, false, &it.key), it.direction);
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    a.name.cmp(&b.name)
}

pub(super) async fn search(call: Call) -> Reply {
    let size = call.ask.page_size(100, PAGE_MAX)?;
    let offset = call.ask.page_offset()?;
    let clauses = parse_filter(&call.ask.text_or_empty("filter")?).map_err(MlflowProblem::invalid)?;
    let clauses: Vec<(bool, Clause)> = clauses.into_iter().map(checked).collect::<Told<_>>()?;
    let mut order = vec![];
    for text in call.ask.texts("order_by")? {
        let it = parse_order(&text).map_err(MlflowProblem::invalid)?;
        order_key(&it)?;
        order.push(it);
    }
    let mut all = call.store().list_models(call.project()).await?;
    let hides_prompts = hides_prompts(&clauses);
    all.retain(|row| {
        !(hides_prompts && is_prompt(&row.tags))
            && clauses.iter().all(|(is_tag, it)| holds(it, &look(row, *is_tag, &it.key)))
    });
    all.sort_by(|a, b| compare(a, b, &order));
    let (found, next) = page(all, offset, size);
    Ok(Json(wire::listing("registered_models", views(&call, &found).await?, next)))
}
