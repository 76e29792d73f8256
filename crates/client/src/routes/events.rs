//! What changed, the home page, and the server itself.

use crate::{Answer, Client, call::Call};
use kaogong_api::{Page, events::*, system::SystemView};
use kaogong_domain::Problem;

impl Client {
    /// The platform's log of changes. `GET /audit`
    pub async fn audit(&self, query: &EventQuery) -> Result<Page<EventView>, Problem> {
        self.json(Call::get(self.route(&["audit"])).query(query)?).await
    }

    /// The project's log of changes. `GET …/events`
    pub async fn events(&self, query: &EventQuery) -> Result<Page<EventView>, Problem> {
        self.json(Call::get(self.project_route(&["events"])).query(query)?).await
    }

    /// `GET …/overview`
    pub async fn overview(&self) -> Result<OverviewView, Problem> {
        self.json(Call::get(self.project_route(&["overview"]))).await
    }

    /// Everything that the server keeps, as a stream. `GET /system/backup`
    pub async fn backup(&self) -> Result<Answer, Problem> {
        self.send(&Call::get(self.route(&["system", "backup"])).streaming()).await
    }

    /// What the server is. `GET /system`
    pub async fn system(&self) -> Result<SystemView, Problem> {
        self.json(Call::get(self.route(&["system"]))).await
    }
}
