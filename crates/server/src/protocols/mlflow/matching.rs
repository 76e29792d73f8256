//! Conditions checked in memory, for searches over lists that are at hand.

use super::{
    filter::{Clause, Operand, Test},
    problem::{MlflowProblem, Told},
};
use kaogong_store::{Comparator, Direction};
use std::cmp::Ordering;

/// Bytes of a LIKE pattern; longer ones are refused.
const PATTERN_BYTES_MAX: usize = 8_000;

/// What a thing has under a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found {
    Text(String),
    Number(f64),
    /// The thing has no such value.
    Nothing,
}

impl Found {
    pub(super) fn text(it: Option<&String>) -> Self {
        it.map_or(Self::Nothing, |it| Self::Text(it.clone()))
    }

    #[allow(clippy::cast_precision_loss)]
    pub(super) fn int(it: i64) -> Self {
        Self::Number(it as f64)
    }

    /// How two values follow each other in a direction: numbers and texts, then NaN, then what is missing, in both.
    pub(super) fn order_towards(&self, other: &Self, direction: Direction) -> Ordering {
        let class = |it: &Self| match it {
            Self::Nothing => 2,
            Self::Number(value) if value.is_nan() => 1,
            _ => 0,
        };
        let by_value = match (class(self), direction) {
            (1.., _) => Ordering::Equal,
            (_, Direction::Ascending) => self.rank(other),
            (_, Direction::Descending) => other.rank(self),
        };
        class(self).cmp(&class(other)).then(by_value)
    }

    fn rank(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Nothing, Self::Nothing) => Ordering::Equal,
            (Self::Nothing, _) => Ordering::Greater,
            (_, Self::Nothing) => Ordering::Less,
            (Self::Number(_), Self::Text(_)) => Ordering::Less,
            (Self::Text(_), Self::Number(_)) => Ordering::Greater,
        }
    }
}

/// Refuses a condition that can never be checked: a number compared with LIKE, a text with a number.
pub(super) fn check_kind(clause: &Clause, is_number: bool) -> Told<()> {
    let shown = &clause.key;
    let Test::Compare(comparator) = clause.test else {
        if is_number {
            return Err(MlflowProblem::invalid(format!("IS NULL / IS NOT NULL is not supported for '{shown}'")));
        }
        return Ok(());
    };
    let is_ordering = matches!(
        comparator,
        Comparator::Less | Comparator::LessOrEqual | Comparator::Greater | Comparator::GreaterOrEqual
    );
    if matches!(comparator, Comparator::Like | Comparator::ILike)
        && let Operand::Text(pattern) = &clause.operand
        && pattern.len() > PATTERN_BYTES_MAX
    {
        return Err(MlflowProblem::invalid(format!("a LIKE pattern has more than {PATTERN_BYTES_MAX} bytes")));
    }
    let is_equality = matches!(comparator, Comparator::Equal | Comparator::NotEqual);
    if is_number {
        if !is_ordering && !is_equality {
            return Err(MlflowProblem::invalid(format!(
                "Invalid comparator for '{shown}': not one of '>', '>=', '!=', '=', '<', '<='"
            )));
        }
        if !matches!(clause.operand, Operand::Number(_)) {
            return Err(MlflowProblem::invalid(format!("Expected numeric value type for numeric attribute: {shown}.")));
        }
    } else if is_ordering {
        return Err(MlflowProblem::invalid(format!(
            "Invalid comparator for '{shown}': not one of '!=', '=', 'LIKE', 'ILIKE', 'IN', 'NOT IN'"
        )));
    } else if matches!(clause.operand, Operand::Number(_)) {
        return Err(MlflowProblem::invalid(format!("Expected a quoted string value for '{shown}' (e.g. 'my-value').")));
    }
    Ok(())
}

