//! Loading with an engine that waits at a gate: what happens meanwhile decides what answers.

use super::{table::tests::row, *};
use kaogong_serving::{DataType, Loaded, Session, Tensor, TensorSpec};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Loads anything, when the gate is open.
#[derive(Default)]
struct Gated {
    is_closed: Mutex<bool>,
    bell: Condvar,
    loads: AtomicUsize,
}

impl Gated {
    fn set_closed(&self, is_closed: bool) {
        *self.is_closed.lock().expect("nobody panics with the gate") = is_closed;
        self.bell.notify_all();
    }

    async fn wait_for_loads(&self, count: usize) {
        while self.loads.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    }
}

impl Engine for Gated {
    fn name(&self) -> EngineName {
        EngineName::Tract
    }

    fn version(&self) -> String {
        "1".into()
    }

    fn load(&self, _: &Path, _: usize) -> Result<Arc<dyn Loaded>, Problem> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let closed = self.is_closed.lock().expect("nobody panics with the gate");
        drop(self.bell.wait_while(closed, |it| *it).expect("nobody panics with the gate"));
        let spec = TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape: vec![-1] };
        Ok(Arc::new(Same { specs: [spec], metadata: BTreeMap::new() }))
    }
}

struct Same {
    specs: [TensorSpec; 1],
    metadata: BTreeMap<String, String>,
}

impl Loaded for Same {
    fn inputs(&self) -> &[TensorSpec] {
        &self.specs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.specs
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn session(&self) -> Result<Box<dyn Session>, Problem> {
        Ok(Box::new(Echo))
    }
}

struct Echo;

impl Session for Echo {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Problem> {
        Ok(inputs.to_vec())
    }
}

/// Refuses when it is told to.
struct Judge {
    refusal: Option<&'static str>,
}

impl ModelProbe for Judge {
    fn probe<'a>(&'a self, _: EngineName, _: &'a Path) -> Verdict<'a> {
        Box::pin(async move { self.refusal.map_or(Ok(None), |it| Err(Problem::invalid(it))) })
    }
}

struct Scene {
    serving: Arc<Serving>,
    engine: Arc<Gated>,
    blobs: Arc<Blobs>,
    hash: BlobHash,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new(refusal: Option<&'static str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let blobs = Arc::new(Blobs::open(folder.path().join("blobs")).expect("a store"));
        let hash = blobs.put(b"a model").expect("a blob");
        let engine = Arc::<Gated>::default();
        let engines: Vec<Arc<dyn Engine>> = vec![engine.clone() as Arc<dyn Engine>];
        let serving = Serving::new(engines, None, 1, blobs.clone(), Arc::new(Judge { refusal }));
        Self { serving, engine, blobs, hash, _folder: folder }
    }

    fn row(&self, id: u128, generation: i64) -> EndpointRow {
        EndpointRow { hash: Some(self.hash.to_string()), ..row(id, generation) }
    }

    fn begin(&self, row: EndpointRow) -> tokio::task::JoinHandle<Result<(), Problem>> {
        let serving = self.serving.clone();
        tokio::spawn(async move { serving.load(&row).await })
    }

    fn generation(&self) -> Option<i64> {
        let row = self.row(1, 1);
        self.serving.find(row.project_id, &row.name).map(|it| it.row.generation)
    }
}

#[tokio::test]
async fn a_model_is_loaded_once_for_all_who_ask_at_once() {
    let scene = Scene::new(None);
    scene.engine.set_closed(true);
    let calls: Vec<_> = (0..5).map(|_| scene.begin(scene.row(1, 1))).collect();
    scene.engine.wait_for_loads(1).await;
    assert!(scene.serving.is_settled(&scene.row(1, 1)), "a round leaves it to who loads it");
    scene.engine.set_closed(false);
    for call in calls {
        call.await.expect("a task").expect("it answers");
    }
    assert_eq!(scene.engine.loads.load(Ordering::SeqCst), 1);
    assert_eq!(scene.generation(), Some(1));
}

#[tokio::test]
async fn an_endpoint_that_is_deleted_while_it_loads_stays_away() {
    let scene = Scene::new(None);
    scene.engine.set_closed(true);
    let call = scene.begin(scene.row(1, 1));
    scene.engine.wait_for_loads(1).await;
    scene.serving.unload(&scene.row(1, 1));
    scene.engine.set_closed(false);
    assert_eq!(call.await.expect("a task").expect_err("deleted").kind, ErrorKind::Conflict);
    assert_eq!(scene.generation(), None);
}

#[tokio::test]
async fn changes_load_in_turn_and_the_newest_answers() {
    let scene = Scene::new(None);
    scene.engine.set_closed(true);
    let first = scene.begin(scene.row(1, 1));
    scene.engine.wait_for_loads(1).await;
    let second = scene.begin(scene.row(1, 2));
    scene.engine.set_closed(false);
    first.await.expect("a task").expect("it answered first");
    second.await.expect("a task").expect("it answers");
    assert_eq!(scene.generation(), Some(2));
    let old = scene.serving.load(&scene.row(1, 1)).await.expect_err("too late");
    assert_eq!((old.kind, scene.generation()), (ErrorKind::Conflict, Some(2)));
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_stop_the_load() {
    let scene = Scene::new(None);
    scene.engine.set_closed(true);
    let call = scene.begin(scene.row(1, 1));
    scene.engine.wait_for_loads(1).await;
    call.abort();
    scene.engine.set_closed(false);
    while scene.generation().is_none() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_the_probe_refuses_is_never_loaded_here() {
    let scene = Scene::new(Some("it crashed"));
    let problem = scene.serving.load(&scene.row(1, 1)).await.expect_err("refused");
    assert_eq!(problem.text, "it crashed");
    assert_eq!(scene.serving.failure_of(scene.row(1, 1).id).as_deref(), Some("it crashed"));
    let problem = scene.serving.check_file(scene.blobs.local_path(&scene.hash)).await.expect_err("refused");
    assert_eq!(problem.text, "it crashed");
    assert_eq!(scene.engine.loads.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_file_that_is_damaged_or_missing_is_not_served_and_says_so() {
    let scene = Scene::new(None);
    std::fs::write(scene.blobs.local_path(&scene.hash), b"a m0del").expect("damage");
    let problem = scene.serving.load(&scene.row(1, 1)).await.expect_err("damaged");
    assert_eq!(problem.kind, ErrorKind::Unavailable);
    assert!(problem.text.contains("damaged"), "{problem}");
    scene.blobs.remove(&scene.hash).expect("removed");
    scene.serving.load(&scene.row(1, 1)).await.expect_err("missing");
    let reason = scene.serving.failure_of(scene.row(1, 1).id).expect("a reason");
    assert!(reason.contains("the file of digits@1 is missing"), "{reason}");
    assert_eq!(scene.engine.loads.load(Ordering::SeqCst), 0);
}
