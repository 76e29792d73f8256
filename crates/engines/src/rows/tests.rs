//! The walk over graphs: what keeps rows apart, and what does not.

use super::*;
use crate::graph::{Outlet, element};

/// `OPERATOR input,input -> output,output {attribute: value}`, one on each line.
fn graph(text: &str) -> Graph {
    let mut graph = Graph::default();
    let names = |it: &str| it.split(',').map(|it| it.trim().trim_matches('_').to_owned()).collect::<Vec<_>>();
    for line in text.lines().map(str::trim).filter(|it| !it.is_empty()) {
        let (head, attributes) = line.split_once('{').unwrap_or((line, ""));
        let (left, right) = head.split_once("->").expect("an arrow");
        let (operator, inputs) = left.trim().split_once(' ').expect("inputs");
        let (domain, operator) = operator.rsplit_once('.').unwrap_or(("", operator));
        let attributes = attributes.trim_end_matches('}').split(';').filter(|it| !it.trim().is_empty()).map(|it| {
            let (name, value) = it.split_once(':').expect("a value");
            let ints: Result<Vec<i64>, _> = value.trim().trim_matches(['[', ']']).split(' ').map(str::parse).collect();
            let value = match (ints, value.contains('[')) {
                (Ok(ints), true) => Attribute::Ints(ints),
                (Ok(ints), false) => Attribute::Int(ints[0]),
                (Err(_), _) => Attribute::Text(value.trim().to_owned()),
            };
            (name.trim().to_owned(), value)
        });
        graph.add_node(Some(Node {
            operator: operator.into(),
            domain: domain.into(),
            inputs: names(inputs),
            outputs: names(right),
            attributes: attributes.collect(),
        }));
    }
    let constant = |dims: &[i64], ints: Option<&[i64]>, floats: Option<&[f32]>| Constant {
        element: element::INT64,
        dims: dims.to_vec(),
        ints: ints.map(<[i64]>::to_vec),
        floats: floats.map(<[f32]>::to_vec),
    };
    for (name, it) in [
        ("one", constant(&[], Some(&[1]), None)),
        ("minus", constant(&[1], Some(&[-1]), None)),
        ("first", constant(&[1], Some(&[0]), None)),
        ("second", constant(&[1], Some(&[1]), None)),
        ("four", constant(&[4], None, None)),
        ("square", constant(&[4, 4], None, None)),
        ("table", constant(&[9, 5], None, None)),
        ("stack", constant(&[2, 3, 4], None, None)),
        ("flat", constant(&[2], Some(&[-1, 12]), None)),
        ("mixed", constant(&[2], Some(&[-1, 6]), None)),
        ("kept", constant(&[2], Some(&[0, -1]), None)),
        ("pads", constant(&[6], Some(&[0, 1, 0, 0, 0, 0]), None)),
        ("more", constant(&[6], Some(&[1, 0, 0, 0, 0, 0]), None)),
        ("twice", constant(&[4], None, Some(&[1.0, 1.0, 2.0, 2.0]))),
        ("rows_twice", constant(&[4], None, Some(&[2.0, 1.0, 2.0, 2.0]))),
    ] {
        graph.add_constant(Some((name.into(), it)));
    }
    for (name, dims) in [
        ("x", vec![None, Some(4)]),
        ("z", vec![None, Some(4)]),
        ("v", vec![None]),
        ("cube", vec![None, Some(3), Some(4)]),
        ("image", vec![None, Some(3), Some(8), Some(8)]),
    ] {
        graph.add_input(Some(Outlet { name: name.into(), element: element::FLOAT, dims: Some(dims) }));
    }
    graph.add_output(Some(Outlet { name: "y".into(), element: element::FLOAT, dims: None }));
    graph
}

#[track_caller]
fn check(opset: i64, want: bool, texts: &[&str]) {
    for text in texts {
        assert_eq!(are_independent(&graph(text), opset), want, "{text}");
    }
}

#[test]
fn lists_are_sorted_for_the_search() {
    assert!(UNARY.is_sorted() && TOGETHER.is_sorted());
}

