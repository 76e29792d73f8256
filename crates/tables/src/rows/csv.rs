//! CSV files: separator, types over the whole file, and errors that name line and column.

use super::{
    columns,
    source::{BATCH_BYTES, Opened, check_rows},
};
use crate::imports::Imports;
use arrow_csv::{ReaderBuilder, reader::Format};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use kaogong_data::{
    budget::{Held, IMPORT_WAIT_MAX},
    csv::{Seen, Watch},
    tables::CsvOptions,
};
use kaogong_domain::Problem;
use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
    sync::Arc,
};

/// The longest header line that is looked at, in bytes.
const HEADER_BYTES_MAX: u64 = 4 << 20;
const BUFFER_BYTES: usize = 1 << 20;
/// How often a record lies in memory at once while it is read.
const RECORD_COPIES: u64 = 4;

/// Values decoded together: the reader takes 16 bytes for each, however short it is.
const BATCH_CELLS: usize = 1 << 20;

/// Opens a file. With `base`, its columns have the types of that version; else types are found by reading all
/// of it: whole numbers, numbers, booleans, dates and moments, else text. Numbers with leading zeros are codes, so a
/// column that has any is text.
pub(super) fn open(
    path: &Path,
    options: &CsvOptions,
    base: Option<&[Field]>,
    imports: &Imports,
) -> Result<Opened, Problem> {
    let delimiter = delimiter(path, options)?;
    let format = || -> Result<Format, Problem> {
        let nulls = null_pattern(&options.nulls);
        let pattern =
            nulls.parse().map_err(|_| Problem::invalid("the texts for \"no value\" are too many or too long"))?;
        Ok(Format::default().with_header(true).with_delimiter(delimiter).with_null_regex(pattern))
    };
    let mut watch = Watch::new(text(path)?, delimiter);
    let found = format()?.infer_schema(&mut watch, None);
    let found = found.map_err(|error| watch.problem().unwrap_or_else(|| explain(&error, &[])));
    let ((found, rows), seen) = (found?, watch.finish());
    let mut fields = columns::stored(found.fields())?;
    if rows == 0 {
        return Err(Problem::invalid("the CSV file has a header and no rows").hint("add rows below the header"));
    }
    check_rows(rows as u64)?;
    let memory = memory_for(seen.longest(), imports)?;
    let batch = seen.rows_within(BATCH_BYTES).min((BATCH_CELLS / fields.len()).max(1));
    let places = match base {
        None => (0..fields.len()).collect(),
        Some(base) => columns::matched(&fields, base)?,
    };
    match base {
        None => {
            keep_codes(&mut fields, &seen);
            settle(&mut fields, || text(path), &format, batch)?;
        }
        Some(base) => take_types(&mut fields, base, &places, &seen)?,
    }
    let schema = Arc::new(Schema::new(fields.clone()));
    let reader = ReaderBuilder::new(schema).with_format(format()?).with_batch_size(batch).build_buffered(text(path)?);
    let names = fields.iter().map(|it| crate::layout::file_name_of(it).trim().to_owned()).collect::<Vec<_>>();
    let reader = reader.map_err(|error| explain(&error, &names))?;
    let batches = reader.map(move |batch| {
        let _held = &memory;
        batch.map_err(|error| explain(&error, &names))
    });
    Ok(Opened { columns: base.map_or(fields, <[Field]>::to_vec), places, batches: Box::new(batches) })
}

/// Memory for records that are longer than a usual batch: each is there as bytes, as values and as a batch.
fn memory_for(longest: u64, imports: &Imports) -> Result<Option<Held>, Problem> {
    if longest <= BATCH_BYTES / RECORD_COPIES {
        return Ok(None);
    }
    imports.budget.decoders.take(longest * RECORD_COPIES, IMPORT_WAIT_MAX).map(Some)
}

