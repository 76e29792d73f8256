//! Opening databases that were there before.

use crate::support::{NOW, behind, on_both_empty, refused};
use kaogong_domain::ErrorKind;
use kaogong_store::{Store, StoreUrl};

#[tokio::test]
async fn opening_again_changes_nothing() {
    on_both_empty(async |url| {
        for _ in 0..2 {
            let store = Store::open(url).await.expect("it opens");
            store.first_start("hash", NOW).await.expect("it starts");
            assert_eq!(store.verify_events().await.expect("whole"), 3);
            store.close().await;
        }
        let (a, b) = tokio::join!(Store::open(url), Store::open(url));
        for store in [a, b] {
            store.expect("two at once").close().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_newer_or_changed_database_is_refused() {
    on_both_empty(async |url| {
        Store::open(url).await.expect("it opens").close().await;
        behind(url, &["INSERT INTO schema_migrations (version, name, hash) VALUES (999, 'later', 'x')"]).await;
        let told = refused(Store::open(url).await, ErrorKind::Conflict);
        assert!(told.text.contains("999"), "{}", told.text);
        let changed = ["DELETE FROM schema_migrations WHERE version = 999", "UPDATE schema_migrations SET hash = 'x'"];
        behind(url, &changed).await;
        refused(Store::open(url).await, ErrorKind::Conflict);
    })
    .await;
}

#[tokio::test]
async fn two_first_opens_at_once_make_one_database() {
    on_both_empty(async |url| {
        let (a, b) = tokio::join!(Store::open(url), Store::open(url));
        for store in [a, b] {
            let store = store.expect("both open");
            store.try_write(NOW).await.expect("it answers");
            store.close().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_files_of_sqlite_are_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(&StoreUrl::Sqlite(folder.path().join("it.db"))).await.expect("it opens");
    store.first_start("hash", NOW).await.expect("it starts");
    let files: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").flatten().collect();
    assert!(files.len() >= 2, "the database and its log");
    for file in files {
        let mode = file.metadata().expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.file_name());
    }
    store.close().await;
}
