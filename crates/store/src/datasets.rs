//! Datasets and their versions. A version is one row; before that row exists, nothing of it is visible.

use crate::{
    Actor, Store, counters,
    events::Change,
    sql::{self, Columns, Result, vals},
};
use kaogong_domain::{
    Problem, Timestamp,
    datasets::DatasetKind,
    events::EventAction,
    ids::{DatasetId, ProjectId, UserId, VersionId},
    names::{Name, Title},
};
use serde_json::json;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

type Told<T> = std::result::Result<T, Problem>;

/// A dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetRow {
    /// Its id, and the name of its folder.
    pub id: DatasetId,
    /// Its project.
    pub project_id: ProjectId,
    /// Its name in the project.
    pub name: Name,
    /// What people call it; its name where that is no other.
    pub title: String,
    /// What it holds.
    pub kind: DatasetKind,
    /// What it is.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: Option<UserId>,
}

/// One immutable version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRow {
    /// Its id.
    pub id: VersionId,
    /// Its dataset.
    pub dataset_id: DatasetId,
    /// 1, 2, 3 …
    pub number: u32,
    /// Exact table versions, as JSON of the table engine.
    pub pins: String,
    /// What is in it, as JSON of the table engine.
    pub summary: String,
    /// Items by class and split, as JSON; `None` for a version of an older program until somebody counted.
    pub histogram: Option<String>,
    /// Why it was made.
    pub message: String,
    /// Where the data came from.
    pub source: String,
    /// Items in it.
    pub items: u64,
    /// Bytes of the originals.
    pub bytes: u64,
    /// Seed of the split.
    pub split_seed: Option<u64>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: Option<UserId>,
}

/// A version to commit.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// Its dataset.
    pub dataset_id: DatasetId,
    /// Exact table versions.
    pub pins: String,
    /// What is in it.
    pub summary: String,
    /// Items by class and split, as JSON.
    pub histogram: Option<String>,
    /// Why it is made.
    pub message: String,
    /// Where the data came from.
    pub source: String,
    /// Items in it.
    pub items: u64,
    /// Bytes of the originals.
    pub bytes: u64,
    /// Seed of the split.
    pub split_seed: Option<u64>,
    /// A repeated commit with the same key gives the version already made.
    pub request_key: Option<String>,
}

fn dataset(row: &AnyRow) -> Result<DatasetRow> {
    Ok(DatasetRow {
        id: row.parse("id", "a dataset id")?,
        project_id: row.parse("project_id", "a project id")?,
        name: row.parse("name", "a name")?,
        title: Some(row.text("title")?).filter(|it| !it.is_empty()).map_or_else(|| row.text("name"), Ok)?,
        kind: row.word("kind", DatasetKind::parse, "a kind of dataset")?,
        description: row.text("description")?,
        created_at: row.time("created_at")?,
        created_by: row.opt_parse("created_by", "a user id")?,
    })
}

fn version(row: &AnyRow) -> Result<VersionRow> {
    Ok(VersionRow {
        id: row.parse("id", "a version id")?,
        dataset_id: row.parse("dataset_id", "a dataset id")?,
        number: row.small("number")?,
        pins: row.text("pins")?,
        summary: row.text("summary")?,
        histogram: row.opt_text("histogram")?,
        message: row.text("message")?,
        source: row.text("source")?,
        items: row.size("items")?,
        bytes: row.size("bytes")?,
        split_seed: row.opt_parse("split_seed", "a seed")?,
        created_at: row.time("created_at")?,
        created_by: row.opt_parse("created_by", "a user id")?,
    })
}

const LIVE: &str = "SELECT * FROM datasets WHERE project_id = $1 AND name = $2 AND deleted_at IS NULL";

/// A dataset is seen from its first version on: before, it is a name that an import has taken for itself.
macro_rules! seen {
    () => {
        "deleted_at IS NULL AND EXISTS (SELECT 1 FROM dataset_versions WHERE dataset_versions.dataset_id = datasets.id)"
    };
}

