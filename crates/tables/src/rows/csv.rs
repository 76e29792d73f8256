//! CSV files and JSON lines as batches: the columns that were decided over the whole file, filled record by record.

use super::{
    columns::{self, Named},
    source::{BATCH_BYTES, Import, Opened, check_rows},
};
use crate::imports::Imports;
use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{
        BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int64Builder, StringBuilder,
        TimestampMicrosecondBuilder, TimestampNanosecondBuilder,
    },
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use kaogong_data::{
    budget::{Held, IMPORT_WAIT_MAX},
    csv::{Cell, Decided, Fidelity, JsonLines, Kind, Record, Records, Scan, Source, Text},
    tables::{ColumnImport, CsvOptions, Note, NoteKind, Why},
};
use kaogong_domain::Problem;
use std::{path::Path, sync::Arc};

/// Values decoded together, however short they are.
const BATCH_CELLS: usize = 1 << 20;
/// How often a record lies in memory at once while it is read.
const RECORD_COPIES: u64 = 4;
/// The longest value shown in a problem, in characters.
const SHOWN_CHARS_MAX: usize = 80;

/// The rows of a text file.
enum Rows {
    Csv(Records<Text>),
    Json(JsonLines),
}

impl Rows {
    fn read(&mut self, record: &mut Record) -> Result<bool, Problem> {
        match self {
            Self::Csv(records) => records.read(record),
            Self::Json(lines) => lines.read(record),
        }
    }
}

/// A text file whose columns are known.
struct TextFile {
    source: Source,
    named: Named,
    /// Of JSON lines, which have no header.
    keys: Option<Vec<String>>,
    /// The first record is a row.
    is_headless: bool,
}

impl TextFile {
    fn csv(path: &Path, options: &CsvOptions, base: Option<&[Field]>) -> Result<Self, Problem> {
        let mut source = Source::look(path, options)?;
        let mut record = Record::default();
        if !source.records()?.read(&mut record)? {
            return Err(
                Problem::invalid("the CSV file has no header line").hint("its first line must name the columns")
            );
        }
        if options.header == Some(false) {
            let names: Vec<_> = (1..=record.len()).map(|it| format!("column_{it}")).collect();
            let detail = match &names[..] {
                [first, .., last] => format!("{first} … {last}"),
                _ => names.concat(),
            };
            source.notes.push(Note { kind: NoteKind::NoHeader, detail });
            let named = named(names.iter().map(String::as_str))?;
            return Ok(Self { source, named, keys: None, is_headless: true });
        }
        let named = named(record.fields().map(|it| it.text))?;
        // Names that the dataset has are names, whatever they look like.
        let is_known = base.is_some_and(|it| columns::matched(&named.fields, it).is_ok());
        if options.header.is_none() && !is_known {
            source.check_header()?;
        }
        Ok(Self { source, named, keys: None, is_headless: false })
    }

    fn json(path: &Path) -> Result<Self, Problem> {
        let source = Source::text_file(path, &CsvOptions::default())?;
        let keys = JsonLines::keys(source.text()?)?;
        if keys.is_empty() {
            return Err(Problem::invalid("the file has no JSON object with a key").hint("write one object a line"));
        }
        let named = named(keys.iter().map(String::as_str))?;
        Ok(Self { source, named, keys: Some(keys), is_headless: false })
    }

    /// The rows from the first on.
    fn rows(&self) -> Result<Rows, Problem> {
        if let Some(keys) = &self.keys {
            return Ok(Rows::Json(JsonLines::new(self.source.text()?, keys)));
        }
        let mut records = self.source.records()?;
        if !self.is_headless {
            records.read(&mut Record::default())?;
        }
        if self.named.fields.len() == 1 {
            records.single_column();
        }
        Ok(Rows::Csv(records))
    }
}

