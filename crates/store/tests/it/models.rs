//! Registered models, versions and aliases.

use crate::support::{NOW, on_both, refused};
use kaogong_domain::ErrorKind;
use kaogong_store::{ModelRow, ModelVersionRow, NewModelVersionRow, OthersInStage};
use std::collections::BTreeMap;

#[tokio::test]
async fn numbers_of_deleted_versions_are_not_used_again() {
    on_both("model versions", async |w| {
        let model =
            w.store.create_model(w.project, "m", "about", BTreeMap::new(), &w.actor, NOW).await.expect("a model");
        refused(w.store.create_model(w.project, "m", "", BTreeMap::new(), &w.actor, NOW).await, ErrorKind::Conflict);
        assert_eq!(w.store.ensure_model(w.project, "m", &w.actor, NOW).await.expect("the same").id, model.id);
        let run = w.run(w.project, "r").await;
        let new = NewModelVersionRow {
            source: "s".to_owned(),
            run_id: Some(run),
            size: Some(7),
            request_key: Some("k".to_owned()),
            ..Default::default()
        };
        let first =
            w.store.create_model_version(w.project, model.id, new.clone(), &w.actor, NOW).await.expect("a version");
        let again =
            w.store.create_model_version(w.project, model.id, new.clone(), &w.actor, NOW).await.expect("the same");
        assert_eq!(first, again);
        let plain = NewModelVersionRow { request_key: None, ..new };
        let second =
            w.store.create_model_version(w.project, model.id, plain.clone(), &w.actor, NOW).await.expect("a version");
        w.store.delete_model_version(w.project, second.id, &w.actor, NOW).await.expect("deleted");
        let third = w.store.create_model_version(w.project, model.id, plain, &w.actor, NOW).await.expect("a version");
        assert_eq!((first.number, second.number, third.number), (1, 2, 3));
        assert_eq!(w.store.models_of_run(w.project, run).await.expect("names"), ["m@1", "m@3"]);
        assert!(w.store.models_of_run(w.other, run).await.expect("names").is_empty());
        assert_eq!(w.store.versions_of_models(&[model.id]).await.expect("versions"), [first, third]);
        assert_eq!(w.store.find_model_version(model.id, 2).await.expect("it reads"), None);
    })
    .await;
}

#[tokio::test]
async fn aliases_follow_their_versions() {
    on_both("aliases", async |w| {
        let id = w.model_version(w.project, "m").await;
        let model = w.store.find_model(w.project, "m").await.expect("it reads").expect("a model").id;
        w.store.set_model_alias(w.project, model, "best", 1, &w.actor, NOW).await.expect("set");
        w.store.set_model_alias(w.project, model, "best", 1, &w.actor, NOW).await.expect("set again");
        refused(w.store.set_model_alias(w.project, model, "best", 2, &w.actor, NOW).await, ErrorKind::NotFound);
        refused(w.store.set_model_alias(w.other, model, "best", 1, &w.actor, NOW).await, ErrorKind::NotFound);
        w.store.delete_model_alias(w.other, model, "best", &w.actor, NOW).await.expect("it changes nothing");
        let aliases = w.store.model_aliases(model).await.expect("aliases");
        assert_eq!(aliases, BTreeMap::from([("best".to_owned(), 1)]));
        w.store.delete_model_version(w.project, id, &w.actor, NOW).await.expect("deleted");
        assert!(w.store.model_aliases(model).await.expect("aliases").is_empty());
    })
    .await;
}

