//! What a statement costs follows what it answers, and not what is stored: every statement of the store runs on
//! databases with few and with many of everything, on both kinds, and its steps are counted.

use crate::{
    cost_seed::{Walked, fill},
    cost_walk::walk,
    support::{NOW, World, name, on_both_empty, text_of},
};
use kaogong_domain::Secret;
use kaogong_store::{Actor, Bound, Statement, Store, StoreUrl, Watch};
use sqlx::{AnyConnection, Connection, Row, SqliteConnection};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

const FEW: u32 = 100;
const MANY: u32 = 20_000;

/// Statements that may read more when more is stored, by a part of their text, and why.
const MAY_GROW: &[(&str, &str)] = &[
    ("seq >= $1 AND seq <= $2 ORDER BY seq", "checking the whole chain of events reads all of it; people ask for it"),
    ("SELECT id FROM datasets ORDER BY id", "the sweep looks at every dataset, in the background"),
    ("OFFSET $2)", "of wrong passwords no more than 20,000 are kept"),
    ("PARTITION BY run_id, key ORDER BY step", "a curve is drawn from all its points"),
    (
        "PARTITION BY x.model_id ORDER BY x.at DESC, x.step DESC, x.run_id DESC",
        "an order by a metric compares all logged models",
    ),
    (
        "AND EXISTS (SELECT 1 FROM logged_model_metrics x",
        "logged models are looked at one by one until the page is full",
    ),
    ("LOWER(name", "no index finds the middle of a name"),
    ("r.name ", "a condition on the name of runs: they are looked at one by one until the page is full"),
    ("COUNT(*) AS total FROM (SELECT 1 FROM", "no more than 10,001 matches are counted"),
    (
        "AND EXISTS (SELECT 1 FROM params x",
        "values of parameters are too long for an index: runs are looked at one by one",
    ),
    ("AND EXISTS (SELECT 1 FROM tags x", "values of tags are too long for an index: runs are looked at one by one"),
];

/// Files whose statements the walk does not run, and why.
const NOT_WALKED: &[(&str, &str)] = &[
    ("migrate.rs", "runs once, when a database is made or brought up to date"),
    ("snapshot.rs", "a backup reads the whole database; people ask for it"),
];

/// What a statement took: steps of its loops, and rows of its answer.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    steps: u64,
    rows: u64,
}

type Costs = BTreeMap<(String, String), Cost>;

fn place(it: &Statement) -> String {
    let file = it.at.file().rsplit('/').next().unwrap_or_default();
    format!("{file}:{}", it.at.line())
}

/// A database with the things that the walk looks at.
pub(crate) async fn prepare(url: &StoreUrl) -> (World, Walked) {
    let store = Store::open(url).await.expect("the store opens");
    let admin = store.first_start("hash", NOW).await.expect("it starts").expect("it is the first").id;
    let actor = Actor::user(admin, Some("127.0.0.1".to_owned()));
    let (first, _) = store.find_project(&name("default"), admin).await.expect("it reads").expect("it is there");
    let project = first.id;
    let w = World { store, url: url.clone(), admin, actor, project, other: project };
    w.version(project, "walked").await;
    let walked = Walked {
        experiment: w.experiment(project).await,
        run: w.run(project, "walked").await,
        wide: w.run(project, "wide").await,
        dataset: w.store.find_dataset(project, &name("walked")).await.expect("it reads").expect("a dataset").id,
        logged: w.logged_model("walked").await,
        model: {
            w.model_version(project, "walked").await;
            w.store.find_model(project, "walked").await.expect("it reads").expect("a model").id
        },
    };
    (w, walked)
}

/// A copy of a closed database.
async fn copy_of(url: &StoreUrl) -> StoreUrl {
    match url {
        StoreUrl::Sqlite(file) => {
            let copy = file.with_extension("copy");
            std::fs::copy(file, &copy).expect("a copy");
            StoreUrl::Sqlite(copy)
        }
        StoreUrl::Postgres(secret) => {
            let text = secret.expose();
            let (plain, query) = text.split_once('?').map_or((text, String::new()), |(a, b)| (a, format!("?{b}")));
            let (server, database) = plain.rsplit_once('/').expect("the address names a database");
            let root = StoreUrl::Postgres(Secret::new(format!("{server}/postgres{query}")));
            let make = format!("CREATE DATABASE \"{database}copy\" TEMPLATE \"{database}\"");
            crate::support::behind(&root, &[&make]).await;
            StoreUrl::Postgres(Secret::new(format!("{server}/{database}copy{query}")))
        }
    }
}

