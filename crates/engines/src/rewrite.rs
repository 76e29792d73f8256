//! Puts other operators in the place of two that keep good models from being served.
//!
//! **ZipMap** ends the probabilities of what converters of scikit-learn and LightGBM models write when nobody tells them not
//! to: a list of maps, one for each row, which no tensor protocol can carry. The map's keys are the same for all rows, so the
//! model is served without it: the probabilities as a tensor, the keys as labels.
//!
//! **StringNormalizer** asks the machine for the locale `en_US.UTF-8` when it names none, to know upper from lower case. Many
//! servers have no such locale; `C.UTF-8` is everywhere and has the same letters.

use crate::{
    checks::Said,
    graph::{Graph, element},
    wire::{Field, Wire, broken, writing},
};
use std::io::Cursor;

/// The most labels that are kept.
const LABELS_MAX: usize = 1 << 20;
/// Locales that mean no more than the letters of Unicode.
const OTHER_LOCALES: [&str; 3] = ["", "en_US", "en_US.UTF-8"];
/// The one that every machine has.
const LOCALE: &str = "C.UTF-8";
/// What gives the same as it gets; any version of it does.
const OPERATORS_VERSION: u64 = 13;

/// A ZipMap that ends in an output of the model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ZipMap {
    input: String,
    output: String,
    labels: Vec<String>,
}

/// A model with others in their place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rewritten {
    pub(crate) content: Vec<u8>,
    /// The labels of each output that was a list of maps.
    pub(crate) labels: Vec<(String, Vec<String>)>,
}

/// Whether a graph has one of the two.
pub(crate) fn is_wanted(graph: &Graph) -> bool {
    graph.nodes.iter().any(|it| match it.operator.as_str() {
        "ZipMap" => it.domain == "ai.onnx.ml",
        "StringNormalizer" => it.is_standard() && it.text("locale").is_none_or(|it| OTHER_LOCALES.contains(&it)),
        _ => false,
    })
}

/// Puts the others in their place; a map that something else in the model reads stays.
///
/// # Errors
/// When the content is no ONNX model.
pub(crate) fn rewrite(content: &[u8], graph: &Graph) -> Result<Rewritten, Said> {
    let end = content.len() as u64;
    let is_read = |name: &str| graph.nodes.iter().any(|it| it.inputs.iter().any(|it| it == name));
    let mut found = vec![];
    each(content, end, |number, field| {
        if number == 7 {
            each(field, field.len() as u64, |number, field| {
                if number == 1
                    && let Some(it) = read(field)?
                    && !is_read(&it.output)
                {
                    found.push(it);
                }
                Ok(())
            })?;
        }
        Ok(())
    })?;
    let mut written = Vec::with_capacity(content.len() + 256);
    let has_standard = |domain: Option<String>| domain.is_none_or(|it| it.is_empty() || it == "ai.onnx");
    let mut knows_standard = false;
    copy(content, &mut written, |number, field| match number {
        7 => without_maps(field, &found).map(Some),
        8 => {
            knows_standard |= has_standard(text_in(field, 1)?);
            Ok(None)
        }
        _ => Ok(None),
    })?;
    if !knows_standard {
        written.extend(writing::bytes(8, &writing::value(2, OPERATORS_VERSION)));
    }
    Ok(Rewritten { content: written, labels: found.into_iter().map(|it| (it.output, it.labels)).collect() })
}

fn without_maps(graph: &[u8], maps: &[ZipMap]) -> Result<Vec<u8>, Said> {
    let mut written = Vec::with_capacity(graph.len());
    copy(graph, &mut written, |number, field| {
        Ok(match number {
            1 => match read(field)?.filter(|it| maps.contains(it)) {
                Some(map) => Some(identity(&map)),
                None => in_any_locale(field)?,
            },
            12 => {
                let name = text_in(field, 1)?;
                maps.iter().find(|it| Some(&it.output) == name.as_ref()).map(output)
            }
            _ => None,
        })
    })?;
    Ok(written)
}

/// A StringNormalizer that every machine can make; `None` for any other operator, and for one that wants another locale.
fn in_any_locale(node: &[u8]) -> Result<Option<Vec<u8>>, Said> {
    if text_in(node, 4)?.as_deref() != Some("StringNormalizer") || !text_in(node, 7)?.unwrap_or_default().is_empty() {
        return Ok(None);
    }
    let (mut wire, end, mut begin) = (Wire::new(Cursor::new(node)), node.len() as u64, 0);
    let mut written = Vec::with_capacity(node.len() + 32);
    while let Some((number, field)) = wire.next(end)? {
        let mut is_locale = false;
        if let Field::Until(until) = field {
            let content = part(node, wire.at(), until)?;
            if number == 5 && text_in(content, 1)?.as_deref() == Some("locale") {
                is_locale = true;
                if !text_in(content, 4)?.is_some_and(|it| OTHER_LOCALES.contains(&it.as_str())) {
                    return Ok(None);
                }
            }
            wire.pass(until)?;
        }
        if !is_locale {
            written.extend_from_slice(part(node, begin, wire.at())?);
        }
        begin = wire.at();
    }
    let text = 3;
    let locale = [writing::bytes(1, b"locale"), writing::bytes(4, LOCALE.as_bytes()), writing::value(20, text)];
    written.extend(writing::bytes(5, &locale.concat()));
    Ok(Some(written))
}

