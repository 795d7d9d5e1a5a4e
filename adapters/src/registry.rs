//! The adapters of a data directory: list, find, promote, roll back, judge, delete.
//!
//! Prevents two callers from deciding on different pictures: every change is made under one lock,
//! and `promote` and `rollback` compare before they swap.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hone_api::adapter::{AdapterState, AdapterView};
use hone_api::{AdapterId, AdapterRef, UnixMillis};

use crate::fs::{check_adapter_name, confine, remove_dir};
use crate::pointer::{LIVE, label};
use crate::reserve::Reserve;
use crate::servable::check_servable;
use crate::{AdapterManifest, BaseShape, Error, LivePointer, Result, Warning, gc, state};

/// The adapters of one data directory. Only one process may have it open for writing.
///
/// Its methods read and write files; call those that change something off the async threads.
#[derive(Debug)]
pub struct Registry {
    /// `hone-data/adapters`.
    pub(crate) root: PathBuf,
    drop_dir: PathBuf,
    pub(crate) live_path: PathBuf,
    reserve: Reserve,
    pub(crate) base: BaseShape,
    inner: RwLock<Inner>,
    /// Held by whoever changes something, for as long as the disk takes: `inner` is then locked only to
    /// swap what is in memory, and a request that names an adapter never waits for a disk.
    changing: Mutex<()>,
    /// Read by whoever reads an adapter's files; a deletion waits for them.
    files: RwLock<()>,
    /// Held while a folder is staged, so that the collector leaves it alone.
    pub(crate) staging: Mutex<()>,
    warnings: Vec<Warning>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) pointer: LivePointer,
    pub(crate) manifests: BTreeMap<AdapterId, AdapterManifest>,
}

impl Inner {
    pub(crate) fn find(&self, reference: &AdapterRef) -> Result<Option<AdapterId>> {
        let unknown = || Error::Unknown(reference.to_string());
        match reference {
            AdapterRef::Base => Ok(None),
            AdapterRef::Live => Ok(self.pointer.live),
            AdapterRef::Previous => Ok(self.pointer.previous),
            AdapterRef::Candidate => {
                let waiting = |m: &&AdapterManifest| {
                    m.state() == AdapterState::Candidate && m.is_of_a_cycle()
                };
                let newest = self.manifests.values().rev().find(waiting);
                newest.map(|m| Some(m.id)).ok_or_else(unknown)
            }
            AdapterRef::Id(id) if self.manifests.contains_key(id) => Ok(Some(*id)),
            AdapterRef::Id(_) => Err(unknown()),
            AdapterRef::Name(name) => self.holder(name).map(|m| Some(m.id)).ok_or_else(unknown),
        }
    }

    /// The adapter that has this name.
    pub(crate) fn holder(&self, name: &str) -> Option<&AdapterManifest> {
        self.manifests.values().find(|m| m.name.as_deref() == Some(name))
    }

    /// Another adapter whose name people could take for this one: names are told apart by their
    /// capitals, but none may differ from another by them alone.
    pub(crate) fn lookalike(&self, name: &str, but: AdapterId) -> Option<&AdapterManifest> {
        let like = |own: &str| own.eq_ignore_ascii_case(name);
        self.manifests.values().find(|m| m.id != but && m.name.as_deref().is_some_and(like))
    }

    pub(crate) fn manifest(&self, id: AdapterId) -> Result<&AdapterManifest> {
        self.manifests.get(&id).ok_or_else(|| Error::Unknown(id.to_string()))
    }
}

