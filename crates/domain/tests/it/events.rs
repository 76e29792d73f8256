//! Every action of the event log has its words in both languages of the console, and its line in the docs.

use crate::tidy::root;
use kaogong_domain::events::EventAction;
use std::fs;

#[test]
fn every_action_has_words_and_no_words_are_left_over() {
    for file in ["en.ts", "zh.ts"] {
        let text = fs::read_to_string(root().join("web/src/i18n").join(file)).expect("the words of a language");
        let told: Vec<&str> = text
            .lines()
            .filter_map(|it| it.trim().strip_prefix("\"action.")?.split_once("\":").map(|it| it.0))
            .collect();
        let missing: Vec<&str> =
            EventAction::ALL.iter().map(|it| it.as_str()).filter(|it| !told.contains(it)).collect();
        let left: Vec<&&str> = told.iter().filter(|it| EventAction::parse(it).is_none()).collect();
        assert!(missing.is_empty() && left.is_empty(), "{file}: missing {missing:?}, of no action {left:?}");
    }
}

#[test]
fn the_docs_list_every_action() {
    let text = fs::read_to_string(root().join("docs/access.md")).expect("the page");
    let missing: Vec<&str> =
        EventAction::ALL.iter().map(|it| it.as_str()).filter(|it| !text.contains(&format!("`{it}`"))).collect();
    assert!(missing.is_empty(), "docs/access.md does not name {missing:?}");
}
