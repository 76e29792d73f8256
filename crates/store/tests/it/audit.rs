//! Who reads the log sees which thing each line is about.

use crate::support::{NOW, World, name, on_both};
use kaogong_domain::{
    access::{Role, Scopes},
    endpoints::{Batching, EngineName, Isolation},
    events::EventAction,
    ids::{AttemptId, JobId, RunId},
    jobs::{JobEvent, JobState},
    runs::RunStatus,
};
use kaogong_store::{
    ArtifactOwner, EventFilter, Lifecycle, LoggedModelRow, ModelRow, ModelVersionRow, NewArtifact, NewEndpointRow,
    NewJobRow, NewLoggedModel, NewSessionRow, NewTokenRow, NewUserRow, OthersInStage, RunLog, RunRow,
};
use std::collections::{BTreeMap, BTreeSet};

/// Lines that have no name, each with its reason.
const NAMELESS: &[(&str, &str)] =
    &[("sign_in.refused", "a name that nobody has may be a password"), ("backup.taken", "a backup is of everything")];

async fn access(w: &World) {
    let (store, actor) = (&w.store, &w.actor);
    let new = NewUserRow { name: name("bob"), display_name: "Bob".into(), password_hash: None, is_admin: false };
    let bob = store.create_user(new, actor, NOW).await.expect("bob").id;
    store.create_organisation(&name("lab"), "Lab", actor, NOW).await.expect("an organisation");
    store.set_member(w.project, bob, Role::Viewer, actor, NOW).await.expect("a member");
    store.remove_member(w.project, bob, actor, NOW).await.expect("removed");
    let token = |hash: &str, attempt_id| NewTokenRow {
        user_id: bob,
        project_id: None,
        name: format!("token {hash}"),
        scopes: Scopes::all(),
        hash: hash.to_owned(),
        job_id: None,
        attempt_id,
        expires_at: None,
        sealed_secrets: None,
    };
    let made = store.create_token(token("a", None), actor, NOW).await.expect("a token").id;
    store.revoke_token(bob, made, actor, NOW).await.expect("revoked");
    let attempt = AttemptId::generate(NOW);
    store.create_token(token("b", Some(attempt)), actor, NOW).await.expect("a token");
    store.revoke_attempt_tokens(attempt, actor, NOW).await.expect("revoked");
    let session = NewSessionRow {
        user_id: bob,
        hash: "s".to_owned(),
        csrf: "c".to_owned(),
        expires_at: w.later(9),
        address: "::1".to_owned(),
        user_agent: "browser".to_owned(),
    };
    store.create_session(session, actor, NOW).await.expect("a session");
    store.delete_session("s", actor, NOW).await.expect("closed");
    store.create_sign_in_link("l", bob, w.later(9), actor, NOW).await.expect("a link");
    store.consume_sign_in_link("l", NOW).await.expect("it reads").expect("bob");
    store.note_wrong_password("bob", "::1", NOW).await.expect("noted");
    store.note_wrong_password("nobody", "::2", NOW).await.expect("noted");
    store.set_password(bob, "hash".to_owned(), actor, NOW).await.expect("a password");
    store.disable_user(bob, actor, NOW).await.expect("disabled");
    store.note_backup(actor, NOW).await.expect("noted");
}

async fn data_and_jobs(w: &World) -> JobId {
    let (store, actor) = (&w.store, &w.actor);
    store.set_secret(w.project, "KEY", "sealed", actor, NOW).await.expect("set");
    store.delete_secret(w.project, "KEY", actor, NOW).await.expect("deleted");
    w.version(w.project, "d").await;
    let dataset = store.find_dataset(w.project, &name("d")).await.expect("it reads").expect("a dataset").id;
    store.delete_dataset(w.project, dataset, actor, NOW).await.expect("deleted");
    let new = NewJobRow {
        project_id: w.project,
        name: "job".to_owned(),
        spec: "{}".to_owned(),
        retries: 0,
        inputs: vec![],
        request_key: None,
    };
    let job = store.submit_job(new, actor, NOW).await.expect("a job").id;
    let attempt = AttemptId::generate(NOW);
    for event in [JobEvent::Admitted(attempt), JobEvent::Running(attempt), JobEvent::CancelRequested] {
        store.apply_job_event(w.project, job, event, actor, NOW).await.expect("told");
    }
    job
}

async fn runs(w: &World) -> RunId {
    let (store, actor) = (&w.store, &w.actor);
    let made = store.create_experiment(w.project, "e", &BTreeMap::new(), actor, NOW).await.expect("an experiment").id;
    store.rename_experiment(w.project, made, "f", actor, NOW).await.expect("renamed");
    store.set_experiment_tag(w.project, made, "t", "v", actor, NOW).await.expect("set");
    store.delete_experiment_tag(w.project, made, "t", actor, NOW).await.expect("removed");
    let run = w.run(w.project, "run").await;
    let change = |it: &mut RunRow| {
        it.name = "renamed".to_owned();
        it.inputs = serde_json::json!({"dataset_inputs": []});
        it.outputs = serde_json::json!({"model_outputs": []});
        it.status = kaogong_domain::runs::RunStatus::Finished;
        Ok(())
    };
    store.change_run(w.project, run, change, actor, NOW).await.expect("changed");
    w.log(run, RunLog { tags: BTreeMap::from([("t".to_owned(), "v".to_owned())]), ..RunLog::default() })
        .await
        .expect("logged");
    store.delete_run_tag(w.project, run, "t", actor, NOW).await.expect("removed");
    for lifecycle in [Lifecycle::Deleted, Lifecycle::Active] {
        store.set_run_lifecycle(w.project, run, lifecycle, actor, NOW).await.expect("set");
        store.set_experiment_lifecycle(w.project, made, lifecycle, actor, NOW).await.expect("set");
    }
    run
}

