//! Whether each row of a model's outputs depends on the same row of its inputs alone, shown from its operators.
//!
//! Calls of different callers may share a run only then. A try with a few numbers shows nothing: a graph may compare its
//! rows for some numbers only. So the graph is walked, and every operator must be one of those below, used in a way that
//! keeps row 7 of what comes out a function of row 7 of what goes in. Anything unknown counts against the model: it still
//! runs, each call by itself.

mod broadcast;
mod networks;
mod shapes;

use crate::graph::{Attribute, Constant, Graph, Node};
use std::collections::HashMap;

/// Dimensions; `None` is one that the file does not say. It is the same for all calls that share a run.
type Dims = Vec<Option<i64>>;

/// The most nodes that are walked.
const NODES_MAX: usize = 16_384;

/// What a name of the graph stands for.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    /// The same whoever calls.
    Fixed(Fixed),
    /// The rows of all callers, one after another along the first axis; with the dimensions of one row.
    Rows(Dims),
    /// Lengths of dimensions, in one list or as a single number.
    Sizes(Vec<Size>),
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Fixed {
    /// `None` when not even their number is known.
    dims: Option<Dims>,
    ints: Option<Vec<i64>>,
    floats: Option<Vec<f32>>,
}

/// The length of a dimension.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Size {
    /// The number of rows.
    Rows,
    Known(i64),
    /// One inside a row.
    Unknown,
}

impl From<&Constant> for Fixed {
    fn from(from: &Constant) -> Self {
        let dims = from.dims.iter().map(|it| (*it >= 0).then_some(*it)).collect();
        Self { dims: Some(dims), ints: from.ints.clone(), floats: from.floats.clone() }
    }
}

/// A node with what goes into it.
struct Place<'a> {
    node: &'a Node,
    inputs: Vec<Option<&'a Value>>,
    opset: i64,
}

/// Operators that work on each element by itself. Sorted.
const UNARY: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Binarizer",
    "BitwiseNot",
    "Cast",
    "CategoryMapper",
    "Ceil",
    "Celu",
    "Cos",
    "Cosh",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsInf",
    "IsNaN",
    "LabelEncoder",
    "LeakyRelu",
    "Log",
    "Mish",
    "Neg",
    "Not",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
];

/// Operators that work on elements at the same place of all their inputs. Sorted.
const TOGETHER: &[&str] = &[
    "Add",
    "And",
    "BitShift",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "Clip",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Or",
    "PRelu",
    "Pow",
    "Sub",
    "Sum",
    "Where",
    "Xor",
];

/// Whether the outputs' rows are independent; `opset` is the version of ONNX's own operators.
pub(crate) fn are_independent(graph: &Graph, opset: i64) -> bool {
    walk(graph, opset).unwrap_or(false)
}

fn walk(graph: &Graph, opset: i64) -> Option<bool> {
    if graph.is_cut || graph.nodes.len() > NODES_MAX || graph.sent().next().is_none() || graph.outputs.is_empty() {
        return Some(false);
    }
    let mut values: HashMap<&str, Value> = HashMap::new();
    for (name, constant) in &graph.constants {
        values.insert(name, Value::Fixed(constant.into()));
    }
    for input in graph.sent() {
        let (first, row) = input.dims.as_ref()?.split_first()?;
        if first.is_some() {
            return Some(false);
        }
        values.insert(&input.name, Value::Rows(row.to_vec()));
    }
    for node in &graph.nodes {
        let mut inputs = vec![];
        for name in &node.inputs {
            // Nodes out of order, or names of an outer graph, are unknown here.
            inputs.push(if name.is_empty() { None } else { Some(values.get(name.as_str())?) });
        }
        let given = Place { node, inputs, opset }.outputs()?;
        for (name, value) in node.outputs.iter().zip(given).filter(|it| !it.0.is_empty()) {
            values.insert(name, value);
        }
    }
    Some(graph.outputs.iter().all(|it| matches!(values.get(it.name.as_str()), Some(Value::Rows(_)))))
}

impl<'a> Place<'a> {
    /// What comes out; `None` where rows may see each other, or nothing is known. An output that is not in the answer is
    /// unknown to whoever reads it.
    fn outputs(&self) -> Option<Vec<Value>> {
        let node = self.node;
        if node.graphs().next().is_some() || !(node.is_standard() || node.domain == "ai.onnx.ml") {
            return None;
        }
        if self.inputs.iter().flatten().all(|it| matches!(it, Value::Fixed(_))) {
            return Some(vec![Value::Fixed(self.constant()?); node.outputs.len()]);
        }
        if node.domain == "ai.onnx.ml" {
            return self.learned();
        }
        if self.inputs.iter().flatten().any(|it| matches!(it, Value::Sizes(_))) {
            return self.with_sizes().map(|it| vec![it]);
        }
        let name = node.operator.as_str();
        if UNARY.binary_search(&name).is_ok() {
            return Some(vec![Value::Rows(self.only_rows()?.clone())]);
        }
        if TOGETHER.binary_search(&name).is_ok() {
            return Some(vec![Value::Rows(broadcast::together(&self.inputs)?)]);
        }
        match name {
            "Split" => self.split(),
            "TopK" => {
                // How many are kept along that axis is not looked at.
                let row = vec![None; self.along_row(-1)?.len()];
                Some(vec![Value::Rows(row.clone()), Value::Rows(row)])
            }
            _ => self.networks().or_else(|| self.shapes()).map(|it| vec![it]),
        }
    }

