//! The keys and values of one sequence, in blocks that sequences share.
//!
//! As in vLLM's PagedAttention (Kwon and others, *Efficient Memory Management for Large Language Model Serving with
//! PagedAttention*, 2023): a cache is a list of references to blocks of a fixed number of positions. A block that several
//! caches hold is copied by the first that writes to it.
//!
//! A cache belongs to the adapter that filled it: whoever reuses one must compare adapters by digest, never by name.

use hone_device::{CACHE_BLOCK, CacheBlock, Device, LayerCache};

use crate::{Error, ModelConfig};

/// Keys and values of one sequence in all layers, growing by blocks as tokens come.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    len: usize,
}

/// Keys and values of [`KvCache::BLOCK`] positions in all layers. A clone is a reference to the same memory.
#[derive(Debug, Clone)]
pub struct KvBlock {
    layers: Vec<CacheBlock>,
}

impl KvBlock {
    /// Memory of the block.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(CacheBlock::bytes).sum()
    }

    /// Whether another cache, or another reference, holds it as well.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        // Who holds one layer's part holds them all.
        self.layers.first().is_some_and(CacheBlock::is_shared)
    }
}

impl KvCache {
    /// Positions of a block.
    pub const BLOCK: usize = CACHE_BLOCK;

    /// An empty cache for a model.
    #[must_use]
    pub fn new(config: &ModelConfig) -> Self {
        let layers = (0..config.num_layers).map(|_| LayerCache::new(config.heads())).collect();
        Self { layers, len: 0 }
    }

    /// Tokens held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// No token is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all tokens from position `len` on. A longer length changes nothing.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// A reference to the block of the positions from `index` times [`Self::BLOCK`] on; `None` if none of them holds a
    /// token.
    #[must_use]
    pub fn block(&self, index: usize) -> Option<KvBlock> {
        if index * Self::BLOCK >= self.len {
            return None;
        }
        let layers = self.layers.iter().map(|layer| layer.blocks().get(index).cloned());
        Some(KvBlock { layers: layers.collect::<Option<_>>()? })
    }

    /// Appends the first `tokens` positions of a block that another cache of the same model, adapter and tokens holds, without
    /// a copy: that is made when the next token is written into the block.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if this cache does not end where a block ends, the block has fewer positions, or it was made for
    /// another model.
    pub fn share(&mut self, block: &KvBlock, tokens: usize) -> Result<(), Error> {
        let fits = self.layers.len() == block.layers.len()
            && self.layers.iter().zip(&block.layers).all(|(l, b)| l.heads() == b.heads());
        if !fits || !self.len.is_multiple_of(Self::BLOCK) || tokens > Self::BLOCK {
            let reason = "a shared block does not continue it".to_owned();
            return Err(Error::Mismatch { what: "cache", reason });
        }
        for (layer, block) in self.layers.iter_mut().zip(&block.layers) {
            layer.truncate(self.len / Self::BLOCK);
            layer.push(block.clone());
        }
        self.len += tokens;
        Ok(())
    }

    /// Memory in use, shared blocks included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.layers.iter().flat_map(LayerCache::blocks).map(CacheBlock::bytes).sum()
    }

    /// Memory that a sequence of `tokens` takes.
    #[must_use]
    pub fn bytes_for(config: &ModelConfig, tokens: usize) -> usize {
        tokens.next_multiple_of(Self::BLOCK) * config.kv_width() * 2 * 4 * config.num_layers
    }

    /// Makes room for `more` tokens.
    pub(crate) fn reserve(&mut self, device: &dyn Device, more: usize) {
        for layer in &mut self.layers {
            device.reserve(layer, self.len + more);
        }
    }

    /// Counts tokens that every layer has received.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }

    pub(crate) fn layer(&mut self, index: usize) -> &mut LayerCache {
        &mut self.layers[index]
    }

    /// Checks that the cache was made for such a model.
    pub(crate) fn check(&self, config: &ModelConfig) -> Result<(), Error> {
        let fits = self.layers.len() == config.num_layers
            && self.layers.first().is_none_or(|layer| layer.heads() == config.heads());
        if fits {
            return Ok(());
        }
        let reason = "its layers or heads differ from the configuration".to_string();
        Err(Error::Mismatch { what: "cache", reason })
    }
}
