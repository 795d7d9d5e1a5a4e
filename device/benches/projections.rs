//! What adapters cost beside their layers: `cargo bench -p hone-device --bench projections`.
//!
//! The linear layers of half a billion parameters in 8 bits, so many copies that no cache holds them, without adapters and with four
//! of rank 16 in turn, in bf16 and in 8 bits, each for its share of the rows. Each figure is the best of several short rounds.
#![allow(clippy::print_stdout)] // a report

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use hone_device::{
    Buffer, Cpu, InstructionSet, PackedMatrix, WeightFormat,
    ops::{LowRank, LowRankPart, MemoryOps as _, ProductOps as _, Projection, SharedInput},
};

const ROUND: Duration = Duration::from_millis(200);
const ROUNDS: usize = 8;
const COPIES: usize = 12;
const ADAPTERS: usize = 4;
const RANK: usize = 16;
/// Inputs, and outputs of the layers that share them.
const GROUPS: [(&str, usize, &[usize]); 4] = [
    ("q, k, v", 896, &[896, 128, 128]),
    ("o", 896, &[896]),
    ("gate, up", 896, &[4864, 4864]),
    ("down", 4864, &[896]),
];

/// A group of layers and its adapters, in one of the copies.
struct Group {
    layers: Vec<Projection>,
    adapters: Vec<LowRank>,
}

fn matrix(
    device: &Cpu,
    format: WeightFormat,
    inputs: usize,
    outputs: usize,
) -> hone_device::Matrix {
    let weight = |i: usize| (i * 7919 % 1013) as f32 * 1e-4 - 0.05;
    let weights: Vec<f32> = (0..inputs * outputs).map(weight).collect();
    device.hold(PackedMatrix::pack(format, inputs, outputs, &weights))
}

impl Group {
    fn new(device: &Cpu, adapters: WeightFormat, inputs: usize, outputs: &[usize]) -> Self {
        let layer = |outputs: &usize| Projection {
            weight: matrix(device, WeightFormat::Q8, inputs, *outputs),
            bias: None,
        };
        let part = |(nth, outputs): (usize, &usize)| {
            let b = matrix(device, adapters, RANK, *outputs);
            Some(LowRankPart { b, from: nth * RANK, scale: 2.0 })
        };
        let adapter = || LowRank {
            a: matrix(device, adapters, inputs, RANK * outputs.len()),
            parts: outputs.iter().enumerate().map(part).collect(),
        };
        Self {
            layers: outputs.iter().map(layer).collect(),
            adapters: (0..ADAPTERS).map(|_| adapter()).collect(),
        }
    }
}

fn main() -> std::io::Result<()> {
    let threads = std::thread::available_parallelism()?.get();
    let device = Cpu::with(InstructionSet::best(), threads)?;
    let formats = [WeightFormat::Bf16, WeightFormat::Q8];
    for ((name, inputs, outputs), format) in
        GROUPS.into_iter().flat_map(|group| formats.map(|format| (group, format)))
    {
        let group = |_| Group::new(&device, format, inputs, outputs);
        let groups: Vec<_> = (0..COPIES).map(group).collect();
        for rows in [1, 4, 16] {
            let x: Vec<f32> =
                (0..rows * inputs).map(|i| (i * 37 % 101) as f32 * 0.02 - 1.0).collect();
            let x = device.upload(x);
            let mut results: Vec<_> =
                outputs.iter().map(|outputs| device.zeros(rows * outputs)).collect();
            let mut hidden = Buffer::default();
            let share = rows.div_ceil(ADAPTERS);
            let ranges: Vec<Range<usize>> =
                (0..rows / share).map(|nth| nth * share..(nth + 1) * share).collect();
            let mut best = [f64::INFINITY; 2];
            for _ in 0..ROUNDS {
                for (adapted, best) in best.iter_mut().enumerate() {
                    let (start, mut count) = (Instant::now(), 0);
                    while start.elapsed() < ROUND {
                        let group = &groups[count % COPIES];
                        let adapters: Vec<_> = ranges
                            .iter()
                            .cloned()
                            .zip(&group.adapters)
                            .filter(|_| adapted == 1)
                            .collect();
                        let mut pairs: Vec<_> = group.layers.iter().zip(&mut results).collect();
                        let input = SharedInput { x: &x, dropped: None, adapters: &adapters };
                        device.project(input, &mut pairs, None, &mut hidden);
                        count += 1;
                    }
                    *best = best.min(start.elapsed().as_secs_f64() / count as f64);
                }
            }
            let [base, adapted] = best.map(|seconds| seconds * 1e6);
            println!(
                "{name:>8} {rows:>2} rows: {base:7.1} us, with adapters in {format} {adapted:7.1} us, {:.2}x",
                adapted / base
            );
        }
    }
    Ok(())
}
