//! What is known about credentials and memberships, kept for a few seconds so that a call of an endpoint does not
//! ask the database three times. Every change of access made here forgets it all at once.

use super::{Caller, credentials::hash_secret};
use crate::{app::App, secrets::masks_of_token};
use kaogong_domain::{
    ErrorKind, Problem, Secret,
    access::{Role, Scopes},
    ids::{ProjectId, UserId},
    names::Name,
};
use kaogong_store::ProjectRow;
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Another replica learns of a revoked token at the latest after this.
const KEPT: Duration = Duration::from_secs(5);
/// The most entries of each kind.
const ENTRIES_MAX: usize = 10_000;
/// How long a call waits for the note that its token was used. A busy or full disk refuses nobody.
const TOUCH_TIME_MAX: Duration = Duration::from_millis(200);
/// The project of callers whose token names none.
const USUAL_PROJECT: &str = "default";

/// A credential that was found good.
#[derive(Debug, Clone)]
pub struct Known {
    /// Whose it is, without an address.
    pub caller: Caller,
}

type Place = Option<(Arc<ProjectRow>, Option<Role>)>;

/// A small map whose entries grow old.
struct Memory<K, V> {
    entries: RwLock<HashMap<K, (Instant, V)>>,
    /// Grows whenever everything is forgotten.
    epoch: AtomicU64,
}

impl<K: Hash + Eq, V: Clone> Memory<K, V> {
    fn new() -> Self {
        Self { entries: RwLock::new(HashMap::new()), epoch: AtomicU64::new(0) }
    }

    fn get(&self, key: &K) -> Option<V> {
        let map = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        map.get(key).filter(|it| it.0.elapsed() < KEPT).map(|it| it.1.clone())
    }

    /// When a look into the database begins; what it finds is kept only if nothing was forgotten meanwhile.
    fn begin(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    fn put(&self, begun: u64, key: K, value: V) {
        let mut map = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if self.epoch.load(Ordering::Acquire) != begun {
            return;
        }
        if map.len() >= ENTRIES_MAX {
            map.clear();
        }
        map.insert(key, (Instant::now(), value));
    }

    fn clear(&self) {
        let mut map = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        map.clear();
    }
}

/// The memory.
pub struct Standings {
    tokens: Memory<String, Known>,
    sessions: Memory<String, Known>,
    places: Memory<(UserId, String), Place>,
    names: Memory<ProjectId, Arc<ProjectRow>>,
    local: Memory<(), Known>,
}

impl Default for Standings {
    fn default() -> Self {
        Self {
            tokens: Memory::new(),
            sessions: Memory::new(),
            places: Memory::new(),
            names: Memory::new(),
            local: Memory::new(),
        }
    }
}

fn refused(text: &str) -> Problem {
    Problem::new(ErrorKind::Unauthenticated, text)
        .hint("make a token with `kaogong access tokens create`, or sign in with `kaogong login`")
}

impl Standings {
    /// Forgets everything: who may do what has just changed.
    pub fn forget_all(&self) {
        self.tokens.clear();
        self.sessions.clear();
        self.places.clear();
        self.names.clear();
        self.local.clear();
    }

    /// The caller behind a token.
    ///
    /// # Errors
    /// `Unauthenticated` when it is unknown, revoked or expired.
    pub async fn by_token(&self, app: &App, secret: &Secret) -> Result<Known, Problem> {
        let hash = hash_secret(secret);
        if let Some(known) = self.tokens.get(&hash) {
            return Ok(known);
        }
        let (begun, now) = (self.tokens.begin(), app.now());
        let Some((token, user)) = app.store.find_token(&hash, now).await? else {
            let is_dead = app.store.is_dead_token(&hash).await?;
            return Err(refused(if is_dead {
                "this token has expired or was revoked"
            } else {
                "this token is not known here"
            }));
        };
        if token.last_used_at.is_none_or(|it| now.since_ms(it) > 60_000) {
            let touch = app.store.touch_token(token.id, now);
            if let Ok(Err(problem)) = tokio::time::timeout(TOUCH_TIME_MAX, touch).await {
                tracing::warn!("the use of token {} was not noted: {problem}", token.id);
            }
        }
        let masks = masks_of_token(app, &token)?;
        let caller = Caller {
            user: Arc::new(user),
            scopes: Arc::new(token.scopes.clone()),
            token: Some(Arc::new(token)),
            csrf: None,
            token_hash: Some(hash.as_str().into()),
            session_hash: None,
            address: None,
            masks,
        };
        let known = Known { caller };
        self.tokens.put(begun, hash, known.clone());
        Ok(known)
    }

