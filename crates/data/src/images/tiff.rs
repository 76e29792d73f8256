//! TIFF files of any kind: what they hold, by their first directory alone, and previews of those that are no ordinary
//! photographs: many bands, numbers with a sign or a fraction.
//!
//! A TIFF may hold more than any decoder knows. What is not known has no preview; damaged is only what breaks off, or
//! whose compressed data are wrong.

use super::{PictureError, PictureFormat, Sample, SampleKind};
use image::{DynamicImage, GrayImage, RgbImage};
use std::io::Cursor;
use tiff::{
    TiffError, TiffFormatError,
    decoder::{Decoder, DecodingResult, Limits},
};

/// Entries of a directory that are looked at.
const ENTRIES_MAX: u64 = 4096;
/// Values looked at for the percentiles of a band.
const SAMPLED: usize = 50_000;
/// Shares of the values that become black and white.
const STRETCH: (f64, f64) = (0.02, 0.98);

/// What the first directory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) width: u32,
    pub(super) height: u32,
    /// EXIF orientation.
    pub(super) orientation: u8,
    pub(super) sample: Sample,
    /// What the bands mean (tag 262): 2 is RGB, 3 a palette, 9 ICC L*a*b*.
    photometric: u64,
}

/// Byte order and offset width of a file.
struct Bytes<'a> {
    file: &'a [u8],
    big_endian: bool,
    /// BigTIFF: offsets of eight bytes.
    wide: bool,
}

/// One entry of a directory: the type, the number of values, and where they lie.
struct Entry {
    kind: u64,
    count: u64,
    at: u64,
}

impl Bytes<'_> {
    fn number(&self, at: u64, bytes: usize) -> Result<u64, PictureError> {
        let found = usize::try_from(at).ok().and_then(|at| self.file.get(at..at.checked_add(bytes)?));
        let found = found.ok_or(PictureError::Truncated(PictureFormat::Tiff))?;
        let push = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        Ok(if self.big_endian { found.iter().fold(0, push) } else { found.iter().rev().fold(0, push) })
    }

    /// The value of a whole number's entry at `which`.
    fn value(&self, entry: &Entry, which: u64) -> Result<u64, PictureError> {
        let size = size_of(entry.kind);
        self.number(entry.at.saturating_add(which.saturating_mul(size)), size as usize)
    }
}

/// Bytes of a value of this type; 0 for what is no whole number.
fn size_of(kind: u64) -> u64 {
    match kind {
        1 | 6 => 1,
        3 | 8 => 2,
        4 | 9 | 13 => 4,
        16..=18 => 8,
        _ => 0,
    }
}

fn corrupt(detail: &str) -> PictureError {
    PictureError::Corrupt { format: PictureFormat::Tiff, detail: detail.to_owned() }
}

/// Reads the first directory, and checks that the strips or tiles it names lie within the file.
pub(super) fn directory(file: &[u8]) -> Result<Directory, PictureError> {
    let wide = matches!(file, [b'I', b'I', 43, 0, ..] | [b'M', b'M', 0, 43, ..]);
    let bytes = Bytes { file, big_endian: file.starts_with(b"MM"), wide };
    let begin = if wide { bytes.number(8, 8)? } else { bytes.number(4, 4)? };
    let (count, first) = match wide {
        true => (bytes.number(begin, 8)?, begin.saturating_add(8)),
        false => (bytes.number(begin, 2)?, begin.saturating_add(2)),
    };
    let entry_bytes = if wide { 20 } else { 12 };
    let (mut found, mut bits, mut samples, mut format) = ((0, 0, 1, u64::MAX), 1, 1, 1);
    let (mut offsets, mut lengths) = (None, None);
    for which in 0..count.min(ENTRIES_MAX) {
        let at = first.saturating_add(which * entry_bytes);
        let (tag, entry) = (bytes.number(at, 2)?, entry_at(&bytes, at)?);
        let value = || bytes.value(&entry, 0);
        match tag {
            256 => found.0 = value()?,
            257 => found.1 = value()?,
            258 => bits = value()?,
            262 => found.3 = value()?,
            274 => found.2 = value()?,
            277 => samples = value()?,
            339 => format = value()?,
            273 | 324 => offsets = Some(entry),
            279 | 325 => lengths = Some(entry),
            _ => {}
        }
    }
    let (Some(offsets), Some(lengths)) = (offsets, lengths) else {
        return Err(corrupt("it does not say where its pixels lie"));
    };
    check_pieces(&bytes, &offsets, &lengths)?;
    let kind = match format {
        2 => SampleKind::Int,
        3 => SampleKind::Float,
        5 | 6 => SampleKind::Complex,
        _ => SampleKind::Uint,
    };
    let small = |it: u64| u16::try_from(it).map_err(|_| corrupt("it has an impossible number of bands or bits"));
    Ok(Directory {
        width: u32::try_from(found.0).unwrap_or(u32::MAX),
        height: u32::try_from(found.1).unwrap_or(u32::MAX),
        orientation: u8::try_from(found.2).ok().filter(|it| (1..=8).contains(it)).unwrap_or(1),
        sample: Sample { kind, bits: small(bits)?, bands: small(samples)? },
        photometric: found.3,
    })
}

