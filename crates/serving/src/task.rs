//! What a model is for, as its file says: the metadata text `kaogong.task` of an ONNX file.
//!
//! With it the platform can take a picture or a row and give back a class, without any code of the user.

use crate::tensor::{DataType, Tensor, detail, shown};
use kaogong_domain::Problem;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{cmp::Ordering, collections::BTreeMap};

/// The key of the metadata text.
pub const METADATA_KEY: &str = "kaogong.task";
/// The key of the metadata text that lists labels: a JSON object of lists, by the name of an output.
pub const LABELS_KEY: &str = "kaogong.labels";
/// The largest picture side a model may ask for.
pub const SIDE_MAX: u32 = 4096;

/// What a model is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TaskSpec {
    /// A picture in, a class out.
    ImageClassification {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// 1 for grey, 3 for red, green and blue.
        channels: u32,
        /// How pixels become a tensor.
        #[serde(default)]
        layout: Layout,
        /// Each value of 0 to 255 is multiplied by this first.
        scale: f32,
        /// Subtracted then, by channel.
        #[serde(default)]
        mean: Vec<f32>,
        /// Divided by then, by channel.
        #[serde(default)]
        std: Vec<f32>,
        /// Classes in the order of the output.
        labels: Vec<String>,
        /// Name of the input.
        input: String,
        /// Name of the output: probabilities.
        output: String,
    },
    /// A row in, a class out.
    TableClassification {
        /// Columns in the order of the input.
        columns: Vec<ColumnSpec>,
        /// Classes in the order of the output.
        labels: Vec<String>,
        /// Name of the input.
        input: String,
        /// Name of the output: probabilities.
        output: String,
    },
    /// A row in, a number out.
    TableRegression {
        /// Columns in the order of the input.
        columns: Vec<ColumnSpec>,
        /// Name of the input.
        input: String,
        /// Name of the output: the number.
        output: String,
    },
}

/// How pixels become a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One row of height × width × channels.
    #[default]
    Flat,
    /// Batch, channels, height, width.
    Nchw,
    /// Batch, height, width, channels.
    Nhwc,
}

/// A column of a table model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnSpec {
    /// Its name.
    pub name: String,
    /// What it holds.
    #[serde(flatten)]
    pub kind: ColumnKind,
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ColumnKind {
    /// A number, as it is.
    Number {
        /// Stands for a missing value.
        fill: f32,
    },
    /// One of these texts: one place each, 1 where it is the value; none for an unknown or missing one.
    Category {
        /// The texts.
        values: Vec<String>,
    },
}

/// What a model says.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The class.
    pub label: Option<String>,
    /// The number.
    pub value: Option<f64>,
    /// Classes with their probability, most likely first; at most ten.
    pub top: Vec<(String, f64)>,
}

/// The labels that a model has without saying what it is for: those of its only output that has some.
pub fn labels_in(metadata: &BTreeMap<String, String>) -> Vec<String> {
    let listed = metadata.get(LABELS_KEY).and_then(|it| serde_json::from_str::<BTreeMap<String, Vec<String>>>(it).ok());
    match listed.map(|it| it.into_values().collect::<Vec<_>>()).as_deref() {
        Some([labels]) => labels.clone(),
        _ => vec![],
    }
}

impl TaskSpec {
    /// Reads the metadata text of a model file.
    ///
    /// # Errors
    /// `Invalid` when the text is there and cannot be read.
    pub fn read(text: &str) -> Result<Self, Problem> {
        let task: Self = serde_json::from_str(text)
            .map_err(|it| Problem::invalid(format!("the model's `{METADATA_KEY}` cannot be read: {}", detail(&it))))?;
        if let Self::ImageClassification { width, height, channels, .. } = &task
            && (*width == 0 || *height == 0 || *width > SIDE_MAX || *height > SIDE_MAX || !matches!(channels, 1 | 3))
        {
            return Err(Problem::invalid(format!(
                "the model's `{METADATA_KEY}` asks for {width}×{height} with {channels} channels"
            )));
        }
        Ok(task)
    }

    /// Classes in the order of the output; empty for regression.
    pub fn labels(&self) -> &[String] {
        match self {
            Self::ImageClassification { labels, .. } | Self::TableClassification { labels, .. } => labels,
            Self::TableRegression { .. } => &[],
        }
    }

    /// Name of the output that answers.
    pub fn output(&self) -> &str {
        match self {
            Self::ImageClassification { output, .. }
            | Self::TableClassification { output, .. }
            | Self::TableRegression { output, .. } => output,
        }
    }

