//! Models as files of protobuf messages: how they are opened, and what is said about broken ones.

use crate::checks::Said;
use kaogong_domain::protobuf::Broken;
pub(crate) use kaogong_domain::protobuf::{Field, Wire, writing};
use std::{fs::File, path::Path};

/// The most bytes of a text that is kept.
pub(crate) const TEXT_BYTES_MAX: usize = 1024;

/// Opens a file; gives its end too.
pub(crate) fn open(path: &Path) -> Result<(Wire<File>, u64), Said> {
    let unreadable = |error| Said::new(format!("it cannot be read: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(Said::new("it is not a regular file"));
    }
    Ok((Wire::new(file), about.len()))
}

pub(crate) fn broken() -> Said {
    Said::new("it is no ONNX file, or only a part of one")
}

impl From<Broken> for Said {
    fn from(_: Broken) -> Self {
        broken()
    }
}
