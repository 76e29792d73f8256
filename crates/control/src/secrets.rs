//! What of a job must not be shown: the secrets that it is given, and the masks that keep them out of what it tells.

use crate::{services::Services, vault::Vault};
use kaogong_api::jobs::JobSpec;
use kaogong_domain::{
    Problem, Secret,
    ids::{AttemptId, ProjectId},
    masks::Masks,
    variables::looks_secret,
};
use kaogong_store::{JobRow, TokenRow};
use std::{collections::BTreeMap, sync::Arc};

/// The use for which the value of a secret is encrypted.
pub fn place_of(project: ProjectId, name: &str) -> String {
    format!("secret `{name}` of project {project}")
}

fn place_of_attempt(attempt: AttemptId) -> String {
    format!("the secrets of attempt {attempt}")
}

/// The variables of a job with the values of its secrets, and which of those values are secret.
#[derive(Default)]
pub struct Values {
    /// All variables.
    pub env: BTreeMap<String, String>,
    /// Values that are not to be shown.
    pub secret: Vec<Secret>,
}

/// The names of the secrets that a job is given.
pub fn names_of(spec: &JobSpec) -> impl Iterator<Item = (&str, &str)> {
    spec.env.iter().filter_map(|(variable, it)| Some((variable.as_str(), it.secret()?)))
}

/// Opens the secrets of a job. A value in clear counts as secret when its variable is named so.
///
/// # Errors
/// `NotFound` names a secret that is not there any more, `Conflict` one that cannot be decrypted.
pub async fn values_of(app: &Services, project: ProjectId, spec: &JobSpec) -> Result<Values, Problem> {
    let sealed = match names_of(spec).next() {
        Some(_) => app.store.sealed_secrets(project).await?,
        None => BTreeMap::new(),
    };
    let mut values = Values::default();
    for (variable, value) in &spec.env {
        if let Some(name) = value.secret() {
            let found = sealed.get(name).ok_or_else(|| missing(name))?;
            let secret = app.vault().open_sealed(&place_of(project, name), found)?;
            values.env.insert(variable.clone(), secret.expose().to_owned());
            values.secret.push(secret);
        } else if let Some(text) = value.text() {
            values.env.insert(variable.clone(), text.to_owned());
            if looks_secret(variable) {
                values.secret.push(Secret::new(text));
            }
        }
    }
    Ok(values)
}

/// A secret that a job names and the project does not have.
pub fn missing(name: &str) -> Problem {
    Problem::not_found(format!("the project has no secret `{name}`"))
        .hint(format!("`kaogong access secrets set {name}` makes it; the role maintainer may"))
}

/// What the token of an attempt remembers of its secrets.
///
/// # Errors
/// Those of the vault.
pub fn seal_for(app: &Services, attempt: AttemptId, secrets: &[Secret]) -> Result<Option<String>, Problem> {
    if secrets.is_empty() {
        return Ok(None);
    }
    let texts: Vec<&str> = secrets.iter().map(Secret::expose).collect();
    let text = serde_json::to_string(&texts).map_err(|it| Problem::bug("secrets cannot be written", it))?;
    app.vault().seal(&place_of_attempt(attempt), &Secret::new(text)).map(Some)
}

fn opened(vault: &Vault, attempt: AttemptId, sealed: &[String]) -> Result<Masks, Problem> {
    let mut texts: Vec<String> = vec![];
    for it in sealed {
        let text = vault.open_sealed(&place_of_attempt(attempt), it)?;
        let more: Vec<String> = serde_json::from_str(text.expose())
            .map_err(|_| Problem::conflict(format!("the secrets of attempt {attempt} are unreadable")))?;
        texts.extend(more);
    }
    Ok(Masks::new(texts.iter().map(String::as_str)))
}

/// The masks for what the holder of a job's token sends. `None` for the tokens of people.
///
/// # Errors
/// `Conflict` when the attempt's secrets cannot be decrypted: then nothing of what it sends may be taken.
pub fn masks_of_token(vault: &Vault, token: &TokenRow) -> Result<Option<Arc<Masks>>, Problem> {
    let (Some(_), Some(attempt)) = (token.job_id, token.attempt_id) else { return Ok(None) };
    let sealed: Vec<String> = token.sealed_secrets.iter().cloned().collect();
    opened(vault, attempt, &sealed).map(|it| Some(Arc::new(it)))
}

/// The masks for what an attempt leaves behind, while its token lives.
///
/// # Errors
/// As [`masks_of_token`].
pub async fn masks_of_attempt(app: &Services, attempt: AttemptId) -> Result<Arc<Masks>, Problem> {
    let sealed = app.store.sealed_secrets_of_attempt(attempt).await?;
    opened(app.vault(), attempt, &sealed).map(Arc::new)
}

/// The masks for a job's log on its way to a reader. Its supervisor has covered what it knew when it was written; this
/// covers the shape of tokens and the secrets as they are now, also in logs of supervisors before that was done.
pub async fn masks_for_log(app: &Services, job: &JobRow) -> Result<Arc<Masks>, Problem> {
    let spec = crate::job_specs::spec_of(job)?;
    let sealed = match names_of(&spec).next() {
        Some(_) => app.store.sealed_secrets(job.project_id).await?,
        None => BTreeMap::new(),
    };
    let in_clear = spec.env.iter().filter(|(variable, _)| looks_secret(variable)).filter_map(|(_, it)| it.text());
    let mut texts: Vec<Secret> = in_clear.map(Secret::new).collect();
    for (_, name) in names_of(&spec) {
        let Some(found) = sealed.get(name) else { continue };
        match app.vault().open_sealed(&place_of(job.project_id, name), found) {
            Ok(secret) => texts.push(secret),
            // Covered when it was written; the reader is not to suffer for a lost key.
            Err(problem) => {
                tracing::warn!(job = %job.id, "the log of {} is shown as it was written: {problem}", job.id)
            }
        }
    }
    Ok(Arc::new(Masks::new(texts.iter().map(Secret::expose))))
}
