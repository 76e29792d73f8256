//! Exports: a version streamed back as a tar of the original files, or as a table.

use super::datasets::{at, find_version, parse_split, summary_of};
use crate::Route;
use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use http::{HeaderValue, header};
use kaogong_api::datasets::ExportQuery;
use kaogong_control::Services;
use kaogong_data::{
    BlobHash,
    tables::{ColumnNeed, ItemContent, StreamQuery, TableFormat, VersionAt},
};
use kaogong_domain::{Problem, access::Permission, datasets::DatasetKind, datasets::Split};
use kaogong_http::{
    access::{InProject, Rule},
    error::Answer,
    extract::{Params, Query},
};
use serde_json::json;
use std::sync::Arc;

/// Items read together.
const BATCH: u32 = 256;

/// The routes that give data out.
pub fn routes() -> Vec<Route> {
    vec![
        Route::get(
            "/api/v1/projects/{project}/datasets/{dataset}/versions/{version}/export",
            Rule::Project(Permission::Read),
            export,
        )
        .doc("dataset_export", "A version as a tar of its original files, or as a CSV or Parquet file.")
        .query::<ExportQuery>()
        .answers_bytes("application/octet-stream")
        .unhurried()
        .for_jobs(),
    ]
}

async fn export(
    State(app): State<Arc<Services>>,
    inside: InProject,
    params: Params,
    Query(query): Query<ExportQuery>,
) -> Answer<Response> {
    let (dataset, version) = find_version(&app, &inside, &params).await?;
    let summary = summary_of(&version)?;
    let split = query.split.as_deref().map(parse_split).transpose()?;
    let at = at(&dataset, &version)?;
    let usual = if summary.kind == DatasetKind::Images { "images" } else { "original" };
    let format = query.format.as_deref().unwrap_or(usual);
    match (summary.kind, format) {
        (DatasetKind::Images, "images") => {
            let tar = pictures(&app, at, split, query.manifest).await?;
            Ok(stream_of(tar, "application/x-tar"))
        }
        (DatasetKind::Table, "original") => match (&summary.original, split) {
            (Some(original), None) => {
                let media_type =
                    if original.is_packed { "application/octet-stream" } else { media_type(original.format) };
                Ok(stream_of(blob(&app, &original.hash)?, media_type))
            }
            (Some(original), Some(_)) if original.format == TableFormat::Parquet => {
                table(&app, &at, original.format, split).await
            }
            _ => table(&app, &at, TableFormat::Csv, split).await,
        },
        (DatasetKind::Table, "csv" | "parquet") => {
            let wanted = if format == "csv" { TableFormat::Csv } else { TableFormat::Parquet };
            match &summary.original {
                // Compressed, or in another encoding, it would not be what its name says.
                Some(original)
                    if original.format == wanted && split.is_none() && !original.is_packed && !query.rewrite =>
                {
                    Ok(stream_of(blob(&app, &original.hash)?, media_type(wanted)))
                }
                _ => table(&app, &at, wanted, split).await,
            }
        }
        (kind, other) => {
            let shown: String = other.chars().take(32).collect();
            let hint = if kind == DatasetKind::Images { "use images" } else { "use original, csv or parquet" };
            Err(Problem::invalid(format!(
                "`{}` holds {} and cannot be exported as `{shown}`",
                dataset.name,
                kind.as_str()
            ))
            .hint(hint)
            .into())
        }
    }
}

fn media_type(format: TableFormat) -> &'static str {
    match format {
        TableFormat::Csv => "text/csv",
        TableFormat::Jsonl => "application/x-ndjson",
        TableFormat::Parquet => "application/vnd.apache.parquet",
    }
}

async fn table(app: &Services, at: &VersionAt, format: TableFormat, split: Option<Split>) -> Answer<Response> {
    let query = kaogong_data::tables::ExportQuery { format, split };
    Ok(stream_of(app.tables.export_table(at, query).await?, media_type(format)))
}

