//! One call: the caller inside a project with the parsed request, and the lookups that all handlers share.

use super::{
    ask::Ask,
    problem::{MlflowProblem, Told},
};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::Method;
use kaogong_control::Services;
use kaogong_domain::{
    Problem, Timestamp,
    ids::{ExperimentId, LoggedModelId, ProjectId, RunId},
};
use kaogong_http::{access::InProject, extract::read_body};
use kaogong_store::{Actor, ExperimentRow, Lifecycle, LoggedModelRow, ModelRow, RunFull, RunRow, Store};
use std::sync::Arc;

/// The largest JSON body, in bytes.
pub(super) const JSON_BYTES_MAX: usize = 1 << 20;

/// The largest batch, in bytes: what the counts and lengths of its entries allow, each letter written as `\u6570`, and
/// room for values that are cut.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// The name of the default experiment's id on the wire.
pub(super) const DEFAULT_ID: &str = "0";

/// A parsed call.
pub(super) struct Call {
    pub(super) app: Arc<Services>,
    pub(super) inside: InProject,
    pub(super) ask: Ask,
    params: Vec<(String, String)>,
}

impl FromRequest<Arc<Services>> for Call {
    type Rejection = MlflowProblem;

    async fn from_request(request: Request, app: &Arc<Services>) -> Told<Self> {
        let (mut parts, body) = request.into_parts();
        let inside = InProject::from_request_parts(&mut parts, app).await.map_err(|it| MlflowProblem::from(it.0))?;
        let params = Path::<Vec<(String, String)>>::from_request_parts(&mut parts, app).await;
        let Path(params) =
            params.map_err(|it| MlflowProblem::invalid(format!("the address is not right: {}", it.body_text())))?;
        let limit = if parts.uri.path().ends_with("/runs/log-batch") { BATCH_BYTES_MAX } else { JSON_BYTES_MAX };
        let bytes = read_body(body, limit).await?;
        let ask = if parts.method == Method::GET || bytes.is_empty() {
            let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
            Ask::from_pairs(
                query.map_err(|it| MlflowProblem::invalid(format!("the query is not right: {}", it.body_text())))?.0,
            )
        } else {
            Ask::from_json(&bytes)?
        };
        Ok(Self { app: app.clone(), inside, ask, params })
    }
}

impl Call {
    /// A call whose body the handler reads itself.
    pub(super) fn bare(app: &Arc<Services>, inside: InProject, params: Vec<(String, String)>) -> Self {
        Self { app: app.clone(), inside, ask: Ask::default(), params }
    }
}

/// The logged model's id as MLflow spells it: `m-…`.
pub fn model_id_text(id: LoggedModelId) -> String {
    id.to_string().replacen('_', "-", 1)
}

/// The id of a logged model; also accepts our own spelling.
pub(super) fn model_id_of(text: &str) -> Option<LoggedModelId> {
    text.replacen('-', "_", 1).parse().ok()
}

fn no_run(text: &str) -> MlflowProblem {
    MlflowProblem::missing(format!("Run with id={} not found", shown(text)))
}

