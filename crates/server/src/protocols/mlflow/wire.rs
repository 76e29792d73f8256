//! Rows of the store as MLflow's messages.

use super::{
    ask::Ask,
    call::{Call, ExperimentIds, model_id_text},
    problem::{MlflowProblem, Told},
};
use kaogong_domain::{
    ids::{LoggedModelId, RunId, VersionId},
    runs::MetricPoint,
};
use kaogong_store::{ExperimentRow, Lifecycle, LoggedModelRow, ModelMetric, RunFull, RunRow};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A list of `{key, value}`.
pub(super) fn pairs(it: &BTreeMap<String, String>) -> Vec<Value> {
    it.iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
}

/// `{key, value}` objects of a request, each value as `check` keeps it; a later one wins.
pub(super) fn read_pairs(
    ask: &Ask,
    name: &str,
    check: impl Fn(&str, &str, String) -> Told<String>,
) -> Told<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for (place, it) in ask.objects(name)?.into_iter().enumerate() {
        let path = format!("{name}[{place}]");
        let key = it.text("key")?.ok_or_else(|| super::ask::missing_value(&format!("{path}.key")))?;
        let value = check(&path, &key, it.text_or_empty("value")?)?;
        all.insert(key, value);
    }
    Ok(all)
}

/// JSON has no NaN; MLflow writes it as a text.
pub(super) fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| json!("NaN"), Value::Number)
}

pub(super) fn metric(it: &MetricPoint) -> Value {
    json!({"key": it.key, "value": number(it.value), "timestamp": it.timestamp_ms, "step": it.step})
}

pub(super) fn experiment(it: &ExperimentRow) -> Value {
    let id = if it.is_default { "0".to_owned() } else { it.id.to_string() };
    json!({
        "experiment_id": id,
        "name": it.name,
        "artifact_location": format!("mlflow-artifacts:/{id}"),
        "lifecycle_stage": it.lifecycle.as_str(),
        "creation_time": it.created_at.as_ms(),
        "last_update_time": it.updated_at.as_ms(),
        "tags": pairs(&it.tags),
    })
}

/// Where a run's artifacts are; clients send them through this server.
pub(super) fn run_artifact_uri(ids: ExperimentIds, run: &RunRow) -> String {
    format!("mlflow-artifacts:/{}/{}/artifacts", ids.text(run.experiment_id), run.id)
}

/// Where a logged model's artifacts are.
pub(super) fn model_artifact_uri(ids: ExperimentIds, it: &LoggedModelRow) -> String {
    format!("mlflow-artifacts:/{}/models/{}/artifacts", ids.text(it.experiment_id), model_id_text(it.id))
}

pub(super) fn run_info(ids: ExperimentIds, run: &RunRow) -> Value {
    let mut info = json!({
        "run_id": run.id.to_string(),
        "run_uuid": run.id.to_string(),
        "run_name": run.name,
        "experiment_id": ids.text(run.experiment_id),
        "user_id": run.user,
        "status": run.status.as_str(),
        "start_time": run.started_at.as_ms(),
        "artifact_uri": run_artifact_uri(ids, run),
        "lifecycle_stage": run.lifecycle.as_str(),
    });
    if let (Some(at), Value::Object(fields)) = (run.ended_at, &mut info) {
        fields.insert("end_time".to_owned(), json!(at.as_ms()));
    }
    info
}