fn named<'a>(names: impl Iterator<Item = &'a str>) -> Result<Named, Problem> {
    columns::stored(&names.map(|it| Arc::new(Field::new(it, DataType::Utf8, true))).collect::<Vec<_>>())
}

/// Opens a CSV file: reads all of it to decide what its columns are. With `base`, they are what that version has.
pub(super) fn open(
    path: &Path,
    options: &CsvOptions,
    base: Option<&[Field]>,
    imports: &Imports,
) -> Result<Opened, Problem> {
    opened(TextFile::csv(path, options, base)?, options, base, imports)
}

/// Opens a file of JSON lines likewise.
pub(super) fn open_json(path: &Path, base: Option<&[Field]>, imports: &Imports) -> Result<Opened, Problem> {
    opened(TextFile::json(path)?, &CsvOptions::default(), base, imports)
}

fn opened(file: TextFile, options: &CsvOptions, base: Option<&[Field]>, imports: &Imports) -> Result<Opened, Problem> {
    let named = &file.named;
    check_types(named, options)?;
    let scan = scan(&file, options)?;
    let memory = memory_for(scan.longest(), imports)?;
    let places = match base {
        None => (0..named.fields.len()).collect(),
        Some(base) => columns::matched(&named.fields, base)?,
    };
    let decided = match base {
        None => scan.decide(options, file.source.delimiter()),
        Some(base) => {
            let kinds = base.iter().zip(&places).map(|(it, place)| Ok((*place, kind_of(it)?)));
            scan.decide_as(options, kinds.collect::<Result<Vec<_>, Problem>>()?)
        }
    };
    let types = decided.iter().map(|it| type_of(it.reading.kind()));
    let fields: Vec<_> = named.fields.iter().zip(types).map(|(it, kind)| it.clone().with_data_type(kind)).collect();
    let import = Import::new(decided.iter().zip(&named.renamed).map(|(it, renamed)| told(it, renamed)).collect());
    let batches = Batches {
        rows: file.rows()?,
        record: Record::default(),
        schema: Arc::new(Schema::new(fields.clone())),
        decided,
        options: options.clone(),
        batch_rows: scan.rows_within(BATCH_BYTES).min((BATCH_CELLS / fields.len()).max(1)),
        import: import.clone(),
        scratch: String::new(),
        _memory: memory,
    };
    let (notes, is_packed) = (file.source.notes.clone(), !file.source.is_plain());
    let columns = base.map_or(fields, <[Field]>::to_vec);
    Ok(Opened { columns, places, batches: Box::new(batches), import, notes, is_packed })
}

/// Memory for records that are longer than a usual batch: each is there as bytes, as values and as a batch.
fn memory_for(longest: u64, imports: &Imports) -> Result<Option<Held>, Problem> {
    if longest <= BATCH_BYTES / RECORD_COPIES {
        return Ok(None);
    }
    imports.budget.decoders.take(longest * RECORD_COPIES, IMPORT_WAIT_MAX).map(Some)
}

fn check_types(named: &Named, options: &CsvOptions) -> Result<(), Problem> {
    let names: Vec<_> = named.fields.iter().map(crate::layout::file_name_of).map(str::trim).collect();
    match options.types.keys().find(|it| !names.contains(&it.trim())) {
        None => Ok(()),
        Some(absent) => Err(Problem::invalid(format!("there is no column `{absent}` to give a type"))
            .hint(format!("the columns are: {}", names.iter().take(20).copied().collect::<Vec<_>>().join(", ")))),
    }
}

fn scan(file: &TextFile, options: &CsvOptions) -> Result<Scan, Problem> {
    let names = file.named.fields.iter().map(|it| crate::layout::file_name_of(it).trim());
    let asked = names.map(|name| options.types.iter().find(|it| it.0.trim() == name).map(|it| *it.1));
    let asked: Vec<_> = asked.collect();
    let mut scan = if file.keys.is_some() { Scan::of_json(asked) } else { Scan::new(asked) };
    let (mut rows, mut record) = (file.rows()?, Record::default());
    while rows.read(&mut record)? {
        scan.see(&record, options)?;
        check_rows(scan.records())?;
    }
    if scan.records() == 0 {
        return Err(Problem::invalid("the CSV file has a header and no rows")
            .hint("add rows below the header, or `--no-header` if the first line is a row"));
    }
    Ok(scan)
}

