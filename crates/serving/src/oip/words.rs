//! The numbers that JSON has no words for, as other programs write them: Python's `json`, RapidJSON and C libraries
//! write `NaN`, `Infinity`, `-Infinity`, `inf` without quotes, and so no strict reader takes their text.

use std::{borrow::Cow, ops::Range};

/// What `NaN`, `Infinity` or `Inf` means, in any case and with a sign; `None` for another word.
pub(super) fn value_of(word: &str) -> Option<f64> {
    let (sign, name) = match word.as_bytes().first()? {
        b'-' => (-1.0, &word[1..]),
        b'+' => (1.0, &word[1..]),
        _ => (1.0, word),
    };
    if name.eq_ignore_ascii_case("nan") {
        Some(f64::NAN)
    } else if name.eq_ignore_ascii_case("infinity") || name.eq_ignore_ascii_case("inf") {
        Some(sign * f64::INFINITY)
    } else {
        None
    }
}

/// Whether a bare word may begin with this byte.
pub(super) fn begins(byte: u8) -> bool {
    matches!(byte, b'N' | b'n' | b'I' | b'i' | b'+' | b'-')
}

/// Where the bare word that begins at `at` ends, when one begins there.
pub(super) fn word_end(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    let signed = usize::from(matches!(rest.first(), Some(b'-' | b'+')));
    let is = |name: &str| rest[signed..].get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name.as_bytes()));
    let name = ["infinity", "nan", "inf"].into_iter().find(|it| is(it))?;
    Some(at + signed + name.len())
}

/// Where the text in quotes that begins at `at` ends, its last quote included.
pub(super) fn quoted_end(text: &[u8], at: usize) -> Option<usize> {
    let mut end = at + 1;
    loop {
        match text.get(end)? {
            b'"' => return Some(end + 1),
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
}

/// A bare word where a value may stand.
struct Word<'a> {
    at: Range<usize>,
    /// The name of the field whose value it is, as it is written; `None` for an element of an array.
    field: Option<&'a [u8]>,
}

/// The bare words of a JSON text. In a text that strict readers take there are none.
fn words(text: &[u8]) -> Vec<Word<'_>> {
    let (mut at, mut before, mut last_text) = (0, b'[', 0..0);
    let mut found = vec![];
    while let Some(&byte) = text.get(at) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => {
                at += 1;
                continue;
            }
            b'"' => {
                let Some(end) = quoted_end(text, at) else { break };
                last_text = at + 1..end - 1;
                at = end;
            }
            _ if begins(byte) && matches!(before, b'[' | b',' | b':') => {
                let Some(end) = word_end(text, at) else {
                    (before, at) = (byte, at + 1);
                    continue;
                };
                let after = text[end..].iter().find(|it| !it.is_ascii_whitespace()).copied().unwrap_or(b']');
                let field = (before == b':').then(|| &text[last_text.clone()]);
                if matches!((after, &field), (b',', _) | (b']', None) | (b'}', Some(_))) {
                    found.push(Word { at: at..end, field });
                }
                at = end;
            }
            _ => at += 1,
        }
        before = byte;
    }
    found
}

/// The text with a text in quotes of the same length in place of each bare word that is an element of an array or the
/// value of a field `data`, so that a strict reader finds everything where it is. `None` when there is no such word.
pub(super) fn covered(text: &[u8]) -> Option<Vec<u8>> {
    let mut words = words(text);
    words.retain(|it| it.field.is_none_or(|name| name == b"data"));
    if words.is_empty() {
        return None;
    }
    let mut copy = text.to_vec();
    for it in words {
        copy[it.at.start] = b'"';
        copy[it.at.end - 1] = b'"';
        copy[it.at.start + 1..it.at.end - 1].fill(b'_');
    }
    Some(copy)
}

/// The text with `null` in place of each bare `NaN` or infinity, for readers to whom all of them mean that there is no
/// number.
pub fn without_bare_words(text: &[u8]) -> Cow<'_, [u8]> {
    let words = words(text);
    if words.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut copy = Vec::with_capacity(text.len() + words.len());
    let mut copied = 0;
    for it in words {
        copy.extend_from_slice(&text[copied..it.at.start]);
        copy.extend_from_slice(b"null");
        copied = it.at.end;
    }
    copy.extend_from_slice(&text[copied..]);
    Cow::Owned(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn nulled(text: &str) -> String {
        String::from_utf8(without_bare_words(text.as_bytes()).into_owned()).expect("UTF-8")
    }

    #[test]
    fn bare_words_are_found_where_a_value_may_stand() {
        assert_eq!(nulled("[NaN, -Infinity ,inf,-nan]"), "[null, null ,null,null]");
        assert_eq!(nulled(r#"{"a":NaN,"b":[Infinity],"c": NaN }"#), r#"{"a":null,"b":[null],"c": null }"#);
        for text in [
            r#"["NaN"]"#,
            r#"["a\"NaN,", 1]"#,
            r#"{"NaN":1}"#,
            "[NaNa]",
            "[1 NaN]",
            "{\"a\":1,NaN:2}",
            "{\"a\":1,NaN}",
            "[nul]",
            "[-1]",
            "[null]",
            "[I]",
        ] {
            assert_eq!(nulled(text), text);
        }
    }

    #[test]
    fn covered_words_leave_everything_at_its_place() {
        let covered = |text: &str| covered(text.as_bytes()).map(|it| String::from_utf8(it).expect("UTF-8"));
        assert_eq!(covered("[NaN, -Infinity]").as_deref(), Some(r#"["_", "_______"]"#));
        assert_eq!(covered(r#"{"data": NaN}"#).as_deref(), Some(r#"{"data": "_"}"#));
        assert_eq!(covered(r#"{"name": NaN}"#), None);
    }

    proptest! {
        #[test]
        fn strict_text_has_no_bare_words(json in r#"[\[\]{}:", NaInfty0-9\\.-]{0,60}"#) {
            if serde_json::from_str::<Value>(&json).is_ok() {
                prop_assert!(words(json.as_bytes()).is_empty(), "{}", json);
                prop_assert_eq!(nulled(&json), json);
            }
        }

        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(copy) = covered(&noise) {
                prop_assert_eq!(copy.len(), noise.len());
            }
            let _ = without_bare_words(&noise);
        }

        #[test]
        fn values_in_any_document_survive(values in proptest::collection::vec((any::<f64>(), "[a-zN\"\\\\]{0,6}"), 0..20)) {
            let word = |it: f64| if it.is_nan() { "NaN".to_owned() } else if it.is_infinite() { format!("{}Infinity", if it < 0.0 { "-" } else { "" }) } else { format!("{it:e}") };
            let pairs: Vec<String> = values.iter().map(|(value, text)| {
                format!("{{{}: {}, \"l\":[{}]}}", serde_json::to_string(text).expect("JSON"), word(*value), word(*value))
            }).collect();
            let read: Value = serde_json::from_str(&nulled(&format!("[{}]", pairs.join(",")))).expect("JSON");
            for ((value, text), back) in values.iter().zip(read.as_array().expect("a list")) {
                if text != "l" {
                    prop_assert_eq!(back[text.as_str()].is_null(), !value.is_finite());
                }
                prop_assert_eq!(back["l"][0].is_null(), !value.is_finite());
            }
        }
    }
}