    /// A picture as the model's input. `pixels` are rows of interleaved channels, already of the model's size.
    ///
    /// # Errors
    /// `Invalid` when the model takes no picture, or the pixels are of another number.
    pub fn picture(&self, pixels: &[u8]) -> Result<Tensor, Problem> {
        let Self::ImageClassification { width, height, channels, layout, scale, mean, std, input, .. } = self else {
            return Err(Problem::invalid("this model takes a row, not a picture").hint("send JSON: {\"row\": {…}}"));
        };
        let (w, h, c) = (*width as usize, *height as usize, *channels as usize);
        if pixels.len() != w * h * c {
            return Err(Problem::invalid(format!("{} values are not {w}×{h}×{c} pixels", pixels.len())));
        }
        let scaled = |at: usize| {
            let channel = at % c;
            let value = f32::from(pixels[at]) * scale - mean.get(channel).copied().unwrap_or(0.0);
            value / std.get(channel).copied().filter(|it| *it != 0.0).unwrap_or(1.0)
        };
        let (w, h, c) = (i64::from(*width), i64::from(*height), i64::from(*channels));
        let (shape, values): (Vec<i64>, Vec<f32>) = match layout {
            Layout::Flat => (vec![1, w * h * c], (0..pixels.len()).map(scaled).collect()),
            Layout::Nhwc => (vec![1, h, w, c], (0..pixels.len()).map(scaled).collect()),
            Layout::Nchw => {
                let area = pixels.len() / *channels as usize;
                let planes =
                    (0..*channels as usize).flat_map(|channel| (0..area).map(move |it| it * c as usize + channel));
                (vec![1, c, h, w], planes.map(scaled).collect())
            }
        };
        Ok(Tensor::f32(input, shape, &values))
    }

    /// A row as the model's input.
    ///
    /// # Errors
    /// `Invalid` when the model takes a picture, a column is unknown, or a value is no number where one is needed.
    pub fn row(&self, row: &Map<String, Value>) -> Result<Tensor, Problem> {
        let (Self::TableClassification { columns, input, .. } | Self::TableRegression { columns, input, .. }) = self
        else {
            return Err(Problem::invalid("this model takes a picture, not a row").hint("send the picture as the body"));
        };
        if let Some(unknown) = row.keys().find(|it| columns.iter().all(|column| column.name != **it)) {
            let names: Vec<&str> = columns.iter().map(|it| it.name.as_str()).take(20).collect();
            return Err(
                Problem::invalid(format!("the model has no column `{}`", shown(unknown))).hint(names.join(", "))
            );
        }
        let mut values = vec![];
        for column in columns {
            let value = row.get(&column.name).filter(|it| !it.is_null());
            match (&column.kind, value) {
                (ColumnKind::Number { fill }, value) => {
                    let known = value.map(|it| number(&column.name, it)).transpose()?.flatten();
                    values.push(known.unwrap_or(*fill));
                }
                (ColumnKind::Category { values: known }, value) => {
                    let text = value.map(|it| word(&column.name, it)).transpose()?;
                    values.extend(known.iter().map(|it| if Some(it) == text.as_ref() { 1.0 } else { 0.0 }));
                }
            }
        }
        Ok(Tensor::f32(input, vec![1, values.len() as i64], &values))
    }

    /// What the outputs of one picture or row mean.
    ///
    /// # Errors
    /// `Invalid` when the outputs are not what the task promises.
    pub fn answer(&self, outputs: &[Tensor]) -> Result<Answer, Problem> {
        let output = outputs.iter().find(|it| it.name == self.output());
        let values = output.and_then(Tensor::to_f64).filter(|it| !it.is_empty());
        let values =
            values.ok_or_else(|| Problem::invalid(format!("the model gives no numbers as `{}`", self.output())))?;
        if let Self::TableRegression { .. } = self {
            let value = values.first().copied();
            if let Some(value) = value.filter(|it| !it.is_finite()) {
                return Err(no_number(&format!("the model's answer is no number ({value})")));
            }
            return Ok(Answer { label: None, value, top: vec![] });
        }
        let labels = self.labels();
        if values.len() != labels.len() {
            let text = format!("the model gives {} probabilities for {} classes", values.len(), labels.len());
            return Err(Problem::invalid(text));
        }
        let mut top: Vec<(String, f64)> = labels.iter().cloned().zip(values).collect();
        top.sort_by(|a, b| most_first(a.1, b.1));
        top.truncate(10);
        if top.first().is_some_and(|it| it.1.is_nan()) {
            return Err(no_number("the model's probabilities are no numbers (NaN)"));
        }
        Ok(Answer { label: top.first().map(|it| it.0.clone()), value: None, top })
    }
}

