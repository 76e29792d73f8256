//! Pictures made here, then cut, flipped and turned.

mod tiffs;

use super::*;
use image::{Rgb, RgbImage};
use proptest::prelude::*;

fn sample() -> DynamicImage {
    DynamicImage::ImageRgb8(RgbImage::from_fn(30, 20, |x, y| {
        if x < 15 { Rgb([255, (y * 5) as u8, 0]) } else { Rgb([0, 0, (x * 7) as u8]) }
    }))
}

fn file(format: PictureFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    sample().write_to(&mut out, format.codec()).expect("an encoder for every format");
    out.into_inner()
}

/// A JPEG whose EXIF says orientation 6: turn by 90 degrees clockwise to show.
fn turned_jpeg() -> Vec<u8> {
    let plain = file(PictureFormat::Jpeg);
    let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let mut out = plain[..2].to_vec();
    out.extend([0xff, 0xe1]);
    out.extend(((exif.len() + 2) as u16).to_be_bytes());
    out.extend(exif);
    out.extend(&plain[2..]);
    out
}

const ALL: [PictureFormat; 6] = [
    PictureFormat::Png,
    PictureFormat::Jpeg,
    PictureFormat::Gif,
    PictureFormat::Bmp,
    PictureFormat::Tiff,
    PictureFormat::WebP,
];

#[test]
fn facts_of_every_format() {
    for format in ALL {
        let facts = facts(&file(format)).expect("facts");
        assert_eq!((facts.format, facts.width, facts.height, facts.orientation), (format, 30, 20, 1));
        assert_eq!(PictureFormat::parse(format.as_str()), Some(format));
    }
}

#[test]
fn a_cut_file_of_any_format_is_refused() {
    for format in ALL {
        let whole = file(format);
        for keep in [1, 3, whole.len() / 2, whole.len() - 3] {
            assert!(facts(&whole[..keep]).is_err(), "{format:?} cut to {keep} bytes was accepted");
        }
    }
}

#[test]
fn a_flipped_bit_in_a_png_is_found() {
    let whole = file(PictureFormat::Png);
    for at in 8..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        assert!(facts(&damaged).is_err(), "the flip at byte {at} was not found");
    }
}

#[test]
fn what_is_no_picture_says_so() {
    assert!(matches!(facts(b""), Err(PictureError::Empty)));
    assert!(matches!(facts(b"hello, this is text"), Err(PictureError::Unsupported)));
    assert!(matches!(facts(&vec![0; FILE_BYTES_MAX + 1]), Err(PictureError::TooLarge)));
}

#[test]
fn a_huge_size_is_refused_before_memory_is_taken() {
    let mut bomb = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], body: &[u8]| {
        bomb.extend((body.len() as u32).to_be_bytes());
        let mut all = kind.to_vec();
        all.extend(body);
        bomb.extend(&all);
        bomb.extend(whole_crc(&all).to_be_bytes());
    };
    chunk(b"IHDR", &[0, 0, 0x80, 0, 0, 0, 0x80, 0, 8, 2, 0, 0, 0]);
    chunk(b"IDAT", &[]);
    chunk(b"IEND", &[]);
    assert!(matches!(facts(&bomb), Err(PictureError::BadSize { width: 32768, height: 32768 })));
    assert!(thumbnail(&bomb, 64, ThumbnailFormat::Png).is_err());
}

/// Bit by bit, to check the fast one as well.
fn whole_crc(bytes: &[u8]) -> u32 {
    let step = |sum: u32| if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
    !bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
}

#[test]
fn orientation_turns_sizes_and_thumbnails() {
    let turned = turned_jpeg();
    let facts = facts(&turned).expect("facts");
    assert_eq!((facts.width, facts.height, facts.orientation), (30, 20, 6));
    assert_eq!((facts.displayed_width, facts.displayed_height), (20, 30));
    let small = thumbnail(&turned, 15, ThumbnailFormat::Png).expect("a thumbnail");
    let small = image::load_from_memory(&small).expect("a picture").to_rgb8();
    assert_eq!((small.width(), small.height()), (10, 15));
    // The red half was on the left; turned clockwise it is at the top.
    assert!(small.get_pixel(5, 1).0[0] > 200 && small.get_pixel(5, 13).0[0] < 60);
}