fn entry_at(bytes: &Bytes<'_>, at: u64) -> Result<Entry, PictureError> {
    let kind = bytes.number(at + 2, 2)?;
    let (count, place, inline) = match bytes.wide {
        true => (bytes.number(at + 4, 8)?, at + 12, 8),
        false => (bytes.number(at + 4, 4)?, at + 8, 4),
    };
    let fits = count.saturating_mul(size_of(kind)) <= inline;
    let at = if fits { place } else { bytes.number(place, inline as usize)? };
    Ok(Entry { kind, count, at })
}

/// Strips or tiles that reach beyond the end were cut off.
fn check_pieces(bytes: &Bytes<'_>, offsets: &Entry, lengths: &Entry) -> Result<(), PictureError> {
    if size_of(offsets.kind) == 0 || size_of(lengths.kind) == 0 {
        return Err(corrupt("the places of its pixels are no whole numbers"));
    }
    for which in 0..offsets.count.min(lengths.count) {
        let (at, length) = (bytes.value(offsets, which)?, bytes.value(lengths, which)?);
        if at.saturating_add(length) > bytes.file.len() as u64 {
            return Err(PictureError::Truncated(PictureFormat::Tiff));
        }
    }
    Ok(())
}

impl Directory {
    /// What decoding takes, in bytes: all bands, and the preview made of them.
    pub(super) fn decode_bytes(&self) -> u64 {
        let pixels = u64::from(self.width) * u64::from(self.height);
        let wide = u64::from(self.sample.bits.div_ceil(8).next_power_of_two());
        pixels.saturating_mul(wide * u64::from(self.sample.bands) + 4)
    }

    /// Whether it is an ordinary picture of 8 bits, or of black and white, as cameras and scanners write it.
    pub(super) fn is_plain(&self) -> bool {
        let Sample { kind, bits, bands } = self.sample;
        let is_usual =
            matches!((self.photometric, bits, bands), (0 | 1, 1 | 8, 1) | (2, 8, 3 | 4) | (5, 8, 4) | (6, 8, 3));
        kind == SampleKind::Uint && is_usual
    }
}

/// Decodes it as far as that tells whether it is damaged. What the decoder does not know is no damage.
pub(super) fn check(file: &[u8], directory: &Directory) -> Result<(), PictureError> {
    match decoded(file, directory) {
        Err(it @ (PictureError::Corrupt { .. } | PictureError::Truncated(_))) => Err(it),
        _ => Ok(()),
    }
}

struct Pixels {
    values: DecodingResult,
    width: usize,
    height: usize,
    /// Samples of one plane for each pixel.
    chunky: usize,
    planes: usize,
    /// Values from one plane to the next.
    plane: usize,
}

fn decoded(file: &[u8], directory: &Directory) -> Result<Pixels, PictureError> {
    let limit = usize::try_from(directory.decode_bytes()).unwrap_or(usize::MAX);
    let mut limits = Limits::default();
    limits.decoding_buffer_size = limit;
    limits.intermediate_buffer_size = limit.max(1 << 20);
    limits.ifd_value_size = 8 << 20;
    let mut decoder = Decoder::new(Cursor::new(file)).map_err(meaning)?.with_limits(limits);
    let bits = decoder.colortype().map_err(meaning)?.bit_depth();
    if bits < 8 {
        return Err(no_preview(format!("{bits} bits")));
    }
    let mut values = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut values).map_err(meaning)?;
    let (width, height) = (directory.width as usize, directory.height as usize);
    let value_bytes = usize::from(bits).div_ceil(8).next_power_of_two();
    let plane = layout.plane_stride.map_or(layout.len, usize::from) / value_bytes;
    let planes = if values.as_buffer(0).as_bytes().len() >= layout.complete_len { layout.planes } else { 1 };
    let chunky = plane / (width * height).max(1);
    if chunky == 0 {
        return Err(no_preview("an unusual order of its samples".to_owned()));
    }
    Ok(Pixels { values, width, height, chunky, planes: planes.max(1), plane })
}

