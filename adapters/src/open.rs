//! What a data directory holds, after whatever happened to it.
//!
//! Prevents a daemon that refuses to start because of one broken file: every damage has a fall back,
//! the last of them the base, and each is told once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fs_err as fs;
use hone_api::adapter::AdapterState;
use hone_api::{AdapterId, UnixMillis};

use crate::pointer::LIVE;
use crate::servable::check_servable;
use crate::shortage::is_shortage;
use crate::{AdapterManifest, BaseShape, Error, LivePointer, Result, gc};

/// What was found to be wrong, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What is wrong, and what was done.
    pub text: String,
    /// An adapter that stays as it is, so that it is found again at each start. `None`: it is mended now.
    pub unusable: Option<AdapterId>,
}

impl Warning {
    const fn mended(text: String) -> Self {
        Self { text, unusable: None }
    }

    const fn unusable(id: AdapterId, text: String) -> Self {
        Self { text, unusable: Some(id) }
    }
}

/// A data directory, made consistent.
pub(crate) struct Opened {
    pub(crate) root: PathBuf,
    pub(crate) drop_dir: PathBuf,
    pub(crate) pointer: LivePointer,
    pub(crate) manifests: BTreeMap<AdapterId, AdapterManifest>,
    pub(crate) warnings: Vec<Warning>,
}

/// Reads the directory and repairs it. The order matters: remains first, then the manifests, then
/// the pointer (which needs them), then the states (which follow the pointer).
pub(crate) fn open(data_dir: &Path, base: &BaseShape) -> Result<Opened> {
    let (root, drop_dir) = (data_dir.join("adapters"), data_dir.join("drop"));
    fs::create_dir_all(&root)?;
    fs::create_dir_all(&drop_dir)?;
    hone_durable::sync_dir(data_dir)?;
    let live_path = data_dir.join(LIVE);
    hone_durable::sweep(data_dir);
    hone_durable::sweep(&drop_dir); // notes
    gc::sweep(&root)?;
    let mut warnings = Vec::new();
    let manifests = read_manifests(&root, &mut warnings)?;
    let mut opened = Opened {
        root,
        drop_dir,
        pointer: LivePointer::of_base(UnixMillis(0)),
        manifests,
        warnings,
    };
    opened.read_pointer(&live_path)?;
    opened.check_live(base, &live_path)?;
    opened.reconcile()?;
    for warning in &opened.warnings {
        tracing::warn!("{}", warning.text);
    }
    Ok(opened)
}

fn read_manifests(
    root: &Path,
    warnings: &mut Vec<Warning>,
) -> Result<BTreeMap<AdapterId, AdapterManifest>> {
    let mut manifests = BTreeMap::new();
    for (id, dir) in adapter_dirs(root)? {
        hone_durable::sweep(&dir);
        match AdapterManifest::read(&dir, id) {
            Ok(manifest) => {
                manifests.insert(id, manifest);
            }
            Err(Error::Io(error)) if is_shortage(&error) => return Err(Error::Io(error)),
            Err(error) => warnings.push(Warning::unusable(id, format!("left out: {error}"))),
        }
    }
    Ok(manifests)
}

/// The folders that adapters are in.
pub(crate) fn adapter_dirs(root: &Path) -> Result<Vec<(AdapterId, PathBuf)>> {
    let mut dirs = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let named = name.to_str().filter(|name| name.starts_with(AdapterId::PREFIX));
        if let Some(Ok(id)) = named.map(str::parse) {
            dirs.push((id, entry.path()));
        }
    }
    Ok(dirs)
}

