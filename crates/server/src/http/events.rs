//! The event log: pages, the live stream, the platform's audit, and the home page made of it.

use super::jobs::job_views;
use crate::Route;
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
use kaogong_control::Services;
use kaogong_domain::{
    Problem,
    access::Permission,
    ids::{ProjectId, RunId},
    jobs::JobState,
};
use kaogong_http::{
    access::{InProject, Rule, recheck::Recheck},
    error::Answer,
    extract::{Json, Query},
};
use kaogong_store::{EventFilter, EventRow};
use serde_json::json;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::broadcast;

/// Events read together where some of them may be passed over.
const BATCH: u32 = 100;
/// How often the access of an open stream is looked at when nothing happens.
const ACCESS_ROUND: Duration = Duration::from_secs(15);
/// How often a stream tells of new values of the same run.
const METRICS_ROUND: Duration = Duration::from_secs(1);
const WEEK_MS: i64 = 7 * 24 * 3600 * 1000;

/// The noun of sign-ins, users, members and tokens.
const ACCESS: &str = "access";

/// How much of the log somebody sees.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// All: the audit.
    Whole,
    /// What was done to the project's things and by whom; not from where, and nothing of access.
    Things,
}

impl Sight {
    fn of(inside: &InProject) -> Self {
        if inside.may(Permission::Manage) { Self::Whole } else { Self::Things }
    }

    /// What keeps this sight open.
    fn needed(self) -> Permission {
        match self {
            Self::Whole => Permission::Manage,
            Self::Things => Permission::Read,
        }
    }

    fn shows(self, noun: &str) -> bool {
        self == Self::Whole || noun != ACCESS
    }
}

