//! What lies at a path that is to be imported: a folder of pictures, a CSV file or a Parquet file.

use crate::{
    exit::usage,
    missing::{LeftOut, leads_nowhere, leads_outside, nearest},
};
use kaogong_client::{BodySource, file_body, tar_out};
use kaogong_domain::Problem;
use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

/// What a body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DataFormat {
    /// A folder of pictures; each folder is a class.
    Images,
    /// A table as text, with a header line.
    Csv,
    /// A JSON object a line.
    Jsonl,
    /// A table as Parquet: a file, or a folder of its parts.
    Parquet,
}

impl DataFormat {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }
}

/// Data on this machine, checked and ready to be sent.
#[derive(Debug)]
pub struct LocalData {
    /// What it is.
    pub format: DataFormat,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Folder(Arc<Vec<tar_out::Entry>>),
    File(PathBuf),
}

impl LocalData {
    /// Looks at `path`. Symbolic links that lead below `links` are followed, others are refused.
    ///
    /// # Errors
    /// Bad usage when it is missing, empty, cannot be read, or is not what `format` says.
    pub fn find(path: &Path, format: Option<DataFormat>, links: Option<&Path>) -> Result<Self, Problem> {
        let shown = path.display();
        let facts = fs::metadata(path).map_err(|it| cannot_read(path, &it))?;
        if facts.is_dir() {
            if matches!(format, Some(DataFormat::Csv | DataFormat::Jsonl)) {
                return Err(usage(format!("{shown} is a folder, not a table"))
                    .hint("name a .csv, .jsonl or .parquet file, a folder of .parquet files, or use --format images"));
            }
            let folder = Self::folder(path, links)?;
            return match format {
                Some(DataFormat::Images) => Ok(folder),
                _ => folder.in_parts(path, format.is_some()),
            };
        }
        if !facts.is_file() {
            return Err(usage(format!("{shown} is neither a folder nor a file")));
        }
        if facts.len() == 0 {
            return Err(usage(format!("{shown} is empty")));
        }
        File::open(path).map_err(|it| cannot_read(path, &it))?;
        let format = match format.or_else(|| format_of_name(path)) {
            Some(DataFormat::Images) => {
                return Err(usage(format!("{shown} is a file"))
                    .hint("pictures are imported as a folder with one folder per class"));
            }
            Some(format) => format,
            None => {
                return Err(usage(format!("{shown} does not say what it holds")).hint(hint_for(path)));
            }
        };
        Ok(Self { format, files: 1, bytes: facts.len(), content: Content::File(path.to_owned()) })
    }

