//! Archives of pictures: the names first, which are planned as a whole, then the bytes, a few files ahead of the engine.

use bytes::Bytes;
use kaogong_data::archive;
use kaogong_data::{
    DecodeBudget,
    budget::{Held, IMPORT_WAIT_MAX, Pool},
    folder::{self, FolderPlan, LabelsFrom, PlannedFile},
    tables::{ImageImport, ItemIn, Warning, Warnings},
};
use kaogong_domain::Problem;
use kaogong_http::spool::Spooled;
use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tar::EntryType;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

/// The most files of one import.
const FILES_MAX: usize = 20_000_000;
/// Memory for each file while the import is planned, besides its name: the list, the tables that find names again.
const PLANNING_BYTES: u64 = 150;
/// Memory for each file that is planned, until it is imported: its place, its class and its split.
const PLANNED_BYTES: u64 = 72;
/// Files from this size on are counted one by one, in bytes; and how often each lies in memory: as read, and encoded.
const LARGE_BYTES: u64 = 4 << 20;
const LARGE_COPIES: u64 = 2;
/// The most bytes of one picture.
const PICTURE_BYTES_MAX: u64 = 64 << 20;
/// What is read ahead of the table engine, in KiB. A larger picture waits until nothing else does.
const READ_AHEAD_KIB: u64 = 8 << 10;
/// What is handed on together: this many files, or this many bytes.
const BATCH_FILES: usize = 128;
const BATCH_BYTES: u64 = 2 << 20;

fn broken(it: std::io::Error) -> Problem {
    archive::broken("the body", &it)
}

fn breaks_off() -> Problem {
    Problem::invalid("the body is not a complete tar archive: it breaks off before its end mark")
        .hint("make the archive again; one from a full disk or a broken download is often cut like this")
}

/// Reads the names and plans the import. Takes time, so it runs on a blocking thread.
pub(super) async fn look(
    spooled: &Arc<Spooled>,
    labels: LabelsFrom,
    budget: &DecodeBudget,
) -> Result<(FolderPlan, Held), Problem> {
    let (spooled, budget) = (spooled.clone(), budget.clone());
    let looking = tokio::task::spawn_blocking(move || {
        let counted = archive::check("the body", &mut spooled.reader()?)?;
        let (kept, _planning) = memory_for(counted, &budget)?;
        let (names, skipped) = names_of(&spooled)?;
        let mut plan = folder::plan(&names, labels)?;
        plan.skipped.extend(skipped);
        Ok::<_, Problem>((plan, kept))
    });
    let (plan, kept) = looking.await.map_err(|it| Problem::bug("reading an archive did not end", it))??;
    if !plan.files.is_empty() {
        return Ok((plan, kept));
    }
    let first = plan.skipped.listed.first();
    let why =
        first.map(|it| format!("; the first of {} left out: `{}`: {}", plan.skipped.total, it.source_name, it.reason));
    Err(Problem::invalid(format!("the import has no picture{}", why.unwrap_or_default()))
        .hint("import a folder of PNG, JPEG, GIF, BMP, TIFF or WebP files, one folder a class"))
}

/// Memory for the files of an archive: until they are imported, and while they are planned.
fn memory_for(counted: archive::Counted, budget: &DecodeBudget) -> Result<(Held, Held), Problem> {
    let kept = counted.entries * PLANNED_BYTES;
    let planning = counted.entries * PLANNING_BYTES + counted.name_bytes;
    if kept > budget.names.total() || planning > budget.decoders.total() {
        return Err(Problem::invalid(format!(
            "planning an import of {} files takes {} MiB of memory, more than imports have",
            counted.entries,
            (kept + planning) >> 20
        ))
        .hint("import in parts, with `--mode append`, or give imports more with `kaogong up --import-memory-mib`"));
    }
    let kept = budget.names.take(kept, IMPORT_WAIT_MAX)?;
    Ok((kept, budget.decoders.take(planning, IMPORT_WAIT_MAX)?))
}

/// What an entry of an archive is.
enum Entry {
    File,
    /// A folder, or a header about other entries: nothing is lost without it.
    Nothing,
    /// Something that is not kept, and why.
    Other(String),
}

fn entry_of<R: Read>(entry: &tar::Entry<'_, R>) -> Entry {
    let target = || {
        let bytes = entry.link_name_bytes().unwrap_or_default();
        folder::text_of(&bytes[..bytes.len().min(200)])
    };
    match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous if entry.path_bytes().ends_with(b"/") => Entry::Nothing,
        EntryType::Regular | EntryType::Continuous => Entry::File,
        EntryType::Directory | EntryType::XGlobalHeader => Entry::Nothing,
        EntryType::Link => Entry::Other(format!(
            "a hard link to `{}`, whose bytes the archive holds once; pack it with `tar --hard-dereference`",
            target()
        )),
        EntryType::Symlink => {
            Entry::Other(format!("a symbolic link to `{}`; pack what it points at with `tar --dereference`", target()))
        }
        EntryType::GNUSparse => Entry::Other("a sparse file; pack it without `--sparse`".to_owned()),
        _ => Entry::Other("a device, a pipe or a socket, not a file".to_owned()),
    }
}

