//! What a model of one file would be made of: pieces of the old file, pieces of other files, and new lengths between.

use kaogong_domain::{
    Problem,
    protobuf::{Broken, Field as Holds, Wire, writing::head},
};
use std::fs::File;

/// Messages inside messages; a file with deeper ones is refused.
const DEPTH_MAX: usize = 256;
/// Tensors in other files.
const TENSORS_MAX: usize = 100_000;
/// Bytes of a file's name in a model, as of an artifact's.
const NAME_BYTES_MAX: usize = 1024;
/// Dimensions of a tensor that are looked at.
const DIMENSIONS_MAX: usize = 64;
/// `TensorProto.data_location` of weights in another file.
const EXTERNAL: u32 = 1;

/// A piece of the new file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes of the old file.
    Same { from: u64, until: u64 },
    /// A field's number and its new length.
    New(Vec<u8>),
    /// Bytes of another file.
    Outside { name: String, offset: u64, length: u64 },
}

impl Piece {
    pub(super) fn into_name(self) -> Option<String> {
        match self {
            Self::Outside { name, .. } => Some(name),
            _ => None,
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Same { from, until } => until - from,
            Self::New(bytes) => bytes.len() as u64,
            Self::Outside { length, .. } => *length,
        }
    }
}

/// The new content of a message.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub pieces: Vec<Piece>,
    /// Bytes of all pieces.
    pub size: u64,
    is_changed: bool,
}

impl Plan {
    fn add(&mut self, piece: Piece) {
        self.size = self.size.saturating_add(piece.size());
        match (self.pieces.last_mut(), piece) {
            (Some(Piece::Same { until, .. }), Piece::Same { from, until: end }) if *until == from => *until = end,
            (_, piece) => self.pieces.push(piece),
        }
    }

    fn keep(&mut self, field: Field) {
        self.add(Piece::Same { from: field.from, until: field.until });
    }

    fn put(&mut self, field: u64, content: Self) {
        self.is_changed = true;
        self.add(Piece::New(head(field, content.size)));
        content.pieces.into_iter().for_each(|it| self.add(it));
    }
}

/// Why there is no plan.
#[derive(Debug)]
pub(super) enum Fault {
    /// The file is no model, or only a part of one: its engine says more.
    NoModel,
    /// The model asks for what cannot be.
    Bad(Problem),
}

impl From<Broken> for Fault {
    fn from(_: Broken) -> Self {
        Self::NoModel
    }
}

fn bad(text: impl Into<String>) -> Fault {
    Fault::Bad(Problem::invalid(text.into()))
}

/// The messages in which tensors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Function,
    Training,
    Sparse,
    Tensor,
}

impl Kind {
    /// The message that a field holds, when tensors may be in it.
    fn below(self, field: u64) -> Option<Self> {
        Some(match (self, field) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) | (Self::Training, 1 | 2) => Self::Graph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::Sparse, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::Sparse,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            _ => return None,
        })
    }
}

/// The pieces of the model with all weights in it.
pub(super) fn plan(file: File, end: u64) -> Result<Plan, Fault> {
    if end == 0 {
        return Err(Fault::NoModel);
    }
    let mut walk = Walk { wire: Wire::new(file), tensors: 0 };
    walk.message(end, Kind::Model, 0)
}

/// A field of a message, and where in the file it begins and ends.
#[derive(Debug, Clone, Copy)]
struct Field {
    from: u64,
    number: u64,
    holds: Holds,
    until: u64,
}

struct Walk {
    wire: Wire<File>,
    tensors: usize,
}

impl Walk {
    fn next(&mut self, end: u64) -> Result<Option<Field>, Broken> {
        let from = self.wire.at();
        let Some((number, holds)) = self.wire.next(end)? else { return Ok(None) };
        let until = if let Holds::Until(until) = holds { until } else { self.wire.at() };
        Ok(Some(Field { from, number, holds, until }))
    }

    fn message(&mut self, end: u64, kind: Kind, depth: usize) -> Result<Plan, Fault> {
        if depth > DEPTH_MAX {
            return Err(bad(format!("the model's graphs are nested deeper than {DEPTH_MAX}")));
        }
        if kind == Kind::Tensor {
            return self.tensor(end);
        }
        let mut plan = Plan::default();
        while let Some(field) = self.next(end)? {
            if !matches!(field.holds, Holds::Until(_)) {
                plan.keep(field);
                continue;
            }
            match kind.below(field.number) {
                None => {
                    self.wire.pass(field.until)?;
                    plan.keep(field);
                }
                Some(below) => match self.message(field.until, below, depth + 1)? {
                    content if content.is_changed => plan.put(field.number, content),
                    _ => plan.keep(field),
                },
            }
        }
        Ok(plan)
    }

