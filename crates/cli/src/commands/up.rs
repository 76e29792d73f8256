//! `kaogong up`: settings, wiring and the life of the server.

mod belong;
pub mod find;
mod first_start;

use crate::{
    commands::{engine_zygote, probe::ask::ProcessProbe},
    context::Context,
    profile,
};
use kaogong_control::{Parts, Services, clock, loops, vault::Vault};
use kaogong_data::{Blobs, DecodeBudget, TableEngine, budget::IMPORT_BYTES_MIN};
use kaogong_domain::base_path::BasePath;
use kaogong_domain::{Problem, Secret};
use kaogong_http::{gate::GateSettings, listen};
use kaogong_runners::{LocalRunner, LocalSettings, Runner, Tools};
use kaogong_server::{http, protocols};
use kaogong_serving::worker::{Host, Limits};
use kaogong_store::{Store, StoreUrl};
use kaogong_tables::{Decoder, Imports, LanceTables};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{
    fs::{self, File},
    io::{IsTerminal, Write},
    net::{IpAddr, SocketAddr},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Files and connections that the server asks to have open at once.
const OPEN_FILES: u64 = 65_536;
/// Compute threads of a model at most.
const COMPUTE_THREADS_MAX: usize = 64;
/// Memory of a model's process beside what its file asks for, where the machine has it.
const MODEL_BYTES: u64 = 4 << 30;
/// Less is too little for the program and an engine.
const MODEL_BYTES_MIN: u64 = 256 << 20;
/// How often recorded metrics are folded together.
const METRICS_UPKEEP: std::time::Duration = std::time::Duration::from_secs(5);

/// Arguments of `kaogong up`.
#[derive(Debug, Clone, clap::Args)]
pub struct UpArgs {
    /// The folder that keeps everything [default: ~/.local/share/kaogong].
    #[arg(long, value_name = "DIR", env = "KAOGONG_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// The address to listen on; port 0 chooses a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7300", env = "KAOGONG_LISTEN")]
    pub listen: String,
    /// Keep metadata in PostgreSQL instead of the data folder: postgres://user:password@host/database.
    #[arg(long, value_name = "URL", env = "KAOGONG_DATABASE", hide_env_values = true)]
    pub database: Option<String>,
    /// The path under which a reverse proxy shows the server, such as /kaogong [default: none].
    #[arg(long, value_name = "PATH", env = "KAOGONG_BASE_PATH")]
    pub base_path: Option<String>,
    /// Let programs on this machine in without a token, as the administrator.
    #[arg(long)]
    pub trust_loopback: bool,
    /// A reverse proxy whose word about a client's address is taken; may be repeated [default: none].
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', env = "KAOGONG_TRUSTED_PROXY")]
    pub trusted_proxy: Vec<String>,
    /// The ONNX Runtime library [default: looked for beside the program and in Python's packages].
    #[arg(long, value_name = "FILE", env = "KAOGONG_ONNXRUNTIME")]
    pub onnxruntime: Option<PathBuf>,
    /// The uv program, which builds Python environments [default: looked for in PATH and beside the program].
    #[arg(long, value_name = "FILE", env = "KAOGONG_UV")]
    pub uv: Option<PathBuf>,
    /// Cores handed to jobs [default: all].
    #[arg(long, value_name = "NUMBER")]
    pub job_cpus: Option<f64>,
    /// Memory handed to jobs, in MiB [default: three quarters of the machine's].
    #[arg(long, value_name = "MIB")]
    pub job_memory_mib: Option<u64>,
    /// Memory for unpacking what is imported and looked at, all together, in MiB.
    #[arg(long, value_name = "MIB", alias = "import-memory", default_value_t = 512, env = "KAOGONG_IMPORT_MEMORY_MIB")]
    pub import_memory_mib: u64,
    /// Compute threads of each model [default: as many as there are cores].
    #[arg(long, value_name = "NUMBER")]
    pub compute_threads: Option<usize>,
    /// Memory that each model's process may take beside eight times its file, in MiB [default: 4096, or half the
    /// machine's where that is less].
    #[arg(long, value_name = "MIB", env = "KAOGONG_MODEL_MEMORY_MIB")]
    pub model_memory_mib: Option<u64>,
}

/// Arguments that were found good, all together.
struct Settings {
    data_dir: PathBuf,
    listen: SocketAddr,
    store: StoreUrl,
    base_path: BasePath,
    trust_loopback: bool,
    trusted_proxies: Vec<IpAddr>,
    job_cpus: f64,
    job_memory_bytes: u64,
    compute_threads: usize,
    import_bytes: u64,
    model_bytes: u64,
    machine_bytes: u64,
}

/// The server says that it is ready after this, whether or not all models are loaded: one of them may take minutes.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(60);
/// A first look that failed is tried again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Loops that have not ended after this are left: whatever they do is picked up at the next start.
const LOOPS_END_MAX: Duration = Duration::from_secs(10);

/// The memory that a model's process may take beside what its file asks for.
fn model_bytes(mib: Option<u64>, machine_bytes: u64, wrong: &mut Vec<String>) -> u64 {
    let bytes = mib.map_or(MODEL_BYTES.min(machine_bytes / 2), |it| it.saturating_mul(1 << 20));
    if bytes < MODEL_BYTES_MIN {
        wrong.push(format!("--model-memory-mib must be at least {}", MODEL_BYTES_MIN >> 20));
    }
    bytes
}

/// The memory of imports, in bytes; what is wrong with it goes to `wrong`.
fn import_bytes(args: &UpArgs, wrong: &mut Vec<String>) -> u64 {
    let bytes = args.import_memory_mib.saturating_mul(1 << 20);
    if bytes < IMPORT_BYTES_MIN {
        wrong.push(format!("--import-memory-mib {} is less than {}", args.import_memory_mib, IMPORT_BYTES_MIN >> 20));
    }
    bytes
}

fn check(args: &UpArgs) -> Result<Settings, Problem> {
    let mut wrong = vec![];
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = rustix::system::sysinfo();
    let memory_bytes = memory.totalram as u64 * u64::from(memory.mem_unit);
    let listen = args.listen.parse::<SocketAddr>();
    if listen.is_err() {
        wrong.push(format!("--listen `{}` is not ADDRESS:PORT, such as 127.0.0.1:7300", args.listen));
    }
    if args.trust_loopback && listen.as_ref().is_ok_and(|it| !it.ip().is_loopback()) {
        wrong.push("--trust-loopback needs a loopback address to listen on".to_owned());
    }
    let base_path = args.base_path.as_deref().unwrap_or_default().parse::<BasePath>();
    if let Err(it) = &base_path {
        wrong.push(format!("--base-path {}", it.text));
    }
    let mut trusted_proxies = vec![];
    for text in &args.trusted_proxy {
        match text.parse::<IpAddr>() {
            Ok(it) => trusted_proxies.push(it),
            Err(_) => wrong.push(format!("--trusted-proxy `{text}` is not an address, such as 127.0.0.1")),
        }
    }
    let job_cpus = args.job_cpus.unwrap_or(cores as f64);
    if !job_cpus.is_finite() || job_cpus <= 0.0 || job_cpus > 4096.0 {
        wrong.push(format!("--job-cpus {job_cpus} is not a number of cores"));
    }
    let job_memory_bytes = args.job_memory_mib.map_or(memory_bytes / 4 * 3, |it| it.saturating_mul(1 << 20));
    if job_memory_bytes == 0 {
        wrong.push("--job-memory-mib must not be 0".to_owned());
    }
    let import_bytes = import_bytes(args, &mut wrong);
    let compute_threads = args.compute_threads.unwrap_or(cores.min(COMPUTE_THREADS_MAX));
    if compute_threads == 0 || compute_threads > COMPUTE_THREADS_MAX {
        wrong.push(format!("--compute-threads {compute_threads} is not 1 to {COMPUTE_THREADS_MAX}"));
    }
    let model_bytes = model_bytes(args.model_memory_mib, memory_bytes, &mut wrong);
    let data_dir = usual_data_dir(args.data_dir.as_deref());
    if data_dir.is_none() {
        wrong.push("--data-dir is needed, because there is no HOME".to_owned());
    }
    if args.database.as_ref().is_some_and(|it| !it.starts_with("postgres://") && !it.starts_with("postgresql://")) {
        wrong.push("--database is not postgres://user:password@host/database".to_owned());
    }
    match (wrong.is_empty(), listen, data_dir, base_path) {
        (true, Ok(listen), Some(data_dir), Ok(base_path)) => {
            let data_dir = std::path::absolute(&data_dir).map_err(|it| cannot_use(&data_dir, &it))?;
            let store = match &args.database {
                Some(url) => StoreUrl::Postgres(Secret::new(url)),
                None => StoreUrl::Sqlite(data_dir.join("kaogong.db")),
            };
            let trust_loopback = args.trust_loopback;
            Ok(Settings {
                data_dir,
                listen,
                store,
                base_path,
                trust_loopback,
                trusted_proxies,
                job_cpus,
                job_memory_bytes,
                compute_threads,
                import_bytes,
                model_bytes,
                machine_bytes: memory_bytes,
            })
        }
        _ => Err(crate::exit::usage(wrong.join("; "))),
    }
}

/// The data folder that was named, or the usual one; `None` when there is no home to put it in.
pub fn usual_data_dir(named: Option<&Path>) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|it| it.is_absolute());
    named.map(Path::to_owned).or_else(|| home.map(|it| it.join(".local/share/kaogong")))
}

