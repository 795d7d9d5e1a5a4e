//! What killed runs left half written.

use std::path::Path;

/// `runs/<id>/<try>/checkpoints`: no deeper does a run write.
const DEPTH: usize = 3;

/// Removes from a folder of runs what killed processes left unfinished. What a living one writes stays: the daemon's training
/// process and `hone train` write below the same folder. Failing to is no reason not to train.
pub fn sweep(runs: &Path) {
    sweep_to(runs, DEPTH);
}

fn sweep_to(dir: &Path, depth: usize) {
    hone_durable::sweep(dir);
    if depth == 0 {
        return;
    }
    for entry in fs_err::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sweep_to(&entry.path(), depth - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kill_left_goes_at_any_depth_of_a_run() {
        let runs = tempfile::tempdir().unwrap();
        let checkpoints = runs.path().join("run-1/try-0/checkpoints");
        fs_err::create_dir_all(&checkpoints).unwrap();
        let left = [runs.path().join("run-1/.unfinished-a"), checkpoints.join(".unfinished-b")];
        for path in left.iter().chain(&[checkpoints.join("step-1")]) {
            fs_err::write(path, "half").unwrap();
        }
        sweep(runs.path());
        assert!(left.iter().all(|path| !path.exists()) && checkpoints.join("step-1").exists());
        sweep(&runs.path().join("none"));
    }
}
