//! Attention of a step's rows over contexts of several lengths: `cargo bench -p hone-device --bench attention`.
//!
//! The heads are those of half a billion parameters and of one billion. A prompt comes in chunks of 512 rows, a stream one row at a
//! time; the last chunk, or row, of a context is measured, over the caches of several layers. Each figure is the best of several
//! short rounds.
#![allow(clippy::print_stdout)] // a report

use std::time::{Duration, Instant};

use hone_device::{
    Cpu, Heads, InstructionSet, LayerCache,
    ops::{AttentionOps as _, AttentionRows, MemoryOps as _, Scores, Span},
};

const ROUND: Duration = Duration::from_millis(200);
const ROUNDS: usize = 6;
const LAYERS: usize = 8;
const CHUNK: usize = 512;
const HEADS: [(&str, Heads); 2] = [
    ("0.5B", Heads { count: 2, group: 7, dim: 64 }),
    ("1B", Heads { count: 8, group: 4, dim: 64 }),
];

/// Numbers that look like no pattern.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 7919 % 1013) as f32 * 2e-3 - 1.0).collect()
}

/// Caches that hold a whole context.
fn caches(device: &Cpu, heads: Heads, context: usize) -> Vec<LayerCache> {
    let span = [Span { rows: 0..context, start: 0 }];
    let scores = Scores { scale: 0.125, cap: None, window: usize::MAX };
    let rows = AttentionRows { heads, scores, spans: &span };
    let keys = device.upload(numbers(context * heads.key_width()));
    let filled = |_| {
        let mut cache = LayerCache::new(heads);
        device.reserve(&mut cache, context);
        device.store(rows, &mut [&mut cache], &keys, &keys);
        cache
    };
    (0..LAYERS).map(filled).collect()
}

fn main() -> std::io::Result<()> {
    let threads = std::thread::available_parallelism()?.get();
    let device = Cpu::with(InstructionSet::best(), threads)?;
    for (name, heads) in HEADS {
        for context in [512, 4096] {
            let mut caches = caches(&device, heads, context);
            for rows in [CHUNK, 1] {
                let start = context - rows;
                let spans = [Span { rows: 0..rows, start }];
                let scores = Scores { scale: 0.125, cap: None, window: usize::MAX };
                let of = AttentionRows { heads, scores, spans: &spans };
                let queries = device.upload(numbers(rows * heads.query_width()));
                let mut out = device.zeros(rows * heads.query_width());
                let mut best = f64::INFINITY;
                for _ in 0..ROUNDS {
                    let (begun, mut count) = (Instant::now(), 0);
                    while begun.elapsed() < ROUND {
                        let cache = &mut caches[count % LAYERS];
                        device.attend(of, &[cache], &queries, &mut out);
                        count += 1;
                    }
                    best = best.min(begun.elapsed().as_secs_f64() / count as f64);
                }
                let seen: usize = (start + 1..=context).sum();
                let flops = 4.0 * (seen * heads.query_width()) as f64;
                println!(
                    "{name:>4}, {rows:>3} rows to position {context:>4}: {:8.1} us, {:6.1} GFLOP/s",
                    best * 1e6,
                    flops / best / 1e9
                );
            }
        }
    }
    Ok(())
}
