//! Which endpoints are in memory, under one lock: what is wanted, what answers, what failed and what is gone change
//! together, so that a load that ends late meets what happened meanwhile.

use super::probe::REFUSAL_AGE_MAX;
use kaogong_domain::{
    ErrorKind, Problem,
    ids::{EndpointId, ProjectId},
    names::Name,
};
use kaogong_store::EndpointRow;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

/// A failure that may pass is tried again after this at first, any other when the verdict about its model is forgotten:
/// a machine that was busy or short of memory refuses what it serves later.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// A model that never loads is tried no more often than this in the end.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Deleted endpoints remembered at most; a load that began before so many deletions has ended.
const GONE_MAX: usize = 4096;

/// What is seen of an endpoint.
enum Seen {
    Live,
    /// `times` in a row, all of one kind.
    Failed {
        kind: ErrorKind,
        text: String,
        when: Instant,
        times: u32,
    },
}

struct Entry {
    generation: i64,
    /// The moment of the change, in steps of the table.
    at: u64,
    seen: Seen,
}

/// What answers under a name.
struct Named<L> {
    id: EndpointId,
    at: u64,
    live: Arc<L>,
}

/// The loads of one endpoint: one at a time.
struct Turn {
    /// When the last of them asked.
    since: u64,
    lock: Arc<tokio::sync::Mutex<()>>,
}

/// How things stand for a load whose turn has come.
pub(super) enum Standing {
    /// It goes ahead.
    Open,
    /// Somebody else has done it meanwhile.
    Done(Result<(), Problem>),
}

/// The table.
pub(super) struct Table<L> {
    step: u64,
    entries: HashMap<EndpointId, Entry>,
    names: HashMap<(ProjectId, Name), Named<L>>,
    /// Names that endpoints have, whether or not they answer.
    wanted: HashMap<(ProjectId, Name), EndpointId>,
    turns: HashMap<EndpointId, Turn>,
    gone: HashMap<EndpointId, u64>,
}

impl<L> Default for Table<L> {
    fn default() -> Self {
        Self {
            step: 0,
            entries: HashMap::new(),
            names: HashMap::new(),
            wanted: HashMap::new(),
            turns: HashMap::new(),
            gone: HashMap::new(),
        }
    }
}

impl<L> Table<L> {
    /// This moment. What changes later has a later one.
    pub(super) fn mark(&mut self) -> u64 {
        self.step += 1;
        self.step
    }

    /// A place in the line of an endpoint's loads, and the moment of asking for it.
    pub(super) fn ask_turn(&mut self, id: EndpointId) -> (u64, Arc<tokio::sync::Mutex<()>>) {
        let since = self.mark();
        let turn = self.turns.entry(id).or_insert_with(|| Turn { since, lock: Arc::default() });
        turn.since = since;
        (since, turn.lock.clone())
    }

    /// Notes that there is an endpoint of that name, unless it was deleted meanwhile.
    pub(super) fn expect(&mut self, row: &EndpointRow) {
        if !self.gone.contains_key(&row.id) {
            self.wanted.insert((row.project_id, row.name.clone()), row.id);
        }
    }

    /// The endpoint of that name, whether or not it answers.
    pub(super) fn wanted(&self, project: ProjectId, name: &Name) -> Option<EndpointId> {
        self.wanted.get(&(project, name.clone())).copied()
    }

    /// What answers for an endpoint.
    pub(super) fn live_of(&self, id: EndpointId) -> Option<Arc<L>> {
        self.names.values().find(|it| it.id == id).map(|it| it.live.clone())
    }

    /// Forgets lines that nobody stands in.
    pub(super) fn end_turns(&mut self) {
        self.turns.retain(|_, it| Arc::strong_count(&it.lock) > 1);
    }

    /// Whether somebody loads this endpoint now.
    pub(super) fn is_busy(&self, id: EndpointId) -> bool {
        self.turns.contains_key(&id)
    }

    /// How things stand for the load of a row that asked at the moment `since`.
    pub(super) fn standing(&self, row: &EndpointRow, since: u64) -> Standing {
        if self.gone.contains_key(&row.id) {
            return Standing::Done(Err(gone(row)));
        }
        match self.entries.get(&row.id) {
            Some(it) if it.generation > row.generation => Standing::Done(Err(outdated(row))),
            Some(it) if it.generation == row.generation => match &it.seen {
                Seen::Live => Standing::Done(Ok(())),
                // Tried while this one waited: the same file would fail alike.
                Seen::Failed { kind, text, .. } if it.at > since => {
                    Standing::Done(Err(Problem::new(*kind, text.clone())))
                }
                Seen::Failed { .. } => Standing::Open,
            },
            _ => Standing::Open,
        }
    }

