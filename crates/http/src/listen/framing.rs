//! Where one HTTP/1 request ends and the next begins, read strictly. The parser behind this is lenient: it takes a bare
//! line feed for the end of a line, for example. A proxy in front that reads the same bytes otherwise would let one
//! client's request be taken for another's (RFC 9112, section 11.2).
//!
//! Invariant: what is refused here is never more than what RFC 9112 says must or may be refused.

/// A chunk's size has at most this many digits.
const CHUNK_DIGITS_MAX: u32 = 15;
/// What is kept of a name or value; those that matter here are shorter.
const KEPT_MAX: usize = 64;
/// What every HTTP/2 connection begins with.
const HTTP2: &[u8] = b"PRI * HTTP/2.0";

/// Follows the bytes of one connection.
#[derive(Debug)]
pub(super) struct Framing {
    at: At,
    /// The last byte was a carriage return: a line feed must come.
    is_ending: bool,
    head: Head,
}

/// Where the next byte belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before or in the request line.
    Line,
    /// At the first byte of a header line, or of the empty one.
    NameStart,
    Name,
    Value,
    /// In the body, this many bytes from its end.
    Body(u64),
    ChunkSize {
        size: u64,
        digits: u32,
    },
    ChunkExtension(u64),
    /// In a chunk, this many bytes from its end.
    Chunk(u64),
    /// Behind a chunk, where its line ends.
    ChunkEnd,
    /// At the first byte of a trailer line, or of the empty one.
    TrailerStart,
    TrailerName,
    TrailerValue,
    /// Not HTTP/1, or no longer: somebody else's business.
    Elsewhere,
    /// Something was refused.
    Refused,
}

/// What a head said so far.
#[derive(Debug, Default)]
struct Head {
    line: Vec<u8>,
    line_length: usize,
    spaces: usize,
    name: Vec<u8>,
    value: Vec<u8>,
    value_length: usize,
    length: Option<u64>,
    is_chunked: bool,
    hosts: usize,
    is_refused: bool,
}

impl Framing {
    pub(super) fn new() -> Self {
        Self { at: At::Line, is_ending: false, head: Head::default() }
    }

    /// Whether the client may be in the middle of sending something.
    pub(super) fn is_open(&self) -> bool {
        match self.at {
            At::Line => self.head.line_length > 0,
            At::Elsewhere => false,
            _ => true,
        }
    }

    /// The place of the first byte that is refused. After that nothing more is taken.
    pub(super) fn first_refused(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut place = 0;
        while place < bytes.len() {
            let left = bytes.len() - place;
            match &mut self.at {
                At::Elsewhere => return None,
                At::Refused => return Some(place),
                At::Body(rest) | At::Chunk(rest) => {
                    let passed = usize::try_from(*rest).unwrap_or(usize::MAX).min(left);
                    *rest -= passed as u64;
                    place += passed;
                    if *rest == 0 {
                        self.at = if matches!(self.at, At::Chunk(_)) { At::ChunkEnd } else { At::Line };
                    }
                }
                _ => {
                    if !self.takes(bytes[place]) {
                        self.at = At::Refused;
                        return Some(place);
                    }
                    place += 1;
                }
            }
        }
        None
    }

    /// One byte of a line.
    fn takes(&mut self, byte: u8) -> bool {
        if self.is_ending {
            self.is_ending = false;
            return byte == b'\n' && self.line_ends();
        }
        match byte {
            b'\r' => {
                self.is_ending = true;
                // A name without a colon is no header.
                !matches!(self.at, At::Name | At::TrailerName)
            }
            b'\n' | 0 => false,
            _ => self.takes_text(byte),
        }
    }

