//! Settings that belong to the store itself: the instance's id, signing keys.

use crate::{
    Store, StoreError,
    sql::{self, Columns, vals},
};
use kaogong_domain::Problem;

type Told<T> = std::result::Result<T, Problem>;

impl Store {
    /// A setting's value.
    pub async fn setting(&self, key: &str) -> Told<Option<String>> {
        let row = sql::row(&mut *self.read().await?, "SELECT value FROM settings WHERE key = $1", vals![key]).await?;
        Ok(row.map(|it| it.text("value")).transpose()?)
    }

    /// The value of a setting that is chosen once: `first` when it has none yet. All callers get the same value.
    pub async fn ensure_setting(&self, key: &str, first: &str) -> Told<String> {
        let mut tx = self.measure().await?;
        let sql = "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";
        sql::exec(&mut tx, sql, vals![key, first]).await?;
        let row = sql::row(&mut tx, "SELECT value FROM settings WHERE key = $1", vals![key]).await?;
        tx.commit().await.map_err(StoreError::from)?;
        let row = row.ok_or_else(|| Problem::not_found(format!("the setting `{key}` is gone")))?;
        Ok(row.text("value")?)
    }
}
