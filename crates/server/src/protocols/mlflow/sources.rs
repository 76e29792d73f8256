//! Where a model version comes from: which run or logged model, and the ONNX file among its artifacts.

use super::{
    artifacts::check_path,
    call::{ExperimentIds, model_id_of},
    problem::{MlflowProblem, Told},
    wire,
};
use kaogong_control::Services;
use kaogong_domain::{
    Problem,
    ids::{LoggedModelId, ProjectId, RunId},
};
use kaogong_store::{ArtifactOwner, ArtifactRow};

/// Logged models that are read together.
const MODELS_AT_ONCE: u32 = 200;

/// A source that this server keeps the bytes of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) owner: ArtifactOwner,
    /// The folder or file below the owner; empty for all.
    pub(super) path: String,
}

/// Reads `runs:/RUN/path`, `models:/m-ID` and `mlflow-artifacts:/…`. `None` for an address elsewhere.
///
/// # Errors
/// `Invalid` for a path on the client's own disk, and for what this server should know but cannot read.
pub(super) fn parse(source: &str) -> Told<Option<Source>> {
    let shown = || source.chars().take(300).collect::<String>();
    let bad = || MlflowProblem::invalid(format!("Invalid model version source: '{}'.", shown()));
    let run = |id: &str| id.parse::<RunId>().map(ArtifactOwner::Run).map_err(|_| bad());
    let model = |id: &str| model_id_of(id).map(ArtifactOwner::LoggedModel).ok_or_else(bad);
    let at = |owner: ArtifactOwner, path: &str| -> Told<Option<Source>> {
        let path = path.trim_matches('/');
        if !path.is_empty() {
            check_path(path)?;
        }
        Ok(Some(Source { owner, path: path.to_owned() }))
    };
    let Some((scheme, rest)) = source.split_once(":/") else {
        return Err(MlflowProblem::invalid(format!(
            "Invalid model version source: '{}'. Use runs:/RUN_ID/path, models:/MODEL_ID or the address of an artifact.",
            shown()
        )));
    };
    let rest = rest.trim_start_matches('/');
    match scheme {
        "runs" => {
            let (id, path) = rest.split_once('/').unwrap_or((rest, ""));
            at(run(id)?, path)
        }
        "models" => match rest.split_once('/') {
            None => at(model(rest)?, ""),
            Some((id, path)) if id.starts_with("m-") => at(model(id)?, path),
            // `models:/name/version` names bytes that another version already names.
            Some(_) => Ok(None),
        },
        "mlflow-artifacts" => {
            // An address with a host: the path begins after it.
            let rest = if source.starts_with("mlflow-artifacts://") && !source.starts_with("mlflow-artifacts:///") {
                rest.split_once('/').map_or("", |it| it.1)
            } else {
                rest
            };
            let parts: Vec<&str> = rest.splitn(5, '/').collect();
            match parts.as_slice() {
                [_, "models", id, "artifacts", path @ ..] => at(model(id)?, &path.join("/")),
                [_, id, "artifacts", path @ ..] => at(run(id)?, &path.join("/")),
                _ => Err(bad()),
            }
        }
        "file" | "c" | "C" => Err(MlflowProblem::invalid(format!(
            "Invalid model version source: '{}'. To use a local path as a model version source, log it to a run first.",
            shown()
        ))),
        _ => Ok(None),
    }
}

/// The ONNX file that a loader would take: `model.onnx` first, then the one nearest to the root.
fn onnx_among(rows: Vec<ArtifactRow>, below: &str) -> Option<ArtifactRow> {
    let start = format!("{below}/");
    let mut found: Vec<ArtifactRow> = rows
        .into_iter()
        .filter(|it| below.is_empty() || it.path == below || it.path.starts_with(&start))
        .filter(|it| it.path.to_ascii_lowercase().ends_with(".onnx"))
        .collect();
    let rank = |it: &ArtifactRow| (!it.path.ends_with("model.onnx"), it.path.matches('/').count(), it.path.clone());
    found.sort_by_key(rank);
    found.into_iter().next()
}

/// The ONNX file of a source, and whose artifact it is.
pub(super) async fn onnx_of(
    app: &Services,
    project: ProjectId,
    source: &Source,
) -> Result<Option<(ArtifactOwner, ArtifactRow)>, Problem> {
    let rows = app.store.artifacts_ending(project, source.owner, &source.path, ".onnx").await?;
    if let Some(found) = onnx_among(rows, &source.path) {
        return Ok(Some((source.owner, found)));
    }
    // `runs:/RUN/model`: newer clients keep the files under a logged model of that name.
    let ArtifactOwner::Run(run) = source.owner else { return Ok(None) };
    let mut last = None;
    loop {
        let page = app.store.logged_models_of_run(project, run, last, MODELS_AT_ONCE).await?;
        for model in page.iter().filter(|it| source.path.is_empty() || source.path == it.name) {
            let owner = ArtifactOwner::LoggedModel(model.id);
            let rows = app.store.artifacts_ending(project, owner, "", ".onnx").await?;
            if let Some(found) = onnx_among(rows, "") {
                return Ok(Some((owner, found)));
            }
        }
        if page.len() < MODELS_AT_ONCE as usize {
            return Ok(None);
        }
        last = page.last().map(|it| (it.created_at, it.id));
    }
}

