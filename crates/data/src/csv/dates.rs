//! Spellings of dates and moments. Which number is the day is decided over a whole column, never by one value.

use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Which part of a date stands first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// `2024-01-31`.
    Year,
    /// `31/01/2024`.
    Day,
    /// `01/31/2024`.
    Month,
}

impl Order {
    pub(super) const ALL: [Self; 3] = [Self::Year, Self::Day, Self::Month];
}

const DAY_SECONDS: i64 = 86_400;

/// What a text says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Days since 1970, of the calendar that the text is written in.
    pub(super) days: i32,
    pub(super) year: i32,
    /// Nanoseconds of the day; `None` for a date.
    pub(super) nanos: Option<i64>,
    pub(super) fraction_digits: u32,
    pub(super) zone: Zone,
    /// Its first two numbers may change places, and then it is another day.
    pub(super) swaps: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    None,
    Utc,
    /// Minutes east of Greenwich.
    Offset(i32),
}

impl Zone {
    fn minutes(self) -> i64 {
        match self {
            Self::None | Self::Utc => 0,
            Self::Offset(minutes) => minutes.into(),
        }
    }

    /// Its name in a column's type.
    pub(super) fn name(self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Utc => Some("UTC".to_owned()),
            Self::Offset(minutes) => {
                let sign = if minutes < 0 { '-' } else { '+' };
                Some(format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60))
            }
        }
    }
}

impl Moment {
    /// Microseconds since 1970 in UTC; years 1 to 9999 always fit.
    pub(super) fn micros(&self) -> i64 {
        self.seconds() * 1_000_000 + self.nanos.unwrap_or(0) % 1_000_000_000 / 1000
    }

    /// Nanoseconds since 1970 in UTC, where they fit.
    pub(super) fn whole_nanos(&self) -> Option<i64> {
        let nanos = i128::from(self.seconds()) * 1_000_000_000 + i128::from(self.nanos.unwrap_or(0) % 1_000_000_000);
        i64::try_from(nanos).ok()
    }

    fn seconds(&self) -> i64 {
        i64::from(self.days) * DAY_SECONDS + self.nanos.unwrap_or(0) / 1_000_000_000 - self.zone.minutes() * 60
    }
}

/// Reads a date, or a date and a time of day, whose parts stand in this order.
pub(super) fn read(text: &str, order: Order) -> Option<Moment> {
    let (days, year, swaps, rest) = date(text, order)?;
    let mut moment = Moment { days, year, nanos: None, fraction_digits: 0, zone: Zone::None, swaps };
    if rest.is_empty() {
        return Some(moment);
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let rest = time(rest, &mut moment)?;
    moment.zone = zone(rest)?;
    Some(moment)
}

/// A number of one to `digits_max` digits, and what follows.
fn number(text: &str, digits_max: usize) -> Option<(i32, usize, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 || digits > digits_max {
        return None;
    }
    Some((text[..digits].parse().ok()?, digits, &text[digits..]))
}

fn date(text: &str, order: Order) -> Option<(i32, i32, bool, &str)> {
    let (first, first_digits, rest) = number(text, 4)?;
    let separator = rest.chars().next().filter(|it| matches!(it, '-' | '/' | '.'))?;
    let (second, second_digits, rest) = number(&rest[1..], 2)?;
    let (third, third_digits, rest) = number(rest.strip_prefix(separator)?, 4)?;
    let fits = match order {
        Order::Year => first_digits == 4 && third_digits <= 2,
        // With full stops the day is first, wherever that is written.
        Order::Day => first_digits <= 2 && third_digits == 4,
        Order::Month => first_digits <= 2 && third_digits == 4 && separator != '.',
    };
    if !fits || second_digits > 2 {
        return None;
    }
    let (year, month, day) = match order {
        Order::Year => (first, second, third),
        Order::Day => (third, second, first),
        Order::Month => (third, first, second),
    };
    let days = days_of(year, month, day)?;
    let swaps = order != Order::Year && separator != '.' && day <= 12 && day != month;
    Some((days, year, swaps, rest))
}

fn time<'a>(text: &'a str, moment: &mut Moment) -> Option<&'a str> {
    let (hour, _, rest) = number(text, 2)?;
    let (minute, digits, mut rest) = number(rest.strip_prefix(':')?, 2)?;
    if hour > 23 || minute > 59 || digits != 2 {
        return None;
    }
    let (mut second, mut nanos) = (0, 0);
    if let Some(more) = rest.strip_prefix(':') {
        let (it, digits, more) = number(more, 2)?;
        if it > 59 || digits != 2 {
            return None;
        }
        (second, rest) = (it, more);
        if let Some(more) = rest.strip_prefix('.') {
            let (fraction, digits, more) = number(more, 9)?;
            nanos = i64::from(fraction) * 10i64.pow(9 - digits as u32);
            moment.fraction_digits = digits as u32;
            rest = more;
        }
    }
    let seconds = i64::from(hour * 3600 + minute * 60 + second);
    moment.nanos = Some(seconds * 1_000_000_000 + nanos);
    Some(rest)
}

