//! ONNX models of several files: MLflow and PyTorch write larger weights into files beside the model, and an engine of
//! this platform takes one file that is known by its hash.
//!
//! [`outside`] says which files a model names and [`merge`] writes the model with their bytes in it. Both walk the
//! protobuf message without keeping what they pass over, so that a model of any size takes a few kilobytes. A name in a
//! model never becomes a path: the caller says which file each name stands for.
//!
//! Source of the layout: `onnx.proto` (`TensorProto.external_data`, keys `location`, `offset`, `length`).

mod plan;

use kaogong_domain::Problem;
use plan::{Piece, plan};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// The most bytes of one ONNX file: what one protobuf message holds.
pub const MODEL_BYTES_MAX: u64 = (1 << 31) - 1;
/// The most files beside one model.
const FILES_MAX: usize = 1000;
/// Bytes copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// The files beside a model that hold weights of it, as paths below the model's folder; empty for a model of one file,
/// and for a file that is no ONNX model.
///
/// # Errors
/// `Invalid` for a name that leads out of the folder, and for weights that are not described whole. `Unavailable` when
/// the file cannot be read.
pub fn outside(model: &Path) -> Result<BTreeSet<String>, Problem> {
    let (file, end) = open(model)?;
    let names: BTreeSet<String> = match plan(file, end) {
        Ok(found) => found.pieces.into_iter().filter_map(Piece::into_name).collect(),
        Err(plan::Fault::NoModel) => BTreeSet::new(),
        Err(plan::Fault::Bad(it)) => return Err(it),
    };
    if names.len() > FILES_MAX {
        let text = format!("the model's weights lie in {} files, at most {FILES_MAX} are taken", names.len());
        return Err(Problem::invalid(text).hint("save its weights in one file (all_tensors_to_one_file=True)"));
    }
    Ok(names)
}

/// Writes the model with the weights of other files in it, piece by piece; how many bytes that were. `files` says which
/// file each name of [`outside`] stands for.
///
/// # Errors
/// `Invalid` when a file is missing or shorter than the model says, or the whole would have more than
/// [`MODEL_BYTES_MAX`]; `Unavailable` when one cannot be read; and what `write` answers.
pub fn merge(
    model: &Path,
    files: &BTreeMap<String, PathBuf>,
    mut write: impl FnMut(&[u8]) -> Result<(), Problem>,
) -> Result<u64, Problem> {
    let (file, end) = open(model)?;
    let found = plan(file, end).map_err(|it| match it {
        plan::Fault::NoModel => Problem::invalid("the file is no ONNX model"),
        plan::Fault::Bad(it) => it,
    })?;
    if found.size > MODEL_BYTES_MAX {
        let text = format!("the model has {} bytes with its weights, one ONNX file holds at most 2 GiB", found.size);
        return Err(Problem::invalid(text).hint("store the weights as FP16, or split the model"));
    }
    let (mut source, _) = open(model)?;
    let mut opened: Option<(&str, File, u64)> = None;
    for piece in &found.pieces {
        match piece {
            Piece::New(bytes) => write(bytes)?,
            Piece::Same { from, until } => copy(&mut source, *from, until - from, &mut write)?,
            Piece::Outside { name, offset, length } => {
                if opened.as_ref().is_none_or(|it| it.0 != name) {
                    let (file, size) = open(files.get(name).ok_or_else(|| missing(name))?)?;
                    opened = Some((name, file, size));
                }
                let Some((_, file, size)) = &mut opened else { continue };
                let end = offset.saturating_add(*length);
                if end > *size {
                    let text = format!("the model's weights go up to byte {end} of `{name}`, which has {size}");
                    return Err(Problem::invalid(text).hint("the file belongs to another model, or was cut"));
                }
                copy(file, *offset, *length, &mut write)?;
            }
        }
    }
    Ok(found.size)
}

/// A file that a model names and nobody has.
pub fn missing(name: &str) -> Problem {
    let shown: String = name.chars().take(200).collect();
    Problem::invalid(format!("the model's weights lie in a file `{shown}`, which is not beside it"))
        .hint("log or send both files together, or save the model as one file (save_as_external_data=False)")
}

fn unreadable(error: std::io::Error) -> Problem {
    Problem::unavailable("a file of the model cannot be read").because(error)
}

fn open(path: &Path) -> Result<(File, u64), Problem> {
    let file = File::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(Problem::invalid("a file of the model is no regular file"));
    }
    Ok((file, about.len()))
}

fn copy(
    from: &mut File,
    offset: u64,
    length: u64,
    write: &mut impl FnMut(&[u8]) -> Result<(), Problem>,
) -> Result<(), Problem> {
    from.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
    let mut left = length;
    let mut bytes = vec![0; COPY_BYTES.min(usize::try_from(length).unwrap_or(COPY_BYTES))];
    while left > 0 {
        let count = bytes.len().min(usize::try_from(left).unwrap_or(bytes.len()));
        from.read_exact(&mut bytes[..count]).map_err(unreadable)?;
        write(&bytes[..count])?;
        left -= count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
