//! The route table: path, rule, pace and description of every route in one place.

use super::authenticate::{Authenticate, TokenOrSession};
use crate::{error::RenderError, meter::Meter};
use axum::{
    handler::Handler,
    routing::{MethodFilter, MethodRouter, on},
};
use http::Method;
use kaogong_domain::access::Permission;
use std::{collections::HashMap, sync::Arc};
use utoipa::{
    IntoParams, ToSchema,
    openapi::{
        ContentBuilder, Ref, RefOr, Schema,
        path::{Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        response::ResponseBuilder,
        schema::{ArrayBuilder, ObjectBuilder, Type},
    },
};

/// What a route needs from the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Open to strangers. The list is short, and a test holds it.
    Public,
    /// Somebody who proved who they are.
    SignedIn,
    /// The platform's administrator, with a credential that limits nothing.
    PlatformAdmin,
    /// A member of the project that the request names, with this permission.
    Project(Permission),
}

/// How long a route may take and how much it may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Answers within a minute; bodies of at most 2 MiB.
    Prompt,
    /// Streams, uploads and loads: the handler bounds itself.
    Unhurried,
}

/// Schemas that the description of a route needs, by name.
pub type Schemas = Vec<(String, RefOr<Schema>)>;

/// One route, whose handler gets a state `S`.
pub struct Route<S> {
    /// The method; HEAD follows GET.
    pub method: Method,
    /// The path, with parameters in braces.
    pub path: String,
    /// Who may call it.
    pub rule: Rule,
    /// Its bounds.
    pub pace: Pace,
    /// Whether the token of a job may call it. The handler sees to it that the job gets and changes only what is its
    /// own.
    pub for_jobs: bool,
    /// What it does, for the API description; foreign protocols have their own.
    pub operation: Option<Operation>,
    /// Schemas that the description refers to.
    pub schemas: Schemas,
    /// What runs.
    pub handler: MethodRouter<S>,
}

