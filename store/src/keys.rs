//! Table `keys`: who may call. Of each secret only a hash is kept.

use hone_api::UnixMillis;
use hone_api::key::{KeyView, Scope};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::{Error, Result, is_taken};
use crate::{AuditEntry, Store, audit, column};

/// A key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// What is told of it.
    pub view: KeyView,
    /// The hash of its secret.
    pub secret_hash: [u8; 32],
}

impl Store {
    /// Stores a new key, and that it was made.
    ///
    /// # Errors
    /// [`Error::FirstKey`] if it is the first one and may make no others, [`Error::Duplicate`] if its id
    /// is taken, and those of the disk.
    pub async fn insert_key(&self, key: StoredKey, entry: AuditEntry) -> Result<()> {
        self.writer
            .write(move |c| {
                insert(c, &key)?;
                audit::append(c, &entry)
            })
            .await
    }

    /// Ends a key, and tells that it was ended. One that was revoked before stays as it is, and leaves
    /// no second trace.
    ///
    /// # Errors
    /// [`Error::UnknownKey`], [`Error::LastAdminKey`] if nobody could make another, and those of the disk.
    pub async fn revoke_key(
        &self,
        id: &str,
        now: UnixMillis,
        entry: AuditEntry,
    ) -> Result<KeyView> {
        let id = id.to_owned();
        self.writer
            .write(move |c| {
                let (view, changed) = revoke(c, &id, now)?;
                if changed {
                    audit::append(c, &entry)?;
                }
                Ok(view)
            })
            .await
    }

    /// Tells of each key whose time has run out since, once.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn note_expired_keys(&self, now: UnixMillis) -> Result<()> {
        // Most of the time there is none, and a look costs the writer nothing.
        if self.readers.read(move |c| expired(c, now)).await?.is_empty() {
            return Ok(());
        }
        self.writer
            .write(move |c| {
                for id in expired(c, now)? {
                    let actor = "daemon".to_owned();
                    let entry = AuditEntry::now(actor, EXPIRED, id, "its time has run out");
                    audit::append(c, &entry)?;
                }
                Ok(())
            })
            .await
    }

    /// All keys that were ever made, the oldest first.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn keys(&self) -> Result<Vec<StoredKey>> {
        self.readers.read(list).await
    }
}

/// The audit action of a key whose time has run out.
const EXPIRED: &str = "key.expired";

/// Keys whose time has run out, of which the audit trail does not tell so yet.
fn expired(connection: &Connection, now: UnixMillis) -> Result<Vec<String>> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM keys WHERE expires_at <= ?1 AND revoked_at IS NULL
             AND NOT EXISTS (SELECT 1 FROM audit WHERE action = ?2 AND subject = keys.id)
         ORDER BY expires_at",
    )?;
    let ids = statement.query_map(params![now.0, EXPIRED], |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

fn insert(connection: &Connection, key: &StoredKey) -> Result<()> {
    let view = &key.view;
    if !view.may(Scope::Admin) && count(connection)? == 0 {
        return Err(Error::FirstKey);
    }
    connection
        .prepare_cached(
            "INSERT INTO keys (id, name, secret_hash, scopes, limits, created_at, expires_at,
                 revoked_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            view.id,
            view.name,
            key.secret_hash,
            column::to_json("scopes", &view.scopes)?,
            column::to_json("limits", &view.limits)?,
            view.created_at.0,
            view.expires_at.map(|at| at.0),
            view.revoked_at.map(|at| at.0),
        ])
        .map_err(
            |error| {
                if is_taken(&error) { Error::Duplicate(view.id.clone()) } else { error.into() }
            },
        )?;
    Ok(())
}

fn count(connection: &Connection) -> Result<i64> {
    Ok(connection.query_row("SELECT count(*) FROM keys", [], |row| row.get(0))?)
}

/// Ends a key; whether that changed anything. One that was revoked before stays revoked since then.
fn revoke(connection: &Connection, id: &str, now: UnixMillis) -> Result<(KeyView, bool)> {
    let found = connection
        .prepare_cached("SELECT * FROM keys WHERE id = ?1")?
        .query_row([id], |row| Ok(read(row)))
        .optional()?;
    let mut view = found.ok_or_else(|| Error::UnknownKey(id.to_owned()))??.view;
    if view.revoked_at.is_some() {
        return Ok((view, false));
    }
    let is_another =
        |key: &StoredKey| key.view.id != id && key.view.is_valid(now) && key.view.may(Scope::Admin);
    let is_admin = view.is_valid(now) && view.may(Scope::Admin);
    if is_admin && !list(connection)?.iter().any(is_another) {
        return Err(Error::LastAdminKey);
    }
    connection
        .prepare_cached("UPDATE keys SET revoked_at = ?2 WHERE id = ?1")?
        .execute(params![id, now.0])?;
    view.revoked_at = Some(now);
    Ok((view, true))
}

/// All of them, the oldest first.
fn list(connection: &Connection) -> Result<Vec<StoredKey>> {
    let mut statement = connection.prepare_cached("SELECT * FROM keys ORDER BY created_at, id")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

fn read(row: &Row<'_>) -> Result<StoredKey> {
    let view = KeyView {
        id: row.get("id")?,
        object: "key".to_owned(),
        name: row.get("name")?,
        scopes: column::json(row, "scopes")?,
        limits: column::json(row, "limits")?,
        created_at: column::instant(row, "created_at")?,
        expires_at: row.get::<_, Option<i64>>("expires_at")?.map(UnixMillis),
        revoked_at: row.get::<_, Option<i64>>("revoked_at")?.map(UnixMillis),
    };
    Ok(StoredKey { view, secret_hash: row.get("secret_hash")? })
}
