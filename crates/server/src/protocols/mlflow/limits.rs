//! The bounds that MLflow's own server enforces, with its texts (mlflow 3, `utils/validation.py`).

use super::problem::{MlflowProblem, Told};
use kaogong_domain::runs::limits;

fn bad(path: &str, value: &str, why: &str) -> MlflowProblem {
    let shown: String = value.chars().take(300).collect();
    MlflowProblem::invalid(format!("Invalid value \"{shown}\" for parameter '{path}' supplied: {why}"))
}

/// Refuses what has more than `limit` characters.
pub(super) fn length(name: &str, limit: usize, value: &str) -> Told<()> {
    if value.len() <= limit || value.chars().count() <= limit {
        return Ok(());
    }
    Err(MlflowProblem::invalid(format!("'{name}' exceeds the maximum length of {limit} characters")))
}

/// The first `limit` characters of a text; MLflow's server cuts the values of parameters and of run tags.
pub(super) fn cut(limit: usize, mut value: String) -> String {
    if value.len() > limit
        && let Some((end, _)) = value.char_indices().nth(limit)
    {
        value.truncate(end);
    }
    value
}

/// A path as `posixpath.normpath` leaves it.
fn normal(name: &str) -> String {
    let mut parts: Vec<&str> = vec![];
    let is_rooted = name.starts_with('/');
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|it| *it != "..") => {
                parts.pop();
            }
            ".." if is_rooted => {}
            other => parts.push(other),
        }
    }
    let joined = parts.join("/");
    match (is_rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// The name of a metric, parameter or tag: word characters, `/ . - : ` and spaces, and no path that means another.
pub(super) fn key(path: &str, name: &str) -> Told<()> {
    let is_good = |it: char| it.is_alphanumeric() || matches!(it, '_' | '/' | '.' | '-' | ' ' | ':');
    if !name.chars().all(is_good) {
        let why = "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/).";
        return Err(bad(path, name, why));
    }
    not_another_path(path, name)
}

fn not_another_path(path: &str, name: &str) -> Told<()> {
    let norm = normal(name);
    if norm != name || norm == "." || norm.starts_with("..") || norm.starts_with('/') {
        let why = format!(
            "Names may be treated as files in certain cases, and must not resolve to other names when treated as such. \
             This name would resolve to '{norm}'"
        );
        return Err(bad(path, name, &why));
    }
    Ok(())
}

/// The value of a run's tag as it is kept.
pub(super) fn run_tag(path: &str, name: &str, value: String) -> Told<String> {
    key(&joined(path, "key"), name)?;
    length(&joined(path, "key"), limits::KEY_CHARS_MAX, name)?;
    Ok(cut(limits::RUN_TAG_CHARS_MAX, value))
}

/// The value of a tag that a run begins with. MLflow's server neither cuts these nor checks their names, and scripts
/// begin runs with tags like `accuracy (%)`; what no database holds is refused.
pub(super) fn first_run_tag(path: &str, name: &str, value: String) -> Told<String> {
    if name.is_empty() || name.contains('\0') {
        return Err(bad(&joined(path, "key"), name, "A name has at least one character, and none of them is NUL."));
    }
    length(&joined(path, "key"), limits::KEY_CHARS_MAX, name)?;
    Ok(value)
}

/// The value of a parameter as it is kept.
pub(super) fn param(path: &str, name: &str, value: String) -> Told<String> {
    key(&joined(path, "key"), name)?;
    length("Param key", limits::KEY_CHARS_MAX, name)?;
    Ok(cut(limits::PARAM_CHARS_MAX, value))
}

/// The value of an experiment's tag.
pub(super) fn experiment_tag(_: &str, name: &str, value: String) -> Told<String> {
    key("key", name)?;
    length("key", limits::KEY_CHARS_MAX, name)?;
    length("value", limits::EXPERIMENT_TAG_CHARS_MAX, &value)?;
    Ok(value)
}

/// The value of a tag of a registered model, of a version, or of a logged model.
pub(super) fn model_tag(_: &str, name: &str, value: String) -> Told<String> {
    key("key", name)?;
    length("key", limits::KEY_CHARS_MAX, name)?;
    length("value", limits::MODEL_TAG_CHARS_MAX, &value)?;
    Ok(value)
}

/// The name of a registered model.
pub(super) fn model_name(name: &str) -> Told<()> {
    if name.trim().is_empty() {
        return Err(super::ask::missing_value("name"));
    }
    if name.contains(['/', ':']) {
        let shown: String = name.chars().take(300).collect();
        return Err(MlflowProblem::invalid(format!("Invalid model name '{shown}'. Names cannot contain '/' or ':'.")));
    }
    length("name", 256, name)?;
    not_another_path("name", name)
}

/// An alias of a registered model.
pub(super) fn alias(alias: &str) -> Told<()> {
    if alias.is_empty() {
        return Err(MlflowProblem::invalid("Registered model alias name cannot be empty."));
    }
    if !alias.chars().all(|it| it.is_alphanumeric() || it == '_' || it == '-') {
        let shown: String = alias.chars().take(300).collect();
        return Err(MlflowProblem::invalid(format!(
            "Invalid alias name: '{shown}'. Names may only contain alphanumerics, underscores (_), and dashes (-)."
        )));
    }
    length("Registered model alias name", 255, alias)?;
    if alias.eq_ignore_ascii_case("latest") {
        return Err(MlflowProblem::invalid("'latest' alias name (case insensitive) is reserved."));
    }
    let number = alias.strip_prefix(['v', 'V']).unwrap_or("x");
    if !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit()) {
        return Err(MlflowProblem::invalid(format!("Version alias name '{alias}' is reserved.")));
    }
    Ok(())
}

