//! Messages are measured before they are decoded: two bytes on the wire can become hundreds in memory.

use super::{
    pb::{
        ModelInferRequest, ModelMetadataRequest, ModelReadyRequest, ServerLiveRequest, ServerMetadataRequest,
        ServerReadyRequest,
    },
    tensors::TENSORS_MAX,
};
use bytes::{Buf, Bytes};
use kaogong_domain::Problem;
use prost::{
    Message,
    encoding::{WireType, decode_key, decode_varint},
};
use std::marker::PhantomData;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder},
};
use tonic_prost::ProstEncoder;

/// The most parameters of one request, and of one tensor.
const PARAMETERS_MAX: usize = 64;
/// The most bytes that the dimensions of one tensor take on the wire.
const SHAPE_BYTES_MAX: usize = 640;
/// The most bytes that typed contents may take in memory. Raw contents are not copied and need no bound of their own.
const CONTENTS_BYTES_MAX: usize = 256 << 20;

/// Prost's codec, with a look at each message before it is decoded.
pub(super) struct BoundedCodec<T, U>(PhantomData<fn() -> (T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Bounded + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(PhantomData)
    }
}

/// The reading half.
pub(super) struct BoundedDecoder<U>(PhantomData<fn() -> U>);

impl<U: Bounded + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let wire = buf.copy_to_bytes(buf.remaining());
        decode(wire).map(Some).map_err(|it| Status::invalid_argument(it.text))
    }
}

fn decode<U: Bounded + Default>(wire: Bytes) -> Result<U, Problem> {
    U::measure(&wire)?;
    U::decode(wire).map_err(|it| Problem::invalid(format!("the message cannot be read: {it}")))
}

/// A message whose size in memory is known to be bounded.
pub(super) trait Bounded: Message {
    /// Looks at the encoded message.
    ///
    /// # Errors
    /// `Invalid`, when it would take much more memory than bytes, or is no message at all.
    fn measure(wire: &[u8]) -> Result<(), Problem>;
}

macro_rules! small {
    ($($message:ty)*) => {$(
        impl Bounded for $message {
            // Nothing in it repeats: it takes as much memory as bytes.
            fn measure(_: &[u8]) -> Result<(), Problem> {
                Ok(())
            }
        }
    )*};
}
small!(ServerLiveRequest ServerReadyRequest ServerMetadataRequest ModelReadyRequest ModelMetadataRequest);

impl Bounded for ModelInferRequest {
    fn measure(wire: &[u8]) -> Result<(), Problem> {
        let (mut parameters, mut inputs, mut outputs, mut raw, mut contents) = (0, 0, 0, 0, 0);
        for field in Fields(wire) {
            match field? {
                (4, _) => count("parameters", &mut parameters, PARAMETERS_MAX)?,
                (5, Value::Bytes(input)) => {
                    count("inputs", &mut inputs, TENSORS_MAX)?;
                    contents += measure_tensor(input, INPUT)?;
                }
                (6, Value::Bytes(output)) => {
                    count("outputs", &mut outputs, TENSORS_MAX)?;
                    measure_tensor(output, OUTPUT)?;
                }
                (7, _) => count("raw_input_contents", &mut raw, TENSORS_MAX)?,
                _ => {}
            }
            if contents > CONTENTS_BYTES_MAX {
                return Err(Problem::invalid(format!(
                    "the typed contents of the inputs take more than {} MiB in memory; send them in raw_input_contents",
                    CONTENTS_BYTES_MAX >> 20
                )));
            }
        }
        Ok(())
    }
}

fn count(what: &str, so_far: &mut usize, most: usize) -> Result<(), Problem> {
    *so_far += 1;
    if *so_far > most {
        return Err(Problem::invalid(format!("a request has at most {most} {what}, this one has more")));
    }
    Ok(())
}

/// Which field of a tensor's message is which: `InferInputTensor` and `InferRequestedOutputTensor`.
struct TensorFields {
    shape: u32,
    parameters: u32,
    contents: u32,
}
const INPUT: TensorFields = TensorFields { shape: 3, parameters: 4, contents: 5 };
const OUTPUT: TensorFields = TensorFields { shape: 0, parameters: 2, contents: 0 };

/// Bytes that the typed contents of a tensor take in memory.
fn measure_tensor(wire: &[u8], fields: TensorFields) -> Result<usize, Problem> {
    let (mut parameters, mut shape_bytes, mut contents) = (0, 0, 0);
    for field in Fields(wire) {
        match field? {
            (at, _) if at == fields.parameters => count("parameters of a tensor", &mut parameters, PARAMETERS_MAX)?,
            (at, value) if at == fields.shape => {
                shape_bytes += value.bytes().map_or(1, <[u8]>::len);
                if shape_bytes > SHAPE_BYTES_MAX {
                    return Err(Problem::invalid("a tensor of the request has too many dimensions"));
                }
            }
            (at, Value::Bytes(value)) if at == fields.contents => contents += measure_contents(value)?,
            _ => {}
        }
    }
    Ok(contents)
}

