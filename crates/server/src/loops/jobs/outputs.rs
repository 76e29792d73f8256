//! Keeping what a job made: the declared files become artifacts, by content.

use crate::app::App;
use kaogong_domain::{Problem, ids::AttemptId};
use kaogong_store::{Actor, ArtifactOwner, JobRow, NewArtifact};
use std::{
    fs::File,
    io::Read,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

/// The most files that one job may keep.
const FILES_MAX: usize = 10_000;
/// The most bytes that one file may have.
const FILE_BYTES_MAX: u64 = 64 << 30;

/// Stores the outputs of an attempt that ended well. Repeating it stores the same bytes once.
///
/// # Errors
/// `Invalid` names a declared output that is not there.
pub(super) async fn keep(app: &Arc<App>, job: &JobRow, attempt: AttemptId) -> Result<(), Problem> {
    let spec = crate::http::jobs::spec_of(job)?;
    if spec.outputs.is_empty() {
        return Ok(());
    }
    let folder = app.runner.prepare(attempt).await?;
    let blobs = app.blobs.clone();
    let kept = tokio::task::spawn_blocking(move || {
        let mut files = vec![];
        for output in &spec.outputs {
            collect(&folder, Path::new(output), &mut files)?;
        }
        files.into_iter().map(|(name, path)| store_file(&blobs, name, &path)).collect::<Result<Vec<_>, Problem>>()
    })
    .await
    .map_err(|it| Problem::bug("keeping a job's outputs did not end", it))??;
    for artifact in kept {
        app.store
            .put_artifact(job.project_id, ArtifactOwner::Job(job.id), artifact, &Actor::system(), app.now())
            .await?;
    }
    Ok(())
}

/// Files below `folder/output`, by their name relative to `folder`. Links are not followed.
fn collect(folder: &Path, output: &Path, files: &mut Vec<(String, PathBuf)>) -> Result<(), Problem> {
    let is_plain = output.components().all(|it| matches!(it, Component::Normal(_)));
    if !is_plain {
        return Err(Problem::invalid(format!("output `{}` is not a path below the working folder", output.display())));
    }
    let start = folder.join(output);
    let found = std::fs::symlink_metadata(&start)
        .map_err(|_| Problem::invalid(format!("the job ended well but made no `{}`", output.display())))?;
    let mut rest = vec![(start, found)];
    while let Some((path, facts)) = rest.pop() {
        if facts.is_dir() {
            let unreadable = |it| Problem::unavailable(format!("cannot read `{}`", path.display())).because(it);
            for entry in std::fs::read_dir(&path).map_err(unreadable)? {
                let entry = entry.map_err(unreadable)?;
                rest.push((entry.path(), entry.metadata().map_err(unreadable)?));
            }
        } else if facts.is_file() {
            let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
            files.push((name, path));
        }
        if files.len() > FILES_MAX {
            return Err(Problem::invalid(format!("the job's outputs have more than {FILES_MAX} files")));
        }
    }
    Ok(())
}

fn store_file(blobs: &kaogong_data::Blobs, name: String, path: &Path) -> Result<NewArtifact, Problem> {
    let unreadable = |it| Problem::unavailable(format!("cannot read output `{name}`")).because(it);
    let mut file = File::open(path).map_err(unreadable)?;
    let mut writer = blobs.begin(FILE_BYTES_MAX)?;
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        writer.write(&buffer[..read])?;
    }
    let (hash, size) = writer.finish()?;
    Ok(NewArtifact { path: name, hash: hash.to_string(), size, media_type: None })
}
