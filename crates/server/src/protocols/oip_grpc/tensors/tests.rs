//! Conversions: what is taken, what is refused, and what an answer looks like.

use super::*;
use proptest::prelude::*;
use prost::Message;

fn input(name: &str, datatype: &str, shape: &[i64], contents: Option<InferTensorContents>) -> InferInputTensor {
    InferInputTensor {
        name: name.into(),
        datatype: datatype.into(),
        shape: shape.to_vec(),
        contents,
        ..InferInputTensor::default()
    }
}

fn request(inputs: Vec<InferInputTensor>, raw: Vec<Bytes>) -> ModelInferRequest {
    ModelInferRequest { inputs, raw_input_contents: raw, ..ModelInferRequest::default() }
}

fn refusal(message: ModelInferRequest) -> String {
    read(message).expect_err("a refusal").text
}

fn number(value: i64) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(value)) }
}

fn only_data(datatype: &str, contents: InferTensorContents) -> Vec<u8> {
    let message = request(vec![input("x", datatype, &[2], Some(contents))], vec![]);
    read(message).expect("a request").inputs.remove(0).data.to_vec()
}

#[test]
fn raw_contents_become_tensors_without_a_copy() {
    let raw = Bytes::from(vec![0u8; 8]);
    let infer = read(request(vec![input("x", "FP32", &[1, 2], None)], vec![raw.clone()])).expect("a request");
    assert_eq!(infer.inputs[0].data.as_ptr(), raw.as_ptr());
    assert_eq!((infer.inputs[0].datatype, &infer.inputs[0].shape[..]), (DataType::Fp32, &[1, 2][..]));
}

#[test]
fn typed_contents_are_little_endian() {
    let none = InferTensorContents::default;
    assert_eq!(only_data("BOOL", InferTensorContents { bool_contents: vec![true, false], ..none() }), [1, 0]);
    let ints = InferTensorContents { int_contents: vec![-1, 2], ..none() };
    assert_eq!(only_data("INT8", ints.clone()), [255, 2]);
    assert_eq!(only_data("INT16", ints.clone()), [255, 255, 2, 0]);
    assert_eq!(only_data("INT32", ints), [255, 255, 255, 255, 2, 0, 0, 0]);
    let uints = InferTensorContents { uint_contents: vec![200, 2], ..none() };
    assert_eq!(only_data("UINT8", uints.clone()), [200, 2]);
    assert_eq!(only_data("UINT16", uints.clone()), [200, 0, 2, 0]);
    assert_eq!(only_data("UINT32", uints), [200, 0, 0, 0, 2, 0, 0, 0]);
    let floats = InferTensorContents { fp32_contents: vec![1.0, -2.0], ..none() };
    assert_eq!(only_data("FP32", floats), [0, 0, 128, 63, 0, 0, 0, 192]);
    let doubles = InferTensorContents { fp64_contents: vec![1.0, 0.0], ..none() };
    assert_eq!(only_data("FP64", doubles)[..8], 1f64.to_le_bytes());
    let longs = InferTensorContents { int64_contents: vec![i64::MIN, 1], ..none() };
    assert_eq!(only_data("INT64", longs)[..8], i64::MIN.to_le_bytes());
    let longs = InferTensorContents { uint64_contents: vec![u64::MAX, 1], ..none() };
    assert_eq!(only_data("UINT64", longs)[..8], [255; 8]);
    let words = vec![Bytes::from_static(b"ab"), Bytes::new()];
    let words = InferTensorContents { bytes_contents: words, ..none() };
    assert_eq!(only_data("BYTES", words), b"\x02\0\0\0ab\0\0\0\0");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let floats = |count| InferTensorContents { fp32_contents: vec![0.0; count], ..InferTensorContents::default() };
    let one = |datatype: &str, shape: &[i64], contents| request(vec![input("x", datatype, shape, contents)], vec![]);
    assert!(refusal(request(vec![], vec![])).contains("1 to 256 inputs"));
    assert!(refusal(one("FP99", &[1], Some(floats(1)))).contains("unknown datatype `FP99`"));
    assert!(refusal(one("FP32", &[3], Some(floats(2)))).contains("promises 3 elements"));
    assert!(refusal(one("INT32", &[2], Some(floats(2)))).contains("another type"));
    assert!(refusal(one("FP16", &[2], Some(floats(2)))).contains("typed contents"));
    assert!(refusal(one("FP32", &[-2], Some(floats(2)))).contains("no dimension is negative"));
    assert!(refusal(one("FP32", &[i64::MAX, i64::MAX], Some(floats(2)))).contains("too many elements"));
    assert!(refusal(one("FP32", &[1], None)).contains("no contents"));
    let big = InferTensorContents { int_contents: vec![128], ..InferTensorContents::default() };
    assert!(refusal(one("INT8", &[1], Some(big))).contains("outside of INT8"));
}

