//! Elements of each type, from their spelling to little-endian bytes.

use super::{
    fault::Fault,
    walk::{Form, Token, walk},
    words::value_of,
};
use crate::tensor::DataType;

/// More digits than any whole number of a type has.
const DIGITS_MAX: usize = 39;

/// A float of some width.
trait Float {
    type Bytes: AsRef<[u8]>;

    /// The nearest float to a number in JSON's spelling; `None` when it would be infinite.
    fn read(text: &str) -> Option<Self::Bytes>;

    /// NaN or an infinity.
    fn special(value: f64) -> Self::Bytes;
}

impl Float for f32 {
    type Bytes = [u8; 4];

    #[inline]
    fn read(text: &str) -> Option<[u8; 4]> {
        text.parse::<Self>().ok().filter(|it| it.is_finite()).map(Self::to_le_bytes)
    }

    fn special(value: f64) -> [u8; 4] {
        (value as Self).to_le_bytes()
    }
}

impl Float for f64 {
    type Bytes = [u8; 8];

    #[inline]
    fn read(text: &str) -> Option<[u8; 8]> {
        text.parse::<Self>().ok().filter(|it| it.is_finite()).map(Self::to_le_bytes)
    }

    fn special(value: f64) -> [u8; 8] {
        value.to_le_bytes()
    }
}

/// A float of 16 bits of which `FRACTION` are the fraction: 10 in IEEE 754 binary16, 7 in bfloat16.
struct Short<const FRACTION: i32>;

impl<const FRACTION: i32> Short<FRACTION> {
    /// The largest exponent, which is the bias too.
    const BIAS: i32 = (1 << (14 - FRACTION)) - 1;
    /// The bits of infinity.
    const INFINITY: u16 = ((2 * Self::BIAS + 1) << FRACTION) as u16;

    /// The nearest one, ties to even; `None` when it would be infinite.
    fn nearest(value: f64) -> Option<u16> {
        let sign = u16::from(value.is_sign_negative()) << 15;
        let size = value.abs();
        // The exponent as f64 keeps it; below the smallest one the steps stay as wide as there.
        let exponent = (((size.to_bits() >> 52) as i32) - 1023).max(1 - Self::BIAS);
        if exponent > Self::BIAS {
            return None;
        }
        // Steps of the last place of the fraction. The leading bit that is not written adds one to the exponent's field.
        let steps = (size / 2f64.powi(exponent - FRACTION)).round_ties_even() as u32;
        let bits = (((exponent + Self::BIAS - 1) as u32) << FRACTION) + steps;
        (bits < u32::from(Self::INFINITY)).then_some(sign | bits as u16)
    }
}

impl<const FRACTION: i32> Float for Short<FRACTION> {
    type Bytes = [u8; 2];

    fn read(text: &str) -> Option<[u8; 2]> {
        let value = text.parse::<f64>().ok().filter(|it| it.is_finite())?;
        Self::nearest(value).map(u16::to_le_bytes)
    }

    fn special(value: f64) -> [u8; 2] {
        let quiet = if value.is_nan() { 1 << (FRACTION - 1) } else { 0 };
        let sign = u16::from(value < 0.0) << 15;
        (Self::INFINITY | quiet | sign).to_le_bytes()
    }
}

#[inline]
fn float<T: Float>(token: Token<'_>, out: &mut Vec<u8>) -> Option<()> {
    let bytes = match token {
        Token::Number(text) => T::read(text)?,
        Token::Null => T::special(f64::NAN),
        Token::Word(text) | Token::Text(text) => T::special(value_of(text)?),
        Token::Truth(_) => return None,
    };
    out.extend_from_slice(bytes.as_ref());
    Some(())
}

/// The whole number that JSON's spelling means, `1.0` and `2e3` included; `None` for any other.
fn whole(text: &str) -> Option<i128> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        // An exponent of more digits than a number has makes it zero, broken or too large.
        Some((number, exponent)) => {
            (number, exponent.parse::<i64>().unwrap_or(if exponent.starts_with('-') { i64::MIN } else { i64::MAX }))
        }
        None => (text, 0),
    };
    let (sign, number) = number.strip_prefix('-').map_or((1, number), |it| (-1, it));
    let (before, after) = number.split_once('.').unwrap_or((number, ""));
    let after = after.trim_end_matches('0');
    let digits = [before, after].concat();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let exponent = exponent.saturating_sub_unsigned(after.len() as u64);
    let kept = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - kept.len()).ok()?.saturating_add(exponent);
    let zeros = u32::try_from(zeros).ok().filter(|it| kept.len().saturating_add(*it as usize) < DIGITS_MAX)?;
    Some(sign * kept.parse::<i128>().ok()? * 10i128.checked_pow(zeros)?)
}

macro_rules! integer {
    ($type:ty, $json:expr, $form:expr, $out:expr) => {
        walk($json, $form, |token| {
            let Token::Number(text) = token else { return None };
            let value = match text.parse::<$type>() {
                Ok(value) => value,
                Err(_) => <$type>::try_from(whole(text)?).ok()?,
            };
            $out.extend_from_slice(&value.to_le_bytes());
            Some(())
        })
    };
}

