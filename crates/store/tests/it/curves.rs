//! Metrics over time, page by page and thinned.

use crate::support::{World, on_both};
use kaogong_domain::{ids::RunId, runs::MetricPoint};
use kaogong_store::RunLog;

fn point(value: f64, timestamp_ms: i64, step: i64) -> MetricPoint {
    MetricPoint { key: "m".to_owned(), value, timestamp_ms, step }
}

async fn run_with(w: &World, metrics: Vec<MetricPoint>) -> RunId {
    let run = w.run(w.project, "r").await;
    w.log(run, RunLog { metrics, ..RunLog::default() }).await.expect("logged");
    run
}

#[tokio::test]
async fn pages_follow_each_other_whatever_the_points_are() {
    on_both("pages of a metric", async |w| {
        let values = [f64::NAN, 0.0, -1.5, 0.1 + 0.2, f64::INFINITY, 5e-324];
        let metrics: Vec<MetricPoint> =
            (0..40).flat_map(|at| values.map(|value| point(value, at / 4, at / 8 - 2))).collect();
        let run = run_with(w, metrics).await;
        let all = w.store.metric_history(run, "m", None, 1000).await.expect("points");
        assert!(all.windows(2).all(|it| (it[0].step, it[0].timestamp_ms) <= (it[1].step, it[1].timestamp_ms)));
        let (mut seen, mut after) = (0, None);
        loop {
            let page = w.store.metric_history(run, "m", after.as_ref(), 7).await.expect("points");
            for (have, expected) in page.iter().zip(&all[seen..]) {
                assert_eq!((have.step, have.timestamp_ms), (expected.step, expected.timestamp_ms));
                assert!(have.value == expected.value || have.value.is_nan() && expected.value.is_nan());
            }
            seen += page.len();
            let Some(last) = page.into_iter().last() else { break };
            after = Some(last);
        }
        assert_eq!(seen, all.len());
        // The same value, time and step was logged more than once, and is kept once.
        assert_eq!(all.len(), 10 * values.len());
    })
    .await;
}

#[tokio::test]
async fn a_curve_keeps_both_ends() {
    on_both("curves", async |w| {
        let run = run_with(w, (0..1000).map(|at| point(at as f64, at, at)).collect()).await;
        let steps = async |range, most| {
            let points = w.store.metric_curve(run, "m", range, most).await.expect("points");
            points.into_iter().map(|it| it.step).collect::<Vec<_>>()
        };
        let all = (i64::MIN, i64::MAX);
        let kept = steps(all, 10).await;
        assert!(kept.len() <= 11 && kept[0] == 0 && kept[kept.len() - 1] == 999, "{kept:?}");
        assert_eq!(steps(all, 5000).await.len(), 1000);
        assert_eq!(steps((100, 103), 10).await, [100, 101, 102, 103]);
        assert!(steps((2000, 3000), 10).await.is_empty());
        assert_eq!(steps(all, 1).await, [0, 999]);
    })
    .await;
}
