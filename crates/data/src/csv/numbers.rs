//! Spellings of numbers: what a text means in one of them, and whether a 64-bit float keeps all its digits.

/// Between groups of three digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Groups {
    None,
    Comma,
    Stop,
    Space,
    Apostrophe,
}

impl Groups {
    fn holds(self, it: char) -> bool {
        match self {
            Self::None => false,
            Self::Comma => it == ',',
            Self::Stop => it == '.',
            Self::Space => matches!(it, ' ' | '\u{a0}' | '\u{202f}'),
            Self::Apostrophe => matches!(it, '\'' | '\u{2019}'),
        }
    }
}

/// One way to spell numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    pub(super) decimal: char,
    pub(super) groups: Groups,
}

const fn style(decimal: char, groups: Groups) -> Style {
    Style { decimal, groups }
}

/// The spellings that are known; the first that reads a column is taken.
pub(super) const STYLES: [Style; 8] = [
    style('.', Groups::None),
    style('.', Groups::Comma),
    style(',', Groups::None),
    style(',', Groups::Stop),
    style('.', Groups::Space),
    style(',', Groups::Space),
    style('.', Groups::Apostrophe),
    style(',', Groups::Apostrophe),
];

/// What a number looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) negative: bool,
    pub(super) plus: bool,
    /// `inf` or `Infinity`.
    pub(super) infinite: bool,
    pub(super) whole_digits: u32,
    pub(super) fraction_digits: u32,
    /// Digits from the first that is not 0.
    pub(super) significant: u32,
    /// It has a decimal sign.
    pub(super) point: bool,
    pub(super) exponent: bool,
    /// `007`: a code rather than a number.
    pub(super) leading_zero: bool,
    pub(super) grouped: bool,
}

impl Shape {
    /// Whole without a decimal sign or exponent, and not minus nothing.
    pub(super) fn is_whole(&self) -> bool {
        !(self.infinite || self.point || self.exponent || self.negative && self.significant == 0)
    }
}

/// Reads a number in one spelling. `plain` becomes the same number as every program spells it: `-1234.5e6`.
pub(super) fn read(text: &str, style: Style, plain: &mut String) -> Option<Shape> {
    plain.clear();
    let mut shape = Shape::default();
    let rest = match text.as_bytes().first()? {
        b'-' => {
            shape.negative = true;
            plain.push('-');
            &text[1..]
        }
        b'+' => {
            shape.plus = true;
            &text[1..]
        }
        _ => text,
    };
    if rest.eq_ignore_ascii_case("inf") || rest.eq_ignore_ascii_case("infinity") {
        shape.infinite = true;
        plain.push_str("inf");
        return Some(shape);
    }
    let rest = whole(rest, style.groups, &mut shape, plain)?;
    let rest = fraction(rest, style.decimal, &mut shape, plain);
    if shape.whole_digits + shape.fraction_digits == 0 {
        return None;
    }
    exponent(rest, &mut shape, plain)?;
    Some(shape)
}

fn digit(it: char, shape: &mut Shape, plain: &mut String) {
    if it != '0' || shape.significant > 0 {
        shape.significant += 1;
    }
    plain.push(it);
}

/// Digits, perhaps in groups: one to three, and then always three.
fn whole<'a>(text: &'a str, groups: Groups, shape: &mut Shape, plain: &mut String) -> Option<&'a str> {
    let mut in_group = 0;
    for (at, it) in text.char_indices() {
        if it.is_ascii_digit() {
            if shape.whole_digits == 1 && plain.ends_with('0') {
                shape.leading_zero = true;
            }
            digit(it, shape, plain);
            shape.whole_digits += 1;
            in_group += 1;
            continue;
        }
        let next_is_digit = text[at + it.len_utf8()..].starts_with(|it: char| it.is_ascii_digit());
        if groups.holds(it) && next_is_digit {
            let fits = if shape.grouped { in_group == 3 } else { (1..=3).contains(&in_group) };
            // `0,123` is no group of thousands.
            if !fits || (shape.whole_digits == 1 && plain.ends_with('0')) {
                return None;
            }
            shape.grouped = true;
            in_group = 0;
            continue;
        }
        return (!shape.grouped || in_group == 3).then_some(&text[at..]);
    }
    (!shape.grouped || in_group == 3).then_some("")
}

fn fraction<'a>(text: &'a str, decimal: char, shape: &mut Shape, plain: &mut String) -> &'a str {
    let Some(rest) = text.strip_prefix(decimal) else { return text };
    shape.point = true;
    if shape.whole_digits == 0 {
        plain.push('0');
    }
    plain.push('.');
    let end = rest.find(|it: char| !it.is_ascii_digit()).unwrap_or(rest.len());
    for it in rest[..end].chars() {
        digit(it, shape, plain);
        shape.fraction_digits += 1;
    }
    if end == 0 {
        plain.push('0');
    }
    &rest[end..]
}

