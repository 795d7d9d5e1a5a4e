//! Where things lie in the data directory.

use std::path::{Path, PathBuf};

use hone_api::{CycleId, RunId};

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
    pub fn open(root: &Path) -> std::io::Result<Self> {
        fs_err::create_dir_all(root)?;
        let dirs = Self { root: fs_err::canonicalize(root)? };
        for dir in [dirs.base(), dirs.runs(), dirs.snapshots()] {
            fs_err::create_dir_all(dir)?;
        }
        Ok(dirs)
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.root.join("hone.db")
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
    pub fn pressure(&self) -> PathBuf {
        self.root.join("pressure")
    }
}
