//! Copies of the whole database.

use crate::support::{NOW, World, behind, fresh_postgres, name, on_both, refused};
use kaogong_domain::{
    ErrorKind,
    ids::AttemptId,
    jobs::{AttemptOutcome, JobEvent},
};
use kaogong_store::{ArtifactOwner, Named, NewArtifact, NewJobRow, Store, StoreUrl, restore_dump};

/// A job with one attempt, which is over or not.
async fn attempt(w: &World, is_over: bool) -> AttemptId {
    let new = NewJobRow {
        project_id: w.project,
        name: "j".to_owned(),
        spec: "{\"command\":[\"true\"]}".to_owned(),
        retries: 0,
        inputs: vec![],
        request_key: None,
    };
    let job = w.store.submit_job(new, &w.actor, NOW).await.expect("a job").id;
    let attempt = AttemptId::generate(NOW);
    let ended =
        AttemptOutcome { exit_code: Some(0), was_cancelled: false, may_retry: true, message: "it ended".to_owned() };
    let mut events = vec![JobEvent::Admitted(attempt), JobEvent::Running(attempt)];
    events.extend(is_over.then_some(JobEvent::Ended(attempt, ended)));
    for event in events {
        w.store.apply_job_event(w.project, job, event, &w.actor, w.later(1)).await.expect("it is told");
    }
    attempt
}

#[tokio::test]
async fn a_copy_is_of_one_moment_and_says_which_attempts_were_over() {
    on_both("copying", async |w| {
        let over = attempt(w, true).await;
        attempt(w, false).await;
        w.store.note_backup(&w.actor, NOW).await.expect("noted");
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("it's a copy");
        let owner = ArtifactOwner::Run(w.run(w.project, "r").await);
        for (path, hash) in [("a", "c2"), ("b", "b1"), ("c", "c2")] {
            let new = NewArtifact { path: path.to_owned(), hash: hash.to_owned(), size: 3, media_type: None };
            w.store.put_artifact(w.project, owner, new, &w.actor, NOW).await.expect("put");
        }
        w.store.note_upload(w.other, "a0", 3, &w.actor, NOW).await.expect("noted");
        w.version(w.project, "d").await;
        let dataset = w.store.find_dataset(w.project, &name("d")).await.expect("it reads").expect("a dataset").id;
        let mut named = vec![];
        let hear = |it: Named<'_>| {
            named.push(format!("{it:?}"));
            Ok(())
        };
        let snapshot = w.store.copy_to(&file, hear).await.expect("a copy");
        assert_eq!(snapshot.ended_attempts, [over]);
        let blob = |it: &str| format!("{:?}", Named::Blob(it));
        assert_eq!(named, [blob("a0"), blob("b1"), blob("c2"), format!("{:?}", Named::Dataset(&dataset.to_string()))]);
        w.store.create_project(&name("default"), &name("later"), "", w.admin, &w.actor, NOW).await.expect("a project");
        let newest = w.store.newest_event().await.expect("a number");
        match &w.url {
            StoreUrl::Sqlite(_) => check(&StoreUrl::Sqlite(file), newest).await,
            StoreUrl::Postgres(_) => {
                let (url, root, database) = fresh_postgres().await;
                restore_dump(&url, &file).await.expect("restored");
                check(&url, newest).await;
                refused(restore_dump(&url, &file).await, ErrorKind::Conflict);
                behind(&root, &[&format!("DROP DATABASE \"{database}\" WITH (FORCE)")]).await;
            }
        }
    })
    .await;
}

async fn check(url: &StoreUrl, newest: i64) {
    let copy = Store::open(url).await.expect("the copy opens");
    let events = copy.verify_events().await.expect("a whole chain");
    assert_eq!(i64::try_from(events).expect("a small number") + 1, newest, "all but what came later");
    let names: Vec<_> = copy.list_projects().await.expect("projects").into_iter().map(|it| it.name).collect();
    assert!(names.contains(&name("other")) && !names.contains(&name("later")), "{names:?}");
    copy.close().await;
}

#[tokio::test]
async fn a_copy_that_cannot_be_written_is_told() {
    on_both("copying in vain", async |w| {
        let dir = tempfile::tempdir().expect("a folder");
        refused(w.store.copy_to(&dir.path().join("absent/copy"), |_| Ok(())).await, ErrorKind::Unavailable);
        w.store.note_backup(&w.actor, NOW).await.expect("the store goes on");
    })
    .await;
}
