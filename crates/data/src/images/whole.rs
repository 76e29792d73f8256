//! Tells whole picture files from truncated and damaged ones by their structure, without decoding.

use super::{PictureError, PictureFormat, Sample, SampleKind};

/// How much the structure told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    /// The file has its end, and its checksums hold where the format has any.
    Whole,
    /// The format has no end mark; only decoding would tell.
    Header,
}

/// Walks the file. For PNG and JPEG see [`png`] and [`jpeg`], which tell more.
pub(super) fn check(format: PictureFormat, bytes: &[u8]) -> Result<Checked, PictureError> {
    match format {
        PictureFormat::Png => png(bytes).map(|_| Checked::Whole),
        PictureFormat::Jpeg => jpeg(bytes).map(|_| Checked::Whole),
        PictureFormat::Gif => gif(bytes),
        PictureFormat::WebP => webp(bytes),
        PictureFormat::Bmp | PictureFormat::Tiff => Ok(Checked::Header),
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
}

/// What the walk over a PNG passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Png<'a> {
    pub(super) width: u32,
    pub(super) height: u32,
    /// The body of the EXIF chunk, when it stands before the pixels, where decoders look for it.
    pub(super) exif: Option<&'a [u8]>,
    pub(super) sample: Sample,
}

/// Every chunk's checksum, the header first, at least one chunk of pixels, and the end chunk (PNG, third edition,
/// section 5).
pub(super) fn png(bytes: &[u8]) -> Result<Png<'_>, PictureError> {
    let truncated = || PictureError::Truncated(PictureFormat::Png);
    let corrupt = |detail: &str| PictureError::Corrupt { format: PictureFormat::Png, detail: detail.to_owned() };
    let mut rest = bytes.get(8..).ok_or_else(truncated)?;
    let (mut found, mut has_pixels, mut lacks_palette): (Option<Png<'_>>, _, _) = (None, false, false);
    loop {
        let head = rest.get(..8).ok_or_else(truncated)?;
        let length = number(&head[..4]) as usize;
        let body = rest.get(4..8 + length).ok_or_else(truncated)?;
        let sum = rest.get(8 + length..12 + length).ok_or_else(truncated)?;
        if crc32(body) != number(sum) {
            return Err(corrupt("the checksum of a chunk is wrong"));
        }
        match (&head[4..], &mut found) {
            (b"IHDR", None) => {
                let header = header(&body[4..]).ok_or_else(|| corrupt("its header is none"))?;
                lacks_palette = body[13] == 3;
                found = Some(header);
            }
            (_, None) => return Err(corrupt("it does not begin with a header")),
            (b"IEND", Some(_)) if !has_pixels => return Err(corrupt("it has no pixels")),
            (b"IEND", Some(png)) => return Ok(*png),
            (b"IDAT", _) if lacks_palette => return Err(corrupt("it has no palette")),
            (b"IDAT", _) => has_pixels = true,
            (b"PLTE", _) => lacks_palette = false,
            (b"eXIf", Some(png)) if !has_pixels && png.exif.is_none() => png.exif = Some(&body[4..]),
            _ => {}
        }
        rest = &rest[12 + length..];
    }
}

/// The header chunk: sizes, and a combination of depth and colours that exists (section 11.2.1).
fn header(body: &[u8]) -> Option<Png<'static>> {
    let [depth, colours, compression, filter, interlace] = *body.get(8..13)? else { return None };
    let exists = match colours {
        0 => matches!(depth, 1 | 2 | 4 | 8 | 16),
        3 => matches!(depth, 1 | 2 | 4 | 8),
        2 | 4 | 6 => matches!(depth, 8 | 16),
        _ => false,
    };
    let known = body.len() == 13 && exists && compression == 0 && filter == 0 && interlace <= 1;
    let bands = match colours {
        4 => 2,
        2 => 3,
        6 => 4,
        _ => 1,
    };
    let sample = Sample { kind: SampleKind::Uint, bits: u16::from(depth), bands };
    known.then(|| Png { width: number(&body[..4]), height: number(&body[4..8]), exif: None, sample })
}

/// What the walk over a JPEG passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Jpeg<'a> {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) exif: Option<&'a [u8]>,
    pub(super) sample: Sample,
    /// Whether the pixels come in several scans, coarse to fine.
    pub(super) is_progressive: bool,
}

