//! Registered models, versions and aliases.

use crate::support::{NOW, on_both, refused};
use kaogong_domain::ErrorKind;
use kaogong_store::{ModelVersionPatch, NewModelVersionRow};
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
        assert_eq!(w.store.models_of_run(run).await.expect("names"), ["m@1", "m@3"]);
        assert_eq!(w.store.list_model_versions(model.id).await.expect("versions"), [first, third]);
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
        let mut model = w.store.find_model(w.project, "m").await.expect("it reads").expect("a model");
        assert_eq!(w.store.find_model(w.other, "m").await.expect("it reads"), None);
        let patch = ModelVersionPatch { stage: Some("Production".to_owned()), ..Default::default() };
        refused(w.store.update_model_version(w.other, id, patch.clone(), &w.actor, NOW).await, ErrorKind::NotFound);
        let changed = w.store.update_model_version(w.project, id, patch, &w.actor, w.later(3)).await.expect("changed");
        assert_eq!((changed.stage.as_str(), changed.updated_at), ("Production", w.later(3)));
        refused(w.store.delete_model_version(w.other, id, &w.actor, NOW).await, ErrorKind::NotFound);
        model.name = "n".to_owned();
        refused(w.store.save_model(w.other, &model, &w.actor, NOW).await, ErrorKind::NotFound);
        w.store.save_model(w.project, &model, &w.actor, NOW).await.expect("renamed");
        let new = NewModelVersionRow::default();
        refused(w.store.create_model_version(w.other, model.id, new, &w.actor, NOW).await, ErrorKind::NotFound);
        refused(w.store.delete_model(w.other, model.id, &w.actor, NOW).await, ErrorKind::NotFound);
        w.store.delete_model(w.project, model.id, &w.actor, NOW).await.expect("deleted");
        assert!(w.store.list_models(w.project).await.expect("models").is_empty());
    })
    .await;
}
