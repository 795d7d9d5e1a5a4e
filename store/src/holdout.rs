//! Table `holdout_keys`: prompts that versions before cross-fitting held out. Nothing reads them any more;
//! they stay so that a downgrade finds them.

use std::collections::BTreeSet;

use hone_api::CycleId;
use rusqlite::{Connection, params};

use crate::column::Id;
use crate::error::Result;

pub(crate) fn keys(connection: &Connection) -> Result<BTreeSet<String>> {
    let mut statement = connection.prepare_cached("SELECT key FROM holdout_keys")?;
    let keys = statement.query_map([], |row| row.get(0))?;
    Ok(keys.collect::<rusqlite::Result<_>>()?)
}

/// Keys that are in the ledger already keep the cycle that held them out first.
pub(crate) fn add(connection: &Connection, keys: &[String], cycle_id: CycleId) -> Result<()> {
    let mut statement = connection
        .prepare_cached("INSERT OR IGNORE INTO holdout_keys (key, cycle_id) VALUES (?1, ?2)")?;
    for key in keys {
        statement.execute(params![key, cycle_id.bytes()])?;
    }
    Ok(())
}
