//! Finding, checking and opening the shared library.

use super::elf;
use crate::checks::{Said, guarded};
use kaogong_domain::Problem;
use ort::environment::Environment;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The oldest version whose interface is used.
const OLDEST: (u32, u32) = (1, 20);

/// How to get a library that works.
const HINT: &str = "install it with `pip install onnxruntime`, then name the file `onnxruntime/capi/libonnxruntime.so.1.x.y` inside the \
                    Python site-packages folder";

/// The one library of this process: its interface is global, so a second one cannot be opened beside it.
static OPENED: Mutex<Option<Arc<Library>>> = Mutex::new(None);

/// A library that is open, for good.
#[derive(Debug)]
pub(super) struct Library {
    /// Its file, without links.
    pub(super) path: PathBuf,
    /// Its version: `1.x.y`.
    pub(super) version: String,
    /// What sessions belong to.
    pub(super) environment: Environment,
}

/// Opens a library, or gives the one that is open when it is the same file.
pub(super) fn open(path: &Path) -> Result<Arc<Library>, Problem> {
    let file = look_at(path)?;
    // The value is set whole, so that a panic of another holder leaves nothing half done.
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(library) = &*opened {
        if library.path == file {
            return Ok(library.clone());
        }
        return Err(Problem::conflict(format!(
            "the ONNX Runtime library `{}` cannot be loaded: this process already runs `{}`",
            file.display(),
            library.path.display()
        ))
        .hint("name one library and restart the program"));
    }
    let environment = guarded(|| {
        ort::init_from(&file).map_err(Said::new)?.with_name("kaogong").with_telemetry(false).build().map_err(Said::new)
    })
    .map_err(|said| unusable(path, said))?;
    let version =
        version_of_name(&file).or_else(|| version_of_build(ort::info())).unwrap_or_else(|| "unknown".to_owned());
    tracing::info!(path = %file.display(), version, "loaded ONNX Runtime");
    let library = Arc::new(Library { path: file, version, environment });
    *opened = Some(library.clone());
    Ok(library)
}

/// Refuses a library that can be seen to be wrong without running its code. Gives the file without links.
pub(super) fn look_at(path: &Path) -> Result<PathBuf, Problem> {
    preflight(path).map_err(|said| unusable(path, said))
}

fn unusable(path: &Path, said: Said) -> Problem {
    Problem::invalid(format!("the ONNX Runtime library `{}` cannot be used: {said}", path.display()))
        .hint(HINT)
        .because(said)
}

/// The libraries directly in a folder, newest first.
pub(super) fn candidates(folder: &Path) -> Vec<PathBuf> {
    // A folder that is not there or not readable has none.
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found = entries.map(|it| it.path()).filter(|it| is_library_name(it)).collect::<Vec<_>>();
    found.sort_by_key(|it| std::cmp::Reverse((version_of_name(it).map(|it| numbers_of(&it)), it.clone())));
    found
}

fn is_library_name(path: &Path) -> bool {
    path.file_name().and_then(|it| it.to_str()).is_some_and(|name| {
        name.strip_prefix("libonnxruntime")
            .is_some_and(|rest| rest == ".so" || rest.starts_with(".so.") || rest.ends_with(".dylib"))
    })
}

fn preflight(path: &Path) -> Result<PathBuf, Said> {
    let file = path.canonicalize().map_err(Said::new)?;
    if !file.is_file() {
        return Err(Said::new("it is not a regular file"));
    }
    // Where the name tells no version, the library itself is asked when it is opened.
    if let Some(version) = version_of_name(&file) {
        let numbers = numbers_of(&version);
        let have = (numbers.first().copied().unwrap_or(0), numbers.get(1).copied().unwrap_or(0));
        if numbers.len() > 1 && (have.0 != OLDEST.0 || have < OLDEST) {
            return Err(Said::new(format!(
                "it is version {version}, {}.{} or a later {}.x is needed",
                OLDEST.0, OLDEST.1, OLDEST.0
            )));
        }
    }
    elf::check(&file)?;
    Ok(file)
}

/// The version in `libonnxruntime.so.1.x.y` or `libonnxruntime.1.x.y.dylib`.
fn version_of_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.strip_prefix("libonnxruntime")?;
    let version = name.strip_prefix(".so.").or_else(|| name.strip_prefix('.')?.strip_suffix(".dylib"))?;
    let is_version = version.contains('.') && version.split('.').all(|it| it.parse::<u32>().is_ok());
    is_version.then(|| version.to_owned())
}

/// The version in a release's build text: `… git-branch=rel-1.x.y, …`.
fn version_of_build(info: &str) -> Option<String> {
    let version = info.split_once("git-branch=rel-")?.1.split([',', ' ']).next()?;
    (!version.is_empty()).then(|| version.to_owned())
}

fn numbers_of(version: &str) -> Vec<u32> {
    version.split('.').map_while(|it| it.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_names_and_builds() {
        assert_eq!(version_of_name(Path::new("/a/libonnxruntime.so.1.22.0")).as_deref(), Some("1.22.0"));
        assert_eq!(version_of_name(Path::new("libonnxruntime.1.22.0.dylib")).as_deref(), Some("1.22.0"));
        assert_eq!(version_of_name(Path::new("libonnxruntime.so")), None);
        assert_eq!(version_of_name(Path::new("libonnxruntime.so.1")), None);
        assert_eq!(
            version_of_build("ORT Build Info: git-branch=rel-1.19.0, git-commit-id=2").as_deref(),
            Some("1.19.0")
        );
        assert_eq!(version_of_build("ORT Build Info: git-branch=main"), None);
    }

    #[test]
    fn the_newest_candidate_comes_first_and_other_files_do_not_count() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [
            "libonnxruntime.so.1.9.0",
            "libonnxruntime.so.1.22.0",
            "libonnxruntime_providers_shared.so",
            "libonnxruntime.so",
        ] {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        let names =
            candidates(folder.path()).iter().map(|it| it.file_name().expect("a name").to_owned()).collect::<Vec<_>>();
        assert_eq!(names, ["libonnxruntime.so.1.22.0", "libonnxruntime.so.1.9.0", "libonnxruntime.so"]);
        assert!(candidates(&folder.path().join("none")).is_empty());
    }

    #[test]
    fn what_is_no_library_is_refused_before_it_is_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).expect("written");
            path
        };
        let said = |path: &Path| look_at(path).expect_err("refused").to_string();
        assert!(said(&folder.path().join("none")).contains("No such file"));
        assert!(said(folder.path()).contains("regular file"));
        assert!(said(&file("libonnxruntime.so", b"#!/bin/sh")).contains("shared library"));
        assert!(said(&file("libonnxruntime.so.1.19.2", b"\x7fELF....")).contains("1.19.2"));
        assert!(said(&file("libonnxruntime.so.1.20.1", b"\x7fELF....")).contains("only a part"));
        assert!(preflight(&file("libonnxruntime.so.1.20.0", &elf::tests::library(500))).is_ok());
    }
}
