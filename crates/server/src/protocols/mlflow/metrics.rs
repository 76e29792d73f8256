//! What runs log: metrics, parameters and tags, one by one or in batches, and metrics over time.

use super::{
    ask::{Ask, missing_value, wrong_type},
    call::{Call, model_id_of},
    limits,
    problem::{Json, MlflowProblem, Reply, Told, done},
    wire,
};
use kaogong_domain::{
    ids::LoggedModelId,
    runs::{
        MetricPoint,
        limits::{BATCH_METRICS_MAX, BATCH_PARAMS_MAX, BATCH_TAGS_MAX, HISTORY_PAGE_MAX, KEY_CHARS_MAX},
    },
};
use kaogong_store::{ModelMetric, RUN_NAME_TAG, RunLog, RunRow};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Entries of all kinds in one batch.
const BATCH_ENTRIES_MAX: usize = 1000;
/// Runs whose history is drawn at once.
const BULK_RUNS_MAX: usize = 100;
/// Points per run when the client names no number.
const BULK_POINTS: i64 = 320;
/// Points of all runs together.
const BULK_POINTS_MAX: usize = 25_000;

fn point(ask: &Ask, path: &str) -> Told<MetricPoint> {
    let at = |name: &str| limits::joined(path, name);
    let key = ask.text("key")?.ok_or_else(|| missing_value(&at("key")))?;
    limits::key(&at("name"), &key)?;
    limits::length("Metric name", KEY_CHARS_MAX, &key)?;
    let Some(raw) = ask.raw("value") else { return Err(missing_value(&at("value"))) };
    let timestamp_ms =
        ask.int("timestamp").map_err(|_| wrong_type(&at("timestamp"), ask.raw("timestamp").unwrap_or(&Value::Null)))?;
    let timestamp_ms = timestamp_ms.ok_or_else(|| missing_value(&at("timestamp")))?;
    let value = ask.real("value").ok().flatten().ok_or_else(|| {
        let shown: String = raw.to_string().chars().take(200).collect();
        MlflowProblem::invalid(format!(
            "Invalid value {shown} for parameter '{}' supplied: (timestamp={timestamp_ms}). \
             Please specify value as a valid double (64-bit floating point)",
            at("value")
        ))
    })?;
    if timestamp_ms < 0 {
        return Err(MlflowProblem::invalid(format!(
            "Invalid value {timestamp_ms} for parameter '{}' supplied: metric '{key}' (value={value}). \
             Timestamp must be a nonnegative long (64-bit integer) ",
            at("timestamp")
        )));
    }
    let step = ask.int("step").map_err(|_| wrong_type(&at("step"), ask.raw("step").unwrap_or(&Value::Null)))?;
    // The largest finite numbers stand for the infinities, as in MLflow.
    let value = if value.is_nan() { value } else { value.clamp(-f64::MAX, f64::MAX) };
    Ok(MetricPoint { key, value, timestamp_ms, step: step.unwrap_or(0) })
}

/// The logged model that a point was measured on, and the data.
fn model_metric(ask: &Ask, point: &MetricPoint) -> Told<Option<ModelMetric>> {
    let id = ask.text_or_empty("model_id")?;
    if id.is_empty() {
        return Ok(None);
    }
    let shown: String = id.chars().take(300).collect();
    let model_id =
        model_id_of(&id).ok_or_else(|| MlflowProblem::missing(format!("Logged model with ID '{shown}' not found.")))?;
    let given = |name: &str, most: usize| -> Told<Option<String>> {
        let text = ask.text(name)?.filter(|it| !it.is_empty());
        limits::length(name, most, text.as_deref().unwrap_or_default())?;
        Ok(text)
    };
    let (dataset_name, dataset_digest) = (given("dataset_name", 500)?, given("dataset_digest", 36)?);
    // The client cannot read a metric that has only one of them.
    if dataset_name.is_some() != dataset_digest.is_some() {
        return Err(MlflowProblem::invalid("Both dataset_name and dataset_digest must be provided if one is provided"));
    }
    Ok(Some(ModelMetric { model_id, point: point.clone(), dataset_name, dataset_digest }))
}

/// One entry for the run, and for its model when it names one.
fn add_metric(log: &mut RunLog, ask: &Ask, path: &str) -> Told<()> {
    let point = point(ask, path)?;
    log.model_metrics.extend(model_metric(ask, &point)?);
    log.metrics.push(point);
    Ok(())
}

fn param(ask: &Ask, path: &str) -> Told<(String, String)> {
    let key = ask.text("key")?.ok_or_else(|| missing_value(&limits::joined(path, "key")))?;
    let value = limits::param(path, &key, ask.text_or_empty("value")?)?;
    Ok((key, value))
}

async fn store(call: &Call, run: &RunRow, log: &RunLog) -> Reply {
    let models: BTreeSet<LoggedModelId> = log.model_metrics.iter().map(|it| it.model_id).collect();
    for id in models {
        if call.inside.caller.job().is_some() {
            call.changeable_logged_model(&id.to_string()).await?;
        }
    }
    call.store().log_batch(call.project(), run.id, log, &call.actor(), call.now()).await?;
    if !log.metrics.is_empty() {
        call.app.tell_metrics(call.project(), run.id);
    }
    done()
}

