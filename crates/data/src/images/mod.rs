//! Pictures: what format and size they have, whether the file is whole, and small copies for grids.
//!
//! Facts come from the header alone, plus a walk over the file's structure that finds truncation and flipped
//! bits without decoding (see [`whole`]); formats without such a structure are decoded when they are small. What a
//! decoder does not know is not damaged: it is kept, and has no preview.
//! Sizes are given raw (as stored) and displayed (EXIF orientation applied). Files are hostile: sizes are
//! checked before memory is taken, and decoders run under an allocation limit.

mod tiff;
mod whole;

use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, error::LimitErrorKind,
    imageops::FilterType, metadata::Orientation,
};
use kaogong_domain::Problem;
use std::io::Cursor;

/// The largest file, in bytes (64 MiB).
pub const FILE_BYTES_MAX: usize = 64 << 20;
/// The most pixels of one picture (100 million).
pub const PIXELS_MAX: u64 = 100_000_000;
/// The longest side of a thumbnail, in pixels.
pub const THUMBNAIL_SIDE_MAX: u32 = 2048;
/// What a decoder may allocate, in bytes: 100 million pixels of four 16-bit channels, and its own tables.
const DECODE_BYTES_MAX: u64 = PIXELS_MAX * 8 + (64 << 20);
/// Formats without checksums or an end mark are decoded while importing when that takes no more bytes than this.
const DECODE_CHECK_BYTES_MAX: u64 = 64 << 20;

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PictureFormat {
    /// Portable Network Graphics.
    Png,
    /// JPEG.
    Jpeg,
    /// Graphics Interchange Format; the first frame counts.
    Gif,
    /// Windows bitmap.
    Bmp,
    /// Tagged Image File Format; the first page counts.
    Tiff,
    /// WebP.
    WebP,
}

impl PictureFormat {
    /// The word used in tables and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
            Self::WebP => "webp",
        }
    }

    /// The media type for HTTP.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::Bmp => "image/bmp",
            Self::Tiff => "image/tiff",
            Self::WebP => "image/webp",
        }
    }

    /// The format of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Png, Self::Jpeg, Self::Gif, Self::Bmp, Self::Tiff, Self::WebP].into_iter().find(|it| it.as_str() == word)
    }

    fn codec(self) -> ImageFormat {
        match self {
            Self::Png => ImageFormat::Png,
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Gif => ImageFormat::Gif,
            Self::Bmp => ImageFormat::Bmp,
            Self::Tiff => ImageFormat::Tiff,
            Self::WebP => ImageFormat::WebP,
        }
    }

    /// The format by the first bytes, whatever the file is called.
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            [b'B', b'M', ..] => Some(Self::Bmp),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(Self::Tiff),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::WebP),
            _ => None,
        }
    }
}

/// How a sample is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SampleKind {
    /// Whole numbers without a sign.
    Uint,
    /// Whole numbers with a sign.
    Int,
    /// Numbers with a fraction.
    Float,
    /// Pairs of numbers.
    Complex,
}

/// What each pixel holds, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sample {
    /// How a sample is written.
    pub kind: SampleKind,
    /// Bits of one sample.
    pub bits: u16,
    /// Samples of one pixel.
    pub bands: u16,
}

impl Sample {
    const fn uint8(bands: u16) -> Self {
        Self { kind: SampleKind::Uint, bits: 8, bands }
    }
}

impl std::fmt::Display for Sample {
    /// As in `3 × uint8`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            SampleKind::Uint => "uint",
            SampleKind::Int => "int",
            SampleKind::Float => "float",
            SampleKind::Complex => "complex",
        };
        write!(f, "{} × {kind}{}", self.bands, self.bits)
    }
}

/// What is known of a picture without decoding it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureFacts {
    /// The file format.
    pub format: PictureFormat,
    /// Stored width in pixels.
    pub width: u32,
    /// Stored height in pixels.
    pub height: u32,
    /// EXIF orientation, 1 to 8; 1 is upright.
    pub orientation: u8,
    /// Width in pixels as displayed.
    pub displayed_width: u32,
    /// Height in pixels as displayed.
    pub displayed_height: u32,
    /// What each pixel holds.
    pub sample: Sample,
}

