//! A walk through everything that the store can do, for counting what its statements cost.

use crate::{
    cost_seed::Walked,
    support::{NOW, World, name},
};
use kaogong_domain::{
    Problem,
    access::{Role, Scopes},
    datasets::DatasetKind,
    endpoints::{Batching, EngineName, Isolation},
    ids::{AttemptId, JobId, RunId, UserId},
    jobs::{AttemptOutcome, JobEvent, JobState},
    runs::{MetricPoint, RunStatus},
};
use kaogong_store::{
    ArtifactOwner, Comparator, Direction, EventFilter, Field, Lifecycle, LoggedModelRow, LoggedModelSearch, MetricTest,
    ModelMetric, ModelRow, ModelVersionRow, NewArtifact, NewEndpointRow, NewJobInput, NewJobRow, NewLoggedModel,
    NewModelVersionRow, NewSessionRow, NewTokenRow, NewUserRow, OnDataset, Operand, OthersInStage, RunFilter, RunLog,
    RunOrder, RunRow, RunSearch,
};
use std::collections::BTreeMap;

/// A step that must work.
fn done<T>(told: Result<T, Problem>) -> T {
    told.unwrap_or_else(|it| panic!("{} ({:?})", it.text, it.cause))
}

async fn users(w: &World) {
    let (s, actor) = (&w.store, &w.actor);
    assert!(done(s.first_start("hash", NOW).await).is_none());
    let new = NewUserRow { name: name("bob"), display_name: "Bob".into(), password_hash: None, is_admin: false };
    let bob = done(s.create_user(new, actor, NOW).await).id;
    // These are whole lists, and refused where they hold more than such a list may.
    let _ = (s.list_users().await, s.list_organisations().await, s.list_projects().await);
    let _ = s.list_members(w.project).await;
    done(s.find_user(bob).await);
    done(s.find_user_by_name(&name("bob")).await);
    done(s.user_names(&[bob]).await);
    done(s.project_names(&[w.project]).await);
    done(s.first_admin().await);
    done(s.create_organisation(&name("lab"), "Lab", actor, NOW).await);
    done(s.create_project(&name("lab"), &name("fresh"), "", bob, actor, NOW).await);
    done(s.list_projects_of(w.admin).await);
    done(s.project(w.project).await);
    done(s.find_project(&name("default"), w.admin).await);
    done(s.set_member(w.project, bob, Role::Owner, actor, NOW).await);
    done(s.set_member(w.project, bob, Role::Viewer, actor, NOW).await);
    done(s.remove_member(w.project, bob, actor, NOW).await);
    tokens(w, bob).await;
    secrets(w).await;
    done(s.set_password(bob, "hash".to_owned(), actor, NOW).await);
    done(s.disable_user(bob, actor, NOW).await);
}

async fn secrets(w: &World) {
    let (s, actor) = (&w.store, &w.actor);
    done(s.set_secret(w.project, "A", "sealed", actor, NOW).await);
    done(s.list_secrets(w.project).await);
    done(s.sealed_secrets(w.project).await);
    done(s.sealed_secrets_of_attempt(AttemptId::generate(NOW)).await);
    done(s.delete_secret(w.project, "A", actor, NOW).await);
}

