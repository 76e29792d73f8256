//! What runs log: metrics, parameters and tags, one by one or in batches, and metrics over time.

use super::{
    ask::{Ask, missing_value, token_of, wrong_type},
    call::Call,
    limits,
    problem::{Json, MlflowProblem, Reply, Told, done},
    runs::NAME_TAG,
    wire,
};
use kaogong_domain::{
    ids::RunId,
    runs::{
        MetricPoint,
        limits::{BATCH_METRICS_MAX, BATCH_PARAMS_MAX, BATCH_TAGS_MAX, HISTORY_PAGE_MAX, KEY_BYTES_MAX},
    },
};
use kaogong_store::{RunFull, RunPatch};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Bytes of one batch, as MLflow says.
const BATCH_BYTES_MAX: usize = 1_000_000;
/// Entries of all kinds in one batch.
const BATCH_ENTRIES_MAX: usize = 1000;
/// The most points of one metric that are sent without paging.
const HISTORY_MAX: usize = 1_000_000;
/// Runs whose history is drawn at once.
const BULK_RUNS_MAX: usize = 100;
/// Points per run when the client names no number.
const BULK_POINTS: i64 = 320;

fn point(ask: &Ask, path: &str) -> Told<MetricPoint> {
    let at = |name: &str| limits::joined(path, name);
    let key = ask.text("key")?.ok_or_else(|| missing_value(&at("key")))?;
    limits::key(&at("name"), &key)?;
    limits::length("Metric name", KEY_BYTES_MAX, &key)?;
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

fn param(ask: &Ask, path: &str) -> Told<(String, String)> {
    let key = ask.text("key")?.ok_or_else(|| missing_value(&limits::joined(path, "key")))?;
    let value = ask.text_or_empty("value")?;
    limits::param(path, &key, &value)?;
    Ok((key, value))
}

async fn store(
    call: &Call,
    run: &RunFull,
    params: &[(String, String)],
    tags: &BTreeMap<String, String>,
    points: &[MetricPoint],
) -> Reply {
    call.store().log_batch(call.project(), run.row.id, params, tags, points).await?;
    if let Some(name) = tags.get(NAME_TAG).filter(|it| !it.is_empty() && **it != run.row.name) {
        let patch = RunPatch { name: Some(name.clone()), ..RunPatch::default() };
        call.store().update_run(call.project(), run.row.id, patch, &call.actor(), call.now()).await?;
    }
    done()
}

async fn changing_run(call: &Call) -> Told<RunFull> {
    call.active_run(&call.ask.need_either("run_id", "run_uuid")?).await
}

pub(super) async fn log_metric(call: Call) -> Reply {
    let id = call.ask.need_either("run_id", "run_uuid")?;
    let points = [point(&call.ask, "")?];
    let run = call.active_run(&id).await?;
    store(&call, &run, &[], &BTreeMap::new(), &points).await
}

pub(super) async fn log_param(call: Call) -> Reply {
    let id = call.ask.need_either("run_id", "run_uuid")?;
    let params = [param(&call.ask, "")?];
    let run = call.active_run(&id).await?;
    store(&call, &run, &params, &BTreeMap::new(), &[]).await
}

pub(super) async fn set_tag(call: Call) -> Reply {
    let id = call.ask.need_either("run_id", "run_uuid")?;
    let key = call.ask.text("key")?.ok_or_else(|| missing_value("key"))?;
    let value = call.ask.text_or_empty("value")?;
    limits::run_tag("", &key, &value)?;
    let run = call.active_run(&id).await?;
    store(&call, &run, &[], &BTreeMap::from([(key, value)]), &[]).await
}

pub(super) async fn delete_tag(call: Call) -> Reply {
    let run = changing_run(&call).await?;
    let key = call.ask.need("key")?;
    if call.store().delete_run_tag(run.row.id, &key).await? {
        return done();
    }
    Err(MlflowProblem::missing(format!("No tag with name: {key} in run with id {}", run.row.id)))
}

/// The parts of a batch, checked.
type Batch = (Vec<(String, String)>, BTreeMap<String, String>, Vec<MetricPoint>);

fn batch(ask: &Ask) -> Told<Batch> {
    let (metrics, params, tags) = (ask.objects("metrics")?, ask.objects("params")?, ask.list("tags")?.len());
    limits::batch("metrics", BATCH_METRICS_MAX, metrics.len())?;
    limits::batch("params", BATCH_PARAMS_MAX, params.len())?;
    limits::batch("tags", BATCH_TAGS_MAX, tags)?;
    limits::batch("metrics, params, and tags", BATCH_ENTRIES_MAX, metrics.len() + params.len() + tags)?;
    let points: Vec<MetricPoint> =
        metrics.iter().enumerate().map(|(at, it)| point(it, &format!("metrics[{at}]"))).collect::<Told<_>>()?;
    let params: Vec<(String, String)> =
        params.iter().enumerate().map(|(at, it)| param(it, &format!("params[{at}]"))).collect::<Told<_>>()?;
    let tags = wire::read_pairs(ask, "tags", limits::run_tag)?;
    let mut seen = BTreeMap::new();
    let twice: Vec<&str> =
        params.iter().filter(|(key, _)| seen.insert(key.as_str(), ()).is_some()).map(|it| it.0.as_str()).collect();
    if !twice.is_empty() {
        return Err(MlflowProblem::invalid(format!(
            "Duplicate parameter keys have been submitted: {twice:?}. Please ensure the request contains only one param \
             value per param key."
        )));
    }
    Ok((params, tags, points))
}

pub(super) async fn log_batch(call: Call) -> Reply {
    if call.body_bytes > BATCH_BYTES_MAX {
        return Err(MlflowProblem::invalid(format!(
            "Batched logging API requests must be at most {BATCH_BYTES_MAX} bytes, got a request of size {}.",
            call.body_bytes
        )));
    }
    let id = call.ask.need("run_id")?;
    let (params, tags, points) = batch(&call.ask)?;
    let run = call.active_run(&id).await?;
    store(&call, &run, &params, &tags, &points).await
}

/// The points of one metric, from an offset, at most so many.
async fn read(call: &Call, run: RunId, key: &str, offset: usize, most: usize) -> Told<Vec<MetricPoint>> {
    let mut points: Vec<MetricPoint> = vec![];
    while points.len() < most {
        let wanted = (most - points.len()).min(HISTORY_PAGE_MAX);
        let from = (offset + points.len()) as u64;
        let page = call.store().metric_history(run, key, from, u32::try_from(wanted).unwrap_or(u32::MAX)).await?;
        let is_last = page.len() < wanted;
        points.extend(page);
        if is_last {
            break;
        }
    }
    Ok(points)
}

pub(super) async fn history(call: Call) -> Reply {
    let run = call.run(&call.ask.need_either("run_id", "run_uuid")?).await?;
    let key = call.ask.need("metric_key")?;
    let offset = call.ask.page_offset()?;
    let size = match call.ask.int("max_results")? {
        None => HISTORY_MAX,
        Some(_) => call.ask.page_size(0, i64::try_from(HISTORY_PAGE_MAX).unwrap_or(i64::MAX))?,
    };
    let mut points = read(&call, run.row.id, &key, offset, size + 1).await?;
    let next = (points.len() > size).then(|| token_of(offset + size));
    points.truncate(size);
    Ok(Json(wire::listing("metrics", points.iter().map(wire::metric).collect(), next)))
}

/// Evenly thinned points, the first and the last kept.
fn thinned(points: Vec<MetricPoint>, most: usize) -> Vec<MetricPoint> {
    let stride = points.len().div_ceil(most.max(1)).max(1);
    let last = points.len().saturating_sub(1);
    points.into_iter().enumerate().filter(|(at, _)| at % stride == 0 || *at == last).map(|it| it.1).collect()
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
    let (from, to) = (call.ask.int("start_step")?, call.ask.int("end_step")?);
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(MlflowProblem::invalid("end_step must be greater than start_step. "));
    }
    let mut metrics = vec![];
    for id in ids {
        let run = call.run(&id).await?;
        let mut points = read(&call, run.row.id, &key, 0, HISTORY_MAX).await?;
        points.retain(|it| from.is_none_or(|from| it.step >= from) && to.is_none_or(|to| it.step <= to));
        points.sort_by_key(|it| (it.step, it.timestamp_ms));
        for it in thinned(points, size) {
            let mut view = wire::metric(&it);
            view["run_id"] = json!(id);
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
        let (_, _, points) = batch(&ask(
            r#"{"metrics": [{"key": "a", "value": Infinity, "timestamp": "5", "step": "7"}, {"key": "b", "value": "NaN", "timestamp": 1}]}"#,
        ))
        .expect("a batch");
        assert_eq!((points[0].value, points[0].timestamp_ms, points[0].step), (f64::MAX, 5, 7));
        assert!(points[1].value.is_nan());
    }

    #[test]
    fn thinning_keeps_both_ends() {
        let point = |step| MetricPoint { key: "a".into(), value: 0.0, timestamp_ms: 0, step };
        let kept = thinned((0..1000).map(point).collect(), 10);
        assert!(kept.len() <= 11 && kept[0].step == 0 && kept[kept.len() - 1].step == 999);
        assert!(thinned(vec![], 10).is_empty());
    }
}