impl<S: Clone + Send + Sync + 'static> Route<S> {
    /// A route with a ready method router.
    pub fn new(method: Method, path: impl Into<String>, rule: Rule, handler: MethodRouter<S>) -> Self {
        Self {
            method,
            path: path.into(),
            rule,
            pace: Pace::Prompt,
            for_jobs: false,
            operation: None,
            schemas: vec![],
            handler,
        }
    }

    fn on<H, T>(method: Method, path: impl Into<String>, rule: Rule, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        Self::new(method, path, rule, on(filter, handler))
    }

    /// A GET route.
    pub fn get<H: Handler<T, S>, T: 'static>(path: impl Into<String>, rule: Rule, handler: H) -> Self {
        Self::on(Method::GET, path, rule, handler)
    }

    /// A POST route.
    pub fn post<H: Handler<T, S>, T: 'static>(path: &'static str, rule: Rule, handler: H) -> Self {
        Self::on(Method::POST, path, rule, handler)
    }

    /// A PUT route.
    pub fn put<H: Handler<T, S>, T: 'static>(path: &'static str, rule: Rule, handler: H) -> Self {
        Self::on(Method::PUT, path, rule, handler)
    }

    /// A PATCH route.
    pub fn patch<H: Handler<T, S>, T: 'static>(path: &'static str, rule: Rule, handler: H) -> Self {
        Self::on(Method::PATCH, path, rule, handler)
    }

    /// A DELETE route.
    pub fn delete<H: Handler<T, S>, T: 'static>(path: &'static str, rule: Rule, handler: H) -> Self {
        Self::on(Method::DELETE, path, rule, handler)
    }

    /// Lets the handler bound its own time and body.
    #[must_use]
    pub fn unhurried(mut self) -> Self {
        self.pace = Pace::Unhurried;
        self
    }

    /// Lets tokens of jobs in; without this they are refused. The handler sees to it that the job gets and changes only
    /// what is its own.
    #[must_use]
    pub fn for_jobs(mut self) -> Self {
        self.for_jobs = true;
        self
    }

    /// The same route below a project.
    pub fn below_project(&self) -> Self {
        Self { path: format!("/p/{{project}}{}", self.path), ..self.undescribed() }
    }

    /// A copy without its description.
    pub fn undescribed(&self) -> Self {
        Self {
            method: self.method.clone(),
            path: self.path.clone(),
            rule: self.rule,
            pace: self.pace,
            for_jobs: self.for_jobs,
            operation: None,
            schemas: vec![],
            handler: self.handler.clone(),
        }
    }

    /// Describes the route: an id for generated clients and one sentence.
    #[must_use]
    pub fn doc(mut self, id: &str, summary: &str) -> Self {
        let mut operation = OperationBuilder::new().operation_id(Some(id)).summary(Some(summary));
        for name in parameters_of(&self.path) {
            operation = operation.parameter(
                ParameterBuilder::new()
                    .name(name)
                    .parameter_in(ParameterIn::Path)
                    .required(utoipa::openapi::Required::True)
                    .schema(Some(ObjectBuilder::new().schema_type(Type::String))),
            );
        }
        self.operation = Some(operation.build());
        self
    }

    /// Describes the query.
    #[must_use]
    pub fn query<Q: IntoParams>(mut self) -> Self {
        let parameters: Vec<Parameter> = Q::into_params(|| Some(ParameterIn::Query));
        if let Some(operation) = &mut self.operation {
            operation.parameters.get_or_insert_with(Vec::new).extend(parameters);
        }
        self
    }

    /// Describes a JSON body.
    #[must_use]
    pub fn body<B: ToSchema>(mut self) -> Self {
        let schema = self.refer::<B>();
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let body = RequestBodyBuilder::new().content("application/json", content);
        if let Some(operation) = &mut self.operation {
            operation.request_body = Some(body.required(Some(utoipa::openapi::Required::True)).build());
        }
        self
    }

    /// Describes a body of other bytes.
    #[must_use]
    pub fn body_bytes(mut self, media_type: &str) -> Self {
        let body = RequestBodyBuilder::new().content(media_type, ContentBuilder::new().build());
        if let Some(operation) = &mut self.operation {
            operation.request_body = Some(body.build());
        }
        self
    }

    /// Describes a JSON answer.
    #[must_use]
    pub fn answers<A: ToSchema>(mut self) -> Self {
        let schema = self.refer::<A>();
        self.answer("200", "application/json", Some(schema))
    }

    /// Describes a JSON answer that is a list.
    #[must_use]
    pub fn answers_list<A: ToSchema>(mut self) -> Self {
        let schema = ArrayBuilder::new().items(self.refer::<A>()).build();
        self.answer("200", "application/json", Some(Schema::Array(schema).into()))
    }

    /// Describes a JSON answer that is one page of a list.
    #[must_use]
    pub fn answers_page<A: ToSchema>(mut self) -> Self {
        let items = ArrayBuilder::new().items(self.refer::<A>()).build();
        let total = ObjectBuilder::new().schema_type(Type::Integer).build();
        let page = ObjectBuilder::new()
            .property("items", Schema::Array(items))
            .property("total", total)
            .required("items")
            .required("total")
            .build();
        self.answer("200", "application/json", Some(Schema::Object(page).into()))
    }

    /// Describes an answer without a body.
    #[must_use]
    pub fn answers_nothing(self) -> Self {
        self.answer("204", "", None)
    }

    /// Describes an answer of other bytes.
    #[must_use]
    pub fn answers_bytes(self, media_type: &str) -> Self {
        self.answer("200", media_type, None)
    }

    fn answer(mut self, status: &str, media_type: &str, schema: Option<RefOr<Schema>>) -> Self {
        let mut response = ResponseBuilder::new().description(if status == "204" { "Done." } else { "The answer." });
        if !media_type.is_empty() {
            response = response.content(media_type, ContentBuilder::new().schema(schema).build());
        }
        if let Some(operation) = &mut self.operation {
            operation.responses.responses.insert(status.to_owned(), response.build().into());
            operation
                .responses
                .responses
                .insert("default".to_owned(), RefOr::Ref(Ref::new("#/components/responses/Error")));
        }
        self
    }

    fn refer<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let name = T::name().into_owned();
        T::schemas(&mut self.schemas);
        self.schemas.push((name.clone(), T::schema()));
        RefOr::Ref(Ref::from_schema_name(name))
    }
}

