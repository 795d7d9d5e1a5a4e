//! The keys and values of one sequence in one layer, in blocks that sequences share.

use std::{any::Any, fmt, sync::Arc};

/// Positions of a block of keys and values, which lie together in memory; a multiple of 32.
pub const CACHE_BLOCK: usize = 64;

/// The heads of a layer: `[count, group, dim]` of queries, `[count, dim]` of keys and of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Key/value heads.
    pub count: usize,
    /// Query heads that share one.
    pub group: usize,
    /// Elements of a head; a multiple of 16.
    pub dim: usize,
}

impl Heads {
    /// Elements of one row of queries.
    #[must_use]
    pub fn query_width(self) -> usize {
        self.count * self.group * self.dim
    }

    /// Elements of one row of keys, or of values.
    #[must_use]
    pub fn key_width(self) -> usize {
        self.count * self.dim
    }
}

/// Keys and values of [`CACHE_BLOCK`] positions in one layer, in a device's memory. A clone is a reference to the same memory,
/// which the device copies before it writes to it.
#[derive(Clone)]
pub struct CacheBlock {
    heads: Heads,
    memory: Arc<dyn Any + Send + Sync>,
}

impl fmt::Debug for CacheBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheBlock")
    }
}

impl CacheBlock {
    /// A block for such heads, in memory of the device's kind.
    pub fn new<M: Any + Send + Sync>(heads: Heads, memory: M) -> Self {
        Self { heads, memory: Arc::new(memory) }
    }

    /// What it holds keys and values of.
    #[must_use]
    pub fn heads(&self) -> Heads {
        self.heads
    }

    /// Bytes of keys and values of 32 bits.
    #[must_use]
    pub fn bytes(&self) -> usize {
        2 * CACHE_BLOCK * self.heads.key_width() * 4
    }

    /// Whether another reference to the same memory exists.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.memory) > 1
    }

    /// The memory, for the device that made it; `None` for every other.
    pub fn memory<M: Any>(&self) -> Option<&M> {
        self.memory.downcast_ref()
    }

    /// The memory, to be written by the device that made it. Others that hold it keep what they have: it is copied then.
    pub fn memory_mut<M: Any + Send + Sync + Clone>(&mut self) -> Option<&mut M> {
        if Arc::get_mut(&mut self.memory).is_none() {
            self.memory = Arc::new(self.memory::<M>()?.clone());
        }
        Arc::get_mut(&mut self.memory)?.downcast_mut()
    }
}

/// Keys and values of one sequence in one layer.
#[derive(Debug, Clone)]
pub struct LayerCache {
    heads: Heads,
    blocks: Vec<CacheBlock>,
}

impl LayerCache {
    /// An empty one.
    #[must_use]
    pub fn new(heads: Heads) -> Self {
        Self { heads, blocks: Vec::new() }
    }

    /// What it holds keys and values of.
    #[must_use]
    pub fn heads(&self) -> Heads {
        self.heads
    }

    /// Its blocks, in the order of positions.
    #[must_use]
    pub fn blocks(&self) -> &[CacheBlock] {
        &self.blocks
    }

    /// The same, to be written by the device.
    pub fn blocks_mut(&mut self) -> &mut [CacheBlock] {
        &mut self.blocks
    }

    /// Appends a block.
    ///
    /// # Panics
    /// If it is one for other heads.
    pub fn push(&mut self, block: CacheBlock) {
        assert_eq!(block.heads, self.heads, "a block for other heads");
        self.blocks.push(block);
    }

    /// Forgets all blocks from `count` on.
    pub fn truncate(&mut self, count: usize) {
        self.blocks.truncate(count);
    }
}
