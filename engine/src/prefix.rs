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

use crate::{Party, Priority};

mod namespace;
#[cfg(test)]
mod tests;
mod tree;

pub(crate) use namespace::Namespace;
use tree::{Bounds, Shareable, Tree};

/// Of what is asked most often, so much is computed for an adapter before it serves: beginnings that two requests had in
/// common, 4,096 tokens in 16 texts.
const POPULAR: Bounds = Bounds { uses: 2, blocks: 4096 / KvCache::BLOCK, texts: 16 };

/// Namespaces whose owners are known though nothing of theirs is kept any more, beside as many as are kept.
const OWNERS: usize = 64;

impl Shareable for KvBlock {
    fn bytes(&self) -> usize {
        Self::bytes(self)
    }

    fn is_shared(&self) -> bool {
        Self::is_shared(self)
    }
}

/// For whom something was computed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    /// Digest of the content of the adapter; `None` is the base.
    pub(crate) adapter: Option<[u8; 32]>,
    /// Who asked; `None` for evaluations.
    pub(crate) caller: Option<u64>,
}

/// A beginning that several requests had in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Popular {
    /// Who asked.
    pub(crate) caller: u64,
    pub(crate) tokens: Vec<u32>,
}

/// Blocks that were computed, by the tokens that they were computed for.
#[derive(Debug)]
pub(crate) struct PrefixCache {
    tree: Tree<KvBlock>,
    /// Bytes at most.
    limit: usize,
    /// Whose each namespace is.
    owners: HashMap<Namespace, Owner>,
    /// Counts what is kept: whoever found nothing need not look again before it changes.
    version: u64,
}

impl PrefixCache {
    /// An empty one that keeps at most `limit` bytes; 0 keeps nothing.
    pub(crate) fn new(limit: usize) -> Self {
        Self { tree: Tree::new(KvCache::BLOCK), limit, owners: HashMap::new(), version: 0 }
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

    /// Keeps the blocks of a sequence that hold `tokens`, its first ones.
    pub(crate) fn keep(
        &mut self,
        namespace: Namespace,
        owner: Owner,
        tokens: &[u32],
        cache: &KvCache,
    ) {
        if !self.is_on() || tokens.is_empty() {
            return;
        }
        self.owners.insert(namespace, owner);
        self.tree.insert(namespace, tokens, |index| cache.block(index));
        self.version += 1;
        while self.tree.bytes() > self.limit && self.tree.evict(|_| true).is_some() {}
        // Whoever asked once and never again is not remembered for ever.
        if self.owners.len() > 2 * self.tree.namespaces() + OWNERS {
            self.owners.retain(|namespace, _| self.tree.has(*namespace));
        }
    }

    /// Counts a request that begins with `tokens`.
    pub(crate) fn count(&mut self, namespace: Namespace, tokens: &[u32]) {
        self.tree.count(namespace, tokens);
    }

    /// What is asked most often of one adapter and is not there for another one, on a base by its digest. `None` is the base
    /// alone.
    pub(crate) fn popular(
        &mut self,
        base: &str,
        from: Option<[u8; 32]>,
        to: Option<[u8; 32]>,
    ) -> Vec<Popular> {
        if from == to {
            return Vec::new();
        }
        let caller = |namespace| {
            let owner = self.owners.get(&namespace).filter(|owner| owner.adapter == from)?;
            owner.caller
        };
        // What still serves must not have to leave for it.
        let blocks = POPULAR.blocks.min(self.limit / 2 / self.tree.block_bytes().max(1));
        let texts =
            self.tree.popular(|it| caller(it).is_some(), Bounds { blocks, ..POPULAR }).into_iter();
        let mut popular: Vec<Popular> = texts
            .filter_map(|(namespace, tokens)| Some(Popular { caller: caller(namespace)?, tokens }))
            .collect();
        popular.retain(|Popular { caller, tokens }| {
            let party = Party { caller: *caller, user: 0 };
            let namespace = Namespace::new(base, to.as_ref(), Priority::Interactive, party);
            let found = self.tree.find(namespace, tokens);
            found.iter().map(|(_, positions)| positions).sum::<usize>() < tokens.len()
        });
        popular
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
        self.owners.clear();
    }

    /// Lets everything go that adapters computed which are no longer `there`.
    pub(crate) fn keep_only(&mut self, there: impl Fn(&[u8; 32]) -> bool) {
        let stays = |owner: &Owner| owner.adapter.as_ref().is_none_or(&there);
        self.owners.retain(|_, owner| stays(owner));
        self.tree.retain(|namespace| self.owners.contains_key(&namespace));
    }
}
