//! What the layers before the handlers need: whom to believe, which rules there are, and how much may come in.

use crate::{
    access::{
        Rule,
        cache::{CredentialCache, MasksOf},
    },
    body_budget::BodyBudget,
    forwarded::is_forwarded,
    origin::is_same_origin,
};
use http::{HeaderMap, header};
use kaogong_domain::Timestamp;
use kaogong_store::Store;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Memory for bodies on their way in: a quarter of the machine's at most, and no more than this.
const BODY_BYTES_MAX: u64 = 2 << 30;
/// What strangers' bodies may take of that amount, besides it: callers who may do something lose nothing to them.
const STRANGERS_PART: u64 = 8;

/// Settings of a gate.
pub struct GateSettings {
    /// The memory of the machine, in bytes.
    pub machine_bytes: u64,
    /// Whether clients on this machine need no credential.
    pub trust_loopback: bool,
    /// Proxies whose word about a client's address is taken.
    pub trusted_proxies: Vec<IpAddr>,
    /// The clock.
    pub clock: fn() -> Timestamp,
}

/// The gate.
pub struct Gate {
    store: Arc<Store>,
    credentials: CredentialCache,
    body_budget: BodyBudget,
    strangers_body_budget: BodyBudget,
    settings: GateSettings,
}

impl Gate {
    /// A gate.
    pub fn new(store: Arc<Store>, masks_of: MasksOf, settings: GateSettings) -> Arc<Self> {
        let body_bytes = (settings.machine_bytes / 4).min(BODY_BYTES_MAX);
        let budget = |bytes: u64| BodyBudget::new(usize::try_from(bytes).unwrap_or(usize::MAX));
        Arc::new(Self {
            credentials: CredentialCache::new(store.clone(), masks_of, settings.clock),
            store,
            body_budget: budget(body_bytes),
            strangers_body_budget: budget(body_bytes / STRANGERS_PART),
            settings,
        })
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        (self.settings.clock)()
    }

    /// Where access is stored.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Who may do what, as far as known.
    pub fn credentials(&self) -> &CredentialCache {
        &self.credentials
    }

    /// The memory for bodies on their way in to a route with that rule.
    pub fn body_budget_of(&self, rule: Rule) -> &BodyBudget {
        match rule {
            Rule::Public => &self.strangers_body_budget,
            _ => &self.body_budget,
        }
    }

    /// Proxies whose word about a client's address is taken.
    pub fn trusted_proxies(&self) -> &[IpAddr] {
        &self.settings.trusted_proxies
    }

    /// Whether a call without a credential comes from somebody at this machine, and the server was told that this
    /// is enough. A browser that another site drives names that site's host or origin, and is not trusted; nor is
    /// what a proxy at this machine passes on.
    pub fn trusts(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> bool {
        let is_local = peer.is_some_and(|it| it.ip().is_loopback()) && !is_forwarded(headers);
        if !self.settings.trust_loopback || !is_local {
            return false;
        }
        let host = headers.get(header::HOST).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |it| it.0);
        matches!(name, "127.0.0.1" | "localhost" | "[::1]") && is_same_origin(headers)
    }
}
