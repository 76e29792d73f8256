//! Covers secrets in what is on its way to readers, also where it comes in pieces.
//!
//! A secret is found as it is, line by line when it has several, and in the forms in which programs print it without
//! meaning to: base64 at any alignment, hexadecimal, percent-encoded, and escaped for JSON. API tokens of this platform
//! are found by their shape, whosever they are. This guards against accidents: who means to give a secret away can
//! always write it in another form.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

/// Begins every API token, so that scanners and people recognise one.
pub const TOKEN_PREFIX: &str = "kgt_";
/// Characters of a token after its prefix: 32 random bytes in base64.
const TOKEN_CHARS: usize = 43;
/// The fewest bytes of a text that is covered; shorter ones occur by chance.
pub const MASKED_BYTES_MIN: usize = 8;
/// Longer secrets are found as they are and by line only.
const ENCODED_BYTES_MAX: usize = 4 << 10;
/// What stands in place of a secret.
const STARS: &[u8] = b"***";

/// Texts to cover. Cheap to make without secrets: then only tokens are found.
#[derive(Clone)]
pub struct Masks {
    /// The texts by their first two bytes.
    by_start: HashMap<[u8; 2], Vec<Box<[u8]>>>,
    /// One bit for each pair of first bytes.
    starts: Box<[u64; 1024]>,
    /// Which bytes begin a text.
    firsts: [bool; 256],
    longest: usize,
}

impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is covered must not be printed here of all places.
        write!(f, "Masks({} texts)", self.by_start.values().map(Vec::len).sum::<usize>())
    }
}

impl Default for Masks {
    fn default() -> Self {
        Self::new([])
    }
}

/// What is at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    /// A text of that many bytes.
    Text(usize),
    /// The bytes end before it is known.
    Perhaps,
}

impl Masks {
    /// Masks for secrets; those shorter than [`MASKED_BYTES_MIN`] are left out.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let texts: BTreeSet<Vec<u8>> = secrets.into_iter().flat_map(forms).collect();
        let mut made = Self {
            by_start: HashMap::new(),
            starts: Box::new([0; 1024]),
            firsts: [false; 256],
            longest: TOKEN_PREFIX.len() + TOKEN_CHARS,
        };
        let token = TOKEN_PREFIX.as_bytes();
        made.note_start(token[0], token[1]);
        for text in texts {
            made.note_start(text[0], text[1]);
            made.longest = made.longest.max(text.len());
            made.by_start.entry([text[0], text[1]]).or_default().push(text.into_boxed_slice());
        }
        made
    }

    fn note_start(&mut self, first: u8, second: u8) {
        let pair = usize::from(first) << 8 | usize::from(second);
        self.starts[pair >> 6] |= 1 << (pair & 63);
        self.firsts[usize::from(first)] = true;
    }

    fn may_start(&self, first: u8, second: u8) -> bool {
        let pair = usize::from(first) << 8 | usize::from(second);
        self.starts[pair >> 6] & (1 << (pair & 63)) != 0
    }

    /// The most bytes of a covered text.
    pub fn longest(&self) -> usize {
        self.longest
    }

    fn look(&self, bytes: &[u8], is_end: bool) -> Found {
        let [first, rest @ ..] = bytes else { return Found::Nothing };
        let Some(second) = rest.first() else {
            return if self.firsts[usize::from(*first)] && !is_end { Found::Perhaps } else { Found::Nothing };
        };
        let mut found = token_at(bytes, is_end);
        for text in self.by_start.get(&[*first, *second]).into_iter().flatten() {
            if bytes.starts_with(text) {
                if let Found::Nothing | Found::Text(_) = found {
                    let before = if let Found::Text(length) = found { length } else { 0 };
                    found = Found::Text(before.max(text.len()));
                }
            } else if !is_end && bytes.len() < text.len() && text.starts_with(bytes) {
                // A longer one may be there: what is found by then would leave its rest uncovered.
                return Found::Perhaps;
            }
        }
        found
    }

    /// A whole text, covered.
    pub fn cover(self: &Arc<Self>, text: &str) -> String {
        let mut masker = Masker::new(self.clone(), Cover::Stars);
        let mut out = vec![];
        masker.push(text.as_bytes(), &mut out);
        masker.finish(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Whole bytes, covered in place; gives how many places there were.
    pub fn cover_in_place(self: &Arc<Self>, bytes: &mut Vec<u8>) -> usize {
        let mut masker = Masker::new(self.clone(), Cover::SameLength);
        let mut out = Vec::with_capacity(bytes.len());
        masker.push(bytes, &mut out);
        masker.finish(&mut out);
        *bytes = out;
        masker.places
    }
}

/// A text whose addresses have lost their user names and passwords: `https://me:word@host/` becomes `https://***@host/`.
pub fn without_credentials(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let host = after.find(|it: char| it == '/' || it == '"' || it == '\'' || it.is_whitespace());
        let (host, next) = after.split_at(host.unwrap_or(after.len()));
        match host.rsplit_once('@') {
            Some((_, host)) => {
                out.push_str("***@");
                out.push_str(host);
            }
            None => out.push_str(host),
        }
        rest = next;
    }
    out + rest
}

