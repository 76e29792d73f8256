//! The models in memory: tried, loaded, checked, swapped and dropped as endpoints ask.

mod probe;
mod table;

use kaogong_data::{BlobHash, Blobs};
use kaogong_domain::{
    ErrorKind, Problem, Timestamp,
    endpoints::{EngineName, Isolation},
    ids::{EndpointId, ProjectId},
    names::Name,
};
use kaogong_serving::{
    Engine, Pool,
    task::{METADATA_KEY, TaskSpec, labels_in},
    worker::{Host, RemoteEngine},
};
use kaogong_store::EndpointRow;
use probe::Verdicts;
pub use probe::{ModelProbe, Verdict};
use std::{
    path::PathBuf,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use table::{Standing, Table};

/// A model that answers.
pub struct Live {
    /// What was asked for.
    pub row: EndpointRow,
    /// The model with its threads.
    pub pool: Pool,
    /// What the model is for, when its file says so.
    pub task: Option<TaskSpec>,
    /// Classes in the order of the output, when its file says them.
    pub labels: Vec<String>,
    /// The version as digits, for answers.
    pub version_text: String,
    /// Since when it answers.
    pub loaded_at: Timestamp,
}

/// The models in memory.
pub struct Serving {
    engines: Vec<Arc<dyn Engine>>,
    workers: Option<Arc<Host>>,
    threads: usize,
    blobs: Arc<Blobs>,
    verdicts: Verdicts,
    table: RwLock<Table<Live>>,
    /// The endpoints that there are have not been read yet.
    is_blank: AtomicBool,
}

impl Serving {
    /// No models yet.
    pub fn new(
        engines: Vec<Arc<dyn Engine>>,
        workers: Option<Arc<Host>>,
        threads: usize,
        blobs: Arc<Blobs>,
        probe: Arc<dyn ModelProbe>,
    ) -> Arc<Self> {
        let (verdicts, table) = (Verdicts::new(probe), RwLock::default());
        Arc::new(Self { engines, workers, threads, blobs, verdicts, table, is_blank: AtomicBool::new(false) })
    }

    /// Says that calls may come before the endpoints have been read: until then no name is unknown.
    pub fn start_blank(&self) {
        self.is_blank.store(true, Ordering::Release);
    }

    fn read(&self) -> RwLockReadGuard<'_, Table<Live>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table<Live>> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
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

    /// Whether a blob is a model that one of the engines can load. Nothing of it runs in this process. Gives a remark where
    /// there is something to know about it.
    ///
    /// # Errors
    /// `Invalid` with the preferred engine's reason.
    pub async fn check_file(&self, path: PathBuf) -> Result<Option<String>, Problem> {
        let mut first = None;
        for engine in &self.engines {
            match self.verdicts.ask(engine.name(), &path).await {
                Ok(remark) => return Ok(remark),
                Err(problem) => first = first.or(Some(problem)),
            }
        }
        Err(first.unwrap_or_else(|| Problem::invalid("this server has no engine")))
    }

    /// Verifies, tries, loads and warms up a model, then lets it answer in place of the one before. One at a time for
    /// each endpoint; who waited meanwhile gets the same outcome.
    ///
    /// # Errors
    /// Why it cannot be served; what answered before goes on answering. `Conflict` when the endpoint was deleted, or
    /// changed again, meanwhile.
    pub async fn load(self: &Arc<Self>, row: &EndpointRow) -> Result<(), Problem> {
        let (this, row) = (self.clone(), row.clone());
        // A task of its own: a caller that hangs up, or a round that is cut short, leaves no load half done.
        let task = tokio::spawn(async move {
            let (since, turn) = {
                let mut table = this.write();
                table.expect(&row);
                table.ask_turn(row.id)
            };
            let held = turn.lock().await;
            let outcome = this.load_in_turn(&row, since).await;
            drop(held);
            drop(turn);
            this.write().end_turns();
            outcome
        });
        task.await.map_err(|it| Problem::bug("loading a model did not end", it))?
    }

    async fn load_in_turn(&self, row: &EndpointRow, since: u64) -> Result<(), Problem> {
        let standing = self.read().standing(row, since);
        if let Standing::Done(outcome) = standing {
            return outcome;
        }
        match self.prepare(row).await {
            Ok(live) => {
                // What no longer answers is dropped here, after the lock: its threads end by themselves.
                let (_old, outcome) = self.write().put_live(row, Arc::new(live));
                outcome
            }
            Err(problem) => {
                self.write().put_failed(row, &problem);
                Err(problem)
            }
        }
    }

    async fn prepare(&self, row: &EndpointRow) -> Result<Live, Problem> {
        let engine = self.engine(Some(row.engine))?;
        let path = self.verified_file(row).await?;
        let engine: Arc<dyn Engine> = match (&self.workers, row.isolation) {
            (Some(workers), Isolation::Process) => {
                if engine.name() == EngineName::Tract {
                    // There its answers are held against those of ONNX Runtime.
                    self.verdicts.ask(engine.name(), &path).await?;
                }
                Arc::new(RemoteEngine::new(workers.clone(), &*engine))
            }
            _ => {
                self.verdicts.ask(engine.name(), &path).await?;
                engine
            }
        };
        let (threads, batching) = (self.threads, row.batching);
        let work = move || -> Result<_, Problem> {
            let model = engine.load(&path, threads)?;
            let labels = labels_in(model.metadata());
            let task = model.metadata().get(METADATA_KEY).map(|it| TaskSpec::read(it)).transpose()?;
            Ok((Pool::start_with(model, threads, batching)?, task, labels))
        };
        let (pool, task, labels) =
            tokio::task::spawn_blocking(work).await.map_err(|it| Problem::bug("loading a model did not end", it))??;
        let labels =
            task.as_ref().map(|it: &TaskSpec| it.labels().to_vec()).filter(|it| !it.is_empty()).unwrap_or(labels);
        let version_text = row.version.to_string();
        Ok(Live { version_text, row: row.clone(), pool, task, labels, loaded_at: crate::clock() })
    }

    /// The file of an endpoint's model, after its bytes were found to have its hash.
    async fn verified_file(&self, row: &EndpointRow) -> Result<PathBuf, Problem> {
        let hash = row.hash.as_deref().ok_or_else(|| {
            Problem::invalid(format!("{}@{} has no ONNX file", row.model, row.version))
                .hint("register one with `kaogong models register`")
        })?;
        let hash: BlobHash = hash.parse().map_err(|it| Problem::bug("a model version has a broken hash", it))?;
        let blobs = self.blobs.clone();
        let verified = tokio::task::spawn_blocking(move || blobs.verify(&hash))
            .await
            .map_err(|it| Problem::bug("verifying a model did not end", it))?;
        match verified.map_err(Problem::from) {
            Ok(_) => Ok(self.blobs.local_path(&hash)),
            Err(problem) if problem.kind == ErrorKind::NotFound => Err(Problem::unavailable(format!(
                "the file of {}@{} is missing from the data folder",
                row.model, row.version
            ))
            .hint("restore the data folder from a backup, or register the model again")),
            Err(problem) => Err(problem),
        }
    }

    /// Takes a deleted endpoint's model down; a load of it that is under way ends in nothing.
    pub fn unload(&self, row: &EndpointRow) {
        let old = self.write().remove(row);
        // After the lock.
        drop(old);
    }

    /// The model that answers under a name.
    pub fn find(&self, project: ProjectId, name: &Name) -> Option<Arc<Live>> {
        self.read().find(project, name)
    }

    /// All models that answer in a project.
    pub fn all(&self, project: ProjectId) -> Vec<Arc<Live>> {
        let mut all = self.read().all(project);
        all.sort_by(|a, b| a.row.name.cmp(&b.row.name));
        all
    }

    /// Whether there is nothing to do for a row now: it answers, is being loaded, or failed too recently to be tried
    /// again.
    pub fn is_settled(&self, row: &EndpointRow) -> bool {
        let table = self.read();
        table.is_busy(row.id) || table.is_settled(row, Instant::now())
    }

    /// Whether a row answers, or failed too recently to be tried again. Not so while it is being loaded.
    pub fn is_decided(&self, row: &EndpointRow) -> bool {
        self.read().is_settled(row, Instant::now())
    }

    /// Why an endpoint that there is does not answer: it is being loaded, or cannot be. `None` when there is none.
    pub fn absent(&self, project: ProjectId, name: &Name) -> Option<Problem> {
        let table = self.read();
        let Some(id) = table.wanted(project, name) else {
            let is_blank = self.is_blank.load(Ordering::Acquire);
            return is_blank.then(|| Problem::unavailable("the server starts").hint("try again in a moment"));
        };
        let left = table.pause_of(id, Instant::now()).unwrap_or_default();
        Some(match table.failure_of(id) {
            Some(why) => Problem::unavailable(format!("endpoint `{name}` cannot be served: {why}"))
                .hint("it is tried again by itself; `kaogong endpoints update` tries it at once")
                .retry_in(left),
            None => Problem::unavailable(format!("the model of endpoint `{name}` is being loaded"))
                .hint("try again in a moment"),
        })
    }

    /// Notes the endpoints that there are, so that calls before they are loaded are told to wait.
    pub fn expect<'a>(&self, wanted: impl IntoIterator<Item = &'a EndpointRow>) {
        let mut table = self.write();
        wanted.into_iter().for_each(|it| table.expect(it));
        self.is_blank.store(false, Ordering::Release);
    }

    /// This moment, to be taken before the list for [`Serving::keep_only`] is read.
    pub fn mark(&self) -> u64 {
        self.write().mark()
    }

    /// Takes down what is not in a list of all wanted endpoints that was read after `mark`.
    pub fn keep_only(&self, wanted: impl IntoIterator<Item = EndpointId>, mark: u64) {
        let wanted = wanted.into_iter().collect();
        let old = self.write().keep_only(&wanted, mark);
        // After the lock.
        drop(old);
    }

    /// Why an endpoint cannot be served, or takes no calls now.
    pub fn failure_of(&self, id: EndpointId) -> Option<String> {
        let (failure, live) = {
            let table = self.read();
            (table.failure_of(id), table.live_of(id))
        };
        failure.or_else(|| Some(live?.pool.model().refusal()?.text))
    }
}

#[cfg(test)]
mod tests;
