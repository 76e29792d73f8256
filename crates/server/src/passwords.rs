//! Passwords: argon2id, a few at a time, and never quick to refuse an unknown user.

use argon2::{
    Argon2,
    password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString},
};
use kaogong_domain::{ErrorKind, Problem, Secret};
use std::sync::{Arc, LazyLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The shortest password, in characters (NIST SP 800-63B asks for at least eight).
pub const PASSWORD_CHARS_MIN: usize = 10;
/// The longest password, in bytes: hashing is work, and a stranger chooses the text.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// Each hash takes 19 MiB and a core for tens of milliseconds, so strangers share two places.
static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(2)));

/// A hash of nobody's password: verifying against it makes an unknown name cost what a known one does.
static NOBODY: LazyLock<Option<String>> = LazyLock::new(|| hash_now("nobody has this password").ok());

fn hash_now(password: &str) -> Result<String, Problem> {
    let mut salt = [0u8; 16];
    let failed = |it: &dyn std::fmt::Display| Problem::new(ErrorKind::Bug, format!("cannot hash a password: {it}"));
    getrandom::fill(&mut salt).map_err(|it| failed(&it))?;
    let salt = SaltString::encode_b64(&salt).map_err(|it| failed(&it))?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt).map_err(|it| failed(&it))?;
    Ok(hash.to_string())
}

/// How many may wait for a place; one more is refused.
static WAITING: Semaphore = Semaphore::const_new(64);

/// The right to do password work now.
pub struct Place(OwnedSemaphorePermit);

/// Waits for a place.
///
/// # Errors
/// `TooMany` when many wait already.
pub async fn place() -> Result<Place, Problem> {
    let busy = || Problem::new(ErrorKind::TooMany, "too many sign-ins at once").hint("try again in a moment");
    let _waiting = WAITING.try_acquire().map_err(|_| busy())?;
    PLACES.clone().acquire_owned().await.map(Place).map_err(|_| busy())
}

async fn work_in<T: Send + 'static>(place: Place, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(move || {
        let answer = work();
        drop(place.0);
        answer
    })
    .await
    .map_err(|it| Problem::bug("password work did not end", it))
}

/// Checks that a password may be used at all.
///
/// # Errors
/// `Invalid` when it is too short or too long.
pub fn check_strength(password: &Secret) -> Result<(), Problem> {
    if password.expose().chars().count() < PASSWORD_CHARS_MIN {
        return Err(Problem::invalid(format!("the password is shorter than {PASSWORD_CHARS_MIN} characters")));
    }
    if password.expose().len() > PASSWORD_BYTES_MAX {
        return Err(Problem::invalid(format!("the password is longer than {PASSWORD_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// The argon2id hash of a password, in PHC form.
pub async fn hash(password: Secret) -> Result<String, Problem> {
    work_in(place().await?, move || hash_now(password.expose())).await?
}

/// Whether the password is the one behind `hash`; `None` takes as long and says no.
pub async fn verify(place: Place, password: Secret, hash: Option<String>) -> Result<bool, Problem> {
    if password.expose().len() > PASSWORD_BYTES_MAX {
        return Ok(false);
    }
    work_in(place, move || {
        let is_known = hash.is_some();
        let Some(hash) = hash.or_else(|| NOBODY.clone()) else { return false };
        let matches = PasswordHash::new(&hash)
            .is_ok_and(|it| Argon2::default().verify_password(password.expose().as_bytes(), &it).is_ok());
        matches && is_known
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_opens() {
        let stored = hash(Secret::new("correct horse")).await.expect("a hash");
        assert!(stored.starts_with("$argon2id$"));
        let opens = async |password: &str, hash: Option<String>| {
            verify(place().await.expect("a place"), Secret::new(password), hash).await.expect("an answer")
        };
        assert!(opens("correct horse", Some(stored.clone())).await);
        assert!(!opens("battery staple", Some(stored)).await);
        assert!(!opens("nobody has this password", None).await);
    }

    #[test]
    fn short_and_endless_passwords_are_refused() {
        assert!(check_strength(&Secret::new("short")).is_err());
        assert!(check_strength(&Secret::new("x".repeat(2000))).is_err());
        assert!(check_strength(&Secret::new("long enough")).is_ok());
    }
}
