//! Experiments and runs for the console. Writing goes through the MLflow protocol.

use super::{
    access::whole,
    jobs::{artifact_view, send_artifact},
};
use crate::{Route, protocols::mlflow};
use axum::{extract::State, response::Response};
use kaogong_api::{
    Page,
    jobs::ArtifactView,
    paging::PAGE_LIMIT_MAX,
    runs::{CurveView, ExperimentView, RunQuery, RunView},
};
use kaogong_control::Services;
use kaogong_domain::{
    Problem,
    access::Permission,
    ids::{ExperimentId, LoggedModelId, ProjectId, RunId, VersionId},
    runs::MetricPoint,
};
use kaogong_http::{
    access::{InProject, Rule},
    error::Answer,
    extract::{Json, Params, Query},
};
use kaogong_store::{ArtifactOwner, ArtifactRow, Lifecycle, RunFull, RunRow, RunSearch};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

/// The most points of one curve that are sent; longer ones are thinned evenly.
const CURVE_POINTS_MAX: u32 = 5_000;
/// The most points of all curves of one answer together.
const ANSWER_POINTS_MAX: u32 = 500_000;
/// The most metrics of one answer.
const CURVES_MAX: usize = 1_000;
/// Logged models that are read together.
const MODELS_AT_ONCE: u32 = 200;

/// The routes of this noun.
pub fn routes() -> Vec<Route> {
    let read = Rule::Project(Permission::Read);
    vec![
        Route::get("/api/v1/projects/{project}/experiments", read, experiments)
            .doc("experiment_list", "The experiments of a project.")
            .answers_page::<ExperimentView>(),
        Route::get("/api/v1/projects/{project}/runs", read, list)
            .doc("run_list", "Runs, filtered and ordered as in MLflow.")
            .query::<RunQuery>()
            .answers_page::<RunView>(),
        Route::get("/api/v1/projects/{project}/runs/{run}", read, view)
            .doc("run_view", "One run.")
            .answers::<RunView>(),
        Route::get("/api/v1/projects/{project}/runs/{run}/metrics", read, curves)
            .doc("run_metrics", "Metrics over time; repeat `key` to choose, none means all.")
            .answers_list::<CurveView>(),
        Route::get("/api/v1/projects/{project}/runs/{run}/artifacts", read, artifacts)
            .doc("run_artifact_list", "The files of a run and of its logged models.")
            .answers_page::<ArtifactView>(),
        Route::get("/api/v1/projects/{project}/runs/{run}/artifacts/{*path}", read, artifact)
            .doc("run_artifact", "One file of a run or of its logged models.")
            .answers_bytes("application/octet-stream")
            .unhurried(),
    ]
}

async fn experiments(State(app): State<Arc<Services>>, inside: InProject) -> Answer<Json<Page<ExperimentView>>> {
    let rows = app.store.list_experiments(inside.project.id).await?;
    let views = rows.into_iter().map(|(it, runs)| ExperimentView {
        id: it.id.to_string(),
        name: it.name,
        runs,
        created_at: it.created_at.as_ms(),
        updated_at: it.updated_at.as_ms(),
    });
    Ok(Json(whole(views.collect())))
}

async fn list(
    State(app): State<Arc<Services>>,
    inside: InProject,
    Query(query): Query<RunQuery>,
) -> Answer<Json<Page<RunView>>> {
    let experiments = match query.experiment.as_deref().filter(|it| !it.is_empty()) {
        None => None,
        Some(text) => Some(vec![find_experiment(&app, &inside, text).await?]),
    };
    let search = RunSearch {
        experiments,
        lifecycle: Some(Lifecycle::Active),
        filters: mlflow::parse_run_filter(query.filter.as_deref().unwrap_or_default())?,
        order: mlflow::parse_run_order(query.order.as_deref().unwrap_or_default())?,
        after: None,
        offset: query.offset,
        limit: query.limit.unwrap_or(100).clamp(1, PAGE_LIMIT_MAX),
    };
    let total = app.store.count_runs(inside.project.id, &search).await?;
    let found = app.store.search_runs(inside.project.id, &search).await?;
    let around = Around::of(&app, inside.project.id, &found).await?;
    let ids: BTreeSet<_> = found.iter().map(|it| it.row.experiment_id).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let names = app.store.experiment_names(inside.project.id, &ids).await?;
    let view = |run: RunFull| {
        let experiment = names.get(&run.row.experiment_id).cloned().unwrap_or_default();
        run_view(run, experiment, &around)
    };
    Ok(Json(Page { items: found.into_iter().map(view).collect(), total }))
}

