//! The variables of a job: which the platform sets, and which of them a job may set itself.
//!
//! Nothing is overwritten in silence. Of the variables that a job finds, those in [`RESERVED`] are the platform's, and
//! a job that names one is refused; all others are the job's own as soon as it names them.

use crate::Problem;

/// What each vendor's library looks at to find its devices. Empty means none.
pub const DEVICES: [&str; 11] = [
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "ASCEND_RT_VISIBLE_DEVICES",
    "HABANA_VISIBLE_MODULES",
    "NEURON_RT_VISIBLE_CORES",
    "TPU_VISIBLE_CHIPS",
    "FURIOSA_DEVICES",
    "RBLN_DEVICES",
    "TT_VISIBLE_DEVICES",
    "MLU_VISIBLE_DEVICES",
];

/// A setting of the helper inside jobs, which nobody else sets.
const PATIENCE: &str = "KAOGONG_PATIENCE_S";
/// The longest name of a variable, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// When a variable is the platform's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// In every job.
    Always,
    /// In jobs with a Python environment.
    WithEnvironment,
}

/// Variables that the platform sets or takes away.
#[derive(Debug, Clone, Copy)]
pub struct Reserved {
    /// The name; with `*` at its end, all names that begin so.
    pub name: &'static str,
    /// In which jobs.
    pub when: When,
    /// What it is for.
    pub why: &'static str,
}

/// The whole list, but for [`DEVICES`].
pub const RESERVED: [Reserved; 4] = [
    Reserved { name: "KAOGONG_*", when: When::Always, why: "tells the job who it is and where the server is" },
    Reserved { name: "MLFLOW_TRACKING_*", when: When::Always, why: "leads the MLflow client to the job's project" },
    Reserved { name: "VIRTUAL_ENV", when: When::WithEnvironment, why: "names the job's Python environment" },
    Reserved { name: "PYTHONHOME", when: When::WithEnvironment, why: "would lead Python out of the job's environment" },
];

impl Reserved {
    fn covers(&self, name: &str, has_environment: bool) -> bool {
        let is_named = match self.name.strip_suffix('*') {
            Some(start) => name.starts_with(start) && name != PATIENCE,
            None => name == self.name,
        };
        is_named && (self.when == When::Always || has_environment)
    }
}

/// Refuses a variable that a job may not set, or that no process can have.
///
/// # Errors
/// `Invalid`, with the name.
pub fn check(name: &str, value: Option<&str>, has_environment: bool) -> Result<(), Problem> {
    let shown: String = name.chars().take(64).collect();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(['=', '\0']) {
        return Err(Problem::invalid(format!("`{shown}` in `env` is not the name of a variable"))
            .hint(format!("a name has 1 to {NAME_BYTES_MAX} bytes and no `=`")));
    }
    if value.is_some_and(|it| it.contains('\0')) {
        return Err(Problem::invalid(format!("the value of variable `{name}` holds a NUL byte")));
    }
    if let Some(found) = RESERVED.iter().find(|it| it.covers(name, has_environment)) {
        return Err(Problem::invalid(format!("variable `{name}` is set by the platform: it {}", found.why))
            .hint("take it out of `env`, or give it another name"));
    }
    // Saying that there are none is what the platform says, too.
    if DEVICES.contains(&name) && value != Some("") {
        return Err(Problem::invalid(format!("variable `{name}` is set by the platform: it shows a job its devices"))
            .hint("take it out of `env`"));
    }
    Ok(())
}

/// Whether a variable of that name usually holds a secret.
pub fn looks_secret(name: &str) -> bool {
    const WORDS: [&str; 9] =
        ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "APIKEY", "API_KEY", "PRIVATE_KEY"];
    let name = name.to_ascii_uppercase();
    WORDS.iter().any(|it| name.contains(it)) || name.ends_with("_KEY") || name.ends_with("_PAT") || name == "KEY"
}

/// The shortest and the longest value of a secret, in bytes.
pub const SECRET_BYTES: std::ops::RangeInclusive<usize> = crate::masks::MASKED_BYTES_MIN..=64 << 10;

