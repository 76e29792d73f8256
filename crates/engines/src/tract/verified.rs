//! The operators for which tract is known to give what ONNX Runtime gives.
//!
//! Both lists are what the conformance suite (`scripts/conformance`) found: one small model for each operator with the
//! attributes that exporters give it, run on ordinary numbers, NaN, infinities, zeros of both signs and the extremes of whole
//! numbers. What is not in `VERIFIED` is refused by its name when a model is registered, whatever tract might make of it.

use crate::{
    checks::Said,
    graph::{Attribute, Constant, Graph, Node, Outlet, element},
    whole::Survey,
};
use std::collections::HashSet;

/// Versions of ONNX's operators that the suite covers.
const OPSETS: std::ops::RangeInclusive<i64> = 9..=21;

/// How an operator may be used.
#[derive(Clone, Copy)]
enum Use {
    /// In every way that its numbers may be 32-bit floats.
    Any,
    /// With whole numbers too.
    Whole,
    /// When this finds no reason against it.
    When(fn(&Node, &Known<'_>) -> Result<(), &'static str>),
}
use Use::{Any, When, Whole};

/// What is known about a graph while its nodes are looked at one after the other.
struct Known<'a> {
    graph: &'a Graph,
    opset: i64,
    /// Names of tensors of whole numbers.
    whole: HashSet<&'a str>,
}

/// By name. Sorted.
const VERIFIED: &[(&str, Use)] = &[
    ("Abs", Any),
    ("Acos", Any),
    ("Acosh", Any),
    ("Add", Whole),
    ("And", Any),
    ("ArgMax", When(first_of_equals)),
    ("ArgMin", When(first_of_equals)),
    ("Asin", Any),
    ("Asinh", Any),
    ("Atan", Any),
    ("Atanh", Any),
    ("AveragePool", Any),
    ("BatchNormalization", When(not_training)),
    ("Cast", When(cast)),
    ("Ceil", Any),
    ("Clip", When(clip)),
    ("Concat", Whole),
    ("Constant", Whole),
    ("ConstantOfShape", Whole),
    ("Conv", Any),
    ("ConvTranspose", When(no_output_shape)),
    ("Cos", Any),
    ("Cosh", Any),
    ("CumSum", When(plain_sum)),
    ("DepthToSpace", Any),
    ("Div", Whole),
    ("Dropout", When(not_training)),
    ("Elu", Any),
    ("Equal", Whole),
    ("Erf", Any),
    ("Exp", Any),
    ("Expand", Whole),
    ("Flatten", Any),
    ("Floor", Any),
    ("GRU", When(recurrent)),
    ("Gather", When(gather)),
    ("Gelu", When(exact_gelu)),
    ("Gemm", Any),
    ("GlobalAveragePool", Any),
    ("GlobalMaxPool", Any),
    ("Greater", Any),
    ("GreaterOrEqual", Any),
    ("GroupNormalization", Any),
    ("HardSigmoid", Any),
    ("HardSwish", Any),
    ("Identity", Whole),
    ("If", Any),
    ("InstanceNormalization", Any),
    ("IsInf", Any),
    ("IsNaN", Any),
    ("LSTM", When(recurrent)),
    ("LayerNormalization", When(one_output)),
    ("LeakyRelu", Any),
    ("Less", Any),
    ("LessOrEqual", Any),
    ("Log", Any),
    ("MatMul", Any),
    ("Max", Whole),
    ("MaxPool", When(one_output)),
    ("Mean", Any),
    ("Min", Whole),
    ("Mish", Any),
    ("Mod", When(remainder)),
    ("Mul", Whole),
    ("Neg", Any),
    ("Not", Any),
    ("Or", Any),
    ("PRelu", Any),
    ("Pad", When(pad)),
    ("Pow", Any),
    ("RNN", When(recurrent)),
    ("Range", When(whole_range)),
    ("Reciprocal", Any),
    ("ReduceL1", Any),
    ("ReduceL2", Any),
    ("ReduceLogSum", Any),
    ("ReduceMean", Any),
    ("ReduceProd", Any),
    ("ReduceSum", Any),
    ("ReduceSumSquare", Any),
    ("Relu", Any),
    ("Reshape", Whole),
    ("Resize", When(resize)),
    ("Round", Any),
    ("Selu", Any),
    ("Shape", Whole),
    ("Shrink", Any),
    ("Sigmoid", Any),
    ("Sign", Any),
    ("Sin", Any),
    ("Sinh", Any),
    ("Slice", When(slice)),
    ("Softmax", Any),
    ("Softsign", Any),
    ("SpaceToDepth", Any),
    ("Split", Any),
    ("Sqrt", Any),
    ("Squeeze", Whole),
    ("Sub", Whole),
    ("Sum", Any),
    ("Tan", Any),
    ("Tanh", Any),
    ("ThresholdedRelu", Any),
    ("Tile", Any),
    ("Transpose", Any),
    ("Trilu", Any),
    ("Unsqueeze", Whole),
    ("Where", Any),
    ("Xor", Any),
];