    fn takes_text(&mut self, byte: u8) -> bool {
        match self.at {
            At::Line => self.head.takes_line(byte),
            At::NameStart | At::TrailerStart => {
                self.head.name.clear();
                self.head.value.clear();
                self.head.value_length = 0;
                self.at = if self.at == At::NameStart { At::Name } else { At::TrailerName };
                // A space here would go on with the line before.
                self.head.takes_name(byte)
            }
            At::Name | At::TrailerName if byte == b':' => {
                self.at = if self.at == At::Name { At::Value } else { At::TrailerValue };
                true
            }
            At::Name | At::TrailerName => self.head.takes_name(byte),
            At::Value => self.head.takes_value(byte),
            At::ChunkSize { size, digits } => {
                let digit = char::from(byte).to_digit(16);
                match digit {
                    Some(digit) if digits < CHUNK_DIGITS_MAX => {
                        self.at = At::ChunkSize { size: size << 4 | u64::from(digit), digits: digits + 1 };
                        true
                    }
                    _ => {
                        self.at = At::ChunkExtension(size);
                        byte == b';' && digits > 0
                    }
                }
            }
            At::ChunkExtension(_) | At::TrailerValue => byte == b'\t' || byte >= b' ' && byte != 0x7f,
            At::ChunkEnd => false,
            At::Body(_) | At::Chunk(_) | At::Elsewhere | At::Refused => true,
        }
    }

    fn line_ends(&mut self) -> bool {
        self.at = match self.at {
            // Empty lines before a request are passed over.
            At::Line if self.head.line_length == 0 => At::Line,
            At::Line if self.head.line == HTTP2 => At::Elsewhere,
            At::Line if !self.head.is_request_line() => return false,
            At::Line => At::NameStart,
            At::TrailerValue => At::TrailerStart,
            At::Value => {
                self.head.header_ends();
                At::NameStart
            }
            At::NameStart => match self.head.body() {
                Some(at) => {
                    self.head = Head::default();
                    at
                }
                None => return false,
            },
            At::ChunkSize { digits: 0, .. } => return false,
            At::ChunkSize { size, .. } | At::ChunkExtension(size) => {
                if size == 0 {
                    At::TrailerStart
                } else {
                    At::Chunk(size)
                }
            }
            At::ChunkEnd => At::ChunkSize { size: 0, digits: 0 },
            At::TrailerStart => At::Line,
            other => other,
        };
        true
    }
}

impl Head {
    /// A byte of the request line; the end of it tells the version.
    fn takes_line(&mut self, byte: u8) -> bool {
        self.line_length += 1;
        self.spaces += usize::from(byte == b' ');
        if self.line.len() == KEPT_MAX {
            self.line.remove(0);
        }
        self.line.push(byte);
        byte > b' ' && byte != 0x7f || (byte == b' ' && self.line_length > 1 && self.spaces <= 2)
    }

    fn is_request_line(&self) -> bool {
        self.spaces == 2 && (self.line.ends_with(b" HTTP/1.1") || self.line.ends_with(b" HTTP/1.0"))
    }

    /// A token (RFC 9110, section 5.6.2).
    fn takes_name(&mut self, byte: u8) -> bool {
        if self.name.len() < KEPT_MAX {
            self.name.push(byte.to_ascii_lowercase());
        }
        byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
    }

    fn takes_value(&mut self, byte: u8) -> bool {
        self.value_length += 1;
        if self.value.len() < KEPT_MAX {
            self.value.push(byte);
        }
        byte == b'\t' || byte >= b' ' && byte != 0x7f
    }

    /// Takes note of the headers that say where the body ends, and for whom the request is.
    fn header_ends(&mut self) {
        let value = self.value.trim_ascii();
        match self.name.as_slice() {
            b"host" => self.hosts += 1,
            b"content-length" => {
                let is_number =
                    !value.is_empty() && value.iter().all(u8::is_ascii_digit) && self.value_length <= KEPT_MAX;
                let number = std::str::from_utf8(value).ok().filter(|_| is_number).and_then(|it| it.parse().ok());
                self.is_refused |= number.is_none() || self.length.is_some();
                self.length = number;
            }
            b"transfer-encoding" => {
                let is_known = value.eq_ignore_ascii_case(b"chunked") && self.value_length <= KEPT_MAX;
                self.is_refused |= self.is_chunked || !is_known;
                self.is_chunked = true;
            }
            _ => {}
        }
    }