async fn tokens(w: &World, bob: UserId) {
    let (s, actor) = (&w.store, &w.actor);
    let token = |user_id, hash: &str, attempt_id: Option<AttemptId>| NewTokenRow {
        user_id,
        project_id: None,
        name: "t".to_owned(),
        scopes: Scopes::all(),
        hash: hash.to_owned(),
        job_id: attempt_id.map(|_| JobId::generate(NOW)),
        attempt_id,
        expires_at: None,
        sealed_secrets: None,
    };
    let made = done(s.create_token(token(w.admin, "a", None), actor, NOW).await).id;
    let attempt = AttemptId::generate(NOW);
    done(s.create_token(token(bob, "b", Some(attempt)), actor, NOW).await);
    done(s.find_token("a", NOW).await);
    done(s.is_dead_token("a").await);
    done(s.touch_token(made, NOW).await);
    done(s.list_tokens(w.admin, NOW).await);
    done(s.revoke_token(w.admin, made, actor, NOW).await);
    done(s.revoke_attempt_tokens(attempt, actor, NOW).await);
    let session = NewSessionRow {
        user_id: bob,
        hash: "s".to_owned(),
        csrf: "c".to_owned(),
        expires_at: w.later(9),
        address: "::1".to_owned(),
        user_agent: "browser".to_owned(),
    };
    done(s.create_session(session, actor, NOW).await);
    done(s.find_session("s", NOW).await);
    done(s.delete_session("s", actor, NOW).await);
    done(s.create_sign_in_link("l", bob, w.later(9), actor, NOW).await);
    done(s.consume_sign_in_link("l", NOW).await);
    for (name, address) in [("bob", "::1"), ("nobody", "::2"), ("nobody", "::2")] {
        done(s.count_wrong_passwords(name, address, w.later(-1000)).await);
        done(s.count_wrong_passwords_of_address(address, w.later(-1000)).await);
        done(s.note_wrong_password(name, address, NOW).await);
    }
}

async fn datasets(w: &World, it: &Walked) {
    let (s, actor) = (&w.store, &w.actor);
    let made = done(s.ensure_dataset(w.project, &name("fresh"), DatasetKind::Images, actor, NOW).await);
    done(s.ensure_dataset(w.project, &name("fresh"), DatasetKind::Table, actor, NOW).await);
    for _ in 0..2 {
        let mut new = w.new_version(made.id);
        new.request_key = Some("k".to_owned());
        done(s.commit_version(new, actor, NOW).await);
    }
    done(s.name_dataset(made.id, &"Fresh".parse().expect("a title")).await);
    done(s.find_dataset(w.project, &name("fresh")).await);
    let (rows, total) = done(s.list_datasets(w.project, 0, 20).await);
    assert!(rows.len() == 2 || rows.len() == 20, "{total}");
    let ids: Vec<_> = rows.iter().map(|it| it.id).collect();
    assert_eq!(done(s.latest_versions(&ids).await).len(), ids.len());
    let (versions, _) = done(s.list_versions(it.dataset, 0, 20).await);
    let ids: Vec<_> = versions.iter().map(|it| it.id).collect();
    done(s.find_version(it.dataset, 1).await);
    done(s.find_version_by_key(it.dataset, "k").await);
    done(s.latest_version(it.dataset).await);
    done(s.version_names(&ids).await);
    done(s.names_of_versions(&ids).await);
    done(s.set_version_histogram(ids[0], "{}").await);
    done(s.live_pins(it.dataset).await);
    done(s.all_datasets().await);
    done(s.delete_dataset(w.project, made.id, actor, NOW).await);
}

