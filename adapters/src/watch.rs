//! The drop folder: an operator copies an adapter in, and it is noticed.
//!
//! Prevents half a copy from being judged: a folder is reported once both of its files are there and
//! have stopped changing. Each folder is reported by itself, so that a bad one holds up no other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fs_err as fs;
use notify_debouncer_full::notify::{RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{
    DebounceEventResult, DebouncedEvent, Debouncer, RecommendedCache, new_debouncer,
};

use crate::fs::{Stamp, stamp};
use crate::verify::pickle_in;
use crate::{CONFIG, Result, WEIGHTS};

/// How often the folder is looked at without a notice: some network file systems send none.
const RESCAN: Duration = Duration::from_secs(30);

/// Watches the drop folder for as long as it lives.
#[derive(Debug)]
pub struct DropFolder {
    watcher: Option<Debouncer<RecommendedWatcher, RecommendedCache>>,
    thread: Option<JoinHandle<()>>,
}

impl DropFolder {
    /// Calls `ready` on a thread of its own with each folder in `dir` that is complete and has not
    /// changed for `quiet`: those that are there at the start, those that come, and again each that
    /// changes. A folder in which a pickle lies counts as complete, so that its refusal is told.
    ///
    /// # Errors
    /// When the system cannot watch the folder, or start a thread.
    pub fn watch(
        dir: &Path,
        quiet: Duration,
        mut ready: impl FnMut(PathBuf) + Send + 'static,
    ) -> Result<Self> {
        let (notice, notices) = mpsc::channel();
        let on_events = move |events: DebounceEventResult| {
            match &events {
                Ok(events) if !is_news(events) => return,
                Ok(_) => {}
                Err(errors) => {
                    tracing::warn!(?errors, "the drop folder is looked at every 30 s only");
                }
            }
            let _ = notice.send(()); // the receiver only goes when this watcher does
        };
        let mut watcher = new_debouncer(quiet, None, on_events)?;
        watcher.watch(dir, RecursiveMode::Recursive)?;
        let dir = dir.to_path_buf();
        let thread = std::thread::Builder::new().name("hone-drop".to_owned()).spawn(move || {
            let mut settling = Settling::new(quiet);
            loop {
                for folder in settling.look(Instant::now(), scan(&dir)) {
                    ready(folder);
                }
                let wait = if settling.is_pending() { quiet } else { RESCAN };
                if let Err(RecvTimeoutError::Disconnected) = notices.recv_timeout(wait) {
                    return;
                }
            }
        })?;
        Ok(Self { watcher: Some(watcher), thread: Some(thread) })
    }
}

/// Whether something has changed. The watcher tells of reading, too: of every look at the folder,
/// which would be the reason for the next one, for ever.
fn is_news(events: &[DebouncedEvent]) -> bool {
    events.iter().any(|event| !event.kind.is_access())
}

impl Drop for DropFolder {
    /// Stops watching and waits for a running `ready` to return.
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.stop();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic in `ready` has been reported by its own hook
        }
    }
}

/// What decides whether a folder has changed.
type Signature = Vec<Option<Stamp>>;

/// Which folders have changed, and since when they have not.
struct Settling {
    quiet: Duration,
    folders: BTreeMap<PathBuf, Folder>,
}

struct Folder {
    signature: Signature,
    since: Instant,
    reported: bool,
}

impl Settling {
    const fn new(quiet: Duration) -> Self {
        Self { quiet, folders: BTreeMap::new() }
    }

    /// Takes note of the complete folders there are now; gives those to report.
    fn look(&mut self, now: Instant, seen: BTreeMap<PathBuf, Signature>) -> Vec<PathBuf> {
        self.folders.retain(|path, _| seen.contains_key(path));
        let mut ready = Vec::new();
        for (path, signature) in seen {
            let folder = self.folders.entry(path.clone()).or_insert_with(|| Folder {
                signature: signature.clone(),
                since: now,
                reported: false,
            });
            if folder.signature != signature {
                *folder = Folder { signature, since: now, reported: false };
            }
            if !folder.reported && now.duration_since(folder.since) >= self.quiet {
                folder.reported = true;
                ready.push(path);
            }
        }
        ready
    }

