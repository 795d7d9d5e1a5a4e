//! Table `audit`: one row for each change of state, never altered, each bound to the one before it.

use std::path::Path;

use hone_api::UnixMillis;
use hone_api::audit::AuditView;
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use crate::chain::{self, Chain, Content, Head};
use crate::error::Result;
use crate::{Error, Order, Page, Store, column, connection, head};

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

impl AuditEntry {
    /// A row of now, without figures.
    #[must_use]
    pub fn now(actor: String, action: &str, subject: impl ToString, reason: &str) -> Self {
        Self {
            at: UnixMillis::now(),
            actor,
            action: action.to_owned(),
            subject: subject.to_string(),
            reason: reason.to_owned(),
            data: serde_json::json!({}),
        }
    }
}

/// An audit trail that was followed from its first row to its last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowedTrail {
    /// Its rows.
    pub rows: u64,
    /// The hash of the last one, in hex: what to note elsewhere.
    pub head: String,
}

impl Store {
    /// Adds a row to the audit trail, which has no other way to change.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn append_audit(&self, entry: AuditEntry) -> Result<()> {
        self.writer.write(move |c| append(c, &entry)).await
    }

    /// The same, unless there is a row of this action about this subject: for what a kill has repeated.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn append_audit_once(&self, entry: AuditEntry) -> Result<()> {
        self.writer
            .write(move |c| {
                let is_told = c
                    .prepare_cached("SELECT 1 FROM audit WHERE subject = ?1 AND action = ?2")?
                    .exists(params![entry.subject, entry.action])?;
                if is_told { Ok(()) } else { append(c, &entry) }
            })
            .await
    }

    /// Whether the audit trail says anything about a subject.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn is_in_trail(&self, subject: String) -> Result<bool> {
        let sql = "SELECT 1 FROM audit WHERE subject = ?1";
        self.readers.read(move |c| Ok(c.prepare_cached(sql)?.exists([subject])?)).await
    }

    /// The last `limit` rows of the audit trail, newest first.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn audit(&self, limit: usize) -> Result<Vec<AuditEntry>> {
        let page = self.audit_page(None, limit, Order::Descending).await?;
        let entry = |row: AuditView| AuditEntry {
            at: row.at,
            actor: row.actor,
            action: row.action,
            subject: row.subject,
            reason: row.reason,
            data: row.data,
        };
        Ok(page.items.into_iter().map(entry).collect())
    }

    /// A page of the audit trail behind the row of this number.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn audit_page(
        &self,
        after: Option<u64>,
        limit: usize,
        order: Order,
    ) -> Result<Page<AuditView>> {
        self.readers.read(move |c| page(c, after, limit, order)).await
    }
}

/// Follows the audit trail of a database, which a daemon may be using, from its first row to its last, and
/// compares it with the head that is noted beside the file. `head`: the hash of a row that must be in it.
///
/// # Errors
/// [`Error::BrokenChain`], [`Error::HeadNotFound`], [`Error::Older`]; those of the disk.
pub fn follow_trail(path: &Path, head: Option<&str>) -> Result<FollowedTrail> {
    let connection = connection::open_reader(path)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < chain::SINCE {
        return Err(Error::Older { path: path.to_owned() });
    }
    let transaction = connection.unchecked_transaction()?;
    // Before the rows: the head is written after its row, so it must be among those that are there now.
    let noted = head::read(path)?;
    let mut chain = Chain::new(head);
    let mut statement = transaction.prepare("SELECT * FROM audit ORDER BY sequence")?;
    let mut rows = statement.query([])?;
    let mut previous = [0; 32];
    let mut meets_noted = false;
    while let Some(row) = rows.next()? {
        let view = view(row, &previous)?;
        chain.follow(&view)?;
        previous = row.get("hash")?;
        meets_noted |=
            noted.is_some_and(|noted| noted == Head { sequence: view.sequence, hash: previous });
    }
    let (rows, head) = chain.end()?;
    match noted {
        Some(noted) if noted.sequence > 0 && !meets_noted => Err(head::lost(noted, rows)),
        _ => Ok(FollowedTrail { rows, head }),
    }
}

pub(crate) fn append(connection: &Connection, entry: &AuditEntry) -> Result<()> {
    let head = Head::of(connection)?;
    // SQLite remembers the largest number that there ever was. Who took the last rows away leaves a gap.
    let largest: i64 = connection
        .prepare_cached(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'audit'), 0)",
        )?
        .query_row([], |row| row.get(0))?;
    let sequence = head.sequence.max(chain::number(largest)) + 1;
    let data = column::to_json("data", &entry.data)?;
    let content = Content {
        sequence,
        at: entry.at.0,
        actor: &entry.actor,
        action: &entry.action,
        subject: &entry.subject,
        reason: &entry.reason,
        data: &data,
    };
    connection
        .prepare_cached(
            "INSERT INTO audit (sequence, at, actor, action, subject, reason, data, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            i64::try_from(sequence).map_err(|error| Error::value("sequence", error))?,
            content.at,
            content.actor,
            content.action,
            content.subject,
            content.reason,
            content.data,
            chain::bind(&head.hash, &content.text()),
        ])?;
    Ok(())
}

fn page(
    connection: &Connection,
    after: Option<u64>,
    limit: usize,
    order: Order,
) -> Result<Page<AuditView>> {
    const BEFORE: &str = "(SELECT hash FROM audit AS b WHERE b.sequence < audit.sequence
                           ORDER BY b.sequence DESC LIMIT 1) AS before";
    let sql = match order {
        Order::Ascending => {
            format!("SELECT *, {BEFORE} FROM audit WHERE sequence > ?1 ORDER BY sequence LIMIT ?2")
        }
        Order::Descending => format!(
            "SELECT *, {BEFORE} FROM audit WHERE sequence < ?1 ORDER BY sequence DESC LIMIT ?2"
        ),
    };
    let beginning = match order {
        Order::Ascending => 0,
        Order::Descending => i64::MAX,
    };
    let after = after.map_or(beginning, |after| i64::try_from(after).unwrap_or(i64::MAX));
    let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![after, one_more])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let before: Option<[u8; 32]> = row.get("before")?;
        found.push(view(row, &before.unwrap_or_default())?);
    }
    Ok(Page::cut(found, limit))
}

fn view(row: &Row<'_>, previous: &[u8; 32]) -> Result<AuditView> {
    let data = row.get_ref("data")?.as_str().map_err(|error| Error::value("data", error))?;
    let (actor, action): (String, String) = (row.get("actor")?, row.get("action")?);
    let (subject, reason): (String, String) = (row.get("subject")?, row.get("reason")?);
    let (sequence, at) = (chain::number(row.get("sequence")?), row.get("at")?);
    let content = Content {
        sequence,
        at,
        actor: &actor,
        action: &action,
        subject: &subject,
        reason: &reason,
        data,
    };
    let content = content.text();
    Ok(AuditView {
        object: "audit.row".to_owned(),
        sequence,
        at: UnixMillis(at),
        // What somebody has broken by hand is shown as the text that it is.
        data: serde_json::from_str(data).unwrap_or_else(|_| data.into()),
        actor,
        action,
        subject,
        reason,
        content,
        previous: chain::hex(previous),
        hash: chain::hex(&row.get("hash")?),
    })
}