/// What a decoder's error says about the file.
fn meaning(error: TiffError) -> PictureError {
    match error {
        TiffError::IoError(it) if it.kind() == std::io::ErrorKind::UnexpectedEof => {
            PictureError::Truncated(PictureFormat::Tiff)
        }
        TiffError::IoError(it) => corrupt(&it.to_string()),
        TiffError::FormatError(it @ TiffFormatError::CompressedDataCorrupt(_)) => corrupt(&it.to_string()),
        TiffError::LimitsExceeded => PictureError::TooMuchMemory,
        other => no_preview(other.to_string()),
    }
}

fn no_preview(detail: String) -> PictureError {
    PictureError::NoPreview { format: PictureFormat::Tiff, detail }
}

impl Pixels {
    fn bands(&self) -> usize {
        if self.planes > 1 { self.planes } else { self.chunky }
    }

    fn at(&self, pixel: usize, band: usize) -> f64 {
        let at = match self.planes {
            1 => pixel * self.chunky + band,
            _ => band * self.plane + pixel * self.chunky,
        };
        match &self.values {
            DecodingResult::U8(it) => it.get(at).map_or(0.0, |it| f64::from(*it)),
            DecodingResult::U16(it) => it.get(at).map_or(0.0, |it| f64::from(*it)),
            DecodingResult::U32(it) => it.get(at).map_or(0.0, |it| f64::from(*it)),
            DecodingResult::U64(it) => it.get(at).map_or(0.0, |it| *it as f64),
            DecodingResult::I8(it) => it.get(at).map_or(0.0, |it| f64::from(*it)),
            DecodingResult::I16(it) => it.get(at).map_or(0.0, |it| f64::from(*it)),
            DecodingResult::I32(it) => it.get(at).map_or(0.0, |it| f64::from(*it)),
            DecodingResult::I64(it) => it.get(at).map_or(0.0, |it| *it as f64),
            DecodingResult::F16(it) => it.get(at).map_or(0.0, |it| f64::from(it.to_f32())),
            DecodingResult::F32(it) => it.get(at).map_or(0.0, |it| f64::from(*it)),
            DecodingResult::F64(it) => it.get(at).copied().unwrap_or_default(),
        }
    }

    /// The values of a band that become black and white. Values that are no numbers do not count.
    fn stretch(&self, bands: std::ops::Range<usize>) -> (f64, f64) {
        let pixels = self.width * self.height;
        let step = (pixels * bands.len() / SAMPLED).max(1);
        let sampled = bands.flat_map(|band| (0..pixels).step_by(step).map(move |it| self.at(it, band)));
        let mut sampled: Vec<f64> = sampled.filter(|it| it.is_finite()).collect();
        sampled.sort_by(f64::total_cmp);
        let Some(last) = sampled.len().checked_sub(1) else { return (0.0, 1.0) };
        let at = |share: f64| sampled[(last as f64 * share).round() as usize];
        let (low, high) = (at(STRETCH.0), at(STRETCH.1));
        // Nearly everything the same: the whole range tells more.
        if high > low { (low, high) } else { (sampled[0], sampled[last]) }
    }

    fn level(value: f64, (low, high): (f64, f64)) -> u8 {
        if !value.is_finite() || high <= low {
            return 0;
        }
        // The cast keeps within 0 to 255.
        ((value - low) / (high - low) * 255.0) as u8
    }
}

/// A picture to look at: the first three bands, or the first alone, stretched so that
/// the middle 96 % of the values fill the range.
pub(super) fn preview(file: &[u8], directory: &Directory) -> Result<DynamicImage, PictureError> {
    let pixels = decoded(file, directory)?;
    let (width, height) = (directory.width, directory.height);
    let place = |x: u32, y: u32| y as usize * pixels.width + x as usize;
    if pixels.bands() < 3 {
        let range = pixels.stretch(0..1);
        let image =
            GrayImage::from_fn(width, height, |x, y| image::Luma([Pixels::level(pixels.at(place(x, y), 0), range)]));
        return Ok(image.into());
    }
    // Colours of one picture keep their relation; bands of an instrument have none.
    let ranges = match directory.photometric {
        2 => [pixels.stretch(0..3); 3],
        _ => [0, 1, 2].map(|band| pixels.stretch(band..band + 1)),
    };
    let image = RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([0, 1, 2].map(|band| Pixels::level(pixels.at(place(x, y), band), ranges[band])))
    });
    Ok(image.into())
}