    fn folder(path: &Path, links: Option<&Path>) -> Result<Self, Problem> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut left_out = LeftOut::default();
        let links = links.map(|it| it.canonicalize().map_err(|error| cannot_read(it, &error))).transpose()?;
        // Names in order, so that the same folder always makes the same stream. Links are not followed: in a folder
        // that somebody else packed they could lead to any file of the caller's. With a root they are, inside it alone.
        let walk = walkdir::WalkDir::new(path).follow_root_links(true).follow_links(links.is_some());
        let mut walk = walk.sort_by_file_name().into_iter();
        while let Some(entry) = walk.next() {
            let entry = entry.map_err(|it| {
                let at = it.path().unwrap_or(path).to_owned();
                if at.is_symlink() && !at.exists() {
                    return leads_nowhere(&at);
                }
                it.into_io_error()
                    .map_or_else(|| usage(format!("{} cannot be walked", at.display())), |it| cannot_read(&at, &it))
            })?;
            if let (Some(root), true, true) = (&links, entry.path_is_symlink(), entry.depth() > 0) {
                let target = entry.path().canonicalize().map_err(|it| cannot_read(entry.path(), &it))?;
                if !target.starts_with(root) {
                    if is_hidden(path, entry.path()) {
                        if entry.file_type().is_dir() {
                            walk.skip_current_dir();
                        }
                        continue;
                    }
                    return Err(leads_outside(entry.path(), &target, root));
                }
            }
            if entry.file_type().is_file() {
                bytes += entry.metadata().map_or(0, |it| it.len());
                entries.push(tar_out::Entry::below(path, entry.path()));
            } else if entry.depth() > 0 && !entry.file_type().is_dir() && !is_hidden(path, entry.path()) {
                left_out.note(path, entry.path(), entry.file_type());
            }
        }
        left_out.refuse(path)?;
        if entries.is_empty() {
            return Err(usage(format!("the folder {} holds no files", path.display()))
                .hint("pictures lie in one folder per class: cats/1.jpg, dogs/2.jpg"));
        }
        Ok(Self {
            format: DataFormat::Images,
            files: entries.len() as u64,
            bytes,
            content: Content::Folder(Arc::new(entries)),
        })
    }

    /// A folder that holds Parquet files as the parts of one table; any other folder as it is, unless `wanted`.
    fn in_parts(self, path: &Path, wanted: bool) -> Result<Self, Problem> {
        let Content::Folder(entries) = &self.content else { return Ok(self) };
        let is_note = |it: &[u8]| (it.starts_with(b"_") || it.starts_with(b".")) && !it.contains(&b'=');
        let (parts, others): (Vec<_>, Vec<_>) =
            entries.iter().filter(|it| !it.name.split(|it| *it == b'/').any(is_note)).partition(|it| {
                format_of_name(Path::new(std::ffi::OsStr::from_bytes(&it.name))) == Some(DataFormat::Parquet)
            });
        if parts.is_empty() || !(others.is_empty() || wanted) {
            return if wanted {
                Err(usage(format!("{} holds no .parquet file", path.display())).hint("name the folder of the parts"))
            } else {
                Ok(self)
            };
        }
        if entries.iter().any(|it| it.name.starts_with(b"_delta_log/")) {
            return Err(usage(format!("{} is a Delta table: its log says which of the files count", path.display()))
                .hint(
                    "write what it holds to a folder of its own, for example with `deltalake` and `pyarrow.dataset`",
                ));
        }
        let parts: Vec<_> = parts.into_iter().cloned().collect();
        Ok(Self {
            format: DataFormat::Parquet,
            files: parts.len() as u64,
            content: Content::Folder(Arc::new(parts)),
            ..self
        })
    }

    /// The data as a body; `sent` counts bytes in the present try.
    pub fn body(&self, sent: &Arc<AtomicU64>) -> BodySource {
        let sent = Arc::clone(sent);
        match &self.content {
            Content::Folder(entries) => tar_out::body(Arc::clone(entries), sent),
            Content::File(path) => {
                let media_type = match self.format {
                    DataFormat::Parquet => "application/vnd.apache.parquet",
                    DataFormat::Jsonl => "application/x-ndjson",
                    _ => "text/csv",
                };
                file_body(path.clone(), media_type, sent)
            }
        }
    }
}

/// Hidden things are never imported.
fn is_hidden(root: &Path, path: &Path) -> bool {
    let name = path.strip_prefix(root).unwrap_or(path);
    name.components().any(|it| it.as_os_str().as_encoded_bytes().starts_with(b"."))
}

fn format_of_name(path: &Path) -> Option<DataFormat> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    // Only text is compressed as a whole; Parquet files are inside.
    let (name, is_packed) = name.strip_suffix(".gz").map_or((name.as_str(), false), |it| (it, true));
    match name.rsplit_once('.')?.1 {
        "csv" | "tsv" | "txt" => Some(DataFormat::Csv),
        "jsonl" | "ndjson" => Some(DataFormat::Jsonl),
        "parquet" | "parq" | "pq" if !is_packed => Some(DataFormat::Parquet),
        _ => None,
    }
}

/// What to do with a file that is no table by its name.
fn hint_for(path: &Path) -> &'static str {
    let name = path.file_name().map(|it| it.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let ends = |endings: &[&str]| endings.iter().any(|it| name.ends_with(it));
    if ends(&[".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp"]) {
        "put pictures into a folder with one folder per class (cats/1.jpg, dogs/2.jpg), and import that folder"
    } else if ends(&[".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar"]) {
        "unpack it first, and import the folder or the table in it"
    } else if ends(&[".xlsx", ".xls", ".ods"]) {
        "save the sheet as CSV first"
    } else {
        "add --format csv, jsonl or parquet if it is a table"
    }
}