impl Store {
    /// The dataset of that name for an import, made when there is none. It is seen, and on record, with its first
    /// version. One that has no version yet becomes of the kind wanted: the import that made it failed. `Conflict`
    /// when it holds versions of another kind.
    pub async fn ensure_dataset(
        &self,
        project: ProjectId,
        name: &Name,
        kind: DatasetKind,
        actor: &Actor,
        now: Timestamp,
    ) -> Told<DatasetRow> {
        let mut tx = self.change().await?;
        if let Some(row) = sql::row(&mut tx, LIVE, vals![project, name]).await? {
            let found = dataset(&row)?;
            if found.kind == kind {
                return Ok(found);
            }
            let sql = "SELECT id FROM dataset_versions WHERE dataset_id = $1 LIMIT 1";
            if sql::row(&mut tx, sql, vals![found.id]).await?.is_some() {
                let text =
                    format!("dataset `{name}` holds {}, this import brings {}", found.kind.as_str(), kind.as_str());
                return Err(Problem::conflict(text).hint("import under another name"));
            }
            sql::exec(&mut tx, "UPDATE datasets SET kind = $2 WHERE id = $1", vals![found.id, kind.as_str()]).await?;
            tx.commit().await?;
            return Ok(DatasetRow { kind, ..found });
        }
        let made = DatasetRow {
            id: DatasetId::generate(now),
            project_id: project,
            name: name.clone(),
            title: name.to_string(),
            kind,
            description: String::new(),
            created_at: now,
            created_by: actor.user,
        };
        let sql = "INSERT INTO datasets (id, project_id, name, kind, description, created_at, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        sql::exec(&mut tx, sql, vals![made.id, project, name, kind.as_str(), "", now, actor.user]).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// Notes what people call a dataset.
    pub async fn name_dataset(&self, id: DatasetId, title: &Title) -> Told<()> {
        let mut tx = self.change().await?;
        sql::exec(&mut tx, "UPDATE datasets SET title = $2 WHERE id = $1", vals![id, title.as_str()]).await?;
        Ok(tx.commit().await?)
    }

    /// A dataset by name.
    pub async fn find_dataset(&self, project: ProjectId, name: &Name) -> Told<Option<DatasetRow>> {
        let sql = concat!("SELECT * FROM datasets WHERE project_id = $1 AND name = $2 AND ", seen!());
        let row = sql::row(&mut *self.read().await?, sql, vals![project, name]).await?;
        Ok(row.as_ref().map(dataset).transpose()?)
    }

    /// Datasets of a project, newest first, and how many there are.
    pub async fn list_datasets(&self, project: ProjectId, offset: u64, limit: u32) -> Told<(Vec<DatasetRow>, u64)> {
        let mut conn = self.read().await?;
        let total = counters::read(&mut conn, &project.to_string(), "datasets").await?;
        let sql = concat!(
            "SELECT * FROM datasets WHERE project_id = $1 AND ",
            seen!(),
            " ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3"
        );
        let rows = sql::rows(&mut conn, sql, vals![project, limit, offset]).await?;
        Ok((rows.iter().map(dataset).collect::<Result<_>>()?, total))
    }

    /// Hides a dataset; its name is free at once, its data is swept later.
    pub async fn delete_dataset(&self, project: ProjectId, id: DatasetId, actor: &Actor, now: Timestamp) -> Told<()> {
        let mut tx = self.change().await?;
        let sql = "UPDATE datasets SET deleted_at = $3 WHERE project_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING name";
        let row = sql::row(&mut tx, sql, vals![project, id, now]).await?;
        let row = row.ok_or_else(|| Problem::not_found(format!("there is no dataset {id}")))?;
        let sql = "SELECT id FROM dataset_versions WHERE dataset_id = $1 LIMIT 1";
        if sql::row(&mut tx, sql, vals![id]).await?.is_some() {
            tx.count(project, "datasets", -1);
        }
        tx.event(actor, now, Change::new(project, EventAction::DatasetDeleted, id).name(row.text("name")?)).await?;
        Ok(tx.commit().await?)
    }

    /// Makes a version visible, with the next number.
    pub async fn commit_version(&self, new: NewVersion, actor: &Actor, now: Timestamp) -> Told<VersionRow> {
        let mut tx = self.change().await?;
        if let Some(key) = &new.request_key {
            let sql = "SELECT * FROM dataset_versions WHERE dataset_id = $1 AND request_key = $2";
            if let Some(row) = sql::row(&mut tx, sql, vals![new.dataset_id, key]).await? {
                return Ok(version(&row)?);
            }
        }
        let owner =
            sql::row(&mut tx, "SELECT * FROM datasets WHERE id = $1 AND deleted_at IS NULL", vals![new.dataset_id])
                .await?;
        let owner = owner.as_ref().map(dataset).transpose()?;
        let owner = owner.ok_or_else(|| Problem::conflict("the dataset was deleted while the import ran"))?;
        let sql = "SELECT COALESCE(MAX(number), 0) + 1 FROM dataset_versions WHERE dataset_id = $1";
        let number = sql::number(&mut tx, sql, vals![new.dataset_id]).await?;
        let made = VersionRow {
            id: VersionId::generate(now),
            dataset_id: new.dataset_id,
            number: u32::try_from(number).unwrap_or(u32::MAX),
            pins: new.pins,
            summary: new.summary,
            histogram: new.histogram,
            message: new.message,
            source: new.source,
            items: new.items,
            bytes: new.bytes,
            split_seed: new.split_seed,
            created_at: now,
            created_by: actor.user,
        };
        let sql = "INSERT INTO dataset_versions (id, dataset_id, number, pins, summary, message, source, items, bytes, \
            split_seed, request_key, created_at, created_by, histogram) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
        let values = vals![
            made.id,
            made.dataset_id,
            number,
            &made.pins,
            &made.summary,
            &made.message,
            &made.source,
            made.items,
            made.bytes,
            made.split_seed.map(|it| it.to_string()),
            new.request_key,
            now,
            actor.user,
            made.histogram.clone()
        ];
        sql::exec(&mut tx, sql, values).await?;
        if number == 1 {
            tx.count(owner.project_id, "datasets", 1);
            let change = Change::new(owner.project_id, EventAction::DatasetCreated, owner.id).name(&owner.name);
            tx.event(actor, now, change.detail(json!({"kind": owner.kind.as_str(), "title": owner.title}))).await?;
        }
        let change = Change::new(owner.project_id, EventAction::DatasetVersionCreated, owner.id)
            .name(format!("{}@{number}", owner.name))
            .detail(json!({"number": number, "items": made.items}));
        tx.event(actor, now, change).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// Versions of a dataset, newest first, and how many there are.
    pub async fn list_versions(&self, id: DatasetId, offset: u64, limit: u32) -> Told<(Vec<VersionRow>, u64)> {
        let mut conn = self.read().await?;
        // Versions are numbered without a gap and never removed.
        let sql = "SELECT COALESCE(MAX(number), 0) FROM dataset_versions WHERE dataset_id = $1";
        let total = sql::number(&mut conn, sql, vals![id]).await?;
        let first = total.saturating_sub(i64::try_from(offset).unwrap_or(i64::MAX));
        let sql = "SELECT * FROM dataset_versions WHERE dataset_id = $1 AND number <= $2 ORDER BY number DESC LIMIT $3";
        let rows = sql::rows(&mut conn, sql, vals![id, first, limit]).await?;
        Ok((rows.iter().map(version).collect::<Result<_>>()?, u64::try_from(total).unwrap_or_default()))
    }

    /// A version by number.
    pub async fn find_version(&self, id: DatasetId, number: u32) -> Told<Option<VersionRow>> {
        let sql = "SELECT * FROM dataset_versions WHERE dataset_id = $1 AND number = $2";
        let row = sql::row(&mut *self.read().await?, sql, vals![id, number]).await?;
        Ok(row.as_ref().map(version).transpose()?)
    }

    /// The version that was made under a key.
    pub async fn find_version_by_key(&self, id: DatasetId, key: &str) -> Told<Option<VersionRow>> {
        let sql = "SELECT * FROM dataset_versions WHERE dataset_id = $1 AND request_key = $2";
        let row = sql::row(&mut *self.read().await?, sql, vals![id, key]).await?;
        Ok(row.as_ref().map(version).transpose()?)
    }

    /// The newest version.
    pub async fn latest_version(&self, id: DatasetId) -> Told<Option<VersionRow>> {
        let sql = "SELECT * FROM dataset_versions WHERE dataset_id = $1 ORDER BY number DESC LIMIT 1";
        let row = sql::row(&mut *self.read().await?, sql, vals![id]).await?;
        Ok(row.as_ref().map(version).transpose()?)
    }

    /// The newest version of each of some datasets. Its number says how many there are. A dataset without any is
    /// left out.
    pub async fn latest_versions(&self, ids: &[DatasetId]) -> Told<BTreeMap<DatasetId, VersionRow>> {
        let mut conn = self.read().await?;
        let rows = sql::rows_in(&mut conn, vec![], sql::ids(ids), |list| {
            format!(
                "SELECT v.* FROM datasets d CROSS JOIN dataset_versions v WHERE d.id IN ({list}) AND v.dataset_id = d.id \
                 AND v.number = (SELECT MAX(n.number) FROM dataset_versions n WHERE n.dataset_id = d.id)"
            )
        });
        let keyed = |row: &AnyRow| version(row).map(|it| (it.dataset_id, it));
        Ok(rows.await?.iter().map(keyed).collect::<Result<_>>()?)
    }

    /// Keeps what was counted in a version that has no counts yet. No event: nothing changed.
    pub async fn set_version_histogram(&self, id: VersionId, histogram: &str) -> Told<()> {
        let mut tx = self.measure().await?;
        let sql = "UPDATE dataset_versions SET histogram = $2 WHERE id = $1 AND histogram IS NULL";
        sql::exec(&mut tx, sql, vals![id, histogram]).await?;
        Ok(tx.commit().await.map_err(crate::StoreError::from)?)
    }

    /// `name@number` of versions, in the order given; those that are gone are left out.
    pub async fn version_names(&self, ids: &[VersionId]) -> Told<Vec<String>> {
        let names = self.names_of_versions(ids).await?;
        Ok(ids.iter().filter_map(|it| names.get(it).cloned()).collect())
    }

    /// `name@number` of versions, by id; those that are gone are left out.
    pub async fn names_of_versions(&self, ids: &[VersionId]) -> Told<BTreeMap<VersionId, String>> {
        let mut conn = self.read().await?;
        let rows = sql::rows_in(&mut conn, vec![], sql::ids(ids), |list| {
            format!(
                "SELECT v.id AS id, d.name AS name, v.number AS number FROM dataset_versions v \
                 JOIN datasets d ON d.id = v.dataset_id WHERE v.id IN ({list})"
            )
        });
        let name = |row: &AnyRow| -> Result<_> {
            Ok((row.parse("id", "a version id")?, format!("{}@{}", row.text("name")?, row.int("number")?)))
        };
        Ok(rows.await?.iter().map(name).collect::<Result<_>>()?)
    }

    /// The pins of all versions of a dataset, also of a deleted one: what a sweep must keep.
    pub async fn live_pins(&self, id: DatasetId) -> Told<Vec<String>> {
        let rows =
            sql::rows(&mut *self.read().await?, "SELECT pins FROM dataset_versions WHERE dataset_id = $1", vals![id])
                .await?;
        Ok(rows.iter().map(|it| it.text("pins")).collect::<Result<_>>()?)
    }

    /// Every dataset there is, deleted ones too, for sweeping.
    pub async fn all_datasets(&self) -> Told<Vec<DatasetId>> {
        let rows = sql::rows(&mut *self.read().await?, "SELECT id FROM datasets ORDER BY id", vec![]).await?;
        Ok(rows.iter().map(|it| it.parse("id", "a dataset id")).collect::<Result<_>>()?)
    }
}