fn measure_contents(wire: &[u8]) -> Result<usize, Problem> {
    let mut total = 0_usize;
    for field in Fields(wire) {
        total += match field? {
            // Bytes elements each get a header of their own.
            (8, Value::Bytes(value)) => size_of::<Bytes>() + value.len(),
            // Packed varints: each ends with a byte below 128 and becomes at most 8 bytes.
            (1..=5, Value::Bytes(packed)) => packed.iter().filter(|it| **it < 0x80).count() * 8,
            (_, Value::Bytes(packed)) => packed.len(),
            (_, Value::Number) => 8,
        };
    }
    Ok(total)
}

/// The fields of one encoded message, not looking into what they hold.
struct Fields<'a>(&'a [u8]);

#[derive(Debug, PartialEq, Eq)]
enum Value<'a> {
    /// A text, bytes, a message or packed numbers.
    Bytes(&'a [u8]),
    Number,
}

impl<'a> Value<'a> {
    fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(it) => Some(it),
            Self::Number => None,
        }
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<(u32, Value<'a>)> {
        let (field, wire_type) = decode_key(&mut self.0).ok()?;
        let skip = match wire_type {
            WireType::Varint => {
                decode_varint(&mut self.0).ok()?;
                return Some((field, Value::Number));
            }
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut self.0).ok()?).ok()?;
                let (value, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                return Some((field, Value::Bytes(value)));
            }
            // Groups are older than this protocol.
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        self.0 = self.0.get(skip..)?;
        Some((field, Value::Number))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| Problem::invalid("the message is not of this protocol, or was cut")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocols::oip_grpc::pb::{
        InferParameter, InferTensorContents,
        model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
    };
    use proptest::prelude::*;

    fn refused(message: &ModelInferRequest) -> String {
        ModelInferRequest::measure(&message.encode_to_vec()).expect_err("it is too much").text
    }

    fn with_contents(contents: InferTensorContents) -> ModelInferRequest {
        let input = InferInputTensor { contents: Some(contents), ..InferInputTensor::default() };
        ModelInferRequest { inputs: vec![input], ..ModelInferRequest::default() }
    }

    #[test]
    fn what_would_swell_is_refused_before_it_does() {
        let inputs = vec![InferInputTensor::default(); TENSORS_MAX + 1];
        assert!(refused(&ModelInferRequest { inputs, ..ModelInferRequest::default() }).contains("inputs"));
        let outputs = vec![InferRequestedOutputTensor::default(); TENSORS_MAX + 1];
        assert!(refused(&ModelInferRequest { outputs, ..ModelInferRequest::default() }).contains("outputs"));
        let raw_input_contents = vec![Bytes::new(); TENSORS_MAX + 1];
        assert!(refused(&ModelInferRequest { raw_input_contents, ..ModelInferRequest::default() }).contains("raw"));
        let parameters = (0..=PARAMETERS_MAX).map(|it| (it.to_string(), InferParameter::default())).collect();
        assert!(refused(&ModelInferRequest { parameters, ..ModelInferRequest::default() }).contains("parameters"));
        let input = InferInputTensor { shape: vec![1; SHAPE_BYTES_MAX + 1], ..InferInputTensor::default() };
        let message = ModelInferRequest { inputs: vec![input], ..ModelInferRequest::default() };
        assert!(refused(&message).contains("dimensions"));
        let zeros = InferTensorContents { int64_contents: vec![0; 33 << 20], ..InferTensorContents::default() };
        assert!(refused(&with_contents(zeros)).contains("256 MiB"));
        let empty = InferTensorContents { bytes_contents: vec![Bytes::new(); 9 << 20], ..Default::default() };
        assert!(refused(&with_contents(empty)).contains("256 MiB"));
    }

    #[test]
    fn ordinary_messages_pass() {
        let contents = InferTensorContents { fp32_contents: vec![0.5; 1 << 20], ..InferTensorContents::default() };
        let mut message = with_contents(contents);
        message.inputs[0].shape = vec![1 << 20];
        let read: ModelInferRequest = decode(message.encode_to_vec().into()).expect("a message");
        assert_eq!(read, message);
    }

    proptest! {
        #[test]
        fn any_bytes_are_measured_without_a_panic(wire in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<ModelInferRequest>(wire.into());
        }
    }
}
