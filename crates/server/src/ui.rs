//! The console: static files compiled into the program, and the page for every address of the console.

use axum::{
    extract::Path,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "../../web/dist"]
struct Files;

/// Whether the program was built with its console.
pub fn is_built_in() -> bool {
    Files::get("index.html").is_some()
}

/// `GET /assets/{file}`: the file's name holds its hash, so it never changes.
pub async fn asset(Path(file): Path<String>, headers: HeaderMap) -> Response {
    match Files::get(&format!("assets/{file}")) {
        Some(found) => send(&file, found, "public, max-age=31536000, immutable", &headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// `GET /{anything of the console}`: the one page, which reads the address itself.
pub async fn page(headers: HeaderMap) -> Response {
    match Files::get("index.html") {
        Some(found) => send("index.html", found, "no-cache", &headers),
        None => {
            (StatusCode::NOT_FOUND, "this program was built without its console; run `make build`\n").into_response()
        }
    }
}

/// `GET /favicon.svg`
pub async fn icon(headers: HeaderMap) -> Response {
    match Files::get("favicon.svg") {
        Some(found) => send("favicon.svg", found, "public, max-age=86400", &headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn send(name: &str, file: EmbeddedFile, caching: &'static str, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", blake3::hash(&file.data).to_hex().as_str().split_at(32).0);
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|it| it.as_bytes() == tag.as_bytes());
    let mut response =
        if is_known { StatusCode::NOT_MODIFIED.into_response() } else { file.data.into_owned().into_response() };
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(name)));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        out.insert(header::ETAG, tag);
    }
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
