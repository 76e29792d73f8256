//! `kaogong backup` and `kaogong restore`: everything of a running server in one file, and back into a new folder.

use super::up;
use crate::{
    context::Context,
    data_out::read_blocking,
    exit::usage,
    output::{
        note,
        progress::{Board, Progress},
        words,
    },
};
use kaogong_data::backup::{self, Contents, Target};
use kaogong_domain::{Problem, Secret};
use kaogong_store::{StoreUrl, refuse_if_used, restore_dump};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::{BufReader, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes read from a backup at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Arguments of `kaogong backup`.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// The file to write, or to check with --verify. One that exists is not written over.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Read the file and compare everything in it with its hashes, instead of writing it. Asks no server.
    #[arg(long)]
    pub verify: bool,
}

/// Arguments of `kaogong restore`.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// What `kaogong backup` wrote.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The data folder to make; it must not exist, or be empty [default: ~/.local/share/kaogong].
    #[arg(long, value_name = "DIR", env = "KAOGONG_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// An empty PostgreSQL database, for the backup of one: postgres://user:password@host/database.
    #[arg(long, value_name = "URL", env = "KAOGONG_DATABASE", hide_env_values = true)]
    pub database: Option<String>,
}

/// Takes a backup, or checks one.
pub async fn backup(context: &Context, args: BackupArgs) -> Result<(), Problem> {
    let file = std::path::absolute(&args.file).map_err(|it| usage(format!("{}: {it}", args.file.display())))?;
    let (contents, verb) = if args.verify {
        let temp = std::env::temp_dir();
        (read_file(file.clone(), "checking", temp, None).await?, "good")
    } else {
        (take(context, &file).await?, "complete")
    };
    context.out.thing(
        &shown(&file, &contents),
        &[
            ("backup", file.display().to_string()),
            ("made", words::time(contents.head.made_at)),
            ("version", contents.head.version.clone()),
            ("database", contents.head.store.clone()),
            ("files", contents.files.to_string()),
            ("bytes", words::bytes(contents.bytes)),
        ],
    )?;
    tell_faults(&contents, verb)
}

fn shown(file: &Path, it: &Contents) -> Value {
    json!({
        "file": file, "made_at": it.head.made_at, "version": it.head.version, "store": it.head.store, "files": it.files,
        "bytes": it.bytes, "damaged_before": it.damaged_before, "missing": it.missing.as_ref().map(|it| &it.first),
        "missing_count": it.missing.as_ref().map(|it| it.count),
    })
}

/// A backup of a failing disk is better than none, and nobody may overlook that it is one.
fn tell_faults(it: &Contents, verb: &str) -> Result<(), Problem> {
    let mut faults = vec![];
    match &it.missing {
        Some(missing) if missing.count > 0 => {
            let all = if missing.count > missing.first.len() as u64 { ", first " } else { ": " };
            let (count, names) = (missing.count, missing.first.join(", "));
            faults.push(format!("its database names {count} files that are not in it{all}{names}"));
        }
        Some(_) => {}
        None => note(
            "the backup is of an older program, which kept no list of what its database names: it cannot be told \
             whether anything is missing",
        ),
    }
    if let Some(first) = it.damaged_before.first() {
        faults.push(format!("stored files were damaged already when it was made, first {first}"));
    }
    if faults.is_empty() {
        return Ok(());
    }
    let text = format!("the backup is {verb}, but {}", faults.join("; "));
    Err(Problem::unavailable(text)
        .hint("the server's disk may be failing: check it, and keep an older backup that has those files whole"))
}

async fn take(context: &Context, file: &Path) -> Result<Contents, Problem> {
    let exists = || {
        usage(format!("{} exists and is not written over", file.display()))
            .hint("name another file, such as one with today's date")
    };
    if fs::symlink_metadata(file).is_ok() {
        return Err(exists());
    }
    let cannot = |it: std::io::Error| Problem::unavailable(format!("cannot write {}: {it}", file.display()));
    let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
    // It holds hashes of passwords and everybody's data: it is for its owner alone.
    let mode = fs::Permissions::from_mode(0o600);
    let part = tempfile::Builder::new().prefix(".kaogong-backup-").permissions(mode).tempfile_in(&folder);
    let part = part.map_err(|it| cannot(it).hint("name a file in a folder that exists and can be written"))?;
    let out = part.reopen().map_err(cannot)?;
    let answer = context.client()?.backup().await?;
    let progress = Arc::new(Board::new().bytes("backup", 0));
    let (shown, temp) = (progress.clone(), folder.clone());
    let contents = read_blocking(
        answer,
        |_| {},
        move |reader| {
            let both = Both { from: reader, out };
            let contents = backup::read(both, &temp, Target::Nowhere, |done, all| show(&shown, done, all))?;
            Ok::<_, Problem>(contents)
        },
    );
    let contents = contents.await?;
    part.as_file().sync_all().map_err(cannot)?;
    part.persist_noclobber(file).map_err(|it| match it.error.kind() {
        ErrorKind::AlreadyExists => exists(),
        _ => cannot(it.error),
    })?;
    File::open(&folder).and_then(|it| it.sync_all()).map_err(cannot)?;
    progress.finish(&format!("{} in {}", words::bytes(contents.bytes), words::files(contents.files)));
    Ok(contents)
}

fn show(progress: &Progress, done: u64, all: u64) {
    progress.set_of(done, all);
    progress.say(&format!("{} of {}", words::bytes(done), words::bytes(all.max(done))));
}