async fn jobs(w: &World) {
    let (s, actor) = (&w.store, &w.actor);
    let version_id = w.version(w.project, "of-jobs").await;
    let mut made = vec![];
    for key in ["a", "a", "b", "c"] {
        let new = NewJobRow {
            project_id: w.project,
            name: "job".to_owned(),
            spec: "{}".to_owned(),
            retries: 0,
            inputs: vec![NewJobInput { alias: "d".to_owned(), version_id }],
            request_key: Some(key.to_owned()),
        };
        made.push(done(s.submit_job(new, actor, NOW).await).id);
    }
    let job = made[0];
    let attempt = AttemptId::generate(NOW);
    done(s.set_job_hold(w.project, job, "waits").await);
    let ended = AttemptOutcome { exit_code: Some(0), was_cancelled: false, may_retry: false, message: String::new() };
    for event in [
        JobEvent::Admitted(attempt),
        JobEvent::Started(attempt),
        JobEvent::Running(attempt),
        JobEvent::CancelRequested,
        JobEvent::Ended(attempt, ended),
    ] {
        done(s.apply_job_event(w.project, job, event, actor, NOW).await);
    }
    let lost = AttemptId::generate(NOW);
    for event in [JobEvent::Admitted(lost), JobEvent::Lost(lost, "gone".to_owned())] {
        done(s.apply_job_event(w.project, made[2], event, actor, NOW).await);
    }
    done(s.find_job(w.project, job).await);
    for (state, text) in [(None, None), (Some(JobState::Succeeded), None), (None, Some("jo"))] {
        done(s.list_jobs(w.project, state, text, 0, 20).await);
    }
    done(s.jobs_by_state(w.project, &[JobState::Running, JobState::Succeeded], 20).await);
    done(s.unfinished_jobs().await);
    done(s.attempts(job).await);
    done(s.attempts_of(&made).await);
    done(s.find_attempt(job, None).await);
    done(s.find_attempt(job, Some(1)).await);
    done(s.leftovers(&[attempt, lost]).await);
    done(s.job_inputs(job).await);
    done(s.inputs_of_jobs(&made).await);
    done(s.runs_of_job(job).await);
    artifacts(w, ArtifactOwner::Job(job)).await;
}

async fn artifacts(w: &World, owner: ArtifactOwner) {
    let (s, actor) = (&w.store, &w.actor);
    done(s.note_upload(w.project, "h", 1, actor, NOW).await);
    done(s.project_has_blob(w.project, "h").await);
    done(s.blob_size_in_project(w.project, "h").await);
    for path in ["a/b.onnx", "c"] {
        let new = NewArtifact { path: path.to_owned(), hash: "h".to_owned(), size: 1, media_type: None };
        done(s.put_artifact(w.project, owner, new, actor, NOW).await);
    }
    done(s.list_artifacts(w.project, owner).await);
    for below in ["", "a"] {
        done(s.list_folder(w.project, owner, below).await);
    }
    done(s.artifacts_ending(w.project, owner, "a", ".onnx").await);
    done(s.find_artifact(w.project, owner, "c").await);
    done(s.delete_artifacts(w.project, owner, "a", actor, NOW).await);
    if !matches!(owner, ArtifactOwner::Run(_)) {
        done(s.delete_artifacts(w.project, owner, "", actor, NOW).await);
    }
}

async fn experiments(w: &World, it: &Walked) {
    let (s, actor) = (&w.store, &w.actor);
    let tags = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let made = done(s.create_experiment(w.project, "fresh", &tags, actor, NOW).await).id;
    done(s.find_experiment(w.project, it.experiment).await);
    done(s.find_experiment_by_name(w.project, "fresh").await);
    done(s.default_experiment(w.project).await);
    done(s.default_experiment_id(w.project).await);
    done(s.experiment_state(w.project, None).await);
    done(s.experiment_state(w.project, Some(made)).await);
    done(s.list_experiments(w.project).await);
    for lifecycle in [None, Some(Lifecycle::Active)] {
        let first = done(s.page_experiments(w.project, lifecycle, None, 20).await);
        done(s.page_experiments(w.project, lifecycle, first.last().map(|it| (it.created_at, it.id)), 20).await);
    }
    let page = done(s.page_experiments(w.project, None, None, 20).await);
    done(s.experiment_names(w.project, &page.iter().map(|it| it.id).collect::<Vec<_>>()).await);
    done(s.rename_experiment(w.project, made, "other", actor, NOW).await);
    done(s.set_experiment_tag(w.project, made, "t", "v", actor, NOW).await);
    done(s.delete_experiment_tag(w.project, made, "t", actor, NOW).await);
    for lifecycle in [Lifecycle::Deleted, Lifecycle::Active] {
        done(s.set_experiment_lifecycle(w.project, made, lifecycle, actor, NOW).await);
    }
    searches(w, vec![it.experiment, made]).await;
}

fn loss(comparator: Comparator, value: f64) -> RunFilter {
    RunFilter { field: Field::Metric("loss".to_owned()), comparator, operand: Operand::Number(value) }
}

