//! The codec on requests as clients write them, and on noise.

use super::*;
use proptest::prelude::*;

fn specs() -> Vec<TensorSpec> {
    vec![TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape: vec![-1, 2] }]
}

fn read(json: &str) -> Result<InferRequest, Problem> {
    read_request(&Bytes::copy_from_slice(json.as_bytes()), None, &specs())
}

fn model() -> ModelName<'static> {
    ModelName { name: "m", version: "1", labels: &[] }
}

#[test]
fn flat_and_nested_data_are_the_same() {
    let flat = read(r#"{"id":"7","inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[1,2,3.5,-4]}]}"#)
        .expect("flat");
    let nested = read(r#"{"id":"7","inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2],[3.5,-4]]}]}"#);
    assert_eq!(flat, nested.expect("nested"));
    assert_eq!(flat.inputs[0].to_f64(), Some(vec![1.0, 2.0, 3.5, -4.0]));
    assert_eq!(flat.id.as_deref(), Some("7"));
}

#[test]
fn binary_tensors_are_cut_from_the_body() {
    let head = r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}],"parameters":{"binary_data_output":true}}"#;
    let tensor = Tensor::f32("x", vec![1, 2], &[1.0, 2.0]);
    let body = Bytes::from([head.as_bytes(), &tensor.data].concat());
    let request = read_request(&body, Some(&head.len().to_string()), &specs()).expect("a request");
    assert_eq!(request.inputs, std::slice::from_ref(&tensor));
    let answer = write_answer(model(), &request, &[Tensor { name: "y".into(), ..tensor.clone() }]).expect("an answer");
    assert_eq!(answer.tail, [tensor.data]);
    assert!(std::str::from_utf8(&answer.head).expect("JSON").contains(r#""binary_data_size":8"#));
}

#[test]
fn a_raw_body_is_the_only_input() {
    let tensor = Tensor::f32("x", vec![3, 2], &[0.0; 6]);
    let request = read_request(&tensor.data, Some("0"), &specs()).expect("a request");
    assert_eq!(request.inputs, [tensor]);
    assert!(read_request(&Bytes::from_static(b"123"), Some("0"), &specs()).is_err());
}

#[test]
fn each_mistake_is_named() {
    let cases = [
        (r#"{}"#, "inputs"),
        (r#"{"inputs":[]}"#, "1 to 256 inputs"),
        (r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP33","data":[1,2]}]}"#, "FP33"),
        (r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32"}]}"#, "no data"),
        (r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2,3]}]}"#, "more than the 2 elements"),
        (r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1]}]}"#, "needs 2 elements"),
        (r#"{"inputs":[{"name":"x","shape":[1,-2],"datatype":"FP32","data":[1]}]}"#, "no dimension is negative"),
        (r#"{"inputs":[{"name":"x","shape":[1],"datatype":"UINT8","data":[256]}]}"#, "256 does not fit"),
        (r#"{"inputs":[{"name":"x","shape":[1],"datatype":"INT32","data":["a"]}]}"#, "does not fit"),
        (
            r#"{"inputs":[{"name":"x","shape":[1],"datatype":"INT32","data":[1]}],"outputs":[{"name":"y"},{"name":"y"}]}"#,
            "wanted twice",
        ),
    ];
    for (json, expected) in cases {
        let problem = read(json).expect_err(json);
        assert!(problem.text.contains(expected), "{json}: {}", problem.text);
    }
    let deep = format!(
        r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"FP32","data":{}1{}}}]}}"#,
        "[".repeat(90),
        "]".repeat(90)
    );
    assert!(read(&deep).expect_err("too deep").text.contains("nested deeper"));
}

#[test]
fn inputs_are_checked_against_the_model() {
    let tensor = |name: &str, shape: Vec<i64>| {
        Tensor::f32(name, shape.clone(), &vec![0.0; shape.iter().product::<i64>() as usize])
    };
    assert!(arrange(vec![tensor("x", vec![5, 2])], &specs()).is_ok());
    assert!(arrange(vec![tensor("y", vec![5, 2])], &specs()).expect_err("a name").text.contains("no input `y`"));
    assert!(arrange(vec![tensor("x", vec![5, 3])], &specs()).expect_err("a shape").text.contains("[5, 3]"));
    assert!(arrange(vec![], &specs()).expect_err("nothing").text.contains("missing"));
}

#[test]
fn an_unknown_output_is_refused() {
    let request =
        read(r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}],"outputs":[{"name":"z"}]}"#);
    let problem = write_answer(model(), &request.expect("a request"), &[]).expect_err("no such output");
    assert!(problem.text.contains("`z`"));
}

proptest! {
    #[test]
    fn noise_never_panics(body in proptest::collection::vec(any::<u8>(), 0..400), length in proptest::option::of("[0-9]{1,4}")) {
        let _ = read_request(&Bytes::from(body), length.as_deref(), &specs());
    }

    #[test]
    fn floats_survive_json(values in proptest::collection::vec(-1e30f32..1e30, 1..40)) {
        let shape = vec![values.len() as i64];
        let tensor = Tensor::f32("x", shape.clone(), &values);
        let json = serde_json::to_string(&data::Shown::new(&tensor).expect("a type that JSON carries")).expect("JSON");
        let back = data::JsonData { datatype: DataType::Fp32, elements: values.len(), name: "x" }.read(&json).expect("data");
        prop_assert_eq!(back, tensor.data);
    }
}

#[test]
fn a_model_of_impossible_size_takes_no_raw_body() {
    let specs = [TensorSpec { name: "x".into(), datatype: DataType::Fp32, shape: vec![-1, i64::MAX, i64::MAX] }];
    assert!(read_request(&Bytes::from_static(b"1234"), Some("0"), &specs).is_err());
}

#[test]
fn the_outputs_of_an_answer_are_bounded() {
    let wanted: Vec<String> = (0..=TENSORS_MAX).map(|it| format!(r#"{{"name":"y{it}"}}"#)).collect();
    let input = r#"{"name":"x","shape":[1],"datatype":"INT32","data":[1]}"#;
    let problem = read(&format!(r#"{{"inputs":[{input}],"outputs":[{}]}}"#, wanted.join(","))).expect_err("too many");
    assert!(problem.text.contains("at most 256 outputs"), "{problem}");
}
