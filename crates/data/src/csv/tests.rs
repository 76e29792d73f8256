//! Columns from text to values and back.

use super::*;
use crate::tables::Why;
use proptest::prelude::*;

struct Column {
    kind: Kind,
    why: Why,
    cells: Vec<String>,
    faithful: Vec<Fidelity>,
}

/// Columns of a file with a header.
fn columns(text: &str, options: &CsvOptions, delimiter: u8) -> Vec<Column> {
    let mut records = Records::new(text.as_bytes(), delimiter, None, 1);
    let (mut record, mut rows) = (Record::default(), Vec::new());
    assert!(records.read(&mut record).expect("a header"));
    let names: Vec<String> = record.fields().map(|it| it.text.to_owned()).collect();
    let mut scan = Scan::new(names.iter().map(|it| options.types.get(it).copied()));
    while records.read(&mut record).expect("records") {
        scan.see(&record, options).expect("as many fields");
        rows.push(record.clone());
    }
    let mut scratch = String::new();
    let read = |(at, decided): (usize, Decided)| {
        let mut column =
            Column { kind: decided.reading.kind().clone(), why: decided.why, cells: vec![], faithful: vec![] };
        for row in &rows {
            let field = row.fields().nth(at).expect("a field");
            let (cell, fidelity) = decided.reading.read(field, options, &mut scratch).expect("a value");
            column.cells.push(decided.reading.write(&cell).unwrap_or_else(|| "-".to_owned()));
            column.faithful.push(fidelity);
        }
        column
    };
    scan.decide(options, delimiter).into_iter().enumerate().map(read).collect()
}

/// One column: its kind, why, and its values as exports write them.
fn column(values: &[&str]) -> (String, Why, String) {
    let text = values.iter().fold("x;y\n".to_owned(), |text, it| format!("{text}{it};\n"));
    let it = columns(&text, &CsvOptions::default(), b';').remove(0);
    (shown(&it.kind), it.why, it.cells.join(" "))
}

fn shown(kind: &Kind) -> String {
    match kind {
        Kind::Decimal { precision, scale } => format!("decimal {precision} {scale}"),
        Kind::Timestamp { nanos, zone } => {
            format!("timestamp {} {}", if *nanos { "ns" } else { "us" }, zone.as_deref().unwrap_or("-"))
        }
        other => format!("{other:?}").to_lowercase(),
    }
}

#[track_caller]
fn check(values: &[&str], kind: &str, why: Why, cells: &str) {
    assert_eq!(column(values), (kind.to_owned(), why, cells.to_owned()), "{values:?}");
}

#[test]
fn numbers_get_a_type_that_keeps_them() {
    check(&["1", "-2", "", "9223372036854775807"], "integer", Why::Values, "1 -2 - 9223372036854775807");
    check(&["1", "2.5", "1e3", "inf", "-Infinity"], "number", Why::Values, "1.0 2.5 1000.0 inf -inf");
    check(&["-0", "1"], "number", Why::Values, "-0.0 1.0");
    check(&["9223372036854775808", "1"], "text", Why::LongNumbers, "9223372036854775808 1");
    check(&["007", "8"], "text", Why::LeadingZeros, "007 8");
    check(&["00.5", "1"], "text", Why::LeadingZeros, "00.5 1");
    check(&["0.5", "0"], "number", Why::Values, "0.5 0.0");
    check(
        &["135217135789158401", "135217135789158403.5"],
        "decimal 19 1",
        Why::Digits,
        "135217135789158401.0 135217135789158403.5",
    );
    check(&["1e400", "1"], "text", Why::Digits, "1e400 1");
    check(&["True", "false"], "boolean", Why::Values, "true false");
}

#[test]
fn words_for_no_value_count_only_among_numbers() {
    check(&["NA", "NZ", "null", "", "\"\""], "text", Why::Words, "NA NZ null - ");
    check(&["NA", "1", "null", "", "\"\""], "integer", Why::Values, "- 1 - - -");
    check(&["\"NA\"", "1"], "text", Why::Words, "NA 1");
    check(&["NA", "NULL"], "text", Why::Words, "NA NULL");
    check(&["", ""], "text", Why::Empty, "- -");
    let options = CsvOptions { nulls: vec!["?".into()], ..CsvOptions::default() };
    let it = columns("x,y\n?,?\na,1\n\"?\",2\n", &options, b',');
    assert_eq!((it[0].cells.join(" "), it[1].cells.join(" ")), ("- a ?".into(), "- 1 2".into()));
}

