//! The quick way from JSON numbers to little-endian floats: one pass over the text, one buffer, nothing between.

use super::data::DEPTH_MAX;

/// A float that JSON may carry.
pub(super) trait Float: Sized {
    /// Its bytes, little-endian.
    type Bytes: AsRef<[u8]>;

    /// The nearest float; `None` when it would be infinite.
    fn read(text: &str) -> Option<Self::Bytes>;
}

impl Float for f32 {
    type Bytes = [u8; 4];

    fn read(text: &str) -> Option<[u8; 4]> {
        text.parse::<Self>().ok().filter(|it| it.is_finite()).map(Self::to_le_bytes)
    }
}

impl Float for f64 {
    type Bytes = [u8; 8];

    fn read(text: &str) -> Option<[u8; 8]> {
        text.parse::<Self>().ok().filter(|it| it.is_finite()).map(Self::to_le_bytes)
    }
}

/// Adds the numbers of a flat or nested array to `out`. `None` when there is anything but numbers, or more of them than
/// `limit`, or one that the type does not hold: the slow way says what it is.
pub(super) fn floats<T: Float>(json: &str, limit: usize, out: &mut Vec<u8>) -> Option<()> {
    let text = json.as_bytes();
    let (mut at, mut depth, mut count) = (0, 0, 0);
    let (mut wants_value, mut is_fresh) = (true, false);
    while let Some(byte) = text.get(at) {
        let mut next = at + 1;
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => {}
            b'[' if wants_value && depth < DEPTH_MAX => {
                depth += 1;
                is_fresh = true;
            }
            b']' if depth > 0 && (is_fresh || !wants_value) => {
                depth -= 1;
                (wants_value, is_fresh) = (false, false);
            }
            b',' if depth > 0 && !wants_value => wants_value = true,
            b'-' | b'0'..=b'9' if wants_value && count < limit => {
                next = number_end(text, at)?;
                out.extend_from_slice(T::read(&json[at..next])?.as_ref());
                count += 1;
                (wants_value, is_fresh) = (false, false);
            }
            _ => return None,
        }
        at = next;
    }
    (depth == 0 && !wants_value).then_some(())
}

/// Where the number that begins at `at` ends, when it is one that JSON knows: Rust's own reader takes more.
fn number_end(text: &[u8], mut at: usize) -> Option<usize> {
    let digits = |from: usize| {
        let count = text[from..].iter().take_while(|it| it.is_ascii_digit()).count();
        (count > 0).then_some(from + count)
    };
    if text[at] == b'-' {
        at += 1;
    }
    let whole = digits(at)?;
    if text[at] == b'0' && whole > at + 1 {
        return None;
    }
    at = whole;
    if text.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(text.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        at = digits(at)?;
    }
    Some(at)
}