/// The exponent, which must be all that is left.
fn exponent(text: &str, shape: &mut Shape, plain: &mut String) -> Option<()> {
    if text.is_empty() {
        return Some(());
    }
    let rest = text.strip_prefix(['e', 'E'])?;
    let digits = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|it| it.is_ascii_digit()) || shape.grouped {
        return None;
    }
    shape.exponent = true;
    plain.push('e');
    plain.push_str(rest.strip_prefix('+').unwrap_or(rest));
    Some(())
}

/// The most digits that are compared one by one.
const DIGITS_MAX: u32 = 400;

/// Whether the nearest 64-bit float, written with as many digits, is this number.
///
/// Up to 15 digits that is always so (DBL_DIG of C); more are compared.
pub(super) fn float_keeps(plain: &str, shape: &Shape) -> bool {
    if shape.infinite || shape.significant == 0 {
        return true;
    }
    if shape.significant <= 15 && !shape.exponent && shape.whole_digits < 300 && shape.fraction_digits < 300 {
        return true;
    }
    let Ok(number) = plain.parse::<f64>() else { return false };
    if !number.is_finite() || number == 0.0 || shape.significant > DIGITS_MAX {
        return false;
    }
    let written = format!("{:.*e}", shape.significant as usize - 1, number.abs());
    let mantissa = written.split('e').next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit);
    let wanted = plain.split('e').next().unwrap_or_default().bytes().filter(u8::is_ascii_digit);
    digits.eq(wanted.skip_while(|it| *it == b'0').take(shape.significant as usize))
}

/// A number as exports spell it: the shortest text that gives the same float again.
pub fn write_float(number: f64) -> String {
    if number.is_nan() { "NaN".to_owned() } else { format!("{number:?}") }
}

/// The whole number `plain` times ten to the power of `scale`, for a decimal of 38 digits.
pub(super) fn scaled(plain: &str, shape: &Shape, scale: u32) -> Option<i128> {
    if shape.exponent || shape.infinite || shape.fraction_digits > scale {
        return None;
    }
    let mut value: i128 = 0;
    for it in plain.bytes().filter(u8::is_ascii_digit).take((shape.whole_digits + shape.fraction_digits) as usize + 1) {
        value = value.checked_mul(10)?.checked_add(i128::from(it - b'0'))?;
    }
    // A fraction without digits was given a nought by `fraction`.
    let have = if shape.point { shape.fraction_digits.max(1) } else { 0 };
    let value = if have > scale { value / 10 } else { value.checked_mul(10i128.checked_pow(scale - have)?)? };
    Some(if shape.negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str, style: usize) -> Option<String> {
        let mut plain = String::new();
        read(text, STYLES[style], &mut plain).map(|_| plain)
    }

    #[test]
    fn each_spelling_reads_its_own() {
        let all = |text: &str| (0..8).filter_map(|it| plain(text, it)).collect::<Vec<_>>().join(" ");
        assert_eq!(all("12"), ["12"; 8].join(" "));
        assert_eq!(all("1.5"), "1.5 1.5 1.5 1.5");
        assert_eq!(all("1,234"), "1234 1.234 1.234 1.234 1.234");
        assert_eq!(all("1.000"), "1.000 1.000 1000 1.000 1.000");
        assert_eq!(all("1,234,567.5"), "1234567.5");
        assert_eq!(all("1.234.567,5"), "1234567.5");
        assert_eq!(all("1 234,5"), "1234.5");
        assert_eq!(all("1\u{202f}234.5"), "1234.5");
        assert_eq!(all("1'234'567"), "1234567 1234567");
        assert_eq!(all("+.5e-3"), ["0.5e-3"; 4].join(" "));
        assert_eq!(all("-Infinity"), ["-inf"; 8].join(" "));
        for none in ["", "-", "1,23,4", "12,34.5", ",5,", "1e", "e5", "1.2.3", "0x10", "1_000", "--1", "١", "1 2"] {
            assert_eq!(all(none), "", "{none}");
        }
    }

    #[test]
    fn floats_that_lose_digits_are_found() {
        let keeps = |text: &str| {
            let mut plain = String::new();
            let shape = read(text, STYLES[0], &mut plain).expect("a number");
            float_keeps(&plain, &shape)
        };
        for text in ["0.1", "123456789012345", "1e300", "0.30000000000000004", "1.000000000000000056e-01", "0", "-0.0"]
        {
            assert!(keeps(text), "{text}");
        }
        for text in ["135217135789158403.5", "9007199254740993", "1e400", "1e-400", "0.12345678901234567890"] {
            assert!(!keeps(text), "{text}");
        }
    }

    #[test]
    fn decimals_are_scaled_exactly() {
        let of = |text: &str, scale| {
            let mut plain = String::new();
            let shape = read(text, STYLES[0], &mut plain).expect("a number");
            scaled(&plain, &shape, scale)
        };
        assert_eq!(of("135217135789158403.5", 2), Some(13_521_713_578_915_840_350));
        assert_eq!((of("-.5", 1), of("5.", 0), of("7", 3), of("5.", 2)), (Some(-5), Some(5), Some(7000), Some(500)));
        assert_eq!((of("1.25", 1), of("1e5", 1)), (None, None));
    }
}
