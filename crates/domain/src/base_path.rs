//! The path under which a reverse proxy shows the server: `/kaogong` in `https://host/kaogong/p/default`.

use crate::Problem;
use std::{fmt, str::FromStr, sync::Arc};

/// The longest base path, in characters.
const LENGTH_MAX: usize = 200;
/// Beginnings of the server's own addresses: under one of these, a path with the base and one without look alike.
pub const TAKEN: [&str; 14] = [
    "p",
    "api",
    "ajax-api",
    "v2",
    "assets",
    "admin",
    "sign-in",
    "healthz",
    "readyz",
    "metrics",
    "version",
    "health",
    "favicon.svg",
    "inference.GRPCInferenceService",
];

/// Empty at the root of a host, else with a slash before and none behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasePath(Arc<str>);

impl BasePath {
    /// The text: empty, or `/kaogong`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BasePath {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let path = text.strip_suffix('/').unwrap_or(text);
        if path.is_empty() {
            return Ok(Self::default());
        }
        let is_plain = |it: &str| {
            let is_letter = |it: u8| it.is_ascii_alphanumeric() || b"-._~".contains(&it);
            !it.is_empty() && it.bytes().all(is_letter) && it.bytes().any(|it| it != b'.')
        };
        let parts = path.strip_prefix('/').map(|it| it.split('/').collect::<Vec<_>>()).unwrap_or_default();
        let first = parts.first().copied().unwrap_or_default();
        if path.len() > LENGTH_MAX || !parts.iter().all(|it| is_plain(it)) || first.is_empty() {
            let shown: String = text.chars().take(LENGTH_MAX).collect();
            return Err(Problem::invalid(format!(
                "`{shown}` is not a path of letters, digits and -._~, such as /kaogong"
            )));
        }
        if TAKEN.contains(&first) {
            return Err(Problem::invalid(format!(
                "`/{first}` is an address of the server itself; choose another path"
            )));
        }
        Ok(Self(path.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_that_are_free_are_taken() {
        for good in ["", "/", "/kaogong", "/tools/ml-1.2_x~"] {
            let made: BasePath = good.parse().unwrap_or_else(|it| panic!("{good}: {it}"));
            assert_eq!(made.as_str(), good.trim_end_matches('/'));
        }
        let long = format!("/{}", "x".repeat(LENGTH_MAX));
        for bad in [
            "kaogong", "//", "/a//b", "/..", "/a/../b", "/.", "/a b", "/a?b", "/a#b", "/ü", "/a\"><x", "/p", "/api/x",
            &long,
        ] {
            assert!(bad.parse::<BasePath>().is_err(), "{bad}");
        }
    }
}
