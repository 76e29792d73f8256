//! How callers prove who they are: each protocol may have its own way.

use super::{
    Caller,
    credentials::{Credential, find},
};
use crate::gate::Gate;
use async_trait::async_trait;
use axum::extract::ConnectInfo;
use http::request::Parts;
use kaogong_domain::{ErrorKind, Problem};
use std::net::SocketAddr;

/// Finds out who is calling.
#[async_trait]
pub trait Authenticate: Send + Sync {
    /// The caller; `None` for one who shows no credential.
    ///
    /// # Errors
    /// `Unauthenticated` when the credential is not good (any more); `Unavailable` when that cannot be looked up.
    async fn identify(&self, gate: &Gate, request: &Parts) -> Result<Option<Caller>, Problem>;
}

/// The usual way: a token as bearer or as the password of basic authentication, or the cookie of a session.
pub struct TokenOrSession;

#[async_trait]
impl Authenticate for TokenOrSession {
    async fn identify(&self, gate: &Gate, request: &Parts) -> Result<Option<Caller>, Problem> {
        let address = request.extensions.get::<ConnectInfo<SocketAddr>>().map(|it| it.0);
        let credentials = gate.credentials();
        let caller = match find(&request.headers) {
            Credential::Token(secret) => Some(credentials.by_token(&secret).await?),
            Credential::Session(secret) => Some(match credentials.by_session(&secret).await {
                // A cookie that is over is as good as none: it must not keep out whom the server trusts without one.
                Err(it) if it.kind == ErrorKind::Unauthenticated && gate.trusts(address, &request.headers) => {
                    credentials.local_admin().await?
                }
                known => known?,
            }),
            Credential::None if gate.trusts(address, &request.headers) => Some(credentials.local_admin().await?),
            Credential::None => None,
        };
        Ok(caller.map(|it| Caller { address: address.map(|it| it.ip()), ..it }))
    }
}
