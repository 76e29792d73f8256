//! Jobs, their logs, use of resources and artifacts.

use crate::{Answer, Client, call::Call, fault, sse};
use kaogong_api::{Page, jobs::*};
use kaogong_domain::Problem;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

impl Client {
    /// `GET …/jobs`
    pub async fn jobs(&self, query: &JobQuery) -> Result<Page<JobView>, Problem> {
        self.json(Call::get(self.project_route(&["jobs"])).query(query)?).await
    }

    /// `POST …/jobs`
    pub async fn submit(&self, job: &NewJob) -> Result<JobView, Problem> {
        let call = Call::post(self.project_route(&["jobs"])).repeatable(job.request_key.is_some());
        self.json(call.json(job)?).await
    }

    /// `GET …/jobs/{id}`
    pub async fn job(&self, id: &str) -> Result<JobView, Problem> {
        self.json(Call::get(self.project_route(&["jobs", id]))).await
    }

    /// Asks a job to stop. `POST …/jobs/{id}/cancel`
    pub async fn cancel_job(&self, id: &str) -> Result<JobView, Problem> {
        self.json(Call::post(self.project_route(&["jobs", id, "cancel"])).repeatable(true)).await
    }

    /// The log as it is now, from a byte on to its end, or as much of it as the query asks for; read it piece
    /// by piece, for it may be long. `GET …/jobs/{id}/log`
    pub async fn job_log(&self, id: &str, query: &LogQuery) -> Result<Answer, Problem> {
        self.send(&Call::get(self.project_route(&["jobs", id, "log"])).query(query)?.streaming()).await
    }

    /// The log as it grows. `GET …/jobs/{id}/log/stream`
    pub fn follow_log(&self, id: &str, query: LogQuery) -> LogFollower {
        LogFollower {
            client: self.clone(),
            id: id.to_owned(),
            query,
            stream: None,
            ready: VecDeque::new(),
            broken_at: None,
        }
    }

    /// `GET …/jobs/{id}/usage`
    pub async fn job_usage(&self, id: &str, attempt: Option<u32>) -> Result<UsageView, Problem> {
        let query = serde_json::json!({ "attempt": attempt });
        self.json(Call::get(self.project_route(&["jobs", id, "usage"])).query(&query)?).await
    }

    /// `GET …/jobs/{id}/artifacts`
    pub async fn job_artifacts(&self, id: &str) -> Result<Page<ArtifactView>, Problem> {
        self.json(Call::get(self.project_route(&["jobs", id, "artifacts"]))).await
    }

    /// The bytes of an artifact. `GET …/jobs/{id}/artifacts/{path…}`
    pub async fn job_artifact(&self, id: &str, path: &str) -> Result<Answer, Problem> {
        let parts: Vec<&str> = ["jobs", id, "artifacts"].into_iter().chain(path.split('/')).collect();
        self.send(&Call::get(self.project_route(&parts)).streaming()).await
    }
}

/// What a followed log gives.
#[derive(Debug)]
pub enum LogEvent {
    /// More text.
    Text(LogPiece),
    /// The attempt's log is complete.
    End,
}

/// Follows a log through broken connections and server restarts, by its byte offset.
pub struct LogFollower {
    client: Client,
    id: String,
    query: LogQuery,
    stream: Option<(Answer, sse::Reader)>,
    ready: VecDeque<sse::Event>,
    broken_at: Option<Instant>,
}

/// How long a stream that breaks again and again without giving anything is followed.
const FRUITLESS_MAX: Duration = Duration::from_secs(60);

impl LogFollower {
    /// The next piece. Dropping the future between pieces loses nothing.
    ///
    /// # Errors
    /// What the server refuses; `Unavailable` when it cannot be reached for longer than the patience.
    pub async fn next(&mut self) -> Result<LogEvent, Problem> {
        loop {
            while let Some(event) = self.ready.pop_front() {
                if let Some(event) = self.read(&event)? {
                    return Ok(event);
                }
            }
            self.fill().await?;
        }
    }

    fn read(&mut self, event: &sse::Event) -> Result<Option<LogEvent>, Problem> {
        match event.name.as_str() {
            "log" => {
                let piece: LogPiece = serde_json::from_str(&event.data)
                    .map_err(|it| fault::strange(self.client.address(), it.to_string()))?;
                if piece.next_offset <= self.query.offset && !piece.text.is_empty() {
                    return Ok(None);
                }
                self.query.offset = piece.next_offset;
                self.broken_at = None;
                Ok(Some(LogEvent::Text(piece)))
            }
            "end" => Ok(Some(LogEvent::End)),
            "problem" => Err(self.unreadable(&event.data)),
            _ => Ok(None),
        }
    }

    /// The server's `{"message": …}` about a log that it cannot read, as a problem.
    fn unreadable(&self, data: &str) -> Problem {
        let value = serde_json::from_str::<serde_json::Value>(data).ok();
        let message = value.as_ref().and_then(|it| it.get("message")).and_then(|it| it.as_str()).unwrap_or(data);
        Problem::unavailable(format!("the log of job {} cannot be read: {message}", self.id))
    }

    async fn fill(&mut self) -> Result<(), Problem> {
        let Some((answer, reader)) = &mut self.stream else { return self.connect().await };
        match answer.piece().await {
            Ok(Some(piece)) => {
                let events = reader.push(&piece);
                self.ready.extend(events.map_err(|it| fault::strange(self.client.address(), it.to_string()))?);
                Ok(())
            }
            // Broken or ended without `end`: the server stopped. Go on where the text ended.
            Ok(None) => self.lost(None).await,
            Err(problem) => self.lost(Some(problem)).await,
        }
    }

    async fn lost(&mut self, problem: Option<Problem>) -> Result<(), Problem> {
        self.stream = None;
        let since = *self.broken_at.get_or_insert_with(Instant::now);
        if since.elapsed() > FRUITLESS_MAX {
            let address = self.client.address();
            return Err(
                problem.unwrap_or_else(|| fault::unreachable(address, "the log stream ends again and again".into()))
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), Problem> {
        let url = self.client.project_route(&["jobs", &self.id, "log", "stream"]);
        let call = Call::get(url).query(&self.query)?.header("accept", "text/event-stream").streaming();
        let answer = self.client.send(&call).await?;
        self.stream = Some((answer, sse::Reader::default()));
        Ok(())
    }
}
