//! Backups that are whole, cut, changed, and made to harm.

use super::*;
use crate::{BlobHash, Blobs};
use std::{fs, path::Path};
use tempfile::TempDir;

fn head() -> Head {
    Head { format: FORMAT, version: "0.1.0".to_owned(), store: "sqlite".to_owned(), made_at: 7, bytes: 100 }
}

/// A data folder with a database, a blob and a table.
fn folder() -> TempDir {
    let dir = TempDir::new().expect("a folder");
    fs::write(dir.path().join(SQLITE), "metadata".repeat(1000)).expect("a file");
    Blobs::open(dir.path().join("blobs")).expect("a store").put(b"precious").expect("a blob");
    let table = dir.path().join("tables/ds_1/items.lance");
    for part in ["_versions", "data", "_refs/tags"] {
        fs::create_dir_all(table.join(part)).expect("a folder");
    }
    fs::write(table.join("_versions/1.manifest"), "names data/x").expect("a file");
    fs::write(table.join("data").join("x".repeat(150)), "rows").expect("a file");
    fs::write(table.join("_refs/tags/v1.json"), "names 1").expect("a file");
    std::os::unix::fs::symlink("/etc/passwd", table.join("data/link")).expect("a link");
    dir
}

fn backup(dir: &Path) -> Vec<u8> {
    let mut out = heartbeat().to_vec();
    let mut writer = Writer::begin(&mut out, dir, &head()).expect("an archive");
    assert!(writer.add_file(SQLITE, &dir.join(SQLITE)).expect("a file"));
    let named = format!("{}\n{}\n", path_of_blob(&BlobHash::of(b"precious").to_string()), path_of_dataset("ds_1"));
    writer.add(NAMED, named.as_bytes(), named.len() as u64).expect("a list");
    assert!(!writer.add_file("blobs/ab/gone", &dir.join("gone")).expect("nothing"));
    writer.add_folder("blobs", &dir.join("blobs")).expect("blobs");
    writer.add_folder("tables", &dir.join("tables")).expect("tables");
    writer.add_folder("jobs", &dir.join("absent")).expect("nothing");
    writer.finish().expect("a whole archive");
    out
}

fn check(bytes: &[u8]) -> Result<Contents, BackupError> {
    let temp = TempDir::new().expect("a folder");
    read(bytes, temp.path(), Target::Nowhere, |_, _| {})
}

#[test]
fn what_was_backed_up_comes_back() {
    let dir = folder();
    let bytes = backup(dir.path());
    let target = TempDir::new().expect("a folder");
    let mut heard = 0;
    let found = read(bytes.as_slice(), dir.path(), Target::Folder(target.path()), |it, _| heard = it);
    let found = found.expect("a good backup");
    assert_eq!((found.files, found.head, found.damaged_before.len()), (6, head(), 0));
    assert_eq!(found.missing, Some(Missing::default()));
    assert!(!target.path().join(NAMED).exists(), "it is of the backup, not of the data folder");
    assert!(heard > found.bytes && found.bytes > 8000);
    let same =
        |name: &str| fs::read(dir.path().join(name)).expect(name) == fs::read(target.path().join(name)).expect(name);
    assert!(same(SQLITE) && same("tables/ds_1/items.lance/_versions/1.manifest"));
    let long = format!("tables/ds_1/items.lance/data/{}", "x".repeat(150));
    assert!(same(&long), "a long name stays");
    assert!(!target.path().join("tables/ds_1/items.lance/data/link").exists(), "a link is not followed");
    let blobs = Blobs::open(target.path().join("blobs")).expect("a store");
    assert_eq!(blobs.read(&BlobHash::of(b"precious"), 100).expect("a blob"), b"precious");
    let again = read(bytes.as_slice(), dir.path(), Target::Folder(target.path()), |_, _| {});
    assert!(matches!(again, Err(BackupError::Io { .. })), "nothing is written over: {again:?}");
}

#[test]
fn what_names_files_is_read_before_what_it_names() {
    let dir = folder();
    let unpacked = zstd::decode_all(backup(dir.path()).as_slice()).expect("an archive");
    let mut archive = tar::Archive::new(unpacked.as_slice());
    let names =
        archive.entries().expect("entries").map(|it| it.expect("an entry").path().expect("a name").into_owned());
    let names: Vec<String> = names.map(|it| it.to_string_lossy().into_owned()).collect();
    let place = |part: &str| names.iter().position(|it| it.contains(part)).expect(part);
    assert!(place("_refs") < place("_versions") && place("_versions") < place("data/x"), "{names:?}");
    assert!(names.first().is_some_and(|it| it == HEAD) && names.last().is_some_and(|it| it == MANIFEST));
}

#[test]
fn a_cut_backup_is_incomplete_wherever_it_was_cut() {
    let dir = folder();
    let bytes = backup(dir.path());
    for part in [1, 9, 60, bytes.len() / 2, bytes.len() - 5, bytes.len() - 1] {
        assert!(check(&bytes[..part]).is_err(), "cut at {part}");
    }
    assert!(matches!(check(&bytes[..bytes.len() - 1]), Err(BackupError::Incomplete)));
}

#[test]
fn a_changed_byte_is_noticed_wherever_it_is() {
    let dir = folder();
    let bytes = backup(dir.path());
    for place in (heartbeat().len()..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[place] ^= 0x10;
        // Some bits of a compressed stream mean nothing.
        let is_harmless = || zstd::decode_all(changed.as_slice()).ok() == zstd::decode_all(bytes.as_slice()).ok();
        assert!(check(&changed).is_err() || is_harmless(), "a change at {place}");
    }
}

