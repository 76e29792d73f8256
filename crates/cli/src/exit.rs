//! Exit codes: 0 done, 1 failed, 2 bad usage, 3 cannot reach the server.

use kaogong_domain::Problem;
use std::process::ExitCode;

/// Marks a problem as the caller's: wrong arguments, or a file that cannot be what it is said to be.
#[derive(Debug, thiserror::Error)]
#[error("bad usage")]
pub struct Usage;

/// Bad usage: exit code 2.
pub fn usage(text: impl Into<String>) -> Problem {
    Problem::invalid(text).because(Usage)
}

/// The number of the exit code for a problem.
pub fn number(problem: &Problem) -> u8 {
    if kaogong_client::is_unreachable(problem) {
        return 3;
    }
    let is_usage = problem.cause.as_ref().is_some_and(|it| it.downcast_ref::<Usage>().is_some());
    if is_usage { 2 } else { 1 }
}

/// The exit code for a problem.
pub fn code(problem: &Problem) -> ExitCode {
    ExitCode::from(number(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_fail_has_its_code() {
        assert_eq!(number(&usage("no such file")), 2);
        assert_eq!(number(&Problem::invalid("the server refuses")), 1);
        assert_eq!(number(&Problem::unavailable("busy")), 1);
    }
}
