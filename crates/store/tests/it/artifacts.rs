//! Artifacts: paths that point at bytes.

use crate::support::{NOW, on_both};
use kaogong_store::{ArtifactOwner, NewArtifact};

#[tokio::test]
async fn artifacts_are_put_replaced_listed_and_deleted() {
    on_both("artifacts", async |w| {
        let owner = ArtifactOwner::Run(w.run(w.project, "r").await);
        let new = |path: &str, size| NewArtifact {
            path: path.to_owned(),
            hash: format!("hash{size}"),
            size,
            media_type: None,
        };
        for (at, path) in (1..).zip(["model/a", "model/b/c", "modelx", "model_", "M/a", "plain"]) {
            w.store.put_artifact(w.project, owner, new(path, at), &w.actor, NOW).await.expect("put");
        }
        let again = NewArtifact { media_type: Some("text/plain".to_owned()), ..new("plain", 9_000_000_000) };
        w.store.put_artifact(w.project, owner, again, &w.actor, w.later(1)).await.expect("replaced");
        let found = w.store.find_artifact(w.project, owner, "plain").await.expect("it reads").expect("an artifact");
        assert_eq!((found.size, found.media_type.as_deref()), (9_000_000_000, Some("text/plain")));
        assert_eq!(w.store.find_artifact(w.other, owner, "plain").await.expect("it reads"), None);
        assert!(w.store.list_artifacts(w.other, owner).await.expect("a list").is_empty());
        assert_eq!(w.store.delete_artifacts(w.other, owner, "model", &w.actor, NOW).await.expect("nothing"), 0);
        assert_eq!(w.store.delete_artifacts(w.project, owner, "model", &w.actor, NOW).await.expect("deleted"), 2);
        let left = w.store.list_artifacts(w.project, owner).await.expect("a list");
        assert_eq!(left.iter().map(|it| it.path.as_str()).collect::<Vec<_>>(), ["M/a", "model_", "modelx", "plain"]);
        assert!(w.store.project_has_blob(w.project, "hash1").await.expect("it reads"));
        assert!(!w.store.project_has_blob(w.other, "hash1").await.expect("it reads"));
        w.store.note_upload(w.other, "up", 4, &w.actor, NOW).await.expect("noted");
        assert_eq!(w.store.blob_size_in_project(w.other, "up").await.expect("it reads"), Some(4));
    })
    .await;
}
