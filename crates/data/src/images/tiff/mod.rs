//! TIFF files of any kind: what they hold, by their first directory alone, and previews of those that are no ordinary
//! photographs: palettes, L*a*b*, many bands, numbers with a sign or a fraction.
//!
//! A TIFF may hold more than any decoder knows. What is not known has no preview; damaged is only what breaks off, or
//! whose compressed data are wrong.

mod colours;
mod planes;

use super::{PIXELS_MAX, PictureError, PictureFormat, Sample, SampleKind};
use image::DynamicImage;

/// Entries of a directory that are looked at.
const ENTRIES_MAX: u64 = 4096;
/// The most strips or tiles of one picture.
const PIECES_MAX: u64 = 1 << 20;
/// Tags from this one on are not the standard's.
const PRIVATE_TAGS: u64 = 32768;
/// How often the bytes of a file may be named by its strips or tiles: blank tiles may share theirs.
const SHARED_MAX: u64 = 16;

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
    /// How the pieces are compressed (tag 259): 1 is not at all, 4 CCITT T.6, 5 LZW, 7 JPEG, 8 deflate.
    compression: u64,
    predictor: u64,
    /// The first pixel of a byte is in its lowest bit (tag 266).
    is_reversed: bool,
    /// Each band lies on its own (tag 284).
    is_planar: bool,
    pieces: Pieces,
    palette: Option<Entry>,
    jpeg_tables: Option<Entry>,
    /// Why there is no preview, where that is known before decoding.
    unknown: Option<&'static str>,
}

/// Strips or tiles: their size in pixels, and where they lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Pieces {
    are_tiles: bool,
    width: u64,
    height: u64,
    offsets: Option<Entry>,
    lengths: Option<Entry>,
}

/// Byte order and offset width of a file.
struct Bytes<'a> {
    file: &'a [u8],
    big_endian: bool,
    /// BigTIFF: offsets of eight bytes.
    wide: bool,
}

/// One entry of a directory: the type, the number of values, and where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    kind: u64,
    count: u64,
    at: u64,
}

impl Entry {
    /// Where its values end.
    fn end(&self) -> u64 {
        let size = match self.kind {
            2 => 1,
            5 | 10 | 12 => 8,
            11 => 4,
            kind => size_of(kind),
        };
        self.at.saturating_add(self.count.saturating_mul(size))
    }
}

impl<'a> Bytes<'a> {
    fn of(file: &'a [u8]) -> Self {
        let wide = matches!(file, [b'I', b'I', 43, 0, ..] | [b'M', b'M', 0, 43, ..]);
        Self { file, big_endian: file.starts_with(b"MM"), wide }
    }

    fn number(&self, at: u64, bytes: usize) -> Result<u64, PictureError> {
        let found = usize::try_from(at).ok().and_then(|at| self.file.get(at..at.checked_add(bytes)?));
        let found = found.ok_or(PictureError::Truncated(PictureFormat::Tiff))?;
        let push = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        Ok(if self.big_endian { found.iter().fold(0, push) } else { found.iter().rev().fold(0, push) })
    }

    /// The bytes of an entry that holds bytes, as far as they are there.
    fn range(&self, entry: &Entry) -> &'a [u8] {
        let at = usize::try_from(entry.at).unwrap_or(usize::MAX);
        let count = usize::try_from(entry.count).unwrap_or(usize::MAX);
        self.file.get(at..at.saturating_add(count)).unwrap_or_default()
    }

    /// The value of a whole number's entry at `which`.
    fn value(&self, entry: &Entry, which: u64) -> Result<u64, PictureError> {
        let size = size_of(entry.kind);
        self.number(entry.at.saturating_add(which.saturating_mul(size)), size as usize)
    }
}

/// Bytes of a value of this type; 0 for what is no whole number and no byte.
fn size_of(kind: u64) -> u64 {
    match kind {
        1 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 13 => 4,
        16..=18 => 8,
        _ => 0,
    }
}

fn corrupt(detail: &str) -> PictureError {
    PictureError::Corrupt { format: PictureFormat::Tiff, detail: detail.to_owned() }
}

/// The tags of a directory that matter, as far as it has them.
struct Tags {
    size: (u64, u64),
    orientation: u64,
    bits: u64,
    are_bits_alike: bool,
    bands: u64,
    format: u64,
    subsampling: (u64, u64),
    has_pictures_below: bool,
    found: Directory,
}

