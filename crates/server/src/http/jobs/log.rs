//! A job's log: whole, in pieces, and live.

use super::{attempt_of, find_job};
use axum::{
    body::Body,
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures::{Stream, stream};
use http::{HeaderMap, HeaderName, header};
use kaogong_api::jobs::{LogPiece, LogQuery};
use kaogong_control::{Services, secrets::masks_for_log};
use kaogong_domain::{ErrorKind, Problem, access::Permission, ids::AttemptId, jobs::JobState, masks::Masks};
use kaogong_http::{
    access::{InProject, recheck::Recheck},
    error::Answer,
    extract::{Params, Query},
};
use kaogong_runners::{LOG_CHUNK_BYTES_MAX, LogChunk};
use kaogong_store::JobRow;
use serde_json::json;
use std::{convert::Infallible, sync::Arc, time::Duration};

/// The most bytes of one piece of a live log.
const PIECE_BYTES_MAX: u32 = 256 << 10;
/// How often a live log is looked at.
const LOG_ROUND: Duration = Duration::from_millis(250);

/// A piece of an attempt's log, without secrets. One that never began has an empty log.
async fn read_log(
    app: &Services,
    masks: &Arc<Masks>,
    attempt: AttemptId,
    offset: u64,
    bytes_max: u32,
) -> Result<LogChunk, Problem> {
    // What lies around the piece is read as well: a secret may be cut by its ends.
    let margin = u32::try_from(masks.longest()).unwrap_or(u32::MAX).min(LOG_CHUNK_BYTES_MAX / 4);
    let wanted = bytes_max.min(LOG_CHUNK_BYTES_MAX - 2 * margin);
    let before = u64::from(margin).min(offset);
    // Less than the margin, which is a `u32`.
    let skipped = before as u32;
    let mut chunk = match app.runner.log(attempt, offset - before, skipped + wanted + margin).await {
        Err(problem) if problem.kind == ErrorKind::NotFound => {
            return Ok(LogChunk { bytes: vec![], next_offset: 0, end: false });
        }
        read => read?,
    };
    masks.cover_in_place(&mut chunk.bytes);
    if chunk.next_offset < offset {
        // The place asked for lies behind the end.
        return Ok(LogChunk { bytes: vec![], ..chunk });
    }
    let mut bytes = chunk.bytes.split_off(chunk.bytes.len().min(skipped as usize));
    let is_cut = bytes.len() > wanted as usize;
    bytes.truncate(wanted as usize);
    Ok(LogChunk { next_offset: offset + bytes.len() as u64, bytes, end: chunk.end && !is_cut })
}

pub(super) async fn log(
    State(app): State<Arc<Services>>,
    inside: InProject,
    params: Params,
    Query(query): Query<LogQuery>,
) -> Answer<Response> {
    let job = find_job(&app, &inside, &params).await?;
    let plain = (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned());
    let Some(attempt) = attempt_of(&app, &job, query.attempt).await?.map(|it| it.id) else {
        return Ok(([plain, next_offset(0)], Body::empty()).into_response());
    };
    let masks = masks_for_log(&app, &job).await?;
    if let Some(length) = query.length {
        let most = u32::try_from(length).unwrap_or(u32::MAX).min(LOG_CHUNK_BYTES_MAX);
        let chunk = read_log(&app, &masks, attempt, query.offset, most).await?;
        return Ok(([plain, next_offset(chunk.next_offset)], chunk.bytes).into_response());
    }
    // The first piece is read before the answer begins, so that a log that cannot be read is a failure and no cut.
    let first = read_log(&app, &masks, attempt, query.offset, LOG_CHUNK_BYTES_MAX).await?;
    let rest = stream::try_unfold(Some(first), move |chunk| {
        let (app, masks) = (app.clone(), masks.clone());
        async move {
            let Some(chunk) = chunk.filter(|it| !it.bytes.is_empty()) else { return Ok::<_, Problem>(None) };
            let next = read_log(&app, &masks, attempt, chunk.next_offset, LOG_CHUNK_BYTES_MAX).await?;
            Ok(Some((chunk.bytes, Some(next))))
        }
    });
    Ok(([plain], Body::from_stream(rest)).into_response())
}

fn next_offset(offset: u64) -> (HeaderName, String) {
    (HeaderName::from_static("x-next-offset"), offset.to_string())
}

pub(super) async fn log_stream(
    State(app): State<Arc<Services>>,
    inside: InProject,
    params: Params,
    headers: HeaderMap,
    Query(query): Query<LogQuery>,
) -> Answer<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>> {
    let job = find_job(&app, &inside, &params).await?;
    let resumed = headers.get("last-event-id").and_then(|it| it.to_str().ok()).and_then(Place::parse);
    let follow = Follow {
        masks: masks_for_log(&app, &job).await?,
        app,
        job,
        attempt: query.attempt,
        // A reader that lost its connection names what it has; its address still says where it began.
        current: resumed.map(|it| it.attempt),
        offset: resumed.map_or(query.offset, |it| it.offset),
        access: Recheck::new(inside, Permission::Read),
        is_over: false,
        carry: vec![],
    };
    let pieces = stream::unfold(follow, |mut it| async move {
        let event = it.next().await?;
        Some((Ok(event), it))
    });
    Ok(Sse::new(pieces).keep_alive(KeepAlive::default()))
}

/// Where a reader is: the id of a piece, which browsers send back when they connect again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// The attempt's number.
    attempt: u32,
    /// Byte of its log.
    offset: u64,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let (attempt, offset) = text.split_once('.')?;
        Some(Self { attempt: attempt.parse().ok()?, offset: offset.parse().ok()? })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.attempt, self.offset)
    }
}

