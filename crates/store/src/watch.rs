//! Who wants to know sees which statements a piece of work runs: how many, and on request each of them. The server
//! counts the statements of every call this way, and a test holds what each statement costs.

use crate::sql::Val;
use std::{
    future::Future,
    panic::Location,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// A value that was bound to a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    /// A text, or none.
    Text(Option<String>),
    /// A whole number, or none.
    Int(Option<i64>),
    /// A number.
    Real(f64),
}

/// A statement that was run.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Its text, with `$1`, `$2`, … for the values.
    pub text: String,
    /// The values, in this order.
    pub values: Vec<Bound>,
    /// The line of this crate that ran it.
    pub at: &'static Location<'static>,
}

/// Counts the statements of the work that it is put around, and may keep them.
#[derive(Debug, Default)]
pub struct Watch {
    count: AtomicU64,
    kept: Option<Mutex<Vec<Statement>>>,
}

tokio::task_local! {
    static WATCH: Arc<Watch>;
}

impl Watch {
    /// Counts.
    pub fn counting() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Counts and keeps, for tests: what is kept has no bound.
    pub fn keeping() -> Arc<Self> {
        Arc::new(Self { count: AtomicU64::new(0), kept: Some(Mutex::default()) })
    }

    /// Does `work` under this watch. What `work` hands to other tasks is not seen.
    pub fn around<F: Future>(self: &Arc<Self>, work: F) -> impl Future<Output = F::Output> + use<F> {
        WATCH.scope(self.clone(), work)
    }

    /// Statements run so far, without the beginning and end of transactions.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Takes the statements kept so far.
    pub fn take(&self) -> Vec<Statement> {
        let Some(kept) = &self.kept else { return vec![] };
        std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tells a watch around this task of a statement.
pub(crate) fn note(text: &str, values: &[Val], at: &'static Location<'static>) {
    // Nobody watches: nobody needs to know.
    let _ = WATCH.try_with(|watch| {
        watch.count.fetch_add(1, Ordering::Relaxed);
        if let Some(kept) = &watch.kept {
            let values = values.iter().map(bound).collect();
            let statement = Statement { text: text.to_owned(), values, at };
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(statement);
        }
    });
}

fn bound(value: &Val) -> Bound {
    match value {
        Val::Text(it) => Bound::Text(it.clone()),
        Val::Int(it) => Bound::Int(*it),
        Val::Real(it) => Bound::Real(*it),
    }
}
