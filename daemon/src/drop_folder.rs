//! The drop folder: what an operator copies there is imported.
//!
//! A folder `drop/x` that was dealt with has a note beside it: `drop/x.imported` with the adapter's
//! id, or `drop/x.rejected` with the reason. As long as the note is newer than the folder's files,
//! the folder is left alone, so that a restart neither imports again what was deleted since nor
//! refuses the same folder once more. Changing the folder, or removing the note, is a new try.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hone_adapters::watch::DropFolder;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::import;
use crate::services::Services;

/// How long a folder must not have changed.
const QUIET: Duration = Duration::from_secs(1);

/// Imports what comes, until `stop`.
///
/// # Errors
/// The folder cannot be watched.
pub async fn run(services: Arc<Services>, stop: CancellationToken) -> hone_adapters::Result<()> {
    let (send, mut folders) = mpsc::unbounded_channel();
    let watching = DropFolder::watch(services.registry.drop_dir(), QUIET, move |folder| {
        let _ = send.send(folder); // nobody listens when the daemon stops
    })?;
    loop {
        let folder = tokio::select! {
            folder = folders.recv() => folder,
            () = stop.cancelled() => None,
        };
        let Some(folder) = folder else { break };
        if !is_dealt_with(&folder) {
            take(&services, &folder).await;
        }
    }
    // Its end waits for a thread.
    let _ = tokio::task::spawn_blocking(move || drop(watching)).await;
    Ok(())
}

async fn take(services: &Services, folder: &Path) {
    let name = import::folder_name(folder);
    // The path is confined again: the folder may have become a link since it was seen.
    let imported = match services.registry.drop_path(&name) {
        Ok(source) => {
            let request =
                import::ImportRequest { source, name: Some(name), actor: "drop folder".to_owned() };
            import::run(services, request).await.map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    let (kind, text) = match imported {
        Ok(view) => ("imported", format!("{}\n", view.id)),
        Err(reason) => {
            tracing::warn!(?folder, reason, "the drop folder's adapter is refused");
            ("rejected", format!("{reason}\n"))
        }
    };
    if let Err(error) = leave_note(folder, kind, &text) {
        tracing::warn!(%error, "no note can be left in the drop folder");
    }
}

/// `drop/x` → `drop/x.imported`.
fn note(folder: &Path, kind: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(kind);
    folder.with_file_name(name)
}

fn leave_note(folder: &Path, kind: &str, text: &str) -> std::io::Result<()> {
    let other = if kind == "imported" { "rejected" } else { "imported" };
    match fs_err::remove_file(note(folder, other)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    hone_durable::replace(&note(folder, kind), text.as_bytes())
}

fn is_dealt_with(folder: &Path) -> bool {
    let modified = |path: &Path| fs_err::metadata(path).and_then(|data| data.modified()).ok();
    let newest_file: Option<SystemTime> = fs_err::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| modified(&entry.path()))
        .chain(modified(folder))
        .max();
    let newest_note =
        ["imported", "rejected"].iter().filter_map(|kind| modified(&note(folder, kind))).max();
    match (newest_note, newest_file) {
        (Some(note), Some(file)) => note >= file,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rig;

    #[tokio::test(flavor = "multi_thread")]
    async fn good_and_bad_folders_are_each_dealt_with() {
        let rig = Rig::new().await;
        let bad = rig.drop_adapter("bad", 1.0, 1);
        let weights = bad.join("adapter_model.safetensors");
        let bytes = fs_err::read(&weights).unwrap();
        fs_err::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
        let good = rig.drop_adapter("good", 1.0, 2);
        let stop = CancellationToken::new();
        let drop_dir = rig.services.registry.drop_dir().to_owned();
        let wait = async {
            let noted = |name: &str| drop_dir.join(name).exists();
            for _ in 0..1200 {
                if noted("bad.rejected") && noted("good.imported") {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(run(rig.services.clone(), stop.clone()), wait);
        ended.unwrap();
        let reason = fs_err::read_to_string(drop_dir.join("bad.rejected")).unwrap();
        assert!(reason.contains("`bad` is refused"), "{reason}");
        let imported = rig.services.registry.list();
        assert_eq!(imported.len(), 1);
        assert_eq!(imported[0].name.as_deref(), Some("good"));
        assert!(is_dealt_with(&good) && is_dealt_with(&bad));
    }

    #[test]
    fn a_note_newer_than_the_folder_ends_the_matter() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("x");
        fs_err::create_dir(&folder).unwrap();
        fs_err::write(folder.join("adapter_config.json"), "{}").unwrap();
        assert!(!is_dealt_with(&folder));
        leave_note(&folder, "rejected", "bad\n").unwrap();
        assert!(is_dealt_with(&folder));
        assert_eq!(fs_err::read_to_string(dir.path().join("x.rejected")).unwrap(), "bad\n");
        // Repaired: a new try, and the old note goes with it.
        let later = SystemTime::now() + Duration::from_secs(5);
        let file = std::fs::File::options().append(true).open(folder.join("adapter_config.json"));
        file.unwrap().set_modified(later).unwrap();
        assert!(!is_dealt_with(&folder));
        leave_note(&folder, "imported", "ad-1\n").unwrap();
        assert!(!dir.path().join("x.rejected").exists());
    }
}
