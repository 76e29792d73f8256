//! Secrets of a project: set, replaced, named and deleted, and never shown. Jobs get their values as variables.

use super::access::whole;
use crate::Route;
use axum::extract::State;
use http::StatusCode;
use kaogong_api::{
    Page,
    access::{SecretChange, SecretView},
};
use kaogong_control::{Services, secrets::place_of};
use kaogong_domain::{
    Problem, Secret,
    access::Permission,
    variables::{check_secret_name, check_secret_value},
};
use kaogong_http::{
    access::{InProject, Rule},
    error::Answer,
    extract::{Json, Params},
};
use kaogong_store::SecretRow;
use std::sync::Arc;

/// The routes of secrets. Who submits jobs may know their names; who manages the project sets them.
pub fn routes() -> Vec<Route> {
    let (write, manage) = (Rule::Project(Permission::Write), Rule::Project(Permission::Manage));
    vec![
        Route::get("/api/v1/projects/{project}/secrets", write, list)
            .doc("secret_list", "The names of the project's secrets. Values are never shown.")
            .answers_page::<SecretView>(),
        Route::put("/api/v1/projects/{project}/secrets/{secret}", manage, set)
            .doc("secret_set", "Set a secret, whether or not it is there.")
            .body::<SecretChange>()
            .answers::<SecretView>(),
        Route::delete("/api/v1/projects/{project}/secrets/{secret}", manage, delete)
            .doc("secret_delete", "Delete a secret. Jobs that wait for it cannot start any more.")
            .answers_nothing(),
    ]
}

async fn view(app: &Services, row: SecretRow) -> Result<SecretView, Problem> {
    Ok(SecretView {
        name: row.name,
        updated_at: row.updated_at.as_ms(),
        updated_by: app.user_name(row.updated_by).await?,
    })
}

async fn list(State(app): State<Arc<Services>>, inside: InProject) -> Answer<Json<Page<SecretView>>> {
    let mut items = vec![];
    for row in app.store.list_secrets(inside.project.id).await? {
        items.push(view(&app, row).await?);
    }
    Ok(Json(whole(items)))
}

async fn set(
    State(app): State<Arc<Services>>,
    inside: InProject,
    params: Params,
    Json(ask): Json<SecretChange>,
) -> Answer<Json<SecretView>> {
    let name = params.text("secret");
    check_secret_name(name)?;
    check_secret_value(&ask.value)?;
    let project = inside.project.id;
    let sealed = app.vault().seal(&place_of(project, name), &Secret::new(ask.value))?;
    let row = app.store.set_secret(project, name, &sealed, &inside.actor(), app.now()).await?;
    Ok(Json(view(&app, row).await?))
}

async fn delete(State(app): State<Arc<Services>>, inside: InProject, params: Params) -> Answer<StatusCode> {
    let name = params.text("secret");
    check_secret_name(name)?;
    app.store.delete_secret(inside.project.id, name, &inside.actor(), app.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}