/// Reads the first directory, and checks that the strips or tiles it names lie within the file.
pub(super) fn directory(file: &[u8]) -> Result<Directory, PictureError> {
    let bytes = Bytes::of(file);
    let mut tags = Tags::read(&bytes)?;
    let small = |it: u64| u16::try_from(it).map_err(|_| corrupt("it has an impossible number of bands or bits"));
    let kind = match tags.format {
        2 => SampleKind::Int,
        3 => SampleKind::Float,
        5 | 6 => SampleKind::Complex,
        _ => SampleKind::Uint,
    };
    let found = &mut tags.found;
    found.width = u32::try_from(tags.size.0).unwrap_or(u32::MAX);
    found.height = u32::try_from(tags.size.1).unwrap_or(u32::MAX);
    found.orientation = u8::try_from(tags.orientation).ok().filter(|it| (1..=8).contains(it)).unwrap_or(1);
    found.sample = Sample { kind, bits: small(tags.bits)?, bands: small(tags.bands)? };
    if !found.pieces.are_tiles {
        found.pieces.width = tags.size.0;
        found.pieces.height = found.pieces.height.min(tags.size.1);
    }
    match (found.pieces.offsets, found.pieces.lengths) {
        (None, _) if tags.found.compression != 6 && !tags.has_pictures_below => {
            return Err(corrupt("it does not say where its pixels lie"));
        }
        (Some(offsets), Some(lengths)) => check_pieces(&bytes, &offsets, &lengths)?,
        _ => {}
    }
    tags.found.unknown = tags.unknown().or_else(|| planes::unknown(&bytes, &tags.found));
    Ok(tags.found)
}

impl Tags {
    fn read(bytes: &Bytes<'_>) -> Result<Self, PictureError> {
        let begin = if bytes.wide { bytes.number(8, 8)? } else { bytes.number(4, 4)? };
        let (count, first) = match bytes.wide {
            true => (bytes.number(begin, 8)?, begin.saturating_add(8)),
            false => (bytes.number(begin, 2)?, begin.saturating_add(2)),
        };
        let (mut tags, entry_bytes) = (Self::unset(), if bytes.wide { 20 } else { 12 });
        // The place of the next directory ends each.
        bytes.number(first.saturating_add(count.saturating_mul(entry_bytes)), if bytes.wide { 8 } else { 4 })?;
        for which in 0..count.min(ENTRIES_MAX) {
            let at = first.saturating_add(which * entry_bytes);
            let (tag, entry) = (bytes.number(at, 2)?, entry_at(bytes, at)?);
            // What a program of its own kind wrote about itself may be anything.
            if tag < PRIVATE_TAGS && entry.end() > bytes.file.len() as u64 {
                return Err(PictureError::Truncated(PictureFormat::Tiff));
            }
            tags.take(bytes, tag, entry)?;
        }
        Ok(tags)
    }

    /// The values of tags that are left out (TIFF 6.0).
    fn unset() -> Self {
        let found = Directory {
            width: 0,
            height: 0,
            orientation: 1,
            sample: Sample { kind: SampleKind::Uint, bits: 1, bands: 1 },
            photometric: u64::MAX,
            compression: 1,
            predictor: 1,
            is_reversed: false,
            is_planar: false,
            pieces: Pieces { height: u64::MAX, ..Pieces::default() },
            palette: None,
            jpeg_tables: None,
            unknown: None,
        };
        Self {
            size: (0, 0),
            orientation: 1,
            bits: 1,
            are_bits_alike: true,
            bands: 1,
            format: 1,
            subsampling: (2, 2),
            has_pictures_below: false,
            found,
        }
    }

    fn take(&mut self, bytes: &Bytes<'_>, tag: u64, entry: Entry) -> Result<(), PictureError> {
        let value = || bytes.value(&entry, 0);
        let found = &mut self.found;
        match tag {
            256 => self.size.0 = value()?,
            257 => self.size.1 = value()?,
            258 => {
                self.bits = value()?;
                for which in 1..entry.count.min(u64::from(u16::MAX)) {
                    self.are_bits_alike &= bytes.value(&entry, which)? == self.bits;
                }
            }
            259 => found.compression = value()?,
            262 => found.photometric = value()?,
            266 => found.is_reversed = value()? == 2,
            273 | 324 => found.pieces.offsets = Some(entry),
            274 => self.orientation = value()?,
            277 => self.bands = value()?,
            278 if !found.pieces.are_tiles => found.pieces.height = value()?,
            279 | 325 => found.pieces.lengths = Some(entry),
            284 => found.is_planar = value()? == 2,
            317 => found.predictor = value()?,
            320 => found.palette = Some(entry),
            322 => (found.pieces.are_tiles, found.pieces.width) = (true, value()?),
            323 => found.pieces.height = value()?,
            330 => self.has_pictures_below = true,
            339 => self.format = value()?,
            347 => found.jpeg_tables = Some(entry),
            530 => self.subsampling = (value()?, bytes.value(&entry, 1)?),
            _ => {}
        }
        Ok(())
    }