/// An active experiment by its name or its id.
async fn find_experiment(app: &Services, inside: &InProject, text: &str) -> Result<ExperimentId, Problem> {
    let project = inside.project.id;
    let mut found = match text.parse::<ExperimentId>() {
        Ok(id) => app.store.find_experiment(project, id).await?,
        Err(_) => None,
    };
    if found.is_none() {
        found = app.store.find_experiment_by_name(project, text).await?;
    }
    if found.is_none() && text == "0" {
        // What MLflow calls the one that is always there.
        return Ok(app.store.default_experiment(project).await?.id);
    }
    let active = found.filter(|it| it.lifecycle == Lifecycle::Active);
    active.map(|it| it.id).ok_or_else(|| Problem::not_found(format!("there is no experiment `{text}`")))
}

fn no_run(inside: &InProject, id: RunId) -> Problem {
    Problem::not_found(format!("project `{}` has no run {id}", inside.project.name))
}

async fn find_run(app: &Services, inside: &InProject, params: &Params) -> Result<RunFull, Problem> {
    let id = params.get::<RunId>("run")?;
    app.store.find_run(inside.project.id, id).await?.ok_or_else(|| no_run(inside, id))
}

/// The run without what it logged.
async fn find_run_head(app: &Services, inside: &InProject, params: &Params) -> Result<RunRow, Problem> {
    let id = params.get::<RunId>("run")?;
    app.store.find_run_head(inside.project.id, id).await?.ok_or_else(|| no_run(inside, id))
}

