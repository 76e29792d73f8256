//! What of a job can be judged before it is accepted, so that nobody waits in a queue for a refusal.

use kaogong_api::jobs::{EnvValue, JobSpec};
use kaogong_control::job_specs::environment_of;
use kaogong_domain::{
    Problem,
    jobs::Capacity,
    lock_files,
    variables::{self, check_secret_name},
};
use kaogong_runners::check_path;

/// The most outputs that a job may declare; each may be a folder.
const OUTPUTS_MAX: usize = 1000;

/// Refuses a job that can never work on this machine.
pub(super) fn check_spec(spec: &JobSpec, machine: Capacity) -> Result<(), Problem> {
    if spec.name.trim().is_empty() || spec.name.len() > 200 {
        return Err(Problem::invalid("a job needs a name of 1 to 200 bytes"));
    }
    if spec.command.first().is_none_or(String::is_empty) {
        return Err(Problem::invalid("a job needs a command").hint("command = [\"python\", \"train.py\"]"));
    }
    if spec.retries > 10 {
        return Err(Problem::invalid(format!("{} retries are more than 10", spec.retries)));
    }
    check_variables(spec)?;
    check_resources(spec, machine)?;
    if spec.outputs.len() > OUTPUTS_MAX {
        let text = format!("{} outputs are more than {OUTPUTS_MAX}", spec.outputs.len());
        return Err(Problem::invalid(text).hint("name the folder that holds them"));
    }
    spec.outputs.iter().try_for_each(|it| check_path(it))?;
    let Some(environment) = environment_of(spec) else { return Ok(()) };
    lock_files::check(None, &environment.lock)?;
    environment.check()
}

fn check_variables(spec: &JobSpec) -> Result<(), Problem> {
    for (name, value) in &spec.env {
        variables::check(name, value.text(), spec.environment.is_some())?;
        match value {
            EnvValue::Text(_) => {}
            EnvValue::Secret(it) => check_secret_name(&it.secret)?,
            EnvValue::Hidden(_) => {
                let text = format!("variable `{name}` has no value: you were not shown it");
                return Err(Problem::invalid(text).hint("write the value, or `{ secret = \"NAME\" }`"));
            }
        }
    }
    Ok(())
}

