//! The samples of a TIFF. The decoder is shown one plane at a time, under a directory written here, as grey or as bands
//! without a meaning: so it gives the samples as they are stored, whatever the file says they mean.

use super::{
    Bytes, Directory, PIECES_MAX, PIXELS_MAX, PictureError, PictureFormat, SHARED_MAX, SampleKind, corrupt, no_preview,
};
use std::{
    io::{self, Cursor, Read, Seek, SeekFrom},
    panic::{AssertUnwindSafe, catch_unwind},
};
use tiff::{
    TiffError, TiffFormatError,
    decoder::{Decoder, DecodingResult, Limits},
};

/// The longest tile, in pixels.
const TILE_SIDE_MAX: u64 = 1 << 16;

/// Samples of one plane: all strips as one piece, or each tile as it lies in the file, its padding included.
#[derive(Debug)]
struct Plane {
    pieces: Vec<DecodingResult>,
    /// Width and height of a piece, in pixels.
    size: (usize, usize),
    /// Pieces side by side.
    across: usize,
    /// Samples of each pixel that lie side by side.
    chunky: usize,
    /// Set where samples are no whole bytes wide, or of a width that computers have no numbers of.
    packed: Option<Packed>,
}

#[derive(Debug, Clone, Copy)]
struct Packed {
    bits: usize,
    row_bytes: usize,
    is_little_endian: bool,
}