    /// Lets a model answer in place of the one before, unless its endpoint was deleted or changed meanwhile. Gives what
    /// no longer answers, to be dropped without the lock.
    pub(super) fn put_live(&mut self, row: &EndpointRow, live: Arc<L>) -> (Option<Arc<L>>, Result<(), Problem>) {
        if let Standing::Done(Err(problem)) = self.standing(row, u64::MAX) {
            return (Some(live), Err(problem));
        }
        let at = self.mark();
        self.entries.insert(row.id, Entry { generation: row.generation, at, seen: Seen::Live });
        let old = self.names.insert((row.project_id, row.name.clone()), Named { id: row.id, at, live });
        (old.map(|it| it.live), Ok(()))
    }

    /// Remembers why a model cannot answer; what answered before goes on.
    pub(super) fn put_failed(&mut self, row: &EndpointRow, problem: &Problem) {
        if let Standing::Done(_) = self.standing(row, u64::MAX) {
            return;
        }
        let before = self.entries.get(&row.id).filter(|it| it.generation == row.generation);
        let times = match before.map(|it| &it.seen) {
            Some(Seen::Failed { kind, times, .. }) if *kind == problem.kind => times.saturating_add(1),
            _ => 1,
        };
        let seen = Seen::Failed { kind: problem.kind, text: problem.text.clone(), when: Instant::now(), times };
        let at = self.mark();
        self.entries.insert(row.id, Entry { generation: row.generation, at, seen });
    }

    /// Takes a deleted endpoint down, for good: a load of it that is under way ends in nothing.
    pub(super) fn remove(&mut self, row: &EndpointRow) -> Option<Arc<L>> {
        self.bury(row.id);
        self.entries.remove(&row.id);
        let key = (row.project_id, row.name.clone());
        if self.wanted.get(&key) == Some(&row.id) {
            self.wanted.remove(&key);
        }
        // The name may belong to a newer endpoint already.
        if self.names.get(&key).is_none_or(|it| it.id != row.id) {
            return None;
        }
        self.names.remove(&key).map(|it| it.live)
    }

    fn bury(&mut self, id: EndpointId) {
        let at = self.mark();
        if self.gone.len() >= GONE_MAX {
            let mut all: Vec<u64> = self.gone.values().copied().collect();
            all.sort_unstable();
            let middle = all[all.len() / 2];
            self.gone.retain(|_, it| *it > middle);
        }
        self.gone.insert(id, at);
    }

    /// Takes down what is not in a list that was read at the moment `mark`. What came after that moment may be missing
    /// from the list for no other reason, and stays. Gives what no longer answers.
    pub(super) fn keep_only(&mut self, wanted: &HashSet<EndpointId>, mark: u64) -> Vec<Arc<L>> {
        let is_out = |id: &EndpointId, at: u64| at < mark && !wanted.contains(id);
        self.entries.retain(|id, it| !is_out(id, it.at));
        let turns = &self.turns;
        // One that is loaded just now may have been made after the list was read.
        self.wanted.retain(|_, id| wanted.contains(id) || turns.get(id).is_some_and(|it| it.since >= mark));
        let loading: Vec<EndpointId> =
            self.turns.iter().filter(|(id, it)| is_out(id, it.since)).map(|it| *it.0).collect();
        loading.into_iter().for_each(|id| self.bury(id));
        let names: Vec<_> = self.names.iter().filter(|it| is_out(&it.1.id, it.1.at)).map(|it| it.0.clone()).collect();
        names.iter().filter_map(|it| self.names.remove(it)).map(|it| it.live).collect()
    }

    /// What answers under a name.
    pub(super) fn find(&self, project: ProjectId, name: &Name) -> Option<Arc<L>> {
        self.names.get(&(project, name.clone())).map(|it| it.live.clone())
    }

    /// All that answers in a project.
    pub(super) fn all(&self, project: ProjectId) -> Vec<Arc<L>> {
        self.names.iter().filter(|it| it.0.0 == project).map(|it| it.1.live.clone()).collect()
    }

    /// Whether there is nothing to do for a row now: it answers, or has failed too recently to be tried again.
    pub(super) fn is_settled(&self, row: &EndpointRow, now: Instant) -> bool {
        self.entries.get(&row.id).is_some_and(|it| {
            let is_due = match &it.seen {
                Seen::Live => false,
                Seen::Failed { kind, when, times, .. } => now.saturating_duration_since(*when) >= pause(*kind, *times),
            };
            it.generation >= row.generation && !is_due
        })
    }