/// The ONNX file of a run, among its artifacts or among its logged models, the newest first: where it lies, whose it is,
/// and the file.
///
/// # Errors
/// `NotFound` when there is no such run or it has no ONNX file.
pub async fn onnx_of_run(
    app: &Services,
    project: ProjectId,
    run: RunId,
) -> Result<(String, ArtifactOwner, ArtifactRow), Problem> {
    let found = app.store.find_run_head(project, run).await?;
    found.ok_or_else(|| Problem::not_found(format!("there is no run {run}")))?;
    let source = Source { owner: ArtifactOwner::Run(run), path: String::new() };
    let (owner, file) = onnx_of(app, project, &source).await?.ok_or_else(|| {
        Problem::not_found(format!("run {run} has no ONNX file"))
            .hint("log one with mlflow.onnx.log_model or mlflow.log_artifact")
    })?;
    Ok((format!("runs:/{run}/{}", file.path), owner, file))
}

/// Where a client fetches a source from.
pub(super) async fn download_uri(app: &Services, project: ProjectId, text: &str) -> Told<String> {
    let Ok(Some(source)) = parse(text) else { return Ok(text.to_owned()) };
    let ids = ExperimentIds::of(&app.store, project).await?;
    let root = match source.owner {
        ArtifactOwner::Run(id) => match app.store.find_run_head(project, id).await? {
            Some(run) => wire::run_artifact_uri(ids, &run),
            None => return Ok(text.to_owned()),
        },
        ArtifactOwner::LoggedModel(id) => match app.store.find_logged_model(project, id).await? {
            Some(model) => wire::model_artifact_uri(ids, &model),
            None => return Ok(text.to_owned()),
        },
        ArtifactOwner::Job(_) => return Ok(text.to_owned()),
    };
    Ok(if source.path.is_empty() { root } else { format!("{root}/{}", source.path) })
}

/// The run and the logged model that a source names.
pub(super) fn links(source: Option<&Source>) -> (Option<RunId>, Option<LoggedModelId>) {
    match source.map(|it| it.owner) {
        Some(ArtifactOwner::Run(id)) => (Some(id), None),
        Some(ArtifactOwner::LoggedModel(id)) => (None, Some(id)),
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kaogong_domain::Timestamp;

    #[test]
    fn the_forms_of_a_source_are_read() {
        let run = RunId::from_parts(Timestamp(1), 1);
        let model = LoggedModelId::from_parts(Timestamp(1), 1);
        let dashed = super::super::call::model_id_text(model);
        let source = |text: String| parse(&text).expect("a source").expect("one of ours");
        assert_eq!(source(format!("runs:/{run}/a/b")), Source { owner: ArtifactOwner::Run(run), path: "a/b".into() });
        assert_eq!(
            source(format!("models:/{dashed}")),
            Source { owner: ArtifactOwner::LoggedModel(model), path: String::new() }
        );
        let uri = format!("mlflow-artifacts:/0/{run}/artifacts/model");
        assert_eq!(source(uri), Source { owner: ArtifactOwner::Run(run), path: "model".into() });
        let uri = format!("mlflow-artifacts://host:7300/0/models/{dashed}/artifacts");
        assert_eq!(source(uri), Source { owner: ArtifactOwner::LoggedModel(model), path: String::new() });
        assert_eq!(parse("s3://bucket/model").expect("elsewhere"), None);
        for bad in ["/tmp/model", "file:///tmp/model", "runs:/x/model", "models:/m-1", "mlflow-artifacts:/0/x", ""] {
            assert!(parse(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn the_file_that_a_loader_takes_is_found() {
        let row = |path: &str| ArtifactRow {
            path: path.into(),
            hash: path.into(),
            size: 1,
            media_type: None,
            created_at: Timestamp(0),
        };
        let rows = || {
            vec![
                row("a/deep/x.onnx"),
                row("a/y.onnx"),
                row("model/model.onnx"),
                row("model/MLmodel"),
                row("modelx/z.onnx"),
            ]
        };
        let path = |below: &str| onnx_among(rows(), below).map(|it| it.path);
        assert_eq!(path("").as_deref(), Some("model/model.onnx"));
        assert_eq!(path("a").as_deref(), Some("a/y.onnx"));
        assert_eq!(path("modelx/z.onnx").as_deref(), Some("modelx/z.onnx"));
        assert_eq!(path("mod"), None);
    }
}
