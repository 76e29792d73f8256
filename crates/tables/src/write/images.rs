//! An import of pictures: a bounded inbox, parallel workers that look at files, one writer.
//!
//! `push` fills chunks; workers turn chunks into batches, in order; Lance writes them as data files that nothing
//! refers to. `finish` commits. When the owner goes away or a file is refused, the source of the write fails,
//! and Lance removes what it wrote.

use super::{
    collect::{self, Gathered, Member, NO_CLASS, PictureTotals},
    commit::{Parts, Tables},
    prepare::{self, Chunk, Prepared},
    side,
};
use crate::{
    ids::IdSource,
    imports::{Guards, Imports},
    lance_errors::{self, Smuggled},
    layout,
    read::index::{IndexCache, VersionIndex},
    store::Ground,
};
use arrow_array::{RecordBatch, cast::AsArray};
use async_trait::async_trait;
use futures::{Stream, StreamExt, TryStreamExt};
use kaogong_data::{
    BlobHash,
    folder::{self, Taken},
    images::FILE_BYTES_MAX,
    split::{self, Known},
    tables::{
        BadFiles, Change, Committed, ImageImport, ImageImportPlan, ItemIn, VersionAt, VersionSummary, Warning, Warnings,
    },
};
use kaogong_domain::{Problem, datasets::DatasetKind};
use lance::{
    Dataset,
    dataset::transaction::Transaction,
    deps::datafusion::{
        error::DataFusionError,
        physical_plan::{SendableRecordBatchStream, stream::RecordBatchStreamAdapter},
    },
};
use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};
use tokio::{sync::mpsc, task::JoinHandle};

const CHUNK_ITEMS: usize = 1024;
const CHUNK_BYTES: usize = 4 << 20;
/// Chunks between `push` and the workers.
const INBOX_CHUNKS: usize = 2;
const WORKERS_MAX: usize = 4;
/// The most items of one import: ids and class numbers are kept in memory until the end.
const ITEMS_MAX: u64 = 1 << 31;

enum Message {
    Chunk(Chunk),
    End,
}

struct Written {
    items: Transaction,
    ground: Ground,
    _guards: Guards,
}

/// The engine's side of [`ImageImport`].
pub(crate) struct ImageWriter {
    plan: ImageImportPlan,
    tables: Tables,
    indexes: Arc<IndexCache>,
    ids: IdSource,
    began: SystemTime,
    chunk: Chunk,
    chunk_bytes: usize,
    pushed: u64,
    taken: Taken,
    /// What the base version holds; `None` when it is replaced.
    known: Option<Known>,
    inbox: Option<mpsc::Sender<Message>>,
    writer: Option<JoinHandle<Result<Written, Problem>>>,
    gathered: Arc<Mutex<Gathered>>,
}

impl ImageWriter {
    /// Starts the writer, which keeps `guards` until this import is over.
    pub(crate) async fn begin(
        plan: ImageImportPlan,
        tables: Tables,
        indexes: Arc<IndexCache>,
        imports: Arc<Imports>,
        guards: Guards,
    ) -> Result<Self, Problem> {
        if let Some(plan) = &plan.split {
            split::check(plan)?;
        }
        let ids = IdSource::new(plan.now)?;
        let ground = tables.ground(&plan.change).await?;
        let gathered = Arc::new(Mutex::new(Gathered::default()));
        let (taken, known) = match (&ground, &plan.change) {
            (Ground::Add(base), Change::Append { base: pins }) => {
                let at = VersionAt { dataset: plan.dataset, pins: pins.clone() };
                let index = indexes.get(&tables, &at).await?;
                let seed = plan.split.as_ref().map_or(0, |it| it.seed);
                let (taken, known) = look_at_base(base, &index, seed, &gathered).await?;
                (taken, Some(known))
            }
            _ => (Taken::default(), None),
        };
        let (inbox, chunks) = mpsc::channel(INBOX_CHUNKS);
        let reason = Smuggled::default();
        let keeper = Keeper { gathered: gathered.clone(), reason: reason.clone(), bad_files: plan.bad_files };
        let source = source(chunks, ids, plan.split.as_ref().map(|it| it.seed), keeper, imports);
        let writer = tokio::spawn(write(tables.clone(), ground, source, reason, guards));
        Ok(Self {
            plan,
            tables,
            indexes,
            ids,
            began: SystemTime::now(),
            chunk: Vec::new(),
            chunk_bytes: 0,
            pushed: 0,
            taken,
            known,
            inbox: Some(inbox),
            writer: Some(writer),
            gathered,
        })
    }