/// The number of a field as training reads it (`number` in `python/train/table.py`). `None`, which is filled, for a text
/// that is empty, NaN or infinite, and for a number beyond what a tensor of 32-bit floats holds.
fn number(column: &str, value: &Value) -> Result<Option<f32>, Problem> {
    let read = match value {
        Value::Number(it) => it.as_f64(),
        Value::Bool(it) => Some(f64::from(u8::from(*it))),
        Value::String(it) => match it.trim() {
            "" => return Ok(None),
            it if it.eq_ignore_ascii_case("true") => Some(1.0),
            it if it.eq_ignore_ascii_case("false") => Some(0.0),
            it => it.parse::<f64>().ok(),
        },
        _ => None,
    };
    read.map(|it| (it.abs() <= f64::from(f32::MAX)).then_some(it as f32)).ok_or_else(|| {
        let value = value.to_string();
        Problem::invalid(format!("column `{}` needs a number, not {}", shown(column), shown(&value)))
    })
}

/// The value of a category as training reads it.
fn word(column: &str, value: &Value) -> Result<String, Problem> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(_) | Value::Object(_) => {
            let value = value.to_string();
            Err(Problem::invalid(format!("column `{}` needs one value, not {}", shown(column), shown(&value))))
        }
        one => Ok(one.to_string()),
    }
}

fn no_number(text: &str) -> Problem {
    Problem::invalid(text).hint("a value of the input may be missing, or too large for the model")
}

/// The larger one first, and what is no number last.
fn most_first(a: f64, b: f64) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then(b.total_cmp(&a))
}

