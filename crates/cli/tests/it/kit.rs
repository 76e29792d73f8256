//! A server of the built program on a temporary folder, and ways to call it.

use http_body_util::BodyExt;
use serde_json::Value;
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_kaogong");
/// How long a condition may take to become true.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A running server; dropping it ends the process and removes the folder.
pub(crate) struct Server {
    pub(crate) folder: TempDir,
    pub(crate) address: String,
    port: u16,
    child: Child,
    extra: Vec<String>,
}

impl Server {
    /// Starts a server on a new folder and a free port.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more arguments.
    pub(crate) fn start_with(extra: &[&str]) -> Self {
        Self::start_on_with(TempDir::new().expect("a folder"), extra)
    }

    /// Starts a server on a folder that holds something.
    pub(crate) fn start_on(folder: TempDir) -> Self {
        Self::start_on_with(folder, &[])
    }

    /// The same, with more arguments.
    pub(crate) fn start_on_with(folder: TempDir, extra: &[&str]) -> Self {
        let extra: Vec<String> = extra.iter().map(|it| (*it).to_owned()).collect();
        let (child, address) = launch(program(), folder.path(), folder.path(), 0, &extra);
        let port = address.rsplit_once(':').and_then(|it| it.1.parse().ok()).expect("a port");
        Self { folder, address, port, child, extra }
    }

    /// Starts a server whose data folder is a disk of its own, of `mib` MiB. The disk is mounted for the server's
    /// process alone and goes away with it; the profile lies outside of it.
    pub(crate) fn start_on_small_disk(mib: u32) -> Self {
        let folder = TempDir::new().expect("a folder");
        let disk = folder.path().join("disk");
        std::fs::create_dir(&disk).expect("a mount point");
        let script = format!("mount -t tmpfs -o size={mib}m none \"$0\" && exec \"$@\"");
        let mut command = without_settings("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "sh", "-c", &script]).arg(&disk).arg(PROGRAM);
        let (child, address) = launch(command, folder.path(), &disk, 0, &[]);
        Self { folder, address, port: 0, child, extra: vec![] }
    }

    /// The folder of the server's small disk, as seen from outside the mount of its process.
    pub(crate) fn small_disk(&self) -> PathBuf {
        let inside = self.folder.path().join("disk");
        let below = inside.strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(self.child.id().to_string()).join("root").join(below)
    }

    /// Kills the process without a word, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a process to kill");
        self.child.wait().expect("an end");
    }

    /// Starts the server again on the same folder and port.
    pub(crate) fn restart(&mut self) {
        let (child, address) = launch(program(), self.folder.path(), self.folder.path(), self.port, &self.extra);
        self.child = child;
        self.address = address;
    }

    /// Asks the process to stop, and waits for it.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let id =
            rustix::process::Pid::from_raw(i32::try_from(self.child.id()).expect("a process id")).expect("a process");
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("a signal");
        self.child.wait().expect("an end").code()
    }

    /// The processes that have models.
    pub(crate) fn workers(&self) -> Vec<i32> {
        let all = descendants(&parents(), i32::try_from(self.child.id()).expect("a process id"));
        all.into_iter().filter(|it| name_of(*it) == "kaogong-model").collect()
    }

    /// The process that those are copies of.
    pub(crate) fn zygote(&self) -> Option<i32> {
        let own = i32::try_from(self.child.id()).expect("a process id");
        let is_one = |(it, parent): &(i32, i32)| *parent == own && words_of(*it).contains("engine-zygote");
        parents().into_iter().find(is_one).map(|it| it.0)
    }

    /// The local administrator's token.
    pub(crate) fn token(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("profile.json")).expect("a profile");
        let profile: Value = serde_json::from_str(&text).expect("JSON");
        profile["token"].as_str().expect("a token").to_owned()
    }

    /// Runs the command line against this server.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        cli(self.folder.path(), arguments)
    }

    /// Runs a command that must succeed, and reads its JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.cli(&[arguments, &["--output", "json"]].concat());
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "kaogong {arguments:?} failed:\n{out}\n{err}");
        serde_json::from_str(&out).unwrap_or_else(|it| panic!("kaogong {arguments:?} printed no JSON ({it}):\n{out}"))
    }

    /// A plain HTTP call with a token.
    pub(crate) fn call(&self, method: &str, path: &str, token: Option<&str>, body: &[u8]) -> Reply {
        let bearer = token.map(|it| format!("Bearer {it}"));
        let headers: Vec<(&str, &str)> = bearer.iter().map(|it| ("authorization", it.as_str())).collect();
        http(&self.address, method, path, &headers, body).expect("an answer")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        end_supervisors(self.folder.path());
    }
}