/// Columns of numbers with leading zeros become text: `007` is not 7.
fn keep_codes(fields: &mut [Field], seen: &Seen) {
    for (at, field) in fields.iter_mut().enumerate() {
        if field.data_type().is_numeric() && seen.leading_zero(at).is_some() {
            *field = field.clone().with_data_type(DataType::Utf8);
        }
    }
}

/// Gives the file's columns the types that the base version has.
fn take_types(fields: &mut [Field], base: &[Field], places: &[usize], seen: &Seen) -> Result<(), Problem> {
    for (column, place) in base.iter().zip(places) {
        if let Some(line) = seen.leading_zero(*place).filter(|_| column.data_type().is_numeric()) {
            let name = crate::layout::file_name_of(column);
            return Err(Problem::invalid(format!(
                "line {line}, column `{name}`: a number with leading zeros, which the dataset would lose"
            ))
            .hint("remove the zeros, or import everything anew with `--mode replace`: such a column is kept as text"));
        }
        fields[*place] = fields[*place].clone().with_data_type(column.data_type().clone());
    }
    Ok(())
}

/// Finds columns whose values look like their type and are not (numbers beyond 64 bits, 31 February): these
/// become text. Only columns where that can happen are read.
fn settle<R: BufRead>(
    fields: &mut [Field],
    text: impl Fn() -> Result<R, Problem>,
    format: &impl Fn() -> Result<Format, Problem>,
    batch: usize,
) -> Result<(), Problem> {
    for _ in 0..=fields.len() {
        let doubtful = |it: &Field| it.data_type().is_integer() || it.data_type().is_temporal();
        let projection: Vec<usize> = (0..fields.len()).filter(|at| doubtful(&fields[*at])).collect();
        if projection.is_empty() {
            return Ok(());
        }
        let builder = ReaderBuilder::new(Arc::new(Schema::new(fields.to_vec()))).with_format(format()?);
        let builder = builder.with_batch_size(batch).with_projection(projection);
        let reader = builder.build_buffered(text()?).map_err(|error| explain(&error, &[]))?;
        let bad = reader.into_iter().find_map(Result::err);
        let Some(error) = bad else { return Ok(()) };
        let column = match &error {
            ArrowError::ParseError(message) => number_after(message, "column "),
            _ => None,
        };
        match column.and_then(|it| fields.get_mut(it as usize)) {
            Some(field) => *field = field.clone().with_data_type(DataType::Utf8),
            None => return Err(explain(&error, &[])),
        }
    }
    Ok(())
}

/// The file from behind a byte order mark.
fn text(path: &Path) -> Result<BufReader<File>, Problem> {
    let failed = crate::lance_errors::io("read the CSV file");
    let mut file = File::open(path).map_err(&failed)?;
    let mut mark = Vec::with_capacity(3);
    (&mut file).take(3).read_to_end(&mut mark).map_err(&failed)?;
    if mark.is_empty() {
        return Err(Problem::invalid("the CSV file is empty").hint("its first line must name the columns"));
    }
    if mark.starts_with(&[0xff, 0xfe]) || mark.starts_with(&[0xfe, 0xff]) {
        return Err(Problem::invalid("the CSV file is written in UTF-16")
            .hint("save it as UTF-8, for example with `iconv -f UTF-16 -t UTF-8 FILE > NEW`"));
    }
    let begin = if mark == [0xef, 0xbb, 0xbf] { 3 } else { 0 };
    file.seek(SeekFrom::Start(begin)).map_err(failed)?;
    Ok(BufReader::with_capacity(BUFFER_BYTES, file))
}

