//! Models in processes of their own: whatever a model does to its process, the server and the other models go on.

use crate::kit::{Reply, Server, http, text, wait_until, words_of};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

/// A server with models of the fixtures.
struct Scene {
    server: Server,
    token: String,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("{name}.onnx"))
}

impl Scene {
    fn new(models: &[&str], arguments: &[&str]) -> Self {
        let server = Server::start_with(arguments);
        for model in models {
            server.json(&["models", "register", model, fixture(model).to_str().expect("a path")]);
        }
        let token = server.token();
        Self { server, token }
    }

    /// An endpoint for a model of its name, and the process that has it.
    fn serve(&self, name: &str, model: &str, engine: &str) -> i32 {
        let made = self.server.json(&["endpoints", "create", name, "--model", model, "--engine", engine]);
        assert_eq!((made["state"].as_str(), made["isolation"].as_str()), (Some("ready"), Some("process")), "{made}");
        process_of(&made).expect("a process")
    }

    fn ask(&self, endpoint: &str, input: &Value, timeout_us: Option<u64>) -> Reply {
        let mut body = json!({"inputs": [input]});
        if let Some(it) = timeout_us {
            body["parameters"] = json!({"timeout": it});
        }
        let path = format!("/v2/models/{endpoint}/infer");
        self.server.call("POST", &path, Some(&self.token), body.to_string().as_bytes())
    }