    fn is_pending(&self) -> bool {
        self.folders.values().any(|folder| !folder.reported)
    }
}

/// The complete folders directly below `dir`. What cannot be read now is looked at again later.
fn scan(dir: &Path) -> BTreeMap<PathBuf, Signature> {
    let mut complete = BTreeMap::new();
    let Ok(entries) = fs::read_dir(dir) else { return complete };
    for entry in entries.flatten() {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        // a link to a folder is reported too, so that its refusal is told
        if hidden || !path.is_dir() {
            continue;
        }
        let pickle = pickle_in(&path).ok().flatten();
        let signature: Signature = [Some(CONFIG), Some(WEIGHTS), pickle.as_deref()]
            .iter()
            .map(|name| stamp(&path.join((*name)?)))
            .collect();
        let has_config = signature[0].is_some();
        let has_weights = signature[1].is_some() || signature[2].is_some();
        if has_config && has_weights {
            complete.insert(path, signature);
        }
    }
    complete
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{tiny_base, write_random_adapter};

    #[test]
    fn a_folder_is_reported_once_when_it_is_complete_and_quiet() {
        let dir = tempfile::tempdir().unwrap();
        let one = dir.path().join("one");
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut settling = Settling::new(Duration::from_millis(100));
        fs::create_dir(&one).unwrap();
        fs::write(one.join(CONFIG), "{}").unwrap();
        assert!(settling.look(at(0), scan(dir.path())).is_empty());
        fs::write(one.join(WEIGHTS), "half").unwrap();
        assert!(settling.look(at(1000), scan(dir.path())).is_empty(), "just complete");
        fs::write(one.join(WEIGHTS), "half and half").unwrap();
        assert!(settling.look(at(1200), scan(dir.path())).is_empty(), "still growing");
        assert!(settling.is_pending());
        assert_eq!(settling.look(at(1300), scan(dir.path())), vec![one.clone()]);
        assert!(!settling.is_pending());
        assert!(settling.look(at(9000), scan(dir.path())).is_empty(), "once");
        fs::write(one.join(WEIGHTS), "another").unwrap();
        assert!(settling.look(at(9001), scan(dir.path())).is_empty());
        assert_eq!(settling.look(at(9999), scan(dir.path())), [one], "changed: again");
    }

    #[test]
    fn folders_are_noticed_as_they_come() {
        let dir = tempfile::tempdir().unwrap();
        write_random_adapter(&dir.path().join("early"), &tiny_base(), 2, 1);
        let (sender, folders) = mpsc::channel();
        let watching = DropFolder::watch(dir.path(), Duration::from_millis(50), move |folder| {
            sender.send(folder).unwrap();
        })
        .unwrap();
        let next = || folders.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(next(), dir.path().join("early"));
        // Each step takes one rename, so that a slow machine shows nothing half done.
        let elsewhere = tempfile::tempdir_in(dir.path().parent().unwrap()).unwrap();
        let bring = |from: &str, to: &str| {
            fs::rename(elsewhere.path().join(from), dir.path().join(to)).unwrap();
        };
        fs::create_dir(elsewhere.path().join("half")).unwrap();
        fs::write(elsewhere.path().join("half").join(CONFIG), "{}").unwrap();
        bring("half", "half");
        write_random_adapter(&elsewhere.path().join("late"), &tiny_base(), 2, 2);
        bring("late", "late");
        assert_eq!(next(), dir.path().join("late"), "`half` waits");
        fs::write(elsewhere.path().join("pickle"), "pickle").unwrap();
        bring("pickle", "half/adapter_model.bin");
        assert_eq!(next(), dir.path().join("half"), "so that the pickle is refused by name");
        drop(watching);
        assert!(folders.try_recv().is_err());
    }

    #[test]
    fn looking_is_no_reason_to_look_again() {
        use notify_debouncer_full::notify::event::{AccessKind, CreateKind, Event, EventKind};
        let event = |kind| DebouncedEvent { event: Event::new(kind), time: Instant::now() };
        let read = || event(EventKind::Access(AccessKind::Read));
        assert!(!is_news(&[read(), read()]));
        assert!(is_news(&[read(), event(EventKind::Create(CreateKind::File))]));
    }
}
