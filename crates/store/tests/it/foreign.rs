//! An id of another project is the id of nothing.

use crate::support::{NOW, name, on_both, refused};
use kaogong_domain::{
    ErrorKind,
    endpoints::{Batching, EngineName, Isolation},
    ids::{ModelId, UserId},
    jobs::JobEvent,
};
use kaogong_store::{
    Lifecycle, NewEndpointRow, NewJobInput, NewJobRow, NewLoggedModel, NewModelVersionRow, OthersInStage, RunLog,
};

#[tokio::test]
async fn runs_and_experiments_of_another_project_cannot_be_touched() {
    on_both("foreign runs", async |w| {
        let (store, actor) = (&w.store, &w.actor);
        let experiment = w.experiment(w.project).await;
        let run = w.run(w.project, "ours").await;
        let new = w.new_run(w.project, "theirs").await;
        refused(store.create_run(w.other, new, actor, NOW).await, ErrorKind::NotFound);
        refused(store.rename_experiment(w.other, experiment, "x", actor, NOW).await, ErrorKind::NotFound);
        let gone = store.set_experiment_lifecycle(w.other, experiment, Lifecycle::Deleted, actor, NOW).await;
        refused(gone, ErrorKind::NotFound);
        let model = NewLoggedModel { name: "m".to_owned(), ..NewLoggedModel::default() };
        refused(store.create_logged_model(w.other, experiment, model, actor, NOW).await, ErrorKind::NotFound);
        refused(store.change_run(w.other, run, |_| Ok(()), actor, NOW).await, ErrorKind::NotFound);
        refused(store.change_run_tag(w.other, run, "a", |_| Ok(String::new())).await, ErrorKind::NotFound);
        refused(store.delete_run_tag(w.other, run, "a", actor, NOW).await, ErrorKind::NotFound);
        refused(store.set_experiment_tag(w.other, experiment, "a", "b", actor, NOW).await, ErrorKind::NotFound);
        refused(store.delete_experiment_tag(w.other, experiment, "a", actor, NOW).await, ErrorKind::NotFound);
        refused(store.set_run_lifecycle(w.other, run, Lifecycle::Deleted, actor, NOW).await, ErrorKind::NotFound);
        refused(store.log_batch(w.other, run, &RunLog::default(), actor, NOW).await, ErrorKind::NotFound);
        assert_eq!(store.find_run(w.other, run).await.expect("it reads"), None);
        assert_eq!(store.find_experiment(w.other, experiment).await.expect("it reads"), None);
    })
    .await;
}

