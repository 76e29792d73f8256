//! Datasets, versions and items: look, page and picture. Imports and exports have their own files.

mod views;

use crate::Route;
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use kaogong_api::{
    Page,
    datasets::{DatasetView, ItemQuery, ItemView, ThumbnailQuery, VersionView},
    paging::{PAGE_LIMIT_MAX, PageQuery},
};
use kaogong_control::Services;
use kaogong_data::{
    images::{PictureFormat, ThumbnailFormat, thumbnail},
    tables::{BrowseQuery, RowRead, Rows},
};
use kaogong_domain::{
    Problem,
    access::Permission,
    datasets::Split,
    ids::{DatasetId, ItemId},
    names::Title,
};
use kaogong_http::{
    access::{InProject, Rule, caller::not_for_jobs},
    error::Answer,
    extract::{Json, Params, Query},
};
use kaogong_serving::worker::give_back_memory;
use kaogong_store::{DatasetRow, VersionRow};
use std::sync::Arc;

pub(crate) use views::{at, histogram_text, summary_of, version_view};
use views::{dataset_view, item_view, view_if_possible};

/// A preview that takes so much to decode does not keep it afterwards, in bytes.
const LARGE_PREVIEW_BYTES: u64 = 16 << 20;

/// The routes of this noun that look.
pub fn routes() -> Vec<Route> {
    let read = Rule::Project(Permission::Read);
    vec![
        Route::get("/api/v1/projects/{project}/datasets", read, list)
            .doc("dataset_list", "The datasets of a project.")
            .query::<PageQuery>()
            .answers_page::<DatasetView>(),
        Route::get("/api/v1/projects/{project}/datasets/{dataset}", read, view)
            .doc("dataset_view", "One dataset with its newest version.")
            .answers::<DatasetView>(),
        Route::delete("/api/v1/projects/{project}/datasets/{dataset}", Rule::Project(Permission::Manage), delete)
            .doc("dataset_delete", "Delete a dataset; its name is free at once, its data is swept later.")
            .answers_nothing(),
        Route::get("/api/v1/projects/{project}/datasets/{dataset}/versions", read, versions)
            .doc("dataset_version_list", "The versions of a dataset, newest first.")
            .query::<PageQuery>()
            .answers_page::<VersionView>(),
        Route::get("/api/v1/projects/{project}/datasets/{dataset}/versions/{version}", read, version)
            .doc("dataset_version_view", "One version, by number or `latest`.")
            .answers::<VersionView>()
            .for_jobs(),
        Route::get("/api/v1/projects/{project}/datasets/{dataset}/versions/{version}/items", read, items)
            .doc("item_list", "Items of a version, filtered.")
            .query::<ItemQuery>()
            .answers_page::<ItemView>()
            .for_jobs(),
        Route::get("/api/v1/projects/{project}/datasets/{dataset}/versions/{version}/items/{item}", read, item)
            .doc("item_view", "One item.")
            .answers::<ItemView>()
            .for_jobs(),
        Route::get(
            "/api/v1/projects/{project}/datasets/{dataset}/versions/{version}/items/{item}/content",
            read,
            content,
        )
        .doc("item_content", "The original bytes of an item.")
        .answers_bytes("application/octet-stream")
        .for_jobs(),
        Route::get(
            "/api/v1/projects/{project}/datasets/{dataset}/versions/{version}/items/{item}/thumbnail",
            read,
            picture,
        )
        .doc("item_thumbnail", "A small PNG of an image.")
        .query::<ThumbnailQuery>()
        .answers_bytes("image/png"),
    ]
}

async fn list(
    State(app): State<Arc<Services>>,
    inside: InProject,
    Query(page): Query<PageQuery>,
) -> Answer<Json<Page<DatasetView>>> {
    let (rows, total) = app.store.list_datasets(inside.project.id, page.offset, page.limit()).await?;
    let ids: Vec<DatasetId> = rows.iter().map(|it| it.id).collect();
    let mut newest = app.store.latest_versions(&ids).await?;
    let people = rows.iter().map(|it| it.created_by).chain(newest.values().map(|it| it.created_by));
    app.user_names(people.flatten().collect::<Vec<_>>().into_iter()).await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        let newest = newest.remove(&row.id);
        items.push(dataset_view(&app, row, newest).await?);
    }
    Ok(Json(Page { items, total }))
}

