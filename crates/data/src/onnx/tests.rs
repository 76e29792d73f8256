//! Models of several files, written field by field.

use super::*;
use kaogong_domain::protobuf::writing::{self, head};
use proptest::prelude::*;
use std::fs;

fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    [head(field, content.len() as u64), content.to_vec()].concat()
}

fn value(field: u64, it: u64) -> Vec<u8> {
    [writing::number(field << 3), writing::number(it)].concat()
}

fn entry(key: &str, text: &str) -> Vec<u8> {
    bytes(13, &[bytes(1, key.as_bytes()), bytes(2, text.as_bytes())].concat())
}

/// FLOAT [2, 3] with its 24 bytes in `file` from `offset`.
fn tensor(file: &str, offset: u64) -> Vec<u8> {
    let entries = [entry("location", file), entry("offset", &offset.to_string()), entry("length", "24")].concat();
    [value(1, 2), value(1, 3), value(2, 1), bytes(8, b"w"), entries, value(14, 1)].concat()
}

/// The same with its data inside, as [`merge`] writes it.
fn whole(data: &[u8]) -> Vec<u8> {
    [value(1, 2), value(1, 3), value(2, 1), bytes(8, b"w"), bytes(9, data)].concat()
}

/// A model that holds one tensor in every place that has tensors.
fn model(tensor: &[u8]) -> Vec<u8> {
    let sparse = |field| bytes(field, &[bytes(1, tensor), bytes(2, tensor), value(3, 5)].concat());
    let attribute =
        [bytes(1, b"a"), bytes(5, tensor), bytes(10, tensor), bytes(6, &bytes(5, tensor)), sparse(22), sparse(23)]
            .concat();
    let node = |field| bytes(field, &[bytes(1, b"x"), bytes(5, &attribute), bytes(4, b"Op")].concat());
    let graph = [node(1), bytes(5, tensor), bytes(2, b"g"), sparse(15), bytes(11, b"input")].concat();
    let training = bytes(20, &[bytes(1, &graph), bytes(2, &graph)].concat());
    let function = bytes(25, &[node(7), bytes(11, &attribute)].concat());
    [value(1, 8), bytes(7, &graph), bytes(8, b"opset"), training, function, bytes(14, b"metadata")].concat()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn of(files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, content).expect("a file");
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn merged(&self, names: &[&str]) -> Result<Vec<u8>, Problem> {
        let files = names.iter().map(|it| ((*it).to_owned(), self.path(it))).collect();
        let mut out = vec![];
        let size = merge(&self.path("m.onnx"), &files, |it| {
            out.extend_from_slice(it);
            Ok(())
        })?;
        assert_eq!(size, out.len() as u64);
        Ok(out)
    }
}

#[test]
fn weights_come_in_wherever_they_were() {
    let data: Vec<u8> = (0..100).collect();
    let folder = Folder::of(&[("m.onnx", &model(&tensor("sub/./w.data", 30))), ("sub/w.data", &data)]);
    assert_eq!(outside(&folder.path("m.onnx")).expect("names"), BTreeSet::from(["sub/w.data".to_owned()]));
    assert_eq!(folder.merged(&["sub/w.data"]).expect("a model"), model(&whole(&data[30..54])));
}

#[test]
fn a_model_of_one_file_stays_as_it_is() {
    let plain = model(&whole(&[7; 24]));
    let folder = Folder::of(&[("m.onnx", &plain), ("text", b"no model at all"), ("nothing", b"")]);
    assert_eq!(folder.merged(&[]).expect("a model"), plain);
    for name in ["m.onnx", "text", "nothing"] {
        assert!(outside(&folder.path(name)).expect("no names").is_empty(), "{name}");
    }
}

#[test]
fn large_weights_are_copied_in_pieces() {
    let data: Vec<u8> = (0..3_000_000u32).map(|it| (it % 251) as u8).collect();
    let entries = [entry("location", "w"), entry("offset", "4096")].concat();
    let tensor = [bytes(1, &[writing::number(500_000)].concat()), value(2, 1), entries, value(14, 1)].concat();
    let folder = Folder::of(&[("m.onnx", &bytes(7, &bytes(5, &tensor))), ("w", &data)]);
    let merged = folder.merged(&["w"]).expect("a model");
    assert!(merged.ends_with(&data[4096..4096 + 2_000_000]));
    // The lengths before it are those of its new content.
    let inner = [bytes(1, &writing::number(500_000)), value(2, 1), bytes(9, &data[4096..2_004_096])].concat();
    assert_eq!(merged, bytes(7, &bytes(5, &inner)));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for location in ["/etc/passwd", "../w", "a/../../w", "", ".", "a//w", "w\0", "a/"] {
        let folder = Folder::of(&[("m.onnx", &model(&tensor(location, 0)))]);
        let problem = outside(&folder.path("m.onnx")).expect_err(location);
        assert!(problem.text.contains("no file beside the model"), "{location}: {problem}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_words() {
    let said = |content: &[u8], data: &[u8]| {
        let folder = Folder::of(&[("m.onnx", content), ("w", data)]);
        folder.merged(&["w"]).expect_err("refused").text
    };
    let at = |entries: &[Vec<u8>], shape: &[u64], data_type: u64| {
        let dims: Vec<u8> = shape.iter().flat_map(|it| value(1, *it)).collect();
        bytes(7, &bytes(5, &[dims, value(2, data_type), entries.concat(), value(14, 1)].concat()))
    };
    let w = entry("location", "w");
    assert!(said(&model(&tensor("w", 80)), &[0; 100]).contains("up to byte 104 of `w`, which has 100"));
    assert!(said(&model(&tensor("other", 0)), &[0; 100]).contains("`other`, which is not beside it"));
    assert!(said(&at(&[w.clone(), entry("length", "9")], &[2], 1), &[0; 100]).contains("need 8 bytes, and it names 9"));
    assert!(said(&at(&[w.clone(), entry("offset", "x")], &[2], 1), &[0; 100]).contains("no number"));
    assert!(
        said(&at(&[w.clone(), entry("offset", "18446744073709551615")], &[2], 1), &[0; 100]).contains("up to byte")
    );
    assert!(said(&at(std::slice::from_ref(&w), &[2], 8), &[0; 100]).contains("does not follow"), "texts");
    assert!(said(&at(std::slice::from_ref(&w), &[u64::MAX, 2], 1), &[0; 100]).contains("does not follow"));
    // A small file must not become a large one without bound.
    let tensor = at(&[w], &[1 << 30], 2);
    assert!(said(&[tensor.clone(), tensor].concat(), &[0; 100]).contains("at most 2 GiB"));
}

#[test]
fn messages_in_messages_have_an_end() {
    let mut graph = vec![];
    for _ in 0..200 {
        graph = bytes(1, &bytes(5, &bytes(6, &graph)));
    }
    let folder = Folder::of(&[("m.onnx", &bytes(7, &graph))]);
    assert!(outside(&folder.path("m.onnx")).expect_err("too deep").text.contains("deeper"));
}

proptest! {
    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300), cut in 0usize..400, place in 0usize..400, flip in any::<u8>()) {
        let mut near = model(&tensor("w", 3));
        near.truncate(near.len().saturating_sub(cut));
        if let Some(byte) = near.get_mut(place) {
            *byte ^= flip;
        }
        for content in [noise, near] {
            let folder = Folder::of(&[("m.onnx", &content), ("w", &[1; 40])]);
            let _ = outside(&folder.path("m.onnx"));
            let _ = folder.merged(&["w"]);
        }
    }
}
