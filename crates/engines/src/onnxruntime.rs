//! The engine that is loaded: Microsoft's ONNX Runtime, from a shared library on this machine.

mod library;
mod model;

use crate::checks::{guarded, unloadable};
use kaogong_domain::{Problem, endpoints::EngineName};
use kaogong_serving::{Engine, Loaded};
use library::{Library, candidates, open};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Runs ONNX models with ONNX Runtime. A process loads one library, once.
#[derive(Debug, Clone)]
pub struct OnnxRuntime {
    library: Arc<Library>,
}

impl OnnxRuntime {
    /// Loads ONNX Runtime: the library at `explicit`, or else the newest usable `libonnxruntime` that lies directly in one of the
    /// folders of `search`, the first folder first. `None` when no folder has a usable one; the log says what was passed over.
    ///
    /// # Errors
    /// `Invalid` when the library at `explicit` cannot be used, `Conflict` when the process already runs another one.
    pub fn find(explicit: Option<&Path>, search: &[PathBuf]) -> Result<Option<Self>, Problem> {
        if let Some(path) = explicit {
            return open(path).map(|library| Some(Self { library }));
        }
        for path in search.iter().flat_map(|it| candidates(it)) {
            match open(&path) {
                Ok(library) => return Ok(Some(Self { library })),
                Err(problem) => tracing::warn!(path = %path.display(), %problem, "passed over an ONNX Runtime library"),
            }
        }
        Ok(None)
    }

    /// The library file.
    pub fn path(&self) -> &Path {
        &self.library.path
    }
}

impl Engine for OnnxRuntime {
    fn name(&self) -> EngineName {
        EngineName::OnnxRuntime
    }

    fn version(&self) -> String {
        self.library.version.clone()
    }

    fn load(&self, path: &Path) -> Result<Arc<dyn Loaded>, Problem> {
        let loaded = guarded(|| model::Model::read(&self.library.environment, path))
            .map_err(|said| unloadable("ONNX Runtime", path, said))?;
        tracing::debug!(path = %path.display(), "ONNX Runtime loaded a model");
        Ok(Arc::new(loaded))
    }
}
