//! Typed, prefixed, sortable ids of 128 bits: `ds_01hz…`, `job_01hz…`.
//!
//! Layout as UUID version 7 (RFC 9562): 48 bits of milliseconds, then random bits; written as 26
//! Crockford base-32 characters, so that text order is time order.

use crate::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, hash::Hash, marker::PhantomData, str::FromStr};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TEXT_LEN: usize = 26;

/// What an id names; gives the prefix.
pub trait Kind: 'static {
    /// The text before the underscore.
    const PREFIX: &'static str;
    /// The noun for error texts.
    const NOUN: &'static str;
}

/// An id of one kind. Ids of two kinds cannot be mixed up.
pub struct Id<K> {
    raw: u128,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Id<K> {
    /// A new id: the moment first, so that ids sort by age, then 80 random bits.
    pub fn generate(now: Timestamp) -> Self {
        let mut random = [0u8; 16];
        if getrandom::fill(&mut random).is_err() {
            // The operating system has no randomness to give; ids would collide, so nothing may go on.
            panic!("the operating system gave no random bytes");
        }
        Self::from_parts(now, u128::from_be_bytes(random))
    }

    /// An id from a moment and chance, both handed in.
    pub fn from_parts(now: Timestamp, chance: u128) -> Self {
        let ms = u128::from(now.as_ms().max(0).unsigned_abs()) & 0xffff_ffff_ffff;
        Self { raw: (ms << 80) | (chance & ((1 << 80) - 1)), kind: PhantomData }
    }

    fn write_text(self, out: &mut [u8; TEXT_LEN]) {
        let mut rest = self.raw;
        for slot in out.iter_mut().rev() {
            *slot = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
    }
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; TEXT_LEN];
        self.write_text(&mut text);
        write!(f, "{}_{}", K::PREFIX, std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an id of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the id of a {noun} (expected `{prefix}_…`)")]
pub struct BadId {
    text: String,
    noun: &'static str,
    prefix: &'static str,
}

impl<K: Kind> FromStr for Id<K> {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId { text: text.chars().take(64).collect(), noun: K::NOUN, prefix: K::PREFIX };
        let body = text.strip_prefix(K::PREFIX).and_then(|it| it.strip_prefix('_')).ok_or_else(bad)?;
        if body.len() != TEXT_LEN || body.as_bytes()[0] > b'7' {
            return Err(bad());
        }
        let mut raw = 0u128;
        for byte in body.bytes() {
            let digit = ALPHABET.iter().position(|it| *it == byte).ok_or_else(bad)?;
            raw = (raw << 5) | digit as u128;
        }
        Ok(Self { raw, kind: PhantomData })
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.raw.cmp(&other.raw)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.raw.hash(state);
    }
}
impl<K: Kind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $alias:ident $marker:ident $prefix:literal $noun:literal;)*) => {$(
        #[doc = concat!("Marks ids of a ", $noun, ".")]
        #[derive(Debug)]
        pub enum $marker {}
        impl Kind for $marker {
            const PREFIX: &'static str = $prefix;
            const NOUN: &'static str = $noun;
        }
        $(#[$doc])*
        pub type $alias = Id<$marker>;
    )*};
}

kinds! {
    /// An organisation.
    OrgId OrgKind "org" "organisation";
    /// A project; everything belongs to one.
    ProjectId ProjectKind "prj" "project";
    /// A person or a service.
    UserId UserKind "usr" "user";
    /// An API token.
    TokenId TokenKind "tok" "token";
    /// A signed-in browser.
    SessionId SessionKind "ses" "session";
    /// One line of the event log.
    EventId EventKind "evt" "event";
    /// A dataset.
    DatasetId DatasetKind "ds" "dataset";
    /// One immutable version of a dataset.
    VersionId VersionKind "dv" "dataset version";
    /// One item of a dataset.
    ItemId ItemKind "it" "item";
    /// A job.
    JobId JobKind "job" "job";
    /// One attempt at a job.
    AttemptId AttemptKind "att" "attempt";
    /// An experiment: a group of runs.
    ExperimentId ExperimentKind "exp" "experiment";
    /// A tracked run.
    RunId RunKind "run" "run";
    /// A logged model, as MLflow 3 names what a run produced.
    LoggedModelId LoggedModelKind "m" "logged model";
    /// A registered model.
    ModelId ModelKind "mdl" "registered model";
    /// One version of a registered model.
    ModelVersionId ModelVersionKind "mv" "model version";
    /// An inference endpoint.
    EndpointId EndpointKind "ep" "endpoint";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let id = JobId::from_parts(Timestamp(1_700_000_000_000), u128::MAX);
        assert_eq!(id.to_string().parse::<JobId>().as_ref(), Ok(&id));
    }

    #[test]
    fn text_order_is_time_order() {
        let early = RunId::from_parts(Timestamp(1), u128::MAX);
        let late = RunId::from_parts(Timestamp(2), 0);
        assert!(early < late && early.to_string() < late.to_string());
    }

    #[test]
    fn another_kind_is_refused() {
        let job = JobId::generate(Timestamp(5)).to_string();
        assert!(job.parse::<RunId>().is_err());
        assert!("job_".parse::<JobId>().is_err());
        assert!("job_z0000000000000000000000000".parse::<JobId>().is_err());
    }
}
