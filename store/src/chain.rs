//! The audit trail as a chain: each row is bound to the one before it, so that a row that was changed or
//! taken out later is found.
//!
//! A row's hash is the BLAKE3 of the hash before (in hex) and of the row's content. What it cannot tell is
//! whether rows are missing at the end: that is what [`crate::head`] and a head noted elsewhere are for.

use hone_api::audit::AuditView;
use rusqlite::{Connection, params};

use crate::error::{Error, Result};

/// The first version of the schema with a chain.
pub(crate) const SINCE: i64 = 4;

/// What the first row stands on.
const BEGINNING: [u8; 32] = [0; 32];

/// The newest row of the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its number; 0: there is no row.
    pub(crate) sequence: u64,
    /// Its hash.
    pub(crate) hash: [u8; 32],
}

impl Head {
    pub(crate) fn of(connection: &Connection) -> Result<Self> {
        let mut statement = connection
            .prepare_cached("SELECT sequence, hash FROM audit ORDER BY sequence DESC LIMIT 1")?;
        let mut rows = statement.query([])?;
        Ok(match rows.next()? {
            Some(row) => Self { sequence: number(row.get("sequence")?), hash: row.get("hash")? },
            None => Self { sequence: 0, hash: BEGINNING },
        })
    }
}

/// A row as its hash covers it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content<'a> {
    pub(crate) sequence: u64,
    pub(crate) at: i64,
    pub(crate) actor: &'a str,
    pub(crate) action: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) reason: &'a str,
    /// JSON, to the letter as it is stored.
    pub(crate) data: &'a str,
}

impl Content<'_> {
    /// One JSON object.
    pub(crate) fn text(&self) -> String {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        format!(
            r#"{{"sequence":{},"at":{},"actor":{},"action":{},"subject":{},"reason":{},"data":{}}}"#,
            self.sequence,
            self.at,
            text(self.actor),
            text(self.action),
            text(self.subject),
            text(self.reason),
            self.data
        )
    }
}

/// The hash of a row behind another.
pub(crate) fn bind(previous: &[u8; 32], content: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(hex(previous).as_bytes());
    hasher.update(content.as_bytes());
    *hasher.finalize().as_bytes()
}

pub(crate) fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

pub(crate) fn number(sequence: i64) -> u64 {
    u64::try_from(sequence).unwrap_or(0)
}

/// Binds the rows of a database from before there was a chain.
pub(crate) fn bind_all(connection: &Connection) -> rusqlite::Result<()> {
    let mut all = connection.prepare("SELECT * FROM audit ORDER BY sequence")?;
    let mut rows = all.query([])?;
    let mut set = connection.prepare("UPDATE audit SET hash = ?2 WHERE sequence = ?1")?;
    let mut previous = BEGINNING;
    while let Some(row) = rows.next()? {
        let sequence: i64 = row.get("sequence")?;
        let content = Content {
            sequence: number(sequence),
            at: row.get("at")?,
            actor: row.get_ref("actor")?.as_str()?,
            action: row.get_ref("action")?.as_str()?,
            subject: row.get_ref("subject")?.as_str()?,
            reason: row.get_ref("reason")?.as_str()?,
            data: row.get_ref("data")?.as_str()?,
        };
        previous = bind(&previous, &content.text());
        set.execute(params![sequence, previous])?;
    }
    connection.execute_batch(
        "CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
         BEGIN SELECT raise(ABORT, 'the audit trail is append only'); END;",
    )
}

/// Follows the trail from its first row on, and tells where it is broken.
#[derive(Debug, Clone)]
pub struct Chain {
    last: Head,
    looked_for: Option<String>,
}

impl Chain {
    /// At the beginning. `head`: the hash of a row that must be met on the way, in hex.
    #[must_use]
    pub fn new(head: Option<&str>) -> Self {
        let looked_for = head.map(|head| head.trim().to_ascii_lowercase());
        Self { last: Head { sequence: 0, hash: BEGINNING }, looked_for }
    }

    /// Goes on to the next row.
    ///
    /// # Errors
    /// [`Error::BrokenChain`]: rows are missing before it, or it or the one before it was changed.
    pub fn follow(&mut self, row: &AuditView) -> Result<()> {
        let expected = self.last.sequence + 1;
        if row.sequence != expected {
            let detail = match row.sequence.checked_sub(1) {
                Some(last) if last == expected => format!("row {expected} is missing"),
                Some(last) if last > expected => format!("rows {expected} to {last} are missing"),
                _ => format!("row {} stands where row {expected} belongs", row.sequence),
            };
            return Err(Error::BrokenChain { sequence: expected, detail });
        }
        let hash = bind(&self.last.hash, &row.content);
        if row.previous != hex(&self.last.hash) || row.hash != hex(&hash) || !says_the_same(row) {
            let detail = format!(
                "row {expected} ({} {} by {}) does not fit its hash: it was changed after it was \
                 written, or the row before it was put in its place later",
                row.action, row.subject, row.actor
            );
            return Err(Error::BrokenChain { sequence: expected, detail });
        }
        if self.looked_for.as_deref() == Some(&row.hash) {
            self.looked_for = None;
        }
        self.last = Head { sequence: expected, hash };
        Ok(())
    }

    /// Ends behind the last row: how many there are, and the hash of the last one in hex.
    ///
    /// # Errors
    /// [`Error::HeadNotFound`] if the head that was looked for was not met.
    pub fn end(self) -> Result<(u64, String)> {
        match self.looked_for {
            Some(head) => Err(Error::HeadNotFound { head, rows: self.last.sequence }),
            None => Ok((self.last.sequence, hex(&self.last.hash))),
        }
    }
}

/// Whether the text under the hash says what the fields beside it say.
fn says_the_same(row: &AuditView) -> bool {
    let fields = serde_json::json!({
        "sequence": row.sequence, "at": row.at, "actor": row.actor, "action": row.action,
        "subject": row.subject, "reason": row.reason, "data": row.data,
    });
    serde_json::from_str::<serde_json::Value>(&row.content).is_ok_and(|content| content == fields)
}