/// A list inside the inputs or outputs of a run; `[]` stands for none of either.
pub(super) fn listed(stored: &Value, name: &str) -> Vec<Value> {
    stored.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Dataset inputs of a run: those that the client logged, and those that its job reads.
pub(super) fn dataset_inputs(run: &RunRow, versions: &[String]) -> Vec<Value> {
    let mut all = listed(&run.inputs, "dataset_inputs");
    all.extend(versions.iter().map(|it| {
        let (name, number) = it.split_once('@').unwrap_or((it, ""));
        json!({"tags": [], "dataset": {
            "name": name,
            "digest": format!("v{number}"),
            "source_type": "kaogong",
            "source": json!({"uri": format!("kaogong:{it}")}).to_string(),
        }})
    }));
    all
}

fn run_view(ids: ExperimentIds, run: &RunFull, versions: &[String]) -> Value {
    json!({
        "info": run_info(ids, &run.row),
        "data": {
            "metrics": run.metrics.iter().map(metric).collect::<Vec<_>>(),
            "params": pairs(&run.params),
            "tags": pairs(&run.tags),
        },
        "inputs": {
            "dataset_inputs": dataset_inputs(&run.row, versions),
            "model_inputs": listed(&run.row.inputs, "model_inputs"),
        },
        "outputs": {"model_outputs": listed(&run.row.outputs, "model_outputs")},
    })
}

/// `name@number` of the dataset versions of runs, by set of versions.
pub(super) async fn version_names(call: &Call, runs: &[RunFull]) -> Told<HashMap<Vec<VersionId>, Vec<String>>> {
    let all: BTreeSet<VersionId> = runs.iter().flat_map(|it| it.row.dataset_versions.iter().copied()).collect();
    let all: Vec<VersionId> = all.into_iter().collect();
    let found = call.store().names_of_versions(&all).await?;
    let mut names = HashMap::from([(vec![], vec![])]);
    for run in runs {
        let versions = &run.row.dataset_versions;
        if !names.contains_key(versions) {
            names.insert(versions.clone(), versions.iter().filter_map(|it| found.get(it).cloned()).collect());
        }
    }
    Ok(names)
}

/// Runs as messages.
pub(super) async fn runs(call: &Call, runs: &[RunFull]) -> Told<Vec<Value>> {
    let ids = call.experiment_ids().await?;
    let names = version_names(call, runs).await?;
    let none = vec![];
    Ok(runs.iter().map(|it| run_view(ids, it, names.get(&it.row.dataset_versions).unwrap_or(&none))).collect())
}

/// One run as a message.
pub(super) async fn run(call: &Call, run: RunFull) -> Told<Value> {
    Ok(runs(call, &[run]).await?.remove(0))
}

/// A point of a logged model, with the run that logged it.
fn model_metric((run, it): &(RunId, ModelMetric)) -> Value {
    let mut view = metric(&it.point);
    view["model_id"] = json!(model_id_text(it.model_id));
    view["run_id"] = json!(run.to_string());
    for (name, value) in [("dataset_name", &it.dataset_name), ("dataset_digest", &it.dataset_digest)] {
        if let Some(value) = value {
            view[name] = json!(value);
        }
    }
    view
}

/// Logged models as messages, their metrics read together.
pub(super) async fn logged_models(call: &Call, rows: &[LoggedModelRow]) -> Told<Vec<Value>> {
    let ids = call.experiment_ids().await?;
    let models: Vec<LoggedModelId> = rows.iter().map(|it| it.id).collect();
    let mut metrics: HashMap<LoggedModelId, Vec<Value>> = HashMap::new();
    for it in call.store().metrics_of_logged_models(&models).await? {
        metrics.entry(it.1.model_id).or_default().push(model_metric(&it));
    }
    Ok(rows.iter().map(|it| logged_model(ids, it, metrics.remove(&it.id).unwrap_or_default())).collect())
}

fn logged_model(ids: ExperimentIds, it: &LoggedModelRow, metrics: Vec<Value>) -> Value {
    let mut info = json!({
        "model_id": model_id_text(it.id),
        "experiment_id": ids.text(it.experiment_id),
        "name": it.name,
        "artifact_uri": model_artifact_uri(ids, it),
        "creation_timestamp_ms": it.created_at.as_ms(),
        "last_updated_timestamp_ms": it.updated_at.as_ms(),
        "model_type": it.model_type,
        "status": it.status,
        "status_message": it.status_message,
        "tags": pairs(&it.tags),
    });
    if let (Some(run), Value::Object(fields)) = (it.run_id, &mut info) {
        fields.insert("source_run_id".to_owned(), json!(run.to_string()));
    }
    json!({"info": info, "data": {"params": pairs(&it.params), "metrics": metrics}})
}

/// An answer with one list, and the token of the next page when there is one.
pub(super) fn listing(name: &str, items: Vec<Value>, next: Option<String>) -> Value {
    let mut fields = Map::from_iter([(name.to_owned(), Value::Array(items))]);
    if let Some(token) = next {
        fields.insert("next_page_token".to_owned(), Value::String(token));
    }
    Value::Object(fields)
}

/// `ACTIVE_ONLY`, `DELETED_ONLY` or `ALL`, by word or by number; active when absent.
pub(super) fn view_type(ask: &Ask, name: &str) -> Told<Option<Lifecycle>> {
    match ask.text_or_empty(name)?.to_uppercase().as_str() {
        "" | "ACTIVE_ONLY" | "1" => Ok(Some(Lifecycle::Active)),
        "DELETED_ONLY" | "2" => Ok(Some(Lifecycle::Deleted)),
        "ALL" | "3" => Ok(None),
        other => Err(MlflowProblem::invalid(format!(
            "Invalid value \"{}\" for parameter '{name}' supplied: use ACTIVE_ONLY, DELETED_ONLY or ALL",
            other.chars().take(40).collect::<String>()
        ))),
    }
}

/// A name for what the client did not name: two words and a number, drawn from chance.
pub(super) fn drawn_name(chance: u128) -> String {
    const MOODS: [&str; 16] = [
        "amber", "bold", "calm", "clear", "deft", "eager", "fair", "keen", "lively", "merry", "quiet", "rapid",
        "sharp", "steady", "true", "warm",
    ];
    const THINGS: [&str; 16] = [
        "anvil", "beacon", "bridge", "brook", "cedar", "compass", "crane", "falcon", "harbor", "kiln", "loom", "maple",
        "otter", "plough", "river", "wheel",
    ];
    let at = |shift: u32| usize::try_from((chance >> shift) & 15).unwrap_or(0);
    format!("{}-{}-{}", MOODS[at(0)], THINGS[at(4)], (chance >> 8) % 1000)
}

/// Chance for [`drawn_name`].
pub(super) fn chance() -> u128 {
    let mut bytes = [0u8; 16];
    // Without randomness names repeat, which is legal.
    let _ = getrandom::fill(&mut bytes);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_lacks_are_texts() {
        assert_eq!(number(f64::NAN), json!("NaN"));
        assert_eq!(number(-f64::MAX), json!(-f64::MAX));
    }

    #[test]
    fn names_are_drawn_from_chance() {
        assert_eq!(drawn_name(0), "amber-anvil-0");
        assert_ne!(drawn_name(1), drawn_name(2));
    }

    #[test]
    fn a_view_is_a_word_or_a_number() {
        let ask = Ask::from_json(br#"{"a": "ALL", "b": 2, "c": "some"}"#).expect("a body");
        assert_eq!(view_type(&ask, "a").expect("a view"), None);
        assert_eq!(view_type(&ask, "b").expect("a view"), Some(Lifecycle::Deleted));
        assert_eq!(view_type(&ask, "none").expect("a view"), Some(Lifecycle::Active));
        assert!(view_type(&ask, "c").is_err());
    }
}