async fn logged_model(w: &World) {
    let (store, actor) = (&w.store, &w.actor);
    let new = NewLoggedModel { name: "logged".to_owned(), ..NewLoggedModel::default() };
    let experiment = w.experiment(w.project).await;
    let made = store.create_logged_model(w.project, experiment, new, actor, NOW).await.expect("a logged model").id;
    let change = |it: &mut LoggedModelRow| {
        it.status = "LOGGED_MODEL_READY".to_owned();
        it.tags.insert("a".to_owned(), "b".to_owned());
        it.params.insert("a".to_owned(), "b".to_owned());
        Ok(())
    };
    store.change_logged_model(w.project, made, change, actor, NOW).await.expect("changed");
    put_and_delete(w, ArtifactOwner::LoggedModel(made)).await;
    store.delete_logged_model(w.project, made, actor, NOW).await.expect("deleted");
}

async fn put_and_delete(w: &World, owner: ArtifactOwner) {
    let new = NewArtifact { path: "a/b".to_owned(), hash: "h".to_owned(), size: 1, media_type: None };
    w.store.put_artifact(w.project, owner, new, &w.actor, NOW).await.expect("put");
    assert_eq!(w.store.delete_artifacts(w.project, owner, "a", &w.actor, NOW).await.expect("deleted"), 1);
}

async fn models(w: &World) {
    let (store, actor) = (&w.store, &w.actor);
    let versions = [w.model_version(w.project, "model").await, w.model_version(w.project, "model").await];
    let model = store.find_model(w.project, "model").await.expect("it reads").expect("a model").id;
    let change = |it: &mut ModelRow| {
        it.name = "other".to_owned();
        it.description = "better".to_owned();
        Ok(())
    };
    store.change_model(w.project, model, change, actor, NOW).await.expect("changed");
    store.set_model_alias(w.project, model, "best", 1, actor, NOW).await.expect("set");
    store.delete_model_alias(w.project, model, "best", actor, NOW).await.expect("removed");
    let change = |it: &mut ModelVersionRow| {
        it.description = "better".to_owned();
        Ok(())
    };
    store.change_model_version(w.project, versions[0], change, actor, NOW).await.expect("changed");
    for id in versions {
        let moved = store.set_model_version_stage(w.project, id, "Production", OthersInStage::Archive, actor, NOW);
        moved.await.expect("moved");
    }
    let new = |id| NewEndpointRow {
        name: name("ep"),
        model_version_id: id,
        engine: EngineName::Tract,
        isolation: Isolation::Process,
        batching: Batching::Auto,
    };
    let endpoint = store.create_endpoint(w.project, new(versions[0]), actor, NOW).await.expect("an endpoint").id;
    store.update_endpoint(w.project, new(versions[1]), actor, NOW).await.expect("changed");
    store.delete_endpoint(w.project, endpoint, actor, NOW).await.expect("deleted");
    store.delete_model_version(w.project, versions[0], actor, NOW).await.expect("deleted");
    store.delete_model(w.project, model, actor, NOW).await.expect("deleted");
}

#[tokio::test]
async fn every_event_names_its_thing() {
    on_both("names in the log", async |w| {
        access(w).await;
        let job = data_and_jobs(w).await;
        let run = runs(w).await;
        put_and_delete(w, ArtifactOwner::Job(job)).await;
        put_and_delete(w, ArtifactOwner::Run(run)).await;
        logged_model(w).await;
        models(w).await;
        let filter = EventFilter { after: Some(0), limit: 1000, ..EventFilter::default() };
        let events = w.store.list_events(&filter).await.expect("events");
        let excused = |action: &str| NAMELESS.iter().any(|it| it.0 == action);
        for it in &events {
            let has_name = it.object_name.as_ref().is_some_and(|name| !name.is_empty());
            assert!(has_name || excused(&it.action), "{} tells no name: {it:?}", it.action);
        }
        let seen: BTreeSet<&str> = events.iter().map(|it| it.action.as_str()).collect();
        // Those of states are told by the state machines' own tests.
        let of_states = JobState::ALL.map(EventAction::from).into_iter().chain(RunStatus::ALL.map(EventAction::from));
        let of_states: BTreeSet<EventAction> = of_states.collect();
        let rest = EventAction::ALL.iter().filter(|it| !of_states.contains(it));
        let left_out: Vec<&str> = rest.map(|it| it.as_str()).filter(|it| !seen.contains(it)).collect();
        assert!(left_out.is_empty(), "the story leaves these out: {left_out:?}");
        let find = |action: &str| events.iter().find(|it| it.action == action).expect(action);
        assert_eq!(find("model.alias_set").object_name.as_deref(), Some("other@best"));
        assert_eq!(find("model.version_deleted").object_name.as_deref(), Some("other@1"));
        assert_eq!(find("run.renamed").object_name.as_deref(), Some("renamed"));
        assert!(events.iter().any(|it| it.detail.contains("\"stage\":\"Archived\"")), "the stage is told");
    })
    .await;
}
