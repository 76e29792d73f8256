//! Names in, classes and splits out.

use super::*;
use proptest::prelude::*;

fn shown(names: &[&str], labels: LabelsFrom) -> String {
    let plan = plan(names, labels).expect("a plan");
    let files = plan.files.iter().map(|it| {
        let split = it.split.map_or("-", Split::as_str);
        format!("{} {} {}\n", names[it.index], it.label.as_deref().unwrap_or("-"), split)
    });
    let skipped = plan.skipped.listed.iter().map(|it| format!("skipped {}: {}\n", it.source_name, it.reason));
    files.chain(skipped).collect()
}

#[test]
fn class_folders_under_a_wrapper() {
    insta::assert_snapshot!(shown(&["digits/0/a.png", "digits/1/a.png", "digits/README.md"], LabelsFrom::Auto), @r"
    digits/0/a.png 0 -
    digits/1/a.png 1 -
    skipped digits/README.md: not a picture, judging by the end of its name
    ");
}

#[test]
fn split_folders() {
    insta::assert_snapshot!(shown(&["x/train/cat/1.JPG", "x/test/dog/1.jpg", "x/Val/2.jpg"], LabelsFrom::Auto), @r"
    x/train/cat/1.JPG cat train
    x/test/dog/1.jpg dog test
    x/Val/2.jpg - validation
    ");
}

#[test]
fn a_class_may_be_called_train() {
    insta::assert_snapshot!(shown(&["train/1.png", "bus/1.png"], LabelsFrom::Auto), @r"
    train/1.png train -
    bus/1.png bus -
    ");
}

#[test]
fn a_single_folder_is_a_class_only_when_asked() {
    assert_eq!(shown(&["cats/1.png"], LabelsFrom::Auto), "cats/1.png - -\n");
    assert_eq!(shown(&["cats/1.png"], LabelsFrom::Folder), "cats/1.png cats -\n");
    assert_eq!(shown(&["a/1.png", "b/1.png"], LabelsFrom::Nothing), "a/1.png - -\nb/1.png - -\n");
}

#[test]
fn the_level_of_the_classes_is_chosen_or_asked_for() {
    let names = ["x/train/ill/p1/1.png", "x/train/well/p2/1.png", "x/test/ill/p3/1.png", "x/test/well/p4/2.png"];
    insta::assert_snapshot!(shown(&names, LabelsFrom::Auto), @r"
    x/train/ill/p1/1.png ill train
    x/train/well/p2/1.png well train
    x/test/ill/p3/1.png ill test
    x/test/well/p4/2.png well test
    ");
    insta::assert_snapshot!(shown(&names, LabelsFrom::Level(2)), @r"
    x/train/ill/p1/1.png p1 train
    x/train/well/p2/1.png p2 train
    x/test/ill/p3/1.png p3 test
    x/test/well/p4/2.png p4 test
    ");
    let folders = plan(&names, LabelsFrom::Auto).expect("a plan").folders;
    assert_eq!((folders.class_level, folders.is_unsure, folders.levels.len()), (Some(1), true, 2));
    let problem = plan(&names, LabelsFrom::Level(3)).expect_err("no such level");
    assert_eq!(problem.text, "the class level must be 1 to 2");
    // Pictures that lie higher have no class.
    assert_eq!(
        shown(&["a/1.png", "a/b/2.png", "c/3.png"], LabelsFrom::Level(2)),
        "a/1.png - -\na/b/2.png b -\nc/3.png - -\n"
    );
}

#[test]
fn hostile_names_are_left_out_and_listed() {
    let names = [
        "../a.png",
        "/etc/a.png",
        "C:/a.png",
        "a/../b.png",
        "a\\..\\b.png",
        ".git/a.png",
        "__MACOSX/a.png",
        "a\n.png",
        "a/",
        "",
        "a/.b.png",
        "plain",
    ];
    let plan = plan(&names, LabelsFrom::Auto).expect("a plan");
    assert_eq!((plan.files.len(), plan.skipped.total), (0, names.len() as u64));
}

#[test]
fn one_name_twice_is_refused_also_in_another_unicode_form() {
    for names in [["a/b.png", "a/b.png"], ["a/b.png", "a/./b.png"], ["caf\u{e9}.png", "cafe\u{301}.png"]] {
        assert!(plan(&names, LabelsFrom::Auto).is_err(), "{names:?} was accepted");
    }
}

#[test]
fn classes_are_matched_in_nfc() {
    let plan = plan(&["caf\u{e9}/1.png", "cafe\u{301}/2.png", "b/1.png"], LabelsFrom::Auto).expect("a plan");
    assert_eq!(plan.files[0].label, plan.files[1].label);
}

#[test]
fn a_class_that_is_no_text_is_left_out() {
    let names: [&[u8]; 3] = [b"\xff/1.png", b"b/\xff.png", b"c/1.png"];
    let plan = plan(&names, LabelsFrom::Auto).expect("a plan");
    assert_eq!((plan.files.len(), plan.skipped.total), (2, 1));
}

#[test]
fn loose_pictures_do_not_discard_the_given_split() {
    let names = ["x/train/cat/1.jpg", "x/test/dog/1.jpg", "x/cover.jpg", "loose.jpg", "x/train/dog/2.jpg"];
    insta::assert_snapshot!(shown(&names, LabelsFrom::Auto), @r"
    x/train/cat/1.jpg cat train
    x/test/dog/1.jpg dog test
    x/train/dog/2.jpg dog train
    skipped x/cover.jpg: it lies beside the folders of the splits, so it belongs to none of them
    skipped loose.jpg: it lies beside the folders of the splits, so it belongs to none of them
    ");
    // A folder that is called `test` by chance does not throw the rest away.
    assert_eq!(shown(&["test/1.png", "2.png", "3.png"], LabelsFrom::Auto), "test/1.png test -\n2.png - -\n3.png - -\n");
}

#[test]
fn names_in_gbk_are_told_apart_by_their_bytes() {
    let names: [&[u8]; 3] = [b"a/\xce\xc4.png", b"a/\xbc\xc4.png", b"b/\xce\xc4.png"];
    let plan = plan(&names, LabelsFrom::Auto).expect("three files");
    assert_eq!((plan.files.len(), plan.skipped.total), (3, 0));
    let class: [&[u8]; 2] = [b"\xce\xc4/1.png", b"b/2.png"];
    let plan = super::plan(&class, LabelsFrom::Auto).expect("a plan");
    assert!(plan.skipped.listed[0].reason.contains("convmv"), "{}", plan.skipped.listed[0].reason);
}

#[test]
fn what_no_file_system_could_hold_is_left_out() {
    let (long, deep) = ("x".repeat(252) + ".png", "d/".repeat(65) + "a.png");
    let fits = "d/".repeat(64) + "a.png";
    let names = [long.as_str(), &deep, &fits, "a.png", "a.png/b.png", "./a.png/c/d.png", "b/c.png"];
    let plan = plan(&names, LabelsFrom::Auto).expect("a plan");
    let kept: Vec<_> = plan.files.iter().map(|it| it.index).collect();
    assert_eq!(kept, [2, 3, 6]);
    let reasons: Vec<_> = plan.skipped.listed.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "a part of the name is longer than 255 bytes",
            "it lies more than 64 folders deep",
            "its folder has the name of another picture",
            "its folder has the name of another picture",
        ]
    );
}

#[test]
fn a_name_has_one_normal_form() {
    for name in ["0/a.png", "./0/a.png", "0//a.png", "0/./a.png"] {
        assert_eq!(&*normal(name.as_bytes()), b"0/a.png");
    }
    assert_eq!(key_of("./cafe\u{301}.png".as_bytes()), "caf\u{e9}.png".as_bytes());
    assert_eq!(&*key_of(b"./\xff/a"), b"\xff/a");
}

proptest! {
    #[test]
    fn every_name_is_planned_or_listed(names in proptest::collection::vec("[a-c./\\\\]{0,12}(\\.png)?", 0..20)) {
        let result = plan(&names, LabelsFrom::Auto);
        if let Ok(plan) = result {
            prop_assert_eq!(plan.files.len() as u64 + plan.skipped.total, names.len() as u64);
            for file in &plan.files {
                prop_assert!(!names[file.index].contains("..") || !names[file.index].split(['/', '\\']).any(|it| it == ".."));
            }
        }
    }
}