/// Names of files, as bytes found in the archive.
type Names = Vec<Box<[u8]>>;

/// The names of all files in the archive's order, and what is not a file. Only headers are read.
fn names_of(spooled: &Spooled) -> Result<(Names, Warnings), Problem> {
    let reader = spooled.reader()?;
    let is_past_end = reader.is_past_end();
    let mut archive = tar::Archive::new(reader);
    let (mut names, mut skipped): (Names, _) = (vec![], Warnings::default());
    for entry in archive.entries_with_seek().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let name = entry.path_bytes();
        // One byte more than the longest name, so that the plan sees that it is too long.
        let name = &name[..name.len().min(folder::NAME_BYTES_MAX + 1)];
        match entry_of(&entry) {
            Entry::Nothing => continue,
            Entry::Other(reason) => skipped.add(Warning { source_name: folder::text_of(name), reason }),
            Entry::File => names.push(name.into()),
        }
        if names.len() > FILES_MAX {
            return Err(Problem::invalid(format!("the import has more than {FILES_MAX} files"))
                .hint("import in parts, with `--mode append`"));
        }
    }
    if is_past_end.load(Ordering::Relaxed) {
        return Err(breaks_off());
    }
    Ok((names, skipped))
}

enum Found {
    File(ItemIn),
    Skipped(Warning),
}

/// Files on their way to the engine; the room they take is free again when they are dropped.
struct Batch {
    found: Vec<Found>,
    _room: OwnedSemaphorePermit,
}

/// Hands the planned files to the engine, reading ahead of it. Large files take their memory from `files`.
pub(super) async fn send(
    spooled: Arc<Spooled>,
    files: Pool,
    planned: Vec<PlannedFile>,
    import: &mut dyn ImageImport,
) -> Result<(), Problem> {
    let (sender, batches) = mpsc::channel(16);
    let reading = tokio::task::spawn_blocking(move || {
        let room = Arc::new(Semaphore::new(READ_AHEAD_KIB as usize));
        read_files(&spooled, &files, planned, Outbox { sender, room, found: vec![], bytes: 0 })
    });
    let fed = feed(import, batches).await;
    let read = reading.await.map_err(|it| Problem::bug("reading an archive did not end", it));
    fed.and(read.and_then(|it| it))
}

async fn feed(import: &mut dyn ImageImport, mut batches: mpsc::Receiver<Batch>) -> Result<(), Problem> {
    while let Some(batch) = batches.recv().await {
        for found in batch.found {
            match found {
                Found::File(item) => import.push(item).await?,
                Found::Skipped(warning) => import.skip(warning),
            }
        }
    }
    Ok(())
}

/// Gathers files into batches and waits for room before it sends one.
struct Outbox {
    sender: mpsc::Sender<Batch>,
    room: Arc<Semaphore>,
    found: Vec<Found>,
    bytes: u64,
}

/// Nobody takes files any more: the import has failed, and says so itself.
struct Gone;

impl Outbox {
    fn add(&mut self, found: Found, size: u64) -> Result<(), Gone> {
        if self.bytes + size > BATCH_BYTES || self.found.len() >= BATCH_FILES {
            self.flush()?;
        }
        self.found.push(found);
        self.bytes += size;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Gone> {
        let (found, bytes) = (std::mem::take(&mut self.found), std::mem::take(&mut self.bytes));
        if found.is_empty() {
            return Ok(());
        }
        let kib = (bytes / 1024 + 1).min(READ_AHEAD_KIB) as u32;
        let room = Handle::current().block_on(self.room.clone().acquire_many_owned(kib)).map_err(|_| Gone)?;
        self.sender.blocking_send(Batch { found, _room: room }).map_err(|_| Gone)
    }
}

/// One file. A large one holds its memory for as long as anybody holds its bytes.
fn read_file(entry: &mut impl Read, size: u64, large: &Pool) -> Result<Bytes, Problem> {
    let held = if size > LARGE_BYTES { Some(large.take(size * LARGE_COPIES, IMPORT_WAIT_MAX)?) } else { None };
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    entry.read_to_end(&mut bytes).map_err(broken)?;
    if bytes.len() as u64 != size {
        return Err(breaks_off());
    }
    Ok(match held {
        Some(held) => Bytes::from_owner(Large { bytes, _held: held }),
        None => Bytes::from(bytes),
    })
}

/// A large file and the memory it takes.
struct Large {
    bytes: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Second pass: the planned files with their bytes.
fn read_files(spooled: &Spooled, large: &Pool, planned: Vec<PlannedFile>, mut outbox: Outbox) -> Result<(), Problem> {
    let reader = spooled.reader()?;
    let is_past_end: Arc<AtomicBool> = reader.is_past_end();
    let mut archive = tar::Archive::new(reader);
    let mut planned = planned.into_iter().peekable();
    let mut files = 0;
    for entry in archive.entries_with_seek().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        if !matches!(entry_of(&entry), Entry::File) {
            continue;
        }
        files += 1;
        let Some(plan) = planned.next_if(|it| it.index + 1 == files) else { continue };
        let (name, size) = (folder::normal(&entry.path_bytes()).into_owned(), entry.size());
        let (found, held) = if size > PICTURE_BYTES_MAX {
            let reason = format!("larger than {} MiB", PICTURE_BYTES_MAX >> 20);
            (Found::Skipped(Warning { source_name: folder::text_of(&name), reason }), 0)
        } else {
            // What was read before goes on first: it may be what others wait for.
            if size > LARGE_BYTES && outbox.flush().is_err() {
                return Ok(());
            }
            let bytes = read_file(&mut entry, size, large)?;
            (Found::File(ItemIn { source_name: name, label: plan.label, split: plan.split, bytes }), size)
        };
        if outbox.add(found, held).is_err() {
            return Ok(());
        }
    }
    if planned.peek().is_some() || is_past_end.load(Ordering::Relaxed) {
        return Err(Problem::invalid("the archive changed while it was read"));
    }
    let _gone = outbox.flush();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(size);
        header.set_entry_type(kind);
        header
    }

