//! An answer is right, or there is none: whatever came before, and whoever else called.

use crate::{both, fixture, floats, onnxruntime};
use kaogong_domain::ErrorKind;
use kaogong_engines::{Tract, gives_the_same};
use kaogong_serving::{DataType, Engine, Pool, Tensor, pool::try_out, task::LABELS_KEY};
use std::sync::Arc;

fn values(outputs: &[Tensor]) -> Vec<Vec<f64>> {
    outputs.iter().map(|it| it.to_f64().expect("numbers")).collect()
}

fn assert_close(have: &[Tensor], want: &[Tensor]) {
    for (have, want) in values(have).iter().zip(&values(want)) {
        assert_eq!(have.len(), want.len());
        for (have, want) in have.iter().zip(want) {
            let same = (have.is_nan() && want.is_nan()) || (have - want).abs() <= 1e-5;
            assert!(same, "{have} is not {want}");
        }
    }
}

#[test]
fn a_recurrent_model_begins_anew_with_each_call() {
    let reference = onnxruntime().load(&fixture("gru.onnx"), 1).expect("it loads");
    let right = |input: &Tensor| {
        let mut fresh = reference.session().expect("a session");
        fresh.run(std::slice::from_ref(input)).expect("it runs")
    };
    let (a, b) = (floats("x", &[5, 2, 4], 1), floats("x", &[5, 2, 4], 2));
    let wrong = floats("x", &[5, 3, 4], 3);
    for engine in both() {
        let loaded = engine.load(&fixture("gru.onnx"), 1).expect("it loads");
        let mut session = loaded.session().expect("a session");
        for _ in 0..3 {
            assert_close(&session.run(std::slice::from_ref(&a)).expect("it runs"), &right(&a));
            assert_close(&session.run(std::slice::from_ref(&b)).expect("it runs"), &right(&b));
            assert!(session.run(std::slice::from_ref(&wrong)).is_err());
            let mut odd = a.clone();
            odd.data = Tensor::f32("x", vec![], &[f32::NAN; 40]).data;
            match session.run(std::slice::from_ref(&odd)) {
                Ok(outputs) => assert_close(&outputs, &right(&odd)),
                Err(problem) => assert!(problem.text.contains("tract is not verified"), "{problem}"),
            }
        }
    }
}

#[tokio::test]
async fn a_recurrent_model_is_as_right_after_its_warm_up() {
    let input = floats("x", &[5, 2, 4], 1);
    let reference = onnxruntime().load(&fixture("gru.onnx"), 1).expect("it loads");
    let want = reference.session().expect("a session").run(std::slice::from_ref(&input)).expect("it runs");
    for engine in both() {
        let pool = Pool::start(engine.load(&fixture("gru.onnx"), 2).expect("it loads"), 2).expect("a pool");
        for _ in 0..4 {
            let reply = pool.infer(vec![input.clone()], None).await.expect("an answer");
            assert_close(&reply.outputs, &want);
        }
    }
}

#[test]
fn what_is_no_number_goes_through_both_engines_alike() {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 1.0];
    let numbers = |count: usize| odd.iter().copied().cycle().take(count).collect::<Vec<f32>>();
    let input = Tensor::f32("x", vec![3, 64], &numbers(192));
    let [tract, onnxruntime] = both().map(|engine| {
        let loaded = engine.load(&fixture("mlp.onnx"), 1).expect("it loads");
        loaded.session().expect("a session").run(std::slice::from_ref(&input)).expect("it runs")
    });
    assert_close(&tract, &onnxruntime);
}

#[test]
fn where_the_largest_of_odd_numbers_is_anyones_guess_tract_refuses_the_call() {
    let loaded = Tract.load(&fixture("conv.onnx"), 1).expect("it loads");
    let mut session = loaded.session().expect("a session");
    let good = floats("image", &[1, 3, 16, 16], 1);
    let mut numbers = vec![0.5f32; 768];
    numbers[7] = f32::NAN;
    let problem = session.run(&[Tensor::f32("image", vec![1, 3, 16, 16], &numbers)]).expect_err("refused");
    assert_eq!(problem.kind, ErrorKind::Invalid);
    assert!(problem.text.contains("`MaxPool`"), "{problem}");
    assert!(session.run(&[good]).is_ok(), "the next call is fine");
}

