//! The clock of the machine.

use kaogong_domain::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now.
pub fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
