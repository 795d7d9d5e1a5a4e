//! Where things lie in the data directory.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hone_api::{CycleId, RunId};

/// From now on what this process makes is for its own user alone: chats are nobody else's business.
pub fn keep_private() {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

/// Makes the data directory, if it is not there, for its owner alone.
///
/// # Errors
/// It cannot be made or is something else; the words name the flag that chooses another.
pub fn make(root: &Path) -> anyhow::Result<()> {
    if root.exists() && !root.is_dir() {
        anyhow::bail!("{} is not a folder; choose another --data-dir", root.display());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(root).with_context(|| {
        let root = root.display();
        format!("{root} cannot be made; choose another --data-dir, or allow writing there")
    })
}

/// The data directory, by the names of `contract.md`.
#[derive(Debug, Clone)]
pub struct Dirs {
    root: PathBuf,
}

impl Dirs {
    /// Makes the folders that are missing. The path becomes absolute: a training process has
    /// another working directory.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        make(root)?;
        let dirs = Self { root: fs_err::canonicalize(root)? };
        for dir in [dirs.base(), dirs.runs(), dirs.snapshots()] {
            fs_err::create_dir_all(dir)?;
        }
        Ok(dirs)
    }

    /// The same without making anything.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.root.join("hone.db")
    }

    /// The key of the hashes that stand for people.
    pub fn source_key(&self) -> PathBuf {
        self.root.join("source.key")
    }

    /// Packed base weights.
    pub fn base(&self) -> PathBuf {
        self.root.join("base")
    }

    /// Snapshots by hash.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// Training runs.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// The run of a cycle. It has the cycle's number, so that a restart finds it again.
    pub fn run(&self, cycle: CycleId) -> PathBuf {
        self.runs().join(RunId::from_uuid(cycle.uuid()).to_string())
    }

    /// What adapters answered in evaluations, one file each.
    pub fn answers(&self) -> PathBuf {
        self.runs().join("answers")
    }

    /// Where the engine tells the trainer how busy it is.
    pub fn load_signal(&self) -> PathBuf {
        self.root.join("pressure")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_no_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs_err::write(&file, "").unwrap();
        let error = make(&file).unwrap_err().to_string();
        assert!(error.contains("file is not a folder") && error.contains("--data-dir"), "{error}");
        let below = crate::error_chain::describe(&make(&file.join("below")).unwrap_err());
        assert!(below.contains("below cannot be made; choose another --data-dir"), "{below}");
        make(&dir.path().join("a/b")).unwrap();
    }
}
