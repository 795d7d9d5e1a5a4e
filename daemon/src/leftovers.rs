//! What a killed daemon, or a killed training process, left half written in the data directory.
//!
//! Each kind is known to who writes it; this is the list of them. The registry sweeps its own folders when it opens, packing
//! those of bases. All are named so that nobody takes them for whole; they only cost room.

use hone_dataset::Snapshot;

use crate::dirs::Dirs;
use crate::source_key;

/// Sweeps. Only for who holds the lock of the data directory. Failing to is told, and harmless.
pub fn sweep(dirs: &Dirs) {
    // `hone train` may be at work here, without that lock: what a living process writes stays.
    hone_trainer::sweep(&dirs.runs());
    let swept = [
        Snapshot::sweep(&dirs.snapshots()).map_err(anyhow::Error::from),
        source_key::sweep(dirs.root()).map_err(anyhow::Error::from),
    ];
    for error in swept.into_iter().filter_map(Result::err) {
        tracing::warn!(
            "what was left half written stays: {}",
            crate::error_chain::describe(&error)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_written_things_go_and_whole_ones_stay() {
        let data = tempfile::tempdir().unwrap();
        let dirs = Dirs::open(data.path()).unwrap();
        fs_err::create_dir_all(data.path().join("runs/run-1/try-0/checkpoints")).unwrap();
        fs_err::create_dir_all(data.path().join("snapshots/.snapshot-half")).unwrap();
        let left =
            ["runs/run-1/try-0/checkpoints/.unfinished-1", "runs/.unfinished-2", ".source.key-3"];
        let whole = ["runs/run-1/try-0/job.json", "source.key", "snapshots/rows"];
        for file in left.iter().chain(&whole) {
            fs_err::write(data.path().join(file), "").unwrap();
        }
        sweep(&dirs);
        for file in left.iter().chain(&["snapshots/.snapshot-half"]) {
            assert!(!data.path().join(file).exists(), "{file}");
        }
        assert!(whole.iter().all(|file| data.path().join(file).exists()));
    }
}
