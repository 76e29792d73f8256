//! Whether arrays are nested as a shape says. Data is flat, or nested exactly so: `[[1,2],[3,4]]` is no `[4]`, and rows
//! of different lengths are no tensor although their values may be as many.

use super::fault::{DEPTH_MAX, Fault, Why};

/// An array that is open.
#[derive(Debug, Clone, Copy, Default)]
struct Level {
    /// Where it begins.
    at: usize,
    /// Elements that stood before it.
    before: usize,
    /// Arrays in it.
    arrays: usize,
}

/// The arrays around an element.
pub(super) struct Nesting<'a> {
    shape: &'a [i64],
    /// By depth; 0 is around everything.
    levels: [Level; DEPTH_MAX + 1],
    /// The depth of all elements, once one was seen.
    leaf: Option<usize>,
}

impl<'a> Nesting<'a> {
    pub(super) fn new(shape: &'a [i64]) -> Self {
        Self { shape, levels: [Level::default(); DEPTH_MAX + 1], leaf: None }
    }

    /// An array begins, the `depth`th around what follows, behind `before` elements.
    pub(super) fn open(&mut self, depth: usize, at: usize, before: usize) -> Result<(), Fault> {
        // An array around a single number, and around flat data, is always right.
        if depth > self.shape.len().max(1) || depth > DEPTH_MAX {
            return Err(Fault { at, why: Why::TooDeep });
        }
        if self.leaf.is_some_and(|it| it < depth) {
            return Err(Fault { at, why: Why::AmongElements });
        }
        self.levels[depth] = Level { at, before, arrays: 0 };
        self.levels[depth - 1].arrays += 1;
        Ok(())
    }

    /// The array ends, behind `count` elements in all.
    pub(super) fn close(&self, depth: usize, count: usize) -> Result<(), Fault> {
        let level = self.levels[depth];
        // How many elements flat data has is compared when all of it was read.
        if depth == 1 && level.arrays == 0 {
            return Ok(());
        }
        let has = if level.arrays > 0 { level.arrays } else { count - level.before };
        match self.shape.get(depth - 1) {
            Some(wants) if i64::try_from(has).is_ok_and(|it| it == *wants) => Ok(()),
            Some(wants) => Err(Fault { at: level.at, why: Why::Length { has, wants: *wants } }),
            None => Err(Fault { at: level.at, why: Why::TooDeep }),
        }
    }

    /// An element, within `depth` arrays.
    #[inline(always)]
    pub(super) fn element(&mut self, depth: usize, at: usize) -> Result<(), Fault> {
        if self.leaf == Some(depth) { Ok(()) } else { self.first(depth, at) }
    }

    fn first(&mut self, depth: usize, at: usize) -> Result<(), Fault> {
        let is_flat = depth <= 1 && self.levels[1].arrays == 0;
        if self.leaf.is_none() && (is_flat || depth == self.shape.len()) {
            self.leaf = Some(depth);
            return Ok(());
        }
        Err(Fault { at, why: Why::NoArray })
    }
}
