//! Tokens, sessions, one-time links and wrong passwords.

use crate::support::{NOW, World, behind, on_both, refused};
use kaogong_domain::{
    ErrorKind, Timestamp,
    access::Scopes,
    ids::{AttemptId, JobId, UserId},
};
use kaogong_store::{Actor, EventFilter, NewSessionRow, NewTokenRow};

fn token(w: &World, hash: &str) -> NewTokenRow {
    NewTokenRow {
        user_id: w.admin,
        project_id: None,
        name: format!("token {hash}"),
        scopes: Scopes::all(),
        hash: hash.to_owned(),
        job_id: None,
        attempt_id: None,
        expires_at: None,
        sealed_secrets: None,
    }
}

async fn lives(w: &World, hash: &str, at: Timestamp) -> bool {
    w.store.find_token(hash, at).await.expect("it reads").is_some()
}

#[tokio::test]
async fn a_token_is_found_until_it_is_revoked() {
    on_both("tokens", async |w| {
        let made = w.store.create_token(token(w, "a"), &w.actor, NOW).await.expect("a token");
        let (found, owner) = w.store.find_token("a", NOW).await.expect("it reads").expect("it lives");
        assert_eq!((&found, owner.id), (&made, w.admin));
        assert!(!lives(w, "b", NOW).await && !w.store.is_dead_token("b").await.expect("it reads"));
        w.store.touch_token(made.id, w.later(5)).await.expect("touched");
        let listed = w.store.list_tokens(w.admin, NOW).await.expect("tokens");
        assert_eq!(listed.iter().map(|it| it.last_used_at).collect::<Vec<_>>(), [Some(w.later(5))]);
        let stranger = UserId::generate(NOW);
        refused(w.store.revoke_token(stranger, made.id, &w.actor, NOW).await, ErrorKind::NotFound);
        w.store.revoke_token(w.admin, made.id, &w.actor, NOW).await.expect("revoked");
        refused(w.store.revoke_token(w.admin, made.id, &w.actor, NOW).await, ErrorKind::NotFound);
        assert!(!lives(w, "a", NOW).await && w.store.is_dead_token("a").await.expect("it reads"));
        assert!(w.store.list_tokens(w.admin, NOW).await.expect("tokens").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_token_expires_and_ends_with_its_attempt_or_user() {
    on_both("dead tokens", async |w| {
        let short = NewTokenRow { expires_at: Some(w.later(10)), project_id: Some(w.project), ..token(w, "short") };
        w.store.create_token(short, &w.actor, NOW).await.expect("a token");
        assert!(lives(w, "short", w.later(9)).await && !lives(w, "short", w.later(10)).await);
        let (attempt, another) = (AttemptId::generate(NOW), AttemptId::generate(NOW));
        for (hash, attempt) in [("one", attempt), ("two", another)] {
            let job = NewTokenRow { job_id: Some(JobId::generate(NOW)), attempt_id: Some(attempt), ..token(w, hash) };
            w.store.create_token(job, &w.actor, NOW).await.expect("a token");
        }
        assert_eq!(w.store.list_tokens(w.admin, NOW).await.expect("tokens").len(), 1, "those of jobs are left out");
        w.store.revoke_attempt_tokens(attempt, &Actor::system(), NOW).await.expect("revoked");
        assert!(!lives(w, "one", NOW).await && lives(w, "two", NOW).await);
        w.store.disable_user(w.admin, &w.actor, NOW).await.expect("disabled");
        assert!(!lives(w, "two", NOW).await && !lives(w, "short", NOW).await);
    })
    .await;
}

#[tokio::test]
async fn a_session_lives_until_it_ends() {
    on_both("sessions", async |w| {
        let new = |hash: &str| NewSessionRow {
            user_id: w.admin,
            hash: hash.to_owned(),
            csrf: "c".to_owned(),
            expires_at: w.later(100),
            address: "::1".to_owned(),
            user_agent: "browser".to_owned(),
        };
        for hash in ["a", "b", "c"] {
            w.store.create_session(new(hash), &w.actor, NOW).await.expect("a session");
        }
        let (session, owner) = w.store.find_session("a", NOW).await.expect("it reads").expect("it lives");
        assert_eq!((session.user_id, session.csrf.as_str(), owner.id), (w.admin, "c", w.admin));
        assert!(w.store.find_session("a", w.later(100)).await.expect("it reads").is_none());
        w.store.delete_session("a", &w.actor, NOW).await.expect("closed");
        w.store.delete_session("a", &w.actor, NOW).await.expect("again is no error");
        assert!(w.store.find_session("a", NOW).await.expect("it reads").is_none());
        assert!(w.store.find_session("b", NOW).await.expect("it reads").is_some());
        w.store.set_password(w.admin, "new".to_owned(), &w.actor, NOW).await.expect("a password");
        assert!(w.store.find_session("b", NOW).await.expect("it reads").is_none());
    })
    .await;
}

#[tokio::test]
async fn a_link_works_once() {
    on_both("links", async |w| {
        w.store.create_sign_in_link("x", w.admin, w.later(10), &w.actor, NOW).await.expect("a link");
        let first = w.store.consume_sign_in_link("x", w.later(1)).await.expect("it reads");
        assert_eq!(first.map(|it| it.id), Some(w.admin));
        assert!(w.store.consume_sign_in_link("x", w.later(2)).await.expect("it reads").is_none());
        w.store.create_sign_in_link("y", w.admin, w.later(10), &w.actor, NOW).await.expect("a link");
        assert!(w.store.consume_sign_in_link("y", w.later(10)).await.expect("it reads").is_none());
        w.store.create_sign_in_link("p", w.admin, w.later(10), &w.actor, NOW).await.expect("a link");
        w.store.set_password(w.admin, "new".to_owned(), &w.actor, NOW).await.expect("a password");
        assert!(w.store.consume_sign_in_link("p", NOW).await.expect("it reads").is_none(), "another password voids it");
        w.store.create_sign_in_link("z", w.admin, w.later(10), &w.actor, NOW).await.expect("a link");
        let (a, b) = tokio::join!(w.store.consume_sign_in_link("z", NOW), w.store.consume_sign_in_link("z", NOW));
        let taken = [a, b].into_iter().filter(|it| it.as_ref().expect("it reads").is_some()).count();
        assert_eq!(taken, 1, "one of two takers at once");
        w.store.create_sign_in_link("d", w.admin, w.later(10), &w.actor, NOW).await.expect("a link");
        w.store.disable_user(w.admin, &w.actor, NOW).await.expect("disabled");
        assert!(w.store.consume_sign_in_link("d", NOW).await.expect("it reads").is_none(), "disabling voids it");
    })
    .await;
}

#[tokio::test]
async fn wrong_passwords_are_counted_by_name_and_address() {
    on_both("wrong passwords", async |w| {
        for ms in [1, 2, 3] {
            w.store.note_wrong_password("ada", "::1", w.later(ms)).await.expect("noted");
        }
        w.store.note_wrong_password("ada", "::2", w.later(3)).await.expect("noted");
        let count = async |name: &str, address: &str, since: i64| {
            w.store.count_wrong_passwords(name, address, w.later(since)).await.expect("counted")
        };
        assert_eq!((count("ada", "::1", 0).await, count("ada", "::1", 2).await), (3, 1));
        assert_eq!((count("ada", "::2", 0).await, count("bob", "::1", 0).await), (1, 0));
        w.store.note_wrong_password("bob", "::1", w.later(4)).await.expect("noted");
        let of = async |address: &str, since: i64| {
            w.store.count_wrong_passwords_of_address(address, w.later(since)).await.expect("counted")
        };
        assert_eq!((of("::1", 0).await, of("::1", 3).await, of("::3", 0).await), (4, 1, 0));
        w.store.note_wrong_password("ada", "::1", w.later(48 * 3600 * 1000)).await.expect("noted");
        assert_eq!(count("ada", "::1", 0).await, 1, "the old ones are forgotten");
    })
    .await;
}

#[tokio::test]
async fn names_of_nobody_are_told_of_once_and_never_written_down() {
    on_both("unknown names", async |w| {
        let before = w.store.newest_event().await.expect("a number");
        for at in 1..20 {
            w.store.note_wrong_password(&format!("hunter{at}"), "::1", w.later(at)).await.expect("noted");
        }
        let told = async |after| {
            let filter = EventFilter { after: Some(after), limit: 100, ..EventFilter::default() };
            w.store.list_events(&filter).await.expect("events")
        };
        let events = told(before).await;
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].action.as_str(), events[0].object_name.as_deref()), ("sign_in.refused", None));
        assert!(!format!("{events:?}").contains("hunter"), "it may be a password: {events:?}");
        w.store.note_wrong_password("hunter", "::2", w.later(30)).await.expect("noted");
        w.store.note_wrong_password("hunter", "::1", w.later(2 * 3600 * 1000)).await.expect("noted");
        assert_eq!(told(before).await.len(), 3, "another address, and later again");
        for at in 1..4 {
            w.store.note_wrong_password("admin", "::1", w.later(at)).await.expect("noted");
        }
        assert_eq!(told(before).await.len(), 6, "those of users that are there are all told");
    })
    .await;
}

#[tokio::test]
async fn wrong_passwords_do_not_fill_the_disk() {
    on_both("many wrong passwords", async |w| {
        let sql = format!(
            "INSERT INTO wrong_passwords (name, address, at) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 \
             FROM n WHERE i < 21000) SELECT 'x', 'many', {} + i FROM n",
            NOW.as_ms()
        );
        behind(&w.url, &[&sql]).await;
        w.store.note_wrong_password("x", "many", w.later(30_000)).await.expect("noted");
        let left = w.store.count_wrong_passwords_of_address("many", NOW).await.expect("counted");
        assert!((20_000..=20_002).contains(&left), "{left}");
    })
    .await;
}
