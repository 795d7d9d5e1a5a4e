//! The keys and values of one sequence, in blocks that sequences share.
//!
//! As in vLLM's PagedAttention (Kwon and others, *Efficient Memory Management for Large Language Model Serving with
//! PagedAttention*, 2023): a cache is a list of references to blocks of a fixed number of positions. A block that several
//! caches hold is copied by the first that writes to it.
//!
//! A cache belongs to the adapter that filled it: whoever reuses one must compare adapters by digest, never by name.

use std::sync::Arc;

use crate::{Error, ModelConfig};
use hone_device::kernels::{attention::BLOCK, simd::LANES};

/// Keys and values of one sequence in all layers, growing by blocks as tokens come.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<LayerKv>,
    len: usize,
}

/// Keys and values of [`KvCache::BLOCK`] positions in all layers. A clone is a reference to the same memory.
#[derive(Debug, Clone)]
pub struct KvBlock {
    layers: Vec<Arc<Block>>,
}

/// Keys and values of one sequence in one layer.
#[derive(Debug, Clone)]
pub(crate) struct LayerKv {
    heads: usize,
    head_dim: usize,
    blocks: Vec<Arc<Block>>,
}

/// Keys and values of [`BLOCK`] positions in one layer. First the keys, in groups of 16 positions, `[heads][head_dim][16]`
/// each: lanes are positions. Then the values, `[positions][heads * head_dim]`.
#[derive(Debug, Clone)]
struct Block(Vec<Lanes>);

/// Sixteen numbers, which lie in one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Lanes([f32; LANES]);

impl Block {
    /// Of zeros, for keys of `width` elements and values of as many.
    fn new(width: usize) -> Self {
        Self(vec![Lanes([0.0; LANES]); 2 * BLOCK * width / LANES])
    }

    fn bytes(&self) -> usize {
        self.0.len() * size_of::<Lanes>()
    }
}

impl KvBlock {
    /// Memory of the block.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|block| block.bytes()).sum()
    }

    /// Whether another cache, or another reference, holds it as well.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        // Who holds one layer's part holds them all.
        self.layers.first().is_some_and(|block| Arc::strong_count(block) > 1)
    }
}

impl KvCache {
    /// Positions of a block.
    pub const BLOCK: usize = BLOCK;

    /// An empty cache for a model.
    #[must_use]
    pub fn new(config: &ModelConfig) -> Self {
        let layers = (0..config.num_layers).map(|_| LayerKv::new(config)).collect();
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
        if index * BLOCK >= self.len {
            return None;
        }
        let layers = self.layers.iter().map(|layer| layer.blocks.get(index).cloned());
        Some(KvBlock { layers: layers.collect::<Option<_>>()? })
    }

    /// Appends the first `tokens` positions of a block that another cache of the same model, adapter and tokens holds, without
    /// a copy: that is made when the next token is written into the block.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if this cache does not end where a block ends, the block has fewer positions, or it was made for
    /// another model.
    pub fn share(&mut self, block: &KvBlock, tokens: usize) -> Result<(), Error> {
        let of_block = |layer: &LayerKv| 2 * BLOCK * layer.width() / LANES;
        let fits = self.layers.len() == block.layers.len()
            && self.layers.iter().zip(&block.layers).all(|(l, b)| of_block(l) == b.0.len());
        if !fits || !self.len.is_multiple_of(BLOCK) || tokens > BLOCK {
            let reason = "a shared block does not continue it".to_owned();
            return Err(Error::Mismatch { what: "cache", reason });
        }
        for (layer, block) in self.layers.iter_mut().zip(&block.layers) {
            layer.blocks.truncate(self.len / BLOCK);
            layer.blocks.push(Arc::clone(block));
        }
        self.len += tokens;
        Ok(())
    }

    /// Memory in use, shared blocks included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.layers.iter().flat_map(|layer| &layer.blocks).map(|block| block.bytes()).sum()
    }

    /// Memory that a sequence of `tokens` takes.
    #[must_use]
    pub fn bytes_for(config: &ModelConfig, tokens: usize) -> usize {
        tokens.next_multiple_of(BLOCK) * config.kv_width() * 2 * 4 * config.num_layers
    }

    /// Makes room for `more` tokens.
    pub(crate) fn reserve(&mut self, more: usize) {
        for layer in &mut self.layers {
            layer.reserve(self.len + more);
        }
    }

    /// Counts tokens that every layer has received.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }

    pub(crate) fn layer(&mut self, index: usize) -> &mut LayerKv {
        &mut self.layers[index]
    }

    /// Checks that the cache was made for such a model.
    pub(crate) fn check(&self, config: &ModelConfig) -> Result<(), Error> {
        let fits = self.layers.len() == config.num_layers
            && self.layers.first().is_none_or(|layer| {
                (layer.heads, layer.head_dim) == (config.num_kv_heads, config.head_dim)
            });
        if fits {
            return Ok(());
        }
        let reason = "its layers or heads differ from the configuration".to_string();
        Err(Error::Mismatch { what: "cache", reason })
    }
}

impl LayerKv {
    pub(crate) fn new(config: &ModelConfig) -> Self {
        Self { heads: config.num_kv_heads, head_dim: config.head_dim, blocks: Vec::new() }
    }

    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Makes room for `positions` in all.
    pub(crate) fn reserve(&mut self, positions: usize) {
        let (width, wanted) = (self.width(), positions.div_ceil(BLOCK));
        while self.blocks.len() < wanted {
            self.blocks.push(Arc::new(Block::new(width)));
        }
    }

    /// Stores one position's key and value rows; room was made before.
    pub(crate) fn put(&mut self, position: usize, key: &[f32], value: &[f32]) {
        let width = self.width();
        let at = position % BLOCK;
        // Others that hold the block keep what they have.
        let (keys, values) =
            Arc::make_mut(&mut self.blocks[position / BLOCK]).0.split_at_mut(BLOCK / LANES * width);
        for (place, k) in keys[at / LANES * width..][..width].iter_mut().zip(key) {
            place.0[at % LANES] = *k;
        }
        let row = &mut values[at * width / LANES..][..width / LANES];
        for (place, v) in row.iter_mut().zip(value.chunks_exact(LANES)) {
            place.0.copy_from_slice(v);
        }
    }

    /// Where the blocks lie, in the order of positions.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = *const f32> {
        self.blocks.iter().map(|block| block.0.as_ptr().cast())
    }

    /// In a block: where a head's keys begin, and elements from one group of 16 positions to the next.
    pub(crate) fn keys(&self, head: usize) -> (usize, usize) {
        (head * self.head_dim * LANES, LANES * self.width())
    }

    /// In a block: where a head's values begin, and elements from one position to the next.
    pub(crate) fn values(&self, head: usize) -> (usize, usize) {
        (BLOCK * self.width() + head * self.head_dim, self.width())
    }
}