async fn searches(w: &World, experiments: Vec<kaogong_domain::ids::ExperimentId>) {
    let text = |field, comparator, text: &str| RunFilter { field, comparator, operand: Operand::Text(text.to_owned()) };
    let order = |field| vec![RunOrder { field, direction: Direction::Descending }];
    let plain = RunSearch { lifecycle: Some(Lifecycle::Active), limit: 20, ..RunSearch::default() };
    let one = RunSearch { experiments: Some(vec![experiments[0]]), ..plain.clone() };
    let after = done(w.store.search_runs(w.project, &one).await).last().map(|it| (it.row.started_at, it.row.id));
    for search in [
        plain.clone(),
        RunSearch { lifecycle: None, ..plain.clone() },
        RunSearch { lifecycle: None, ..one.clone() },
        RunSearch { experiments: Some(experiments), ..plain.clone() },
        one.clone(),
        // Few runs fulfil the first, nearly all the second.
        RunSearch { filters: vec![loss(Comparator::Less, 5.0)], ..one.clone() },
        RunSearch { filters: vec![loss(Comparator::Greater, 1.0)], ..one.clone() },
        RunSearch { order: order(Field::Metric("loss".to_owned())), ..one.clone() },
        RunSearch { order: order(Field::Metric("wide1".to_owned())), ..one.clone() },
        RunSearch { order: order(Field::Metric("wide1".to_owned())), offset: 5, ..one.clone() },
        RunSearch { filters: vec![text(Field::Tag("t".to_owned()), Comparator::Equal, "v")], ..one.clone() },
        RunSearch { filters: vec![text(Field::Param("p".to_owned()), Comparator::Like, "v%")], ..one.clone() },
        RunSearch { filters: vec![text(Field::Param("own".to_owned()), Comparator::Equal, "v7")], ..one.clone() },
        RunSearch { filters: vec![text(Field::Tag("own".to_owned()), Comparator::Equal, "v7")], ..plain.clone() },
        RunSearch {
            filters: vec![text(Field::Tag("own".to_owned()), Comparator::Equal, "v7")],
            order: order(Field::Metric("loss".to_owned())),
            ..one.clone()
        },
        RunSearch { after, ..plain.clone() },
        RunSearch { after, ..one.clone() },
        RunSearch { after, lifecycle: None, ..one.clone() },
        RunSearch { filters: vec![text(Field::Name, Comparator::Equal, "r7")], ..one.clone() },
        RunSearch { filters: vec![text(Field::Name, Comparator::ILike, "%9%")], ..one },
    ] {
        done(w.store.search_runs(w.project, &search).await);
        done(w.store.count_runs(w.project, &search).await);
    }
}

fn points(keys: &[&str]) -> Vec<MetricPoint> {
    keys.iter().map(|it| MetricPoint { key: (*it).to_owned(), value: 0.5, timestamp_ms: 5, step: 5 }).collect()
}