/// The type of a column in the table.
pub(super) fn type_of(kind: &Kind) -> DataType {
    match kind {
        Kind::Text => DataType::Utf8,
        Kind::Boolean => DataType::Boolean,
        Kind::Integer => DataType::Int64,
        Kind::Number => DataType::Float64,
        Kind::Decimal { precision, scale } => DataType::Decimal128(*precision, *scale as i8),
        Kind::Date => DataType::Date32,
        Kind::Timestamp { nanos, zone } => {
            let unit = if *nanos { TimeUnit::Nanosecond } else { TimeUnit::Microsecond };
            DataType::Timestamp(unit, zone.as_deref().map(Arc::from))
        }
    }
}

/// How the text of a column is read that the table holds already.
pub(super) fn kind_of(field: &Field) -> Result<Kind, Problem> {
    Ok(match field.data_type() {
        DataType::Boolean => Kind::Boolean,
        DataType::UInt64 => Kind::Decimal { precision: 20, scale: 0 },
        it if it.is_integer() => Kind::Integer,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Kind::Number,
        DataType::Decimal128(precision, scale @ 0..) => Kind::Decimal { precision: *precision, scale: *scale as u8 },
        DataType::Date32 | DataType::Date64 => Kind::Date,
        DataType::Timestamp(unit, zone) => Kind::Timestamp {
            nanos: *unit == TimeUnit::Nanosecond,
            // Names of zones stand in no CSV file: exports write the offset of each moment, and UTC is one.
            zone: zone.as_deref().map(|it| if it.starts_with(['+', '-']) { it.to_owned() } else { "UTC".to_owned() }),
        },
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Time32(_) | DataType::Time64(_) => Kind::Text,
        other => {
            return Err(Problem::invalid(format!(
                "column `{}` of the dataset holds {other}, which CSV cannot tell",
                crate::layout::file_name_of(field)
            ))
            .hint("append a Parquet file"));
        }
    })
}

pub(super) fn told(decided: &Decided, renamed: &Option<String>) -> ColumnImport {
    let (example, line) = decided.example.clone().unzip();
    ColumnImport { example, line, renamed_from: renamed.clone(), ..ColumnImport::new(decided.why) }
}

/// A column being filled.
pub(super) enum Values {
    Text(StringBuilder),
    Boolean(BooleanBuilder),
    Integer(Int64Builder),
    Number(Float64Builder),
    Decimal(Decimal128Builder),
    Date(Date32Builder),
    Micros(TimestampMicrosecondBuilder),
    Nanos(TimestampNanosecondBuilder),
}