fn stream_of(
    pieces: impl Stream<Item = Result<Bytes, Problem>> + Send + 'static,
    media_type: &'static str,
) -> Response {
    // The head is sent by now: a failure can only break the body off, and the log says why.
    let logged = pieces.inspect_err(|it| tracing::error!("an export broke off: {it}"));
    let mut response = Body::from_stream(logged).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A blob in pieces, verified as it is read.
pub(super) fn blob(
    app: &Services,
    hash: &BlobHash,
) -> Result<impl Stream<Item = Result<Bytes, Problem>> + use<>, Problem> {
    let (reader, _) = app.blobs.open_verified(hash)?;
    Ok(read_stream(reader))
}

/// Any blocking reader as a stream of pieces of at most 256 KiB.
pub(super) fn read_stream<R: std::io::Read + Send + 'static>(
    reader: R,
) -> impl Stream<Item = Result<Bytes, Problem>> + use<R> {
    stream::try_unfold(reader, |mut reader| async move {
        let (reader, piece) = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0u8; 256 << 10];
            let read = reader.read(&mut piece);
            (
                reader,
                read.map(|it| {
                    piece.truncate(it);
                    piece
                }),
            )
        })
        .await
        .map_err(|it| Problem::bug("reading a file did not end", it))?;
        let piece = piece.map_err(|it| Problem::unavailable("a stored file cannot be read").because(it))?;
        Ok(if piece.is_empty() { None } else { Some((Bytes::from(piece), reader)) })
    })
}

async fn pictures(
    app: &Arc<Services>,
    at: VersionAt,
    split: Option<Split>,
    manifest: bool,
) -> Result<impl Stream<Item = Result<Bytes, Problem>> + use<>, Problem> {
    let head = if manifest { Some(manifest_entry(app, &at, split).await?) } else { None };
    let query = StreamQuery { split, label: None, batch: BATCH, content: ColumnNeed::Wanted };
    let items = app.tables.stream_items(&at, query).await?;
    let entries = items.map(|batch| batch.and_then(|items| tar_of(&items)));
    // Two blocks of zeros end an archive.
    let end = stream::once(async { Ok(Bytes::from_static(&[0; 1024])) });
    Ok(stream::iter(head.map(Ok)).chain(entries).chain(end))
}

async fn manifest_entry(app: &Arc<Services>, at: &VersionAt, split: Option<Split>) -> Result<Bytes, Problem> {
    let query = StreamQuery { split, label: None, batch: 4096, content: ColumnNeed::Omitted };
    let mut items = app.tables.stream_items(at, query).await?;
    let mut lines = String::new();
    while let Some(batch) = items.try_next().await? {
        for item in batch {
            let row = &item.row;
            let line = json!({
                "id": row.item, "name": String::from_utf8_lossy(&item.source_name), "label": row.label,
                "split": row.split.map(Split::as_str), "width": row.width, "height": row.height,
            });
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
    }
    let mut out = vec![];
    append(&mut out, b"manifest.jsonl", lines.as_bytes())?;
    Ok(out.into())
}

fn tar_of(items: &[ItemContent]) -> Result<Bytes, Problem> {
    let size: usize = items.iter().map(|it| it.bytes.len() + 2048).sum();
    let mut out = Vec::with_capacity(size);
    for item in items {
        append(&mut out, &item.source_name, &item.bytes)?;
    }
    Ok(out.into())
}

/// One file of an archive. Names longer than a header holds get a pax record before them.
fn append(out: &mut Vec<u8>, name: &[u8], bytes: &[u8]) -> Result<(), Problem> {
    let failed = |it: std::io::Error| Problem::bug("an archive cannot be written", it);
    let mut builder = tar::Builder::new(out);
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    header.set_entry_type(tar::EntryType::Regular);
    if name.len() < 100 {
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    } else {
        builder.append_pax_extensions([("path", name)]).map_err(failed)?;
        header.as_mut_bytes()[..99].copy_from_slice(&name[..99]);
    }
    header.set_cksum();
    builder.append(&header, bytes).map_err(failed)?;
    // `finish` would end the archive; the next piece goes on with it.
    std::mem::forget(builder);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn pieces_make_one_archive_with_exact_names() {
        let mut out = vec![];
        let long = "x".repeat(180).into_bytes();
        let names: [&[u8]; 3] = [b"7/a.png", &long, b"\xff\xfe/b.png"];
        for name in names {
            append(&mut out, name, name).expect("an entry");
        }
        out.extend([0; 1024]);
        let mut archive = tar::Archive::new(out.as_slice());
        for (entry, name) in archive.entries().expect("entries").zip(names) {
            let mut entry = entry.expect("an entry");
            assert_eq!(&*entry.path_bytes(), name);
            let mut bytes = vec![];
            entry.read_to_end(&mut bytes).expect("bytes");
            assert_eq!(bytes, name);
        }
    }
}
