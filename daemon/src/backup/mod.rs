//! A data directory, copied while its daemon runs, and put back.
//!
//! | what | in a backup |
//! |---|---|
//! | `hone.db` | as it is at one instant |
//! | `live.json`, `adapters/`, `snapshots/` | whole ones; what is just being written is left out |
//! | `source.key` | without it those who gave feedback before are strangers |
//! | `manifest.json` | what there is, with its hashes, and how far the audit trail has come |
//! | `base/` | left out: it is packed again from the model |
//! | `runs/`, `drop/` | left out: work under way and what is not Hone's yet; a cycle that ran trains again |

use std::path::Path;

use hone_api::UnixMillis;
use hone_store::FollowedTrail;
use serde::{Deserialize, Serialize};

mod make;
mod restore;
mod sink;

pub use make::make;
pub use restore::restore;

/// The layout that this version writes.
const FORMAT: u32 = 1;
/// The list of a backup's files, the last of them.
const MANIFEST: &str = "manifest.json";
/// The database.
const DATABASE: &str = "hone.db";
/// Files that are there once.
const FILES: [&str; 2] = [hone_adapters::pointer::LIVE, "source.key"];
/// Folders of folders of files.
const FOLDERS: [&str; 2] = ["adapters", "snapshots"];

/// What a backup holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupManifest {
    /// Layout of the backup.
    format: u32,
    /// The Hone that made it.
    pub version: String,
    /// When.
    pub created_at: UnixMillis,
    /// How far the audit trail had come; nothing, if it was broken already, or not chained yet.
    pub audit: Option<FollowedTrail>,
    /// Its files.
    pub files: Vec<BackupEntry>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupEntry {
    /// Its path, as below the data directory.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Its BLAKE3, hex.
    pub blake3: String,
}

/// Whether a backup may hold a file of this path: nothing else is written into a data directory.
fn is_ours(path: &str) -> bool {
    if path == MANIFEST || path == DATABASE || FILES.contains(&path) {
        return true;
    }
    let steps: Vec<_> = path.split('/').collect();
    matches!(&*steps, [folder, names @ ..] if FOLDERS.contains(folder) && names.len() == 2
        && names.iter().all(|name| hone_adapters::fs::check_path_name(name).is_ok()))
}

/// Whether a path names an archive, and not a folder.
fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "tar")
}

#[cfg(test)]
mod tests;
