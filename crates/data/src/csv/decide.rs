//! What a column is, after all its values were seen: a type that keeps every one of them exactly, or text.

use super::{
    AskedType, CsvOptions, Scan,
    dates::{Order, Zone},
    numbers::{Groups, STYLES, Style},
    reading::{Kind, Reading},
    scan::{ColumnScan, Dates, Example, Numbers},
};
use crate::tables::Why;

/// What was decided for a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// How to read it.
    pub reading: Reading,
    /// Why it is that.
    pub why: Why,
    /// The value that decided, where one did, and its line.
    pub example: Option<(String, u64)>,
}

impl Decided {
    fn new(reading: Reading, why: Why, example: Option<&Example>) -> Self {
        Self { reading, why, example: example.map(|it| (it.text.clone(), it.line)) }
    }

    fn text(why: Why, example: Option<&Example>) -> Self {
        Self::new(Reading::text(), why, example)
    }
}

/// What the other columns of the file say about its decimal sign.
#[derive(Debug, Clone, Copy, Default)]
struct Evidence {
    stop: bool,
    comma: bool,
}

impl Scan {
    /// Decides all columns.
    pub fn decide(&self, options: &CsvOptions, delimiter: u8) -> Vec<Decided> {
        let evidence = self.evidence(options);
        self.columns.iter().map(|it| it.decide(options, evidence, delimiter)).collect()
    }

    /// How to read the columns of a file that is added to a table: as what the table holds.
    pub fn decide_as(&self, options: &CsvOptions, kinds: impl IntoIterator<Item = (usize, Kind)>) -> Vec<Decided> {
        let evidence = self.evidence(options);
        let mut all: Vec<_> = self.columns.iter().map(|_| Decided::text(Why::Base, None)).collect();
        for (at, kind) in kinds {
            let (Some(column), Some(decided)) = (self.columns.get(at), all.get_mut(at)) else { continue };
            *decided = column.decide_as(kind, options, evidence);
        }
        all
    }

    fn evidence(&self, options: &CsvOptions) -> Evidence {
        let mut evidence = Evidence::default();
        for column in self.columns.iter().filter(|it| it.numbers && it.values > 0) {
            if let Spelling::Clear(style) = column.spelling(options, Evidence::default()) {
                evidence.stop |= style.decimal == '.' && column.stops.is_some();
                evidence.comma |= style.decimal == ',' && column.commas.is_some();
            }
        }
        evidence
    }
}

/// Which spelling reads a column.
enum Spelling {
    Clear(Style),
    /// Only by what other columns say.
    ByOthers(Style),
    /// Two spellings read other numbers.
    Unsure,
    None,
}

impl ColumnScan {
    fn open(&self, options: &CsvOptions) -> impl Iterator<Item = (Style, Numbers)> {
        let (decimal, groups) = (options.decimal, options.thousands.map(groups_of));
        let decimal = decimal.or(match groups {
            None => None,
            Some(Groups::Stop) => Some(','),
            Some(_) => Some('.'),
        });
        let open = STYLES.into_iter().zip(self.styles);
        open.filter(move |(style, numbers)| {
            numbers.all
                && decimal.is_none_or(|it| it == style.decimal)
                && groups.is_none_or(|it| it == style.groups || style.groups == Groups::None)
        })
    }

    fn spelling(&self, options: &CsvOptions, evidence: Evidence) -> Spelling {
        let open: Vec<Style> = self.open(options).map(|it| it.0).collect();
        let Some(first) = open.first().copied() else { return Spelling::None };
        let has = |decimal: char| open.iter().copied().find(|it| it.decimal == decimal);
        // A stop is a decimal sign or stands between thousands, and so does a comma.
        let signs = self.stops.is_some() || self.commas.is_some();
        let (Some(stop), Some(comma), true) = (has('.'), has(','), signs) else { return Spelling::Clear(first) };
        match (evidence.stop, evidence.comma) {
            (true, false) => Spelling::ByOthers(stop),
            (false, true) => Spelling::ByOthers(comma),
            _ => Spelling::Unsure,
        }
    }

    fn numbers_in(&self, style: Style) -> Numbers {
        let at = STYLES.iter().position(|it| *it == style).unwrap_or(0);
        self.bare.join(self.styles[at])
    }

    fn decide(&self, options: &CsvOptions, evidence: Evidence, delimiter: u8) -> Decided {
        if let Some(asked) = self.asked {
            return self.asked(asked, options, evidence);
        }
        if self.values == 0 {
            return Decided::text(if self.words > 0 { Why::Words } else { Why::Empty }, self.word.as_ref());
        }
        if self.booleans {
            return Decided::new(Reading::of(Kind::Boolean), Why::Values, None);
        }
        if let Some(dates) = &self.dates {
            return self.date(dates, options);
        }
        if !self.numbers {
            let (why, example) = match &self.leading_zero {
                Some(it) => (Why::LeadingZeros, Some(it)),
                // Among dates, the odd one tells more than the first.
                None => (Why::Words, self.no_date.as_ref().or(self.no_number.as_ref())),
            };
            return Decided::text(why, example);
        }
        if self.percents > 0 && self.percents < self.values {
            return Decided::text(Why::Percents, self.first.as_ref());
        }
        if self.long_plus || (self.pluses == self.values && self.stops.is_none() && self.commas.is_none()) {
            return Decided::text(Why::Pluses, self.first.as_ref());
        }
        let sign = self.stops.as_ref().or(self.commas.as_ref());
        match self.spelling(options, evidence) {
            // `110 001` may be a code: spaces are between thousands where the column has fractions, or when told.
            Spelling::Clear(style) if self.is_spaced(style, options) => {
                Decided::text(Why::UnsureNumbers, self.first.as_ref())
            }
            Spelling::Clear(style) => self.numeric(style, Why::Values, None),
            Spelling::ByOthers(style) => self.numeric(style, Why::OtherColumns, sign),
            // A stop alone is a decimal sign, as nearly everywhere; but not without a word where commas may be.
            Spelling::Unsure if self.commas.is_none() && !evidence.comma => {
                let (why, sign) = if delimiter == b',' { (Why::Values, None) } else { (Why::DecimalStop, sign) };
                self.numeric(STYLES[0], why, sign)
            }
            _ => Decided::text(Why::UnsureNumbers, sign),
        }
    }

