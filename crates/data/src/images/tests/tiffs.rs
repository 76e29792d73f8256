//! TIFFs of kinds that instruments, maps and scanners write, made here byte by byte.

use super::super::*;

/// What a file is made of; samples are written in the order of the pixels.
struct Made {
    size: (u32, u32),
    bands: u16,
    bits: u16,
    /// 1 uint, 2 int, 3 float.
    format: u16,
    photometric: u16,
    compression: u16,
    wide: bool,
    planar: bool,
    palette: bool,
    pixels: Vec<u8>,
}

impl Made {
    fn new(bands: u16, bits: u16, format: u16, photometric: u16) -> Self {
        let (width, height) = (12u32, 8u32);
        let mut pixels = Vec::new();
        for at in 0..width * height * u32::from(bands) {
            let value = i64::from(at) * 37 % 1000;
            match (format, bits) {
                (3, 32) => pixels.extend((value as f32 / 10.0 - 5.0).to_le_bytes()),
                (3, 64) => pixels.extend((value as f64 / 10.0 - 5.0).to_le_bytes()),
                (2, _) => pixels.extend(&(value - 500).to_le_bytes()[..usize::from(bits / 8)]),
                _ => pixels.extend(&value.to_le_bytes()[..usize::from(bits / 8)]),
            }
        }
        Self {
            size: (width, height),
            bands,
            bits,
            format,
            photometric,
            compression: 1,
            wide: false,
            planar: false,
            palette: false,
            pixels,
        }
    }

    fn file(&self) -> Vec<u8> {
        let many = |it: u16| vec![u64::from(it); usize::from(self.bands)];
        let extra = u64::from(self.bands) - if self.photometric == 2 { 3 } else { 1 };
        let planes = if self.planar { u64::from(self.bands) } else { 1 };
        let piece = self.pixels.len() as u64 / planes;
        let mut tags: Vec<(u16, u16, Vec<u64>)> = vec![
            (256, 4, vec![self.size.0.into()]),
            (257, 4, vec![self.size.1.into()]),
            (258, 3, many(self.bits)),
            (259, 3, vec![self.compression.into()]),
            (262, 3, vec![self.photometric.into()]),
            (273, 4, (0..planes).map(|it| 16 + it * piece).collect()),
            (277, 3, vec![self.bands.into()]),
            (278, 4, vec![self.size.1.into()]),
            (279, 4, vec![piece; planes as usize]),
            (284, 3, vec![if self.planar { 2 } else { 1 }]),
        ];
        if self.palette {
            tags.push((320, 3, (0..768).map(|it| (it % 256) * 257).collect()));
        }
        if extra > 0 && !matches!(self.photometric, 8 | 9) {
            tags.push((338, 3, vec![0; extra as usize]));
        }
        tags.push((339, 3, many(self.format)));
        let (count, inline) = if self.wide { (8, 8) } else { (4, 4) };
        let directory = 16 + self.pixels.len();
        let mut behind = directory + if self.wide { 8 + 20 * tags.len() + 8 } else { 2 + 12 * tags.len() + 4 };
        let mut out = if self.wide { b"II\x2b\0\x08\0\0\0".to_vec() } else { b"II\x2a\0".to_vec() };
        out.extend(&(directory as u64).to_le_bytes()[..inline]);
        out.resize(16, 0);
        out.extend(&self.pixels);
        out.extend(&(tags.len() as u64).to_le_bytes()[..if self.wide { 8 } else { 2 }]);
        let mut rest = Vec::new();
        for (tag, kind, values) in &tags {
            let size = if *kind == 3 { 2 } else { 4 };
            out.extend(tag.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend(&(values.len() as u64).to_le_bytes()[..count]);
            let bytes: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()[..size].to_vec()).collect();
            if bytes.len() <= inline {
                out.extend(&bytes);
                out.resize(out.len() + inline - bytes.len(), 0);
            } else {
                out.extend(&(behind as u64).to_le_bytes()[..inline]);
                behind += bytes.len();
                rest.extend(bytes);
            }
        }
        out.extend(&[0; 8][..inline]);
        out.extend(rest);
        out
    }
}

