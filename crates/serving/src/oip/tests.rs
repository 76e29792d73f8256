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
        (r#"{"inputs":[{"name":"x","shape":[1],"datatype":"UINT8","data":[256]}]}"#, "256 does not fit UINT8"),
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
        let json = serde_json::to_string(&data::Shown(&tensor)).expect("JSON");
        let back = read_as(DataType::Fp32, &shape, &json).expect("data");
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
    assert_eq!(check(r#"{"name":"half"}"#), Ok(()));
    assert_eq!(check(""), Ok(()));
    let words = r#"{"name":"words","parameters":{"classification":2}}"#;
    assert!(check(words).expect_err("no numbers").contains("to classify"));
}

/// Reads the data of one input `x` of that type.
fn data_of(datatype: &str, shape: &str, data: &str) -> Result<Vec<f64>, String> {
    let json = format!(r#"{{"inputs":[{{"name":"x","shape":{shape},"datatype":"{datatype}","data":{data}}}]}}"#);
    read(&json).map_err(|it| it.text).map(|it| it.inputs[0].to_f64().unwrap_or_default())
}

#[test]
fn floats_without_a_number_are_read_in_every_spelling() {
    let data = r#"[[1, null, NaN], [Infinity, -Infinity, "NaN"], ["Infinity", "-Infinity", -1.5]]"#;
    for datatype in ["FP16", "BF16", "FP32", "FP64"] {
        let read = data_of(datatype, "[3,3]", data).expect(datatype);
        let shown: Vec<String> = read.iter().map(f64::to_string).collect();
        assert_eq!(shown, ["1", "NaN", "NaN", "inf", "-inf", "NaN", "inf", "-inf", "-1.5"], "{datatype}");
    }
    assert!(data_of("FP32", "[]", "NaN").expect("a number")[0].is_nan());
    for other in ["inf", "-inf", "nan", "Inf", r#""nan""#, r#""+Infinity""#] {
        assert!(!data_of("FP64", "[1]", &format!("[{other}]")).expect(other)[0].is_finite(), "{other}");
    }
}

#[test]
fn bare_words_change_nothing_else() {
    let json = r#"{"id":"NaN, [NaN]","inputs":[{"name":"a\"NaN","shape":[2],"datatype":"FP32","data":[NaN,2]},
        {"name":"t","shape":[3],"datatype":"BYTES","data":["NaN","[NaN,\u4e2d]",""]}],"outputs":[{"name":"y"}]}"#;
    let request = read(json).expect("a request");
    assert_eq!(request.id.as_deref(), Some("NaN, [NaN]"));
    assert_eq!((request.inputs[0].name.as_str(), request.wanted.len()), ("a\"NaN", 1));
    assert_eq!(&request.inputs[1].data[..], b"\x03\0\0\0NaN\x09\0\0\0[NaN,\xe4\xb8\xad]\0\0\0\0");
    // A body with bytes behind its JSON is read in the same way.
    let head = r#"{"inputs":[{"name":"a","shape":[1],"datatype":"FP32","data":[NaN]},{"name":"b","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}"#;
    let body = Bytes::from([head.as_bytes(), &2f32.to_le_bytes()].concat());
    let request = read_request(&body, Some(&head.len().to_string()), &specs()).expect("a request");
    assert!(request.inputs[0].to_f64().expect("numbers")[0].is_nan());
    assert_eq!(request.inputs[1].to_f64(), Some(vec![2.0]));
    for json in [
        r#"{"inputs":[{"name":NaN,"shape":[1],"datatype":"FP32","data":[NaN]}]}"#,
        r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[NaN]}],NaN}"#,
        r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[NaN NaN]}]}"#,
        r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[NaN]}"#,
    ] {
        assert!(read(json).expect_err(json).text.contains("failed to parse"), "{json}");
    }
}