fn cannot_use(folder: &Path, cause: &std::io::Error) -> Problem {
    Problem::unavailable(format!("cannot use the data folder {}: {cause}", folder.display()))
        .hint("choose another with --data-dir, or make it writable for this user")
}

/// Runs the server until SIGTERM or SIGINT.
pub async fn run(context: &Context, args: UpArgs) -> Result<ExitCode, Problem> {
    start_logging();
    let settings = check(&args)?;
    raise_file_limit();
    let lock = take_folder(&settings.data_dir)?;
    let listener = open_port(settings.listen).await?;
    let address = listener.local_addr().map_err(|it| Problem::bug("the port has no address", it))?;
    let app = wire(&args, &settings).await?;
    app.set_address(address);
    let url = app.own_address();
    first_start::welcome(&app, &settings.data_dir, &url, context.profile_path().ok().as_deref()).await?;
    let gate = http::gate(&app, gate_settings(&settings));
    let router = http::router(&app, gate, &protocols::mounts());
    app.serving.start_blank();
    // Whoever reads the address may ask the server to stop at once.
    let stop = stop_signal()?;
    tracing::info!("listening at {url}; the models are being loaded");
    // What lives answers while models load; `/readyz` and the line on standard output say when they are.
    let starting = tokio::spawn(become_ready(app.clone(), url));
    let mut loops = loops::start(&app);
    let serving = app.clone();
    listen::listen(listener, router, settings.base_path.clone(), async move {
        stop.await;
        tracing::info!("stopping: open calls may end, jobs go on by themselves");
        serving.stop();
    })
    .await;
    starting.abort();
    let ends = async { while loops.join_next().await.is_some() {} };
    if tokio::time::timeout(LOOPS_END_MAX, ends).await.is_err() {
        tracing::warn!("a loop did not end in time and is left");
    }
    app.store.close().await;
    drop(lock);
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Waits until all wanted models answer or have failed, then says that the server is ready.
async fn become_ready(app: Arc<Services>, url: String) {
    while let Err(problem) = first_look(&app).await {
        tracing::warn!("the endpoints cannot be read: {problem}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    app.set_ready();
    announce(&url);
}

/// Waits until all wanted models answer or have failed, for a minute at most; what is still being loaded then goes on.
async fn first_look(app: &Arc<Services>) -> Result<(), Problem> {
    let look = app.clone();
    let round = tokio::spawn(async move { loops::endpoints::first_round(&look).await });
    match tokio::time::timeout(FIRST_LOOK_MAX, round).await {
        Ok(looked) => looked.map_err(|it| Problem::bug("the first look at the endpoints did not end", it))?,
        Err(_) => {
            tracing::warn!("not all endpoints answer yet; their models are still being loaded");
            Ok(())
        }
    }
}

/// Logs go to standard error: for people on a terminal, as JSON elsewhere.
fn start_logging() {
    use tracing_subscriber::{EnvFilter, fmt};
    let usual = "info,lance=warn,lance_table=warn,lance_index=warn,lance_core=warn,lance_encoding=warn,sqlx=warn,ort=warn,tract_onnx=warn";
    let filter = EnvFilter::try_from_env("KAOGONG_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    // Where the log cannot be written, on a full disk, the server goes on: telling that on the same stream would panic.
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    // A second start of logging in one process changes nothing.
    let _ = if std::io::stderr().is_terminal() {
        lines.with_target(false).compact().try_init()
    } else {
        lines.json().flatten_event(true).try_init()
    };
}

/// Raises the number of open files as far as this process may: the usual 1024 are fewer than the connections that the
/// server takes.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = now.maximum.map_or(OPEN_FILES, |it| it.min(OPEN_FILES));
    if now.current.is_none_or(|it| it >= wanted) {
        return;
    }
    if let Err(it) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: now.maximum }) {
        tracing::warn!("the number of open files stays at {}: {it}", now.current.unwrap_or_default());
    }
}

/// Makes the data folder and takes it for this process alone.
fn take_folder(folder: &Path) -> Result<File, Problem> {
    let cannot = |it: std::io::Error| cannot_use(folder, &it);
    if !folder.is_dir() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(cannot)?;
    }
    for part in ["tmp", "blobs", "tables", "jobs", "environments"] {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join(part)).map_err(cannot)?;
    }
    let lock = File::options().create(true).truncate(false).write(true).open(folder.join("lock")).map_err(cannot)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let text = format!("another server already runs on the data folder {}", folder.display());
            return Err(Problem::conflict(text).hint("stop it, or choose another folder with --data-dir"));
        }
        Err(fs::TryLockError::Error(it)) => return Err(cannot_use(folder, &it)),
    }
    // What is left here was on its way in when a server was killed; nobody was told that it arrived.
    for entry in fs::read_dir(folder.join("tmp")).map_err(cannot)?.flatten() {
        let _ = fs::remove_file(entry.path());
    }
    Ok(lock)
}

