//! Registered models, versions and aliases.

use crate::{Answer, Client, call::Call};
use kaogong_api::{Page, models::*};
use kaogong_domain::Problem;

impl Client {
    /// `GET …/models`
    pub async fn models(&self) -> Result<Page<ModelView>, Problem> {
        self.json(Call::get(self.project_route(&["models"]))).await
    }

    /// `GET …/models/{name}`
    pub async fn model(&self, name: &str) -> Result<ModelView, Problem> {
        self.json(Call::get(self.project_route(&["models", name]))).await
    }

    /// `DELETE …/models/{name}`
    pub async fn delete_model(&self, name: &str) -> Result<(), Problem> {
        self.nothing(Call::delete(self.project_route(&["models", name]))).await
    }

    /// Registers a version; makes the model when it is new. `POST …/models/{name}/versions`
    pub async fn register(&self, name: &str, version: &NewModelVersion) -> Result<ModelVersionView, Problem> {
        let call = Call::post(self.project_route(&["models", name, "versions"])).long();
        self.json(call.repeatable(version.request_key.is_some()).json(version)?).await
    }

    /// `PUT …/models/{name}/aliases/{alias}`
    pub async fn set_alias(&self, name: &str, alias: &str, version: u32) -> Result<ModelView, Problem> {
        let call = Call::put(self.project_route(&["models", name, "aliases", alias]));
        self.json(call.json(&AliasChange { version })?).await
    }

    /// `DELETE …/models/{name}/aliases/{alias}`
    pub async fn delete_alias(&self, name: &str, alias: &str) -> Result<ModelView, Problem> {
        self.json(Call::delete(self.project_route(&["models", name, "aliases", alias]))).await
    }

    /// The ONNX file of a version. `GET …/models/{name}/versions/{number}/file`
    pub async fn model_file(&self, name: &str, number: u32) -> Result<Answer, Problem> {
        let parts = ["models", name, "versions", &number.to_string(), "file"];
        self.send(&Call::get(self.project_route(&parts)).streaming()).await
    }
}
