//! What an engine does: load a model file once, then run it from as many sessions as there are threads.

use crate::tensor::{Tensor, TensorSpec};
use kaogong_domain::{Problem, endpoints::EngineName};
use std::{collections::BTreeMap, path::Path, sync::Arc, time::Instant};

/// Loads models. Object safe; used as `Arc<dyn Engine>`.
pub trait Engine: Send + Sync + 'static {
    /// Which engine.
    fn name(&self) -> EngineName;

    /// Its version, for pages and logs.
    fn version(&self) -> String;

    /// Reads a model. Blocks and works; never called on a thread that serves requests. `threads` is how many sessions
    /// are wanted side by side: an engine whose sessions are too large for that may use the cores inside of one.
    ///
    /// # Errors
    /// `Invalid` when the file is no model that this engine can run, naming what it cannot.
    fn load(&self, path: &Path, threads: usize) -> Result<Arc<dyn Loaded>, Problem>;
}

/// A model in memory.
pub trait Loaded: Send + Sync + 'static {
    /// What it takes.
    fn inputs(&self) -> &[TensorSpec];

    /// What it gives.
    fn outputs(&self) -> &[TensorSpec];

    /// The texts that its maker put into the file.
    fn metadata(&self) -> &BTreeMap<String, String>;

    /// Whether the cost of a run depends on nothing but the number of rows: no loops, no branches, no sizes that come
    /// from values, no free dimension inside a row. Only such a model may run on a thread that serves requests.
    fn is_steady(&self) -> bool {
        false
    }

    /// Whether each row of the outputs is known to depend on the same row of the inputs alone, whatever the numbers: shown
    /// from the operators of the graph, not from a try. Rows of several callers may share a run only then.
    fn is_row_wise(&self) -> bool {
        false
    }

    /// The memory that each session takes for itself, in bytes: the weights, where sessions do not share them.
    fn session_bytes(&self) -> u64 {
        0
    }

    /// A session of its own for one thread.
    ///
    /// # Errors
    /// `Unavailable` when there is no memory for it.
    fn session(&self) -> Result<Box<dyn Session>, Problem>;

    /// The process that has the model, when it is another one than this.
    fn process(&self) -> Option<i32> {
        None
    }

    /// Why no call is taken now, for a model that is set aside for a while. Asked before every call, so it is cheap.
    fn refusal(&self) -> Option<Problem> {
        None
    }
}

/// Asks a run that is under way in another thread to end.
pub trait Stop: Send + Sync {
    /// Returns at once; the run ends with an error as soon as its engine looks.
    fn stop(&self);
}

/// Runs a model from one thread.
pub trait Session: Send {
    /// Runs the model. Inputs come in the model's order; outputs are given in the model's order.
    ///
    /// # Errors
    /// `Invalid` when the inputs do not fit each other or the model.
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Problem>;

    /// As [`Session::run`], given up at a moment. A session in this process cannot be given up from within; who runs it
    /// uses [`Session::stopper`].
    ///
    /// # Errors
    /// As [`Session::run`]; `Unavailable` when the time was over.
    fn run_until(&mut self, inputs: &[Tensor], _until: Instant) -> Result<Vec<Tensor>, Problem> {
        self.run(inputs)
    }

    /// What ends a run of this session early, where its engine can do that.
    fn stopper(&self) -> Option<Arc<dyn Stop>> {
        None
    }
}