/// Ends the jobs below a folder, which outlive their server on purpose. A supervisor goes last: it is the parent of
/// all that its job started, so that nothing gets away.
fn end_supervisors(folder: &Path) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let parents = parents();
        let supervisors: Vec<i32> = parents.keys().copied().filter(|it| is_supervisor(*it, folder)).collect();
        if supervisors.is_empty() || Instant::now() > end {
            return;
        }
        for supervisor in supervisors {
            let family = descendants(&parents, supervisor);
            for process in if family.is_empty() { vec![supervisor] } else { family } {
                let id = rustix::process::Pid::from_raw(process).expect("a process id");
                // Already gone is what is wanted.
                let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
            }
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn is_supervisor(process: i32, folder: &Path) -> bool {
    let words = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let words: Vec<String> = words.split(|it| *it == 0).map(text).collect();
    words.get(1).is_some_and(|it| it == "supervise") && words.get(2).is_some_and(|it| Path::new(it).starts_with(folder))
}

/// The command line of a process.
pub(crate) fn words_of(process: i32) -> String {
    text(&std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default()).replace('\0', " ")
}

fn name_of(process: i32) -> String {
    std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default().trim().to_owned()
}

/// Every process that is alive, with its parent.
fn parents() -> HashMap<i32, i32> {
    let ids = std::fs::read_dir("/proc").expect("processes").flatten();
    let line = |id: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let (state, rest) = stat.rsplit_once(") ")?.1.split_once(' ')?;
        let parent = rest.split(' ').next()?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then_some((id, parent))
    };
    ids.filter_map(|it| it.file_name().to_str()?.parse().ok()).filter_map(line).collect()
}

fn descendants(parents: &HashMap<i32, i32>, root: i32) -> Vec<i32> {
    let is_below = |mut it: i32| {
        // Read line by line, so that a reused number could close a circle.
        (0..1000).any(|_| {
            it = parents.get(&it).copied().unwrap_or(0);
            it == root
        })
    };
    parents.keys().copied().filter(|it| is_below(*it)).collect()
}

fn launch(mut command: Command, home: &Path, data: &Path, port: u16, extra: &[String]) -> (Child, String) {
    command
        .args(["up", "--data-dir"])
        .arg(data)
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .args(extra)
        .env("KAOGONG_HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::options().create(true).append(true).open(home.join("server.log")).expect("a log"));
    if let Some(uv) = std::env::var_os("KAOGONG_TEST_UV") {
        command.env("KAOGONG_UV", uv);
    }
    if let Some(library) = std::env::var_os("KAOGONG_TEST_ONNXRUNTIME").filter(|it| !it.is_empty()) {
        command.env("KAOGONG_ONNXRUNTIME", library);
    }
    let mut child = command.spawn().expect("the program starts");
    let mut line = String::new();
    let out = child.stdout.take().expect("standard output");
    BufReader::new(out).read_line(&mut line).expect("a line");
    let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
        panic!("no address:\n{}", std::fs::read_to_string(home.join("server.log")).unwrap_or_default())
    });
    (child, ready["address"].as_str().expect("an address").to_owned())
}

/// The program under test, which knows nothing of the server, token or store that the caller's shell points at.
pub(crate) fn program() -> Command {
    without_settings(PROGRAM)
}

