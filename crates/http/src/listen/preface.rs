//! The bytes of a connection on their way in. The first ones tell its protocol, and how long they may take: what comes
//! after them is watched by the protocol itself; before them nothing is, and a silent client would keep its place for
//! ever. All of them are held against the strict reading of HTTP/1.

use super::framing::Framing;
use std::{
    io::{Error, ErrorKind, IoSlice, Result},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes that are no line of a request, and the end of its head: some parsers look no further before they have seen that.
const REFUSED: &[u8] = b"\0\r\n\r\n";
/// How long a client may go on sending what nobody reads.
const LINGER_TIME_MAX: Duration = Duration::from_secs(10);

/// A connection that ends with an error while its client does not say what it speaks.
pub(super) struct Preface<S> {
    stream: S,
    /// Bytes read that could still become the preface.
    matched: usize,
    /// Gone when the protocol is known.
    deadline: Option<Pin<Box<Sleep>>>,
    framing: Framing,
    /// How long what is still sent is taken in; there when the answer is over.
    linger: Option<Pin<Box<Sleep>>>,
    /// There when something was refused: what the parser has yet to be given instead.
    refusal: Option<&'static [u8]>,
}

impl<S> Preface<S> {
    pub(super) fn new(stream: S, time_max: Duration) -> Self {
        Self {
            stream,
            matched: 0,
            deadline: Some(Box::pin(sleep(time_max))),
            framing: Framing::new(),
            linger: None,
            refusal: None,
        }
    }

    /// Puts something that no request may have in the place of the first byte that is refused, and ends there: the
    /// parser answers 400 to it, and whatever was smuggled in behind is never read.
    fn hold_to_rules(&mut self, before: usize, out: &mut ReadBuf<'_>) {
        if let Some(place) = self.framing.first_refused(&out.filled()[before..]) {
            out.set_filled(before + place);
            self.refusal = Some(REFUSED);
            self.refuse(out);
        }
    }

    /// Gives out what is left of the refusal; after it nothing comes, which is the end.
    fn refuse(&mut self, out: &mut ReadBuf<'_>) {
        let left = self.refusal.unwrap_or_default();
        let (now, later) = left.split_at(left.len().min(out.remaining()));
        out.put_slice(now);
        self.refusal = Some(later);
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
        if self.refusal.is_some() {
            self.refuse(out);
            return Poll::Ready(Ok(()));
        }
        let before = out.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, out);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.hold_to_rules(before, out);
        }
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Preface<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Ends the answer, then takes in for a while what the client still sends. A connection that is closed over unread
    /// bytes is reset, and the reset overtakes the answer: a client that sends too large a body would never learn why.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            if !self.framing.is_open() {
                return Poll::Ready(Ok(()));
            }
            self.linger = Some(Box::pin(sleep(LINGER_TIME_MAX)));
        }
        let mut bytes = [MaybeUninit::uninit(); 16 << 10];
        loop {
            let mut out = ReadBuf::uninit(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(context, &mut out) {
                Poll::Ready(Ok(())) if !out.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
            // A fast sender must not keep this from ending.
            if self.linger.as_ref().is_some_and(|it| it.is_elapsed()) {
                return Poll::Ready(Ok(()));
            }
        }
        self.linger.as_mut().map_or(Poll::Ready(Ok(())), |it| it.as_mut().poll(context).map(Ok))
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

    #[tokio::test]
    async fn what_is_refused_is_replaced_and_nothing_follows() {
        for pieces in [&["GET / HTTP/1.1\nHost: h\r\n\r\n"][..], &["GET / HTTP/1.1", "\n", "Host: h\r\n\r\n"][..]] {
            let (mut client, server) = duplex(1024);
            let mut server = Preface::new(server, Duration::from_secs(60));
            let mut all = vec![];
            for piece in pieces {
                client.write_all(piece.as_bytes()).await.expect("room");
            }
            // The client stays and says nothing: the end does not wait for it.
            let mut byte = [0];
            while server.read(&mut byte).await.expect("bytes") == 1 {
                all.extend(byte);
            }
            assert_eq!(all, b"GET / HTTP/1.1\0\r\n\r\n");
        }
    }
}
