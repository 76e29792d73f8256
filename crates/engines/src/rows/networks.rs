//! Operators of neural networks whose first axis is the batch.

use super::{Dims, Place, Value, broadcast};

impl Place<'_> {
    pub(super) fn networks(&self) -> Option<Value> {
        let node = self.node;
        let row = match node.operator.as_str() {
            "MatMul" => self.product(0, 1)?,
            "MatMulInteger" if self.are_single(&[2]) => self.product(0, 1)?,
            "QLinearMatMul" if self.are_single(&[1, 2]) && self.are_fixed_from(4) => self.product(0, 3)?,
            "Gemm" => self.gemm()?,
            "Conv" | "MaxPool" | "AveragePool" | "LpPool" => self.window()?,
            "ConvTranspose" | "ConvInteger" | "QLinearConv" | "DepthToSpace" | "SpaceToDepth" => {
                let row = self.image()?;
                vec![None; row.len()]
            }
            "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => {
                let row = self.image()?;
                row.iter().take(1).copied().chain(vec![Some(1); row.len() - 1]).collect()
            }
            "InstanceNormalization" | "GroupNormalization" | "LRN" => self.image()?.clone(),
            "BatchNormalization" if node.int("training_mode").unwrap_or(0) == 0 && node.outputs.len() == 1 => {
                self.normalized()?
            }
            "LayerNormalization" if node.outputs.len() == 1 => {
                let row = self.along_row(-1)?;
                let is_under = |place: usize| {
                    self.inputs.get(place).copied().flatten().is_none()
                        || self.fixed(place).and_then(|it| it.dims.as_ref()).is_some_and(|it| it.len() <= row.len())
                };
                if !(is_under(1) && is_under(2)) {
                    return None;
                }
                row
            }
            "MeanVarianceNormalization" => {
                let row = self.only_rows()?;
                let axes = node.ints("axes")?;
                axes.iter().all(|it| Self::inner(*it, row.len() + 1).is_some()).then(|| row.clone())?
            }
            // Before version 13 an axis stood for itself and all after it, which are inside the row as well.
            "Softmax" | "LogSoftmax" | "Hardmax" => self.along_row(if self.opset < 13 { 1 } else { -1 })?,
            "LpNormalization" => self.along_row(-1)?,
            "Dropout" if self.inputs.len() <= 2 && node.outputs.len() == 1 && self.are_fixed_from(1) => {
                self.rows(0)?.clone()
            }
            "QuantizeLinear" | "DequantizeLinear" => self.scaled()?,
            "CastLike" => self.rows(0)?.clone(),
            "Resize" | "Upsample" => self.resized()?,
            _ => return None,
        };
        Some(Value::Rows(row))
    }

    /// Whether the inputs at these places are absent, or one number.
    fn are_single(&self, places: &[usize]) -> bool {
        places.iter().all(|place| match self.inputs.get(*place).copied().flatten() {
            None => true,
            Some(Value::Fixed(it)) => it.dims.as_ref().is_some_and(|it| it.iter().all(|it| *it == Some(1))),
            Some(_) => false,
        })
    }

    /// A product of matrices, where the axis of the rows is no axis that is summed over.
    fn product(&self, left: usize, right: usize) -> Option<Dims> {
        let side = |place: usize| self.inputs.get(place).copied().flatten();
        match (side(left)?, side(right)?) {
            (Value::Rows(row), Value::Fixed(matrix)) => {
                let dims = matrix.dims.as_ref()?;
                let (_, before) = row.split_last()?;
                match dims.as_slice() {
                    [_] => Some(before.to_vec()),
                    [_, columns] => Some(before.iter().copied().chain([*columns]).collect()),
                    // Matrices side by side: they must lie along the rows' other axes.
                    [batch @ .., _, columns] if row.len() >= 2 => {
                        let outer = row[..row.len() - 2].to_vec();
                        let outer = broadcast::under(&outer, &batch.to_vec())?;
                        Some(outer.into_iter().chain([row[row.len() - 2], *columns]).collect())
                    }
                    _ => None,
                }
            }
            (Value::Fixed(matrix), Value::Rows(row)) if row.len() >= 2 => {
                let dims = matrix.dims.as_ref()?;
                let [batch @ .., lines, _] = dims.as_slice() else { return None };
                let outer = broadcast::under(&row[..row.len() - 2].to_vec(), &batch.to_vec())?;
                Some(outer.into_iter().chain([*lines, row[row.len() - 1]]).collect())
            }
            (Value::Rows(a), Value::Rows(b)) if a.len() == b.len() && a.len() >= 2 => {
                let ends = [a[a.len() - 2], b[b.len() - 1]];
                let outer = |row: &Dims| Value::Rows(row[..row.len() - 2].to_vec());
                let (a, b) = (outer(a), outer(b));
                Some(broadcast::together(&[Some(&a), Some(&b)])?.into_iter().chain(ends).collect())
            }
            _ => None,
        }
    }

    fn gemm(&self) -> Option<Dims> {
        let row = self.rows(0)?;
        let weights = self.fixed(1)?.dims.as_ref()?;
        if row.len() != 1 || weights.len() != 2 || self.node.int("transA").unwrap_or(0) != 0 {
            return None;
        }
        let columns = weights[usize::from(self.node.int("transB").unwrap_or(0) == 0)];
        match self.inputs.get(2).copied().flatten() {
            None => Some(vec![columns]),
            Some(Value::Fixed(it)) => broadcast::under(&vec![columns], it.dims.as_ref()?),
            Some(Value::Rows(bias)) => (bias.len() == 1).then(|| vec![columns]),
            Some(Value::Sizes(_)) => None,
        }
    }

    /// Channels and places of a picture, a line or a volume; what is beside it is the same for all.
    fn image(&self) -> Option<&Dims> {
        self.rows(0).filter(|it| it.len() >= 2 && self.are_fixed_from(1))
    }

    /// Batch normalization takes what has no places, too.
    fn normalized(&self) -> Option<Dims> {
        self.rows(0).filter(|it| !it.is_empty() && self.are_fixed_from(1)).cloned()
    }

    /// A convolution or pooling.
    fn window(&self) -> Option<Dims> {
        let (node, row) = (self.node, self.image()?);
        if node.outputs.len() != 1 {
            // Places of the largest are counted through the whole batch.
            return None;
        }
        let weights = self.fixed(1).and_then(|it| it.dims.as_ref());
        let channels = weights.map_or(row[0], |it| it.first().copied().flatten());
        let kernel: Option<Vec<i64>> = node
            .ints("kernel_shape")
            .map(<[i64]>::to_vec)
            .or_else(|| weights.and_then(|it| it.iter().skip(2).copied().collect::<Option<Vec<i64>>>()));
        let is_plain = node.text("auto_pad").is_none_or(|it| it == "NOTSET") && node.int("ceil_mode").unwrap_or(0) == 0;
        let places = row.len() - 1;
        let length = |axis: usize| {
            let of = |name: &str, usual| node.ints(name).map_or(Some(usual), |it| it.get(axis).copied());
            let pads =
                of("pads", 0)?.checked_add(node.ints("pads").map_or(Some(0), |it| it.get(axis + places).copied())?)?;
            let reach = of("dilations", 1)?.checked_mul(kernel.as_ref()?.get(axis)?.checked_sub(1)?)?;
            let stride = of("strides", 1).filter(|it| *it > 0)?;
            Some((row[axis + 1]?.checked_add(pads)?.checked_sub(reach)? - 1).div_euclid(stride) + 1)
        };
        let lengths = (0..places).map(|axis| if is_plain { length(axis) } else { None });
        Some([channels].into_iter().chain(lengths).collect())
    }

    /// Quantization with one scale, or one for each place along an axis inside the row.
    fn scaled(&self) -> Option<Dims> {
        let row = self.rows(0).filter(|_| self.are_fixed_from(1))?;
        let is_right = match self.fixed(1)?.dims.as_deref()? {
            [] => true,
            [_] => Self::inner(self.node.int("axis").unwrap_or(1), row.len() + 1).is_some(),
            _ => false,
        };
        is_right.then(|| row.clone())
    }

    fn resized(&self) -> Option<Dims> {
        let (node, row) = (self.node, self.image()?);
        let rank = row.len() + 1;
        let are_inner = |axes: &[i64]| axes.iter().all(|it| Self::inner(*it, rank).is_some());
        if node.text("coordinate_transformation_mode") == Some("tf_crop_and_resize") {
            return None;
        }
        let scales = self.fixed(if node.operator == "Upsample" || self.opset < 11 { 1 } else { 2 });
        let keeps_rows = match (node.ints("axes"), scales.and_then(|it| it.floats.as_deref())) {
            (Some(axes), _) => are_inner(axes),
            (None, Some([first, ..])) => *first == 1.0,
            (None, _) => false,
        };
        keeps_rows.then(|| vec![None; row.len()])
    }
}
