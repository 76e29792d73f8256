//! Where the two databases differ by nature, the store does not.

use crate::support::{NOW, World, on_both, refused};
use kaogong_domain::{ErrorKind, Problem, ids::JobId, runs::MetricPoint};
use kaogong_store::{ArtifactOwner, Comparator, Field, NewArtifact, NewJobRow, Operand, RunFilter, RunLog, RunSearch};
use std::collections::BTreeMap;

async fn names(w: &World, field: Field, comparator: Comparator, operand: Operand) -> Result<Vec<String>, Problem> {
    let search = RunSearch {
        experiments: Some(vec![w.experiment(w.project).await]),
        filters: vec![RunFilter { field, comparator, operand }],
        limit: 100,
        ..RunSearch::default()
    };
    let found = w.store.search_runs(w.project, &search).await?;
    assert_eq!(w.store.count_runs(w.project, &search).await?, found.len() as u64);
    let mut names: Vec<String> = found.into_iter().map(|it| it.row.name).collect();
    names.sort();
    Ok(names)
}

#[tokio::test]
async fn like_minds_the_case_and_ilike_does_not() {
    on_both("like", async |w| {
        for name in ["Alpha", "alpha", "al*ha", "al[p]ha", "100%", "back\\slash", "数据"] {
            w.run(w.project, name).await;
        }
        for (comparator, pattern, expected) in [
            (Comparator::Like, "a%", vec!["al*ha", "al[p]ha", "alpha"]),
            (Comparator::Like, "A%a", vec!["Alpha"]),
            (Comparator::Like, "al_ha", vec!["al*ha", "alpha"]),
            (Comparator::Like, "al*ha", vec!["al*ha"]),
            (Comparator::Like, "%[p]%", vec!["al[p]ha"]),
            (Comparator::Like, "alph", vec![]),
            (Comparator::Like, "back\\s%", vec!["back\\slash"]),
            (Comparator::Like, "数_", vec!["数据"]),
            (Comparator::ILike, "ALPHA", vec!["Alpha", "alpha"]),
            (Comparator::ILike, "%SLASH", vec!["back\\slash"]),
            (Comparator::ILike, "数据", vec!["数据"]),
        ] {
            let found = names(w, Field::Name, comparator, Operand::Text(pattern.to_owned())).await;
            assert_eq!(found.expect("it searches"), expected, "{comparator:?} {pattern}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_condition_of_the_wrong_type_is_the_callers_mistake() {
    on_both("types", async |w| {
        w.run(w.project, "one").await;
        let metric = || Field::Metric("loss".to_owned());
        for (field, comparator, operand) in [
            (metric(), Comparator::Greater, Operand::Text("1".to_owned())),
            (metric(), Comparator::Like, Operand::Text("1".to_owned())),
            (metric(), Comparator::In, Operand::List(vec!["1".to_owned()])),
            (Field::StartTime, Comparator::Equal, Operand::Text("x".to_owned())),
            (Field::Name, Comparator::Equal, Operand::Number(1.0)),
            (Field::Param("p".to_owned()), Comparator::Less, Operand::Number(1.0)),
            (Field::Name, Comparator::Equal, Operand::List(vec![])),
            (Field::Name, Comparator::In, Operand::Text("x".to_owned())),
        ] {
            refused(names(w, field, comparator, operand).await, ErrorKind::Invalid);
        }
        let at = Operand::Number(NOW.as_ms() as f64);
        assert_eq!(names(w, Field::StartTime, Comparator::Equal, at).await.expect("it searches"), ["one"]);
        assert!(names(w, Field::Name, Comparator::In, Operand::List(vec![])).await.expect("it searches").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_text_that_postgresql_cannot_hold_is_refused_by_both() {
    on_both("nul", async |w| {
        let run = w.run(w.project, "run").await;
        let tags = BTreeMap::from([("a".to_owned(), "b".to_owned()), ("k".to_owned(), "x\0y".to_owned())]);
        refused(w.log(run, RunLog { tags, ..RunLog::default() }).await, ErrorKind::Invalid);
        let run = w.store.find_run(w.project, run).await.expect("it reads").expect("a run");
        assert!(run.tags.is_empty(), "half of the batch stayed");
    })
    .await;
}

#[tokio::test]
async fn numbers_at_the_edge_come_back() {
    on_both("edges", async |w| {
        let run = w.run(w.project, "run").await;
        let point = |key: &str, value, step| MetricPoint { key: key.to_owned(), value, timestamp_ms: 5, step };
        let points = vec![
            point("nan", f64::NAN, 0),
            point("inf", f64::INFINITY, 0),
            point("small", f64::MIN_POSITIVE, 0),
            point("steps", 1.0, i64::MIN),
            point("steps", 2.0, i64::MAX),
            // At the same step and time NaN counts as 0: larger than -1 and smaller than 1.
            point("tie", -1.0, 0),
            point("tie", f64::NAN, 0),
            point("won", f64::NAN, 0),
            point("won", 1.0, 0),
        ];
        for _ in 0..2 {
            w.log(run, RunLog { metrics: points.clone(), ..RunLog::default() }).await.expect("it logs");
        }
        let newest = w.store.find_run(w.project, run).await.expect("it reads").expect("a run").metrics;
        let value = |key: &str| newest.iter().find(|it| it.key == key).expect("a metric").value;
        assert!(value("nan").is_nan() && value("tie").is_nan());
        assert_eq!(
            [value("inf"), value("small"), value("steps"), value("won")],
            [f64::MAX, f64::MIN_POSITIVE, 2.0, 1.0]
        );
        assert_eq!(w.store.metric_history(run, "steps", None, 10).await.expect("it reads").len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_thousand_metrics_go_in_one_batch() {
    on_both("a batch", async |w| {
        let run = w.run(w.project, "run").await;
        let points: Vec<MetricPoint> = (0..1000)
            .map(|it| MetricPoint { key: format!("m{it:04}"), value: f64::from(it), timestamp_ms: 1, step: 0 })
            .collect();
        w.log(run, RunLog { metrics: points.clone(), ..RunLog::default() }).await.expect("it logs");
        assert_eq!(w.store.find_run(w.project, run).await.expect("it reads").expect("a run").metrics, points);
    })
    .await;
}

#[tokio::test]
async fn searching_jobs_takes_letters_as_they_are() {
    on_both("job names", async |w| {
        for name in ["train_digits", "trainXdigits", "50% off", "a\\b", "Train_Digits", "École", "ДАННЫЕ"] {
            let new = NewJobRow {
                project_id: w.project,
                name: name.to_owned(),
                spec: "{}".to_owned(),
                retries: 0,
                inputs: vec![],
                request_key: None,
            };
            w.store.submit_job(new, &w.actor, NOW).await.expect("a job");
        }
        for (text, expected) in [
            ("train_d", 2),
            ("%", 1),
            ("\\", 1),
            ("_", 2),
            ("École", 1),
            ("éCOLE", 0),
            ("ÉCOLE", 1),
            ("ДАН", 1),
            ("", 7),
        ] {
            let (rows, total) = w.store.list_jobs(w.project, None, Some(text), 0, 10).await.expect("it searches");
            assert_eq!((rows.len(), total), (expected, expected as u64), "{text:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn deleting_a_folder_of_artifacts_takes_its_own_and_no_others() {
    on_both("folders", async |w| {
        let owner = ArtifactOwner::Job(JobId::generate(NOW));
        for path in ["model/a", "model/b/c", "model/b/d", "models/d", "mod_l/e", "模型/f"] {
            let new = NewArtifact { path: path.to_owned(), hash: "h".to_owned(), size: 1, media_type: None };
            w.store.put_artifact(w.project, owner, new, &w.actor, NOW).await.expect("an artifact");
        }
        assert_eq!(w.store.delete_artifacts(w.project, owner, "model", &w.actor, NOW).await.expect("it deletes"), 3);
        assert_eq!(w.store.delete_artifacts(w.other, owner, "models", &w.actor, NOW).await.expect("it deletes"), 0);
        assert_eq!(w.store.delete_artifacts(w.project, owner, "模型", &w.actor, NOW).await.expect("it deletes"), 1);
        let left = w.store.list_artifacts(w.project, owner).await.expect("it lists");
        assert_eq!(left.iter().map(|it| it.path.as_str()).collect::<Vec<_>>(), ["mod_l/e", "models/d"]);
        assert_eq!(w.store.delete_artifacts(w.project, owner, "", &w.actor, NOW).await.expect("all of them"), 2);
        assert!(w.store.list_artifacts(w.project, owner).await.expect("it lists").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_setting_is_chosen_once() {
    on_both("settings", async |w| {
        assert_eq!(w.store.setting("instance").await.expect("it reads"), None);
        let both = tokio::join!(w.store.ensure_setting("instance", "a"), w.store.ensure_setting("instance", "b"));
        let chosen = both.0.expect("a value");
        assert_eq!(both.1.expect("a value"), chosen);
        assert_eq!(w.store.setting("instance").await.expect("it reads"), Some(chosen));
    })
    .await;
}
