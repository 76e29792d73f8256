//! Totals are kept with what they count.

use crate::{
    cost::prepare,
    cost_walk::walk,
    support::{NOW, behind, on_both, on_both_empty, refused, text_of},
};
use kaogong_domain::{ErrorKind, endpoints::EngineName};
use kaogong_store::{Lifecycle, NewEndpointRow, RunSearch, StoreUrl};
use sqlx::{AnyConnection, Connection, Row};
use std::collections::BTreeMap;

type Totals = BTreeMap<(String, String), i64>;

async fn totals(conn: &mut AnyConnection, sql: &str) -> Totals {
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(conn).await.expect("it counts");
    let total = |it: &sqlx::any::AnyRow| ((it.get::<String, _>(0), it.get::<String, _>(1)), it.get::<i64, _>(2));
    rows.iter().map(total).filter(|it| it.1 != 0).collect()
}

/// What the migration that brings the totals in would count now.
async fn counted(url: &StoreUrl) -> (Totals, Totals) {
    let mut conn = AnyConnection::connect(&text_of(url)).await.expect("the database answers");
    let kept = totals(&mut conn, "SELECT owner, what, count FROM counters").await;
    let mut found = Totals::new();
    for statement in include_str!("../../migrations/0004_cost.sql").split(';') {
        if let Some((_, select)) = statement.split_once("INSERT INTO counters ") {
            found.extend(totals(&mut conn, select).await);
        }
    }
    conn.close().await.expect("the connection closes");
    (kept, found)
}

#[tokio::test]
async fn totals_are_what_there_is_whatever_was_done() {
    on_both_empty(async |url| {
        let (w, walked) = prepare(url).await;
        for id in [walked.experiment] {
            // Deleting an experiment takes its runs along, restoring brings all of them back.
            w.store.set_run_lifecycle(w.project, walked.run, Lifecycle::Deleted, &w.actor, NOW).await.expect("deleted");
            for lifecycle in [Lifecycle::Deleted, Lifecycle::Deleted, Lifecycle::Active] {
                w.store.set_experiment_lifecycle(w.project, id, lifecycle, &w.actor, NOW).await.expect("set");
            }
        }
        walk(&w, &walked).await;
        let (kept, found) = counted(url).await;
        assert!(found.len() > 15, "{found:?}");
        assert_eq!(kept, found);
        w.store.close().await;
    })
    .await;
}

#[tokio::test]
async fn runs_of_another_project_are_not_counted() {
    on_both("foreign totals", async |w| {
        w.run(w.other, "theirs").await;
        w.run(w.project, "ours").await;
        let theirs = w.experiment(w.other).await;
        let ours = w.experiment(w.project).await;
        let search = |experiments| RunSearch { experiments, limit: 10, ..RunSearch::default() };
        for (experiments, expected) in
            [(None, 1), (Some(vec![theirs]), 0), (Some(vec![theirs, ours]), 1), (Some(vec![]), 0)]
        {
            let search = search(experiments);
            assert_eq!(w.store.count_runs(w.project, &search).await.expect("it counts"), expected, "{search:?}");
            assert_eq!(w.store.search_runs(w.project, &search).await.expect("it finds").len() as u64, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn every_endpoint_is_there_and_one_too_many_is_refused() {
    on_both("many endpoints", async |w| {
        let version = w.model_version(w.project, "m").await;
        let (project, other) = (w.project, w.other);
        let insert = |project, from: u32, to: u32| {
            format!(
                "INSERT INTO endpoints (id, project_id, name, model_version_id, engine, generation, created_at) \
                 WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to}) \
                 SELECT 'ep_000000000000000000' || substr(CAST(100000000 + i AS TEXT), 2), '{project}', 'e' || i, \
                 '{version}', 'tract', 1, 1 FROM n"
            )
        };
        let total = format!("INSERT INTO counters (owner, what, count) VALUES ('{project}', 'endpoints', 10000)");
        behind(&w.url, &[&insert(project, 1, 10_000), &insert(other, 10_001, 10_005), &total]).await;
        assert_eq!(w.store.all_endpoints().await.expect("all of them").len(), 10_005);
        assert_eq!(w.store.list_endpoints(project).await.expect("a list").len(), 10_000);
        let new = NewEndpointRow {
            name: crate::support::name("more"),
            model_version_id: version,
            engine: EngineName::Tract,
            isolation: kaogong_domain::endpoints::Isolation::Process,
            batching: kaogong_domain::endpoints::Batching::Auto,
        };
        let told = refused(w.store.create_endpoint(project, new, &w.actor, NOW).await, ErrorKind::TooMany);
        assert!(told.text.contains("10000 endpoints"), "{}", told.text);
        behind(&w.url, &[&insert(project, 20_000, 20_000)]).await;
        // What is too long is refused, and not cut.
        refused(w.store.list_endpoints(project).await, ErrorKind::TooMany);
    })
    .await;
}