#[test]
fn what_does_not_fit_is_named_with_its_type_and_place() {
    let cases = [
        (
            "FP32",
            "[2]",
            "[1.0, 1e39]",
            "data[1] of input `x`: 1e39 does not fit FP32, which holds numbers up to 3.4028235e38",
        ),
        ("FP16", "[2]", "[1, 65520]", "data[1] of input `x`: 65520 does not fit FP16"),
        ("BF16", "[1]", "[-1e39]", "data[0] of input `x`: -1e39 does not fit BF16"),
        ("FP64", "[1]", "[1e999]", "1e999 does not fit FP64"),
        (
            "UINT8",
            "[2]",
            "[1, 300]",
            "data[1] of input `x`: 300 does not fit UINT8, which holds whole numbers from 0 to 255",
        ),
        ("INT32", "[2]", "[1.0, 1.5]", "data[1] of input `x`: 1.5 does not fit INT32"),
        ("UINT16", "[2,2]", "[[1, 2], [3, -1]]", "data[1][1] of input `x`: -1 does not fit UINT16"),
        ("INT64", "[1]", "[9223372036854775808]", "9223372036854775808 does not fit INT64"),
        ("UINT64", "[1]", "[18446744073709551616]", "18446744073709551616 does not fit UINT64"),
        ("INT8", "[1]", "[null]", "null does not fit INT8"),
        ("INT8", "[2]", "[1, NaN]", "data[1] of input `x`: NaN does not fit INT8"),
        ("INT8", "[1]", "[-Infinity]", "-Infinity does not fit INT8"),
        ("BYTES", "[1]", "[NaN]", "NaN does not fit BYTES, which holds texts"),
        ("BYTES", "[1]", "[null]", "null does not fit BYTES"),
        ("BOOL", "[2]", "[true, 2]", "data[1] of input `x`: 2 does not fit BOOL"),
        ("FP32", "[2]", r#"[1, "a, ]b"]"#, r#"data[1] of input `x`: "a, ]b" does not fit FP32"#),
        ("FP32", "[1]", "[true]", "true does not fit FP32"),
        ("FP32", "[1]", r#"[{"a":1}]"#, "is no element of a tensor"),
        ("FP32", "[2]", "[1,2,3]", "data[2] of input `x`: more than the 2 elements"),
        ("FP32", "[2,4]", "[[1,2,3],[4,5,6,7,8]]", "data[0] of input `x`: an array of 3 where its shape [2, 4] has 4"),
        ("FP32", "[2,2]", "[[1,2],[3]]", "data[1] of input `x`: an array of 1 where its shape [2, 2] has 2"),
        ("FP32", "[2,2]", "[[1,2]]", "data of input `x`: an array of 1 where its shape [2, 2] has 2"),
        ("FP32", "[2,2]", "[[1,2],3,4]", "data[1] of input `x`: 3 stands where its shape [2, 2] has an array"),
        ("FP32", "[3]", "[[1,2,3]]", "data[0] of input `x`: arrays are nested deeper than its shape [3]"),
        ("FP32", "[2,2]", "[1,[2],3,4]", "data[1] of input `x`: an array among the values of a flat array"),
        ("FP32", "[1,1,2]", "[[1,2]]", "data[0][0] of input `x`: 1 stands where its shape [1, 1, 2] has an array"),
        ("FP32", "[2,0]", "[[],[],[]]", "data of input `x`: an array of 3 where its shape [2, 0] has 2"),
    ];
    for (datatype, shape, data, expected) in cases {
        let said = data_of(datatype, shape, data).expect_err(data);
        assert!(said.contains(expected) && said.starts_with("inputs[0].data"), "{datatype} {data}: {said}");
    }
    let second = r#"{"inputs":[{"name":"a","shape":[1],"datatype":"INT8","data":[1]},{"name":"b","shape":[1],"datatype":"INT8","data":[128]}]}"#;
    assert!(read(second).expect_err("too large").text.starts_with("inputs[1].data[0] of input `b`: 128"));
}

#[test]
fn whole_numbers_may_be_written_as_floats() {
    assert_eq!(data_of("INT32", "[4]", "[1.0, -2e0, 2.50e1, -0.0]"), Ok(vec![1.0, -2.0, 25.0, 0.0]));
    assert_eq!(data_of("UINT8", "[2]", "[-0, 255.0]"), Ok(vec![0.0, 255.0]));
    assert_eq!(data_of("BOOL", "[4]", "[1.0, 0, true, false]"), Ok(vec![1.0, 0.0, 1.0, 0.0]));
    let json =
        r#"{"inputs":[{"name":"x","shape":[2],"datatype":"INT64","data":[9007199254740993.0,9223372036854775807]}]}"#;
    let exact = read(json).expect("a request").inputs[0].data.clone();
    assert_eq!(&exact[..8], &9_007_199_254_740_993i64.to_le_bytes());
    assert_eq!(&exact[8..], &i64::MAX.to_le_bytes());
}

#[test]
fn answers_are_strict_json_whatever_the_numbers() {
    let values = [1.5f32, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let tensor = |datatype, data: Vec<u8>| Tensor { name: "y".into(), datatype, shape: vec![4], data: data.into() };
    let short: Vec<u8> = [0x3e00u16, 0x7e00, 0x7c00, 0xfc00].iter().flat_map(|it| it.to_le_bytes()).collect();
    let brain: Vec<u8> = values.iter().flat_map(|it| ((it.to_bits() >> 16) as u16).to_le_bytes()).collect();
    let wide: Vec<u8> = values.iter().flat_map(|it| f64::from(*it).to_le_bytes()).collect();
    let outputs = [
        Tensor::f32("y", vec![4], &values),
        tensor(DataType::Fp64, wide),
        tensor(DataType::Fp16, short),
        tensor(DataType::Bf16, brain),
    ];
    for output in outputs {
        let request = read(r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#).expect("a request");
        let specs = [TensorSpec { name: "y".into(), datatype: output.datatype, shape: vec![4] }];
        check_wanted(&request, model(), &specs).expect("JSON carries every type");
        let answer = write_answer(model(), &request, std::slice::from_ref(&output)).expect("an answer");
        let json: Value = serde_json::from_slice(&answer.head).expect("strict JSON");
        assert_eq!(json["outputs"][0]["data"], json!([1.5, null, "Infinity", "-Infinity"]), "{:?}", output.datatype);
    }
}

/// Reads data of that type and shape, however few elements it has.
fn read_as(datatype: DataType, shape: &[i64], json: &str) -> Result<Bytes, Problem> {
    let form = walk::Form { elements: elements_of(shape)?, shape };
    data::JsonData { datatype, form, name: "x", index: 0 }.read(json)
}

/// What the reader takes of a flat document, beside the elements that a general JSON reader finds in it.
fn beside_serde(json: &str, datatype: DataType) -> (Result<Bytes, Problem>, Option<Vec<Value>>) {
    fn flat(value: Value, depth: usize, out: &mut Vec<Value>) -> Option<()> {
        match value {
            Value::Array(all) if depth == 0 => all.into_iter().try_for_each(|it| flat(it, depth + 1, out)),
            Value::Array(_) | Value::Object(_) => None,
            other => {
                out.push(other);
                Some(())
            }
        }
    }
    let mut all = vec![];
    let known = serde_json::from_str(json).ok().and_then(|it| flat(it, 0, &mut all)).map(|()| all);
    (read_as(datatype, &[1000], json), known)
}

#[test]
fn nothing_but_json_and_its_words_is_taken() {
    for json in ["[]", "1", " [ 1 , -0.5e-3 ,\n2,3E+2 ] ", "[-0]", "[0,10,0.0]", "[18446744073709551616]"] {
        assert!(beside_serde(json, DataType::Fp64).0.is_ok(), "{json}");
    }
    for json in [
        "",
        "[",
        "]",
        "[1",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[01]",
        "[+1]",
        "[.5]",
        "[5.]",
        "[1e]",
        "[-]",
        "[infi]",
        "[1]]",
        "[1],2",
        "[1e999]",
        "[\"1\"]",
        "[true]",
        "[1[2]]",
        "[[1]2]",
        "[nul]",
        "[nullnull]",
        "[\"",
        "[\"a",
        "[NaN1]",
        "[--inf]",
        "[\"\\",
        "{}",
    ] {
        assert!(beside_serde(json, DataType::Fp64).0.is_err(), "{json}");
    }
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let ones = [1; fault::DEPTH_MAX];
    assert!(read_as(DataType::Fp32, &ones, &deep(fault::DEPTH_MAX)).is_ok());
    assert!(read_as(DataType::Fp32, &ones, &deep(fault::DEPTH_MAX + 1)).is_err());
}

proptest! {
    #[test]
    fn numbers_are_what_a_general_reader_makes_of_them(json in r"[\[\]\[\], 0-9.eE+-]{0,40}") {
        for datatype in [DataType::Fp32, DataType::Fp64, DataType::Int64] {
            // A general reader takes no number beyond 1e308; here a whole one has as many digits as it likes.
            let (Ok(mine), Some(known)) = beside_serde(&json, datatype) else { continue };
            let size = datatype.size().expect("a number");
            prop_assert_eq!(mine.len(), known.len() * size, "{}", &json);
            for (bytes, value) in mine.chunks(size).zip(known) {
                let value = value.as_f64().expect("a number");
                let read = match datatype {
                    DataType::Fp32 => f64::from(f32::from_le_bytes(bytes.try_into().expect("four"))),
                    DataType::Fp64 => f64::from_le_bytes(bytes.try_into().expect("eight")),
                    _ => i64::from_le_bytes(bytes.try_into().expect("eight")) as f64,
                };
                // The general reader rounds long numbers twice.
                let relative = if datatype == DataType::Fp32 { 1e-6 } else { 1e-14 };
                prop_assert!((read - value).abs() <= relative * value.abs() + 1e-44, "{}: {} {}", &json, read, value);
            }
        }
    }

    #[test]
    fn nested_data_has_the_shape_or_is_refused(
        shape in proptest::collection::vec(0usize..4, 0..5),
        other in proptest::collection::vec(0usize..4, 0..5),
        cut in any::<proptest::sample::Index>(),
    ) {
        fn nested(shape: &[usize], next: &mut i32) -> Value {
            match shape.split_first() {
                Some((length, rest)) => (0..*length).map(|_| nested(rest, next)).collect(),
                None => {
                    *next += 1;
                    json!(*next)
                }
            }
        }
        let of = |it: &[usize]| nested(it, &mut 0).to_string();
        let dimensions: Vec<i64> = shape.iter().map(|it| *it as i64).collect();
        let expected: Vec<u8> = (1..=shape.iter().product::<usize>() as i32).flat_map(i32::to_le_bytes).collect();
        let read = |json: &str| read_as(DataType::Int32, &dimensions, json);
        prop_assert_eq!(&read(&of(&shape)).expect("nested")[..], &expected[..]);
        let flat = of(&[shape.iter().product()]);
        prop_assert_eq!(&read(&flat).expect("flat")[..], &expected[..]);
        // Another nesting of as many values is neither, unless it spells the same.
        let others = of(&other);
        let are_as_many = other.iter().product::<usize>() == shape.iter().product::<usize>();
        if are_as_many && other.len() > 1 && others != of(&shape) && others != flat {
            prop_assert!(read(&others).is_err(), "{} as {:?}", others, shape);
        }
        // Moving a bracket over a value keeps their count and changes the lengths.
        let whole = of(&shape);
        let places: Vec<_> = whole.match_indices("],[").map(|it| it.0).collect();
        if !places.is_empty() && shape.iter().all(|it| *it > 0) {
            let at = places[cut.index(places.len())];
            let value = whole[..at].rfind([',', '[']).expect("a bracket") + 1;
            if whole[..at].ends_with(|it: char| it.is_ascii_digit()) && whole.as_bytes()[value - 1] == b',' {
                let rest = whole[at + 2..].trim_start_matches('[');
                let opened = &whole[at + 2..whole.len() - rest.len()];
                let moved = format!("{}],{opened}{},{rest}", &whole[..value - 1], &whole[value..at]);
                prop_assert!(read(&moved).is_err(), "{} as {:?}", moved, shape);
            }
        }
    }

    #[test]
    fn strict_arrays_of_the_type_are_always_taken(
        values in proptest::collection::vec(any::<i32>(), 0..40),
        floats in proptest::collection::vec(-1e37f32..1e37, 0..40),
    ) {
        let json = serde_json::to_string(&values).expect("JSON");
        let expected: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
        prop_assert_eq!(&beside_serde(&json, DataType::Int32).0.expect("numbers")[..], expected);
        let json = serde_json::to_string(&floats).expect("JSON");
        let expected: Vec<u8> = floats.iter().flat_map(|it| it.to_le_bytes()).collect();
        prop_assert_eq!(&beside_serde(&json, DataType::Fp32).0.expect("numbers")[..], expected);
    }

    #[test]
    fn noise_in_data_never_panics(data in r#"[\[\]{}",: aNInfty0-9.e+\\-]{0,60}|\PC{0,40}"#) {
        for datatype in DataType::ALL {
            let _ = data_of(datatype.as_str(), "[3]", &data);
            let _ = read_as(datatype, &[3, 1], &data);
        }
    }

    #[test]
    fn texts_survive_in_any_spelling(texts in proptest::collection::vec(r"\PC{0,12}", 0..8)) {
        let json = serde_json::to_string(&texts).expect("JSON");
        let unit = |it: &u16| format!("\\u{it:04x}");
        let escape = |it: char| it.encode_utf16(&mut [0; 2]).iter().map(unit).collect::<String>();
        let escaped: String = json.chars().map(|it| if it.is_ascii() { it.to_string() } else { escape(it) }).collect();
        let one = |it: &String| [&(it.len() as u32).to_le_bytes()[..], it.as_bytes()].concat();
        let expected: Vec<u8> = texts.iter().flat_map(one).collect();
        for json in [json, escaped] {
            prop_assert_eq!(&beside_serde(&json, DataType::Bytes).0.expect("texts")[..], &expected[..], "{}", json);
        }
    }
}
