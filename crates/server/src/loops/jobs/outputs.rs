//! Keeping what a job made: the declared files become artifacts, by content.

use crate::app::App;
use kaogong_data::{BlobError, Blobs};
use kaogong_domain::{ErrorKind, Problem, ids::AttemptId};
use kaogong_runners::{Output, find_outputs};
use kaogong_store::{Actor, ArtifactOwner, JobRow, NewArtifact};
use std::{path::Path, sync::Arc};

/// The most files and folders that one job may keep.
const FILES_MAX: usize = 10_000;
/// The most bytes that one file may have.
const FILE_BYTES_MAX: u64 = 64 << 30;

/// Stores the outputs of an attempt that ended well. Repeating it stores the same bytes once. It stops soon after
/// `goes_on` has become false.
///
/// # Errors
/// `Invalid` names a declared output that is not there or cannot be read, `Conflict` says that it was stopped; all
/// others say what is wrong with this machine now.
pub(super) async fn keep(
    app: &Arc<App>,
    job: &JobRow,
    attempt: AttemptId,
    outputs: Vec<String>,
    goes_on: impl Fn() -> bool + Send + 'static,
) -> Result<(), Problem> {
    let folder = app.runner.prepare(attempt).await?;
    let blobs = app.blobs.clone();
    let kept = tokio::task::spawn_blocking(move || store(&blobs, folder.work_dir(), &outputs, &goes_on))
        .await
        .map_err(|it| Problem::bug("keeping a job's outputs did not end", it))??;
    for artifact in kept {
        app.store
            .put_artifact(job.project_id, ArtifactOwner::Job(job.id), artifact, &Actor::system(), app.now())
            .await?;
    }
    Ok(())
}

fn store(
    blobs: &Blobs,
    folder: &Path,
    outputs: &[String],
    goes_on: &dyn Fn() -> bool,
) -> Result<Vec<NewArtifact>, Problem> {
    let found = find_outputs(folder, outputs, FILES_MAX)?;
    found.iter().map(|it| store_file(blobs, it, goes_on)).collect()
}

fn store_file(blobs: &Blobs, output: &Output, goes_on: &dyn Fn() -> bool) -> Result<NewArtifact, Problem> {
    let name = output.name();
    let unstorable = |it: BlobError| {
        let problem = Problem::from(it);
        Problem { text: format!("output `{name}` cannot be kept: {}", problem.text), ..problem }
    };
    let mut reader = output.open()?;
    let mut writer = blobs.begin(FILE_BYTES_MAX).map_err(unstorable)?;
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        if !goes_on() {
            return Err(Problem::new(ErrorKind::Conflict, format!("stopped while output `{name}` was kept")));
        }
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        writer.write(&buffer[..read]).map_err(unstorable)?;
    }
    let (hash, size) = writer.finish().map_err(unstorable)?;
    Ok(NewArtifact { path: name, hash: hash.to_string(), size, media_type: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_become_blobs_and_a_stop_is_heard() {
        let dir = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::open(dir.path().join("blobs")).expect("blobs");
        std::fs::create_dir(dir.path().join("work")).expect("a folder");
        std::fs::write(dir.path().join("work/model"), "bytes").expect("a file");
        let declared = ["model".to_owned()];
        let kept = store(&blobs, &dir.path().join("work"), &declared, &|| true).expect("artifacts");
        assert_eq!((kept[0].path.as_str(), kept[0].size), ("model", 5));
        let stopped = store(&blobs, &dir.path().join("work"), &declared, &|| false).expect_err("stopped");
        assert_eq!(stopped.kind, ErrorKind::Conflict);
    }

    #[test]
    fn a_disk_that_takes_nothing_is_no_fault_of_the_job() {
        let dir = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::open(dir.path().join("blobs")).expect("blobs");
        std::fs::write(dir.path().join("model"), "bytes").expect("a file");
        std::fs::remove_dir_all(dir.path().join("blobs")).expect("the store is gone");
        let problem = store(&blobs, dir.path(), &["model".to_owned()], &|| true).expect_err("nowhere to store");
        assert_eq!(problem.kind, ErrorKind::Unavailable);
        assert!(problem.text.contains("`model`"), "{problem}");
        let missing = store(&blobs, dir.path(), &["other".to_owned()], &|| true).expect_err("it is not there");
        assert_eq!(missing.kind, ErrorKind::Invalid);
    }
}
