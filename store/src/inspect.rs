//! A database seen from beside its daemon: copied whole, or checked from end to end. Nothing is written to it.

use std::fs::File;
use std::path::Path;

use rusqlite::Connection;
use rusqlite_migration::SchemaVersion;

use crate::connection::{MIGRATIONS, open_reader};
use crate::error::{Error, Result};

/// Copies a database into a file that is not there yet, as it is at one instant; its daemon goes on meanwhile.
/// The copy has no free pages, so nothing in it is left of what was deleted.
///
/// # Errors
/// Those of either disk; what there is of the copy is to be deleted then.
pub fn copy(database: &Path, to: &Path) -> Result<()> {
    let connection = open_reader(database)?;
    let name = to.to_string_lossy();
    connection.execute("VACUUM INTO ?1", [&name])?;
    let synced = File::open(to).and_then(|file| file.sync_all());
    synced.map_err(|error| Error::Open { path: to.to_owned(), detail: error.to_string() })
}

/// Reads a whole database, compares its tables with its indexes and its rows with each other.
///
/// # Errors
/// [`Error::Corrupt`] with the first thing that is wrong, [`Error::Newer`], [`Error::Open`].
pub fn inspect(database: &Path) -> Result<()> {
    let connection = open_reader(database)?;
    let corrupt = |detail: String| Error::Corrupt { path: database.to_owned(), detail };
    let check = |connection: &Connection| -> rusqlite::Result<Option<String>> {
        let verdict: String =
            connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Ok(Some(verdict));
        }
        let mut orphans = connection.prepare("PRAGMA foreign_key_check")?;
        let orphan = orphans.query_map([], |row| row.get::<_, String>(0))?.next().transpose()?;
        Ok(orphan.map(|table| format!("a row of {table} belongs to one that is not there")))
    };
    let wrong = check(&connection).map_err(|error| Error::opening(error, database))?;
    if let Some(detail) = wrong {
        return Err(corrupt(detail.replace('\n', " ")));
    }
    match MIGRATIONS.current_version(&connection) {
        Ok(SchemaVersion::Outside(_)) => Err(Error::Newer { path: database.to_owned() }),
        Ok(_) => Ok(()),
        Err(error) => Err(corrupt(error.to_string())),
    }
}
