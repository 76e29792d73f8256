//! Endpoints: what is wanted.

use crate::support::{NOW, name, on_both, refused};
use kaogong_domain::{
    ErrorKind,
    endpoints::{Batching, EngineName, Isolation},
};
use kaogong_store::NewEndpointRow;

#[tokio::test]
async fn an_endpoint_lives() {
    on_both("endpoints", async |w| {
        let (one, two) = (w.model_version(w.project, "m").await, w.model_version(w.project, "m").await);
        let new = |id| NewEndpointRow {
            name: name("e"),
            model_version_id: id,
            engine: EngineName::Tract,
            isolation: Isolation::Process,
            batching: Batching::Auto,
        };
        let made = w.store.create_endpoint(w.project, new(one), &w.actor, NOW).await.expect("an endpoint");
        assert_eq!((made.model.as_str(), made.version, made.generation), ("m", 1, 1));
        let again = w.store.create_endpoint(w.project, new(one), &w.actor, w.later(1)).await.expect("the same");
        assert_eq!(made, again);
        refused(w.store.create_endpoint(w.project, new(two), &w.actor, NOW).await, ErrorKind::Conflict);
        let changed = w.store.update_endpoint(w.project, new(two), &w.actor, NOW).await.expect("changed");
        assert_eq!((changed.version, changed.generation, changed.id), (2, 2, made.id));
        let mixed = NewEndpointRow { batching: Batching::On, ..new(two) };
        let changed = w.store.update_endpoint(w.project, mixed, &w.actor, NOW).await.expect("changed");
        assert_eq!((changed.generation, changed.batching), (3, Batching::On));
        assert_eq!(w.store.find_endpoint(w.project, &changed.name).await.expect("it reads").as_ref(), Some(&changed));
        assert_eq!(w.store.endpoints_of_model_version(two).await.expect("names"), ["e"]);
        refused(w.store.delete_model_version(w.project, two, &w.actor, NOW).await, ErrorKind::Conflict);
        assert_eq!(w.store.all_endpoints().await.expect("all"), [changed]);
        w.store.delete_endpoint(w.project, made.id, &w.actor, NOW).await.expect("deleted");
        refused(w.store.delete_endpoint(w.project, made.id, &w.actor, NOW).await, ErrorKind::NotFound);
        refused(w.store.update_endpoint(w.project, new(one), &w.actor, NOW).await, ErrorKind::NotFound);
        w.store.create_endpoint(w.project, new(two), &w.actor, NOW).await.expect("its name is free");
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_stays_in_its_project() {
    on_both("isolation of endpoints", async |w| {
        let model_version_id = w.model_version(w.project, "m").await;
        let new = NewEndpointRow {
            name: name("e"),
            model_version_id,
            engine: EngineName::Tract,
            isolation: Isolation::Process,
            batching: Batching::Auto,
        };
        refused(w.store.create_endpoint(w.other, new.clone(), &w.actor, NOW).await, ErrorKind::NotFound);
        let made = w.store.create_endpoint(w.project, new.clone(), &w.actor, NOW).await.expect("an endpoint");
        assert_eq!(w.store.find_endpoint(w.other, &new.name).await.expect("it reads"), None);
        assert!(w.store.list_endpoints(w.other).await.expect("a list").is_empty());
        refused(w.store.update_endpoint(w.other, new, &w.actor, NOW).await, ErrorKind::NotFound);
        refused(w.store.delete_endpoint(w.other, made.id, &w.actor, NOW).await, ErrorKind::NotFound);
        assert_eq!(w.store.list_endpoints(w.project).await.expect("a list"), [made]);
    })
    .await;
}