async fn changing_run(call: &Call) -> Told<RunRow> {
    call.active_run(&call.ask.need_either("run_id", "run_uuid")?).await
}

pub(super) async fn log_metric(call: Call) -> Reply {
    let id = call.ask.need_either("run_id", "run_uuid")?;
    let mut log = RunLog::default();
    add_metric(&mut log, &call.ask, "")?;
    let run = call.active_run(&id).await?;
    store(&call, &run, &log).await
}

pub(super) async fn log_param(call: Call) -> Reply {
    let id = call.ask.need_either("run_id", "run_uuid")?;
    let log = RunLog { params: vec![param(&call.ask, "")?], ..RunLog::default() };
    let run = call.active_run(&id).await?;
    store(&call, &run, &log).await
}

pub(super) async fn set_tag(call: Call) -> Reply {
    let id = call.ask.need_either("run_id", "run_uuid")?;
    let key = call.ask.text("key")?.ok_or_else(|| missing_value("key"))?;
    let value = limits::run_tag("", &key, call.ask.text_or_empty("value")?)?;
    let run = call.active_run(&id).await?;
    if key == RUN_NAME_TAG && value.is_empty() {
        // A run keeps its name.
        return done();
    }
    store(&call, &run, &RunLog { tags: BTreeMap::from([(key, value)]), ..RunLog::default() }).await
}

pub(super) async fn delete_tag(call: Call) -> Reply {
    let run = changing_run(&call).await?;
    let key = call.ask.need("key")?;
    if call.store().delete_run_tag(call.project(), run.id, &key, &call.actor(), call.now()).await? {
        return done();
    }
    Err(MlflowProblem::missing(format!("No tag with name: {key} in run with id {}", run.id)))
}

/// The parts of a batch, checked.
fn batch(ask: &Ask) -> Told<RunLog> {
    let (metrics, params, tags) = (ask.objects("metrics")?, ask.objects("params")?, ask.list("tags")?.len());
    limits::batch("metrics", BATCH_METRICS_MAX, metrics.len())?;
    limits::batch("params", BATCH_PARAMS_MAX, params.len())?;
    limits::batch("tags", BATCH_TAGS_MAX, tags)?;
    limits::batch("metrics, params, and tags", BATCH_ENTRIES_MAX, metrics.len() + params.len() + tags)?;
    let mut log = RunLog::default();
    for (at, it) in metrics.iter().enumerate() {
        add_metric(&mut log, it, &format!("metrics[{at}]"))?;
    }
    let params: Vec<(String, String)> =
        params.iter().enumerate().map(|(at, it)| param(it, &format!("params[{at}]"))).collect::<Told<_>>()?;
    log.tags = wire::read_pairs(ask, "tags", limits::run_tag)?;
    let mut seen = BTreeMap::new();
    let twice: Vec<&str> =
        params.iter().filter(|(key, _)| seen.insert(key.as_str(), ()).is_some()).map(|it| it.0.as_str()).collect();
    if !twice.is_empty() {
        return Err(MlflowProblem::invalid(format!(
            "Duplicate parameter keys have been submitted: {twice:?}. Please ensure the request contains only one param \
             value per param key."
        )));
    }
    log.params = params;
    Ok(log)
}

pub(super) async fn log_batch(call: Call) -> Reply {
    let id = call.ask.need("run_id")?;
    let log = batch(&call.ask)?;
    let run = call.active_run(&id).await?;
    store(&call, &run, &log).await
}

/// The token of the page after a point. The value goes as bits: a float read from text may be another one.
fn token_after(point: &MetricPoint) -> String {
    use base64::Engine;
    let bits = point.value.to_bits().to_string();
    let text = json!({"step": point.step, "at": point.timestamp_ms, "bits": bits}).to_string();
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// The point that a token names.
fn point_of(token: &str) -> Option<MetricPoint> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(token).ok()?;
    let it: Value = serde_json::from_slice(&bytes).ok()?;
    Some(MetricPoint {
        key: String::new(),
        value: f64::from_bits(it["bits"].as_str()?.parse().ok()?),
        timestamp_ms: it["at"].as_i64()?,
        step: it["step"].as_i64()?,
    })
}

pub(super) async fn history(call: Call) -> Reply {
    let run = call.run(&call.ask.need_either("run_id", "run_uuid")?).await?;
    let key = call.ask.need("metric_key")?;
    // Who asks for more gets pages of this size.
    let size = call.ask.page_size(i64::MAX, i64::MAX)?.min(HISTORY_PAGE_MAX);
    let after = match call.ask.text_or_empty("page_token")? {
        token if token.is_empty() => None,
        token => Some(
            point_of(&token).ok_or_else(|| MlflowProblem::invalid("Invalid page token, could not base64-decode"))?,
        ),
    };
    // One more than the page tells whether there is another.
    let wanted = u32::try_from(size + 1).unwrap_or(u32::MAX);
    let mut points = call.store().metric_history(run.id, &key, after.as_ref(), wanted).await?;
    let has_more = points.len() > size;
    points.truncate(size);
    let next = points.last().filter(|_| has_more).map(token_after);
    Ok(Json(wire::listing("metrics", points.iter().map(wire::metric).collect(), next)))
}

