//! A look through a model file before an engine reads it.
//!
//! A model must be whole: one file, known by its hash. ONNX lets a file name other files that hold its weights; among
//! content-addressed files such a name would read what belongs to somebody else. The same look keeps the graph without
//! its weights, from which others find out what the model's cost depends on, whether its rows are independent, and
//! whether an engine is known to compute it right.

use crate::{
    checks::Said,
    graph::{Attribute, Constant, Graph, Node, Outlet, element},
    wire::{self, Field, TEXT_BYTES_MAX, Wire},
};
use std::{
    io::{Read, Seek},
    path::Path,
};

/// Graphs inside graphs; a file with deeper ones is refused.
const DEPTH_MAX: usize = 64;
/// The value of `TensorProto.data_location` that names another file.
const EXTERNAL: u32 = 1;
/// The most bytes of a tensor whose values are kept: shapes, axes, sizes.
const VALUES_BYTES_MAX: usize = 1024;
/// The most dimensions of a tensor that is looked at.
const DIMS_BYTES_MAX: usize = 640;
/// The most sets of operators that a file may name.
const OPSETS_MAX: usize = 256;

/// What the look found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Survey {
    /// The main graph.
    pub(crate) graph: Graph,
    /// Domains of operators with the version that the file wants.
    pub(crate) opsets: Vec<(String, i64)>,
    /// Whether operators are defined in the file itself.
    pub(crate) has_functions: bool,
}

impl Survey {
    /// The version of ONNX's own operators.
    pub(crate) fn opset(&self) -> i64 {
        self.opsets.iter().find(|it| matches!(it.0.as_str(), "" | "ai.onnx")).map_or(1, |it| it.1)
    }

    /// Whether the cost of a run depends on the shapes of its inputs alone.
    pub(crate) fn is_steady(&self) -> bool {
        // What a function computes is not looked into.
        !self.has_functions && crate::steady::is_steady(&self.graph)
    }

    /// Whether each row of the outputs depends on the same row of the inputs alone.
    pub(crate) fn is_row_wise(&self) -> bool {
        !self.has_functions && crate::rows::are_independent(&self.graph, self.opset())
    }
}

/// Looks through a model file.
///
/// # Errors
/// When it is not whole, or no ONNX file.
pub(crate) fn survey(path: &Path) -> Result<Survey, Said> {
    let (mut wire, end) = wire::open(path)?;
    if end == 0 {
        return Err(Said::new("the file is empty"));
    }
    look(&mut wire, end)
}

pub(crate) fn look<R: Read + Seek>(wire: &mut Wire<R>, end: u64) -> Result<Survey, Said> {
    let mut found = Survey::default();
    while let Some((number, field)) = wire.next(end)? {
        let Field::Until(until) = field else { continue };
        match number {
            // ModelProto.graph, and of training_info two more.
            7 => graph(wire, until, 0, &mut found.graph)?,
            8 if found.opsets.len() < OPSETS_MAX => found.opsets.push(opset(wire, until)?),
            20 => training(wire, until)?,
            25 => {
                found.has_functions = true;
                function(wire, until)?;
            }
            _ => wire.pass(until)?,
        }
    }
    Ok(found)
}

fn opset<R: Read + Seek>(wire: &mut Wire<R>, end: u64) -> Result<(String, i64), Said> {
    let (mut domain, mut version) = (String::new(), 0);
    while let Some((number, field)) = wire.next(end)? {
        match (number, field) {
            (1, Field::Until(until)) => domain = wire.text(until, TEXT_BYTES_MAX)?.unwrap_or_default(),
            (2, Field::Number(value)) => version = value.cast_signed(),
            (_, Field::Until(until)) => wire.pass(until)?,
            _ => {}
        }
    }
    Ok((domain, version))
}

fn training<R: Read + Seek>(wire: &mut Wire<R>, end: u64) -> Result<(), Said> {
    while let Some((number, field)) = wire.next(end)? {
        match (number, field) {
            (1 | 2, Field::Until(until)) => graph(wire, until, 0, &mut Graph::default())?,
            (_, Field::Until(until)) => wire.pass(until)?,
            _ => {}
        }
    }
    Ok(())
}

