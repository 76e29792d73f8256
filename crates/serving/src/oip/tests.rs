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

#[test]
fn what_is_not_tensor_data_is_bounded() {
    let input = r#"{"name":"x","shape":[1],"datatype":"INT32","data":[1]}"#;
    let long = "i".repeat(1025);
    let problem = read(&format!(r#"{{"id":"{long}","inputs":[{input}]}}"#)).expect_err("an id");
    assert!(problem.text.contains("at most 1024"), "{problem}");
    let inputs = vec![input; TENSORS_MAX + 1].join(",");
    assert!(read(&format!(r#"{{"inputs":[{inputs}]}}"#)).expect_err("inputs").text.contains("1 to 256 inputs"));
    let shape = vec!["1"; 33].join(",");
    let json = format!(r#"{{"inputs":[{{"name":"x","shape":[{shape}],"datatype":"INT32","data":[1]}}]}}"#);
    assert!(read(&json).expect_err("a shape").text.contains("at most 32 dimensions"));
    let texts = r#"{"inputs":[{"name":"x","shape":[1048577],"datatype":"BYTES","data":[]}]}"#;
    assert!(read(texts).expect_err("texts").text.contains("at most 1048576"));
    // What nobody knows is passed over, however much it is.
    let unknown = vec!["{}"; 10_000].join(",");
    let json = format!(r#"{{"id":7,"parameters":{{"other":[{unknown}],"timeout":5}},"inputs":[{input}]}}"#);
    let request = read(&json).expect("a request");
    assert_eq!((request.id.as_deref(), request.timeout_us), (Some("7"), Some(5)));
}

#[test]
fn a_timeout_of_zero_is_none() {
    let with = |parameters: &str| {
        let input = r#"{"name":"x","shape":[1],"datatype":"INT32","data":[1]}"#;
        read(&format!(r#"{{"parameters":{parameters},"inputs":[{input}]}}"#)).expect("a request").timeout_us
    };
    assert_eq!(with(r#"{"timeout":0}"#), None);
    assert_eq!(with(r#"{"timeout":"soon"}"#), None);
    assert_eq!(with("null"), None);
    assert_eq!(with(r#"{"timeout":1000}"#), Some(1000));
}

#[test]
fn names_in_errors_are_cut() {
    let long = "n".repeat(5000);
    for json in [
        format!(r#"{{"inputs":[{{"name":"{long}","shape":[1],"datatype":"INT32"}}]}}"#),
        format!(r#"{{"inputs":[{{"name":"{long}","shape":[2],"datatype":"INT32","data":[1]}}]}}"#),
        format!(r#"{{"inputs":[{{"name":"{long}","shape":[1],"datatype":"FP32","data":["a"]}}]}}"#),
        format!(r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"{long}","data":[1]}}]}}"#),
        format!(r#"{{"inputs":[{{"name":"x","shape":"{long}","datatype":"INT32","data":[1]}}]}}"#),
    ] {
        let problem = read(&json).expect_err("a mistake");
        assert!(problem.text.len() < 400, "{problem}");
    }
    let tensor = Tensor::f32(&long, vec![1, 2], &[0.0; 2]);
    assert!(arrange(vec![tensor], &specs()).expect_err("a name").text.len() < 400);
}

#[test]
fn short_floats_are_sent_as_bytes() {
    let problem = read(r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP16","data":[1]}]}"#).expect_err("no JSON");
    assert!(problem.hint.is_some_and(|it| it.contains("binary_data_size")));
}

#[test]
fn what_is_wanted_is_checked_before_the_run() {
    let spec = |name: &str, datatype| TensorSpec { name: name.into(), datatype, shape: vec![-1, 3] };
    let specs = [spec("y", DataType::Fp32), spec("half", DataType::Fp16), spec("words", DataType::Bytes)];
    let check = |outputs: &str| {
        let input = r#"{"name":"x","shape":[1],"datatype":"INT32","data":[1]}"#;
        let request = read(&format!(r#"{{"inputs":[{input}],"outputs":[{outputs}]}}"#)).expect("a request");
        check_wanted(&request, model(), &specs).map_err(|it| it.text)
    };
    assert_eq!(check(r#"{"name":"y"}"#), Ok(()));
    assert_eq!(check(r#"{"name":"half","parameters":{"binary_data":true}}"#), Ok(()));
    assert_eq!(check(r#"{"name":"half","parameters":{"classification":2}}"#), Ok(()));
    assert!(check(r#"{"name":"z"}"#).expect_err("unknown").contains("unexpected inference output `z`"));
    assert!(check(r#"{"name":"half"}"#).expect_err("a type").contains("JSON does not carry"));
    assert!(check("").expect_err("all of them").contains("`half`"));
    let words = r#"{"name":"words","parameters":{"classification":2}}"#;
    assert!(check(words).expect_err("no numbers").contains("to classify"));
}

/// What the quick way reads, when it does, beside what the slow way reads.
fn both_ways(json: &str, datatype: DataType) -> (Option<Vec<u8>>, Result<Bytes, Problem>) {
    let mut out = vec![];
    let quick = match datatype {
        DataType::Fp32 => numbers::floats::<f32>(json, 1000, &mut out),
        _ => numbers::floats::<f64>(json, 1000, &mut out),
    };
    let reader = data::JsonData { datatype, elements: 1000, name: "x" };
    (quick.map(|()| out), reader.read_slowly(json, vec![]))
}

/// The slow way rounds a number that is not short twice, so the last digits may differ.
fn are_close(quick: &[u8], slow: &[u8], datatype: DataType) -> bool {
    let read = |data: &[u8]| {
        let size = datatype.size().expect("a float");
        let shape = vec![(data.len() / size) as i64];
        let data = Bytes::copy_from_slice(data);
        Tensor { name: "x".into(), datatype, shape, data }.to_f64().expect("numbers")
    };
    let relative = if datatype == DataType::Fp32 { 1e-6 } else { 1e-14 };
    let (quick, slow) = (read(quick), read(slow));
    let close = |(a, b): (&f64, &f64)| a == b || (a - b).abs() <= relative * b.abs() + 1e-44;
    quick.len() == slow.len() && quick.iter().zip(&slow).all(close)
}

#[test]
fn the_quick_way_takes_what_json_takes_and_nothing_else() {
    for json in
        ["[]", "1", " [ 1 , -0.5e-3 ,\n[2,[]],3E+2 ] ", "[-0]", "[[[]]]", "[0,10,0.0]", "[18446744073709551616]"]
    {
        let (quick, slow) = both_ways(json, DataType::Fp64);
        let (quick, slow) = (quick.expect(json), slow.expect(json));
        assert!(are_close(&quick, &slow, DataType::Fp64), "{json}");
    }
    for json in [
        "", "[", "]", "[1", "[1,]", "[,1]", "[1 2]", "[01]", "[+1]", "[.5]", "[5.]", "[1e]", "[-]", "[inf]", "[NaN]",
        "[1]]", "[1],2", "[1e999]", "[\"1\"]", "[true]", "[null]", "[1[2]]", "[[1]2]",
    ] {
        assert_eq!(both_ways(json, DataType::Fp64).0, None, "{json}");
    }
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert!(both_ways(&deep(data::DEPTH_MAX), DataType::Fp32).0.is_some());
    assert!(both_ways(&deep(data::DEPTH_MAX + 1), DataType::Fp32).0.is_none());
}

proptest! {
    #[test]
    fn both_ways_agree_on_anything(json in r"[\[\]\[\], 0-9.eE+-]{0,40}") {
        for datatype in [DataType::Fp32, DataType::Fp64] {
            if let (Some(quick), slow) = both_ways(&json, datatype) {
                prop_assert!(are_close(&quick, &slow.expect("the slow way takes it too"), datatype), "{}", json);
            }
        }
    }

    #[test]
    fn both_ways_agree_on_numbers(values in proptest::collection::vec(-1e38f64..1e38, 0..40), small in -1e-30f64..1e-30) {
        let mut values = values;
        values.extend([small, small.trunc(), 0.1, 1.0 / 3.0]);
        let json = serde_json::to_string(&values).expect("JSON");
        for datatype in [DataType::Fp32, DataType::Fp64] {
            let (quick, slow) = both_ways(&json, datatype);
            prop_assert!(are_close(&quick.expect("numbers"), &slow.expect("numbers"), datatype), "{}", json);
        }
    }
}