impl Values {
    pub(super) fn new(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Boolean(BooleanBuilder::new()),
            DataType::Int64 => Self::Integer(Int64Builder::new()),
            DataType::Float64 => Self::Number(Float64Builder::new()),
            DataType::Decimal128(..) => Self::Decimal(Decimal128Builder::new().with_data_type(data_type.clone())),
            DataType::Date32 => Self::Date(Date32Builder::new()),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                Self::Nanos(TimestampNanosecondBuilder::new().with_data_type(data_type.clone()))
            }
            DataType::Timestamp(..) => {
                Self::Micros(TimestampMicrosecondBuilder::new().with_data_type(data_type.clone()))
            }
            _ => Self::Text(StringBuilder::new()),
        }
    }

    pub(super) fn push(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Self::Text(it), Cell::Text(text)) => it.append_value(text),
            (Self::Text(it), _) => it.append_null(),
            (Self::Boolean(it), Cell::Boolean(value)) => it.append_value(value),
            (Self::Boolean(it), _) => it.append_null(),
            (Self::Integer(it), Cell::Integer(value)) => it.append_value(value),
            (Self::Integer(it), _) => it.append_null(),
            (Self::Number(it), Cell::Number(value)) => it.append_value(value),
            (Self::Number(it), _) => it.append_null(),
            (Self::Decimal(it), Cell::Decimal(value)) => it.append_value(value),
            (Self::Decimal(it), _) => it.append_null(),
            (Self::Date(it), Cell::Date(value)) => it.append_value(value),
            (Self::Date(it), _) => it.append_null(),
            (Self::Micros(it), Cell::Timestamp(value)) => it.append_value(value),
            (Self::Micros(it), _) => it.append_null(),
            (Self::Nanos(it), Cell::Timestamp(value)) => it.append_value(value),
            (Self::Nanos(it), _) => it.append_null(),
        }
    }

    pub(super) fn finish(self) -> ArrayRef {
        match self {
            Self::Text(mut it) => Arc::new(it.finish()),
            Self::Boolean(mut it) => Arc::new(it.finish()),
            Self::Integer(mut it) => Arc::new(it.finish()),
            Self::Number(mut it) => Arc::new(it.finish()),
            Self::Decimal(mut it) => Arc::new(it.finish()),
            Self::Date(mut it) => Arc::new(it.finish()),
            Self::Micros(mut it) => Arc::new(it.finish()),
            Self::Nanos(mut it) => Arc::new(it.finish()),
        }
    }
}

/// The second pass over a file.
struct Batches {
    rows: Rows,
    record: Record,
    schema: SchemaRef,
    decided: Vec<Decided>,
    options: CsvOptions,
    batch_rows: usize,
    import: Import,
    scratch: String,
    /// What long records take.
    _memory: Option<Held>,
}

impl Batches {
    fn draw(&mut self) -> Result<Option<RecordBatch>, Problem> {
        let mut values: Vec<_> = self.schema.fields().iter().map(|it| Values::new(it.data_type())).collect();
        let mut counts = vec![[0u64; 3]; values.len()];
        let mut rows = 0;
        while rows < self.batch_rows && self.rows.read(&mut self.record)? {
            let fields = self.record.fields().zip(&self.decided).zip(values.iter_mut().zip(&mut counts));
            for (at, ((field, decided), (values, counts))) in fields.enumerate() {
                let read = decided.reading.read(field, &self.options, &mut self.scratch);
                let (cell, fidelity) =
                    read.map_err(|no| misfit(self.schema.field(at), decided, (field.text, self.record.line()), no))?;
                match fidelity {
                    Fidelity::Same => {}
                    Fidelity::NullWord => counts[0] += 1,
                    Fidelity::Respelt => counts[1] += 1,
                    Fidelity::Changed => counts[2] += 1,
                }
                values.push(cell);
            }
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        self.import.count(&counts);
        let columns = values.into_iter().map(Values::finish).collect();
        let failed = |it: ArrowError| Problem::bug("cannot gather the rows of a CSV file", it);
        RecordBatch::try_new(self.schema.clone(), columns).map(Some).map_err(failed)
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        self.draw().transpose()
    }
}

/// A value that its column cannot hold: somebody asked for the type, or the dataset has it.
fn misfit(field: &Field, decided: &Decided, (text, line): (&str, u64), no: &str) -> Problem {
    let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let name = crate::layout::file_name_of(field).trim();
    let problem = Problem::invalid(format!("line {line}, column `{name}`: `{shown}` is no {no}"));
    problem.hint(match decided.why {
        Why::Asked => {
            "say how numbers and dates are written (`--decimal`, `--thousands`, `--dates`), or ask for another type"
        }
        _ => {
            "mend the value, leave it empty for \"no value\", or import everything anew with `--mode replace`: a column \
             that holds such values gets another type"
        }
    })
}
