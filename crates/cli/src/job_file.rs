//! Job files: a job's wire shape in TOML, with files instead of hashes and texts.

use crate::{
    code_folder::{self, Code},
    data_in::cannot_read,
    exit::usage,
    output::words,
};
use kaogong_api::jobs::{EnvValue, EnvironmentSpec, JobSpec, JobToken, Resources};
use kaogong_client::{Client, tar_out};
use kaogong_domain::{
    Problem,
    command_words::shell_remark,
    lock_files,
    variables::{self, looks_secret},
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

/// The largest job file and lock file.
const TEXT_BYTES_MAX: u64 = 4 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobFile {
    #[serde(default)]
    name: Option<String>,
    command: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, EnvValue>,
    #[serde(default)]
    environment: Option<Environment>,
    #[serde(default)]
    code: Option<PathBuf>,
    #[serde(default)]
    inputs: BTreeMap<String, String>,
    #[serde(default)]
    outputs: Vec<String>,
    #[serde(default)]
    resources: Resources,
    #[serde(default)]
    retries: u32,
    #[serde(default)]
    token: JobToken,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Environment {
    lock: PathBuf,
    #[serde(default)]
    python: Option<String>,
}

/// A job file, read, with the code that is still to be uploaded.
#[derive(Debug)]
pub struct Prepared {
    /// The job; its `code` is set after the upload.
    pub spec: JobSpec,
    /// What may not be as its author thinks, in sentences.
    pub remarks: Vec<String>,
    code: Option<Vec<tar_out::Entry>>,
}

/// Reads a job file; paths in it are relative to it.
///
/// # Errors
/// Bad usage: a missing file, wrong TOML, an unknown key, a variable that is not the job's to set, a lock or code that
/// cannot be read or used.
pub fn read(path: &Path) -> Result<Prepared, Problem> {
    let text = read_text(path)?;
    let shown = path.display();
    let file: JobFile = toml::from_str(&text).map_err(|it| {
        usage(format!("{shown} is not a job file: {}", it.to_string().trim_end()))
            .hint("a job file has name, command, env, environment, code, inputs, outputs, resources, retries, token")
    })?;
    if file.command.first().is_none_or(String::is_empty) {
        return Err(
            usage(format!("{shown} has an empty command")).hint("write it like command = [\"python\", \"train.py\"]")
        );
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    for (name, value) in &file.env {
        variables::check(name, value.text(), file.environment.is_some()).map_err(as_usage)?;
    }
    let environment = file.environment.map(|it| read_environment(folder, it)).transpose()?;
    let code = file.code.map(|it| code_folder::read(&folder.join(it))).transpose()?;
    let remarks = remarks(&file.command, &file.env, code.as_ref());
    let stem = path.file_stem().map(|it| it.to_string_lossy().into_owned());
    let spec = JobSpec {
        name: file.name.or(stem).unwrap_or_else(|| "job".into()),
        command: file.command,
        env: file.env,
        environment,
        code: None,
        inputs: file.inputs,
        outputs: file.outputs,
        resources: file.resources,
        retries: file.retries,
        token: file.token,
    };
    Ok(Prepared { spec, remarks, code: code.map(|it| it.entries) })
}

fn read_environment(folder: &Path, it: Environment) -> Result<EnvironmentSpec, Problem> {
    let path = folder.join(&it.lock);
    let lock = read_text(&path)?;
    let name = it.lock.to_string_lossy();
    lock_files::check(Some(&name), &lock).map_err(as_usage)?;
    Ok(EnvironmentSpec { lock, python: it.python })
}

fn as_usage(it: Problem) -> Problem {
    Problem { hint: it.hint, ..usage(it.text) }
}

/// What is said before a job is sent that may well do something else than its author thinks.
fn remarks(command: &[String], env: &BTreeMap<String, EnvValue>, code: Option<&Code>) -> Vec<String> {
    let mut all: Vec<String> = shell_remark(command).into_iter().collect();
    if let Some(code) = code {
        all.extend(code.script_remarks(command));
        all.extend(code.remarks.iter().cloned());
    }
    for (name, _) in env.iter().filter(|(name, value)| looks_secret(name) && value.text().is_some()) {
        all.push(format!(
            "variable {name} looks like a secret, and every developer of the project can read it here; \
             `kaogong access secrets set {name}` keeps it, and {name} = {{ secret = \"{name}\" }} gives it to the job"
        ));
    }
    all
}

impl Prepared {
    /// Uploads the code, if there is any, and gives the complete job.
    pub async fn upload(mut self, client: &Client) -> Result<JobSpec, Problem> {
        if let Some(entries) = self.code {
            self.spec.code = Some(upload_code(client, entries).await?);
        }
        Ok(self.spec)
    }
}

/// Uploads code as a tar and gives its hash.
pub async fn upload_code(client: &Client, entries: Vec<tar_out::Entry>) -> Result<String, Problem> {
    let body = tar_out::body(Arc::new(entries), Arc::new(AtomicU64::new(0)));
    Ok(client.upload(body).await?.hash)
}

fn read_text(path: &Path) -> Result<String, Problem> {
    let facts = fs::metadata(path).map_err(|it| cannot_read(path, &it))?;
    if facts.len() > TEXT_BYTES_MAX {
        return Err(usage(format!(
            "{} has {}; at most {} are read",
            path.display(),
            words::bytes(facts.len()),
            words::bytes(TEXT_BYTES_MAX)
        )));
    }
    fs::read_to_string(path).map_err(|it| cannot_read(path, &it))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Prepared, Problem> {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(dir.path().join("src/__pycache__")).expect("folders");
        fs::write(dir.path().join("src/train.py"), "print(1)").expect("a file");
        fs::write(dir.path().join("src/__pycache__/train.pyc"), "x").expect("a file");
        fs::write(dir.path().join("lock.txt"), "numpy==1").expect("a file");
        fs::write(dir.path().join("uv.lock"), "version = 1\n").expect("a file");
        let path = dir.path().join("train.toml");
        fs::write(&path, text).expect("a file");
        read(&path)
    }

    #[test]
    fn files_beside_the_job_are_read() {
        let text = "command = ['python', 'train.py']\ncode = 'src'\nenvironment = { lock = 'lock.txt', python = '3.11' }\n[inputs]\nd = 'digits@1'\n[resources]\ncpus = 2\n";
        let job = check(text).expect("a job");
        assert_eq!((job.spec.name.as_str(), job.spec.resources.cpus), ("train", 2.0));
        assert_eq!(job.spec.environment.expect("an environment").lock, "numpy==1");
        let names: Vec<_> = job.code.expect("code").into_iter().map(|it| it.name).collect();
        assert_eq!(names, [b"train.py".to_vec()]);
    }

    #[test]
    fn what_may_be_meant_otherwise_is_remarked() {
        let remarks = |text: &str| check(text).expect("a job").remarks.join("\n");
        assert_eq!(remarks("command = ['python', 'train.py']\ncode = 'src'\n[env]\nEPOCHS = '5'\n"), "");
        assert!(remarks("command = ['a && b']").contains("there is no shell"));
        let text = "command = ['x']\n[env]\nHF_TOKEN = 'hf_abc'\nDB_PASSWORD = { secret = 'DB' }\n";
        let told = remarks(text);
        assert!(told.contains("variable HF_TOKEN looks like a secret") && !told.contains("hf_abc"), "{told}");
        assert!(!told.contains("DB_PASSWORD"), "{told}");
    }

    #[test]
    fn the_job_file_that_the_documentation_uses_can_be_submitted() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../python/demo/train.toml");
        let job = read(&path).expect("a job");
        let names: Vec<String> =
            job.code.expect("code").iter().map(|it| String::from_utf8_lossy(&it.name).into_owned()).collect();
        let script = job.spec.command.get(1).expect("a script");
        assert!(names.contains(script) && names.iter().any(|it| it == "kaogong_job/__init__.py"), "{names:?}");
        assert!(job.spec.environment.expect("an environment").lock.contains("mlflow-skinny=="));
        assert!(job.spec.command.iter().any(|it| job.spec.inputs.contains_key(it)), "the script reads the input");
    }

    #[test]
    fn an_unknown_key_is_named_with_those_that_exist() {
        let problem = check("command = ['x']\ncomand = 1\n").expect_err("refused");
        assert!(problem.text.contains("`comand`") && problem.text.contains("`command`"), "{}", problem.text);
        let problem = check("command = ['x']\n[env]\nA = 1\n").expect_err("refused");
        assert!(problem.text.contains("expected a text or { secret = "), "{}", problem.text);
        let problem = check("command = ['x']\n[resources]\ngpus = 1\n").expect_err("refused");
        assert!(problem.text.contains("`gpus`") && problem.text.contains("memory_mib"), "{}", problem.text);
    }

    #[test]
    fn what_cannot_work_is_said_before_anything_is_sent() {
        for (text, part) in [
            ("command = [", "is not a job file"),
            ("command = []", "an empty command"),
            ("name = 'a'", "`command`"),
            ("command = ['x']\ncode = 'absent'", "there is no "),
            ("command = ['x']\nenvironment = { lock = 'absent' }", "there is no "),
            ("command = ['x']\ncode = 'lock.txt'", "is not a folder"),
            ("command = ['x']\n[env]\nKAOGONG_TOKEN = 'x'", "`KAOGONG_TOKEN` is set by the platform"),
            ("command = ['x']\n[env]\nA = { secrets = 'x' }", "`secrets`"),
            ("command = ['x']\nenvironment = { lock = 'uv.lock' }", "`uv.lock` is a lock of uv's own"),
            ("command = ['x']\ntoken = 'owner'", "`owner`"),
        ] {
            let problem = check(text).expect_err("refused");
            assert!(problem.text.contains(part), "{text}: {}", problem.text);
            assert_eq!(crate::exit::number(&problem), 2);
        }
    }
}