/// Writes what is read through it, so that a backup is checked while it arrives.
struct Both<R> {
    from: R,
    out: File,
}

impl<R: Read> Read for Both<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(into)?;
        // Not a broken archive but a full disk, which the kind of the error tells.
        self.out.write_all(&into[..read]).map_err(|it| std::io::Error::new(ErrorKind::StorageFull, it))?;
        Ok(read)
    }
}

/// Reads a backup file on a thread that may block, into `target` when there is one.
async fn read_file(file: PathBuf, name: &str, temp: PathBuf, target: Option<PathBuf>) -> Result<Contents, Problem> {
    let opened = File::open(&file).map_err(|it| usage(format!("{} cannot be read: {it}", file.display())))?;
    let progress = Arc::new(Board::new().bytes(name, 0));
    let shown = progress.clone();
    let work = tokio::task::spawn_blocking(move || {
        let target = target.as_deref().map_or(Target::Nowhere, Target::Folder);
        let from = BufReader::with_capacity(BUFFER_BYTES, opened);
        backup::read(from, &temp, target, |done, all| show(&shown, done, all))
    });
    let contents = work.await.map_err(|it| Problem::bug("reading a backup did not end", it))??;
    progress.finish(&format!("{} in {}", words::bytes(contents.bytes), words::files(contents.files)));
    Ok(contents)
}

/// Makes a data folder, and fills a database, from a backup. The folder appears whole, by a rename.
pub async fn restore(context: &Context, args: RestoreArgs) -> Result<(), Problem> {
    let folder = up::usual_data_dir(args.data_dir.as_deref())
        .ok_or_else(|| usage("--data-dir is needed, because there is no HOME"))?;
    let folder = std::path::absolute(&folder).map_err(|it| usage(format!("{}: {it}", folder.display())))?;
    let parent = check_target(&folder)?;
    let database = args.database.as_deref().map(Secret::new);
    if let Some(url) = &database {
        refuse_if_used(url.expose()).await?;
    }
    let cannot = |it: std::io::Error| {
        Problem::unavailable(format!("cannot make the data folder {}: {it}", folder.display()))
            .hint("nothing was restored; check that the folder above it can be written and has room")
    };
    let owner = fs::Permissions::from_mode(0o700);
    let part = tempfile::Builder::new().prefix(".kaogong-restore-").permissions(owner).tempdir_in(&parent);
    let part = part.map_err(cannot)?;
    let content = part.path().join("content");
    fs::DirBuilder::new().mode(0o700).create(&content).map_err(cannot)?;
    let contents = read_file(args.file.clone(), "restore", part.path().to_owned(), Some(content.clone())).await?;
    fit(&contents, &content, database).await?;
    for left in [backup::POSTGRES, "backup.json"] {
        match fs::remove_file(content.join(left)) {
            Err(it) if it.kind() != ErrorKind::NotFound => return Err(cannot(it)),
            _ => {}
        }
    }
    // Every file at once: millions of them one by one would take hours.
    let opened = File::open(&content).map_err(cannot)?;
    rustix::fs::syncfs(&opened).map_err(|it| cannot(it.into()))?;
    fs::rename(&content, &folder).map_err(cannot)?;
    File::open(&parent).and_then(|it| it.sync_all()).map_err(cannot)?;
    let start = format!("start it with `kaogong up --data-dir {}`", folder.display());
    context.out.done(
        &json!({ "data_dir": folder, "backup": shown(&args.file, &contents) }),
        &format!("restored {} as of {}; {start}", folder.display(), words::time(contents.head.made_at)),
    )?;
    tell_faults(&contents, "restored")
}

/// The folder above the one to make.
fn check_target(folder: &Path) -> Result<PathBuf, Problem> {
    let told = |why: &str| {
        usage(format!("{} {why}: a restore never writes over anything", folder.display()))
            .hint("stop its server and move it away, or name a new folder with --data-dir")
    };
    match fs::read_dir(folder).map(|mut it| it.next().is_none()) {
        Ok(true) => {}
        Ok(false) => return Err(told("is not empty")),
        Err(it) if it.kind() == ErrorKind::NotFound => {}
        Err(it) => return Err(told(&format!("cannot be used ({it})"))),
    }
    let parent = folder.parent().ok_or_else(|| told("is the root of the disk"))?.to_owned();
    fs::create_dir_all(&parent).map_err(|it| usage(format!("cannot make {}: {it}", parent.display())))?;
    Ok(parent)
}

/// The database of the backup to its place.
async fn fit(contents: &Contents, content: &Path, database: Option<Secret>) -> Result<(), Problem> {
    let missing = |name: &str| Problem::invalid(format!("the backup holds no {name}")).hint("use another backup");
    match (contents.head.store.as_str(), database) {
        ("sqlite", None) => match content.join(backup::SQLITE).is_file() {
            true => Ok(()),
            false => Err(missing(backup::SQLITE)),
        },
        ("sqlite", Some(_)) => Err(usage("the backup is of a SQLite database, which lies in the data folder")
            .hint("leave out --database; nothing was restored")),
        (_, None) => Err(usage("the backup is of a PostgreSQL database")
            .hint("make an empty one and name it with --database; nothing was restored")),
        (_, Some(url)) => {
            let dump = content.join(backup::POSTGRES);
            if !dump.is_file() {
                return Err(missing(backup::POSTGRES));
            }
            restore_dump(&StoreUrl::Postgres(url), &dump).await
        }
    }
}
