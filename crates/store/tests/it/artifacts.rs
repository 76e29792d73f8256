//! Artifacts: paths that point at bytes.

use crate::support::{NOW, behind, on_both, refused};
use kaogong_domain::ErrorKind;
use kaogong_store::{ArtifactEntry, ArtifactOwner, NewArtifact};

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

#[tokio::test]
async fn a_name_is_a_file_or_a_folder() {
    on_both("kinds", async |w| {
        let (owner, other) = (ArtifactOwner::Run(w.run(w.project, "r").await), w.run(w.project, "s").await);
        let put = async |owner: ArtifactOwner, path: &str| {
            let new = NewArtifact { path: path.to_owned(), hash: "h".to_owned(), size: 3, media_type: None };
            w.store.put_artifact(w.project, owner, new, &w.actor, NOW).await
        };
        for path in ["a/b/c", "a/b-", "a/b0", "a/b.txt", "a.b", "a0"] {
            put(owner, path).await.expect("put");
        }
        for (path, why) in
            [("a/b", "a folder"), ("a", "a folder"), ("a/b/c/d", "`a/b/c` is a file"), ("a0/x/y", "`a0` is a file")]
        {
            let problem = put(owner, path).await.expect_err(path);
            assert!(problem.text.contains(why), "{path}: {}", problem.text);
        }
        put(ArtifactOwner::Run(other), "a/b").await.expect("another run");
        put(owner, "a/b/c").await.expect("again");
        w.store.delete_artifacts(w.project, owner, "a", &w.actor, NOW).await.expect("deleted");
        put(owner, "a").await.expect("a file now");
    })
    .await;
}

#[tokio::test]
async fn a_folder_lists_what_lies_directly_below_however_much_lies_deeper() {
    on_both("folders", async |w| {
        let owner = ArtifactOwner::Run(w.run(w.project, "r").await);
        let put = async |path: &str| {
            let new = NewArtifact { path: path.to_owned(), hash: "h".to_owned(), size: 3, media_type: None };
            w.store.put_artifact(w.project, owner, new, &w.actor, NOW).await.expect("put");
        };
        for path in ["a-b", "a/b", "a/c/d", "ab", "e", "é/x", "model/MLmodel", "model/data/Model.ONNX", "modelx.onnx"]
        {
            put(path).await;
        }
        for at in 0..1100 {
            put(&format!("deep/{at:04}")).await;
        }
        put("deeper").await;
        let names = async |below: &str| {
            let entries = w.store.list_folder(w.project, owner, below).await.expect("a list");
            let name = |it: ArtifactEntry| if it.size.is_some() { it.name } else { it.name + "/" };
            entries.into_iter().map(name).collect::<Vec<_>>()
        };
        let top = ["a/", "a-b", "ab", "deep/", "deeper", "e", "model/", "modelx.onnx", "é/"];
        assert_eq!(names("").await, top);
        assert_eq!(names("a").await, ["b", "c/"]);
        assert_eq!(names("deep").await.len(), 1100, "more than is read together");
        assert!(names("e").await.is_empty() && names("none").await.is_empty());
        let onnx = async |below: &str| {
            let rows = w.store.artifacts_ending(w.project, owner, below, ".onnx").await.expect("a list");
            rows.into_iter().map(|it| it.path).collect::<Vec<_>>()
        };
        assert_eq!(onnx("model").await, ["model/data/Model.ONNX"]);
        assert_eq!(onnx("modelx.onnx").await, ["modelx.onnx"]);
        assert_eq!(onnx("").await.len(), 2);
        assert!(w.store.artifacts_ending(w.other, owner, "", ".onnx").await.expect("a list").is_empty());
        let add = async |first: u32, last: u32| {
            let rows = format!(
                "WITH RECURSIVE n (i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last}) \
                INSERT INTO artifacts (project_id, owner, path, hash, size, created_at) \
                SELECT '{}', '{owner}', 'many/' || CAST(i AS TEXT) || '.onnx', 'h', 1, 1 FROM n",
                w.project
            );
            behind(&w.url, &[&rows]).await;
        };
        add(1, 1500).await;
        assert_eq!(onnx("many").await.len(), 1500, "none is left out");
        add(1501, 100_001).await;
        let told = w.store.artifacts_ending(w.project, owner, "many", ".onnx").await;
        assert!(refused(told, ErrorKind::Invalid).hint.is_some());
    })
    .await;
}
