//! What a killed daemon, or a killed training process, left half written in the data directory.
//!
//! The registry sweeps its own folders when it opens, packing those of bases, an erasure those it empties.

use crate::dirs::Dirs;

/// Sweeps the rest. What a living process writes stays: `hone train` may be at work here.
pub fn sweep(dirs: &Dirs) {
    hone_trainer::sweep(&dirs.runs());
    hone_durable::sweep(&dirs.snapshots());
    hone_durable::sweep(dirs.root());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_written_things_go_and_whole_ones_stay() {
        let data = tempfile::tempdir().unwrap();
        let dirs = Dirs::open(data.path()).unwrap();
        fs_err::create_dir_all(data.path().join("runs/run-1/try-0/checkpoints")).unwrap();
        fs_err::create_dir_all(data.path().join("snapshots/.unfinished-half")).unwrap();
        let left =
            ["runs/run-1/try-0/checkpoints/.unfinished-1", "runs/.unfinished-2", ".unfinished-3"];
        let whole = ["runs/run-1/try-0/job.json", "source.key", "snapshots/rows"];
        for file in left.iter().chain(&whole) {
            fs_err::write(data.path().join(file), "").unwrap();
        }
        sweep(&dirs);
        for file in left.iter().chain(&["snapshots/.unfinished-half"]) {
            assert!(!data.path().join(file).exists(), "{file}");
        }
        assert!(whole.iter().all(|file| data.path().join(file).exists()));
    }
}
