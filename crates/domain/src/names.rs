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

/// The longest title, in bytes.
pub const TITLE_BYTES_MAX: usize = 200;

/// A dataset as somebody calls it, in any script and case: `数据`, `My Data`. Addresses and commands may use it as it is;
/// inside it is known by its [`Title::name`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Title {
    text: String,
    name: Name,
}

impl Title {
    /// As it was typed, without spaces around it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name that stands for it in addresses: the title itself where it is one, else its Latin letters and digits
    /// with a hash of the whole, which no other title has.
    pub fn name(&self) -> &Name {
        &self.name
    }
}

impl FromStr for Title {
    type Err = BadTitle;

    fn from_str(text: &str) -> Result<Self, BadTitle> {
        let text = text.trim();
        if let Ok(name) = text.parse::<Name>() {
            return Ok(Self { text: text.to_owned(), name });
        }
        let bad = |it: char| it.is_control() || matches!(it, '@' | '/' | '\\');
        if text.is_empty() || text.len() > TITLE_BYTES_MAX || text.contains(bad) || text.starts_with('.') {
            return Err(BadTitle { text: text.chars().take(80).collect() });
        }
        Ok(Self { text: text.to_owned(), name: Name(slug(text)) })
    }
}

/// The text cannot be the title of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` cannot be the name of a dataset: use 1 to 200 bytes of any script, without `@`, `/` and `\\`, and not beginning with a full stop"
)]
pub struct BadTitle {
    text: String,
}

/// `My Data` as `my-data-` and 13 characters of its hash (FNV-1a of 64 bits, in base 32).
fn slug(title: &str) -> String {
    let mut slug = String::new();
    for it in title.chars() {
        if it.is_ascii_alphanumeric() {
            slug.push(it.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == 40 {
            break;
        }
    }
    let begin = slug.trim_end_matches('-');
    let begin = if begin.is_empty() { "data" } else { begin };
    let hash =
        title.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, it| (hash ^ u64::from(it)).wrapping_mul(0x0100_0000_01b3));
    let digits = (0..13u32).rev().map(|at| b"0123456789abcdefghijklmnopqrstuv"[(hash >> (5 * at) & 31) as usize]);
    format!("{begin}-{}", digits.map(char::from).collect::<String>())
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
        let title = name.parse::<Title>().map_err(|it| crate::Problem::invalid(it.to_string()))?;
        Ok(Self { name: title.name, version })
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
    fn titles_of_any_script_have_a_safe_name_of_their_own() {
        let name = |text: &str| text.parse::<Title>().map(|it| it.name().to_string());
        assert_eq!(name("digits"), Ok("digits".to_owned()));
        assert_eq!(name(" digits "), Ok("digits".to_owned()));
        let titles = ["My Data", "my data", "数据", "数据 2", "Ünïcode", "-", "A", &"长".repeat(66), &"x y".repeat(60)];
        let names: std::collections::BTreeSet<_> = titles.iter().map(|it| name(it).expect("a title")).collect();
        assert_eq!(names.len(), titles.len());
        assert!(names.iter().all(|it| it.parse::<Name>().is_ok()), "{names:?}");
        assert!(name("My Data").expect("a title").starts_with("my-data-"));
        for bad in ["", " ", "..", ".x", "a/b", "a\\b", "a@b", "a\nb", &"长".repeat(67)] {
            assert!(bad.parse::<Title>().is_err(), "{bad:?} was accepted");
        }
        let pinned: VersionRef = "My Data@3".parse().expect("a pinned version");
        assert_eq!((Ok(pinned.name.to_string()), pinned.version), (name("My Data"), Some(3)));
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
