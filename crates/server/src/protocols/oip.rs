//! The Open Inference Protocol v2 over REST, as Triton and KServe clients speak it.

use crate::{Mount, Route};
use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, FromRequestParts, State, rejection::BytesRejection},
    response::{IntoResponse, Response},
};
use futures::stream;
use http::{HeaderName, StatusCode, header, request::Parts};
use kaogong_control::{Services, serving::Live};
use kaogong_domain::{Problem, access::Permission, endpoints::EngineName, names::Name};
use kaogong_http::{
    access::{InProject, Rule},
    body_budget::Held,
    error::{ApiError, log, status_of, tell_what_next, words_of},
    extract::{Params, body_problem},
};
use kaogong_serving::oip::{
    HEADER_LENGTH, ModelName, arrange, check_wanted, model_metadata, read_request, write_answer,
};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// The most bytes of one call.
const BODY_BYTES_MAX: usize = 64 << 20;

/// The longest body that is read on the thread that received it.
const READ_HERE_BYTES_MAX: usize = 256 << 10;

/// The routes, without the project's base path.
pub fn routes() -> Vec<Route> {
    let infer_rule = Rule::Project(Permission::Infer);
    let infer_at = |path: &'static str| {
        let route = Route::post(path, infer_rule, infer);
        Route { handler: route.handler.layer(DefaultBodyLimit::max(BODY_BYTES_MAX)), ..route }
    };
    vec![
        Route::get("/v2", infer_rule, server),
        Route::get("/v2/health/live", Rule::Public, live),
        Route::get("/v2/health/ready", Rule::Public, ready),
        Route::get("/v2/models", infer_rule, list),
        Route::get("/v2/models/{model}", infer_rule, metadata),
        Route::get("/v2/models/{model}/versions/{version}", infer_rule, metadata),
        Route::get("/v2/models/{model}/ready", infer_rule, model_ready),
        Route::get("/v2/models/{model}/versions/{version}/ready", infer_rule, model_ready),
        Route::get("/v2/models/{model}/stats", infer_rule, stats),
        Route::post("/v2/repository/index", infer_rule, index),
        infer_at("/v2/models/{model}/infer"),
        infer_at("/v2/models/{model}/versions/{version}/infer"),
    ]
}

/// A failure in the protocol's shape.
struct OipError(Problem);

impl From<Problem> for OipError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for OipError {
    fn into_response(self) -> Response {
        // The outermost layer writes the protocol's shape, as it does for what never reached a handler.
        ApiError(self.0).into_response()
    }
}

/// The protocol.
pub fn mount() -> Mount {
    Mount::new(routes(), &["/v2"], render)
}

/// Writes a failed call in the protocol's shape, and logs it once.
pub fn render(problem: &Problem, request_id: &str) -> Response {
    log(problem, request_id);
    let (message, hint) = words_of(problem, request_id);
    let text = match hint {
        Some(hint) => format!("{message} ({hint})"),
        None => message,
    };
    let mut response = (status_of(problem), axum::Json(json!({"error": text}))).into_response();
    tell_what_next(problem, response.headers_mut());
    response
}

type Answer<T> = Result<T, OipError>;

fn find(app: &Services, inside: &InProject, params: &Params) -> Result<Arc<Live>, Problem> {
    find_model(app, inside, params.text("model"), params.text("version"))
}

/// The model that answers under a name, in the version that is asked for when one is.
///
/// # Errors
/// `NotFound` in the words that clients of the protocol know.
pub(super) fn find_model(app: &Services, inside: &InProject, text: &str, version: &str) -> Result<Arc<Live>, Problem> {
    let unknown = || {
        let shown: String = text.chars().take(64).collect();
        Problem::not_found(format!("Request for unknown model: '{shown}' is not found"))
    };
    let name: Name = text.parse().map_err(|_| unknown())?;
    let absent = || app.serving.absent(inside.project.id, &name).unwrap_or_else(unknown);
    let live = app.serving.find(inside.project.id, &name).ok_or_else(absent)?;
    if !version.is_empty() && version != live.version_text {
        let shown: String = version.chars().take(64).collect();
        return Err(Problem::not_found(format!("Request for unknown model: '{name}' version {shown} is not found"))
            .hint(format!("version {} is served", live.version_text)));
    }
    Ok(live)
}

/// Who answers, for the protocol's answers.
pub(super) fn named(live: &Live) -> ModelName<'_> {
    ModelName { name: live.row.name.as_str(), version: &live.version_text, labels: &live.labels }
}

/// The engine in the protocol's words.
pub(super) fn platform_of(live: &Live) -> &'static str {
    match live.row.engine {
        EngineName::OnnxRuntime => "onnxruntime_onnx",
        EngineName::Tract => "tract_onnx",
    }
}

async fn server() -> axum::Json<Value> {
    axum::Json(json!({
        "name": "kaogong", "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data", "classification", "statistics", "model_repository"],
    }))
}

