//! Secrets that are shown once: how they are made, and what is stored of them.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use kaogong_domain::{ErrorKind, Problem, Secret};

/// A new secret of 256 random bits behind a prefix.
pub fn make_secret(prefix: &str) -> Result<Secret, Problem> {
    let mut random = [0u8; 32];
    getrandom::fill(&mut random)
        .map_err(|it| Problem::new(ErrorKind::Bug, format!("the operating system gave no random bytes: {it}")))?;
    Ok(Secret::new(format!("{prefix}{}", BASE64_URL_SAFE_NO_PAD.encode(random))))
}

/// What is stored of a secret. The secrets are random, so one fast hash is enough.
pub fn hash_secret(secret: &Secret) -> String {
    blake3::hash(secret.expose().as_bytes()).to_hex().to_string()
}
