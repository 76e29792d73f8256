//! What of a job's specification is shown to whom.

use kaogong_api::jobs::{EnvValue, HiddenValue, JobSpec};
use kaogong_domain::{
    access::Permission,
    masks::{Masks, without_credentials},
};
use kaogong_http::access::InProject;
use std::sync::Arc;

/// A specification for a reader: who may not submit jobs sees the names of variables only. Tokens of this platform and
/// passwords in addresses are shown to nobody; they may be those of somebody who may do more.
pub(super) fn shown(spec: JobSpec, inside: &InProject) -> JobSpec {
    covered(spec, inside.may(Permission::Write))
}

fn covered(mut spec: JobSpec, sees_values: bool) -> JobSpec {
    let masks = Arc::new(Masks::default());
    for value in spec.env.values_mut() {
        match value {
            EnvValue::Text(text) if sees_values => *text = masks.cover(text),
            EnvValue::Text(_) => *value = EnvValue::Hidden(HiddenValue { hidden: true }),
            EnvValue::Secret(_) | EnvValue::Hidden(_) => {}
        }
    }
    for word in &mut spec.command {
        *word = without_credentials(&masks.cover(word));
    }
    if let Some(environment) = &mut spec.environment {
        environment.lock = without_credentials(&environment.lock);
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_sees_names_and_nobody_sees_tokens() {
        let token = "kgt_0123456789abcdefghijABCDEFGHIJ_-01234567890";
        let text = format!(
            r#"{{"name": "x", "command": ["run", "--key={token}", "http://me:word@host/x"],
                "env": {{"A": "value", "B": {{"secret": "NAME"}}, "C": "{token}"}},
                "environment": {{"lock": "--index-url https://me:word@host/simple\\nnumpy==1"}}}}"#
        );
        let spec: JobSpec = serde_json::from_str(&text).expect("a spec");
        let viewer = serde_json::to_string(&covered(spec.clone(), false)).expect("JSON");
        assert!(!viewer.contains("value") && !viewer.contains(token) && !viewer.contains("word"), "{viewer}");
        assert!(viewer.contains(r#""A":{"hidden":true}"#) && viewer.contains(r#""B":{"secret":"NAME"}"#), "{viewer}");
        assert!(viewer.contains("https://***@host/simple"), "{viewer}");
        let developer = serde_json::to_string(&covered(spec, true)).expect("JSON");
        assert!(developer.contains(r#""A":"value""#) && !developer.contains(token), "{developer}");
    }
}
