//! Whether the cost of running a graph depends on the shapes of its inputs alone.
//!
//! That holds when every operator is one whose work follows from shapes, and when no size inside is computed from the
//! values that a caller sends. Anything unknown counts against the model: it still runs, on a compute thread.

use std::collections::HashSet;

/// The most nodes that are looked at; a larger model is not a quick one.
const NODES_MAX: usize = 4096;
/// The most names that are kept, of constants and inputs.
const NAMES_MAX: usize = 16_384;

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

/// An operator with the names of what goes in and comes out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    pub(crate) operator: String,
    pub(crate) domain: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
}

impl Node {
    /// The most inputs and outputs that are kept.
    pub(crate) const EDGES_MAX: usize = 256;

    /// The first input that is a size, when there is one; `None` for an operator that is not known to be plain.
    fn sizes_from(&self) -> Option<usize> {
        let name = self.operator.as_str();
        match self.domain.as_str() {
            "" | "ai.onnx" => {
                let sized = SIZED.binary_search_by_key(&name, |it| it.0).ok().map(|place| SIZED[place].1);
                sized.or_else(|| PLAIN.binary_search(&name).ok().map(|_| usize::MAX))
            }
            "ai.onnx.ml" => PLAIN_ML.binary_search(&name).ok().map(|_| usize::MAX),
            _ => None,
        }
    }
}

/// The main graph of a model, as it is found in the file: nodes may come before what they refer to.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    constants: HashSet<String>,
    inputs: HashSet<String>,
    is_unknown: bool,
}

impl Graph {
    /// The graph has something that is not known to be plain.
    pub(crate) fn give_up(&mut self) {
        *self = Self { is_unknown: true, ..Self::default() };
    }

    /// `None` stands for a node that holds graphs or long names.
    pub(crate) fn add_node(&mut self, node: Option<Node>) {
        match node {
            Some(node) if !self.is_unknown && self.nodes.len() < NODES_MAX && node.sizes_from().is_some() => {
                self.nodes.push(node);
            }
            _ => self.give_up(),
        }
    }

    /// Weights.
    pub(crate) fn add_constant(&mut self, name: Option<String>) {
        match name {
            Some(name) if !self.is_unknown && self.constants.len() < NAMES_MAX => {
                self.constants.insert(name);
            }
            _ => self.give_up(),
        }
    }

    /// What a caller sends.
    pub(crate) fn add_input(&mut self, name: Option<String>) {
        match name {
            Some(name) if !self.is_unknown && self.inputs.len() < NAMES_MAX => {
                self.inputs.insert(name);
            }
            _ => self.give_up(),
        }
    }

    /// Whether no size in the graph comes from values that a caller sends.
    pub(crate) fn is_steady(&self) -> bool {
        if self.is_unknown {
            return false;
        }
        // Old files list their weights among the inputs, too; a caller cannot send those.
        let mut sent: HashSet<&str> =
            self.inputs.iter().filter(|it| !self.constants.contains(*it)).map(String::as_str).collect();
        let mut known: HashSet<&str> = self.constants.iter().chain(&self.inputs).map(String::as_str).collect();
        for node in &self.nodes {
            let given = || node.inputs.iter().enumerate().filter(|it| !it.1.is_empty());
            // Nodes out of order would be seen before what makes their inputs depend on the caller.
            let Some(sizes) = node.sizes_from().filter(|_| given().all(|it| known.contains(it.1.as_str()))) else {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(operator: &str, inputs: &[&str], output: &str) -> Option<Node> {
        let inputs = inputs.iter().map(|it| (*it).to_owned()).collect();
        Some(Node { operator: operator.into(), domain: String::new(), inputs, outputs: vec![output.into()] })
    }

    fn is_steady(nodes: Vec<Option<Node>>) -> bool {
        let mut graph = Graph::default();
        nodes.into_iter().for_each(|it| graph.add_node(it));
        graph.add_constant(Some("w".into()));
        graph.add_input(Some("x".into()));
        graph.is_steady()
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
    }

    #[test]
    fn nodes_out_of_order_hide_nothing() {
        assert!(!is_steady(vec![node("Expand", &["w", "n"], "y"), node("Cast", &["x"], "n")]));
    }

    #[test]
    fn giving_up_is_final_and_keeps_nothing() {
        let mut graph = Graph::default();
        graph.give_up();
        graph.add_node(node("Relu", &["x"], "y"));
        graph.add_input(Some("x".into()));
        assert!(!graph.is_steady() && graph.nodes.is_empty() && graph.inputs.is_empty());
    }
}