#[test]
fn spellings_are_read_where_they_mean_one_thing() {
    check(&["+5", "-3"], "integer", Why::Values, "5 -3");
    check(&["+5", "+3"], "text", Why::Pluses, "+5 +3");
    check(&["+491511234567", "12"], "text", Why::Pluses, "+491511234567 12");
    check(&["12%", "3.5 %"], "number", Why::Percents, "12.0 3.5");
    check(&["12%", "3"], "text", Why::Percents, "12% 3");
    check(&["1,50", "2"], "number", Why::Values, "1.5 2.0");
    check(&["1,234", "2,500"], "text", Why::UnsureNumbers, "1,234 2,500");
    check(&["1,234,567", "2,500"], "integer", Why::Values, "1234567 2500");
    check(&["1.000", "1,50"], "number", Why::Values, "1000.0 1.5");
    check(&["1.234.567", "12"], "integer", Why::Values, "1234567 12");
    check(&["1.000", "2.500"], "number", Why::DecimalStop, "1.0 2.5");
    check(&["1.000", "2.5"], "number", Why::Values, "1.0 2.5");
    check(&["1 234,5", "7"], "number", Why::Values, "1234.5 7.0");
    check(&["110 001", "560 034"], "text", Why::UnsureNumbers, "110 001 560 034");
    check(&["1.2.3", "1"], "text", Why::Words, "1.2.3 1");
    check(&[" 5", "6 "], "integer", Why::Values, "5 6");
}

#[test]
fn one_file_has_one_decimal_sign() {
    let all = |text: &str, options: &CsvOptions| {
        let all = columns(text, options, b';');
        all.iter().map(|it| format!("{} {:?}", it.cells.join(" "), it.why)).collect::<Vec<_>>()
    };
    let usual = CsvOptions::default();
    assert_eq!(all("a;b\n1.000;1,50\n", &usual), ["1000 OtherColumns", "1.5 Values"]);
    assert_eq!(all("a;b\n1,000;1.50\n", &usual), ["1000 OtherColumns", "1.5 Values"]);
    assert_eq!(all("a;b;c\n1.000;1,50;2.5\n", &usual), ["1.000 UnsureNumbers", "1.5 Values", "2.5 Values"]);
    let told = CsvOptions { thousands: Some(','), ..usual.clone() };
    assert_eq!(all("a;b\n1,000;1\n", &told), ["1000 Values", "1 Values"]);
    let told = CsvOptions { decimal: Some(','), ..usual };
    assert_eq!(all("a;b\n1,000;1.000\n", &told), ["1.0 Values", "1000 Values"]);
}

#[test]
fn dates_are_read_where_they_mean_one_day() {
    check(&["2024-01-31", ""], "date", Why::Values, "2024-01-31 -");
    check(&["2024/01/31"], "date", Why::Values, "2024-01-31");
    check(&["31/01/2024", "01/02/2024"], "date", Why::Values, "2024-01-31 2024-02-01");
    check(&["01/31/2024", "01/02/2024"], "date", Why::Values, "2024-01-31 2024-01-02");
    check(&["01/02/2024", "03/02/2024"], "text", Why::UnsureDates, "01/02/2024 03/02/2024");
    check(&["01/01/2024", "02/02/2024"], "date", Why::Values, "2024-01-01 2024-02-02");
    check(&["31/01/2024", "01/31/2024"], "text", Why::Words, "31/01/2024 01/31/2024");
    check(&["31.01.2024", "01.02.2024"], "date", Why::Values, "2024-01-31 2024-02-01");
    check(&["2024-02-30"], "text", Why::Words, "2024-02-30");
    check(&["2024-03-10 08:00"], "timestamp us -", Why::Values, "2024-03-10T08:00:00");
    check(&["2024-03-10 08:00:00.123456789"], "timestamp ns -", Why::Values, "2024-03-10T08:00:00.123456789");
    check(&["2024-03-10T08:00:00Z"], "timestamp us UTC", Why::Values, "2024-03-10T08:00:00Z");
    check(&["2024-03-10 08:00:00+02"], "timestamp us +02:00", Why::Values, "2024-03-10T08:00:00+02:00");
    let zones = ["2024-03-10T08:00:00+01:00", "2024-07-10T08:00:00+02:00"];
    check(&zones, "text", Why::Zones, &zones.join(" "));
    check(&["2024-03-10", "2024-03-10 08:00"], "text", Why::DatesAndTimes, "2024-03-10 2024-03-10 08:00");
    check(&["9999-12-31 00:00:00.000000001"], "text", Why::Digits, "9999-12-31 00:00:00.000000001");
    let options = CsvOptions { dates: Some(Order::Day), ..CsvOptions::default() };
    assert_eq!(columns("x\n01/02/2024\n", &options, b',')[0].cells, ["2024-02-01"]);
}

