//! Handing one attempt to the runner: its files, its inputs by name, its own short-lived token.

use crate::{
    job_specs,
    secrets::{self, Values},
    services::Services,
};
use kaogong_api::jobs::{JobSpec, JobToken};
use kaogong_data::BlobHash;
use kaogong_data::archive;
use kaogong_domain::masks::TOKEN_PREFIX;
use kaogong_domain::{
    Problem, Secret,
    access::{Decision, Permission, Scope, Scopes, Standing, decide},
    ids::{AttemptId, UserId},
};
use kaogong_runners::{Launch, Limits, Prepared};
use kaogong_store::{Actor, JobRow, NewTokenRow, ProjectRow};
use kaogong_store::{hash_secret, make_secret};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

/// How a job's code is called in words.
const CODE: &str = "the job's code";

/// The most bytes that a job's code may unpack to.
const CODE_BYTES_MAX: u64 = 2 << 30;
/// The most files that a job's code may hold.
const CODE_FILES_MAX: usize = 100_000;
/// A job's token outlives its time limit by this much, for waiting and for building its environment.
const TOKEN_SPARE_MS: i64 = 24 * 3600 * 1000;

/// Stages and starts an attempt. May be repeated: what is there already is used.
///
/// # Errors
/// `Invalid`, `NotFound` and `Conflict` when it can never start; all others when it cannot start now.
pub(super) async fn launch(app: &Arc<Services>, job: &JobRow, attempt: AttemptId) -> Result<(), Problem> {
    let spec: JobSpec = job_specs::spec_of(job)?;
    let project = app.store.project(job.project_id).await?;
    let submitter = submitter_of(app, job, &project).await?;
    let prepared = app.runner.prepare(attempt).await?;
    if let Some(code) = &spec.code {
        stage(app, code, prepared.clone()).await?;
    }
    let values = secrets::values_of(app, job.project_id, &spec).await?;
    let token = make_token(app, job, attempt, submitter, &spec, &values).await?;
    let masked = [&token].into_iter().chain(&values.secret).map(|it| it.expose().to_owned()).collect();
    let launch = Launch {
        attempt,
        work_dir: prepared.work_dir().to_owned(),
        command: spec.command.clone(),
        env: variables(app, job, &project, values, &token).await?,
        masked,
        devices: BTreeMap::new(),
        direct_hosts: host_of(&app.own_address()).into_iter().collect(),
        environment: job_specs::environment_of(&spec),
        limits: Limits {
            time_ms: Some(spec.resources.time_limit_s.saturating_mul(1000)),
            memory_bytes: Some(spec.resources.memory_mib.saturating_mul(1 << 20)),
            log_bytes_max: spec.resources.log_bytes_max,
            grace_ms: spec.resources.grace_s.saturating_mul(1000),
            cpus: Some(spec.resources.cpus),
            ..Limits::default()
        },
    };
    app.runner.start(&launch).await
}

/// Who the job speaks for, when that user may still run jobs in its project. They may have left since the job was
/// submitted, and a job that waits or is tried again must not be a way around that.
async fn submitter_of(app: &Services, job: &JobRow, project: &ProjectRow) -> Result<UserId, Problem> {
    let refused = || Problem::conflict("the job's submitter may no longer run jobs here");
    let id = job.created_by.ok_or_else(refused)?;
    let user = app.store.find_user(id).await?.filter(|it| it.disabled_at.is_none()).ok_or_else(refused)?;
    let (_, role) = app.store.find_project(&project.name, id).await?.ok_or_else(refused)?;
    let scopes = scopes_of(JobToken::Developer);
    let standing = Standing { role, is_platform_admin: user.is_admin, scopes: &scopes, is_bound_elsewhere: false };
    match decide(&standing, Permission::Write) {
        Decision::Allow => Ok(id),
        Decision::Forbid | Decision::Hide => Err(refused()),
    }
}

/// What a job's token may be used for: what is the job's own, or on request what a developer does. It never
/// administers.
fn scopes_of(token: JobToken) -> Scopes {
    let scope = match token {
        JobToken::Job => Scope::Job,
        JobToken::Developer => Scope::Write,
    };
    Scopes([scope].into())
}