/// The samples that are looked at.
#[derive(Debug)]
pub(super) struct Planes {
    planes: Vec<Plane>,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// Why the pieces of a file are not given to a decoder: it would not know them, or take more memory than it is allowed.
pub(super) fn unknown(bytes: &Bytes<'_>, directory: &Directory) -> Option<&'static str> {
    let pieces = &directory.pieces;
    let tile = pieces.width.saturating_mul(pieces.height);
    if tile == 0 || tile > PIXELS_MAX || (pieces.are_tiles && pieces.width.max(pieces.height) > TILE_SIDE_MAX) {
        return Some("strips or tiles of such a size");
    }
    let planes = if directory.is_planar { u64::from(directory.sample.bands) } else { 1 };
    let needed = directory.pieces_of_plane().saturating_mul(planes);
    let (offsets, lengths) = (pieces.offsets?, pieces.lengths?);
    if needed == 0 || needed > PIECES_MAX || offsets.count < needed || lengths.count < needed {
        return Some("such a number of strips or tiles");
    }
    if directory.compression == 7 && directory.sample.bits != 8 {
        return Some("JPEG of other than 8 bits");
    }
    let mut total = 0u64;
    for which in 0..needed {
        let (at, length) = (bytes.value(&offsets, which).ok()?, bytes.value(&lengths, which).ok()?);
        total = total.saturating_add(length);
        let piece = bytes.file.get(at as usize..at.saturating_add(length) as usize).unwrap_or_default();
        match (directory.compression, piece) {
            (_, []) => return Some("strips or tiles that are left out"),
            (5, [0, second, ..]) if second & 1 == 1 => return Some("the LZW of before TIFF 5.0"),
            (7, _) if !is_jpeg_within(piece, (pieces.width, pieces.height)) => {
                return Some("a JPEG of another size than its strip or tile");
            }
            _ => {}
        }
    }
    let is_shared = total > SHARED_MAX.saturating_mul(bytes.file.len() as u64);
    let tables = directory.jpeg_tables.map_or(&[][..], |it| bytes.range(&it));
    if !is_jpeg_within(tables, (0, 0)) {
        return Some("tables of JPEG that hold a picture");
    }
    is_shared.then_some("so many strips or tiles at the same place")
}

/// Whether no frame in a JPEG says that it is larger. Decoders take the memory that a frame asks for.
fn is_jpeg_within(file: &[u8], (width, height): (u64, u64)) -> bool {
    let mut at = 2;
    while let Some([0xff, mark, rest @ ..]) = file.get(at..) {
        if matches!(*mark, 0xff) {
            at += 1;
            continue;
        }
        if matches!(*mark, 0x01 | 0xd0..=0xd8) {
            at += 2;
            continue;
        }
        let [high, low, body @ ..] = rest else { return true };
        match (*mark, body) {
            (0xda | 0xd9, _) => return true,
            (0xc0..=0xcf, [_, a, b, c, d, ..]) if !matches!(*mark, 0xc4 | 0xc8 | 0xcc) => {
                let (down, across) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
                if u64::from(down) > height || u64::from(across) > width {
                    return false;
                }
            }
            _ => {}
        }
        at += 2 + usize::from(u16::from_be_bytes([*high, *low])).max(2);
    }
    true
}

/// Decodes every plane, one after the other.
pub(super) fn check(file: &[u8], directory: &Directory) -> Result<(), PictureError> {
    let planes = if directory.is_planar { directory.sample.bands } else { 1 };
    for which in 0..planes {
        plane(file, directory, which)?;
    }
    Ok(())
}

/// Decodes the planes that hold the first `bands` bands.
pub(super) fn decoded(file: &[u8], directory: &Directory, bands: u16) -> Result<Planes, PictureError> {
    let planes = if directory.is_planar { bands.min(directory.sample.bands) } else { 1 };
    let planes = (0..planes).map(|it| plane(file, directory, it)).collect::<Result<_, _>>()?;
    Ok(Planes { planes, width: directory.width as usize, height: directory.height as usize })
}

impl Planes {
    /// The sample of a band, as it is stored.
    pub(super) fn at(&self, (x, y): (usize, usize), band: usize) -> f64 {
        match self.planes.as_slice() {
            [only] => only.at((x, y), band),
            many => many.get(band).map_or(0.0, |it| it.at((x, y), 0)),
        }
    }
}

impl Plane {
    fn at(&self, (x, y): (usize, usize), band: usize) -> f64 {
        let (width, height) = self.size;
        let Some(values) = self.pieces.get(y / height * self.across + x / width) else { return 0.0 };
        let (x, y) = (x % width, y % height);
        let which = x * self.chunky + band;
        if let (Some(packed), DecodingResult::U8(bytes)) = (self.packed, values) {
            return packed.at(bytes, which, y);
        }
        let at = y * width * self.chunky + which;
        match values {
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
}

impl Packed {
    /// Bits run from the highest of the first byte; whole bytes follow the order of the file.
    fn at(self, bytes: &[u8], which: usize, y: usize) -> f64 {
        let begin = y * self.row_bytes;
        let row = bytes.get(begin..begin + self.row_bytes).unwrap_or_default();
        let first = which * self.bits;
        if self.is_little_endian && self.bits.is_multiple_of(8) {
            let value = row.iter().skip(first / 8).take(self.bits / 8).rev();
            return value.fold(0u64, |sum, it| (sum << 8) | u64::from(*it)) as f64;
        }
        let bit = |at: usize| row.get(at / 8).map_or(0, |it| u64::from(it >> (7 - at % 8)) & 1);
        (first..first + self.bits).fold(0, |sum, at| (sum << 1) | bit(at)) as f64
    }
}

/// Decodes one plane: its strips at once, or its tiles one by one.
fn plane(file: &[u8], directory: &Directory, which: u16) -> Result<Plane, PictureError> {
    if let Some(what) = directory.unknown {
        return Err(no_preview(what));
    }
    let layout = Layout::of(directory)?;
    let (first, count) = (directory.pieces_of_plane() * u64::from(which), directory.pieces_of_plane());
    let (step, (width, height)) = match directory.pieces.are_tiles {
        true => (1, (directory.pieces.width, directory.pieces.height)),
        false => (count, (directory.width.into(), directory.height.into())),
    };
    let pieces = (first..first + count).step_by(step as usize).map(|at| {
        let front = front(file, directory, &layout, (width, height), at..at + step)?;
        decode(file, directory, front)
    });
    let packed = layout.packed.map(|bits| Packed {
        bits: bits as usize,
        row_bytes: layout.across(width) as usize,
        is_little_endian: !Bytes::of(file).big_endian,
    });
    Ok(Plane {
        pieces: pieces.collect::<Result<_, _>>()?,
        size: (width as usize, height as usize),
        across: u64::from(directory.width).div_ceil(width) as usize,
        chunky: layout.chunky as usize,
        packed,
    })
}

/// A decoder that gives up on its own assumptions says no more than that it does not know the file.
fn decode(file: &[u8], directory: &Directory, front: Vec<u8>) -> Result<DecodingResult, PictureError> {
    let limit = usize::try_from(directory.decode_bytes()).unwrap_or(usize::MAX);
    let is_reversed = directory.is_reversed && directory.compression != 7;
    let decoding = || {
        let mut limits = Limits::default();
        limits.decoding_buffer_size = limit;
        limits.intermediate_buffer_size = limit.max(file.len());
        limits.ifd_value_size = 8 * PIECES_MAX as usize;
        let mut decoder = Decoder::new(Joined { front, file, at: 0, is_reversed })?.with_limits(limits);
        let mut values = DecodingResult::U8(Vec::new());
        decoder.read_image_to_buffer(&mut values)?;
        Ok(values)
    };
    match catch_unwind(AssertUnwindSafe(decoding)) {
        Ok(done) => done.map_err(|it| meaning(it, directory.compression)),
        Err(_) => Err(no_preview("something of this layout")),
    }
}

/// What a decoder's error says about the file.
fn meaning(error: TiffError, compression: u64) -> PictureError {
    match error {
        // Faxes have extensions that a decoder tells from damage no better than we do.
        other if compression == 4 => no_preview(other.to_string()),
        TiffError::IoError(it) if it.kind() == io::ErrorKind::UnexpectedEof => {
            PictureError::Truncated(PictureFormat::Tiff)
        }
        TiffError::IoError(it) => corrupt(&it.to_string()),
        TiffError::FormatError(it @ TiffFormatError::CompressedDataCorrupt(_)) => corrupt(&it.to_string()),
        TiffError::LimitsExceeded => PictureError::TooMuchMemory,
        other => no_preview(other.to_string()),
    }
}

/// How the decoder is shown a plane.
struct Layout {
    chunky: u64,
    /// Bits of a sample where they are no whole number of bytes that the decoder knows.
    packed: Option<u64>,
    shown_bits: u64,
    shown_samples: u64,
    is_predicted: bool,
}

impl Layout {
    fn of(directory: &Directory) -> Result<Self, PictureError> {
        let sample = directory.sample;
        let chunky = if directory.is_planar { 1 } else { u64::from(sample.bands) };
        let bits = u64::from(sample.bits);
        let is_packed = !matches!(bits, 8 | 16 | 32 | 64);
        let is_predicted = matches!(directory.compression, 5 | 8 | 32946) && directory.predictor != 1;
        let is_unusual = is_packed && (sample.kind != SampleKind::Uint || is_predicted || !(1..=48).contains(&bits));
        if is_unusual || (directory.compression == 4 && (bits, chunky) != (1, 1)) {
            return Err(no_preview(format!("{sample} with such a compression")));
        }
        // A fax is known by its pixels, other widths are shown as bytes.
        let is_as_bytes = is_packed && directory.compression != 4;
        let (shown_bits, shown_samples) = if is_as_bytes { (8, 1) } else { (bits, chunky) };
        Ok(Self { chunky, packed: is_packed.then_some(bits), shown_bits, shown_samples, is_predicted })
    }

    /// Bytes of a row of packed samples.
    fn across(&self, pixels: u64) -> u64 {
        self.packed.map_or(pixels, |bits| (pixels * bits * self.chunky).div_ceil(8))
    }
}

/// A directory for some pieces, as strips of one picture.
fn front(
    file: &[u8],
    directory: &Directory,
    layout: &Layout,
    (width, height): (u64, u64),
    pieces: std::ops::Range<u64>,
) -> Result<Vec<u8>, PictureError> {
    let bytes = Bytes::of(file);
    let (Some(offsets), Some(lengths)) = (directory.pieces.offsets, directory.pieces.lengths) else {
        return Err(no_preview("a file without places of its pixels"));
    };
    let values = |entry| pieces.clone().map(|it| bytes.value(entry, it)).collect::<Result<Vec<_>, _>>();
    let mut front = Front::new(bytes.big_endian);
    front.tag(256, &[if layout.shown_bits == 8 { layout.across(width) } else { width }]);
    front.tag(257, &[height]);
    front.tag(258, &[layout.shown_bits]);
    front.tag(259, &[directory.compression]);
    // Black is zero: the decoder takes the samples for numbers, and changes none.
    front.tag(262, &[1]);
    front.places(273, values(&offsets)?);
    front.tag(277, &[layout.shown_samples]);
    front.tag(278, &[directory.pieces.height]);
    front.tag(279, &values(&lengths)?);
    front.tag(317, &[if layout.is_predicted { directory.predictor } else { 1 }]);
    let kind = match directory.sample.kind {
        SampleKind::Int => 2,
        SampleKind::Float => 3,
        SampleKind::Uint | SampleKind::Complex => 1,
    };
    front.tag(339, &[kind]);
    if let Some(tables) = directory.jpeg_tables.filter(|_| directory.compression == 7) {
        front.bytes(347, bytes.range(&tables));
    }
    Ok(front.finish())
}

/// The front of a file: a header, and a directory of big offsets.
struct Front {
    big_endian: bool,
    tags: Vec<(u64, u64, Vec<u8>, u64)>,
    places: (usize, Vec<u64>),
}

impl Front {
    fn new(big_endian: bool) -> Self {
        Self { big_endian, tags: Vec::new(), places: (0, Vec::new()) }
    }

    fn number(&self, value: u64, bytes: usize) -> Vec<u8> {
        if self.big_endian { value.to_be_bytes()[8 - bytes..].to_vec() } else { value.to_le_bytes()[..bytes].to_vec() }
    }

    /// A tag of whole numbers of eight bytes.
    fn tag(&mut self, tag: u64, values: &[u64]) {
        let bytes = values.iter().flat_map(|it| self.number(*it, 8)).collect();
        self.tags.push((tag, 16, bytes, values.len() as u64));
    }

    /// A tag of places in the file, which lies behind this front.
    fn places(&mut self, tag: u64, values: Vec<u64>) {
        self.tag(tag, &values);
        self.places = (self.tags.len() - 1, values);
    }

    fn bytes(&mut self, tag: u64, bytes: &[u8]) {
        self.tags.push((tag, 7, bytes.to_vec(), bytes.len() as u64));
    }

    fn finish(mut self) -> Vec<u8> {
        let directory = 8 + 20 * self.tags.len() + 8;
        let behind: usize = self.tags.iter().map(|it| if it.2.len() > 8 { it.2.len() } else { 0 }).sum();
        let length = (16 + directory + behind) as u64;
        let (which, places) = std::mem::take(&mut self.places);
        let moved = places.iter().flat_map(|it| self.number(it.saturating_add(length), 8)).collect();
        if let Some(tag) = self.tags.get_mut(which) {
            tag.2 = moved;
        }
        let mut out = if self.big_endian { b"MM\0\x2b\0\x08\0\0".to_vec() } else { b"II\x2b\0\x08\0\0\0".to_vec() };
        out.extend(self.number(16, 8));
        out.extend(self.number(self.tags.len() as u64, 8));
        let (mut at, mut rest) = ((16 + directory) as u64, Vec::<u8>::with_capacity(behind));
        for (tag, kind, bytes, count) in &self.tags {
            out.extend(self.number(*tag, 2));
            out.extend(self.number(*kind, 2));
            out.extend(self.number(*count, 8));
            if bytes.len() <= 8 {
                out.extend(bytes);
                out.resize(out.len() + 8 - bytes.len(), 0);
            } else {
                out.extend(self.number(at, 8));
                at += bytes.len() as u64;
                rest.extend(bytes);
            }
        }
        out.extend([0; 8]);
        out.extend(rest);
        out
    }
}

/// A front and the file behind it, read as one.
struct Joined<'a> {
    front: Vec<u8>,
    file: &'a [u8],
    at: u64,
    /// The bits of the file's bytes are read in the other order.
    is_reversed: bool,
}

impl Read for Joined<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let front = self.front.len() as u64;
        let is_front = self.at < front;
        let (part, at) = if is_front { (&self.front[..], self.at) } else { (self.file, self.at - front) };
        let mut part = Cursor::new(part);
        part.set_position(at);
        let read = part.read(out)?;
        if self.is_reversed && !is_front {
            out[..read].iter_mut().for_each(|it| *it = it.reverse_bits());
        }
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Joined<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let end = (self.front.len() + self.file.len()) as u64;
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => end.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
