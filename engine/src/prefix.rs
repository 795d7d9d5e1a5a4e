//! The prefix cache: what was computed of a prompt is not computed again.
//!
//! When a prompt is done, and again when its answer has ended, the blocks of keys and values of its sequence are kept under
//! their token ids. A later prompt that begins with the same tokens takes references to them and computes the rest. A
//! block that is held by several is copied by the first that writes to it, which happens only to the last, half-full one.
//! Keys and values do not depend on company or on how a prompt is cut, so an answer has the same bits with and without a hit.
//!
//! Its memory is what running sequences leave: it never makes one wait.

use std::collections::HashMap;

use hone_model::{KvBlock, KvCache};

mod namespace;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use namespace::Namespace;
use tree::{Shareable, Tree};

impl Shareable for KvBlock {
    fn bytes(&self) -> usize {
        Self::bytes(self)
    }

    fn is_shared(&self) -> bool {
        Self::is_shared(self)
    }
}

/// Blocks that were computed, by the tokens that they were computed for.
#[derive(Debug)]
pub(crate) struct PrefixCache {
    tree: Tree<KvBlock>,
    /// Bytes at most.
    limit: usize,
    /// The adapter of each namespace that was ever kept and has one.
    adapters: HashMap<Namespace, [u8; 32]>,
    /// Counts what is kept: whoever found nothing need not look again before it changes.
    version: u64,
}

impl PrefixCache {
    /// An empty one that keeps at most `limit` bytes; 0 keeps nothing.
    pub(crate) fn new(limit: usize) -> Self {
        Self { tree: Tree::new(KvCache::BLOCK), limit, adapters: HashMap::new(), version: 0 }
    }

    /// Whether it keeps anything.
    pub(crate) fn is_on(&self) -> bool {
        self.limit > 0
    }

    /// Bytes kept, those included that running sequences hold as well.
    pub(crate) fn bytes(&self) -> usize {
        self.tree.bytes()
    }

    /// Changes whenever there may be more to find than before.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Blocks of the longest prefix of `tokens` that was computed, and how many positions of each belong to it.
    pub(crate) fn find(&mut self, namespace: Namespace, tokens: &[u32]) -> Vec<(KvBlock, usize)> {
        if self.is_on() { self.tree.find(namespace, tokens) } else { Vec::new() }
    }

    /// Keeps the blocks of a sequence that hold `tokens`, its first ones. `adapter` is the digest of the content of the one
    /// that computed them.
    pub(crate) fn keep(
        &mut self,
        namespace: Namespace,
        adapter: Option<[u8; 32]>,
        tokens: &[u32],
        cache: &KvCache,
    ) {
        if !self.is_on() || tokens.is_empty() {
            return;
        }
        if let Some(adapter) = adapter {
            self.adapters.insert(namespace, adapter);
        }
        self.tree.insert(namespace, tokens, |index| cache.block(index));
        self.version += 1;
        while self.tree.bytes() > self.limit && self.tree.evict(|_| true).is_some() {}
    }

    /// Gives memory back until what nobody else holds is at most `room`.
    pub(crate) fn give_back(&mut self, room: usize) {
        if self.tree.bytes() <= room {
            return;
        }
        let mut own = self.tree.own_bytes();
        while own > room {
            // Letting go of what a running sequence holds would free nothing.
            let Some(freed) = self.tree.evict(|block| !block.is_shared()) else { return };
            own -= freed;
        }
    }

    /// Lets everything go.
    pub(crate) fn clear(&mut self) {
        self.tree.retain(|_| false);
        self.adapters.clear();
    }

    /// Lets everything go that adapters computed which are no longer `there`.
    pub(crate) fn keep_only(&mut self, there: impl Fn(&[u8; 32]) -> bool) {
        let adapters = &self.adapters;
        self.tree.retain(|namespace| adapters.get(&namespace).is_none_or(&there));
        self.adapters.retain(|_, adapter| there(adapter));
    }
}
