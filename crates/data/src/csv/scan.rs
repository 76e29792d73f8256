//! The first pass: what every value of every column could be.

use super::{
    AskedType, CsvOptions, Field, Record,
    dates::{self, Order, Zone},
    numbers::{self, STYLES, Shape},
    reading::{boolean, is_null_word, trimmed},
    runs::Runs,
};
use kaogong_domain::Problem;

/// The longest example kept, in characters.
const EXAMPLE_CHARS_MAX: usize = 80;

/// A value of the file, to show why something was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Example {
    pub(super) line: u64,
    pub(super) text: String,
}

impl Example {
    fn new(line: u64, text: &str) -> Self {
        Self { line, text: text.chars().take(EXAMPLE_CHARS_MAX).collect() }
    }
}

/// What is known of a whole file.
pub struct Scan {
    pub(super) columns: Vec<ColumnScan>,
    runs: Runs,
    scratch: String,
    /// What stands in quotes is text, as in JSON, and no number.
    quotes_are_text: bool,
}

impl Scan {
    /// Begins with the columns of the header.
    pub fn new(asked: impl IntoIterator<Item = Option<AskedType>>) -> Self {
        let columns = asked.into_iter().map(ColumnScan::new).collect();
        Self { columns, runs: Runs::default(), scratch: String::new(), quotes_are_text: false }
    }

    /// The same for JSON, where what stands in quotes is no number.
    pub fn of_json(asked: impl IntoIterator<Item = Option<AskedType>>) -> Self {
        Self { quotes_are_text: true, ..Self::new(asked) }
    }

    /// Looks at one record.
    ///
    /// # Errors
    /// `Invalid` when it has another number of fields than the header.
    pub fn see(&mut self, record: &Record, options: &CsvOptions) -> Result<(), Problem> {
        if record.len() != self.columns.len() {
            let above = if options.header == Some(false) { "first line" } else { "header" };
            return Err(ragged(record, (above, self.columns.len()), self.runs.records()));
        }
        self.runs.add(record.bytes() as u64);
        for (column, field) in self.columns.iter_mut().zip(record.fields()) {
            if self.quotes_are_text && field.quoted {
                column.no_number_here(field, record.line());
            }
            column.see(field, record.line(), options, &mut self.scratch);
        }
        Ok(())
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.runs.records()
    }

    /// The bytes of the longest record.
    pub fn longest(&self) -> u64 {
        self.runs.longest()
    }

    /// How many records may be read together so that no batch holds more than `bytes`.
    pub fn rows_within(&self, bytes: u64) -> usize {
        self.runs.rows_within(bytes)
    }
}

fn ragged(record: &Record, (above, columns): (&str, usize), before: u64) -> Problem {
    let problem = Problem::invalid(format!(
        "line {} has {} {}, the {above} has {columns}",
        record.line(),
        record.len(),
        if record.len() == 1 { "value" } else { "values" }
    ));
    if before == 0 {
        return problem
            .hint("if lines stand before the header, leave them out with `--skip-lines N` or `--comment '#'`");
    }
    problem.hint("look for a missing separator, or for a separator inside a value without quotes")
}

/// What the numbers of a column were in one spelling.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    /// Every value is a number.
    pub(super) all: bool,
    /// and whole, within 64 bits,
    pub(super) whole: bool,
    /// and whole, of whatever length,
    pub(super) long: bool,
    /// and a float keeps it.
    pub(super) kept: bool,
    pub(super) exponent: bool,
    pub(super) whole_digits: u32,
    pub(super) fraction_digits: u32,
}

impl Numbers {
    const NEW: Self =
        Self { all: true, whole: true, long: true, kept: true, exponent: false, whole_digits: 0, fraction_digits: 0 };

