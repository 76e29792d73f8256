//! Registered models: versions, aliases, files.

use super::{
    access::whole,
    error::Answer,
    exports::blob,
    extract::{Json, Params, created},
};
use crate::{
    access::{InProject, Route, Rule},
    app::App,
    protocols::mlflow,
};
use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use kaogong_api::{
    Page,
    models::{AliasChange, ModelVersionView, ModelView, NewModelVersion},
};
use kaogong_data::BlobHash;
use kaogong_domain::{Problem, access::Permission, ids::RunId, names::Name};
use kaogong_store::{ModelRow, ModelVersionRow, NewModelVersionRow};
use std::sync::Arc;

/// The routes of this noun.
pub fn routes() -> Vec<Route> {
    let read = Rule::Project(Permission::Read);
    let write = Rule::Project(Permission::Write);
    let manage = Rule::Project(Permission::Manage);
    vec![
        Route::get("/api/v1/projects/{project}/models", read, list)
            .doc("model_list", "The registered models of a project.")
            .answers_page::<ModelView>(),
        Route::get("/api/v1/projects/{project}/models/{model}", read, view)
            .doc("model_view", "One registered model.")
            .answers::<ModelView>(),
        Route::delete("/api/v1/projects/{project}/models/{model}", manage, delete)
            .doc("model_delete", "Delete a registered model.")
            .answers_nothing(),
        Route::post("/api/v1/projects/{project}/models/{model}/versions", write, register)
            .doc("model_version_create", "Register a version from an upload or a run; makes the model when it is new.")
            .body::<NewModelVersion>()
            .answers::<ModelVersionView>(),
        Route::get("/api/v1/projects/{project}/models/{model}/versions/{version}/file", read, file)
            .doc("model_version_file", "The ONNX file of a version.")
            .answers_bytes("application/octet-stream")
            .unhurried(),
        Route::put("/api/v1/projects/{project}/models/{model}/aliases/{alias}", manage, set_alias)
            .doc("model_alias_set", "Point an alias at a version.")
            .body::<AliasChange>()
            .answers::<ModelView>(),
        Route::delete("/api/v1/projects/{project}/models/{model}/aliases/{alias}", manage, delete_alias)
            .doc("model_alias_delete", "Remove an alias.")
            .answers::<ModelView>(),
    ]
}

async fn list(State(app): State<Arc<App>>, inside: InProject) -> Answer<Json<Page<ModelView>>> {
    let mut items = vec![];
    for row in app.store.list_models(inside.project.id).await? {
        items.push(model_view(&app, &inside, row).await?);
    }
    Ok(Json(whole(items)))
}

async fn find_model(app: &App, inside: &InProject, name: &str) -> Result<ModelRow, Problem> {
    app.store.find_model(inside.project.id, name).await?.ok_or_else(|| {
        let shown: String = name.chars().take(80).collect();
        Problem::not_found(format!("project `{}` has no model `{shown}`", inside.project.name))
            .hint("`kaogong models list` shows what there is")
    })
}

async fn view(State(app): State<Arc<App>>, inside: InProject, params: Params) -> Answer<Json<ModelView>> {
    let row = find_model(&app, &inside, params.text("model")).await?;
    Ok(Json(model_view(&app, &inside, row).await?))
}

