//! Secrets of projects.

use crate::support::{NOW, on_both, refused};
use kaogong_domain::{
    ErrorKind,
    access::Scopes,
    ids::{AttemptId, JobId},
};
use kaogong_store::{Actor, EventFilter, NewTokenRow, SECRETS_MAX};

#[tokio::test]
async fn a_secret_is_set_replaced_and_deleted_in_its_project_alone() {
    on_both("secrets", async |w| {
        let set = async |name: &str, sealed: &str, at| w.store.set_secret(w.project, name, sealed, &w.actor, at).await;
        set("B", "first", NOW).await.expect("set");
        set("A", "other", NOW).await.expect("set");
        let replaced = set("B", "second", w.later(5)).await.expect("replaced");
        let listed = w.store.list_secrets(w.project).await.expect("secrets");
        assert_eq!(listed.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!((&listed[1], listed[1].updated_by), (&replaced, Some(w.admin)));
        let sealed = w.store.sealed_secrets(w.project).await.expect("values");
        assert_eq!(
            sealed.into_iter().collect::<Vec<_>>(),
            [("A".into(), "other".into()), ("B".into(), "second".into())]
        );
        assert!(w.store.list_secrets(w.other).await.expect("none").is_empty());
        refused(w.store.delete_secret(w.other, "B", &w.actor, NOW).await, ErrorKind::NotFound);
        w.store.delete_secret(w.project, "B", &w.actor, NOW).await.expect("deleted");
        refused(w.store.delete_secret(w.project, "B", &w.actor, NOW).await, ErrorKind::NotFound);
        let events = w.store.list_events(&EventFilter { limit: 10, ..EventFilter::default() }).await.expect("events");
        assert!(events.iter().any(|it| it.action == "secret.deleted" && it.object_name.as_deref() == Some("B")));
        assert!(events.iter().all(|it| !it.detail.contains("second")), "values are in no event");
        for number in 1..SECRETS_MAX {
            set(&format!("S{number}"), "x", NOW).await.expect("set");
        }
        refused(set("ONE_TOO_MANY", "x", NOW).await, ErrorKind::TooMany);
        set("A", "again", NOW).await.expect("an old one can still be replaced");
    })
    .await;
}

#[tokio::test]
async fn what_an_attempt_was_given_is_remembered_until_it_is_over() {
    on_both("secrets of attempts", async |w| {
        let attempt = AttemptId::generate(NOW);
        let token = NewTokenRow {
            user_id: w.admin,
            project_id: Some(w.project),
            name: "job".into(),
            scopes: Scopes::all(),
            hash: "hash".into(),
            job_id: Some(JobId::generate(NOW)),
            attempt_id: Some(attempt),
            expires_at: None,
            sealed_secrets: Some("sealed".into()),
        };
        let made = w.store.create_token(token, &w.actor, NOW).await.expect("a token");
        assert_eq!(made.sealed_secrets.as_deref(), Some("sealed"));
        let (found, _) = w.store.find_token("hash", NOW).await.expect("it reads").expect("it lives");
        assert_eq!(found, made);
        assert_eq!(w.store.sealed_secrets_of_attempt(attempt).await.expect("it reads"), ["sealed"]);
        w.store.revoke_attempt_tokens(attempt, &Actor::system(), NOW).await.expect("revoked");
        assert!(w.store.sealed_secrets_of_attempt(attempt).await.expect("it reads").is_empty());
    })
    .await;
}
