//! The event log: pages, the live stream, the platform's audit, and the home page made of it.

use super::{
    error::Answer,
    extract::{Json, Query},
    jobs::job_view,
};
use crate::{
    access::{InProject, Route, Rule},
    app::App,
};
use axum::{
    extract::State,
    response::sse::{self, KeepAlive, Sse},
};
use futures::{Stream, StreamExt, stream};
use http::HeaderMap;
use kaogong_api::{
    Page,
    events::{AttentionView, Counts, EventQuery, EventView, OverviewView},
    paging::PAGE_LIMIT_MAX,
};
use kaogong_domain::{Problem, access::Permission, ids::ProjectId, jobs::State as JobState};
use kaogong_store::{EventFilter, EventRow};
use std::{collections::VecDeque, convert::Infallible, sync::Arc};

/// Events read together for a live stream.
const STREAM_BATCH: u32 = 100;
const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;

/// The routes of the log.
pub fn routes() -> Vec<Route> {
    let read = Rule::Project(Permission::Read);
    vec![
        Route::get("/api/v1/projects/{project}/overview", read, overview)
            .doc("project_overview", "What runs, what needs somebody, what changed.")
            .answers::<OverviewView>(),
        Route::get("/api/v1/projects/{project}/events", read, list)
            .doc("event_list", "Changes in a project, newest first.")
            .query::<EventQuery>()
            .answers_page::<EventView>(),
        Route::get("/api/v1/projects/{project}/events/stream", read, live)
            .doc("event_stream", "Changes as server-sent events; `Last-Event-ID` resumes.")
            .answers_bytes("text/event-stream")
            .unhurried(),
        Route::get("/api/v1/audit", Rule::PlatformAdmin, audit)
            .doc("audit_list", "All changes on the platform, newest first.")
            .query::<EventQuery>()
            .answers_page::<EventView>(),
    ]
}

fn filter(project: Option<ProjectId>, query: &EventQuery) -> EventFilter {
    EventFilter {
        project,
        noun: query.noun.clone().filter(|it| !it.is_empty()),
        before: query.before,
        after: None,
        limit: query.limit.unwrap_or(100).clamp(1, PAGE_LIMIT_MAX),
    }
}

async fn list(
    State(app): State<Arc<App>>,
    inside: InProject,
    Query(query): Query<EventQuery>,
) -> Answer<Json<Page<EventView>>> {
    page(&app, filter(Some(inside.project.id), &query)).await
}

async fn audit(State(app): State<Arc<App>>, Query(query): Query<EventQuery>) -> Answer<Json<Page<EventView>>> {
    page(&app, filter(None, &query)).await
}

async fn page(app: &App, filter: EventFilter) -> Answer<Json<Page<EventView>>> {
    let total = app.store.count_events(&filter).await?;
    let rows = app.store.list_events(&filter).await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        items.push(event_view(app, row).await?);
    }
    Ok(Json(Page { items, total }))
}

async fn event_view(app: &App, row: EventRow) -> Result<EventView, Problem> {
    let actor = match row.user_id {
        Some(id) => app.user_name(Some(id)).await?.unwrap_or_else(|| id.to_string()),
        None => "system".to_owned(),
    };
    let project = match row.project_id {
        Some(id) => Some(app.store.project(id).await?.name.to_string()),
        None => None,
    };
    Ok(EventView {
        seq: row.seq,
        at: row.at.as_ms(),
        project,
        action: row.action,
        noun: row.noun,
        object_id: row.object_id,
        object_name: row.object_name,
        actor,
        address: row.address,
        detail: serde_json::from_str(&row.detail).unwrap_or(serde_json::Value::Null),
    })
}