fn zone(text: &str) -> Option<Zone> {
    let text = text.strip_prefix(' ').unwrap_or(text);
    let east = match text {
        "" => return Some(Zone::None),
        "Z" | "z" | "UTC" => return Some(Zone::Utc),
        _ if text.starts_with('+') => 1,
        _ if text.starts_with('-') => -1,
        _ => return None,
    };
    let digits = text[1..].replacen(':', "", 1);
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes) = digits.split_at(2);
    let (hours, minutes) = (hours.parse::<i32>().ok()?, minutes.parse::<i32>().unwrap_or(0));
    (hours <= 18 && minutes <= 59).then_some(Zone::Offset(east * (hours * 60 + minutes)))
}

/// Days since 1970 of a date in the Gregorian calendar, years 1 to 9999 (H. Hinnant, "chrono-compatible low-level date
/// algorithms", days_from_civil).
fn days_of(year: i32, month: i32, day: i32) -> Option<i32> {
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

fn days_in(year: i32, month: i32) -> i32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day of a count of days since 1970 (civil_from_days).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// Whether a text tells this very moment: zones of long ago were whole minutes from UTC only in a text.
pub fn tells_moment(text: &str, value: i64, units: i64) -> bool {
    read(text, Order::Year).is_some_and(|it| {
        let nanos = it.nanos.unwrap_or(0) % 1_000_000_000;
        it.seconds() == value.div_euclid(units) && nanos == value.rem_euclid(units) * (1_000_000_000 / units)
    })
}

/// A date as exports spell it: `2024-01-31`.
pub fn write_date(days: i32) -> String {
    let (year, month, day) = civil(days.into());
    format!("{year:04}-{month:02}-{day:02}")
}

/// A moment as exports spell it: `2024-01-31T08:00:00`, with as much of a fraction as it has (3, 6 or 9 digits), and
/// its zone. `units` is how many of it make a second.
pub fn write_timestamp(value: i64, units: i64, zone: Option<&str>) -> Option<String> {
    let offset = match zone {
        None | Some("UTC") => 0,
        Some(it) => self::zone(it).map(Zone::minutes)?,
    };
    let seconds = value.div_euclid(units) + offset * 60;
    let nanos = value.rem_euclid(units) * (1_000_000_000 / units);
    let (year, month, day) = civil(seconds.div_euclid(DAY_SECONDS));
    let of_day = seconds.rem_euclid(DAY_SECONDS);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    let written = match nanos {
        0 => Ok(()),
        it if it % 1_000_000 == 0 => write!(text, ".{:03}", it / 1_000_000),
        it if it % 1000 == 0 => write!(text, ".{:06}", it / 1000),
        it => write!(text, ".{it:09}"),
    };
    written.ok()?;
    match zone {
        None => {}
        Some("UTC") => text.push('Z'),
        Some(it) => text.push_str(it),
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn iso(text: &str) -> Option<String> {
        let it = read(text, Order::Year)?;
        match it.nanos {
            None => Some(write_date(it.days)),
            Some(_) => write_timestamp(it.micros(), 1_000_000, it.zone.name().as_deref()),
        }
    }

    #[test]
    fn moments_come_back() {
        for text in [
            "0001-01-01",
            "1969-12-31",
            "2024-02-29",
            "9999-12-31",
            "0001-01-01T00:00:00",
            "9999-12-31T23:59:59.999999",
            "1969-12-31T23:59:59.500",
            "2024-03-10T08:00:00Z",
            "2024-03-10T08:00:00.000001+05:30",
            "1900-01-01T00:00:00-03:00",
        ] {
            assert_eq!(iso(text).as_deref(), Some(text));
        }
        assert_eq!(iso("2024-03-10 08:00").as_deref(), Some("2024-03-10T08:00:00"));
        assert_eq!(iso("2024/3/1 8:05:09.25 +0200").as_deref(), Some("2024-03-01T08:05:09.250+02:00"));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "2023-02-29",
            "2024-13-01",
            "0000-01-01",
            "2024-01-31T24:00:00",
            "2024-01-31T08:60",
            "24-01-31",
            "2024-01",
            "20240131",
            "2024-01/31",
            "2024-01-31T08:00:00.1234567890",
            "2024-01-31 08",
            "2024-01-31x",
            "1.2.3",
        ] {
            assert_eq!(iso(text), None, "{text}");
        }
        assert_eq!(read("13/12/2024", Order::Month), None);
        assert_eq!(read("01.02.2024", Order::Month), None);
        let both =
            [Order::Day, Order::Month].map(|it| read("01/02/2024", it).map(|it| (write_date(it.days), it.swaps)));
        assert_eq!(both, [Some(("2024-02-01".into(), true)), Some(("2024-01-02".into(), true))]);
    }

    proptest! {
        #[test]
        fn every_day_comes_back(days in -719_162..=2_932_896i32) {
            prop_assert_eq!(read(&write_date(days), Order::Year).map(|it| it.days), Some(days));
        }

        #[test]
        fn every_moment_comes_back(micros in -62_135_596_800_000_000i64..=253_402_300_799_999_999) {
            let text = write_timestamp(micros, 1_000_000, Some("UTC")).expect("a zone");
            prop_assert_eq!(read(&text, Order::Year).map(|it| it.micros()), Some(micros));
        }
    }
}
