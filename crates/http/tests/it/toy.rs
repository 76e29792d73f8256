//! A toy protocol: its own routes, its own way to authenticate, its own shape of errors, in this one file.

use axum::{
    Router,
    body::{Body, to_bytes},
    response::{IntoResponse, Response},
};
use http::{Request, StatusCode, request::Parts};
use kaogong_domain::{
    Problem, Secret, Timestamp,
    access::{Permission, Role, Scopes},
    ids::UserId,
    masks::TOKEN_PREFIX,
    names::Name,
};
use kaogong_http::{
    Gate, Mount,
    access::{Caller, InProject, Route, Rule, authenticate::Authenticate},
    error::{ApiError, log, status_of},
    gate::GateSettings,
    router::router,
};
use kaogong_store::{Actor, NewTokenRow, NewUserRow, Store, StoreUrl, UserRow, hash_secret, make_secret};
use std::sync::Arc;
use tower::ServiceExt;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// What handlers of this test are given.
type State = Arc<&'static str>;

/// Callers of the toy write their token backwards into a header of their own.
struct Backwards;

#[async_trait::async_trait]
impl Authenticate for Backwards {
    async fn identify(&self, gate: &Gate, request: &Parts) -> Result<Option<Caller>, Problem> {
        let Some(text) = request.headers.get("x-toy-key").and_then(|it| it.to_str().ok()) else { return Ok(None) };
        let secret = Secret::new(text.chars().rev().collect::<String>());
        gate.credentials().by_token(&secret).await.map(Some)
    }
}

/// The toy says `toy failure: …`.
fn render_error(problem: &Problem, request_id: &str) -> Response {
    log(problem, request_id);
    (status_of(problem), format!("toy failure: {}\n", problem.text)).into_response()
}

async fn greet(inside: InProject) -> String {
    format!("hello {} in {}\n", inside.caller.user.name, inside.project.name)
}

async fn fail() -> ApiError {
    ApiError(Problem::conflict("it broke"))
}

fn mount() -> Mount<State> {
    let routes = vec![
        Route::get("/toy/greet", Rule::Project(Permission::Read), greet),
        Route::get("/toy/fail", Rule::Project(Permission::Write), fail),
    ];
    Mount { authenticate: Arc::new(Backwards), ..Mount::new(routes, &["/toy"], render_error) }
}

async fn native(axum::extract::State(state): axum::extract::State<State>, caller: Caller) -> String {
    format!("{state} {}\n", caller.user.name)
}

async fn nothing() -> ApiError {
    ApiError(Problem::not_found("there is nothing at this address"))
}

/// A server with an administrator, a viewer, and the tokens of both.
struct Server {
    router: Router,
    admin: String,
    viewer: String,
    ada: UserId,
    store: Arc<Store>,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&StoreUrl::Sqlite(folder.path().join("kaogong.db"))).await.expect("a store");
        let store = Arc::new(store);
        let admin = store.first_start("no hash", NOW).await.expect("it is new").expect("an administrator");
        let new = NewUserRow {
            name: "ada".parse::<Name>().expect("a name"),
            display_name: "Ada".into(),
            password_hash: None,
            is_admin: false,
        };
        let ada = store.create_user(new, &Actor::system(), NOW).await.expect("a user");
        let (admin, viewer) = (token(&store, &admin).await, token(&store, &ada).await);
        let settings =
            GateSettings { machine_bytes: 1 << 30, trust_loopback: false, trusted_proxies: vec![], clock: || NOW };
        let gate = Gate::new(store.clone(), Box::new(|_| Ok(None)), settings);
        let own = vec![Route::get("/native", Rule::SignedIn, native)];
        let router = router(gate, own, &[mount()], nothing, Arc::new("native to"));
        Self { router, admin, viewer, ada: ada.id, store, _folder: folder }
    }

    async fn get(&self, path: &str, header: &str, value: &str) -> (StatusCode, String) {
        let request = Request::get(path).header(header, value).body(Body::empty()).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn toy(&self, path: &str, token: &str) -> (StatusCode, String) {
        self.get(path, "x-toy-key", &backwards(token)).await
    }
}

fn backwards(text: &str) -> String {
    text.chars().rev().collect()
}

async fn token(store: &Store, user: &UserRow) -> String {
    let secret = make_secret(TOKEN_PREFIX).expect("random bytes");
    let row = NewTokenRow {
        user_id: user.id,
        project_id: None,
        name: "test".into(),
        scopes: Scopes::all(),
        hash: hash_secret(&secret),
        job_id: None,
        attempt_id: None,
        expires_at: None,
        sealed_secrets: None,
    };
    store.create_token(row, &Actor::system(), NOW).await.expect("a token");
    secret.expose().to_owned()
}

#[tokio::test]
async fn a_protocol_brings_its_own_authentication() {
    let server = Server::start().await;
    let (status, text) = server.toy("/toy/greet", &server.admin).await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "hello admin in default\n"));
    let (status, _) = server.toy("/p/default/toy/greet", &server.admin).await;
    assert_eq!(status, StatusCode::OK, "below a project too");
    // The usual credential is none here, and the toy's is none elsewhere.
    let bearer = format!("Bearer {}", server.admin);
    assert_eq!(server.get("/toy/greet", "authorization", &bearer).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(server.toy("/native", &server.admin).await.0, StatusCode::UNAUTHORIZED);
    let (status, text) = server.get("/native", "authorization", &bearer).await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "native to admin\n"));
}

#[tokio::test]
async fn its_failures_have_its_shape_wherever_they_happen() {
    let server = Server::start().await;
    for (path, token, status) in [
        ("/toy/greet", "kg_unknown", 401),
        ("/toy/greet", &*server.viewer, 404),
        ("/toy/fail", &*server.admin, 409),
        ("/toy/nothing", &*server.admin, 404),
        ("/p/default/toy/nothing", "", 404),
    ] {
        let (found, text) = server.toy(path, token).await;
        assert_eq!((found.as_u16(), text.starts_with("toy failure: ")), (status, true), "{path}: {text}");
    }
    for path in ["/toys", "/api/v1/toy/nothing"] {
        let (found, text) = server.toy(path, &server.admin).await;
        assert_eq!((found.as_u16(), text.starts_with("{\"error\":")), (404, true), "{path}: {text}");
    }
}

#[tokio::test]
async fn a_change_of_access_counts_at_once() {
    let server = Server::start().await;
    let (store, actor) = (&server.store, Actor::system());
    assert_eq!(server.toy("/toy/greet", &server.viewer).await.0, StatusCode::NOT_FOUND);
    let project = store.find_project(&"default".parse().expect("a name"), server.ada).await.expect("it reads");
    let project = project.expect("a project").0.id;
    store.set_member(project, server.ada, Role::Viewer, &actor, NOW).await.expect("a member");
    assert_eq!(server.toy("/toy/greet", &server.viewer).await.0, StatusCode::OK);
    assert_eq!(server.toy("/toy/fail", &server.viewer).await.0, StatusCode::FORBIDDEN);
    store.remove_member(project, server.ada, &actor, NOW).await.expect("removed");
    assert_eq!(server.toy("/toy/greet", &server.viewer).await.0, StatusCode::NOT_FOUND);
}