async fn view(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<Json<DatasetView>> {
    let row = find_dataset(&app, &inside, &params).await?;
    let newest = app.store.latest_version(row.id).await?;
    Ok(Json(dataset_view(&app, row, newest).await?))
}

async fn delete(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<StatusCode> {
    let row = find_dataset(&app, &inside, &params).await?;
    app.store.delete_dataset(inside.project.id, row.id, &inside.actor(), app.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn versions(
    State(app): State<Arc<Services>>,
    inside: InProject,
    params: Params,
    Query(page): Query<PageQuery>,
) -> Answer<Json<Page<VersionView>>> {
    let row = find_dataset(&app, &inside, &params).await?;
    let (versions, total) = app.store.list_versions(row.id, page.offset, page.limit()).await?;
    app.user_names(versions.iter().filter_map(|it| it.created_by)).await?;
    let mut items = Vec::with_capacity(versions.len());
    for it in versions {
        items.extend(view_if_possible(&app, &row, it).await);
    }
    Ok(Json(Page { items, total }))
}

async fn version(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<Json<VersionView>> {
    let (dataset, version) = find_version(&app, &inside, &params).await?;
    Ok(Json(version_view(&app, &dataset, version).await?))
}

async fn items(
    State(app): State<Arc<Services>>,
    inside: InProject,
    params: Params,
    Query(query): Query<ItemQuery>,
) -> Answer<Json<Page<ItemView>>> {
    let (dataset, version) = find_version(&app, &inside, &params).await?;
    let summary = summary_of(&version)?;
    let browse = BrowseQuery {
        label: query.label,
        split: query.split.as_deref().map(parse_split).transpose()?,
        text: query.text.filter(|it| !it.is_empty()),
        offset: query.offset,
        limit: query.limit.unwrap_or(100).clamp(1, PAGE_LIMIT_MAX),
    };
    let page = app.tables.browse(&at(&dataset, &version)?, &browse).await?;
    let items = match page.rows {
        Rows::Images(rows) => rows.into_iter().map(|it| item_view(RowRead::Image(it), &summary)).collect(),
        Rows::Table(rows) => rows.into_iter().map(|it| item_view(RowRead::Table(it), &summary)).collect(),
    };
    Ok(Json(Page { items, total: page.total }))
}

async fn item(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<Json<ItemView>> {
    let (dataset, version) = find_version(&app, &inside, &params).await?;
    let row = app.tables.item(&at(&dataset, &version)?, params.get::<ItemId>("item")?).await?;
    Ok(Json(item_view(row, &summary_of(&version)?)))
}

async fn content(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<Response> {
    let (dataset, version) = find_version(&app, &inside, &params).await?;
    let bytes = app.tables.content(&at(&dataset, &version)?, params.get::<ItemId>("item")?).await?;
    let media_type = PictureFormat::sniff(&bytes).map_or("application/octet-stream", PictureFormat::media_type);
    Ok(bytes_forever(bytes, media_type))
}

async fn picture(
    State(app): State<Arc<Services>>,
    inside: InProject,
    params: Params,
    Query(query): Query<ThumbnailQuery>,
) -> Answer<Response> {
    let (dataset, version) = find_version(&app, &inside, &params).await?;
    let side = query.side.unwrap_or(128).clamp(16, 512);
    let (at, id) = (at(&dataset, &version)?, params.get::<ItemId>("item")?);
    // The place first: who waits for one holds no picture in memory.
    let place = app.picture_place().await?;
    let bytes = app.tables.content(&at, id).await?;
    let small = tokio::task::spawn_blocking(move || {
        let _place = place;
        let held = app.preview_memory(&bytes)?;
        let small = thumbnail(&bytes, side, ThumbnailFormat::Png).map_err(Problem::from);
        if held.amount() >= LARGE_PREVIEW_BYTES {
            drop(bytes);
            give_back_memory();
        }
        small
    })
    .await
    .map_err(|it| Problem::bug("making a thumbnail did not end", it))??;
    Ok(bytes_forever(small, "image/png"))
}

/// Versions never change, so a browser may keep what it was sent. Originals are user data: nothing in them
/// may run in the console's origin.
fn bytes_forever(bytes: impl Into<axum::body::Body>, media_type: &'static str) -> Response {
    let mut response = bytes.into().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=86400, immutable"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    response
}

/// The dataset that the path names.
pub(super) async fn find_dataset(app: &Services, inside: &InProject, params: &Params) -> Result<DatasetRow, Problem> {
    let title = params.get::<Title>("dataset")?;
    app.store.find_dataset(inside.project.id, title.name()).await?.ok_or_else(|| {
        Problem::not_found(format!("project `{}` has no dataset `{}`", inside.project.name, title.as_str()))
            .hint("`kaogong datasets list` shows what there is")
    })
}

/// The dataset and version that the path names, by number or `latest`.
pub(super) async fn find_version(
    app: &Services,
    inside: &InProject,
    params: &Params,
) -> Result<(DatasetRow, VersionRow), Problem> {
    let dataset = find_dataset(app, inside, params).await?;
    let text = params.text("version");
    let number = match text {
        "latest" => None,
        _ => Some(text.parse::<u32>().map_err(|_| {
            let shown: String = text.chars().take(32).collect();
            Problem::not_found(format!("`{shown}` is not a version of dataset `{}`", dataset.name))
        })?),
    };
    let version = find_version_number(app, &dataset, number).await?;
    only_inputs(app, inside, &dataset, &version).await?;
    Ok((dataset, version))
}

/// A job reads the versions that it was submitted with, so that what it was made from stays known.
async fn only_inputs(
    app: &Services,
    inside: &InProject,
    dataset: &DatasetRow,
    version: &VersionRow,
) -> Result<(), Problem> {
    let Some(job) = inside.caller.job() else { return Ok(()) };
    let inputs = app.store.job_inputs(job).await?;
    if inputs.iter().any(|it| it.version_id == version.id) {
        return Ok(());
    }
    Err(not_for_jobs(format!("{}@{} is not among the inputs of this job", dataset.name, version.number)))
}

/// A version by number, or the newest.
pub(crate) async fn find_version_number(
    app: &Services,
    dataset: &DatasetRow,
    number: Option<u32>,
) -> Result<VersionRow, Problem> {
    let found = match number {
        Some(number) => app.store.find_version(dataset.id, number).await?,
        None => app.store.latest_version(dataset.id).await?,
    };
    found.ok_or_else(|| match number {
        Some(number) => Problem::not_found(format!("dataset `{}` has no version {number}", dataset.name)),
        None => Problem::not_found(format!("dataset `{}` has no version yet", dataset.name))
            .hint("`kaogong datasets import` makes one"),
    })
}

/// A split by its word.
pub(super) fn parse_split(word: &str) -> Result<Split, Problem> {
    Split::parse(word).ok_or_else(|| {
        let shown: String = word.chars().take(32).collect();
        Problem::invalid(format!("`{shown}` is not a split")).hint("train, validation or test")
    })
}
