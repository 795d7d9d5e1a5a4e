//! The keys and values of one sequence.
//!
//! A cache belongs to the adapter that filled it: whoever reuses one must compare adapters by digest, never by name.

use crate::{Error, ModelConfig, kernels::simd::LANES};

/// Positions by which a cache grows.
const GROWTH: usize = 128;

/// Keys and values of one sequence in all layers, growing as tokens come.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<LayerKv>,
    len: usize,
}

/// Keys and values of one sequence in one layer.
#[derive(Debug, Clone)]
pub(crate) struct LayerKv {
    heads: usize,
    head_dim: usize,
    /// Blocks of 16 positions, `[heads][head_dim][16]` each: lanes are positions.
    keys: Vec<f32>,
    /// `[positions][heads * head_dim]`.
    values: Vec<f32>,
}

impl KvCache {
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

    /// Memory in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|l| (l.keys.capacity() + l.values.capacity()) * 4).sum()
    }

    /// Memory that a sequence of `tokens` takes.
    #[must_use]
    pub fn bytes_for(config: &ModelConfig, tokens: usize) -> usize {
        tokens.next_multiple_of(GROWTH) * config.kv_width() * 2 * 4 * config.num_layers
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
        Self {
            heads: config.num_kv_heads,
            head_dim: config.head_dim,
            keys: Vec::new(),
            values: Vec::new(),
        }
    }

    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Makes room for `positions` in all.
    pub(crate) fn reserve(&mut self, positions: usize) {
        let length = positions.next_multiple_of(GROWTH) * self.width();
        if self.values.len() < length {
            for part in [&mut self.keys, &mut self.values] {
                part.reserve_exact(length - part.len());
                part.resize(length, 0.0);
            }
        }
    }

    /// Stores one position's key and value rows; room was made before.
    pub(crate) fn put(&mut self, position: usize, key: &[f32], value: &[f32]) {
        let width = self.width();
        let block = position / LANES * LANES * width;
        let lanes = &mut self.keys[block..block + LANES * width];
        for (place, k) in lanes[position % LANES..].iter_mut().step_by(LANES).zip(key) {
            *place = *k;
        }
        self.values[position * width..][..width].copy_from_slice(value);
    }

    /// Keys of one head from position 0 on, and elements from one block of 16 positions to the next.
    pub(crate) fn keys(&self, head: usize) -> (&[f32], usize) {
        (&self.keys[head * self.head_dim * LANES..], LANES * self.width())
    }

    /// Values of one head from position 0 on, and elements from one position to the next.
    pub(crate) fn values(&self, head: usize) -> (&[f32], usize) {
        (&self.values[head * self.head_dim..], self.width())
    }
}
