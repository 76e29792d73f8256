//! What a client asks: the fields of a JSON body or of a query, read with MLflow's own error texts.
//!
//! The same messages arrive as JSON in POST, PATCH and DELETE and as a query in GET, where a list is a repeated key
//! and a number is a text. 64-bit integers may be numbers or texts, absent and null mean the same.

use super::problem::{Code, MlflowProblem, Told};
use kaogong_domain::{
    Timestamp,
    ids::{Id, Kind, RunKind},
};
use serde_json::{Map, Value};

const SEE_DOCS: &str = " See the API docs for more information about request parameters.";

/// The fields of a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Ask {
    fields: Map<String, Value>,
}

/// `Missing value for required parameter …`
pub(super) fn missing_value(name: &str) -> MlflowProblem {
    MlflowProblem::invalid(format!("Missing value for required parameter '{name}'.{SEE_DOCS}"))
}

fn type_word(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(it) if it.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

/// `Invalid value … for parameter … supplied`
pub(super) fn wrong_type(name: &str, value: &Value) -> MlflowProblem {
    let shown: String = value.to_string().chars().take(200).collect();
    MlflowProblem::invalid(format!(
        "Invalid value {shown} for parameter '{name}' supplied:  Hint: Value was of type '{}'.{SEE_DOCS}",
        type_word(value)
    ))
}

/// Text of a value that may be a text, a number or a truth; clients in other languages send all three.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(it) => Some(it.clone()),
        Value::Number(it) => Some(it.to_string()),
        _ => None,
    }
}

/// A 64-bit integer as number or text; a float without fraction counts, as Python clients send `1e3`.
fn int_of(value: &Value) -> Option<i64> {
    match value {
        Value::Number(it) => it.as_i64().or_else(|| it.as_f64().and_then(whole)),
        Value::String(it) => it.trim().parse().ok(),
        _ => None,
    }
}

#[allow(clippy::cast_possible_truncation)]
fn whole(it: f64) -> Option<i64> {
    (it.fract() == 0.0 && it.abs() < 9.2e18).then_some(it as i64)
}

/// A double as number, or as one of the texts that JSON has no number for.
fn real_of(value: &Value) -> Option<f64> {
    match value {
        Value::Number(it) => it.as_f64(),
        // As Python and its protobuf: true is 1.
        Value::Bool(it) => Some(f64::from(u8::from(*it))),
        Value::String(it) => match it.trim() {
            "NaN" | "nan" => Some(f64::NAN),
            "Infinity" | "inf" | "+inf" => Some(f64::INFINITY),
            "-Infinity" | "-inf" => Some(f64::NEG_INFINITY),
            text => text.parse().ok(),
        },
        _ => None,
    }
}

