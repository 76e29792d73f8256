//! Datasets and their versions.

use crate::support::{NOW, name, on_both, refused};
use kaogong_domain::{ErrorKind, datasets::DatasetKind, names::Title};
use kaogong_store::NewVersion;

#[tokio::test]
async fn a_dataset_is_made_once_and_keeps_its_kind() {
    on_both("datasets", async |w| {
        let it = name("digits");
        let made = w.store.ensure_dataset(w.project, &it, DatasetKind::Images, &w.actor, NOW).await.expect("a dataset");
        let again =
            w.store.ensure_dataset(w.project, &it, DatasetKind::Images, &w.actor, w.later(5)).await.expect("the same");
        assert_eq!(made, again);
        assert_eq!(w.store.find_dataset(w.project, &it).await.expect("it reads"), None, "nothing is in it");
        assert_eq!(w.store.list_datasets(w.project, 0, 5).await.expect("a page"), (vec![], 0));
        w.store.commit_version(w.new_version(made.id), &w.actor, NOW).await.expect("a version");
        assert_eq!(w.store.find_dataset(w.project, &it).await.expect("it reads"), Some(made.clone()));
        assert_eq!(w.store.find_dataset(w.other, &it).await.expect("it reads"), None);
        let later = w.store.ensure_dataset(w.project, &name("later"), DatasetKind::Table, &w.actor, w.later(1)).await;
        let later = w.new_version(later.expect("another").id);
        w.store.commit_version(later, &w.actor, w.later(1)).await.expect("a version");
        let (page, total) = w.store.list_datasets(w.project, 1, 5).await.expect("a page");
        assert_eq!((page, total), (vec![made], 2));
        assert_eq!(w.store.list_datasets(w.other, 0, 5).await.expect("a page"), (vec![], 0));
    })
    .await;
}

#[tokio::test]
async fn a_dataset_is_called_what_people_call_it() {
    on_both("titles of datasets", async |w| {
        let title: Title = "我的 Data".parse().expect("a title");
        let made = w.store.ensure_dataset(w.project, title.name(), DatasetKind::Table, &w.actor, NOW).await;
        let made = made.expect("a dataset");
        assert_eq!(made.title, title.name().as_str());
        w.store.name_dataset(made.id, &title).await.expect("a title");
        w.store.commit_version(w.new_version(made.id), &w.actor, NOW).await.expect("a version");
        let found = w.store.find_dataset(w.project, title.name()).await.expect("it reads").expect("a dataset");
        assert_eq!((found.id, found.title.as_str()), (made.id, "我的 Data"));
    })
    .await;
}

#[tokio::test]
async fn a_dataset_without_versions_may_become_of_another_kind() {
    on_both("kinds of datasets", async |w| {
        let it = name("d");
        let made = w.store.ensure_dataset(w.project, &it, DatasetKind::Images, &w.actor, NOW).await.expect("a dataset");
        let other = w.store.ensure_dataset(w.project, &it, DatasetKind::Table, &w.actor, NOW).await.expect("changed");
        assert_eq!((other.id, other.kind), (made.id, DatasetKind::Table));
        w.store.commit_version(w.new_version(made.id), &w.actor, NOW).await.expect("a version");
        assert_eq!(w.store.find_dataset(w.project, &it).await.expect("it reads"), Some(other));
        refused(w.store.ensure_dataset(w.project, &it, DatasetKind::Images, &w.actor, NOW).await, ErrorKind::Conflict);
    })
    .await;
}

#[tokio::test]
async fn versions_are_numbered_and_a_key_is_taken_once() {
    on_both("versions", async |w| {
        let owner =
            w.store.ensure_dataset(w.project, &name("d"), DatasetKind::Table, &w.actor, NOW).await.expect("a dataset");
        let keyed = NewVersion { request_key: Some("k".to_owned()), ..w.new_version(owner.id) };
        let first = w.store.commit_version(keyed.clone(), &w.actor, NOW).await.expect("a version");
        let events = w.store.newest_event().await.expect("a number");
        assert_eq!(w.store.commit_version(keyed, &w.actor, w.later(9)).await.expect("the same"), first);
        assert_eq!(w.store.newest_event().await.expect("a number"), events, "nothing happened");
        assert_eq!((first.number, first.split_seed, first.bytes), (1, Some(u64::MAX), 5_000_000_000));
        let second = w.store.commit_version(w.new_version(owner.id), &w.actor, NOW).await.expect("a version");
        assert_eq!(w.store.latest_version(owner.id).await.expect("it reads"), Some(second.clone()));
        assert_eq!(w.store.find_version(owner.id, 1).await.expect("it reads"), Some(first.clone()));
        assert_eq!(w.store.find_version(owner.id, 3).await.expect("it reads"), None);
        assert_eq!(w.store.find_version_by_key(owner.id, "k").await.expect("it reads"), Some(first.clone()));
        assert_eq!(w.store.list_versions(owner.id, 1, 9).await.expect("a page"), (vec![first.clone()], 2));
        let names = w.store.version_names(&[second.id, first.id]).await.expect("names");
        assert_eq!(names, ["d@2", "d@1"]);
        assert_eq!(w.store.live_pins(owner.id).await.expect("pins").len(), 2);
    })
    .await;
}

#[tokio::test]
async fn commits_at_once_get_numbers_of_their_own() {
    on_both("concurrent commits", async |w| {
        let owner =
            w.store.ensure_dataset(w.project, &name("d"), DatasetKind::Table, &w.actor, NOW).await.expect("a dataset");
        let commit = || w.store.commit_version(w.new_version(owner.id), &w.actor, NOW);
        let (a, b, c) = tokio::join!(commit(), commit(), commit());
        let mut numbers: Vec<u32> = [a, b, c].into_iter().map(|it| it.expect("a version").number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3]);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_dataset_frees_its_name() {
    on_both("deleted datasets", async |w| {
        let it = name("d");
        let old = w.store.ensure_dataset(w.project, &it, DatasetKind::Table, &w.actor, NOW).await.expect("a dataset");
        refused(w.store.delete_dataset(w.other, old.id, &w.actor, NOW).await, ErrorKind::NotFound);
        w.store.delete_dataset(w.project, old.id, &w.actor, NOW).await.expect("deleted");
        refused(w.store.delete_dataset(w.project, old.id, &w.actor, NOW).await, ErrorKind::NotFound);
        refused(w.store.commit_version(w.new_version(old.id), &w.actor, NOW).await, ErrorKind::Conflict);
        assert_eq!(w.store.find_dataset(w.project, &it).await.expect("it reads"), None);
        let new = w.store.ensure_dataset(w.project, &it, DatasetKind::Images, &w.actor, NOW).await.expect("a dataset");
        assert_ne!(old.id, new.id);
        w.store.commit_version(w.new_version(new.id), &w.actor, NOW).await.expect("a version");
        assert_eq!(w.store.all_datasets().await.expect("all").len(), 2, "the sweep sees both");
        assert_eq!(w.store.count_things(w.project).await.expect("counts").datasets, 1);
    })
    .await;
}
