//! The Open Inference Protocol v2 over gRPC, on the same port and behind the same access layer as everything else.

mod bounded;
mod tensors;

/// Messages and the server's half of the service, made from `proto/open_inference.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
mod pb {
    tonic::include_proto!("inference");
}

use super::oip::{find_model, named, platform_of};
use crate::{Mount, Route};
use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use kaogong_control::Services;
use kaogong_domain::{ErrorKind, Problem, access::Permission};
use kaogong_http::{
    access::{InProject, Rule},
    error::{ApiError, is_grpc, status_of_grpc},
    outer::RequestId,
};
use kaogong_serving::{
    TensorSpec,
    oip::{arrange, check_output_names},
};
use pb::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ModelReadyRequest,
    ModelReadyResponse, ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse,
    ServerReadyRequest, ServerReadyResponse,
    grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer},
    model_metadata_response::TensorMetadata,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tonic::{Code, Status, metadata::MetadataMap};
use tower::ServiceExt;

/// The most bytes of one inference call: as much as over REST.
const INFER_BYTES_MAX: usize = 64 << 20;
/// The most bytes of any other call, which names a model at most.
const REQUEST_BYTES_MAX: usize = 16 << 10;
/// Where a call says how long it may take.
const TIMEOUT: &str = "grpc-timeout";

/// The calls, each with its rule.
const CALLS: [(&str, Rule); 6] = [
    ("ServerLive", Rule::Public),
    ("ServerReady", Rule::Public),
    ("ModelReady", Rule::Project(Permission::Infer)),
    ("ServerMetadata", Rule::Project(Permission::Infer)),
    ("ModelMetadata", Rule::Project(Permission::Infer)),
    ("ModelInfer", Rule::Project(Permission::Infer)),
];

/// The routes. They have no project in their path: the `kaogong-project` metadata names it, or the token.
pub fn routes() -> Vec<Route> {
    let at = |(name, rule): (&str, Rule)| {
        Route::new(
            http::Method::POST,
            format!("/inference.GRPCInferenceService/{name}"),
            rule,
            axum::routing::post(answer),
        )
    };
    CALLS.into_iter().map(at).collect()
}

/// The protocol. A gRPC client knows no base path, so its calls are at the root alone.
pub fn mount() -> Mount {
    Mount { is_below_projects: false, ..Mount::new(routes(), &[], render_error) }
}

/// A call that is no gRPC call at an address of this protocol: in the words of the same protocol over REST.
fn render_error(problem: &Problem, request_id: &str) -> axum::response::Response {
    super::oip::render(problem, request_id)
}

