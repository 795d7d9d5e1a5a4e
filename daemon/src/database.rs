//! Opens the database of a data directory, but does not make a new one where there was one before: with it
//! would be gone who may call, what was learned from, and what must not be forgotten, and nobody would be told.

use anyhow::bail;
use hone_store::Store;

use crate::dirs::Dirs;

/// Opens it; makes it in a directory that has none and never had one.
///
/// # Errors
/// It is missing beside what only comes with it, damaged, or of a newer version; the words say what to do.
pub fn open(dirs: &Dirs) -> anyhow::Result<Store> {
    let left = remains(dirs);
    if !dirs.database().exists() && !left.is_empty() {
        bail!(
            "{} has no hone.db, but {} beside it: the log, feedback, API keys and the audit trail are \
             missing; put hone.db back, or restore a backup into an empty directory (`hone restore`), or \
             move these away to begin anew",
            dirs.root().display(),
            left.join(", ")
        );
    }
    Ok(Store::open(&dirs.database())?)
}

/// What shows that there was a database.
pub fn remains(dirs: &Dirs) -> Vec<&'static str> {
    // `hone train` may leave a run where no daemon ever ran.
    let is_filled = |name: &str| {
        let entries = fs_err::read_dir(dirs.root().join(name)).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
    };
    let folders = ["adapters", "snapshots"].into_iter().filter(|name| is_filled(name));
    let files = ["live.json", "source.key", "audit.head"];
    let files = files.into_iter().filter(|name| dirs.root().join(name).exists());
    folders.chain(files).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_one_is_made_only_where_there_was_none() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = Dirs::open(&dir.path().join("data")).unwrap();
        fs_err::create_dir(dirs.root().join("adapters")).unwrap();
        fs_err::create_dir(dirs.root().join("adapters/.staging-x")).unwrap();
        open(&dirs).unwrap().close().await;
        for left in ["live.json", "source.key"] {
            fs_err::write(dirs.root().join(left), "x").unwrap();
        }
        fs_err::create_dir(dirs.root().join("adapters/ad-1")).unwrap();
        open(&dirs).unwrap().close().await;
        fs_err::remove_file(dirs.database()).unwrap();
        let error = open(&dirs).unwrap_err().to_string();
        assert!(error.contains("adapters, live.json, source.key"), "{error}");
        assert!(error.contains("hone restore") && !dirs.database().exists(), "{error}");
    }
}
