//! The first bytes of a connection, which tell its protocol, and how long they may take. What comes after them is
//! watched by the protocol itself; before them nothing is, and a silent client would keep its place for ever.

use std::{
    io::{Error, ErrorKind, IoSlice, Result},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that ends with an error while its client does not say what it speaks.
pub(super) struct Preface<S> {
    stream: S,
    /// Bytes read that could still become the preface.
    matched: usize,
    /// Gone when the protocol is known.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Preface<S> {
    pub(super) fn new(stream: S, time_max: Duration) -> Self {
        Self { stream, matched: 0, deadline: Some(Box::pin(sleep(time_max))) }
    }

    fn saw(&mut self, bytes: &[u8]) {
        let rest = &HTTP2[self.matched..];
        if bytes.len() < rest.len() && rest.starts_with(bytes) {
            self.matched += bytes.len();
        } else {
            self.deadline = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Preface<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = out.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, out);
        let Some(deadline) = &mut self.deadline else { return polled };
        match polled {
            Poll::Pending => deadline
                .as_mut()
                .poll(context)
                .map(|()| Err(Error::new(ErrorKind::TimedOut, "the client did not say what it speaks"))),
            Poll::Ready(_) => {
                self.saw(&out.filled()[before..]);
                polled
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Preface<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// Whether the time still runs after a client sent those pieces, and ends the connection.
    async fn is_watched(pieces: &[&[u8]]) -> bool {
        let (mut client, server) = duplex(1024);
        let mut server = Preface::new(server, Duration::ZERO);
        let mut read = [0; 1024];
        for piece in pieces {
            client.write_all(piece).await.expect("room");
            assert_eq!(server.read(&mut read).await.expect("bytes"), piece.len());
        }
        if server.deadline.is_none() {
            return false;
        }
        assert_eq!(server.read(&mut read).await.expect_err("too late").kind(), ErrorKind::TimedOut);
        true
    }

    #[tokio::test]
    async fn a_client_must_say_what_it_speaks() {
        assert!(is_watched(&[]).await);
        assert!(is_watched(&[b"P"]).await);
        assert!(is_watched(&[b"PRI * HTTP/2.0\r\n", b"\r\nSM\r\n"]).await);
    }

    #[tokio::test]
    async fn who_has_said_it_is_left_to_the_protocol() {
        assert!(!is_watched(&[b"GET"]).await);
        assert!(!is_watched(&[b"P", b"OST / HTTP/1.1"]).await);
        assert!(!is_watched(&[HTTP2]).await);
        assert!(!is_watched(&[&HTTP2[..9], &HTTP2[9..]]).await);
        assert!(!is_watched(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand more"]).await);
    }
}
