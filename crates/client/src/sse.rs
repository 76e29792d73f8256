//! Server-sent events: a reader of the stream's lines (HTML standard, section 9.2.6), bounded.

/// The longest event that is read, in bytes.
const EVENT_BYTES_MAX: usize = 8 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Event {
    /// `message` when the stream names none.
    pub(crate) name: String,
    /// Its data, lines joined by `\n`.
    pub(crate) data: String,
}

/// Turns pieces of a stream into events.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    waiting: Vec<u8>,
    name: String,
    data: Option<String>,
}

/// An event is longer than the bound.
#[derive(Debug, thiserror::Error)]
#[error("an event of more than {EVENT_BYTES_MAX} bytes")]
pub(crate) struct TooLong;

impl Reader {
    /// Takes one piece and gives the events that it completes.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<Vec<Event>, TooLong> {
        self.waiting.extend_from_slice(piece);
        let mut events = Vec::new();
        let mut begin = 0;
        while let Some(length) = self.waiting[begin..].iter().position(|it| *it == b'\n') {
            let line = self.waiting[begin..begin + length].to_vec();
            begin += length + 1;
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            events.extend(self.line(line));
        }
        self.waiting.drain(..begin);
        if self.waiting.len() + self.data.as_ref().map_or(0, String::len) > EVENT_BYTES_MAX {
            return Err(TooLong);
        }
        Ok(events)
    }

    fn line(&mut self, line: &[u8]) -> Option<Event> {
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let data = self.data.take()?;
            return Some(Event { name: if name.is_empty() { "message".into() } else { name }, data });
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => match &mut self.data {
                None => self.data = Some(value.to_owned()),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
            },
            // Comments keep the connection alive; ids and retry times are not used.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str = ": hello\n\nevent: log\r\ndata: {\"a\":\ndata: 1}\nid: 7\n\ndata:x\n\nevent: end\ndata: \n\n";

    fn expected() -> Vec<Event> {
        let event = |name: &str, data: &str| Event { name: name.into(), data: data.into() };
        vec![event("log", "{\"a\":\n1}"), event("message", "x"), event("end", "")]
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_does_not_matter(cuts in proptest::collection::vec(0..STREAM.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let mut reader = Reader::default();
            let mut seen = Vec::new();
            for pair in cuts.windows(2) {
                seen.extend(reader.push(&STREAM.as_bytes()[pair[0]..pair[1]]).expect("short events"));
            }
            prop_assert_eq!(seen, expected());
        }
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut reader = Reader::default();
        let piece = vec![b'x'; 1 << 20];
        assert!((0..10).any(|_| reader.push(&piece).is_err()));
    }
}