impl PictureFacts {
    fn new(format: PictureFormat, (width, height): (u32, u32), orientation: Orientation, sample: Sample) -> Self {
        let turned = matches!(orientation.to_exif(), 5..=8);
        let (displayed_width, displayed_height) = if turned { (height, width) } else { (width, height) };
        let orientation = orientation.to_exif();
        Self { format, width, height, orientation, displayed_width, displayed_height, sample }
    }
}

/// Why a file cannot be used as a picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// No bytes.
    #[error("the file is empty")]
    Empty,
    /// Larger than [`FILE_BYTES_MAX`].
    #[error("the file is larger than 64 MiB")]
    TooLarge,
    /// More than [`PIXELS_MAX`] pixels, or none.
    #[error("{width} × {height} pixels: between 1 and 100 million are allowed")]
    BadSize {
        /// Stored width.
        width: u32,
        /// Stored height.
        height: u32,
    },
    /// Not one of the formats.
    #[error("not a PNG, JPEG, GIF, BMP, TIFF or WebP file, judging by its first bytes")]
    Unsupported,
    /// The file ends early.
    #[error("the {} file is truncated", .0.as_str())]
    Truncated(PictureFormat),
    /// Bytes are wrong.
    #[error("the {} file is corrupt: {detail}", format.as_str())]
    Corrupt {
        /// The format it claims.
        format: PictureFormat,
        /// What is wrong.
        detail: String,
    },
    /// The file is fine as far as can be told, and no decoder here knows its kind.
    #[error("no preview: {detail} is not supported in {} files", format.as_str())]
    NoPreview {
        /// The format.
        format: PictureFormat,
        /// What is not known.
        detail: String,
    },
    /// Decoding would take too much memory.
    #[error("decoding would take more memory than is allowed")]
    TooMuchMemory,
    /// The thumbnail asked for is none.
    #[error("a thumbnail has a side of 1 to 2048 pixels, not {0}")]
    BadSide(u32),
}

impl PictureError {
    fn from_codec(format: PictureFormat, error: ImageError) -> Self {
        match error {
            ImageError::Limits(limit) if matches!(limit.kind(), LimitErrorKind::InsufficientMemory) => {
                Self::TooMuchMemory
            }
            ImageError::IoError(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
                Self::Truncated(format)
            }
            ImageError::Unsupported(it) => Self::NoPreview { format, detail: it.to_string() },
            other => Self::Corrupt { format, detail: other.to_string() },
        }
    }
}

impl From<PictureError> for Problem {
    fn from(error: PictureError) -> Self {
        let hint = match &error {
            PictureError::Unsupported | PictureError::NoPreview { .. } => "convert it to PNG or JPEG",
            PictureError::BadSide(_) => "ask for another size",
            PictureError::TooLarge | PictureError::BadSize { .. } | PictureError::TooMuchMemory => {
                "scale it down or cut it into tiles"
            }
            PictureError::Empty | PictureError::Truncated(_) | PictureError::Corrupt { .. } => {
                "copy the file again from its source, or leave it out"
            }
        };
        Self::invalid(error.to_string()).hint(hint)
    }
}

/// A file that was looked at without decoding it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// What it says it is.
    pub facts: PictureFacts,
    /// What decoding takes, in bytes, when only that tells whether the file is whole; see [`check`].
    pub check_bytes: Option<u64>,
}

/// Reads the facts and checks that the file is whole.
pub fn facts(bytes: &[u8]) -> Result<PictureFacts, PictureError> {
    let Looked { facts, check_bytes } = look(bytes)?;
    if check_bytes.is_some() {
        check(bytes, &facts)?;
    }
    Ok(facts)
}

/// Reads the facts and checks the structure. Takes no memory to speak of.
pub fn look(bytes: &[u8]) -> Result<Looked, PictureError> {
    let format = checked_format(bytes)?;
    let (facts, structure) = match format {
        PictureFormat::Png => {
            // The walk that finds damage passes the header and the orientation.
            let found = whole::png(bytes)?;
            let orientation = found.exif.and_then(Orientation::from_exif_chunk);
            (facts_of(format, (found.width, found.height), orientation, found.sample)?, whole::Checked::Whole)
        }
        PictureFormat::Jpeg => {
            let found = whole::jpeg(bytes)?;
            let orientation = found.exif.and_then(Orientation::from_exif_chunk);
            (facts_of(format, (found.width, found.height), orientation, found.sample)?, whole::Checked::Whole)
        }
        PictureFormat::Tiff => {
            let found = tiff::directory(bytes)?;
            let orientation = Orientation::from_exif(found.orientation);
            (facts_of(format, (found.width, found.height), orientation, found.sample)?, whole::Checked::Header)
        }
        PictureFormat::Gif | PictureFormat::Bmp | PictureFormat::WebP => {
            let mut decoder = decoder(bytes, format)?;
            let orientation = decoder.orientation().ok();
            let sample = Sample::uint8(u16::from(decoder.color_type().channel_count()));
            (facts_of(format, decoder.dimensions(), orientation, sample)?, whole::check(format, bytes)?)
        }
    };
    let check_bytes = match structure {
        whole::Checked::Whole => None,
        whole::Checked::Header => Some(decode_bytes(bytes, &facts)).filter(|it| *it <= DECODE_CHECK_BYTES_MAX),
    };
    Ok(Looked { facts, check_bytes })
}

