//! `kaogong doctor`: looks at this machine and says how to fix what is missing.

mod checks;

use crate::{
    context::Context,
    output::{Format, table},
};
use kaogong_domain::Problem;
use serde::Serialize;
use std::{path::PathBuf, process::ExitCode};

/// Arguments of `kaogong doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// The data folder of `kaogong up`; the usual place when absent.
    #[arg(long, value_name = "DIR", env = "KAOGONG_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// The address of `kaogong up`.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7300", env = "KAOGONG_LISTEN")]
    pub listen: String,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Works, with less.
    Warn,
    /// Will not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// How to fix it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, seen: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, seen: seen.into(), fix: None }
    }

    fn warn(check: &'static str, seen: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warn, seen: seen.into(), fix: Some(fix.into()) }
    }

    fn fail(check: &'static str, seen: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fail, seen: seen.into(), fix: Some(fix.into()) }
    }
}

/// Looks at everything; exit code 1 when something will not work.
pub async fn run(context: &Context, args: &DoctorArgs) -> Result<ExitCode, Problem> {
    let mut findings = checks::machine(args).await;
    findings.push(checks::server(context).await);
    let has_failed = findings.iter().any(|it| it.verdict == Verdict::Fail);
    if context.out.format == Format::Json {
        context.out.json(&serde_json::json!({ "ok": !has_failed, "checks": findings }))?;
    } else {
        let word = |it: Verdict| match it {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        let rows: Vec<Vec<String>> =
            findings.iter().map(|it| vec![word(it.verdict).into(), it.check.into(), it.seen.clone()]).collect();
        context.out.text(&table::render(&["", "CHECK", "SEEN"], &rows))?;
        for it in &findings {
            if let Some(fix) = &it.fix {
                context.out.text(&format!("{}: {fix}\n", it.check))?;
            }
        }
    }
    Ok(ExitCode::from(u8::from(has_failed)))
}
