//! What a job sends, without the secrets that it was given: whatever it logs is for people who may not know them.
//! Each byte of a secret becomes an asterisk, so that the length of a body stays what it was said to be.

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use kaogong_domain::masks::{Cover, Masker, Masks};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// A body without its secrets.
pub fn mask(body: Body, masks: Arc<Masks>) -> Body {
    if body.size_hint().exact() == Some(0) {
        return body;
    }
    Body::new(MaskedBody { inner: body, masker: Masker::new(masks, Cover::SameLength), is_over: false })
}

struct MaskedBody {
    inner: Body,
    masker: Masker,
    is_over: bool,
}

impl HttpBody for MaskedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        while !self.is_over {
            let mut out = vec![];
            match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.masker.push(&data, &mut out),
                    // Trailers: nobody here reads them.
                    Err(_) => continue,
                },
                Some(Err(error)) => {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.is_over = true;
                    self.masker.finish(&mut out);
                }
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out.into()))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_secret_in_pieces_becomes_asterisks() {
        let pieces = ["{\"a\": \"corr", "ect", "", " horse\", \"b\": \"correct hor"];
        let body = Body::from_stream(stream::iter(pieces.map(Ok::<_, std::io::Error>)));
        let masks = Arc::new(Masks::new(["correct horse"]));
        let whole = mask(body, masks).collect().await.expect("a body").to_bytes();
        assert_eq!(whole, "{\"a\": \"*************\", \"b\": \"correct hor");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_breaks_off() {
        let pieces = [Ok("corr"), Err(std::io::Error::other("gone"))];
        let body = mask(Body::from_stream(stream::iter(pieces)), Arc::new(Masks::new(["correct horse"])));
        assert!(body.collect().await.is_err());
    }
}