    /// A tensor; one whose data lies elsewhere gets it as `raw_data`.
    fn tensor(&mut self, end: u64) -> Result<Plan, Fault> {
        let mut plan = Plan::default();
        let (mut shape, mut name) = (Shape::default(), String::new());
        let (mut is_outside, mut place) = (false, Place::default());
        while let Some(field) = self.next(end)? {
            match (field.number, field.holds) {
                // Readers keep the low 32 bits of an enumeration.
                (14, Holds::Number(it)) => is_outside = it as u32 == EXTERNAL,
                (13, Holds::Until(_)) => self.entry(field.until, &mut place)?,
                // Data of its own beside a place elsewhere means nothing.
                (9, Holds::Until(_)) => self.wire.pass(field.until)?,
                (number, holds) => {
                    match (number, holds) {
                        (1, Holds::Number(it)) => shape.push(it),
                        (1, Holds::Until(_)) => {
                            while self.wire.at() < field.until {
                                shape.push(self.wire.number(field.until)?);
                            }
                        }
                        (2, Holds::Number(it)) => shape.data_type = it as u32,
                        (8, Holds::Until(_)) => {
                            name = self.wire.text(field.until, NAME_BYTES_MAX)?.unwrap_or_default();
                        }
                        (_, Holds::Until(_)) => self.wire.pass(field.until)?,
                        _ => {}
                    }
                    plan.keep(field);
                }
            }
        }
        if !is_outside {
            return Ok(Plan::default());
        }
        self.tensors += 1;
        if self.tensors > TENSORS_MAX {
            return Err(bad(format!("the model has more than {TENSORS_MAX} tensors in other files")));
        }
        let name: String = name.chars().take(100).collect();
        let (file, offset, length) =
            place.resolve(&shape).map_err(|it| bad(format!("tensor `{name}` of the model: {it}")))?;
        let mut content = Plan::default();
        content.add(Piece::Outside { name: file, offset, length });
        plan.put(9, content);
        Ok(plan)
    }

    /// One key of `external_data` with its value.
    fn entry(&mut self, end: u64, place: &mut Place) -> Result<(), Fault> {
        let (mut key, mut value) = (None, None);
        while let Some(field) = self.next(end)? {
            match (field.number, field.holds) {
                (1, Holds::Until(_)) => key = self.wire.text(field.until, NAME_BYTES_MAX)?,
                (2, Holds::Until(_)) => value = Some(self.wire.text(field.until, NAME_BYTES_MAX)?),
                (_, Holds::Until(_)) => self.wire.pass(field.until)?,
                _ => {}
            }
        }
        let value = value.unwrap_or_else(|| Some(String::new()));
        match key.as_deref() {
            Some("location") => place.location = value,
            Some("offset") => place.offset = Some(value.unwrap_or_default()),
            Some("length") => place.length = Some(value.unwrap_or_default()),
            _ => {}
        }
        Ok(())
    }
}

/// Dimensions and element type.
#[derive(Default)]
struct Shape {
    dimensions: Vec<u64>,
    data_type: u32,
}

impl Shape {
    fn push(&mut self, dimension: u64) {
        if self.dimensions.len() <= DIMENSIONS_MAX {
            self.dimensions.push(dimension);
        }
    }

    /// The bytes that the elements take; `None` for a type of varying size, and for a size that no file has.
    fn bytes(&self) -> Option<u64> {
        // `TensorProto.DataType`.
        let bits = match self.data_type {
            2 | 3 | 9 | 17..=20 | 24 => 8,
            4 | 5 | 10 | 16 => 16,
            1 | 6 | 12 => 32,
            7 | 11 | 13 | 14 => 64,
            15 => 128,
            21..=23 => 4,
            25 | 26 => 2,
            _ => return None,
        };
        if self.dimensions.len() > DIMENSIONS_MAX {
            return None;
        }
        let elements = self.dimensions.iter().try_fold(1u64, |count, it| count.checked_mul(*it))?;
        Some(elements.checked_mul(bits)?.div_ceil(8))
    }
}

/// Where the data of a tensor lies, as the model says.
#[derive(Default)]
struct Place {
    location: Option<String>,
    offset: Option<String>,
    length: Option<String>,
}

impl Place {
    /// The file, the first byte, and how many.
    fn resolve(self, shape: &Shape) -> Result<(String, u64, u64), String> {
        let file = plain(self.location.as_deref().unwrap_or_default())?;
        let number = |name: &str, text: Option<String>| {
            text.map(|it| it.trim().parse::<u64>().map_err(|_| format!("its {name} in `{file}` is no number")))
                .transpose()
        };
        let offset = number("offset", self.offset)?.unwrap_or(0);
        let length = number("length", self.length)?;
        let needed = shape.bytes().ok_or("its size does not follow from its shape and type")?;
        match length {
            Some(length) if length != needed => {
                Err(format!("its shape and type need {needed} bytes, and it names {length} bytes of `{file}`"))
            }
            _ => Ok((file, offset, needed)),
        }
    }
}

/// A path below the model's folder, without `.` and never out of it.
fn plain(location: &str) -> Result<String, String> {
    let parts: Vec<&str> = location.split('/').filter(|it| *it != ".").collect();
    let is_plain = |it: &&str| !it.is_empty() && **it != *".." && !it.contains(char::is_control);
    if !parts.is_empty() && parts.iter().all(is_plain) {
        return Ok(parts.join("/"));
    }
    let shown: String = location.chars().take(200).collect();
    Err(format!("its data lies in `{shown}`, which is no file beside the model"))
}