/// An id of an experiment that a client sent. `None` for a number, which is an id of another server.
///
/// # Errors
/// `Invalid` for what is an id of no server.
pub(super) fn experiment_id_of(text: &str) -> Told<Option<ExperimentId>> {
    match text.parse::<ExperimentId>() {
        Ok(id) => Ok(Some(id)),
        Err(_) if text.parse::<i128>().is_ok() => Ok(None),
        Err(_) => Err(MlflowProblem::invalid(format!(
            "Invalid value '{}' for parameter 'experiment_id' supplied: it is no id of an experiment",
            shown(text)
        ))),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(300).collect()
}

impl Call {
    pub(super) fn store(&self) -> &Store {
        &self.app.store
    }

    pub(super) fn project(&self) -> ProjectId {
        self.inside.project.id
    }

    pub(super) fn actor(&self) -> Actor {
        self.inside.actor()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.app.now()
    }

    pub(super) fn user(&self) -> String {
        self.inside.caller.user.name.to_string()
    }

    /// A named parameter of the path.
    pub(super) fn param(&self, name: &str) -> &str {
        self.params.iter().find(|it| it.0 == name).map(|it| it.1.as_str()).unwrap_or_default()
    }

    /// A key that two equal requests of one credential share.
    pub(super) fn same_request_key(&self, what: &str, content: &serde_json::Value) -> String {
        let caller = &self.inside.caller;
        let who = caller.token.as_ref().map_or_else(|| caller.user.id.to_string(), |it| it.id.to_string());
        let text = format!("{what}\n{who}\n{content}");
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }

    /// The experiment that clients call `0`.
    pub(super) async fn default_experiment(&self) -> Told<ExperimentRow> {
        Ok(self.store().default_experiment(self.project()).await?)
    }

    /// An experiment by the id that a client sent.
    pub(super) async fn experiment(&self, text: &str) -> Told<ExperimentRow> {
        if text == DEFAULT_ID {
            return self.default_experiment().await;
        }
        let found = match experiment_id_of(text)? {
            Some(id) => self.store().find_experiment(self.project(), id).await?,
            None => None,
        };
        found.ok_or_else(|| MlflowProblem::missing(format!("No Experiment with id={} exists", shown(text))))
    }

    /// An experiment that can take new things.
    pub(super) async fn active_experiment(&self, text: &str) -> Told<ExperimentId> {
        let found = match text {
            DEFAULT_ID => self.store().experiment_state(self.project(), None).await?,
            other => match experiment_id_of(other)? {
                Some(id) => self.store().experiment_state(self.project(), Some(id)).await?,
                None => None,
            },
        };
        match found {
            Some((id, Lifecycle::Active)) => Ok(id),
            Some((_, lifecycle)) => Err(MlflowProblem::invalid(format!(
                "The experiment {text} must be in the 'active' state. Current state is {}.",
                lifecycle.as_str()
            ))),
            None => Err(MlflowProblem::missing(format!("No Experiment with id={} exists", shown(text)))),
        }
    }

    /// A run by the id that a client sent, without what it logged.
    pub(super) async fn run(&self, text: &str) -> Told<RunRow> {
        let found = match text.parse::<RunId>() {
            Ok(id) => self.store().find_run_head(self.project(), id).await?,
            Err(_) => None,
        };
        found.ok_or_else(|| no_run(text))
    }

    /// A run by the id that a client sent, with everything it logged.
    pub(super) async fn full_run(&self, text: &str) -> Told<RunFull> {
        let found = match text.parse::<RunId>() {
            Ok(id) => self.store().find_run(self.project(), id).await?,
            Err(_) => None,
        };
        found.ok_or_else(|| no_run(text))
    }

    /// Runs by the ids that a client sent, in one look; all must be there.
    pub(super) async fn known_runs(&self, texts: &[String]) -> Told<Vec<RunId>> {
        let ids: Vec<RunId> =
            texts.iter().map(|it| it.parse::<RunId>().map_err(|_| no_run(it))).collect::<Told<_>>()?;
        let known = self.store().known_runs(self.project(), &ids).await?;
        match ids.iter().find(|it| !known.contains(it)) {
            Some(missing) => Err(no_run(&missing.to_string())),
            None => Ok(ids),
        }
    }

    /// A run that the caller may change, and that takes changes: for the token of a job, one of the job's own.
    pub(super) async fn active_run(&self, text: &str) -> Told<RunRow> {
        let found = self.run(text).await?;
        self.inside.only_own(&format!("run {}", found.id), found.job_id)?;
        if found.lifecycle == Lifecycle::Active {
            return Ok(found);
        }
        Err(MlflowProblem::invalid(format!(
            "The run {text} must be in the 'active' state. Current state is {}.",
            found.lifecycle.as_str()
        )))
    }

    /// A logged model by the id that a client sent.
    pub(super) async fn logged_model(&self, text: &str) -> Told<LoggedModelRow> {
        let found = match model_id_of(text) {
            Some(id) => self.store().find_logged_model(self.project(), id).await?,
            None => None,
        };
        found.ok_or_else(|| MlflowProblem::missing(format!("Logged model with ID '{}' not found.", shown(text))))
    }

    /// Refuses the token of a job what does not come from one of the job's own runs. `what` names it.
    pub(super) async fn only_from_own_run(&self, what: &str, run: Option<RunId>) -> Told<()> {
        if self.inside.caller.job().is_none() {
            return Ok(());
        }
        let owner = match run {
            Some(id) => self.store().find_run_head(self.project(), id).await?.and_then(|it| it.job_id),
            None => None,
        };
        Ok(self.inside.only_own(what, owner)?)
    }

    /// A logged model that the caller may change: for the token of a job, one from the job's own runs.
    pub(super) async fn changeable_logged_model(&self, text: &str) -> Told<LoggedModelRow> {
        let found = self.logged_model(text).await?;
        self.only_from_own_run(&format!("logged model {}", model_id_text(found.id)), found.run_id).await?;
        Ok(found)
    }

    /// A registered model by name.
    pub(super) async fn model(&self, name: &str) -> Told<ModelRow> {
        let found = self.store().find_model(self.project(), name).await?;
        found.ok_or_else(|| MlflowProblem::missing(format!("Registered Model with name={} not found", shown(name))))
    }
}

/// Ids of experiments as clients write them.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExperimentIds {
    default: ExperimentId,
}

impl ExperimentIds {
    pub(super) async fn of(store: &Store, project: ProjectId) -> Result<Self, Problem> {
        Ok(Self { default: store.default_experiment_id(project).await? })
    }

    /// Ids of experiments from the texts that a client sent. Whether they are there is another question.
    pub(super) fn parse_all(self, texts: &[String]) -> Told<Vec<ExperimentId>> {
        let parse = |text: &String| {
            if text == DEFAULT_ID {
                return Ok(self.default);
            }
            let missing = |_| MlflowProblem::missing(format!("No Experiment with id={} exists", shown(text)));
            text.parse::<ExperimentId>().map_err(missing)
        };
        texts.iter().map(parse).collect()
    }

    pub(super) fn text(self, id: ExperimentId) -> String {
        if id == self.default { DEFAULT_ID.to_owned() } else { id.to_string() }
    }
}

impl Call {
    pub(super) async fn experiment_ids(&self) -> Told<ExperimentIds> {
        Ok(ExperimentIds::of(self.store(), self.project()).await?)
    }
}
