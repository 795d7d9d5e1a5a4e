//! Which adapters are resident, and which one serves.
//!
//! Readers never wait: the table and the live pointer are swapped whole. A sequence holds the
//! `Arc` of its slot, so an adapter that is unloaded or no longer live answers to its last token
//! what it began, and its memory goes with the last sequence.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use hone_api::AdapterId;
use hone_model::Adapter;

use crate::{Error, Target};

/// A resident adapter.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: AdapterId,
    /// Unlike the number of any other slot of this process; never 0. Batches are sorted by it.
    pub(crate) serial: u64,
    /// Largest change of a logit on the probe prompts.
    pub(crate) effect: f32,
    pub(crate) adapter: Arc<Adapter>,
    /// When it was asked for last, by the table's clock.
    used: AtomicU64,
}

/// What serves.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) epoch: u64,
    pub(crate) slot: Option<Arc<Slot>>,
}

/// The table and the pointer.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    table: ArcSwap<BTreeMap<AdapterId, Arc<Slot>>>,
    live: ArcSwap<Live>,
    /// Held while either changes; counts serial numbers.
    writer: Mutex<u64>,
    /// What stays resident whoever else comes: live, and what to go back to.
    kept: ArcSwap<Vec<AdapterId>>,
    /// Counts what is asked for, so that slots can tell who was asked for last.
    clock: AtomicU64,
}

impl Slots {
    /// The slot of a target; `None` is the base. Holding it pins it.
    pub(crate) fn pin(&self, target: Target) -> Result<Option<Arc<Slot>>, Error> {
        match target {
            Target::Base => Ok(None),
            Target::Live => Ok(self.live.load().slot.clone()),
            Target::Exact(id) => {
                let slot = self.get(id).ok_or(Error::UnknownAdapter(id))?;
                slot.used.store(self.tick(), Ordering::Relaxed);
                Ok(Some(slot))
            }
        }
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// These stay resident whoever else comes.
    pub(crate) fn keep(&self, ids: Vec<AdapterId>) {
        self.kept.store(Arc::new(ids));
    }

    pub(crate) fn get(&self, id: AdapterId) -> Option<Arc<Slot>> {
        self.table.load().get(&id).cloned()
    }

    /// Whether an adapter of such content can be asked for, whatever its id.
    pub(crate) fn has_content(&self, digest: &[u8; 32]) -> bool {
        self.table.load().values().any(|slot| slot.adapter.content_digest() == digest)
    }

    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Adapters resident, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        let table = self.table.load();
        (table.len(), table.values().map(|slot| slot.adapter.bytes()).sum())
    }

    /// Makes an adapter selectable. An id stands for the same weights for ever, so one that is
    /// there already stays. Whoever was not asked for longest makes room, if all together have more than `limit` bytes.
    ///
    /// # Errors
    /// [`Error::AdapterMemory`]: there is no room beside those that stay.
    pub(crate) fn publish(
        &self,
        id: AdapterId,
        adapter: Arc<Adapter>,
        effect: f32,
        limit: usize,
    ) -> Result<Arc<Slot>, Error> {
        let mut serial = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = self.get(id) {
            return Ok(slot);
        }
        let mut table = BTreeMap::clone(&self.table.load());
        self.make_room(&mut table, adapter.bytes(), limit)?;
        *serial += 1;
        let used = AtomicU64::new(self.tick());
        let slot = Arc::new(Slot { id, serial: *serial, effect, adapter, used });
        table.insert(id, Arc::clone(&slot));
        self.table.store(Arc::new(table));
        Ok(slot)
    }

    fn make_room(
        &self,
        table: &mut BTreeMap<AdapterId, Arc<Slot>>,
        more: usize,
        limit: usize,
    ) -> Result<(), Error> {
        let (kept, live) = (self.kept.load(), self.live.load().slot.as_ref().map(|slot| slot.id));
        loop {
            let held: usize = table.values().map(|slot| slot.adapter.bytes()).sum();
            if held.saturating_add(more) <= limit {
                return Ok(());
            }
            let leaves = table
                .values()
                .filter(|slot| Some(slot.id) != live && !kept.contains(&slot.id))
                .min_by_key(|slot| slot.used.load(Ordering::Relaxed))
                .map(|slot| slot.id);
            let Some(leaves) = leaves else {
                return Err(Error::AdapterMemory { needed: held.saturating_add(more), limit });
            };
            tracing::info!(adapter = %leaves, "unloaded to make room; it is loaded again when asked for");
            table.remove(&leaves);
        }
    }

    /// Takes an adapter out of the table, unless it is live. Whether it was taken out.
    pub(crate) fn withdraw(&self, id: AdapterId) -> bool {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.live.load().slot.as_ref().is_some_and(|slot| slot.id == id) {
            return false;
        }
        let mut table = BTreeMap::clone(&self.table.load());
        let removed = table.remove(&id).is_some();
        self.table.store(Arc::new(table));
        removed
    }

    /// Moves the live pointer. An epoch that is older than the one in force is refused, so that
    /// two promotions that race end with the newer one.
    pub(crate) fn set_live(&self, id: Option<AdapterId>, epoch: u64) -> Result<(), Error> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.live.load().epoch;
        if epoch < current {
            return Err(Error::StaleEpoch { given: epoch, current });
        }
        let slot = match id {
            Some(id) => Some(self.get(id).ok_or(Error::UnknownAdapter(id))?),
            None => None,
        };
        self.live.store(Arc::new(Live { epoch, slot }));
        Ok(())
    }
}
