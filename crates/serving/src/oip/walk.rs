//! One pass over the JSON of a tensor: flat or nested arrays, element by element, with nothing kept between.

use super::{
    fault::{Fault, Why},
    nesting::Nesting,
    words::{begins, quoted_end, word_end},
};

/// One element as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A number in JSON's own spelling.
    Number(&'a str),
    /// `NaN`, `Infinity` and the like, without quotes.
    Word(&'a str),
    /// A text, without its quotes but with its escapes.
    Text(&'a str),
    /// `true` or `false`.
    Truth(bool),
    /// `null`.
    Null,
}

/// What the data must be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form<'a> {
    /// How many elements the shape has.
    pub elements: usize,
    /// Nested data has exactly this shape.
    pub shape: &'a [i64],
}

/// Gives each element of `json` to `put`, at most as many as `form` has. `put` answers `None` for one that does not fit.
pub(super) fn walk<'a>(
    json: &'a str,
    form: Form<'_>,
    mut put: impl FnMut(Token<'a>) -> Option<()>,
) -> Result<(), Fault> {
    let mut nesting = Nesting::new(form.shape);
    let text = json.as_bytes();
    let (mut at, mut depth, mut count) = (0, 0, 0);
    let (mut wants_value, mut is_fresh) = (true, false);
    while let Some(&byte) = text.get(at) {
        let fault = |why| Fault { at, why };
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => at += 1,
            b'[' if wants_value => {
                depth += 1;
                nesting.open(depth, at, count)?;
                at += 1;
                is_fresh = true;
            }
            b']' if depth > 0 && (is_fresh || !wants_value) => {
                nesting.close(depth, count)?;
                depth -= 1;
                at += 1;
                (wants_value, is_fresh) = (false, false);
            }
            b',' if depth > 0 && !wants_value => {
                at += 1;
                wants_value = true;
            }
            _ if wants_value => {
                let (token, end) = token_at(json, at).ok_or(fault(Why::NoElement))?;
                count += 1;
                if count > form.elements {
                    return Err(fault(Why::TooMany));
                }
                nesting.element(depth, at)?;
                put(token).ok_or(fault(Why::Unfit))?;
                at = end;
                (wants_value, is_fresh) = (false, false);
            }
            _ => return Err(fault(Why::NoElement)),
        }
    }
    if depth == 0 && !wants_value { Ok(()) } else { Err(Fault { at, why: Why::NoElement }) }
}

/// The element that begins at `at`, and where it ends. Inlined, so that the common types see numbers alone.
#[inline(always)]
fn token_at(json: &str, at: usize) -> Option<(Token<'_>, usize)> {
    let text = json.as_bytes();
    let fixed = |word: &str, token| text[at..].starts_with(word.as_bytes()).then(|| (token, at + word.len()));
    match text[at] {
        b'0'..=b'9' => number_end(text, at).map(|end| (Token::Number(&json[at..end]), end)),
        b'-' => match number_end(text, at) {
            Some(end) => Some((Token::Number(&json[at..end]), end)),
            None => word(json, at),
        },
        b'"' => {
            let end = quoted_end(text, at)?;
            Some((Token::Text(json.get(at + 1..end - 1)?), end))
        }
        b't' => fixed("true", Token::Truth(true)),
        b'f' => fixed("false", Token::Truth(false)),
        b'n' => fixed("null", Token::Null).or_else(|| word(json, at)),
        byte if begins(byte) => word(json, at),
        _ => None,
    }
}

/// The bare word that begins at `at`.
fn word(json: &str, at: usize) -> Option<(Token<'_>, usize)> {
    let end = word_end(json.as_bytes(), at)?;
    Some((Token::Word(&json[at..end]), end))
}

/// Where the number that begins at `at` ends, when it is one that JSON knows: Rust's own reader takes more.
fn number_end(text: &[u8], mut at: usize) -> Option<usize> {
    let digits = |from: usize| {
        let count = text.get(from..)?.iter().take_while(|it| it.is_ascii_digit()).count();
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

/// The indices of the element at `at`, as `[2][0]`; none for a number without an array. Only after a walk that came
/// that far: everything before is well formed.
pub(super) fn place_of(json: &str, end: usize) -> String {
    let text = json.as_bytes();
    let (mut at, mut indices) = (0, vec![]);
    while at < end.min(text.len()) {
        match text[at] {
            b'[' => indices.push(0usize),
            b']' => drop(indices.pop()),
            b',' => indices.iter_mut().next_back().into_iter().for_each(|it| *it += 1),
            b'"' => at = quoted_end(text, at).map_or(end, |it| it - 1),
            _ => {}
        }
        at += 1;
    }
    indices.iter().map(|it| format!("[{it}]")).collect()
}

/// The element at `at` as it is written, for words about it.
pub(super) fn written_at(json: &str, at: usize) -> &str {
    let end = match json.as_bytes().get(at) {
        None => return "the end of the data",
        Some(b'"') => quoted_end(json.as_bytes(), at),
        Some(_) => json[at..].find([',', ']', '}', ' ', '\n', '\r', '\t']).map(|it| at + it.max(1)),
    };
    json.get(at..end.unwrap_or(json.len())).unwrap_or("it")
}