async fn drop_copy(url: &StoreUrl) {
    let StoreUrl::Postgres(secret) = url else { return };
    let text = secret.expose();
    let (plain, query) = text.split_once('?').map_or((text, String::new()), |(a, b)| (a, format!("?{b}")));
    let (server, database) = plain.rsplit_once('/').expect("the address names a database");
    let root = StoreUrl::Postgres(Secret::new(format!("{server}/postgres{query}")));
    crate::support::behind(&root, &[&format!("DROP DATABASE \"{database}\" WITH (FORCE)")]).await;
}

/// Runs statements again on the copy, in their order, and counts the steps of SQLite's machine: it tells of itself at
/// every jump, so once or more for every row that a loop looks at.
async fn replay_sqlite(file: &StoreUrl, statements: &[Statement]) -> Vec<Cost> {
    let mut conn = SqliteConnection::connect(&text_of(file)).await.expect("the copy opens");
    sqlx::query("PRAGMA foreign_keys = ON").execute(&mut conn).await.expect("a pragma");
    let steps = Arc::new(AtomicU64::new(0));
    let counter = steps.clone();
    conn.lock_handle().await.expect("the handle").set_progress_handler(1, move || {
        counter.fetch_add(1, Ordering::Relaxed);
        true
    });
    let mut costs = vec![];
    for it in statements {
        let mut query = sqlx::query(sqlx::AssertSqlSafe(it.text.clone()));
        for value in &it.values {
            query = match value {
                Bound::Text(it) => query.bind(it.clone()),
                Bound::Int(it) => query.bind(*it),
                Bound::Real(it) => query.bind(*it),
            };
        }
        let before = steps.load(Ordering::Relaxed);
        let rows = query.fetch_all(&mut conn).await.map_or(0, |it| it.len() as u64);
        costs.push(Cost { steps: steps.load(Ordering::Relaxed) - before, rows });
    }
    conn.close().await.expect("the copy closes");
    costs
}

