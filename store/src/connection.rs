//! Opening the file: durability, waiting, migrations, and the pool of readers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use fail::fail_point;
use rusqlite::{Connection, OpenFlags, Transaction};
use rusqlite_migration::{M, MigrationDefinitionError, Migrations};
use tokio::sync::Semaphore;

use crate::chain;
use crate::error::{Error, Result};
use crate::presence::Presence;

pub(crate) static MIGRATIONS: LazyLock<Migrations<'static>> = LazyLock::new(|| {
    Migrations::new(vec![
        M::up(include_str!("../migrations/001_initial.sql")),
        M::up(include_str!("../migrations/002_sources_and_gate.sql")),
        M::up(include_str!("../migrations/003_keys.sql")),
        M::up_with_hook(
            include_str!("../migrations/004_audit_chain.sql"),
            |transaction: &Transaction<'_>| Ok(chain::bind_all(transaction)?),
        ),
        M::up(include_str!("../migrations/005_end_users.sql")),
        M::up(include_str!("../migrations/006_tools.sql")),
        M::up(include_str!("../migrations/007_replay.sql")),
        M::up(include_str!("../migrations/008_responses.sql")),
        M::up(include_str!("../migrations/009_cached_tokens.sql")),
    ])
});

/// How long a statement waits for another process's lock (a backup, an operator's shell).
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
const STATEMENT_CACHE: usize = 64;

/// Opens (or makes) the file for the writer: WAL, every commit fsynced, schema up to date.
pub(crate) fn open_writer(path: &Path) -> Result<Connection> {
    let fail = |error| Error::opening(error, path);
    let mut connection = Connection::open(path).map_err(fail)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(fail)?;
    connection
        .execute_batch(
            // FULL in WAL mode: fsync at each commit, so that an acknowledged row survives power
            // loss. secure_delete overwrites what is deleted with zeros.
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON;
             PRAGMA secure_delete = ON;
             PRAGMA journal_size_limit = 67108864;
             PRAGMA temp_store = MEMORY;",
        )
        .map_err(fail)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    quick_check(&connection, path)?;
    fail_point!("migrate.begin");
    MIGRATIONS.to_latest(&mut connection).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => Error::opening(err, path),
        rusqlite_migration::Error::MigrationDefinition(
            MigrationDefinitionError::DatabaseTooFarAhead,
        ) => Error::Newer { path: path.to_owned() },
        other => Error::Open { path: path.to_owned(), detail: other.to_string() },
    })?;
    fail_point!("migrate.end");
    Ok(connection)
}

/// Reads every page and its structure, but does not compare indexes with their tables: a fraction of a second
/// for 100 MB.
///
/// # Errors
/// [`Error::Corrupt`]
pub(crate) fn quick_check(connection: &Connection, path: &Path) -> Result<()> {
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| Error::opening(error, path))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(Error::Corrupt { path: path.to_owned(), detail: verdict.replace('\n', " ") })
}

pub(crate) fn open_reader(path: &Path) -> Result<Connection> {
    let fail = |error| Error::opening(error, path);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(fail)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    Ok(connection)
}

/// Read-only connections, opened when first needed. In WAL mode they never wait for the writer.
pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    at_most: u32,
    presence: Arc<Presence>,
}

