//! Whose the files are, and what lies there that nobody needs.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::DoctorReport;

/// Files that tell of people, or decide.
const PRIVATE: [&str; 6] =
    ["hone.db", "hone.db-wal", "hone.db-shm", "source.key", "live.json", "audit.head"];

pub(super) fn permissions(report: &mut DoctorReport, data_dir: &Path) {
    let Ok(root) = fs_err::metadata(data_dir) else { return };
    let mut faults = 0;
    for (name, path) in std::iter::once(("", data_dir.to_owned()))
        .chain(PRIVATE.into_iter().map(|name| (name, data_dir.join(name))))
    {
        let Ok(metadata) = fs_err::metadata(&path) else { continue };
        let (mode, bits) = (metadata.mode() & 0o777, if name.is_empty() { "700" } else { "600" });
        let remedy = format!("chmod {bits} {}", path.display());
        let found = |who: &str| format!("{who} may use {} (mode {mode:o})", path.display());
        if mode & 0o007 != 0 {
            faults += 1;
            report.wrong("permissions", found("everybody on this machine"), remedy);
        } else if mode & 0o070 != 0 {
            faults += 1;
            report.note("permissions", found("its group"), format!("{remedy}, unless you mean it"));
        }
        if metadata.uid() != root.uid() {
            faults += 1;
            let found = format!(
                "{} belongs to user {}, and its folder to user {}",
                path.display(),
                metadata.uid(),
                root.uid()
            );
            let remedy = format!("chown {} {}", root.uid(), path.display());
            report.wrong("permissions", found, remedy);
        }
    }
    if faults == 0 {
        report.ok("permissions", "its owner's alone");
    }
}

/// Beside the packed folders: what is remembered of the models that they were made from.
const SOURCES: &str = "sources";

/// The packed weights, block by block.
pub(super) fn base(report: &mut DoctorReport, data_dir: &Path) {
    let entries = fs_err::read_dir(data_dir.join("base")).into_iter().flatten().flatten();
    let mut packed = 0;
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name == SOURCES {
            continue;
        }
        packed += 1;
        if let Err(error) = hone_model::Pack::open(&entry.path()) {
            let remedy = "nothing: the next start packs it again, if its model is still there";
            report.wrong("base", error.to_string(), remedy);
        }
    }
    report.ok("base", format!("{packed} packed, read block by block"));
}

/// What killed processes left.
pub(super) fn leftovers(report: &mut DoctorReport, data_dir: &Path, daemon_runs: bool) {
    let mut left = Vec::new();
    for folder in ["", "adapters", "snapshots", "base"] {
        for entry in fs_err::read_dir(data_dir.join(folder)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                continue;
            }
            if name.starts_with(".restore-") {
                let found = format!("{name} is what an interrupted `hone restore` left");
                report.wrong("leftovers", found, "remove it, and restore again");
            } else {
                left.push(Path::new(folder).join(name).display().to_string());
            }
        }
    }
    if left.is_empty() {
        report.ok("leftovers", "none");
    } else if daemon_runs {
        report.note(
            "leftovers",
            left.join(", "),
            "nothing, if the daemon is at work on them just now",
        );
    } else {
        let remedy =
            "the next start removes most of them; what stays may be deleted while no daemon runs";
        report.note("leftovers", left.join(", "), remedy);
    }
}