/// The size of a list in one request.
pub(super) fn batch(what: &str, limit: usize, length: usize) -> Told<()> {
    if length <= limit {
        return Ok(());
    }
    Err(MlflowProblem::invalid(format!(
        "A batch logging request can contain at most {limit} {what}. Got {length} {what}. Please split up {what} across \
         multiple requests and try again."
    )))
}

/// The most keys of an order: for each of them every thing that is put in order is looked at.
const ORDER_KEYS_MAX: usize = 20;

/// The number of keys of an order.
pub(super) fn order_keys(count: usize) -> Told<()> {
    if count <= ORDER_KEYS_MAX {
        return Ok(());
    }
    Err(MlflowProblem::invalid(format!("'order_by' takes at most {ORDER_KEYS_MAX} keys. Got {count}.")))
}

/// `metrics[3]` and `key` make `metrics[3].key`.
pub(super) fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_another_path_are_refused() {
        for good in ["a", "a/b", "val loss", "acc@".trim_end_matches('@'), "精度", "a:b", "..a".trim_start_matches('.')]
        {
            assert!(key("key", good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a//b", "./a", "a/../b", "../a", "a/", ".", "a\\b", "a\nb", "a%b"] {
            assert!(key("key", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reserved_aliases_are_refused() {
        assert!(alias("champion").is_ok() && alias("v1a").is_ok());
        for bad in ["", "latest", "Latest", "v1", "V22", "a b", "a/b"] {
            assert!(alias(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn long_values_are_cut_by_characters() {
        assert_eq!(param("", "p", "数".repeat(6001)).expect("a parameter"), "数".repeat(6000));
        assert_eq!(run_tag("", "t", "é".repeat(9000)).expect("a tag"), "é".repeat(8000));
        assert_eq!(run_tag("", "t", "é".repeat(8000)).expect("a tag"), "é".repeat(8000));
        assert_eq!(first_run_tag("", "a (%)", "é".repeat(9000)).expect("a tag"), "é".repeat(9000));
        assert!(first_run_tag("", "", String::new()).is_err() && first_run_tag("", "a\0", String::new()).is_err());
        assert!(first_run_tag("", &"k".repeat(251), String::new()).is_err());
        let refused = model_tag("", "t", "x".repeat(100_001)).expect_err("too long");
        assert_eq!(refused.message(), "'value' exceeds the maximum length of 100000 characters");
        assert!(experiment_tag("", "t", "x".repeat(20_001)).is_err());
    }

    #[test]
    fn texts_are_mlflows() {
        let problem = length("Param value", 3, "abcd").expect_err("too long");
        assert_eq!(problem.message(), "'Param value' exceeds the maximum length of 3 characters");
        let problem = batch("metrics", 1000, 1001).expect_err("too many");
        assert!(
            problem
                .message()
                .starts_with("A batch logging request can contain at most 1000 metrics. Got 1001 metrics.")
        );
    }
}
