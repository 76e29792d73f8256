//! Rows of several calls as one, and back.

use crate::tensor::{DataType, Tensor};

/// The rows of a call: the leading dimension, when all its tensors agree on it. Texts are never batched.
pub(super) fn rows_of(tensors: &[Tensor]) -> Option<usize> {
    let rows = *tensors.first()?.shape.first()?;
    let agree = |it: &Tensor| it.datatype != DataType::Bytes && it.shape.first() == Some(&rows);
    if tensors.iter().all(agree) { usize::try_from(rows).ok().filter(|it| *it > 0) } else { None }
}

/// Whether two calls differ in nothing but the number of rows.
pub(super) fn fit(a: &[Tensor], b: &[Tensor]) -> bool {
    let same = |(a, b): (&Tensor, &Tensor)| a.datatype == b.datatype && a.shape.get(1..) == b.shape.get(1..);
    a.len() == b.len() && a.iter().zip(b).all(same)
}

/// The rows of calls that [`fit`] each other, one after another. `calls` is not empty.
pub(super) fn join(calls: &[&[Tensor]], rows: usize) -> Vec<Tensor> {
    let first = calls[0];
    (0..first.len())
        .map(|place| {
            let mut data = Vec::with_capacity(calls.iter().map(|it| it[place].data.len()).sum());
            for call in calls {
                data.extend_from_slice(&call[place].data);
            }
            let like = &first[place];
            let mut shape = like.shape.clone();
            shape[0] = rows as i64;
            Tensor { name: like.name.clone(), datatype: like.datatype, shape, data: data.into() }
        })
        .collect()
}

/// Each call's part of the outputs, without a copy; `None` when they do not have as many rows as the calls.
pub(super) fn split(outputs: &[Tensor], rows: &[usize]) -> Option<Vec<Vec<Tensor>>> {
    let total: usize = rows.iter().sum();
    if total == 0 || rows_of(outputs) != Some(total) || outputs.iter().any(|it| it.data.len() % total != 0) {
        return None;
    }
    let mut done = 0;
    let part = |count: &usize| {
        let from = done;
        done += count;
        let cut = |it: &Tensor| {
            let row_bytes = it.data.len() / total;
            let mut shape = it.shape.clone();
            shape[0] = *count as i64;
            let data = it.data.slice(from * row_bytes..(from + count) * row_bytes);
            Tensor { name: it.name.clone(), datatype: it.datatype, shape, data }
        };
        outputs.iter().map(cut).collect()
    };
    Some(rows.iter().map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_comes_apart_again() {
        let a = [Tensor::f32("x", vec![2, 2], &[1.0, 2.0, 3.0, 4.0])];
        let b = [Tensor::f32("x", vec![1, 2], &[5.0, 6.0])];
        assert!(fit(&a, &b));
        let joined = join(&[&a, &b], 3);
        assert_eq!(joined[0].shape, [3, 2]);
        assert_eq!(split(&joined, &[2, 1]).expect("parts"), vec![a.to_vec(), b.to_vec()]);
        assert_eq!(split(&joined, &[2, 2]), None);
    }

    #[test]
    fn only_tensors_with_the_same_rows_are_a_batch() {
        let tensor = |rows: i64| Tensor::f32("x", vec![rows, 1], &vec![0.0; rows.unsigned_abs() as usize]);
        assert_eq!(rows_of(&[tensor(2), tensor(2)]), Some(2));
        assert_eq!(rows_of(&[tensor(2), tensor(3)]), None);
        assert_eq!(rows_of(&[tensor(0)]), None);
        assert_eq!(rows_of(&[Tensor { shape: vec![], ..tensor(1) }]), None);
        assert_eq!(rows_of(&[Tensor { datatype: DataType::Bytes, ..tensor(1) }]), None);
    }
}
