//! JSON lines as records: a column for every key of the file's objects, in the order in which they appear.
//!
//! Strings are text, and dates where all are; numbers, `true` and `false` are what they say, digit by digit. A key that
//! an object lacks, and `null`, is no value. Lists and objects within an object are kept as their JSON text.

use super::{Record, Text};
use kaogong_domain::Problem;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::{
    collections::HashMap,
    fmt,
    io::{BufRead, Read},
};

/// The longest line, in bytes.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// The most keys.
const KEYS_MAX: usize = 10_000;

/// The keys of an object with their values as they stand.
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry::<String, &RawValue>()? {
                    all.push(entry);
                }
                Ok(Object(all))
            }
        }
        from.deserialize_map(Keys)
    }
}

/// The lines of a file.
pub struct JsonLines {
    text: Text,
    line: u64,
    bytes: Vec<u8>,
    places: HashMap<String, usize>,
    cells: Vec<Option<(String, bool)>>,
}

impl JsonLines {
    /// Reads from the begin of `text`, whose objects have these keys.
    pub fn new(text: Text, keys: &[String]) -> Self {
        let places = keys.iter().cloned().enumerate().map(|(at, key)| (key, at)).collect();
        Self { text, line: 0, bytes: Vec::new(), places, cells: Vec::new() }
    }

    /// All keys of a file, in the order in which they appear.
    ///
    /// # Errors
    /// `Invalid`, with the line, for a line that is no object, or too many keys.
    pub fn keys(text: Text) -> Result<Vec<String>, Problem> {
        let mut lines = Self::new(text, &[]);
        let mut keys = Vec::new();
        while lines.next_line()? {
            let object = object(&lines.bytes, lines.line)?;
            for (key, _) in object.0 {
                if lines.places.len() == KEYS_MAX {
                    return Err(Problem::invalid(format!("line {}: more than {KEYS_MAX} different keys", lines.line))
                        .hint("keep what varies from object to object in an object of its own"));
                }
                if !lines.places.contains_key(&key) {
                    lines.places.insert(key.clone(), keys.len());
                    keys.push(key);
                }
            }
        }
        Ok(keys)
    }

    /// The next object as a record with a field for each key; `false` at the end of the file.
    ///
    /// # Errors
    /// `Invalid`, with the line, for a line that is no object or has a key twice.
    pub fn read(&mut self, record: &mut Record) -> Result<bool, Problem> {
        if !self.next_line()? {
            return Ok(false);
        }
        let object = object(&self.bytes, self.line)?;
        self.cells.clear();
        self.cells.resize(self.places.len(), None);
        for (key, value) in object.0 {
            let Some(cell) = self.places.get(&key).and_then(|at| self.cells.get_mut(*at)) else { continue };
            if cell.replace(cell_of(value.get(), self.line)?).is_some() {
                return Err(Problem::invalid(format!("line {}: the key `{key}` stands there twice", self.line))
                    .hint("give every value its own key"));
            }
        }
        record.set(self.line, self.cells.iter().map(|it| it.as_ref().map_or(("", false), |it| (&*it.0, it.1))));
        Ok(true)
    }

    /// Reads the next line that is not blank.
    fn next_line(&mut self) -> Result<bool, Problem> {
        loop {
            self.bytes.clear();
            self.line += 1;
            let mut bounded = (&mut self.text).take(LINE_BYTES_MAX + 1);
            let read = bounded.read_until(b'\n', &mut self.bytes).map_err(|error| {
                Problem::invalid(format!("line {} cannot be read: {error}", self.line))
                    .hint("copy the file again from its source")
            })?;
            if read == 0 {
                return Ok(false);
            }
            if read as u64 > LINE_BYTES_MAX {
                return Err(Problem::invalid(format!(
                    "line {} is longer than {} MiB",
                    self.line,
                    LINE_BYTES_MAX >> 20
                ))
                .hint("write one object a line"));
            }
            if !self.bytes.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }
}

fn object(bytes: &[u8], line: u64) -> Result<Object<'_>, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::invalid(format!("line {line} is no JSON object: {error}")).hint("write one object a line")
    })
}

/// A value as a field: its text, and whether it is a string.
fn cell_of(raw: &str, line: u64) -> Result<(String, bool), Problem> {
    match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw).map(|it| (it, true)).map_err(|error| {
            Problem::invalid(format!("line {line} holds a text that is none: {error}")).hint("write it again as JSON")
        }),
        Some(b'n') => Ok((String::new(), false)),
        Some(b'[' | b'{') => Ok((raw.to_owned(), true)),
        _ => Ok((raw.to_owned(), false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_become_records() {
        let text = "{\"a\":1,\"b\":\"x\\n\"}\n\n{\"c\":[1, 2],\"a\":1e400}\r\n{\"b\":null,\"a\":true}";
        let open = || -> Text { Box::new(std::io::Cursor::new(text)) };
        let keys = JsonLines::keys(open()).expect("keys");
        assert_eq!(keys, ["a", "b", "c"]);
        let (mut lines, mut record) = (JsonLines::new(open(), &keys), Record::default());
        let mut rows = Vec::new();
        while lines.read(&mut record).expect("objects") {
            let fields = record.fields().map(|it| format!("{}{}", it.text, if it.quoted { "'" } else { "" }));
            rows.push(format!("{} {}", record.line(), fields.collect::<Vec<_>>().join("|")));
        }
        assert_eq!(rows, ["1 1|x\n'|", "3 1e400||[1, 2]'", "4 true||"]);
    }

    #[test]
    fn what_is_no_object_is_told_with_its_line() {
        for (text, expected) in [("{}\n[1]", "line 2 is no JSON object"), ("{\"a\":NaN}", "line 1 is no JSON object")] {
            let problem = JsonLines::keys(Box::new(std::io::Cursor::new(text))).expect_err("no object");
            assert!(problem.text.starts_with(expected), "{}", problem.text);
        }
        let mut lines = JsonLines::new(Box::new(std::io::Cursor::new("{\"a\":1,\"a\":2}")), &["a".to_owned()]);
        assert!(lines.read(&mut Record::default()).is_err());
    }
}