/// Operators that tract has, and for which it gave something else; with what was seen. Sorted.
const DIFFERENT: &[(&str, &str)] = &[
    ("Celu", "it gives half of the right number below zero"),
    ("DynamicQuantizeLinear", "NaN and infinities become other numbers"),
    ("GatherElements", "a place outside of the table is not always refused"),
    ("GatherND", "a place outside of the table is not always refused"),
    ("Hardmax", "NaN is not the largest"),
    ("LRN", "infinities and NaN reach other places"),
    ("LogSoftmax", "large numbers become infinite"),
    ("OneHot", "numbers outside of its depth are taken for others"),
    ("QLinearConv", "some results are one step off"),
    ("QuantizeLinear", "NaN and infinities become other numbers"),
    ("ReduceLogSumExp", "large numbers become infinite"),
    ("ReduceMax", "NaN is lost"),
    ("ReduceMin", "NaN is lost"),
    ("ScatterElements", "a place outside of the table is not always refused"),
    ("ScatterND", "a place outside of the table is not always refused"),
    ("Softplus", "large numbers become infinite"),
    ("TopK", "NaN is not the largest"),
    ("TreeEnsembleClassifier", "its labels are wrong"),
];

/// Whether tract is known to compute a model right.
///
/// # Errors
/// With the name of what it is not verified for, and why.
pub(super) fn check(survey: &Survey) -> Result<(), Said> {
    if survey.graph.is_cut {
        return Err(Said::new("its graph is larger than what can be verified"));
    }
    if survey.has_functions {
        return Err(Said::new("it defines operators of its own, for which tract is not verified"));
    }
    let opset = survey.opset();
    if !OPSETS.contains(&opset) {
        return Err(Said::new(format!(
            "it wants version {opset} of the ONNX operators (opset); tract is verified for {} to {}",
            OPSETS.start(),
            OPSETS.end()
        )));
    }
    for graph in survey.graph.all() {
        check_graph(graph, opset)?;
    }
    Ok(())
}

fn check_graph(graph: &Graph, opset: i64) -> Result<(), Said> {
    let is_whole = |kind: i64| matches!(kind, element::INT32 | element::INT64);
    let constants = graph.constants.iter().filter(|it| is_whole(it.1.element)).map(|it| it.0.as_str());
    let inputs = graph.inputs.iter().filter(|it| is_whole(it.element)).map(|it| it.name.as_str());
    let mut known = Known { graph, opset, whole: constants.chain(inputs).collect() };
    for node in &graph.nodes {
        check_node(node, &known)
            .map_err(|why| Said::new(format!("tract is not verified for the operator `{}`: {why}", node.operator)))?;
        if known.gives_whole(node) {
            known.whole.extend(node.outputs.iter().map(String::as_str));
        }
    }
    let constants = graph.constants.iter().map(|(name, it)| (name.as_str(), it.element));
    let outlets = graph.inputs.iter().chain(&graph.outputs).map(|it| (it.name.as_str(), it.element));
    for (name, kind) in constants.chain(outlets).filter(|it| it.1 != 0) {
        if !matches!(kind, element::FLOAT | element::INT32 | element::INT64 | element::BOOL) {
            return Err(Said::new(format!(
                "tract is not verified for tensors of {}, such as `{name}`",
                word_for(kind)
            )));
        }
    }
    Ok(())
}