fn token_at(bytes: &[u8], is_end: bool) -> Found {
    let prefix = TOKEN_PREFIX.as_bytes();
    if !bytes.starts_with(prefix) {
        return if !is_end && prefix.starts_with(bytes) { Found::Perhaps } else { Found::Nothing };
    }
    let rest = &bytes[prefix.len()..];
    let is_token = |it: &&u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-');
    match rest.iter().take(TOKEN_CHARS).take_while(is_token).count() {
        TOKEN_CHARS => Found::Text(prefix.len() + TOKEN_CHARS),
        count if count == rest.len() && !is_end => Found::Perhaps,
        _ => Found::Nothing,
    }
}

/// The forms in which a secret is looked for.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let secret = secret.trim();
    let mut all = vec![secret.as_bytes().to_vec()];
    if secret.contains(['\n', '\r']) {
        all.extend(secret.lines().map(|it| it.trim().as_bytes().to_vec()));
    }
    if secret.len() <= ENCODED_BYTES_MAX && secret.len() >= MASKED_BYTES_MIN {
        for shift in 0..3 {
            all.extend(shifted(secret, shift));
        }
        let hex = |digits: fn(u8) -> String| secret.bytes().map(digits).collect::<String>().into_bytes();
        all.extend([hex(|it| format!("{it:02x}")), hex(|it| format!("{it:02X}"))]);
        all.extend([percent_encoded(secret), escaped(secret)]);
    }
    all.retain(|it| it.len() >= MASKED_BYTES_MIN);
    all
}

/// What base64 makes of a secret that begins `shift` bytes after a multiple of three: the characters that depend on the
/// secret alone, in both alphabets.
fn shifted(secret: &str, shift: usize) -> [Vec<u8>; 2] {
    let bytes = [&[0; 2][..shift], secret.as_bytes()].concat();
    let (from, to) = ((shift * 8).div_ceil(6), bytes.len() * 8 / 6);
    [BASE64_STANDARD_NO_PAD.encode(&bytes), BASE64_URL_SAFE_NO_PAD.encode(&bytes)]
        .map(|it| it.as_bytes().get(from..to).unwrap_or_default().to_vec())
}

fn percent_encoded(secret: &str) -> Vec<u8> {
    let encode = |it: u8| match it {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(it).to_string(),
        _ => format!("%{it:02X}"),
    };
    secret.bytes().map(encode).collect::<String>().into_bytes()
}

/// As JSON and most languages write it between quotes.
fn escaped(secret: &str) -> Vec<u8> {
    let escape = |it: char| match it {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        it => it.to_string(),
    };
    secret.chars().map(escape).collect::<String>().into_bytes()
}

/// What is put in place of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// Three asterisks.
    Stars,
    /// An asterisk for each byte, so that lengths and offsets stay as they are.
    SameLength,
}

/// Covers secrets in a stream of pieces. Only bytes that may begin a secret are held back, until more come.
#[derive(Debug)]
pub struct Masker {
    masks: Arc<Masks>,
    cover: Cover,
    carry: Vec<u8>,
    /// Bytes at the beginning of `carry` that lie inside a secret.
    covered: usize,
    /// Secrets found so far.
    pub places: usize,
}

impl Masker {
    /// A stream at its beginning.
    pub fn new(masks: Arc<Masks>, cover: Cover) -> Self {
        Self { masks, cover, carry: vec![], covered: 0, places: 0 }
    }

