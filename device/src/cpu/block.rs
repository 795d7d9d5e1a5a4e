//! Blocks of a cache in the layout that attention reads.

use crate::{CACHE_BLOCK, CacheBlock, Heads, LayerCache, layout::LANES};

/// Keys and values of [`CACHE_BLOCK`] positions in one layer. First the keys, in groups of 16 positions, `[heads][dim][16]` each:
/// lanes are positions. Then the values, `[positions][heads * dim]`.
#[derive(Debug, Clone)]
pub(super) struct Block(Vec<Lanes>);

/// Sixteen numbers, which lie in one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Lanes([f32; LANES]);

impl Block {
    /// A block of zeros.
    pub(super) fn make(heads: Heads) -> CacheBlock {
        assert!(heads.dim.is_multiple_of(LANES), "heads of {} elements", heads.dim);
        let lines = 2 * CACHE_BLOCK * heads.key_width() / LANES;
        CacheBlock::new(heads, Self(vec![Lanes([0.0; LANES]); lines]))
    }

    /// Stores one position's key and value rows; `at` is its place in the block.
    pub(super) fn put(&mut self, at: usize, key: &[f32], value: &[f32]) {
        let width = key.len();
        let (keys, values) = self.0.split_at_mut(CACHE_BLOCK / LANES * width);
        for (place, k) in keys[at / LANES * width..][..width].iter_mut().zip(key) {
            place.0[at % LANES] = *k;
        }
        let row = &mut values[at * width / LANES..][..width / LANES];
        for (place, v) in row.iter_mut().zip(value.chunks_exact(LANES)) {
            place.0.copy_from_slice(v);
        }
    }

    /// Where the blocks of a cache lie, in the order of positions; those of another device lie nowhere.
    pub(super) fn places(cache: &LayerCache) -> impl Iterator<Item = *const f32> {
        cache.blocks().iter().filter_map(|block| Some(block.memory::<Self>()?.0.as_ptr().cast()))
    }

    /// In a block: where a head's keys begin, and elements from one group of 16 positions to the next.
    pub(super) fn keys(heads: Heads, head: usize) -> (usize, usize) {
        (head * heads.dim * LANES, LANES * heads.key_width())
    }

    /// In a block: where a head's values begin, and elements from one position to the next.
    pub(super) fn values(heads: Heads, head: usize) -> (usize, usize) {
        (CACHE_BLOCK * heads.key_width() + head * heads.dim, heads.key_width())
    }
}
