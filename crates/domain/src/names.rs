//! Names that people choose: parsed once at the edge, safe everywhere after.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// The name of a project, dataset, model or endpoint: lower-case letters, digits, `-`, `_` and `.`,
/// beginning with a letter or digit, at most 64 bytes. It is safe in a URL and never used as a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a name: use 1 to 64 lower-case letters, digits, `-`, `_` or `.`, beginning with a letter or digit"
)]
pub struct BadName {
    text: String,
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let letter = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
        let good = !text.is_empty()
            && text.len() <= NAME_BYTES_MAX
            && letter(text.as_bytes()[0])
            && text.bytes().all(|it| letter(it) || matches!(it, b'-' | b'_' | b'.'));
        if good { Ok(Self(text.to_owned())) } else { Err(BadName { text: text.chars().take(80).collect() }) }
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A dataset version as people write it: `digits@3`, or `digits` for the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionRef {
    /// The dataset or model.
    pub name: Name,
    /// The version; `None` means the newest.
    pub version: Option<u32>,
}

impl FromStr for VersionRef {
    type Err = crate::Problem;

    fn from_str(text: &str) -> Result<Self, crate::Problem> {
        let (name, version) = match text.split_once('@') {
            None => (text, None),
            Some((name, version)) => {
                let number = version.strip_prefix('v').unwrap_or(version).parse::<u32>().ok().filter(|it| *it > 0);
                let number = number.ok_or_else(|| {
                    crate::Problem::invalid(format!("`{text}` does not name a version"))
                        .hint("write NAME@NUMBER, for example digits@1")
                })?;
                (name, Some(number))
            }
        };
        let name = name.parse::<Name>().map_err(|it| crate::Problem::invalid(it.to_string()))?;
        Ok(Self { name, version })
    }
}

impl TryFrom<String> for VersionRef {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|it: crate::Problem| it.text)
    }
}

impl From<VersionRef> for String {
    fn from(it: VersionRef) -> Self {
        it.to_string()
    }
}

impl fmt::Display for VersionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            None => write!(f, "{}", self.name),
            Some(version) => write!(f, "{}@{version}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_never_paths() {
        for bad in ["", ".", "..", "../x", "a/b", "A", "é", ".hidden", "-x", "a b", &"a".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?} was accepted");
        }
        for good in ["a", "0", "digits", "breast-cancer", "v1.2_x"] {
            assert!(good.parse::<Name>().is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn version_references_read_both_ways() {
        let pinned: VersionRef = "digits@3".parse().expect("a pinned version");
        assert_eq!(pinned.version, Some(3));
        assert_eq!(pinned.to_string(), "digits@3");
        assert!("digits@0".parse::<VersionRef>().is_err());
        assert!("digits@x".parse::<VersionRef>().is_err());
    }
}
