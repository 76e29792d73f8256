//! The engine that is loaded: Microsoft's ONNX Runtime, from a shared library on this machine.

mod elf;
mod library;
mod model;

use crate::checks::{guarded, unloadable};
use kaogong_domain::{Problem, endpoints::EngineName};
use kaogong_serving::{Engine, Loaded};
use library::{Library, candidates, look_at, open};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

/// Runs ONNX models with ONNX Runtime. A process loads one library, once.
#[derive(Debug, Clone)]
pub struct OnnxRuntime {
    path: PathBuf,
    version: String,
    /// Empty until the first model is loaded: an idle server does not pay for the library's memory.
    library: Arc<OnceLock<Arc<Library>>>,
}

impl OnnxRuntime {
    /// Loads ONNX Runtime: the library at `explicit`, or else the newest usable `libonnxruntime` that lies directly in one of the
    /// folders of `search`, the first folder first. `None` when no folder has a usable one; the log says what was passed over.
    /// The library's code runs in this process; [`OnnxRuntime::known`] is for those who have tried it elsewhere.
    ///
    /// # Errors
    /// `Invalid` when the library at `explicit` cannot be used, `Conflict` when the process already runs another one.
    pub fn find(explicit: Option<&Path>, search: &[PathBuf]) -> Result<Option<Self>, Problem> {
        for path in Self::libraries(explicit, search)? {
            match open(&path) {
                Ok(library) => {
                    let (path, version) = (library.path.clone(), library.version.clone());
                    return Ok(Some(Self { path, version, library: Arc::new(OnceLock::from(library)) }));
                }
                Err(problem) if explicit.is_some() => return Err(problem),
                Err(problem) => tracing::warn!(path = %path.display(), %problem, "passed over an ONNX Runtime library"),
            }
        }
        Ok(None)
    }

    /// The files that may be ONNX Runtime, the one to try first first: `explicit` alone when there is one. None of their
    /// code has run.
    ///
    /// # Errors
    /// `Invalid` when the file at `explicit` can be seen to be unusable.
    pub fn libraries(explicit: Option<&Path>, search: &[PathBuf]) -> Result<Vec<PathBuf>, Problem> {
        if let Some(path) = explicit {
            return look_at(path).map(|it| vec![it]);
        }
        let mut found = vec![];
        for path in search.iter().flat_map(|it| candidates(it)) {
            match look_at(&path) {
                Ok(path) if found.contains(&path) => {}
                Ok(path) => found.push(path),
                Err(problem) => tracing::warn!(path = %path.display(), %problem, "passed over an ONNX Runtime library"),
            }
        }
        Ok(found)
    }

    /// The engine on a library that another process has opened and found to be of that version. This process opens it
    /// when it loads its first model.
    pub fn known(path: PathBuf, version: String) -> Self {
        Self { path, version, library: Arc::default() }
    }

    /// The library file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn library(&self) -> Result<Arc<Library>, Problem> {
        if let Some(library) = self.library.get() {
            return Ok(library.clone());
        }
        // Two at once open the same library, which is then opened once.
        let library = open(&self.path)?;
        Ok(self.library.get_or_init(|| library).clone())
    }
}

impl Engine for OnnxRuntime {
    fn name(&self) -> EngineName {
        EngineName::OnnxRuntime
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    fn load(&self, path: &Path, threads: usize) -> Result<Arc<dyn Loaded>, Problem> {
        let library = self.library()?;
        let loaded = guarded(|| model::Model::read(&library.environment, path, threads))
            .map_err(|said| unloadable("ONNX Runtime", path, said))?;
        tracing::debug!(path = %path.display(), "ONNX Runtime loaded a model");
        Ok(Arc::new(loaded))
    }
}
