//! Endpoints: what is wanted, what is seen, and what to do about the difference.

use serde::{Deserialize, Serialize};

/// The engine that runs a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineName {
    /// Compiled in; needs nothing installed.
    Tract,
    /// Microsoft's ONNX Runtime, when its library is found.
    OnnxRuntime,
}

impl EngineName {
    /// All engines.
    pub const ALL: [Self; 2] = [Self::Tract, Self::OnnxRuntime];

    /// The word used on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tract => "tract",
            Self::OnnxRuntime => "onnxruntime",
        }
    }

    /// The engine of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }
}

/// What keeps a model's native code away from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// It runs in a process of its own: what goes wrong ends that process.
    Process,
    /// Nothing: it runs in the server's process, and what goes wrong may end the server.
    None,
}

impl Isolation {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Process, Self::None];

    /// The word used on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::None => "none",
        }
    }

    /// The one of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }
}

/// Whether rows of several callers share a run of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Batching {
    /// Where the operators of the graph keep rows apart.
    #[default]
    Auto,
    /// Always: whoever serves the model knows that its rows are independent.
    On,
    /// Never: each call runs by itself.
    Off,
}

impl Batching {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::On, Self::Off];

    /// The word used on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }

    /// The one of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointState {
    /// Its model is being loaded and checked.
    Loading,
    /// It answers.
    Ready,
    /// Its model could not be loaded.
    Failed,
}

impl EndpointState {
    /// The word used on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}