/// Adds the elements of a flat or nested array to `out`, at most as many as `form` has.
pub(super) fn read(datatype: DataType, json: &str, form: Form<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
    match datatype {
        DataType::Fp32 => walk(json, form, |it| float::<f32>(it, out)),
        DataType::Fp64 => walk(json, form, |it| float::<f64>(it, out)),
        DataType::Fp16 => walk(json, form, |it| float::<Short<10>>(it, out)),
        DataType::Bf16 => walk(json, form, |it| float::<Short<7>>(it, out)),
        DataType::Int8 => integer!(i8, json, form, out),
        DataType::Int16 => integer!(i16, json, form, out),
        DataType::Int32 => integer!(i32, json, form, out),
        DataType::Int64 => integer!(i64, json, form, out),
        DataType::Uint8 => integer!(u8, json, form, out),
        DataType::Uint16 => integer!(u16, json, form, out),
        DataType::Uint32 => integer!(u32, json, form, out),
        DataType::Uint64 => integer!(u64, json, form, out),
        DataType::Bool => walk(json, form, |it| truth(it, out)),
        DataType::Bytes => walk(json, form, |it| text(it, out)),
    }
}

fn truth(token: Token<'_>, out: &mut Vec<u8>) -> Option<()> {
    out.push(match token {
        Token::Truth(it) => u8::from(it),
        Token::Number(text) => u8::try_from(whole(text)?).ok().filter(|it| *it <= 1)?,
        _ => return None,
    });
    Some(())
}

fn text(token: Token<'_>, out: &mut Vec<u8>) -> Option<()> {
    let Token::Text(written) = token else { return None };
    let unescaped: String;
    let text = if written.contains('\\') {
        unescaped = serde_json::from_str(&format!("\"{written}\"")).ok()?;
        &unescaped
    } else {
        written
    };
    out.extend_from_slice(&u32::try_from(text.len()).ok()?.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Some(())
}

/// What a type holds, for words about what it does not.
pub(super) fn holds(datatype: DataType) -> &'static str {
    match datatype {
        DataType::Bool => "true and false",
        DataType::Int8 => "whole numbers from -128 to 127",
        DataType::Int16 => "whole numbers from -32768 to 32767",
        DataType::Int32 => "whole numbers from -2147483648 to 2147483647",
        DataType::Int64 => "whole numbers from -9223372036854775808 to 9223372036854775807",
        DataType::Uint8 => "whole numbers from 0 to 255",
        DataType::Uint16 => "whole numbers from 0 to 65535",
        DataType::Uint32 => "whole numbers from 0 to 4294967295",
        DataType::Uint64 => "whole numbers from 0 to 18446744073709551615",
        DataType::Fp16 => "numbers up to 65504, null, NaN and infinities",
        DataType::Bf16 => "numbers up to 3.3895314e38, null, NaN and infinities",
        DataType::Fp32 => "numbers up to 3.4028235e38, null, NaN and infinities",
        DataType::Fp64 => "numbers up to 1.7976931348623157e308, null, NaN and infinities",
        DataType::Bytes => "texts",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;
    use proptest::prelude::*;

    fn back(datatype: DataType, bits: u16) -> f64 {
        let data = bits.to_le_bytes().to_vec().into();
        Tensor { name: "x".into(), datatype, shape: vec![1], data }.to_f64().expect("numbers")[0]
    }

    #[test]
    fn every_short_float_is_its_own_nearest() {
        for bits in 0..=u16::MAX {
            for (datatype, nearest) in [
                (DataType::Fp16, Short::<10>::nearest as fn(f64) -> Option<u16>),
                (DataType::Bf16, Short::<7>::nearest),
            ] {
                let value = back(datatype, bits);
                if value.is_finite() && value != 0.0 {
                    assert_eq!(nearest(value), Some(bits), "{value}");
                }
            }
        }
        // Ties go to even, and the half step above the largest one is infinite.
        assert_eq!((Short::<10>::nearest(2049.0), Short::<10>::nearest(2051.0)), (Some(0x6800), Some(0x6802)));
        assert_eq!((Short::<10>::nearest(65519.0), Short::<10>::nearest(65520.0)), (Some(0x7bff), None));
        assert_eq!((Short::<10>::nearest(0.0), Short::<10>::nearest(-0.0)), (Some(0), Some(0x8000)));
        assert_eq!((Short::<7>::nearest(1.0), Short::<7>::nearest(3.4e38)), (Some(0x3f80), None));
        assert_eq!(Short::<7>::nearest(1e300), None);
    }

    #[test]
    fn whole_numbers_are_read_exactly() {
        let cases = [
            ("1.0", 1),
            ("-0", 0),
            ("-0.0", 0),
            ("1e3", 1000),
            ("12.50e1", 125),
            ("100e-2", 1),
            ("0e99999999999999999999", 0),
            ("9007199254740993.0", 9_007_199_254_740_993),
            ("-170141183460469231731687303715884105728e0", 0),
        ];
        for (text, value) in &cases[..8] {
            assert_eq!(whole(text), Some(*value), "{text}");
        }
        for text in ["1.5", "1e-1", "1e99999999999999999999", "1e-99999999999999999999", "1e39", cases[8].0] {
            assert_eq!(whole(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whole_floats_are_the_integers_they_spell(value in any::<i64>(), zeros in 0usize..4) {
            prop_assert_eq!(whole(&format!("{value}.{}0", "0".repeat(zeros))), Some(i128::from(value)));
            prop_assert_eq!(whole(&format!("{value}{}e-{zeros}", "0".repeat(zeros))), Some(i128::from(value)));
        }

        #[test]
        fn short_floats_are_within_half_a_step(value in -70000f64..70000.0) {
            match Short::<10>::nearest(value) {
                Some(bits) => {
                    let near = |other: u16| (back(DataType::Fp16, other) - value).abs();
                    prop_assert!(near(bits) <= near(bits ^ 1) && near(bits) <= near(bits.wrapping_add(1)));
                }
                None => prop_assert!(value.abs() >= 65520.0),
            }
        }
    }
}