/// Whether what was found fits a condition. A missing value fits `IS NULL` only, as in SQL.
pub(super) fn holds(clause: &Clause, found: &Found) -> bool {
    let comparator = match clause.test {
        Test::IsNull => return *found == Found::Nothing,
        Test::IsNotNull => return *found != Found::Nothing,
        Test::Compare(it) => it,
    };
    match (found, &clause.operand) {
        (Found::Number(have), Operand::Number(wanted)) => match comparator {
            Comparator::Equal => have == wanted,
            Comparator::NotEqual => have != wanted,
            Comparator::Less => have < wanted,
            Comparator::LessOrEqual => have <= wanted,
            Comparator::Greater => have > wanted,
            Comparator::GreaterOrEqual => have >= wanted,
            _ => false,
        },
        (Found::Text(have), Operand::Text(wanted)) => match comparator {
            Comparator::Equal => have == wanted,
            Comparator::NotEqual => have != wanted,
            Comparator::Like => is_like(have, wanted),
            // As the store does: letters beyond A to Z are compared as they are.
            Comparator::ILike => is_like(&have.to_ascii_lowercase(), &wanted.to_ascii_lowercase()),
            _ => false,
        },
        (Found::Text(have), Operand::List(wanted)) => match comparator {
            Comparator::In => wanted.binary_search(have).is_ok(),
            Comparator::NotIn => wanted.binary_search(have).is_err(),
            _ => false,
        },
        _ => false,
    }
}

/// SQL's LIKE: `%` is any run of characters, `_` is one. Linear but for one step back to the last `%`.
fn is_like(text: &str, pattern: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let pattern: Vec<char> = pattern.chars().collect();
    let (mut t, mut p, mut back) = (0, 0, None);
    while t < text.len() {
        if p < pattern.len() && pattern[p] == '%' {
            back = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '_' || pattern[p] == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star, from)) = back {
            p = star + 1;
            t = from + 1;
            back = Some((star, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|it| *it == '%')
}

#[cfg(test)]
mod tests {
    use super::{super::filter::parse_filter, *};

    #[test]
    fn like_is_sqls() {
        for (text, pattern, expected) in [
            ("abc", "a%", true),
            ("abc", "%c", true),
            ("abc", "a_c", true),
            ("abc", "a_", false),
            ("", "%", true),
            ("", "_", false),
            ("aXbXc", "%X%X%", true),
            ("aaab", "%ab", true),
            ("考工", "考_", true),
            ("ABC", "abc", false),
        ] {
            assert_eq!(is_like(text, pattern), expected, "{text} LIKE {pattern}");
        }
    }

    #[test]
    fn what_is_missing_fits_is_null_only() {
        let clause = |text: &str| parse_filter(text).expect("a filter").remove(0);
        assert!(!holds(&clause("tags.a != 'x'"), &Found::Nothing));
        assert!(holds(&clause("tags.a IS NULL"), &Found::Nothing));
        assert!(holds(&clause("metrics.a != 1"), &Found::Number(f64::NAN)));
        assert!(!holds(&clause("metrics.a >= 0"), &Found::Number(f64::NAN)));
        assert!(holds(&clause("name ILIKE 'AB%'"), &Found::Text("abc".into())));
        assert!(check_kind(&clause("metrics.a LIKE 'x'"), true).is_err());
        assert!(check_kind(&clause("tags.a > 'x'"), false).is_err());
        for (length, is_good) in [(8_000, true), (8_001, false)] {
            let long = clause(&format!("name LIKE '{}'", "x".repeat(length)));
            assert_eq!(check_kind(&long, false).is_ok(), is_good, "{length}");
        }
    }

    #[test]
    fn what_is_missing_comes_last_in_both_directions() {
        let (one, two) = (Found::Number(1.0), Found::Number(2.0));
        for direction in [Direction::Ascending, Direction::Descending] {
            assert_eq!(Found::Nothing.order_towards(&one, direction), Ordering::Greater);
            assert_eq!(one.order_towards(&Found::Nothing, direction), Ordering::Less);
        }
        assert_eq!(one.order_towards(&two, Direction::Descending), Ordering::Greater);
        let nan = Found::Number(f64::NAN);
        for direction in [Direction::Ascending, Direction::Descending] {
            assert_eq!(nan.order_towards(&one, direction), Ordering::Greater);
            assert_eq!(nan.order_towards(&Found::Nothing, direction), Ordering::Less);
            assert_eq!(nan.order_towards(&nan, direction), Ordering::Equal);
        }
    }

    #[test]
    fn letters_of_any_language_are_found_as_they_are() {
        let clause = |text: &str| parse_filter(text).expect("a filter").remove(0);
        let name = || Found::Text("École 数据 A".into());
        assert!(holds(&clause("name ILIKE 'École%a'"), &name()));
        assert!(!holds(&clause("name ILIKE 'école%'"), &name()), "the database cannot do that everywhere");
    }
}
