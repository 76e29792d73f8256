//! What is known about credentials and memberships, kept for a few seconds so that a call of an endpoint does not
//! ask the database three times. The store counts changes of access; what was looked up before one is forgotten.

use super::Caller;
use kaogong_domain::{
    ErrorKind, Problem, Secret, Timestamp,
    access::Role,
    ids::{ProjectId, UserId},
    masks::Masks,
    names::Name,
};
use kaogong_store::{ProjectRow, Store, TokenRow, hash_secret};
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, PoisonError, RwLock},
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

/// What is covered in all that the holder of a job's token sends. `None` for the tokens of people.
pub type MasksOf = Box<dyn Fn(&TokenRow) -> Result<Option<Arc<Masks>>, Problem> + Send + Sync>;

type Place = Option<(Arc<ProjectRow>, Option<Role>)>;

/// A small map whose entries grow old, and are worth nothing after a change of access.
struct Cache<K, V>(RwLock<HashMap<K, Entry<V>>>);

struct Entry<V> {
    /// The store's number of changes when the look into the database began.
    epoch: u64,
    at: Instant,
    value: V,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    fn new() -> Self {
        Self(RwLock::default())
    }

    fn get(&self, key: &K, epoch: u64) -> Option<V> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        map.get(key).filter(|it| it.epoch == epoch && it.at.elapsed() < KEPT).map(|it| it.value.clone())
    }

    fn put(&self, epoch: u64, key: K, value: V) {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= ENTRIES_MAX {
            map.clear();
        }
        map.insert(key, Entry { epoch, at: Instant::now(), value });
    }
}

/// The cache.
pub struct CredentialCache {
    store: Arc<Store>,
    masks_of: MasksOf,
    clock: fn() -> Timestamp,
    tokens: Cache<String, Caller>,
    sessions: Cache<String, Caller>,
    places: Cache<(UserId, String), Place>,
    names: Cache<ProjectId, Arc<ProjectRow>>,
    local: Cache<(), Caller>,
}

fn refused(text: &str) -> Problem {
    Problem::new(ErrorKind::Unauthenticated, text)
        .hint("make a token with `kaogong access tokens create`, or sign in with `kaogong login`")
}

impl CredentialCache {
    /// An empty cache.
    pub fn new(store: Arc<Store>, masks_of: MasksOf, clock: fn() -> Timestamp) -> Self {
        Self {
            store,
            masks_of,
            clock,
            tokens: Cache::new(),
            sessions: Cache::new(),
            places: Cache::new(),
            names: Cache::new(),
            local: Cache::new(),
        }
    }

    /// The caller behind a token.
    ///
    /// # Errors
    /// `Unauthenticated` when it is unknown, revoked or expired.
    pub async fn by_token(&self, secret: &Secret) -> Result<Caller, Problem> {
        let (hash, epoch) = (hash_secret(secret), self.store.access_epoch());
        if let Some(caller) = self.tokens.get(&hash, epoch) {
            return Ok(caller);
        }
        let now = (self.clock)();
        let Some((token, user)) = self.store.find_token(&hash, now).await? else {
            let is_dead = self.store.is_dead_token(&hash).await?;
            return Err(refused(if is_dead {
                "this token has expired or was revoked"
            } else {
                "this token is not known here"
            }));
        };
        if token.last_used_at.is_none_or(|it| now.since_ms(it) > 60_000) {
            let touch = self.store.touch_token(token.id, now);
            if let Ok(Err(problem)) = tokio::time::timeout(TOUCH_TIME_MAX, touch).await {
                tracing::warn!("the use of token {} was not noted: {problem}", token.id);
            }
        }
        let masks = (self.masks_of)(&token)?;
        let caller = Caller {
            scopes: Arc::new(token.scopes.clone()),
            token: Some(Arc::new(token)),
            token_hash: Some(hash.as_str().into()),
            masks,
            ..Caller::of_user(user)
        };
        self.tokens.put(epoch, hash, caller.clone());
        Ok(caller)
    }

    /// The caller behind a session cookie.
    ///
    /// # Errors
    /// `Unauthenticated` when it is unknown or over.
    pub async fn by_session(&self, secret: &Secret) -> Result<Caller, Problem> {
        let (hash, epoch) = (hash_secret(secret), self.store.access_epoch());
        if let Some(caller) = self.sessions.get(&hash, epoch) {
            return Ok(caller);
        }
        let found = self.store.find_session(&hash, (self.clock)()).await?;
        let (session, user) = found.ok_or_else(|| refused("this session is over"))?;
        let caller = Caller::of_session(user, &session.csrf, &hash);
        self.sessions.put(epoch, hash, caller.clone());
        Ok(caller)
    }

    /// The administrator, for clients on this machine when the server was told to trust it.
    ///
    /// # Errors
    /// `Unauthenticated` when there is no administrator any more.
    pub async fn local_admin(&self) -> Result<Caller, Problem> {
        let epoch = self.store.access_epoch();
        if let Some(caller) = self.local.get(&(), epoch) {
            return Ok(caller);
        }
        let user = self.store.first_admin().await?.ok_or_else(|| refused("there is no administrator"))?;
        let caller = Caller::of_user(user);
        self.local.put(epoch, (), caller.clone());
        Ok(caller)
    }

    /// The project that a call names (else its token's own, else `default`), and what the caller is in it.
    pub async fn place(&self, caller: &Caller, named: Option<&str>) -> Result<Place, Problem> {
        let bound = caller.token.as_ref().and_then(|it| it.project_id);
        let name = match (named, bound) {
            (Some(name), _) => name.to_owned(),
            (None, Some(id)) => self.project(id).await?.name.to_string(),
            (None, None) => USUAL_PROJECT.to_owned(),
        };
        let Ok(parsed) = name.parse::<Name>() else { return Ok(None) };
        let key = (caller.user.id, name);
        let epoch = self.store.access_epoch();
        if let Some(place) = self.places.get(&key, epoch) {
            return Ok(place);
        }
        let found = self.store.find_project(&parsed, caller.user.id).await?;
        let place = found.map(|(project, role)| (Arc::new(project), role));
        self.places.put(epoch, key, place.clone());
        Ok(place)
    }

    async fn project(&self, id: ProjectId) -> Result<Arc<ProjectRow>, Problem> {
        let epoch = self.store.access_epoch();
        if let Some(project) = self.names.get(&id, epoch) {
            return Ok(project);
        }
        let project = Arc::new(self.store.project(id).await?);
        self.names.put(epoch, id, project.clone());
        Ok(project)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_looked_up_before_a_change_is_not_kept_after_it() {
        let memory = Cache::new();
        memory.put(1, "token", "before the change");
        assert_eq!(memory.get(&"token", 1), Some("before the change"));
        assert_eq!(memory.get(&"token", 2), None);
        memory.put(2, "token", "after it");
        assert_eq!(memory.get(&"token", 2), Some("after it"));
    }
}
