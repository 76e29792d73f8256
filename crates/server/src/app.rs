//! The server's parts in one place, handed to every handler and loop.

use crate::{
    access::{Rule, layer::is_same_origin, routes::RuleBook, standings::Standings},
    http::{
        backup, base_path::BasePath, body_budget::BodyBudget, forwarded::is_forwarded, ready::Readiness, spool::Places,
    },
    serving::{ModelProbe, Serving},
    vault::Vault,
};
use http::{HeaderMap, header};
use kaogong_data::{
    Blobs, DecodeBudget, TableEngine,
    budget::{Held, PREVIEW_WAIT_MAX},
    images,
};
use kaogong_domain::{
    ErrorKind, Problem, Timestamp,
    ids::{DatasetId, ProjectId, RunId, UserId},
    jobs::Room,
};
use kaogong_runners::Runner;
use kaogong_serving::{Engine, worker::Host};
use kaogong_store::Store;
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{
    Notify, OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, OwnedSemaphorePermit, RwLock, Semaphore,
    broadcast, watch,
};

/// Names remembered at most; they never change, so they need no age.
const REMEMBERED_MAX: usize = 10_000;
/// Memory for bodies on their way in: a quarter of the machine's at most, and no more than this.
const BODY_BYTES_MAX: u64 = 2 << 30;
/// What strangers' bodies may take of that amount, besides it: callers who may do something lose nothing to them.
const STRANGERS_PART: u64 = 8;
/// Notes of new values kept for streams that are busy.
const METRICS_NEWS_MAX: usize = 1024;
/// How long a backup waits for a removal that is under way, or for another backup.
const REMOVAL_TIME_MAX: Duration = Duration::from_secs(30);
/// Thumbnails made at once.
const PICTURES_AT_ONCE: usize = 4;