fn function<R: Read + Seek>(wire: &mut Wire<R>, end: u64) -> Result<(), Said> {
    while let Some((number, field)) = wire.next(end)? {
        match (number, field) {
            (7, Field::Until(until)) => node(wire, until, 0).map(drop)?,
            (11, Field::Until(until)) => attribute(wire, until, 0).map(drop)?,
            (_, Field::Until(until)) => wire.pass(until)?,
            _ => {}
        }
    }
    Ok(())
}

fn graph<R: Read + Seek>(wire: &mut Wire<R>, end: u64, depth: usize, found: &mut Graph) -> Result<(), Said> {
    if depth > DEPTH_MAX {
        return Err(Said::new(format!("its graphs are nested deeper than {DEPTH_MAX}")));
    }
    while let Some((number, field)) = wire.next(end)? {
        let Field::Until(until) = field else { continue };
        match number {
            1 => {
                let node = node(wire, until, depth)?;
                found.add_node(node);
            }
            5 => found.add_constant(tensor(wire, until)?),
            15 => found.add_constant(sparse(wire, until)?),
            11 => found.add_input(outlet(wire, until)?),
            12 => found.add_output(outlet(wire, until)?),
            _ => wire.pass(until)?,
        }
    }
    Ok(())
}

/// A node; `None` for one with too many edges, or a name too long to be one.
fn node<R: Read + Seek>(wire: &mut Wire<R>, end: u64, depth: usize) -> Result<Option<Node>, Said> {
    let (mut found, mut is_plain) = (Node::default(), true);
    while let Some((number, field)) = wire.next(end)? {
        let Field::Until(until) = field else { continue };
        match number {
            1 | 2 | 4 | 7 => {
                let Some(text) = wire.text(until, TEXT_BYTES_MAX)? else {
                    is_plain = false;
                    continue;
                };
                match number {
                    1 => found.inputs.push(text),
                    2 => found.outputs.push(text),
                    4 => found.operator = text,
                    _ => found.domain = text,
                }
            }
            5 => match attribute(wire, until, depth)? {
                Some(attribute) => found.attributes.push(attribute),
                None => is_plain = false,
            },
            _ => wire.pass(until)?,
        }
        is_plain &= found.inputs.len() + found.outputs.len() + found.attributes.len() <= Node::EDGES_MAX;
        if !is_plain {
            // Nothing more is kept of it.
            found = Node::default();
        }
    }
    Ok(is_plain.then_some(found))
}

/// An attribute with its name; `None` for one whose name is too long to be one.
fn attribute<R: Read + Seek>(wire: &mut Wire<R>, end: u64, depth: usize) -> Result<Option<(String, Attribute)>, Said> {
    let (mut name, mut value) = (Some(String::new()), Attribute::Other);
    while let Some((number, field)) = wire.next(end)? {
        match (number, field) {
            (1, Field::Until(until)) => name = wire.text(until, TEXT_BYTES_MAX)?,
            (3, Field::Number(number)) => value = Attribute::Int(number.cast_signed()),
            (4, Field::Until(until)) => {
                value = wire.text(until, TEXT_BYTES_MAX)?.map_or(Attribute::Other, Attribute::Text)
            }
            (5, Field::Until(until)) => {
                value = tensor(wire, until)?.map_or(Attribute::Other, |it| Attribute::Tensor(it.1));
            }
            (8, Field::Number(number)) => match &mut value {
                Attribute::Ints(all) if all.len() < VALUES_BYTES_MAX => all.push(number.cast_signed()),
                Attribute::Ints(_) => value = Attribute::Other,
                _ => value = Attribute::Ints(vec![number.cast_signed()]),
            },
            (8, Field::Until(until)) => {
                value = wire.packed(until, VALUES_BYTES_MAX)?.map_or(Attribute::Other, Attribute::Ints);
            }
            (10, Field::Until(until)) => tensor(wire, until).map(drop)?,
            (22 | 23, Field::Until(until)) => sparse(wire, until).map(drop)?,
            (6 | 11, Field::Until(until)) => {
                let mut inside = Graph::default();
                graph(wire, until, depth + 1, &mut inside)?;
                value = Attribute::Graph(Box::new(inside));
            }
            (_, Field::Until(until)) => wire.pass(until)?,
            _ => {}
        }
    }
    Ok(name.map(|name| (name, value)))
}

