//! Endpoints: make, change, look, try. Inference itself speaks the Open Inference Protocol.

use super::access::whole;
use crate::Route;
use axum::{
    body::Bytes,
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    response::Response,
};
use http::{HeaderMap, StatusCode, header};
use kaogong_api::{
    Page,
    endpoints::{
        ClassShare, EndpointChange, EndpointStats, EndpointView, NewEndpoint, PredictRow, PredictionView, TensorView,
    },
};
use kaogong_control::{Services, serving::Live};
use kaogong_data::images;
use kaogong_domain::{
    ErrorKind, Problem,
    access::Permission,
    endpoints::{Batching, EngineName, Isolation},
    names::Name,
};
use kaogong_http::{
    access::{InProject, Rule},
    error::Answer,
    extract::{JSON_BYTES_MAX, Json, Params, body_problem, created},
};
use kaogong_serving::{
    TensorSpec,
    oip::{arrange, without_bare_words},
    task::TaskSpec,
};
use kaogong_store::{EndpointRow, ModelVersionRow, NewEndpointRow};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

/// The most bytes of a picture to try.
const PICTURE_BYTES_MAX: usize = 32 << 20;

/// The routes of this noun.
pub fn routes() -> Vec<Route> {
    let read = Rule::Project(Permission::Read);
    let manage = Rule::Project(Permission::Manage);
    let predict = Route::post(
        "/api/v1/projects/{project}/endpoints/{endpoint}/predict",
        Rule::Project(Permission::Infer),
        predict,
    )
    .doc("endpoint_predict", "Ask about one picture (the body is the file) or one row (JSON).")
    .body::<PredictRow>()
    .answers::<PredictionView>();
    let predict = Route { handler: predict.handler.layer(DefaultBodyLimit::max(PICTURE_BYTES_MAX)), ..predict };
    vec![
        Route::get("/api/v1/projects/{project}/endpoints", read, list)
            .doc("endpoint_list", "The endpoints of a project.")
            .answers_page::<EndpointView>(),
        Route::post("/api/v1/projects/{project}/endpoints", manage, create)
            .doc("endpoint_create", "Serve a model version; answers when it is loaded, or says why it cannot be.")
            .body::<NewEndpoint>()
            .answers::<EndpointView>()
            .unhurried(),
        Route::get("/api/v1/projects/{project}/endpoints/{endpoint}", read, view)
            .doc("endpoint_view", "One endpoint.")
            .answers::<EndpointView>(),
        Route::put("/api/v1/projects/{project}/endpoints/{endpoint}", manage, change)
            .doc("endpoint_update", "Serve something else under the same name, without a gap.")
            .body::<EndpointChange>()
            .answers::<EndpointView>()
            .unhurried(),
        Route::delete("/api/v1/projects/{project}/endpoints/{endpoint}", manage, delete)
            .doc("endpoint_delete", "Stop serving.")
            .answers_nothing(),
        predict,
    ]
}

async fn list(State(app): State<Arc<Services>>, inside: InProject) -> Answer<Json<Page<EndpointView>>> {
    let rows = app.store.list_endpoints(inside.project.id).await?;
    // Read together here, and known to each view below.
    app.user_names(rows.iter().filter_map(|it| it.created_by)).await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        items.push(endpoint_view(&app, row).await?);
    }
    Ok(Json(whole(items)))
}

async fn find_endpoint(app: &Services, inside: &InProject, params: &Params) -> Result<EndpointRow, Problem> {
    let name = params.get::<Name>("endpoint")?;
    app.store.find_endpoint(inside.project.id, &name).await?.ok_or_else(|| {
        Problem::not_found(format!("project `{}` has no endpoint `{name}`", inside.project.name))
            .hint("`kaogong endpoints list` shows what there is")
    })
}

