//! Datasets, versions, items, imports, exports and uploads.

use crate::{Answer, BodySource, Client, call::Call};
use kaogong_api::{Page, datasets::*, jobs::UploadView, paging::PageQuery};
use kaogong_domain::Problem;

impl Client {
    /// `GET …/datasets`
    pub async fn datasets(&self, page: &PageQuery) -> Result<Page<DatasetView>, Problem> {
        self.json(Call::get(self.project_route(&["datasets"])).query(page)?).await
    }

    /// `GET …/datasets/{name}`
    pub async fn dataset(&self, name: &str) -> Result<DatasetView, Problem> {
        self.json(Call::get(self.project_route(&["datasets", name]))).await
    }

    /// `DELETE …/datasets/{name}`
    pub async fn delete_dataset(&self, name: &str) -> Result<(), Problem> {
        self.nothing(Call::delete(self.project_route(&["datasets", name]))).await
    }

    /// Newest first. `GET …/datasets/{name}/versions`
    pub async fn versions(&self, name: &str, page: &PageQuery) -> Result<Page<VersionView>, Problem> {
        self.json(Call::get(self.project_route(&["datasets", name, "versions"])).query(page)?).await
    }

    /// One version; the newest when `number` is `None`. `GET …/versions/{number|latest}`
    pub async fn version(&self, name: &str, number: Option<u32>) -> Result<VersionView, Problem> {
        let number = number.map_or_else(|| "latest".to_owned(), |it| it.to_string());
        self.json(Call::get(self.project_route(&["datasets", name, "versions", &number]))).await
    }

    /// Imports a body as a new version; repeated from the beginning of the body when `query` carries a
    /// request key. `POST …/datasets/{name}/versions`
    pub async fn import(&self, name: &str, query: &ImportQuery, body: BodySource) -> Result<VersionView, Problem> {
        let call = Call::post(self.project_route(&["datasets", name, "versions"])).query(query)?;
        self.json(call.repeatable(query.request_key.is_some()).long().body(body)).await
    }

    /// `GET …/versions/{number}/items`
    pub async fn items(&self, name: &str, number: u32, query: &ItemQuery) -> Result<Page<ItemView>, Problem> {
        let url = self.project_route(&["datasets", name, "versions", &number.to_string(), "items"]);
        self.json(Call::get(url).query(query)?).await
    }

    /// The bytes of one item as they were imported. `GET …/items/{item}/content`
    pub async fn item_content(&self, name: &str, number: u32, item: &str) -> Result<Answer, Problem> {
        let parts = ["datasets", name, "versions", &number.to_string(), "items", item, "content"];
        self.send(&Call::get(self.project_route(&parts)).streaming()).await
    }

    /// A version as a stream. `GET …/versions/{number}/export`
    pub async fn export(&self, name: &str, number: u32, query: &ExportQuery) -> Result<Answer, Problem> {
        let url = self.project_route(&["datasets", name, "versions", &number.to_string(), "export"]);
        self.send(&Call::get(url).query(query)?.streaming()).await
    }

    /// Uploads bytes under their hash; uploading twice changes nothing. `POST …/uploads`
    pub async fn upload(&self, body: BodySource) -> Result<UploadView, Problem> {
        self.json(Call::post(self.project_route(&["uploads"])).repeatable(true).long().body(body)).await
    }
}