    fn gathered<T>(&self, act: impl FnOnce(&mut Gathered) -> T) -> T {
        act(&mut self.gathered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Treats a file that can be judged without looking inside.
    fn refuse(&mut self, source_name: &[u8], reason: &str) -> Result<(), Problem> {
        let warning = Warning { source_name: folder::text_of(source_name), reason: reason.to_owned() };
        if self.plan.bad_files == BadFiles::Refuse {
            return Err(refused(&warning));
        }
        self.skip(warning);
        Ok(())
    }

    async fn send(&mut self, message: Message) -> Result<(), Problem> {
        let delivered = match &self.inbox {
            Some(inbox) => inbox.send(message).await.is_ok(),
            None => false,
        };
        if delivered { Ok(()) } else { Err(self.why_ended().await) }
    }

    async fn send_chunk(&mut self) -> Result<(), Problem> {
        self.chunk_bytes = 0;
        let chunk = std::mem::take(&mut self.chunk);
        if chunk.is_empty() { Ok(()) } else { self.send(Message::Chunk(chunk)).await }
    }

    async fn joined(&mut self) -> Result<Written, Problem> {
        match self.writer.take() {
            Some(writer) => writer.await.map_err(lance_errors::task("write a dataset"))?,
            None => Err(lance_errors::abandoned()),
        }
    }

    /// The writer stopped taking chunks: it failed, and knows why.
    async fn why_ended(&mut self) -> Problem {
        self.inbox = None;
        self.joined().await.err().unwrap_or_else(lance_errors::abandoned)
    }

    async fn commit(mut self) -> Result<Committed, Problem> {
        self.send_chunk().await?;
        self.send(Message::End).await?;
        let written = self.joined().await?;
        let gathered = self.gathered(std::mem::take);
        let splits = collect::splits(&gathered.members, self.plan.split.as_ref(), self.known.as_ref());
        let from = side::Provenance { source: "folder", author: self.plan.author.clone(), now: self.plan.now };
        let numbers: Vec<_> = gathered.members.iter().map(|it| it.number).collect();
        let placed = numbers.into_iter().zip(splits).filter_map(|(number, split)| split.map(|it| (number, it)));
        let parts = Parts {
            labels: side::labels(&gathered.members, &gathered.classes, self.ids, from),
            splits: side::splits(placed, self.ids),
            ground: written.ground,
            items: written.items,
            began: self.began,
        };
        let pins = self.tables.commit(&self.plan.change, parts).await?;
        let at = VersionAt { dataset: self.plan.dataset, pins: pins.clone() };
        // Whoever asked for the import looks at the version next: the index stays at hand.
        let index = self.indexes.get(&self.tables, &at).await?;
        let folders = std::mem::take(&mut self.plan.folders);
        let folders = (!folders.levels.is_empty()).then_some(folders);
        Ok(Committed { pins, summary: VersionSummary { folders, ..summary(gathered, &index) } })
    }
}

fn summary(gathered: Gathered, index: &VersionIndex) -> VersionSummary {
    let (classes, classes_total) = index.class_counts();
    VersionSummary {
        kind: DatasetKind::Images,
        items: gathered.totals.items,
        items_added: gathered.members.len() as u64,
        bytes: gathered.totals.bytes,
        images: gathered.totals.into_facts(),
        classes,
        classes_total,
        splits: index.split_counts(),
        columns: Vec::new(),
        target: None,
        original: None,
        folders: None,
        warnings: gathered.warnings,
        notes: Vec::new(),
    }
}

#[async_trait]
impl ImageImport for ImageWriter {
    async fn push(&mut self, mut item: ItemIn) -> Result<(), Problem> {
        let normal = match folder::normal(&item.source_name) {
            Cow::Owned(it) => Some(it),
            Cow::Borrowed(_) => None,
        };
        item.source_name = normal.unwrap_or(item.source_name);
        if item.source_name.is_empty() || item.source_name.len() > folder::NAME_BYTES_MAX {
            let shown = item.source_name[..item.source_name.len().min(80)].to_vec();
            return self.refuse(&shown, "the name is empty or longer than 4096 bytes");
        }
        if item.source_name.split(|it| *it == b'/').any(|it| it.len() > folder::PART_BYTES_MAX) {
            return self.refuse(&item.source_name, "a part of the name is longer than 255 bytes");
        }
        if item.bytes.len() > FILE_BYTES_MAX {
            return self.refuse(&item.source_name, "the file is larger than 64 MiB");
        }
        if item.label.as_ref().is_some_and(|it| it.is_empty() || it.len() > folder::LABEL_BYTES_MAX) {
            return self.refuse(&item.source_name, "the class is empty or longer than 255 bytes");
        }
        if let Err(reason) = self.taken.take(&item.source_name) {
            return self.refuse(&item.source_name, reason);
        }
        if self.pushed >= ITEMS_MAX {
            return Err(Problem::invalid("more than 2,147,483,648 files in one import").hint("import in several parts"));
        }
        // A large file goes in a chunk of its own, so that no chunk is much larger than one file may be.
        if self.chunk_bytes + item.bytes.len() > CHUNK_BYTES {
            self.send_chunk().await?;
        }
        self.chunk_bytes += item.bytes.len();
        self.chunk.push((self.pushed, item));
        self.pushed += 1;
        if self.chunk.len() >= CHUNK_ITEMS || self.chunk_bytes >= CHUNK_BYTES {
            self.send_chunk().await
        } else {
            Ok(())
        }
    }

    fn skip(&mut self, warning: Warning) {
        self.gathered(|it| it.warnings.add(warning));
    }

    fn skip_all(&mut self, warnings: Warnings) {
        self.gathered(|it| it.warnings.extend(warnings));
    }

    async fn finish(self: Box<Self>) -> Result<Committed, Problem> {
        // In a task of its own, so that a caller who goes away does not stop a commit half way.
        tokio::spawn(self.commit()).await.map_err(lance_errors::task("commit a dataset"))?
    }

    async fn abort(mut self: Box<Self>) {
        self.inbox = None;
        if let Ok(written) = self.joined().await {
            self.tables.discard(&written.items).await;
        }
    }
}

async fn write(
    tables: Tables,
    ground: Ground,
    source: SendableRecordBatchStream,
    reason: Smuggled,
    guards: Guards,
) -> Result<Written, Problem> {
    match tables.items.write(&ground, source).await {
        Ok(items) => Ok(Written { items, ground, _guards: guards }),
        Err(error) => {
            tables.remove_if_empty().await;
            Err(reason.or(|| lance_errors::lance("write a dataset")(error)))
        }
    }
}

/// Chunks from the inbox as batches for Lance, in order.
fn source(
    inbox: mpsc::Receiver<Message>,
    ids: IdSource,
    seed: Option<u64>,
    keeper: Keeper,
    imports: Arc<Imports>,
) -> SendableRecordBatchStream {
    let at_end = keeper.clone();
    let workers = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, WORKERS_MAX);
    let batches = chunks(inbox)
        .map(move |chunk| {
            let decoders = imports.budget.decoders.clone();
            async move {
                let chunk = chunk?;
                let prepared = tokio::task::spawn_blocking(move || prepare::prepare(chunk, ids, seed, &decoders));
                prepared.await.map_err(lance_errors::task("look at files"))?
            }
        })
        .buffered(workers)
        .map(move |prepared| keeper.keep(prepared))
        .try_filter(|batch| futures::future::ready(batch.num_rows() > 0));
    let end = futures::stream::once(async move { at_end.check_not_empty() })
        .filter_map(|checked| futures::future::ready(checked.err().map(Err)));
    Box::pin(RecordBatchStreamAdapter::new(layout::images_schema(), batches.chain(end)))
}

/// The chunks pushed, until the end is told. An inbox that closes without it belongs to an abandoned import.
fn chunks(inbox: mpsc::Receiver<Message>) -> impl Stream<Item = Result<Chunk, Problem>> {
    futures::stream::unfold(Some(inbox), |inbox| async move {
        let mut inbox = inbox?;
        match inbox.recv().await {
            Some(Message::Chunk(chunk)) => Some((Ok(chunk), Some(inbox))),
            Some(Message::End) => None,
            None => Some((Err(lance_errors::abandoned()), None)),
        }
    })
}

/// Keeps what workers found, in order, and passes the batches on.
#[derive(Clone)]
struct Keeper {
    gathered: Arc<Mutex<Gathered>>,
    reason: Smuggled,
    bad_files: BadFiles,
}

impl Keeper {
    fn keep(&self, prepared: Result<Prepared, Problem>) -> Result<RecordBatch, DataFusionError> {
        let prepared = prepared.map_err(|problem| self.reason.leave(problem))?;
        if self.bad_files == BadFiles::Refuse
            && let Some(first) = prepared.bad.first()
        {
            return Err(self.reason.leave(refused(first)).into());
        }
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let gathered = &mut *gathered;
        prepared.bad.into_iter().for_each(|it| gathered.warnings.add(it));
        for good in prepared.good {
            gathered.totals.count_sample(good.sample);
            let class = good.label.map_or(NO_CLASS, |it| gathered.classes.number(&it));
            gathered.members.push(Member { number: good.number, class, key: good.key, given: good.given });
        }
        gathered.totals.add(&prepared.batch);
        Ok(prepared.batch)
    }

