//! Metrics that were measured on logged models.

use crate::support::{NOW, World, on_both, refused};
use kaogong_domain::{
    ErrorKind,
    ids::{LoggedModelId, RunId},
    runs::MetricPoint,
};
use kaogong_store::{Comparator as C, LoggedModelSearch, MetricTest, ModelMetric, NewLoggedModel, OnDataset, RunLog};

fn metric(model_id: LoggedModelId, value: f64, at: i64, dataset: Option<(&str, &str)>) -> ModelMetric {
    ModelMetric {
        model_id,
        point: MetricPoint { key: "acc".to_owned(), value, timestamp_ms: at, step: at },
        dataset_name: dataset.map(|it| it.0.to_owned()),
        dataset_digest: dataset.map(|it| it.1.to_owned()),
    }
}

async fn log(w: &World, run: RunId, model_metrics: Vec<ModelMetric>) {
    let metrics = model_metrics.iter().map(|it| it.point.clone()).collect();
    w.log(run, RunLog { metrics, model_metrics, ..RunLog::default() }).await.expect("logged");
}

/// Models `a`, `b` and `c`: `a` was good and became bad, on two datasets; `b` was measured once; `c` never.
async fn three_models(w: &World) -> [LoggedModelId; 3] {
    let [a, b, c] = [w.logged_model("a").await, w.logged_model("b").await, w.logged_model("c").await];
    let run = w.run(w.project, "r").await;
    let points =
        vec![metric(a, 0.9, 1, Some(("test", "1"))), metric(a, 0.2, 2, Some(("train", "1"))), metric(b, 0.6, 1, None)];
    log(w, run, points.clone()).await;
    log(w, run, points).await;
    [a, b, c]
}

async fn names(w: &World, metrics: Vec<MetricTest>, datasets: &[(&str, Option<&str>)]) -> String {
    let on = |it: &(&str, Option<&str>)| OnDataset { name: it.0.to_owned(), digest: it.1.map(str::to_owned) };
    let search = LoggedModelSearch {
        experiments: vec![w.experiment(w.project).await],
        metrics,
        datasets: datasets.iter().map(on).collect(),
    };
    let found = w.store.search_logged_models(w.project, &search, None, 100).await.expect("a search");
    let mut names: Vec<String> = found.into_iter().map(|it| it.name).collect();
    names.sort();
    names.concat()
}

fn acc(comparator: C, value: f64) -> Vec<MetricTest> {
    vec![MetricTest { key: "acc".to_owned(), comparator, value }]
}

#[tokio::test]
async fn points_are_kept_with_their_run_and_data() {
    on_both("metrics of models", async |w| {
        let [a, b, c] = three_models(w).await;
        let found = w.store.metrics_of_logged_models(&[a, b, c]).await.expect("points");
        let of_a: Vec<_> = found.iter().filter(|it| it.1.model_id == a).collect();
        assert_eq!((found.len(), of_a.len()), (3, 2), "the same again changes nothing");
        assert_eq!((of_a[0].1.point.value, of_a[0].1.dataset_name.as_deref()), (0.9, Some("test")));
        let run = w.store.find_run(w.project, found[0].0).await.expect("it reads").expect("the run has them, too");
        assert_eq!(run.metrics[0].value, 0.2);
        let many = (0..1200).map(|at| metric(c, 1.0, at, None));
        for part in many.collect::<Vec<_>>().chunks(600) {
            log(w, found[0].0, part.to_vec()).await;
        }
        let found = w.store.metrics_of_logged_models(&[c]).await.expect("points");
        assert_eq!((found.len(), found[0].1.point.step), (1000, 200), "the newest ones");
    })
    .await;
}

#[tokio::test]
async fn models_are_found_by_their_metrics_and_data() {
    on_both("searching models by metrics", async |w| {
        three_models(w).await;
        assert_eq!(names(w, vec![], &[]).await, "abc");
        assert_eq!(names(w, acc(C::Greater, 0.5), &[]).await, "ab", "some point fits");
        assert_eq!(names(w, acc(C::Less, 0.5), &[]).await, "a");
        assert_eq!(names(w, acc(C::Greater, 0.5), &[("train", None)]).await, "");
        assert_eq!(names(w, acc(C::Greater, 0.5), &[("train", None), ("test", Some("1"))]).await, "a");
        assert_eq!(names(w, acc(C::Greater, 0.5), &[("test", Some("2"))]).await, "");
        assert_eq!(names(w, vec![], &[("test", None)]).await, "a");
        let told = LoggedModelSearch {
            experiments: vec![w.experiment(w.project).await],
            metrics: acc(C::Like, 0.5),
            ..LoggedModelSearch::default()
        };
        refused(w.store.search_logged_models(w.project, &told, None, 100).await, ErrorKind::Invalid);
    })
    .await;
}

#[tokio::test]
async fn the_newest_value_orders_models() {
    on_both("ordering models by metrics", async |w| {
        let [a, b, c] = three_models(w).await;
        let experiments = [w.experiment(w.project).await];
        let newest = async |dataset: Option<OnDataset>| {
            w.store.newest_model_metric(w.project, &experiments, "acc", dataset.as_ref()).await.expect("values")
        };
        let all = newest(None).await;
        assert_eq!((all.get(&a), all.get(&b), all.get(&c)), (Some(&0.2), Some(&0.6), None));
        let on_test = newest(Some(OnDataset { name: "test".to_owned(), digest: None })).await;
        assert_eq!((on_test.get(&a), on_test.len()), (Some(&0.9), 1));
        let run = w.run(w.project, "nan").await;
        log(w, run, vec![metric(b, f64::NAN, 9, None)]).await;
        assert!(newest(None).await.get(&b).is_some_and(|it| it.is_nan()), "NaN is a value");
        let theirs = w.store.newest_model_metric(w.other, &experiments, "acc", None).await.expect("values");
        assert!(theirs.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_model_of_another_project_takes_no_metrics() {
    on_both("metrics of foreign models", async |w| {
        let run = w.run(w.project, "r").await;
        let new = NewLoggedModel { name: "theirs".to_owned(), ..NewLoggedModel::default() };
        let experiment = w.experiment(w.other).await;
        let made = w.store.create_logged_model(w.other, experiment, new, &w.actor, NOW).await;
        let theirs = made.expect("a logged model").id;
        let model_metrics = vec![metric(theirs, 1.0, 1, None)];
        let metrics = vec![model_metrics[0].point.clone()];
        refused(w.log(run, RunLog { metrics, model_metrics, ..RunLog::default() }).await, ErrorKind::NotFound);
        let full = w.store.find_run(w.project, run).await.expect("it reads").expect("a run");
        assert!(full.metrics.is_empty(), "a refused batch leaves nothing");
        let foreign = NewLoggedModel { run_id: Some(run), ..NewLoggedModel::default() };
        let told = w.store.create_logged_model(w.other, experiment, foreign, &w.actor, NOW).await;
        refused(told, ErrorKind::NotFound);
    })
    .await;
}