    /// Takes a piece, and adds to `out` what can be shown by now.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.advance(bytes, false, out);
    }

    /// Adds the rest to `out`: nothing more will come.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.advance(&[], true, out);
    }

    fn advance(&mut self, more: &[u8], is_end: bool, out: &mut Vec<u8>) {
        let mut bytes = std::mem::take(&mut self.carry);
        bytes.extend_from_slice(more);
        let mut at = 0;
        while at < bytes.len() {
            if at >= self.covered {
                let plain = self.plain(&bytes[at..]);
                out.extend_from_slice(&bytes[at..at + plain]);
                at += plain;
                if at == bytes.len() {
                    break;
                }
            }
            match self.masks.look(&bytes[at..], is_end) {
                Found::Perhaps => break,
                Found::Nothing => {}
                Found::Text(length) => {
                    if at >= self.covered {
                        self.places += 1;
                        if self.cover == Cover::Stars {
                            out.extend_from_slice(STARS);
                        }
                    }
                    self.covered = self.covered.max(at + length);
                }
            }
            match (at < self.covered, self.cover) {
                (false, _) => out.push(bytes[at]),
                (true, Cover::SameLength) => out.push(b'*'),
                (true, Cover::Stars) => {}
            }
            at += 1;
        }
        self.covered = self.covered.saturating_sub(at);
        self.carry = bytes.split_off(at);
    }

    /// How many bytes at the beginning can begin no secret.
    fn plain(&self, bytes: &[u8]) -> usize {
        let start = bytes.windows(2).position(|it| self.masks.may_start(it[0], it[1]));
        let last = bytes.last().is_some_and(|it| self.masks.firsts[usize::from(*it)]);
        start.unwrap_or(if last { bytes.len() - 1 } else { bytes.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "kgt_0123456789abcdefghijABCDEFGHIJ_-01234567890";

    fn masks(secrets: &[&str]) -> Arc<Masks> {
        Arc::new(Masks::new(secrets.iter().copied()))
    }

    /// The text in every two pieces, and byte by byte: always the same comes out.
    fn check(secrets: &[&str], text: &str, expected: &str) {
        let masks = masks(secrets);
        let pieces = |pieces: &[&[u8]]| {
            let (mut masker, mut out) = (Masker::new(masks.clone(), Cover::Stars), vec![]);
            pieces.iter().for_each(|it| masker.push(it, &mut out));
            masker.finish(&mut out);
            String::from_utf8(out).expect("text")
        };
        let bytes = text.as_bytes();
        for at in 0..=bytes.len() {
            assert_eq!(pieces(&[&bytes[..at], &bytes[at..]]), expected, "cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(pieces(&single), expected, "byte by byte");
    }

    #[test]
    fn a_token_is_known_by_its_shape() {
        assert_eq!(TOKEN.len(), TOKEN_PREFIX.len() + TOKEN_CHARS);
        check(&[], &format!("KAOGONG_TOKEN={TOKEN}\nnext"), "KAOGONG_TOKEN=***\nnext");
        check(&[], &format!("{TOKEN}{TOKEN}"), "******");
        check(&[], "kgt_ is a prefix, kgt_short is none", "kgt_ is a prefix, kgt_short is none");
        check(&[], "what ends with kg", "what ends with kg");
    }

    #[test]
    fn secrets_are_covered_wherever_they_are_cut() {
        check(&["correct horse"], "a correct horse b", "a *** b");
        check(&["correct horse"], "correct correct horse", "correct ***");
        check(&["aaaaaaab"], "aaaaaaaaaaab.", "aaaa***.");
        check(&["too few"], "too few", "too few");
        check(&["  padded secret\n"], "=padded secret=", "=***=");
    }

    #[test]
    fn a_longer_secret_wins_and_neighbours_are_covered_to_their_ends() {
        check(&["password", "password-of-root"], "password-of-root!", "***!");
        check(&["password", "password-of-root"], "password-of-me!", "***-of-me!");
        check(&["abcdefgh", "efghijkl"], "-abcdefghijkl-", "-***-");
    }

    #[test]
    fn the_usual_forms_of_a_secret_are_covered() {
        let secret = "p4$$ w\"rd+/=";
        for shift in 0..3 {
            let text = BASE64_STANDARD_NO_PAD.encode(format!("{}{secret}:more", &"ab"[..shift]));
            let shown = masks(&[secret]).cover(&text);
            assert!(shown.contains("***"), "{shift}: {shown}");
        }
        check(&[secret], "url?key=p4%24%24%20w%22rd%2B%2F%3D&x", "url?key=***&x");
        check(&[secret], r#"{"key": "p4$$ w\"rd+/="}"#, r#"{"key": "***"}"#);
        let hex: String = secret.bytes().map(|it| format!("{it:02X}")).collect();
        check(&[secret], &hex, "***");
    }

    #[test]
    fn every_line_of_a_key_is_covered() {
        check(
            &["-----BEGIN-----\nMIIBVgIBADAN\nBgkq\n"],
            "log: MIIBVgIBADAN\nlog: BgkqBgkq\n",
            "log: ***\nlog: BgkqBgkq\n",
        );
    }

    #[test]
    fn lengths_can_stay() {
        let mut bytes = b"{\"key\": \"correct horse\", \"n\": 1}".to_vec();
        let before = bytes.len();
        assert_eq!(masks(&["correct horse"]).cover_in_place(&mut bytes), 1);
        assert_eq!(bytes.len(), before);
        assert_eq!(bytes, b"{\"key\": \"*************\", \"n\": 1}");
    }

    #[test]
    fn only_what_may_begin_a_secret_is_held_back() {
        let (mut masker, mut out) = (Masker::new(masks(&["correct horse"]), Cover::Stars), vec![]);
        masker.push(b"epoch 1: loss 0.5\n", &mut out);
        assert_eq!(out, b"epoch 1: loss 0.5\n");
        masker.push(b"corr", &mut out);
        assert_eq!(out.len(), 18);
        masker.push(b"ugated", &mut out);
        assert_eq!(&out[18..], b"corrugated");
    }

    #[test]
    fn addresses_lose_their_passwords() {
        let shown = without_credentials("-i https://me:w@rd@host/simple --hash=a@b http://plain/x@y s3://k@b");
        assert_eq!(shown, "-i https://***@host/simple --hash=a@b http://plain/x@y s3://***@b");
    }

    #[test]
    fn what_is_covered_is_not_printed() {
        assert!(!format!("{:?}", masks(&["correct horse"])).contains("horse"));
    }
}
