//! Progress on stderr: a live line on a terminal, a few plain lines otherwise.

use super::{note, words};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::IsTerminal,
    sync::Mutex,
    time::{Duration, Instant},
};

/// Without a terminal, a line is written this often at most.
const PLAIN_EVERY: Duration = Duration::from_secs(15);

/// One piece of work that is under way.
pub struct Progress {
    name: String,
    bar: Option<ProgressBar>,
    began: Instant,
    plain: Mutex<Plain>,
}

struct Plain {
    wrote_at: Instant,
    said: String,
}

/// Several pieces of work that are shown together.
pub struct Board(Option<MultiProgress>);

impl Board {
    /// A board on stderr.
    pub fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self(is_terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr())))
    }

    /// Work measured in bytes.
    pub fn bytes(&self, name: &str, total: u64) -> Progress {
        self.add(name, total, "{msg:28} {bar:30} {bytes:>10} / {total_bytes} {bytes_per_sec} {eta}")
    }

    /// Work measured in things.
    pub fn count(&self, name: &str, total: u64) -> Progress {
        self.add(name, total, "{msg:28} {bar:30} {pos:>7} / {len} {per_sec} {eta}")
    }

    /// Work without a measure.
    pub fn spinner(&self, name: &str) -> Progress {
        self.add(name, 0, "{spinner} {msg} {elapsed}")
    }

    fn add(&self, name: &str, total: u64, template: &str) -> Progress {
        let bar = self.0.as_ref().map(|board| {
            let bar = board.add(ProgressBar::new(total));
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            note(&format!("{name} …"));
        }
        let now = Instant::now();
        let plain = Mutex::new(Plain { wrote_at: now, said: String::new() });
        Progress { name: name.to_owned(), bar, began: now, plain }
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// How far the work is, in its measure.
    pub fn set(&self, position: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
        }
    }

    /// How far the work is, and how much there is by now.
    pub fn set_of(&self, position: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total.max(position));
            bar.set_position(position);
        }
    }

    /// What is going on, in words. Without a terminal it is written when it is new and not too often.
    pub fn say(&self, text: &str) {
        let text = super::table::clean(text);
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {text}", self.name));
            return;
        }
        let Ok(mut plain) = self.plain.lock() else { return };
        if plain.said != text && plain.wrote_at.elapsed() >= PLAIN_EVERY {
            note(&format!("{}: {text}", self.name));
            plain.wrote_at = Instant::now();
            plain.said = text;
        }
    }

    /// Ends the work with a sentence.
    pub fn finish(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let took = words::span(i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX));
        let line = format!("{}: {text} ({took})", self.name);
        match &self.bar {
            Some(bar) => bar.suspend(|| note(&line)),
            None => note(&line),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
