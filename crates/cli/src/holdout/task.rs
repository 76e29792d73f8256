//! What a model is for, as its file says (docs/models.md): how pictures and rows become its tensor.

use image::{DynamicImage, ImageDecoder, ImageReader, Limits, imageops::FilterType};
use kaogong_domain::Problem;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::io::Cursor;

/// What a model is for.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Task {
    /// Says the class of a picture.
    ImageClassification(ImageTask),
    /// Says the class of a row.
    TableClassification(TableTask),
    /// Says a number for a row.
    TableRegression(TableTask),
}

/// How a picture becomes a tensor: resized, `(value * scale - mean) / std` by channel.
#[derive(Debug, Clone, Deserialize)]
pub struct ImageTask {
    width: u32,
    height: u32,
    channels: u32,
    layout: String,
    scale: f32,
    #[serde(default)]
    mean: Vec<f32>,
    #[serde(default)]
    std: Vec<f32>,
    labels: Vec<String>,
    input: String,
    output: String,
}

/// How a row becomes a tensor: columns in order, categories one-hot.
#[derive(Debug, Clone, Deserialize)]
pub struct TableTask {
    columns: Vec<Column>,
    #[serde(default)]
    labels: Vec<String>,
    input: String,
    output: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Column {
    Number { name: String, fill: f32 },
    Category { name: String, values: Vec<String> },
}

/// A tensor of one item.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Dimensions, the first one 1.
    pub shape: Vec<i64>,
    /// Row-major.
    pub data: Vec<f32>,
}

impl Task {
    /// The task of an endpoint's model.
    ///
    /// # Errors
    /// `Invalid` when the model does not say, or says something this program does not know.
    pub fn read(endpoint: &str, task: Option<&Value>) -> Result<Self, Problem> {
        let task = task.ok_or_else(|| {
            Problem::invalid(format!("the model of endpoint `{endpoint}` does not say how data becomes tensors"))
                .hint("docs/models.md describes the property kaogong.task of an ONNX file")
        })?;
        Self::deserialize(task).map_err(|it| {
            Problem::invalid(format!("the model of endpoint `{endpoint}` has a task that cannot be used: {it}"))
        })
    }

    /// Name of the input tensor.
    pub fn input(&self) -> &str {
        match self {
            Self::ImageClassification(it) => &it.input,
            Self::TableClassification(it) | Self::TableRegression(it) => &it.input,
        }
    }

    /// Name of the output tensor.
    pub fn output(&self) -> &str {
        match self {
            Self::ImageClassification(it) => &it.output,
            Self::TableClassification(it) | Self::TableRegression(it) => &it.output,
        }
    }

    /// The classes, in the order of the output; none for regression.
    pub fn labels(&self) -> &[String] {
        match self {
            Self::ImageClassification(it) => &it.labels,
            Self::TableClassification(it) | Self::TableRegression(it) => &it.labels,
        }
    }
}

impl ImageTask {
    /// The tensor of a picture.
    ///
    /// # Errors
    /// `Invalid` when the bytes are no picture, or the task asks for something impossible.
    pub fn tensor(&self, bytes: &[u8]) -> Result<Tensor, Problem> {
        let picture = decode(bytes)?;
        let (width, height) = (self.width, self.height);
        // Colours first, then the size: in the order in which training does it.
        let picture = match self.channels {
            1 => DynamicImage::ImageLuma8(picture.to_luma8()),
            3 => DynamicImage::ImageRgb8(picture.to_rgb8()),
            other => return Err(Problem::invalid(format!("a task with {other} channels is not known"))),
        };
        let is_right = picture.width() == width && picture.height() == height;
        let picture = if is_right { picture } else { picture.resize_exact(width, height, FilterType::Triangle) };
        let channels = self.channels as usize;
        let values = picture.as_bytes().iter().enumerate().map(|(at, it)| {
            let channel = at % channels;
            let mean = self.mean.get(channel).copied().unwrap_or(0.0);
            let std = self.std.get(channel).copied().unwrap_or(1.0);
            (f32::from(*it) * self.scale - mean) / std
        });
        let values: Vec<f32> = values.collect();
        let (w, h, c) = (i64::from(width), i64::from(height), i64::from(self.channels));
        match self.layout.as_str() {
            "flat" => Ok(Tensor { shape: vec![1, w * h * c], data: values }),
            "nhwc" => Ok(Tensor { shape: vec![1, h, w, c], data: values }),
            "nchw" => {
                let planes = (0..channels).flat_map(|channel| values.iter().skip(channel).step_by(channels).copied());
                Ok(Tensor { shape: vec![1, c, h, w], data: planes.collect() })
            }
            other => Err(Problem::invalid(format!("a task with layout `{other}` is not known"))),
        }
    }
}