    /// Why an endpoint cannot be served.
    pub(super) fn failure_of(&self, id: EndpointId) -> Option<String> {
        match &self.entries.get(&id)?.seen {
            Seen::Failed { text, .. } => Some(text.clone()),
            Seen::Live => None,
        }
    }

    /// How long until an endpoint that cannot be served is tried again.
    pub(super) fn pause_of(&self, id: EndpointId, now: Instant) -> Option<Duration> {
        match &self.entries.get(&id)?.seen {
            Seen::Failed { kind, when, times, .. } => {
                Some(pause(*kind, *times).saturating_sub(now.saturating_duration_since(*when)))
            }
            Seen::Live => None,
        }
    }
}

/// How long a failure is left alone: twice as long each time, so that a model that crashes or loops for ever, or needs
/// more memory than there is, does not keep the machine busy.
fn pause(kind: ErrorKind, times: u32) -> Duration {
    let (first, longest) = match kind {
        ErrorKind::Unavailable => (RETRY_AFTER, REFUSAL_AGE_MAX),
        _ => (REFUSAL_AGE_MAX, RETRY_AFTER_MAX),
    };
    first.saturating_mul(2u32.saturating_pow(times.saturating_sub(1))).min(longest)
}

fn gone(row: &EndpointRow) -> Problem {
    Problem::conflict(format!("endpoint `{}` was deleted while its model was loaded", row.name))
}

