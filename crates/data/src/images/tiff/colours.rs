//! What the bands of a TIFF mean (its photometric interpretation), as colours of a screen.

use super::{Bytes, Directory, PictureError, Sample, SampleKind, no_preview, planes, planes::Planes};
use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};

/// Values looked at for the percentiles of a band.
const SAMPLED: usize = 50_000;
/// Shares of the values that become black and white.
const STRETCH: (f64, f64) = (0.02, 0.98);

/// How samples become colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    /// One band from black to white, or from white to black.
    Grey { is_inverted: bool },
    /// Red, green and blue.
    Rgb,
    /// Numbers of colours in a table.
    Palette,
    /// Luminance and two colour differences, with the full range (TIFF 6.0, section 21).
    YCbCr,
    /// Inks (section 16).
    Cmyk,
    /// CIE L*a*b* (section 23), or that of ICC profiles, whose a* and b* have no sign.
    Lab { is_icc: bool },
    /// One band of measurements: its values are stretched.
    Measured { is_inverted: bool },
    /// Bands of measurements. Those of one picture keep their relation, others are stretched each on its own.
    Bands { are_related: bool },
}

impl Colours {
    pub(super) fn of(directory: &Directory) -> Self {
        let Sample { kind, bits, bands } = directory.sample;
        let (is_uint, is_inverted) = (kind == SampleKind::Uint, directory.photometric == 0);
        match (directory.photometric, bits, bands) {
            (3, ..=16, _) if is_uint => Self::Palette,
            (0 | 1 | 4, ..=8, ..=2) if is_uint => Self::Grey { is_inverted },
            (2, ..=8, 3..) if is_uint => Self::Rgb,
            (6, 8, 3..) if is_uint => Self::YCbCr,
            (5, 8 | 16, 4..) if is_uint => Self::Cmyk,
            // The signs of a* and b* come from the definition, whatever the format of the samples says.
            (8 | 9, 8 | 16, 3..) if kind != SampleKind::Float => Self::Lab { is_icc: directory.photometric == 9 },
            (photometric, _, 3..) => Self::Bands { are_related: photometric == 2 },
            _ => Self::Measured { is_inverted },
        }
    }

    /// Whether the file says which colours they are.
    pub(super) fn is_exact(self) -> bool {
        !matches!(self, Self::Measured { .. } | Self::Bands { .. })
    }

    /// Bands that are needed.
    fn bands(self) -> u16 {
        match self {
            Self::Grey { .. } | Self::Palette | Self::Measured { .. } => 1,
            Self::Rgb | Self::YCbCr | Self::Lab { .. } | Self::Bands { .. } => 3,
            Self::Cmyk => 4,
        }
    }
}

/// The picture in its colours.
pub(super) fn picture(file: &[u8], directory: &Directory) -> Result<DynamicImage, PictureError> {
    let colours = Colours::of(directory);
    let palette = match colours {
        Colours::Palette => palette(file, directory)?,
        _ => Vec::new(),
    };
    let planes = planes::decoded(file, directory, colours.bands())?;
    let (width, height) = (directory.width, directory.height);
    let place = |x: u32, y: u32| (x as usize, y as usize);
    let most = (2f64).powi(i32::from(directory.sample.bits)) - 1.0;
    let three = |at| [0, 1, 2].map(|band| planes.at(at, band));
    let grey = |range, is_inverted| -> DynamicImage {
        GrayImage::from_fn(width, height, |x, y| {
            let level = level(planes.at(place(x, y), 0), range);
            Luma([if is_inverted { 255 - level } else { level }])
        })
        .into()
    };
    let rgb = |colour: &dyn Fn((usize, usize)) -> [u8; 3]| -> DynamicImage {
        RgbImage::from_fn(width, height, |x, y| Rgb(colour(place(x, y)))).into()
    };
    Ok(match colours {
        Colours::Grey { is_inverted } => grey((0.0, most), is_inverted),
        Colours::Measured { is_inverted } => grey(stretch(&planes, 0..1), is_inverted),
        Colours::Rgb => rgb(&|at| three(at).map(|it| level(it, (0.0, most)))),
        Colours::Palette => rgb(&|at| palette.get(planes.at(at, 0) as usize).copied().unwrap_or_default()),
        Colours::YCbCr => rgb(&|at| of_ycbcr(three(at))),
        Colours::Cmyk => rgb(&|at| {
            let black = 1.0 - planes.at(at, 3) / most;
            three(at).map(|it| byte((1.0 - it / most) * black))
        }),
        Colours::Lab { is_icc } => {
            let is_wide = directory.sample.bits == 16;
            rgb(&|at| of_lab(lab(three(at), is_wide, is_icc)))
        }
        Colours::Bands { are_related } => {
            let ranges = match are_related {
                true => [stretch(&planes, 0..3); 3],
                false => [0, 1, 2].map(|band| stretch(&planes, band..band + 1)),
            };
            rgb(&|at| [0, 1, 2].map(|band| level(planes.at(at, band), ranges[band])))
        }
    })
}