    fn check_not_empty(&self) -> Result<(), DataFusionError> {
        let gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        if !gathered.members.is_empty() {
            return Ok(());
        }
        let problem = Problem::invalid("no usable picture was found");
        Err(self
            .reason
            .leave(match gathered.warnings.listed.first() {
                Some(first) => {
                    let total = gathered.warnings.total;
                    problem.hint(format!(
                        "{total} files were left out; the first is `{}`: {}",
                        first.source_name, first.reason
                    ))
                }
                None => problem.hint("put PNG, JPEG, GIF, BMP, TIFF or WebP files into the folder or archive"),
            })
            .into())
    }
}

fn refused(warning: &Warning) -> Problem {
    Problem::invalid(format!("`{}` cannot be used: {}", warning.source_name, warning.reason))
        .hint("mend or remove the file, or import with bad files skipped")
}

/// Reads the names and contents of the base version, and counts its pictures into the totals of the new one.
async fn look_at_base(
    base: &Arc<Dataset>,
    index: &VersionIndex,
    seed: u64,
    gathered: &Arc<Mutex<Gathered>>,
) -> Result<(Taken, Known), Problem> {
    let failed = lance_errors::lance("read the base version");
    let (mut taken, mut known, mut totals) = (Taken::default(), Known::new(seed), PictureTotals::default());
    let mut scan = base.scan();
    scan.project(&layout::FACTS).map_err(&failed)?;
    let mut batches = scan.try_into_stream().await.map_err(&failed)?;
    let mut place = 0;
    while let Some(batch) = batches.try_next().await.map_err(&failed)? {
        let names = batch.column_by_name(layout::SOURCE_NAME).map(|it| it.as_binary::<i32>());
        names.into_iter().flatten().flatten().for_each(|it| taken.note(it));
        let hashes = batch.column_by_name(layout::CONTENT_HASH).map(|it| it.as_string::<i32>());
        for hash in hashes.into_iter().flatten() {
            if let (Some(Ok(hash)), Some(split)) = (hash.map(str::parse::<BlobHash>), index.split(place)) {
                known.add(&hash, split);
            }
            place += 1;
        }
        totals.add(&batch);
    }
    gathered.lock().unwrap_or_else(PoisonError::into_inner).totals = totals;
    Ok((taken, known))
}
