//! Whether what the data directory holds is what was written.

use std::collections::BTreeMap;
use std::path::Path;

use hone_adapters::pointer::LIVE;
use hone_adapters::{AdapterManifest, LivePointer};
use hone_api::AdapterId;
use hone_dataset::Snapshot;

use super::DoctorReport;
use hone_daemon::database::remains;
use hone_daemon::dirs::Dirs;
use hone_daemon::source_key;

/// What helps where a file is not what was written.
const RESTORE: &str = "restore a backup into an empty data directory (`hone restore`)";

pub(super) fn database(report: &mut DoctorReport, data_dir: &Path) {
    let path = data_dir.join("hone.db");
    if path.exists() {
        return match hone_store::inspect(&path) {
            Ok(()) => report.ok("database", "whole, from its first page to its last"),
            Err(error) => report.wrong("database", error.to_string(), RESTORE),
        };
    }
    let left = remains(&Dirs::at(data_dir));
    if left.is_empty() {
        report.note("database", "there is none yet", "the first start of `hone serve` makes it");
    } else {
        let found = format!("hone.db is missing beside {}", left.join(", "));
        let remedy = format!("put it back, or {RESTORE}, or move these away to begin anew");
        report.wrong("database", found, remedy);
    }
}

pub(super) fn audit_trail(report: &mut DoctorReport, data_dir: &Path) {
    let path = data_dir.join("hone.db");
    if !path.exists() {
        return;
    }
    match hone_store::follow_trail(&path, None) {
        Ok(trail) if trail.rows > 0 && !data_dir.join("audit.head").exists() => report.note(
            "audit trail",
            format!("{} rows, but audit.head, which tells how many there were, is not there", trail.rows),
            "compare it with a head that you noted (`hone audit verify --head`); the next start notes it again",
        ),
        Ok(trail) => {
            report.ok("audit trail", format!("{} rows, head {}", trail.rows, trail.head));
        }
        Err(error @ hone_store::Error::Older { .. }) => {
            report.note("audit trail", error.to_string(), "start it");
        }
        Err(error) => report.wrong(
            "audit trail",
            error.to_string(),
            "find out who could write to the data directory; a backup from before shows what was there",
        ),
    }
}

/// The pointer, and every adapter's files against its manifest.
pub(super) fn adapters(report: &mut DoctorReport, data_dir: &Path) {
    let pointer = match LivePointer::read(&data_dir.join(LIVE)) {
        Ok(pointer) => pointer,
        Err(why) => {
            let remedy = "start Hone: it finds out from the adapters what served last";
            report.wrong("live.json", format!("it cannot be trusted: {why}"), remedy);
            None
        }
    };
    let mut there = BTreeMap::new();
    for entry in fs_err::read_dir(data_dir.join("adapters")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Ok(id) = name.parse::<AdapterId>() {
            let read = AdapterManifest::read(&entry.path(), id);
            let checked = read.and_then(|manifest| manifest.check_files(&entry.path()));
            there.insert(id, checked.err().map(|error| error.to_string()));
        }
    }
    let names = |id| {
        [pointer.and_then(|it| it.live), pointer.and_then(|it| it.previous)].contains(&Some(id))
    };
    for (id, fault) in &there {
        let Some(fault) = fault else { continue };
        let remedy = if names(*id) {
            format!("{RESTORE}; until then let another one serve: `hone adapters promote REF`")
        } else {
            format!(
                "delete it (`hone adapters delete {id}`, or its folder while no daemon runs), or {RESTORE}"
            )
        };
        report.wrong("adapters", fault.clone(), remedy);
    }
    if let Some(pointer) = pointer {
        for (what, id) in [("live", pointer.live), ("previous", pointer.previous)] {
            if let Some(id) = id.filter(|id| !there.contains_key(id)) {
                let found = format!("live.json names {id} as {what}, and it is not there");
                report.wrong("live.json", found, RESTORE);
            }
        }
    }
    if there.values().all(Option::is_none) {
        let live = pointer
            .and_then(|it| it.live)
            .map_or_else(|| "the base".to_owned(), |id| id.to_string());
        let found = format!("{} with the hashes that were verified; {live} is live", there.len());
        report.ok("adapters", found);
    }
}

pub(super) fn snapshots(report: &mut DoctorReport, data_dir: &Path) {
    let (mut whole, mut all) = (0, 0);
    for entry in fs_err::read_dir(data_dir.join("snapshots")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        all += 1;
        match Snapshot::read(&entry.path()) {
            Ok(snapshot) if snapshot.manifest.hash == name => whole += 1,
            Ok(_) => report.wrong(
                "snapshots",
                format!("snapshots/{name} holds another snapshot than its name says"),
                "move it away; a cycle that needs it makes it anew",
            ),
            Err(error) => report.wrong(
                "snapshots",
                error.to_string(),
                "move it away; a cycle that needs it makes it anew",
            ),
        }
    }
    if whole == all {
        report.ok("snapshots", format!("{all} with the hashes of their names"));
    }
}

pub(super) fn source_key(report: &mut DoctorReport, data_dir: &Path) {
    let path = data_dir.join("source.key");
    if !path.exists() {
        if data_dir.join("hone.db").exists() {
            report.wrong(
                "source key",
                "source.key is missing",
                "restore it from a backup: the next start makes a new one, under which those who gave \
                 feedback before are strangers",
            );
        }
        return;
    }
    match source_key::open(&path) {
        Ok(_) => report.ok("source key", "it is one"),
        Err(error) => report.wrong(
            "source key",
            hone_daemon::error_chain::describe(&error),
            "restore it from a backup",
        ),
    }
}