/// One metric of several runs, thinned for drawing.
pub(super) async fn history_bulk(call: Call) -> Reply {
    let mut ids = call.ask.texts("run_ids")?;
    ids.extend(call.ask.texts("run_id")?);
    if ids.is_empty() {
        return Err(missing_value("run_ids"));
    }
    if ids.len() > BULK_RUNS_MAX {
        return Err(MlflowProblem::invalid(format!(
            "GetMetricHistoryBulkInterval request cannot specify more than {BULK_RUNS_MAX} run_ids. Received {} run_ids.",
            ids.len()
        )));
    }
    let key = call.ask.need("metric_key")?;
    let size = call.ask.page_size(BULK_POINTS, 25_000)?;
    // Thinning keeps the last point on top of what it was asked for.
    let size = size.min((BULK_POINTS_MAX / ids.len()).saturating_sub(1)).max(1);
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    let (from, to) = (call.ask.int("start_step")?, call.ask.int("end_step")?);
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(MlflowProblem::invalid("end_step must be greater than start_step. "));
    }
    let mut metrics = vec![];
    let runs = call.known_runs(&ids).await?;
    let steps = (from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX));
    let curves = call.store().metric_curves(&runs, std::slice::from_ref(&key), steps, size).await?;
    for run in runs {
        for it in curves.get(&(run, key.clone())).into_iter().flatten() {
            let mut view = wire::metric(it);
            view["run_id"] = json!(run.to_string());
            metrics.push(view);
        }
    }
    Ok(Json(json!({"metrics": metrics})))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str) -> Ask {
        Ask::from_json(text.as_bytes()).expect("a body")
    }

    #[test]
    fn a_batch_is_checked_with_mlflows_words() {
        let refused = |text: &str| batch(&ask(text)).expect_err("refused").message().to_owned();
        let twice = r#"{"params": [{"key": "a", "value": "1"}, {"key": "a", "value": "1"}]}"#;
        assert!(refused(twice).starts_with("Duplicate parameter keys have been submitted: [\"a\"]"));
        let missing = r#"{"metrics": [{"key": "a", "timestamp": 1}]}"#;
        assert!(refused(missing).starts_with("Missing value for required parameter 'metrics[0].value'."));
        let wrong = r#"{"metrics": [{"key": "a", "value": "x", "timestamp": 1}]}"#;
        assert!(refused(wrong).contains("Please specify value as a valid double"));
        assert!(refused(r#"{"metrics": 5}"#).starts_with("Invalid value 5 for parameter 'metrics' supplied"));
        let late = r#"{"metrics": [{"key": "a", "value": 1, "timestamp": -1}]}"#;
        assert!(refused(late).contains("nonnegative long"));
    }

    #[test]
    fn values_are_what_mlflow_keeps() {
        let points = batch(&ask(
            r#"{"metrics": [{"key": "a", "value": Infinity, "timestamp": "5", "step": "7"}, {"key": "b", "value": "NaN", "timestamp": 1}]}"#,
        ))
        .expect("a batch")
        .metrics;
        assert_eq!((points[0].value, points[0].timestamp_ms, points[0].step), (f64::MAX, 5, 7));
        assert!(points[1].value.is_nan());
    }

    #[test]
    fn a_point_may_name_the_model_it_was_measured_on() {
        let log = batch(&ask(
            r#"{"metrics": [{"key": "a", "value": 1, "timestamp": 1}, {"key": "b", "value": 2, "timestamp": 1, "step": 3,
                "model_id": "m-00000000000000000000000001", "dataset_name": "d", "dataset_digest": "x"}]}"#,
        ));
        let log = log.expect("a batch");
        assert_eq!((log.metrics.len(), log.model_metrics.len()), (2, 1));
        let metric = &log.model_metrics[0];
        assert_eq!((metric.point.key.as_str(), metric.dataset_name.as_deref()), ("b", Some("d")));
        assert!(batch(&ask(r#"{"metrics": [{"key": "a", "value": 1, "timestamp": 1, "model_id": "x"}]}"#)).is_err());
    }

    #[test]
    fn a_token_leads_to_the_point_after_it() {
        for value in [0.1, -0.0, 5e-324, f64::MAX, f64::NAN] {
            let point = MetricPoint { key: String::new(), value, timestamp_ms: i64::MAX, step: i64::MIN };
            let back = point_of(&token_after(&point)).expect("a point");
            assert_eq!(back.value.to_bits(), value.to_bits());
            assert_eq!((back.timestamp_ms, back.step), (i64::MAX, i64::MIN));
        }
        for text in super::super::filter::drawn_texts(2_000) {
            assert!(point_of(&text).is_none());
        }
    }
}
