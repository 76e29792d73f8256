//! Calls that meet a server which is not there yet, breaks off, or is busy.

use crate::server::{Act, Script};
use kaogong_api::{
    access::{NewToken, RoleChange},
    datasets::ImportQuery,
    jobs::LogQuery,
};
use kaogong_client::{
    BodySource, Client, InferInput, LocalFault, LogEvent, Patience, Settings, is_unreachable, tar_out,
};
use kaogong_domain::{ErrorKind, Secret};
use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

fn client_for(url: &str, patience: Patience) -> Client {
    // Another test may have installed it; that is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new(Settings {
        url: url.to_owned(),
        token: Some(Secret::new("t0ken")),
        project: "a b".to_owned(),
        patience,
        agent: "test/1".to_owned(),
        on_wait: None,
    })
    .expect("a client")
}

fn client(script: &Script) -> Client {
    client_for(&format!("http://{}", script.address), Patience::always(Duration::from_secs(20)))
}

const EMPTY: &str = r#"{"items":[],"total":0}"#;
const BUSY: &str = r#"{"error":{"kind":"unavailable","message":"draining","request_id":"r"}}"#;

#[tokio::test]
async fn reading_rides_through_a_restart() {
    let script = Script::play(vec![Act::Hang, Act::Answer(503, BUSY), Act::Hang, Act::Answer(200, EMPTY)]);
    assert_eq!(client(&script).datasets(&kaogong_api::paging::PageQuery::default()).await.expect("an answer").total, 0);
    let requests = script.requests();
    assert_eq!(requests.len(), 4);
    let head = requests[0].to_ascii_lowercase();
    assert!(head.starts_with("get /api/v1/projects/a%20b/datasets?offset=0 http/1.1"), "{head}");
    assert!(head.contains("authorization: bearer t0ken") && head.contains("x-kaogong-client: test/1"), "{head}");
}

#[tokio::test]
async fn what_may_have_happened_is_not_done_twice() {
    let script = Script::play(vec![Act::Hang]);
    let token = NewToken { name: "x".into(), project: None, scopes: vec!["read".into()], days: None };
    let problem = client(&script).new_token(&token).await.expect_err("a broken call");
    assert!(is_unreachable(&problem));
    assert_eq!(script.requests().len(), 1);
}

#[tokio::test]
async fn a_refusal_is_final_and_told_as_it_is() {
    let script = Script::play(vec![Act::Answer(
        403,
        r#"{"error":{"kind":"forbidden","message":"owners only","request_id":"r"}}"#,
    )]);
    let problem = client(&script).set_member("mei", "owner").await.expect_err("refused");
    assert_eq!((problem.kind, problem.text.as_str()), (ErrorKind::Forbidden, "owners only"));
    let requests = script.requests();
    let body = serde_json::to_string(&RoleChange { role: "owner".into() }).expect("JSON");
    assert!(requests[0].starts_with("PUT ") && requests[0].ends_with(&body));
}

#[tokio::test]
async fn a_redirect_is_no_success_and_is_not_followed() {
    for (status, place, shown) in [
        (302, "https://mei:s3cret@login.example/start?state=s3cret#s3cret", "https://login.example/start"),
        (308, "/elsewhere/", "/elsewhere/"),
        (304, "http://[", "another place"),
    ] {
        let script = Script::play(vec![Act::Redirect(status, place)]);
        let problem = client(&script).set_member("mei", "owner").await.expect_err("no success");
        assert_eq!(problem.kind, ErrorKind::Invalid);
        assert!(problem.text.contains(&status.to_string()) && problem.text.ends_with(shown), "{}", problem.text);
        assert!(!problem.text.contains("s3cret"), "{}", problem.text);
        assert_eq!(script.requests().len(), 1);
    }
}

