//! Whether the cost of running a graph depends on the shapes of its inputs alone.
//!
//! That holds when every operator is one whose work follows from shapes, and when no size inside is computed from the
//! values that a caller sends. Anything unknown counts against the model: it still runs, on a compute thread.

use crate::graph::{Graph, Node};
use std::collections::HashSet;

/// The most nodes that are looked at; a larger model is not a quick one.
const NODES_MAX: usize = 4096;

/// Operators whose work follows from the shapes of their inputs, by domain and name. Sorted.
const PLAIN: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "AveragePool",
    "BatchNormalization",
    "BitShift",
    "Cast",
    "CastLike",
    "Ceil",
    "Celu",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "Cos",
    "Cosh",
    "CumSum",
    "DepthToSpace",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "DynamicQuantizeLinear",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Flatten",
    "Floor",
    "GRU",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Hardmax",
    "Identity",
    "InstanceNormalization",
    "IsInf",
    "IsNaN",
    "LRN",
    "LSTM",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "MatMul",
    "MatMulInteger",
    "Max",
    "MaxPool",
    "Mean",
    "MeanVarianceNormalization",
    "Min",
    "Mish",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pow",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
    "RNN",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Shape",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Size",
    "Softmax",
    "Softplus",
    "Softsign",
    "SpaceToDepth",
    "Sqrt",
    "Sub",
    "Sum",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "Transpose",
    "Where",
    "Xor",
];

/// Operators of `ai.onnx.ml` of the same kind. Sorted.
const PLAIN_ML: &[&str] = &[
    "ArrayFeatureExtractor",
    "Binarizer",
    "FeatureVectorizer",
    "Imputer",
    "LinearClassifier",
    "LinearRegressor",
    "Normalizer",
    "SVMClassifier",
    "SVMRegressor",
    "Scaler",
    "TreeEnsemble",
    "TreeEnsembleClassifier",
    "TreeEnsembleRegressor",
];

/// Operators whose inputs, from this one on, are sizes or places: their work follows from shapes when those do. Sorted.
const SIZED: &[(&str, usize)] = &[
    ("ConstantOfShape", 0),
    ("Expand", 1),
    ("OneHot", 1),
    ("Pad", 1),
    ("Range", 0),
    ("ReduceL1", 1),
    ("ReduceL2", 1),
    ("ReduceLogSum", 1),
    ("ReduceLogSumExp", 1),
    ("ReduceMax", 1),
    ("ReduceMean", 1),
    ("ReduceMin", 1),
    ("ReduceProd", 1),
    ("ReduceSum", 1),
    ("ReduceSumSquare", 1),
    ("Reshape", 1),
    ("Resize", 1),
    ("Slice", 1),
    ("Split", 1),
    ("Squeeze", 1),
    ("Tile", 1),
    ("TopK", 1),
    ("Unsqueeze", 1),
    ("Upsample", 1),
];

/// The first input that is a size, when there is one; `None` for an operator that is not known to be plain.
fn sizes_from(node: &Node) -> Option<usize> {
    let name = node.operator.as_str();
    match node.domain.as_str() {
        _ if node.graphs().next().is_some() => None,
        "" | "ai.onnx" => {
            let sized = SIZED.binary_search_by_key(&name, |it| it.0).ok().map(|place| SIZED[place].1);
            sized.or_else(|| PLAIN.binary_search(&name).ok().map(|_| usize::MAX))
        }
        "ai.onnx.ml" => PLAIN_ML.binary_search(&name).ok().map(|_| usize::MAX),
        _ => None,
    }
}

/// Whether no size in the graph comes from values that a caller sends.
pub(crate) fn is_steady(graph: &Graph) -> bool {
    if graph.is_cut || graph.nodes.len() > NODES_MAX {
        return false;
    }
    let mut sent: HashSet<&str> = graph.sent().map(|it| it.name.as_str()).collect();
    let mut known = graph.given();
    for node in &graph.nodes {
        let given = || node.inputs.iter().enumerate().filter(|it| !it.1.is_empty());
        // Nodes out of order would be seen before what makes their inputs depend on the caller.
        let Some(sizes) = sizes_from(node).filter(|_| given().all(|it| known.contains(it.1.as_str()))) else {
            return false;
        };
        if given().any(|(place, name)| place >= sizes && sent.contains(name.as_str())) {
            return false;
        }
        let depends = given().any(|it| sent.contains(it.1.as_str()));
        let is_shape = node.domain != "ai.onnx.ml" && matches!(node.operator.as_str(), "Shape" | "Size");
        for output in &node.outputs {
            known.insert(output);
            if depends && !is_shape {
                sent.insert(output);
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Attribute, Constant, Outlet};

    fn node(operator: &str, inputs: &[&str], output: &str) -> Option<Node> {
        let inputs = inputs.iter().map(|it| (*it).to_owned()).collect();
        Some(Node { operator: operator.into(), inputs, outputs: vec![output.into()], ..Node::default() })
    }

    fn is_steady(nodes: Vec<Option<Node>>) -> bool {
        let mut graph = Graph::default();
        nodes.into_iter().for_each(|it| graph.add_node(it));
        graph.add_constant(Some(("w".into(), Constant::default())));
        graph.add_input(Some(Outlet { name: "x".into(), ..Outlet::default() }));
        super::is_steady(&graph)
    }

    #[test]
    fn lists_are_sorted_for_the_search() {
        assert!(PLAIN.is_sorted() && PLAIN_ML.is_sorted() && SIZED.is_sorted());
    }

    #[test]
    fn sizes_from_shapes_and_weights_are_steady() {
        assert!(is_steady(vec![node("MatMul", &["x", "w"], "h"), node("Relu", &["h"], "y")]));
        assert!(is_steady(vec![node("Reshape", &["x", "w"], "y")]));
        assert!(is_steady(vec![node("Shape", &["x"], "s"), node("Reshape", &["x", "s"], "y")]));
        assert!(is_steady(vec![node("Clip", &["x", "", "w"], "y")]));
    }

    #[test]
    fn sizes_from_values_loops_and_the_unknown_are_not() {
        assert!(!is_steady(vec![node("Cast", &["x"], "n"), node("Expand", &["w", "n"], "y")]));
        assert!(!is_steady(vec![node("ConstantOfShape", &["x"], "y")]));
        assert!(!is_steady(vec![node("Range", &["w", "x", "w"], "y")]));
        for operator in ["Loop", "Scan", "If", "NonZero", "Unique", "Compress", "NonMaxSuppression", "Anything"] {
            assert!(!is_steady(vec![node(operator, &["x"], "y")]), "{operator}");
        }
        let elsewhere = node("Relu", &["x"], "y").map(|it| Node { domain: "com.example".into(), ..it });
        assert!(!is_steady(vec![elsewhere]));
        assert!(!is_steady(vec![None]));
        let inside = ("body".to_owned(), Attribute::Graph(Box::default()));
        assert!(!is_steady(vec![node("Relu", &["x"], "y").map(|it| Node { attributes: vec![inside], ..it })]));
    }

    #[test]
    fn nodes_out_of_order_hide_nothing() {
        assert!(!is_steady(vec![node("Expand", &["w", "n"], "y"), node("Cast", &["x"], "n")]));
    }

    #[test]
    fn what_is_cut_stays_cut_and_keeps_nothing() {
        let mut graph = Graph::default();
        graph.cut();
        graph.add_node(node("Relu", &["x"], "y"));
        graph.add_input(Some(Outlet { name: "x".into(), ..Outlet::default() }));
        assert!(!super::is_steady(&graph) && graph.nodes.is_empty() && graph.inputs.is_empty());
    }
}
