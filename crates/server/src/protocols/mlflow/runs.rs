//! Runs: beginning, ending, hiding.

use super::{
    ask::{missing_value, wrong_type},
    call::Call,
    limits,
    problem::{Json, MlflowProblem, Reply, Told, done},
    wire,
};
use kaogong_domain::{
    Problem, Timestamp,
    ids::RunId,
    runs::{RunStatus, limits::RUN_TAG_CHARS_MAX},
};
use kaogong_store::{Lifecycle, NewRunRow, RUN_NAME_TAG, RunRow};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The tag in which older clients keep the models of a run.
const HISTORY_TAG: &str = "mlflow.log-model.history";
/// The most dataset or model entries that a run keeps.
const ENTRIES_MAX: usize = 10_000;

fn name_of(name: String, tags: &mut BTreeMap<String, String>) -> Told<String> {
    let tagged = tags.get(RUN_NAME_TAG).cloned().unwrap_or_default();
    if !name.is_empty() && !tagged.is_empty() && name != tagged {
        return Err(MlflowProblem::invalid(format!(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values \
             (run_name='{name}', mlflow.runName='{tagged}')."
        )));
    }
    let name = [name, tagged].into_iter().find(|it| !it.is_empty()).unwrap_or_else(|| wire::drawn_name(wire::chance()));
    tags.insert(RUN_NAME_TAG.to_owned(), name.clone());
    Ok(name)
}

/// Begins a run. A client whose answer was lost with a server that ended sends the same request again, with the same
/// start time: it gets the run already begun, as long as nothing was logged to it.
pub(super) async fn create(call: Call) -> Reply {
    let ask = &call.ask;
    let id = ask.text("experiment_id")?.filter(|it| !it.is_empty()).unwrap_or_else(|| "0".to_owned());
    let experiment = call.active_experiment(&id).await?;
    let mut tags = wire::read_pairs(ask, "tags", limits::first_run_tag)?;
    // The name is a tag too, and is cut like those that are set later.
    let name = limits::cut(RUN_TAG_CHARS_MAX, ask.text_or_empty("run_name")?);
    let name = name_of(name, &mut tags)?;
    let begun = ask.int("start_time")?;
    let user = [ask.text_or_empty("user_id")?, tags.get("mlflow.user").cloned().unwrap_or_default(), call.user()];
    let token = call.inside.caller.token.clone();
    let mut new = NewRunRow {
        experiment_id: experiment,
        name,
        user: user.into_iter().find(|it| !it.is_empty()).unwrap_or_default(),
        started_at: begun.map_or_else(|| call.now(), Timestamp),
        tags,
        job_id: token.as_ref().and_then(|it| it.job_id),
        attempt_id: token.as_ref().and_then(|it| it.attempt_id),
        // Without a start time two equal requests may well be two runs.
        request_key: begun.map(|_| call.same_request_key("run", &ask.all())),
        same_before: Some(call.app.started_at()),
    };
    let mut run = call.store().create_run(call.project(), new.clone(), &call.actor(), call.now()).await?;
    if !run.params.is_empty() || !run.metrics.is_empty() {
        new.request_key = None;
        run = call.store().create_run(call.project(), new, &call.actor(), call.now()).await?;
    }
    Ok(Json(json!({"run": wire::run(&call, run).await?})))
}

pub(super) async fn get(call: Call) -> Reply {
    let run = call.full_run(&call.ask.need_either("run_id", "run_uuid")?).await?;
    Ok(Json(json!({"run": wire::run(&call, run).await?})))
}

fn status_of(text: &str) -> Told<RunStatus> {
    let by_number = text.parse::<usize>().ok().and_then(|it| {
        // The protobuf enum counts from one in another order than ours.
        [RunStatus::Running, RunStatus::Scheduled, RunStatus::Finished, RunStatus::Failed, RunStatus::Killed]
            .get(it.checked_sub(1)?)
            .copied()
    });
    by_number.or_else(|| RunStatus::parse(text)).ok_or_else(|| wrong_type("status", &Value::String(text.to_owned())))
}