fn check_resources(spec: &JobSpec, machine: Capacity) -> Result<(), Problem> {
    let resources = &spec.resources;
    if !resources.cpus.is_finite() || resources.cpus <= 0.0 {
        return Err(Problem::invalid(format!("{} is not a number of cores", resources.cpus))
            .hint(format!("this machine has {}", machine.cpus)));
    }
    if resources.memory_mib == 0 || resources.log_bytes_max == 0 {
        return Err(Problem::invalid("a job needs some memory and some room for its log"));
    }
    // It would wait for ever, and so would whoever submitted it.
    if resources.cpus > machine.cpus {
        let text = format!("the job asks for {} cores, and jobs on this machine have {}", resources.cpus, machine.cpus);
        return Err(Problem::invalid(text).hint("ask for less in `resources.cpus`"));
    }
    if resources.memory_mib.saturating_mul(1 << 20) > machine.memory_bytes {
        let (asked, there) = (resources.memory_mib, machine.memory_bytes >> 20);
        let text = format!("the job asks for {asked} MiB of memory, and jobs on this machine have {there} MiB");
        return Err(Problem::invalid(text).hint("ask for less in `resources.memory_mib`"));
    }
    if resources.time_limit_s == 0 || resources.time_limit_s > 30 * 24 * 3600 || resources.grace_s > 3600 {
        return Err(Problem::invalid("a job's time limit is 1 s to 30 days, its grace at most an hour"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Capacity = Capacity { cpus: 2.5, memory_bytes: 4096 << 20, jobs: 8 };

    fn refusal(change: fn(&mut JobSpec)) -> Option<Problem> {
        let mut spec: JobSpec = serde_json::from_str(r#"{"name":"x","command":["true"]}"#).expect("a spec");
        change(&mut spec);
        check_spec(&spec, MACHINE).err()
    }

    #[test]
    fn a_job_that_cannot_run_is_refused_at_the_door() {
        assert!(refusal(|_| {}).is_none());
        assert!(refusal(|it| it.command.clear()).is_some());
        assert!(refusal(|it| it.resources.cpus = f64::NAN).is_some());
        assert!(refusal(|it| it.resources.time_limit_s = 0).is_some());
    }

    #[test]
    fn variables_are_kept_or_refused_by_name() {
        let set = |name: &str, value: &str| {
            let mut spec: JobSpec = serde_json::from_str(r#"{"name":"x","command":["true"]}"#).expect("a spec");
            spec.env.insert(name.into(), serde_json::from_str(value).expect("a value"));
            check_spec(&spec, MACHINE).err().map(|it| it.text)
        };
        assert_eq!(set("PATH", r#""/opt/bin""#), None);
        assert_eq!(set("HF_TOKEN", r#"{"secret": "HF_TOKEN"}"#), None);
        for (name, value) in [
            ("KAOGONG_TOKEN", r#""x""#),
            ("MLFLOW_TRACKING_URI", r#"{"secret": "A"}"#),
            ("CUDA_VISIBLE_DEVICES", r#""0""#),
            ("CUDA_VISIBLE_DEVICES", r#"{"secret": "A"}"#),
            ("HIDDEN", r#"{"hidden": true}"#),
            ("A=B", r#""x""#),
        ] {
            let told = set(name, value).unwrap_or_else(|| panic!("{name} = {value} was taken"));
            assert!(told.contains(&format!("`{name}`")), "{told}");
        }
        assert!(set("A", r#"{"secret": "not a name"}"#).is_some());
    }

    #[test]
    fn a_job_for_a_larger_machine_is_told_what_there_is() {
        assert!(refusal(|it| (it.resources.cpus, it.resources.memory_mib) = (2.5, 4096)).is_none());
        let told = |change| refusal(change).expect("it never fits").to_string();
        let text = told(|it| it.resources.cpus = 2.6);
        assert!(text.contains("asks for 2.6 cores") && text.contains("have 2.5"), "{text}");
        let text = told(|it| it.resources.memory_mib = 4097);
        assert!(text.contains("asks for 4097 MiB") && text.contains("have 4096 MiB"), "{text}");
        assert!(refusal(|it| it.resources.memory_mib = u64::MAX).is_some());
    }

    #[test]
    fn outputs_are_plain_paths() {
        assert!(refusal(|it| it.outputs = vec!["model.onnx".into(), "plots/".into()]).is_none());
        let changes: [fn(&mut JobSpec); 4] = [
            |it| it.outputs = vec![String::new()],
            |it| it.outputs = vec!["./model.onnx".into()],
            |it| it.outputs = vec!["/etc/passwd".into()],
            |it| it.outputs = vec!["../x".into()],
        ];
        for change in changes {
            assert!(refusal(change).is_some_and(|it| it.hint.is_some()));
        }
        assert!(refusal(|it| it.outputs = vec!["a".into(); OUTPUTS_MAX + 1]).is_some());
    }

    #[test]
    fn the_environment_is_looked_at_too() {
        let asked =
            |python: &str| kaogong_api::jobs::EnvironmentSpec { lock: String::new(), python: Some(python.into()) };
        assert!(check_spec(&with(asked("3.11")), MACHINE).is_ok());
        assert!(check_spec(&with(asked("--help")), MACHINE).is_err());
        let lock = "version = 1\n[[package]]\nname = \"numpy\"\n".to_owned();
        let told = check_spec(&with(kaogong_api::jobs::EnvironmentSpec { lock, python: None }), MACHINE);
        let hint = told.expect_err("no requirements").hint.expect("a hint");
        assert!(hint.contains("uv export"), "{hint}");
    }

    fn with(environment: kaogong_api::jobs::EnvironmentSpec) -> JobSpec {
        let mut spec: JobSpec = serde_json::from_str(r#"{"name":"x","command":["true"]}"#).expect("a spec");
        spec.environment = Some(environment);
        spec
    }
}
