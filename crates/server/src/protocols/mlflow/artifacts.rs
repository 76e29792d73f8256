//! The artifact proxy: `PUT` and `GET` of files below a run or a logged model, kept by content.
//!
//! Paths are `<experiment>/<run>/artifacts/<path>` and `<experiment>/models/<model>/artifacts/<path>`. They are names
//! in the store and never paths on disk.

use super::{
    call::Call,
    problem::{Json, MlflowProblem, Reply, Told, done},
    wire,
};
use axum::{
    body::{Body, HttpBody},
    extract::{FromRequestParts, Path, Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, StatusCode, header};
use kaogong_control::Services;
use kaogong_data::{BlobError, BlobHash};
use kaogong_domain::{Problem, ids::RunId};
use kaogong_http::access::InProject;
use kaogong_store::{ArtifactEntry, ArtifactOwner, Lifecycle, NewArtifact};
use serde_json::{Value, json};
use std::{
    io::{Read, Seek, SeekFrom},
    sync::Arc,
    time::Duration,
};

/// The most bytes of one artifact.
const ARTIFACT_BYTES_MAX: u64 = 64 << 30;
/// The most bytes of a path.
const PATH_BYTES_MAX: usize = 1024;
/// A client that sends nothing for this long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Pieces between the socket and the disk.
const PIECES: usize = 16;
/// Bytes of one piece on the way out.
const PIECE_BYTES: usize = 256 << 10;

/// Whose artifact a path names, and the path below its owner (empty for all of them).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    experiment: String,
    owner: OwnerText,
    rest: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum OwnerText {
    Run(String),
    Model(String),
}

fn bad_path(path: &str) -> MlflowProblem {
    let shown: String = path.chars().take(200).collect();
    MlflowProblem::invalid(format!("Invalid path: '{shown}'"))
}

/// A path without its percent signs, taken off until none means another letter, as MLflow and its clients read it.
fn decoded(path: &str) -> String {
    let mut now = path.to_owned();
    for _ in 0..10 {
        let next = decoded_once(now.as_bytes());
        if next == now {
            break;
        }
        now = next;
    }
    now
}

fn decoded_once(text: &[u8]) -> String {
    let digit = |at: usize| text.get(at).and_then(|it| char::from(*it).to_digit(16));
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while at < text.len() {
        let byte = match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        out.push(byte.unwrap_or(text[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A folder or a file whose name no client takes for another place. Where a backslash separates folders, a drive or a
/// host before it makes an address: clients of all systems take no list with such a name.
fn is_plain(name: &str) -> bool {
    let is_rooted = match name.as_bytes() {
        [b'\\', b'\\', rest @ ..] => rest.contains(&b'\\'),
        [drive, b':', b'\\', ..] => drive.is_ascii_alphabetic(),
        _ => false,
    };
    // Nor with a `#`.
    !matches!(name, "" | "." | "..") && !is_rooted && !name.contains('#')
}

/// A path below an owner: plain names between single slashes, also for a client that takes percent signs off. A
/// backslash is a letter like any other here and in MLflow.
pub(super) fn check_path(path: &str) -> Told<()> {
    let is_good = path.len() <= PATH_BYTES_MAX
        && !path.contains(char::is_control)
        && path.split('/').all(is_plain)
        && decoded(path).split('/').all(is_plain);
    if is_good { Ok(()) } else { Err(bad_path(path)) }
}

/// The folder that a list is asked for; a slash behind it says nothing.
fn folder_asked(path: &str) -> Told<&str> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if !path.is_empty() {
        check_path(path)?;
    }
    Ok(path)
}

fn place_of(path: &str) -> Told<Place> {
    let path = path.trim_end_matches('/');
    let parts: Vec<&str> = path.splitn(5, '/').collect();
    let place = match parts.as_slice() {
        [experiment, "models", model, "artifacts", rest @ ..] => Place {
            experiment: (*experiment).to_owned(),
            owner: OwnerText::Model((*model).to_owned()),
            rest: rest.join("/"),
        },
        [experiment, run, "artifacts", rest @ ..] => Place {
            experiment: (*experiment).to_owned(),
            owner: OwnerText::Run((*run).to_owned()),
            rest: rest.join("/"),
        },
        _ => return Err(bad_path(path)),
    };
    if !place.rest.is_empty() {
        check_path(&place.rest)?;
    }
    Ok(place)
}

/// A place whose owner is there.
struct Located {
    owner: ArtifactOwner,
    /// The run that the owner is or comes from.
    run: Option<RunId>,
    rest: String,
    is_active: bool,
}

async fn locate(call: &Call, path: &str) -> Told<Located> {
    let place = place_of(path)?;
    let ids = call.experiment_ids().await?;
    let (owner, run, experiment, is_active) = match &place.owner {
        OwnerText::Run(id) => {
            let run = call.run(id).await?;
            (ArtifactOwner::Run(run.id), Some(run.id), run.experiment_id, run.lifecycle == Lifecycle::Active)
        }
        OwnerText::Model(id) => {
            let model = call.logged_model(id).await?;
            (ArtifactOwner::LoggedModel(model.id), model.run_id, model.experiment_id, true)
        }
    };
    if ids.text(experiment) != place.experiment && experiment.to_string() != place.experiment {
        return Err(MlflowProblem::missing(format!(
            "No Experiment with id={} has artifacts of that name",
            place.experiment
        )));
    }
    Ok(Located { owner, run, rest: place.rest, is_active })
}

/// What lies directly below a folder of an owner; names begin with `prefix`.
async fn folder(call: &Call, owner: ArtifactOwner, below: &str, prefix: &str) -> Told<Vec<Value>> {
    let path = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
    let entries = call.store().list_folder(call.project(), owner, below).await?;
    let entry = |it: &ArtifactEntry| match it.size {
        Some(size) => json!({"path": path(&it.name), "is_dir": false, "file_size": size}),
        None => json!({"path": path(&it.name), "is_dir": true}),
    };
    Ok(entries.iter().map(entry).collect())
}

/// `artifacts/list`: below a run, paths from its root.
pub(super) async fn list_of_run(call: Call) -> Reply {
    let run = call.run(&call.ask.need_either("run_id", "run_uuid")?).await?;
    let asked = call.ask.text_or_empty("path")?;
    let below = folder_asked(&asked)?;
    let files = folder(&call, ArtifactOwner::Run(run.id), below, below).await?;
    let root = wire::run_artifact_uri(call.experiment_ids().await?, &run);
    Ok(Json(json!({"root_uri": root, "files": files})))
}

/// `logged-models/{model_id}/artifacts/directories`.
pub(super) async fn list_of_model(call: Call) -> Reply {
    let model = call.logged_model(call.param("model_id")).await?;
    let asked = call.ask.text_or_empty("artifact_directory_path")?;
    let below = folder_asked(&asked)?;
    let files = folder(&call, ArtifactOwner::LoggedModel(model.id), below, below).await?;
    let root = wire::model_artifact_uri(call.experiment_ids().await?, &model);
    Ok(Json(json!({"root_uri": root, "files": files})))
}

/// The proxy's listing: names from the folder that was asked for.
pub(super) async fn list(call: Call) -> Reply {
    let at = locate(&call, &call.ask.need("path")?).await?;
    Ok(Json(json!({"files": folder(&call, at.owner, &at.rest, "").await?})))
}

pub(super) async fn delete(call: Call) -> Reply {
    let at = locate(&call, call.param("path")).await?;
    call.store().delete_artifacts(call.project(), at.owner, &at.rest, &call.actor(), call.now()).await?;
    done()
}

/// A call whose body is left alone.
async fn call_without_body(app: &Arc<Services>, request: Request) -> Told<(Call, Body, HeaderMap)> {
    let (mut parts, body) = request.into_parts();
    let headers = parts.headers.clone();
    let inside = InProject::from_request_parts(&mut parts, app).await.map_err(|it| MlflowProblem::from(it.0))?;
    let Path(params) = Path::<Vec<(String, String)>>::from_request_parts(&mut parts, app)
        .await
        .map_err(|it| MlflowProblem::invalid(format!("the address is not right: {}", it.body_text())))?;
    Ok((Call::bare(app, inside, params), body, headers))
}

pub(super) async fn put(State(app): State<Arc<Services>>, request: Request) -> Told<Response> {
    let (call, body, headers) = call_without_body(&app, request).await?;
    let at = locate(&call, call.param("path")).await?;
    if at.rest.is_empty() || call.param("path").ends_with('/') {
        return Err(bad_path(call.param("path")));
    }
    call.only_from_own_run(&format!("`{}`", call.param("path")), at.run).await?;
    if !at.is_active {
        return Err(MlflowProblem::invalid("The run must be in the 'active' state. Current state is deleted."));
    }
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let media_type = media_type.filter(|it| it.len() <= 200).map(str::to_owned);
    let (hash, size) = receive(&app, body).await?;
    let artifact = NewArtifact { path: at.rest, hash: hash.to_string(), size, media_type };
    call.store().put_artifact(call.project(), at.owner, artifact, &call.actor(), call.now()).await?;
    Ok(Json(json!({})).into_response())
}

/// Streams a body into the blob store.
async fn receive(app: &Arc<Services>, body: Body) -> Result<(BlobHash, u64), Problem> {
    if body.size_hint().lower() > ARTIFACT_BYTES_MAX {
        return Err(Problem::too_large(ARTIFACT_BYTES_MAX));
    }
    let (sender, mut pieces) = tokio::sync::mpsc::channel::<Option<Bytes>>(PIECES);
    let blobs = app.blobs.clone();
    let place = app.uploads().take()?;
    let writing = tokio::task::spawn_blocking(move || -> Result<Option<(BlobHash, u64)>, Problem> {
        let _place = place;
        let mut writer = blobs.begin(ARTIFACT_BYTES_MAX)?;
        while let Some(piece) = pieces.blocking_recv() {
            match piece {
                Some(piece) => writer.write(&piece).map_err(over_limit)?,
                // Only a body that arrived whole is kept.
                None => return Ok(Some(writer.finish()?)),
            }
        }
        Ok(None)
    });
    let sent = pump(body, sender).await;
    let written = writing.await.map_err(|it| Problem::bug("storing an artifact did not end", it))?;
    // A full disk closes the channel first: its own problem says more.
    let written = written?;
    sent?;
    written.ok_or_else(|| Problem::invalid("the body broke off").hint("send it again"))
}

fn over_limit(error: BlobError) -> Problem {
    match error {
        BlobError::TooLarge { limit } => Problem::too_large(limit),
        other => other.into(),
    }
}

async fn pump(body: Body, sender: tokio::sync::mpsc::Sender<Option<Bytes>>) -> Result<(), Problem> {
    let mut stream = body.into_data_stream();
    loop {
        let piece = match tokio::time::timeout(SILENCE_MAX, stream.next()).await {
            Err(_) => return Err(Problem::invalid(format!("the body stopped for {} s", SILENCE_MAX.as_secs()))),
            Ok(None) => None,
            Ok(Some(Ok(piece))) => Some(piece),
            Ok(Some(Err(it))) => return Err(Problem::invalid("the body broke off").hint("send it again").because(it)),
        };
        let is_end = piece.is_none();
        if sender.send(piece).await.is_err() || is_end {
            return Ok(());
        }
    }
}

/// The first and the last byte of a `Range: bytes=…` header. `None` when it is absent or asks for several ranges,
/// which are answered with the whole; `Some(None)` when it lies outside.
fn range_of(headers: &HeaderMap, size: u64) -> Option<Option<(u64, u64)>> {
    let text = headers.get(header::RANGE)?.to_str().ok()?.strip_prefix("bytes=")?;
    let (from, to) = text.split_once('-')?;
    if from.is_empty() {
        let last: u64 = to.parse().ok()?;
        return Some((last > 0 && size > 0).then(|| (size.saturating_sub(last), size.saturating_sub(1))));
    }
    let from: u64 = from.parse().ok()?;
    let to: u64 = if to.is_empty() { u64::MAX } else { to.parse().ok()? };
    Some((from < size && from <= to).then(|| (from, to.min(size - 1))))
}

pub(super) async fn get(State(app): State<Arc<Services>>, request: Request) -> Told<Response> {
    let (call, _, headers) = call_without_body(&app, request).await?;
    let at = locate(&call, call.param("path")).await?;
    if call.param("path").ends_with('/') {
        return Err(bad_path(call.param("path")));
    }
    let found = call.store().find_artifact(call.project(), at.owner, &at.rest).await?;
    let found = found.ok_or_else(|| {
        MlflowProblem::missing(format!("No such artifact: '{}'", at.rest.chars().take(200).collect::<String>()))
    })?;
    let hash: BlobHash = found.hash.parse().map_err(|it| Problem::bug("an artifact has a broken hash", it))?;
    let base = [
        // What an uploader called it is no reason for a browser to run it.
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, "attachment".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, format!("\"{}\"", found.hash)),
    ];
    match range_of(&headers, found.size) {
        None => {
            let (reader, size) = app.blobs.open_verified(&hash).map_err(Problem::from)?;
            let length = [(header::CONTENT_LENGTH, size.to_string())];
            Ok((base, length, Body::from_stream(stream(reader))).into_response())
        }
        Some(None) => {
            let whole = [(header::CONTENT_RANGE, format!("bytes */{}", found.size))];
            Ok((StatusCode::RANGE_NOT_SATISFIABLE, whole).into_response())
        }
        Some(Some((from, to))) => {
            let (mut file, size) = app.blobs.open_file(&hash).map_err(Problem::from)?;
            file.seek(SeekFrom::Start(from))
                .map_err(|it| Problem::unavailable("a stored file cannot be read").because(it))?;
            let part = [
                (header::CONTENT_LENGTH, (to - from + 1).to_string()),
                (header::CONTENT_RANGE, format!("bytes {from}-{to}/{size}")),
            ];
            let body = Body::from_stream(stream(file.take(to - from + 1)));
            Ok((StatusCode::PARTIAL_CONTENT, base, part, body).into_response())
        }
    }
}

/// A blocking reader in pieces.
fn stream<R: Read + Send + 'static>(reader: R) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> + use<R> {
    futures::stream::try_unfold(reader, |mut reader| async move {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0u8; PIECE_BYTES];
            let count = reader.read(&mut piece)?;
            piece.truncate(count);
            Ok::<_, std::io::Error>((reader, piece))
        });
        let (reader, piece) = read.await.map_err(std::io::Error::other)??;
        Ok(if piece.is_empty() { None } else { Some((Bytes::from(piece), reader)) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_its_owner() {
        let place = place_of("0/run_x/artifacts/a/b.txt").expect("a run");
        assert_eq!((place.owner, place.rest.as_str()), (OwnerText::Run("run_x".into()), "a/b.txt"));
        let place = place_of("0/models/m-x/artifacts/模型/model.onnx").expect("a model");
        assert_eq!((place.owner, place.rest.as_str()), (OwnerText::Model("m-x".into()), "模型/model.onnx"));
        assert_eq!(place_of("0/run_x/artifacts").expect("a root").rest, "");
        for odd in [
            "a\\b.txt",
            "a\\\\b",
            "a/b\\",
            "C:a",
            "..a\\b..",
            "a b%c?.txt",
            "\\a",
            "\\\\a",
            "..\\a",
            "a\\..\\..\\b",
            "a/b\\..",
            "c:/a",
            "per%41",
            "100%",
            "%ff",
        ] {
            assert_eq!(place_of(&format!("0/run_x/artifacts/{odd}")).expect("a name").rest, odd);
        }
        assert_eq!(place_of("0/run_x/artifacts/a/b/c/d/e").expect("deep").rest, "a/b/c/d/e");
    }

    #[test]
    fn paths_that_climb_are_refused() {
        for path in [
            "",
            "a",
            "0/run_x/other/a",
            "0/run_x/artifacts/../a",
            "0/run_x/artifacts/a//b",
            "0/run_x/artifacts/./a",
            "0/run_x/artifacts/%2e%2e",
            "0/run_x/artifacts/%252e%252e/a",
            "0/run_x/artifacts/a%2f..%2fb",
            "0/run_x/artifacts/%2fa",
            "0/run_x/artifacts/a%23b",
            "0/run_x/artifacts/\\\\host\\a",
            "0/run_x/artifacts/C:\\a",
            "0/run_x/artifacts/d/c:\\a",
            "0/run_x/artifacts/c:%5Ca",
            "0/run_x/artifacts/a\0",
            "0/run_x/artifacts/a#b",
        ] {
            assert!(place_of(path).is_err(), "{path} was accepted");
        }
    }

    #[test]
    fn ranges_are_cut_to_the_file() {
        let range = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, text.parse().expect("a header"));
            range_of(&headers, 10)
        };
        assert_eq!(range("bytes=2-4"), Some(Some((2, 4))));
        assert_eq!(range("bytes=2-"), Some(Some((2, 9))));
        assert_eq!(range("bytes=-3"), Some(Some((7, 9))));
        assert_eq!(range("bytes=10-"), Some(None));
        assert_eq!(range("bytes=0-1,4-5"), None);
        assert_eq!(range("lines=1-2"), None);
    }
}
