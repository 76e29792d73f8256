//! Operators that move, cut and sum, and the lengths of dimensions that some of them take.

use super::{Dims, Place, Size, Value};

/// Reductions. Sorted.
const REDUCE: &[&str] = &[
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
];

impl Place<'_> {
    pub(super) fn shapes(&self) -> Option<Value> {
        let node = self.node;
        let rows = Value::Rows;
        match node.operator.as_str() {
            "Shape" => self.shape(),
            "Reshape" => self.reshape(&self.sizes(1)?).map(rows),
            "Expand" => self.expand(&self.sizes(1)?).map(rows),
            "Flatten" => {
                let row = self.only_rows()?;
                let axis = node.int("axis").unwrap_or(1);
                let axis = if axis < 0 { axis + row.len() as i64 + 1 } else { axis };
                (axis == 1).then(|| rows(vec![product(row)]))
            }
            "Transpose" => {
                let row = self.only_rows()?;
                let perm = node.ints("perm").filter(|it| it.len() == row.len() + 1 && it[0] == 0)?;
                let moved = perm[1..].iter().map(|it| row.get(usize::try_from(*it).ok()?.checked_sub(1)?).copied());
                moved.collect::<Option<Dims>>().map(rows)
            }
            "Squeeze" => self.squeeze().map(rows),
            "Unsqueeze" => self.unsqueeze().map(rows),
            "Concat" => self.concat().map(rows),
            "Slice" => self.slice().map(rows),
            "Gather" => self.gather().map(rows),
            "GatherElements" => {
                let (row, index) = (self.rows(0)?, self.rows(1)?);
                Self::inner(node.int("axis").unwrap_or(0), row.len() + 1)?;
                (row.len() == index.len()).then(|| rows(index.clone()))
            }
            "Pad" => self.pad().map(rows),
            "Tile" => {
                let (row, repeats) = (self.rows(0)?, self.fixed(1)?.ints.as_ref()?);
                let is_right = repeats.len() == row.len() + 1 && repeats[0] == 1;
                let each = |(length, times): (&Option<i64>, &i64)| length.and_then(|it| it.checked_mul(*times));
                is_right.then(|| rows(row.iter().zip(&repeats[1..]).map(each).collect()))
            }
            "ArgMax" | "ArgMin" => {
                let row = self.only_rows()?;
                let axis = Self::inner(node.int("axis").unwrap_or(0), row.len() + 1)?;
                Some(rows(without(row, &[axis], node.int("keepdims").unwrap_or(1) != 0)))
            }
            "CumSum" => {
                let (row, axis) = (self.rows(0)?, self.fixed(1)?.ints.as_ref()?);
                Self::inner(*axis.first()?, row.len() + 1)?;
                Some(rows(row.clone()))
            }
            "OneHot" if self.are_fixed_from(1) => {
                let row = self.rows(0)?;
                let axis = Self::inner(node.int("axis").unwrap_or(-1), row.len() + 2)?;
                let mut longer = row.clone();
                longer.insert(axis - 1, None);
                Some(rows(longer))
            }
            "Trilu" => self.rows(0).filter(|it| it.len() >= 2 && self.are_fixed_from(1)).cloned().map(rows),
            name if REDUCE.binary_search(&name).is_ok() => self.reduce().map(rows),
            _ => None,
        }
    }

    /// An operator that gets lengths of dimensions among its inputs.
    pub(super) fn with_sizes(&self) -> Option<Value> {
        let node = self.node;
        let own = |place: usize| match self.inputs.get(place).copied().flatten() {
            Some(Value::Sizes(it)) => Some(it),
            _ => None,
        };
        match node.operator.as_str() {
            "Reshape" if self.rows(0).is_some() => self.reshape(&self.sizes(1)?).map(Value::Rows),
            "Expand" if self.rows(0).is_some() => self.expand(&self.sizes(1)?).map(Value::Rows),
            "Cast" | "Identity" | "Unsqueeze" | "Squeeze" if self.are_fixed_from(1) => {
                own(0).cloned().map(Value::Sizes)
            }
            "Gather" => {
                let (from, which) = (own(0)?, self.fixed(1)?.ints.as_ref()?);
                let at = |it: &i64| from.get(usize::try_from(if *it < 0 { it + from.len() as i64 } else { *it }).ok()?);
                which.iter().map(|it| at(it).copied()).collect::<Option<Vec<Size>>>().map(Value::Sizes)
            }
            "Slice" => {
                let one = |place: usize| match self.fixed(place)?.ints.as_deref()? {
                    [it] => Some(*it),
                    _ => None,
                };
                let from = own(0)?;
                let length = from.len() as i64;
                let bound = |it: i64| if it < 0 { it + length } else { it }.clamp(0, length) as usize;
                if self.inputs.len() > 4 && one(4)? != 1 {
                    return None;
                }
                from.get(bound(one(1)?)..bound(one(2)?)).map(|it| Value::Sizes(it.to_vec()))
            }
            "Concat" => {
                let each = (0..self.inputs.len()).map(|it| self.sizes(it)).collect::<Option<Vec<_>>>()?;
                Some(Value::Sizes(each.concat()))
            }
            "ConstantOfShape" => {
                let (first, rest) = own(0)?.split_first()?;
                (*first == Size::Rows && !rest.contains(&Size::Rows)).then(|| Value::Rows(lengths(rest)))
            }
            "Add" | "Sub" | "Mul" | "Div" => {
                let all = (0..2).map(|it| self.sizes(it)).collect::<Option<Vec<_>>>()?;
                let is_inside = all.iter().all(|it| matches!(it[..], [Size::Known(_) | Size::Unknown]));
                is_inside.then(|| Value::Sizes(vec![Size::Unknown]))
            }
            _ => None,
        }
    }

    /// An input that is a list of lengths.
    fn sizes(&self, place: usize) -> Option<Vec<Size>> {
        match self.inputs.get(place).copied().flatten()? {
            Value::Sizes(it) => Some(it.clone()),
            Value::Fixed(it) => Some(it.ints.as_ref()?.iter().map(|it| Size::Known(*it)).collect()),
            Value::Rows(_) => None,
        }
    }

    fn shape(&self) -> Option<Value> {
        let row = self.only_rows()?;
        if self.node.attribute("start").is_some() || self.node.attribute("end").is_some() {
            return None;
        }
        let inside = row.iter().map(|it| it.map_or(Size::Unknown, Size::Known));
        Some(Value::Sizes([Size::Rows].into_iter().chain(inside).collect()))
    }

    fn reshape(&self, sizes: &[Size]) -> Option<Dims> {
        let row = self.rows(0)?;
        let (first, rest) = sizes.split_first()?;
        if self.node.int("allowzero").unwrap_or(0) != 0 || rest.contains(&Size::Rows) {
            return None;
        }
        let copied = |(place, size): (usize, &Size)| match size {
            Size::Known(0) => row.get(place).copied().map(|it| it.map_or(Size::Unknown, Size::Known)),
            other => Some(*other),
        };
        let rest = rest.iter().enumerate().map(copied).collect::<Option<Vec<Size>>>()?;
        let is_open = |it: &Size| *it == Size::Known(-1);
        let others = product(&lengths(&rest.iter().copied().filter(|it| !is_open(it)).collect::<Vec<_>>()));
        match first {
            // The number of rows stays, so what one row holds stays as well.
            Size::Rows | Size::Known(0) => {
                let open = product(row).zip(others).filter(|it| it.1 > 0).map(|(all, others)| all / others);
                Some(rest.iter().map(|it| if is_open(it) { open } else { length(*it) }).collect())
            }
            // As many rows as before only when a row holds as much as before.
            Size::Known(-1) => (others.is_some_and(|it| it > 0) && others == product(row)).then(|| lengths(&rest)),
            _ => None,
        }
    }

    fn expand(&self, sizes: &[Size]) -> Option<Dims> {
        let row = self.rows(0)?;
        let inside = match sizes.split_first() {
            Some((first, rest)) if sizes.len() == row.len() + 1 => {
                matches!(first, Size::Rows | Size::Known(1)).then_some(rest)?
            }
            _ => Some(sizes).filter(|it| it.len() <= row.len())?,
        };
        (!inside.contains(&Size::Rows)).then(|| {
            let skipped = row.len() - inside.len();
            let each = |(place, length): (usize, &Option<i64>)| match place.checked_sub(skipped).map(|it| inside[it]) {
                None | Some(Size::Known(1)) => *length,
                Some(other) => self::length(other),
            };
            row.iter().enumerate().map(each).collect()
        })
    }

    /// Axes as an attribute or, later, as an input.
    fn axes(&self) -> Option<Vec<i64>> {
        match self.node.ints("axes") {
            Some(axes) => Some(axes.to_vec()),
            None => self.fixed(1)?.ints.clone(),
        }
    }

    fn squeeze(&self) -> Option<Dims> {
        let row = self.rows(0)?;
        let axes: Option<Vec<usize>> = self.axes()?.iter().map(|it| Self::inner(*it, row.len() + 1)).collect();
        Some(without(row, &axes?, false))
    }

    fn unsqueeze(&self) -> Option<Dims> {
        let (row, axes) = (self.rows(0)?, self.axes()?);
        let rank = row.len() + 1 + axes.len();
        let mut axes: Vec<usize> = axes.iter().map(|it| Self::inner(*it, rank)).collect::<Option<_>>()?;
        axes.sort_unstable();
        let mut longer = row.clone();
        for axis in axes {
            if axis > longer.len() + 1 {
                return None;
            }
            longer.insert(axis - 1, Some(1));
        }
        Some(longer)
    }

    fn reduce(&self) -> Option<Dims> {
        let row = self.rows(0)?;
        let keeps = self.node.int("keepdims").unwrap_or(1) != 0;
        let axes = self.axes();
        if axes.as_ref().is_none_or(Vec::is_empty) {
            let is_known = axes.is_some() || self.inputs.get(1).copied().flatten().is_none();
            // Without axes all are summed over, the rows too, unless it says otherwise.
            return (is_known && self.node.int("noop_with_empty_axes") == Some(1)).then(|| row.clone());
        }
        let axes: Vec<usize> = axes?.iter().map(|it| Self::inner(*it, row.len() + 1)).collect::<Option<_>>()?;
        Some(without(row, &axes, keeps))
    }

    fn concat(&self) -> Option<Dims> {
        let rows: Vec<&Dims> = (0..self.inputs.len()).map(|it| self.rows(it)).collect::<Option<_>>()?;
        let mut whole = (*rows.first()?).clone();
        let axis = Self::inner(self.node.int("axis")?, whole.len() + 1)? - 1;
        if rows.iter().any(|it| it.len() != whole.len()) {
            return None;
        }
        whole[axis] = rows.iter().try_fold(0i64, |sum, it| sum.checked_add(it[axis]?));
        Some(whole)
    }

    pub(super) fn split(&self) -> Option<Vec<Value>> {
        let (row, count) = (self.rows(0)?, self.node.outputs.len());
        let axis = Self::inner(self.node.int("axis").unwrap_or(0), row.len() + 1)? - 1;
        if !self.are_fixed_from(1) {
            return None;
        }
        let sizes = self.node.ints("split").map(<[i64]>::to_vec).or_else(|| self.fixed(1)?.ints.clone());
        let part = |place: usize| {
            let mut part = row.clone();
            part[axis] = sizes.as_ref().and_then(|it| it.get(place).copied());
            Value::Rows(part)
        };
        Some((0..count).map(part).collect())
    }

    fn slice(&self) -> Option<Dims> {
        let (row, node) = (self.rows(0)?, self.node);
        if !self.are_fixed_from(1) {
            return None;
        }
        let list =
            |name: &str, place: usize| node.ints(name).map(<[i64]>::to_vec).or_else(|| self.fixed(place)?.ints.clone());
        let axes = list("axes", 3)?;
        let axes: Vec<usize> = axes.iter().map(|it| Self::inner(*it, row.len() + 1)).collect::<Option<_>>()?;
        let (starts, ends, steps) = (list("starts", 1), list("ends", 2), list("steps", 4));
        let mut shorter = row.clone();
        for (place, axis) in axes.iter().enumerate() {
            let at = |all: &Option<Vec<i64>>| all.as_ref().and_then(|it| it.get(place).copied());
            let is_dense = self.inputs.get(4).copied().flatten().is_none() || at(&steps) == Some(1);
            shorter[axis - 1] = match (row[axis - 1], at(&starts), at(&ends)) {
                (Some(length), Some(start), Some(end)) if is_dense => {
                    let bound = |it: i64| if it < 0 { it.saturating_add(length) } else { it }.clamp(0, length);
                    Some((bound(end) - bound(start)).max(0))
                }
                _ => None,
            };
        }
        Some(shorter)
    }

    fn gather(&self) -> Option<Dims> {
        let axis = self.node.int("axis").unwrap_or(0);
        match (self.inputs.first().copied().flatten()?, self.inputs.get(1).copied().flatten()?) {
            (Value::Rows(row), Value::Fixed(which)) => {
                let axis = Self::inner(axis, row.len() + 1)?;
                let which = which.dims.clone()?;
                Some(row[..axis - 1].iter().copied().chain(which).chain(row[axis..].iter().copied()).collect())
            }
            // A table in which each row looks its own things up.
            (Value::Fixed(table), Value::Rows(row)) => {
                let (_, entry) = table.dims.as_ref()?.split_first()?;
                (axis == 0 || axis == -(entry.len() as i64 + 1))
                    .then(|| row.iter().copied().chain(entry.iter().copied()).collect())
            }
            _ => None,
        }
    }

    fn pad(&self) -> Option<Dims> {
        let row = self.rows(0)?;
        if !self.are_fixed_from(1) || self.inputs.get(3).copied().flatten().is_some() {
            return None;
        }
        let pads = self.node.ints("pads").map(<[i64]>::to_vec).or_else(|| self.fixed(1)?.ints.clone())?;
        let rank = row.len() + 1;
        if pads.len() != 2 * rank || pads[0] != 0 || pads[rank] != 0 {
            return None;
        }
        let each = |(place, length): (usize, &Option<i64>)| {
            length.and_then(|it| it.checked_add(pads[place + 1])?.checked_add(pads[rank + place + 1]))
        };
        Some(row.iter().enumerate().map(each).collect())
    }
}

fn length(size: Size) -> Option<i64> {
    match size {
        Size::Known(it) if it >= 0 => Some(it),
        _ => None,
    }
}

fn lengths(sizes: &[Size]) -> Dims {
    sizes.iter().map(|it| length(*it)).collect()
}

fn product(dims: &Dims) -> Option<i64> {
    dims.iter().try_fold(1i64, |all, it| all.checked_mul((*it)?))
}

/// A row whose dimensions at these axes, counted with the one of the rows, are 1 or gone.
fn without(row: &Dims, axes: &[usize], keeps: bool) -> Dims {
    let each = |(place, length): (usize, &Option<i64>)| match axes.contains(&(place + 1)) {
        true if keeps => Some(Some(1)),
        true => None,
        false => Some(*length),
    };
    row.iter().enumerate().filter_map(each).collect()
}
