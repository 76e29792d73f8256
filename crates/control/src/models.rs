//! What a model version serves: one whole ONNX file that an engine of this server takes.

use crate::services::Services;
use kaogong_data::{BlobHash, onnx};
use kaogong_domain::{Problem, ids::ProjectId};
use kaogong_store::{Actor, ArtifactOwner, ArtifactRow};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The tag of a version that says what the server found out about its file without refusing it.
pub const REMARK_TAG: &str = "kaogong.remark";

/// The hash and the size of a file that endpoints can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servable {
    /// BLAKE3, hex.
    pub hash: String,
    /// Bytes.
    pub size: u64,
    /// What there is to know about a model that was tried: that it takes nothing made up.
    pub remark: Option<String>,
}

/// The ONNX file among the artifacts of an owner as one file: with the weights that lie in files beside it, and tried.
///
/// # Errors
/// `Invalid` when a file with weights is missing or does not fit, or no engine takes the model; `Unavailable` when that
/// cannot be found out now.
pub async fn servable(
    app: &Arc<Services>,
    project: ProjectId,
    owner: ArtifactOwner,
    file: &ArtifactRow,
    actor: &Actor,
) -> Result<Servable, Problem> {
    let names = outside(app, &file.hash).await?;
    let mut found = Servable { hash: file.hash.clone(), size: file.size, remark: None };
    if !names.is_empty() {
        let folder = file.path.rsplit_once('/').map_or("", |it| it.0);
        let mut files = BTreeMap::new();
        for name in names {
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            let beside = app.store.find_artifact(project, owner, &path).await?;
            let beside = beside.ok_or_else(|| onnx::missing(&name))?;
            files.insert(name, beside.hash);
        }
        found = merged(app, &file.hash, files).await?;
    }
    found.remark = try_out(app, &found.hash).await?;
    if found.hash != file.hash {
        app.store.note_upload(project, &found.hash, found.size, actor, app.now()).await?;
    }
    Ok(found)
}

/// An upload as what endpoints can serve; with a remark, where there is something to know about it.
///
/// # Errors
/// `Invalid` when its weights lie in other files, or no engine takes the model.
pub async fn servable_upload(app: &Arc<Services>, hash: &str) -> Result<Option<String>, Problem> {
    if let Some(name) = outside(app, hash).await?.pop_first() {
        let shown: String = name.chars().take(200).collect();
        return Err(Problem::invalid(format!("the model's weights lie in another file, `{shown}`")).hint(
            "`kaogong models register NAME model.onnx` takes the files beside it; or save the model as one file \
             (save_as_external_data=False)",
        ));
    }
    try_out(app, hash).await
}

fn blob_hash(hash: &str) -> Result<BlobHash, Problem> {
    hash.parse().map_err(|_| Problem::invalid(format!("`{hash}` is not the hash of an upload")))
}

/// Loading proves that a file is a model; a registry full of what cannot be served helps nobody.
async fn try_out(app: &Services, hash: &str) -> Result<Option<String>, Problem> {
    app.serving.check_file(app.blobs.local_path(&blob_hash(hash)?)).await
}

async fn outside(app: &Services, hash: &str) -> Result<BTreeSet<String>, Problem> {
    let path = app.blobs.local_path(&blob_hash(hash)?);
    let looked = tokio::task::spawn_blocking(move || onnx::outside(&path)).await;
    looked.map_err(|it| Problem::bug("looking through a model did not end", it))?
}

/// Writes one file of several; two callers write the same bytes, which are kept once.
async fn merged(app: &Services, model: &str, files: BTreeMap<String, String>) -> Result<Servable, Problem> {
    let (blobs, model) = (app.blobs.clone(), blob_hash(model)?);
    let slot = app.uploads().take()?;
    let merging = tokio::task::spawn_blocking(move || -> Result<Servable, Problem> {
        let _slot = slot;
        let mut paths = BTreeMap::new();
        // What is merged gets a hash of its own, so damage would not be seen later.
        blobs.verify(&model)?;
        for (name, hash) in files {
            let hash = blob_hash(&hash)?;
            blobs.verify(&hash)?;
            paths.insert(name, blobs.local_path(&hash));
        }
        let mut writer = blobs.begin(onnx::MODEL_BYTES_MAX)?;
        onnx::merge(&blobs.local_path(&model), &paths, |it| Ok(writer.write(it)?))?;
        let (hash, size) = writer.finish()?;
        Ok(Servable { hash: hash.to_string(), size, remark: None })
    });
    merging.await.map_err(|it| Problem::bug("merging a model did not end", it))?
}