#[tokio::test]
async fn models_change_and_stay_in_their_project() {
    on_both("isolation of models", async |w| {
        let id = w.model_version(w.project, "m").await;
        let model = w.store.find_model(w.project, "m").await.expect("it reads").expect("a model");
        assert_eq!(w.store.find_model(w.other, "m").await.expect("it reads"), None);
        let describe = |it: &mut ModelVersionRow| {
            it.description = "better".to_owned();
            Ok(())
        };
        let told = w.store.change_model_version(w.other, id, describe, &w.actor, NOW).await;
        refused(told, ErrorKind::NotFound);
        let changed = w.store.change_model_version(w.project, id, describe, &w.actor, w.later(3)).await;
        let changed = changed.expect("changed");
        assert_eq!((changed.description.as_str(), changed.updated_at), ("better", w.later(3)));
        refused(w.store.delete_model_version(w.other, id, &w.actor, NOW).await, ErrorKind::NotFound);
        let rename = |it: &mut ModelRow| {
            it.name = "n".to_owned();
            Ok(())
        };
        refused(w.store.change_model(w.other, model.id, rename, &w.actor, NOW).await, ErrorKind::NotFound);
        w.store.change_model(w.project, model.id, rename, &w.actor, NOW).await.expect("renamed");
        w.store.ensure_model(w.project, "taken", &w.actor, NOW).await.expect("another model");
        let take = |it: &mut ModelRow| {
            it.name = "taken".to_owned();
            Ok(())
        };
        refused(w.store.change_model(w.project, model.id, take, &w.actor, NOW).await, ErrorKind::Conflict);
        let new = NewModelVersionRow::default();
        refused(w.store.create_model_version(w.other, model.id, new, &w.actor, NOW).await, ErrorKind::NotFound);
        refused(w.store.delete_model(w.other, model.id, &w.actor, NOW).await, ErrorKind::NotFound);
        w.store.delete_model(w.project, model.id, &w.actor, NOW).await.expect("deleted");
        assert_eq!(w.store.list_models(w.project).await.expect("models").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn changes_at_once_are_all_kept() {
    on_both("changes at once", async |w| {
        let version = w.model_version(w.project, "m").await;
        let model = w.store.find_model(w.project, "m").await.expect("it reads").expect("a model").id;
        let tag = async |key: &'static str| {
            let put = |it: &mut ModelRow| {
                it.tags.insert(key.to_owned(), "x".to_owned());
                Ok(())
            };
            w.store.change_model(w.project, model, put, &w.actor, NOW).await.expect("tagged");
            let put = |it: &mut ModelVersionRow| {
                it.tags.insert(key.to_owned(), "x".to_owned());
                Ok(())
            };
            w.store.change_model_version(w.project, version, put, &w.actor, NOW).await.expect("tagged");
        };
        tokio::join!(tag("a"), tag("b"), tag("c"), tag("d"));
        let found = w.store.find_model(w.project, "m").await.expect("it reads").expect("a model");
        assert_eq!(found.tags.len(), 4);
        let found = w.store.find_model_version(model, 1).await.expect("it reads").expect("a version");
        assert_eq!(found.tags.len(), 4);
        let many = |it: &mut ModelRow| {
            it.tags = (0..1001).map(|at| (format!("t{at}"), String::new())).collect();
            Ok(())
        };
        refused(w.store.change_model(w.project, model, many, &w.actor, NOW).await, ErrorKind::Invalid);
    })
    .await;
}

#[tokio::test]
async fn a_stage_is_entered_and_emptied_in_one_step() {
    on_both("stages", async |w| {
        let ids = [w.model_version(w.project, "m").await, w.model_version(w.project, "m").await];
        let model = w.store.find_model(w.project, "m").await.expect("it reads").expect("a model").id;
        for (id, others) in ids.into_iter().zip([OthersInStage::Stay, OthersInStage::Archive]) {
            let moved =
                w.store.set_model_version_stage(w.project, id, "Production", others, &w.actor, w.later(1)).await;
            assert_eq!(moved.expect("moved").stage, "Production");
        }
        let all = w.store.versions_of_models(&[model]).await.expect("versions");
        assert_eq!(all.iter().map(|it| it.stage.as_str()).collect::<Vec<_>>(), ["Archived", "Production"]);
        let newest = w.store.newest_of_stages(&[model]).await.expect("versions");
        assert_eq!(newest.iter().map(|it| it.number).collect::<Vec<_>>(), [1, 2]);
    })
    .await;
}

#[tokio::test]
async fn the_same_registration_is_known_by_its_bytes_and_link() {
    on_both("the same again", async |w| {
        let model = w.store.ensure_model(w.project, "m", &w.actor, NOW).await.expect("a model").id;
        let new = |hash: &str, run_link: Option<&str>| NewModelVersionRow {
            source: "runs:/r/model".to_owned(),
            hash: Some(hash.to_owned()),
            run_link: run_link.map(str::to_owned),
            same_since: Some(NOW),
            ..Default::default()
        };
        let register = async |new: NewModelVersionRow| {
            let made = w.store.create_model_version(w.project, model, new, &w.actor, w.later(1)).await;
            made.expect("a version").number
        };
        let (a, b) = tokio::join!(register(new("one", None)), register(new("one", None)));
        assert_eq!((a, b), (1, 1), "two equal requests at once make one");
        assert_eq!(register(new("two", None)).await, 2, "other bytes are another version");
        assert_eq!(register(new("two", Some("here"))).await, 3);
        assert_eq!(register(new("one", None)).await, 1);
        let late = NewModelVersionRow { same_since: Some(w.later(1)), ..new("one", None) };
        assert_eq!(register(late).await, 4, "long ago is not the same request");
    })
    .await;
}