#[test]
fn raw_contents_must_match_inputs() {
    let float = || input("x", "FP32", &[1], None);
    let bytes = |length| Bytes::from(vec![0u8; length]);
    assert!(refusal(request(vec![float()], vec![bytes(4), bytes(4)])).contains("2 entries for 1 inputs"));
    assert!(refusal(request(vec![float()], vec![bytes(3)])).contains("3 bytes"));
    assert!(refusal(request(vec![float(), float()], vec![bytes(4), bytes(4)])).contains("given twice"));
    let both = input("x", "FP32", &[1], Some(InferTensorContents::default()));
    assert!(refusal(request(vec![both], vec![bytes(4)])).contains("both raw and typed"));
    let mut shared = float();
    shared.parameters.insert(SHARED_MEMORY.into(), number(1));
    assert!(refusal(request(vec![shared], vec![bytes(4)])).contains("shared memory"));
}

#[test]
fn parameters_say_time_and_classes() {
    let mut message = request(vec![input("x", "FP32", &[1], None)], vec![Bytes::from_static(&[0; 4])]);
    message.parameters.insert("timeout".into(), number(250));
    let parameters = Parameters::from([("classification".to_owned(), number(2))]);
    message.outputs.push(InferRequestedOutputTensor { name: "y".into(), parameters });
    let infer = read(message).expect("a request");
    assert_eq!(infer.time, Some(Duration::from_micros(250)));
    assert_eq!(infer.wanted, [Wanted { name: "y".into(), classes: Some(2) }]);
}

#[test]
fn answers_carry_wanted_outputs_raw() {
    let model = ModelName { name: "m", version: "3", labels: &["no".to_owned(), "yes".to_owned()] };
    let outputs = || vec![Tensor::f32("y", vec![1, 2], &[0.25, 0.75]), Tensor::f32("z", vec![1], &[1.0])];
    let all = write(model, "7".into(), &[], outputs()).expect("an answer");
    assert_eq!((&*all.model_name, &*all.model_version, &*all.id), ("m", "3", "7"));
    assert_eq!(all.outputs.len(), 2);
    assert_eq!(all.raw_output_contents[1][..], 1f32.to_le_bytes());
    let wanted = [Wanted { name: "y".into(), classes: Some(1) }];
    let classes = write(model, String::new(), &wanted, outputs()).expect("an answer");
    assert_eq!((&*classes.outputs[0].datatype, &classes.outputs[0].shape[..]), ("BYTES", &[1, 1][..]));
    assert!(classes.raw_output_contents[0].ends_with(b"0.750000:1:yes"));
    let missing = [Wanted { name: "q".into(), classes: None }];
    assert!(write(model, String::new(), &missing, outputs()).is_err());
}

/// The bytes that a client of the protocol sends for model `m`, one input and its raw contents.
#[test]
fn field_numbers_are_the_protocols() {
    let mut input = input("x", "FP32", &[1], None);
    input.contents = Some(InferTensorContents { bytes_contents: vec![Bytes::from_static(b"b")], ..Default::default() });
    let message = ModelInferRequest {
        model_name: "m".into(),
        model_version: "1".into(),
        id: "i".into(),
        inputs: vec![input],
        outputs: vec![InferRequestedOutputTensor { name: "y".into(), ..Default::default() }],
        raw_input_contents: vec![Bytes::from_static(b"r")],
        ..Default::default()
    };
    let expected = b"\x0a\x01m\x12\x011\x1a\x01i\x2a\x11\x0a\x01x\x12\x04FP32\x1a\x01\x01\x2a\x03\x42\x01b\x32\x03\x0a\x01y\x3a\x01r";
    assert_eq!(message.encode_to_vec(), expected);
}

proptest! {
    #[test]
    fn no_message_makes_a_tensor_that_is_not_checked(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        if let Ok(infer) = ModelInferRequest::decode(&bytes[..]).map_err(|_| ()).and_then(|it| read(it).map_err(|_| ())) {
            prop_assert!(infer.inputs.iter().all(|it| it.check().is_ok()));
        }
    }

    #[test]
    fn floats_survive_the_way_in_and_out(values in proptest::collection::vec(any::<f32>(), 1..64)) {
        let contents = InferTensorContents { fp32_contents: values.clone(), ..InferTensorContents::default() };
        let length = i64::try_from(values.len()).expect("a small number");
        let infer = read(request(vec![input("x", "FP32", &[length], Some(contents))], vec![])).expect("a request");
        let model = ModelName { name: "m", version: "1", labels: &[] };
        let answer = write(model, String::new(), &[], infer.inputs).expect("an answer");
        let expected: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
        prop_assert_eq!(&answer.raw_output_contents[0][..], &expected[..]);
    }
}