/// The table of colours: all reds, then all greens, then all blues, of 16 bits (section 5). Some programs write 8.
fn palette(file: &[u8], directory: &Directory) -> Result<Vec<[u8; 3]>, PictureError> {
    let colours = 1u64 << directory.sample.bits;
    let entry = directory.palette.filter(|it| it.kind == 3 && it.count >= 3 * colours);
    let Some(entry) = entry else { return Err(no_preview("a palette without its colours")) };
    let bytes = Bytes::of(file);
    let values = (0..3 * colours).map(|it| bytes.value(&entry, it)).collect::<Result<Vec<_>, _>>()?;
    let shift = if values.iter().any(|it| *it > 255) { 8 } else { 0 };
    let colours = colours as usize;
    Ok((0..colours).map(|it| [it, it + colours, it + 2 * colours].map(|at| (values[at] >> shift) as u8)).collect())
}

/// The values of some bands that become black and white. Values that are no numbers do not count.
fn stretch(planes: &Planes, bands: std::ops::Range<usize>) -> (f64, f64) {
    let pixels = planes.width * planes.height;
    let step = (pixels * bands.len() / SAMPLED).max(1);
    let place = |it: usize| (it % planes.width, it / planes.width);
    let sampled = bands.flat_map(|band| (0..pixels).step_by(step).map(move |it| planes.at(place(it), band)));
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

/// 0 to 1 as 0 to 255; the cast keeps within.
fn byte(value: f64) -> u8 {
    (value * 255.0).round() as u8
}

/// The inverse of ITU-R BT.601's luminance, the default of TIFF and what JPEG uses.
fn of_ycbcr([y, cb, cr]: [f64; 3]) -> [u8; 3] {
    let (cb, cr) = (cb - 128.0, cr - 128.0);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|it| it.round() as u8)
}

/// L*, a* and b* of stored samples. Of 16 bits, TIFF's L* fills the range and a* and b* are 256ths; of ICC, all three
/// are those of 8 bits with a fraction, as in version 2 of its profiles.
fn lab([l, a, b]: [f64; 3], is_wide: bool, is_icc: bool) -> [f64; 3] {
    match (is_icc, is_wide) {
        (true, false) => [l / 2.55, a - 128.0, b - 128.0],
        (true, true) => [l / 652.8, a / 256.0 - 128.0, b / 256.0 - 128.0],
        (false, false) => [l / 2.55, f64::from(a as u8 as i8), f64::from(b as u8 as i8)],
        (false, true) => [l / 655.35, f64::from(a as u16 as i16) / 256.0, f64::from(b as u16 as i16) / 256.0],
    }
}

/// L*a*b* under D50 as sRGB: CIE 15, and the matrix of CSS Color 4 (section 10) that adapts to D65 on the way.
fn of_lab([l, a, b]: [f64; 3]) -> [u8; 3] {
    let (epsilon, kappa) = (216.0 / 24389.0, 24389.0 / 27.0);
    let y = (l + 16.0) / 116.0;
    let (x, z) = (y + a / 500.0, y - b / 200.0);
    let cubed = |it: f64| if it.powi(3) > epsilon { it.powi(3) } else { (116.0 * it - 16.0) / kappa };
    let xyz = [0.964_295_676 * cubed(x), cubed(y), 0.825_104_603 * cubed(z)];
    let matrix = [
        [3.134_135_852, -1.617_385_998, -0.490_662_217],
        [-0.978_795_478, 1.916_254_378, 0.033_442_734],
        [0.071_955_377, -0.228_976_759, 1.405_386_035],
    ];
    matrix.map(|row| {
        let linear: f64 = row.iter().zip(xyz).map(|(by, it)| by * it).sum();
        let curved = if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 };
        byte(curved)
    })
}
