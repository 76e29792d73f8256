//! A look through a model file before an engine reads it.
//!
//! A model must be whole: one file, known by its hash. ONNX lets a file name other files that hold its weights; among
//! content-addressed files such a name would read what belongs to somebody else. The same look finds out whether the
//! model's cost depends on the number of rows alone.

use crate::{
    checks::Said,
    steady::{Graph, Node},
    wire::{Field, Wire},
};
use std::{
    io::{Read, Seek},
    path::Path,
};

/// Graphs inside graphs; a file with deeper ones is refused.
const DEPTH_MAX: usize = 64;
/// The value of `TensorProto.data_location` that names another file.
const EXTERNAL: u32 = 1;

/// What the look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Whether the cost of a run depends on the shapes of its inputs alone.
    pub(crate) is_steady: bool,
}

/// Looks through a model file.
///
/// # Errors
/// When it is not whole, or no ONNX file.
pub(crate) fn survey(path: &Path) -> Result<Survey, Said> {
    let (mut wire, end) = Wire::open(path)?;
    if end == 0 {
        return Err(Said::new("the file is empty"));
    }
    look(&mut wire, end)
}

fn look<R: Read + Seek>(wire: &mut Wire<R>, end: u64) -> Result<Survey, Said> {
    let mut main = Graph::default();
    while let Some((number, field)) = wire.next(end)? {
        let Field::Until(until) = field else { continue };
        match number {
            // ModelProto.graph, and of training_info two more.
            7 => graph(wire, until, 0, Some(&mut main))?,
            20 => training(wire, until)?,
            25 => {
                // What a function computes is not looked into.
                main.give_up();
                function(wire, until)?;
            }
            _ => wire.pass(until)?,
        }
    }
    Ok(Survey { is_steady: main.is_steady() })
}

fn training<R: Read + Seek>(wire: &mut Wire<R>, end: u64) -> Result<(), Said> {
    while let Some((number, field)) = wire.next(end)? {
        match (number, field) {
            (1 | 2, Field::Until(until)) => graph(wire, until, 0, None)?,
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

fn graph<R: Read + Seek>(
    wire: &mut Wire<R>,
    end: u64,
    depth: usize,
    mut found: Option<&mut Graph>,
) -> Result<(), Said> {
    if depth > DEPTH_MAX {
        return Err(Said::new(format!("its graphs are nested deeper than {DEPTH_MAX}")));
    }
    while let Some((number, field)) = wire.next(end)? {
        let Field::Until(until) = field else { continue };
        match number {
            1 => {
                let node = node(wire, until, depth)?;
                if let Some(found) = &mut found {
                    found.add_node(node);
                }
            }
            5 | 15 => {
                let name = if number == 5 { tensor(wire, until)? } else { sparse(wire, until)? };
                if let Some(found) = &mut found {
                    found.add_constant(name);
                }
            }
            11 => {
                let name = name_in(wire, until, 1)?;
                if let Some(found) = &mut found {
                    found.add_input(name);
                }
            }
            _ => wire.pass(until)?,
        }
    }
    Ok(())
}

/// A node; `None` for one that holds a graph, or a name too long to be one.
fn node<R: Read + Seek>(wire: &mut Wire<R>, end: u64, depth: usize) -> Result<Option<Node>, Said> {
    let (mut found, mut is_plain) = (Node::default(), true);
    while let Some((number, field)) = wire.next(end)? {
        let Field::Until(until) = field else { continue };
        match number {
            1 | 2 | 4 | 7 => {
                let Some(text) = wire.text(until)? else {
                    is_plain = false;
                    continue;
                };
                match number {
                    1 => found.inputs.push(text),
                    2 => found.outputs.push(text),
                    4 => found.operator = text,
                    _ => found.domain = text,
                }
                is_plain &= found.inputs.len() + found.outputs.len() <= Node::EDGES_MAX;
                if !is_plain {
                    // Nothing more is kept of it.
                    found = Node::default();
                }
            }
            5 => is_plain &= attribute(wire, until, depth)?,
            _ => wire.pass(until)?,
        }
    }
    Ok(is_plain.then_some(found))
}

/// Looks through an attribute; whether it holds no graph.
fn attribute<R: Read + Seek>(wire: &mut Wire<R>, end: u64, depth: usize) -> Result<bool, Said> {
    let mut is_plain = true;
    while let Some((number, field)) = wire.next(end)? {
        let Field::Until(until) = field else { continue };
        match number {
            5 | 10 => tensor(wire, until).map(drop)?,
            22 | 23 => sparse(wire, until).map(drop)?,
            6 | 11 => {
                is_plain = false;
                graph(wire, until, depth + 1, None)?;
            }
            _ => wire.pass(until)?,
        }
    }
    Ok(is_plain)
}

/// Looks through a tensor without its data; its name.
fn tensor<R: Read + Seek>(wire: &mut Wire<R>, end: u64) -> Result<Option<String>, Said> {
    let mut name = None;
    while let Some((number, field)) = wire.next(end)? {
        match (number, field) {
            // Readers keep the low 32 bits of an enumeration.
            (14, Field::Number(place)) if place as u32 == EXTERNAL => return Err(outside()),
            (13, Field::Until(_)) => return Err(outside()),
            (8, Field::Until(until)) => name = wire.text(until)?,
            (_, Field::Until(until)) => wire.pass(until)?,
            _ => {}
        }
    }
    Ok(name)
}

fn sparse<R: Read + Seek>(wire: &mut Wire<R>, end: u64) -> Result<Option<String>, Said> {
    let mut name = None;
    while let Some((number, field)) = wire.next(end)? {
        match (number, field) {
            (1, Field::Until(until)) => name = tensor(wire, until)?,
            (2, Field::Until(until)) => tensor(wire, until).map(drop)?,
            (_, Field::Until(until)) => wire.pass(until)?,
            _ => {}
        }
    }
    Ok(name)
}

fn name_in<R: Read + Seek>(wire: &mut Wire<R>, end: u64, wanted: u64) -> Result<Option<String>, Said> {
    let mut name = None;
    while let Some((number, field)) = wire.next(end)? {
        match field {
            Field::Until(until) if number == wanted => name = wire.text(until)?,
            Field::Until(until) => wire.pass(until)?,
            _ => {}
        }
    }
    Ok(name)
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
            assert_eq!(fixture(name).expect("whole"), Survey { is_steady: true }, "{name}");
        }
    }
}
