//! Broken models, wrong inputs and wrong libraries are problems, not panics.

use crate::{both, fixture, floats};
use kaogong_domain::{ErrorKind, Problem};
use kaogong_engines::OnnxRuntime;
use kaogong_serving::{DataType, Tensor};
use std::path::Path;

fn assert_invalid(problem: &Problem) {
    assert_eq!(problem.kind, ErrorKind::Invalid, "{problem}");
}

#[test]
fn broken_models_are_invalid() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = std::fs::read(fixture("mlp.onnx")).expect("read");
    let mut flipped = whole.clone();
    for byte in flipped.iter_mut().take(200) {
        *byte ^= 0x5a;
    }
    let cases: [(&str, Vec<u8>); 5] = [
        ("empty", Vec::new()),
        ("text", b"not a model at all".to_vec()),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("flipped", flipped),
        ("zeros", vec![0; 4096]),
    ];
    for (name, content) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        for engine in both() {
            let problem = engine.load(&path, 1).err().unwrap_or_else(|| panic!("{:?} took `{name}`", engine.name()));
            assert_invalid(&problem);
            let place = folder.path().to_string_lossy();
            assert!(!problem.to_string().contains(&*place), "no path of the server: {problem}");
        }
    }
    for engine in both() {
        assert_invalid(&engine.load(&folder.path().join("none"), 1).err().expect("no file"));
        assert_invalid(&engine.load(folder.path(), 1).err().expect("a folder is no model"));
    }
}

#[test]
fn every_cut_of_a_model_is_refused_or_loads_without_a_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = std::fs::read(fixture("linear.onnx")).expect("read");
    let path = folder.path().join("cut");
    for engine in both() {
        let mut refused = 0;
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).expect("written");
            match engine.load(&path, 1) {
                Err(problem) => {
                    assert_invalid(&problem);
                    refused += 1;
                }
                // A cut between fields after the graph leaves a model that is whole.
                Ok(loaded) => assert_eq!(loaded.outputs().len(), 3),
            }
        }
        assert!(refused > whole.len() / 2, "{:?} refused {refused} of {}", engine.name(), whole.len());
    }
}

#[test]
fn wrong_inputs_are_invalid_and_the_session_goes_on() {
    let good = floats("x", &[2, 64], 1);
    for engine in both() {
        let loaded = engine.load(&fixture("mlp.onnx"), 1).expect("it loads");
        let mut session = loaded.session().expect("a session");
        let want = session.run(std::slice::from_ref(&good)).expect("it runs");
        let wrong = [
            vec![],
            vec![good.clone(), good.clone()],
            vec![Tensor { shape: vec![2, 63], ..good.clone() }],
            vec![Tensor { shape: vec![128], ..good.clone() }],
            vec![Tensor { datatype: DataType::Int32, ..good.clone() }],
            vec![Tensor { data: good.data.slice(..100), ..good.clone() }],
            vec![Tensor { shape: vec![-2, 64], ..good.clone() }],
        ];
        for inputs in wrong {
            assert_invalid(&session.run(&inputs).expect_err("refused"));
            assert_eq!(session.run(std::slice::from_ref(&good)).expect("it runs again"), want);
        }
    }
}

#[test]
fn an_empty_batch_gives_an_empty_answer_or_a_problem() {
    let empty = floats("x", &[0, 64], 1);
    for engine in both() {
        let loaded = engine.load(&fixture("mlp.onnx"), 1).expect("it loads");
        match loaded.session().expect("a session").run(std::slice::from_ref(&empty)) {
            Ok(outputs) => assert_eq!((&outputs[0].shape[..], outputs[0].data.len()), (&[0, 10][..], 0)),
            Err(problem) => assert_invalid(&problem),
        }
    }
}

#[test]
fn an_explicit_library_must_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let not_elf = folder.path().join("libonnxruntime.so");
    std::fs::write(&not_elf, "text").expect("written");
    let cut = folder.path().join("libonnxruntime.so.1.99.0");
    let whole = std::fs::read(crate::library()).expect("read");
    std::fs::write(&cut, &whole[..whole.len() / 2]).expect("written");
    for path in [Path::new("/nonexistent/libonnxruntime.so"), folder.path(), &not_elf, &cut] {
        let problem = OnnxRuntime::find(Some(path), &[]).expect_err("refused");
        assert_invalid(&problem);
        assert!(problem.to_string().contains(&path.display().to_string()), "{problem}");
        assert!(problem.hint.as_deref().is_some_and(|it| it.contains("pip install onnxruntime")));
    }
    let found = OnnxRuntime::find(None, &[folder.path().to_path_buf()]).expect("searching passes over it");
    assert!(found.is_none());
}