async fn answer(State(app): State<Arc<Services>>, request: Request) -> Response {
    if !is_grpc(request.headers()) {
        let problem = Problem::invalid("this address takes gRPC calls alone")
            .hint("over REST, models are called at /v2/models/{model}/infer");
        return ApiError(problem).into_response();
    }
    let limit = if request.uri().path().ends_with("/ModelInfer") { INFER_BYTES_MAX } else { REQUEST_BYTES_MAX };
    let service = GrpcInferenceServiceServer::new(Service { app }).max_decoding_message_size(limit);
    match service.oneshot(request.map(tonic::body::Body::new)).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

struct Service {
    app: Arc<Services>,
}

/// A call with what the layers below the router found out about it.
struct Call<T> {
    message: T,
    inside: Option<InProject>,
    request_id: Arc<str>,
    until: Option<Instant>,
}

impl<T> Call<T> {
    fn open(request: tonic::Request<T>) -> Result<Self, Status> {
        let request_id = request.extensions().get::<RequestId>().map_or_else(|| "".into(), |it| it.0.clone());
        let time = time_of(request.metadata()).map_err(|it| status_of_grpc(&it, &request_id))?;
        Ok(Self {
            inside: request.extensions().get::<InProject>().cloned(),
            request_id,
            until: time.and_then(|it| Instant::now().checked_add(it)),
            message: request.into_inner(),
        })
    }

    fn inside(&self) -> Result<&InProject, Problem> {
        self.inside
            .as_ref()
            .ok_or_else(|| Problem::new(ErrorKind::Bug, "a gRPC call asks for a project that its rule does not name"))
    }

    fn answer<A>(&self, answer: Result<A, Problem>) -> Result<tonic::Response<A>, Status> {
        answer.map(tonic::Response::new).map_err(|problem| {
            let status = status_of_grpc(&problem, &self.request_id);
            let is_late = self.until.is_some_and(|it| it <= Instant::now());
            if is_late && problem.kind == ErrorKind::Unavailable {
                return Status::new(Code::DeadlineExceeded, status.message());
            }
            status
        })
    }
}

/// How long the caller waits, when it says so.
fn time_of(metadata: &MetadataMap) -> Result<Option<Duration>, Problem> {
    let Some(value) = metadata.get(TIMEOUT) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(duration_of);
    parsed.map(Some).ok_or_else(|| {
        Problem::invalid(format!("{TIMEOUT} is no time")).hint("it is at most eight digits and one of H, M, S, m, u, n")
    })
}

fn duration_of(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(count * 3600),
        'M' => Duration::from_secs(count * 60),
        'S' => Duration::from_secs(count),
        'm' => Duration::from_millis(count),
        'u' => Duration::from_micros(count),
        'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

impl Service {
    fn is_model_ready(&self, call: &Call<ModelReadyRequest>) -> Result<ModelReadyResponse, Problem> {
        let ready = match find_model(&self.app, call.inside()?, &call.message.name, &call.message.version) {
            Ok(_) => true,
            // The protocol's answer for a model that is not there is "no", not a failure.
            Err(it) if it.kind == ErrorKind::NotFound => false,
            Err(it) => return Err(it),
        };
        Ok(ModelReadyResponse { ready })
    }

    fn metadata_of(&self, call: &Call<ModelMetadataRequest>) -> Result<ModelMetadataResponse, Problem> {
        let live = find_model(&self.app, call.inside()?, &call.message.name, &call.message.version)?;
        let model = live.pool.model();
        Ok(ModelMetadataResponse {
            name: live.row.name.to_string(),
            versions: vec![live.version_text.clone()],
            platform: platform_of(&live).to_owned(),
            inputs: model.inputs().iter().map(tensor_metadata).collect(),
            outputs: model.outputs().iter().map(tensor_metadata).collect(),
        })
    }

    async fn infer(&self, call: &mut Call<ModelInferRequest>) -> Result<ModelInferResponse, Problem> {
        let message = std::mem::take(&mut call.message);
        let live = find_model(&self.app, call.inside()?, &message.model_name, &message.model_version)?;
        let request = tensors::read(message)?;
        let model = live.pool.model();
        let inputs = arrange(request.inputs, model.inputs())?;
        check_output_names(request.wanted.iter().map(|it| it.name.as_str()), named(&live), model.outputs())?;
        let left = call.until.map(|it| it.saturating_duration_since(Instant::now()));
        // The shorter of the two times holds: the connection's and the request's own.
        let time = [left, request.time].into_iter().flatten().min();
        let reply = live.pool.infer(inputs, time).await?;
        tensors::write(named(&live), request.id, &request.wanted, reply.outputs)
    }
}

fn tensor_metadata(spec: &TensorSpec) -> TensorMetadata {
    TensorMetadata { name: spec.name.clone(), datatype: spec.datatype.as_str().to_owned(), shape: spec.shape.clone() }
}

#[tonic::async_trait]
impl GrpcInferenceService for Service {
    async fn server_live(
        &self,
        _: tonic::Request<ServerLiveRequest>,
    ) -> Result<tonic::Response<ServerLiveResponse>, Status> {
        Ok(tonic::Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: tonic::Request<ServerReadyRequest>,
    ) -> Result<tonic::Response<ServerReadyResponse>, Status> {
        Ok(tonic::Response::new(ServerReadyResponse { ready: self.app.is_ready() }))
    }

    async fn model_ready(
        &self,
        request: tonic::Request<ModelReadyRequest>,
    ) -> Result<tonic::Response<ModelReadyResponse>, Status> {
        let call = Call::open(request)?;
        call.answer(self.is_model_ready(&call))
    }

    async fn server_metadata(
        &self,
        _: tonic::Request<ServerMetadataRequest>,
    ) -> Result<tonic::Response<ServerMetadataResponse>, Status> {
        Ok(tonic::Response::new(ServerMetadataResponse {
            name: "kaogong".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: vec!["classification".to_owned()],
        }))
    }

    async fn model_metadata(
        &self,
        request: tonic::Request<ModelMetadataRequest>,
    ) -> Result<tonic::Response<ModelMetadataResponse>, Status> {
        let call = Call::open(request)?;
        call.answer(self.metadata_of(&call))
    }

    async fn model_infer(
        &self,
        request: tonic::Request<ModelInferRequest>,
    ) -> Result<tonic::Response<ModelInferResponse>, Status> {
        let mut call = Call::open(request)?;
        let answer = self.infer(&mut call).await;
        call.answer(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_the_description_has_a_route() {
        let text = include_str!("../../proto/open_inference.proto");
        let names: Vec<&str> =
            text.lines().filter_map(|it| it.trim().strip_prefix("rpc ")?.split('(').next()).collect();
        let routed: Vec<&str> = CALLS.iter().map(|it| it.0).collect();
        assert_eq!(names, routed);
    }

    #[test]
    fn timeouts_are_digits_and_a_unit() {
        assert_eq!(duration_of("250m"), Some(Duration::from_millis(250)));
        assert_eq!(duration_of("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(duration_of("7u"), Some(Duration::from_micros(7)));
        for broken in ["", "m", "5", "5x", "123456789S", "-5S", "+5S", "5é"] {
            assert_eq!(duration_of(broken), None, "{broken}");
        }
    }
}
