//! Rendering: data to stdout as a table or JSON, everything else to stderr.

pub mod progress;
pub mod table;
pub mod words;

use kaogong_api::Page;
use kaogong_domain::Problem;
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

/// Where a command's results go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// How data is written.
    pub format: Format,
}

impl Output {
    /// A list with its total.
    pub fn page<T: Serialize>(
        &self,
        page: &Page<T>,
        head: &[&str],
        row: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), Problem> {
        self.list(page, &page.items, head, row)?;
        let shown = page.items.len() as u64;
        if self.format == Format::Table && page.total > shown {
            self.note(&format!("{shown} of {} shown", page.total));
        }
        Ok(())
    }

    /// A list that is part of `value`: `value` as JSON, or `rows` as a table.
    pub fn list<T>(
        &self,
        value: &impl Serialize,
        rows: &[T],
        head: &[&str],
        row: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), Problem> {
        match self.format {
            Format::Json => self.json(value),
            Format::Table => self.text(&table::render(head, &rows.iter().map(row).collect::<Vec<_>>())),
        }
    }

    /// One thing: `value` as JSON, or pairs of name and text. Pairs with an empty text are left out.
    pub fn thing(&self, value: &impl Serialize, pairs: &[(&str, String)]) -> Result<(), Problem> {
        match self.format {
            Format::Json => self.json(value),
            Format::Table => self.text(&table::pairs(pairs)),
        }
    }

    /// Something that was done: `value` as JSON, or a sentence for people.
    pub fn done(&self, value: &impl Serialize, sentence: &str) -> Result<(), Problem> {
        match self.format {
            Format::Json => self.json(value),
            Format::Table => {
                self.note(sentence);
                Ok(())
            }
        }
    }

    /// A value as JSON, on one line per call.
    pub fn json(&self, value: &impl Serialize) -> Result<(), Problem> {
        let text =
            serde_json::to_string_pretty(value).map_err(|it| Problem::bug("the answer cannot be written", it))?;
        self.text(&(text + "\n"))
    }

    /// Text as it is, to stdout.
    pub fn text(&self, text: &str) -> Result<(), Problem> {
        self.bytes(text.as_bytes())
    }

    /// Bytes as they are, to stdout. A reader that has enough (`| head`) is no failure.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Problem> {
        let mut out = std::io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Problem::unavailable(format!("cannot write to standard output: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// A remark for people, to stderr.
    pub fn note(&self, text: &str) {
        note(text);
    }

    /// A failure, to stderr: a sentence and a hint, or the wire's error shape as JSON.
    pub fn problem(&self, problem: &Problem) {
        if self.format == Format::Json {
            let error = serde_json::json!({ "error": {
                "kind": problem.kind.as_str(), "message": problem.text, "hint": problem.hint,
                "exit_code": crate::exit::number(problem),
            }});
            note(&error.to_string());
            return;
        }
        note(&format!("error: {}", table::clean_lines(&problem.text)));
        if let Some(hint) = &problem.hint {
            note(&format!("hint: {}", table::clean_lines(hint)));
        }
    }
}

/// A line to stderr. When even that cannot be written there is nobody to tell.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
