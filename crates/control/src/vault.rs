//! Encrypts the secrets of projects. The key is a file beside the data and never in the database, so that a copy of
//! the database alone tells nothing.

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use kaogong_domain::{ErrorKind, Problem, Secret};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

const KEY_BYTES: usize = 32;

/// Seals and opens secrets.
pub struct Vault {
    key: LessSafeKey,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// A vault with the key in a file, which is made when it is not there.
    ///
    /// # Errors
    /// `Unavailable` when the file cannot be read or made, `Conflict` when it holds no key.
    pub fn open(file: &Path) -> Result<Self, Problem> {
        let cannot = |it: io::Error| {
            Problem::unavailable(format!("cannot use the key of the secrets, {}: {it}", file.display()))
                .hint("let the account that runs kaogong read and write its data folder")
        };
        let bytes = match fs::read(file) {
            Err(it) if it.kind() == io::ErrorKind::NotFound => make_key(file).map_err(cannot)?,
            read => read.map_err(cannot)?,
        };
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| {
            Problem::conflict(format!("{} holds {} bytes and is no key", file.display(), bytes.len()))
                .hint("put the file back from a backup; without it the secrets have to be set again")
        })?;
        Ok(Self { key: LessSafeKey::new(key) })
    }

    /// Encrypts a text for one use; `place` says for which, and opening it for another fails.
    ///
    /// # Errors
    /// `Bug` when the operating system gives no random bytes.
    pub fn seal(&self, place: &str, secret: &Secret) -> Result<String, Problem> {
        let mut nonce = [0u8; NONCE_LEN];
        getrandom::fill(&mut nonce)
            .map_err(|it| Problem::new(ErrorKind::Bug, format!("the operating system gave no random bytes: {it}")))?;
        let mut bytes = secret.expose().as_bytes().to_vec();
        let sealed = self.key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place.as_bytes()),
            &mut bytes,
        );
        sealed.map_err(|_| Problem::new(ErrorKind::Bug, "a secret cannot be encrypted"))?;
        Ok(BASE64_STANDARD_NO_PAD.encode([nonce.as_slice(), &bytes].concat()))
    }

    /// The text that was sealed for `place`.
    ///
    /// # Errors
    /// `Conflict` when it was sealed with another key or for another place, or was changed.
    pub fn open_sealed(&self, place: &str, sealed: &str) -> Result<Secret, Problem> {
        let cannot = || {
            Problem::conflict(format!(
                "{place} cannot be decrypted: the key file is not the one that it was encrypted with"
            ))
            .hint("put `secrets.key` back into the data folder from a backup, or set the secret again")
        };
        let bytes = BASE64_STANDARD_NO_PAD.decode(sealed).map_err(|_| cannot())?;
        let (nonce, rest) = bytes.split_at_checked(NONCE_LEN).ok_or_else(cannot)?;
        let (nonce, mut rest) = (Nonce::try_assume_unique_for_key(nonce).map_err(|_| cannot())?, rest.to_vec());
        let text = self.key.open_in_place(nonce, Aad::from(place.as_bytes()), &mut rest).map_err(|_| cannot())?;
        let text = String::from_utf8(text.to_vec()).map_err(|_| cannot())?;
        Ok(Secret::new(text))
    }
}

/// A new key, on the disk before anything is encrypted with it.
fn make_key(file: &Path) -> io::Result<Vec<u8>> {
    let mut key = vec![0u8; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|it| io::Error::other(it.to_string()))?;
    let part = file.with_extension("part");
    let mut out = fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(&part)?;
    out.write_all(&key)?;
    out.sync_all()?;
    fs::rename(&part, file)?;
    if let Some(folder) = file.parent() {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_was_sealed_is_opened_by_the_same_key_for_the_same_place_only() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("secrets.key");
        let sealed = Vault::open(&file).expect("a new key").seal("a", &Secret::new("correct horse")).expect("sealed");
        assert!(!sealed.contains("horse"));
        let vault = Vault::open(&file).expect("the same key");
        assert_eq!(vault.open_sealed("a", &sealed).expect("opened").expose(), "correct horse");
        assert_ne!(vault.seal("a", &Secret::new("correct horse")).expect("sealed"), sealed, "no two look alike");
        for (place, text) in
            [("b", sealed.clone()), ("a", sealed.replacen(&sealed[20..22], "!!", 1)), ("a", "x".into())]
        {
            assert_eq!(vault.open_sealed(place, &text).expect_err("refused").kind, ErrorKind::Conflict);
        }
        let other = Vault::open(&dir.path().join("other.key")).expect("another key");
        assert_eq!(other.open_sealed("a", &sealed).expect_err("refused").kind, ErrorKind::Conflict);
        let mode = fs::metadata(&file).expect("the file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "for this account alone");
    }

    #[test]
    fn a_cut_key_is_no_key() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("secrets.key");
        fs::write(&file, "short").expect("a file");
        assert_eq!(Vault::open(&file).expect_err("refused").kind, ErrorKind::Conflict);
        assert_eq!(fs::read(&file).expect("a file"), b"short", "and is left as it is");
    }
}