/// Unpacks the code once. An earlier server may have got so far, and its supervisor may be about to start the
/// command, so that nothing is written any more where everything is there.
async fn stage(app: &Services, code: &str, prepared: Prepared) -> Result<(), Problem> {
    let hash: BlobHash =
        code.parse().map_err(|_| Problem::invalid(format!("`{code}` is not the hash of an upload")))?;
    let blobs = app.blobs.clone();
    tokio::task::spawn_blocking(move || {
        if prepared.is_staged() {
            return Ok(());
        }
        unpack(&blobs.open_file(&hash)?.0, prepared.work_dir())?;
        prepared.mark_staged()
    })
    .await
    .map_err(|it| Problem::bug("unpacking a job's code did not end", it))?
}

/// The job speaks for its submitter, in this project only, no longer than it may run.
async fn make_token(
    app: &Services,
    job: &JobRow,
    attempt: AttemptId,
    user_id: UserId,
    spec: &JobSpec,
    values: &Values,
) -> Result<Secret, Problem> {
    let secret = make_secret(TOKEN_PREFIX)?;
    let now = app.now();
    let lifetime_ms = i64::try_from(spec.resources.time_limit_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    let row = NewTokenRow {
        user_id,
        project_id: Some(job.project_id),
        name: format!("job {}", job.id),
        scopes: scopes_of(spec.token),
        hash: hash_secret(&secret),
        job_id: Some(job.id),
        attempt_id: Some(attempt),
        expires_at: Some(now.plus_ms(lifetime_ms).plus_ms(TOKEN_SPARE_MS)),
        sealed_secrets: secrets::seal_for(app, attempt, &values.secret)?,
    };
    app.store.create_token(row, &Actor::system(), now).await?;
    Ok(secret)
}

/// The host in the address of a server.
fn host_of(address: &str) -> Option<String> {
    let (host, _) = address.split_once("://")?.1.rsplit_once(':')?;
    Some(host.trim_matches(['[', ']']).to_owned())
}

async fn variables(
    app: &Services,
    job: &JobRow,
    project: &ProjectRow,
    values: Values,
    token: &Secret,
) -> Result<BTreeMap<String, String>, Problem> {
    let mut inputs = serde_json::Map::new();
    for input in app.store.job_inputs(job.id).await? {
        inputs.insert(input.alias, json!({"dataset": input.dataset, "number": input.number}));
    }
    let base = app.own_address();
    // A job that names one of ours was refused when it was submitted.
    let mut env = values.env;
    let ours = [
        ("KAOGONG_URL", base.clone()),
        ("KAOGONG_TOKEN", token.expose().to_owned()),
        ("KAOGONG_PROJECT", project.name.to_string()),
        ("KAOGONG_JOB_ID", job.id.to_string()),
        ("KAOGONG_INPUTS", serde_json::Value::Object(inputs).to_string()),
        ("MLFLOW_TRACKING_URI", format!("{base}/p/{}", project.name)),
        ("MLFLOW_TRACKING_TOKEN", token.expose().to_owned()),
    ];
    env.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    Ok(env)
}

/// Unpacks a tar into a folder. The archive is hostile: only plain files and folders, no name that leaves the
/// folder, bounded in count and size.
fn unpack(mut file: &fs::File, folder: &Path) -> Result<(), Problem> {
    archive::check(CODE, &mut file)?;
    io::Seek::rewind(&mut file).map_err(|it| unpack_problem(&it))?;
    let mut archive = tar::Archive::new(file);
    let (mut files, mut bytes) = (0usize, 0u64);
    for entry in archive.entries().map_err(|it| unpack_problem(&it))? {
        let mut entry = entry.map_err(|it| unpack_problem(&it))?;
        files += 1;
        bytes = bytes.saturating_add(entry.size());
        if files > CODE_FILES_MAX || bytes > CODE_BYTES_MAX {
            return Err(Problem::invalid("the job's code is larger than 2 GiB or has more than 100,000 files"));
        }
        let kind = entry.header().entry_type();
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        // `git archive` puts the name of the commit in front.
        if kind.is_pax_global_extensions() {
            continue;
        }
        if !kind.is_file() && !kind.is_dir() {
            return Err(Problem::invalid(format!("`{name}` in the job's code is neither a file nor a folder")));
        }
        let path = entry.path().ok().and_then(|it| inside(&it));
        let path =
            path.ok_or_else(|| Problem::invalid(format!("`{name}` in the job's code would land outside its folder")))?;
        let unpacked = if kind.is_dir() {
            // Without its mode: a folder that is read only could not be filled.
            fs::create_dir_all(folder.join(path)).map(|()| true)
        } else {
            entry.unpack_in(folder)
        };
        // `unpack_in` itself refuses what would land outside, once more; it says so by `false`.
        if !unpacked.map_err(|it| unpack_problem(&it))? {
            return Err(Problem::invalid(format!("`{name}` in the job's code would land outside its folder")));
        }
    }
    Ok(())
}

/// The path of an entry below the folder that it is unpacked into.
fn inside(path: &Path) -> Option<PathBuf> {
    let plain = |it| match it {
        Component::Normal(part) => Some(Path::new(part).to_owned()),
        Component::CurDir | Component::RootDir => Some(PathBuf::new()),
        Component::ParentDir | Component::Prefix(_) => None,
    };
    path.components().map(plain).collect()
}

/// A disk that is full or closed to us may get better; an archive does not.
fn unpack_problem(it: &io::Error) -> Problem {
    match it.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Problem::unavailable(format!("there is no room to unpack the job's code: {it}"))
                .hint("free space on the data folder's disk; it is tried again")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Problem::unavailable(format!("the job's code cannot be unpacked: {it}"))
                .hint("let the account that runs kaogong write to the data folder; it is tried again")
        }
        _ => Problem::invalid(format!("the job's code cannot be unpacked: {it}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kaogong_domain::ErrorKind;
    use tar::{EntryType, Header};

    fn code(entries: &[(EntryType, &str, u32, &str)]) -> fs::File {
        let mut builder = tar::Builder::new(tempfile::tempfile().expect("a file"));
        for (kind, name, mode, text) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            header.set_size(text.len() as u64);
            // Written as it is: the builder would refuse names that a stranger does not.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, text.as_bytes()).expect("an entry");
        }
        builder.into_inner().expect("an archive")
    }

    #[test]
    fn code_is_unpacked_also_into_folders_that_are_read_only() {
        let dir = tempfile::tempdir().expect("a folder");
        let entries = [
            (EntryType::XGlobalHeader, "pax_global_header", 0o644, "19 comment=1234567\n"),
            (EntryType::Directory, "./src/", 0o555, ""),
            (EntryType::Regular, "src/train.py", 0o444, "print()"),
        ];
        for _ in 0..2 {
            unpack(&code(&entries), dir.path()).expect("unpacked, and again after a kill");
        }
        assert_eq!(fs::read_to_string(dir.path().join("src/train.py")).expect("the file"), "print()");
        assert!(!fs::metadata(dir.path().join("src")).expect("the folder").permissions().readonly());
        assert!(!dir.path().join("pax_global_header").exists());
    }

    #[test]
    fn hostile_code_is_refused_with_its_name() {
        let dir = tempfile::tempdir().expect("a folder");
        for (kind, name) in [
            (EntryType::Regular, "../outside"),
            (EntryType::Directory, "a/../../outside/"),
            (EntryType::Symlink, "link"),
            (EntryType::Fifo, "pipe"),
        ] {
            let problem = unpack(&code(&[(kind, name, 0o644, "")]), dir.path()).expect_err(name);
            assert_eq!(problem.kind, ErrorKind::Invalid, "{problem}");
            assert!(problem.text.contains(name), "{problem}");
        }
        let name = (EntryType::GNULongName, "long", 0o644, "x".repeat(100_000));
        let problem = unpack(&code(&[(name.0, name.1, name.2, &name.3)]), dir.path()).expect_err("a long name");
        assert_eq!(problem.kind, ErrorKind::Invalid, "{problem}");
        assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 0);
    }

    #[test]
    fn a_full_disk_is_no_fault_of_the_code() {
        assert_eq!(unpack_problem(&io::ErrorKind::StorageFull.into()).kind, ErrorKind::Unavailable);
        assert_eq!(unpack_problem(&io::ErrorKind::QuotaExceeded.into()).kind, ErrorKind::Unavailable);
        assert_eq!(unpack_problem(&io::ErrorKind::PermissionDenied.into()).kind, ErrorKind::Unavailable);
        assert_eq!(unpack_problem(&io::ErrorKind::NotADirectory.into()).kind, ErrorKind::Invalid);
    }

    #[test]
    fn the_host_of_an_address_is_found() {
        assert_eq!(host_of("http://127.0.0.1:7300").as_deref(), Some("127.0.0.1"));
        assert_eq!(host_of("http://[::1]:7300").as_deref(), Some("::1"));
        assert_eq!(host_of(""), None);
    }
}
