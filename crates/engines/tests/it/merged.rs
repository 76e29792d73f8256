//! Random small graphs: where the engine says that rows are independent, rows together give what they give apart.

use crate::{floats, onnxruntime};
use kaogong_serving::{Engine, Tensor};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use std::cell::Cell;

/// Columns of every tensor between two steps.
const WIDTH: i64 = 4;

/// A writer of the few messages that a graph needs.
mod write {
    pub(super) fn number(mut value: u64) -> Vec<u8> {
        let mut bytes = vec![];
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    pub(super) fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
        [number((field << 3) | 2), number(content.len() as u64), content.to_vec()].concat()
    }

    pub(super) fn value(field: u64, value: i64) -> Vec<u8> {
        [number(field << 3), number(value.cast_unsigned())].concat()
    }

    /// A node; attributes of one number are lists when `is_list` is set.
    pub(super) fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[(&str, &[i64], bool)]) -> Vec<u8> {
        let mut node: Vec<u8> = inputs.iter().flat_map(|it| bytes(1, it.as_bytes())).collect();
        node.extend(bytes(2, output.as_bytes()));
        node.extend(bytes(4, operator.as_bytes()));
        for (name, values, is_list) in attributes {
            let mut attribute = bytes(1, name.as_bytes());
            values.iter().for_each(|it| attribute.extend(value(if *is_list { 8 } else { 3 }, *it)));
            attribute.extend(value(20, if *is_list { 7 } else { 2 }));
            node.extend(bytes(5, &attribute));
        }
        bytes(1, &node)
    }

    /// A tensor of 64-bit whole numbers, or of 32-bit floats.
    pub(super) fn ints(name: &str, values: &[i64]) -> Vec<u8> {
        let raw: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
        bytes(5, &[value(1, values.len() as i64), value(2, 7), bytes(8, name.as_bytes()), bytes(9, &raw)].concat())
    }

    pub(super) fn matrix(name: &str, lines: i64, values: &[f32]) -> Vec<u8> {
        let raw: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
        let dims = [value(1, lines), value(1, values.len() as i64 / lines)].concat();
        bytes(5, &[dims, value(2, 1), bytes(8, name.as_bytes()), bytes(9, &raw)].concat())
    }

    pub(super) fn outlet(field: u64, name: &str, columns: i64) -> Vec<u8> {
        let dims = [bytes(1, &bytes(2, b"n")), bytes(1, &value(1, columns))].concat();
        let kind = bytes(1, &[value(1, 1), bytes(2, &dims)].concat());
        bytes(field, &[bytes(1, name.as_bytes()), bytes(2, &kind)].concat())
    }
}
use write::node;

/// What a step does to a tensor of rows; some keep rows apart, some do not.
const STEPS: usize = 19;

