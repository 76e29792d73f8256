//! TIFFs of kinds that instruments, maps and scanners write, made here byte by byte.

use super::super::*;
use proptest::prelude::*;

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
    fill_order: u16,
    tile: Option<(u32, u32)>,
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
            fill_order: 1,
            tile: None,
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
            (266, 3, vec![self.fill_order.into()]),
            (273, 4, (0..planes).map(|it| 16 + it * piece).collect()),
            (277, 3, vec![self.bands.into()]),
            (278, 4, vec![self.size.1.into()]),
            (279, 4, vec![piece; planes as usize]),
            (284, 3, vec![if self.planar { 2 } else { 1 }]),
        ];
        if let Some((width, height)) = self.tile {
            tags.retain(|it| !matches!(it.0, 273 | 278 | 279));
            tags.extend([(322, 4, vec![width.into()]), (323, 4, vec![height.into()])]);
            tags.extend([(324, 4, vec![16]), (325, 4, vec![piece])]);
        }
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
    assert_eq!(shown(&Made::new(3, 8, 1, 9)), "3 × uint8: a preview");
    let palette = Made { palette: true, ..Made::new(1, 8, 1, 3) };
    assert_eq!(shown(&palette), "1 × uint8: a preview");
    assert_eq!(shown(&Made { wide: true, ..Made::new(3, 16, 1, 2) }), "3 × uint16: a preview");
    assert_eq!(shown(&Made { planar: true, ..Made::new(4, 16, 1, 1) }), "4 × uint16: a preview");
}

#[test]
fn what_no_decoder_here_knows_is_kept_without_a_preview() {
    // ITU L*a*b*, a palette without colours, JPEG 2000 inside, complex numbers.
    for made in [
        Made::new(3, 8, 1, 10),
        Made::new(1, 8, 1, 3),
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

/// The picture of `fixtures/make.py`.
fn colour(x: u32, y: u32) -> [u32; 3] {
    [x * 12, y * 13, (x + y) * 5]
}

#[test]
fn pictures_of_other_programs_are_shown_as_they_are() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/images/tests/fixtures");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the fixtures") {
        let path = entry.expect("a fixture").path();
        if path.extension().is_none_or(|it| it != "tif") {
            continue;
        }
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let file = std::fs::read(&path).expect("a file");
        facts(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        seen += 1;
        let small = match (name.starts_with("unknown"), thumbnail(&file, 64, ThumbnailFormat::Png)) {
            (true, Err(error)) => {
                assert!(matches!(error, PictureError::NoPreview { .. }), "{name}: {error}");
                continue;
            }
            (_, small) => small.unwrap_or_else(|error| panic!("{name}: {error}")),
        };
        let small = image::load_from_memory(&small).expect("a picture").to_rgb8();
        assert_eq!((small.width(), small.height()), (20, 18), "{name}");
        // L*a*b* of 8 bits is coarse where it is dark, and JPEG where colours change.
        let far = if name.contains("lab8") || name.starts_with("jpeg") { 14 } else { 3 };
        for (x, y, found) in small.enumerate_pixels() {
            let grey = (x * 13 + y) * 255 / (19 * 13 + 17);
            let (wanted, far) = match &name {
                it if it.starts_with("palette") => (colour(x / 5 * 5, y / 6 * 6), 0),
                // Of two bits, the levels are 85 apart; others lose 2 % at both ends to the stretch.
                it if it.starts_with("ramp-uint2") => ([grey; 3], 86),
                it if it.starts_with("ramp") => ([grey; 3], 18),
                it if it.starts_with("stripes") => ([u32::from(x % 10 < 5) * 255; 3], 0),
                _ => (colour(x, y), far),
            };
            let off = (0..3).map(|at| u32::from(found.0[at]).abs_diff(wanted[at])).max().unwrap_or_default();
            assert!(off <= far, "{name} at {x}, {y}: {found:?} is not {wanted:?}");
        }
    }
    assert_eq!(seen, 29, "fixtures");
}

#[test]
fn models_get_the_colours_of_palettes_and_inks() {
    for name in ["palette8-packbits-libtiff", "cmyk16-planar", "ycbcr8-lzw-libtiff", "cielab16"] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/images/tests/fixtures");
        let file = std::fs::read(folder.join(name).with_extension("tif")).expect("a file");
        let found = pixels(&file, 20, 18, 3).unwrap_or_else(|error| panic!("{name}: {error}"));
        let last = &found[found.len() - 3..];
        let wanted = if name.starts_with("palette") { colour(15, 12) } else { colour(19, 17) };
        assert!((0..3).all(|at| u32::from(last[at]).abs_diff(wanted[at]) <= 3), "{name}: {last:?}, {wanted:?}");
    }
}

#[test]
fn what_lies_inside_may_not_be_larger_than_the_picture() {
    // A frame of 16,000 × 16,000 pixels in a JPEG that is a strip of 12 × 8, whole or in the tables.
    let frame = b"\xff\xd8\xff\xc0\0\x0b\x08\x3e\x80\x3e\x80\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0\0\xff\xd9";
    let mut made = Made { compression: 7, ..Made::new(1, 8, 1, 1) };
    made.pixels[..frame.len()].copy_from_slice(frame);
    assert!(shown(&made).contains("a JPEG of another size"), "{}", shown(&made));
    // Tiles of four thousand million pixels.
    let tiles = Made { tile: Some((1 << 16, 1 << 16)), ..Made::new(1, 32, 3, 1) };
    assert!(shown(&tiles).contains("tiles of such a size"), "{}", shown(&tiles));
}

#[test]
fn bits_in_the_other_order_are_turned() {
    let made = Made { fill_order: 2, size: (16, 1), ..Made::new(1, 1, 1, 1) };
    let made = Made { pixels: vec![0b0000_0001, 0b0000_0011], ..made };
    let found = pixels(&made.file(), 16, 1, 1).expect("pixels");
    let black = |count: usize| [vec![255; count], vec![0; 8 - count]].concat();
    assert_eq!(found, [black(1), black(2)].concat());
}

proptest! {
    /// Whatever a directory says, the answer is one of ours, and no panic.
    #[test]
    fn any_directory_is_answered(flips in prop::collection::vec((0usize..4000, any::<u8>()), 1..12), which in 0usize..29) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/images/tests/fixtures");
        let files = std::fs::read_dir(folder).expect("the fixtures").filter_map(|it| Some(it.ok()?.path()));
        let path = files.filter(|it| it.extension().is_some_and(|it| it == "tif")).nth(which).expect("a fixture");
        let mut file = std::fs::read(path).expect("a file");
        let length = file.len();
        for (at, value) in flips {
            // Directories lie at either end.
            let at = if at % 2 == 0 { at / 2 % length } else { length - 1 - at / 2 % length };
            file[at] = value;
        }
        if facts(&file).is_ok_and(|it| decode_bytes(&file, &it) < 16 << 20) {
            let _answer = thumbnail(&file, 16, ThumbnailFormat::Png);
            let _answer = pixels(&file, 4, 4, 3);
        }
    }
}