fn outdated(row: &EndpointRow) -> Problem {
    Problem::conflict(format!("endpoint `{}` was changed again while its model was loaded", row.name))
        .hint("`kaogong endpoints show` says what it serves now")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use kaogong_domain::{
        Timestamp,
        endpoints::{Batching, EngineName, Isolation},
        ids::{EndpointId, ModelVersionId, ProjectId},
    };

    /// An endpoint of the project 1 by the name `digits`.
    pub(crate) fn row(id: u128, generation: i64) -> EndpointRow {
        let at = Timestamp(1);
        EndpointRow {
            id: EndpointId::from_parts(at, id),
            project_id: ProjectId::from_parts(at, 1),
            name: "digits".parse().expect("a name"),
            model_version_id: ModelVersionId::from_parts(at, 1),
            model: "digits".into(),
            version: 1,
            hash: None,
            engine: EngineName::Tract,
            batching: Batching::Auto,
            isolation: Isolation::Process,
            generation,
            created_at: at,
            created_by: None,
        }
    }

    fn answers(table: &Table<&'static str>) -> Option<&'static str> {
        table.find(row(1, 1).project_id, &row(1, 1).name).map(|it| *it)
    }

    fn put(table: &mut Table<&'static str>, row: &EndpointRow, live: &'static str) -> Result<(), ErrorKind> {
        table.put_live(row, Arc::new(live)).1.map_err(|it| it.kind)
    }

    #[test]
    fn an_older_generation_never_replaces_a_newer_one() {
        let mut table = Table::default();
        assert_eq!(put(&mut table, &row(1, 2), "second"), Ok(()));
        assert_eq!(put(&mut table, &row(1, 1), "first"), Err(ErrorKind::Conflict));
        table.put_failed(&row(1, 1), &Problem::invalid("broken"));
        assert_eq!((answers(&table), table.failure_of(row(1, 1).id)), (Some("second"), None));
        assert_eq!(put(&mut table, &row(1, 3), "third"), Ok(()));
        assert_eq!(answers(&table), Some("third"));
    }

    #[test]
    fn a_failed_change_leaves_the_old_model_answering() {
        let mut table = Table::default();
        assert_eq!(put(&mut table, &row(1, 1), "first"), Ok(()));
        table.put_failed(&row(1, 2), &Problem::invalid("broken"));
        assert_eq!(answers(&table), Some("first"));
        assert_eq!(table.failure_of(row(1, 2).id).as_deref(), Some("broken"));
        let (now, left) = (Instant::now(), |now| table.pause_of(row(1, 2).id, now).expect("it failed"));
        assert!(left(now) <= REFUSAL_AGE_MAX && left(now) > left(now + Duration::from_secs(5)));
        assert_eq!(left(now + RETRY_AFTER_MAX), Duration::ZERO);
        assert!(table.is_settled(&row(1, 2), Instant::now()));
    }

    #[test]
    fn a_load_under_way_never_brings_a_deleted_endpoint_back() {
        let mut table = Table::default();
        let (since, _turn) = table.ask_turn(row(1, 1).id);
        assert!(table.remove(&row(1, 1)).is_none());
        assert_eq!(put(&mut table, &row(1, 1), "late"), Err(ErrorKind::Conflict));
        assert!(matches!(table.standing(&row(1, 1), since), Standing::Done(Err(_))));
        table.put_failed(&row(1, 1), &Problem::invalid("broken"));
        assert_eq!((answers(&table), table.failure_of(row(1, 1).id)), (None, None));
    }

    #[test]
    fn a_name_that_was_given_again_stays_with_the_new_endpoint() {
        let mut table = Table::default();
        assert_eq!(put(&mut table, &row(1, 1), "old"), Ok(()));
        assert_eq!(put(&mut table, &row(2, 1), "new"), Ok(()));
        assert!(table.remove(&row(1, 1)).is_none());
        assert_eq!(answers(&table), Some("new"));
        let mark = table.mark();
        assert!(table.keep_only(&HashSet::from([row(2, 1).id]), mark).is_empty());
        assert_eq!(answers(&table), Some("new"));
    }

    #[test]
    fn what_came_after_the_list_was_read_stays() {
        let mut table = Table::default();
        assert_eq!(put(&mut table, &row(1, 1), "before"), Ok(()));
        let mark = table.mark();
        assert_eq!(put(&mut table, &row(2, 1), "after"), Ok(()));
        assert!(table.keep_only(&HashSet::new(), mark).is_empty());
        assert_eq!(answers(&table), Some("after"));
        let mark = table.mark();
        assert_eq!(table.keep_only(&HashSet::new(), mark).len(), 1);
        assert_eq!(answers(&table), None);
        assert!(!table.is_settled(&row(1, 1), Instant::now()));
    }

    #[test]
    fn a_load_of_what_another_replica_deleted_ends_in_nothing() {
        let mut table = Table::default();
        let (_, _turn) = table.ask_turn(row(1, 1).id);
        let mark = table.mark();
        table.keep_only(&HashSet::new(), mark);
        assert_eq!(put(&mut table, &row(1, 1), "late"), Err(ErrorKind::Conflict));
    }

    #[test]
    fn a_failure_is_tried_again_and_not_at_once() {
        let mut table = Table::<&str>::default();
        table.put_failed(&row(1, 1), &Problem::unavailable("the disk is full"));
        table.put_failed(&row(2, 1), &Problem::invalid("it took too long"));
        let settled_after = |wait| [1, 2].map(|it| table.is_settled(&row(it, 1), Instant::now() + wait));
        assert_eq!(settled_after(Duration::ZERO), [true, true]);
        assert_eq!(settled_after(RETRY_AFTER), [false, true]);
        assert_eq!(settled_after(REFUSAL_AGE_MAX), [false, false]);
        assert!(!table.is_settled(&row(2, 2), Instant::now()), "a change is new");
    }

    #[test]
    fn what_fails_again_and_again_is_tried_ever_more_rarely() {
        let mut table = Table::<&str>::default();
        for minutes in [10, 20, 40, 60, 60] {
            table.put_failed(&row(1, 1), &Problem::invalid("it took too long"));
            let (almost, due) = (Duration::from_secs(60 * minutes - 30), Duration::from_secs(60 * minutes));
            assert!(table.is_settled(&row(1, 1), Instant::now() + almost), "{minutes} minutes");
            assert!(!table.is_settled(&row(1, 1), Instant::now() + due), "{minutes} minutes");
        }
        table.put_failed(&row(1, 1), &Problem::unavailable("short of memory"));
        assert!(!table.is_settled(&row(1, 1), Instant::now() + RETRY_AFTER), "another failure begins anew");
        table.put_failed(&row(1, 2), &Problem::invalid("it took too long"));
        assert!(!table.is_settled(&row(1, 2), Instant::now() + REFUSAL_AGE_MAX), "a change begins anew");
        assert_eq!(pause(ErrorKind::Unavailable, u32::MAX), REFUSAL_AGE_MAX);
    }

    #[test]
    fn who_waited_shares_the_outcome_and_who_asks_later_tries_again() {
        let mut table = Table::<&str>::default();
        let (since, _turn) = table.ask_turn(row(1, 1).id);
        assert!(matches!(table.standing(&row(1, 1), since), Standing::Open));
        table.put_failed(&row(1, 1), &Problem::invalid("broken"));
        assert!(matches!(table.standing(&row(1, 1), since), Standing::Done(Err(it)) if it.text == "broken"));
        let (later, _turn) = table.ask_turn(row(1, 1).id);
        assert!(matches!(table.standing(&row(1, 1), later), Standing::Open));
    }

    #[test]
    fn the_memory_of_deletions_is_bounded() {
        let mut table = Table::<&str>::default();
        for id in 0..3 * GONE_MAX as u128 {
            table.remove(&row(id, 1));
        }
        assert!(table.gone.len() <= GONE_MAX);
        assert!(table.gone.contains_key(&row(3 * GONE_MAX as u128 - 1, 1).id));
    }
}
