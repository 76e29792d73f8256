//! A database server and a data folder belong together: the one says which bytes there are, the other has them.

use kaogong_domain::Problem;
use kaogong_store::make_secret;
use kaogong_store::{Dialect, Store};
use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

/// Ties a PostgreSQL database to its first data folder. A second server with a folder of its own would take the first
/// one's running jobs for lost and find none of its datasets. An embedded database lies in its folder.
///
/// # Errors
/// `Conflict` when the database belongs to another data folder.
pub async fn check(store: &Store, folder: &Path) -> Result<(), Problem> {
    if store.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let file = folder.join("folder-id");
    let cannot = |it: std::io::Error| super::cannot_use(folder, &it);
    let mine = match std::fs::read_to_string(&file) {
        Ok(text) => text.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let new = make_secret("")?.expose().to_owned();
            write(&file, &new).map_err(cannot)?;
            new
        }
        Err(error) => return Err(cannot(error)),
    };
    if store.ensure_setting("data_folder", &mine).await? == mine {
        return Ok(());
    }
    Err(Problem::conflict(format!("the database belongs to another data folder than {}", folder.display()))
        .hint("start with the data folder that was used first, or its copy; or give this server a database of its own"))
}

/// Whole or not at all: half an id would shut the folder out for ever.
fn write(file: &Path, id: &str) -> std::io::Result<()> {
    let part = file.with_extension("part");
    let mut open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    open.write_all(id.as_bytes())?;
    open.sync_all()?;
    std::fs::rename(&part, file)
}
