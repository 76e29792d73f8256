//! The Python files that jobs need, carried inside the program.

use kaogong_client::tar_out::Entry;

macro_rules! python {
    ($path:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../python/", $path))
    };
}

/// The helper package that jobs import, as name below `PYTHONPATH` and text.
pub const JOB_HELPER: [(&str, &str); 3] = [
    ("kaogong_job/__init__.py", python!("kaogong_job/__init__.py")),
    ("kaogong_job/server.py", python!("kaogong_job/server.py")),
    ("kaogong_job/data.py", python!("kaogong_job/data.py")),
];

/// The training scripts.
const TRAIN: [(&str, &str); 4] = [
    ("train/images.py", python!("train/images.py")),
    ("train/table.py", python!("train/table.py")),
    ("train/fit.py", python!("train/fit.py")),
    ("train/graph.py", python!("train/graph.py")),
];

/// Every package that the training scripts import, pinned, with hashes.
pub const SKLEARN_LOCK: &str = python!("environments/sklearn/requirements.lock");

/// The version of Python that the lock was made for.
pub const SKLEARN_PYTHON: &str = "3.11";

/// The code of the training jobs as files of an archive.
pub fn training_code() -> Vec<Entry> {
    TRAIN.iter().chain(&JOB_HELPER).map(|(name, text)| Entry::bytes(name, text.as_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_pins_everything_and_names_no_registry() {
        assert!(SKLEARN_LOCK.contains("mlflow-skinny==") && SKLEARN_LOCK.contains("--hash=sha256:"));
        assert!(!SKLEARN_LOCK.contains("http"), "the lock must work with any index");
        for line in SKLEARN_LOCK.lines().filter(|it| !it.starts_with([' ', '#']) && !it.is_empty()) {
            assert!(line.contains("=="), "{line} is not pinned");
        }
    }
}
