//! Registered models: versions, aliases, files.

use super::{access::whole, exports::blob};
use crate::{Route, protocols::mlflow};
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
use kaogong_control::{
    Services,
    models::{REMARK_TAG, Servable, servable, servable_upload},
};
use kaogong_data::BlobHash;
use kaogong_domain::{
    Problem,
    access::Permission,
    ids::{ModelId, ModelVersionId, ProjectId, RunId, VersionId},
    names::Name,
};
use kaogong_http::{
    access::{InProject, Rule},
    error::Answer,
    extract::{Json, Params, created},
};
use kaogong_store::{ModelRow, ModelVersionRow, NewModelVersionRow, RunOutcome};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

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
            .answers::<ModelVersionView>()
            // Trying the model is what takes long, and bounds itself.
            .unhurried(),
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

async fn list(State(app): State<Arc<Services>>, inside: InProject) -> Answer<Json<Page<ModelView>>> {
    let rows = app.store.list_models(inside.project.id).await?;
    Ok(Json(whole(model_views(&app, &inside, rows).await?)))
}

async fn find_model(app: &Services, inside: &InProject, name: &str) -> Result<ModelRow, Problem> {
    app.store.find_model(inside.project.id, name).await?.ok_or_else(|| {
        let shown: String = name.chars().take(80).collect();
        Problem::not_found(format!("project `{}` has no model `{shown}`", inside.project.name))
            .hint("`kaogong models list` shows what there is")
    })
}

