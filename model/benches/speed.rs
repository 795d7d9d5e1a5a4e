//! Tokens per second of the starter: `cargo bench -p hone-model`, or with words to choose rows:
//! `cargo bench -p hone-model -- q8 decode`.
//!
//! Each figure is the best of several short rounds, so that other work on the machine disturbs it less.
#![allow(clippy::print_stdout)] // a report

use std::{
    path::Path,
    time::{Duration, Instant},
};

use hone_model::{
    Adapter, KvCache, LogitsFor, Model, Scratch, Segment, Source, WeightFormat, prepare,
};

const ROUND: Duration = Duration::from_millis(150);
const ROUNDS: usize = 5;
/// Tokens in the caches when decoding begins.
const CONTEXT: usize = 128;
/// Multiplications and additions of one token: twice the parameters of the linear layers and the head.
const FLOPS: f64 = 2.0 * 17_825_792.0;

/// Calls `step`, which runs some tokens, for several rounds; the best rate in tokens per second.
fn best_rate(mut step: impl FnMut() -> usize) -> f64 {
    step();
    let mut best = 0.0_f64;
    for _ in 0..ROUNDS {
        let (start, mut tokens) = (Instant::now(), 0);
        while start.elapsed() < ROUND {
            tokens += step();
        }
        best = best.max(tokens as f64 / start.elapsed().as_secs_f64());
    }
    best
}

fn prefill(model: &Model, tokens: usize, adapter: Option<&Adapter>) -> f64 {
    let ids: Vec<u32> = (0..tokens as u32).map(|i| 3 + i * 7 % 4000).collect();
    let mut cache = KvCache::new(model.config());
    let mut scratch = Scratch::new();
    best_rate(|| {
        cache.truncate(0);
        let segment = Segment { tokens: &ids, cache: &mut cache, adapter, logits: LogitsFor::Last };
        model.forward(&mut [segment], &mut scratch).map_or(0, |_| tokens)
    })
}

fn decode(model: &Model, batch: usize, adapter: Option<&Adapter>) -> f64 {
    let ids: Vec<u32> = (0..CONTEXT as u32).map(|i| 3 + i * 7 % 4000).collect();
    let mut caches: Vec<_> = (0..batch).map(|_| KvCache::new(model.config())).collect();
    let mut scratch = Scratch::new();
    for cache in &mut caches {
        let segment = Segment { tokens: &ids, cache, adapter, logits: LogitsFor::None };
        drop(model.forward(&mut [segment], &mut scratch));
    }
    best_rate(|| {
        let mut segments: Vec<_> = caches
            .iter_mut()
            .map(|cache| {
                // Up to 64 answered tokens, then again.
                if cache.len() >= CONTEXT + 64 {
                    cache.truncate(CONTEXT);
                }
                Segment { tokens: &[5], cache, adapter, logits: LogitsFor::Last }
            })
            .collect();
        model.forward(&mut segments, &mut scratch).map_or(0, |_| batch)
    })
}

fn main() -> Result<(), hone_model::Error> {
    let words: Vec<String> = std::env::args().skip(1).filter(|w| !w.starts_with('-')).collect();
    let chosen = |name: &str, kind: &[&str]| {
        let asked: Vec<_> = words.iter().filter(|w| kind.contains(&w.as_str())).collect();
        asked.is_empty() || asked.iter().any(|w| *w == name)
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::temp_dir().join("hone-bench-base");
    let source = Source::Folder(root.join("starter"));
    for format in WeightFormat::ALL {
        if !chosen(format.name(), &["f32", "bf16", "q8", "q4"]) {
            continue;
        }
        let packed = prepare(&source, format, &folder)?;
        for threads in [1, 2] {
            if !chosen(&format!("t{threads}"), &["t1", "t2"]) {
                continue;
            }
            let model = Model::open(&packed, threads)?;
            let adapter = model.load_adapter(&root.join("tests/golden/peft_adapter"))?;
            if chosen("prefill", &["prefill", "decode"]) {
                for tokens in [32, 512] {
                    let rate = prefill(&model, tokens, None);
                    println!(
                        "{format:>4} {threads} threads  prefill {tokens:>4}: {rate:>8.0} tokens/s  {:>6.1} GFLOP/s",
                        rate * FLOPS / 1e9
                    );
                }
            }
            if chosen("decode", &["prefill", "decode"]) {
                for batch in [1, 4, 16, 64] {
                    let base = decode(&model, batch, None);
                    let with = decode(&model, batch, Some(&adapter));
                    println!(
                        "{format:>4} {threads} threads  decode x{batch:<3}: {base:>8.0} tokens/s  adapter {with:>8.0} ({:.2}x)",
                        base / with
                    );
                }
            }
        }
    }
    Ok(())
}
