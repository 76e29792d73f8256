//! Parsing at the edge: queries, paths and JSON bodies that fail with our own words.

use super::error::ApiError;
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Path, Request, rejection::BytesRejection},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header, request::Parts};
use http_body_util::LengthLimitError;
use kaogong_domain::Problem;
use serde::{Serialize, de::DeserializeOwned};
use std::str::FromStr;

/// The largest JSON body of the native API, in bytes.
pub const JSON_BYTES_MAX: usize = 2 << 20;

/// The most bytes of a body, for a route that takes less than the others.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimit(pub usize);

/// The whole body.
///
/// # Errors
/// `Invalid` when it has more than `limit` bytes, or breaks off.
pub async fn read_body(body: Body, limit: usize) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, limit).await.map_err(|it| match is_over_limit(&it) {
        true => Problem::too_large(limit as u64),
        false => Problem::invalid("the body broke off").hint("send it again").because(it),
    })
}

fn is_over_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |it| it.source()).any(|it| it.is::<LengthLimitError>())
}

/// Why a body of a route with a limit of its own was not taken.
pub fn body_problem(rejection: &BytesRejection, limit: usize) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(limit as u64),
        _ => Problem::invalid(format!("the body was not taken: {}", rejection.body_text())).hint("send it again"),
    }
}

/// A JSON body.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        // Some routes take less than the others.
        let limit = request.extensions().get::<BodyLimit>().map_or(JSON_BYTES_MAX, |it| it.0);
        let bytes = read_body(request.into_body(), limit).await?;
        let value = serde_json::from_slice(&bytes)
            .map_err(|it| Problem::invalid(format!("the body is not what this call takes: {it}")))?;
        Ok(Self(value))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
            Err(it) => ApiError(Problem::bug("an answer cannot be written as JSON", it)).into_response(),
        }
    }
}

/// A JSON answer for something that was made.
pub fn created<T: Serialize>(value: T) -> Response {
    (StatusCode::CREATED, Json(value)).into_response()
}

/// The query.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri).map(|it| Self(it.0)).map_err(|it| {
            Problem::invalid(format!("the query of this address is not right: {}", it.body_text())).into()
        })
    }
}

/// Where the call came from, when the listener knows.
pub struct Peer(pub Option<std::net::SocketAddr>);

impl Peer {
    /// The address without its port; empty when it is not known.
    pub fn text(&self) -> String {
        self.0.map(|it| it.ip().to_string()).unwrap_or_default()
    }

    /// The network that one guest has to himself: an IPv4 address, or the first half of an IPv6 one.
    pub fn network(&self) -> String {
        match self.0.map(|it| it.ip().to_canonical()) {
            None => String::new(),
            Some(std::net::IpAddr::V4(it)) => it.to_string(),
            Some(std::net::IpAddr::V6(it)) => {
                std::net::Ipv6Addr::from_bits(it.to_bits() & !u128::from(u64::MAX)).to_string()
            }
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self(parts.extensions.get::<axum::extract::ConnectInfo<std::net::SocketAddr>>().map(|it| it.0)))
    }
}

/// Named parameters of the path, as texts.
pub struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(pairs) = Path::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|it| Problem::invalid(format!("the address is not right: {}", it.body_text())))?;
        Ok(Self(pairs))
    }
}

impl Params {
    /// The text of a parameter. The router guarantees that a declared one is there.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|it| it.0 == name).map(|it| it.1.as_str()).unwrap_or_default()
    }

    /// A parameter, parsed.
    ///
    /// # Errors
    /// `NotFound`: a text that is no id or name names nothing.
    pub fn get<T: FromStr>(&self, name: &str) -> Result<T, Problem>
    where
        T::Err: std::fmt::Display,
    {
        self.text(name).parse().map_err(|it: T::Err| Problem::not_found(it.to_string()))
    }
}