async fn view(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<Json<RunView>> {
    let run = find_run(&app, &inside, &params).await?;
    let experiment = app.store.find_experiment(inside.project.id, run.row.experiment_id).await?;
    let around = Around::of(&app, inside.project.id, std::slice::from_ref(&run)).await?;
    Ok(Json(run_view(run, experiment.map_or_else(String::new, |it| it.name), &around)))
}

/// What runs came from and what became of them, read for all of them together.
struct Around {
    datasets: BTreeMap<VersionId, String>,
    models: BTreeMap<RunId, Vec<String>>,
}

impl Around {
    async fn of(app: &Services, project: ProjectId, runs: &[RunFull]) -> Result<Self, Problem> {
        let versions: BTreeSet<VersionId> =
            runs.iter().flat_map(|it| it.row.dataset_versions.iter().copied()).collect();
        let versions: Vec<VersionId> = versions.into_iter().collect();
        let ids: Vec<RunId> = runs.iter().map(|it| it.row.id).collect();
        Ok(Self {
            datasets: app.store.names_of_versions(&versions).await?,
            models: app.store.models_of_runs(project, &ids).await?,
        })
    }
}

fn run_view(run: RunFull, experiment: String, around: &Around) -> RunView {
    let finite = |it: f64| it.is_finite().then_some(it);
    RunView {
        id: run.row.id.to_string(),
        name: run.row.name,
        status: run.row.status.as_str().to_owned(),
        experiment_id: run.row.experiment_id.to_string(),
        experiment,
        user: run.row.user,
        started_at: run.row.started_at.as_ms(),
        ended_at: run.row.ended_at.map(|it| it.as_ms()),
        job_id: run.row.job_id.map(|it| it.to_string()),
        datasets: run.row.dataset_versions.iter().filter_map(|it| around.datasets.get(it).cloned()).collect(),
        params: run.params.into_iter().collect(),
        metrics: run.metrics.into_iter().map(|it| (it.key, finite(it.value))).collect(),
        tags: run.tags.into_iter().filter(|(key, _)| !key.starts_with("mlflow.")).collect(),
        models: around.models.get(&run.row.id).cloned().unwrap_or_default(),
    }
}

async fn curves(
    State(app): State<Arc<Services>>,
    inside: InProject,
    params: Params,
    axum::extract::RawQuery(raw): axum::extract::RawQuery,
) -> Answer<Json<Vec<CurveView>>> {
    let mut keys = keys_of(raw.as_deref().unwrap_or_default());
    let id = if keys.is_empty() {
        let run = find_run(&app, &inside, &params).await?;
        keys = run.metrics.iter().map(|it| it.key.clone()).collect();
        run.row.id
    } else {
        find_run_head(&app, &inside, &params).await?.id
    };
    if keys.len() > CURVES_MAX {
        let text = format!("these are {} metrics, and one answer holds {CURVES_MAX} at most", keys.len());
        return Err(Problem::invalid(text).hint("name the metrics that are wanted, each with `key=`").into());
    }
    let steps = (i64::MIN, i64::MAX);
    let most = points_of_each(keys.len());
    let curves = app.store.metric_curves(&[id], &keys, steps, most).await?;
    let drawn = keys.into_iter().map(|key| curve(key.clone(), curves.get(&(id, key)).cloned().unwrap_or_default()));
    Ok(Json(drawn.collect()))
}

/// The values of repeated `key=`.
fn keys_of(query: &str) -> Vec<String> {
    let decode = |it: &str| {
        let uri = format!("/?key={it}").parse::<http::Uri>().ok()?;
        #[derive(serde::Deserialize)]
        struct One {
            key: String,
        }
        axum::extract::Query::<One>::try_from_uri(&uri).ok().map(|it| it.0.key)
    };
    query.split('&').filter_map(|it| it.strip_prefix("key=")).filter_map(decode).collect()
}

/// Points of each of some curves: the more there are, the thinner each is.
fn points_of_each(curves: usize) -> u32 {
    let share = ANSWER_POINTS_MAX / u32::try_from(curves.max(1)).unwrap_or(u32::MAX);
    share.clamp(1, CURVE_POINTS_MAX)
}

fn curve(key: String, points: Vec<MetricPoint>) -> CurveView {
    let mut view = CurveView { key, steps: vec![], at: vec![], values: vec![] };
    for point in points {
        view.steps.push(point.step);
        view.at.push(point.timestamp_ms);
        view.values.push(point.value.is_finite().then_some(point.value));
    }
    view
}

/// The files of a run, then those of its logged models: below the model's name, as `runs:/RUN/NAME` finds them, or below
/// its id where something newer has the name.
async fn artifacts(
    State(app): State<Arc<Services>>,
    inside: InProject,
    params: Params,
) -> Answer<Json<Page<ArtifactView>>> {
    let run = find_run_head(&app, &inside, &params).await?;
    let mut rows = app.store.list_artifacts(inside.project.id, ArtifactOwner::Run(run.id)).await?;
    let top = |it: &ArtifactRow| it.path.split('/').next().unwrap_or_default().to_owned();
    let taken: HashSet<String> = rows.iter().map(top).collect();
    let mut holders: HashMap<String, LoggedModelId> = HashMap::new();
    for (id, name, mut row) in app.store.artifacts_of_logged_models(inside.project.id, run.id).await? {
        let is_free = !taken.contains(&name) && *holders.entry(name.clone()).or_insert(id) == id;
        let folder = if is_free { name } else { mlflow::model_id_text(id) };
        row.path = format!("{folder}/{}", row.path);
        rows.push(row);
    }
    Ok(Json(whole(rows.into_iter().map(artifact_view).collect())))
}

async fn artifact(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<Response> {
    let (run, path) = (find_run_head(&app, &inside, &params).await?.id, params.text("path"));
    let project = inside.project.id;
    let own = ArtifactOwner::Run(run);
    if let (Some((folder, below)), None) = (path.split_once('/'), app.store.find_artifact(project, own, path).await?) {
        let mut last = None;
        loop {
            let page = app.store.logged_models_of_run(project, run, last, MODELS_AT_ONCE).await?;
            for model in &page {
                let owner = ArtifactOwner::LoggedModel(model.id);
                let is_named = model.name == folder || mlflow::model_id_text(model.id) == folder;
                if is_named && app.store.find_artifact(project, owner, below).await?.is_some() {
                    return send_artifact(&app, &inside, owner, below).await;
                }
            }
            if page.len() < MODELS_AT_ONCE as usize {
                break;
            }
            last = page.last().map(|it| (it.created_at, it.id));
        }
    }
    send_artifact(&app, &inside, own, path).await
}