    fn add(&mut self, shape: &Shape, plain: &str) {
        let whole = shape.is_whole();
        self.long &= whole;
        self.whole &= whole && (shape.significant < 19 || plain.parse::<i64>().is_ok());
        self.kept = self.kept && numbers::float_keeps(plain, shape);
        self.exponent |= shape.exponent || shape.infinite;
        self.whole_digits = self.whole_digits.max(shape.whole_digits);
        self.fraction_digits = self.fraction_digits.max(shape.fraction_digits);
    }

    pub(super) fn join(self, other: Self) -> Self {
        Self {
            all: self.all && other.all,
            whole: self.whole && other.whole,
            long: self.long && other.long,
            kept: self.kept && other.kept,
            exponent: self.exponent || other.exponent,
            whole_digits: self.whole_digits.max(other.whole_digits),
            fraction_digits: self.fraction_digits.max(other.fraction_digits),
        }
    }
}

/// What the dates of a column were.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dates {
    pub(super) orders: [bool; 3],
    pub(super) swaps: bool,
    pub(super) days: bool,
    pub(super) times: bool,
    pub(super) local: bool,
    pub(super) utc: bool,
    pub(super) offset: Option<i32>,
    pub(super) offsets_differ: bool,
    pub(super) fraction_digits: u32,
    pub(super) fits_nanos: bool,
}

/// What is known of one column.
#[derive(Debug, Clone)]
pub(super) struct ColumnScan {
    pub(super) asked: Option<AskedType>,
    /// Values that are neither empty nor a word for "no value".
    pub(super) values: u64,
    pub(super) words: u64,
    pub(super) word: Option<Example>,
    pub(super) booleans: bool,
    /// Numbers without a decimal sign and without groups: alike in every spelling.
    pub(super) bare: Numbers,
    pub(super) styles: [Numbers; STYLES.len()],
    pub(super) numbers: bool,
    pub(super) stops: Option<Example>,
    pub(super) commas: Option<Example>,
    pub(super) percents: u64,
    pub(super) pluses: u64,
    pub(super) long_plus: bool,
    pub(super) leading_zero: Option<Example>,
    /// The first value that is no number, or too long for one.
    pub(super) no_number: Option<Example>,
    pub(super) lossy: Option<Example>,
    pub(super) dates: Option<Dates>,
    /// The first value that is no date like all before it.
    pub(super) no_date: Option<Example>,
    /// The first value.
    pub(super) first: Option<Example>,
}

impl ColumnScan {
    fn new(asked: Option<AskedType>) -> Self {
        Self {
            asked,
            values: 0,
            words: 0,
            word: None,
            booleans: true,
            bare: Numbers::NEW,
            styles: [Numbers::NEW; STYLES.len()],
            numbers: true,
            stops: None,
            commas: None,
            percents: 0,
            pluses: 0,
            long_plus: false,
            leading_zero: None,
            no_number: None,
            lossy: None,
            dates: Some(Dates {
                orders: [true; 3],
                swaps: false,
                days: false,
                times: false,
                local: false,
                utc: false,
                offset: None,
                offsets_differ: false,
                fraction_digits: 0,
                fits_nanos: true,
            }),
            no_date: None,
            first: None,
        }
    }

    fn see(&mut self, field: Field<'_>, line: u64, options: &CsvOptions, scratch: &mut String) {
        if field.text.is_empty() || (!field.quoted && options.nulls.iter().any(|it| it == field.text)) {
            return;
        }
        if !field.quoted && is_null_word(field.text) {
            self.words += 1;
            self.word.get_or_insert_with(|| Example::new(line, field.text));
            return;
        }
        self.values += 1;
        if self.asked == Some(AskedType::Text) {
            return;
        }
        let text = trimmed(field.text);
        if self.first.is_none() {
            self.first = Some(Example::new(line, field.text));
        }
        self.booleans = self.booleans && boolean(text).is_some();
        if self.numbers {
            self.number(text, line, scratch);
        }
        if let Some(dates) = &mut self.dates
            && !dates.add(text)
        {
            self.dates = None;
            self.no_date = (self.values > 1).then(|| Example::new(line, field.text));
        }
    }