/// The separator asked for, or the one that occurs most in the first line outside quotes.
fn delimiter(path: &Path, options: &CsvOptions) -> Result<u8, Problem> {
    if let Some(wanted) = options.delimiter {
        let usable = wanted.is_ascii() && !matches!(wanted, '"' | '\n' | '\r' | '\0');
        return if usable {
            Ok(wanted as u8)
        } else {
            Err(Problem::invalid(format!("{wanted:?} cannot separate values"))
                .hint("use a comma, semicolon, tab or bar"))
        };
    }
    let mut line = Vec::new();
    let reader = text(path)?;
    reader.take(HEADER_BYTES_MAX).read_until(b'\n', &mut line).map_err(crate::lance_errors::io("read the CSV file"))?;
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0), (b'|', 0)];
    let mut quoted = false;
    for byte in line {
        quoted ^= byte == b'"';
        if let Some(it) = counts.iter_mut().find(|it| !quoted && it.0 == byte) {
            it.1 += 1;
        }
    }
    // The first of equals, so the comma when there is none at all.
    Ok(counts.iter().rev().max_by_key(|it| it.1).map_or(b',', |it| it.0))
}

/// A pattern for the empty text and the texts given.
fn null_pattern(texts: &[String]) -> String {
    let escaped = texts.iter().map(|text| {
        let plain = |it: char| it.is_alphanumeric() || it == '_' || it == ' ';
        text.chars().map(|it| if plain(it) { it.to_string() } else { format!("\\x{{{:x}}}", u32::from(it)) }).collect()
    });
    let all: Vec<String> = std::iter::once(String::new()).chain(escaped).collect();
    format!("^(?:{})$", all.join("|"))
}

/// Says what is wrong in the words of the file: its lines and its column names.
fn explain(error: &ArrowError, names: &[String]) -> Problem {
    let message = match error {
        ArrowError::CsvError(message) | ArrowError::ParseError(message) => message.as_str(),
        ArrowError::IoError(message, _) => return Problem::unavailable(format!("cannot read the CSV file: {message}")),
        _ => return Problem::invalid(format!("the CSV file cannot be read: {error}")),
    };
    let line = number_after(message, "line ").or_else(|| number_after(message, "line: "));
    let Some(line) = line else { return Problem::invalid(format!("the CSV file cannot be read: {message}")) };
    let column = number_after(message, "column ").and_then(|it| names.get(it as usize));
    if let (Some(column), Some(value), Some(kind)) =
        (column, between(message, "value '", "' as type"), between(message, "as type '", "'"))
    {
        let shown: String = value.chars().take(80).collect();
        // For values, and only there, the reader counts lines from 0.
        let line = line + 1;
        return Problem::invalid(format!("line {line}, column `{column}`: `{shown}` is no {}", word_for(kind)))
            .hint("mend the value, or leave it empty for \"no value\"");
    }
    if message.contains("number of fields") || message.contains("unequal lengths") {
        let expected = number_after(message, "xpected ");
        let found = number_after(message, "found ")
            .or_else(|| number_after(message, "got more than "))
            .or_else(|| number_after(message, "got "));
        let more = if message.contains("more than") { "more than " } else { "" };
        let text = match (expected, found) {
            (Some(expected), Some(found)) => format!("line {line} has {more}{found} values, the header has {expected}"),
            _ => format!("line {line} has another number of values than the header"),
        };
        return Problem::invalid(text)
            .hint("look for a missing separator, or for a separator inside a value without quotes");
    }
    if message.contains("UTF-8") {
        return Problem::invalid(format!("line {line} is not UTF-8"))
            .hint("save the file as UTF-8; from GBK: `iconv -f GBK -t UTF-8 FILE > NEW`");
    }
    Problem::invalid(format!("line {line} of the CSV file cannot be read: {message}"))
}

fn word_for(kind: &str) -> String {
    match kind {
        it if it.starts_with("Int") || it.starts_with("UInt") => "whole number".to_owned(),
        it if it.starts_with("Float") => "number".to_owned(),
        it if it.starts_with("Bool") => "`true` or `false`".to_owned(),
        it if it.starts_with("Date") || it.starts_with("Time") => "date or time".to_owned(),
        it => it.to_owned(),
    }
}

fn number_after(message: &str, word: &str) -> Option<u64> {
    let at = message.find(word)? + word.len();
    let digits: String = message[at..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn between<'a>(message: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let rest = &message[message.find(begin)? + begin.len()..];
    Some(&rest[..rest.find(end)?])
}