fn identity(map: &ZipMap) -> Vec<u8> {
    [
        writing::bytes(1, map.input.as_bytes()),
        writing::bytes(2, map.output.as_bytes()),
        writing::bytes(3, format!("{}_tensor", map.output).as_bytes()),
        writing::bytes(4, b"Identity"),
    ]
    .concat()
}

/// `ValueInfoProto` of 32-bit floats, a row of them for each of any number of rows.
fn output(map: &ZipMap) -> Vec<u8> {
    let rows = writing::bytes(1, &writing::bytes(2, b"rows"));
    let columns = writing::bytes(1, &writing::value(1, map.labels.len() as u64));
    let shape = [rows, columns].concat();
    let tensor = [writing::value(1, element::FLOAT.cast_unsigned()), writing::bytes(2, &shape)].concat();
    [writing::bytes(1, map.output.as_bytes()), writing::bytes(2, &writing::bytes(1, &tensor))].concat()
}

/// A ZipMap in the bytes of a node; `None` for any other operator.
fn read(node: &[u8]) -> Result<Option<ZipMap>, Said> {
    let (mut map, mut operator, mut domain) = (ZipMap::default(), String::new(), String::new());
    each(node, node.len() as u64, |number, field| {
        match number {
            1 => map.input = text(field),
            2 => map.output = text(field),
            4 => operator = text(field),
            7 => domain = text(field),
            _ => {}
        }
        Ok(())
    })?;
    if operator != "ZipMap" || domain != "ai.onnx.ml" {
        return Ok(None);
    }
    each(node, node.len() as u64, |number, field| {
        if number == 5 {
            labels_in(field, &mut map.labels)?;
        }
        Ok(())
    })?;
    Ok(Some(map).filter(|it| !it.labels.is_empty()))
}