/// Refuses a name that no secret can have: letters, digits and `_`, not beginning with a digit, at most 64.
///
/// # Errors
/// `Invalid`.
pub fn check_secret_name(name: &str) -> Result<(), Problem> {
    let is_good = (1..=64).contains(&name.len())
        && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_')
        && !name.starts_with(|it: char| it.is_ascii_digit());
    if is_good {
        return Ok(());
    }
    let shown: String = name.chars().take(64).collect();
    Err(Problem::invalid(format!("`{shown}` is not a name of a secret"))
        .hint("use 1 to 64 letters, digits and `_`, such as HF_TOKEN"))
}

/// Refuses a value that could not be kept secret: too short a text occurs in logs by chance, and so do numbers.
///
/// # Errors
/// `Invalid`; the value is not in the text.
pub fn check_secret_value(value: &str) -> Result<(), Problem> {
    let length = value.trim().len();
    if !SECRET_BYTES.contains(&length) {
        let (least, most) = (SECRET_BYTES.start(), SECRET_BYTES.end());
        return Err(Problem::invalid(format!("a secret has {least} to {most} bytes; this one has {length}"))
            .hint("shorter ones cannot be told from other text, and so cannot be kept out of logs"));
    }
    if value.contains('\0') {
        return Err(Problem::invalid("a secret is a text without NUL bytes").hint("encode it in base64"));
    }
    if value.trim().bytes().all(|it| it.is_ascii_digit()) {
        return Err(Problem::invalid("a secret of digits alone cannot be told from other numbers")
            .hint("put a prefix before it and cut that off in the job"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(name: &str, value: &str, has_environment: bool) -> bool {
        match check(name, Some(value), has_environment) {
            Ok(()) => false,
            Err(problem) => {
                assert!(problem.text.contains(&format!("`{name}`")), "{problem}");
                assert!(problem.hint.is_some(), "{problem}");
                true
            }
        }
    }

    #[test]
    fn the_platforms_variables_are_refused_by_name() {
        for name in ["KAOGONG_TOKEN", "KAOGONG_ANYTHING", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD"] {
            assert!(is_refused(name, "x", false), "{name}");
        }
        for name in ["VIRTUAL_ENV", "PYTHONHOME"] {
            assert!(is_refused(name, "x", true) && !is_refused(name, "x", false), "{name}");
        }
        for name in DEVICES {
            assert!(is_refused(name, "0", false) && !is_refused(name, "", false), "{name}");
        }
    }

    #[test]
    fn all_others_are_the_jobs_own() {
        for name in ["PATH", "HOME", "PYTHONPATH", "TMPDIR", "OMP_NUM_THREADS", "NO_PROXY", "UV_INDEX_URL", "LANG"] {
            assert!(!is_refused(name, "x", true), "{name}");
        }
        for name in ["MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "KAOGONG_PATIENCE_S", "kaogong_token"] {
            assert!(!is_refused(name, "x", true), "{name}");
        }
    }

    #[test]
    fn what_no_process_can_have_is_refused() {
        assert!(check("", Some("x"), false).is_err() && check("A=B", Some("x"), false).is_err());
        assert!(check("A", Some("x\0"), false).is_err() && check(&"A".repeat(257), None, false).is_err());
    }

    #[test]
    fn names_that_speak_of_secrets() {
        for name in ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "db_password", "OPENAI_API_KEY", "GITHUB_PAT"] {
            assert!(looks_secret(name), "{name}");
        }
        for name in ["EPOCHS", "KEYBOARD", "PATH", "MONKEYS"] {
            assert!(!looks_secret(name), "{name}");
        }
    }

    #[test]
    fn secrets_have_names_and_are_no_chance_texts() {
        assert!(check_secret_name("HF_TOKEN").is_ok());
        for name in ["", "1A", "a-b", "a b", "ü", &"A".repeat(65)] {
            assert!(check_secret_name(name).is_err(), "{name}");
        }
        assert!(check_secret_value("hf_abcdef").is_ok());
        for value in ["short", "      zq      ", "1234567890123", "abcdefgh\0", &"x".repeat((64 << 10) + 1)] {
            let problem = check_secret_value(value).expect_err("refused");
            assert!(value.len() > 20 || !problem.text.contains(value.trim()), "{problem}");
        }
    }
}