/// Looks through a tensor, whose values are kept when they are few; `None` when its name is too long to be one.
fn tensor<R: Read + Seek>(wire: &mut Wire<R>, end: u64) -> Result<Option<(String, Constant)>, Said> {
    let (mut name, mut found, mut raw) = (Some(String::new()), Constant::default(), None);
    let mut dims = Some(vec![]);
    while let Some((number, field)) = wire.next(end)? {
        match (number, field) {
            // Readers keep the low 32 bits of an enumeration.
            (14, Field::Number(place)) if place as u32 == EXTERNAL => return Err(outside()),
            (13, Field::Until(_)) => return Err(outside()),
            (1, Field::Number(value)) => push(&mut dims, value.cast_signed()),
            (1, Field::Until(until)) => dims = wire.packed(until, DIMS_BYTES_MAX)?,
            (2, Field::Number(value)) => found.element = value.cast_signed(),
            (4, Field::Until(until)) => found.floats = wire.bytes(until, VALUES_BYTES_MAX)?.map(|it| floats(&it)),
            (5 | 7, Field::Until(until)) => found.ints = wire.packed(until, VALUES_BYTES_MAX)?,
            (5 | 7, Field::Number(value)) => {
                let mut ints = Some(found.ints.take().unwrap_or_default());
                push(&mut ints, value.cast_signed());
                found.ints = ints;
            }
            (9, Field::Until(until)) => raw = wire.bytes(until, VALUES_BYTES_MAX)?,
            (8, Field::Until(until)) => name = wire.text(until, TEXT_BYTES_MAX)?,
            (_, Field::Until(until)) => wire.pass(until)?,
            _ => {}
        }
    }
    match (raw, found.element) {
        (Some(raw), element::INT64) => {
            found.ints = Some(raw.as_chunks::<8>().0.iter().map(|it| i64::from_le_bytes(*it)).collect());
        }
        (Some(raw), element::INT32) => {
            found.ints = Some(raw.as_chunks::<4>().0.iter().map(|it| i64::from(i32::from_le_bytes(*it))).collect());
        }
        (Some(raw), element::FLOAT) => found.floats = Some(floats(&raw)),
        _ => {}
    }
    found.dims = dims.ok_or_else(|| Said::new("it has a tensor of too many dimensions"))?;
    Ok(name.map(|it| (it, found)))
}

fn push(values: &mut Option<Vec<i64>>, value: i64) {
    match values {
        Some(all) if all.len() < DIMS_BYTES_MAX => all.push(value),
        _ => *values = None,
    }
}

fn floats(raw: &[u8]) -> Vec<f32> {
    raw.as_chunks::<4>().0.iter().map(|it| f32::from_le_bytes(*it)).collect()
}

fn sparse<R: Read + Seek>(wire: &mut Wire<R>, end: u64) -> Result<Option<(String, Constant)>, Said> {
    let mut found = None;
    while let Some((number, field)) = wire.next(end)? {
        match (number, field) {
            (1, Field::Until(until)) => found = tensor(wire, until)?,
            (2, Field::Until(until)) => tensor(wire, until).map(drop)?,
            (_, Field::Until(until)) => wire.pass(until)?,
            _ => {}
        }
    }
    // Its shape and values lie elsewhere.
    Ok(found.map(|(name, it)| (name, Constant { element: it.element, dims: vec![-1], ..Constant::default() })))
}

/// What a graph takes or gives; `None` when its name is too long to be one.
fn outlet<R: Read + Seek>(wire: &mut Wire<R>, end: u64) -> Result<Option<Outlet>, Said> {
    let (mut name, mut found) = (Some(String::new()), Outlet::default());
    while let Some((number, field)) = wire.next(end)? {
        match (number, field) {
            (1, Field::Until(until)) => name = wire.text(until, TEXT_BYTES_MAX)?,
            (2, Field::Until(until)) => kind(wire, until, &mut found)?,
            (_, Field::Until(until)) => wire.pass(until)?,
            _ => {}
        }
    }
    Ok(name.map(|name| Outlet { name, ..found }))
}

/// `TypeProto`, of which only tensors are read.
fn kind<R: Read + Seek>(wire: &mut Wire<R>, end: u64, found: &mut Outlet) -> Result<(), Said> {
    while let Some((number, field)) = wire.next(end)? {
        match (number, field) {
            (1, Field::Until(until)) => {
                while let Some((number, field)) = wire.next(until)? {
                    match (number, field) {
                        (1, Field::Number(value)) => found.element = value.cast_signed(),
                        (2, Field::Until(until)) => found.dims = shape(wire, until)?,
                        (_, Field::Until(until)) => wire.pass(until)?,
                        _ => {}
                    }
                }
            }
            (_, Field::Until(until)) => wire.pass(until)?,
            _ => {}
        }
    }
    Ok(())
}