#[test]
fn rows_that_are_kept_apart() {
    check(
        18,
        true,
        &[
            "Relu x -> y",
            "Gemm x,square,four -> h\nRelu h -> g\nSoftmax g -> y {axis: -1}",
            "MatMul cube,square -> y",
            "Add x,z -> y",
            "Add cube,four -> y",
            "ReduceMean cube,second -> y",
            "ReduceSum cube,minus -> y {keepdims: 0}",
            "ArgMax x -> y {axis: 1; keepdims: 0}",
            "Reshape cube,flat -> y",
            "Reshape cube,kept -> y",
            "Shape x -> s\nGather s,first -> n\nConcat n,minus -> t {axis: 0}\nReshape cube,t -> y",
            "Shape cube -> s\nConstantOfShape s -> o\nAdd cube,o -> y",
            "Flatten cube -> y {axis: 1}",
            "Transpose cube -> y {perm: [0 2 1]}",
            "Unsqueeze x,second -> u\nSqueeze u,second -> y",
            "Concat x,z -> y {axis: 1}",
            "Split x -> a,y {axis: 1}",
            "Slice x,first,second,second -> y",
            "Gather table,v -> y",
            "Gather x,one -> y {axis: 1}",
            "Pad cube,pads -> y",
            "Conv image,stack -> h\nGlobalAveragePool h -> g\nFlatten g -> y",
            "MaxPool image -> p {kernel_shape: [2 2]; strides: [2 2]}\nFlatten p -> y",
            "Resize image,_,twice -> y {mode: nearest}",
            "LayerNormalization cube,four,four -> y {axis: -1}",
            "BatchNormalization x,four,four,four,four -> y",
            "ai.onnx.ml.TreeEnsembleClassifier x -> label,y",
            "ai.onnx.ml.Scaler x -> s\nai.onnx.ml.LinearRegressor s -> y",
            "Dropout x -> y",
            "Where x,z,four -> y",
        ],
    );
}

#[test]
fn rows_that_may_see_each_other() {
    check(
        18,
        false,
        &[
            "ReduceMax x -> m\nGreater m,one -> big\nDiv x,four -> d\nWhere big,d,x -> y",
            "ReduceMean x,first -> y",
            "Softmax x -> y {axis: 0}",
            "ArgMax x -> y",
            "CumSum x,first -> y",
            "MatMul square,x -> y",
            "MatMul x,stack -> y",
            "MatMul cube,stack -> y",
            "Gemm x,square -> y {transA: 1}",
            "Gemm square,x -> y {transB: 1}",
            "Add x,square -> y",
            "Add cube,x -> y",
            "Add x,v -> y",
            "Reshape cube,mixed -> y",
            "Flatten cube -> y {axis: 0}",
            "Flatten cube -> y {axis: 2}",
            "Transpose x -> y",
            "Transpose cube -> y {perm: [1 0 2]}",
            "Unsqueeze x,first -> y",
            "Concat x,z -> y {axis: 0}",
            "Split x -> a,y",
            "Slice x,first,second,first -> y",
            "Slice x,first,second -> y",
            "Gather x,first -> y",
            "Gather table,v -> y {axis: 1}",
            "Gather x,v -> y",
            "Pad cube,more -> y",
            "Resize image,_,rows_twice -> y {mode: nearest}",
            "MaxPool image -> p,y {kernel_shape: [2 2]}",
            "BatchNormalization x,four,four,four,four -> y {training_mode: 1}",
            "DynamicQuantizeLinear x -> y,s,q",
            "Shape x -> s\nCast s -> c {to: 1}\nMul x,c -> y",
            "Shape x -> y",
            "GRU cube,stack,stack -> y",
            "NonZero x -> y",
            "Unique x -> y",
            "Einsum x,square -> y {equation: ij,jk->ik}",
            "com.example.Relu x -> y",
            "RandomNormalLike x -> y",
            "Anything x -> y",
            "ai.onnx.ml.Normalizer v -> y",
            "Identity four -> y",
            "Relu h -> y\nRelu x -> h",
        ],
    );
}

#[test]
fn an_axis_means_what_it_meant_in_its_version() {
    check(11, true, &["Softmax cube -> y", "ReduceSum cube -> y {axes: [1]}"]);
    check(11, false, &["Softmax cube -> y {axis: 0}", "ReduceSum cube -> y {axes: [0]}", "ReduceSum cube -> y"]);
}

#[test]
fn a_graph_of_which_too_little_is_known_is_not_row_wise() {
    let mut whole = graph("Relu x -> y");
    whole.inputs[0].dims = None;
    assert!(!are_independent(&whole, 18));
    whole.inputs[0].dims = Some(vec![Some(8), Some(4)]);
    assert!(!are_independent(&whole, 18), "a fixed number of rows is no batch");
    whole.cut();
    assert!(!are_independent(&whole, 18));
}