impl Ask {
    /// Reads a JSON body. An empty one has no fields.
    pub(super) fn from_json(bytes: &[u8]) -> Told<Self> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let parsed = serde_json::from_slice::<Value>(bytes).or_else(|it| match quote_bare_numbers(bytes) {
            Some(repaired) => serde_json::from_slice(&repaired),
            None => Err(it),
        });
        match parsed {
            Ok(Value::Object(fields)) => Ok(Self { fields }),
            Ok(other) => {
                let text = format!("the body must be a JSON object, not a {}", type_word(&other));
                Err(MlflowProblem::new(Code::BadRequest, text))
            }
            Err(it) => Err(MlflowProblem::new(Code::BadRequest, format!("the body is not JSON: {it}"))),
        }
    }

    /// Takes over a query; a repeated key becomes a list.
    pub(super) fn from_pairs(pairs: Vec<(String, String)>) -> Self {
        let mut fields = Map::new();
        for (key, text) in pairs {
            let key = key.strip_suffix("[]").map_or(key.clone(), str::to_owned);
            let text = Value::String(text);
            match fields.get_mut(&key) {
                None => {
                    fields.insert(key, text);
                }
                Some(Value::Array(list)) => list.push(text),
                Some(one) => *one = Value::Array(vec![one.take(), text]),
            }
        }
        Self { fields }
    }

    /// One entry of a list of objects.
    pub(super) fn from_value(name: &str, value: &Value) -> Told<Self> {
        match value {
            Value::Object(fields) => Ok(Self { fields: fields.clone() }),
            other => Err(wrong_type(name, other)),
        }
    }

    /// The field as it came; null counts as absent.
    pub(super) fn raw(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|it| !it.is_null())
    }

    /// All fields, to tell whether two requests are the same.
    pub(super) fn all(&self) -> Value {
        Value::Object(self.fields.clone())
    }

    /// A text, or `None`.
    pub(super) fn text(&self, name: &str) -> Told<Option<String>> {
        match self.raw(name) {
            None => Ok(None),
            Some(it) => text_of(it).map(Some).ok_or_else(|| wrong_type(name, it)),
        }
    }

    /// A text that must be there and not be empty.
    pub(super) fn need(&self, name: &str) -> Told<String> {
        self.text(name)?.filter(|it| !it.is_empty()).ok_or_else(|| missing_value(name))
    }

    /// A text by its present or its former name.
    pub(super) fn need_either(&self, name: &str, former: &str) -> Told<String> {
        match self.text(name)?.filter(|it| !it.is_empty()) {
            Some(it) => Ok(it),
            None => self.text(former)?.filter(|it| !it.is_empty()).ok_or_else(|| missing_value(name)),
        }
    }

    /// A text, empty when absent.
    pub(super) fn text_or_empty(&self, name: &str) -> Told<String> {
        Ok(self.text(name)?.unwrap_or_default())
    }

    /// An integer, or `None`.
    pub(super) fn int(&self, name: &str) -> Told<Option<i64>> {
        match self.raw(name) {
            None => Ok(None),
            Some(it) => int_of(it).map(Some).ok_or_else(|| wrong_type(name, it)),
        }
    }

    /// A double, or `None`.
    pub(super) fn real(&self, name: &str) -> Told<Option<f64>> {
        match self.raw(name) {
            None => Ok(None),
            Some(it) => real_of(it).map(Some).ok_or_else(|| wrong_type(name, it)),
        }
    }

    /// A truth, or `None`.
    pub(super) fn truth(&self, name: &str) -> Told<Option<bool>> {
        match self.raw(name) {
            None => Ok(None),
            Some(Value::Bool(it)) => Ok(Some(*it)),
            Some(Value::String(it)) if it == "true" || it == "false" => Ok(Some(it == "true")),
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    /// A list; a single value in a query is a list of one.
    pub(super) fn list(&self, name: &str) -> Told<Vec<Value>> {
        match self.raw(name) {
            None => Ok(vec![]),
            Some(Value::Array(list)) => Ok(list.clone()),
            Some(Value::String(one)) => Ok(vec![Value::String(one.clone())]),
            Some(other) => Err(wrong_type(name, other)),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&self, name: &str) -> Told<Vec<String>> {
        self.list(name)?.iter().map(|it| text_of(it).ok_or_else(|| wrong_type(name, it))).collect()
    }

    /// A list of objects.
    pub(super) fn objects(&self, name: &str) -> Told<Vec<Self>> {
        self.list(name)?.iter().map(|it| Self::from_value(name, it)).collect()
    }

    /// The size of a page: `default` when absent.
    pub(super) fn page_size(&self, default: i64, most: i64) -> Told<usize> {
        let size = self.int("max_results")?.unwrap_or(default);
        if size < 1 || size > most {
            return Err(MlflowProblem::invalid(format!(
                "Invalid value {size} for parameter 'max_results' supplied: It must be a positive integer no greater than {most}"
            )));
        }
        usize::try_from(size).map_err(|_| MlflowProblem::invalid("Invalid value for parameter 'max_results' supplied."))
    }

    /// Where the page begins.
    pub(super) fn page_start<K: Kind>(&self) -> Told<Start<K>> {
        let token = self.text_or_empty("page_token")?;
        if token.is_empty() {
            return Ok(Start::Offset(0));
        }
        start_of(&token).ok_or_else(|| MlflowProblem::invalid("Invalid page token, could not base64-decode"))
    }

    /// Where the page begins, for a list that is ordered after it was read.
    pub(super) fn page_offset(&self) -> Told<usize> {
        self.page_start::<RunKind>()?.offset()
    }
}

/// Where a page begins.
#[derive(Debug)]
pub(super) enum Start<K: Kind> {
    /// After so many things.
    Offset(usize),
    /// After the thing of that moment and id, in a list with the newest first: however far, it is found at once.
    After(Timestamp, Id<K>),
}

impl<K: Kind> Start<K> {
    /// How many things to pass over, in a list that has an order of its own.
    pub(super) fn offset(&self) -> Told<usize> {
        match self {
            Self::Offset(it) => Ok(*it),
            Self::After(..) => {
                Err(MlflowProblem::invalid("Invalid page token: it belongs to a search in another order"))
            }
        }
    }

    /// What the list follows, and how many of it to pass over.
    pub(super) fn split(&self) -> (Option<(Timestamp, Id<K>)>, usize) {
        match self {
            Self::Offset(it) => (None, *it),
            Self::After(at, id) => (Some((*at, *id)), 0),
        }
    }
}

fn encoded(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// The token of the page that begins at an offset, in the shape of MLflow's own: base64 of `{"offset": n}`.
pub(super) fn token_of(offset: usize) -> String {
    encoded(&format!("{{\"offset\": {offset}}}"))
}

/// The token of the page that follows a thing.
pub(super) fn token_after<K: Kind>((at, id): (Timestamp, Id<K>)) -> String {
    encoded(&serde_json::json!({"after": [at.as_ms(), id.to_string()]}).to_string())
}

fn start_of<K: Kind>(token: &str) -> Option<Start<K>> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(token).ok()?;
    let value: Value = serde_json::from_slice(&bytes).ok()?;
    if let Some(after) = value.get("after") {
        return Some(Start::After(Timestamp(after.get(0)?.as_i64()?), after.get(1)?.as_str()?.parse().ok()?));
    }
    usize::try_from(value.get("offset")?.as_u64()?).ok().filter(|it| *it < 1 << 40).map(Start::Offset)
}

/// One page of a list with the newest first, of which the things to pass over and one more than the page are at hand.
pub(super) fn page_after<T, K: Kind>(
    all: Vec<T>,
    offset: usize,
    size: usize,
    place: impl Fn(&T) -> (Timestamp, Id<K>),
) -> (Vec<T>, Option<String>) {
    let has_more = all.len() > offset.saturating_add(size);
    let found: Vec<T> = all.into_iter().skip(offset).take(size).collect();
    let next = found.last().filter(|_| has_more).map(|it| token_after(place(it)));
    (found, next)
}

/// One page of a list that is at hand, with the token of the next.
pub(super) fn page<T>(all: Vec<T>, offset: usize, size: usize) -> (Vec<T>, Option<String>) {
    let next = (all.len() > offset.saturating_add(size)).then(|| token_of(offset + size));
    (all.into_iter().skip(offset).take(size).collect(), next)
}

/// Python writes NaN and the infinities bare, which is no JSON: puts them in quotes. `None` when there are none.
fn quote_bare_numbers(bytes: &[u8]) -> Option<Vec<u8>> {
    const BARE: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
    let mut out = Vec::with_capacity(bytes.len() + 16);
    let (mut at, mut is_in_text, mut found) = (0, false, false);
    while at < bytes.len() {
        if is_in_text && bytes[at] == b'\\' {
            out.extend(&bytes[at..bytes.len().min(at + 2)]);
            at += 2;
            continue;
        }
        if bytes[at] == b'"' {
            is_in_text = !is_in_text;
        } else if !is_in_text && let Some(word) = BARE.iter().find(|it| bytes[at..].starts_with(it)) {
            out.push(b'"');
            out.extend(*word);
            out.push(b'"');
            at += word.len();
            found = true;
            continue;
        }
        out.push(bytes[at]);
        at += 1;
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_numbers_of_python_are_read() {
        let ask =
            Ask::from_json(br#"{"a": NaN, "b": -Infinity, "c": "NaN \" Infinity", "d": [Infinity]}"#).expect("a body");
        assert!(ask.real("a").expect("a").expect("a value").is_nan());
        assert_eq!(ask.real("b").expect("b"), Some(f64::NEG_INFINITY));
        assert_eq!(ask.text("c").expect("c").as_deref(), Some("NaN \" Infinity"));
    }

    #[test]
    fn integers_come_as_numbers_or_texts() {
        let ask = Ask::from_json(br#"{"a": 9007199254740993, "b": "9007199254740993", "c": 5.0, "d": 5.5, "e": null}"#)
            .expect("a body");
        assert_eq!(ask.int("a").expect("a"), Some(9_007_199_254_740_993));
        assert_eq!(ask.int("b").expect("b"), Some(9_007_199_254_740_993));
        assert_eq!(ask.int("c").expect("c"), Some(5));
        assert!(ask.int("d").is_err());
        assert_eq!(ask.int("e").expect("e"), None);
    }

    #[test]
    fn a_missing_field_is_named_as_mlflow_names_it() {
        let problem = Ask::default().need("run_id").expect_err("nothing there");
        assert_eq!(
            problem.message(),
            "Missing value for required parameter 'run_id'. See the API docs for more information about request parameters."
        );
    }

    #[test]
    fn repeated_keys_of_a_query_are_a_list() {
        let pair = |key: &str, text: &str| (key.to_owned(), text.to_owned());
        let ask = Ask::from_pairs(vec![pair("run_ids", "a"), pair("run_ids", "b"), pair("one", "c")]);
        assert_eq!(ask.texts("run_ids").expect("a list"), ["a", "b"]);
        assert_eq!(ask.texts("one").expect("a list"), ["c"]);
    }

    #[test]
    fn a_page_token_leads_on() {
        let (first, next) = page(vec![1, 2, 3], 0, 2);
        assert_eq!(first, [1, 2]);
        let start = start_of::<RunKind>(&next.expect("more")).expect("an offset");
        assert_eq!(page(vec![1, 2, 3], start.offset().expect("an offset"), 2), (vec![3], None));
        assert!(start_of::<RunKind>("garbage").is_none());
    }

    #[test]
    fn a_page_token_that_names_a_thing_leads_on_in_its_order_alone() {
        let id = Id::<RunKind>::generate(Timestamp(5));
        let (first, next) = page_after(vec![3, 2, 1], 0, 2, |it| (Timestamp(*it), id));
        assert_eq!(first, [3, 2]);
        let start = start_of::<RunKind>(&next.expect("more")).expect("a start");
        assert_eq!(start.split(), (Some((Timestamp(2), id)), 0));
        assert!(start.offset().is_err());
        assert_eq!(page_after(vec![1], 0, 2, |it| (Timestamp(*it), id)), (vec![1], None));
        let of_another_kind =
            token_after((Timestamp(2), Id::<kaogong_domain::ids::ExperimentKind>::generate(Timestamp(5))));
        assert!(start_of::<RunKind>(&of_another_kind).is_none());
    }

    #[test]
    fn no_body_makes_it_panic() {
        for text in super::super::filter::drawn_texts(20_000) {
            let _ = Ask::from_json(text.as_bytes());
            let _ = Ask::from_json(&text.as_bytes()[text.len() / 2..]);
            let _ = start_of::<RunKind>(&text);
        }
    }
}
