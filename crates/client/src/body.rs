//! Request bodies that can be sent again from the beginning.

use bytes::Bytes;
use kaogong_domain::Problem;
use std::{io, sync::Arc};
use tokio::sync::mpsc;

/// Pieces that may wait between the thread that makes a body and the connection.
const PIECES_MAX: usize = 8;

/// Makes the body once more, for each try.
pub(crate) type Factory = Arc<dyn Fn() -> Result<reqwest::Body, Problem> + Send + Sync>;

/// What a call sends.
#[derive(Clone)]
pub enum BodySource {
    /// Nothing.
    Empty,
    /// Bytes at hand, with their media type.
    Bytes(Bytes, &'static str),
    /// Made anew for every try, with its media type.
    #[allow(private_interfaces, reason = "made only by `from_thread`")]
    Made(Factory, &'static str),
}

impl BodySource {
    /// A body that `work` writes on a thread of its own, again for every try. `work` may block; it ends
    /// early with `BrokenPipe` when the connection is gone. An error of `work` breaks the call off, so the
    /// server never takes a cut body for a whole one.
    pub fn from_thread<F>(media_type: &'static str, work: F) -> Self
    where
        F: Fn(&mut ByteSender) -> io::Result<()> + Send + Sync + 'static,
    {
        let work = Arc::new(work);
        let make = move || -> Result<reqwest::Body, Problem> {
            let (sender, receiver) = mpsc::channel(PIECES_MAX);
            let work = Arc::clone(&work);
            std::thread::Builder::new()
                .name("body".into())
                .spawn(move || {
                    let mut sender = ByteSender(sender);
                    if let Err(error) = work(&mut sender) {
                        // When the connection is gone there is nobody to tell.
                        let _ = sender.0.blocking_send(Err(error));
                    }
                })
                .map_err(|it| Problem::unavailable("cannot start a thread for the upload").because(it))?;
            Ok(reqwest::Body::wrap_stream(FromThread(receiver)))
        };
        Self::Made(Arc::new(make), media_type)
    }

    pub(crate) fn body(&self) -> Result<Option<reqwest::Body>, Problem> {
        match self {
            Self::Empty => Ok(None),
            Self::Bytes(bytes, _) => Ok(Some(bytes.clone().into())),
            Self::Made(make, _) => make().map(Some),
        }
    }

    pub(crate) fn media_type(&self) -> Option<&'static str> {
        match self {
            Self::Empty => None,
            Self::Bytes(_, media_type) | Self::Made(_, media_type) => Some(media_type),
        }
    }
}

/// The end of a body that a thread writes into.
pub struct ByteSender(mpsc::Sender<io::Result<Bytes>>);

impl ByteSender {
    /// Hands one piece over; waits while eight pieces are under way.
    ///
    /// # Errors
    /// `BrokenPipe` when the connection is gone.
    pub fn send(&mut self, piece: Bytes) -> io::Result<()> {
        self.0.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// The end that the connection reads.
pub struct FromThread(mpsc::Receiver<io::Result<Bytes>>);

impl futures::Stream for FromThread {
    type Item = io::Result<Bytes>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// A body that streams a file, again for every try. `sent` counts the bytes handed over in the present try.
pub fn file_body(
    path: std::path::PathBuf,
    media_type: &'static str,
    sent: Arc<std::sync::atomic::AtomicU64>,
) -> BodySource {
    use std::{io::Read, sync::atomic::Ordering};
    BodySource::from_thread(media_type, move |sender| {
        sent.store(0, Ordering::Relaxed);
        let fault = |it: io::Error| crate::local_fault::LocalFault::io(&path, it);
        let mut file = std::fs::File::open(&path).map_err(fault)?;
        loop {
            let mut piece = Vec::with_capacity(512 << 10);
            let got = (&mut file).take(512 << 10).read_to_end(&mut piece).map_err(fault)?;
            if got == 0 {
                return Ok(());
            }
            sender.send(piece.into())?;
            sent.fetch_add(got as u64, Ordering::Relaxed);
        }
    })
}
