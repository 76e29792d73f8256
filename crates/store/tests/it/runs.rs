//! Experiments, runs and what they log.

use crate::support::{NOW, World, on_both, refused};
use kaogong_domain::{
    ErrorKind,
    runs::{MetricPoint, RunStatus},
};
use kaogong_store::{Lifecycle, NewLoggedModel, NewRunRow, RunPatch};
use std::collections::BTreeMap;

fn point(key: &str, value: f64, timestamp_ms: i64, step: i64) -> MetricPoint {
    MetricPoint { key: key.to_owned(), value, timestamp_ms, step }
}

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn log(w: &World, run: kaogong_domain::ids::RunId, points: &[MetricPoint]) {
    w.store.log_batch(w.project, run, &[], &BTreeMap::new(), points).await.expect("logged");
}

#[tokio::test]
async fn experiments_are_named_tagged_and_hidden() {
    on_both("experiments", async |w| {
        let first = tags(&[("a", "1")]);
        let made =
            w.store.create_experiment(w.project, "e", &first, &w.actor, w.later(1)).await.expect("an experiment");
        refused(w.store.create_experiment(w.project, "e", &first, &w.actor, NOW).await, ErrorKind::Conflict);
        w.store.set_experiment_tag(made.id, "b", Some("2")).await.expect("set");
        w.store.set_experiment_tag(made.id, "b", Some("3")).await.expect("set again");
        w.store.set_experiment_tag(made.id, "a", None).await.expect("removed");
        let found = w.store.find_experiment(w.project, made.id).await.expect("it reads").expect("it is there");
        assert_eq!(found.tags, tags(&[("b", "3")]));
        refused(w.store.rename_experiment(w.project, made.id, "Default", &w.actor, NOW).await, ErrorKind::Conflict);
        w.store.rename_experiment(w.project, made.id, "f", &w.actor, w.later(2)).await.expect("renamed");
        w.store.set_experiment_lifecycle(w.project, made.id, Lifecycle::Deleted, &w.actor, NOW).await.expect("deleted");
        let named =
            w.store.find_experiment_by_name(w.project, "f").await.expect("it reads").expect("also deleted ones");
        assert_eq!(named.lifecycle, Lifecycle::Deleted);
        assert_eq!(w.store.list_experiments(w.project).await.expect("a list").len(), 1);
        assert_eq!(w.store.all_experiments(w.project).await.expect("a list").len(), 2);
        assert_eq!(w.store.all_experiments(w.other).await.expect("a list").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_run_is_begun_once_for_a_key_while_it_runs() {
    on_both("runs", async |w| {
        let new = NewRunRow {
            request_key: Some("k".to_owned()),
            tags: tags(&[("t", "v")]),
            ..w.new_run(w.project, "r").await
        };
        let made = w.store.create_run(w.project, new.clone(), &w.actor, NOW).await.expect("a run");
        assert_eq!((made.row.status, &made.tags), (RunStatus::Running, &tags(&[("t", "v")])));
        let again = w.store.create_run(w.project, new.clone(), &w.actor, w.later(1000)).await.expect("the same");
        assert_eq!(again.row.id, made.row.id);
        let late = w.store.create_run(w.project, new.clone(), &w.actor, w.later(16 * 60_000)).await.expect("a run");
        assert_ne!(late.row.id, made.row.id, "the key is forgotten after a quarter of an hour");
        let patch = RunPatch {
            status: Some(RunStatus::Finished),
            ended_at: Some(w.later(7)),
            inputs: Some(serde_json::json!([{"d": 1}])),
            ..RunPatch::default()
        };
        w.store.update_run(w.project, made.row.id, patch, &w.actor, NOW).await.expect("updated");
        let ended = w.store.find_run(w.project, made.row.id).await.expect("it reads").expect("a run").row;
        assert_eq!((ended.status, ended.ended_at, ended.name.as_str()), (RunStatus::Finished, Some(w.later(7)), "r"));
        assert_eq!(ended.inputs, serde_json::json!([{"d": 1}]));
        assert_eq!(w.store.list_experiments(w.project).await.expect("a list")[0].1, 2);
    })
    .await;
}

#[tokio::test]
async fn logging_the_same_again_changes_nothing() {
    on_both("log_batch", async |w| {
        let run = w.run(w.project, "r").await;
        let params = [("lr".to_owned(), "0.1".to_owned())];
        let points = [point("loss", 2.0, 1, 0), point("loss", 1.0, 2, 1), point("loss", 1.0, 2, 1)];
        for _ in 0..2 {
            w.store.log_batch(w.project, run, &params, &tags(&[("a", "b")]), &points).await.expect("logged");
        }
        let full = w.store.find_run(w.project, run).await.expect("it reads").expect("a run");
        assert_eq!((full.params["lr"].as_str(), &full.tags), ("0.1", &tags(&[("a", "b")])));
        assert_eq!(w.store.metric_history(run, "loss", 0, 99).await.expect("points").len(), 2);
        let other = [("lr".to_owned(), "0.2".to_owned())];
        let told = w.store.log_batch(w.project, run, &other, &tags(&[("a", "z")]), &[]).await;
        let text = format!(
            "Changing param values is not allowed. Param with key='lr' was already logged with value='0.1' \
             for run ID='{run}'. Attempted logging new value '0.2'."
        );
        assert_eq!(refused(told, ErrorKind::Invalid).text, text);
        let full = w.store.find_run(w.project, run).await.expect("it reads").expect("a run");
        assert_eq!(full.tags, tags(&[("a", "b")]), "a refused batch leaves nothing");
        assert!(w.store.delete_run_tag(run, "a").await.expect("removed"));
        assert!(!w.store.delete_run_tag(run, "a").await.expect("nothing to remove"));
    })
    .await;
}

#[tokio::test]
async fn the_newest_metric_is_by_step_then_time_then_value() {
    on_both("latest metrics", async |w| {
        let run = w.run(w.project, "r").await;
        let newest = async || {
            let full = w.store.find_run(w.project, run).await.expect("it reads").expect("a run");
            full.metrics.first().map(|it| it.value).expect("a metric")
        };
        let steps = [
            (point("m", 5.0, 10, 3), 5.0),
            (point("m", 9.0, 99, 2), 5.0),
            (point("m", 4.0, 11, 3), 4.0),
            (point("m", 3.0, 11, 3), 4.0),
            (point("m", 7.0, 11, 3), 7.0),
            (point("m", -1.0, 0, 4), -1.0),
        ];
        for (point, expected) in steps {
            log(w, run, &[point]).await;
            assert_eq!(newest().await, expected);
        }
        log(w, run, &[point("m", 1.5, 1, 9), point("m", 2.5, 1, 8)]).await;
        assert_eq!(newest().await, 1.5);
    })
    .await;
}

#[tokio::test]
async fn metrics_that_are_no_number_come_back() {
    on_both("nan and infinity", async |w| {
        let run = w.run(w.project, "r").await;
        let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-300, 0.1];
        let points: Vec<_> = (0..).zip(values).map(|(at, value)| point("m", value, at, at)).collect();
        log(w, run, &points).await;
        let history = w.store.metric_history(run, "m", 0, 99).await.expect("points");
        assert!(history[0].value.is_nan());
        let rest: Vec<f64> = history[1..].iter().map(|it| it.value).collect();
        assert_eq!(rest, [f64::MAX, -f64::MAX, 1e-300, 0.1]);
        let many: Vec<_> = (0..1000).map(|at| point("many", at as f64, at, at)).collect();
        log(w, run, &many).await;
        let page = w.store.metric_history(run, "many", 990, 4).await.expect("points");
        assert_eq!(page.iter().map(|it| it.step).collect::<Vec<_>>(), [990, 991, 992, 993]);
        assert_eq!(w.store.metric_history(run, "many", 998, 4).await.expect("points").len(), 2);
    })
    .await;
}

#[tokio::test]
async fn runs_and_logged_models_stay_in_their_project() {
    on_both("isolation of runs", async |w| {
        let run = w.run(w.project, "r").await;
        let nothing = BTreeMap::new();
        assert_eq!(w.store.find_run(w.other, run).await.expect("it reads"), None);
        refused(w.store.log_batch(w.other, run, &[], &nothing, &[]).await, ErrorKind::NotFound);
        refused(w.store.update_run(w.other, run, RunPatch::default(), &w.actor, NOW).await, ErrorKind::NotFound);
        refused(w.store.set_run_lifecycle(w.other, run, Lifecycle::Deleted, &w.actor, NOW).await, ErrorKind::NotFound);
        let theirs = w.experiment(w.project).await;
        let new = NewRunRow { experiment_id: theirs, ..w.new_run(w.other, "x").await };
        refused(w.store.create_run(w.other, new, &w.actor, NOW).await, ErrorKind::NotFound);
        assert_eq!(w.store.find_experiment(w.other, theirs).await.expect("it reads"), None);
        refused(w.store.rename_experiment(w.other, theirs, "x", &w.actor, NOW).await, ErrorKind::NotFound);
        let new = NewLoggedModel { run_id: Some(run), name: "m".to_owned(), ..NewLoggedModel::default() };
        let mut made =
            w.store.create_logged_model(w.project, theirs, new, &w.actor, NOW).await.expect("a logged model");
        assert_eq!(w.store.find_logged_model(w.other, made.id).await.expect("it reads"), None);
        made.status = "LOGGED_MODEL_READY".to_owned();
        w.store.save_logged_model(w.project, &made, NOW).await.expect("saved");
        assert_eq!(w.store.list_logged_models(w.project).await.expect("a list"), [made.clone()]);
        refused(w.store.delete_logged_model(w.other, made.id, &w.actor, NOW).await, ErrorKind::NotFound);
        w.store.delete_logged_model(w.project, made.id, &w.actor, NOW).await.expect("deleted");
        assert_eq!(w.store.find_logged_model(w.project, made.id).await.expect("it reads"), None);
    })
    .await;
}