impl Registry {
    /// Opens the registry of a data directory, creating what is missing. A broken `live.json` or a
    /// live adapter that is missing, damaged or made for another base falls back to the previous
    /// adapter, else to the base, with a warning: the daemon always comes up. What killed imports
    /// and deletions left is removed.
    ///
    /// # Errors
    /// Only the disk's.
    pub fn open(data_dir: &Path, base: BaseShape) -> Result<Self> {
        let opened = crate::open::open(data_dir, &base)?;
        Ok(Self {
            root: opened.root,
            drop_dir: opened.drop_dir,
            live_path: data_dir.join(LIVE),
            reserve: Reserve::of(data_dir),
            base,
            inner: RwLock::new(Inner { pointer: opened.pointer, manifests: opened.manifests }),
            changing: Mutex::new(()),
            files: RwLock::new(()),
            staging: Mutex::new(()),
            warnings: opened.warnings,
        })
    }

    /// What [`Registry::open`] had to repair or leave out.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The folder that operators put adapters into.
    #[must_use]
    pub fn drop_dir(&self) -> &Path {
        &self.drop_dir
    }

    /// The base that adapters are verified against.
    #[must_use]
    pub const fn base(&self) -> &BaseShape {
        &self.base
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to change something: one caller at a time.
    pub(crate) fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a manifest into memory that is on disk already.
    pub(crate) fn insert(&self, manifest: AdapterManifest) -> AdapterView {
        let view = manifest.view();
        self.write().manifests.insert(manifest.id, manifest);
        view
    }

    /// All adapters, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<AdapterView> {
        self.read().manifests.values().map(AdapterManifest::view).collect()
    }

    /// One adapter.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::IsBase`] when the reference names the base.
    pub fn get(&self, reference: &AdapterRef) -> Result<AdapterView> {
        self.manifest(reference).map(|manifest| manifest.view())
    }

    /// All that is known of one adapter: history, reasons, hashes.
    ///
    /// # Errors
    /// As [`Registry::get`].
    pub fn manifest(&self, reference: &AdapterRef) -> Result<AdapterManifest> {
        let inner = self.read();
        let id = inner.find(reference)?.ok_or_else(|| Error::IsBase(reference.to_string()))?;
        inner.manifest(id).cloned()
    }

    /// Which adapter a reference means; `None` is the base.
    ///
    /// # Errors
    /// [`Error::Unknown`]: never a silent fall back.
    pub fn resolve(&self, reference: &AdapterRef) -> Result<Option<AdapterId>> {
        self.read().find(reference)
    }

    /// The folder of an adapter.
    #[must_use]
    pub fn dir(&self, id: AdapterId) -> PathBuf {
        self.root.join(id.to_string())
    }

    /// The folder below the drop folder that a name or a path means.
    ///
    /// # Errors
    /// [`Error::Outside`], [`Error::Name`], [`Error::NoFolder`].
    pub fn drop_path(&self, name_or_path: &str) -> Result<PathBuf> {
        confine(&self.drop_dir, name_or_path)
    }

    /// Which adapter serves.
    #[must_use]
    pub fn live(&self) -> LivePointer {
        self.read().pointer
    }

    /// Makes an adapter (or the base, `None`) live. `expected_live`, if given, must be what serves
    /// now. Durable when it returns. To what serves already: nothing changes, not even the epoch.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Unknown`], [`Error::Transition`] (e.g. it was rejected),
    /// [`Error::Damaged`], [`Error::OtherBase`]; the disk's. The old pointer then stays.
    pub fn promote(
        &self,
        to: Option<AdapterId>,
        expected_live: Option<Option<AdapterId>>,
        now: UnixMillis,
    ) -> Result<LivePointer> {
        let move_to = PointerMove {
            expected_live,
            now,
            reason: "promoted",
            urgent: false,
            is_held: &|_| false,
        };
        self.point_to(|_| Ok(to), move_to)
    }