async fn runs(w: &World, it: &Walked) {
    let (s, actor) = (&w.store, &w.actor);
    let mut new = w.new_run(w.project, "fresh").await;
    new.request_key = Some("same".to_owned());
    new.same_before = Some(w.later(1));
    new.job_id = Some(JobId::generate(NOW));
    new.tags = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let run = done(s.create_run(w.project, new.clone(), actor, NOW).await).row.id;
    done(s.create_run(w.project, new, actor, NOW).await);
    done(s.find_run(w.project, run).await);
    done(s.find_run_head(w.project, it.wide).await);
    let newest = RunSearch { limit: 20, ..RunSearch::default() };
    let some: Vec<RunId> = done(s.search_runs(w.project, &newest).await).iter().map(|it| it.row.id).collect();
    done(s.known_runs(w.project, &some).await);
    done(s.models_of_runs(w.project, &some).await);
    let change = |it: &mut RunRow| {
        it.name = "renamed".to_owned();
        it.status = RunStatus::Finished;
        Ok(())
    };
    done(s.change_run(w.project, run, change, actor, NOW).await);
    done(s.change_run_tag(w.project, run, "h", |_| Ok("v".to_owned())).await);
    done(s.delete_run_tag(w.project, run, "h", actor, NOW).await);
    for lifecycle in [Lifecycle::Deleted, Lifecycle::Active] {
        done(s.set_run_lifecycle(w.project, run, lifecycle, actor, NOW).await);
    }
    done(s.run_outcomes(w.project, &some).await);
    let model = ModelMetric {
        model_id: it.logged,
        point: points(&["loss"]).remove(0),
        dataset_name: None,
        dataset_digest: None,
    };
    for tag in ["plain", "mlflow.runName"] {
        let log = RunLog {
            params: vec![("a".to_owned(), "1".to_owned())],
            tags: BTreeMap::from([(tag.to_owned(), "v".to_owned())]),
            metrics: points(&["loss", "acc"]),
            model_metrics: vec![model.clone()],
        };
        done(w.log(it.wide, log).await);
    }
    history(w, it.run).await;
    artifacts(w, ArtifactOwner::Run(it.run)).await;
    let first = done(s.logged_models_of_run(w.project, it.run, None, 20).await);
    done(s.logged_models_of_run(w.project, it.run, first.last().map(|it| (it.created_at, it.id)), 20).await);
    done(s.artifacts_of_logged_models(w.project, run).await);
    done(s.models_of_runs(w.project, &[run]).await);
    done(s.models_of_run(w.project, run).await);
}

async fn history(w: &World, run: RunId) {
    done(w.log(run, RunLog { metrics: points(&["loss"]), ..RunLog::default() }).await);
    let first = done(w.store.metric_history(run, "long", None, 20).await);
    done(w.store.metric_history(run, "long", first.last(), 20).await);
    done(w.store.metric_curve(run, "loss", (i64::MIN, i64::MAX), 100).await);
    done(w.store.metric_curve(run, "long", (i64::MIN, i64::MAX), 100).await);
}

async fn logged_models(w: &World, it: &Walked) {
    let (s, actor) = (&w.store, &w.actor);
    let new = NewLoggedModel { name: "fresh".to_owned(), run_id: Some(it.run), ..NewLoggedModel::default() };
    let made = done(s.create_logged_model(w.project, it.experiment, new, actor, NOW).await).id;
    done(s.find_logged_model(w.project, made).await);
    let change = |it: &mut LoggedModelRow| {
        it.status = "LOGGED_MODEL_READY".to_owned();
        Ok(())
    };
    done(s.change_logged_model(w.project, made, change, actor, NOW).await);
    let plain = LoggedModelSearch { experiments: vec![it.experiment], ..LoggedModelSearch::default() };
    let test = MetricTest { key: "loss".to_owned(), comparator: Comparator::Greater, value: 1.0 };
    for search in [plain.clone(), LoggedModelSearch { metrics: vec![test], ..plain }] {
        let first = done(s.search_logged_models(w.project, &search, None, 20).await);
        done(s.search_logged_models(w.project, &search, first.last().map(|it| (it.created_at, it.id)), 20).await);
    }
    done(s.metrics_of_logged_models(&[made, it.logged]).await);
    let on = OnDataset { name: "d".to_owned(), digest: None };
    done(s.newest_model_metric(w.project, &[it.experiment], "loss", Some(&on)).await);
    done(s.newest_model_metric(w.project, &[it.experiment], "loss", None).await);
    artifacts(w, ArtifactOwner::LoggedModel(made)).await;
    done(s.delete_logged_model(w.project, made, actor, NOW).await);
}

