//! One call and its answer.

use crate::{
    body::BodySource,
    fault::{self, deepest},
    retry::Repeat,
};
use bytes::{Bytes, BytesMut};
use kaogong_domain::Problem;
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

/// The largest error answer that is read.
pub(crate) const ERROR_BYTES_MAX: usize = 1 << 20;
/// The largest JSON answer that is read.
const JSON_BYTES_MAX: usize = 256 << 20;
/// Silence in the middle of a download that ends it.
const STALL: Duration = Duration::from_secs(120);
/// The longest plain call.
const CALL_LIMIT: Duration = Duration::from_secs(120);
/// The longest upload with the work that follows it, and the longest wait for a model to load.
const LONG_LIMIT: Duration = Duration::from_secs(6 * 3600);

/// One call, complete, so that it can be sent again.
pub(crate) struct Call {
    pub(crate) method: reqwest::Method,
    pub(crate) url: reqwest::Url,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: BodySource,
    pub(crate) repeat: Repeat,
    pub(crate) limit: Option<Duration>,
}

impl Call {
    fn new(method: reqwest::Method, url: reqwest::Url, repeat: Repeat) -> Self {
        Self { method, url, headers: Vec::new(), body: BodySource::Empty, repeat, limit: Some(CALL_LIMIT) }
    }

    pub(crate) fn get(url: reqwest::Url) -> Self {
        Self::new(reqwest::Method::GET, url, Repeat::Safe)
    }

    pub(crate) fn put(url: reqwest::Url) -> Self {
        Self::new(reqwest::Method::PUT, url, Repeat::Safe)
    }

    pub(crate) fn delete(url: reqwest::Url) -> Self {
        Self::new(reqwest::Method::DELETE, url, Repeat::Safe)
    }

    /// A POST that does the thing again when it is repeated.
    pub(crate) fn post(url: reqwest::Url) -> Self {
        Self::new(reqwest::Method::POST, url, Repeat::Never)
    }

    /// Marks a POST that may be repeated: it carries a request key or changes nothing.
    pub(crate) fn repeatable(mut self, is_safe: bool) -> Self {
        if is_safe {
            self.repeat = Repeat::Safe;
        }
        self
    }

    /// A long call: hours instead of two minutes.
    pub(crate) fn long(mut self) -> Self {
        self.limit = Some(LONG_LIMIT);
        self
    }

    /// An answer that streams; only its silence is bounded.
    pub(crate) fn streaming(mut self) -> Self {
        self.limit = None;
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: BodySource) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn json(self, value: &impl Serialize) -> Result<Self, Problem> {
        let bytes = serde_json::to_vec(value).map_err(|it| Problem::bug("the request cannot be written", it))?;
        Ok(self.body(BodySource::Bytes(bytes.into(), "application/json")))
    }

    /// Adds a query; absent values are left out.
    pub(crate) fn query(mut self, query: &impl Serialize) -> Result<Self, Problem> {
        let value = serde_json::to_value(query).map_err(|it| Problem::bug("the query cannot be written", it))?;
        let mut pairs = Vec::new();
        for (name, value) in value.as_object().into_iter().flatten() {
            match value {
                serde_json::Value::Null => {}
                serde_json::Value::String(text) => pairs.push((name.clone(), text.clone())),
                other => pairs.push((name.clone(), other.to_string())),
            }
        }
        if !pairs.is_empty() {
            self.url.query_pairs_mut().extend_pairs(pairs);
        }
        Ok(self)
    }
}

/// A successful answer, body still to be read.
pub struct Answer {
    response: reqwest::Response,
    address: String,
}

impl Answer {
    pub(crate) fn new(response: reqwest::Response, address: &str) -> Self {
        Self { response, address: address.to_owned() }
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).and_then(|it| it.to_str().ok())
    }

    /// Bytes to come, when the server said so.
    pub fn size(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// `Unavailable` when the connection broke or was silent for two minutes.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Problem> {
        match tokio::time::timeout(STALL, self.response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(fault::unreachable(&self.address, deepest(&error))),
            Err(_) => Err(fault::unreachable(&self.address, format!("silent for {} s", STALL.as_secs()))),
        }
    }

    /// The whole body.
    ///
    /// # Errors
    /// `Unavailable` when the connection broke or the body is larger than `bytes_max`.
    pub async fn bytes(mut self, bytes_max: usize) -> Result<Bytes, Problem> {
        let mut all = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            if all.len() + piece.len() > bytes_max {
                return Err(fault::strange(&self.address, format!("an answer of more than {bytes_max} bytes")));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    pub(crate) async fn json<T: DeserializeOwned>(self) -> Result<T, Problem> {
        let address = self.address.clone();
        let body = self.bytes(JSON_BYTES_MAX).await?;
        serde_json::from_slice(&body).map_err(|it| fault::strange(&address, it.to_string()))
    }
}

/// Reads a body up to a bound, silently cut there.
pub(crate) async fn read_bounded(mut response: reqwest::Response, bytes_max: usize) -> Result<Vec<u8>, reqwest::Error> {
    let mut all = Vec::new();
    while let Some(piece) = response.chunk().await? {
        let room = bytes_max - all.len();
        all.extend_from_slice(&piece[..piece.len().min(room)]);
        if all.len() == bytes_max {
            break;
        }
    }
    Ok(all)
}