    fn double(&self, endpoint: &str) -> Reply {
        self.ask(endpoint, &json!({"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, -2.0]}), None)
    }

    fn divide(&self, value: i64) -> Reply {
        self.ask("divide", &json!({"name": "x", "shape": [1], "datatype": "INT32", "data": [value]}), None)
    }

    fn rounds(&self, count: i64, timeout_us: Option<u64>) -> Reply {
        let input = json!({"name": "rounds", "shape": [1], "datatype": "INT64", "data": [count]});
        self.ask("rounds", &input, timeout_us)
    }

    fn memory(&self, elements: i64) -> Reply {
        self.ask("memory", &json!({"name": "elements", "shape": [1], "datatype": "INT64", "data": [elements]}), None)
    }

    fn show(&self, endpoint: &str) -> Value {
        self.server.json(&["endpoints", "show", endpoint])
    }
}

fn numbers(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", text(&reply.body));
    reply.json()["outputs"][0]["data"].clone()
}

fn refusal(reply: &Reply, status: u16) -> String {
    assert_eq!(reply.status, status, "{}", text(&reply.body));
    reply.json()["error"].as_str().expect("an error").to_owned()
}

/// What a refusal says about when to try again.
fn seconds_to_wait(reply: &Reply) -> u64 {
    let head = reply.head.to_lowercase();
    let line = head.lines().find_map(|it| it.strip_prefix("retry-after:")).expect("the header");
    line.trim().parse().expect("seconds")
}

/// The processor time that a process has taken, in ticks.
fn ticks(process: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("a process");
    let after_name = text.rsplit_once(") ").expect("a name").1;
    after_name.split(' ').skip(11).take(2).map(|it| it.parse::<u64>().expect("ticks")).sum()
}

fn end(process: i32, signal: Signal) {
    let id = Pid::from_raw(process).expect("a process id");
    kill_process(id, signal).expect("the process is there");
}

fn resident_mib(process: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find(|it| it.starts_with("VmRSS")).expect("a line");
    line.split_whitespace().nth(1).and_then(|it| it.parse::<u64>().ok()).expect("a number") / 1024
}

#[test]
fn a_neighbour_answers_every_call_whatever_happens_to_other_models() {
    let scene = Scene::new(&["double", "divide", "rounds", "memory"], &["--model-memory-mib", "1024"]);
    scene.serve("good", "double@1", "onnxruntime");
    scene.serve("victim", "double@1", "tract");
    scene.serve("divide", "divide@1", "onnxruntime");
    scene.serve("rounds", "rounds@1", "onnxruntime");
    let hungry = scene.serve("memory", "memory@1", "onnxruntime");
    let (is_over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let neighbours = (0..2).map(|_| {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    assert_eq!(numbers(&scene.double("good")), json!([3.0, -4.0]));
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        let neighbours: Vec<_> = neighbours.collect();
        // Everything below must not keep the neighbours from ending, also when it fails.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| harm(&scene, hungry)));
        is_over.store(true, Ordering::SeqCst);
        for it in neighbours {
            it.join().expect("every call of a neighbour is answered");
        }
        outcome.expect("each harm was one call's own");
    });
    assert!(answered.load(Ordering::SeqCst) > 20, "the neighbours had nothing to do");
    assert_eq!(scene.show("good")["stats"]["failed"], 0);
}

/// What models do to their processes, and what is done to them.
fn harm(scene: &Scene, hungry: i32) {
    // A fault in native code is that call's own.
    let said = refusal(&scene.divide(-2_147_483_648), 400);
    assert!(said.contains("ended by signal 8 (SIGFPE) while it computed this call"), "{said}");
    assert_eq!(numbers(&scene.divide(-4)), json!([4]));
    // A run without end is ended at its time, in a process that goes on.
    let said = refusal(&scene.rounds(1_000_000_000_000, Some(300_000)), 503);
    assert!(said.contains("did not finish in the time of the call"), "{said}");
    assert_eq!(numbers(&scene.rounds(3, None)), json!([3.0]));
    // Memory is bounded, and given back.
    let said = refusal(&scene.memory(2_000_000_000), 400);
    assert!(said.contains("bad_alloc") || said.contains("allocate"), "{said}");
    numbers(&scene.memory(60_000_000));
    assert!(resident_mib(hungry) < 200, "{} MiB are resident after a large call", resident_mib(hungry));
    // Whatever signal ends a process, its model is started again.
    for signal in [Signal::FPE, Signal::KILL, Signal::SEGV] {
        let look = || process_of(&scene.show("victim"));
        let process = wait_until("a process", look);
        end(process, signal);
        wait_until("another process", || look().filter(|it| *it != process));
        assert_eq!(numbers(&scene.double("victim")), json!([3.0, -4.0]), "after {signal:?}");
    }
}

fn process_of(endpoint: &Value) -> Option<i32> {
    i32::try_from(endpoint["process"].as_i64()?).ok()
}

#[test]
fn a_model_that_ends_its_process_again_and_again_is_set_aside_until_it_is_updated() {
    let scene = Scene::new(&["divide"], &[]);
    scene.serve("divide", "divide@1", "onnxruntime");
    for _ in 0..5 {
        refusal(&scene.divide(-2_147_483_648), 400);
    }
    let reply = scene.divide(-4);
    let said = refusal(&reply, 503);
    assert!(said.contains("ends its process again and again") && said.contains("SIGFPE"), "{said}");
    let left = seconds_to_wait(&reply);
    assert!((2..=30).contains(&left), "{left}: {}", reply.head);
    let shown = scene.show("divide");
    assert_eq!(shown["state"], "failed");
    assert!(shown["reason"].as_str().is_some_and(|it| it.contains("set aside for 30 seconds")), "{shown}");
    let updated = scene.server.json(&["endpoints", "update", "divide", "--model", "divide@1"]);
    assert_eq!(updated["state"], "ready");
    assert_eq!(numbers(&scene.divide(-4)), json!([4]));
}

#[test]
fn a_run_ends_when_its_caller_hangs_up() {
    let scene = Scene::new(&["rounds"], &["--compute-threads", "1"]);
    let process = scene.serve("rounds", "rounds@1", "onnxruntime");
    for _ in 0..3 {
        let before = ticks(process);
        let input = json!({"name": "rounds", "shape": [1], "datatype": "INT64", "data": [1_000_000_000_000_i64]});
        let body = json!({"inputs": [input]}).to_string();
        let host = scene.server.address.trim_start_matches("http://");
        let mut caller = std::net::TcpStream::connect(host).expect("a connection");
        let head = format!(
            "POST /v2/models/rounds/infer HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
            scene.token,
            body.len()
        );
        caller.write_all(format!("{head}{body}").as_bytes()).expect("sent");
        wait_until("the run", || (ticks(process) > before + 10).then_some(()));
        drop(caller);
        // The only thread is free long before the time of the run would be over.
        assert_eq!(numbers(&scene.rounds(3, Some(20_000_000))), json!([3.0]));
    }
    assert_eq!(process_of(&scene.show("rounds")), Some(process), "the process goes on");
}

#[test]
fn calls_go_on_when_the_process_that_starts_the_others_is_killed() {
    let scene = Scene::new(&["double"], &[]);
    let first = scene.serve("double", "double@1", "tract");
    let zygote = scene.server.zygote().expect("a zygote");
    assert!(!words_of(zygote).contains("--late"), "a library that starts threads is not shared by the workers");
    end(zygote, Signal::KILL);
    wait_until("its workers end with it", || (!scene.server.workers().contains(&first)).then_some(()));
    assert_eq!(numbers(&scene.double("double")), json!([3.0, -4.0]));
    assert_eq!(scene.server.workers().len(), 1);
}

#[test]
fn nothing_is_left_when_the_server_is_killed() {
    let mut scene = Scene::new(&["double"], &[]);
    scene.serve("double", "double@1", "tract");
    let left: Vec<i32> = scene.server.workers().into_iter().chain(scene.server.zygote()).collect();
    scene.server.kill();
    wait_until("no process is left", || {
        left.iter().all(|it| !Path::new(&format!("/proc/{it}/cmdline")).exists() || is_dead(*it)).then_some(())
    });
}

fn is_dead(process: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|it| it.1.starts_with(['Z', 'X']))
}

#[test]
fn a_server_lives_before_its_models_are_loaded() {
    let mut scene = Scene::new(&["double"], &[]);
    for number in 0..12 {
        scene.serve(&format!("double-{number}"), "double@1", "tract");
    }
    scene.server.stop();
    let (address, token) = (scene.server.address.clone(), scene.token.clone());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let call = |method: &str, path: &str, body: &[u8]| {
                let bearer = format!("Bearer {token}");
                http(&address, method, path, &[("authorization", bearer.as_str())], body).ok()
            };
            let live = wait_until("the server lives", || call("GET", "/healthz", b""));
            assert_eq!(live.status, 200);
            let input = json!({"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 1]});
            let body = json!({"inputs": [input]}).to_string();
            let mut seen = vec![];
            while !is_over.load(Ordering::SeqCst) {
                let reply = call("POST", "/v2/models/double-11/infer", body.as_bytes()).expect("an answer");
                if reply.status == 503 {
                    assert!(reply.head.to_lowercase().contains("retry-after:"), "{}", reply.head);
                }
                seen.push(reply.status);
            }
            assert!(seen.iter().all(|it| [200, 503].contains(it)), "{seen:?}");
            // Whether it is ready is told last, when every model answers.
            assert_eq!(call("GET", "/readyz", b"").expect("an answer").status, 200);
        });
        scene.server.restart();
        assert_eq!(numbers(&scene.double("double-11")), json!([3.0, -4.0]));
        is_over.store(true, Ordering::SeqCst);
        watching.join().expect("it lived");
    });
}

#[test]
fn only_the_administrator_runs_a_model_in_the_servers_process() {
    let scene = Scene::new(&["double"], &[]);
    let made = scene.server.json(&["endpoints", "create", "inside", "--model", "double@1", "--in-process"]);
    assert_eq!((made["state"].as_str(), made["isolation"].as_str()), (Some("ready"), Some("none")));
    assert_eq!(scene.server.workers(), Vec::<i32>::new());
    assert_eq!(numbers(&scene.double("inside")), json!([3.0, -4.0]));
    let limited = scene.server.json(&["access", "tokens", "create", "ci", "--scope", "write"]);
    let limited = limited["secret"].as_str().expect("a token").to_owned();
    let body = json!({"name": "other", "model": "double@1", "isolation": "none"}).to_string();
    let reply = scene.server.call("POST", "/api/v1/projects/default/endpoints", Some(&limited), body.as_bytes());
    assert_eq!(reply.status, 403, "{}", text(&reply.body));
    let changed = scene.server.json(&["endpoints", "update", "inside", "--model", "double@1", "--own-process"]);
    assert_eq!(changed["isolation"], "process");
    wait_until("a process of its own", || (scene.server.workers().len() == 1).then_some(Duration::ZERO));
}
