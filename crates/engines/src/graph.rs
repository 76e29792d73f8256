//! The graph of a model as its file says it, without the weights: what the looks through a model work on.

use std::collections::{HashMap, HashSet};

/// The most nodes that are kept; a graph with more is cut.
const NODES_MAX: usize = 1 << 16;
/// The most names of constants and inputs that are kept.
const NAMES_MAX: usize = 1 << 16;

/// Element types by their numbers in ONNX.
pub(crate) mod element {
    pub(crate) const FLOAT: i64 = 1;
    pub(crate) const UINT8: i64 = 2;
    pub(crate) const INT8: i64 = 3;
    pub(crate) const INT32: i64 = 6;
    pub(crate) const INT64: i64 = 7;
    pub(crate) const STRING: i64 = 8;
    pub(crate) const BOOL: i64 = 9;
}

/// A tensor that is part of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Constant {
    pub(crate) element: i64,
    pub(crate) dims: Vec<i64>,
    /// Its values, of a short tensor of whole numbers.
    pub(crate) ints: Option<Vec<i64>>,
    /// Its values, of a short tensor of 32-bit floats.
    pub(crate) floats: Option<Vec<f32>>,
}

/// What is given to an operator beside its inputs.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Text(String),
    Tensor(Constant),
    Graph(Box<Graph>),
    /// Floats, texts and others that nobody here asks about.
    #[default]
    Other,
}

/// An operator with the names of what goes in and comes out.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Node {
    pub(crate) operator: String,
    pub(crate) domain: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) attributes: Vec<(String, Attribute)>,
}

impl Node {
    /// The most inputs and outputs that are kept.
    pub(crate) const EDGES_MAX: usize = 4096;

    /// Whether the operator is one of ONNX itself.
    pub(crate) fn is_standard(&self) -> bool {
        matches!(self.domain.as_str(), "" | "ai.onnx")
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|it| it.0 == name).map(|it| &it.1)
    }

    /// A whole number; `None` when it is absent, or no number.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        match self.attribute(name)? {
            Attribute::Int(value) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attribute(name)? {
            Attribute::Ints(values) => Some(values),
            _ => None,
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.attribute(name)? {
            Attribute::Text(value) => Some(value),
            _ => None,
        }
    }

    /// The name of an input that is there.
    pub(crate) fn input(&self, place: usize) -> Option<&str> {
        self.inputs.get(place).map(String::as_str).filter(|it| !it.is_empty())
    }

    /// Graphs inside of it.
    pub(crate) fn graphs(&self) -> impl Iterator<Item = &Graph> {
        self.attributes.iter().filter_map(|it| match &it.1 {
            Attribute::Graph(graph) => Some(&**graph),
            _ => None,
        })
    }
}

/// What a graph takes or gives.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Outlet {
    pub(crate) name: String,
    /// 0 for what is no tensor.
    pub(crate) element: i64,
    /// Dimensions, `None` for a free one; `None` for all when the file does not say.
    pub(crate) dims: Option<Vec<Option<i64>>>,
}

/// A graph, as it is found in the file: nodes may come before what they refer to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) constants: HashMap<String, Constant>,
    pub(crate) inputs: Vec<Outlet>,
    pub(crate) outputs: Vec<Outlet>,
    /// It has more than is kept, or something that cannot be read: nothing is known about it.
    pub(crate) is_cut: bool,
}

impl Graph {
    pub(crate) fn cut(&mut self) {
        *self = Self { is_cut: true, ..Self::default() };
    }

    /// `None` stands for a node that cannot be kept.
    pub(crate) fn add_node(&mut self, node: Option<Node>) {
        match node {
            Some(node) if !self.is_cut && self.nodes.len() < NODES_MAX => self.nodes.push(node),
            _ => self.cut(),
        }
    }

    /// Weights.
    pub(crate) fn add_constant(&mut self, named: Option<(String, Constant)>) {
        match named {
            Some((name, constant)) if !self.is_cut && self.constants.len() < NAMES_MAX => {
                self.constants.insert(name, constant);
            }
            _ => self.cut(),
        }
    }

    pub(crate) fn add_input(&mut self, outlet: Option<Outlet>) {
        match outlet {
            Some(outlet) if !self.is_cut && self.inputs.len() < NAMES_MAX => self.inputs.push(outlet),
            _ => self.cut(),
        }
    }

    pub(crate) fn add_output(&mut self, outlet: Option<Outlet>) {
        match outlet {
            Some(outlet) if !self.is_cut && self.outputs.len() < NAMES_MAX => self.outputs.push(outlet),
            _ => self.cut(),
        }
    }

    /// What a caller sends: old files list their weights among the inputs, too.
    pub(crate) fn sent(&self) -> impl Iterator<Item = &Outlet> {
        self.inputs.iter().filter(|it| !self.constants.contains_key(&it.name))
    }

    /// Names that are known before any node runs.
    pub(crate) fn given(&self) -> HashSet<&str> {
        self.constants.keys().map(String::as_str).chain(self.inputs.iter().map(|it| it.name.as_str())).collect()
    }

    /// This graph and all graphs inside of it.
    pub(crate) fn all(&self) -> Vec<&Graph> {
        let mut found = vec![self];
        let mut next = 0;
        while let Some(graph) = found.get(next).copied() {
            found.extend(graph.nodes.iter().flat_map(Node::graphs));
            next += 1;
        }
        found
    }
}
