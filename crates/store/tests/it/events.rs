//! The event log and its chain.

use crate::support::{NOW, behind, on_both, on_both_empty, refused};
use kaogong_domain::ErrorKind;
use kaogong_store::{EventFilter, Store};
use std::time::Duration;

#[tokio::test]
async fn a_changed_or_missing_event_is_found() {
    on_both_empty(async |url| {
        let store = Store::open(url).await.expect("it opens");
        store.first_start("hash", NOW).await.expect("it starts");
        assert_eq!(store.verify_events().await.expect("whole"), 3);
        let tampered = [
            ("UPDATE events SET action = 'x' WHERE seq = 2", "event 2"),
            ("DELETE FROM events WHERE seq = 2", "event 2"),
            ("DELETE FROM events WHERE seq = 3", "newest"),
        ];
        behind(url, &["CREATE TABLE kept AS SELECT * FROM events"]).await;
        for (statement, expected) in tampered {
            behind(url, &[statement]).await;
            let told = refused(store.verify_events().await, ErrorKind::Conflict);
            assert!(told.text.contains(expected), "{}", told.text);
            behind(url, &["DELETE FROM events", "INSERT INTO events SELECT * FROM kept"]).await;
            assert_eq!(store.verify_events().await.expect("whole again"), 3);
        }
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn events_are_filtered_paged_and_announced() {
    on_both("events", async |w| {
        let mut news = w.store.watch_events();
        let before = *news.borrow_and_update();
        assert_eq!(before, w.store.newest_event().await.expect("a number"));
        for it in ["a", "b", "c"] {
            w.version(w.project, it).await;
        }
        tokio::time::timeout(Duration::from_secs(10), news.changed()).await.expect("it wakes").expect("it lives");
        assert_eq!(*news.borrow(), before + 6, "each is made, and has a version");
        let filter =
            EventFilter { project: Some(w.project), noun: Some("datasets".to_owned()), limit: 2, ..Default::default() };
        let newest = w.store.list_events(&filter).await.expect("a page");
        assert_eq!(newest.iter().map(|it| it.object_name.as_deref()).collect::<Vec<_>>(), [Some("c@1"), Some("c")]);
        assert_eq!((newest[0].user_id, newest[0].address.as_deref()), (Some(w.admin), Some("127.0.0.1")));
        let older = EventFilter { before: Some(newest[1].seq), ..filter.clone() };
        assert_eq!(w.store.list_events(&older).await.expect("a page").len(), 2);
        let after = EventFilter { after: Some(before), ..filter.clone() };
        assert_eq!(w.store.list_events(&after).await.expect("a page")[0].seq, before + 1);
        assert_eq!(w.store.count_events(&filter).await.expect("a count"), 6);
        let elsewhere = EventFilter { project: Some(w.other), ..filter };
        assert!(w.store.list_events(&elsewhere).await.expect("a page").is_empty());
    })
    .await;
}

#[tokio::test]
async fn checking_beside_a_writer_finds_nothing() {
    on_both("verify beside a writer", async |w| {
        let write = async {
            for at in 0..40 {
                w.store.note_wrong_password("admin", "::1", w.later(at)).await.expect("noted");
            }
        };
        let check = async {
            for _ in 0..20 {
                w.store.verify_events().await.expect("whole while others write");
            }
        };
        tokio::join!(write, check);
    })
    .await;
}