async fn live() -> axum::Json<Value> {
    axum::Json(json!({"live": true}))
}

async fn ready(State(app): State<Arc<Services>>) -> Response {
    let status = if app.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(json!({"live": app.is_ready(), "ready": app.is_ready()}))).into_response()
}

async fn list(State(app): State<Arc<Services>>, inside: InProject) -> axum::Json<Value> {
    let names: Vec<String> = app.serving.all(inside.project.id).iter().map(|it| it.row.name.to_string()).collect();
    axum::Json(json!({"models": names}))
}

async fn index(State(app): State<Arc<Services>>, inside: InProject) -> axum::Json<Value> {
    let all = app.serving.all(inside.project.id);
    let models: Vec<Value> = all
        .iter()
        .map(|it| json!({"name": it.row.name, "version": it.version_text, "state": "READY", "reason": ""}))
        .collect();
    axum::Json(Value::Array(models))
}

async fn metadata(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<axum::Json<Value>> {
    let live = find(&app, &inside, &params)?;
    let model = live.pool.model();
    Ok(axum::Json(model_metadata(named(&live), platform_of(&live), model.inputs(), model.outputs())))
}

async fn model_ready(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<axum::Json<Value>> {
    let live = find(&app, &inside, &params)?;
    Ok(axum::Json(json!({"name": live.row.name, "ready": true})))
}

async fn stats(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<axum::Json<Value>> {
    let live = find(&app, &inside, &params)?;
    let it = live.pool.counters();
    let succeeded = it.succeeded.load(Ordering::Relaxed);
    let pair = |count: u64, ns: u64| json!({"count": count, "ns": ns});
    Ok(axum::Json(json!({"model_stats": [{
        "name": live.row.name, "version": live.version_text, "inference_count": succeeded,
        "execution_count": it.runs.load(Ordering::Relaxed),
        "inference_stats": {
            "success": pair(succeeded, it.queue_ns.load(Ordering::Relaxed) + it.compute_ns.load(Ordering::Relaxed)),
            "fail": pair(it.failed.load(Ordering::Relaxed), 0),
            "queue": pair(succeeded, it.queue_ns.load(Ordering::Relaxed)),
            "compute_infer": pair(it.runs.load(Ordering::Relaxed), it.compute_ns.load(Ordering::Relaxed)),
        },
    }]})))
}

/// The length of the JSON part, when tensors follow it as bytes.
struct HeaderLength(Option<String>);

impl<S: Sync> FromRequestParts<S> for HeaderLength {
    type Rejection = OipError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, OipError> {
        let text = parts.headers.get(HEADER_LENGTH).map(|it| it.to_str().map(str::to_owned));
        let text = text.transpose().map_err(|_| Problem::invalid(format!("{HEADER_LENGTH} is not a number")))?;
        Ok(Self(text))
    }
}

async fn infer(
    State(app): State<Arc<Services>>,
    inside: InProject,
    params: Params,
    HeaderLength(header_length): HeaderLength,
    held: Option<Extension<Arc<Held>>>,
    body: Result<Bytes, BytesRejection>,
) -> Answer<Response> {
    let body = body.map_err(|it| body_problem(&it, BODY_BYTES_MAX))?;
    let live = find(&app, &inside, &params)?;
    // What takes long to read is read where it makes nobody else wait.
    let is_long = body.len() > READ_HERE_BYTES_MAX;
    let read = {
        let live = live.clone();
        move || {
            // Reading goes on when the caller is gone: so long its memory stays taken.
            let _held = held;
            let model = live.pool.model();
            let mut request = read_request(&body, header_length.as_deref(), model.inputs())?;
            let inputs = arrange(std::mem::take(&mut request.inputs), model.inputs())?;
            check_wanted(&request, named(&live), model.outputs())?;
            Ok::<_, Problem>((request, inputs))
        }
    };
    let (request, inputs) = if is_long {
        tokio::task::spawn_blocking(read).await.map_err(|it| Problem::bug("reading a call did not end", it))??
    } else {
        read()?
    };
    let reply = live.pool.infer(inputs, request.timeout_us.map(Duration::from_micros)).await?;
    let answer = write_answer(named(&live), &request, &reply.outputs)?;
    if !answer.is_binary() {
        return Ok(([(header::CONTENT_TYPE, "application/json")], answer.head).into_response());
    }
    let length = answer.head.len();
    let total = length + answer.tail.iter().map(Bytes::len).sum::<usize>();
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, total.to_string()),
        (HeaderName::from_static(HEADER_LENGTH), length.to_string()),
    ];
    let pieces = std::iter::once(Bytes::from(answer.head)).chain(answer.tail).map(Ok::<_, Infallible>);
    Ok((headers, Body::from_stream(stream::iter(pieces))).into_response())
}
