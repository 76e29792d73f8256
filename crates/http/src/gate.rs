//! What the layers before the handlers need: whom to believe, which rules there are, and how much may come in.

use crate::{
    access::{Caller, Rule, layer::is_same_origin, routes::RuleBook, standings::Standings},
    forwarded::is_forwarded,
    room::Room,
};
use http::{HeaderMap, header};
use kaogong_domain::{Problem, Secret, Timestamp, masks::Masks};
use kaogong_store::{Store, TokenRow};
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
};

/// Memory for bodies on their way in: a quarter of the machine's at most, and no more than this.
const BODY_BYTES_MAX: u64 = 2 << 30;
/// What strangers' bodies may take of that amount, besides it: callers who may do something lose nothing to them.
const STRANGERS_PART: u64 = 8;

/// What is covered in all that the holder of a job's token sends. `None` for the tokens of people.
pub type MasksOf = Box<dyn Fn(&TokenRow) -> Result<Option<Arc<Masks>>, Problem> + Send + Sync>;

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
    standings: Standings,
    rules: OnceLock<RuleBook>,
    bodies: Room,
    bodies_of_strangers: Room,
    settings: GateSettings,
}

impl Gate {
    /// A gate without rules: everything is refused until [`Gate::set_rules`].
    pub fn new(store: Arc<Store>, masks_of: MasksOf, settings: GateSettings) -> Arc<Self> {
        let body_bytes = (settings.machine_bytes / 4).min(BODY_BYTES_MAX);
        let room = |bytes: u64| Room::new(usize::try_from(bytes).unwrap_or(usize::MAX));
        Arc::new(Self {
            standings: Standings::new(store.clone(), masks_of, settings.clock),
            store,
            rules: OnceLock::new(),
            bodies: room(body_bytes),
            bodies_of_strangers: room(body_bytes / STRANGERS_PART),
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
    pub fn standings(&self) -> &Standings {
        &self.standings
    }

    /// The rules of all routes. Before the router is built there are none, and everything is refused.
    pub fn rules(&self) -> &RuleBook {
        self.rules.get_or_init(RuleBook::default)
    }

    /// Takes the rules of the router; the first ones stay.
    pub fn set_rules(&self, rules: RuleBook) {
        let _ = self.rules.set(rules);
    }

    /// The memory for bodies on their way in to a route with that rule.
    pub fn room_of(&self, rule: Rule) -> &Room {
        match rule {
            Rule::Public => &self.bodies_of_strangers,
            _ => &self.bodies,
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

    /// The caller behind a session cookie, for the calls that sign in and out.
    ///
    /// # Errors
    /// `Unauthenticated` when it is unknown or over.
    pub async fn caller_of_session(&self, secret: &Secret) -> Result<Caller, Problem> {
        Ok(self.standings.by_session(secret).await?.caller)
    }
}
