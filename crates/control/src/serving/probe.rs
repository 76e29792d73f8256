//! Trying a model where it can do no harm before this process takes it in.
//!
//! A model file is a program: what an engine does with it can need any amount of memory and time, and a fault in an
//! engine's native code ends the process that it runs in. So each file is loaded and run once in a process of its own,
//! with bounds, and the server asks for that verdict first.

use kaogong_domain::{ErrorKind, Problem, endpoints::EngineName};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Verdicts remembered at most.
const VERDICTS_MAX: usize = 1024;
/// A refusal is asked for again after this: a machine that was busy or short of memory may be so no longer.
pub(super) const REFUSAL_AGE_MAX: Duration = Duration::from_secs(600);

/// The verdict of a probe, to be waited for; with a remark about a model that is good.
pub type Verdict<'a> = Pin<Box<dyn Future<Output = Result<Option<String>, Problem>> + Send + 'a>>;

/// Tries a model in a process of its own.
pub trait ModelProbe: Send + Sync + 'static {
    /// Loads the file with the engine and runs the model once.
    ///
    /// `Invalid` with what happened: what the engine said, or that it crashed, ran out of memory or took too long.
    /// `Unavailable` when the model could not be tried.
    fn probe<'a>(&'a self, engine: EngineName, file: &'a Path) -> Verdict<'a>;
}

/// Refusals and passes of files that are known by their hash and so never change.
pub(super) struct Verdicts {
    probe: Arc<dyn ModelProbe>,
    known: Mutex<HashMap<(PathBuf, EngineName), Known>>,
}

struct Known {
    at: Instant,
    verdict: Result<Option<String>, Refusal>,
}

#[derive(Clone)]
struct Refusal {
    text: String,
    hint: Option<String>,
}

impl From<Refusal> for Problem {
    fn from(from: Refusal) -> Self {
        let problem = Problem::invalid(from.text);
        match from.hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

impl Verdicts {
    pub(super) fn new(probe: Arc<dyn ModelProbe>) -> Self {
        Self { probe, known: Mutex::default() }
    }

    /// Whether the model in a blob may be loaded, with what there is to know about it. The path of a blob is its hash.
    ///
    /// # Errors
    /// See [`ModelProbe::probe`].
    pub(super) async fn ask(&self, engine: EngineName, file: &Path) -> Result<Option<String>, Problem> {
        if let Some(verdict) = self.remembered(engine, file, Instant::now()) {
            return verdict;
        }
        let verdict = self.probe.probe(engine, file).await;
        let known_verdict = match &verdict {
            Ok(remark) => Ok(remark.clone()),
            Err(it) if it.kind == ErrorKind::Invalid => Err(Refusal { text: it.text.clone(), hint: it.hint.clone() }),
            // Nothing was found out about the model.
            Err(_) => return verdict,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= VERDICTS_MAX {
            known.clear();
        }
        known.insert((file.to_owned(), engine), Known { at: Instant::now(), verdict: known_verdict });
        verdict
    }

    fn remembered(&self, engine: EngineName, file: &Path, now: Instant) -> Option<Result<Option<String>, Problem>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let it = known.get(&(file.to_owned(), engine))?;
        let is_old = it.verdict.is_err() && now.saturating_duration_since(it.at) > REFUSAL_AGE_MAX;
        (!is_old).then(|| it.verdict.clone().map_err(Problem::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Refuses `bad`, cannot try `busy`, and counts.
    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl ModelProbe for Counting {
        fn probe<'a>(&'a self, _: EngineName, file: &'a Path) -> Verdict<'a> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                match file.to_str() {
                    Some("bad") => Err(Problem::invalid("it crashed").hint("do not")),
                    Some("busy") => Err(Problem::unavailable("no process")),
                    _ => Ok(Some("untried".to_owned())),
                }
            })
        }
    }

    #[tokio::test]
    async fn a_verdict_is_asked_for_once() {
        let probe = Arc::new(Counting::default());
        let verdicts = Verdicts::new(probe.clone());
        for _ in 0..3 {
            let remark = verdicts.ask(EngineName::Tract, Path::new("good")).await.expect("good");
            assert_eq!(remark.as_deref(), Some("untried"));
            let problem = verdicts.ask(EngineName::Tract, Path::new("bad")).await.expect_err("refused");
            assert_eq!((problem.text.as_str(), problem.hint.as_deref()), ("it crashed", Some("do not")));
        }
        assert_eq!(probe.0.load(Ordering::SeqCst), 2);
        assert!(verdicts.ask(EngineName::OnnxRuntime, Path::new("good")).await.is_ok());
        assert_eq!(probe.0.load(Ordering::SeqCst), 3);
        for _ in 0..2 {
            assert!(verdicts.ask(EngineName::Tract, Path::new("busy")).await.is_err());
        }
        assert_eq!(probe.0.load(Ordering::SeqCst), 5, "what could not be tried is tried again");
    }

    #[tokio::test]
    async fn a_refusal_grows_old_and_a_pass_does_not() {
        let verdicts = Verdicts::new(Arc::new(Counting::default()));
        assert!(verdicts.ask(EngineName::Tract, Path::new("good")).await.is_ok());
        assert!(verdicts.ask(EngineName::Tract, Path::new("bad")).await.is_err());
        let later = Instant::now() + REFUSAL_AGE_MAX + Duration::from_secs(1);
        assert!(verdicts.remembered(EngineName::Tract, Path::new("good"), later).is_some());
        assert!(verdicts.remembered(EngineName::Tract, Path::new("bad"), later).is_none());
    }
}