    /// Returns to the adapter that served before, or to `to`. As [`Registry::promote`] otherwise;
    /// a second rollback undoes the first. Of an adapter whose verified weights are in memory (`is_held`) the
    /// files are not looked at: it can serve without them. On a full disk the reserve is given back for it.
    ///
    /// # Errors
    /// Those of [`Registry::promote`], and [`Error::NothingToRollBack`].
    pub fn rollback(
        &self,
        to: Option<Option<AdapterId>>,
        expected_live: Option<Option<AdapterId>>,
        now: UnixMillis,
        is_held: &dyn Fn(AdapterId) -> bool,
    ) -> Result<LivePointer> {
        let choose = |pointer: &LivePointer| match to {
            Some(to) => Ok(to),
            None if pointer.live == pointer.previous => Err(Error::NothingToRollBack),
            None => Ok(pointer.previous),
        };
        let back =
            PointerMove { expected_live, now, reason: "rolled back to", urgent: true, is_held };
        self.point_to(choose, back)
    }

    fn point_to(
        &self,
        choose: impl Fn(&LivePointer) -> Result<Option<AdapterId>>,
        PointerMove { expected_live, now, reason, urgent, is_held }: PointerMove<'_>,
    ) -> Result<LivePointer> {
        let _one_at_a_time = self.changing();
        let old = self.live();
        if let Some(expected) = expected_live.filter(|expected| *expected != old.live) {
            return Err(Error::Conflict { expected: label(expected), actual: label(old.live) });
        }
        let to = choose(&old)?;
        if to == old.live {
            return Ok(old);
        }
        if let Some(id) = to {
            let manifest = self.read().manifest(id)?.clone();
            state::check(id, manifest.state(), AdapterState::Live)?;
            if !is_held(id) {
                check_servable(&self.dir(id), &manifest, &self.base)?;
            }
        }
        let new = old.moved(to, now);
        let write = || new.write(&self.live_path);
        if urgent { self.reserve.lend(write) } else { write() }?;
        self.write().pointer = new;
        // From here on the move has happened; should the rest fail, `open` catches up with it.
        let replaced = format!("replaced by {}", label(to));
        for (id, serves, reason) in [(old.live, false, replaced.as_str()), (to, true, reason)] {
            let known = id.and_then(|id| self.read().manifests.get(&id).cloned());
            let Some(mut manifest) = known else { continue };
            manifest.note_pointer(serves, now, reason, new.epoch);
            if let Err(error) = manifest.write(&self.dir(manifest.id)) {
                tracing::warn!(adapter = %manifest.id, %error, "the manifest lags behind live.json");
            }
            self.insert(manifest);
        }
        Ok(new)
    }

    /// Notes that the gate, or a person, refused a candidate.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Transition`]; the disk's.
    pub fn reject(&self, id: AdapterId, reason: &str, now: UnixMillis) -> Result<AdapterView> {
        self.change(id, |manifest| manifest.step(AdapterState::Rejected, now, reason))
    }

    /// Makes a rejected adapter a candidate again: a person overrules the gate.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Transition`]; the disk's.
    pub fn reinstate(&self, id: AdapterId, reason: &str, now: UnixMillis) -> Result<AdapterView> {
        self.change(id, |manifest| manifest.step(AdapterState::Candidate, now, reason))
    }

    /// Keeps the scores of an evaluation, by family.
    ///
    /// # Errors
    /// [`Error::Unknown`]; the disk's.
    pub fn set_scores(&self, id: AdapterId, scores: BTreeMap<String, f64>) -> Result<AdapterView> {
        self.change(id, |manifest| {
            manifest.scores = scores;
            Ok(())
        })
    }

    /// Notes that a person made an adapter serve: retention leaves it alone from now on.
    ///
    /// # Errors
    /// [`Error::Unknown`]; the disk's.
    pub fn choose(&self, id: AdapterId) -> Result<AdapterView> {
        self.change(id, |manifest| {
            manifest.chosen = true;
            Ok(())
        })
    }

