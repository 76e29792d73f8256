//! Registered models: states of a version.

use serde::{Deserialize, Serialize};

/// Whether a model version can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ModelVersionStatus {
    /// Its files are still arriving.
    PendingRegistration,
    /// It could not be registered.
    FailedRegistration,
    /// It can be used; endpoints can serve it when it has an ONNX file.
    #[default]
    Ready,
}

impl ModelVersionStatus {
    /// The word used on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PendingRegistration => "PENDING_REGISTRATION",
            Self::FailedRegistration => "FAILED_REGISTRATION",
            Self::Ready => "READY",
        }
    }

    /// The status of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::PendingRegistration, Self::FailedRegistration, Self::Ready].into_iter().find(|it| it.as_str() == word)
    }
}
