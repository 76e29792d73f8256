//! Keeping what a job made: the declared files become artifacts, by content.

use crate::{secrets::masks_of_attempt, services::Services};
use kaogong_data::{BlobError, Blobs};
use kaogong_domain::{
    ErrorKind, Problem,
    ids::AttemptId,
    masks::{Cover, Masker, Masks},
};
use kaogong_runners::{Output, find_outputs};
use kaogong_store::{Actor, ArtifactOwner, JobRow, NewArtifact};
use std::{path::Path, sync::Arc};

/// The most files and folders that one job may keep.
const FILES_MAX: usize = 10_000;
/// The most bytes that one file may have.
const FILE_BYTES_MAX: u64 = 64 << 30;

/// Stores the outputs of an attempt that ended well, with asterisks for the bytes of its secrets; gives the names of those
/// that held one. Repeating it stores the same bytes once. It stops soon after `goes_on` has become false.
///
/// # Errors
/// `Invalid` names a declared output that is not there or cannot be read, `Conflict` says that it was stopped; all
/// others say what is wrong with this machine now.
pub(super) async fn keep(
    app: &Arc<Services>,
    job: &JobRow,
    attempt: AttemptId,
    outputs: Vec<String>,
    goes_on: impl Fn() -> bool + Send + 'static,
) -> Result<Vec<String>, Problem> {
    let folder = app.runner.prepare(attempt).await?;
    let (blobs, masks) = (app.blobs.clone(), masks_of_attempt(app, attempt).await?);
    let kept = tokio::task::spawn_blocking(move || store(&blobs, folder.work_dir(), &outputs, &masks, &goes_on))
        .await
        .map_err(|it| Problem::bug("keeping a job's outputs did not end", it))??;
    let mut held_secrets = vec![];
    for (artifact, places) in kept {
        if places > 0 {
            held_secrets.push(artifact.path.clone());
        }
        app.store
            .put_artifact(job.project_id, ArtifactOwner::Job(job.id), artifact, &Actor::system(), app.now())
            .await?;
    }
    Ok(held_secrets)
}

fn store(
    blobs: &Blobs,
    folder: &Path,
    outputs: &[String],
    masks: &Arc<Masks>,
    goes_on: &dyn Fn() -> bool,
) -> Result<Vec<(NewArtifact, usize)>, Problem> {
    let found = find_outputs(folder, outputs, FILES_MAX)?;
    found.iter().map(|it| store_file(blobs, it, masks, goes_on)).collect()
}

/// Stores one file; how many places of it held a secret.
fn store_file(
    blobs: &Blobs,
    output: &Output,
    masks: &Arc<Masks>,
    goes_on: &dyn Fn() -> bool,
) -> Result<(NewArtifact, usize), Problem> {
    let name = output.name();
    let unstorable = |it: BlobError| {
        let problem = Problem::from(it);
        Problem { text: format!("output `{name}` cannot be kept: {}", problem.text), ..problem }
    };
    let mut reader = output.open()?;
    let mut writer = blobs.begin(FILE_BYTES_MAX).map_err(unstorable)?;
    let mut buffer = vec![0u8; 1 << 20];
    let (mut masker, mut covered) = (Masker::new(masks.clone(), Cover::SameLength), Vec::with_capacity(1 << 20));
    loop {
        if !goes_on() {
            return Err(Problem::new(ErrorKind::Conflict, format!("stopped while output `{name}` was kept")));
        }
        let read = reader.read(&mut buffer)?;
        covered.clear();
        if read == 0 {
            masker.finish(&mut covered);
        } else {
            masker.push(&buffer[..read], &mut covered);
        }
        writer.write(&covered).map_err(unstorable)?;
        if read == 0 {
            break;
        }
    }
    let (hash, size) = writer.finish().map_err(unstorable)?;
    Ok((NewArtifact { path: name, hash: hash.to_string(), size, media_type: None }, masker.places))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_become_blobs_and_a_stop_is_heard() {
        let dir = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::open(dir.path().join("blobs")).expect("blobs");
        std::fs::create_dir(dir.path().join("work")).expect("a folder");
        std::fs::write(dir.path().join("work/model"), "a correct horse").expect("a file");
        let declared = ["model".to_owned()];
        let masks = Arc::new(Masks::new(["correct horse"]));
        let kept = store(&blobs, &dir.path().join("work"), &declared, &masks, &|| true).expect("artifacts");
        assert_eq!((kept[0].0.path.as_str(), kept[0].0.size, kept[0].1), ("model", 15, 1));
        let (mut file, _) = blobs.open_file(&kept[0].0.hash.parse().expect("a hash")).expect("a blob");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut file, &mut text).expect("text");
        assert_eq!(text, "a *************");
        let stopped = store(&blobs, &dir.path().join("work"), &declared, &masks, &|| false).expect_err("stopped");
        assert_eq!(stopped.kind, ErrorKind::Conflict);
    }

    #[test]
    fn a_disk_that_takes_nothing_is_no_fault_of_the_job() {
        let dir = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::open(dir.path().join("blobs")).expect("blobs");
        std::fs::write(dir.path().join("model"), "bytes").expect("a file");
        std::fs::remove_dir_all(dir.path().join("blobs")).expect("the store is gone");
        let problem =
            store(&blobs, dir.path(), &["model".to_owned()], &Arc::default(), &|| true).expect_err("nowhere to store");
        assert_eq!(problem.kind, ErrorKind::Unavailable);
        assert!(problem.text.contains("`model`"), "{problem}");
        let missing =
            store(&blobs, dir.path(), &["other".to_owned()], &Arc::default(), &|| true).expect_err("it is not there");
        assert_eq!(missing.kind, ErrorKind::Invalid);
    }
}
