//! Counting and timing calls by route. Each route keeps the handles of its own counters, so that a call looks
//! nothing up and allocates nothing; and only routes name series, never what strangers send.

use http::{Method, StatusCode};
use metrics::{Counter, Histogram};
use std::{
    sync::{LazyLock, OnceLock},
    time::Duration,
};

/// Statuses with a counter kept at hand; others are looked up.
const STATUSES: [u16; 13] = [200, 201, 204, 304, 400, 401, 403, 404, 409, 413, 429, 500, 503];

/// The counters of one route.
#[derive(Debug)]
pub struct Meter {
    method: String,
    route: String,
    counts: [OnceLock<Counter>; STATUSES.len()],
    seconds: OnceLock<Histogram>,
    statements: OnceLock<Histogram>,
}

/// Calls that no route answers, all together.
static UNMATCHED: LazyLock<Meter> = LazyLock::new(|| Meter::named("other", "none"));

impl Meter {
    /// The counters of a route. They appear with the first call.
    pub fn new(method: &Method, route: &str) -> Self {
        Self::named(method.as_str(), route)
    }

    /// The counters of calls that no route answers.
    pub fn of_unmatched() -> &'static Self {
        &UNMATCHED
    }

    fn named(method: &str, route: &str) -> Self {
        Self {
            method: method.to_owned(),
            route: route.to_owned(),
            counts: [const { OnceLock::new() }; STATUSES.len()],
            seconds: OnceLock::new(),
            statements: OnceLock::new(),
        }
    }

    /// Takes note of one call, and of the statements that the database ran for it.
    pub fn record(&self, status: StatusCode, took: Duration, statements: u64) {
        let make = || {
            metrics::counter!("kaogong_http_requests_total", "method" => self.method.clone(),
                "route" => self.route.clone(), "status" => status.as_str().to_owned())
        };
        match STATUSES.iter().position(|it| *it == status.as_u16()) {
            Some(at) => self.counts[at].get_or_init(make).increment(1),
            None => make().increment(1),
        }
        let seconds = || metrics::histogram!("kaogong_http_request_seconds", "route" => self.route.clone());
        self.seconds.get_or_init(seconds).record(took.as_secs_f64());
        if statements > 0 {
            let make = || {
                metrics::histogram!("kaogong_http_request_statements", "method" => self.method.clone(),
                "route" => self.route.clone())
            };
            self.statements.get_or_init(make).record(statements as f64);
        }
    }
}