    /// The caller behind a session cookie.
    ///
    /// # Errors
    /// `Unauthenticated` when it is unknown or over.
    pub async fn by_session(&self, app: &App, secret: &Secret) -> Result<Known, Problem> {
        let hash = hash_secret(secret);
        if let Some(known) = self.sessions.get(&hash) {
            return Ok(known);
        }
        let begun = self.sessions.begin();
        let found = app.store.find_session(&hash, app.now()).await?;
        let (session, user) = found.ok_or_else(|| refused("this session is over"))?;
        let caller = Caller {
            user: Arc::new(user),
            token: None,
            scopes: Arc::new(Scopes::all()),
            csrf: Some(session.csrf.into()),
            token_hash: None,
            session_hash: Some(hash.clone().into()),
            address: None,
            masks: None,
        };
        let known = Known { caller };
        self.sessions.put(begun, hash, known.clone());
        Ok(known)
    }

    /// The administrator, for clients on this machine when the server was told to trust it.
    ///
    /// # Errors
    /// `Unauthenticated` when there is no administrator any more.
    pub async fn local_admin(&self, app: &App) -> Result<Known, Problem> {
        if let Some(known) = self.local.get(&()) {
            return Ok(known);
        }
        let begun = self.local.begin();
        let user = app.store.first_admin().await?.ok_or_else(|| refused("there is no administrator"))?;
        let caller = Caller {
            user: Arc::new(user),
            token: None,
            scopes: Arc::new(Scopes::all()),
            csrf: None,
            token_hash: None,
            session_hash: None,
            address: None,
            masks: None,
        };
        let known = Known { caller };
        self.local.put(begun, (), known.clone());
        Ok(known)
    }

    /// The project that a call names (else its token's own, else `default`), and what the caller is in it.
    pub async fn place(&self, app: &App, caller: &Caller, named: Option<&str>) -> Result<Place, Problem> {
        let bound = caller.token.as_ref().and_then(|it| it.project_id);
        let name = match (named, bound) {
            (Some(name), _) => name.to_owned(),
            (None, Some(id)) => self.project(app, id).await?.name.to_string(),
            (None, None) => USUAL_PROJECT.to_owned(),
        };
        let Ok(parsed) = name.parse::<Name>() else { return Ok(None) };
        let key = (caller.user.id, name);
        if let Some(place) = self.places.get(&key) {
            return Ok(place);
        }
        let begun = self.places.begin();
        let found = app.store.find_project(&parsed, caller.user.id).await?;
        let place = found.map(|(project, role)| (Arc::new(project), role));
        self.places.put(begun, key, place.clone());
        Ok(place)
    }

    async fn project(&self, app: &App, id: ProjectId) -> Result<Arc<ProjectRow>, Problem> {
        if let Some(project) = self.names.get(&id) {
            return Ok(project);
        }
        let begun = self.names.begin();
        let project = Arc::new(app.store.project(id).await?);
        self.names.put(begun, id, project.clone());
        Ok(project)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_looked_up_before_a_change_is_not_kept_after_it() {
        let memory = Memory::new();
        let begun = memory.begin();
        memory.clear();
        memory.put(begun, "token", 1);
        assert_eq!(memory.get(&"token"), None);
        memory.put(memory.begin(), "token", 2);
        assert_eq!(memory.get(&"token"), Some(2));
    }
}