async fn open_port(address: SocketAddr) -> Result<TcpListener, Problem> {
    TcpListener::bind(address).await.map_err(|it| {
        let text = format!("cannot listen on {address}: {it}");
        let hint = match it.kind() {
            std::io::ErrorKind::AddrInUse => "another program has this port; choose one with --listen 127.0.0.1:PORT",
            std::io::ErrorKind::PermissionDenied => "ports below 1024 need rights; choose a higher one",
            _ => "choose an address of this machine",
        };
        Problem::unavailable(text).hint(hint)
    })
}

async fn wire(args: &UpArgs, settings: &Settings) -> Result<Arc<Services>, Problem> {
    let folder = &settings.data_dir;
    let program = std::env::current_exe().map_err(|it| Problem::bug("this program's own file is unknown", it))?;
    // The engines ask a process of their own, the store a disk or a network: neither waits for the other.
    let (store, engines) =
        tokio::join!(Store::open(&settings.store), find::engines(args.onnxruntime.as_deref(), &program));
    let (store, engines) = (Arc::new(store?), engines?);
    belong::check(&store, folder).await?;
    let blobs = Arc::new(Blobs::open(folder.join("blobs"))?);
    let decode = DecodeBudget::new(settings.import_bytes);
    let tables: Arc<dyn TableEngine> = Arc::new(
        LanceTables::open(folder.join("tables"))?
            .with_imports(Imports { budget: decode.clone(), decoder: Decoder::Program(program.clone()) }),
    );
    let uv = find::uv(args.uv.as_deref())?;
    if uv.is_none() {
        tracing::warn!(
            "uv was not found: jobs with a Python environment cannot start; `kaogong doctor` says how to install it"
        );
    }
    let runner = LocalRunner::new(LocalSettings {
        jobs_dir: folder.join("jobs"),
        envs_dir: folder.join("environments"),
        tools: Tools { uv },
        supervisor_command: vec![program.clone().into(), "supervise".into()],
        cgroup_parent: None,
    })?;
    let limits = words_for(&runner.capabilities());
    let recorder = record_metrics()?;
    Ok(Services::new(Parts {
        store,
        blobs,
        tables,
        runner: Arc::new(runner),
        workers: Some(workers(&program, engines.library.clone(), settings.model_bytes)),
        probe: Arc::new(ProcessProbe::new(program, engines.library)),
        engines: engines.all,
        vault: Vault::open(&folder.join(kaogong_data::backup::SECRETS_KEY))?,
        data_folder: folder.clone(),
        temp_folder: folder.join("tmp"),
        machine: loops::jobs::machine_capacity(settings.job_cpus, settings.job_memory_bytes),
        limits,
        base_path: settings.base_path.clone(),
        compute_threads: settings.compute_threads,
        decode,
        metrics: Arc::new(move || recorder.render()),
    }))
}

