//! Table `audit`: one row for each change of state, never altered.

use hone_api::UnixMillis;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use crate::column;
use crate::error::Result;

/// Who did what to what, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub at: UnixMillis,
    /// Who: `daemon`, `schedule`, or an API key's id.
    pub actor: String,
    /// What was done, e.g. `adapter.promoted`.
    pub action: String,
    /// To what: an id.
    pub subject: String,
    /// Why, in words.
    pub reason: String,
    /// Digests, scores, the states before and after.
    #[serde(default)]
    pub data: serde_json::Value,
}

pub(crate) fn append(connection: &Connection, entry: &AuditEntry) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO audit (at, actor, action, subject, reason, data)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            entry.at.0,
            entry.actor,
            entry.action,
            entry.subject,
            entry.reason,
            column::to_json("data", &entry.data)?,
        ])?;
    Ok(())
}

/// The last `limit` entries, newest first.
pub(crate) fn list(connection: &Connection, limit: usize) -> Result<Vec<AuditEntry>> {
    let mut statement =
        connection.prepare_cached("SELECT * FROM audit ORDER BY sequence DESC LIMIT ?1")?;
    let mut rows = statement.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(AuditEntry {
            at: column::instant(row, "at")?,
            actor: row.get("actor")?,
            action: row.get("action")?,
            subject: row.get("subject")?,
            reason: row.get("reason")?,
            data: column::json(row, "data")?,
        });
    }
    Ok(found)
}
