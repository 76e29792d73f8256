//! Waits for jobs: follows the log of every attempt, through server restarts.

use kaogong_api::jobs::{JobView, LogQuery};
use kaogong_client::{Client, LogEvent};
use kaogong_domain::{ErrorKind, Problem, jobs::JobState};
use std::time::Duration;

/// Between two looks at a job that has not begun, or whose log has ended.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Whether nothing more happens to a job.
pub fn is_final(job: &JobView) -> bool {
    JobState::parse(&job.state).is_some_and(JobState::is_final)
}

/// Follows the log of a job's attempts, each from its beginning, until the job has ended.
///
/// # Errors
/// What the server refuses, `Unavailable` when it cannot be reached any more, or what `take` gives.
pub async fn follow(
    client: &Client,
    id: &str,
    mut take: impl FnMut(&str) -> Result<(), Problem>,
) -> Result<JobView, Problem> {
    let mut done = 0;
    loop {
        let job = client.job(id).await?;
        let next = job.attempts.iter().map(|it| it.number).find(|it| *it > done);
        match next {
            Some(number) => {
                follow_attempt(client, id, number, &mut take).await?;
                done = number;
            }
            None if is_final(&job) => return Ok(job),
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// Follows the log of one attempt to its end.
pub async fn follow_attempt(
    client: &Client,
    id: &str,
    number: u32,
    take: &mut impl FnMut(&str) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut follower = client.follow_log(id, LogQuery { attempt: Some(number), ..LogQuery::default() });
    loop {
        match follower.next().await {
            Ok(LogEvent::Text(piece)) => take(&piece.text)?,
            Ok(LogEvent::End) => return Ok(()),
            // An attempt that was only just made, or never began, has no log.
            Err(problem) if problem.kind == ErrorKind::NotFound => {
                let job = client.job(id).await?;
                let attempt = job.attempts.iter().find(|it| it.number == number);
                let has_ended = attempt.is_none_or(|it| JobState::parse(&it.state).is_none_or(JobState::is_final));
                if has_ended || is_final(&job) {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(problem) => return Err(problem),
        }
    }
}

/// What a job's end means in one sentence.
pub fn verdict(job: &JobView) -> String {
    let why = job.reason.as_deref().filter(|it| !it.is_empty()).map(|it| format!(": {it}")).unwrap_or_default();
    let code = job
        .exit_code
        .filter(|it| *it != 0 && why.is_empty())
        .map(|it| format!(" with exit code {it}"))
        .unwrap_or_default();
    format!("job {} ({}) {}{code}{why}", job.name, job.id, job.state)
}