fn gate_settings(settings: &Settings) -> GateSettings {
    GateSettings {
        machine_bytes: settings.machine_bytes,
        trust_loopback: settings.trust_loopback,
        trusted_proxies: settings.trusted_proxies.clone(),
        clock,
    }
}

/// What starts processes for models, as copies of one of this program.
fn workers(program: &Path, library: Option<PathBuf>, memory_bytes: u64) -> Arc<Host> {
    let program = program.to_owned();
    Host::new(move || engine_zygote::command(&program, library.as_deref()), Limits { memory_bytes })
}

/// Records metrics from now on. What was recorded is folded together every few seconds: otherwise it would pile up
/// until somebody asks for it.
fn record_metrics() -> Result<PrometheusHandle, Problem> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Suffix("_seconds".to_owned()),
            &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
        )
        .and_then(|it| {
            let buckets = [1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0];
            it.set_buckets_for_metric(Matcher::Suffix("_statements".to_owned()), &buckets)
        })
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|it| Problem::bug("metrics cannot be recorded", it))?;
    let kept = recorder.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(METRICS_UPKEEP).await;
            kept.run_upkeep();
        }
    });
    Ok(recorder)
}

fn words_for(it: &kaogong_runners::Capabilities) -> String {
    use kaogong_runners::{CpuLimit, MemoryLimit};
    let memory = match it.memory {
        MemoryLimit::Cgroup => "memory by the kernel",
        MemoryLimit::Polled => "memory by looking several times a second",
        MemoryLimit::None => "memory not at all",
    };
    let cpu = match it.cpu {
        CpuLimit::Cgroup => "cores by the kernel",
        CpuLimit::Told => "cores told to thread pools",
    };
    format!("{memory}, {cpu}")
}

/// The one line on standard output: scripts wait for it.
fn announce(url: &str) {
    tracing::info!("ready at {url}");
    let line = serde_json::json!({"address": url});
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    // Nobody reads: that is no reason to stop serving.
    if let Err(it) = written {
        tracing::debug!("cannot write the address to standard output: {it}");
    }
}

fn stop_signal() -> Result<impl Future<Output = ()>, Problem> {
    let failed = |it| Problem::bug("cannot listen for signals", it);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Where the administrator's profile of a data folder lies.
fn profile_of(folder: &Path) -> PathBuf {
    folder.join(profile::FILE_NAME)
}

/// Now, for tokens.
fn now() -> kaogong_domain::Timestamp {
    clock()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    #[test]
    fn a_low_limit_of_open_files_is_raised() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum }).expect("a lower limit");
        raise_file_limit();
        let wanted = maximum.map_or(OPEN_FILES, |it| it.min(OPEN_FILES));
        assert_eq!(getrlimit(Resource::Nofile).current, Some(wanted));
    }
}
