//! The program with its metadata in a PostgreSQL server.

use crate::kit::{Server, cli, program, text};
use sqlx::{AnyConnection, Connection};

/// An empty database of the test server, and what removes it.
async fn fresh_database(name: &str) -> (String, impl AsyncFnOnce()) {
    let base = std::env::var("KAOGONG_TEST_POSTGRES").expect("run through scripts/with-postgres or make test");
    let database = format!("{name}{}", std::process::id());
    let server = base.rsplit_once('/').expect("the address names a database").0;
    let url = format!("{server}/{database}");
    let run = async move |statement: String| {
        sqlx::any::install_default_drivers();
        let mut conn = AnyConnection::connect(&base).await.expect("the database answers");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut conn).await.expect("the statement runs");
    };
    run(format!("CREATE DATABASE {database} TEMPLATE template0")).await;
    (url, async move || run(format!("DROP DATABASE {database} WITH (FORCE)")).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_belongs_to_the_data_folder_that_it_was_first_used_with() {
    let (url, remove) = fresh_database("program").await;
    let told = tokio::task::spawn_blocking(move || {
        let mut server = Server::start_with(&["--database", &url]);
        server.json(&["access", "projects", "create", "mine"]);
        server.kill();
        server.restart();
        let projects = server.json(&["access", "projects", "list"]);
        assert!(projects.to_string().contains("mine"), "{projects}");
        let elsewhere = tempfile::tempdir().expect("a folder");
        let other = program()
            .args(["up", "--listen", "127.0.0.1:0", "--database", &url, "--data-dir"])
            .arg(elsewhere.path())
            .env("KAOGONG_HOME", elsewhere.path())
            .output()
            .expect("a run");
        (other.status.code(), text(&other.stderr))
    });
    let (code, said) = told.await.expect("it was told");
    remove().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("belongs to another data folder"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_into_an_empty_database() {
    let (url, remove) = fresh_database("backed").await;
    let (empty, remove_too) = fresh_database("restored").await;
    let told = tokio::task::spawn_blocking(move || {
        let mut server = Server::start_with(&["--database", &url]);
        server.json(&["access", "projects", "create", "mine"]);
        let place = tempfile::tempdir().expect("a folder");
        let file = place.path().join("b.tar.zst");
        let file = file.to_str().expect("a path in UTF-8");
        assert_eq!(server.json(&["backup", file])["store"], "postgresql");
        server.json(&["access", "projects", "create", "later"]);
        assert_eq!(server.stop(), Some(0));
        let target = tempfile::tempdir().expect("a folder");
        let restore = |database: &[&str]| {
            let folder = target.path().to_str().expect("a path in UTF-8");
            let output = cli(place.path(), &[&["restore", file, "--data-dir", folder], database].concat());
            (output.status.code(), text(&output.stderr))
        };
        for (database, why) in [(&[][..], "is of a PostgreSQL database"), (&["--database", &url][..], "is not empty")] {
            let (code, said) = restore(database);
            assert!(code != Some(0) && said.contains(why), "{said}");
            assert_eq!(std::fs::read_dir(target.path()).expect("a folder").count(), 0, "nothing is left");
        }
        let (code, said) = restore(&["--database", &empty]);
        assert_eq!(code, Some(0), "{said}");
        let mut restored = Server::start_on_with(target, &["--database", &empty]);
        let projects = restored.json(&["access", "projects", "list"]).to_string();
        assert!(projects.contains("mine") && !projects.contains("later"), "{projects}");
        assert_eq!(restored.stop(), Some(0));
    });
    told.await.expect("it was told");
    remove().await;
    remove_too().await;
}
