//! Table `erasures`: what was removed for good, and what is left to remove.
//!
//! The rows of the log go in the commit that writes the erasure down; what lies in files goes after it.
//! So an erasure that a kill has cut off is found unfinished at the next start, and is brought to its end.

use std::collections::BTreeSet;

use fail::fail_point;
use hone_api::erasure::{ErasureView, Subject};
use hone_api::{ErasureId, InteractionId, UnixMillis};
use rusqlite::{Connection, Row, params};

use crate::column::{self, Id};
use crate::error::Result;
use crate::{AuditEntry, Store, audit};

/// How often the log is asked to give up the images of what was deleted; a long read may hold on to them.
const SCRUBS: usize = 20;

/// A removal of somebody's traces.
#[derive(Debug, Clone, PartialEq)]
pub struct Erasure {
    /// Its id.
    pub id: ErasureId,
    /// When it was asked for.
    pub at: UnixMillis,
    /// Whose traces.
    pub subject: Subject,
    /// Interactions whose examples must not teach any more: those of the subject, and those of others that the
    /// subject said something of.
    pub touched: BTreeSet<InteractionId>,
    /// Interactions that were deleted.
    pub interactions: u32,
    /// Feedback items that were deleted.
    pub feedback: u32,
    /// What was removed; `None`: not all is removed yet.
    pub receipt: Option<ErasureView>,
}

impl Erasure {
    /// One that was not begun.
    #[must_use]
    pub fn of(subject: Subject, at: UnixMillis) -> Self {
        Self {
            id: ErasureId::new(),
            at,
            subject,
            touched: BTreeSet::new(),
            interactions: 0,
            feedback: 0,
            receipt: None,
        }
    }
}

impl Store {
    /// What there is of a subject, as an erasure would remove it.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn traces(&self, subject: Subject) -> Result<Erasure> {
        let erasure = Erasure::of(subject, UnixMillis(0));
        self.readers.read(move |c| find(c, erasure)).await
    }

    /// Deletes what the log has of a subject, overwrites its bytes in the files, and notes the erasure as begun.
    /// `None`: there was nothing.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn begin_erasure(&self, erasure: Erasure) -> Result<Option<Erasure>> {
        let begun = self.writer.write(move |c| begin(c, erasure)).await?;
        if begun.is_some() {
            self.scrub().await?;
        }
        Ok(begun)
    }

    /// Notes that all is removed, and tells the audit trail.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn finish_erasure(&self, receipt: ErasureView, entry: AuditEntry) -> Result<()> {
        let finish = move |c: &Connection| {
            finish(c, &receipt)?;
            audit::append(c, &entry)
        };
        self.writer.write(finish).await?;
        // The words of groups were taken out of cycles in between.
        self.scrub().await
    }

    /// All erasures, oldest first.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn erasures(&self) -> Result<Vec<Erasure>> {
        self.readers.read(list).await
    }

    async fn scrub(&self) -> Result<()> {
        for _ in 0..SCRUBS {
            if self.writer.scrub().await? {
                break;
            }
        }
        Ok(())
    }
}

fn find(connection: &Connection, mut erasure: Erasure) -> Result<Erasure> {
    let (own, said) = match &erasure.subject {
        Subject::Interaction(id) => (vec![*id], Vec::new()),
        Subject::User(hash) => (
            ids(connection, "SELECT id FROM interactions WHERE end_user = ?1", hash)?,
            ids(connection, "SELECT inference_id FROM feedback WHERE end_user = ?1", hash)?,
        ),
    };
    let (mut interactions, mut feedback) = (0_u32, 0_u32);
    let mut there = connection.prepare_cached("SELECT 1 FROM interactions WHERE id = ?1")?;
    let mut of_it =
        connection.prepare_cached("SELECT count(*) FROM feedback WHERE inference_id = ?1")?;
    for id in &own {
        interactions += u32::from(there.exists(params![id.bytes()])?);
        feedback += of_it.query_row(params![id.bytes()], |row| row.get::<_, u32>(0))?;
    }
    let own: BTreeSet<InteractionId> = own.into_iter().collect();
    feedback += said.iter().filter(|id| !own.contains(id)).map(|_| 1).sum::<u32>();
    erasure.touched = own.into_iter().chain(said).collect();
    Ok(Erasure { interactions, feedback, ..erasure })
}

fn begin(connection: &Connection, erasure: Erasure) -> Result<Option<Erasure>> {
    let erasure = find(connection, erasure)?;
    if erasure.interactions + erasure.feedback == 0 {
        return Ok(None);
    }
    let delete = |sql: &str, id: &InteractionId| -> Result<()> {
        connection.prepare_cached(sql)?.execute(params![id.bytes()])?;
        Ok(())
    };
    let own = match &erasure.subject {
        Subject::Interaction(id) => vec![*id],
        Subject::User(hash) => {
            let own = ids(connection, "SELECT id FROM interactions WHERE end_user = ?1", hash)?;
            connection
                .prepare_cached("DELETE FROM feedback WHERE end_user = ?1")?
                .execute(params![hash])?;
            own
        }
    };
    for id in &own {
        delete("DELETE FROM feedback WHERE inference_id = ?1", id)?;
        delete("DELETE FROM interactions WHERE id = ?1", id)?;
        fail_point!("erase.row");
    }
    // Hashes of prompts that older versions held out; nothing reads them.
    connection.prepare_cached("DELETE FROM holdout_keys")?.execute([])?;
    connection
        .prepare_cached(
            "INSERT INTO erasures (id, at, subject, touched, interactions, feedback)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            erasure.id.bytes(),
            erasure.at.0,
            column::to_json("subject", &erasure.subject)?,
            column::to_json("touched", &erasure.touched)?,
            erasure.interactions,
            erasure.feedback,
        ])?;
    Ok(Some(erasure))
}

fn finish(connection: &Connection, receipt: &ErasureView) -> Result<()> {
    connection
        .prepare_cached("UPDATE erasures SET receipt = ?2 WHERE id = ?1")?
        .execute(params![receipt.id.bytes(), column::to_json("receipt", receipt)?])?;
    Ok(())
}

fn list(connection: &Connection) -> Result<Vec<Erasure>> {
    let mut statement = connection.prepare_cached("SELECT * FROM erasures ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

fn read(row: &Row<'_>) -> Result<Erasure> {
    let receipt: Option<String> = row.get("receipt")?;
    let parse = |text: String| serde_json::from_str(&text);
    Ok(Erasure {
        id: column::id(row, "id")?,
        at: column::instant(row, "at")?,
        subject: column::json(row, "subject")?,
        touched: column::json(row, "touched")?,
        interactions: row.get("interactions")?,
        feedback: row.get("feedback")?,
        receipt: receipt
            .map(parse)
            .transpose()
            .map_err(|error| crate::Error::value("receipt", error))?,
    })
}

fn ids(connection: &Connection, sql: &str, value: &str) -> Result<Vec<InteractionId>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![value], |row| row.get::<_, [u8; 16]>(0))?;
    let mut found = Vec::new();
    for bytes in rows {
        found.push(InteractionId::of(bytes?));
    }
    Ok(found)
}
