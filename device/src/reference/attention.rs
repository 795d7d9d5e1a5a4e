//! Attention, one score after the other.

use std::ops::Range;

use super::{
    Reference, dot,
    rows::{soft_cap, soft_cap_slope},
};
use crate::{
    Buffer, CACHE_BLOCK, CacheBlock, LayerCache,
    host::{buffer, elements, elements_mut},
    ops::{AttentionOps, AttentionRows, Cap, Scores},
};

/// Keys and values of a block, `[positions, key width]` each.
#[derive(Debug, Clone)]
struct Positions {
    keys: Vec<f64>,
    values: Vec<f64>,
}

/// The cap of scores as that of logits.
fn cap(scores: Scores) -> Cap {
    Cap { scale: scores.scale, most: scores.cap.unwrap_or(f32::INFINITY) }
}

/// What one row and head sees: the probabilities of `positions`, and their capped scores.
fn probabilities(
    scores: Scores,
    query: &[f64],
    positions: Range<usize>,
    key: impl Fn(usize) -> Vec<f64>,
) -> (Vec<f64>, Vec<f64>) {
    let capped: Vec<f64> =
        positions.map(|position| soft_cap(cap(scores), dot(query, &key(position)))).collect();
    let largest = capped.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = capped.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    (powers.into_iter().map(|power| power / sum).collect(), capped)
}

impl AttentionOps for Reference {
    fn reserve(&self, cache: &mut LayerCache, positions: usize) {
        while cache.blocks().len() < positions.div_ceil(CACHE_BLOCK) {
            let empty = vec![f64::NAN; CACHE_BLOCK * cache.heads().key_width()];
            let block = Positions { keys: empty.clone(), values: empty };
            cache.push(CacheBlock::new(cache.heads(), block));
        }
    }

    fn store(
        &self,
        rows: AttentionRows<'_>,
        caches: &mut [&mut LayerCache],
        keys: &Buffer,
        values: &Buffer,
    ) {
        let width = rows.heads.key_width();
        let (keys, values) = (elements::<f64>(keys), elements::<f64>(values));
        for (span, cache) in rows.spans.iter().zip(caches) {
            for (position, row) in (span.start..).zip(span.rows.clone()) {
                let block = &mut cache.blocks_mut()[position / CACHE_BLOCK];
                let Some(block) = block.memory_mut::<Positions>() else { continue };
                let at = position % CACHE_BLOCK * width;
                block.keys[at..at + width].copy_from_slice(&keys[row * width..][..width]);
                block.values[at..at + width].copy_from_slice(&values[row * width..][..width]);
            }
        }
    }

    fn attend(
        &self,
        rows: AttentionRows<'_>,
        caches: &[&mut LayerCache],
        queries: &Buffer,
        out: &mut Buffer,
    ) {
        let AttentionRows { heads, scores, spans } = rows;
        let (queries, out) = (elements::<f64>(queries), elements_mut::<f64>(out));
        assert_eq!(caches.len(), spans.len(), "as many caches as sequences");
        for (span, cache) in spans.iter().zip(caches) {
            let head_of = |position: usize, head: usize, which: fn(&Positions) -> &[f64]| {
                let block = cache.blocks()[position / CACHE_BLOCK].memory::<Positions>();
                let at = position % CACHE_BLOCK * heads.key_width() + head * heads.dim;
                block.map_or_else(Vec::new, |block| which(block)[at..][..heads.dim].to_vec())
            };
            for (position, row) in (span.start..).zip(span.rows.clone()) {
                for query_head in 0..heads.count * heads.group {
                    let head = query_head / heads.group;
                    let at = row * heads.query_width() + query_head * heads.dim;
                    let query = &queries[at..][..heads.dim];
                    let seen = scores.first(position + 1)..position + 1;
                    let key = |position| head_of(position, head, |block| &block.keys);
                    let (weights, _) = probabilities(scores, query, seen.clone(), key);
                    let out = &mut out[at..][..heads.dim];
                    out.fill(0.0);
                    for (weight, position) in weights.into_iter().zip(seen) {
                        let value = head_of(position, head, |block| &block.values);
                        out.iter_mut().zip(value).for_each(|(out, v)| *out += weight * v);
                    }
                }
            }
        }
    }

    fn attend_backward(
        &self,
        rows: AttentionRows<'_>,
        inputs: [&Buffer; 3],
        d_out: &Buffer,
    ) -> [Buffer; 3] {
        let AttentionRows { heads, scores, spans } = rows;
        let [queries, keys, values] = inputs.map(elements::<f64>);
        let d_out = elements::<f64>(d_out);
        let [mut d_q, mut d_k, mut d_v] = [queries, keys, values].map(|of| vec![0.0; of.len()]);
        for span in spans {
            for (position, row) in span.rows.clone().enumerate() {
                for query_head in 0..heads.count * heads.group {
                    let head = query_head / heads.group;
                    let at = row * heads.query_width() + query_head * heads.dim;
                    let (query, d_out) = (&queries[at..][..heads.dim], &d_out[at..][..heads.dim]);
                    let place = |position: usize| {
                        (span.rows.start + position) * heads.key_width() + head * heads.dim
                    };
                    let seen = scores.first(position + 1)..position + 1;
                    let key = |position| keys[place(position)..][..heads.dim].to_vec();
                    let (weights, capped) = probabilities(scores, query, seen.clone(), key);
                    // Of each probability, and their mean.
                    let d_weights: Vec<f64> = seen
                        .clone()
                        .map(|position| dot(d_out, &values[place(position)..][..heads.dim]))
                        .collect();
                    let mean = dot(&weights, &d_weights);
                    for (i, position) in seen.enumerate() {
                        let d_capped = weights[i] * (d_weights[i] - mean);
                        let d_score = d_capped * soft_cap_slope(cap(scores), capped[i]);
                        let place = place(position);
                        for d in 0..heads.dim {
                            d_q[at + d] += d_score * keys[place + d];
                            d_k[place + d] += d_score * query[d];
                            d_v[place + d] += weights[i] * d_out[d];
                        }
                    }
                }
            }
        }
        [d_q, d_k, d_v].map(buffer)
    }
}
