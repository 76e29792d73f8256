//! Looking for the programs and libraries that Kaogong uses when they are there.

use crate::commands::probe::ask::library_version;
use kaogong_domain::Problem;
use kaogong_engines::{OnnxRuntime, Tract};
use kaogong_serving::Engine;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Libraries that are tried at most: each may take seconds.
const LIBRARIES_MAX: usize = 6;

/// The model engines that were found.
pub struct Engines {
    /// The preferred one first.
    pub all: Vec<Arc<dyn Engine>>,
    /// The library of ONNX Runtime, when there is one.
    pub library: Option<PathBuf>,
}

/// ONNX Runtime first when it is there, then tract, which always is. Its library has been opened by another process
/// alone; this one opens it for the first model.
///
/// # Errors
/// When a library is named and cannot be used.
pub async fn engines(named: Option<&Path>, program: &Path) -> Result<Engines, Problem> {
    let mut found = Engines { all: vec![], library: None };
    for path in OnnxRuntime::libraries(named, &onnxruntime_folders())?.into_iter().take(LIBRARIES_MAX) {
        match library_version(program, &path).await {
            Ok(version) => {
                tracing::info!(path = %path.display(), version, "found ONNX Runtime");
                found.all.push(Arc::new(OnnxRuntime::known(path.clone(), version)));
                found.library = Some(path);
                break;
            }
            Err(problem) if named.is_some() => return Err(problem),
            Err(problem) => tracing::warn!(path = %path.display(), "passed over a library: {problem}"),
        }
    }
    if found.library.is_none() {
        tracing::info!("ONNX Runtime was not found; models run on tract");
    }
    found.all.push(Arc::new(Tract));
    Ok(found)
}

/// The uv program: the one named, in `PATH`, or beside this program.
///
/// # Errors
/// When one is named and is not there.
pub fn uv(named: Option<&Path>) -> Result<Option<PathBuf>, Problem> {
    if let Some(path) = named {
        if path.is_file() {
            return Ok(Some(absolute(path)));
        }
        return Err(
            Problem::not_found(format!("there is no uv at {}", path.display())).hint("check --uv or KAOGONG_UV")
        );
    }
    let in_path = std::env::var_os("PATH").map(|it| std::env::split_paths(&it).collect::<Vec<_>>()).unwrap_or_default();
    let folders = in_path.into_iter().chain(beside().into_iter().map(|it| it.join(".tools/bin")));
    Ok(folders.map(|it| it.join("uv")).find(|it| it.is_file()).map(|it| absolute(&it)))
}

/// Folders that may hold the ONNX Runtime library: beside this program, then Python's packages.
pub fn onnxruntime_folders() -> Vec<PathBuf> {
    let mut folders = vec![];
    for place in beside() {
        folders.push(place.clone());
        folders.push(place.join("lib"));
        folders.extend(packages_of(&place.join(".tools/py/lib")));
    }
    if let Some(environment) = std::env::var_os("VIRTUAL_ENV") {
        folders.extend(packages_of(&PathBuf::from(environment).join("lib")));
    }
    folders.extend(["/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/local/lib"].map(PathBuf::from));
    folders
}

fn packages_of(lib: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(lib) else { return vec![] };
    let is_python = |it: &PathBuf| it.file_name().is_some_and(|it| it.to_string_lossy().starts_with("python3"));
    entries
        .flatten()
        .map(|it| it.path())
        .filter(is_python)
        .map(|it| it.join("site-packages/onnxruntime/capi"))
        .collect()
}

/// Folders of this program: where it was started from, and where it really lies.
fn beside() -> Vec<PathBuf> {
    let started = std::env::args_os().next().map(PathBuf::from).filter(|it| it.components().count() > 1);
    let real = std::env::current_exe().ok();
    let mut folders: Vec<PathBuf> =
        [started, real].into_iter().flatten().filter_map(|it| it.parent().map(absolute)).collect();
    folders.dedup();
    folders
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