/// A PNG with one more chunk after its header.
fn png_with(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let plain = file(PictureFormat::Png);
    let mut out = plain[..33].to_vec();
    out.extend((body.len() as u32).to_be_bytes());
    let chunk = [kind, body].concat();
    out.extend(&chunk);
    out.extend(whole_crc(&chunk).to_be_bytes());
    out.extend(&plain[33..]);
    out
}

#[test]
fn the_orientation_of_a_png_is_what_its_decoder_says() {
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let turned = png_with(b"eXIf", exif);
    let facts = facts(&turned).expect("facts");
    assert_eq!((facts.orientation, facts.displayed_width, facts.displayed_height), (6, 20, 30));
    assert_eq!(decode(&turned, PictureFormat::Png).expect("a picture").1.to_exif(), 6);
    let odd = super::facts(&png_with(b"eXIf", b"nonsense")).expect("facts");
    assert_eq!(odd.orientation, 1);
}

#[test]
fn a_png_header_that_cannot_be_is_refused() {
    let mut file = file(PictureFormat::Png);
    file[25] = 5;
    let sum = whole_crc(&file[12..29]);
    file[29..33].copy_from_slice(&sum.to_be_bytes());
    assert!(matches!(facts(&file), Err(PictureError::Corrupt { .. })));
}

#[test]
fn thumbnails_are_written_in_every_format_and_never_enlarged() {
    for format in [ThumbnailFormat::Png, ThumbnailFormat::Jpeg, ThumbnailFormat::WebP] {
        let small = thumbnail(&file(PictureFormat::Png), 128, format).expect("a thumbnail");
        let facts = facts(&small).expect("facts");
        assert_eq!((facts.width, facts.height), (30, 20));
        assert_eq!(facts.format.media_type(), format.media_type());
    }
    for side in [0, THUMBNAIL_SIDE_MAX + 1] {
        assert!(thumbnail(&file(PictureFormat::Png), side, ThumbnailFormat::Png).is_err());
    }
}

#[test]
fn transparency_becomes_white_in_jpeg() {
    let clear = DynamicImage::ImageRgba8(image::RgbaImage::from_pixel(8, 8, image::Rgba([0, 0, 0, 0])));
    assert_eq!(over_white(&clear).get_pixel(3, 3).0, [255, 255, 255]);
}

#[test]
fn a_jpeg_that_no_decoder_here_knows_is_kept() {
    // A frame of 12 bits (SOF1), which cameras of instruments write: all there is to know stands in its header.
    let mut file = file(PictureFormat::Jpeg);
    let at = file.windows(2).position(|it| it == [0xff, 0xc0]).expect("a start of frame");
    (file[at + 1], file[at + 4]) = (0xc1, 12);
    let facts = facts(&file).expect("facts");
    assert_eq!((facts.width, facts.height, facts.sample.to_string().as_str()), (30, 20, "3 × uint12"));
    assert!(thumbnail(&file, 64, ThumbnailFormat::Png).is_err());
}

#[test]
fn what_decoding_takes_is_known_before() {
    let of = |file: &[u8]| decode_bytes(file, &look(file).expect("facts").facts) >> 20;
    // A megapixel of three colours; the copies that previews need are counted.
    let large = DynamicImage::ImageRgb8(RgbImage::new(1024, 1024));
    for format in ALL {
        let mut out = Cursor::new(Vec::new());
        large.write_to(&mut out, format.codec()).expect("a file");
        let took = of(&out.into_inner());
        assert!((3..=16).contains(&took), "{format:?}: {took} MiB");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200), which in 0usize..6) {
        let mut file = file(ALL[which]);
        let keep = file.len().min(12);
        file.truncate(keep);
        file.extend(bytes);
        let _answer = facts(&file);
    }
}
