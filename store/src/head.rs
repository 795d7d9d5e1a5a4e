//! `audit.head`, beside the database: how far the audit trail has come.
//!
//! A chain cannot tell that its last rows are gone. Whoever cuts them out of the database finds this file
//! to contradict them; whoever can also write here is found only by a head that was noted on another
//! machine (`hone audit verify --head`). It is written after the commit of its row, so it may lag behind
//! after a kill, but is never ahead.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension};

use crate::chain::{self, Head};
use crate::error::{Error, Result};

/// The file beside the database.
pub(crate) fn path(database: &Path) -> PathBuf {
    database.with_file_name("audit.head")
}

/// The head that is noted beside a database; `None`: none is.
pub(crate) fn read(database: &Path) -> Result<Option<Head>> {
    let path = path(database);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::AuditHead { path, detail: error.to_string() }),
    };
    let head = text.trim().split_once(' ').and_then(|(sequence, hash)| {
        let hash = blake3::Hash::from_hex(hash).ok()?;
        Some(Head { sequence: sequence.parse().ok()?, hash: *hash.as_bytes() })
    });
    let broken = || Error::AuditHead { path, detail: "it is no row's number and hash".to_owned() };
    head.map(Some).ok_or_else(broken)
}

/// Rows are gone that were there.
pub(crate) fn lost(noted: Head, rows: u64) -> Error {
    let detail = format!(
        "row {} with the hash {} was written, as audit.head notes, but the trail of {rows} rows does not \
         have it: its end was cut off, or it is another trail",
        noted.sequence,
        chain::hex(&noted.hash)
    );
    Error::BrokenChain { sequence: noted.sequence, detail }
}

/// The noted head of a database that is written to.
#[derive(Debug)]
pub(crate) struct Noted {
    path: PathBuf,
    /// What the file says; `None`: it is left alone, because it contradicts the trail.
    now: Option<Head>,
}

impl Noted {
    /// Compares what is noted with the trail. A file that contradicts it stays as it is, for whoever
    /// looks into the matter.
    pub(crate) fn open(database: &Path, connection: &Connection) -> Result<Self> {
        let path = path(database);
        let none = Head { sequence: 0, hash: [0; 32] };
        let now = match read(database) {
            Ok(None) => Some(none),
            Ok(Some(noted)) if noted == none || is_in_trail(connection, noted)? => Some(noted),
            Ok(Some(noted)) => {
                tracing::error!("{}", lost(noted, Head::of(connection)?.sequence));
                None
            }
            Err(error) => {
                tracing::error!(%error, "how far the audit trail came is not noted any more");
                None
            }
        };
        let mut noted = Self { path, now };
        noted.follow(Head::of(connection)?);
        Ok(noted)
    }

    /// Notes how far the trail is now.
    pub(crate) fn look(&mut self, connection: &Connection) {
        match Head::of(connection) {
            Ok(head) => self.follow(head),
            Err(error) => tracing::warn!(%error, "the audit trail's head cannot be read"),
        }
    }

    fn follow(&mut self, head: Head) {
        let Some(now) = self.now.filter(|now| *now != head) else { return };
        match write(&self.path, head) {
            Ok(()) => self.now = Some(head),
            Err(error) => tracing::warn!(
                %error, noted = now.sequence, "how far the audit trail came is not noted; the next row tries again"
            ),
        }
    }
}

fn is_in_trail(connection: &Connection, head: Head) -> Result<bool> {
    let Ok(sequence) = i64::try_from(head.sequence) else { return Ok(false) };
    let hash: Option<[u8; 32]> = connection
        .query_row("SELECT hash FROM audit WHERE sequence = ?1", [sequence], |row| row.get(0))
        .optional()?;
    Ok(hash == Some(head.hash))
}

fn write(path: &Path, head: Head) -> io::Result<()> {
    let line = format!("{} {}\n", head.sequence, chain::hex(&head.hash));
    hone_durable::replace(path, line.as_bytes())
}
