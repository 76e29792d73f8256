//! The console: static files compiled into the program, and its one page for every address that a browser asks for and
//! that nothing else answers.

use axum::{
    body::Bytes,
    extract::{Extension, Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use kaogong_control::Services;
use kaogong_domain::base_path::BasePath;
use kaogong_http::{
    access::{
        layer::{self, Layers},
        routes::begins_with,
    },
    error::ApiError,
    packed::{Packed, is_known, tag_of},
};
use rust_embed::{EmbeddedFile, RustEmbed};
use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};
use tokio::sync::OnceCell;

/// Where the page of the build says under which path it lies.
const BASE: &str = "<base href=\"/\" />";

#[derive(RustEmbed)]
#[folder = "../../web/dist"]
struct Files;

/// Assets that somebody has asked for, compressed: as many as there are files, since only those get in.
static ASSETS: LazyLock<Mutex<HashMap<String, Arc<OnceCell<Packed>>>>> = LazyLock::new(Mutex::default);

/// Whether the program was built with its console.
pub fn is_built_in() -> bool {
    Files::get("index.html").is_some()
}

/// `GET /assets/{file}`: the file's name holds its hash, so it never changes.
pub async fn asset(Path(file): Path<String>, headers: HeaderMap) -> Response {
    let Some(found) = Files::get(&format!("assets/{file}")) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let kept = {
        let mut assets = ASSETS.lock().unwrap_or_else(PoisonError::into_inner);
        assets.entry(file.clone()).or_default().clone()
    };
    let packed = kept.get_or_init(|| Packed::of(bytes_of(found))).await;
    labelled(packed.answer(&headers), &file, "public, max-age=31536000, immutable")
}

/// The page with the base path in it: all its other addresses are relative to this one, so that one build is enough.
fn based(page: Bytes, base: &BasePath) -> Bytes {
    if base.as_str().is_empty() {
        return page;
    }
    String::from_utf8_lossy(&page).replacen(BASE, &format!("<base href=\"{base}/\" />"), 1).into()
}

fn bytes_of(file: EmbeddedFile) -> Bytes {
    match file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    }
}

/// The one page, which reads the address itself.
pub async fn page(State(app): State<Arc<Services>>, headers: HeaderMap) -> Response {
    match Files::get("index.html") {
        Some(found) => send("index.html", based(bytes_of(found), app.base_path()), "no-cache", &headers),
        None => {
            (StatusCode::NOT_FOUND, "this program was built without its console; run `make build`\n").into_response()
        }
    }
}

/// An address that no route answers: the console's page for a browser that opens it, since the page reads the address
/// itself and says what is not there; the truth for everybody else.
pub async fn page_or_nothing(
    state: State<Arc<Services>>,
    Extension(layers): Extension<Arc<Layers>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let is_of_a_program = begins_with(uri.path(), "/api") || layers.rules.render_error_at(uri.path()).is_some();
    if matches!(method, Method::GET | Method::HEAD) && !is_of_a_program && takes_pages(&headers) {
        return page(state, headers).await;
    }
    ApiError(layer::not_here()).into_response()
}

/// Whether the caller opens pages, as browsers say that they do.
fn takes_pages(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|it| it.to_str().ok());
    accepted.flat_map(|it| it.split(',')).any(|it| it.split(';').next().is_some_and(|it| it.trim() == "text/html"))
}

/// `GET /favicon.svg`
pub async fn icon(headers: HeaderMap) -> Response {
    match Files::get("favicon.svg") {
        Some(found) => send("favicon.svg", bytes_of(found), "public, max-age=86400", &headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn send(name: &str, file: Bytes, caching: &'static str, headers: &HeaderMap) -> Response {
    let tag = tag_of(&file);
    let mut response = match is_known(headers, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => file.into_response(),
    };
    response.headers_mut().insert(header::ETAG, tag);
    labelled(response, name, caching)
}

fn labelled(mut response: Response, name: &str, caching: &'static str) -> Response {
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(name)));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json" | "map") => "application/json",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_say_that_they_take_pages() {
        let accepts =
            |text: &'static str| takes_pages(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(text))]));
        assert!(accepts("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8") && accepts("text/html;q=1"));
        assert!(!accepts("*/*") && !accepts("application/json") && !takes_pages(&HeaderMap::new()));
    }

    #[test]
    fn the_page_says_under_which_path_it_lies() {
        let Some(page) = Files::get("index.html").map(bytes_of) else { return };
        let text = String::from_utf8_lossy(&page).into_owned();
        assert_eq!(text.matches(BASE).count(), 1, "the build has one place for the base path:\n{text}");
        assert!(!text.contains("=\"/assets/"), "everything else is relative to it:\n{text}");
        assert_eq!(based(page.clone(), &BasePath::default()), page);
        let moved = based(page, &"/tools/kaogong".parse().expect("a path"));
        assert!(String::from_utf8_lossy(&moved).contains("<base href=\"/tools/kaogong/\" />"));
    }
}
