//! Makes a backup of a data directory, whether or not its daemon runs.
//!
//! The order keeps the parts together. The database comes first: should an adapter go live afterwards, the
//! restored daemon finds a pointer that is ahead of its audit trail, and tells of it, as after a kill. All files
//! of the adapters are opened before the first is copied, and the pointer is read when they are open: what it
//! names is among them, and an open file stays readable when it is deleted.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use fs_err::{self as fs, File};
use hone_adapters::LivePointer;
use hone_adapters::pointer::LIVE;
use hone_api::UnixMillis;

use super::sink::Sink;
use super::{BackupManifest, DATABASE, FOLDERS, FORMAT, MANIFEST, is_archive, is_ours};

/// How often the pointer may move on while the adapters are being opened.
const TRIES: usize = 10;

/// A file that is open, and its path below the data directory.
type Opened = (String, File);

/// Writes a backup into a folder or, if the name ends in `.tar`, an archive, which appears whole or not at all.
///
/// # Errors
/// There is no database, the target is there already, or a disk refuses.
pub fn make(data_dir: &Path, to: &Path) -> anyhow::Result<BackupManifest> {
    let database = data_dir.join(DATABASE);
    ensure!(
        database.is_file(),
        "{} has no hone.db; name the data directory with --data-dir",
        data_dir.display()
    );
    let parent = target_folder(data_dir, to)?;
    let staging = tempfile::Builder::new().prefix(".hone-backup-").tempdir_in(&parent)?;
    let (copy, whole) = (staging.path().join("database"), staging.path().join("backup"));
    hone_store::copy(&database, &copy)?;
    let audit = hone_store::follow_trail(&copy, None)
        .inspect_err(|error| tracing::error!(%error, "backed up all the same"))
        .ok();
    let mut sink = if is_archive(to) { Sink::archive(&whole) } else { Sink::folder(&whole) }?;
    let mut files = vec![sink.put(DATABASE, File::open(&copy)?)?];
    for (path, file) in adapters_and_pointer(data_dir)? {
        files.push(sink.put(&path, file)?);
    }
    for folder in folders(&data_dir.join(FOLDERS[1]))? {
        for (path, file) in open_all(data_dir, &folder)? {
            files.push(sink.put(&path, file)?);
        }
    }
    if let Some(key) = open(&data_dir.join("source.key"))? {
        files.push(sink.put("source.key", key)?);
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let manifest =
        BackupManifest { format: FORMAT, version, created_at: UnixMillis::now(), audit, files };
    let text = serde_json::to_vec_pretty(&manifest)?;
    sink.put_bytes(MANIFEST, text.len() as u64, &*text)?;
    sink.finish()?;
    hone_durable::rename(&whole, to)?;
    Ok(manifest)
}

/// The folder that the backup will lie in, if it may be made there.
fn target_folder(data_dir: &Path, to: &Path) -> anyhow::Result<PathBuf> {
    let is_empty_folder = || fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_none());
    if to.symlink_metadata().is_ok() && (is_archive(to) || !is_empty_folder()) {
        bail!("{} is there already; name a new file or folder", to.display());
    }
    let parent = match to.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let parent = fs::canonicalize(parent).context("the backup's folder must be there")?;
    ensure!(
        !parent.starts_with(fs::canonicalize(data_dir)?),
        "{} lies in the data directory, and would be lost with it; choose another place",
        to.display()
    );
    Ok(parent)
}

/// All files of all adapters, and the pointer behind them, which names none that is not among them.
fn adapters_and_pointer(data_dir: &Path) -> anyhow::Result<Vec<Opened>> {
    let live = data_dir.join(LIVE);
    for _ in 0..TRIES {
        let mut files = Vec::new();
        let mut there = BTreeSet::new();
        for folder in folders(&data_dir.join(FOLDERS[0]))? {
            let opened = open_all(data_dir, &folder)?;
            if !opened.is_empty() {
                there.extend(folder.file_name().map(|name| name.to_string_lossy().into_owned()));
                files.extend(opened);
            }
        }
        let Some(file) = open(&live)? else { return Ok(files) };
        let Ok(Some(pointer)) = LivePointer::read(&live) else {
            bail!("live.json cannot be trusted; `hone doctor` says more");
        };
        let named = pointer.live.into_iter().chain(pointer.previous);
        if named.clone().all(|id| there.contains(&id.to_string())) && is_still(&file, &live)? {
            files.push((LIVE.to_owned(), file));
            return Ok(files);
        }
        if let Some(id) = named.into_iter().find(|id| !there.contains(&id.to_string()))
            && LivePointer::read(&live) == Ok(Some(pointer))
            && !data_dir.join(FOLDERS[0]).join(id.to_string()).exists()
        {
            bail!("live.json names {id}, which is not there; `hone doctor` says more");
        }
    }
    bail!("another adapter goes live all the time; try again")
}

/// Whether the file that is open is the one at the path.
fn is_still(file: &File, path: &Path) -> anyhow::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (opened, there) = (file.metadata()?, fs::metadata(path)?);
    Ok((opened.dev(), opened.ino()) == (there.dev(), there.ino()))
}

/// The folders in a folder, but for hidden ones: those are being written, or deleted.
fn folders(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() && !entry.file_name().to_string_lossy().starts_with('.') {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The files of a folder; none, if it was deleted meanwhile.
fn open_all(data_dir: &Path, folder: &Path) -> anyhow::Result<Vec<Opened>> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return Ok(files) };
    for entry in entries {
        let entry = entry?;
        let path = entry.path().strip_prefix(data_dir)?.to_string_lossy().into_owned();
        if !is_ours(&path) {
            continue;
        }
        match open(&entry.path())? {
            Some(file) => files.push((path, file)),
            None => return Ok(Vec::new()),
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files)
}

fn open(path: &Path) -> anyhow::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}
