//! Usage samples of an attempt: one a second at first, then ever rarer, so that they never get many.

use crate::{
    USAGE_SAMPLES_MAX, UsageSample,
    fault::{Fault, OnPath},
    folder::{private_file, replace_file},
};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The rarest that samples get, after years.
const EVERY_MAX: Duration = Duration::from_secs(24 * 3600);

/// Keeps the samples of an attempt in a file of JSON lines.
#[derive(Debug)]
pub(crate) struct Recorder {
    path: PathBuf,
    file: Option<File>,
    samples: Vec<UsageSample>,
    samples_max: usize,
    every: Duration,
    next: Instant,
    failing: bool,
}

impl Recorder {
    pub(crate) fn new(path: PathBuf) -> Self {
        let every = Duration::from_secs(1);
        let next = Instant::now();
        Self { path, file: None, samples: Vec::new(), samples_max: USAGE_SAMPLES_MAX, every, next, failing: false }
    }

    /// Whether it is time for a sample.
    pub(crate) fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    /// Keeps a sample. A sample that cannot be written is missed; the first of a row is told.
    pub(crate) fn keep(&mut self, sample: UsageSample) {
        self.next = Instant::now() + self.every;
        self.samples.push(sample);
        let kept = if self.samples.len() >= self.samples_max { self.thin_out() } else { self.append(&sample) };
        let was_failing = std::mem::replace(&mut self.failing, kept.is_err());
        if let (Err(fault), false) = (kept, was_failing) {
            tracing::warn!(error = %fault.in_full(), "a usage sample is not kept in {}", self.path.display());
        }
    }

    fn append(&mut self, sample: &UsageSample) -> Result<(), Fault> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = private_file().append(true).create(true).open(&self.path).on("open", &self.path)?;
                none.insert(file)
            }
        };
        file.write_all(&line(sample).on("encode", &self.path)?).on("append to", &self.path)
    }

    /// Drops every second sample, keeping the first and the last, and samples half as often from now on.
    fn thin_out(&mut self) -> Result<(), Fault> {
        let last = self.samples.len() - 1;
        let mut index = 0;
        self.samples.retain(|_| {
            index += 1;
            (index - 1) % 2 == 0 || index - 1 == last
        });
        self.every = (self.every * 2).min(EVERY_MAX);
        self.file = None;
        let mut text = Vec::new();
        for sample in &self.samples {
            text.extend(line(sample).on("encode", &self.path)?);
        }
        replace_file(&self.path, &text)
    }
}

fn line(sample: &UsageSample) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(sample)?;
    text.push(b'\n');
    Ok(text)
}

/// Reads the samples, oldest first. A last line cut off by a crash is left out.
pub(crate) fn read(path: &Path) -> Result<Vec<UsageSample>, Fault> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.on("read", path)?,
    };
    Ok(text.lines().filter_map(|it| serde_json::from_str(it).ok()).take(USAGE_SAMPLES_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kaogong_domain::Timestamp;

    fn sample(at: i64) -> UsageSample {
        UsageSample { at: Timestamp(at), cpu_ms: 1, rss_bytes: 2, processes: 3 }
    }

    #[test]
    fn samples_stay_few_and_span_the_whole_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("usage.jsonl");
        let mut recorder = Recorder { samples_max: 16, ..Recorder::new(path.clone()) };
        for at in 0..1000 {
            recorder.keep(sample(at));
            let read = read(&path).expect("samples");
            assert!(read.len() <= 16, "{} samples after {at}", read.len());
            assert_eq!(read.first().map(|it| it.at), Some(Timestamp(0)));
            assert_eq!(read.last().map(|it| it.at), Some(Timestamp(at)));
            assert!(read.is_sorted_by_key(|it| it.at));
        }
        assert!(recorder.every > Duration::from_secs(60));
    }

    #[test]
    fn a_torn_last_line_is_left_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("usage.jsonl");
        let mut text = line(&sample(5)).expect("a line");
        text.extend(b"{\"at\":6,\"cpu_m");
        fs::write(&path, text).expect("written");
        assert_eq!(read(&path).expect("samples"), [sample(5)]);
        assert_eq!(read(&dir.path().join("absent")).expect("no samples"), []);
    }
}
