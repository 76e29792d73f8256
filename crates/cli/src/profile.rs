//! The profile: which server, which token, which project. A file of mode 0600 that belongs to its user.

use crate::exit::usage;
use kaogong_domain::{Problem, Secret};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The file's name in its folder.
pub const FILE_NAME: &str = "profile.json";
const FILE_BYTES_MAX: u64 = 64 << 10;

/// How to reach a server, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The server's address.
    pub url: String,
    /// The API token.
    pub token: Secret,
    /// The project that commands mean.
    pub project: String,
}

#[derive(Serialize, Deserialize)]
struct OnDisk {
    url: String,
    token: String,
    project: String,
}

/// Where the profile is: in `home` when one is named, else in the user's configuration folder.
///
/// # Errors
/// Bad usage when there is neither.
pub fn path(home: Option<&Path>) -> Result<PathBuf, Problem> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    if let Some(home) = home {
        return Ok(home.join(FILE_NAME));
    }
    let config = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|it| it.join(".config")));
    let config = config.ok_or_else(|| {
        usage("there is no home folder to keep the profile in")
            .hint("set HOME, or name a folder with --home or KAOGONG_HOME")
    })?;
    Ok(config.join("kaogong").join(FILE_NAME))
}

/// Reads a profile; `None` when there is none.
///
/// # Errors
/// A file that others may read or that belongs to somebody else, that cannot be read, or is no profile.
pub fn read(path: &Path) -> Result<Option<Profile>, Problem> {
    let shown = path.display();
    let cannot = |it: std::io::Error| Problem::unavailable(format!("cannot read the profile {shown}: {it}"));
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(cannot(error)),
    };
    let facts = file.metadata().map_err(cannot)?;
    if facts.uid() != rustix::process::geteuid().as_raw() {
        return Err(usage(format!("the profile {shown} belongs to another user"))
            .hint("keep your own in another folder: kaogong --home DIR login URL"));
    }
    if facts.mode() & 0o077 != 0 {
        let text = format!("the profile {shown} holds a token, and others may read it");
        return Err(usage(text).hint(format!("chmod 600 {shown}")));
    }
    let mut text = String::new();
    (&mut file).take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(cannot)?;
    let on_disk: OnDisk = serde_json::from_str(&text)
        .map_err(|it| usage(format!("{shown} is not a profile: {it}")).hint("kaogong login URL writes it anew"))?;
    Ok(Some(Profile { url: on_disk.url, token: Secret::new(on_disk.token), project: on_disk.project }))
}

/// Writes a profile whole or not at all, readable by its user only.
///
/// # Errors
/// `Unavailable` when the folder cannot be made or written.
pub fn write(path: &Path, profile: &Profile) -> Result<(), Problem> {
    let cannot =
        |it: std::io::Error| Problem::unavailable(format!("cannot write the profile {}: {it}", path.display()));
    let parent = path.parent().unwrap_or(Path::new("."));
    if !parent.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(cannot)?;
    }
    let on_disk =
        OnDisk { url: profile.url.clone(), token: profile.token.expose().to_owned(), project: profile.project.clone() };
    let mut text =
        serde_json::to_vec_pretty(&on_disk).map_err(|it| Problem::bug("the profile cannot be written", it))?;
    text.push(b'\n');
    let part = parent.join(format!(".{FILE_NAME}.{}", std::process::id()));
    let _ = fs::remove_file(&part);
    let result = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&part, path)
    })();
    result.map_err(|it| {
        let _ = fs::remove_file(&part);
        cannot(it)
    })
}

/// Removes a profile; `false` when there was none.
///
/// # Errors
/// `Unavailable` when it cannot be removed.
pub fn remove(path: &Path) -> Result<bool, Problem> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Problem::unavailable(format!("cannot remove {}: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn example() -> Profile {
        Profile { url: "http://127.0.0.1:7300".into(), token: Secret::new("s3cret"), project: "default".into() }
    }

    #[test]
    fn written_for_the_user_alone_and_read_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("deep/er").join(FILE_NAME);
        assert_eq!(read(&path).expect("no file is fine"), None);
        write(&path, &example()).expect("written");
        write(&path, &example()).expect("written over");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(read(&path).expect("readable"), Some(example()));
        assert_eq!(
            fs::read_dir(path.parent().expect("a folder")).expect("listed").count(),
            1,
            "nothing half-written stays"
        );
        assert!(remove(&path).expect("removed") && !remove(&path).expect("gone already"));
    }

    #[test]
    fn a_profile_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(FILE_NAME);
        write(&path, &example()).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("opened");
        let problem = read(&path).expect_err("refused");
        assert!(problem.hint.expect("a hint").starts_with("chmod 600"));
    }

    #[test]
    fn a_damaged_profile_says_so() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(FILE_NAME);
        write(&path, &example()).expect("written");
        fs::write(&path, "{\"url\":").expect("damaged");
        assert!(read(&path).expect_err("refused").text.contains("is not a profile"));
    }
}
