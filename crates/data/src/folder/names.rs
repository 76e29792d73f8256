//! Names as bytes: their parts, one normal form, what makes two of them the same, and how they are shown.

use std::borrow::Cow;
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// The folders and the file name, without empty and `.` parts.
pub(super) fn parts(name: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    name.split(|it| *it == b'/').filter(|it| !matches!(*it, b"" | b"."))
}

/// The folder at this depth, from 0; `None` when the file itself stands there or above.
pub(super) fn folder_at(name: &[u8], depth: usize) -> Option<&[u8]> {
    let mut rest = parts(name).skip(depth);
    let folder = rest.next()?;
    rest.next().map(|_| folder)
}

/// The folders around a file, from the outermost: of `a/b/c.png` these are `a` and `a/b`.
pub fn folders_of(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.iter().enumerate().filter(|it| *it.1 == b'/').map(move |it| &name[..it.0])
}

/// The one form of a name under which it is kept: `./0//a.png` is `0/a.png`. Otherwise byte for byte what was found.
pub fn normal(name: &[u8]) -> Cow<'_, [u8]> {
    if name.split(|it| *it == b'/').all(|it| !matches!(it, b"" | b".")) {
        return Cow::Borrowed(name);
    }
    let parts: Vec<_> = parts(name).collect();
    Cow::Owned(parts.join(&b'/'))
}

/// What two names of the same file have in common: the normal form, in NFC where it is text. A name that is no text,
/// such as one written in GBK, is the same only as itself.
pub fn key_of(name: &[u8]) -> Cow<'_, [u8]> {
    let normal = normal(name);
    if normal.is_ascii() {
        return normal;
    }
    match std::str::from_utf8(&normal) {
        Ok(text) if !is_nfc(text) => Cow::Owned(text.nfc().collect::<String>().into_bytes()),
        _ => normal,
    }
}

/// The name as text for showing: NFC, bytes that are no UTF-8 replaced.
pub fn text_of(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    if text.is_ascii() || is_nfc(&text) { text.into_owned() } else { text.nfc().collect() }
}
