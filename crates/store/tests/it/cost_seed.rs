//! Databases with few and with many of everything.

use crate::support::{World, text_of};
use kaogong_domain::ids::{DatasetId, ExperimentId, LoggedModelId, ModelId, RunId};
use sqlx::{AnyConnection, Connection};

/// The things that the walk looks at. Each has as much around it, and below it where that must not matter, as there
/// is of everything.
pub(crate) struct Walked {
    pub(crate) experiment: ExperimentId,
    pub(crate) run: RunId,
    pub(crate) wide: RunId,
    pub(crate) dataset: DatasetId,
    pub(crate) logged: LoggedModelId,
    pub(crate) model: ModelId,
}

/// The id of number `i` of a kind, in SQL.
fn id(prefix: &str) -> String {
    format!("'{prefix}_000000000000000000' || substr(CAST(100000000 + i AS TEXT), 2)")
}

/// Rows of tables in which each row stands for a thing of its own.
fn things(w: &World) -> Vec<String> {
    let (project, admin) = (w.project, w.admin);
    let (job, user, dataset, version) = (id("job"), id("usr"), id("ds"), id("dv"));
    vec![
        format!("organisations (id, name, title, created_at) SELECT {}, 'org-' || i, '', 1", id("org")),
        format!(
            "users (id, name, display_name, is_admin, disabled_at, created_at) SELECT {user}, 'user-' || i, '', i % 2, 1, i"
        ),
        format!(
            "projects (id, org_id, name, title, created_at) SELECT {}, (SELECT MIN(id) FROM organisations), 'p-' || i, '', 1",
            id("prj")
        ),
        format!("members (project_id, user_id, role, since) SELECT '{project}', {user}, 'viewer', 1"),
        format!(
            "tokens (id, user_id, name, scopes, hash, job_id, created_at, revoked_at) SELECT {}, '{admin}', 't', 'write', 'h' || i, {job}, i, 1",
            id("tok")
        ),
        format!(
            "sessions (id, user_id, hash, csrf, created_at, expires_at, address, user_agent) SELECT {}, {user}, 'h' || i, '', 1, 9000000000000, '', ''",
            id("ses")
        ),
        format!("sign_in_links (hash, user_id, expires_at) SELECT 'h' || i, {user}, 9000000000000"),
        "wrong_passwords (name, address, at) SELECT 'n' || i, 'a' || i, i".to_owned(),
        "settings (key, value) SELECT 'k' || i, ''".to_owned(),
        format!("blobs (project_id, hash, size, created_at) SELECT '{project}', 'b' || i, 1, 1"),
        format!(
            "datasets (id, project_id, name, kind, description, created_at) SELECT {dataset}, '{project}', 'd-' || i, 'table', '', i"
        ),
        format!(
            "dataset_versions (id, dataset_id, number, pins, summary, message, source, items, bytes, created_at) SELECT {version}, {dataset}, 1, '{{}}', '{{}}', '', '', 1, 1, 1"
        ),
        format!(
            "jobs (id, project_id, name, spec, state, retries_left, cancel_asked, created_at) SELECT {job}, '{project}', 'j' || i, '{{}}', 'succeeded', 0, 0, i"
        ),
        format!("attempts (id, job_id, number, state, created_at) SELECT {}, {job}, 1, 'succeeded', 1", id("att")),
        format!("job_inputs (job_id, alias, version_id) SELECT {job}, 'a', {version}"),
    ]
}

