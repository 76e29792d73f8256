//! The server itself: health, metrics, description, and the console's pages.

use super::openapi;
use crate::{Route, ui};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kaogong_api::system::{EngineView, SystemView};
use kaogong_control::Services;
use kaogong_http::{access::Rule, error::Answer, extract::Json, packed::Packed};
use std::sync::Arc;
use tokio::sync::OnceCell;

/// The routes of the server itself.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get("/", Rule::Public, ui::page),
        Route::get("/healthz", Rule::Public, alive),
        Route::get("/readyz", Rule::Public, ready),
        Route::get("/metrics", Rule::PlatformAdmin, metrics),
        Route::get("/assets/{file}", Rule::Public, ui::asset),
        Route::get("/favicon.svg", Rule::Public, ui::icon),
        Route::get("/api/v1/openapi.json", Rule::Public, description),
        Route::get("/api/v1/system", Rule::SignedIn, system)
            .doc("system_view", "What this server is and has.")
            .answers::<SystemView>(),
    ]
}

async fn alive() -> &'static str {
    "ok\n"
}

async fn ready(State(app): State<Arc<Services>>) -> Response {
    if !app.is_ready() {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n").into_response();
    }
    match app.readiness().check(&app.store, app.temp_folder(), app.now()).await {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics(State(app): State<Arc<Services>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics_text()).into_response()
}

async fn description(State(app): State<Arc<Services>>, headers: HeaderMap) -> Response {
    static PACKED: OnceCell<Packed> = OnceCell::const_new();
    let text = || Packed::of(openapi::text_under(app.base_path()));
    let mut response = PACKED.get_or_init(text).await.answer(&headers);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn system(State(app): State<Arc<Services>>) -> Answer<Json<SystemView>> {
    let machine = app.machine();
    let store = match app.store.dialect() {
        kaogong_store::Dialect::Sqlite => "sqlite",
        kaogong_store::Dialect::Postgres => "postgresql",
    };
    let engines = app.serving.engines().iter();
    Ok(Json(SystemView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        store: store.to_owned(),
        engines: engines.map(|it| EngineView { name: it.name().as_str().to_owned(), version: it.version() }).collect(),
        cpus: machine.cpus,
        memory_bytes: machine.memory_bytes,
        limits: app.limits().to_owned(),
        started_at: app.started_at().as_ms(),
    }))
}