async fn view(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<Json<ModelView>> {
    let row = find_model(&app, &inside, params.text("model")).await?;
    Ok(Json(model_view(&app, &inside, row).await?))
}

async fn delete(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<StatusCode> {
    let row = find_model(&app, &inside, params.text("model")).await?;
    app.store.delete_model(inside.project.id, row.id, &inside.actor(), app.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn register(
    State(app): State<Arc<Services>>,
    inside: InProject,
    params: Params,
    Json(mut ask): Json<NewModelVersion>,
) -> Answer<Response> {
    let name: Name =
        params.text("model").parse().map_err(|it: kaogong_domain::names::BadName| Problem::invalid(it.to_string()))?;
    super::imports::check_request_key(ask.request_key.as_deref())?;
    let project = inside.project.id;
    let (source, run_id, file) = match (&ask.upload, &ask.run) {
        (Some(upload), None) => {
            let size = app.store.blob_size_in_project(project, upload).await?.ok_or_else(|| {
                Problem::not_found(format!("there is no upload `{upload}` in project `{}`", inside.project.name))
            })?;
            let remark = servable_upload(&app, upload).await?;
            (format!("upload:{upload}"), None, Servable { hash: upload.clone(), size, remark })
        }
        (None, Some(run)) => {
            let run: RunId =
                run.parse().map_err(|it: kaogong_domain::ids::BadId| Problem::not_found(it.to_string()))?;
            let (source, owner, file) = mlflow::onnx_of_run(&app, project, run).await?;
            (source, Some(run), servable(&app, project, owner, &file, &inside.actor()).await?)
        }
        _ => return Err(Problem::invalid("a model version comes from either an upload or a run").into()),
    };
    if let Some(remark) = file.remark {
        ask.tags.entry(REMARK_TAG.to_owned()).or_insert(remark);
    }
    let model = app.store.ensure_model(inside.project.id, name.as_str(), &inside.actor(), app.now()).await?;
    let row = NewModelVersionRow {
        source,
        run_id,
        hash: Some(file.hash),
        size: Some(file.size),
        description: ask.description.unwrap_or_default(),
        tags: ask.tags,
        request_key: ask.request_key,
        user: inside.caller.user.name.to_string(),
        ..NewModelVersionRow::default()
    };
    let version = app.store.create_model_version(inside.project.id, model.id, row, &inside.actor(), app.now()).await?;
    let around = Around::of(&app, inside.project.id, std::slice::from_ref(&version)).await?;
    Ok(created(version_view(&model.name, version, &around)))
}

async fn file(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<Response> {
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
    State(app): State<Arc<Services>>,
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

async fn delete_alias(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<Json<ModelView>> {
    let model = find_model(&app, &inside, params.text("model")).await?;
    app.store.delete_model_alias(inside.project.id, model.id, params.text("alias"), &inside.actor(), app.now()).await?;
    Ok(Json(model_view(&app, &inside, model).await?))
}

async fn model_view(app: &Services, inside: &InProject, row: ModelRow) -> Result<ModelView, Problem> {
    let gone = || Problem::not_found("the model is gone");
    model_views(app, inside, vec![row]).await?.pop().ok_or_else(gone)
}

/// Models with all their versions, a few statements for all of them.
async fn model_views(app: &Services, inside: &InProject, rows: Vec<ModelRow>) -> Result<Vec<ModelView>, Problem> {
    let ids: Vec<ModelId> = rows.iter().map(|it| it.id).collect();
    let versions = app.store.versions_of_models(&ids).await?;
    let around = Around::of(app, inside.project.id, &versions).await?;
    let mut aliases = app.store.aliases_of_models(&ids).await?;
    let mut by_model: BTreeMap<ModelId, Vec<ModelVersionRow>> = BTreeMap::new();
    for it in versions {
        by_model.entry(it.model_id).or_default().push(it);
    }
    let view = |row: ModelRow| {
        let versions = by_model.remove(&row.id).unwrap_or_default();
        ModelView {
            id: row.id.to_string(),
            versions: versions.into_iter().rev().map(|it| version_view(&row.name, it, &around)).collect(),
            aliases: aliases.remove(&row.id).unwrap_or_default(),
            name: row.name,
            description: row.description,
            tags: row.tags.into_iter().collect(),
            created_at: row.created_at.as_ms(),
            updated_at: row.updated_at.as_ms(),
        }
    };
    Ok(rows.into_iter().map(view).collect())
}

/// What versions came from and what serves them, read for all of them together.
struct Around {
    runs: BTreeMap<RunId, RunOutcome>,
    datasets: BTreeMap<VersionId, String>,
    endpoints: BTreeMap<ModelVersionId, Vec<String>>,
}

impl Around {
    async fn of(app: &Services, project: ProjectId, versions: &[ModelVersionRow]) -> Result<Self, Problem> {
        let runs: BTreeSet<RunId> = versions.iter().filter_map(|it| it.run_id).collect();
        let runs: Vec<RunId> = runs.into_iter().collect();
        let runs = app.store.run_outcomes(project, &runs).await?;
        let data: BTreeSet<VersionId> = runs.values().flat_map(|it| it.dataset_versions.iter().copied()).collect();
        let data: Vec<VersionId> = data.into_iter().collect();
        let ids: Vec<ModelVersionId> = versions.iter().map(|it| it.id).collect();
        Ok(Self {
            runs,
            datasets: app.store.names_of_versions(&data).await?,
            endpoints: app.store.endpoints_of_model_versions(&ids).await?,
        })
    }
}

fn version_view(model: &str, row: ModelVersionRow, around: &Around) -> ModelVersionView {
    let run = row.run_id.and_then(|it| around.runs.get(&it));
    let data = run.map(|it| it.dataset_versions.as_slice()).unwrap_or_default();
    let metrics = run.map(|it| it.metrics.as_slice()).unwrap_or_default();
    ModelVersionView {
        id: row.id.to_string(),
        model: model.to_owned(),
        number: row.number,
        status: row.status.as_str().to_owned(),
        status_message: row.status_message,
        source: row.source,
        run_id: row.run_id.map(|it| it.to_string()),
        hash: row.hash,
        size: row.size,
        description: row.description,
        tags: row.tags.into_iter().collect(),
        datasets: data.iter().filter_map(|it| around.datasets.get(it).cloned()).collect(),
        metrics: metrics.iter().map(|it| (it.key.clone(), it.value.is_finite().then_some(it.value))).collect(),
        endpoints: around.endpoints.get(&row.id).cloned().unwrap_or_default(),
        created_at: row.created_at.as_ms(),
    }
}
