//! Archives go to the system's `tar` and back, and hostile ones go nowhere.

use kaogong_client::{
    tar_in::{Limits, TarFault, Unpacked, unpack},
    tar_out::{Entry, pack},
};
use proptest::prelude::*;
use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    process::Command,
};

const ROOMY: Limits = Limits { entries: 1000, bytes: 1 << 30 };

fn names() -> Vec<Vec<u8>> {
    let long = "长".repeat(60);
    let deep = format!("{}/{}", "d".repeat(150), "f".repeat(100));
    let deeper = format!("{}/{}/{}.png", "a".repeat(200), "b".repeat(200), "c".repeat(200));
    vec![
        b"7/0001.png".to_vec(),
        b"empty".to_vec(),
        "猫/照片 1.jpg".into(),
        long.into_bytes(),
        deep.into_bytes(),
        deeper.into_bytes(),
        b"caf\xe9/\xff\xfe.bin".to_vec(),
        "n".repeat(100).into_bytes(),
        "m".repeat(101).into_bytes(),
    ]
}

fn content(at: usize) -> Vec<u8> {
    let size = [0, 1, 511, 512, 513, 70_000, 600_000][at % 7];
    (0..size).map(|it| (it * 31 + at) as u8).collect()
}

fn tree(root: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (at, name) in names().into_iter().enumerate() {
        let path = root.join(OsString::from_vec(name));
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, content(at)).expect("written");
        entries.push(Entry::below(root, &path));
    }
    entries
}

fn check_tree(root: &Path) {
    for (at, name) in names().into_iter().enumerate() {
        let path = root.join(OsString::from_vec(name));
        assert_eq!(fs::read(&path).unwrap_or_else(|it| panic!("{}: {it}", path.display())), content(at));
    }
}

fn packed(entries: &[Entry]) -> Vec<u8> {
    let mut archive = Vec::new();
    pack(entries, &mut archive).expect("packed");
    archive
}

fn tar(arguments: &[&str], folder: &Path, archive: &Path) {
    let mut command = Command::new("tar");
    command.args(arguments).arg(archive).arg("-C").arg(folder);
    if arguments[0].starts_with("-c") {
        command.arg(".");
    }
    let output = command.output().expect("tar runs");
    assert!(output.status.success(), "tar: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_long_name_with_a_line_break_stays_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir_all(from.join("猫\n狗")).expect("made");
    fs::create_dir(&to).expect("made");
    let name = Path::new("猫\n狗").join("x".repeat(240));
    fs::write(from.join(&name), b"abc").expect("written");
    let archive = dir.path().join("a.tar");
    fs::write(&archive, packed(&[Entry::below(&from, &from.join(&name))])).expect("written");
    tar(&["-xf"], &to, &archive);
    assert_eq!(fs::read(to.join(&name)).expect("under its own name"), b"abc");
}

#[test]
fn the_systems_tar_reads_what_is_packed() {
    let dir = tempfile::tempdir().expect("a folder");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&to).expect("made");
    let archive = dir.path().join("a.tar");
    fs::write(&archive, packed(&tree(&from))).expect("written");
    tar(&["-xf"], &to, &archive);
    check_tree(&to);
}

#[test]
fn programs_stay_programs() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a folder");
    let archive = dir.path().join("a.tar");
    let long = format!("{}/run.sh", "d".repeat(160));
    let entries = [
        Entry::bytes("run.sh", "true").executable(),
        Entry::bytes(&long, "true").executable(),
        Entry::bytes("data", "true"),
    ];
    fs::write(&archive, packed(&entries)).expect("written");
    tar(&["-xf"], dir.path(), &archive);
    let may_run = |name: &str| fs::metadata(dir.path().join(name)).expect(name).permissions().mode() & 0o100 != 0;
    assert_eq!(["run.sh", &long, "data"].map(may_run), [true, true, false]);
}

#[test]
fn empty_folders_stay() {
    let dir = tempfile::tempdir().expect("a folder");
    let archive = dir.path().join("a.tar");
    let names = ["out".to_owned(), format!("{}/{}", "d".repeat(150), "e".repeat(99)), "长".repeat(60)];
    let folder = |it: &String| Entry::folder(Path::new("/"), &Path::new("/").join(it));
    fs::write(&archive, packed(&names.iter().map(folder).collect::<Vec<_>>())).expect("written");
    tar(&["-xf"], dir.path(), &archive);
    assert!(names.iter().all(|it| dir.path().join(it).is_dir()));
}

