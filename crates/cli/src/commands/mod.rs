//! One file per noun.

pub mod access;
pub mod audit;
pub mod backup;
pub mod completion;
pub mod datasets;
pub mod doctor;
pub mod endpoints;
pub mod engine_zygote;
mod import_report;
pub mod jobs;
pub mod login;
pub mod models;
pub mod probe;
pub mod quickstart;
pub mod read_parquet;
pub mod runs;
pub mod secrets;
pub mod supervise;
pub mod up;

use kaogong_domain::Problem;
use std::fmt::Write;

/// A random key of 26 letters and digits, sortable by the time it was made.
pub fn new_key() -> Result<String, Problem> {
    let mut bytes = [0u8; 10];
    getrandom::fill(&mut bytes)
        .map_err(|it| Problem::unavailable(format!("the system gives no random bytes: {it}")))?;
    let mut key = format!("{:011x}", crate::output::words::now_ms());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(key, "{byte:02x}");
    }
    Ok(key)
}
