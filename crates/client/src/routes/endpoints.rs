//! Endpoints: what serves a model. Tensors go through the Open Inference Protocol.

use crate::{BodySource, Client, call::Call};
use bytes::Bytes;
use kaogong_api::{Page, endpoints::*};
use kaogong_domain::{ErrorKind, Problem};

impl Client {
    /// `GET …/endpoints`
    pub async fn endpoints(&self) -> Result<Page<EndpointView>, Problem> {
        self.json(Call::get(self.project_route(&["endpoints"]))).await
    }

    /// `GET …/endpoints/{name}`
    pub async fn endpoint(&self, name: &str) -> Result<EndpointView, Problem> {
        self.json(Call::get(self.project_route(&["endpoints", name]))).await
    }

    /// Makes an endpoint; answers when its model is loaded or could not be. `POST …/endpoints`
    pub async fn new_endpoint(&self, endpoint: &NewEndpoint) -> Result<EndpointView, Problem> {
        self.json(Call::post(self.project_route(&["endpoints"])).long().json(endpoint)?).await
    }

    /// Gives an endpoint another model. `PUT …/endpoints/{name}`
    pub async fn update_endpoint(&self, name: &str, change: &EndpointChange) -> Result<EndpointView, Problem> {
        self.json(Call::put(self.project_route(&["endpoints", name])).long().json(change)?).await
    }

    /// Makes the endpoint, or gives it the model when it exists; safe to repeat, so that a connection that
    /// breaks while the model loads does not end it.
    ///
    /// # Errors
    /// What the server refuses, or `Unavailable`.
    pub async fn put_endpoint(&self, endpoint: &NewEndpoint) -> Result<EndpointView, Problem> {
        let NewEndpoint { model, engine, isolation, batching, .. } = endpoint.clone();
        let change = EndpointChange { model, engine, isolation, batching };
        match self.update_endpoint(&endpoint.name, &change).await {
            Err(problem) if problem.kind == ErrorKind::NotFound => {}
            other => return other,
        }
        match self.new_endpoint(endpoint).await {
            // It was made by a try whose answer got lost, or by somebody else meanwhile.
            Err(problem) if matches!(problem.kind, ErrorKind::Conflict | ErrorKind::Unavailable) => {
                match self.update_endpoint(&endpoint.name, &change).await {
                    Err(second) if second.kind == ErrorKind::NotFound => self.new_endpoint(endpoint).await,
                    other => other,
                }
            }
            other => other,
        }
    }

    /// `DELETE …/endpoints/{name}`
    pub async fn delete_endpoint(&self, name: &str) -> Result<(), Problem> {
        self.nothing(Call::delete(self.project_route(&["endpoints", name]))).await
    }

    /// What the model says about a picture. `POST …/endpoints/{name}/predict`
    pub async fn predict_image(
        &self,
        name: &str,
        bytes: Bytes,
        media_type: &'static str,
    ) -> Result<PredictionView, Problem> {
        let call = Call::post(self.project_route(&["endpoints", name, "predict"])).repeatable(true);
        self.json(call.body(BodySource::Bytes(bytes, media_type))).await
    }

    /// What the model says about a row. `POST …/endpoints/{name}/predict`
    pub async fn predict_row(&self, name: &str, row: &PredictRow) -> Result<PredictionView, Problem> {
        let call = Call::post(self.project_route(&["endpoints", name, "predict"])).repeatable(true);
        self.json(call.json(row)?).await
    }
}
