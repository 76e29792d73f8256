//! The models in memory: loaded, checked, swapped and dropped as endpoints ask.

use kaogong_data::BlobHash;
use kaogong_domain::{
    Problem, Timestamp,
    endpoints::EngineName,
    ids::{EndpointId, ProjectId},
    names::Name,
};
use kaogong_serving::{
    Engine, Pool,
    task::{METADATA_KEY, TaskSpec},
};
use kaogong_store::EndpointRow;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

/// A model that answers.
pub struct Live {
    /// What was asked for.
    pub row: EndpointRow,
    /// The model with its threads.
    pub pool: Pool,
    /// What the model is for, when its file says so.
    pub task: Option<TaskSpec>,
    /// The version as digits, for answers.
    pub version_text: String,
    /// Since when it answers.
    pub loaded_at: Timestamp,
}

/// What is seen of an endpoint.
#[derive(Clone)]
enum Seen {
    Live(Arc<Live>),
    Failed { generation: i64, text: String },
}

/// The models in memory.
pub struct Serving {
    engines: Vec<Arc<dyn Engine>>,
    threads: usize,
    seen: RwLock<HashMap<EndpointId, Seen>>,
    /// By project and name: what a call looks up.
    names: RwLock<HashMap<(ProjectId, Name), Arc<Live>>>,
}

impl Serving {
    /// No models yet.
    pub fn new(engines: Vec<Arc<dyn Engine>>, threads: usize) -> Self {
        Self { engines, threads, seen: RwLock::default(), names: RwLock::default() }
    }

    /// The engines, the preferred one first.
    pub fn engines(&self) -> &[Arc<dyn Engine>] {
        &self.engines
    }

    /// The engine of that name, or the preferred one.
    ///
    /// # Errors
    /// `Invalid` when this server has no such engine.
    pub fn engine(&self, name: Option<EngineName>) -> Result<Arc<dyn Engine>, Problem> {
        let found = match name {
            None => self.engines.first(),
            Some(name) => self.engines.iter().find(|it| it.name() == name),
        };
        found.cloned().ok_or_else(|| {
            let name = name.map_or("any", EngineName::as_str);
            Problem::invalid(format!("this server has no engine `{name}`"))
                .hint("`kaogong doctor` says how to install ONNX Runtime")
        })
    }

    /// Whether a file is a model that one of the engines can load.
    ///
    /// # Errors
    /// `Invalid` with the preferred engine's reason.
    pub async fn check_file(&self, path: PathBuf) -> Result<(), Problem> {
        let engines = self.engines.clone();
        let check = move || {
            let mut first = None;
            for engine in engines {
                match engine.load(&path) {
                    Ok(_) => return Ok(()),
                    Err(problem) => first = first.or(Some(problem)),
                }
            }
            Err(first.unwrap_or_else(|| Problem::invalid("this server has no engine")))
        };
        tokio::task::spawn_blocking(check).await.map_err(|it| Problem::bug("checking a model did not end", it))?
    }

    /// Loads, warms up and checks a model, then lets it answer in place of the one before.
    ///
    /// # Errors
    /// Why it cannot be served; what answered before goes on answering.
    pub async fn load(&self, row: &EndpointRow, path: PathBuf) -> Result<Arc<Live>, Problem> {
        let engine = self.engine(Some(row.engine))?;
        let threads = self.threads;
        let work = move || {
            let model = engine.load(&path)?;
            let task = model.metadata().get(METADATA_KEY).map(|it| TaskSpec::read(it)).transpose()?;
            Ok((Pool::start(model, threads)?, task))
        };
        let loaded: Result<_, Problem> =
            tokio::task::spawn_blocking(work).await.map_err(|it| Problem::bug("loading a model did not end", it))?;
        match loaded {
            Ok((pool, task)) => {
                let live = Arc::new(Live {
                    version_text: row.version.to_string(),
                    row: row.clone(),
                    pool,
                    task,
                    loaded_at: crate::app::clock(),
                });
                self.put(row.id, Seen::Live(live.clone()));
                let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
                let old = names.insert((row.project_id, row.name.clone()), live.clone());
                drop(names);
                // The last caller of the old model drops it; its threads end on a thread that may wait.
                tokio::task::spawn_blocking(move || drop(old));
                Ok(live)
            }
            Err(problem) => {
                self.put(row.id, Seen::Failed { generation: row.generation, text: problem.text.clone() });
                Err(problem)
            }
        }
    }

    fn put(&self, id: EndpointId, seen: Seen) {
        self.seen.write().unwrap_or_else(PoisonError::into_inner).insert(id, seen);
    }

    /// Takes a model down.
    pub fn unload(&self, row: &EndpointRow) {
        self.seen.write().unwrap_or_else(PoisonError::into_inner).remove(&row.id);
        let key = (row.project_id, row.name.clone());
        let old = self.names.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
        tokio::task::spawn_blocking(move || drop(old));
    }

    /// The model that answers under a name.
    pub fn find(&self, project: ProjectId, name: &Name) -> Option<Arc<Live>> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).get(&(project, name.clone())).cloned()
    }

    /// All models that answer in a project.
    pub fn all(&self, project: ProjectId) -> Vec<Arc<Live>> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = names.iter().filter(|it| it.0.0 == project).map(|it| it.1.clone()).collect();
        all.sort_by(|a, b| a.row.name.cmp(&b.row.name));
        all
    }

    /// Whether what is wanted is what is seen, or failed already.
    pub fn is_settled(&self, row: &EndpointRow) -> bool {
        match self.seen.read().unwrap_or_else(PoisonError::into_inner).get(&row.id) {
            Some(Seen::Live(live)) => live.row.generation == row.generation,
            Some(Seen::Failed { generation, .. }) => *generation == row.generation,
            None => false,
        }
    }

    /// Endpoints in memory.
    pub fn known(&self) -> Vec<EndpointId> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Takes down what nobody wants any more.
    pub fn keep_only(&self, wanted: &[EndpointId]) {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.retain(|_, it| wanted.contains(&it.row.id));
        self.seen.write().unwrap_or_else(PoisonError::into_inner).retain(|id, _| wanted.contains(id));
    }

    /// Why an endpoint cannot be served.
    pub fn failure_of(&self, id: EndpointId) -> Option<String> {
        match self.seen.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            Some(Seen::Failed { text, .. }) => Some(text.clone()),
            _ => None,
        }
    }
}

/// The file of an endpoint's model.
pub fn file_of(blobs: &kaogong_data::Blobs, row: &EndpointRow) -> Result<PathBuf, Problem> {
    let hash = row.hash.as_deref().ok_or_else(|| {
        Problem::invalid(format!("{}@{} has no ONNX file", row.model, row.version))
            .hint("register one with `kaogong models register`")
    })?;
    let hash: BlobHash = hash.parse().map_err(|it| Problem::bug("a model version has a broken hash", it))?;
    if !blobs.exists(&hash)? {
        return Err(Problem::unavailable(format!(
            "the file of {}@{} is missing from the data folder",
            row.model, row.version
        )));
    }
    Ok(blobs.local_path(&hash))
}