#[test]
fn asked_types_are_obeyed_and_counted() {
    let asked = |kind, text: &str| {
        let options = CsvOptions { types: [("x".to_owned(), kind)].into(), ..CsvOptions::default() };
        let it = columns(&format!("x,y\n{text},\n"), &options, b',').remove(0);
        assert_eq!(it.why, Why::Asked);
        (it.cells.join(" "), it.faithful[0])
    };
    assert_eq!(asked(AskedType::Text, "12"), ("12".into(), Fidelity::Same));
    assert_eq!(asked(AskedType::Text, "NA"), ("NA".into(), Fidelity::Same));
    assert_eq!(asked(AskedType::Number, "9007199254740993"), ("9007199254740992.0".into(), Fidelity::Changed));
    assert_eq!(asked(AskedType::Integer, "007"), ("7".into(), Fidelity::Changed));
    assert_eq!(asked(AskedType::Number, "12"), ("12.0".into(), Fidelity::Respelt));
}

/// A number by its digits alone: sign, digits without noughts at the ends, and the power of ten.
fn exact(text: &str) -> Option<(bool, String, i64)> {
    let text = text.trim().to_lowercase();
    let negative = text.starts_with('-');
    let body = text.trim_start_matches(['+', '-']);
    if body.starts_with("inf") {
        return Some((negative, "inf".to_owned(), 0));
    }
    let (mantissa, exponent) = body.split_once('e').map_or((body, 0), |(it, e)| (it, e.parse().expect("an exponent")));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|it| it.is_ascii_digit()) {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let short = digits.trim_end_matches('0');
    let power = exponent - fraction.len() as i64 + (digits.len() - short.len()) as i64;
    Some((negative, short.to_owned(), if short.is_empty() { 0 } else { power }))
}

proptest! {
    /// What is kept, written back, is the text; or it was told, and means the same.
    #[test]
    fn nothing_changes_in_silence(
        values in prop::collection::vec(
            prop_oneof![
                "[+-]?[0-9]{1,20}",
                "[+-]?[0-9]{0,18}\\.[0-9]{0,19}",
                "-?[0-9]\\.[0-9]{0,18}e[+-]?[0-9]{1,3}",
                "[+-]?(inf|Infinity)",
                "(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]",
                "NA|null|NaN|",
                "true|FALSE",
                "[ -~é数]{0,8}",
            ],
            1..4,
        )
    ) {
        let quoted = |it: &String| format!("\"{}\",1\n", it.replace('"', "\"\""));
        let plain = |it: &String| if it.contains(['"', ',']) { quoted(it) } else { format!("{it},1\n") };
        for line in [&quoted as &dyn Fn(&String) -> String, &plain] {
            let text: String = std::iter::once("x,y\n".to_owned()).chain(values.iter().map(line)).collect();
            let it = columns(&text, &CsvOptions::default(), b',').remove(0);
            for ((value, cell), fidelity) in values.iter().zip(&it.cells).zip(&it.faithful) {
                let shown = if cell == "-" && value.is_empty() { "" } else { cell };
                match fidelity {
                    Fidelity::Same => prop_assert_eq!(shown, value),
                    Fidelity::NullWord => prop_assert_eq!(cell, "-"),
                    Fidelity::Changed => prop_assert!(false, "{:?} was changed to {:?}", value, cell),
                    Fidelity::Respelt => match it.kind {
                        Kind::Integer | Kind::Number | Kind::Decimal { .. } if !value.contains([',', '%', '\'']) => {
                            let value = value.trim();
                            if !value.contains(' ') {
                                prop_assert!(exact_or_float(value, cell), "{:?} {:?}", value, cell);
                            }
                        }
                        _ => prop_assert!(it.kind != Kind::Text),
                    },
                }
            }
        }
    }
}

/// The same digits; or so many that the float, written with as many, has the same.
fn exact_or_float(text: &str, written: &str) -> bool {
    let (Some(one), Some(other)) = (exact(text), exact(written)) else { return false };
    if one == other {
        return true;
    }
    let number: f64 = written.parse().expect("a number");
    let again = exact(&format!("{:.*e}", one.1.len().saturating_sub(1), number)).expect("a number");
    again == one
}

#[test]
fn the_value_that_is_no_date_is_shown() {
    for (values, shown) in [
        (["2024-03-10 08:00", "2024-03-10 25:00"], Some(("2024-03-10 25:00".to_owned(), 3))),
        (["31/01/2024", "01/31/2024"], Some(("01/31/2024".to_owned(), 3))),
        (["29/02/2023", "28/02/2023"], Some(("29/02/2023".to_owned(), 2))),
        (["x", "2024-01-31"], Some(("x".to_owned(), 2))),
    ] {
        let text = format!("d\n{}\n", values.join("\n"));
        let (mut records, mut record) = (Records::new(text.as_bytes(), b',', None, 1), Record::default());
        assert!(records.read(&mut record).expect("a header"));
        let mut scan = Scan::new([None]);
        while records.read(&mut record).expect("records") {
            scan.see(&record, &CsvOptions::default()).expect("one field");
        }
        let decided = scan.decide(&CsvOptions::default(), b',').remove(0);
        assert_eq!((decided.why, decided.example), (Why::Words, shown));
    }
}