pub(super) async fn update(call: Call) -> Reply {
    let run = call.active_run(&call.ask.need_either("run_id", "run_uuid")?).await?;
    let status = call.ask.text("status")?.map(|it| status_of(&it)).transpose()?;
    let name = call.ask.text("run_name")?.filter(|it| !it.is_empty()).map(|it| limits::cut(RUN_TAG_CHARS_MAX, it));
    let ended_at = call.ask.int("end_time")?.map(Timestamp);
    let change = move |run: &mut RunRow| {
        run.status = status.unwrap_or(run.status);
        run.ended_at = ended_at.or(run.ended_at);
        run.name = name.unwrap_or_else(|| run.name.clone());
        Ok(())
    };
    let row = call.store().change_run(call.project(), run.id, change, &call.actor(), call.now()).await?;
    let ids = call.experiment_ids().await?;
    Ok(Json(json!({"run_info": wire::run_info(ids, &row)})))
}

pub(super) async fn delete(call: Call) -> Reply {
    let run = call.run(&call.ask.need("run_id")?).await?;
    if run.lifecycle != Lifecycle::Deleted {
        let id = run.id;
        call.store().set_run_lifecycle(call.project(), id, Lifecycle::Deleted, &call.actor(), call.now()).await?;
    }
    done()
}

pub(super) async fn restore(call: Call) -> Reply {
    let run = call.run(&call.ask.need("run_id")?).await?;
    if run.lifecycle != Lifecycle::Active {
        let id = run.id;
        call.store().set_run_lifecycle(call.project(), id, Lifecycle::Active, &call.actor(), call.now()).await?;
    }
    done()
}

/// The legacy way to note a model: one more entry in a tag.
pub(super) async fn log_model(call: Call) -> Reply {
    let run = call.active_run(&call.ask.need("run_id")?).await?;
    let text = call.ask.need("model_json")?;
    let model: Value = serde_json::from_str(&text).map_err(|_| {
        MlflowProblem::invalid(format!("Malformed model info. \n {} \n is not a valid JSON.", shown(&text)))
    })?;
    let missing: Vec<&str> = ["artifact_path", "flavors", "run_id", "utc_time_created"]
        .into_iter()
        .filter(|it| model.get(it).is_none())
        .collect();
    if !missing.is_empty() {
        return Err(MlflowProblem::invalid(format!("Model json is missing mandatory fields: {missing:?}")));
    }
    let change = move |old: Option<String>| {
        let mut history: Vec<Value> = serde_json::from_str(old.as_deref().unwrap_or("[]")).unwrap_or_default();
        // A repeated request adds nothing.
        if !history.contains(&model) {
            history.push(model);
        }
        let value = Value::Array(history).to_string();
        if value.len() > super::call::JSON_BYTES_MAX {
            return Err(Problem::invalid("the run's history of models is larger than 1 MiB"));
        }
        Ok(value)
    };
    call.store().change_run_tag(call.project(), run.id, HISTORY_TAG, change).await?;
    done()
}

fn shown(text: &str) -> String {
    text.chars().take(300).collect()
}

fn check_dataset(input: &Value) -> Told<()> {
    let dataset = &input["dataset"];
    for (name, most) in [("name", 500), ("digest", 36), ("source_type", usize::MAX), ("source", 65_535)] {
        match dataset[name].as_str() {
            None | Some("") => return Err(missing_value(&format!("datasets.dataset.{name}"))),
            Some(it) => limits::length(name, most, it)?,
        }
    }
    limits::length("schema", 1_048_575, dataset["schema"].as_str().unwrap_or_default())?;
    for tag in input["tags"].as_array().into_iter().flatten() {
        limits::length("tags.key", 255, tag["key"].as_str().unwrap_or_default())?;
        limits::length("tags.value", 500, tag["value"].as_str().unwrap_or_default())?;
    }
    Ok(())
}

