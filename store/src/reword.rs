//! Words that must not stay in what was told of a cycle.

use hone_api::CycleId;
use rusqlite::{Connection, params};

use crate::Store;
use crate::column::Id;
use crate::error::Result;

impl Store {
    /// Replaces a cycle's reason and outcomes, and the messages and data of its events, by what `reword` makes of
    /// each. A cycle that is not there has none.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn reword_cycle<F>(&self, id: CycleId, reword: F) -> Result<()>
    where
        F: Fn(&str) -> String + Send + 'static,
    {
        self.writer
            .write(move |c| {
                columns(c, id, "cycles", "id", ["reason", "outcomes"], &reword)?;
                columns(c, id, "cycle_events", "cycle_id", ["message", "data"], &reword)
            })
            .await
    }
}

fn columns(
    connection: &Connection,
    id: CycleId,
    table: &str,
    key: &str,
    [one, other]: [&str; 2],
    reword: &dyn Fn(&str) -> String,
) -> Result<()> {
    let mut texts = connection.prepare(&format!(
        "SELECT {one} FROM {table} WHERE {key} = ?1 AND {one} IS NOT NULL
         UNION SELECT {other} FROM {table} WHERE {key} = ?1 AND {other} IS NOT NULL"
    ))?;
    let texts: Vec<String> =
        texts.query_map(params![id.bytes()], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for text in texts {
        let told = reword(&text);
        if told == text {
            continue;
        }
        for column in [one, other] {
            let sql =
                format!("UPDATE {table} SET {column} = ?3 WHERE {key} = ?1 AND {column} = ?2");
            connection.prepare(&sql)?.execute(params![id.bytes(), text, told])?;
        }
    }
    Ok(())
}