    /// What follows the head; `None` when it is ambiguous.
    fn body(&self) -> Option<At> {
        let is_old = self.line.ends_with(b"0");
        let is_ambiguous = self.is_chunked && (self.length.is_some() || is_old);
        if self.is_refused || is_ambiguous || self.hosts > 1 || (self.hosts == 0 && !is_old) {
            return None;
        }
        Some(match self.length {
            _ if self.is_chunked => At::ChunkSize { size: 0, digits: 0 },
            Some(length) if length > 0 => At::Body(length),
            _ => At::Line,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(bytes: &[u8]) -> Option<usize> {
        Framing::new().first_refused(bytes)
    }

    fn head(rest: &str) -> String {
        format!("POST /p/x HTTP/1.1\r\nHost: h\r\n{rest}\r\n")
    }

    #[test]
    fn what_clients_send_is_taken() {
        for good in [
            head(""),
            head("Content-Length: 3\r\n") + "a\nb" + &head("content-length:0\r\n") + &head(""),
            head("Transfer-Encoding: chunked\r\n") + "4\r\na\r\nb\r\n0\r\n\r\n" + &head(""),
            head("transfer-encoding:CHUNKED \r\nTE: trailers\r\n")
                + "A;x=y\r\n0123456789\r\n00\r\nX: y\r\n\r\n"
                + &head(""),
            head("X: \t caf\u{e9}\tx\r\nEmpty:\r\n"),
            format!("\r\n\r\n{}", head("")),
            "GET / HTTP/1.0\r\n\r\n".to_owned(),
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\n\0anything".to_owned(),
        ] {
            assert_eq!(refused(good.as_bytes()), None, "{good:?}");
        }
    }

    #[test]
    fn what_two_programs_could_read_differently_is_refused() {
        for bad in [
            "GET / HTTP/1.1\nHost: h\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nHost: h\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nHost: h\r\n\n".to_owned(),
            "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\rHost: h\r\n\r\n".to_owned(),
            "GET  / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            "GET /\tHTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            "GET / x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            " GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            "GET / HTTP/1.1 \r\nHost: h\r\n\r\n".to_owned(),
            "GET /\r\n\r\n".to_owned(),
            "GET / HTTP/1.2\r\nHost: h\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\n\r\n".to_owned(),
            head("Host: other\r\n"),
            head("X: a\r\n b\r\n"),
            head("X : a\r\n"),
            head(" X: a\r\n"),
            head("X\r\n"),
            head(": a\r\n").replace(": a", " : a"),
            head("X: a\rb\r\n"),
            head("X: a\0\r\n"),
            head("X(y): a\r\n"),
            head("Content-Length: 1\r\nContent-Length: 1\r\n") + "a",
            head("Content-Length: 1, 1\r\n") + "a",
            head("Content-Length: +1\r\n") + "a",
            head("Content-Length: 0x1\r\n") + "a",
            head("Content-Length:\r\n"),
            head("Content-Length: 99999999999999999999\r\n"),
            head("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
            head("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n"),
            head("Transfer-Encoding: gzip, chunked\r\n"),
            head("Transfer-Encoding: identity\r\n"),
            head("Transfer-Encoding: xchunked\r\n"),
            head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        ] {
            assert!(refused(bad.as_bytes()).is_some(), "{bad:?}");
        }
        let chunked = head("Transfer-Encoding: chunked\r\n");
        for bad in [
            "\r\n",
            "1\na\r\n",
            "1\r\na\n0\r\n\r\n",
            "1\r\nab\r\n",
            "-1\r\n",
            "0x1\r\na",
            "1 \r\na\r\n",
            " 1\r\na\r\n",
            "+1\r\na",
            "1;\nx\r\n",
            "1;a\rb\r\n",
            "0000000000000001\r\na\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\n\n",
        ] {
            assert!(refused((chunked.clone() + bad).as_bytes()).is_some(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(bytes in "[ -~\r\n\0]{0,80}", cuts in proptest::collection::vec(0usize..200, 0..6), good in any::<bool>()) {
            let text = if good { head("Transfer-Encoding: chunked\r\n") + &bytes } else { bytes };
            let whole = refused(text.as_bytes());
            let mut cuts: Vec<usize> = cuts.into_iter().map(|it| it.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let mut framing = Framing::new();
            let found = cuts.windows(2).find_map(|it| framing.first_refused(&text.as_bytes()[it[0]..it[1]]).map(|at| at + it[0]));
            prop_assert_eq!(found, whole);
        }
    }
}