/// The number after `name` in a line of a plan.
fn after(line: &str, name: &str) -> Option<f64> {
    let rest = line.split_once(name)?.1;
    let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// Rows that the nodes of a plan gave and left out, and those of its answer.
fn rows_of_plan(lines: &[String]) -> Cost {
    let (mut loops, mut steps, mut rows) = (1.0, 0.0, None);
    for line in lines {
        if let Some((_, actual)) = line.split_once("(actual ") {
            loops = after(actual, "loops=").unwrap_or(1.0);
            let given = after(actual, "rows=").unwrap_or(0.0);
            rows.get_or_insert(given);
            steps += given * loops;
        } else if line.contains("Rows Removed by") {
            steps += after(line, ": ").unwrap_or(0.0) * loops;
        }
    }
    Cost { steps: steps as u64, rows: rows.unwrap_or(0.0) as u64 }
}

/// Runs statements again on the copy, each under EXPLAIN ANALYZE.
async fn replay_postgres(url: &StoreUrl, statements: &[Statement]) -> Vec<Cost> {
    let mut conn = AnyConnection::connect(&text_of(url)).await.expect("the copy opens");
    sqlx::query("VACUUM ANALYZE").execute(&mut conn).await.expect("statistics");
    let mut costs = vec![];
    for it in statements {
        let text = format!("EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF, SUMMARY OFF) {}", it.text);
        let mut query = sqlx::query(sqlx::AssertSqlSafe(text)).persistent(false);
        for value in &it.values {
            query = match value {
                Bound::Text(it) => query.bind(it.clone()),
                Bound::Int(it) => query.bind(*it),
                Bound::Real(it) => query.bind(*it),
            };
        }
        let lines = match query.fetch_all(&mut conn).await {
            Ok(rows) => rows.iter().map(|it| it.get::<String, _>(0)).collect(),
            // What the story itself was refused.
            Err(sqlx::Error::Database(_)) => vec![],
            Err(error) => panic!("{}: {error}", it.text),
        };
        costs.push(rows_of_plan(&lines));
    }
    conn.close().await.expect("the copy closes");
    costs
}

/// What each statement costs where there are `count` of everything, and which lines of the store ran.
async fn measure(url: &StoreUrl, count: u32) -> (Costs, BTreeSet<String>) {
    let (w, walked) = prepare(url).await;
    w.store.close().await;
    fill(&w, &walked, count).await;
    let copy = copy_of(url).await;
    let watch = Watch::keeping();
    let statements = watch
        .around(async {
            let store = Store::open(url).await.expect("it opens again");
            let w = World { store, ..w };
            walk(&w, &walked).await;
            w.store.close().await;
            watch.take()
        })
        .await;
    assert_eq!(watch.count(), statements.len() as u64);
    let costs = match url {
        StoreUrl::Sqlite(_) => replay_sqlite(&copy, &statements).await,
        StoreUrl::Postgres(_) => replay_postgres(&copy, &statements).await,
    };
    drop_copy(&copy).await;
    let mut all = Costs::new();
    for (it, cost) in statements.iter().zip(costs) {
        let sum = all.entry((place(it), it.text.clone())).or_default();
        *sum = Cost { steps: sum.steps + cost.steps, rows: sum.rows + cost.rows };
    }
    (all, statements.iter().map(place).collect())
}

/// Lines of the store's sources that run a statement.
fn lines_with_statements() -> BTreeSet<String> {
    let calls = ["exec", "rows", "rows_of", "row", "number", "rows_in", "put_rows", "whole", "each"];
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("sources") {
        let path = entry.expect("an entry").path();
        let file = path.file_name().expect("a name").to_string_lossy().into_owned();
        for (at, line) in std::fs::read_to_string(&path).expect("a source").lines().enumerate() {
            if calls.iter().any(|it| line.contains(&format!("sql::{it}("))) {
                all.insert(format!("{file}:{}", at + 1));
            }
        }
    }
    assert!(all.len() > 150, "{}", all.len());
    all
}

#[tokio::test]
async fn no_statement_costs_more_because_more_is_stored() {
    let all: Vec<(Costs, BTreeSet<String>)> = {
        let found = std::cell::RefCell::new(vec![]);
        for count in [FEW, MANY] {
            on_both_empty(async |url| {
                let measured = measure(url, count).await;
                found.borrow_mut().push(measured);
            })
            .await;
        }
        found.into_inner()
    };
    let [few_sqlite, few_postgres, many_sqlite, many_postgres] = all.as_slice() else { panic!("four databases") };
    let mut faults = vec![];
    // SQLite's machine takes five to two hundred steps for a row, PostgreSQL counts rows.
    for (database, few, many, (slack, a_row)) in
        [("SQLite", few_sqlite, many_sqlite, (2_000, 200)), ("PostgreSQL", few_postgres, many_postgres, (400, 10))]
    {
        for (key @ (place, text), dear) in &many.0 {
            let cheap = few.0.get(key).copied().unwrap_or_default();
            let more_rows = dear.rows.saturating_sub(cheap.rows);
            let grows = dear.steps > 3 * cheap.steps + slack + a_row * more_rows;
            let excused = MAY_GROW.iter().any(|(part, _)| text.contains(part));
            if grows && !excused {
                faults.push(format!("{database}, {place}: {} steps become {}: {text}", cheap.steps, dear.steps));
            }
        }
    }
    assert!(faults.is_empty(), "{} statements cost more:\n{}", faults.len(), faults.join("\n"));
    for (part, _) in MAY_GROW {
        let is_used = many_sqlite.0.keys().chain(many_postgres.0.keys()).any(|(_, text)| text.contains(part));
        assert!(is_used, "no statement holds `{part}` any more");
    }
    let seen: BTreeSet<&String> = many_sqlite.1.iter().chain(&many_postgres.1).collect();
    let excused = |it: &str| NOT_WALKED.iter().any(|(part, _)| it.starts_with(part));
    let missed: Vec<String> =
        lines_with_statements().into_iter().filter(|it| !seen.contains(it) && !excused(it)).collect();
    assert!(missed.is_empty(), "the walk does not run the statements of {missed:?}");
}