/// What the program hands in: engines and stores that the server itself never builds.
pub struct Parts {
    /// Metadata.
    pub store: Arc<Store>,
    /// Bytes by hash.
    pub blobs: Arc<Blobs>,
    /// Datasets.
    pub tables: Arc<dyn TableEngine>,
    /// Jobs.
    pub runner: Arc<dyn Runner>,
    /// Model engines, the preferred one first.
    pub engines: Vec<Arc<dyn Engine>>,
    /// Starts the processes that models run in; without it all run in this one.
    pub workers: Option<Arc<Host>>,
    /// Tries models before they are loaded here.
    pub probe: Arc<dyn ModelProbe>,
    /// Encrypts the secrets of projects.
    pub vault: Vault,
    /// The folder that keeps everything.
    pub data_folder: PathBuf,
    /// A folder for bodies on their way in, on the same disk as the data.
    pub temp_folder: PathBuf,
    /// What this server may hand to jobs.
    pub machine: Room,
    /// The memory of the machine, in bytes.
    pub machine_bytes: u64,
    /// How limits of jobs are enforced, in words.
    pub limits: String,
    /// The path under which a proxy shows the server.
    pub base_path: BasePath,
    /// Whether clients on this machine need no credential.
    pub trust_loopback: bool,
    /// Proxies whose word about a client's address is taken.
    pub trusted_proxies: Vec<IpAddr>,
    /// Compute threads of each model.
    pub compute_threads: usize,
    /// Memory for what is unpacked.
    pub decode: DecodeBudget,
    /// Renders the metrics in Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// The running server.
pub struct App {
    /// Metadata.
    pub store: Arc<Store>,
    /// Bytes by hash.
    pub blobs: Arc<Blobs>,
    /// Datasets.
    pub tables: Arc<dyn TableEngine>,
    /// Jobs.
    pub runner: Arc<dyn Runner>,
    /// Models in memory.
    pub serving: Arc<Serving>,
    /// Memory for what is unpacked.
    pub decode: DecodeBudget,
    parts: Rest,
    body_budget: BodyBudget,
    strangers_body_budget: BodyBudget,
    upload_places: Places,
    rules: OnceLock<RuleBook>,
    address: OnceLock<SocketAddr>,
    standings: Standings,
    jobs_bell: Notify,
    metrics_news: broadcast::Sender<(ProjectId, RunId)>,
    stopping: watch::Sender<bool>,
    is_ready: AtomicBool,
    readiness: Readiness,
    turns: Mutex<HashMap<DatasetId, Arc<tokio::sync::Mutex<()>>>>,
    names: Mutex<HashMap<UserId, String>>,
    pictures: Arc<Semaphore>,
    removals: Arc<RwLock<()>>,
    started_at: Timestamp,
}

/// Held while a backup is taken: nothing that a row may name is removed.
pub struct Removals(#[expect(dead_code, reason = "it is held, not used")] OwnedRwLockWriteGuard<()>);

struct Rest {
    vault: Vault,
    data_folder: PathBuf,
    temp_folder: PathBuf,
    machine: Room,
    limits: String,
    base_path: BasePath,
    trust_loopback: bool,
    trusted_proxies: Vec<IpAddr>,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The clock of the machine.
pub fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl App {
    /// Puts the parts together. Nothing runs yet.
    pub fn new(parts: Parts) -> Arc<Self> {
        let body_bytes = (parts.machine_bytes / 4).min(BODY_BYTES_MAX);
        let body_budget = |bytes: u64| BodyBudget::new(usize::try_from(bytes).unwrap_or(usize::MAX));
        let (blobs, probe) = (parts.blobs.clone(), parts.probe);
        let serving = Serving::new(parts.engines, parts.workers, parts.compute_threads, blobs, probe);
        Arc::new(Self {
            store: parts.store,
            blobs: parts.blobs,
            tables: parts.tables,
            runner: parts.runner,
            serving,
            decode: parts.decode,
            parts: Rest {
                vault: parts.vault,
                data_folder: parts.data_folder,
                temp_folder: parts.temp_folder,
                machine: parts.machine,
                limits: parts.limits,
                base_path: parts.base_path,
                trust_loopback: parts.trust_loopback,
                trusted_proxies: parts.trusted_proxies,
                metrics: parts.metrics,
            },
            body_budget: body_budget(body_bytes),
            strangers_body_budget: body_budget(body_bytes / STRANGERS_PART),
            upload_places: Places::default(),
            rules: OnceLock::new(),
            address: OnceLock::new(),
            standings: Standings::default(),
            jobs_bell: Notify::new(),
            metrics_news: broadcast::Sender::new(METRICS_NEWS_MAX),
            stopping: watch::Sender::new(false),
            is_ready: AtomicBool::new(false),
            readiness: Readiness::default(),
            turns: Mutex::default(),
            names: Mutex::default(),
            pictures: Arc::new(Semaphore::new(PICTURES_AT_ONCE)),
            removals: Arc::default(),
            started_at: clock(),
        })
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        clock()
    }

    /// When this server started.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// The memory for bodies on their way in to a route with that rule.
    pub fn body_budget_of(&self, rule: Rule) -> &BodyBudget {
        match rule {
            Rule::Public => &self.strangers_body_budget,
            _ => &self.body_budget,
        }
    }

    /// Places for uploads that are written to disk while they arrive.
    pub fn upload_places(&self) -> &Places {
        &self.upload_places
    }

    /// Proxies whose word about a client's address is taken.
    pub fn trusted_proxies(&self) -> &[IpAddr] {
        &self.parts.trusted_proxies
    }

    /// The rules of all routes. Before the router is built there are none, and everything is refused.
    pub fn rules(&self) -> &RuleBook {
        self.rules.get_or_init(RuleBook::default)
    }

    /// Takes the rules of the router; the first ones stay.
    pub fn set_rules(&self, rules: RuleBook) {
        let _ = self.rules.set(rules);
    }

    /// Takes the address that the listener got.
    pub fn set_address(&self, address: SocketAddr) {
        let _ = self.address.set(address);
    }

    /// The address under which jobs on this machine reach the server.
    pub fn own_address(&self) -> String {
        let Some(address) = self.address.get() else { return String::new() };
        let base = self.base_path();
        match address.ip() {
            ip if ip.is_unspecified() && ip.is_ipv4() => format!("http://127.0.0.1:{}{base}", address.port()),
            ip if ip.is_unspecified() => format!("http://[::1]:{}{base}", address.port()),
            _ => format!("http://{address}{base}"),
        }
    }

    /// The path under which a proxy shows the server.
    pub fn base_path(&self) -> &BasePath {
        &self.parts.base_path
    }

    /// Who may do what, as far as known.
    pub fn standings(&self) -> &Standings {
        &self.standings
    }

    /// Whether a call without a credential comes from somebody at this machine, and the server was told that this
    /// is enough. A browser that another site drives names that site's host or origin, and is not trusted; nor is
    /// what a proxy at this machine passes on.
    pub fn trusts(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> bool {
        let is_local = peer.is_some_and(|it| it.ip().is_loopback()) && !is_forwarded(headers);
        if !self.parts.trust_loopback || !is_local {
            return false;
        }
        let host = headers.get(header::HOST).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |it| it.0);
        matches!(name, "127.0.0.1" | "localhost" | "[::1]") && is_same_origin(headers)
    }

    /// What this server may hand to jobs.
    pub fn machine(&self) -> Room {
        self.parts.machine
    }

    /// How limits of jobs are enforced, in words.
    pub fn limits(&self) -> &str {
        &self.parts.limits
    }

    /// Encrypts and opens the secrets of projects.
    pub fn vault(&self) -> &Vault {
        &self.parts.vault
    }

    /// The metrics in Prometheus text.
    pub fn metrics_text(&self) -> String {
        (self.parts.metrics)()
    }

    /// The folder that keeps everything.
    pub fn data_folder(&self) -> &Path {
        &self.parts.data_folder
    }

    /// Keeps everything that a row may name on the disk until the answer is dropped. Waits a little for a removal that
    /// is under way.
    ///
    /// # Errors
    /// `Conflict` while another backup is taken.
    pub async fn hold_removals(&self) -> Result<Removals, Problem> {
        match tokio::time::timeout(REMOVAL_TIME_MAX, self.removals.clone().write_owned()).await {
            Ok(held) => Ok(Removals(held)),
            Err(_) => Err(backup::is_running()),
        }
    }

    /// The right to remove something that a row named, for as long as the answer is kept.
    ///
    /// # Errors
    /// `Conflict` while a backup is taken: what goes must wait.
    pub fn may_remove(&self) -> Result<OwnedRwLockReadGuard<()>, Problem> {
        self.removals.clone().try_read_owned().map_err(|_| backup::is_running())
    }

    /// A folder for bodies on their way in.
    pub fn temp_folder(&self) -> &Path {
        &self.parts.temp_folder
    }

    /// Wakes the jobs loop.
    pub fn ring_jobs_bell(&self) {
        self.jobs_bell.notify_one();
    }

    /// Waits until somebody wakes the jobs loop.
    pub async fn wait_for_jobs_bell(&self) {
        self.jobs_bell.notified().await;
    }

    /// Tells open streams that a run has new values.
    pub fn tell_metrics(&self, project: ProjectId, run: RunId) {
        // Nobody listens: nobody needs to know.
        let _ = self.metrics_news.send((project, run));
    }

    /// Hears which runs have new values. A listener that falls behind misses the oldest notes.
    pub fn watch_metrics(&self) -> broadcast::Receiver<(ProjectId, RunId)> {
        self.metrics_news.subscribe()
    }

    /// Tells loops and streams to end.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Whether the server is on its way down.
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits until the server is on its way down.
    pub async fn wait_for_stop(&self) {
        // The sender lives as long as this: the wait ends only when it is true.
        let _ = self.stopping.subscribe().wait_for(|it| *it).await;
    }

    /// Marks the server as ready for calls.
    pub fn set_ready(&self) {
        self.is_ready.store(true, Ordering::Release);
    }

    /// Whether the server is ready for calls.
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire) && !self.is_stopping()
    }

    /// Whether the disk and the database take writes.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// The turn to import into a dataset; the next import waits until this one is dropped.
    pub async fn import_turn(&self, dataset: DatasetId) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = locked(&self.turns);
            if turns.len() > REMEMBERED_MAX {
                turns.retain(|_, it| Arc::strong_count(it) > 1);
            }
            turns.entry(dataset).or_default().clone()
        };
        turn.lock_owned().await
    }

    /// A place for making a picture small.
    ///
    /// # Errors
    /// `Unavailable` while the server goes down.
    pub async fn picture_place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = self.pictures.clone().acquire_owned().await;
        place.map_err(|_| Problem::new(ErrorKind::Unavailable, "the server is going down"))
    }

    /// Memory for decoding an image that is to be looked at. Waits for it: call it off the async threads.
    ///
    /// # Errors
    /// `Invalid` when it is no image, or when no amount of waiting would do; `TooMany` when others have the memory.
    pub fn preview_memory(&self, file: &[u8]) -> Result<Held, Problem> {
        let needed = images::decode_bytes(file, &images::look(file)?.facts);
        let most = self.decode.decoders.total();
        if needed > most {
            let text = format!("no preview: decoding takes {} MiB, more than {} MiB", needed >> 20, most >> 20);
            return Err(Problem::invalid(text)
                .hint("the file itself is as it was; `kaogong up --import-memory-mib` sets how much there is"));
        }
        self.decode.decoders.take(needed, PREVIEW_WAIT_MAX)
    }

    /// A user's name; `None` for the system.
    pub async fn user_name(&self, id: Option<UserId>) -> Result<Option<String>, Problem> {
        let Some(id) = id else { return Ok(None) };
        if let Some(name) = locked(&self.names).get(&id) {
            return Ok(Some(name.clone()));
        }
        let name = self.store.find_user(id).await?.map(|it| it.name.to_string());
        if let Some(name) = &name {
            let mut names = locked(&self.names);
            if names.len() >= REMEMBERED_MAX {
                names.clear();
            }
            names.insert(id, name.clone());
        }
        Ok(name)
    }

    /// Names of users; those that are not known yet are read together.
    pub async fn user_names(&self, ids: impl Iterator<Item = UserId>) -> Result<HashMap<UserId, String>, Problem> {
        let (mut found, mut unknown) = (HashMap::new(), vec![]);
        {
            let names = locked(&self.names);
            for id in ids.collect::<HashSet<_>>() {
                match names.get(&id) {
                    Some(name) => drop(found.insert(id, name.clone())),
                    None => unknown.push(id),
                }
            }
        }
        if unknown.is_empty() {
            return Ok(found);
        }
        let read = self.store.user_names(&unknown).await?;
        let mut names = locked(&self.names);
        if names.len() + read.len() >= REMEMBERED_MAX {
            names.clear();
        }
        for (id, name) in read {
            names.insert(id, name.to_string());
            found.insert(id, name.to_string());
        }
        Ok(found)
    }
}