/// The routes of the log.
pub fn routes() -> Vec<Route> {
    let read = Rule::Project(Permission::Read);
    vec![
        Route::get("/api/v1/projects/{project}/overview", read, overview)
            .doc("project_overview", "What runs, what needs somebody, what changed.")
            .answers::<OverviewView>(),
        Route::get("/api/v1/projects/{project}/events", read, list)
            .doc("event_list", "Changes in a project, newest first; addresses and changes of access only for those who manage it.")
            .query::<EventQuery>()
            .answers_page::<EventView>(),
        Route::get("/api/v1/projects/{project}/events/stream", read, live)
            .doc("event_stream", "Changes as server-sent events (`change`), and notes that a run has new values (`metrics`); `Last-Event-ID` resumes.")
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
    State(app): State<Arc<Services>>,
    inside: InProject,
    Query(query): Query<EventQuery>,
) -> Answer<Json<Page<EventView>>> {
    page(&app, filter(Some(inside.project.id), &query), Sight::of(&inside)).await
}

async fn audit(State(app): State<Arc<Services>>, Query(query): Query<EventQuery>) -> Answer<Json<Page<EventView>>> {
    page(&app, filter(None, &query), Sight::Whole).await
}

async fn page(app: &Services, filter: EventFilter, sight: Sight) -> Answer<Json<Page<EventView>>> {
    if filter.noun.as_deref().is_some_and(|it| !sight.shows(it)) {
        return Ok(Json(Page { items: vec![], total: 0 }));
    }
    let mut total = app.store.count_events(&filter).await?;
    if sight == Sight::Things && filter.noun.is_none() {
        let hidden = EventFilter { noun: Some(ACCESS.to_owned()), ..filter.clone() };
        total = total.saturating_sub(app.store.count_events(&hidden).await?);
    }
    Ok(Json(Page { items: newest(app, &filter, sight).await?, total }))
}

/// The newest events that may be seen, a full page of them where there are as many.
async fn newest(app: &Services, filter: &EventFilter, sight: Sight) -> Result<Vec<EventView>, Problem> {
    let wanted = filter.limit as usize;
    let mut batch = filter.clone();
    if sight != Sight::Whole {
        batch.limit = batch.limit.max(BATCH);
    }
    let mut items = Vec::with_capacity(wanted);
    loop {
        let rows = app.store.list_events(&batch).await?;
        let is_end = rows.len() < batch.limit as usize;
        batch.before = rows.last().map(|it| it.seq);
        let shown = rows.into_iter().filter(|it| sight.shows(&it.noun)).take(wanted - items.len());
        items.append(&mut event_views(app, shown.collect(), sight).await?);
        if is_end || items.len() >= wanted {
            return Ok(items);
        }
    }
}

/// One event as it is sent.
async fn event_view(app: &Services, row: EventRow, sight: Sight) -> Result<EventView, Problem> {
    let gone = || Problem::not_found("the event is gone");
    event_views(app, vec![row], sight).await?.pop().ok_or_else(gone)
}

/// Events as they are sent; the names in them are read together.
async fn event_views(app: &Services, rows: Vec<EventRow>, sight: Sight) -> Result<Vec<EventView>, Problem> {
    let users = app.user_names(rows.iter().filter_map(|it| it.user_id)).await?;
    let projects: BTreeSet<ProjectId> = rows.iter().filter_map(|it| it.project_id).collect();
    let projects = app.store.project_names(&projects.into_iter().collect::<Vec<_>>()).await?;
    let view = |row: EventRow| EventView {
        seq: row.seq,
        at: row.at.as_ms(),
        project: row.project_id.and_then(|it| projects.get(&it)).map(ToString::to_string),
        action: row.action,
        noun: row.noun,
        object_id: row.object_id,
        object_name: row.object_name,
        actor: match row.user_id {
            Some(id) => users.get(&id).cloned().unwrap_or_else(|| id.to_string()),
            None => "system".to_owned(),
        },
        address: row.address.filter(|_| sight == Sight::Whole),
        detail: serde_json::from_str(&row.detail).unwrap_or(serde_json::Value::Null),
    };
    Ok(rows.into_iter().map(view).collect())
}

async fn live(
    State(app): State<Arc<Services>>,
    inside: InProject,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>> {
    let resumed = headers.get("last-event-id").and_then(|it| it.to_str().ok()).and_then(|it| it.parse::<i64>().ok());
    let after = match resumed {
        Some(seq) => seq,
        None => app.store.newest_event().await?,
    };
    let sight = Sight::of(&inside);
    let live = Live {
        news: app.store.watch_events(),
        metrics: app.watch_metrics(),
        told: HashMap::new(),
        app,
        project: inside.project.id,
        // Who may no longer manage loses this stream, and gets less from the next.
        access: Recheck::new(inside, sight.needed()),
        sight,
        after,
        ready: VecDeque::new(),
    };
    let events = stream::unfold(live, |mut it| async move {
        let event = it.next().await?;
        Some((Ok(event), it))
    });
    // Something at once, so that a client knows that it is connected before anything happens.
    let hello = stream::once(async { Ok(sse::Event::default().comment("connected")) });
    Ok(Sse::new(hello.chain(events)).keep_alive(KeepAlive::default()))
}

/// Why a waiting stream goes on.
enum Woken {
    /// Something may have changed.
    Look,
    /// This is to be told.
    Tell(sse::Event),
    /// The server goes down.
    End,
}

struct Live {
    app: Arc<Services>,
    project: ProjectId,
    access: Recheck,
    sight: Sight,
    after: i64,
    ready: VecDeque<EventRow>,
    news: tokio::sync::watch::Receiver<i64>,
    metrics: broadcast::Receiver<(ProjectId, RunId)>,
    /// When a run was last told of.
    told: HashMap<RunId, Instant>,
}

impl Live {
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if !self.access.holds(&self.app.store, self.app.now()).await {
                return None;
            }
            if let Some(row) = self.ready.pop_front() {
                self.after = row.seq;
                if !self.sight.shows(&row.noun) {
                    continue;
                }
                let view = event_view(&self.app, row, self.sight).await.ok()?;
                let text = serde_json::to_string(&view).ok()?;
                return Some(sse::Event::default().event("change").id(view.seq.to_string()).data(text));
            }
            // Marked before the look, so that what comes in between wakes the wait below.
            self.news.mark_unchanged();
            let filter = EventFilter {
                project: Some(self.project),
                after: Some(self.after),
                limit: BATCH,
                ..EventFilter::default()
            };
            let mut rows = self.app.store.list_events(&filter).await.ok()?;
            rows.sort_by_key(|it| it.seq);
            self.ready = rows.into();
            if !self.ready.is_empty() {
                continue;
            }
            match self.wait().await {
                Woken::Look => {}
                Woken::Tell(event) => return Some(event),
                Woken::End => return None,
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let until = tokio::time::Instant::now() + ACCESS_ROUND;
        loop {
            tokio::select! {
                changed = self.news.changed() => return if changed.is_ok() { Woken::Look } else { Woken::End },
                // Most notes are of others: they are passed over without a look into the store.
                logged = self.metrics.recv() => {
                    if let Some(event) = self.logged(logged) {
                        return Woken::Tell(event);
                    }
                }
                () = tokio::time::sleep_until(until) => return Woken::Look,
                () = self.app.wait_for_stop() => return Woken::End,
            }
        }
    }

    /// Tells that a run has new values, at most once a second each. What is left out is told with the next value, or
    /// seen when the run ends.
    fn logged(&mut self, logged: Result<(ProjectId, RunId), broadcast::error::RecvError>) -> Option<sse::Event> {
        // Who fell behind has missed notes only: the values themselves are in the store.
        let (project, run) = logged.ok()?;
        let now = Instant::now();
        if project != self.project || self.told.get(&run).is_some_and(|it| now.duration_since(*it) < METRICS_ROUND) {
            return None;
        }
        self.told.retain(|_, it| now.duration_since(*it) < METRICS_ROUND);
        self.told.insert(run, now);
        Some(sse::Event::default().event("metrics").data(json!({"run_id": run}).to_string()))
    }
}

async fn overview(State(app): State<Arc<Services>>, inside: InProject) -> Answer<Json<OverviewView>> {
    let project = inside.project.id;
    let counts = app.store.count_things(project).await?;
    let unfinished = [JobState::Running, JobState::Starting, JobState::Admitted, JobState::Queued];
    let mut running = app.store.jobs_by_state(project, &unfinished, 20).await?;
    running.truncate(20);
    let running = job_views(&app, &inside, running).await?;
    let attention = attention(&app, project).await?;
    let recent = EventFilter { project: Some(project), limit: 20, ..EventFilter::default() };
    let changes = newest(&app, &recent, Sight::of(&inside)).await?;
    let counts = Counts {
        datasets: counts.datasets,
        jobs: counts.jobs,
        runs: counts.runs,
        models: counts.models,
        endpoints: counts.endpoints,
    };
    Ok(Json(OverviewView { counts, running, attention, changes }))
}

async fn attention(app: &Services, project: ProjectId) -> Result<Vec<AttentionView>, Problem> {
    let mut all = vec![];
    let since = app.now().plus_ms(-WEEK_MS);
    for row in app.store.jobs_by_state(project, &[JobState::Failed, JobState::Lost], 10).await? {
        let at = row.ended_at.unwrap_or(row.created_at);
        if at >= since {
            let text = row.status.reason.unwrap_or_else(|| row.status.state.as_str().to_owned());
            all.push(AttentionView {
                noun: "jobs".into(),
                id: row.id.to_string(),
                name: row.name,
                text,
                at: at.as_ms(),
            });
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