fn check_node(node: &Node, known: &Known<'_>) -> Result<(), &'static str> {
    let name = node.operator.as_str();
    if let Ok(place) = DIFFERENT.binary_search_by_key(&name, |it| it.0) {
        return Err(DIFFERENT[place].1);
    }
    if !node.is_standard() {
        return Err("it is not one of ONNX's own operators");
    }
    let place =
        VERIFIED.binary_search_by_key(&name, |it| it.0).map_err(|_| "nobody has compared it with ONNX Runtime")?;
    let takes_whole = node.inputs.first().is_some_and(|it| known.whole.contains(it.as_str()));
    match VERIFIED[place].1 {
        Any if takes_whole => Err("it is verified for 32-bit floats, not for whole numbers"),
        Any | Whole => Ok(()),
        When(rule) => rule(node, known),
    }
}

impl Known<'_> {
    /// Whether a node gives whole numbers.
    fn gives_whole(&self, node: &Node) -> bool {
        let is_whole = |place: usize| node.input(place).is_some_and(|it| self.whole.contains(it));
        match node.operator.as_str() {
            "Shape" | "Size" | "ArgMax" | "ArgMin" => true,
            "Cast" => matches!(node.int("to"), Some(element::INT32 | element::INT64)),
            "Constant" => match node.attributes.first() {
                Some((_, Attribute::Tensor(Constant { element, .. }))) => {
                    matches!(*element, element::INT32 | element::INT64)
                }
                Some((_, Attribute::Int(_) | Attribute::Ints(_))) => true,
                _ => false,
            },
            "ConstantOfShape" => match node.attribute("value") {
                Some(Attribute::Tensor(it)) => matches!(it.element, element::INT32 | element::INT64),
                _ => false,
            },
            "Equal" | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual" | "Not" | "And" | "Or" | "Xor" => false,
            "Where" => is_whole(1),
            _ => is_whole(0),
        }
    }

    /// The values of a short constant of whole numbers.
    fn constant(&self, name: &str) -> Option<&[i64]> {
        let made = || {
            let node = self.graph.nodes.iter().find(|it| it.outputs.iter().any(|it| it == name))?;
            match (node.operator.as_str(), node.attributes.first()?) {
                ("Constant", (_, Attribute::Tensor(it))) => it.ints.as_deref(),
                ("Constant", (_, Attribute::Ints(it))) => Some(it.as_slice()),
                _ => None,
            }
        };
        self.graph.constants.get(name).and_then(|it| it.ints.as_deref()).or_else(made)
    }

    /// The dimensions of what the caller sends under a name.
    fn input(&self, name: Option<&str>) -> Option<&Outlet> {
        self.graph.inputs.iter().find(|it| Some(it.name.as_str()) == name)
    }
}