async fn models(w: &World, it: &Walked) {
    let (s, actor) = (&w.store, &w.actor);
    let model = done(s.create_model(w.project, "fresh", "", BTreeMap::new(), actor, NOW).await).id;
    done(s.ensure_model(w.project, "fresh", actor, NOW).await);
    done(s.ensure_model(w.project, "new", actor, NOW).await);
    let _ = s.list_models(w.project).await;
    done(s.find_model(w.project, "fresh").await);
    let mut made = vec![];
    for (key, since) in [("a", None), ("a", None), ("b", Some(NOW.plus_ms(-5)))] {
        let new = NewModelVersionRow {
            source: "s".to_owned(),
            run_id: Some(it.run),
            logged_model_id: Some(it.logged),
            request_key: Some(key.to_owned()),
            same_since: since,
            ..Default::default()
        };
        made.push(done(s.create_model_version(w.project, it.model, new, actor, NOW).await).id);
    }
    let last = made[2];
    done(s.newest_model_version(it.model).await);
    done(s.versions_of_models(&[model]).await);
    done(s.versions_of_run(w.project, it.run).await);
    done(s.newest_of_stages(&[it.model, model]).await);
    done(s.find_model_version(it.model, 1).await);
    let change = |it: &mut ModelVersionRow| {
        it.description = "better".to_owned();
        Ok(())
    };
    done(s.change_model_version(w.project, last, change, actor, NOW).await);
    for id in [made[0], last] {
        let others = OthersInStage::Archive;
        done(s.set_model_version_stage(w.project, id, "Production", others, actor, NOW).await);
    }
    done(s.set_model_alias(w.project, it.model, "best", 1, actor, NOW).await);
    done(s.model_aliases(it.model).await);
    done(s.aliases_of_models(&[it.model, model]).await);
    done(s.delete_model_alias(w.project, it.model, "best", actor, NOW).await);
    endpoints(w, last).await;
    done(s.delete_model_version(w.project, last, actor, NOW).await);
    let change = |it: &mut ModelRow| {
        it.name = "renamed".to_owned();
        Ok(())
    };
    done(s.change_model(w.project, model, change, actor, NOW).await);
    done(s.delete_model(w.project, model, actor, NOW).await);
}

async fn endpoints(w: &World, version: kaogong_domain::ids::ModelVersionId) {
    let (s, actor) = (&w.store, &w.actor);
    let new = || NewEndpointRow {
        name: name("live"),
        model_version_id: version,
        engine: EngineName::Tract,
        isolation: Isolation::Process,
        batching: Batching::Auto,
    };
    let made = done(s.create_endpoint(w.project, new(), actor, NOW).await).id;
    done(s.create_endpoint(w.project, new(), actor, NOW).await);
    done(s.update_endpoint(w.project, new(), actor, NOW).await);
    done(s.find_endpoint(w.project, &name("live")).await);
    done(s.list_endpoints(w.project).await);
    done(s.all_endpoints().await);
    done(s.endpoints_of_model_version(version).await);
    assert!(s.delete_model_version(w.project, version, actor, NOW).await.is_err(), "it is served");
    done(s.delete_endpoint(w.project, made, actor, NOW).await);
}

/// Everything, once or more.
pub(crate) async fn walk(w: &World, it: &Walked) {
    let s = &w.store;
    users(w).await;
    datasets(w, it).await;
    jobs(w).await;
    experiments(w, it).await;
    runs(w, it).await;
    logged_models(w, it).await;
    models(w, it).await;
    done(s.try_write(NOW).await);
    done(s.ensure_setting("k", "v").await);
    done(s.setting("k").await);
    done(s.count_things(w.project).await);
    done(s.newest_event().await);
    for (project, noun) in
        [(None, None), (None, Some("jobs")), (Some(w.project), None), (Some(w.project), Some("jobs"))]
    {
        let filter = EventFilter { project, noun: noun.map(str::to_owned), limit: 20, ..EventFilter::default() };
        done(s.count_events(&filter).await);
        done(s.list_events(&filter).await);
        done(s.list_events(&EventFilter { before: Some(50), ..filter.clone() }).await);
        done(s.list_events(&EventFilter { after: Some(50), ..filter }).await);
    }
    // What was seeded carries no hash.
    let _ = s.verify_events().await;
}