#[test]
fn what_the_systems_tar_packs_is_unpacked() {
    for format in ["--format=gnu", "--format=pax", "--format=ustar"] {
        let dir = tempfile::tempdir().expect("a folder");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&to).expect("made");
        tree(&from);
        let archive = dir.path().join("a.tar");
        if format != "--format=pax" {
            // GNU writes long names in a way of its own, and ustar cannot hold them.
            for long in names().iter().filter(|it| it.len() > 99) {
                let top = Path::new(std::ffi::OsStr::from_bytes(long)).iter().next().expect("a part").to_owned();
                let path = from.join(top);
                let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            }
        }
        tar(&["-c", format, "-f"], &from, &archive);
        let unpacked = unpack(fs::File::open(&archive).expect("open"), &to, ROOMY).expect("unpacked");
        assert!(unpacked.files >= 4, "{format}: {unpacked:?}");
        if format == "--format=pax" {
            check_tree(&to);
        }
    }
}

#[test]
fn packing_and_unpacking_is_the_same_tree() {
    let dir = tempfile::tempdir().expect("a folder");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&to).expect("made");
    let archive = packed(&tree(&from));
    let unpacked = unpack(archive.as_slice(), &to, ROOMY).expect("unpacked");
    let bytes = (0..names().len()).map(|at| content(at).len() as u64).sum();
    assert_eq!(unpacked, Unpacked { files: names().len() as u64, bytes });
    check_tree(&to);
}

/// Unpacks an archive and expects a refusal; gives its text. Nothing may appear outside the target.
fn refusal(archive: &[u8], limits: Limits) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let to = dir.path().join("to");
    fs::create_dir(&to).expect("made");
    let fault = unpack(archive, &to, limits).expect_err("refused");
    let outside: Vec<PathBuf> =
        fs::read_dir(dir.path()).expect("listed").map(|it| it.expect("an entry").path()).collect();
    assert_eq!(outside, [to], "something appeared outside");
    match fault {
        TarFault::Io { what, .. } => what,
        TarFault::Bad(why) => why,
    }
}

fn with_kind(kind: u8) -> Vec<u8> {
    let mut archive = packed(&[Entry::bytes("link", "")]);
    archive[156] = kind;
    archive[157..161].copy_from_slice(b"/etc");
    let blank: u32 = archive[..512]
        .iter()
        .enumerate()
        .map(|(at, it)| if (148..156).contains(&at) { 32 } else { u32::from(*it) })
        .sum();
    archive[148..156].copy_from_slice(format!("{blank:06o}\0 ").as_bytes());
    archive
}

#[test]
fn hostile_archives_are_refused() {
    let long = format!("../{}", "x/".repeat(200));
    for name in ["../x", "/tmp/kaogong-x", "a/../../x", "..", &long] {
        assert!(refusal(&packed(&[Entry::bytes(name, "x")]), ROOMY).contains("leads out"), "{name}");
    }
    for kind in [b'1', b'2', b'3', b'4', b'6', b'S', b'L'] {
        assert!(refusal(&with_kind(kind), ROOMY).contains("an entry of kind"));
    }
    let twice = packed(&[Entry::bytes("a", "1"), Entry::bytes("a", "2")]);
    assert!(refusal(&twice, ROOMY).contains("cannot write"));
    let two = packed(&[Entry::bytes("a", "1"), Entry::bytes("b", "2")]);
    assert!(refusal(&two, Limits { entries: 1, bytes: 100 }).contains("more than 1 files"));
    assert!(refusal(&two, Limits { entries: 9, bytes: 1 }).contains("or 1 bytes"));
    assert!(refusal(&two[..1024], ROOMY).contains("before its end mark"));
    assert!(refusal(&two[..513], ROOMY).contains("early") || refusal(&two[..513], ROOMY).contains("inside a file"));
    let mut damaged = two.clone();
    damaged[0] = b'z';
    assert!(refusal(&damaged, ROOMY).contains("checksum"));
}

#[test]
fn the_archive_depends_on_names_and_contents_alone() {
    let one = tempfile::tempdir().expect("a folder");
    let other = tempfile::tempdir().expect("a folder");
    assert_eq!(packed(&tree(one.path())), packed(&tree(other.path())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_the_reader_fall_over(mut archive in proptest::collection::vec(any::<u8>(), 0..3000), cut in 0usize..2048) {
        let dir = tempfile::tempdir().expect("a folder");
        let _ = unpack(archive.as_slice(), dir.path(), ROOMY);
        let mut good = packed(&[Entry::bytes(&format!("{0}/{0}/x", "p".repeat(120)), "hello")]);
        let at = cut.min(good.len());
        good.truncate(at);
        good.append(&mut archive);
        let _ = unpack(good.as_slice(), dir.path(), ROOMY);
    }
}
