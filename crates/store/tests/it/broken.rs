//! Databases that break off: what was acknowledged stays, and the store goes on by itself.

use crate::support::{NOW, World, on_both, text_of};
use kaogong_domain::{Problem, ids::RunId, runs::MetricPoint};
use kaogong_store::{Dialect, RunLog};
use sqlx::{AnyConnection, Connection};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// Runs statements beside the store, on the server's own database.
async fn aside(w: &World, statements: &[String]) {
    let text = text_of(&w.url);
    let (plain, query) = text.split_once('?').map_or((text.as_str(), String::new()), |(a, b)| (a, format!("?{b}")));
    let server = plain.rsplit_once('/').expect("the address names a database").0;
    let mut conn = AnyConnection::connect(&format!("{server}/postgres{query}")).await.expect("the server answers");
    for it in statements {
        sqlx::query(sqlx::AssertSqlSafe(it.clone())).fetch_all(&mut conn).await.expect("the statement runs");
    }
    conn.close().await.expect("the connection closes");
}

async fn log(w: &World, run: RunId, step: i64) -> Result<(), Problem> {
    let point = MetricPoint { key: "loss".to_owned(), value: 0.5, timestamp_ms: step, step };
    w.log(run, RunLog { metrics: vec![point], ..RunLog::default() }).await
}

#[tokio::test]
async fn a_postgresql_server_that_restarts_loses_nothing_acknowledged() {
    on_both("a restart", async |w| {
        if w.store.dialect() == Dialect::Sqlite {
            return;
        }
        let run = w.run(w.project, "run").await;
        let text = text_of(&w.url);
        let database = text.split('?').next().and_then(|it| it.rsplit_once('/')).expect("a database").1.to_owned();
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
        let (is_over, next) = (AtomicBool::new(false), AtomicI64::new(0));
        let (acknowledged, refused) = (AtomicI64::new(0), AtomicI64::new(0));
        let work = async {
            let mut steps = vec![];
            while !is_over.load(Ordering::Relaxed) {
                let step = next.fetch_add(1, Ordering::Relaxed);
                match log(w, run, step).await {
                    Ok(()) => {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                        steps.push(step);
                    }
                    Err(_) => drop(refused.fetch_add(1, Ordering::Relaxed)),
                }
            }
            steps
        };
        let break_off = async {
            for _ in 0..3 {
                let before = acknowledged.load(Ordering::Relaxed);
                while acknowledged.load(Ordering::Relaxed) < before + 5 {
                    tokio::task::yield_now().await;
                }
                // Nobody gets in, and who is in is thrown out, as in a restart.
                aside(w, &[format!("ALTER DATABASE \"{database}\" ALLOW_CONNECTIONS false"), end.clone()]).await;
                let before = refused.load(Ordering::Relaxed);
                while refused.load(Ordering::Relaxed) <= before {
                    tokio::task::yield_now().await;
                }
                aside(w, &[format!("ALTER DATABASE \"{database}\" ALLOW_CONNECTIONS true")]).await;
            }
            let before = acknowledged.load(Ordering::Relaxed);
            while acknowledged.load(Ordering::Relaxed) < before + 5 {
                tokio::task::yield_now().await;
            }
            is_over.store(true, Ordering::Relaxed);
        };
        let (steps, ()) = tokio::join!(work, break_off);
        let stored = w.store.metric_history(run, "loss", None, 1_000_000).await.expect("it reads");
        let stored: std::collections::BTreeSet<i64> = stored.iter().map(|it| it.step).collect();
        let lost: Vec<&i64> = steps.iter().filter(|it| !stored.contains(it)).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        w.store.try_write(NOW).await.expect("it takes changes");
    })
    .await;
}

#[tokio::test]
async fn a_run_that_was_deleted_meanwhile_takes_nothing() {
    on_both("late metrics", async |w| {
        let run = w.run(w.project, "run").await;
        log(w, run, 1).await.expect("it logs");
        w.store
            .set_run_lifecycle(w.project, run, kaogong_store::Lifecycle::Deleted, &w.actor, NOW)
            .await
            .expect("gone");
        crate::support::refused(log(w, run, 2).await, kaogong_domain::ErrorKind::Invalid);
        assert_eq!(w.store.metric_history(run, "loss", None, 10).await.expect("it reads").len(), 1);
    })
    .await;
}
