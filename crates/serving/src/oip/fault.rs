//! Where a walk over the JSON of a tensor ended early, and why.

/// Arrays inside arrays; a tensor of more dimensions is refused.
pub(super) const DEPTH_MAX: usize = 32;

/// Where the walk ended early, in bytes from the beginning, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub at: usize,
    pub why: Why,
}

/// Why a walk ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The element is none of the type.
    Unfit,
    /// There are more elements than the shape has.
    TooMany,
    /// The arrays are nested deeper than the shape.
    TooDeep,
    /// The array has another length than the shape says.
    Length { has: usize, wants: i64 },
    /// An array among the elements of flat data.
    AmongElements,
    /// An element where the shape has an array.
    NoArray,
    /// Neither an array nor an element.
    NoElement,
}
