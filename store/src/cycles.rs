//! Tables `cycles` and `cycle_events`: where each cycle stands, so that a restart goes on there.

use hone_api::cycle::{CycleEvent, CycleView};
use hone_api::{CycleId, UnixMillis};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::column::{self, Id};
use crate::error::{Error, Result, is_taken};
use crate::page::{Order, Page};
use crate::{AuditEntry, Store, audit};

impl Store {
    /// Stores a new cycle together with the row of the audit trail that says who asked for it: a kill leaves both or
    /// neither.
    ///
    /// # Errors
    /// [`Error::Duplicate`] if the id is taken, and those of the disk; nothing is written then.
    pub async fn insert_asked_cycle(&self, cycle: CycleView, entry: AuditEntry) -> Result<()> {
        self.writer
            .write(move |c| {
                insert(c, &cycle)?;
                audit::append(c, &entry)
            })
            .await
    }
}

pub(crate) fn insert(connection: &Connection, cycle: &CycleView) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO cycles (id, status, started_by, step, verdict, reason, snapshot, candidate,
                 champion, outcomes, created_at, finished_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )
        .map_err(Error::from)
        .and_then(|mut statement| execute(&mut statement, cycle))
        .map(|_| ())
}

/// Writes all of the cycle's columns.
pub(crate) fn update(connection: &Connection, cycle: &CycleView) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "UPDATE cycles SET status = ?2, started_by = ?3, step = ?4, verdict = ?5, reason = ?6,
             snapshot = ?7, candidate = ?8, champion = ?9, outcomes = ?10, created_at = ?11,
             finished_at = ?12
         WHERE id = ?1",
    )?;
    if execute(&mut statement, cycle)? == 0 { Err(Error::UnknownCycle(cycle.id)) } else { Ok(()) }
}

fn execute(statement: &mut rusqlite::Statement<'_>, cycle: &CycleView) -> Result<usize> {
    statement
        .execute(params![
            cycle.id.bytes(),
            column::to_word("status", &cycle.status)?,
            column::to_word("started_by", &cycle.trigger)?,
            column::to_word("step", &cycle.step)?,
            cycle.verdict.as_ref().map(|it| column::to_word("verdict", it)).transpose()?,
            cycle.reason,
            cycle.snapshot,
            cycle.candidate.map(Id::bytes),
            cycle.champion.map(Id::bytes),
            column::to_json("outcomes", &cycle.outcomes)?,
            cycle.created_at.0,
            cycle.finished_at.map(|at| at.0),
        ])
        .map_err(|error| {
            if is_taken(&error) { Error::Duplicate(cycle.id.to_string()) } else { error.into() }
        })
}

pub(crate) fn get(connection: &Connection, id: CycleId) -> Result<Option<CycleView>> {
    connection
        .prepare_cached("SELECT * FROM cycles WHERE id = ?1")?
        .query_row(params![id.bytes()], |row| Ok(read(row)))
        .optional()?
        .transpose()
}

/// By age, behind `after`.
pub(crate) fn list(
    connection: &Connection,
    after: Option<CycleId>,
    limit: usize,
    order: Order,
) -> Result<Page<CycleView>> {
    let mut statement = connection.prepare_cached(match order {
        Order::Ascending => "SELECT * FROM cycles WHERE id > ?1 ORDER BY id LIMIT ?2",
        Order::Descending => "SELECT * FROM cycles WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
    })?;
    Page::of_ids(&mut statement, after.map(Id::bytes), limit, order, read)
}

/// Queued and running ones, oldest first.
pub(crate) fn unfinished(connection: &Connection) -> Result<Vec<CycleView>> {
    let mut statement = connection
        .prepare_cached("SELECT * FROM cycles WHERE status IN ('queued', 'running') ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Gives the event the cycle's next sequence number and stores it.
pub(crate) fn append_event(connection: &Connection, mut event: CycleEvent) -> Result<CycleEvent> {
    let key = event.cycle_id.bytes();
    if !connection.prepare_cached("SELECT 1 FROM cycles WHERE id = ?1")?.exists(params![key])? {
        return Err(Error::UnknownCycle(event.cycle_id));
    }
    let sequence: i64 = connection
        .prepare_cached(
            "INSERT INTO cycle_events (cycle_id, sequence, at, step, kind, message, data)
             VALUES (?1, (SELECT coalesce(max(sequence), 0) + 1 FROM cycle_events
                          WHERE cycle_id = ?1), ?2, ?3, ?4, ?5, ?6)
             RETURNING sequence",
        )?
        .query_row(
            params![
                key,
                event.at.0,
                column::to_word("step", &event.step)?,
                event.kind,
                event.message,
                column::to_json("data", &event.data)?,
            ],
            |row| row.get(0),
        )?;
    event.sequence = u64::try_from(sequence).unwrap_or(0);
    Ok(event)
}

pub(crate) fn events(
    connection: &Connection,
    cycle_id: CycleId,
    after_sequence: u64,
) -> Result<Vec<CycleEvent>> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM cycle_events WHERE cycle_id = ?1 AND sequence > ?2 ORDER BY sequence",
    )?;
    let after = i64::try_from(after_sequence).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![cycle_id.bytes(), after])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(CycleEvent {
            cycle_id,
            sequence: u64::try_from(row.get::<_, i64>("sequence")?).unwrap_or(0),
            at: column::instant(row, "at")?,
            step: column::word(row, "step")?,
            kind: row.get("kind")?,
            message: row.get("message")?,
            data: column::json(row, "data")?,
        });
    }
    Ok(found)
}

fn read(row: &Row<'_>) -> Result<CycleView> {
    Ok(CycleView {
        id: column::id(row, "id")?,
        object: "cycle".to_owned(),
        status: column::word(row, "status")?,
        trigger: column::word(row, "started_by")?,
        step: column::word(row, "step")?,
        verdict: column::optional_word(row, "verdict")?,
        reason: row.get("reason")?,
        snapshot: row.get("snapshot")?,
        candidate: column::optional_id(row, "candidate")?,
        champion: column::optional_id(row, "champion")?,
        outcomes: column::json(row, "outcomes")?,
        created_at: column::instant(row, "created_at")?,
        finished_at: row.get::<_, Option<i64>>("finished_at")?.map(UnixMillis),
    })
}
