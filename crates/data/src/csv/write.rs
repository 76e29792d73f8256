//! Records as text: quotes where they are needed, so that "no value" and the empty text stay two things.

/// Adds one record to `out`, with its line end. `None` is no value: nothing between the separators. The empty text is
/// a pair of quotes; in a table of one column so is no value, because most programs pass over blank lines.
pub fn write_record<'a>(out: &mut Vec<u8>, fields: impl ExactSizeIterator<Item = Option<&'a str>>) {
    let single = fields.len() == 1;
    for (at, field) in fields.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match field {
            None if single => out.extend_from_slice(b"\"\""),
            None => {}
            Some(text) if is_plain(text) => out.extend_from_slice(text.as_bytes()),
            Some(text) => {
                out.push(b'"');
                for (at, part) in text.split('"').enumerate() {
                    if at > 0 {
                        out.extend_from_slice(b"\"\"");
                    }
                    out.extend_from_slice(part.as_bytes());
                }
                out.push(b'"');
            }
        }
    }
    out.push(b'\n');
}

fn is_plain(text: &str) -> bool {
    // Excel and we take a first line `sep=;` as the name of the separator.
    !text.is_empty() && !text.bytes().any(|it| matches!(it, b',' | b'"' | b'\n' | b'\r')) && !text.starts_with("sep=")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::{Record, Records};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_come_back(rows in prop::collection::vec(prop::collection::vec(prop::option::of(".{0,6}|[,\"\r\n]{0,3}"), 2), 1..5)) {
            let mut out = Vec::new();
            rows.iter().for_each(|row| write_record(&mut out, row.iter().map(|it| it.as_deref())));
            let (mut records, mut record) = (Records::new(&out[..], b',', None, 1), Record::default());
            for row in &rows {
                prop_assert!(records.read(&mut record).expect("a record"));
                let found = record.fields().map(|it| (!it.text.is_empty() || it.quoted).then(|| it.text.to_owned()));
                prop_assert_eq!(&found.collect::<Vec<_>>(), row);
            }
            prop_assert!(!records.read(&mut record).expect("the end"));
        }
    }
}