fn shape<R: Read + Seek>(wire: &mut Wire<R>, end: u64) -> Result<Option<Vec<Option<i64>>>, Said> {
    let mut dims = vec![];
    while let Some((number, field)) = wire.next(end)? {
        match (number, field) {
            (1, Field::Until(until)) => {
                let mut length = None;
                while let Some((number, field)) = wire.next(until)? {
                    match (number, field) {
                        (1, Field::Number(value)) => length = Some(value.cast_signed()).filter(|it| *it >= 0),
                        (_, Field::Until(until)) => wire.pass(until)?,
                        _ => {}
                    }
                }
                if dims.len() >= DIMS_BYTES_MAX {
                    return Err(Said::new("it has a tensor of too many dimensions"));
                }
                dims.push(length);
            }
            (_, Field::Until(until)) => wire.pass(until)?,
            _ => {}
        }
    }
    Ok(Some(dims))
}

fn outside() -> Said {
    Said::new("its weights lie in another file; save it as one file (save_as_external_data=False)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::writing::{bytes, value};
    use std::io::Cursor;

    fn look_at(model: &[u8]) -> Result<Survey, Said> {
        look(&mut Wire::new(Cursor::new(model)), model.len() as u64)
    }

    #[test]
    fn weights_in_another_file_are_refused_wherever_they_hide() {
        let here = [bytes(8, b"w"), bytes(9, &[0; 4096]), value(14, 0)].concat();
        let in_node = |attribute: &[u8]| bytes(7, &bytes(1, &bytes(5, attribute)));
        let places = |tensor: &[u8]| {
            let graph = bytes(5, tensor);
            let sparse = [bytes(1, b""), bytes(2, tensor)].concat();
            let node = bytes(5, &bytes(5, tensor));
            vec![
                bytes(7, &graph),
                bytes(7, &bytes(15, &sparse)),
                in_node(&bytes(5, tensor)),
                in_node(&bytes(10, tensor)),
                in_node(&bytes(22, &sparse)),
                in_node(&bytes(23, &sparse)),
                in_node(&bytes(6, &graph)),
                in_node(&bytes(11, &bytes(1, &node))),
                bytes(20, &bytes(1, &graph)),
                bytes(20, &bytes(2, &graph)),
                bytes(25, &bytes(7, &node)),
                bytes(25, &bytes(11, &bytes(5, tensor))),
                // A second graph is merged into the first by those who read it.
                [bytes(7, b""), bytes(7, &graph)].concat(),
            ]
        };
        let outside = [value(14, 1), value(14, (7 << 32) | 1), bytes(13, &bytes(1, b"location"))];
        for away in outside.map(|it| [here.clone(), it].concat()) {
            for (place, model) in places(&away).iter().enumerate() {
                let said = look_at(model).expect_err("refused");
                assert!(said.to_string().contains("another file"), "{place}: {said}");
            }
        }
        for (place, model) in places(&here).iter().enumerate() {
            assert!(look_at(model).is_ok(), "{place}");
        }
    }

    #[test]
    fn graphs_in_graphs_have_an_end() {
        let mut graph = vec![];
        for _ in 0..DEPTH_MAX + 2 {
            graph = bytes(1, &bytes(5, &bytes(6, &graph)));
        }
        assert!(look_at(&bytes(7, &graph)).expect_err("too deep").to_string().contains("deeper"));
    }

    #[test]
    fn the_models_of_the_tests_are_steady() {
        let fixture = |name: &str| survey(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name));
        for name in ["mlp.onnx", "conv.onnx", "linear.onnx"] {
            let survey = fixture(name).expect("whole");
            assert!(survey.is_steady() && survey.is_row_wise(), "{name}");
            assert_eq!(survey.opset(), 17);
        }
        let mlp = fixture("mlp.onnx").expect("whole").graph;
        assert_eq!(mlp.inputs[0].dims, Some(vec![None, Some(64)]));
        assert_eq!((mlp.constants["w1"].element, &mlp.constants["w1"].dims[..]), (element::FLOAT, &[64, 32][..]));
        assert_eq!(mlp.nodes[3].int("axis"), Some(-1));
    }
}