/// A picture in displayed orientation.
fn decode(bytes: &[u8]) -> Result<DynamicImage, Problem> {
    let bad = |it: image::ImageError| Problem::invalid(format!("not a picture that can be read: {it}"));
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|it| bad(it.into()))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(50_000);
    limits.max_image_height = Some(50_000);
    limits.max_alloc = Some(1 << 30);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(bad)?;
    let orientation = decoder.orientation().map_err(bad)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(bad)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

impl TableTask {
    /// The columns that the model knows, of a row that may have more.
    pub fn own(&self, mut row: Map<String, Value>) -> Map<String, Value> {
        row.retain(|name, _| self.columns.iter().any(|it| it.name() == name));
        row
    }

    /// The tensor of a row. A missing number takes the column's fill; an unknown category is all zeros.
    ///
    /// # Errors
    /// `Invalid` for a text where a number belongs.
    pub fn tensor(&self, row: &Map<String, Value>) -> Result<Tensor, Problem> {
        let mut data = Vec::new();
        for column in &self.columns {
            match column {
                Column::Number { name, fill } => data.push(number(name, row.get(name), *fill)?),
                Column::Category { name, values } => {
                    let word = row.get(name).and_then(word);
                    data.extend(values.iter().map(|it| if Some(it) == word.as_ref() { 1.0 } else { 0.0 }));
                }
            }
        }
        Ok(Tensor { shape: vec![1, data.len() as i64], data })
    }
}

impl Column {
    fn name(&self) -> &str {
        match self {
            Self::Number { name, .. } | Self::Category { name, .. } => name,
        }
    }
}

fn number(name: &str, value: Option<&Value>, fill: f32) -> Result<f32, Problem> {
    match value {
        None | Some(Value::Null) => Ok(fill),
        Some(Value::Bool(it)) => Ok(f32::from(u8::from(*it))),
        Some(Value::Number(it)) => Ok(it.as_f64().unwrap_or(f64::from(fill)) as f32),
        Some(other) => Err(Problem::invalid(format!("column `{name}` holds {other}, not a number"))),
    }
}

/// A value as the word that a category has; `None` for no value.
pub fn word(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(it) => Some(it.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn picture_task(layout: &str, channels: u32) -> Value {
        json!({ "kind": "image-classification", "width": 2, "height": 1, "channels": channels, "layout": layout,
            "scale": 1.0, "mean": [], "std": [], "labels": ["a", "b"], "input": "x", "output": "p" })
    }

    fn tensor(layout: &str, channels: u32) -> Tensor {
        let picture = image::RgbImage::from_raw(2, 1, vec![1, 2, 3, 4, 5, 6]).expect("pixels");
        let mut bytes = Vec::new();
        picture.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png).expect("a PNG");
        let Task::ImageClassification(task) = Task::read("e", Some(&picture_task(layout, channels))).expect("a task")
        else {
            panic!("an image task")
        };
        task.tensor(&bytes).expect("a tensor")
    }

    #[test]
    fn layouts_order_the_same_pixels() {
        assert_eq!(tensor("nhwc", 3), Tensor { shape: vec![1, 1, 2, 3], data: vec![1., 2., 3., 4., 5., 6.] });
        assert_eq!(tensor("nchw", 3), Tensor { shape: vec![1, 3, 1, 2], data: vec![1., 4., 2., 5., 3., 6.] });
        assert_eq!(tensor("flat", 1).shape, [1, 2]);
    }

    #[test]
    fn rows_fill_what_is_missing_and_encode_categories() {
        let task = json!({ "kind": "table-classification", "labels": ["n", "y"], "input": "x", "output": "p", "columns": [
            { "kind": "number", "name": "age", "fill": 40.0 }, { "kind": "category", "name": "city", "values": ["x", "y"] }] });
        let Ok(Task::TableClassification(task)) = Task::read("e", Some(&task)) else { panic!("a table task") };
        let row = |value: Value| task.tensor(value.as_object().expect("an object"));
        assert_eq!(row(json!({ "city": "y" })).expect("a tensor").data, [40.0, 0.0, 1.0]);
        assert_eq!(row(json!({ "age": 3, "city": "z" })).expect("a tensor").data, [3.0, 0.0, 0.0]);
        assert!(row(json!({ "age": "old" })).is_err());
        let wide = json!({ "age": 3, "remark": "x" });
        assert_eq!(task.own(wide.as_object().expect("an object").clone()).len(), 1);
        assert!(Task::read("e", None).is_err());
    }
}
