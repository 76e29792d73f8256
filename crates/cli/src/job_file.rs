//! Job files: a job's wire shape in TOML, with files instead of hashes and texts.

use crate::{
    data_in::{LeftOut, cannot_read},
    exit::usage,
    output::words,
};
use kaogong_api::jobs::{EnvironmentSpec, JobSpec, Resources};
use kaogong_client::{Client, tar_out};
use kaogong_domain::Problem;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

/// The largest job file and lock file.
const TEXT_BYTES_MAX: u64 = 4 << 20;
/// The most bytes of code that are packed.
const CODE_BYTES_MAX: u64 = 1 << 30;
/// Folders, and links in their place, that are never code.
const LEFT_OUT: [&str; 5] = [".git", "__pycache__", ".venv", "node_modules", ".ipynb_checkpoints"];

/// The bit of a file's mode that lets its owner start it.
const OWNER_RUNS: u32 = 0o100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobFile {
    #[serde(default)]
    name: Option<String>,
    command: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
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
    code: Option<Vec<tar_out::Entry>>,
}

/// Reads a job file; paths in it are relative to it.
///
/// # Errors
/// Bad usage: a missing file, wrong TOML, an unknown key, a lock or code that cannot be read.
pub fn read(path: &Path) -> Result<Prepared, Problem> {
    let text = read_text(path)?;
    let shown = path.display();
    let file: JobFile = toml::from_str(&text).map_err(|it| {
        usage(format!("{shown} is not a job file: {}", it.to_string().trim_end()))
            .hint("a job file has name, command, env, environment, code, inputs, outputs, resources, retries")
    })?;
    if file.command.first().is_none_or(String::is_empty) {
        return Err(
            usage(format!("{shown} has an empty command")).hint("write it like command = [\"python\", \"train.py\"]")
        );
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let environment = file.environment.map(|it| -> Result<_, Problem> {
        Ok(EnvironmentSpec { lock: read_text(&folder.join(&it.lock))?, python: it.python })
    });
    let code = file.code.map(|it| code_entries(&folder.join(it)));
    let stem = path.file_stem().map(|it| it.to_string_lossy().into_owned());
    let spec = JobSpec {
        name: file.name.or(stem).unwrap_or_else(|| "job".into()),
        command: file.command,
        env: file.env,
        environment: environment.transpose()?,
        code: None,
        inputs: file.inputs,
        outputs: file.outputs,
        resources: file.resources,
        retries: file.retries,
    };
    Ok(Prepared { spec, code: code.transpose()? })
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

fn code_entries(folder: &Path) -> Result<Vec<tar_out::Entry>, Problem> {
    let facts = fs::metadata(folder).map_err(|it| cannot_read(folder, &it))?;
    if !facts.is_dir() {
        return Err(usage(format!("code = {} is not a folder", folder.display())));
    }
    let is_code = |it: &walkdir::DirEntry| {
        it.file_type().is_file() || it.depth() == 0 || LEFT_OUT.iter().all(|name| it.file_name() != *name)
    };
    let (mut entries, mut left_out) = (Vec::new(), LeftOut::default());
    let mut bytes = 0;
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().filter_entry(is_code) {
        let entry = entry.map_err(|it| usage(format!("cannot read the code: {it}")))?;
        if entry.file_type().is_file() {
            let facts = entry.metadata().map_err(|it| usage(format!("cannot read the code: {it}")))?;
            bytes += facts.len();
            let file = tar_out::Entry::below(folder, entry.path());
            let is_program = facts.permissions().mode() & OWNER_RUNS != 0;
            entries.push(if is_program { file.executable() } else { file });
        } else if entry.depth() > 0 && !entry.file_type().is_dir() {
            left_out.note(folder, entry.path(), entry.file_type());
        }
    }
    left_out.refuse(folder)?;
    if bytes > CODE_BYTES_MAX {
        return Err(usage(format!(
            "the code in {} has {}, more than {}",
            folder.display(),
            words::bytes(bytes),
            words::bytes(CODE_BYTES_MAX)
        ))
        .hint("import data as a dataset and name it under inputs"));
    }
    if entries.is_empty() {
        return Err(usage(format!("the code folder {} holds no files", folder.display())));
    }
    Ok(entries)
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
    fn programs_stay_programs_and_links_are_refused() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("src")).expect("a folder");
        fs::write(at("src/data"), "").expect("a file");
        fs::write(at("src/run.sh"), "").expect("a file");
        fs::set_permissions(at("src/run.sh"), fs::Permissions::from_mode(0o744)).expect("a program");
        symlink("/nowhere", at("src/.venv")).expect("a link");
        symlink(at("src"), at("by_link")).expect("a link");
        let code = code_entries(&at("by_link")).expect("a link in place of what is no code, and one to the folder");
        let files: Vec<_> = code.into_iter().map(|it| (it.name, it.is_executable)).collect();
        assert_eq!(files, [(b"data".to_vec(), false), (b"run.sh".to_vec(), true)]);
        symlink("data", at("src/.hidden")).expect("a link");
        let problem = code_entries(&at("src")).expect_err("refused");
        assert!(problem.text.contains("holds 1 symbolic links") && problem.text.ends_with(".hidden"), "{problem}");
        assert_eq!(crate::exit::number(&problem), 2);
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
        ] {
            let problem = check(text).expect_err("refused");
            assert!(problem.text.contains(part), "{text}: {}", problem.text);
            assert_eq!(crate::exit::number(&problem), 2);
        }
    }
}