#[tokio::test]
async fn one_output_is_asked_for_by_its_name() {
    let answer = r#"{"outputs":[{"name":"p","datatype":"FP32","shape":[1],"data":[0.5]}]}"#;
    let script = Script::play(vec![Act::Answer(200, answer)]);
    let input = InferInput { name: "x".into(), datatype: "FP32", shape: vec![1], data: vec![1.0] };
    let output = client(&script).infer("digits", &[input], "p").await.expect("an answer");
    assert_eq!((output.name.as_str(), output.data), ("p", vec![0.5]));
    let request = script.requests().remove(0);
    assert!(request.ends_with(r#""outputs":[{"name":"p"}]}"#), "{request}");
    let script = Script::play(vec![Act::Answer(200, r#"{"outputs":[]}"#)]);
    let problem = client(&script).infer("digits", &[], "p").await.expect_err("no output");
    assert!(problem.text.contains("without `p`"), "{}", problem.text);
}

#[tokio::test]
async fn nobody_there_is_said_after_the_patience() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let patience = Patience { first: Duration::from_millis(300), later: Duration::from_secs(60) };
    let problem = client_for(&format!("http://{port}"), patience)
        .datasets(&kaogong_api::paging::PageQuery::default())
        .await
        .expect_err("nobody");
    assert_eq!(problem.kind, ErrorKind::Unavailable);
    assert!(is_unreachable(&problem) && problem.text.contains("refused"), "{}", problem.text);
}

fn import_query(request_key: Option<&str>) -> ImportQuery {
    ImportQuery {
        format: "images".into(),
        seed: None,
        test_percent: Some(20),
        target: None,
        class_level: None,
        mode: None,
        message: Some("ä & b".into()),
        source: None,
        request_key: request_key.map(Into::into),
        ..ImportQuery::default()
    }
}

const VERSION: &str = r#"{"id":"dv_1","dataset":"d","number":1,"message":"","source":"","items":1,"bytes":1,"created_at":0,
"created_by":null,"summary":{"kind":"images","classes":{},"splits":{},"split_seed":0,"columns":[],"target":null,
"pixels":null,"skipped":[],"skipped_total":0}}"#;

#[tokio::test]
async fn an_import_with_a_key_is_sent_again_from_its_beginning() {
    let script = Script::play(vec![Act::Hang, Act::Answer(200, VERSION)]);
    let packed = Arc::new(AtomicU64::new(0));
    let body = tar_out::body(Arc::new(vec![tar_out::Entry::bytes("a/1.txt", "hello")]), Arc::clone(&packed));
    let version = client(&script).import("d", &import_query(Some("k1")), body).await.expect("imported");
    assert_eq!((version.number, packed.load(Ordering::Relaxed)), (1, 2048));
    for request in script.requests() {
        assert!(request.contains("message=%C3%A4+%26+b") && request.contains("request_key=k1"), "{request}");
        assert!(request.contains("a/1.txt") && request.contains("hello"));
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_ends_the_call_at_once() {
    let script = Script::play(vec![Act::Hang]);
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let body = BodySource::from_thread("text/plain", move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Err(LocalFault::io(std::path::Path::new("/data/x.png"), "gone"))
    });
    let problem = client(&script).import("d", &import_query(Some("k")), body).await.expect_err("cannot be read");
    assert!(problem.text.contains("cannot read /data/x.png: gone"), "{}", problem.text);
    assert_eq!(made.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_log_goes_on_where_it_broke() {
    let script = Script::play(vec![
        Act::Cut("event: log\ndata: {\"offset\":0,\"next_offset\":4,\"text\":\"one\\n\"}\n\nevent: log\nda"),
        Act::Hang,
        Act::Cut("event: log\ndata: {\"offset\":4,\"next_offset\":8,\"text\":\"two\\n\"}\n\nevent: end\ndata: {}\n\n"),
    ]);
    let mut follower = client(&script).follow_log("job_1", LogQuery { attempt: Some(1), ..LogQuery::default() });
    let mut text = String::new();
    while let LogEvent::Text(piece) = follower.next().await.expect("a piece") {
        text.push_str(&piece.text);
    }
    assert_eq!(text, "one\ntwo\n");
    drop(follower);
    assert!(script.requests()[2].contains("attempt=1&offset=4"));
}

#[test]
fn addresses_that_are_none_are_refused() {
    for url in ["", "127.0.0.1:7300", "ftp://x", "http://user:pw@x"] {
        let settings = Settings {
            url: url.into(),
            token: None,
            project: "p".into(),
            patience: Patience::default(),
            agent: "t".into(),
            on_wait: None,
        };
        assert_eq!(Client::new(settings).err().map(|it| it.kind), Some(ErrorKind::Invalid), "{url}");
    }
}
