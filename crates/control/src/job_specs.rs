//! What a stored job asked for.

use kaogong_api::jobs::{JobSpec, Resources};
use kaogong_domain::Problem;
use kaogong_runners::EnvironmentSpec;
use kaogong_store::JobRow;

/// The spec of a stored job.
pub fn spec_of(job: &JobRow) -> Result<JobSpec, Problem> {
    serde_json::from_str(&job.spec).map_err(|it| Problem::bug(format!("job {} has an unreadable spec", job.id), it))
}

/// The environment that a spec asks for, as the runner knows it.
pub fn environment_of(spec: &JobSpec) -> Option<EnvironmentSpec> {
    let asked = spec.environment.as_ref()?;
    let python = asked.python.clone().unwrap_or_else(|| "3".to_owned());
    Some(EnvironmentSpec { lock: asked.lock.clone(), python })
}

/// What a stored job asked for; the usual amounts when its spec cannot be read.
pub fn resources_of(job: &JobRow) -> Resources {
    spec_of(job).map(|it| it.resources).unwrap_or_default()
}