    fn is_spaced(&self, style: Style, options: &CsvOptions) -> bool {
        style.groups == Groups::Space && options.thousands.is_none() && self.numbers_in(style).fraction_digits == 0
    }

    fn numeric(&self, style: Style, why: Why, example: Option<&Example>) -> Decided {
        let numbers = self.numbers_in(style);
        let (whole, fraction) = (numbers.whole_digits, numbers.fraction_digits);
        let (kind, why, example) = if numbers.whole {
            (Kind::Integer, why, example)
        } else if numbers.kept && !numbers.long {
            (Kind::Number, why, example)
        } else if numbers.long {
            (Kind::Text, Why::LongNumbers, self.lossy.as_ref().or(self.first.as_ref()))
        } else if !numbers.exponent && whole + fraction <= 38 {
            let (precision, scale) = ((whole + fraction).max(1) as u8, fraction as u8);
            (Kind::Decimal { precision, scale }, Why::Digits, self.lossy.as_ref())
        } else {
            (Kind::Text, Why::Digits, self.lossy.as_ref())
        };
        let percent = self.percents > 0;
        let why = if percent && why == Why::Values { Why::Percents } else { why };
        let reading = Reading { style, percent, ..Reading::of(kind) };
        Decided::new(reading, why, example.or(self.first.as_ref().filter(|_| percent)))
    }

    fn date(&self, dates: &Dates, options: &CsvOptions) -> Decided {
        let first = self.first.as_ref();
        let Some(order) = order_of(dates, options.dates) else { return Decided::text(Why::UnsureDates, first) };
        let kind = match (dates.days, dates.times) {
            (true, true) => return Decided::text(Why::DatesAndTimes, first),
            (_, false) => Kind::Date,
            _ if (dates.local && (dates.utc || dates.offset.is_some())) || dates.offsets_differ || mixed(dates) => {
                return Decided::text(Why::Zones, first);
            }
            _ => {
                let zone = match dates.offset {
                    Some(minutes) if minutes != 0 || !dates.utc => Zone::Offset(minutes),
                    _ if dates.utc => Zone::Utc,
                    _ => Zone::None,
                };
                if dates.fraction_digits > 6 && !dates.fits_nanos {
                    return Decided::text(Why::Digits, first);
                }
                Kind::Timestamp { nanos: dates.fraction_digits > 6, zone: zone.name() }
            }
        };
        Decided::new(Reading { order, ..Reading::of(kind) }, Why::Values, None)
    }

    fn asked(&self, asked: AskedType, options: &CsvOptions, evidence: Evidence) -> Decided {
        let kind = match asked {
            AskedType::Text => Kind::Text,
            AskedType::Boolean => Kind::Boolean,
            AskedType::Integer => Kind::Integer,
            AskedType::Number => Kind::Number,
            AskedType::Date => Kind::Date,
            AskedType::Timestamp => {
                let dates = self.dates.as_ref();
                let zone = dates.and_then(|it| {
                    let zone = it.offset.map_or(if it.utc { Zone::Utc } else { Zone::None }, Zone::Offset);
                    if it.offsets_differ || mixed(it) { Zone::Utc } else { zone }.name()
                });
                Kind::Timestamp { nanos: dates.is_some_and(|it| it.fraction_digits > 6 && it.fits_nanos), zone }
            }
        };
        let decided = self.decide_as(kind, options, evidence);
        Decided { why: Why::Asked, reading: Reading { forced: true, ..decided.reading }, ..decided }
    }

    fn decide_as(&self, kind: Kind, options: &CsvOptions, evidence: Evidence) -> Decided {
        let style = match self.spelling(options, evidence) {
            Spelling::Clear(style) | Spelling::ByOthers(style) => style,
            Spelling::Unsure | Spelling::None => {
                let decimal = options.decimal.unwrap_or('.');
                STYLES.into_iter().find(|it| it.decimal == decimal).unwrap_or(STYLES[0])
            }
        };
        let order = self.dates.as_ref().and_then(|it| order_of(it, options.dates)).unwrap_or(Order::Year);
        let percent = self.percents > 0 && self.percents == self.values;
        Decided::new(Reading { style, order, percent, ..Reading::of(kind) }, Why::Base, None)
    }
}

fn groups_of(it: char) -> Groups {
    match it {
        ',' => Groups::Comma,
        '.' => Groups::Stop,
        '\'' => Groups::Apostrophe,
        _ => Groups::Space,
    }
}

/// Whether moments are told in UTC and with another offset.
fn mixed(dates: &Dates) -> bool {
    dates.utc && dates.offset.is_some_and(|it| it != 0)
}

/// The order that reads all dates, where only one does or it makes no difference.
fn order_of(dates: &Dates, wanted: Option<Order>) -> Option<Order> {
    let mut open = Order::ALL.into_iter().zip(dates.orders).filter(|it| it.1).map(|it| it.0);
    if let Some(wanted) = wanted.filter(|it| open.clone().any(|order| order == *it)) {
        return Some(wanted);
    }
    let first = open.next()?;
    (open.next().is_none() || !dates.swaps).then_some(first)
}