async fn view(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<Json<EndpointView>> {
    let row = find_endpoint(&app, &inside, &params).await?;
    Ok(Json(endpoint_view(&app, row).await?))
}

async fn create(State(app): State<Arc<Services>>, inside: InProject, Json(ask): Json<NewEndpoint>) -> Answer<Response> {
    let name: Name = ask.name.parse().map_err(|it: kaogong_domain::names::BadName| Problem::invalid(it.to_string()))?;
    let isolation = isolation_of(&inside, ask.isolation.as_deref(), Isolation::Process)?;
    let batching = batching_of(ask.batching.as_deref(), Batching::Auto)?;
    let new = wanted(&app, &inside, name, &ask.model, ask.engine.as_deref()).await?;
    let new = NewEndpointRow { isolation, batching, ..new };
    let row = app.store.create_endpoint(inside.project.id, new, &inside.actor(), app.now()).await?;
    // A model that cannot be loaded is the caller's to know now, and stays visible as failed.
    app.serving.load(&row).await?;
    Ok(created(endpoint_view(&app, row).await?))
}

async fn change(
    State(app): State<Arc<Services>>,
    inside: InProject,
    params: Params,
    Json(ask): Json<EndpointChange>,
) -> Answer<Json<EndpointView>> {
    let before = find_endpoint(&app, &inside, &params).await?;
    let engine = ask.engine.as_deref().unwrap_or(before.engine.as_str());
    let isolation = isolation_of(&inside, ask.isolation.as_deref(), before.isolation)?;
    let batching = batching_of(ask.batching.as_deref(), before.batching)?;
    let new = wanted(&app, &inside, before.name, &ask.model, Some(engine)).await?;
    let new = NewEndpointRow { isolation, batching, ..new };
    let row = app.store.update_endpoint(inside.project.id, new, &inside.actor(), app.now()).await?;
    app.serving.load(&row).await?;
    Ok(Json(endpoint_view(&app, row).await?))
}

fn batching_of(word: Option<&str>, usual: Batching) -> Result<Batching, Problem> {
    let Some(word) = word else { return Ok(usual) };
    let shown: String = word.chars().take(32).collect();
    let problem = || Problem::invalid(format!("`{shown}` is no kind of batching")).hint("auto, on or off");
    Batching::parse(word).ok_or_else(problem)
}

/// Where a model is to run. In the server's process it can end the server, which serves other projects too.
fn isolation_of(inside: &InProject, word: Option<&str>, usual: Isolation) -> Result<Isolation, Problem> {
    let isolation = match word {
        None => usual,
        Some(word) => Isolation::parse(word).ok_or_else(|| {
            let shown: String = word.chars().take(32).collect();
            Problem::invalid(format!("`{shown}` is not an isolation")).hint("process or none")
        })?,
    };
    if isolation == Isolation::None && !inside.caller.is_unlimited_admin() {
        let text = "only the platform's administrator may run a model in the server's own process";
        return Err(Problem::new(ErrorKind::Forbidden, text).hint("leave it in a process of its own"));
    }
    Ok(isolation)
}

async fn wanted(
    app: &Services,
    inside: &InProject,
    name: Name,
    model: &str,
    engine: Option<&str>,
) -> Result<NewEndpointRow, Problem> {
    let engine = match engine {
        None => None,
        Some(word) => Some(EngineName::parse(word).ok_or_else(|| {
            let shown: String = word.chars().take(32).collect();
            Problem::invalid(format!("`{shown}` is not an engine")).hint("tract or onnxruntime")
        })?),
    };
    let engine = app.serving.engine(engine)?.name();
    let version = resolve(app, inside, model).await?;
    if version.hash.is_none() {
        let name = model.split_once('@').map_or(model, |it| it.0);
        let why = version.status_message.unwrap_or_else(|| "it has no ONNX file".to_owned());
        return Err(Problem::invalid(format!("{name}@{} cannot be served: {why}", version.number)).hint(
            "register an ONNX model: `kaogong models register`, or mlflow.onnx.log_model and mlflow.register_model",
        ));
    }
    let (isolation, batching) = (Isolation::Process, Batching::Auto);
    Ok(NewEndpointRow { name, model_version_id: version.id, engine, isolation, batching })
}

/// `MODEL`, `MODEL@3` or `MODEL@champion`.
async fn resolve(app: &Services, inside: &InProject, text: &str) -> Result<ModelVersionRow, Problem> {
    let (name, version) = text.split_once('@').map_or((text, None), |(name, version)| (name, Some(version)));
    let model = app.store.find_model(inside.project.id, name).await?.ok_or_else(|| {
        let shown: String = name.chars().take(64).collect();
        Problem::not_found(format!("project `{}` has no model `{shown}`", inside.project.name))
            .hint("`kaogong models list` shows what there is")
    })?;
    let found = match version {
        None | Some("latest") => app.store.newest_model_version(model.id).await?,
        Some(word) => {
            let aliases = app.store.model_aliases(model.id).await?;
            let number = aliases.get(word).copied().or_else(|| word.trim_start_matches('v').parse().ok());
            match number {
                Some(number) => app.store.find_model_version(model.id, number).await?,
                None => None,
            }
        }
    };
    found.ok_or_else(|| {
        let shown: String = text.chars().take(80).collect();
        Problem::not_found(format!("there is no model version `{shown}`")).hint("write MODEL@NUMBER or MODEL@ALIAS")
    })
}

async fn delete(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<StatusCode> {
    let row = find_endpoint(&app, &inside, &params).await?;
    app.store.delete_endpoint(inside.project.id, row.id, &inside.actor(), app.now()).await?;
    app.serving.unload(&row);
    Ok(StatusCode::NO_CONTENT)
}

async fn predict(
    State(app): State<Arc<Services>>,
    inside: InProject,
    params: Params,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Json<PredictionView>> {
    let began = Instant::now();
    let body = body.map_err(|it| body_problem(&it, PICTURE_BYTES_MAX))?;
    let name = params.get::<Name>("endpoint")?;
    let live = app.serving.find(inside.project.id, &name).ok_or_else(|| {
        app.serving.absent(inside.project.id, &name).unwrap_or_else(|| {
            Problem::not_found(format!("project `{}` has no endpoint `{name}`", inside.project.name))
                .hint("`kaogong endpoints list` shows what there is")
        })
    })?;
    let task = live.task.clone().ok_or_else(|| {
        Problem::invalid("this model does not say what it is for")
            .hint("call it by the Open Inference Protocol, see docs/models.md")
    })?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let tensor = if kind.starts_with("application/json") {
        // Values of a few bytes become many more in memory.
        if body.len() > JSON_BYTES_MAX {
            return Err(Problem::invalid(format!("a row has at most {} MiB", JSON_BYTES_MAX >> 20)).into());
        }
        // Python writes a missing number as `NaN`, which JSON does not know.
        let row: PredictRow = serde_json::from_slice(&without_bare_words(&body))
            .map_err(|it| Problem::invalid(format!("the body is not {{\"row\": {{…}}}}: {it}")))?;
        task.row(&row.row)?
    } else {
        let place = app.picture_place().await?;
        let task = task.clone();
        let app = app.clone();
        tokio::task::spawn_blocking(move || {
            let _place = place;
            let _held = app.preview_memory(&body)?;
            picture(&task, &body)
        })
        .await
        .map_err(|it| Problem::bug("reading a picture did not end", it))??
    };
    let inputs = arrange(vec![tensor], live.pool.model().inputs())?;
    let reply = live.pool.infer(inputs, None).await?;
    let answer = task.answer(&reply.outputs)?;
    Ok(Json(PredictionView {
        label: answer.label,
        value: answer.value,
        top: answer.top.into_iter().map(|(label, probability)| ClassShare { label, probability }).collect(),
        queue_us: reply.queue_us,
        compute_us: reply.compute_us,
        total_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        model: format!("{}@{}", live.row.model, live.row.version),
    }))
}

/// A file of a picture as the model's input.
fn picture(task: &TaskSpec, file: &[u8]) -> Result<kaogong_serving::Tensor, Problem> {
    let TaskSpec::ImageClassification { width, height, channels, .. } = task else {
        return task.picture(&[]);
    };
    let pixels = images::pixels(file, *width, *height, *channels).map_err(|it| Problem::invalid(it.to_string()))?;
    task.picture(&pixels)
}

async fn endpoint_view(app: &Services, row: EndpointRow) -> Result<EndpointView, Problem> {
    let live = app.serving.find(row.project_id, &row.name);
    let failure = app.serving.failure_of(row.id);
    let state = match (&live, &failure) {
        (_, Some(_)) => "failed",
        (Some(_), None) => "ready",
        (None, None) => "loading",
    };
    let specs = |of: fn(&Live) -> &[TensorSpec]| -> Vec<TensorView> {
        live.as_deref().map(of).unwrap_or_default().iter().map(tensor_view).collect()
    };
    let task = match live.as_deref().and_then(|it| it.task.as_ref()) {
        Some(task) => Some(serde_json::to_value(task).map_err(|it| Problem::bug("a task cannot be written", it))?),
        None => None,
    };
    Ok(EndpointView {
        id: row.id.to_string(),
        name: row.name.to_string(),
        state: state.to_owned(),
        reason: failure,
        model: row.model,
        version: row.version,
        engine: row.engine.as_str().to_owned(),
        batching: row.batching.as_str().to_owned(),
        shares_runs: live.as_deref().map(|it| it.pool.shares_runs()),
        remark: live.as_deref().and_then(|it| it.pool.remark().map(str::to_owned)),
        isolation: row.isolation.as_str().to_owned(),
        process: live.as_deref().and_then(|it| it.pool.model().process()),
        inputs: specs(|it| it.pool.model().inputs()),
        outputs: specs(|it| it.pool.model().outputs()),
        task,
        stats: live.as_deref().map(|it| stats(app, it)).unwrap_or_default(),
        created_at: row.created_at.as_ms(),
        created_by: app.user_name(row.created_by).await?,
    })
}

fn stats(app: &Services, live: &Live) -> EndpointStats {
    let counters = live.pool.counters();
    let succeeded = counters.succeeded.load(Ordering::Relaxed);
    let seconds = app.now().since_ms(live.loaded_at).max(1) as f64 / 1000.0;
    EndpointStats {
        succeeded,
        failed: counters.failed.load(Ordering::Relaxed),
        p50_us: counters.latency.percentile(0.5),
        p99_us: counters.latency.percentile(0.99),
        per_second: succeeded as f64 / seconds,
    }
}

fn tensor_view(it: &TensorSpec) -> TensorView {
    TensorView { name: it.name.clone(), datatype: it.datatype.as_str().to_owned(), shape: it.shape.clone() }
}
