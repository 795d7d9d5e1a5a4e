//! Puts a backup into an empty data directory.
//!
//! Everything is unpacked beside its place and checked there: each file against its hash, the database from end
//! to end, the audit trail up to the row that the backup notes. Only then it gets its names, the database last: a
//! directory that a kill left half filled has none, and no daemon starts on it.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use fs_err::{self as fs, File};
use hone_store::{AuditEntry, Store};

use super::sink::Hashing;
use super::{BackupEntry, BackupManifest, DATABASE, FILES, FOLDERS, FORMAT, MANIFEST, is_ours};
use crate::lock::DataLock;

/// What an empty data directory may have.
const HARMLESS: [&str; 2] = ["hone.lock", "base"];

/// Restores a folder or an archive.
///
/// # Errors
/// A daemon uses the directory, it is not empty, or the backup is not what was written.
pub async fn restore(from: &Path, data_dir: &Path) -> anyhow::Result<BackupManifest> {
    let _lock = DataLock::take(data_dir)?;
    for entry in fs::read_dir(data_dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        ensure!(
            HARMLESS.contains(&&*name),
            "{} is not empty (it has {name}); name an empty or a new one with --data-dir, or move away \
             what is there",
            data_dir.display()
        );
    }
    let staging = tempfile::Builder::new().prefix(".restore-").tempdir_in(data_dir)?;
    let staged = staging.path();
    let manifest = unpack(from, staged).with_context(|| from.display().to_string())?;
    let database = staged.join(DATABASE);
    hone_store::inspect(&database)?;
    if let Some(noted) = &manifest.audit {
        hone_store::follow_trail(&database, Some(&noted.head))?;
    }
    let store = Store::open(&database)?;
    let made = jiff::Timestamp::from_millisecond(manifest.created_at.0);
    let made = made.map_or_else(|_| "unknown time".to_owned(), |at| format!("{at:.0}"));
    let reason = format!("from a backup of {made}, made by Hone {}", manifest.version);
    let entry = AuditEntry::now("operator".to_owned(), "data.restored", "data", &reason);
    store.append_audit(entry).await?;
    store.close().await;
    fs::remove_file(staged.join(MANIFEST))?;
    for name in FOLDERS.iter().chain(&FILES).chain(&["audit.head", DATABASE]) {
        let part = staged.join(name);
        if part.exists() {
            hone_durable::rename(&part, &data_dir.join(name))?;
        }
    }
    Ok(manifest)
}

/// Copies what is in the backup and compares it with the backup's own list.
fn unpack(from: &Path, to: &Path) -> anyhow::Result<BackupManifest> {
    let mut found = BTreeMap::new();
    if from.is_dir() {
        for path in files(from, "")? {
            let file = File::open(from.join(&path))?;
            let entry = take(&path, file, to)?;
            found.insert(path, entry);
        }
    } else {
        let mut archive = tar::Archive::new(File::open(from)?);
        for member in archive.entries().context("it is no backup")? {
            let member = member.context("it is no backup, or it was cut off")?;
            let path = member.path()?.to_string_lossy().into_owned();
            ensure!(member.header().entry_type().is_file(), "{path} is no plain file");
            let entry = take(&path, member, to)?;
            ensure!(found.insert(path.clone(), entry).is_none(), "it has {path} twice");
        }
    }
    ensure!(
        found.remove(MANIFEST).is_some(),
        "it has no {MANIFEST}: it is no backup of `hone backup`, or not all of one"
    );
    let manifest: BackupManifest = serde_json::from_slice(&fs::read(to.join(MANIFEST))?)
        .context("its manifest.json was made by another version, or is damaged")?;
    ensure!(manifest.format == FORMAT, "its layout is of another version of Hone");
    for entry in &manifest.files {
        match found.remove(&entry.path) {
            Some(there) if there == *entry => {}
            Some(_) => bail!("{} is damaged: it has another hash; use another backup", entry.path),
            None => bail!("{} is missing; use another backup", entry.path),
        }
    }
    if let Some(stray) = found.keys().next() {
        bail!("{stray} is not in its manifest.json; it was put there later");
    }
    ensure!(manifest.files.iter().any(|entry| entry.path == DATABASE), "it has no {DATABASE}");
    Ok(manifest)
}

/// Copies one file, if a data directory may have it.
fn take(path: &str, content: impl Read, to: &Path) -> anyhow::Result<BackupEntry> {
    ensure!(is_ours(path), "{path} does not belong into a backup");
    let target = to.join(path);
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = File::create_new(&target)?;
    let mut content = Hashing::new(content);
    io::copy(&mut content, &mut file)?;
    file.sync_all()?;
    Ok(content.entry(path))
}

/// All files below a folder, by their paths in it.
fn files(folder: &Path, below: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder.join(below))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            found.extend(files(folder, &path)?);
        } else {
            ensure!(kind.is_file(), "{path} is no plain file");
            found.push(path);
        }
    }
    Ok(found)
}