/// Segments up to the start of scan, then an end mark somewhere after it (ITU-T T.81, annex B). Bytes behind
/// the end mark are allowed: cameras put previews there.
pub(super) fn jpeg(bytes: &[u8]) -> Result<Jpeg<'_>, PictureError> {
    let corrupt = |detail: String| PictureError::Corrupt { format: PictureFormat::Jpeg, detail };
    let truncated = || PictureError::Truncated(PictureFormat::Jpeg);
    let (mut at, mut found, mut exif) = (2, None, None);
    loop {
        while bytes.get(at) == Some(&0xff) && bytes.get(at + 1) == Some(&0xff) {
            at += 1;
        }
        let mark = bytes.get(at..at + 4).ok_or_else(truncated)?;
        if mark[0] != 0xff {
            return Err(corrupt(format!("a marker is missing at byte {at}")));
        }
        if matches!(mark[1], 0x01 | 0xd0..=0xd7) {
            at += 2;
            continue;
        }
        let length = number(&mark[2..]) as usize;
        let body = bytes.get(at + 4..at + 2 + length.max(2)).ok_or_else(truncated)?;
        match mark[1] {
            // Starts of frames; the others of this range are tables.
            0xc0..=0xcf if !matches!(mark[1], 0xc4 | 0xc8 | 0xcc) && found.is_none() => found = frame(mark[1], body),
            0xe1 if exif.is_none() => exif = body.strip_prefix(b"Exif\0\0"),
            _ => {}
        }
        at += 2 + length;
        if mark[1] == 0xda {
            break;
        }
    }
    let scan = bytes.get(at..).ok_or_else(truncated)?;
    if !scan.windows(2).any(|it| it == [0xff, 0xd9]) {
        return Err(truncated());
    }
    found.map(|it| Jpeg { exif, ..it }).ok_or_else(|| corrupt("it does not say how large it is".to_owned()))
}

/// A start of frame: bits, sizes and the number of colours.
fn frame(mark: u8, body: &[u8]) -> Option<Jpeg<'static>> {
    let [bits, a, b, c, d, bands] = *body.get(..6)? else { return None };
    let sample = Sample { kind: SampleKind::Uint, bits: u16::from(bits), bands: u16::from(bands) };
    let is_progressive = matches!(mark, 0xc2 | 0xc6 | 0xca | 0xce);
    Some(Jpeg { width: number(&[c, d]), height: number(&[a, b]), exif: None, sample, is_progressive })
}

/// The trailer byte; some writers pad with zeros behind it.
fn gif(bytes: &[u8]) -> Result<Checked, PictureError> {
    match bytes.iter().rfind(|it| **it != 0) {
        Some(b';') => Ok(Checked::Header),
        _ => Err(PictureError::Truncated(PictureFormat::Gif)),
    }
}

/// The length in the RIFF header.
fn webp(bytes: &[u8]) -> Result<Checked, PictureError> {
    let length = bytes.get(4..8).map_or(0, |it| u32::from_le_bytes([it[0], it[1], it[2], it[3]]));
    if u64::from(length) + 8 > bytes.len() as u64 {
        return Err(PictureError::Truncated(PictureFormat::WebP));
    }
    Ok(Checked::Header)
}

/// Tables for eight bytes at a time.
const CRC: [[u32; 256]; 8] = {
    let mut tables = [[0u32; 256]; 8];
    let mut at = 0;
    while at < 256 {
        let mut sum = at as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
            bit += 1;
        }
        tables[0][at] = sum;
        at += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut at = 0;
        while at < 256 {
            let before = tables[table - 1][at];
            tables[table][at] = (before >> 8) ^ tables[0][(before & 255) as usize];
            at += 1;
        }
        table += 1;
    }
    tables
};

/// The CRC-32 of PNG chunks (ISO 3309), by slicing eight bytes at a time.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    let mut eights = bytes.chunks_exact(8);
    for eight in &mut eights {
        let low = u32::from_le_bytes([eight[0], eight[1], eight[2], eight[3]]) ^ sum;
        let byte = |shift: u32| ((low >> shift) & 255) as usize;
        sum = CRC[7][byte(0)]
            ^ CRC[6][byte(8)]
            ^ CRC[5][byte(16)]
            ^ CRC[4][byte(24)]
            ^ CRC[3][usize::from(eight[4])]
            ^ CRC[2][usize::from(eight[5])]
            ^ CRC[1][usize::from(eight[6])]
            ^ CRC[0][usize::from(eight[7])];
    }
    for byte in eights.remainder() {
        sum = (sum >> 8) ^ CRC[0][((sum ^ u32::from(*byte)) & 255) as usize];
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn the_checksum_is_the_standard_one() {
        // The check value of CRC-32/ISO-HDLC, and one longer than eight bytes with a rest.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32(b"IEND"), 0xae42_6082);
    }
}
