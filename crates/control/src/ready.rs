//! Whether this server can do its work now: the database takes a change, and the data folder takes a file. Tried at
//! most once a second, however often it is asked for.

use kaogong_domain::{Problem, Timestamp};
use kaogong_store::Store;
use rustix::{fs::FallocateFlags, io::Errno};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use tokio::{io::AsyncWriteExt, sync::Mutex};

/// How long an answer holds.
const KEPT: Duration = Duration::from_secs(1);
/// How long a try may take. A database that is merely busy answers within it.
const TIME_MAX: Duration = Duration::from_secs(5);
/// Bytes of the file that is tried: what a batch of metrics or the state of a job needs, with something to spare.
const TRIED_BYTES: u64 = 1 << 20;

/// The newest answer, and when it was found. Who asks while one is being found waits for that one.
#[derive(Debug, Default)]
pub struct Readiness(Mutex<Option<(Instant, Result<(), String>)>>);

impl Readiness {
    /// Whether everything takes a write now.
    ///
    /// # Errors
    /// What does not, in one sentence.
    pub async fn check(&self, store: &Store, folder: &Path, now: Timestamp) -> Result<(), String> {
        let mut last = self.0.lock().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < KEPT
        {
            return answer.clone();
        }
        let tried = match tokio::time::timeout(TIME_MAX, try_all(store, folder, now)).await {
            Ok(told) => told.map_err(|it| it.text),
            Err(_) => {
                Err(format!("the database or the data folder took no write within {} seconds", TIME_MAX.as_secs()))
            }
        };
        let was_ready = last.as_ref().is_none_or(|it| it.1.is_ok());
        match &tried {
            Err(why) if was_ready => tracing::error!("this server is not ready any more: {why}"),
            Ok(()) if !was_ready => tracing::info!("this server is ready again"),
            _ => {}
        }
        *last = Some((Instant::now(), tried.clone()));
        tried
    }
}

async fn try_all(store: &Store, folder: &Path, now: Timestamp) -> Result<(), Problem> {
    store.try_write(now).await?;
    let name = format!("ready-{}", std::process::id());
    try_file(&folder.join(name)).await.map_err(|it| {
        Problem::unavailable("the disk of the data folder is full or failing")
            .hint("free space on it; the server goes on by itself")
            .because(it)
    })
}

/// Makes a file with space of its own, waits until a block of it is durable, and removes it.
async fn try_file(path: &Path) -> std::io::Result<()> {
    let written = async {
        let mut file = tokio::fs::File::create(path).await?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, TRIED_BYTES) {
            // Some file systems cannot set space aside; the block below tells what they can.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        file.write_all(&[0; 4096]).await?;
        file.sync_data().await
    }
    .await;
    // What could be made can be removed, also when the bytes did not fit.
    match tokio::fs::remove_file(path).await {
        Err(it) if it.kind() != std::io::ErrorKind::NotFound => written.and(Err(it)),
        _ => written,
    }
}