/// Entries of `old` and the new ones that are not among them.
fn merged(mut old: Vec<Value>, new: Vec<Value>, is_same: impl Fn(&Value, &Value) -> bool) -> Told<Vec<Value>> {
    for it in new {
        match old.iter_mut().find(|have| is_same(have, &it)) {
            Some(have) => *have = it,
            None => old.push(it),
        }
    }
    if old.len() > ENTRIES_MAX {
        return Err(MlflowProblem::invalid(format!("a run keeps at most {ENTRIES_MAX} datasets or models")));
    }
    Ok(old)
}

fn same_dataset(a: &Value, b: &Value) -> bool {
    a["dataset"]["name"] == b["dataset"]["name"] && a["dataset"]["digest"] == b["dataset"]["digest"]
}

fn same_model(a: &Value, b: &Value) -> bool {
    a["model_id"] == b["model_id"]
}

/// Model entries of a request; each names a logged model of this project.
async fn models_of(call: &Call) -> Told<Vec<Value>> {
    let models = call.ask.list("models")?;
    limits::batch("models", 1000, models.len())?;
    for it in &models {
        let id = it["model_id"].as_str().filter(|it| !it.is_empty()).ok_or_else(|| missing_value("models.model_id"))?;
        call.logged_model(id).await?;
    }
    Ok(models)
}

async fn save(call: &Call, run: RunId, change: impl FnOnce(&mut RunRow) -> Result<(), Problem> + Send) -> Reply {
    call.store().change_run(call.project(), run, change, &call.actor(), call.now()).await?;
    done()
}

pub(super) async fn log_inputs(call: Call) -> Reply {
    let run = call.active_run(&call.ask.need("run_id")?).await?;
    let datasets = call.ask.list("datasets")?;
    limits::batch("datasets", 1000, datasets.len())?;
    datasets.iter().try_for_each(check_dataset)?;
    let models = models_of(&call).await?;
    let change = move |run: &mut RunRow| -> Result<(), Problem> {
        run.inputs = json!({
            "dataset_inputs": merged(wire::listed(&run.inputs, "dataset_inputs"), datasets, same_dataset)?,
            "model_inputs": merged(wire::listed(&run.inputs, "model_inputs"), models, same_model)?,
        });
        Ok(())
    };
    save(&call, run.id, change).await
}

pub(super) async fn log_outputs(call: Call) -> Reply {
    let run = call.active_run(&call.ask.need("run_id")?).await?;
    let mut models = models_of(&call).await?;
    for it in &mut models {
        let step = it["step"].as_i64().or_else(|| it["step"].as_str()?.parse().ok()).unwrap_or(0);
        *it = json!({"model_id": it["model_id"], "step": step});
    }
    let change = move |run: &mut RunRow| -> Result<(), Problem> {
        run.outputs = json!({
            "model_outputs": merged(wire::listed(&run.outputs, "model_outputs"), models, |a, b| a == b)?,
        });
        Ok(())
    };
    save(&call, run.id, change).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_one_name_in_both_places() {
        let mut tags = BTreeMap::new();
        assert_eq!(name_of("a".into(), &mut tags).expect("a name"), "a");
        assert_eq!(name_of(String::new(), &mut tags).expect("a name"), "a");
        assert!(name_of("b".into(), &mut tags).is_err());
        assert!(!name_of(String::new(), &mut BTreeMap::new()).expect("a drawn name").is_empty());
    }

    #[test]
    fn a_status_is_a_word_or_the_number_of_the_protobuf() {
        assert_eq!(status_of("FINISHED").ok(), Some(RunStatus::Finished));
        assert_eq!(status_of("3").ok(), Some(RunStatus::Finished));
        assert!(status_of("0").is_err() && status_of("6").is_err() && status_of("finished").is_err());
    }

    #[test]
    fn inputs_logged_twice_are_kept_once() {
        let input = json!({"dataset": {"name": "d", "digest": "1"}});
        let all = merged(vec![input.clone()], vec![input.clone()], same_dataset).expect("merged");
        assert_eq!(all, [input]);
    }
}