fn not_training(node: &Node, _: &Known<'_>) -> Result<(), &'static str> {
    let trains = node.int("training_mode").unwrap_or(0) != 0 || (node.operator == "Dropout" && node.inputs.len() > 2);
    if trains { Err("it is verified for inference, not for training") } else { Ok(()) }
}

fn one_output(node: &Node, _: &Known<'_>) -> Result<(), &'static str> {
    if node.outputs.len() > 1 { Err("it is verified for its first output alone") } else { Ok(()) }
}

fn first_of_equals(node: &Node, known: &Known<'_>) -> Result<(), &'static str> {
    if node.input(0).is_some_and(|it| known.whole.contains(it)) {
        return Err("it is verified for 32-bit floats, not for whole numbers");
    }
    if node.int("select_last_index").unwrap_or(0) != 0 {
        Err("it is verified for the first of equal numbers")
    } else {
        Ok(())
    }
}

fn plain_sum(node: &Node, _: &Known<'_>) -> Result<(), &'static str> {
    if node.int("exclusive").unwrap_or(0) == 0 {
        Ok(())
    } else {
        Err("it is verified for sums that include their place")
    }
}

fn no_output_shape(node: &Node, _: &Known<'_>) -> Result<(), &'static str> {
    if node.attribute("output_shape").is_some() { Err("it is not verified with output_shape") } else { Ok(()) }
}

fn exact_gelu(node: &Node, _: &Known<'_>) -> Result<(), &'static str> {
    if node.text("approximate").is_some_and(|it| it != "none") { Err("its approximation loses NaN") } else { Ok(()) }
}

fn pad(node: &Node, known: &Known<'_>) -> Result<(), &'static str> {
    if node.input(0).is_some_and(|it| known.whole.contains(it)) {
        return Err("it is verified for 32-bit floats, not for whole numbers");
    }
    if !matches!(node.text("mode"), None | Some("constant" | "reflect" | "edge")) {
        return Err("it is verified for the modes constant, reflect and edge");
    }
    let pads = node.ints("pads").or_else(|| known.constant(node.input(1)?));
    match pads {
        Some(pads) if pads.iter().all(|it| *it >= 0) => Ok(()),
        _ => Err("it is verified for constant pads that are not negative"),
    }
}

fn whole_range(node: &Node, known: &Known<'_>) -> Result<(), &'static str> {
    let is_whole = (0..3).all(|place| node.input(place).is_some_and(|it| known.whole.contains(it)));
    if is_whole { Ok(()) } else { Err("it is verified for whole numbers, not for floats") }
}

/// With `fmod` tract takes the remainder of floats, which do not hold every INT64.
fn remainder(node: &Node, known: &Known<'_>) -> Result<(), &'static str> {
    let is_whole = node.input(0).is_some_and(|it| known.whole.contains(it));
    if is_whole && node.int("fmod") == Some(1) { Err("with fmod, large whole numbers become others") } else { Ok(()) }
}

/// Where the length is free, tract fails on an end behind it.
fn slice(node: &Node, known: &Known<'_>) -> Result<(), &'static str> {
    let axes = node.ints("axes").or_else(|| known.constant(node.input(3)?));
    let is_list = node.input(0).is_some_and(|it| known.whole.contains(it));
    match axes {
        Some(axes) if is_list || !axes.contains(&0) => Ok(()),
        None if is_list => Ok(()),
        _ => Err("it is verified along constant axes other than the first"),
    }
}

fn cast(node: &Node, known: &Known<'_>) -> Result<(), &'static str> {
    match node.int("to") {
        Some(element::FLOAT | element::BOOL) => Ok(()),
        Some(element::INT32 | element::INT64) if node.input(0).is_some_and(|it| known.whole.contains(it)) => Ok(()),
        Some(element::INT32 | element::INT64) => Err("NaN and infinities become other whole numbers"),
        _ => Err("it is verified for FP32, BOOL and between whole numbers"),
    }
}

fn clip(node: &Node, known: &Known<'_>) -> Result<(), &'static str> {
    let has_both = if known.opset < 11 {
        node.attribute("min").is_some() && node.attribute("max").is_some()
    } else {
        node.input(1).is_some() && node.input(2).is_some()
    };
    if node.input(0).is_some_and(|it| known.whole.contains(it)) {
        return Err("it is verified for 32-bit floats, not for whole numbers");
    }
    if has_both {
        Ok(())
    } else {
        Err("without both bounds, infinities stay what ONNX Runtime makes the largest number")
    }
}

fn gather(node: &Node, known: &Known<'_>) -> Result<(), &'static str> {
    let is_constant = node.input(1).is_some_and(|it| known.constant(it).is_some());
    if is_constant || node.int("axis").unwrap_or(0) == 0 {
        return Ok(());
    }
    Err("along another axis than the first, a place outside of the table is not always refused")
}

fn resize(node: &Node, _: &Known<'_>) -> Result<(), &'static str> {
    if node.text("mode").unwrap_or("nearest") != "nearest" {
        return Err("interpolation gives other numbers next to NaN and infinities");
    }
    if node.text("nearest_mode") != Some("floor") {
        return Err("it is verified for nearest_mode floor");
    }
    match node.text("coordinate_transformation_mode") {
        Some("asymmetric" | "align_corners" | "pytorch_half_pixel") | None => Ok(()),
        Some("half_pixel") => Ok(()),
        Some(_) => Err("nobody has compared its coordinate_transformation_mode with ONNX Runtime"),
    }
}

fn recurrent(node: &Node, known: &Known<'_>) -> Result<(), &'static str> {
    const OWN: [&str; 3] = ["hidden_size", "direction", "linear_before_reset"];
    if node.attributes.iter().any(|it| !OWN.contains(&it.0.as_str())) {
        return Err("it is verified with its usual activations and layout alone");
    }
    if node.text("direction") == Some("reverse") {
        return Err("backwards alone, it gives other numbers");
    }
    if (4..8).any(|place| node.input(place).is_some()) {
        return Err("it is verified for sequences of one length, from a state of zeros");
    }
    // The time comes first, then the batch, whose size tract has to know when it plans.
    let dims = known.input(node.input(0)).and_then(|it| it.dims.as_ref());
    match dims.and_then(|it| it.get(1).copied().flatten()) {
        Some(_) => Ok(()),
        None => Err("it is verified for what callers send, in batches of a fixed size"),
    }
}

/// The name of an element type.
fn word_for(kind: i64) -> String {
    let word = match kind {
        element::UINT8 => "UINT8",
        element::INT8 => "INT8",
        element::STRING => "BYTES",
        4 => "UINT16",
        5 => "INT16",
        10 => "FP16",
        11 => "FP64",
        12 => "UINT32",
        13 => "UINT64",
        16 => "BF16",
        _ => return format!("type {kind}"),
    };
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(node: Node) -> Result<(), String> {
        let mut graph = Graph::default();
        graph.add_input(Some(Outlet { name: "x".into(), element: element::FLOAT, dims: None }));
        graph.add_node(Some(node));
        let survey = Survey { graph, opsets: vec![(String::new(), 18)], has_functions: false };
        check(&survey).map_err(|it| it.to_string())
    }

    fn node(operator: &str) -> Node {
        Node { operator: operator.into(), inputs: vec!["x".into()], outputs: vec!["y".into()], ..Node::default() }
    }

    #[test]
    fn lists_are_sorted_and_share_nothing() {
        assert!(VERIFIED.is_sorted_by_key(|it| it.0) && DIFFERENT.is_sorted());
        assert!(DIFFERENT.iter().all(|it| VERIFIED.binary_search_by_key(&it.0, |it| it.0).is_err()));
    }

    #[test]
    fn what_nobody_compared_is_refused_by_its_name() {
        assert_eq!(check_one(node("Relu")), Ok(()));
        for (name, word) in [("Celu", "half"), ("Anything", "nobody"), ("ReduceMax", "NaN"), ("Clip", "both bounds")] {
            let said = check_one(node(name)).expect_err("refused");
            assert!(said.contains(&format!("operator `{name}`")) && said.contains(word), "{said}");
        }
        let elsewhere = Node { domain: "com.example".into(), ..node("Relu") };
        assert!(check_one(elsewhere).expect_err("refused").contains("`Relu`"));
    }

    #[test]
    fn operators_inside_of_others_count() {
        let mut inside = Graph::default();
        inside.add_node(Some(node("TopK")));
        let branches = vec![("then_branch".to_owned(), Attribute::Graph(Box::new(inside)))];
        assert!(check_one(Node { attributes: branches, ..node("If") }).expect_err("refused").contains("`TopK`"));
    }

    #[test]
    fn remainders_of_whole_numbers_are_those_of_the_divisor() {
        let with = |element, fmod| {
            let mut graph = Graph::default();
            graph.add_input(Some(Outlet { name: "x".into(), element, dims: None }));
            let attributes = vec![("fmod".to_owned(), Attribute::Int(fmod))];
            graph.add_node(Some(Node { attributes, ..node("Mod") }));
            check(&Survey { graph, opsets: vec![(String::new(), 18)], has_functions: false })
        };
        assert!(with(element::INT64, 0).is_ok() && with(element::FLOAT, 1).is_ok());
        assert!(with(element::INT64, 1).expect_err("refused").to_string().contains("`Mod`: with fmod"));
    }

    #[test]
    fn floats_do_not_become_whole_numbers() {
        let to = |kind| vec![("to".to_owned(), Attribute::Int(kind))];
        assert!(check_one(Node { attributes: to(element::INT64), ..node("Cast") }).is_err());
        assert_eq!(check_one(Node { attributes: to(element::BOOL), ..node("Cast") }), Ok(()));
    }
}
