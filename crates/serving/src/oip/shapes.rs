//! The JSON of a request, with a bound on everything that is not tensor data: what the protocol does not know is passed
//! over without being kept, and lists end where they become too long.

use kaogong_domain::Problem;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{fmt, marker::PhantomData};

/// The most tensors of one request.
pub(super) const TENSORS_MAX: usize = 256;
/// The most dimensions of a tensor.
const DIMENSIONS_MAX: usize = 32;
/// The most bytes of an id as it is written in the request.
const ID_BYTES_MAX: usize = 1024;

#[derive(Deserialize)]
pub(super) struct RequestJson<'a> {
    #[serde(borrow, default)]
    pub id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub parameters: Option<Parameters<'a>>,
    #[serde(borrow, deserialize_with = "inputs")]
    pub inputs: Vec<InputJson<'a>>,
    #[serde(borrow, default, deserialize_with = "outputs")]
    pub outputs: Vec<OutputJson<'a>>,
}

#[derive(Deserialize)]
pub(super) struct InputJson<'a> {
    pub name: String,
    #[serde(deserialize_with = "shape")]
    pub shape: Vec<i64>,
    pub datatype: String,
    #[serde(borrow, default)]
    pub parameters: Option<Parameters<'a>>,
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct OutputJson<'a> {
    pub name: String,
    #[serde(borrow, default)]
    pub parameters: Option<Parameters<'a>>,
}

/// The parameters that this server knows, of requests, inputs and outputs alike.
#[derive(Deserialize, Default)]
pub(super) struct Parameters<'a> {
    #[serde(borrow, default)]
    pub binary_data_size: Option<&'a RawValue>,
    #[serde(borrow, default)]
    binary_data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    binary_data_output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    classification: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timeout: Option<&'a RawValue>,
}

impl Parameters<'_> {
    /// Whether an output is sent as bytes, when it says so.
    pub(super) fn binary_data(&self) -> Option<bool> {
        truth(self.binary_data)
    }

    /// Whether outputs that say nothing themselves are sent as bytes.
    pub(super) fn binary_data_output(&self) -> Option<bool> {
        truth(self.binary_data_output)
    }

    /// How many classes are wanted.
    pub(super) fn classification(&self) -> Option<usize> {
        self.classification.and_then(count).filter(|it| *it > 0).and_then(|it| usize::try_from(it).ok())
    }

    /// How long the call may wait, in microseconds; 0 means that it does not say.
    pub(super) fn timeout_us(&self) -> Option<u64> {
        self.timeout.and_then(count).filter(|it| *it > 0)
    }
}

/// A whole number that is not negative.
pub(super) fn count(raw: &RawValue) -> Option<u64> {
    serde_json::from_str(raw.get()).ok()
}

fn truth(raw: Option<&RawValue>) -> Option<bool> {
    serde_json::from_str(raw?.get()).ok()
}

/// The id of a request as text.
///
/// # Errors
/// `Invalid` when it is too long to be carried back.
pub(super) fn id_of(written: Option<&str>) -> Result<Option<String>, Problem> {
    let Some(text) = written else { return Ok(None) };
    if text.len() > ID_BYTES_MAX {
        let text = format!("the id of the request has {} bytes, at most {ID_BYTES_MAX} are taken", text.len());
        return Err(Problem::invalid(text));
    }
    Ok(Some(serde_json::from_str(text).unwrap_or_else(|_| text.to_owned())))
}

fn inputs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<InputJson<'de>>, D::Error> {
    few(deserializer, TENSORS_MAX, "a request has 1 to 256 inputs")
}

fn outputs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OutputJson<'de>>, D::Error> {
    few(deserializer, TENSORS_MAX, "a request wants at most 256 outputs")
}

fn shape<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i64>, D::Error> {
    few(deserializer, DIMENSIONS_MAX, "a shape has at most 32 dimensions")
}

/// A list of at most `limit` entries; `rule` says so when there are more.
fn few<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    limit: usize,
    rule: &'static str,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Few { limit, rule, of: PhantomData })
}

struct Few<T> {
    limit: usize,
    rule: &'static str,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Few<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut all = vec![];
        while let Some(it) = seq.next_element()? {
            if all.len() >= self.limit {
                return Err(A::Error::custom(self.rule));
            }
            all.push(it);
        }
        Ok(all)
    }
}
