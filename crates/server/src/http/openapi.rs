//! The description of the native API, made from the route table.

use crate::Route;
use bytes::Bytes;
use kaogong_api::ErrorBody;
use kaogong_domain::base_path::BasePath;
use kaogong_http::access::Rule;
use std::sync::LazyLock;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, PathsBuilder, Ref, RefOr,
        Server,
        path::HttpMethod,
        response::ResponseBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

static TEXT: LazyLock<String> = LazyLock::new(|| {
    let mut text = document().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
});

/// The document as JSON text.
pub fn document_text() -> &'static str {
    &TEXT
}

/// The document of a server that lies under a path: it says where.
pub fn text_under(base: &BasePath) -> Bytes {
    if base.as_str().is_empty() {
        return Bytes::from_static(document_text().as_bytes());
    }
    let mut document = document();
    document.servers = Some(vec![Server::new(base.as_str())]);
    document.to_pretty_json().unwrap_or_default().into()
}

/// The document.
pub fn document() -> OpenApi {
    let mut paths = PathsBuilder::new();
    let mut components = ComponentsBuilder::new();
    for route in super::native_routes() {
        let Some((operation, path)) = described(&route) else { continue };
        for (name, schema) in route.schemas {
            components = components.schema(name, schema);
        }
        let method = match route.method {
            http::Method::POST => HttpMethod::Post,
            http::Method::PUT => HttpMethod::Put,
            http::Method::PATCH => HttpMethod::Patch,
            http::Method::DELETE => HttpMethod::Delete,
            _ => HttpMethod::Get,
        };
        paths = paths.path(path, PathItem::new(method, operation));
    }
    let mut nested = vec![];
    ErrorBody::schemas(&mut nested);
    for (name, schema) in nested {
        components = components.schema(name, schema);
    }
    let content = ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name("ErrorBody")))).build();
    let error = ResponseBuilder::new().description("What failed, on which thing, and what to do next.");
    let components = components
        .schema("ErrorBody", ErrorBody::schema())
        .response("Error", error.content("application/json", content).build())
        .security_scheme("token", SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()))
        .build();
    let info = InfoBuilder::new()
        .title("Kaogong")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("The native API. Times are milliseconds since 1970-01-01 UTC, sizes are bytes."));
    OpenApiBuilder::new().info(info.build()).paths(paths.build()).components(Some(components)).build()
}

fn described(route: &Route) -> Option<(utoipa::openapi::path::Operation, String)> {
    let mut operation = route.operation.clone()?;
    if route.rule != Rule::Public {
        operation.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>("token", [])]);
    }
    let noun = route.path.split('/').nth(3).unwrap_or("system");
    let noun = if noun == "projects" { route.path.split('/').nth(5).unwrap_or("access") } else { noun };
    operation.tags = Some(vec![noun.to_owned()]);
    Some((operation, route.path.replace("{*", "{")))
}
