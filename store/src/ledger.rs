//! Table `gate_ledger`: one row for each test of the gate, over all cycles.

use hone_api::{CycleId, UnixMillis};
use rusqlite::{Connection, params};

use crate::column::{self, Id};
use crate::error::Result;

/// One test of the gate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GateTest {
    /// The cycle that was decided about. It counts once.
    pub cycle_id: CycleId,
    /// When.
    pub at: UnixMillis,
    /// The level that was staked on it.
    pub alpha: f64,
    /// How likely the result is by chance.
    pub p: f64,
    /// Whether the candidate was let through.
    pub promoted: bool,
}

/// A cycle that decides again after a kill replaces what it had written.
pub(crate) fn record(connection: &Connection, test: &GateTest) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO gate_ledger (cycle_id, at, alpha, p, promoted)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![test.cycle_id.bytes(), test.at.0, test.alpha, test.p, test.promoted])?;
    Ok(())
}

/// All of them in order of time.
pub(crate) fn list(connection: &Connection) -> Result<Vec<GateTest>> {
    let mut statement =
        connection.prepare_cached("SELECT * FROM gate_ledger ORDER BY at, cycle_id")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(GateTest {
            cycle_id: column::id(row, "cycle_id")?,
            at: column::instant(row, "at")?,
            alpha: row.get("alpha")?,
            p: row.get("p")?,
            promoted: row.get("promoted")?,
        });
    }
    Ok(found)
}