async fn delete(State(app): State<Arc<App>>, inside: InProject, params: Params) -> Answer<StatusCode> {
    let row = find_model(&app, &inside, params.text("model")).await?;
    for version in app.store.list_model_versions(row.id).await? {
        let serving = app.store.endpoints_of_model_version(version.id).await?;
        if let Some(endpoint) = serving.first() {
            return Err(Problem::conflict(format!("endpoint `{}` serves {}@{}", endpoint, row.name, version.number))
                .hint("delete the endpoint first")
                .into());
        }
    }
    app.store.delete_model(inside.project.id, row.id, &inside.actor(), app.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn register(
    State(app): State<Arc<App>>,
    inside: InProject,
    params: Params,
    Json(ask): Json<NewModelVersion>,
) -> Answer<Response> {
    let name: Name =
        params.text("model").parse().map_err(|it: kaogong_domain::names::BadName| Problem::invalid(it.to_string()))?;
    let (source, run_id, hash) = match (&ask.upload, &ask.run) {
        (Some(upload), None) => (format!("upload:{upload}"), None, upload.clone()),
        (None, Some(run)) => {
            let run: RunId =
                run.parse().map_err(|it: kaogong_domain::ids::BadId| Problem::not_found(it.to_string()))?;
            let (source, hash) = mlflow::onnx_of_run(&app, inside.project.id, run).await?;
            (source, Some(run), hash)
        }
        _ => return Err(Problem::invalid("a model version comes from either an upload or a run").into()),
    };
    let size = app.store.blob_size_in_project(inside.project.id, &hash).await?.ok_or_else(|| {
        Problem::not_found(format!("there is no upload `{hash}` in project `{}`", inside.project.name))
    })?;
    check_onnx(&app, &hash).await?;
    let model = app.store.ensure_model(inside.project.id, name.as_str(), &inside.actor(), app.now()).await?;
    let row = NewModelVersionRow {
        source,
        run_id,
        hash: Some(hash),
        size: Some(size),
        description: ask.description.unwrap_or_default(),
        tags: ask.tags,
        request_key: ask.request_key,
        user: inside.caller.user.name.to_string(),
        ..NewModelVersionRow::default()
    };
    let version = app.store.create_model_version(inside.project.id, model.id, row, &inside.actor(), app.now()).await?;
    Ok(created(version_view(&app, &inside, &model, version).await?))
}

/// Loading proves that a file is a model; a registry full of what cannot be served helps nobody.
async fn check_onnx(app: &Arc<App>, hash: &str) -> Result<(), Problem> {
    let hash: BlobHash =
        hash.parse().map_err(|_| Problem::invalid(format!("`{hash}` is not the hash of an upload")))?;
    app.serving.check_file(app.blobs.local_path(&hash)).await
}

async fn file(State(app): State<Arc<App>>, inside: InProject, params: Params) -> Answer<Response> {
    let model = find_model(&app, &inside, params.text("model")).await?;
    let number = params.get::<u32>("version")?;
    let version = app.store.find_model_version(model.id, number).await?;
    let hash = version
        .and_then(|it| it.hash)
        .ok_or_else(|| Problem::not_found(format!("model `{}` has no version {number} with a file", model.name)))?;
    let hash: BlobHash = hash.parse().map_err(|it| Problem::bug("a model version has a broken hash", it))?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!(
                "attachment; filename=\"{}-{number}.onnx\"",
                params.get::<Name>("model").map(|it| it.to_string()).unwrap_or_else(|_| "model".to_owned())
            ),
        ),
    ];
    Ok((headers, Body::from_stream(blob(&app, &hash)?)).into_response())
}

async fn set_alias(
    State(app): State<Arc<App>>,
    inside: InProject,
    params: Params,
    Json(ask): Json<AliasChange>,
) -> Answer<Json<ModelView>> {
    let model = find_model(&app, &inside, params.text("model")).await?;
    let alias = params.get::<Name>("alias").map_err(|it| Problem::invalid(it.text))?;
    if alias.as_str() == "latest" || alias.as_str().trim_start_matches('v').parse::<u32>().is_ok() {
        return Err(Problem::invalid(format!("`{alias}` always means a version of its own"))
            .hint("choose another alias")
            .into());
    }
    app.store
        .set_model_alias(inside.project.id, model.id, alias.as_str(), ask.version, &inside.actor(), app.now())
        .await?;
    Ok(Json(model_view(&app, &inside, model).await?))
}

async fn delete_alias(State(app): State<Arc<App>>, inside: InProject, params: Params) -> Answer<Json<ModelView>> {
    let model = find_model(&app, &inside, params.text("model")).await?;
    app.store.delete_model_alias(inside.project.id, model.id, params.text("alias"), &inside.actor(), app.now()).await?;
    Ok(Json(model_view(&app, &inside, model).await?))
}

async fn model_view(app: &App, inside: &InProject, row: ModelRow) -> Result<ModelView, Problem> {
    let mut versions = vec![];
    for version in app.store.list_model_versions(row.id).await? {
        versions.push(version_view(app, inside, &row, version).await?);
    }
    versions.sort_by_key(|it| std::cmp::Reverse(it.number));
    let aliases = app.store.model_aliases(row.id).await?;
    Ok(ModelView {
        id: row.id.to_string(),
        name: row.name,
        description: row.description,
        aliases: aliases.into_iter().collect(),
        tags: row.tags.into_iter().collect(),
        versions,
        created_at: row.created_at.as_ms(),
        updated_at: row.updated_at.as_ms(),
    })
}

async fn version_view(
    app: &App,
    inside: &InProject,
    model: &ModelRow,
    row: ModelVersionRow,
) -> Result<ModelVersionView, Problem> {
    let run = match row.run_id {
        Some(id) => app.store.find_run(inside.project.id, id).await?,
        None => None,
    };
    let datasets = match &run {
        Some(run) => app.store.version_names(&run.row.dataset_versions).await?,
        None => vec![],
    };
    let metrics = run.map(|it| it.metrics).unwrap_or_default();
    Ok(ModelVersionView {
        id: row.id.to_string(),
        model: model.name.clone(),
        number: row.number,
        status: row.status.as_str().to_owned(),
        source: row.source,
        run_id: row.run_id.map(|it| it.to_string()),
        hash: row.hash,
        size: row.size,
        description: row.description,
        tags: row.tags.into_iter().collect(),
        datasets,
        metrics: metrics.into_iter().map(|it| (it.key, it.value.is_finite().then_some(it.value))).collect(),
        endpoints: app.store.endpoints_of_model_version(row.id).await?,
        created_at: row.created_at.as_ms(),
    })
}