    /// An archive with a folder, two pictures, a hard link and a symbolic link.
    fn sample() -> Vec<u8> {
        let mut builder = tar::Builder::new(vec![]);
        builder.append_data(&mut header(EntryType::Directory, 0), "0/", &[][..]).expect("a folder");
        // As `tar --create .` writes it; the builder would drop the dot.
        let mut dotted = header(EntryType::Regular, 5);
        dotted.as_mut_bytes()[..9].copy_from_slice(b"./0/a.png");
        dotted.set_cksum();
        builder.append(&dotted, &b"first"[..]).expect("a file");
        builder.append_link(&mut header(EntryType::Link, 0), "0/b.png", "0/a.png").expect("a link");
        builder.append_link(&mut header(EntryType::Symlink, 0), "0/c.png", "/etc/passwd").expect("a link");
        builder.append_data(&mut header(EntryType::Regular, 700), "1/d.png", &[0; 700][..]).expect("a file");
        builder.into_inner().expect("an archive")
    }

    fn listed(bytes: &[u8]) -> Result<(Names, Warnings), Problem> {
        let spooled = Spooled::of(bytes).expect("a temporary file");
        archive::check("the body", &mut spooled.reader()?)?;
        names_of(&spooled)
    }

    #[test]
    fn folders_are_passed_over_and_links_get_their_reason() {
        let (names, skipped) = listed(&sample()).expect("names");
        let names: Vec<&[u8]> = names.iter().map(|it| &**it).collect();
        assert_eq!(names, [&b"./0/a.png"[..], b"1/d.png"]);
        let reasons: Vec<_> = skipped.listed.iter().map(|it| it.reason.as_str()).collect();
        assert!(reasons[0].contains("hard link to `0/a.png`") && reasons[1].contains("symbolic link"), "{reasons:?}");
        assert_eq!(skipped.total, 2);
    }

    #[test]
    fn an_archive_cut_anywhere_is_refused() {
        let whole = sample();
        let content = whole.len() - 1024;
        assert!(listed(&whole[..content + 512]).is_ok(), "one block of zeros is an end mark");
        for keep in [0, 512, 600, 1024, content - 512, content - 1, content, content + 100] {
            assert!(listed(&whole[..keep]).is_err(), "cut to {keep} of {} bytes", whole.len());
        }
    }

    #[tokio::test]
    async fn files_come_with_their_normal_names_and_all_their_bytes() {
        let spooled = Arc::new(Spooled::of(&sample()).expect("a temporary file"));
        let (plan, _kept) = look(&spooled, LabelsFrom::Auto, &DecodeBudget::default()).await.expect("a plan");
        assert_eq!(plan.skipped.total, 2);
        let (sender, mut batches) = mpsc::channel(16);
        let room = Arc::new(Semaphore::new(READ_AHEAD_KIB as usize));
        let outbox = Outbox { sender, room: room.clone(), found: vec![], bytes: 0 };
        let reading = tokio::task::spawn_blocking(move || {
            read_files(&spooled, &DecodeBudget::default().files, plan.files, outbox)
        });
        let mut got = vec![];
        while let Some(batch) = batches.recv().await {
            for found in batch.found {
                if let Found::File(item) = found {
                    got.push((item.source_name, item.label, item.bytes.len()));
                }
            }
        }
        reading.await.expect("no panic").expect("a whole archive");
        assert_eq!(
            got,
            [(b"0/a.png".to_vec(), Some("0".to_owned()), 5), (b"1/d.png".to_vec(), Some("1".to_owned()), 700)]
        );
        assert_eq!(room.available_permits(), READ_AHEAD_KIB as usize);
    }
}