fn without_settings(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|it| it.0.to_string_lossy().starts_with("KAOGONG_")) {
        command.env_remove(name);
    }
    command
}

/// Runs the command line with a home folder.
pub(crate) fn cli(home: &Path, arguments: &[&str]) -> Output {
    program().args(arguments).env("KAOGONG_HOME", home).stdin(Stdio::null()).output().expect("the program runs")
}

/// Bytes as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", text(&self.body)))
    }
}

/// One HTTP/1.1 call on its own connection; knows nothing of the client under test.
pub(crate) fn http(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Reply> {
    let host = address.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    // In one piece: a refusal that leaves the body unread would reset the connection, and the answer be lost with it.
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = vec![];
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap_or(answer.len());
    let head = text(&answer[..end]);
    let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
    let body = answer.get(end + 4..).unwrap_or_default();
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok(Reply { status, head, body: if is_chunked { joined(body) } else { body.to_vec() } })
}

/// The chunks of a body that has no length; one that breaks off is no body.
fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut all = vec![];
    loop {
        let end = chunks.windows(2).position(|it| it == b"\r\n").expect("a chunk");
        let size = usize::from_str_radix(&text(&chunks[..end]), 16).expect("a size");
        if size == 0 {
            return all;
        }
        all.extend_from_slice(&chunks[end + 2..end + 2 + size]);
        chunks = &chunks[end + 2 + size + 2..];
    }
}

/// One gRPC call on its own connection: the status and its message.
pub(crate) fn grpc(address: &str, path: &str, metadata: &[(&'static str, String)], message: &[u8]) -> (u32, String) {
    let length = u32::try_from(message.len()).expect("a short message");
    let body = [&[0][..], &length.to_be_bytes(), message].concat();
    // The test is about the port, which speaks no TLS; the client wants to know of a provider all the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let answer = async {
        let client = reqwest::Client::builder().http2_prior_knowledge().timeout(PATIENCE).build().expect("a client");
        let mut call = client.post(format!("{address}{path}")).header("content-type", "application/grpc").body(body);
        for (name, value) in metadata {
            call = call.header(*name, value);
        }
        let mut answer = http::Response::from(call.send().await.expect("an answer"));
        let mut found = answer.headers().clone();
        // A call that was answered has its status behind the message.
        while let Some(frame) = answer.body_mut().frame().await {
            if let Ok(trailers) = frame.expect("a frame").into_trailers() {
                found.extend(trailers);
            }
        }
        found
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let found = runtime.block_on(answer);
    let word = |name: &str| found.get(name).map(|it| text(it.as_bytes()));
    let status = word("grpc-status").and_then(|it| it.parse().ok()).expect("a status");
    (status, word("grpc-message").unwrap_or_default())
}

/// Waits until a condition holds.
pub(crate) fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// A small grey picture as a PNG file.
pub(crate) fn png(width: u32, height: u32, value: impl Fn(u32, u32) -> u8) -> Vec<u8> {
    let picture = image::GrayImage::from_fn(width, height, |x, y| image::Luma([value(x, y)]));
    let mut out = std::io::Cursor::new(vec![]);
    picture.write_to(&mut out, image::ImageFormat::Png).expect("a PNG");
    out.into_inner()
}

/// A folder of two classes, bright on the left and bright on the right, `count` pictures each.
pub(crate) fn pictures(folder: &Path, count: u32) -> PathBuf {
    let root = folder.join("pictures");
    for (class, is_left) in [("left", true), ("right", false)] {
        std::fs::create_dir_all(root.join(class)).expect("a class folder");
        for number in 0..count {
            let bytes = png(8, 8, |x, y| {
                let noise = u8::try_from((x * 7 + y * 13 + number * 29) % 60).unwrap_or(0);
                if (x < 4) == is_left { 190 + noise } else { noise }
            });
            std::fs::write(root.join(class).join(format!("{number:03}.png")), bytes).expect("a picture");
        }
    }
    root
}