#[tokio::test]
async fn models_and_endpoints_of_another_project_cannot_be_touched() {
    on_both("foreign models", async |w| {
        let (store, actor) = (&w.store, &w.actor);
        let version = w.model_version(w.project, "ours").await;
        let model = store.find_model(w.project, "ours").await.expect("it reads").expect("a model");
        refused(store.change_model(w.other, model.id, |_| Ok(()), actor, NOW).await, ErrorKind::NotFound);
        refused(store.delete_model(w.other, model.id, actor, NOW).await, ErrorKind::NotFound);
        let new = NewModelVersionRow::default();
        refused(store.create_model_version(w.other, model.id, new, actor, NOW).await, ErrorKind::NotFound);
        refused(store.change_model_version(w.other, version, |_| Ok(()), actor, NOW).await, ErrorKind::NotFound);
        let moved =
            store.set_model_version_stage(w.other, version, "Production", OthersInStage::Stay, actor, NOW).await;
        refused(moved, ErrorKind::NotFound);
        let their_run = w.run(w.other, "theirs").await;
        let new = NewModelVersionRow { run_id: Some(their_run), ..NewModelVersionRow::default() };
        refused(store.create_model_version(w.project, model.id, new, actor, NOW).await, ErrorKind::NotFound);
        let our_model = w.logged_model("ours").await;
        let theirs = store.ensure_model(w.other, "theirs", actor, NOW).await.expect("a model");
        let new = NewModelVersionRow { logged_model_id: Some(our_model), ..NewModelVersionRow::default() };
        refused(store.create_model_version(w.other, theirs.id, new, actor, NOW).await, ErrorKind::NotFound);
        refused(store.delete_model_version(w.other, version, actor, NOW).await, ErrorKind::NotFound);
        refused(store.set_model_alias(w.other, model.id, "best", 1, actor, NOW).await, ErrorKind::NotFound);
        store.set_model_alias(w.project, model.id, "best", 1, actor, NOW).await.expect("our own");
        store.delete_model_alias(w.other, model.id, "best", actor, NOW).await.expect("nothing to remove");
        assert_eq!(store.model_aliases(model.id).await.expect("it reads").len(), 1);
        let new = NewEndpointRow {
            name: name("ep"),
            model_version_id: version,
            engine: EngineName::Tract,
            isolation: Isolation::Process,
            batching: Batching::Auto,
        };
        refused(store.create_endpoint(w.other, new.clone(), actor, NOW).await, ErrorKind::NotFound);
        let theirs = w.model_version(w.other, "theirs").await;
        store.create_endpoint(w.project, new.clone(), actor, NOW).await.expect("our own");
        let swapped = NewEndpointRow { model_version_id: theirs, ..new };
        refused(store.update_endpoint(w.project, swapped, actor, NOW).await, ErrorKind::NotFound);
    })
    .await;
}

#[tokio::test]
async fn a_model_that_is_served_is_kept() {
    on_both("served", async |w| {
        let (store, actor) = (&w.store, &w.actor);
        let version = w.model_version(w.project, "served").await;
        let model: ModelId = store.find_model(w.project, "served").await.expect("it reads").expect("a model").id;
        let new = NewEndpointRow {
            name: name("ep"),
            model_version_id: version,
            engine: EngineName::Tract,
            isolation: Isolation::Process,
            batching: Batching::Auto,
        };
        let endpoint = store.create_endpoint(w.project, new, actor, NOW).await.expect("an endpoint");
        let told = refused(store.delete_model(w.project, model, actor, NOW).await, ErrorKind::Conflict);
        assert!(told.text.contains("`ep` serves served@1") && told.hint.is_some(), "{told:?}");
        refused(store.delete_model_version(w.project, version, actor, NOW).await, ErrorKind::Conflict);
        store.delete_endpoint(w.project, endpoint.id, actor, NOW).await.expect("deleted");
        store.delete_model_version(w.project, version, actor, NOW).await.expect("no longer served");
        store.delete_model(w.project, model, actor, NOW).await.expect("no longer served");
    })
    .await;
}

#[tokio::test]
async fn a_job_reads_only_data_of_its_project() {
    on_both("foreign data", async |w| {
        let theirs = w.version(w.other, "secret").await;
        let new = |version_id| NewJobRow {
            project_id: w.project,
            name: "job".to_owned(),
            spec: "{}".to_owned(),
            retries: 0,
            inputs: vec![NewJobInput { alias: "data".to_owned(), version_id }],
            request_key: Some("once".to_owned()),
        };
        refused(w.store.submit_job(new(theirs), &w.actor, NOW).await, ErrorKind::NotFound);
        assert_eq!(w.store.list_jobs(w.project, None, None, 0, 10).await.expect("it lists").1, 0);
        let ours = w.version(w.project, "open").await;
        let job = w.store.submit_job(new(ours), &w.actor, NOW).await.expect("a job");
        let cancel = w.store.apply_job_event(w.other, job.id, JobEvent::CancelRequested, &w.actor, NOW).await;
        refused(cancel, ErrorKind::NotFound);
        let nobody = UserId::generate(NOW);
        refused(w.store.set_password(nobody, "h".to_owned(), &w.actor, NOW).await, ErrorKind::NotFound);
    })
    .await;
}
