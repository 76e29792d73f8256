//! Memory for bodies on their way in, all calls together. A body is counted while it arrives, several times over,
//! because reading it makes texts, tensors and an answer out of it; a call over the budget is refused.

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use kaogong_domain::{ErrorKind, Problem};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

/// Bytes counted for each byte of a body: itself, what is read out of it, the engine's copy, the answer.
const WEIGHT: usize = 4;
/// Bodies up to this long are counted at once, by their stated length.
const SMALL_BYTES_MAX: u64 = 64 << 10;

/// The memory that bodies may take together.
#[derive(Debug, Clone)]
pub struct BodyBudget(Arc<AtomicUsize>);

impl BodyBudget {
    /// A budget of `bytes` bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// Begins a call. What it takes is given back when the last holder of the answer is dropped.
    ///
    /// # Errors
    /// `TooMany` when not even a small body is within the budget.
    pub fn admit(&self, body: Body) -> Result<(Body, Arc<Held>), Problem> {
        let held =
            Arc::new(Held { budget: self.0.clone(), taken: AtomicUsize::new(0), is_refused: AtomicBool::new(false) });
        match body.size_hint().exact() {
            Some(0) => Ok((body, held)),
            Some(length) if length <= SMALL_BYTES_MAX => {
                // At most 64 KiB: the cast loses nothing.
                if held.take(length as usize) { Ok((body, held)) } else { Err(is_full()) }
            }
            _ => Ok((Body::new(Metered { inner: body, held: held.clone() }), held)),
        }
    }
}

/// Why a call was refused.
pub fn is_full() -> Problem {
    Problem::new(ErrorKind::TooMany, "the server has no memory left for this body")
        .hint("send smaller requests or fewer at once, or try again in a moment")
}

/// What one call has taken.
#[derive(Debug)]
pub struct Held {
    budget: Arc<AtomicUsize>,
    taken: AtomicUsize,
    is_refused: AtomicBool,
}

impl Held {
    fn take(&self, bytes: usize) -> bool {
        let wanted = bytes.saturating_mul(WEIGHT);
        let took =
            self.budget.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(wanted)).is_ok();
        if took {
            self.taken.fetch_add(wanted, Ordering::Relaxed);
        } else {
            self.is_refused.store(true, Ordering::Release);
        }
        took
    }

    /// Whether the body was cut off because the budget was used up.
    pub fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Acquire)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.fetch_add(self.taken.load(Ordering::Relaxed), Ordering::AcqRel);
    }
}

/// A body that takes of the budget as it arrives.
struct Metered {
    inner: Body,
    held: Arc<Held>,
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && !self.held.take(data.len())
        {
            return Poll::Ready(Some(Err(axum::Error::new(is_full()))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use http_body_util::BodyExt;

    fn chunked(pieces: &'static [&'static str]) -> Body {
        Body::from_stream(stream::iter(pieces.iter().map(|it| Ok::<_, std::io::Error>(*it))))
    }

    #[tokio::test]
    async fn what_was_taken_is_given_back_when_the_call_is_over() {
        let budget = BodyBudget::new(10 * WEIGHT);
        let (body, held) = budget.admit(chunked(&["12345", "67890"])).expect("within the budget");
        assert_eq!(body.collect().await.expect("a body").to_bytes(), "1234567890");
        assert!(budget.admit(Body::from("1")).is_err(), "all is taken");
        drop(held);
        assert!(budget.admit(Body::from("1")).is_ok());
    }

    #[tokio::test]
    async fn a_body_without_a_length_is_cut_where_the_budget_ends() {
        let budget = BodyBudget::new(7 * WEIGHT);
        let (body, held) = budget.admit(chunked(&["12345", "67890"])).expect("within the budget");
        assert!(body.collect().await.is_err());
        assert!(held.is_refused());
        drop(held);
        assert!(budget.admit(Body::from("1234567")).is_ok(), "what was refused took nothing");
    }
}