/// An archive whose checksum is right and whose content is not.
fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(vec![]);
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_mode(0o600);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append(&header, *bytes).expect("an entry");
    }
    zstd::encode_all(builder.into_inner().expect("an archive").as_slice(), 1).expect("packed")
}

#[test]
fn a_file_that_differs_from_the_manifest_is_named() {
    // Of the first layout, without a list.
    let head = serde_json::to_vec(&Head { format: 1, ..head() }).expect("a head");
    let hash = |it: &[u8]| BlobHash::of(it).to_string();
    let manifest = |database: &[u8]| {
        format!(
            "{{\"path\":\"{HEAD}\",\"bytes\":{},\"blake3\":\"{}\"}}\n{{\"path\":\"{SQLITE}\",\"bytes\":4,\"blake3\":\"{}\"}}\n{{\"files\":2,\"bytes\":{}}}\n",
            head.len(),
            hash(&head),
            hash(database),
            head.len() + 4
        )
    };
    let pack = |manifest: &str| archive(&[(HEAD, &head), (SQLITE, b"rows"), (MANIFEST, manifest.as_bytes())]);
    let good = check(&pack(&manifest(b"rows"))).expect("a good one");
    assert_eq!((good.files, good.missing), (1, None));
    let told = check(&pack(&manifest(b"rowz")));
    assert!(matches!(&told, Err(BackupError::Damaged(name)) if name == SQLITE), "{told:?}");
    assert!(check(&pack(&manifest(b"rows").replace("\"files\":2", "\"files\":3"))).is_err());
    assert!(check(&pack(&(manifest(b"rows") + "{}\n"))).is_err());
    assert!(matches!(check(&archive(&[(HEAD, &head), (SQLITE, b"rows")])), Err(BackupError::Incomplete)));
}

#[test]
fn a_blob_that_was_damaged_before_is_told() {
    let dir = folder();
    let hash = BlobHash::of(b"precious").to_string();
    let name = format!("blobs/{}/{}", &hash[..2], &hash[2..]);
    fs::write(dir.path().join(&name), "rotten").expect("damage");
    assert_eq!(check(&backup(dir.path())).expect("whole all the same").damaged_before, [name]);
}

#[test]
fn what_the_database_names_and_the_backup_does_not_hold_is_named() {
    let dir = folder();
    let blobs: Vec<String> = (0..40).map(|it| BlobHash::of(&[it]).to_string()).collect();
    let mut named: Vec<String> = blobs.iter().map(|it| path_of_blob(it)).collect();
    named.sort();
    let datasets = ["ds_0", "ds_1", "ds_2"].map(path_of_dataset);
    let list: String = named.iter().chain(&datasets).map(|it| format!("{it}\n")).collect();
    let missing = |held: &[u8]| {
        let dir_of_blobs = TempDir::new().expect("a folder");
        let store = Blobs::open(dir_of_blobs.path().join("blobs")).expect("a store");
        for it in held {
            store.put(&[*it]).expect("a blob");
        }
        store.put(b"of nobody").expect("a blob");
        let mut out = vec![];
        let mut writer = Writer::begin(&mut out, dir.path(), &head()).expect("an archive");
        writer.add_file(SQLITE, &dir.path().join(SQLITE)).expect("a file");
        writer.add(NAMED, list.as_bytes(), list.len() as u64).expect("a list");
        writer.add_folder("blobs", &dir_of_blobs.path().join("blobs")).expect("blobs");
        writer.add_folder("tables", &dir.path().join("tables")).expect("tables");
        writer.finish().expect("a whole archive");
        check(&out).expect("a whole backup").missing.expect("a list")
    };
    let all: Vec<u8> = (0..40).collect();
    let tables = vec![datasets[0].clone(), datasets[2].clone()];
    assert_eq!(missing(&all), Missing { first: tables.clone(), count: 2 });
    for gone in [0u8, 17, 39] {
        let held: Vec<u8> = all.iter().copied().filter(|it| *it != gone).collect();
        let first = [vec![path_of_blob(&blobs[usize::from(gone)])], tables.clone()].concat();
        assert_eq!(missing(&held), Missing { first, count: 3 });
    }
    assert_eq!(missing(&[]), Missing { first: named[..20].to_vec(), count: 42 });
}

#[test]
fn an_archive_writes_nowhere_else_and_a_newer_one_is_refused() {
    let head = serde_json::to_vec(&head()).expect("a head");
    for name in ["../x", "/etc/x", "blobs/../../x", "profile.json", "lock", "tables//x", "jobs/./x", "x"] {
        let told = check(&archive(&[(HEAD, &head), (name, b"x")]));
        assert!(matches!(told, Err(BackupError::Strange(_))), "{name}: {told:?}");
    }
    assert!(matches!(check(&archive(&[(SQLITE, b"x")])), Err(BackupError::Strange(_))));
    assert!(matches!(check(b"text that is no archive"), Err(BackupError::Strange(_))));
    let newer = Head { format: FORMAT + 1, ..self::head() };
    let newer = serde_json::to_vec(&newer).expect("a head");
    assert!(matches!(check(&archive(&[(HEAD, &newer)])), Err(BackupError::Newer(_))));
}
