//! Experiments, runs and what they log.

use crate::support::{NOW, World, on_both, refused};
use kaogong_domain::{
    ErrorKind,
    runs::{MetricPoint, RunStatus},
};
use kaogong_store::{
    Lifecycle, LoggedModelRow, LoggedModelSearch, NewLoggedModel, NewRunRow, RUN_NAME_TAG, RunLog, RunRow,
};
use std::collections::BTreeMap;

fn point(key: &str, value: f64, timestamp_ms: i64, step: i64) -> MetricPoint {
    MetricPoint { key: key.to_owned(), value, timestamp_ms, step }
}

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn log(w: &World, run: kaogong_domain::ids::RunId, points: &[MetricPoint]) {
    w.log(run, RunLog { metrics: points.to_vec(), ..RunLog::default() }).await.expect("logged");
}

#[tokio::test]
async fn experiments_are_named_tagged_and_hidden() {
    on_both("experiments", async |w| {
        let first = tags(&[("a", "1")]);
        let made =
            w.store.create_experiment(w.project, "e", &first, &w.actor, w.later(1)).await.expect("an experiment");
        refused(w.store.create_experiment(w.project, "e", &first, &w.actor, NOW).await, ErrorKind::Conflict);
        for value in ["2", "3"] {
            w.store.set_experiment_tag(w.project, made.id, "b", value, &w.actor, NOW).await.expect("set");
        }
        for expected in [true, false] {
            let gone = w.store.delete_experiment_tag(w.project, made.id, "a", &w.actor, NOW).await;
            assert_eq!(gone.expect("removed"), expected);
        }
        let found = w.store.find_experiment(w.project, made.id).await.expect("it reads").expect("it is there");
        assert_eq!(found.tags, tags(&[("b", "3")]));
        refused(w.store.rename_experiment(w.project, made.id, "Default", &w.actor, NOW).await, ErrorKind::Conflict);
        w.store.rename_experiment(w.project, made.id, "f", &w.actor, w.later(2)).await.expect("renamed");
        w.store.set_experiment_lifecycle(w.project, made.id, Lifecycle::Deleted, &w.actor, NOW).await.expect("deleted");
        let named =
            w.store.find_experiment_by_name(w.project, "f").await.expect("it reads").expect("also deleted ones");
        assert_eq!(named.lifecycle, Lifecycle::Deleted);
        assert_eq!(w.store.list_experiments(w.project).await.expect("a list").len(), 1);
        assert_eq!(w.store.page_experiments(w.project, None, None, 10).await.expect("a list").len(), 2);
        assert_eq!(w.store.page_experiments(w.other, None, None, 10).await.expect("a list").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_run_is_begun_once_for_a_key_while_it_runs() {
    on_both("runs", async |w| {
        let new = NewRunRow {
            request_key: Some("k".to_owned()),
            same_before: Some(w.later(1)),
            tags: tags(&[("t", "v")]),
            ..w.new_run(w.project, "r").await
        };
        let made = w.store.create_run(w.project, new.clone(), &w.actor, NOW).await.expect("a run");
        assert_eq!((made.row.status, &made.tags), (RunStatus::Running, &tags(&[("t", "v")])));
        let again = w.store.create_run(w.project, new.clone(), &w.actor, w.later(1000)).await.expect("the same");
        assert_eq!(again.row.id, made.row.id);
        let beside = NewRunRow { same_before: Some(NOW), ..new.clone() };
        let beside = w.store.create_run(w.project, beside, &w.actor, w.later(1000)).await.expect("a run");
        assert_ne!(beside.row.id, made.row.id, "a server that goes on has answered");
        w.store.set_run_lifecycle(w.project, beside.row.id, Lifecycle::Deleted, &w.actor, NOW).await.expect("deleted");
        let late = w.store.create_run(w.project, new.clone(), &w.actor, w.later(16 * 60_000)).await.expect("a run");
        assert_ne!(late.row.id, made.row.id, "the key is forgotten after a quarter of an hour");
        let end = |it: &mut RunRow| {
            (it.status, it.ended_at) = (RunStatus::Finished, Some(w.later(7)));
            it.inputs = serde_json::json!([{"d": 1}]);
            Ok(())
        };
        w.store.change_run(w.project, made.row.id, end, &w.actor, NOW).await.expect("changed");
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
        let metrics = vec![point("loss", 2.0, 1, 0), point("loss", 1.0, 2, 1), point("loss", 1.0, 2, 1)];
        let params = vec![("lr".to_owned(), "0.1".to_owned())];
        let once = RunLog { params, tags: tags(&[("a", "b")]), metrics, ..RunLog::default() };
        for _ in 0..2 {
            w.log(run, once.clone()).await.expect("logged");
        }
        let full = w.store.find_run(w.project, run).await.expect("it reads").expect("a run");
        assert_eq!((full.params["lr"].as_str(), &full.tags), ("0.1", &tags(&[("a", "b")])));
        assert_eq!(w.store.metric_history(run, "loss", None, 99).await.expect("points").len(), 2);
        let params = vec![("lr".to_owned(), "0.2".to_owned())];
        let told = w.log(run, RunLog { params, tags: tags(&[("a", "z")]), ..RunLog::default() }).await;
        let text = format!(
            "Changing param values is not allowed. Param with key='lr' was already logged with value='0.1' \
             for run ID='{run}'. Attempted logging new value '0.2'."
        );
        assert_eq!(refused(told, ErrorKind::Invalid).text, text);
        let full = w.store.find_run(w.project, run).await.expect("it reads").expect("a run");
        assert_eq!(full.tags, tags(&[("a", "b")]), "a refused batch leaves nothing");
        for expected in [true, false] {
            let gone = w.store.delete_run_tag(w.project, run, "a", &w.actor, NOW).await;
            assert_eq!(gone.expect("removed"), expected);
        }
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
        let history = w.store.metric_history(run, "m", None, 99).await.expect("points");
        assert!(history[0].value.is_nan());
        let rest: Vec<f64> = history[1..].iter().map(|it| it.value).collect();
        assert_eq!(rest, [f64::MAX, -f64::MAX, 1e-300, 0.1]);
    })
    .await;
}

#[tokio::test]
async fn runs_and_logged_models_stay_in_their_project() {
    on_both("isolation of runs", async |w| {
        let run = w.run(w.project, "r").await;
        assert_eq!(w.store.find_run(w.other, run).await.expect("it reads"), None);
        refused(w.store.log_batch(w.other, run, &RunLog::default(), &w.actor, NOW).await, ErrorKind::NotFound);
        refused(w.store.change_run(w.other, run, |_| Ok(()), &w.actor, NOW).await, ErrorKind::NotFound);
        refused(w.store.set_run_lifecycle(w.other, run, Lifecycle::Deleted, &w.actor, NOW).await, ErrorKind::NotFound);
        let theirs = w.experiment(w.project).await;
        let new = NewRunRow { experiment_id: theirs, ..w.new_run(w.other, "x").await };
        refused(w.store.create_run(w.other, new, &w.actor, NOW).await, ErrorKind::NotFound);
        assert_eq!(w.store.find_experiment(w.other, theirs).await.expect("it reads"), None);
        refused(w.store.rename_experiment(w.other, theirs, "x", &w.actor, NOW).await, ErrorKind::NotFound);
        let new = NewLoggedModel { run_id: Some(run), name: "m".to_owned(), ..NewLoggedModel::default() };
        let made = w.store.create_logged_model(w.project, theirs, new, &w.actor, NOW).await.expect("a logged model");
        assert_eq!(w.store.find_logged_model(w.other, made.id).await.expect("it reads"), None);
        let finish = |it: &mut LoggedModelRow| {
            it.status = "LOGGED_MODEL_READY".to_owned();
            Ok(())
        };
        let told = w.store.change_logged_model(w.other, made.id, finish, &w.actor, NOW).await;
        refused(told, ErrorKind::NotFound);
        let made = w.store.change_logged_model(w.project, made.id, finish, &w.actor, NOW).await.expect("changed");
        let search = LoggedModelSearch { experiments: vec![theirs], ..LoggedModelSearch::default() };
        let found = w.store.search_logged_models(w.project, &search, None, 100).await.expect("a list");
        assert_eq!((found.as_slice(), made.status.as_str()), (std::slice::from_ref(&made), "LOGGED_MODEL_READY"));
        assert!(w.store.search_logged_models(w.other, &search, None, 100).await.expect("a list").is_empty());
        let of_run = async |project, after| {
            let page = w.store.logged_models_of_run(project, run, after, 2).await;
            page.expect("a page").into_iter().map(|it| it.id).collect::<Vec<_>>()
        };
        assert_eq!(of_run(w.project, None).await, [made.id]);
        assert!(of_run(w.other, None).await.is_empty());
        refused(w.store.delete_logged_model(w.other, made.id, &w.actor, NOW).await, ErrorKind::NotFound);
        w.store.delete_logged_model(w.project, made.id, &w.actor, NOW).await.expect("deleted");
        assert_eq!(w.store.find_logged_model(w.project, made.id).await.expect("it reads"), None);
    })
    .await;
}

#[tokio::test]
async fn the_logged_models_of_a_run_come_in_pages_to_the_last() {
    on_both("pages of logged models", async |w| {
        let (run, experiment) = (w.run(w.project, "r").await, w.experiment(w.project).await);
        let mut made = vec![];
        for at in 0..5 {
            let new = NewLoggedModel { run_id: Some(run), name: "m".to_owned(), ..NewLoggedModel::default() };
            // Some of the same moment.
            let made_at = w.later(at / 2);
            let it = w.store.create_logged_model(w.project, experiment, new, &w.actor, made_at).await;
            made.push(it.expect("a logged model"));
        }
        made.sort_by_key(|it| std::cmp::Reverse((it.created_at, it.id)));
        let (mut all, mut last) = (vec![], None);
        loop {
            let page = w.store.logged_models_of_run(w.project, run, last, 2).await.expect("a page");
            let Some(end) = page.last() else { break };
            last = Some((end.created_at, end.id));
            all.extend(page);
        }
        assert_eq!(all, made);
    })
    .await;
}

#[tokio::test]
async fn long_values_are_kept() {
    on_both("long values", async |w| {
        let run = w.run(w.project, "r").await;
        // Nothing that a database could make smaller: PostgreSQL compresses rows of an index first.
        let mut bytes = vec![0u8; 1 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        let noise: String = bytes.iter().map(|it| char::from(b'0' + it % 75)).collect();
        let (param, tag) = (noise[..6000].to_owned(), noise[..8000].to_owned());
        let log = RunLog {
            params: vec![("p".to_owned(), param.clone())],
            tags: tags(&[("t", &tag), ("history", &noise)]),
            ..RunLog::default()
        };
        w.log(run, log).await.expect("logged");
        let full = w.store.find_run(w.project, run).await.expect("it reads").expect("a run");
        assert_eq!((&full.params["p"], &full.tags["t"], &full.tags["history"]), (&param, &tag, &noise));
    })
    .await;
}

#[tokio::test]
async fn one_thing_has_a_thousand_tags_or_parameters_at_most() {
    on_both("many pairs", async |w| {
        let run = w.run(w.project, "r").await;
        let params =
            |from: usize, to: usize| -> Vec<_> { (from..to).map(|at| (format!("p{at}"), "x".to_owned())).collect() };
        w.log(run, RunLog { params: params(0, 1000), ..RunLog::default() }).await.expect("logged");
        w.log(run, RunLog { params: params(0, 10), ..RunLog::default() }).await.expect("the same again");
        refused(w.log(run, RunLog { params: params(1000, 1001), ..RunLog::default() }).await, ErrorKind::Invalid);
        let tags = (0..1001).map(|at| (format!("t{at}"), "x".to_owned())).collect();
        refused(w.log(run, RunLog { tags, ..RunLog::default() }).await, ErrorKind::Invalid);
        let model = w.logged_model("m").await;
        let many = |it: &mut LoggedModelRow| {
            it.params = params(0, 1001).into_iter().collect();
            Ok(())
        };
        let told = w.store.change_logged_model(w.project, model, many, &w.actor, NOW).await;
        refused(told, ErrorKind::Invalid);
    })
    .await;
}

#[tokio::test]
async fn what_is_logged_at_once_is_all_kept() {
    on_both("logging at once", async |w| {
        let run = w.run(w.project, "r").await;
        let model = w.logged_model("m").await;
        let log = async |mark: &'static str| {
            let add = |it: &mut RunRow| {
                let mut all = it.inputs.as_array().cloned().unwrap_or_default();
                all.push(serde_json::json!(mark));
                it.inputs = serde_json::Value::Array(all);
                Ok(())
            };
            w.store.change_run(w.project, run, add, &w.actor, NOW).await.expect("added");
            let add = |old: Option<String>| Ok(old.unwrap_or_default() + mark);
            w.store.change_run_tag(w.project, run, "history", add).await.expect("added");
            let add = |it: &mut LoggedModelRow| {
                it.params.insert(mark.to_owned(), "x".to_owned());
                Ok(())
            };
            w.store.change_logged_model(w.project, model, add, &w.actor, NOW).await.expect("added");
        };
        tokio::join!(log("a"), log("b"), log("c"), log("d"));
        let full = w.store.find_run(w.project, run).await.expect("it reads").expect("a run");
        assert_eq!(full.row.inputs.as_array().map(Vec::len), Some(4));
        assert_eq!(full.tags["history"].len(), 4);
        let found = w.store.find_logged_model(w.project, model).await.expect("it reads").expect("a model");
        assert_eq!(found.params.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn a_name_is_in_the_row_and_in_the_tag() {
    on_both("names of runs", async |w| {
        let run = w.run(w.project, "r").await;
        let name = async || {
            let full = w.store.find_run(w.project, run).await.expect("it reads").expect("a run");
            (full.row.name, full.tags.get(RUN_NAME_TAG).cloned().unwrap_or_default())
        };
        let rename = |it: &mut RunRow| {
            it.name = "second".to_owned();
            Ok(())
        };
        w.store.change_run(w.project, run, rename, &w.actor, NOW).await.expect("renamed");
        assert_eq!(name().await, ("second".to_owned(), "second".to_owned()));
        w.log(run, RunLog { tags: tags(&[(RUN_NAME_TAG, "third")]), ..RunLog::default() }).await.expect("renamed");
        assert_eq!(name().await, ("third".to_owned(), "third".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn an_experiment_takes_its_runs_along() {
    on_both("lifecycles", async |w| {
        let made = w.store.create_experiment(w.project, "e", &BTreeMap::new(), &w.actor, NOW).await;
        let experiment = made.expect("an experiment").id;
        let new = NewRunRow {
            experiment_id: experiment,
            request_key: Some("k".to_owned()),
            same_before: Some(w.later(1)),
            ..w.new_run(w.project, "r").await
        };
        let run = w.store.create_run(w.project, new.clone(), &w.actor, NOW).await.expect("a run").row.id;
        for (lifecycle, expected) in [(Lifecycle::Deleted, Lifecycle::Deleted), (Lifecycle::Active, Lifecycle::Active)]
        {
            w.store.set_experiment_lifecycle(w.project, experiment, lifecycle, &w.actor, NOW).await.expect("set");
            let row = w.store.find_run(w.project, run).await.expect("it reads").expect("a run").row;
            assert_eq!(row.lifecycle, expected);
            if lifecycle == Lifecycle::Deleted {
                refused(w.store.create_run(w.project, new.clone(), &w.actor, NOW).await, ErrorKind::NotFound);
            }
        }
        let again = w.store.create_run(w.project, new.clone(), &w.actor, NOW).await.expect("the same").row.id;
        assert_eq!(again, run);
        w.store.set_run_lifecycle(w.project, run, Lifecycle::Deleted, &w.actor, NOW).await.expect("deleted");
        let other = w.store.create_run(w.project, new, &w.actor, NOW).await.expect("a run").row.id;
        assert_ne!(other, run, "a deleted run is no answer to a retry");
    })
    .await;
}