/// The classification extension: for each row the most likely classes as texts `value:index[:label]`. A tensor of one
/// dimension has no rows: its numbers are the classes, and so is the answer's one dimension.
///
/// # Errors
/// `Invalid` when the tensor holds no numbers.
pub fn classify(tensor: &Tensor, count: usize, labels: &[String]) -> Result<Tensor, Problem> {
    let values = tensor.to_f64();
    let values = values
        .ok_or_else(|| Problem::invalid(format!("output `{}` holds no numbers to classify", shown(&tensor.name))))?;
    let rows = match tensor.shape[..] {
        [] | [_] => None,
        [rows, ..] => Some(usize::try_from(rows).unwrap_or(0)),
    };
    let width = values.len() / rows.unwrap_or(1).max(1);
    let count = count.min(width);
    let mut data = vec![];
    for row in values.chunks(width.max(1)) {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|a, b| most_first(row[*a], row[*b]));
        for place in order.into_iter().take(count) {
            let label = labels.get(place).map(|it| format!(":{it}")).unwrap_or_default();
            let text = format!("{:.6}:{place}{label}", row[place]);
            data.extend_from_slice(&(text.len() as u32).to_le_bytes());
            data.extend_from_slice(text.as_bytes());
        }
    }
    let shape = rows.into_iter().chain([count]).map(|it| it as i64).collect();
    Ok(Tensor { name: tensor.name.clone(), datatype: DataType::Bytes, shape, data: data.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture_task(layout: Layout) -> TaskSpec {
        TaskSpec::ImageClassification {
            width: 2,
            height: 1,
            channels: 3,
            layout,
            scale: 1.0,
            mean: vec![1.0, 0.0, 0.0],
            std: vec![2.0, 1.0, 1.0],
            labels: vec!["cat".into(), "dog".into()],
            input: "x".into(),
            output: "probabilities".into(),
        }
    }

    #[test]
    fn labels_are_those_of_one_output() {
        let metadata = |text: &str| BTreeMap::from([(LABELS_KEY.to_owned(), text.to_owned())]);
        assert_eq!(labels_in(&metadata(r#"{"p":["no","yes"]}"#)), ["no", "yes"]);
        for other in [r#"{"p":["no"],"q":["a"]}"#, "{}", "no JSON", r#"{"p":[1]}"#] {
            assert!(labels_in(&metadata(other)).is_empty(), "{other}");
        }
        assert!(labels_in(&BTreeMap::new()).is_empty());
    }

    #[test]
    fn pixels_are_scaled_and_laid_out() {
        let pixels = [5, 2, 3, 7, 5, 6];
        let flat = picture_task(Layout::Flat).picture(&pixels).expect("a tensor");
        assert_eq!((flat.shape.clone(), flat.to_f64()), (vec![1, 6], Some(vec![2.0, 2.0, 3.0, 3.0, 5.0, 6.0])));
        let planes = picture_task(Layout::Nchw).picture(&pixels).expect("a tensor");
        assert_eq!(
            (planes.shape.clone(), planes.to_f64()),
            (vec![1, 3, 1, 2], Some(vec![2.0, 3.0, 2.0, 5.0, 3.0, 6.0]))
        );
        assert!(picture_task(Layout::Flat).picture(&[1]).is_err());
    }

    #[test]
    fn rows_are_filled_and_encoded() {
        let text = r#"{"kind":"table-classification","columns":[{"name":"age","kind":"number","fill":40},
            {"name":"sex","kind":"category","values":["f","m"]}],"labels":["no","yes"],"input":"x","output":"p"}"#;
        let task = TaskSpec::read(text).expect("a task");
        let row = |json: &str| task.row(serde_json::from_str::<Value>(json).expect("JSON").as_object().expect("a row"));
        assert_eq!(row(r#"{"age":"31","sex":"m"}"#).expect("a tensor").to_f64(), Some(vec![31.0, 0.0, 1.0]));
        assert_eq!(row(r#"{"sex":"x"}"#).expect("a tensor").to_f64(), Some(vec![40.0, 0.0, 0.0]));
        assert!(row(r#"{"aged":1}"#).is_err());
        assert!(row(r#"{"age":"old"}"#).is_err());
        for values in [r#"["m"]"#, r#"{"sex":"m"}"#] {
            let text = row(&format!(r#"{{"sex":{values}}}"#)).expect_err("no one value").text;
            assert!(text.starts_with("column `sex` needs one value, not "), "{text}");
        }
        let answer = task.answer(&[Tensor::f32("p", vec![1, 2], &[0.25, 0.75])]).expect("an answer");
        assert_eq!((answer.label.as_deref(), answer.top[0].1), (Some("yes"), 0.75));
    }

    #[test]
    fn fields_are_read_as_training_reads_them() {
        let text = r#"{"kind":"table-regression","columns":[{"name":"a","kind":"number","fill":40}],"input":"x","output":"y"}"#;
        let task = TaskSpec::read(text).expect("a task");
        let read = |value: &Value| {
            let row = [("a".to_owned(), value.clone())].into_iter().collect();
            task.row(&row).expect("a tensor").to_f64().expect("numbers")
        };
        let cases: Map<String, Value> =
            serde_json::from_str(include_str!("../../../python/tests/numbers.json")).expect("cases");
        for (field, expected) in cases {
            let expected = expected.as_f64().unwrap_or(40.0);
            assert_eq!(read(&field.as_str().into()), [f64::from(expected as f32)], "`{field}`");
        }
        let values = [Value::Bool(true), Value::Bool(false), 1e39.into(), Value::Null];
        assert_eq!(values.each_ref().map(|it| read(it)[0]), [1.0, 0.0, 40.0, 40.0]);
    }

    #[test]
    fn the_most_likely_classes_are_texts() {
        let tensor = Tensor::f32("p", vec![1, 3], &[0.1, 0.7, 0.2]);
        let classes = classify(&tensor, 2, &["a".into(), "b".into()]).expect("classes");
        assert_eq!((classes.shape, &classes.data[4..16]), (vec![1, 2], &b"0.700000:1:b"[..]));
    }

    #[test]
    fn what_is_no_number_is_never_most_likely() {
        let classes = classify(&Tensor::f32("p", vec![1, 3], &[f32::NAN, 0.7, -f32::NAN]), 1, &[]).expect("classes");
        assert_eq!(&classes.data[4..], b"0.700000:1");
        let task = TaskSpec::read(
            r#"{"kind":"table-classification","columns":[],"labels":["no","yes"],"input":"x","output":"p"}"#,
        )
        .expect("a task");
        let answer = |values: &[f32]| task.answer(&[Tensor::f32("p", vec![1, 2], values)]);
        assert_eq!(answer(&[f32::NAN, 0.1]).expect("an answer").label.as_deref(), Some("yes"));
        assert!(answer(&[f32::NAN, f32::NAN]).expect_err("no numbers").text.contains("NaN"));
    }

    #[test]
    fn classes_without_a_batch_dimension_are_one_row() {
        let one = classify(&Tensor::f32("p", vec![3], &[0.1, 0.7, 0.2]), 2, &[]).expect("classes");
        assert_eq!((&one.shape[..], &one.data[4..14]), (&[2][..], &b"0.700000:1"[..]));
        let scalar = classify(&Tensor::f32("p", vec![], &[0.5]), 2, &[]).expect("classes");
        assert_eq!(scalar.shape, [1]);
        for nothing in [vec![0, 3], vec![2, 0]] {
            let empty = classify(&Tensor::f32("p", nothing.clone(), &[]), 2, &[]).expect("classes");
            empty.check().expect("as many texts as the shape promises");
            assert_eq!(empty.shape[0], nothing[0]);
        }
    }
}