#[test]
fn tract_refuses_what_it_is_not_verified_for_by_name() {
    for (model, operator) in [
        ("scaled_when_large.onnx", "ReduceMax"),
        ("zipmap.onnx", "LinearClassifier"),
        ("categories.onnx", "OneHotEncoder"),
    ] {
        let problem = Tract.load(&fixture(model), 1).err().expect("refused");
        assert_eq!(problem.kind, ErrorKind::Invalid);
        assert!(problem.text.contains(&format!("`{operator}`")), "{problem}");
        assert!(problem.hint.as_deref().is_some_and(|it| it.contains("onnxruntime")));
        assert!(!problem.to_string().contains("fixtures"), "no path of the server: {problem}");
    }
}

#[test]
fn engines_that_differ_are_told_apart() {
    let right = onnxruntime().load(&fixture("mlp.onnx"), 1).expect("it loads");
    let same = Tract.load(&fixture("mlp.onnx"), 1).expect("it loads");
    gives_the_same(&*right, &*same, "tract").expect("the same");
    let gru = Tract.load(&fixture("gru.onnx"), 1).expect("it loads");
    gives_the_same(&*onnxruntime().load(&fixture("gru.onnx"), 1).expect("it loads"), &*gru, "tract").expect("the same");
    let other = Tract.load(&fixture("linear.onnx"), 1).expect("it loads");
    assert!(gives_the_same(&*right, &*other, "tract").is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_others_change_no_answer() {
    let loaded = onnxruntime().load(&fixture("scaled_when_large.onnx"), 1).expect("it loads");
    assert!(!loaded.is_row_wise());
    let pool = Arc::new(Pool::start(loaded, 1).expect("a pool"));
    assert!(!pool.shares_runs());
    let calls = (0..40).map(|call| {
        let (pool, size) = (pool.clone(), if call % 2 == 0 { 1.0f32 } else { 255.0 });
        tokio::spawn(async move {
            let input = Tensor::f32("x", vec![20, 4], &[size; 80]);
            let reply = pool.infer(vec![input], None).await.expect("an answer");
            assert_eq!(reply.outputs[0].to_f64(), Some(vec![1.0; 80]));
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("right");
    }
}

#[test]
fn graphs_of_row_wise_operators_share_runs() {
    for engine in both() {
        for (model, want) in [("mlp.onnx", true), ("conv.onnx", true), ("linear.onnx", true), ("gru.onnx", false)] {
            assert_eq!(engine.load(&fixture(model), 1).expect("it loads").is_row_wise(), want, "{model}");
        }
    }
}

#[test]
fn a_model_that_knows_its_own_codes_alone_is_served_with_a_remark() {
    let loaded = onnxruntime().load(&fixture("categories.onnx"), 1).expect("it loads");
    let remark = try_out(&*loaded).expect("no refusal").expect("a remark");
    assert!(remark.contains("OneHotEncoder") && !remark.contains("Status Message"), "{remark}");
    let code = |code: i64| Tensor {
        name: "x".into(),
        datatype: DataType::Int64,
        shape: vec![1, 1],
        data: code.to_le_bytes().to_vec().into(),
    };
    let mut session = loaded.session().expect("a session");
    assert_eq!(session.run(&[code(202)]).expect("known")[0].to_f64(), Some(vec![0.0, 1.0, 0.0]));
    let problem = session.run(&[code(7)]).expect_err("unknown");
    assert!(problem.text.contains("Unknown Category"), "{problem}");
    assert!(try_out(&*onnxruntime().load(&fixture("mlp.onnx"), 1).expect("it loads")).expect("fine").is_none());
}

#[test]
fn a_list_of_maps_is_served_as_a_tensor_with_labels() {
    let loaded = onnxruntime().load(&fixture("zipmap.onnx"), 1).expect("it loads");
    let outputs: Vec<_> = loaded.outputs().iter().map(|it| (it.name.as_str(), it.datatype, it.shape.clone())).collect();
    assert_eq!(
        outputs,
        [("output_label", DataType::Bytes, vec![-1]), ("output_probability", DataType::Fp32, vec![-1, 3])]
    );
    let labels = loaded.metadata().get(LABELS_KEY).map(String::as_str);
    assert_eq!(labels, Some(r#"{"output_probability":["no","yes","é"]}"#));
    for _ in 0..2 {
        // The second session is made anew.
        let mut session = loaded.session().expect("a session");
        let given = session.run(&[Tensor::f32("x", vec![2, 2], &[0.0; 4])]).expect("it runs");
        let row = given[1].to_f64().expect("numbers");
        for (have, want) in row.iter().zip([0.307_195_9, 0.506_480_4, 0.186_323_7].iter().cycle()) {
            assert!((have - want).abs() < 1e-6, "{have} is not {want}");
        }
        assert_eq!(&given[0].data[..7], b"\x03\0\0\0yes");
    }
}

#[test]
fn a_model_that_is_too_new_is_refused_with_the_newest_version_that_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = std::fs::read(fixture("mlp.onnx")).expect("read");
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut content = whole.clone();
        change(&mut content);
        let path = folder.path().join("new.onnx");
        std::fs::write(&path, content).expect("written");
        onnxruntime().load(&path, 1).err().expect("refused").to_string()
    };
    let said = refused(&|content| content[1] = 99);
    assert!(said.contains("IR version 99") && said.contains("takes up to"), "{said}");
    let said = refused(&|content| {
        // The version of the operators without a domain.
        let at = content.windows(4).rposition(|it| it == [0x0a, 0x00, 0x10, 17]).expect("an opset");
        content[at + 3] = 99;
    });
    assert!(said.contains("opset 99") && said.contains("takes up to"), "{said}");
}

#[test]
fn a_call_without_rows_ends_no_process() {
    let loaded = onnxruntime().load(&fixture("gru_of_any_length.onnx"), 1).expect("it loads");
    let mut session = loaded.session().expect("a session");
    let problem = session.run(&[floats("x", &[0, 2, 4], 1)]).expect_err("refused");
    assert!(problem.text.contains("no elements"), "{problem}");
    assert!(session.run(&[floats("x", &[3, 2, 4], 1)]).is_ok());
    let tract = Tract.load(&fixture("gru_of_any_length.onnx"), 1).expect("it loads");
    let mut session = tract.session().expect("a session");
    assert!(session.run(&[floats("x", &[0, 2, 4], 1)]).is_err());
    let right = loaded.session().expect("a session").run(&[floats("x", &[3, 2, 4], 1)]).expect("it runs");
    for length in [5, 3, 1, 3] {
        let _ = session.run(&[floats("x", &[length, 2, 4], 9)]).expect("it runs");
        assert_close(&session.run(&[floats("x", &[3, 2, 4], 1)]).expect("it runs"), &right);
    }
}

#[test]
fn texts_are_lowered_without_a_locale_of_the_machine() {
    let loaded = onnxruntime().load(&fixture("lowered.onnx"), 1).expect("it loads");
    let data = [b"\x03\0\0\0RED".as_slice(), &[6, 0, 0, 0], "ÉCOL".as_bytes(), b"E"].concat();
    let input = Tensor { name: "words".into(), datatype: DataType::Bytes, shape: vec![2], data: data.into() };
    let given = loaded.session().expect("a session").run(&[input]).expect("it runs");
    let want = [b"\x03\0\0\0red".as_slice(), &[6, 0, 0, 0], "école".as_bytes()].concat();
    assert_eq!(given[0].data[..], want[..]);
}
