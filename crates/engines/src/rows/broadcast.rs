//! How the dimensions of rows and of what is the same for all callers fit each other.

use super::{Dims, Value};

/// The dimensions of a row of what several inputs give, element by element; `None` where the axis of the rows of one
/// input would meet another axis.
pub(super) fn together(inputs: &[Option<&Value>]) -> Option<Dims> {
    let mut row: Option<Dims> = None;
    for input in inputs.iter().flatten() {
        if let Value::Rows(other) = input {
            row = match row {
                None => Some(other.clone()),
                Some(it) if it.len() == other.len() => Some(meet(&it, other)),
                Some(_) => return None,
            };
        }
    }
    let mut row = row?;
    for input in inputs.iter().flatten() {
        match input {
            Value::Fixed(it) => row = under(&row, it.dims.as_ref()?)?,
            Value::Rows(_) => {}
            Value::Sizes(_) => return None,
        }
    }
    Some(row)
}

/// A row with something beside it that is the same for all rows.
pub(super) fn under(row: &Dims, fixed: &Dims) -> Option<Dims> {
    match fixed.split_first() {
        Some((first, rest)) if fixed.len() == row.len() + 1 => (*first == Some(1)).then(|| meet(row, &rest.to_vec())),
        _ => (fixed.len() <= row.len()).then(|| meet(row, fixed)),
    }
}

/// What two lists of dimensions become, from the last one on.
fn meet(a: &Dims, b: &Dims) -> Dims {
    let rank = a.len().max(b.len());
    let at = |dims: &Dims, place: usize| (place + dims.len()).checked_sub(rank).map_or(Some(1), |it| dims[it]);
    (0..rank)
        .map(|place| match (at(a, place), at(b, place)) {
            (Some(1), other) | (other, Some(1)) => other,
            (Some(a), Some(b)) if a == b => Some(a),
            (None, Some(it)) | (Some(it), None) => Some(it),
            _ => None,
        })
        .collect()
}
