//! Users, projects and members.

use crate::support::{NOW, name, on_both, on_both_empty, refused};
use kaogong_domain::{
    ErrorKind,
    access::Role,
    ids::{ProjectId, UserId},
};
use kaogong_store::{NewUserRow, Store};

fn user(text: &str) -> NewUserRow {
    NewUserRow { name: name(text), display_name: text.to_uppercase(), password_hash: None, is_admin: false }
}

#[tokio::test]
async fn the_first_start_happens_once() {
    on_both_empty(async |url| {
        let store = Store::open(url).await.expect("it opens");
        store.try_write(NOW).await.expect("it answers");
        let admin = store.first_start("secret-hash", NOW).await.expect("it starts").expect("it is the first");
        assert!(admin.is_admin);
        assert_eq!(admin.password_hash.as_deref(), Some("secret-hash"));
        assert!(store.first_start("x", NOW).await.expect("it reads").is_none());
        assert_eq!(store.list_users().await.expect("users").len(), 1);
        assert_eq!(store.list_organisations().await.expect("organisations").len(), 1);
        let projects = store.list_projects_of(admin.id).await.expect("projects");
        assert_eq!(projects.len(), 1);
        assert_eq!(projects[0].1, Role::Owner);
        assert!(store.default_experiment(projects[0].0.id).await.expect("one").is_default);
        store.close().await;
        let store = Store::open(url).await.expect("it opens again");
        assert_eq!(store.first_admin().await.expect("it reads").map(|it| it.id), Some(admin.id));
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn users_are_made_and_disabled() {
    on_both("users", async |w| {
        let bob = w.store.create_user(user("bob"), &w.actor, NOW).await.expect("bob");
        assert_eq!(w.store.find_user(bob.id).await.expect("it reads"), Some(bob.clone()));
        assert_eq!(w.store.find_user_by_name(&name("bob")).await.expect("it reads"), Some(bob.clone()));
        refused(w.store.create_user(user("bob"), &w.actor, NOW).await, ErrorKind::Conflict);
        w.store.set_password(bob.id, "new".to_owned(), &w.actor, NOW).await.expect("a password");
        w.store.disable_user(bob.id, &w.actor, w.later(7)).await.expect("disabled");
        w.store.disable_user(bob.id, &w.actor, w.later(9)).await.expect("again is no error");
        let now = w.store.find_user(bob.id).await.expect("it reads").expect("bob");
        assert_eq!((now.disabled_at, now.password_hash.as_deref()), (Some(w.later(7)), Some("new")));
    })
    .await;
}

#[tokio::test]
async fn a_project_keeps_its_last_owner() {
    on_both("members", async |w| {
        let bob = w.store.create_user(user("bob"), &w.actor, NOW).await.expect("bob").id;
        assert_eq!(w.store.list_projects().await.expect("projects").len(), 2);
        refused(w.store.set_member(w.project, w.admin, Role::Viewer, &w.actor, NOW).await, ErrorKind::Conflict);
        refused(w.store.remove_member(w.project, w.admin, &w.actor, NOW).await, ErrorKind::Conflict);
        refused(w.store.remove_member(w.project, bob, &w.actor, NOW).await, ErrorKind::NotFound);
        let stranger = UserId::generate(NOW);
        refused(w.store.set_member(w.project, stranger, Role::Viewer, &w.actor, NOW).await, ErrorKind::NotFound);
        let nowhere = ProjectId::generate(NOW);
        refused(w.store.set_member(nowhere, bob, Role::Viewer, &w.actor, NOW).await, ErrorKind::NotFound);
        let row = w.store.set_member(w.project, bob, Role::Viewer, &w.actor, NOW).await.expect("a member");
        assert_eq!(row.role, Role::Viewer);
        w.store.set_member(w.project, bob, Role::Owner, &w.actor, NOW).await.expect("an owner");
        w.store.remove_member(w.project, w.admin, &w.actor, NOW).await.expect("another owner is left");
        let members = w.store.list_members(w.project).await.expect("members");
        assert_eq!(members.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["bob"]);
        let (_, role) = w.store.find_project(&name("default"), w.admin).await.expect("it reads").expect("a project");
        assert_eq!(role, None);
    })
    .await;
}

#[tokio::test]
async fn names_of_projects_and_organisations_are_taken_once() {
    on_both("projects", async |w| {
        let org = w.store.create_organisation(&name("lab"), "Lab", &w.actor, NOW).await.expect("an organisation");
        refused(w.store.create_organisation(&org.name, "Lab", &w.actor, NOW).await, ErrorKind::Conflict);
        let made =
            w.store.create_project(&org.name, &name("p2"), "P2", w.admin, &w.actor, NOW).await.expect("a project");
        assert_eq!(w.store.project(made.id).await.expect("it reads"), made);
        refused(
            w.store.create_project(&org.name, &name("p2"), "P2", w.admin, &w.actor, NOW).await,
            ErrorKind::Conflict,
        );
        refused(
            w.store.create_project(&name("no"), &name("p3"), "", w.admin, &w.actor, NOW).await,
            ErrorKind::NotFound,
        );
        refused(w.store.project(ProjectId::generate(NOW)).await, ErrorKind::NotFound);
        let counts = w.store.count_things(made.id).await.expect("counts");
        assert_eq!(counts, kaogong_store::Counts::default());
    })
    .await;
}