async fn live(
    State(app): State<Arc<App>>,
    inside: InProject,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>> {
    let resumed = headers.get("last-event-id").and_then(|it| it.to_str().ok()).and_then(|it| it.parse::<i64>().ok());
    let after = match resumed {
        Some(seq) => seq,
        None => app.store.newest_event().await?,
    };
    let live = Live { news: app.store.watch_events(), app, project: inside.project.id, after, ready: VecDeque::new() };
    let events = stream::unfold(live, |mut it| async move {
        let event = it.next().await?;
        Some((Ok(event), it))
    });
    // Something at once, so that a client knows that it is connected before anything happens.
    let hello = stream::once(async { Ok(sse::Event::default().comment("connected")) });
    Ok(Sse::new(hello.chain(events)).keep_alive(KeepAlive::default()))
}

struct Live {
    app: Arc<App>,
    project: ProjectId,
    after: i64,
    ready: VecDeque<EventRow>,
    news: tokio::sync::watch::Receiver<i64>,
}

impl Live {
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(row) = self.ready.pop_front() {
                self.after = row.seq;
                let view = event_view(&self.app, row).await.ok()?;
                let text = serde_json::to_string(&view).ok()?;
                return Some(sse::Event::default().event("change").id(view.seq.to_string()).data(text));
            }
            // Marked before the look, so that what comes in between wakes the wait below.
            self.news.mark_unchanged();
            let filter = EventFilter {
                project: Some(self.project),
                after: Some(self.after),
                limit: STREAM_BATCH,
                ..EventFilter::default()
            };
            let mut rows = self.app.store.list_events(&filter).await.ok()?;
            rows.sort_by_key(|it| it.seq);
            self.ready = rows.into();
            if self.ready.is_empty() {
                tokio::select! {
                    changed = self.news.changed() => changed.ok()?,
                    () = self.app.wait_for_stop() => return None,
                }
            }
        }
    }
}

async fn overview(State(app): State<Arc<App>>, inside: InProject) -> Answer<Json<OverviewView>> {
    let project = inside.project.id;
    let counts = app.store.count_things(project).await?;
    let mut running = vec![];
    for state in [JobState::Running, JobState::Starting, JobState::Admitted, JobState::Queued] {
        let (rows, _) = app.store.list_jobs(project, Some(state), None, 0, 20).await?;
        for row in rows.into_iter().take(20usize.saturating_sub(running.len())) {
            running.push(job_view(&app, row).await?);
        }
    }
    let attention = attention(&app, project).await?;
    let recent = EventFilter { project: Some(project), limit: 20, ..EventFilter::default() };
    let mut changes = vec![];
    for row in app.store.list_events(&recent).await? {
        changes.push(event_view(&app, row).await?);
    }
    let counts = Counts {
        datasets: counts.datasets,
        jobs: counts.jobs,
        runs: counts.runs,
        models: counts.models,
        endpoints: counts.endpoints,
    };
    Ok(Json(OverviewView { counts, running, attention, changes }))
}

async fn attention(app: &App, project: ProjectId) -> Result<Vec<AttentionView>, Problem> {
    let mut all = vec![];
    let since = app.now().plus_ms(-WEEK_MS);
    for state in [JobState::Failed, JobState::Lost] {
        let (rows, _) = app.store.list_jobs(project, Some(state), None, 0, 10).await?;
        for row in rows {
            let at = row.ended_at.unwrap_or(row.created_at);
            if at >= since {
                let text = row.life.reason.unwrap_or_else(|| row.life.state.as_str().to_owned());
                all.push(AttentionView {
                    noun: "jobs".into(),
                    id: row.id.to_string(),
                    name: row.name,
                    text,
                    at: at.as_ms(),
                });
            }
        }
    }
    for row in app.store.list_endpoints(project).await? {
        if let Some(text) = app.serving.failure_of(row.id) {
            all.push(AttentionView {
                noun: "endpoints".into(),
                id: row.name.to_string(),
                name: row.name.to_string(),
                text,
                at: row.created_at.as_ms(),
            });
        }
    }
    all.sort_by_key(|it| std::cmp::Reverse(it.at));
    Ok(all)
}