    /// What an operator gives that gets the same whoever calls.
    fn constant(&self) -> Option<Fixed> {
        let node = self.node;
        if node.operator.starts_with("Random") || matches!(node.operator.as_str(), "Multinomial" | "Bernoulli") {
            return None;
        }
        let input = match self.inputs.first() {
            Some(Some(Value::Fixed(it))) => Some(it),
            _ => None,
        };
        Some(match (node.operator.as_str(), input) {
            ("Constant", _) => match node.attributes.first() {
                Some((_, Attribute::Tensor(it))) => it.into(),
                Some((_, Attribute::Int(it))) => {
                    Fixed { dims: Some(vec![]), ints: Some(vec![*it]), ..Fixed::default() }
                }
                Some((_, Attribute::Ints(it))) => {
                    Fixed { dims: Some(vec![Some(it.len() as i64)]), ints: Some(it.clone()), ..Fixed::default() }
                }
                Some((name, Attribute::Other)) if name == "value_float" => {
                    Fixed { dims: Some(vec![]), ..Fixed::default() }
                }
                _ => Fixed::default(),
            },
            ("Identity", Some(it)) => it.clone(),
            ("Unsqueeze", Some(it)) if it.dims.as_ref().is_some_and(Vec::is_empty) => {
                Fixed { dims: Some(vec![Some(1)]), ..it.clone() }
            }
            (name, Some(it)) if UNARY.binary_search(&name).is_ok() && name != "Binarizer" => {
                let ints = it.ints.clone().filter(|_| name == "Cast");
                Fixed { dims: it.dims.clone(), ints, floats: None }
            }
            _ => Fixed::default(),
        })
    }

    /// Operators of `ai.onnx.ml`: what scikit-learn, LightGBM and XGBoost become. Most take a table, whose every row is one.
    fn learned(&self) -> Option<Vec<Value>> {
        let name = self.node.operator.as_str();
        let table = |place: usize| match self.inputs.get(place)? {
            Some(Value::Rows(row)) if row.len() == 1 => Some(row),
            _ => None,
        };
        let one = |row: Dims| Some(vec![Value::Rows(row)]);
        match name {
            "LabelEncoder" | "CategoryMapper" | "Binarizer" => one(self.only_rows()?.clone()),
            "OneHotEncoder" => one(self.only_rows()?.iter().copied().chain([None]).collect()),
            "Scaler" | "Normalizer" | "Imputer" => one(table(0)?.clone()),
            "LinearRegressor" | "SVMRegressor" | "TreeEnsembleRegressor" | "TreeEnsemble" => {
                table(0)?;
                one(vec![None])
            }
            "LinearClassifier" | "SVMClassifier" | "TreeEnsembleClassifier" => {
                table(0)?;
                Some(vec![Value::Rows(vec![]), Value::Rows(vec![None])])
            }
            "ArrayFeatureExtractor" => {
                table(0)?;
                self.fixed(1)?;
                one(vec![None])
            }
            "FeatureVectorizer" => {
                (0..self.inputs.len()).try_for_each(|it| table(it).map(drop))?;
                one(vec![None])
            }
            _ => None,
        }
    }

    /// The dimensions of a row of an input that is rows.
    fn rows(&self, place: usize) -> Option<&'a Dims> {
        match self.inputs.get(place)? {
            Some(Value::Rows(row)) => Some(row),
            _ => None,
        }
    }

    /// The only input, which is rows.
    fn only_rows(&self) -> Option<&'a Dims> {
        if self.inputs.len() == 1 { self.rows(0) } else { None }
    }

    /// An input that is there and the same whoever calls.
    fn fixed(&self, place: usize) -> Option<&'a Fixed> {
        match self.inputs.get(place)? {
            Some(Value::Fixed(it)) => Some(it),
            _ => None,
        }
    }

    /// Whether nothing from this place on differs between callers.
    fn are_fixed_from(&self, place: usize) -> bool {
        self.inputs.iter().skip(place).flatten().all(|it| matches!(it, Value::Fixed(_)))
    }

    /// An axis counted from the front, when it is not that of the rows.
    fn inner(axis: i64, rank: usize) -> Option<usize> {
        let rank = rank as i64;
        let axis = if axis < 0 { axis + rank } else { axis };
        (axis >= 1 && axis < rank).then_some(axis as usize)
    }

    /// The dimensions of a row of the first input, along whose axis something is done.
    fn along_row(&self, usual: i64) -> Option<Dims> {
        let row = self.rows(0)?;
        Self::inner(self.node.int("axis").unwrap_or(usual), row.len() + 1)?;
        self.are_fixed_from(1).then(|| row.clone())
    }
}

#[cfg(test)]
mod tests;