fn step(which: usize, at: &str, to: &str) -> Vec<Vec<u8>> {
    let inner = format!("{to}_i");
    let (i, other) = (inner.as_str(), format!("{to}_o"));
    let o = other.as_str();
    match which {
        0 => vec![node("Relu", &[at], to, &[])],
        1 => vec![node("Softmax", &[at], to, &[("axis", &[1], false)])],
        2 => vec![node("Softmax", &[at], to, &[("axis", &[0], false)])],
        3 => vec![node("MatMul", &[at, "w"], to, &[])],
        4 => vec![node("ReduceMean", &[at], i, &[("axes", &[1], true)]), node("Sub", &[at, i], to, &[])],
        5 => vec![node("ReduceMean", &[at], i, &[("axes", &[0], true)]), node("Sub", &[at, i], to, &[])],
        6 => vec![node("ReduceMax", &[at], i, &[("keepdims", &[0], false)]), node("Mul", &[at, i], to, &[])],
        7 => vec![
            node("Reshape", &[at, "halves"], i, &[]),
            node("Softmax", &[i], o, &[("axis", &[0], false)]),
            node("Reshape", &[o, "whole"], to, &[]),
        ],
        8 => vec![node("CumSum", &[at, "zero"], to, &[])],
        9 => vec![node("CumSum", &[at, "one"], to, &[])],
        10 => vec![
            node("Concat", &[at, "x"], i, &[("axis", &[1], false)]),
            node("Gather", &[i, "some"], to, &[("axis", &[1], false)]),
        ],
        11 => vec![node("Add", &[at, "x"], to, &[])],
        12 => vec![
            node("Unsqueeze", &[at, "one"], i, &[]),
            node("ReduceSum", &[i, "one"], to, &[("keepdims", &[0], false)]),
        ],
        13 => vec![
            node("Transpose", &[at], i, &[("perm", &[1, 0], true)]),
            node("MatMul", &[i, at], o, &[]),
            node("MatMul", &[at, o], to, &[]),
        ],
        14 => vec![node("Shape", &[at], i, &[]), node("ConstantOfShape", &[i], o, &[]), node("Max", &[at, o], to, &[])],
        15 => vec![
            node("Unsqueeze", &[at, "zero"], i, &[]),
            node("MatMul", &[i, "w"], o, &[]),
            node("Squeeze", &[o, "zero"], to, &[]),
        ],
        16 => vec![
            node("Slice", &[at, "zero", "two", "one"], i, &[]),
            node("Concat", &[i, i], to, &[("axis", &[1], false)]),
        ],
        _ => vec![node("LpNormalization", &[at], to, &[("axis", &[i64::from(which == 17)], false)])],
    }
}

fn model(steps: &[usize]) -> Vec<u8> {
    let mut graph = vec![];
    let mut at = "x".to_owned();
    for (place, which) in steps.iter().enumerate() {
        let to = if place + 1 == steps.len() { "y".to_owned() } else { format!("t{place}") };
        graph.extend(step(*which, &at, &to).concat());
        at = to;
    }
    let weights: Vec<f32> = (0..16).map(|it| (it % 5) as f32 / 4.0 - 0.4).collect();
    graph.extend(write::bytes(2, b"g"));
    graph.extend(write::matrix("w", WIDTH, &weights));
    for (name, values) in [
        ("zero", &[0][..]),
        ("one", &[1]),
        ("two", &[2]),
        ("some", &[0, 5, 2, 7]),
        ("halves", &[-1, 2]),
        ("whole", &[-1, WIDTH]),
    ] {
        graph.extend(write::ints(name, values));
    }
    graph.extend(write::outlet(11, "x", WIDTH));
    graph.extend(write::outlet(12, "y", WIDTH));
    let opset = write::bytes(8, &write::value(2, 17));
    [write::value(1, 8), write::bytes(7, &graph), opset].concat()
}

#[test]
fn rows_together_give_what_they_give_apart_wherever_the_graph_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model");
    let (shared, alone) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let steps = proptest::collection::vec(0..STEPS, 1..5);
    let result = runner.run(&(steps, any::<u64>()), |(steps, seed)| {
        std::fs::write(&path, model(&steps)).expect("written");
        let loaded = onnxruntime().load(&path, 1).expect("it loads");
        if !loaded.is_row_wise() {
            alone.set(alone.get() + 1);
            return Ok(());
        }
        shared.set(shared.get() + 1);
        let mut session = loaded.session().expect("a session");
        let batch = floats("x", &[6, WIDTH], seed);
        let together = session.run(std::slice::from_ref(&batch)).expect("it runs")[0].to_f64().expect("numbers");
        for row in 0..6 {
            let data = batch.data.slice(row * 16..(row + 1) * 16);
            let one = Tensor { shape: vec![1, WIDTH], data, ..batch.clone() };
            let alone = session.run(&[one]).expect("it runs")[0].to_f64().expect("numbers");
            let largest = together.iter().fold(1.0, |most: f64, it| most.max(it.abs()));
            for (alone, together) in alone.iter().zip(&together[row * 4..]) {
                prop_assert!((alone - together).abs() <= 1e-5 * largest, "{steps:?}: {alone} and {together}");
            }
        }
        Ok(())
    });
    result.expect("rows are independent");
    assert!(shared.get() > 20 && alone.get() > 20, "{} and {}: both kinds are tried", shared.get(), alone.get());
}