/// A file of the caller's that cannot be read.
pub fn cannot_read(path: &Path, error: &std::io::Error) -> Problem {
    let shown = path.display();
    match error.kind() {
        ErrorKind::NotFound => usage(format!("there is no {shown}")).hint(nearest(path)),
        ErrorKind::PermissionDenied => usage(format!("{shown} may not be read")).hint("check who owns it: ls -l"),
        _ => usage(format!("cannot read {shown}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path, format: Option<DataFormat>) -> String {
        LocalData::find(path, format, None).expect_err("refused").text
    }

    #[test]
    fn what_cannot_be_imported_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("empty/deep")).expect("folders");
        fs::write(at("empty.csv"), "").expect("a file");
        fs::write(at("notes.md"), "x").expect("a file");
        assert!(refusal(&at("absent"), None).starts_with("there is no "));
        assert!(refusal(&at("empty"), None).ends_with("holds no files"));
        assert!(refusal(&at("empty.csv"), None).ends_with("is empty"));
        assert!(refusal(&at("notes.md"), None).ends_with("does not say what it holds"));
        assert!(refusal(&at("empty"), Some(DataFormat::Csv)).ends_with("is a folder, not a table"));
        assert!(refusal(&at("notes.md"), Some(DataFormat::Images)).ends_with("is a file"));
    }

    #[test]
    fn what_to_do_first_follows_from_the_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let hint = |name: &str| {
            fs::write(dir.path().join(name), "x").expect("a file");
            LocalData::find(&dir.path().join(name), None, None).expect_err("refused").hint.expect("a hint")
        };
        for name in ["x.png", "X.JPEG", "a.b.webp"] {
            assert!(hint(name).contains("into a folder"), "{name}");
        }
        for name in ["x.zip", "x.tar", "X.tar.GZ", "x.tgz", "x.7z"] {
            assert!(hint(name).starts_with("unpack it first"), "{name}");
        }
        assert!(hint("x.xlsx").contains("as CSV"));
        assert!(hint("notes.md").contains("--format csv") && hint("zip").contains("--format csv"));
    }

    #[test]
    fn formats_follow_from_the_path() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(dir.path().join("cats")).expect("a folder");
        fs::write(dir.path().join("cats/1.png"), "12345").expect("a file");
        fs::write(dir.path().join("t.CSV"), "a\n1\n").expect("a file");
        let folder = LocalData::find(dir.path(), None, None).expect("a folder");
        assert_eq!((folder.format, folder.files, folder.bytes), (DataFormat::Images, 2, 9));
        assert_eq!(LocalData::find(&dir.path().join("t.CSV"), None, None).expect("a table").format, DataFormat::Csv);
        let formats =
            ["a.tsv", "a.csv.gz", "a.parq", "a.parquet.gz", "csv", "a.b.pq"].map(|it| format_of_name(Path::new(it)));
        use DataFormat::{Csv, Parquet};
        assert_eq!(formats, [Some(Csv), Some(Csv), Some(Parquet), None, None, Some(Parquet)]);
    }

    #[test]
    fn a_folder_of_parquet_files_is_one_table() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("parts/y=1")).expect("a folder");
        for name in ["parts/b.parquet", "parts/a.parq", "parts/_SUCCESS", "parts/.a.parq.crc"] {
            fs::write(at(name), "12345").expect("a file");
        }
        let parts = LocalData::find(&at("parts"), None, None).expect("parts");
        assert_eq!((parts.format, parts.files), (DataFormat::Parquet, 2));
        fs::write(at("parts/1.png"), "12345").expect("a file");
        assert_eq!(LocalData::find(&at("parts"), None, None).expect("a folder").format, DataFormat::Images);
        assert_eq!(LocalData::find(&at("parts"), Some(DataFormat::Parquet), None).expect("parts").files, 2);
        fs::write(at("parts/y=1/c.parquet"), "12345").expect("a file");
        assert_eq!(LocalData::find(&at("parts"), Some(DataFormat::Parquet), None).expect("parts").files, 3);
        fs::create_dir_all(at("parts/_delta_log")).expect("a folder");
        fs::write(at("parts/_delta_log/0.json"), "{}").expect("a file");
        assert!(refusal(&at("parts"), Some(DataFormat::Parquet)).contains("a Delta table"));
        fs::create_dir_all(at("none")).expect("a folder");
        fs::write(at("none/1.png"), "12345").expect("a file");
        assert!(refusal(&at("none"), Some(DataFormat::Parquet)).ends_with("holds no .parquet file"));
    }

    #[test]
    fn links_are_counted_and_refused_with_a_way_out() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("data/cats")).expect("a folder");
        fs::create_dir_all(at("data/.cache")).expect("a folder");
        fs::write(at("data/cats/1.png"), "12345").expect("a file");
        symlink(at("data/cats/1.png"), at("data/.cache/x.png")).expect("a link");
        symlink(at("data"), at("by_link")).expect("a link");
        assert_eq!(LocalData::find(&at("by_link"), None, None).expect("a hidden link and one to the folder").files, 1);
        symlink(at("data/cats/1.png"), at("data/cats/2.png")).expect("a link");
        symlink("/nowhere", at("data/cats/3.png")).expect("a link");
        let problem = LocalData::find(&at("data"), None, None).expect_err("refused");
        assert!(problem.text.contains("holds 2 symbolic links") && problem.text.contains("cats/2.png"));
        let hint = problem.hint.expect("a hint");
        assert!(hint.starts_with("1 lead nowhere") && hint.contains("--follow-links /"), "{hint}");
        let problem = LocalData::find(&at("data"), None, Some(dir.path())).expect_err("refused");
        assert!(problem.text.contains("3.png leads to /nowhere, which is not there"), "{}", problem.text);
    }

    #[test]
    fn links_are_followed_inside_a_root_alone() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        // As a cache keeps it: snapshots of links, and blobs beside them.
        for folder in ["cache/blobs/more", "cache/snapshots/main/cats", "secret"] {
            fs::create_dir_all(at(folder)).expect("a folder");
        }
        fs::write(at("cache/blobs/0a"), "12345").expect("a file");
        fs::write(at("cache/blobs/more/2.png"), "123").expect("a file");
        fs::write(at("secret/key.png"), "1").expect("a file");
        symlink("../../../blobs/0a", at("cache/snapshots/main/cats/1.png")).expect("a link");
        symlink("../../blobs/more", at("cache/snapshots/main/dogs")).expect("a link");
        let data = at("cache/snapshots/main");
        let found = LocalData::find(&data, None, Some(&at("cache"))).expect("inside");
        assert_eq!((found.files, found.bytes), (2, 8));
        let Content::Folder(entries) = &found.content else { panic!("a folder") };
        let names: Vec<_> = entries.iter().map(|it| String::from_utf8_lossy(&it.name).into_owned()).collect();
        assert_eq!(names, ["cats/1.png", "dogs/2.png"]);
        assert!(
            LocalData::find(&data, None, Some(&at("cache/snapshots"))).expect_err("outside").text.contains("outside")
        );
        symlink("../../../../secret/key.png", at("cache/snapshots/main/cats/2.png")).expect("a link");
        let problem = LocalData::find(&data, None, Some(&at("cache"))).expect_err("outside");
        assert!(problem.text.contains("cats/2.png leads to") && problem.text.contains("key.png"), "{}", problem.text);
        fs::remove_file(at("cache/snapshots/main/cats/2.png")).expect("a link");
        symlink("..", at("cache/snapshots/main/cats/up")).expect("a link");
        assert!(LocalData::find(&data, None, Some(&at("cache"))).is_err(), "a circle");
    }
}
