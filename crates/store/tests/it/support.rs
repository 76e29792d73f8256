//! What every story needs: a fresh database of each kind, a user and two projects.

use kaogong_domain::{
    ErrorKind, Problem, Secret, Timestamp,
    datasets::DatasetKind,
    ids::{ExperimentId, LoggedModelId, ModelVersionId, ProjectId, RunId, UserId, VersionId},
    names::Name,
};
use kaogong_store::{Actor, NewLoggedModel, NewModelVersionRow, NewRunRow, NewVersion, RunLog, Store, StoreUrl};
use sqlx::{AnyConnection, Connection};
use std::{collections::BTreeMap, path::PathBuf};

/// The moment at which stories begin.
pub(crate) const NOW: Timestamp = Timestamp(1_750_000_000_000);

/// A started store.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) url: StoreUrl,
    pub(crate) admin: UserId,
    pub(crate) actor: Actor,
    /// The project `default`.
    pub(crate) project: ProjectId,
    /// Another one, whose things must not show.
    pub(crate) other: ProjectId,
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a good name")
}

/// The problem of a call that must fail, and its kind.
pub(crate) fn refused<T>(told: Result<T, Problem>, kind: ErrorKind) -> Problem {
    match told {
        Ok(_) => panic!("this must be refused as {kind:?}"),
        Err(problem) => {
            assert_eq!(problem.kind, kind, "{} ({:?})", problem.text, problem.cause);
            problem
        }
    }
}

fn address() -> String {
    std::env::var("KAOGONG_TEST_POSTGRES")
        .expect("there is no PostgreSQL: run through scripts/with-postgres or make test")
}

pub(crate) fn text_of(url: &StoreUrl) -> String {
    match url {
        StoreUrl::Sqlite(path) => format!("sqlite://{}?mode=rwc", path.display()),
        StoreUrl::Postgres(secret) => secret.expose().to_owned(),
    }
}

/// Runs statements on a database behind the store's back.
pub(crate) async fn behind(url: &StoreUrl, statements: &[&str]) {
    sqlx::any::install_default_drivers();
    let mut conn = AnyConnection::connect(&text_of(url)).await.expect("the database answers");
    for statement in statements {
        let sql = sqlx::AssertSqlSafe((*statement).to_owned());
        sqlx::query(sql).execute(&mut conn).await.expect("the statement runs");
    }
    conn.close().await.expect("the connection closes");
}

/// An empty database of the test server, and its name.
pub(crate) async fn fresh_postgres() -> (StoreUrl, StoreUrl, String) {
    let base = address();
    let id = ProjectId::generate(NOW).to_string().to_lowercase();
    let database: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
    let (plain, query) = base.split_once('?').map_or((base.as_str(), String::new()), |(a, b)| (a, format!("?{b}")));
    let server = plain.rsplit_once('/').expect("the address names a database").0;
    let here = StoreUrl::Postgres(Secret::new(format!("{server}/{database}{query}")));
    let root = StoreUrl::Postgres(Secret::new(base.clone()));
    behind(&root, &[&format!("CREATE DATABASE \"{database}\" TEMPLATE template0")]).await;
    (here, root, database)
}

/// Tells a story to an empty database of each kind.
pub(crate) async fn on_both_empty(story: impl AsyncFn(&StoreUrl)) {
    let dir = tempfile::tempdir().expect("a folder");
    let file: PathBuf = dir.path().join("a store.db");
    story(&StoreUrl::Sqlite(file)).await;
    let (url, root, database) = fresh_postgres().await;
    story(&url).await;
    behind(&root, &[&format!("DROP DATABASE \"{database}\" WITH (FORCE)")]).await;
}

/// Tells a story to a started store of each kind; every story ends with a whole event chain.
#[allow(clippy::print_stderr, reason = "says which database a failed story was told to")]
pub(crate) async fn on_both(name_of_story: &str, story: impl AsyncFn(&World)) {
    on_both_empty(async |url| {
        let store = Store::open(url).await.expect("the store opens");
        let admin = store.first_start("hash", NOW).await.expect("the first start works").expect("it is the first").id;
        let actor = Actor::user(admin, Some("127.0.0.1".to_owned()));
        let (first, _) = store.find_project(&name("default"), admin).await.expect("it reads").expect("it is there");
        let other = store.create_project(&name("default"), &name("other"), "Other", admin, &actor, NOW).await;
        let other = other.expect("a second project").id;
        let world = World { store, url: url.clone(), admin, actor, project: first.id, other };
        eprintln!("{name_of_story} on {:?}", world.store.dialect());
        story(&world).await;
        world.store.verify_events().await.expect("the event chain is whole");
        world.store.close().await;
    })
    .await;
}

impl World {
    pub(crate) fn later(&self, ms: i64) -> Timestamp {
        NOW.plus_ms(ms)
    }

    /// A dataset version in a project.
    pub(crate) async fn version(&self, project: ProjectId, dataset: &str) -> VersionId {
        let found = self.store.ensure_dataset(project, &name(dataset), DatasetKind::Table, &self.actor, NOW).await;
        let new = self.new_version(found.expect("a dataset").id);
        self.store.commit_version(new, &self.actor, NOW).await.expect("a version").id
    }

    pub(crate) fn new_version(&self, dataset_id: kaogong_domain::ids::DatasetId) -> NewVersion {
        NewVersion {
            dataset_id,
            pins: "{}".to_owned(),
            summary: "{}".to_owned(),
            histogram: None,
            message: String::new(),
            source: "upload".to_owned(),
            items: 3,
            bytes: 5_000_000_000,
            split_seed: Some(u64::MAX),
            request_key: None,
        }
    }

    pub(crate) async fn experiment(&self, project: ProjectId) -> ExperimentId {
        self.store.default_experiment(project).await.expect("there is one").id
    }

    pub(crate) async fn new_run(&self, project: ProjectId, name: &str) -> NewRunRow {
        NewRunRow {
            experiment_id: self.experiment(project).await,
            name: name.to_owned(),
            user: "ada".to_owned(),
            started_at: NOW,
            tags: BTreeMap::new(),
            job_id: None,
            attempt_id: None,
            request_key: None,
            same_before: None,
        }
    }

    pub(crate) async fn run(&self, project: ProjectId, name: &str) -> RunId {
        let new = self.new_run(project, name).await;
        self.store.create_run(project, new, &self.actor, NOW).await.expect("a run").row.id
    }

    /// What a run logs in one call.
    pub(crate) async fn log(&self, run: RunId, log: RunLog) -> Result<(), Problem> {
        self.store.log_batch(self.project, run, &log, &self.actor, NOW).await
    }

    /// A logged model of the project's default experiment.
    pub(crate) async fn logged_model(&self, name: &str) -> LoggedModelId {
        let new = NewLoggedModel { name: name.to_owned(), ..NewLoggedModel::default() };
        let experiment = self.experiment(self.project).await;
        let made = self.store.create_logged_model(self.project, experiment, new, &self.actor, NOW).await;
        made.expect("a logged model").id
    }

    /// Version 1 of a new model.
    pub(crate) async fn model_version(&self, project: ProjectId, model: &str) -> ModelVersionId {
        let model = self.store.ensure_model(project, model, &self.actor, NOW).await.expect("a model");
        let new = NewModelVersionRow { source: "s".to_owned(), user: "ada".to_owned(), ..Default::default() };
        self.store.create_model_version(project, model.id, new, &self.actor, NOW).await.expect("a version").id
    }
}