impl Readers {
    pub(crate) fn new(path: &Path, at_most: u32, presence: Arc<Presence>) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_owned(),
            idle: Mutex::new(Vec::new()),
            permits: Arc::new(Semaphore::new(at_most as usize)),
            at_most,
            presence,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `query` on a blocking thread, inside one read transaction: it sees one state.
    pub(crate) async fn read<T, F>(self: &Arc<Self>, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Error::Closed)?;
        let readers = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match idle {
                Some(connection) => connection,
                None => {
                    // Not a stranger that lies there now.
                    readers.presence.check()?;
                    open_reader(&readers.path)?
                }
            };
            let result = {
                let transaction = connection.unchecked_transaction()?;
                query(&transaction)
            };
            // A connection whose query failed may be in any state: a new one is opened instead.
            if result.is_ok() {
                readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
            result
        })
        .await
        .map_err(|_| Error::Closed)?
    }

    /// Waits for the reads that run, refuses further ones and closes the connections.
    pub(crate) async fn close(&self) {
        let all = self.permits.acquire_many(self.at_most).await;
        self.permits.close();
        drop(all);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_valid() {
        MIGRATIONS.validate().unwrap();
    }

    #[test]
    fn a_database_from_before_is_taken_along() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hone.db");
        let mut old = Connection::open(&path).unwrap();
        MIGRATIONS.to_version(&mut old, 1).unwrap();
        old.execute_batch(
            "INSERT INTO interactions (id, created_at, endpoint, model, base_digest,
                 template_digest, messages, sampling, prompt_tokens, queue_ms, ttft_ms, total_ms,
                 metadata, stored, trainable)
             VALUES (zeroblob(16), 1, 'chat', 'hone', 'b', 't', '[]', '{}', x'', 0, 0, 0, '{}', 0, 1)",
        )
        .unwrap();
        drop(old);
        let connection = open_writer(&path).unwrap();
        for column in ["source", "adapter_digest", "grammar", "computed_by", "response"] {
            let sql = format!("SELECT {column} FROM interactions");
            let none: Option<String> = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
            assert_eq!(none, None, "{column}");
        }
    }

    #[test]
    fn an_audit_trail_from_before_becomes_a_chain() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hone.db");
        let mut old = Connection::open(&path).unwrap();
        MIGRATIONS.to_version(&mut old, 3).unwrap();
        for at in 1..=3 {
            let row = "INSERT INTO audit (at, actor, action, subject, reason, data)
                       VALUES (?1, 'operator', 'a', 's', 'r', '{\"p\":0.1}')";
            old.execute(row, [at]).unwrap();
        }
        drop(old);
        let unbound = crate::follow_trail(&path, None);
        assert!(matches!(unbound, Err(Error::Older { .. })), "{unbound:?}");
        let new = open_writer(&path).unwrap();
        assert_eq!(crate::follow_trail(&path, None).unwrap().rows, 3);
        let change = new.execute("UPDATE audit SET actor = 'nobody'", []).unwrap_err();
        assert!(change.to_string().contains("append only"), "{change}");
    }

    #[test]
    fn durability_is_switched_on() {
        let folder = tempfile::tempdir().unwrap();
        let connection = open_writer(&folder.path().join("hone.db")).unwrap();
        let pragma = |name: &str| -> String {
            connection
                .pragma_query_value(None, name, |row| {
                    row.get::<_, rusqlite::types::Value>(0).map(|value| format!("{value:?}"))
                })
                .unwrap()
        };
        assert_eq!(pragma("journal_mode"), r#"Text("wal")"#);
        assert_eq!(pragma("synchronous"), "Integer(2)");
        assert_eq!(pragma("foreign_keys"), "Integer(1)");
        assert_eq!(pragma("secure_delete"), "Integer(1)");
    }

    #[test]
    fn a_database_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hone.db");
        open_writer(&path).unwrap().pragma_update(None, "user_version", 999).unwrap();
        assert!(matches!(open_writer(&path), Err(Error::Newer { .. })));
    }

    #[test]
    fn a_file_that_is_no_database_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hone.db");
        std::fs::write(
            &path,
            b"this is a letter, not a database, and it is long enough".repeat(99),
        )
        .unwrap();
        let error = open_writer(&path).unwrap_err();
        assert!(matches!(&error, Error::Corrupt { path: named, .. } if *named == path), "{error}");
        assert!(error.to_string().contains("restore it from a backup"), "{error}");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = open_writer(Path::new("/nowhere/at/all/hone.db")).unwrap_err();
        assert!(matches!(error, Error::Open { .. }), "{error}");
    }
}