/// Adds the labels that an attribute lists, as texts or as whole numbers.
fn labels_in(attribute: &[u8], labels: &mut Vec<String>) -> Result<(), Said> {
    let end = attribute.len() as u64;
    let mut wire = Wire::new(Cursor::new(attribute));
    while let Some((number, field)) = wire.next(end)? {
        match (number, field) {
            (8, Field::Number(it)) => labels.push(it.cast_signed().to_string()),
            (8, Field::Until(until)) => {
                let all = wire.packed(until, attribute.len())?.unwrap_or_default();
                labels.extend(all.iter().map(ToString::to_string));
            }
            (9, Field::Until(until)) => {
                labels.push(text(&wire.bytes(until, attribute.len())?.unwrap_or_default()));
            }
            (_, Field::Until(until)) => wire.pass(until)?,
            _ => {}
        }
        if labels.len() > LABELS_MAX {
            return Err(Said::new(format!("it has more than {LABELS_MAX} labels")));
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn text_in(message: &[u8], wanted: u64) -> Result<Option<String>, Said> {
    let mut found = None;
    each(message, message.len() as u64, |number, field| {
        if number == wanted {
            found = Some(text(field));
        }
        Ok(())
    })?;
    Ok(found)
}

/// Shows the content of each field that is a message, a text or packed numbers.
fn each(message: &[u8], end: u64, mut see: impl FnMut(u64, &[u8]) -> Result<(), Said>) -> Result<(), Said> {
    let mut wire = Wire::new(Cursor::new(message));
    while let Some((number, field)) = wire.next(end)? {
        if let Field::Until(until) = field {
            see(number, part(message, wire.at(), until)?)?;
            wire.pass(until)?;
        }
    }
    Ok(())
}

/// Copies the fields of a message, with what `change` gives in the place of some.
fn copy(
    message: &[u8],
    to: &mut Vec<u8>,
    mut change: impl FnMut(u64, &[u8]) -> Result<Option<Vec<u8>>, Said>,
) -> Result<(), Said> {
    let (mut wire, end, mut begin) = (Wire::new(Cursor::new(message)), message.len() as u64, 0);
    while let Some((number, field)) = wire.next(end)? {
        let mut changed = None;
        if let Field::Until(until) = field {
            changed = change(number, part(message, wire.at(), until)?)?;
            wire.pass(until)?;
        }
        match changed {
            Some(content) => to.extend(writing::bytes(number, &content)),
            None => to.extend_from_slice(part(message, begin, wire.at())?),
        }
        begin = wire.at();
    }
    Ok(())
}

fn part(message: &[u8], from: u64, until: u64) -> Result<&[u8], Said> {
    let place = |it: u64| usize::try_from(it).map_err(|_| broken());
    message.get(place(from)?..place(until)?).ok_or_else(broken)
}

/// The labels as the text that is kept beside a model.
pub(crate) fn metadata_of(labels: &[(String, Vec<String>)]) -> String {
    let quoted = |it: &String| {
        let escaped = it.chars().map(|it| match it {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            it if it.is_control() => format!("\\u{:04x}", it as u32),
            it => it.to_string(),
        });
        format!("\"{}\"", escaped.collect::<String>())
    };
    let list = |it: &Vec<String>| it.iter().map(quoted).collect::<Vec<_>>().join(",");
    let all: Vec<String> = labels.iter().map(|(name, it)| format!("{}:[{}]", quoted(name), list(it))).collect();
    format!("{{{}}}", all.join(","))
}

#[cfg(test)]
mod tests {
    use super::{
        writing::{bytes, value},
        *,
    };
    use crate::{
        graph::{Attribute, Outlet},
        whole::look,
    };

    fn zip_map(labels: &[u8]) -> Vec<u8> {
        let node = [bytes(1, b"p"), bytes(2, b"out"), bytes(4, b"ZipMap"), bytes(5, labels), bytes(7, b"ai.onnx.ml")];
        bytes(1, &node.concat())
    }

    fn model(nodes: &[Vec<u8>]) -> Vec<u8> {
        let map = bytes(2, &bytes(4, &bytes(1, &bytes(5, b""))));
        let output = bytes(12, &[bytes(1, b"out"), map].concat());
        let graph = [nodes.concat(), bytes(2, b"graph"), output].concat();
        [value(1, 8), bytes(7, &graph), bytes(8, &[bytes(1, b"ai.onnx.ml"), value(2, 1)].concat())].concat()
    }

    fn survey(content: &[u8]) -> crate::whole::Survey {
        look(&mut Wire::new(Cursor::new(content)), content.len() as u64).expect("a model")
    }

    #[test]
    fn a_list_of_maps_becomes_a_tensor_with_labels() {
        let texts = [bytes(1, b"classlabels_strings"), bytes(9, b"no"), bytes(9, "yes \"é\"".as_bytes())].concat();
        let numbers = [bytes(1, b"classlabels_int64s"), value(8, 3), value(8, (-1i64).cast_unsigned())].concat();
        for (labels, want) in [(texts, r#"{"out":["no","yes \"é\""]}"#), (numbers, r#"{"out":["3","-1"]}"#)] {
            let content = model(&[zip_map(&labels)]);
            let before = survey(&content);
            assert!(is_wanted(&before.graph));
            let rewritten = rewrite(&content, &before.graph).expect("a model");
            assert_eq!(metadata_of(&rewritten.labels), want);
            let after = survey(&rewritten.content);
            assert!(!is_wanted(&after.graph));
            assert_eq!(after.graph.nodes[0].operator, "Identity");
            let dims = Some(vec![None, Some(2)]);
            assert_eq!(after.graph.outputs, [Outlet { name: "out".into(), element: element::FLOAT, dims }]);
            assert_eq!(after.opset(), 13);
        }
    }

    #[test]
    fn texts_are_lowered_in_a_locale_that_every_machine_has() {
        let attribute = |name: &[u8], value: &[u8]| bytes(5, &[bytes(1, name), bytes(4, value)].concat());
        let normalizer = |attributes: &[Vec<u8>]| {
            bytes(1, &[bytes(1, b"x"), bytes(2, b"out"), bytes(4, b"StringNormalizer"), attributes.concat()].concat())
        };
        let lower = attribute(b"case_change_action", b"LOWER");
        for attributes in [vec![lower.clone()], vec![attribute(b"locale", b"en_US"), lower.clone()]] {
            let content = model(&[normalizer(&attributes)]);
            assert!(is_wanted(&survey(&content).graph));
            let rewritten = rewrite(&content, &survey(&content).graph).expect("a model");
            let node = &survey(&rewritten.content).graph.nodes[0];
            assert_eq!((node.text("locale"), node.text("case_change_action")), (Some("C.UTF-8"), Some("LOWER")));
            assert_eq!(node.attributes.len(), 2);
        }
        let turkish = model(&[normalizer(&[attribute(b"locale", b"tr_TR.UTF-8"), lower])]);
        assert!(!is_wanted(&survey(&turkish).graph), "whoever names another means it");
    }

    #[test]
    fn a_map_that_is_read_inside_stays() {
        let labels = [bytes(1, b"classlabels_int64s"), value(8, 0), value(8, 1)].concat();
        let reader = bytes(1, &[bytes(1, b"out"), bytes(2, b"z"), bytes(4, b"Identity")].concat());
        let content = model(&[zip_map(&labels), reader]);
        let rewritten = rewrite(&content, &survey(&content).graph).expect("a model");
        assert!(rewritten.labels.is_empty());
        assert!(is_wanted(&survey(&rewritten.content).graph));
    }

    #[test]
    fn what_is_cut_is_an_error() {
        let content = model(&[zip_map(&[bytes(1, b"classlabels_int64s"), value(8, 0)].concat())]);
        for length in 0..content.len() {
            let _ = rewrite(&content[..length], &Graph::default());
        }
    }

    #[test]
    fn attributes_that_are_no_labels_are_passed_over() {
        assert_eq!(read(&bytes(4, b"Relu")).expect("a node"), None);
        assert!(survey(&model(&[])).graph.nodes.is_empty());
        assert_eq!(Attribute::default(), Attribute::Other);
    }
}