fn facts_of(
    format: PictureFormat,
    size: (u32, u32),
    orientation: Option<Orientation>,
    sample: Sample,
) -> Result<PictureFacts, PictureError> {
    Ok(PictureFacts::new(format, checked_size(size)?, orientation.unwrap_or(Orientation::NoTransforms), sample))
}

/// Decodes the file to find out whether it is whole.
pub fn check(bytes: &[u8], facts: &PictureFacts) -> Result<(), PictureError> {
    if facts.format == PictureFormat::Tiff {
        return tiff::check(bytes, &tiff::directory(bytes)?);
    }
    match decode(bytes, facts.format) {
        Ok(_) | Err(PictureError::NoPreview { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// About what decoding a file takes, in bytes, with the decoder's own tables and the copies that previews need. The
/// file is not decoded.
pub fn decode_bytes(bytes: &[u8], facts: &PictureFacts) -> u64 {
    let pixels = u64::from(facts.width) * u64::from(facts.height);
    let Sample { bits, bands, .. } = facts.sample;
    let stored = u64::from(bits.div_ceil(8)) * u64::from(bands);
    let per_pixel = match facts.format {
        PictureFormat::Png => stored.max(3) + 4,
        // A progressive one keeps all coefficients, two bytes each, until its last scan.
        PictureFormat::Jpeg if whole::jpeg(bytes).is_ok_and(|it| it.is_progressive) => stored * 3 + 4,
        PictureFormat::Jpeg => stored + 4,
        // Canvas and frame of four bytes each.
        PictureFormat::Gif | PictureFormat::WebP => 8,
        PictureFormat::Bmp => 4,
        PictureFormat::Tiff => match tiff::directory(bytes) {
            Ok(it) => return it.decode_bytes().saturating_add(1 << 20),
            Err(_) => 8,
        },
    };
    pixels.saturating_mul(per_pixel).saturating_add(1 << 20)
}

/// The format a thumbnail is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThumbnailFormat {
    /// Without loss; right for small pictures.
    Png,
    /// Small; transparency becomes white.
    Jpeg,
    /// Without loss, smaller than PNG.
    WebP,
}

impl ThumbnailFormat {
    /// The media type for HTTP.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::WebP => "image/webp",
        }
    }
}

/// A copy whose longer side is at most `side` pixels, upright, as a file. Small pictures are not enlarged.
/// Takes as long as decoding does: call it off the async threads.
pub fn thumbnail(bytes: &[u8], side: u32, format: ThumbnailFormat) -> Result<Vec<u8>, PictureError> {
    if side == 0 || side > THUMBNAIL_SIDE_MAX {
        return Err(PictureError::BadSide(side));
    }
    let source = checked_format(bytes)?;
    let (picture, orientation) = match unusual(bytes, source, Wanted::Preview)? {
        Some(found) => found,
        None => decode(bytes, source)?,
    };
    let mut small =
        if picture.width() > side || picture.height() > side { picture.thumbnail(side, side) } else { picture };
    small.apply_orientation(orientation);
    encode(&small, format).map_err(|error| PictureError::from_codec(source, error))
}

/// The picture, upright, as `width` × `height` × `channels` values of 0 to 255: rows of interleaved channels, 1 for
/// grey, 3 for red, green and blue. Colours are reduced before the size, as the training scripts do.
/// Takes as long as decoding does: call it off the async threads.
pub fn pixels(bytes: &[u8], width: u32, height: u32, channels: u32) -> Result<Vec<u8>, PictureError> {
    let source = checked_format(bytes)?;
    let (mut picture, orientation) = match unusual(bytes, source, Wanted::Colours)? {
        Some(found) => found,
        None => decode(bytes, source)?,
    };
    picture.apply_orientation(orientation);
    let plain = match channels {
        1 => DynamicImage::ImageLuma8(picture.to_luma8()),
        _ => DynamicImage::ImageRgb8(picture.to_rgb8()),
    };
    let is_right = plain.width() == width && plain.height() == height;
    let sized = if is_right { plain } else { plain.resize_exact(width, height, FilterType::Triangle) };
    Ok(sized.into_bytes())
}

/// What a picture is decoded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// To look at: measurements are stretched.
    Preview,
    /// For a model, which wants the colours that are stored and no others.
    Colours,
}