    fn no_number_here(&mut self, field: Field<'_>, line: u64) {
        self.booleans = false;
        if self.numbers {
            self.numbers = false;
            self.no_number = Some(Example::new(line, field.text));
        }
    }

    fn number(&mut self, text: &str, line: u64, scratch: &mut String) {
        let body = match text.strip_suffix('%') {
            Some(it) => {
                self.percents += 1;
                trimmed(it)
            }
            None => text,
        };
        let mut zero = false;
        let is_number = if body.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'-')) {
            match numbers::read(body, STYLES[0], scratch) {
                Some(shape) => {
                    zero = shape.leading_zero;
                    self.bare.add(&shape, scratch);
                    self.plus(&shape);
                    true
                }
                None => false,
            }
        } else {
            self.spelt(body, line, &mut zero, scratch)
        };
        if zero {
            self.leading_zero = Some(Example::new(line, text));
        }
        if !is_number || zero {
            self.no_number = Some(Example::new(line, text));
            self.numbers = false;
        } else if self.lossy.is_none() && !self.keeps() {
            self.lossy = Some(Example::new(line, text));
        }
    }

    /// Whether some spelling still reads all values exactly.
    fn keeps(&self) -> bool {
        (self.bare.kept || self.bare.whole) && self.styles.iter().any(|it| it.all && (it.kept || it.whole))
    }

    /// A number with signs that mean different things in different spellings.
    fn spelt(&mut self, body: &str, line: u64, zero: &mut bool, scratch: &mut String) -> bool {
        if body.contains('.') && self.stops.is_none() {
            self.stops = Some(Example::new(line, body));
        }
        if body.contains(',') && self.commas.is_none() {
            self.commas = Some(Example::new(line, body));
        }
        let mut counted = false;
        for (numbers, style) in self.styles.iter_mut().zip(STYLES).filter(|it| it.0.all) {
            match numbers::read(body, style, scratch) {
                Some(shape) if !shape.leading_zero => {
                    numbers.add(&shape, scratch);
                    if !counted {
                        counted = true;
                        self.pluses += u64::from(shape.plus);
                        self.long_plus |= shape.plus && !shape.point && shape.whole_digits > 9;
                    }
                }
                other => {
                    *zero |= other.is_some();
                    numbers.all = false;
                }
            }
        }
        let is_number = self.styles.iter().any(|it| it.all);
        *zero &= !is_number;
        is_number
    }

    fn plus(&mut self, shape: &Shape) {
        self.pluses += u64::from(shape.plus);
        self.long_plus |= shape.plus && !shape.point && shape.whole_digits > 9;
    }
}

impl Dates {
    /// Looks at one value; `false` when no order of day, month and year reads all values.
    fn add(&mut self, text: &str) -> bool {
        if !text.as_bytes().first().is_some_and(u8::is_ascii_digit) {
            return false;
        }
        let mut found = None;
        for (open, order) in self.orders.iter_mut().zip(Order::ALL) {
            if !*open {
                continue;
            }
            match dates::read(text, order) {
                Some(moment) => found = Some(moment),
                None => *open = false,
            }
        }
        let Some(moment) = found else { return false };
        self.swaps |= moment.swaps;
        self.fraction_digits = self.fraction_digits.max(moment.fraction_digits);
        self.fits_nanos &= moment.whole_nanos().is_some();
        match moment.nanos {
            None => self.days = true,
            Some(_) => self.times = true,
        }
        match moment.zone {
            Zone::None => self.local |= moment.nanos.is_some(),
            Zone::Utc => self.utc = true,
            Zone::Offset(minutes) => {
                self.offsets_differ |= self.offset.is_some_and(|it| it != minutes);
                self.offset = Some(minutes);
            }
        }
        true
    }
}
