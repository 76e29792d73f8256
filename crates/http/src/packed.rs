//! Answers that are the same for everybody: compressed once, not for each stranger who asks.

use axum::{
    body::{Body, Bytes, to_bytes},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use std::convert::Infallible;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::{CompressionLevel, compression::CompressionLayer};

/// Bytes, as they are and compressed.
pub struct Packed {
    plain: Form,
    gzip: Option<Form>,
}

/// One of the two forms, with the tag that tells it apart.
struct Form {
    bytes: Bytes,
    tag: HeaderValue,
}

impl Form {
    fn of(bytes: Bytes) -> Self {
        Self { tag: tag_of(&bytes), bytes }
    }
}

/// The entity tag of some bytes: half of their hash.
pub fn tag_of(bytes: &[u8]) -> HeaderValue {
    let tag = format!("\"{}\"", blake3::hash(bytes).to_hex().as_str().split_at(32).0);
    HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether the caller has what bears this tag.
pub fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    headers.get(header::IF_NONE_MATCH).is_some_and(|it| it == tag)
}

impl Packed {
    /// Compresses as well as it can, which takes longer than one answer may.
    pub async fn of(bytes: Bytes) -> Self {
        let gzip = gzipped(bytes.clone()).await.map(Form::of);
        Self { plain: Form::of(bytes), gzip }
    }

    /// The form that the caller takes, or the note that it has it already.
    pub fn answer(&self, headers: &HeaderMap) -> Response {
        let (form, is_packed) = match &self.gzip {
            Some(it) if takes_gzip(headers) => (it, true),
            _ => (&self.plain, false),
        };
        let mut response = match is_known(headers, &form.tag) {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => form.bytes.clone().into_response(),
        };
        let out = response.headers_mut();
        out.insert(header::ETAG, form.tag.clone());
        out.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if is_packed {
            out.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// The bytes compressed, when that makes them fewer.
async fn gzipped(bytes: Bytes) -> Option<Bytes> {
    let length = bytes.len();
    let plain = service_fn(move |_: Request<()>| {
        let answer = Response::new(Body::from(bytes.clone()));
        async { Ok::<_, Infallible>(answer) }
    });
    let packer = CompressionLayer::new().gzip(true).quality(CompressionLevel::Best).layer(plain);
    let request = Request::builder().header(header::ACCEPT_ENCODING, "gzip").body(()).ok()?;
    let answer = packer.oneshot(request).await.ok()?;
    if !answer.headers().contains_key(header::CONTENT_ENCODING) {
        return None;
    }
    let packed = to_bytes(Body::new(answer.into_body()), length).await.ok()?;
    (packed.len() < length).then_some(packed)
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|it| it.to_str().ok());
    lists.flat_map(|it| it.split(',')).any(|coding| {
        let mut words = coding.split(';').map(str::trim);
        let is_gzip = words.next().is_some_and(|it| it.eq_ignore_ascii_case("gzip"));
        let is_refused = |it: &str| it.strip_prefix("q=").and_then(|it| it.parse().ok()) == Some(0.0);
        is_gzip && !words.any(is_refused)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(name: header::HeaderName, value: &str) -> HeaderMap {
        [(name, HeaderValue::from_str(value).expect("a header"))].into_iter().collect()
    }

    #[test]
    fn codings_are_taken_as_they_are_offered() {
        let takes = |it: &str| takes_gzip(&asking(header::ACCEPT_ENCODING, it));
        assert!(takes("gzip") && takes("br, GZIP;q=0.5") && takes("gzip, deflate"));
        assert!(!takes("br") && !takes("gzip;q=0") && !takes("gzip; q=0.0") && !takes_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn each_form_has_its_own_tag_and_is_sent_once() {
        let packed = Packed::of(Bytes::from("many words ".repeat(1000))).await;
        let plain = packed.answer(&HeaderMap::new());
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        let gzip = packed.answer(&asking(header::ACCEPT_ENCODING, "gzip"));
        assert_eq!(gzip.headers()[header::CONTENT_ENCODING], "gzip");
        assert_ne!(plain.headers()[header::ETAG], gzip.headers()[header::ETAG]);
        let tag = plain.headers()[header::ETAG].to_str().expect("a tag").to_owned();
        assert_eq!(packed.answer(&asking(header::IF_NONE_MATCH, &tag)).status(), StatusCode::NOT_MODIFIED);
        let bytes = to_bytes(gzip.into_body(), usize::MAX).await.expect("a body");
        assert!(bytes.len() < 1000 && bytes.starts_with(&[0x1f, 0x8b]), "{} bytes", bytes.len());
    }

    #[tokio::test]
    async fn what_does_not_get_smaller_stays_as_it_is() {
        let packed = Packed::of(Bytes::from_static(b"short")).await;
        let answer = packed.answer(&asking(header::ACCEPT_ENCODING, "gzip"));
        assert!(!answer.headers().contains_key(header::CONTENT_ENCODING));
    }
}