    /// Gives an adapter a name, or takes it away.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::NameTaken`], [`Error::Unknown`]; the disk's.
    pub fn set_name(&self, id: AdapterId, name: Option<&str>) -> Result<AdapterView> {
        name.map_or(Ok(()), check_adapter_name)?;
        let _one_at_a_time = self.changing();
        if let Some(name) = name
            && let Some(holder) = self.read().lookalike(name, id)
        {
            return Err(Error::NameTaken { name: name.to_owned(), holder: holder.id });
        }
        self.change_alone(id, |manifest| {
            manifest.name = name.map(str::to_owned);
            Ok(())
        })
    }

    /// Writes a changed manifest; memory follows the disk.
    pub(crate) fn change(
        &self,
        id: AdapterId,
        edit: impl FnOnce(&mut AdapterManifest) -> Result<()>,
    ) -> Result<AdapterView> {
        let _one_at_a_time = self.changing();
        self.change_alone(id, edit)
    }

    /// The same for who holds the right to change already.
    fn change_alone(
        &self,
        id: AdapterId,
        edit: impl FnOnce(&mut AdapterManifest) -> Result<()>,
    ) -> Result<AdapterView> {
        let mut manifest = self.read().manifest(id)?.clone();
        edit(&mut manifest)?;
        manifest.write(&self.dir(id))?;
        Ok(self.insert(manifest))
    }

    /// Lets `read` have the folder of an adapter whose files are the ones that were verified, for this base.
    /// It is not deleted meanwhile.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::OtherBase`], [`Error::Unknown`]; those of `read`.
    pub fn with_verified<T, E: From<Error>>(
        &self,
        id: AdapterId,
        read: impl FnOnce(&Path) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let _not_deleted = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let manifest = self.read().manifest(id)?.clone();
        let dir = self.dir(id);
        check_servable(&dir, &manifest, &self.base)?;
        read(&dir)
    }

    /// Removes an adapter for good; never the live one, nor the one to roll back to.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Unknown`]; the disk's.
    pub fn delete(&self, id: AdapterId) -> Result<()> {
        let _one_at_a_time = self.changing();
        let _nobody_reads = self.files.write().unwrap_or_else(PoisonError::into_inner);
        self.read().manifest(id)?;
        let pointer = self.live();
        if [pointer.live, pointer.previous, pointer.canary].contains(&Some(id)) {
            return Err(Error::InUse(id));
        }
        let removed = remove_dir(&self.dir(id));
        if !self.dir(id).exists() {
            self.write().manifests.remove(&id);
        }
        hone_durable::sync_dir(&self.root)?;
        Ok(removed?)
    }

    /// Deletes of the adapters that cycles made the retired ones but for the newest `keep_last`, and the
    /// rejected ones but for as many, and sweeps what killed imports left. Never the live adapter, the
    /// previous one, one that waits for a verdict, or one that a person brought, named or made serve.
    ///
    /// # Errors
    /// The disk's.
    pub fn gc(&self, keep_last: usize) -> Result<Vec<AdapterId>> {
        {
            let _nothing_is_staged = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
            gc::sweep(&self.root)?;
        }
        let doomed = {
            let inner = self.read();
            gc::doomed(inner.manifests.values(), &inner.pointer, keep_last)
        };
        let mut deleted = Vec::with_capacity(doomed.len());
        for id in doomed {
            match self.delete(id) {
                Ok(()) => deleted.push(id),
                Err(Error::InUse(_) | Error::Unknown(_)) => {} // promoted or deleted meanwhile
                Err(error) => return Err(error),
            }
        }
        self.reserve.fill();
        Ok(deleted)
    }
}

/// How the pointer is moved.
struct PointerMove<'a> {
    /// What must serve now, if given.
    expected_live: Option<Option<AdapterId>>,
    now: UnixMillis,
    /// For the manifest's history.
    reason: &'a str,
    /// Whether it may have the room that is reserved on the disk.
    urgent: bool,
    /// Whether an adapter's verified weights are in memory.
    is_held: &'a dyn Fn(AdapterId) -> bool,
}

#[cfg(test)]
mod kill;
#[cfg(test)]
mod tests;