/// A TIFF that is no ordinary photograph.
fn unusual(
    bytes: &[u8],
    format: PictureFormat,
    wanted: Wanted,
) -> Result<Option<(DynamicImage, Orientation)>, PictureError> {
    if format != PictureFormat::Tiff {
        return Ok(None);
    }
    let directory = tiff::directory(bytes)?;
    checked_size((directory.width, directory.height))?;
    if directory.is_plain() || (wanted == Wanted::Colours && directory.is_left_to_the_decoder()) {
        return Ok(None);
    }
    let orientation = Orientation::from_exif(directory.orientation).unwrap_or(Orientation::NoTransforms);
    tiff::preview(bytes, &directory).map(|it| Some((it, orientation)))
}

fn encode(picture: &DynamicImage, format: ThumbnailFormat) -> Result<Vec<u8>, ImageError> {
    let deep = !matches!(
        picture,
        DynamicImage::ImageLuma8(_)
            | DynamicImage::ImageLumaA8(_)
            | DynamicImage::ImageRgb8(_)
            | DynamicImage::ImageRgba8(_)
    );
    let alpha = picture.color().has_alpha();
    let mut out = Cursor::new(Vec::new());
    match format {
        ThumbnailFormat::Jpeg => DynamicImage::ImageRgb8(over_white(picture)).write_to(&mut out, ImageFormat::Jpeg)?,
        ThumbnailFormat::Png | ThumbnailFormat::WebP => {
            let codec = if format == ThumbnailFormat::Png { ImageFormat::Png } else { ImageFormat::WebP };
            match (deep, alpha) {
                (false, _) => picture.write_to(&mut out, codec)?,
                (true, true) => DynamicImage::ImageRgba8(picture.to_rgba8()).write_to(&mut out, codec)?,
                (true, false) => DynamicImage::ImageRgb8(picture.to_rgb8()).write_to(&mut out, codec)?,
            }
        }
    }
    Ok(out.into_inner())
}

fn over_white(picture: &DynamicImage) -> image::RgbImage {
    if !picture.color().has_alpha() {
        return picture.to_rgb8();
    }
    let source = picture.to_rgba8();
    image::RgbImage::from_fn(source.width(), source.height(), |x, y| {
        let [red, green, blue, alpha] = source.get_pixel(x, y).0;
        let alpha = u32::from(alpha);
        let mix = |it: u8| ((u32::from(it) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        image::Rgb([mix(red), mix(green), mix(blue)])
    })
}

fn checked_format(bytes: &[u8]) -> Result<PictureFormat, PictureError> {
    if bytes.is_empty() {
        return Err(PictureError::Empty);
    }
    if bytes.len() > FILE_BYTES_MAX {
        return Err(PictureError::TooLarge);
    }
    PictureFormat::sniff(bytes).ok_or(PictureError::Unsupported)
}

fn checked_size((width, height): (u32, u32)) -> Result<(u32, u32), PictureError> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || pixels > PIXELS_MAX { Err(PictureError::BadSize { width, height }) } else { Ok((width, height)) }
}

fn decoder(bytes: &[u8], format: PictureFormat) -> Result<impl ImageDecoder + '_, PictureError> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format.codec());
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODE_BYTES_MAX);
    reader.limits(limits);
    reader.into_decoder().map_err(|error| PictureError::from_codec(format, error))
}

fn decode(bytes: &[u8], format: PictureFormat) -> Result<(DynamicImage, Orientation), PictureError> {
    let mut decoder = decoder(bytes, format)?;
    checked_size(decoder.dimensions())?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let picture = DynamicImage::from_decoder(decoder).map_err(|error| PictureError::from_codec(format, error))?;
    Ok((picture, orientation))
}

#[cfg(test)]
mod tests;