/// The names in braces of a path, in order.
pub fn parameters_of(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|it| it.strip_prefix('{')?.strip_suffix('}')).map(|it| it.trim_start_matches('*'))
}

/// What is known of a route when a call reaches it.
pub struct Entry {
    /// Who may call it.
    pub rule: Rule,
    /// Its bounds.
    pub pace: Pace,
    /// Whether the token of a job may call it.
    pub for_jobs: bool,
    /// How its callers prove who they are.
    pub authenticate: Arc<dyn Authenticate>,
    /// How it says that a call failed; `None` for the native API.
    pub render_error: Option<RenderError>,
    /// Its counters.
    pub meter: Meter,
}

/// The rules by method and path: what the access layer looks up. What is not here is refused.
#[derive(Default)]
pub struct RuleBook {
    rules: HashMap<String, HashMap<Method, Arc<Entry>>>,
    prefixes: Vec<(&'static str, RenderError)>,
}

impl RuleBook {
    /// Adds a route of the native API.
    pub fn add<S>(&mut self, route: &Route<S>) {
        self.insert(route, Arc::new(TokenOrSession), None);
    }

    /// Adds a route of a foreign protocol.
    pub fn add_mounted<S>(
        &mut self,
        route: &Route<S>,
        authenticate: &Arc<dyn Authenticate>,
        render_error: RenderError,
    ) {
        self.insert(route, authenticate.clone(), Some(render_error));
    }

    /// Notes how addresses of a foreign protocol begin.
    pub fn add_prefixes(&mut self, prefixes: &[&'static str], render_error: RenderError) {
        self.prefixes.extend(prefixes.iter().map(|it| (*it, render_error)));
    }

    fn insert<S>(&mut self, route: &Route<S>, authenticate: Arc<dyn Authenticate>, render_error: Option<RenderError>) {
        let (rule, pace, for_jobs) = (route.rule, route.pace, route.for_jobs);
        let meter = Meter::new(&route.method, &route.path);
        let entry = Entry { rule, pace, for_jobs, authenticate, render_error, meter };
        self.rules.entry(route.path.clone()).or_default().insert(route.method.clone(), Arc::new(entry));
    }

    /// What is known of a matched path. HEAD follows GET.
    pub fn find(&self, method: &Method, path: &str) -> Option<&Arc<Entry>> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.rules.get(path)?.get(method)
    }

    /// Whether the path exists with any method.
    pub fn knows_path(&self, path: &str) -> bool {
        self.rules.contains_key(path)
    }

    /// How a failure at an address that no route answers is written; `None` where no foreign protocol is.
    pub fn render_error_at(&self, path: &str) -> Option<RenderError> {
        self.prefixes.iter().find(|it| begins_with(path, it.0)).map(|it| it.1)
    }
}

/// What the router matched, reported from inside by the access layer.
#[derive(Clone)]
pub struct Matched(pub Arc<Entry>);

/// Whether an address, at the root or below a project, begins like one of a protocol.
pub fn begins_with(path: &str, prefix: &str) -> bool {
    let below = path.strip_prefix("/p/").and_then(|it| it.find('/').map(|at| &it[at..]));
    let is_it = |it: &str| it.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    is_it(path) || below.is_some_and(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_protocol_are_known_with_and_without_a_project() {
        for mine in ["/v2", "/v2/models/x/infer", "/p/vision/v2", "/p/vision/v2/models/v2"] {
            assert!(begins_with(mine, "/v2"), "{mine}");
        }
        for other in ["/", "/v2x", "/p/v2/datasets", "/p/vision/models/v2", "/api/v1/projects/v2/jobs", "/p/v2"] {
            assert!(!begins_with(other, "/v2"), "{other}");
        }
        let artifact = "/api/v1/projects/p/runs/r/artifacts/api/2.0/mlflow/x";
        assert!(!begins_with(artifact, "/api/2.0/mlflow"), "a name that only looks like it");
    }
}
