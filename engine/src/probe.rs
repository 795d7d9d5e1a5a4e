//! Does an adapter do anything?
//!
//! Servers have answered "loaded" for adapters whose every tensor was skipped. Before an adapter
//! can be asked for, a few prompts go through the model with and without it: if no logit moves,
//! or one is not a number, it is refused.

use std::sync::Arc;

use hone_api::AdapterId;
use hone_model::{Adapter, KvCache, LogitsFor, Model, Scratch, Segment};
use tokio::sync::oneshot;

use crate::Error;

/// Texts of different kinds, so that an adapter of any subject touches one.
const TEXTS: [&str; 4] = [
    "The quick brown fox jumps over the lazy dog.",
    "17 + 25 = ",
    "{\"name\": \"",
    "Question: Who are you?\nAnswer:",
];

/// A question to the worker.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) id: AdapterId,
    pub(crate) adapter: Arc<Adapter>,
    pub(crate) reply: oneshot::Sender<Result<f32, Error>>,
}

/// The largest |Δlogit| between base and adapter over the probe prompts; infinite if a logit with
/// the adapter is not finite. One step of about a hundred tokens.
pub(crate) fn effect(model: &Model, adapter: &Adapter) -> Result<f32, Error> {
    let prompts = TEXTS
        .iter()
        .map(|text| model.front_end().tokenizer.encode(text, true))
        .collect::<Result<Vec<_>, _>>()?;
    let adapters = [None, Some(adapter)];
    let mut caches: Vec<KvCache> =
        (0..adapters.len() * prompts.len()).map(|_| KvCache::new(model.config())).collect();
    let mut segments: Vec<Segment<'_>> = adapters
        .iter()
        .flat_map(|adapter| prompts.iter().map(move |prompt| (*adapter, prompt)))
        .zip(&mut caches)
        .map(|((adapter, tokens), cache)| Segment {
            tokens,
            cache,
            adapter,
            logits: LogitsFor::Last,
        })
        .collect();
    let logits = model.forward(&mut segments, &mut Scratch::new())?;
    let mut largest = 0f32;
    for index in 0..prompts.len() {
        let (base, changed) = (logits.row(index), logits.row(index + prompts.len()));
        for (a, b) in base.iter().zip(changed) {
            if !b.is_finite() {
                return Ok(f32::INFINITY);
            }
            largest = largest.max((a - b).abs());
        }
    }
    Ok(largest)
}