/// A reader of a live log.
struct Follow {
    app: Arc<Services>,
    masks: Arc<Masks>,
    job: JobRow,
    /// The attempt that is wanted; the newest, whichever that is, when `None`.
    attempt: Option<u32>,
    /// The attempt that `offset` belongs to.
    current: Option<u32>,
    offset: u64,
    access: Recheck,
    is_over: bool,
    /// The beginning of a character whose rest has not arrived.
    carry: Vec<u8>,
}

impl Follow {
    async fn next(&mut self) -> Option<sse::Event> {
        if self.is_over {
            return None;
        }
        loop {
            if self.app.is_stopping() || !self.access.holds(&self.app.store, self.app.now()).await {
                return None;
            }
            match self.look().await {
                Ok(Some(event)) => return Some(event),
                Ok(None) => tokio::time::sleep(LOG_ROUND).await,
                Err(problem) => {
                    self.is_over = true;
                    return Some(
                        sse::Event::default().event("problem").data(json!({"message": problem.text}).to_string()),
                    );
                }
            }
        }
    }

    async fn look(&mut self) -> Result<Option<sse::Event>, Problem> {
        let job = self.app.store.find_job(self.job.project_id, self.job.id).await?;
        let state = job.map_or(JobState::Lost, |it| it.status.state);
        // States before bytes: what was written before an ending is then surely read.
        let attempt = attempt_of(&self.app, &self.job, self.attempt).await?;
        let mut is_over = state.is_final();
        if let Some(attempt) = attempt {
            if self.current.replace(attempt.number).is_some_and(|it| it != attempt.number) {
                // A retry has a log of its own, which begins at its beginning.
                self.offset = 0;
                self.carry.clear();
            }
            let chunk = read_log(&self.app, &self.masks, attempt.id, self.offset, PIECE_BYTES_MAX).await?;
            if !chunk.bytes.is_empty() {
                return Ok(Some(self.piece(chunk.bytes, chunk.next_offset)));
            }
            // A named attempt ends with its own log, the job's log with the job.
            is_over |= self.attempt.is_some() && (chunk.end || attempt.state.is_final());
        }
        Ok(is_over.then(|| self.end(state)))
    }

    fn end(&mut self, state: JobState) -> sse::Event {
        self.is_over = true;
        sse::Event::default().event("end").data(state.as_str())
    }

    fn piece(&mut self, bytes: Vec<u8>, next: u64) -> sse::Event {
        let from = self.offset - self.carry.len() as u64;
        let mut all = std::mem::take(&mut self.carry);
        all.extend(bytes);
        let cut = complete_until(&all);
        self.carry = all.split_off(cut);
        self.offset = next;
        let piece = LogPiece {
            offset: from,
            next_offset: next - self.carry.len() as u64,
            text: String::from_utf8_lossy(&all).into_owned(),
        };
        let place = Place { attempt: self.current.unwrap_or_default(), offset: piece.next_offset };
        let event = sse::Event::default().event("log").id(place.to_string());
        event.data(serde_json::to_string(&piece).unwrap_or_default())
    }
}

/// How many bytes can be shown now: all but the beginning of a character that is cut at the end.
fn complete_until(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    for place in (tail..bytes.len()).rev() {
        let needed = match bytes[place] {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            0x80..=0xBF => continue,
            _ => return bytes.len(),
        };
        return if bytes.len() - place < needed { place } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_cut_in_two_waits_for_its_rest() {
        let text = "考工".as_bytes();
        assert_eq!(complete_until(&text[..4]), 3);
        assert_eq!(complete_until(&text[..5]), 3);
        assert_eq!(complete_until(text), 6);
        assert_eq!(complete_until(b"plain"), 5);
        assert_eq!(complete_until(b"\xff\xff"), 2);
    }

    #[test]
    fn places_read_both_ways() {
        let place = Place { attempt: 2, offset: 512 };
        assert_eq!(Place::parse(&place.to_string()), Some(place));
        assert!(Place::parse("512").is_none() && Place::parse("x.1").is_none());
    }
}