fn shown(made: &Made) -> String {
    let file = made.file();
    let facts = facts(&file).expect("facts");
    let small = match thumbnail(&file, 64, ThumbnailFormat::Png) {
        Ok(small) => {
            let small = image::load_from_memory(&small).expect("a picture").to_luma8();
            assert_eq!((small.width(), small.height()), made.size);
            let different = small.pixels().collect::<std::collections::HashSet<_>>().len();
            assert!(different > 8, "{different} levels: {}", facts.sample);
            "a preview".to_owned()
        }
        Err(error) => error.to_string(),
    };
    format!("{}: {small}", facts.sample)
}

#[test]
fn kinds_of_instruments_are_kept_and_shown() {
    let kinds =
        [(13, 16, 1, 1), (1, 32, 3, 1), (1, 64, 3, 1), (1, 16, 2, 1), (1, 32, 1, 1), (1, 16, 1, 1), (2, 8, 1, 1)];
    for (bands, bits, format, photometric) in kinds {
        let made = Made::new(bands, bits, format, photometric);
        assert!(shown(&made).ends_with(": a preview"), "{}", shown(&made));
    }
    assert_eq!(shown(&Made::new(13, 16, 1, 1)), "13 × uint16: a preview");
    assert_eq!(shown(&Made::new(3, 32, 3, 2)), "3 × float32: a preview");
    assert!(shown(&Made::new(3, 8, 1, 9)).starts_with("3 × uint8: no preview"), "Lab is kept, and not drawn");
    let palette = Made { palette: true, ..Made::new(1, 8, 1, 3) };
    assert!(shown(&palette).starts_with("1 × uint8: no preview"), "a palette is kept, and not drawn");
    assert_eq!(shown(&Made { wide: true, ..Made::new(3, 16, 1, 2) }), "3 × uint16: a preview");
    assert_eq!(shown(&Made { planar: true, ..Made::new(4, 16, 1, 1) }), "4 × uint16: a preview");
}

#[test]
fn what_no_decoder_here_knows_is_kept_without_a_preview() {
    // CIE L*a*b*, JPEG 2000 inside, complex numbers.
    for made in [
        Made::new(3, 8, 1, 8),
        Made { compression: 34712, ..Made::new(1, 8, 1, 1) },
        Made { bits: 64, ..Made::new(1, 64, 6, 1) },
    ] {
        let text = shown(&made);
        assert!(text.contains("no preview: ") && text.contains("not supported"), "{text}");
        assert!(!text.contains("corrupt"), "{text}");
    }
}

#[test]
fn damage_is_told_as_damage() {
    let whole = Made { wide: true, ..Made::new(13, 16, 1, 1) }.file();
    for keep in [10, 20, whole.len() / 2, whole.len() - 3] {
        assert!(matches!(facts(&whole[..keep]), Err(PictureError::Truncated(_))), "cut to {keep}");
    }
    // Deflate data that is none.
    let made = Made { compression: 8, ..Made::new(1, 16, 1, 1) };
    assert!(matches!(facts(&made.file()), Err(PictureError::Corrupt { .. })), "{:?}", facts(&made.file()));
}

#[test]
fn a_directory_of_claims_takes_no_memory() {
    let made = Made { size: (9_000, 9_000), ..Made::new(13, 64, 3, 1) };
    let looked = look(&made.file()).expect("facts");
    assert_eq!(looked.check_bytes, None);
    assert!(decode_bytes(&made.file(), &looked.facts) > 8 << 30);
    let made = Made { size: (60_000, 60_000), ..Made::new(1, 8, 1, 1) };
    assert!(matches!(facts(&made.file()), Err(PictureError::BadSize { .. })));
}
