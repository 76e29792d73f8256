//! Both engines read the same models alike and give the same answers.

use crate::{both, fixture, floats, library, onnxruntime};
use kaogong_domain::endpoints::EngineName;
use kaogong_engines::{OnnxRuntime, Tract};
use kaogong_serving::{DataType, Engine, Tensor, TensorSpec};

fn spec(name: &str, datatype: DataType, shape: &[i64]) -> TensorSpec {
    TensorSpec { name: name.into(), datatype, shape: shape.into() }
}

fn run(engine: &dyn Engine, model: &str, inputs: &[Tensor]) -> Vec<Tensor> {
    let loaded = engine.load(&fixture(model), 1).expect("it loads");
    let mut session = loaded.session().expect("a session");
    let outputs = session.run(inputs).expect("it runs");
    for output in &outputs {
        output.check().expect("bytes fit the shape");
    }
    outputs
}

fn assert_same(model: &str, input: &Tensor) -> Vec<Tensor> {
    let [tract, onnxruntime] = both().map(|it| run(&*it, model, std::slice::from_ref(input)));
    assert_eq!(tract.len(), onnxruntime.len());
    for (left, right) in tract.iter().zip(&onnxruntime) {
        assert_eq!((&left.name, left.datatype, &left.shape), (&right.name, right.datatype, &right.shape));
        let pairs = left.to_f64().expect("numbers").into_iter().zip(right.to_f64().expect("numbers"));
        for (left, right) in pairs {
            assert!((left - right).abs() <= 1e-4, "{model}: {left} and {right}");
        }
    }
    tract
}

#[test]
fn names_and_versions_are_told() {
    assert_eq!(Tract.name(), EngineName::Tract);
    let engine = onnxruntime();
    assert_eq!(engine.name(), EngineName::OnnxRuntime);
    assert!(engine.version().starts_with("1."), "{}", engine.version());
}

#[test]
fn specs_and_metadata_are_read() {
    for engine in both() {
        let mlp = engine.load(&fixture("mlp.onnx"), 1).expect("it loads");
        assert_eq!(mlp.inputs(), [spec("x", DataType::Fp32, &[-1, 64])]);
        assert_eq!(mlp.outputs(), [spec("probabilities", DataType::Fp32, &[-1, 10])]);
        assert_eq!(mlp.metadata().get("kaogong.task").map(String::as_str), Some(r#"{"kind":"classification"}"#));
        assert_eq!(mlp.metadata().len(), 2);

        let conv = engine.load(&fixture("conv.onnx"), 1).expect("it loads");
        assert_eq!(conv.inputs(), [spec("image", DataType::Fp32, &[-1, 3, 16, 16])]);
        assert!(conv.metadata().is_empty());

        let linear = engine.load(&fixture("linear.onnx"), 1).expect("it loads");
        let outputs = [
            spec("y", DataType::Fp32, &[-1, 1]),
            spec("is_positive", DataType::Bool, &[-1, 1]),
            spec("largest", DataType::Int64, &[-1]),
        ];
        assert_eq!(linear.outputs(), outputs);
    }
}

#[test]
fn both_engines_give_the_same_answers_for_one_and_for_three() {
    for batch in [1, 3] {
        let rows = assert_same("mlp.onnx", &floats("x", &[batch, 64], 1));
        let sums = rows[0].to_f64().expect("numbers");
        for row in sums.chunks(10) {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-4, "softmax rows add up to 1");
        }
        assert_same("conv.onnx", &floats("image", &[batch, 3, 16, 16], 2));
        assert_eq!(assert_same("linear.onnx", &floats("x", &[batch, 5], 3))[0].shape, [batch, 1]);
    }
}

#[test]
fn a_batch_gives_what_its_rows_give_alone() {
    let batch = floats("x", &[3, 64], 4);
    for engine in both() {
        let together = run(&*engine, "mlp.onnx", std::slice::from_ref(&batch))[0].to_f64().expect("numbers");
        for row in 0..3 {
            let data = batch.data.slice(row * 256..(row + 1) * 256);
            let one = Tensor { shape: vec![1, 64], data, ..batch.clone() };
            let alone = run(&*engine, "mlp.onnx", &[one])[0].to_f64().expect("numbers");
            for (left, right) in alone.iter().zip(&together[row * 10..]) {
                assert!((left - right).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn sessions_of_one_model_run_on_threads_of_their_own() {
    for engine in both() {
        let loaded = engine.load(&fixture("mlp.onnx"), 1).expect("it loads");
        let input = floats("x", &[1, 64], 5);
        let want = loaded.session().expect("a session").run(std::slice::from_ref(&input)).expect("it runs");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut session = loaded.session().expect("a session");
                    for _ in 0..20 {
                        assert_eq!(session.run(std::slice::from_ref(&input)).expect("it runs"), want);
                    }
                });
            }
        });
    }
}

#[test]
fn texts_run_in_onnx_runtime_and_are_refused_by_tract() {
    let data = b"\x02\0\0\0hi\x00\0\0\0\x03\0\0\0\xe8\x80\x83".to_vec();
    let input = Tensor { name: "words".into(), datatype: DataType::Bytes, shape: vec![3], data: data.into() };
    let output = run(&onnxruntime(), "texts.onnx", std::slice::from_ref(&input));
    assert_eq!(output, [Tensor { name: "same".into(), ..input }]);
    let problem = Tract.load(&fixture("texts.onnx"), 1).err().expect("refused");
    assert!(problem.to_string().contains("words"), "{problem}");
}

#[test]
fn the_library_is_found_in_a_folder_and_opened_once() {
    let first = onnxruntime();
    let folder = first.path().parent().expect("a folder").to_path_buf();
    let empty = tempfile::tempdir().expect("a folder");
    let found = OnnxRuntime::find(None, &[empty.path().to_path_buf(), folder]).expect("no problem").expect("found");
    assert_eq!(found.path(), first.path());
    assert!(OnnxRuntime::find(None, &[empty.path().to_path_buf()]).expect("no problem").is_none());

    let other = empty.path().join("libonnxruntime.so.1.99.0");
    std::fs::copy(library(), &other).expect("copied");
    let problem = OnnxRuntime::find(Some(&other), &[]).expect_err("one library for one process");
    assert!(problem.to_string().contains("already runs"), "{problem}");
}

#[test]
fn a_library_known_from_elsewhere_is_opened_with_the_first_model() {
    let found = OnnxRuntime::libraries(Some(&library()), &[]).expect("it can be seen to be a library");
    let engine = OnnxRuntime::known(found[0].clone(), "1.2.3".to_owned());
    assert_eq!((engine.version(), engine.path()), ("1.2.3".to_owned(), &*found[0]));
    assert!(engine.load(&fixture("mlp.onnx"), 1).is_ok());
    let missing = OnnxRuntime::known("/nonexistent/libonnxruntime.so".into(), "1.2.3".to_owned());
    assert!(missing.load(&fixture("mlp.onnx"), 1).is_err());
}

#[test]
fn engines_tell_what_the_pool_decides_by() {
    for engine in both() {
        let mlp = engine.load(&fixture("mlp.onnx"), 4).expect("it loads");
        assert!(mlp.is_steady(), "{:?}", engine.name());
        let size = std::fs::metadata(fixture("mlp.onnx")).expect("a file").len();
        let copies = if engine.name() == EngineName::Tract { 0 } else { size };
        assert_eq!(mlp.session_bytes(), copies);
    }
    let texts = onnxruntime().load(&fixture("texts.onnx"), 1).expect("it loads");
    assert!(!texts.is_steady(), "a text may be of any length");
}