/// The same of what runs are about.
fn tracked(w: &World, it: &Walked) -> Vec<String> {
    let (project, experiment) = (w.project, it.experiment);
    let (run, job, model, number) = (id("run"), id("job"), id("mdl"), id("mv"));
    vec![
        format!(
            "experiments (id, project_id, name, is_default, lifecycle, created_at, updated_at) SELECT {}, '{project}', 'e' || i, 0, 'active', i, i",
            id("exp")
        ),
        format!("experiment_tags (experiment_id, key, value) SELECT {}, 'k', 'v'", id("exp")),
        format!(
            "runs (id, experiment_id, project_id, name, status, user_name, started_at, lifecycle, job_id, dataset_versions, inputs, outputs, request_key, created_at) SELECT {run}, '{experiment}', '{project}', 'r' || i, 'RUNNING', '', i, 'active', {job}, '[]', '[]', '[]', 'k' || i, i"
        ),
        format!("params (run_id, experiment_id, key, value) SELECT {run}, '{experiment}', 'p', 'v'"),
        format!("params (run_id, experiment_id, key, value) SELECT {run}, '{experiment}', 'own', 'v' || i"),
        format!("tags (run_id, experiment_id, key, value) SELECT {run}, '{experiment}', 't', 'v'"),
        format!("tags (run_id, experiment_id, key, value) SELECT {run}, '{experiment}', 'own', 'v' || i"),
        format!("metrics (run_id, key, at, step, value, is_nan) SELECT {run}, 'loss', 1, 1, i, 0"),
        format!(
            "latest_metrics (run_id, experiment_id, key, at, step, value, is_nan) SELECT {run}, '{experiment}', 'loss', 1, 1, i, 0"
        ),
        format!(
            "logged_models (id, experiment_id, project_id, run_id, name, model_type, status, status_message, params, tags, created_at, updated_at) SELECT {}, '{experiment}', '{project}', {run}, 'm', '', '', '', '{{}}', '{{}}', i, i",
            id("m")
        ),
        format!(
            "logged_model_metrics (model_id, run_id, key, at, step, value, is_nan) SELECT {}, {run}, 'loss', i, 1, i, 0",
            id("m")
        ),
        format!(
            "models (id, project_id, name, description, tags, created_at, updated_at, last_number) SELECT {model}, '{project}', 'm' || i, '', '{{}}', i, i, 1"
        ),
        format!(
            "model_versions (id, model_id, number, source, run_id, status, stage, description, tags, user_name, created_at, updated_at) SELECT {number}, {model}, 1, 's' || i, {run}, 'READY', 'None', '', '{{}}', '', i, i"
        ),
        format!("model_aliases (model_id, alias, number) SELECT {model}, 'a', 1"),
        format!(
            "endpoints (id, project_id, name, model_version_id, engine, generation, created_at, deleted_at) SELECT {}, '{project}', 'ep-' || i, {number}, 'tract', 1, i, 1",
            id("ep")
        ),
        format!(
            "events (seq, id, at, project_id, actor_kind, action, noun, object_id, detail, prev_hash, hash) SELECT (SELECT seq FROM chain) + i, {}, i, '{project}', 'system', 'job.submitted', 'jobs', '', '{{}}', '', ''",
            id("evt")
        ),
        "counters (owner, what, count) SELECT 'o' || i, 'runs.active', 1".to_owned(),
    ]
}

/// Rows below one of the things that the walk looks at.
fn below(w: &World, it: &Walked) -> Vec<String> {
    let (project, run, wide) = (w.project, it.run, it.wide);
    let (dataset, logged, model) = (it.dataset, it.logged, it.model);
    vec![
        format!(
            "artifacts (project_id, owner, path, hash, size, created_at) SELECT '{project}', '{run}', 'big/' || i || '.onnx', 'h', 1, 1"
        ),
        format!("metrics (run_id, key, at, step, value, is_nan) SELECT '{run}', 'long', i, i, i, 0"),
        format!(
            "latest_metrics (run_id, experiment_id, key, at, step, value, is_nan) SELECT '{wide}', '{}', 'wide' || i, 1, 1, i, 0",
            it.experiment
        ),
        format!(
            "dataset_versions (id, dataset_id, number, pins, summary, message, source, items, bytes, created_at) SELECT 'dv_000000000000000001' || substr(CAST(100000000 + i AS TEXT), 2), '{dataset}', 1 + i, '{{}}', '{{}}', '', '', 1, 1, 1"
        ),
        format!(
            "logged_models (id, experiment_id, project_id, run_id, name, model_type, status, status_message, params, tags, created_at, updated_at) SELECT 'm_000000000000000001' || substr(CAST(100000000 + i AS TEXT), 2), '{}', '{project}', '{run}', 'm', '', '', '', '{{}}', '{{}}', i, i",
            it.experiment
        ),
        format!(
            "logged_model_metrics (model_id, run_id, key, at, step, value, is_nan) SELECT '{logged}', '{run}', 'long', i, i, i, 0"
        ),
        format!(
            "model_versions (id, model_id, number, source, status, stage, description, tags, user_name, created_at, updated_at) SELECT 'mv_000000000000000001' || substr(CAST(100000000 + i AS TEXT), 2), '{model}', 1 + i, 's' || i, 'READY', 'None', '', '{{}}', '', i, i"
        ),
    ]
}

/// Puts `count` rows into every table, and below the things that are walked.
pub(crate) async fn fill(w: &World, it: &Walked, count: u32) {
    let mut conn = AnyConnection::connect(&text_of(&w.url)).await.expect("the database answers");
    let numbers = format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})");
    let mut tx = conn.begin().await.expect("a transaction");
    for rows in things(w).into_iter().chain(tracked(w, it)).chain(below(w, it)) {
        let (table, select) = rows.split_once(" SELECT ").expect("a table and its values");
        let sql = format!("INSERT INTO {table} {numbers} SELECT {select} FROM n");
        sqlx::query(sqlx::AssertSqlSafe(sql.clone()))
            .execute(&mut *tx)
            .await
            .unwrap_or_else(|it| panic!("{sql}: {it}"));
    }
    for sql in [
        "UPDATE chain SET seq = (SELECT MAX(seq) FROM events)".to_owned(),
        format!("UPDATE models SET last_number = {} WHERE id = '{}'", count + 1, it.model),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *tx).await.expect("the statement runs");
    }
    tx.commit().await.expect("it is written");
    conn.close().await.expect("the connection closes");
}