    /// What neither this code nor the decoder knows.
    fn unknown(&self) -> Option<&'static str> {
        let it = &self.found;
        let compression = match it.compression {
            1 | 4 | 5 | 7 | 8 | 32773 | 32946 => None,
            2 => Some("the compression CCITT modified Huffman"),
            3 => Some("the compression CCITT T.4"),
            6 => Some("the JPEG compression of TIFF 6.0"),
            34712 => Some("the compression JPEG 2000"),
            34887 => Some("the compression LERC"),
            34925 => Some("the compression LZMA"),
            50000 => Some("the compression Zstandard"),
            50001 => Some("the compression WebP"),
            50002 | 52546 => Some("the compression JPEG XL"),
            _ => Some("this compression"),
        };
        let is_halved = it.photometric == 6 && it.compression != 7 && self.subsampling != (1, 1);
        let all = [
            (!self.are_bits_alike, "a different number of bits for each band"),
            (it.sample.kind == SampleKind::Complex, "complex numbers"),
            (it.photometric == 10, "ITU L*a*b*"),
            (matches!(it.photometric, 32844 | 32845), "the LogLuv encoding"),
            (is_halved, "YCbCr with fewer colours than pixels"),
            (it.pieces.offsets.is_none(), "a first directory without pixels"),
            (it.pieces.lengths.is_none(), "strips without a length"),
        ];
        compression.or_else(|| all.into_iter().find_map(|(is_so, what)| is_so.then_some(what)))
    }
}

fn entry_at(bytes: &Bytes<'_>, at: u64) -> Result<Entry, PictureError> {
    let kind = bytes.number(at + 2, 2)?;
    let (count, place, inline) = match bytes.wide {
        true => (bytes.number(at + 4, 8)?, at + 12, 8),
        false => (bytes.number(at + 4, 4)?, at + 8, 4),
    };
    let here = Entry { kind, count, at: place };
    let fits = here.end() - place <= inline;
    let at = if fits { place } else { bytes.number(place, inline as usize)? };
    Ok(Entry { at, ..here })
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
    /// What decoding takes, in bytes: all bands with the padding of tiles, and the preview made of them.
    pub(super) fn decode_bytes(&self) -> u64 {
        let pixels = u64::from(self.width) * u64::from(self.height);
        let stored = u64::from(self.sample.bits.div_ceil(8).next_power_of_two()) * u64::from(self.sample.bands);
        let piece = self.pieces.width.saturating_mul(self.pieces.height);
        let padded = if self.pieces.are_tiles { self.pieces_of_plane().saturating_mul(piece) } else { pixels };
        // A decoder of JPEG keeps the coefficients of a whole piece, two bytes each, its samples and its part of the file.
        let unpacked = if self.compression == 7 { piece.saturating_mul(stored.saturating_mul(4)) } else { 0 };
        padded.saturating_mul(stored).saturating_add(pixels * 4).saturating_add(unpacked)
    }

    /// Whether it is an ordinary picture of 8 bits as cameras and scanners write it.
    pub(super) fn is_plain(&self) -> bool {
        let Sample { kind, bits, bands } = self.sample;
        let is_usual = matches!((self.photometric, bits, bands), (0 | 1, 8, 1) | (2, 8, 3 | 4));
        let is_usual = is_usual && !self.pieces.are_tiles;
        kind == SampleKind::Uint && is_usual && !self.is_reversed && !self.is_planar && self.unknown.is_none()
    }

    /// Whether its values are measurements, which only the common decoder may take for colours.
    pub(super) fn is_left_to_the_decoder(&self) -> bool {
        self.unknown.is_none() && !colours::Colours::of(self).is_exact()
    }

    /// Pieces of one plane, across and down.
    fn pieces_of_plane(&self) -> u64 {
        let across = u64::from(self.width).div_ceil(self.pieces.width.max(1));
        across.saturating_mul(u64::from(self.height).div_ceil(self.pieces.height.max(1)))
    }
}

fn no_preview(detail: impl Into<String>) -> PictureError {
    PictureError::NoPreview { format: PictureFormat::Tiff, detail: detail.into() }
}

/// Decodes it as far as that tells whether it is damaged. What the decoder does not know is no damage.
pub(super) fn check(file: &[u8], directory: &Directory) -> Result<(), PictureError> {
    match planes::check(file, directory) {
        Err(it @ (PictureError::Corrupt { .. } | PictureError::Truncated(_))) => Err(it),
        _ => Ok(()),
    }
}

/// A picture to look at: in its colours where it has any, otherwise the first three bands, or the first alone,
/// stretched so that the middle 96 % of the values fill the range.
pub(super) fn preview(file: &[u8], directory: &Directory) -> Result<DynamicImage, PictureError> {
    colours::picture(file, directory)
}