impl Opened {
    /// Reads `live.json`; if that cannot be trusted, rebuilds the pointer from the manifests.
    fn read_pointer(&mut self, path: &Path) -> Result<()> {
        let now = UnixMillis::now();
        let newest = self.newest_epoch();
        let why = match (LivePointer::read(path), newest) {
            (Ok(Some(pointer)), _) => {
                self.pointer = pointer;
                return Ok(());
            }
            (Ok(None), None) => {
                self.pointer = LivePointer::of_base(now);
                return Ok(self.pointer.write(path)?);
            }
            (Ok(None), Some(_)) => "it is missing".to_owned(),
            (Err(why), _) => why,
        };
        let last_epoch = newest.map_or(0, |(epoch, _)| epoch);
        // The manifests may lag one move behind; two ahead of them was never used.
        self.pointer = LivePointer {
            epoch: last_epoch.saturating_add(2),
            live: newest.and_then(|(_, live)| live),
            previous: self.served_before(last_epoch),
            canary: None,
            changed_at: now,
        };
        self.warnings.push(Warning::mended(format!(
            "{LIVE} could not be used ({why}); by the manifests {} serves",
            label(self.pointer.live)
        )));
        Ok(self.pointer.write(path)?)
    }

    /// The newest epoch that any manifest knows, and what served from then on.
    fn newest_epoch(&self) -> Option<(u64, Option<AdapterId>)> {
        let last = self.manifests.values().filter_map(|m| Some((m.last_epoch()?, m.id)));
        last.max().map(|((epoch, serves), id)| (epoch, serves.then_some(id)))
    }

    /// The adapter whose time ended with this epoch.
    fn served_before(&self, epoch: u64) -> Option<AdapterId> {
        self.manifests.values().find(|m| m.last_epoch() == Some((epoch, false))).map(|m| m.id)
    }

    /// Falls back from a live adapter that cannot serve to the previous one, else to the base.
    fn check_live(&mut self, base: &BaseShape, path: &Path) -> Result<()> {
        let old = self.pointer;
        let live_problem = old.live.map(|id| self.problem(id, base)).transpose()?.flatten();
        let previous_problem = old.previous.map(|id| self.problem(id, base)).transpose()?.flatten();
        if let Some(error) = live_problem {
            let to = old.previous.filter(|_| previous_problem.is_none());
            self.pointer = old.moved(to, UnixMillis::now());
            let text = format!("{} serves instead of the live adapter: {error}", label(to));
            self.warnings.push(Warning::mended(text));
        } else if let (Some(id), Some(error)) = (old.previous, previous_problem) {
            let text = format!("the previous adapter cannot be rolled back to: {error}");
            self.warnings.push(Warning::unusable(id, text));
        }
        // An adapter of another base comes back with that base; one that is gone does not.
        if self.pointer.previous.is_some_and(|id| !self.manifests.contains_key(&id)) {
            self.pointer.previous = None;
            self.pointer.epoch = old.epoch.saturating_add(1);
        }
        if self.pointer == old { Ok(()) } else { Ok(self.pointer.write(path)?) }
    }

    /// What keeps an adapter from serving. A shortage of the system's is an error: the pointer must not move for it.
    fn problem(&self, id: AdapterId, base: &BaseShape) -> Result<Option<Error>> {
        let Some(manifest) = self.manifests.get(&id) else {
            return Ok(Some(Error::Unknown(id.to_string())));
        };
        match check_servable(&self.root.join(id.to_string()), manifest, base) {
            Ok(()) => Ok(None),
            Err(Error::Io(error)) => Err(Error::Io(error)),
            Err(problem) => Ok(Some(problem)),
        }
    }

    /// Lets the states in the manifests follow the pointer: a kill between the two leaves them one
    /// move behind.
    fn reconcile(&mut self) -> Result<()> {
        let LivePointer { epoch, live, changed_at, .. } = self.pointer;
        for manifest in self.manifests.values_mut() {
            let serves = live == Some(manifest.id);
            if serves != (manifest.state() == AdapterState::Live) {
                let reason = if serves { "live.json names it" } else { "live.json names another" };
                manifest.note_pointer(serves, changed_at, reason, epoch);
                manifest.write(&self.root.join(manifest.id.to_string()))?;
            }
        }
        Ok(())
    }
}

fn label(id: Option<AdapterId>) -> String {
    id.map_or_else(|| "the base".to_owned(), |id| id.to_string())
}
